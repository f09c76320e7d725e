"""Values at the edges of types: an engine gives DuckDB's answer, raises where DuckDB raises, or says before that it cannot."""

from __future__ import annotations

import datetime as dt
import importlib.util
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import ibis
import pyarrow as pa
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, Platform


def _sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edges_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = _sibling("conftest")
conformance = _sibling("test_conformance")
Platforms = Callable[[str], Platform]

_stamp = dt.datetime.fromisoformat
BIG = 2**63 - 1
ROWS: Mapping[str, pa.Table] = {
    "whole": pa.table({"id": [1, 2, 3, 4], "a": [BIG, -BIG - 1, 0, None], "b": [BIG, -1, 7, 2]}),
    "small": pa.table({"id": [1, 2, 3], "a": pa.array([2**31 - 1, -(2**31), 5], pa.int32()), "b": [3, -3, 0]}),
    "real": pa.table(
        {
            "id": [1, 2, 3, 4, 5, 6, 7],
            "x": [0.0, -0.0, 2.5, -2.5, 0.5, None, 3.5],
            "y": [0.0, 1.0, 2.0, -1.0, 0.125, 1.0, 1.005],
        }
    ),
    "odd": pa.table({"id": [1, 2, 3, 4, 5], "x": [math.nan, 1.0, math.inf, None, -1.0]}),
    "money": pa.table(
        {
            "id": [1, 2, 3, 4],
            "d": pa.array([Decimal("2.50"), Decimal("-3.50"), Decimal("0.49"), None], pa.decimal128(12, 2)),
        }
    ),
    "words": pa.table({"id": [1, 2, 3, 4, 5, 6], "s": [" a\t", "A", "a", "straße", "", None], "t": ["a", "a ", "A", "", "x", "y"]}),
    "days": pa.table(
        {
            "id": [1, 2, 3, 4, 5],
            "d": pa.array([dt.date(1969, 12, 31), dt.date(2020, 2, 29), dt.date(1900, 3, 1), None, dt.date(2024, 12, 30)]),
            "t": pa.array(
                [
                    _stamp("1969-12-31 23:59:59.999999"), _stamp("2020-02-29 12:00:00"), _stamp("1900-01-01 00:00:01"), None,
                    _stamp("2024-12-30 07:08:09.000010"),
                ],
                pa.timestamp("us"),
            ),
        }
    ),
}  # fmt: skip

Build = Callable[[Any], Any]


def _each(**values: Build) -> Build:
    return lambda t: t.select("id", **{name: value(t) for name, value in values.items()})


