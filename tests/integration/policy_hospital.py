"""A hospital-like federation of three sites on two engines that release aggregates, and forty analyses that people ask of one."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

import blossom as bl
from blossom.fedpy.session import Session


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hospital_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


reference = _beside("guard_reference")
Rows = reference.Rows

SITES = {"north": "duckdb", "south": "polars", "west": "duckdb"}
LEAST = 10
PATIENTS = 900
"""At each site."""

WARDS = ["general", "surgery", "cardiology", "maternity", "isolation"]


def _patients(random: np.random.Generator, first: int) -> pa.Table:
    n = PATIENTS
    sex = random.choice(["f", "m"], n)
    age = random.integers(1, 96, n)
    height = np.round(random.normal(170, 8, n), 1)
    weight = np.round(height - 100 + random.normal(0, 12, n), 1)
    lab = [None if missing else value for missing, value in zip(
        random.random(n) < 0.3, np.round(random.normal(5.5, 1, n), 2).tolist(), strict=True
    )]  # fmt: skip
    return pa.table(
        {
            "pid": np.arange(first, first + n),
            "sex": sex,
            "age": age,
            "ward": random.choice(WARDS, n, p=[0.5, 0.25, 0.15, 0.095, 0.005]),  # few are in isolation
            "region": random.choice(["coast", "hills", "town"], n),
            "smoker": random.random(n) < 0.3,
            "died": random.random(n) < 0.1 + 0.2 * (age > 70),
            "months": random.integers(0, 13, n),
            "height": height,
            "weight": weight,
            "pressure": np.round(120 + age / 5 + random.normal(0, 12, n), 0),
            "lab": lab,
        }
    )


def _visits(random: np.random.Generator, first: int) -> pa.Table:
    n = PATIENTS * 3
    day = dt.date(2022, 1, 1)
    return pa.table(
        {
            "vid": np.arange(first * 3, first * 3 + n),
            "pid": random.integers(first, first + PATIENTS, n),
            "code": random.choice(["I10", "I21", "J18", "E11", "Z99"], n, p=[0.4, 0.2, 0.2, 0.19, 0.01]),
            "urgent": random.random(n) < 0.4,
            "day": [day + dt.timedelta(int(d)) for d in random.integers(0, 730, n)],
            "nights": random.integers(1, 15, n),
            "cost": np.round(random.gamma(4, 300, n), 2),
        }
    )


CODES = pa.table(
    {
        "code": ["I10", "I21", "J18", "E11", "Z99"],
        "chapter": ["circulation", "circulation", "breathing", "metabolism", "other"],
        "points": [1.0, 4.0, 2.5, 1.5, 1.0],
    }
)


def write(folder: Path) -> duckdb.DuckDBPyConnection:
    """Write every site's tables; gives all rows in one place, with their site."""
    random = np.random.default_rng(20261101)
    connection = duckdb.connect(config={"threads": 1})
    tables: dict[str, list[pa.Table]] = {"patients": [], "visits": []}
    for number, site in enumerate(SITES):
        for name, make in (("patients", _patients), ("visits", _visits)):
            part = make(random, 1 + number * 10_000)
            pq.write_table(part, folder / f"{site}-{name}.parquet")
            tables[name].append(part.append_column("site", pa.array([site] * part.num_rows)))
    pq.write_table(CODES, folder / "codes.parquet")
    for name, parts in tables.items():
        connection.register(f"arrow_{name}", pa.concat_tables(parts))
        connection.sql(f"CREATE TABLE {name} AS SELECT * FROM arrow_{name}")
    connection.register("codes", CODES)
    return connection


_FREE, _ROWS = {"transform": True}, {"release": "rows"}
COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "patients": {
        **dict.fromkeys(("sex", "ward", "region"), _ROWS),
        **dict.fromkeys(("age", "smoker", "died", "months", "height", "weight"), _FREE),
    },
    "visits": {**dict.fromkeys(("code", "day"), _ROWS), **dict.fromkeys(("urgent", "nights"), _FREE)},
}
"""Pressure, lab and cost stay protected: they are summed and averaged, never compared."""


