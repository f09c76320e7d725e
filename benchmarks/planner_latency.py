"""How long planning takes: from an Ibis expression to a placed plan, and from SQL text to an Ibis expression.

    python benchmarks/planner_latency.py [--repeat 7] [--longest 1000]

Planning is what a session does before it runs anything: lowering, rewriting, asking the policies, placing, cutting into fragments.
No call is answered by a cache of plans: every call has new constants (all numbers, dates and texts of the pipeline). The platforms
are Blossom's own, with the abilities that they declare, but for their connections: no server runs and no row is read.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import Any

import ibis
import ibis.expr.operations as ops

import blossom as bl
from blossom.plan.lineage import subqueries
from blossom.plan.relations import Relation
from blossom.plan.schema import Schema
from blossom.platforms import registry
from blossom.platforms.interface import Platform, TableSource
from blossom.platforms.sql import SqlCompiler

TPCH: dict[str, tuple[int, str]] = {
    "customer": (150_000, "c_custkey int64, c_name string, c_address string, c_nationkey int64, c_phone string, "
                 "c_acctbal decimal(15, 2), c_mktsegment string, c_comment string"),
    "lineitem": (6_001_215, "l_orderkey int64, l_partkey int64, l_suppkey int64, l_linenumber int32, l_quantity decimal(15, 2), "
                 "l_extendedprice decimal(15, 2), l_discount decimal(15, 2), l_tax decimal(15, 2), l_returnflag string, "
                 "l_linestatus string, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct string, "
                 "l_shipmode string, l_comment string"),
    "nation": (25, "n_nationkey int64, n_name string, n_regionkey int64, n_comment string"),
    "orders": (1_500_000, "o_orderkey int64, o_custkey int64, o_orderstatus string, o_totalprice decimal(15, 2), o_orderdate date, "
               "o_orderpriority string, o_clerk string, o_shippriority int32, o_comment string"),
    "part": (200_000, "p_partkey int64, p_name string, p_mfgr string, p_brand string, p_type string, p_size int32, "
             "p_container string, p_retailprice decimal(15, 2), p_comment string"),
    "partsupp": (800_000, "ps_partkey int64, ps_suppkey int64, ps_availqty int32, ps_supplycost decimal(15, 2), ps_comment string"),
    "region": (5, "r_regionkey int64, r_name string, r_comment string"),
    "supplier": (10_000, "s_suppkey int64, s_name string, s_address string, s_nationkey int64, s_phone string, "
                 "s_acctbal decimal(15, 2), s_comment string"),
}  # fmt: skip
"""Rows at scale 1, and columns."""

HOMES = {
    "customer": "postgresql", "lineitem": "duckdb", "nation": "spark", "orders": "polars",
    "part": "spark", "partsupp": "postgresql", "region": "polars", "supplier": "duckdb",
}  # fmt: skip
"""Every second query of TPC-H meets all four."""

KINDS = ("duckdb", "postgresql", "polars", "spark", "datafusion")
EVENTS = "k int64, a int64, b float64, s string, d date"
TEXTS = files("ibis") / "backends" / "tests" / "tpc" / "queries" / "duckdb" / "h"


# -- a federation without servers ----------------------------------------------------------------------------------------


def _declared(kind: str) -> type[Platform]:
    """The platform's class without its connection: what it declares, and tables whose columns are given."""
    real = registry.platform_class(kind)
    module = sys.modules[real.__module__]

    def start(self: Any, name: str, *, url: str = "", functions: Any = None) -> None:
        Platform.__init__(self, name)
        self._functions = functions
        self._token = "published"
        if kind == "duckdb":
            self._compiler = SqlCompiler("duckdb", compiler=module._Compiler())
        elif kind == "spark":
            self._compiler = SqlCompiler("pyspark", compiler=module.Compiler(checked=True), leaf=self._leaf)
        elif kind == "postgresql":
            self._compiler = SqlCompiler("postgres", compiler=module.Compiler(), leaf=self._leaf)
        elif kind == "datafusion":
            self._compiler = SqlCompiler("datafusion", compiler=module.Compiler())

    def publish(self: Any, table: str, source: TableSource) -> Schema:
        return Schema(source.schema.items())

    def row_count(self: Any, table: str) -> int | None:
        return TPCH[table][0] if table in TPCH else 1_000_000

    made = {"__init__": start, "publish": publish, "row_count": row_count, "close": lambda self: None}
    return type(real.__name__, (real,), made)