EDGES: Mapping[str, tuple[str, Build]] = {
    "sum past 64 bits": ("whole", lambda t: t.agg(v=_.b.sum())),
    "sum of maxima": ("whole", lambda t: t.filter(_.b > 5).agg(v=_.b.sum())),
    "add overflows": ("whole", _each(v=lambda t: t.a + t.b)),
    "add near the edge": ("whole", lambda t: t.filter(_.id > 1).select("id", v=_.a + 1)),
    "subtract overflows": ("whole", _each(v=lambda t: t.a - 2)),
    "multiply overflows": ("whole", _each(v=lambda t: t.a * 2)),
    "negate the least": ("whole", _each(v=lambda t: -t.a)),
    "abs of the least": ("whole", _each(v=lambda t: t.a.abs())),
    "narrow overflows": ("whole", _each(v=lambda t: t.b.cast("int16"))),
    "mean of maxima": ("whole", lambda t: t.agg(v=_.b.mean())),
    "remainder by zero": ("small", _each(v=lambda t: t.id % t.b)),
    "quotients of small": ("small", _each(v=lambda t: t.b / t.id)),
    "sum of small": ("small", lambda t: t.agg(v=_.a.sum())),
    "zeros are one group": ("real", lambda t: t.group_by("x").agg(n=_.count())),
    "zeros are one value": ("real", lambda t: t.select("x").distinct().agg(n=_.count())),
    "zeros tie": ("real", _each(v=lambda t: ibis.rank().over(order_by=t.x))),
    "zeros share a window": ("real", _each(v=lambda t: ibis.row_number().over(group_by=t.x, order_by=t.id))),
    "zeros are equal": ("real", _each(v=lambda t: t.x == 0.0, w=lambda t: t.x >= 0.0, u=lambda t: t.x < 0.0)),
    "zeros in a list": ("real", _each(v=lambda t: t.x.isin([0.0, 9.0]))),
    "zeros join": ("real", lambda t: t.join(t.view(), "x").agg(n=_.count())),
    "divide by zeros": ("real", _each(v=lambda t: t.y / t.x)),
    "halves to int": ("real", _each(v=lambda t: t.x.cast("int64"))),
    "round halves": ("real", _each(v=lambda t: t.x.round(), w=lambda t: t.y.round(2))),
    "signs": ("real", _each(v=lambda t: t.x.sign(), w=lambda t: t.x.ceil(), u=lambda t: t.x.floor())),
    "power at the pole": ("real", _each(v=lambda t: t.y ** -1)),
    "root of negatives": ("real", _each(v=lambda t: t.y.sqrt())),
    "log of nothing": ("real", _each(v=lambda t: t.y.ln(), w=lambda t: t.y.log10())),
    "median between": ("real", lambda t: t.agg(v=_.id.median(), w=_.id.quantile(0.3))),
    "variance of none": ("real", lambda t: t.filter(_.id > 99).agg(v=_.x.var(), w=_.x.std(how="pop"))),
    "nan above all": ("odd", _each(v=lambda t: t.x > 5.0, w=lambda t: t.x <= 1.0, u=lambda t: t.x == t.x)),
    "infinite constants": (
        "odd",
        _each(v=lambda t: t.x > -math.inf, w=lambda t: t.x == -math.inf, u=lambda t: t.x < math.inf),
    ),
    "nan kept by filters": ("odd", lambda t: t.filter(_.x > 1e308).select("id")),
    "nan between": ("odd", lambda t: t.filter(_.x.between(0.0, math.inf)).select("id")),
    "nan is the greatest": ("odd", lambda t: t.agg(a=_.x.max(), b=_.x.min())),
    "nan greatest of group": ("odd", lambda t: t.group_by(k=_.id > 3).agg(a=_.x.max(), b=_.x.min())),
    "nan last, top first": ("odd", lambda t: t.order_by(ibis.desc("x"), "id").limit(2).select("id")),
    "nan in a sum": ("odd", lambda t: t.agg(v=_.x.sum(), w=_.x.mean())),
    "nan of two": ("odd", _each(v=lambda t: ibis.greatest(t.x, 0.0), w=lambda t: ibis.least(t.x, 0.0))),
    "nan to int": ("odd", _each(v=lambda t: t.x.cast("int64"))),
    "decimal to int": ("money", _each(v=lambda t: t.d.cast("int64"))),
    "decimal folds": ("money", lambda t: t.agg(s=_.d.sum(), m=_.d.mean(), a=_.d.max(), n=_.d.nunique())),
    "decimal rounds": ("money", _each(v=lambda t: t.d.round(1), w=lambda t: t.d.ceil(), u=lambda t: t.d.floor())),
    "decimal products": ("money", _each(v=lambda t: t.d * (1 - t.d), w=lambda t: t.d / 3)),
    "decimal with int": ("money", _each(v=lambda t: t.d > 1, w=lambda t: t.d + t.id, u=lambda t: t.d * 2)),
    "texts apart": ("words", _each(v=lambda t: t.s == t.t, w=lambda t: t.s < t.t)),
    "texts grouped apart": ("words", lambda t: t.group_by("t").agg(n=_.count())),
    "texts distinct": ("words", lambda t: t.agg(v=_.t.nunique(), a=_.t.min(), b=_.t.max())),
    "texts joined apart": ("words", lambda t: t.join(t.view(), "t").agg(n=_.count())),
    "texts in order": ("words", lambda t: t.order_by("t").select("t")),
    "texts trimmed": ("words", _each(v=lambda t: t.s.strip(), w=lambda t: t.s.lstrip(), u=lambda t: t.s.rstrip())),
    "texts measured": ("words", _each(v=lambda t: t.s.length(), w=lambda t: t.s.substr(0, 3), u=lambda t: t.s.right(2))),
    "texts found": ("words", _each(v=lambda t: t.s.find("a"), w=lambda t: t.s.contains(""), u=lambda t: t.s.startswith("A"))),
    "texts like": ("words", _each(v=lambda t: t.s.like("a%"), w=lambda t: t.s.like("%"), u=lambda t: t.t.like("a_"))),
    "texts replaced": ("words", _each(v=lambda t: t.s.replace("a", "bb"))),
    "texts padded": ("words", _each(v=lambda t: t.s.lpad(4, "*"), w=lambda t: t.s.rpad(2, "*"))),
    "days cut": (
        "days",
        _each(**{f"v{unit}": lambda t, unit=unit: t.d.truncate(unit) for unit in "YQMWD"}),
    ),
    "moments cut": (
        "days",
        _each(**{f"v{i}": lambda t, unit=unit: t.t.truncate(unit) for i, unit in enumerate("YQMWDhms")}),
    ),
    "parts of days": (
        "days",
        _each(
            a=lambda t: t.d.year(), b=lambda t: t.d.quarter(), c=lambda t: t.d.week_of_year(), e=lambda t: t.d.day_of_week.index(),
            f=lambda t: t.d.day_of_year(),
        ),
    ),
    "parts of moments": (
        "days",
        _each(
            a=lambda t: t.t.hour(), b=lambda t: t.t.minute(), c=lambda t: t.t.second(), e=lambda t: t.t.millisecond(),
            f=lambda t: t.t.epoch_seconds(),
        ),
    ),
    "moment to day": ("days", _each(v=lambda t: t.t.date(), w=lambda t: t.d.cast("timestamp"))),
    "days moved": (
        "days",
        _each(
            v=lambda t: t.d + ibis.interval(months=1), w=lambda t: t.d - ibis.interval(days=60), u=lambda t: t.d + ibis.interval(years=1)
        ),
    ),
    "moments moved": ("days", _each(v=lambda t: t.t + ibis.interval(hours=25), w=lambda t: t.t - ibis.interval(months=2))),
    "days apart": ("days", _each(v=lambda t: t.d.delta(dt.date(1970, 1, 1), unit="day"))),
}  # fmt: skip
"""Name -> the rows and what is asked of them."""