def federation(folder: Path) -> Session:
    """The three sites, each with a fresh ledger."""
    sites: dict[str, Any] = {}
    for site, engine in SITES.items():
        tables: dict[str, Any] = {
            "codes": {
                "platform": engine,
                "source": str(folder / "codes.parquet"),
                "replicated": True,
                "policy": _ROWS,
            }
        }
        for name, columns in COLUMNS.items():
            tables[name] = {
                "platform": engine,
                "source": str(folder / f"{site}-{name}.parquet"),
                "partition": {"by": ["pid"], "scheme": "people"},
                "policy": {
                    "release": "aggregates",
                    "min_group": LEAST,
                    "privacy_unit": "pid",
                    "columns": columns,
                },
            }
        platforms: dict[str, Any] = {"duckdb": {"kind": "duckdb", "threads": 1}}
        if engine != "duckdb":
            platforms[engine] = {"kind": engine}
        sites[site] = {"platforms": platforms, "tables": tables}
    return bl.connect({"sites": sites})


@dataclass(frozen=True)
class Tables:
    """The federated tables, as an analyst holds them."""

    fed: Session
    p: ibis.Table
    v: ibis.Table
    codes: ibis.Table


def tables(fed: Session) -> Tables:
    return Tables(fed, fed.table("patients"), fed.table("visits"), fed.table("codes"))


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes:
        ask: The pipeline.
        answer: What it is in SQL, over the rows `r` of the cells that pass.
        keys: The keys of its guarded groups.
        rows: The rows that are grouped, with their site.
        sets: What its figures range over and fold.
        units: The columns whose distinct values are counted.
    """

    ask: Callable[[Tables], Any]
    answer: str
    keys: tuple[str, ...] = ()
    rows: str = "SELECT * FROM patients"
    sets: tuple[Any, ...] = ()
    units: tuple[str, ...] = ("pid",)

    def release(self) -> Any:
        return reference.Release(self.rows, self.keys, self.units, LEAST, self.sets)


VISITS = "SELECT * FROM visits"
MET = "SELECT v.*, p.sex, p.ward, p.age FROM visits v JOIN patients p USING (pid, site)"
"""Visits and their patients."""

BAND = "CASE WHEN age < 18 THEN 'child' WHEN age < 65 THEN 'adult' ELSE 'old' END"
EACH = "SELECT site, pid, sum(cost) AS cost, count(*) AS n FROM visits GROUP BY site, pid"


def _band(t: ibis.Table) -> ibis.Table:
    return t.mutate(band=ibis.cases((_.age < 18, "child"), (_.age < 65, "adult"), else_="old"))


def _size(*values: str, where: str = "true") -> Any:
    return Rows(where, sizes=values)


def _spread(*values: str, where: str = "true") -> Any:
    return Rows(where, sizes=(), spreads=values, perhaps=values)


def _rolling(t: Tables) -> Any:
    months = t.v.group_by(month=_.day.truncate("M")).agg(cost=_.cost.sum())
    return months.mutate(
        rolling=_.cost.mean().over(ibis.window(order_by="month", preceding=2, following=0))
    ).order_by("month")


def _survival(t: Tables) -> Any:
    months = t.p.group_by("months").agg(n=_.count(), events=_.died.sum())
    after = ibis.window(order_by="months", preceding=0)
    return months.mutate(at_risk=_.n.sum().over(after)).mutate(hazard=_.events / _.at_risk).order_by("months")


def _standardised(t: Tables) -> Any:
    standard = t.fed.from_arrow(pa.table({"band": ["child", "adult", "old"], "share": [0.2, 0.6, 0.2]}))
    rates = _band(t.p).group_by("band").agg(rate=_.died.mean())
    return rates.join(standard, "band").agg(rate=(_.rate * _.share).sum())


ANALYSES: Mapping[str, Analysis] = {
    "patients by ward": Analysis(
        lambda t: t.p.group_by("ward").agg(n=_.count()), "SELECT ward, count(*) FROM r GROUP BY ward", ("ward",),
    ),
    "death rate by ward": Analysis(
        lambda t: t.p.group_by("ward").agg(rate=_.died.mean()), "SELECT ward, avg(died::INT) FROM r GROUP BY ward", ("ward",),
        sets=(_size("died::INT"),),
    ),
    "mean and deviation by sex": Analysis(
        lambda t: t.p.group_by("sex").agg(m=_.pressure.mean(), s=_.pressure.std(), n=_.count()),
        "SELECT sex, avg(pressure), stddev_samp(pressure), count(*) FROM r GROUP BY sex", ("sex",),
        sets=(Rows(sizes=("pressure",), spreads=("pressure",)),),
    ),
    "size of a cohort": Analysis(
        lambda t: t.p.filter(_.age >= 65, _.smoker).count(), "SELECT count(*) FROM r",
        rows="SELECT * FROM patients WHERE age >= 65 AND smoker",
    ),
    "mean of a cohort": Analysis(
        lambda t: t.p.filter(_.age >= 65, ~_.smoker).agg(m=_.pressure.mean(), n=_.count()),
        "SELECT avg(pressure), count(*) FROM r", rows="SELECT * FROM patients WHERE age >= 65 AND NOT smoker",
        sets=(_size("pressure"),),
    ),
    "correlation": Analysis(
        lambda t: t.p.group_by("sex").agg(r=_.pressure.corr(_.weight)), "SELECT sex, corr(pressure, weight) FROM r GROUP BY sex",
        ("sex",), sets=(_spread("pressure", "weight"),),
    ),
    "correlation at one site": Analysis(
        lambda t: t.fed.table("patients", site="north").agg(r=_.pressure.corr(_.weight)),
        "SELECT corr(pressure, weight) FROM r", rows="SELECT * FROM patients WHERE site = 'north'",
        sets=(_spread("pressure", "weight"),),
    ),
    "covariance matrix": Analysis(
        lambda t: t.p.agg(a=_.pressure.cov(_.weight), b=_.pressure.cov(_.age), c=_.weight.cov(_.age), d=_.pressure.var()),
        "SELECT covar_samp(pressure, weight), covar_samp(pressure, age), covar_samp(weight, age), var_samp(pressure) FROM r",
        sets=(_spread("pressure", "weight", "age"),),
    ),
    "regression line": Analysis(
        lambda t: t.p.group_by("sex").agg(slope=_.pressure.cov(_.age) / _.age.var(), y=_.pressure.mean(), x=_.age.mean())
        .mutate(intercept=_.y - _.slope * _.x),
        "SELECT sex, regr_slope(pressure, age), avg(pressure), avg(age), regr_intercept(pressure, age) FROM r GROUP BY sex",
        ("sex",), sets=(Rows(sizes=("pressure", "age"), spreads=("pressure", "age")),),
    ),
    "regression sums": Analysis(
        lambda t: t.p.agg(n=_.count(), x=_.age.sum(), y=_.pressure.sum(), xy=(_.age * _.pressure).sum(), xx=(_.age * _.age).sum()),
        "SELECT count(*), sum(age), sum(pressure), sum(age * pressure), sum(age * age) FROM r",
        sets=(_size("age", "pressure", "age * pressure", "age * age"),),
    ),
    "histogram of ages": Analysis(
        lambda t: t.p.group_by(decade=_.age // 10 * 10).agg(n=_.count()).order_by("decade"),
        "SELECT decade, count(*) FROM r GROUP BY 1 ORDER BY 1", ("decade",), "SELECT *, age // 10 * 10 AS decade FROM patients",
    ),
    "histogram of a computed index": Analysis(
        lambda t: t.p.mutate(bmi=_.weight / (_.height * _.height) * 10000).group_by(bin=(_.bmi / 5).floor()).agg(n=_.count()),
        "SELECT bin, count(*) FROM r GROUP BY 1", ("bin",),
        "SELECT *, floor(weight / (height * height) * 10000 / 5)::BIGINT AS bin FROM patients",
    ),
    "cumulative shares of a histogram": Analysis(
        lambda t: t.p.group_by(kg=_.weight.floor() // 10).agg(n=_.count()).mutate(
            share=_.n.sum().over(ibis.window(order_by="kg", following=0)) / _.n.sum().over(ibis.window())
        ),
        "SELECT kg, n, sum(n) OVER (ORDER BY kg) / sum(n) OVER () FROM (SELECT kg, count(*) AS n FROM r GROUP BY 1)", ("kg",),
        "SELECT *, floor(weight)::BIGINT // 10 AS kg FROM patients",
    ),
    "survival by month": Analysis(
        _survival,
        """SELECT months, n, events, sum(n) OVER w, events / sum(n) OVER w
           FROM (SELECT months, count(*) AS n, sum(died::INT) AS events FROM r GROUP BY 1)
           WINDOW w AS (ORDER BY months ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) ORDER BY 1""",
        ("months",), sets=(_size("died::INT"),),
    ),
    "top wards": Analysis(
        lambda t: t.p.group_by("ward").agg(m=_.pressure.mean()).order_by(ibis.desc("m")).limit(2),
        "SELECT ward, avg(pressure) FROM r GROUP BY 1 ORDER BY 2 DESC LIMIT 2", ("ward",), sets=(_size("pressure"),),
    ),
    "ranks of regions": Analysis(
        lambda t: t.p.group_by("region").agg(m=_.pressure.mean()).mutate(rank=ibis.rank().over(order_by=ibis.desc("m"))),
        "SELECT *, rank() OVER (ORDER BY m DESC) - 1 FROM (SELECT region, avg(pressure) AS m FROM r GROUP BY 1)", ("region",),
        sets=(_size("pressure"),),
    ),
    "contingency table": Analysis(
        lambda t: t.p.group_by("sex", "smoker").agg(n=_.count()), "SELECT sex, smoker, count(*) FROM r GROUP BY 1, 2",
        ("sex", "smoker"),
    ),
    "table with small cells": Analysis(
        lambda t: t.p.group_by("ward", "sex").agg(n=_.count()), "SELECT ward, sex, count(*) FROM r GROUP BY 1, 2", ("ward", "sex"),
    ),
    "table as columns": Analysis(
        lambda t: t.p.group_by("region").agg(f=_.count(where=_.sex == "f"), m=_.count(where=_.sex == "m")),
        "SELECT region, count(*) FILTER (WHERE sex = 'f'), count(*) FILTER (WHERE sex = 'm') FROM r GROUP BY 1", ("region",),
        sets=(Rows("sex = 'f'"), Rows("sex = 'm'")),
    ),
    "odds ratio": Analysis(
        lambda t: t.p.agg(
            a=_.count(where=_.smoker & _.died), b=_.count(where=_.smoker & ~_.died),
            c=_.count(where=~_.smoker & _.died), d=_.count(where=~_.smoker & ~_.died),
        ).select(ratio=(_.a * _.d) / (_.b * _.c)),
        """SELECT count(*) FILTER (WHERE smoker AND died) * count(*) FILTER (WHERE NOT smoker AND NOT died)
           / (count(*) FILTER (WHERE smoker AND NOT died) * count(*) FILTER (WHERE NOT smoker AND died)) FROM r""",
        sets=(Rows("smoker AND died"), Rows("smoker AND NOT died"), Rows("NOT smoker AND died"), Rows("NOT smoker AND NOT died")),
    ),
    "age bands by CASE": Analysis(
        lambda t: _band(t.p).group_by("band").agg(n=_.count(), m=_.pressure.mean()),
        "SELECT band, count(*), avg(pressure) FROM r GROUP BY 1", ("band",), f"SELECT *, {BAND} AS band FROM patients",
        (_size("pressure"),),
    ),
    "a standardised rate": Analysis(
        _standardised,
        "SELECT sum(rate * CASE band WHEN 'adult' THEN 0.6 ELSE 0.2 END) FROM (SELECT band, avg(died::INT) AS rate FROM r GROUP BY 1)",
        ("band",), f"SELECT *, {BAND} AS band FROM patients", (_size("died::INT"),),
    ),
    "difference of means": Analysis(
        lambda t: t.p.agg(d=_.pressure.mean(where=_.smoker) - _.pressure.mean(where=~_.smoker)),
        "SELECT avg(pressure) FILTER (WHERE smoker) - avg(pressure) FILTER (WHERE NOT smoker) FROM r",
        sets=(_size("pressure", where="smoker"), _size("pressure", where="NOT smoker")),
    ),
    "t statistic": Analysis(
        lambda t: t.p.group_by("smoker").agg(m=_.pressure.mean(), v=_.pressure.var(), n=_.count()).agg(
            d=(_.m * _.smoker.ifelse(1, -1)).sum(), e=(_.v / _.n).sum()
        ).select(t=_.d / _.e.sqrt()),
        """SELECT sum(m * if(smoker, 1, -1)) / sqrt(sum(v / n))
           FROM (SELECT smoker, avg(pressure) AS m, var_samp(pressure) AS v, count(*) AS n FROM r GROUP BY 1)""",
        ("smoker",), sets=(Rows(sizes=("pressure",), spreads=("pressure",)),),
    ),
    "coefficient of variation": Analysis(
        lambda t: t.p.group_by("region").agg(cv=_.pressure.std() / _.pressure.mean()),
        "SELECT region, stddev_samp(pressure) / avg(pressure) FROM r GROUP BY 1", ("region",),
        sets=(Rows(sizes=("pressure",), spreads=("pressure",)),),
    ),
    "weighted mean": Analysis(
        lambda t: t.p.group_by("sex").agg(m=(_.pressure * _.weight).sum() / _.weight.sum()),
        "SELECT sex, sum(pressure * weight) / sum(weight) FROM r GROUP BY 1", ("sex",),
        sets=(_size("pressure * weight", "weight"),),
    ),
    "how many have a value": Analysis(
        lambda t: t.p.group_by("sex").agg(n=_.count(), known=_.lab.count(), m=_.lab.mean()),
        "SELECT sex, count(*), count(lab), avg(lab) FROM r GROUP BY 1", ("sex",), sets=(_size("lab", where="lab IS NOT NULL"),),
    ),
    "z-scores of released means": Analysis(
        lambda t: t.p.group_by("region").agg(m=_.pressure.mean()).mutate(z=(_.m - _.m.mean()) / _.m.std()),
        """SELECT region, m, (m - avg(m) OVER ()) / stddev_samp(m) OVER ()
           FROM (SELECT region, avg(pressure) AS m FROM r GROUP BY 1)""",
        ("region",), sets=(_size("pressure"),),
    ),
    "share of the total": Analysis(
        lambda t: t.p.group_by("region").agg(n=_.count()).mutate(share=_.n / _.n.sum()),
        "SELECT region, n, n / sum(n) OVER () FROM (SELECT region, count(*) AS n FROM r GROUP BY 1)", ("region",),
    ),
    "index against the whole": Analysis(
        lambda t: t.p.group_by("sex").agg(s=_.pressure.sum(), n=_.count()).mutate(i=(_.s / _.n) / (_.s.sum() / _.n.sum())),
        """SELECT sex, s, n, (s / n) / (sum(s) OVER () / sum(n) OVER ())
           FROM (SELECT sex, sum(pressure) AS s, count(*) AS n FROM r GROUP BY 1)""",
        ("sex",), sets=(_size("pressure"),),
    ),
    "year over year": Analysis(
        lambda t: t.v.group_by(year=_.day.year()).agg(cost=_.cost.sum()).mutate(
            change=_.cost / _.cost.lag().over(order_by="year") - 1
        ).order_by("year"),
        """SELECT year, cost, cost / lag(cost) OVER (ORDER BY year) - 1
           FROM (SELECT year, sum(cost) AS cost FROM r GROUP BY 1) ORDER BY 1""",
        ("year",), "SELECT *, year(day) AS year FROM visits", (_size("cost"),),
    ),
    "rolling by month": Analysis(
        _rolling,
        """SELECT month, cost, avg(cost) OVER (ORDER BY month ROWS 2 PRECEDING)
           FROM (SELECT month, sum(cost) AS cost FROM r GROUP BY 1) ORDER BY 1""",
        ("month",), "SELECT *, date_trunc('month', day)::DATE AS month FROM visits", (_size("cost"),),
    ),
    "running total": Analysis(
        lambda t: t.v.group_by(quarter=_.day.quarter()).agg(n=_.count()).mutate(
            total=_.n.sum().over(ibis.window(order_by="quarter", following=0))
        ),
        "SELECT quarter, n, sum(n) OVER (ORDER BY quarter) FROM (SELECT quarter, count(*) AS n FROM r GROUP BY 1)", ("quarter",),
        "SELECT *, quarter(day) AS quarter FROM visits",
    ),
    "ratio of sums": Analysis(
        lambda t: t.v.group_by("code").agg(a_night=_.cost.sum() / _.nights.sum()),
        "SELECT code, sum(cost) / sum(nights) FROM r GROUP BY 1", ("code",), VISITS, (_size("cost", "nights"),),
    ),
    "having": Analysis(
        lambda t: t.fed.sql("SELECT code, count(*) AS n FROM visits GROUP BY code HAVING count(*) > 1600"),
        "SELECT code, count(*) FROM r GROUP BY 1 HAVING count(*) > 1600", ("code",), VISITS,
    ),
    "distinct patients by code": Analysis(
        lambda t: t.v.group_by("code").agg(people=_.pid.nunique()), "SELECT code, count(DISTINCT pid) FROM r GROUP BY 1",
        ("code",), VISITS,
    ),
    "visits a patient": Analysis(
        lambda t: t.v.group_by("urgent").agg(mean=_.count() / _.pid.nunique()),
        "SELECT urgent, count(*) / count(DISTINCT pid) FROM r GROUP BY 1", ("urgent",), VISITS,
    ),
    "cost by ward": Analysis(
        lambda t: t.v.join(t.p, "pid").group_by("ward").agg(cost=_.cost.mean(), n=_.count()),
        "SELECT ward, avg(cost), count(*) FROM r GROUP BY 1", ("ward",), MET, (_size("cost"),),
    ),
    "cost by chapter of the code list": Analysis(
        lambda t: t.v.join(t.codes, "code").group_by("chapter").agg(cost=_.cost.sum()),
        "SELECT chapter, sum(cost) FROM r GROUP BY 1", ("chapter",), "SELECT * FROM visits JOIN codes USING (code)",
        (_size("cost"),),
    ),
    "points of the code list": Analysis(
        lambda t: t.v.join(t.codes, "code").group_by("urgent").agg(points=(_.points * _.nights).sum(), mean=_.points.mean()),
        "SELECT urgent, sum(points * nights), avg(points) FROM r GROUP BY 1", ("urgent",),
        "SELECT * FROM visits JOIN codes USING (code)", (_size("points * nights", "points"),),
    ),
    "conditional sum": Analysis(
        lambda t: t.v.join(t.p, "pid").group_by("sex").agg(urgent=_.urgent.ifelse(_.cost, 0).sum(), all=_.cost.sum()),
        "SELECT sex, sum(CASE WHEN urgent THEN cost ELSE 0 END), sum(cost) FROM r GROUP BY 1", ("sex",), MET,
        (_size("cost", where="urgent"), _size("cost")),
    ),
    "conditional sum by CASE in SQL": Analysis(
        lambda t: t.fed.sql("SELECT code, sum(CASE WHEN nights > 7 THEN cost END) AS long FROM visits GROUP BY code"),
        "SELECT code, sum(CASE WHEN nights > 7 THEN cost END) FROM r GROUP BY 1", ("code",), VISITS,
        (_size("cost", where="nights > 7"),),
    ),
    "how often people come": Analysis(
        lambda t: t.v.group_by("pid").agg(n=_.count()).group_by("n").agg(people=_.count()),
        "SELECT n, count(*) FROM r GROUP BY 1", ("n",), EACH,
    ),
    "cost a patient": Analysis(
        lambda t: t.v.group_by("pid").agg(cost=_.cost.sum()).agg(mean=_.cost.mean(), deviation=_.cost.std()),
        "SELECT avg(cost), stddev_samp(cost) FROM r", rows=EACH, sets=(Rows(sizes=("cost",), spreads=("cost",)),),
    ),
    "patients with a diagnosis": Analysis(
        lambda t: t.p.semi_join(t.v.filter(_.code == "I21"), "pid").group_by("sex").agg(n=_.count()),
        "SELECT sex, count(*) FROM r GROUP BY 1", ("sex",),
        "SELECT * FROM patients WHERE pid IN (SELECT pid FROM visits WHERE code = 'I21')",
    ),
    "visits by age band and sex": Analysis(
        lambda t: _band(t.v.join(t.p, "pid")).group_by("band", "sex").agg(n=_.count(), nights=_.nights.mean()),
        "SELECT band, sex, count(*), avg(nights) FROM r GROUP BY 1, 2", ("band", "sex"), f"SELECT *, {BAND} AS band FROM ({MET})",
        (_size("nights"),),
    ),
}  # fmt: skip