@contextmanager
def declared_platforms() -> Iterator[None]:
    """Platforms opened inside have no connections."""
    before = dict(registry.PLATFORMS)
    for kind in KINDS:
        made = _declared(kind)
        globals()[f"Declared{kind}"] = made
        registry.PLATFORMS[kind] = replace(before[kind], module="planner_latency", name=f"Declared{kind}")  # pyright: ignore[reportIndexIssue]
    try:
        yield
    finally:
        registry.PLATFORMS.update(before)  # pyright: ignore[reportAttributeAccessIssue]


def _config(kind: str) -> dict[str, Any]:
    return {"kind": kind, **({"url": "none://none"} if kind in ("postgresql", "spark") else {})}


def _table(platform: str, columns: str) -> dict[str, Any]:
    pairs = re.findall(r"(\w+) ((?:decimal\(\d+, \d+\))|\w+)", columns)
    source = {"path": "none.parquet"} if platform.startswith(("duckdb", "polars", "datafusion")) else {}
    name = source.get("path", "public.none")
    return {"platform": platform, "source": name, "schema": dict(pairs), "policy": {"release": "rows"}}


def tpch() -> Any:
    """One site with the tables of TPC-H spread over four platforms."""
    tables = {name: _table(HOMES[name], columns) for name, (_, columns) in TPCH.items()}
    return bl.connect(
        {"sites": {"one": {"platforms": {kind: _config(kind) for kind in KINDS[:4]}, "tables": tables}}}
    )


def events(choices: int) -> Any:
    """One site with a table `t0`, `t1`, ... on each of its platforms; with its Python and the hub's two there are `choices` of them."""
    names = ["duckdb", *(f"{KINDS[i % len(KINDS)]}{i}" for i in range(1, choices - 3))]
    platforms = {name: _config(re.sub(r"\d+$", "", name)) for name in names}
    tables = {f"t{i}": _table(name, EVENTS) for i, name in enumerate(names)}
    return bl.connect({"sites": {"one": {"platforms": platforms, "tables": tables}}})


# -- pipelines -----------------------------------------------------------------------------------------------------------


def queries() -> dict[int, Any]:
    """The 22 queries of Ibis's own test suite as functions of tables."""
    warnings.simplefilter("ignore")
    suite = importlib.import_module("ibis.backends.tests.tpc.conftest")
    suite.tpc_test = lambda given, **_: given if callable(given) else (lambda function: function)
    module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    return {number: getattr(module, f"test_{number:02d}") for number in range(1, 23)}


def built(query: Any, session: Any) -> Any:
    """The query's expression over the session's tables."""
    return query(**{name: session.table(name) for name in inspect.signature(query).parameters})


def changed(expression: Any, step: int) -> Any:
    """The expression with every number, date and text in it changed; no two steps give the same one."""

    def other(literal: Any) -> Any:
        value = literal.value
        if isinstance(value, bool):
            return literal
        if isinstance(value, date):
            return literal.copy(value=value + timedelta(days=step))
        if isinstance(value, int):
            return (
                literal.copy(value=value + step)
                if abs(value) + step < 127 or literal.dtype.nbytes > 1
                else literal
            )
        if isinstance(value, float):
            return literal.copy(value=value * (1 + step / 1024))
        if isinstance(value, Decimal):
            return literal.copy(value=value + step)
        if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d", value):
            return literal.copy(value=f"{value}{step}")
        return literal

    root = expression.op()
    return root.replace({literal: other(literal) for literal in root.find(ops.Literal)}).to_expr()