KINDS = tuple(kind for kind in setup.FACTORIES if kind not in ("duckdb", "sqlite"))
"""SQLite's own tests have its edges."""


def _received(node: Relation) -> Relation:
    if isinstance(node, Scan):
        return Received(node.table, node.schema)
    return node.with_inputs(tuple(map(_received, node.inputs))) if node.inputs else node


def _plan(edge: str) -> Relation:
    table, build = EDGES[edge]
    schema = Schema.from_pyarrow(ROWS[table].schema)
    return _received(from_ibis.relation(build(ibis.table(schema.to_ibis(), name=table)).op()))


def _answer(platform: Platform, plan: Relation) -> pa.Table:
    keys = {node.key for node in plan.walk() if isinstance(node, Received)}
    return platform.run(plan, {key: ROWS[key].to_reader() for key in keys}, Cancellation()).read_all()


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=setup.MARKS.get(kind, ())) for kind in KINDS])
def test_an_edge(platforms: Platforms, kind: str, edge: str) -> None:
    plan = _plan(edge)
    platform = platforms(kind)
    if conformance.why_not(platform, plan) is not None:
        return  # said before it is run: as good as the answer
    try:
        expected = _answer(platforms("duckdb"), plan)
    except PlatformError:
        with pytest.raises(PlatformError):
            _answer(platform, plan)
        return
    conformance.assert_same(_answer(platform, plan), expected)
