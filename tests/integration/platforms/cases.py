"""The conformance suite's cases: name -> an Ibis expression over the tables of conftest's `DATA`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis
from ibis import _

Tables = Mapping[str, Any]
Case = Callable[[Tables], Any]

VALUES: Mapping[str, Callable[[Any], Any]] = {
    # arithmetic
    "add int": lambda t: t.age + t.id,
    "subtract int": lambda t: t.age - 100,
    "multiply int": lambda t: t.age * t.id,
    "negate int": lambda t: -t.age,
    "abs int": lambda t: t.age.abs(),
    "divide int by constant": lambda t: t.age / 4,
    "divide int by column": lambda t: t.age / t.id,
    "divide by zero": lambda t: t.id / t.age,
    "floor divide negatives": lambda t: t.age // 4,
    "modulus negatives": lambda t: t.age % 4,
    "modulus by column": lambda t: (t.id - 5) % (t.age.abs() + 1),
    "add float": lambda t: t.score + 0.25,
    "multiply float": lambda t: t.score * t.score,
    "multiply int float": lambda t: t.score * t.age,
    "divide float": lambda t: t.score / 3.0,
    "negate float": lambda t: -t.score,
    "power": lambda t: t.age**2,
    "sqrt": lambda t: t.score.abs().sqrt(),
    "exp": lambda t: (t.age / 100).exp(),
    "ln": lambda t: (t.score.abs() + 1).ln(),
    "log2": lambda t: (t.score.abs() + 1).log2(),
    "log10": lambda t: (t.score.abs() + 1).log10(),
    "sin": lambda t: (t.age * 0.1).sin(),
    "cos": lambda t: (t.age * 0.1).cos(),
    "atan2": lambda t: (t.age * 0.1).atan2(2.0),
    "sign": lambda t: t.age.sign(),
    "round": lambda t: t.score.round(),
    "round digits": lambda t: (t.score * 1.23456).round(2),
    "floor": lambda t: t.score.floor(),
    "ceil": lambda t: t.score.ceil(),
    "greatest with nulls": lambda t: ibis.greatest(t.age, t.id),
    "least with nulls": lambda t: ibis.least(t.age, t.id),
    "clip": lambda t: t.age.clip(0, 10),
    "bit and": lambda t: t.id & 3,
    "bit or": lambda t: t.id | 8,
    "bit xor": lambda t: t.id ^ 5,
    "shift left": lambda t: t.id << 2,
    "add decimal": lambda t: t.owed + t.owed,
    "multiply decimal": lambda t: t.owed * t.owed,
    "decimal column": lambda t: t.owed,
    # comparison and logic
    "equals text": lambda t: t.name == "ada",
    "not equals null": lambda t: t.city != "oslo",
    "less int": lambda t: t.age < 7,
    "greater equal float": lambda t: t.score >= 1.5,
    "compare text order": lambda t: t.name > "bob",
    "compare non-ascii order": lambda t: t.name >= "Ž",
    "compare int with float": lambda t: t.age < t.score,
    "between": lambda t: t.age.between(0, 10),
    "between dates": lambda t: t.born.between(date(2000, 1, 1), date(2020, 12, 31)),
    "in list": lambda t: t.city.isin(["oslo", "東京"]),
    "not in list": lambda t: t.city.notin(["oslo", "東京"]),
    "in empty list": lambda t: t.city.isin([]),
    "is null": lambda t: t.age.isnull(),
    "not null": lambda t: t.name.notnull(),
    "identical to": lambda t: t.age.identical_to(t.id - 8),
    "and or three-valued": lambda t: (t.active & (t.age > 0)) | (t.score > 2),
    "not": lambda t: ~t.active,
    "xor": lambda t: t.active ^ (t.age > 0),
    "equals decimal": lambda t: t.owed == Decimal("10.25"),
    "less decimal": lambda t: t.owed < Decimal("1.00"),
    "equals date": lambda t: t.born == date(2020, 2, 29),
    "less timestamp": lambda t: t.seen < datetime.fromisoformat("2020-01-31 23:59:59.123457"),
    "equals timestamp micros": lambda t: t.seen == datetime.fromisoformat("1970-01-01 00:00:00.000001"),
    "equals bool": lambda t: t.active == True,  # noqa: E712
    # conditional
    "coalesce": lambda t: ibis.coalesce(t.age, t.id * 10),
    "fill null": lambda t: t.name.fill_null("?"),
    "null if": lambda t: t.age.nullif(7),
    "if else": lambda t: (t.age > 0).ifelse("old", "young"),
    "simple case": lambda t: t.city.cases(("oslo", 1), ("Köln", 2), else_=0),
    "searched case": lambda t: ibis.cases((t.age < 0, "neg"), (t.age == 0, "zero"), else_="pos"),
    "searched case no else": lambda t: ibis.cases((t.age < 0, t.age)),
    # text
    "upper": lambda t: t.name.upper(),
    "lower": lambda t: t.name.lower(),
    "length": lambda t: t.name.length(),
    "concat": lambda t: t.name + "/" + t.city,
    "contains": lambda t: t.name.contains("a"),
    "contains column": lambda t: t.name.contains(t.city),
    "starts with": lambda t: t.name.startswith("ad"),
    "starts with wildcard": lambda t: t.name.startswith("O'H_r"),
    "ends with": lambda t: t.name.endswith("_%"),
    "like": lambda t: t.name.like("%a%"),
    "like one": lambda t: t.name.like("_da"),
    "like anchored": lambda t: t.name.like("A%"),
    "ilike": lambda t: t.name.ilike("%A%"),
    "substring": lambda t: t.name.substr(1, 2),
    "left": lambda t: t.name.left(2),
    "right": lambda t: t.name.right(2),
    "strip": lambda t: (t.name + " ").strip(),
    "lstrip": lambda t: (" " + t.name).lstrip(),
    "rstrip": lambda t: t.name.rstrip(),
    "replace": lambda t: t.name.replace("a", "<a>"),
    "reverse": lambda t: t.name.reverse(),
    "repeat": lambda t: t.name.repeat(2),
    "pad left": lambda t: t.city.lpad(6, "*"),
    "pad right": lambda t: t.city.rpad(6, "*"),
    "find": lambda t: t.name.find("a"),
    "regex search": lambda t: t.name.re_search("^[A-Z]"),
    "regex extract": lambda t: t.name.re_extract("([a-z]+)", 1),
    "regex replace": lambda t: t.name.re_replace("[aeiou]", "."),
    "ascii code": lambda t: t.city.ascii_str(),
    "capitalize": lambda t: t.city.capitalize(),
    "translate": lambda t: t.city.translate("os", "xy"),
    "split": lambda t: t.city.split("l"),
    # dates and times
    "date column": lambda t: t.born,
    "timestamp column": lambda t: t.seen,
    "year": lambda t: t.born.year(),
    "month": lambda t: t.born.month(),
    "day": lambda t: t.born.day(),
    "quarter": lambda t: t.born.quarter(),
    "day of year": lambda t: t.born.day_of_year(),
    "week of year": lambda t: t.born.week_of_year(),
    "day of week index": lambda t: t.born.day_of_week.index(),
    "day of week name": lambda t: t.born.day_of_week.full_name(),
    "year of timestamp": lambda t: t.seen.year(),
    "day of week of timestamp": lambda t: t.seen.day_of_week.index(),
    "day of year of timestamp": lambda t: t.seen.day_of_year(),
    "hour": lambda t: t.seen.hour(),
    "minute": lambda t: t.seen.minute(),
    "second": lambda t: t.seen.second(),
    "millisecond": lambda t: t.seen.millisecond(),
    "epoch seconds": lambda t: t.seen.epoch_seconds(),
    "truncate date month": lambda t: t.born.truncate("M"),
    "truncate date year": lambda t: t.born.truncate("Y"),
    "truncate date week": lambda t: t.born.truncate("W"),
    "truncate timestamp hour": lambda t: t.seen.truncate("h"),
    "truncate timestamp day": lambda t: t.seen.truncate("D"),
    "timestamp to date": lambda t: t.seen.date(),
    "add days": lambda t: t.born + ibis.interval(days=40),
    "subtract months": lambda t: t.born - ibis.interval(months=1),
    "timestamp add hours": lambda t: t.seen + ibis.interval(hours=30),
    "days between": lambda t: t.born.delta(date(2000, 1, 1), unit="day"),
    "date from parts": lambda t: ibis.date(t.id + 1999, 2, 28),
    "format date": lambda t: t.born.strftime("%Y/%m"),
    # casts
    "int to float": lambda t: t.age.cast("float64"),
    "int to text": lambda t: t.age.cast("string"),
    "int to decimal": lambda t: t.age.cast("decimal(10, 2)"),
    "int to small int": lambda t: t.age.cast("int16"),
    "float to int": lambda t: t.id.cast("float64").cast("int64"),
    "float to int rounds": lambda t: (t.id / 4).cast("int64"),
    "bool to int": lambda t: t.active.cast("int64"),
    "text to int": lambda t: t.id.cast("string").cast("int64"),
    "text to date": lambda t: t.born.cast("string").cast("date"),
    "date to text": lambda t: t.born.cast("string"),
    "date to timestamp": lambda t: t.born.cast("timestamp"),
    "timestamp to date by cast": lambda t: t.seen.cast("date"),
    "decimal to float": lambda t: t.owed.cast("float64"),
    # windows
    "row number": lambda t: ibis.row_number().over(order_by=t.id),
    "row number by group": lambda t: ibis.row_number().over(group_by=t.city, order_by=[t.age, t.id]),
    "rank ties": lambda t: ibis.rank().over(order_by=t.score),
    "dense rank desc": lambda t: ibis.dense_rank().over(order_by=ibis.desc(t.score)),
    "percent rank": lambda t: ibis.percent_rank().over(order_by=t.score),
    "cume dist": lambda t: ibis.cume_dist().over(order_by=t.score),
    "ntile": lambda t: ibis.ntile(3).over(order_by=t.id),
    "lag": lambda t: t.age.lag(1).over(order_by=t.id),
    "lead by group": lambda t: t.age.lead(2).over(group_by=t.city, order_by=t.id),
    "first value": lambda t: t.name.first().over(group_by=t.city, order_by=t.id, rows=(None, None)),
    "running sum": lambda t: t.age.sum().over(order_by=t.id, rows=(None, 0)),
    "moving mean": lambda t: t.score.mean().over(order_by=t.id, rows=(1, 1)),
    "group share": lambda t: t.age / t.age.sum().over(group_by=t.city) * 2,
    "group max": lambda t: t.age.max().over(group_by=t.city),
    "group count": lambda t: t.age.count().over(group_by=t.active),
    # subqueries
    "scalar subquery": lambda t: t.age - t.age.max().as_scalar(),
}
"""A value of `people`, compared row by row."""

METRICS: Mapping[str, Callable[[Any], Any]] = {
    "count rows": lambda t: t.count(),
    "count values": lambda t: t.age.count(),
    "count distinct": lambda t: t.age.nunique(),
    "count where": lambda t: t.age.count(where=t.active),
    "count rows where": lambda t: t.count(where=t.age > 0),
    "sum int": lambda t: t.age.sum(),
    "sum int where": lambda t: t.age.sum(where=t.score > 0),
    "sum float": lambda t: t.score.sum(),
    "sum decimal": lambda t: t.owed.sum(),
    "sum bool": lambda t: t.active.sum(),
    "sum of expression": lambda t: (t.age * 2 + t.id).sum(),
    "mean int": lambda t: t.age.mean(),
    "mean float": lambda t: t.score.mean(),
    "mean where": lambda t: t.age.mean(where=t.active),
    "min max int": lambda t: t.age.max() - t.age.min(),
    "min text": lambda t: t.name.min(),
    "max text": lambda t: t.name.max(),
    "min date": lambda t: t.born.min(),
    "max timestamp": lambda t: t.seen.max(),
    "max decimal": lambda t: t.owed.max(),
    "variance sample": lambda t: t.age.var(how="sample"),
    "variance population": lambda t: t.age.var(how="pop"),
    "deviation sample": lambda t: t.age.std(how="sample"),
    "deviation where": lambda t: t.age.std(how="pop", where=t.active),
    "covariance population": lambda t: t.age.cov(t.id, how="pop"),
    "covariance sample": lambda t: t.age.cov(t.id, how="sample"),
    "correlation population": lambda t: t.age.corr(t.id, how="pop"),
    "median": lambda t: t.age.median(),
    "quantile": lambda t: t.age.quantile(0.25),
    "any": lambda t: t.active.any(),
    "all": lambda t: t.active.all(),
    "arg max": lambda t: t.name.argmax(t.id),
    "first ordered": lambda t: t.name.first(order_by=t.id),
    "join text ordered": lambda t: t.name.group_concat("|", order_by=t.id),
    "bit and of": lambda t: t.id.bit_and(),
    "bit or of": lambda t: t.id.bit_or(),
    "bit xor of": lambda t: t.id.bit_xor(),
    "collect ordered": lambda t: t.id.collect(order_by=t.id),
    "kurtosis": lambda t: t.score.kurtosis(),
}
"""A fold of `people`, by city and overall."""


def _grouped(fold: Callable[[Any], Any]) -> Case:
    return lambda tables: tables["people"].group_by("city").agg(v=fold(tables["people"]))


def _overall(table: str, fold: Callable[[Any], Any]) -> Case:
    return lambda tables: tables[table].agg(v=fold(tables[table]))


def _each(value: Callable[[Any], Any]) -> Case:
    return lambda tables: tables["people"].select("id", v=value(tables["people"]))


def _visits_of(how: str) -> Case:
    def build(tables: Tables) -> Any:
        joined = tables["people"].join(
            tables["visits"], tables["people"].id == tables["visits"].person, how=how
        )
        return joined.select("id", "name", *(() if how in ("semi", "anti") else ("visit", "cost")))

    return build


def _self_join(tables: Tables) -> Any:
    people, others = tables["people"], tables["people"].view()
    joined = people.join(others, (people.city == others.city) & (people.id < others.id))
    return joined.select(a=people.id, b=others.id)


def _three_way(tables: Tables) -> Any:
    people, visits, extremes = tables["people"], tables["visits"], tables["extremes"]
    joined = people.join(visits, people.id == visits.person).left_join(extremes, people.id == extremes.id)
    return joined.select(people.id, visits.visit, extremes.big)


def _correlated_exists(tables: Tables) -> Any:
    people, visits = tables["people"], tables["visits"]
    return people.filter(((visits.person == people.id) & (visits.cost > 0)).any()).select("id")


def _shared(tables: Tables) -> Any:
    """One relation used twice."""
    grown = tables["people"].filter(_.age > 0).select("id", "age")
    return grown.union(grown.filter(_.age > 10))


def _as_of(tables: Tables) -> Any:
    people = tables["people"].filter(_.seen.notnull()).select("id", "seen")
    visits = tables["visits"].filter(_.on.notnull()).select("visit", "on")
    return people.asof_join(visits, people.seen >= visits.on).select("id", "visit")


def _ids(tables: Tables, table: str, column: str = "id") -> Any:
    return tables[table].select(k=tables[table][column])


RELATIONS: Mapping[str, Case] = {
    "scan": lambda t: t["people"],
    "scan empty": lambda t: t["empty"],
    "scan hollow": lambda t: t["hollow"],
    "scan extremes": lambda t: t["extremes"],
    "scan specials": lambda t: t["specials"],
    "select rename": lambda t: t["people"].select(b="name", a="id"),
    "constant column": lambda t: t["people"].select(
        "id", one=1, text=ibis.literal("O'x"), none=ibis.null("int64"), d=date(2020, 1, 2)
    ),
    "filter": lambda t: t["people"].filter(_.age > 0, _.active).select("id"),
    "filter null predicate": lambda t: t["people"].filter(_.active).select("id"),
    "filter nothing left": lambda t: t["people"].filter(_.age > 1000),
    "filter on empty": lambda t: t["empty"].filter(_.age > 0),
    "drop nulls": lambda t: t["people"].drop_null(["age", "city"]).select("id"),
    "filter extremes": lambda t: t["extremes"].filter(_.big > 2**53).select("id", "big"),
    "filter infinity": lambda t: t["specials"].filter(_.x > 1e300).select("id", "x"),
    "filter nan": lambda t: t["specials"].filter(_.x.isnan()).select("id"),
    "is infinite": lambda t: t["specials"].select("id", v=_.x.isinf()),
    "compare nan": lambda t: t["specials"].select("id", v=_.x > 0),
    "group by nan": lambda t: t["specials"].group_by("x").agg(n=_.count()),
    "max with nan": lambda t: t["specials"].agg(v=_.x.max()),
    "sort with nan": lambda t: t["specials"].order_by("x", "id"),
    "group by two": lambda t: t["people"].group_by("city", "active").agg(n=_.count(), s=_.age.sum()),
    "group by null key": lambda t: t["people"].group_by("city").agg(n=_.count()),
    "group by expression": lambda t: t["people"].group_by(k=_.age > 0).agg(n=_.count()),
    "group by date": lambda t: t["people"].group_by("born").agg(n=_.count()),
    "group by decimal": lambda t: t["people"].group_by("owed").agg(n=_.count()),
    "group keys only": lambda t: t["people"].group_by("city").agg(),
    "group by empty": lambda t: t["empty"].group_by("city").agg(n=_.count()),
    "having": lambda t: t["people"].group_by("city").having(_.count() > 2).agg(n=_.count()),
    "aggregate empty": lambda t: t["empty"].agg(n=_.count(), s=_.age.sum(), m=_.score.mean(), x=_.name.max()),
    "aggregate hollow": lambda t: t["hollow"].agg(
        n=_.n.count(), s=_.n.sum(), m=_.f.mean(), x=_.s.max(), d=_.n.nunique()
    ),
    "variance of one row": lambda t: (
        t["people"].filter(_.id == 1).agg(s=_.score.var(how="sample"), p=_.score.var(how="pop"))
    ),
    "sum int64 extremes": lambda t: t["extremes"].agg(v=_.big.sum()),
    "min max extremes": lambda t: t["extremes"].agg(
        a=_.big.min(), b=_.big.max(), c=_.huge.min(), d=_.huge.max()
    ),
    "distinct": lambda t: t["people"].select("city", "active").distinct(),
    "distinct count rows": lambda t: t["people"].select("city").agg(n=_.nunique()),
    "sort": lambda t: t["people"].order_by("age", "id").select("id", "age"),
    "sort desc": lambda t: t["people"].order_by(ibis.desc("age"), "id").select("id", "age"),
    "sort nulls first": lambda t: t["people"].order_by(ibis.asc("age", nulls_first=True), "id").select("id"),
    "sort desc nulls first": lambda t: (
        t["people"].order_by(ibis.desc("age", nulls_first=True), "id").select("id")
    ),
    "sort text": lambda t: t["people"].order_by("name").select("id", "name"),
    "sort bool": lambda t: t["people"].order_by("active", "id").select("id"),
    "sort date": lambda t: t["people"].order_by("born").select("id"),
    "sort decimal": lambda t: t["people"].order_by("owed", "id").select("id"),
    "sort by expression": lambda t: t["people"].order_by(-_.id).select("id"),
    "limit sorted": lambda t: t["people"].order_by("id").limit(3),
    "limit offset": lambda t: t["people"].order_by("id").limit(3, offset=8),
    "offset only": lambda t: t["people"].order_by("id").limit(None, offset=7),
    "limit zero": lambda t: t["people"].limit(0),
    "limit past end": lambda t: t["people"].limit(100),
    "top one in subquery": lambda t: t["people"].order_by(ibis.desc("age")).limit(1).select(v=_.age + 1),
    "join inner": _visits_of("inner"),
    "join left": _visits_of("left"),
    "join right": _visits_of("right"),
    "join outer": _visits_of("outer"),
    "join semi": _visits_of("semi"),
    "join anti": _visits_of("anti"),
    "join cross": lambda t: t["hollow"].select("id").cross_join(t["extremes"].select(k="id")),
    "join self": _self_join,
    "join three": _three_way,
    "join on inequality": lambda t: (
        t["people"].join(t["visits"], t["people"].age < t["visits"].cost).select("id", "visit")
    ),
    "join on text": lambda t: (
        t["people"].join(t["visits"], t["people"].city == t["visits"].place).select("id", "visit")
    ),
    "join empty": lambda t: (
        t["people"].left_join(t["empty"].select(k="id", n="name"), [("id", "k")]).select("id", "n")
    ),
    "join asof": _as_of,
    "union all": lambda t: _ids(t, "people").union(_ids(t, "visits", "person")),
    "union distinct": lambda t: _ids(t, "people").union(_ids(t, "visits", "person"), distinct=True),
    "union three": lambda t: ibis.union(_ids(t, "people"), _ids(t, "visits", "visit"), _ids(t, "hollow")),
    "intersect": lambda t: _ids(t, "people").intersect(_ids(t, "visits", "person")),
    "intersect all": lambda t: _ids(t, "visits", "person").intersect(
        _ids(t, "visits", "person"), distinct=False
    ),
    "difference": lambda t: _ids(t, "people").difference(_ids(t, "visits", "person")),
    "difference all": lambda t: _ids(t, "visits", "person").difference(_ids(t, "people"), distinct=False),
    "union of nulls": lambda t: t["hollow"].select(k="n").union(_ids(t, "visits", "person"), distinct=True),
    "in subquery": lambda t: t["people"].filter(_.id.isin(t["visits"].person)).select("id"),
    "not in subquery with nulls": lambda t: t["people"].filter(_.id.notin(t["visits"].person)).select("id"),
    "not in subquery": lambda t: t["people"].filter(_.id.notin(t["visits"].visit)).select("id"),
    "exists correlated": _correlated_exists,
    "shared relation": _shared,
    "filter on window": lambda t: (
        t["people"].mutate(r=ibis.row_number().over(order_by=_.id)).filter(_.r == 2).select("id")
    ),
    "aggregate of aggregate": lambda t: (
        t["people"].group_by("city").agg(n=_.count()).agg(m=_.n.max(), k=_.count())
    ),
    "unnest": lambda t: t["people"].select("id", parts=_.city.split("l")).unnest("parts"),
    "unnest constant": lambda t: t["hollow"].select("id", v=ibis.array([1, 2]).unnest()),
}


def _all() -> dict[str, Case]:
    found = {f"value: {name}": _each(value) for name, value in VALUES.items()}
    for name, fold in METRICS.items():
        found[f"metric by group: {name}"] = _grouped(fold)
        found[f"metric overall: {name}"] = _overall("people", fold)
        found[f"metric of nothing: {name}"] = _overall("empty", fold)
    return found | {f"relation: {name}": case for name, case in RELATIONS.items()}


CASES: Mapping[str, Case] = _all()