def pipeline(session: Any, operators: int, step: int) -> Any:
    """A chain of filters and maps with a join of a table that lies elsewhere at every 40th operator."""
    tables = len(session.list_tables())
    table = session.table("t0")
    joined = 0
    for i in range(operators - operators // 40 - 2):
        if i % 40 == 20:
            joined += 1
            right = session.table(f"t{joined % tables}").select(k="k", **{f"x{joined}": ibis._.b})
            table = table.join(right, "k").drop(f"x{joined}") if joined % 2 else table.semi_join(right, "k")
        elif i % 3 == 0:
            table = table.filter(table.a > i + step * 1000)
        elif i % 3 == 1:
            table = table.mutate(b=table.b * (1.0 + i + step / 7))
        else:
            table = table.mutate(a=table.a + table.k + i)
    return table.group_by("s").agg(n=table.count(), b=table.b.mean())


def tree(session: Any, leaves: int, step: int) -> Any:
    """A balanced tree over `leaves` filtered tables, unions and joins by turns; `2 * leaves - 1` operators without the filters."""
    tables = len(session.list_tables())
    level = []
    for i in range(leaves):
        table = session.table(f"t{i % tables}")
        level.append(table.filter(table.a > i + step * 1000))
    union = True
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [a.union(b) if union else a.inner_join(b[["k"]], "k") for a, b in pairs]
        union = not union
    return level[0]


# -- measuring -----------------------------------------------------------------------------------------------------------


def milliseconds(make: Callable[[int], Any], call: Callable[[Any], object], repeat: int) -> float:
    """The median of the processor's time of calls, each with an argument of its own that is made before the clock starts.

    Planning waits for nothing and has one thread: on an idle machine this is the time that passes. One call warms up.
    """
    call(make(0))
    times: list[float] = []
    for step in range(1, repeat + 1):
        argument = make(step)
        gc.collect()
        began = time.process_time()
        call(argument)
        times.append(time.process_time() - began)
    return statistics.median(times) * 1e3


def planned(session: Any) -> Callable[[Any], Any]:
    """What a session does between getting an expression and running it."""
    return lambda expression: session._planned(expression, None, fit=True)


def relations(session: Any, text: str) -> int:
    """The relational operators of a statement, those of its subqueries included."""

    def count(root: Relation) -> int:
        nodes = list(root.walk())
        return len(nodes) + sum(count(query.plan) for node in nodes for query in subqueries(node))

    return count(session._lower(session.sql(text), None))


def chained(levels: int) -> str:
    """A statement of common table expressions, each a selection from the one before: two operators a level."""
    steps = [
        f"c{i + 1} AS (SELECT l_orderkey, l_quantity + {i} AS l_quantity FROM c{i} WHERE l_orderkey > {i})"
        for i in range(levels)
    ]
    return f"WITH c0 AS (SELECT * FROM lineitem), {', '.join(steps)} SELECT * FROM c{levels}"


def speed() -> float:
    """Milliseconds of ten million additions in Python, to compare machines (and their other work) by."""
    began = time.process_time()
    total = 0
    for i in range(10_000_000):
        total += i
    return (time.process_time() - began) * 1e3


def tpch_figures(session: Any, repeat: int) -> None:
    """Each query's planning time, and that of its text."""
    print("TPC-H, one site, four platforms: expression to placed plan (wanted: 10 ms at most)")
    figures: dict[int, float] = {}
    for number, query in queries().items():
        expression = built(query, session)
        figures[number] = milliseconds(lambda step, e=expression: changed(e, step), planned(session), repeat)
    print("  " + "  ".join(f"q{number} {value:.1f}" for number, value in figures.items()))
    print(f"  median {statistics.median(figures.values()):.1f} ms, most {max(figures.values()):.1f} ms")
    print("SQL text to expression (wanted: 2 ms an operator, linear)")
    rates: list[float] = []
    for number in figures:
        text = (TEXTS / f"{number:02}.sql").read_text().rstrip().rstrip(";")
        took = milliseconds(lambda step, t=text: f"{t} -- {step}", session.sql, repeat)
        rates.append(took / relations(session, text))
    print(f"  TPC-H: median {statistics.median(rates):.2f} ms an operator, most {max(rates):.2f}")
    for levels in (20, 80, 160):
        took = milliseconds(lambda step, n=levels: f"{chained(n)} -- {step}", session.sql, 3)
        print(f"  {2 * levels} chained operators: {took / 2 / levels:.2f} ms an operator")


def large_figures(repeat: int, longest: int) -> None:
    """Pipelines and trees far larger than anyone writes by hand."""
    ten, twenty = events(10), events(20)
    eighty = milliseconds(lambda step: pipeline(ten, 80, step), planned(ten), repeat)
    print(f"80 operators on 10 choices: {eighty:.1f} ms (wanted: 25)")
    wide = milliseconds(lambda step: tree(ten, 32, step), planned(ten), repeat)
    print(f"tree of 63 unions, joins and filtered tables on 10 choices: {wide:.1f} ms (wanted: 25)")
    print("pipelines on 20 choices (wanted: 500 ms for 1,000 operators, near-linear)")
    size = longest // 8
    while size <= longest:
        began = time.process_time()
        pipeline(twenty, size, 99)
        building = (time.process_time() - began) * 1e3
        took = milliseconds(lambda step, n=size: pipeline(twenty, n, step), planned(twenty), min(3, repeat))
        print(
            f"  {size} operators: {took:.0f} ms ({took / size:.2f} each); Ibis builds it in {building:.0f} ms"
        )
        size *= 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--longest", type=int, default=1000, help="operators of the longest pipeline")
    options = parser.parse_args()
    print(f"ten million additions in Python: {speed():.0f} ms")
    with declared_platforms():
        tpch_figures(tpch(), options.repeat)
        large_figures(options.repeat, options.longest)
    print(f"ten million additions in Python: {speed():.0f} ms")


if __name__ == "__main__":
    sys.modules["planner_latency"] = sys.modules[__name__]
    main()
