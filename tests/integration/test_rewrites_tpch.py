"""Rewritten plans give the rows of the plans that they come from: TPC-H, and moments that are hard to merge, on DuckDB."""

from __future__ import annotations

import importlib
import inspect
import math
import subprocess
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis.backends.sql.compilers.duckdb import compiler

from blossom.plan import from_ibis, to_ibis
from blossom.plan.expressions import Expression, Subquery, transform
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Aggregate, Copies, Partition, Parts, Relation, Scan, SetOperation
from blossom.plan.rewrites.expand import FederatedTable
from blossom.plan.rewrites.stages import check_resolved, distribute, is_distributed
from blossom.plan.schema import Schema

NAMES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
PARTITIONED = {"orders": "o_orderkey", "lineitem": "l_orderkey"}
SITES = ("s0", "s1", "s2")


class _NoMarks:
    """Stands for `pytest.mark`: every mark leaves its function as it is."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: lambda function: function


def _queries() -> Mapping[int, Callable[..., Any]]:
    """Ibis's own test functions, undecorated."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        decorators = importlib.import_module("ibis.backends.tests.tpc.conftest")
        plain = lambda *args, **options: args[0] if callable(args[0]) else (lambda made: made)  # noqa: E731
        patch.setattr(decorators, "tpc_test", plain)
        patch.setattr(pytest, "mark", _NoMarks())
        module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    return {number: getattr(module, f"test_{number:02}") for number in range(1, 23)}


QUERIES = _queries()


# -- from a rewritten plan back to one that a single engine runs ---------------------------------------------------------


def flattened(root: Relation) -> Relation:
    """Parts as their bag union, copies as the last copy."""

    def inside(expression: Expression) -> Expression:
        return transform(
            expression, lambda e: replace(e, plan=flattened(e.plan)) if isinstance(e, Subquery) else None
        )

    def rule(node: Relation) -> Relation:
        match node:
            case Parts(tables=(one,)):
                return one
            case Parts():
                return SetOperation("union", node.tables, False)
            case Copies():
                return node.tables[-1]
            case _:
                return node.map_expressions(inside)

    return rewrite(root, rule)


def leaf(node: Relation) -> ops.Relation:
    assert isinstance(node, Scan)
    return ops.UnboundTable(f"{node.site}/{node.table}", node.columns.to_ibis())


def sql_of(plan: Relation) -> str:
    return compiler.to_sqlglot(to_ibis.relation(flattened(plan), leaf).to_expr()).sql(dialect="duckdb")


def rows(connection: duckdb.DuckDBPyConnection, text: str) -> list[tuple[Any, ...]]:
    return [
        tuple(float(value) if hasattr(value, "as_tuple") else value for value in row)
        for row in connection.sql(text).fetchall()
    ]


def same(one: object, other: object, tolerance: float) -> bool:
    """Equal, numbers to `tolerance` of their size; a null is a null and a NaN a NaN."""
    if isinstance(one, float) and isinstance(other, int | float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(
            one, other, rel_tol=tolerance, abs_tol=1e-12
        )
    return type(one) is type(other) and one == other


def assert_same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]], tolerance: float = 1e-9) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs)
        assert all(same(*pair, tolerance) for pair in zip(ours, theirs, strict=True)), (ours, theirs)


# -- TPC-H ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tpch-rewrites")
    generator = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    command = [generator, "parquet", "-s", "0.01", "--output-dir", made]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def tables(folder: Path) -> Mapping[str, ibis.Table]:
    return {
        name: ibis.table(ibis.Schema.from_pyarrow(pq.read_schema(folder / f"{name}.parquet")), name=name)
        for name in NAMES
    }


@pytest.fixture(scope="module")
def tpch(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(duckdb.connect(config={"threads": 1})) as connection:
        for name in NAMES:
            connection.sql(f"CREATE TABLE {name} AS FROM '{folder / name}.parquet'")
            key = PARTITIONED.get(name)
            for number, site in enumerate(SITES):
                where = f"WHERE hash({key}) % {len(SITES)} = {number}" if key else ""
                connection.sql(f'CREATE VIEW "{site}/{name}" AS FROM {name} {where}')
        yield connection


@pytest.fixture(scope="module")
def federated(tables: Mapping[str, ibis.Table]) -> Mapping[str, FederatedTable]:
    made: dict[str, FederatedTable] = {}
    for name, table in tables.items():
        schema = Schema.from_ibis(table.schema())
        key = PARTITIONED.get(name)
        partition = Partition("orders", (key,)) if key else None
        made[name] = FederatedTable(schema, dict.fromkeys(SITES, schema), partition, key is None)
    return made


@pytest.mark.parametrize("number", QUERIES)
def test_tpch(
    tpch: duckdb.DuckDBPyConnection,
    tables: Mapping[str, ibis.Table],
    federated: Mapping[str, FederatedTable],
    number: int,
) -> None:
    query = QUERIES[number]
    expression = query(**{name: tables[name] for name in inspect.signature(query).parameters})
    original = from_ibis.relation(expression.op())
    _, rewritten = distribute(original, federated, lambda node: None)[-1]
    check_resolved(rewritten)
    assert is_distributed(rewritten)
    assert rewritten.schema.names == original.schema.names
    wanted = rows(tpch, compiler.to_sqlglot(expression.unbind()).sql(dialect="duckdb"))
    assert_same(rows(tpch, sql_of(rewritten)), wanted)


# -- moments -------------------------------------------------------------------------------------------------------------

Part = dict[str, list[float | None]]

# Doubles at 1e9 lie 1e-7 apart, so means, whoever folds them, leave about 1e-8 of a variance of one in doubt (DuckDB's own
# answer over the pooled rows is 4e-8 off the exact one). Sums of squares would leave no digit at 1e9 and four at 1e6.
TOLERANCES = {1e6: 1e-9, 1e9: 2e-7}


def _far(seed: int, count: int, centre: float) -> Part:
    """Two correlated columns far from zero, spread by one."""
    random = np.random.default_rng(seed)
    x = centre + random.standard_normal(count)
    y = x + random.standard_normal(count)
    return {"x": x.tolist(), "y": y.tolist()}


def _holed(seed: int, centre: float) -> Part:
    made = _far(seed, 40, centre)
    for name, step in (("x", 3), ("y", 4)):
        made[name][::step] = [None] * len(made[name][::step])
    return made


NONE: Part = {"x": [], "y": []}
NULLS: Part = {"x": [None, None], "y": [None, 1.0]}
ONE: Part = {"x": [1e6 + 2], "y": [1e6 - 3]}

WORLDS: Mapping[str, Callable[[float], tuple[Part, Part, Part]]] = {
    "far from zero": lambda at: (_far(1, 500, at), _far(2, 300, at), _far(3, 7, at)),
    "an empty part": lambda at: (_far(1, 50, at), NONE, _far(3, 7, at)),
    "a part of nulls": lambda at: (
        _far(1, 50, at),
        {"x": [None, None], "y": [None, at]},
        _far(3, 7, at),
    ),
    "holes": lambda at: (_holed(1, at), _holed(2, at), _far(3, 9, at)),
    "parts of one row": lambda at: (_far(4, 1, at), _far(2, 20, at), _far(5, 1, at)),
}
FEW: Mapping[str, tuple[Part, Part, Part]] = {
    "one row in all": (ONE, NONE, NONE),
    "no rows": (NONE, NONE, NONE),
    "nulls only": (NULLS, NONE, NULLS),
}
SPLIT = ibis.table({"g": "int64", "x": "float64", "y": "float64"}, name="split")
MOMENTS = {
    f"{name}_{how}": value
    for how in ("pop", "sample")
    for name, value in {
        "variance": SPLIT.x.var(how=how),
        "deviation": SPLIT.y.std(how=how),
        "covariance": SPLIT.x.cov(SPLIT.y, how=how),
        "filtered": SPLIT.y.var(how=how, where=SPLIT.x > 1e6),
    }.items()
} | {"correlation": SPLIT.x.corr(SPLIT.y, how="pop"), "mean": SPLIT.x.mean()}
WHOLE = SPLIT.aggregate(**MOMENTS)
BY_GROUP = SPLIT.group_by("g").aggregate(**MOMENTS).order_by("g")


def _merged(
    parts: tuple[Part, ...], expression: ibis.Table
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The answer merged from the parts, and that over the pooled rows."""
    schema = Schema.from_ibis(SPLIT.schema())
    federated = {"split": FederatedTable(schema, dict.fromkeys(SITES, schema))}
    original = from_ibis.relation(expression.op())
    _, rewritten = distribute(original, federated, lambda node: None)[-1]
    folds = [node for node in rewritten.walk() if isinstance(node, Aggregate)]
    assert len(folds) == len(SITES) + 1
    with closing(duckdb.connect(config={"threads": 1})) as connection:
        for site, part in zip(SITES, parts, strict=True):
            groups = [row % 2 for row in range(len(part["x"]))]
            arrow = pa.table({"g": groups, **part}, schema=schema.to_pyarrow())
            connection.register("arrow", arrow)
            connection.sql(f'CREATE TABLE "{site}/split" AS FROM arrow')
            connection.unregister("arrow")
        pooled = " UNION ALL ".join(f'FROM "{site}/split"' for site in SITES)
        connection.sql(f"CREATE VIEW split AS {pooled}")
        found = rows(connection, sql_of(rewritten))
        wanted = rows(connection, compiler.to_sqlglot(expression).sql(dialect="duckdb"))
    return found, wanted


@pytest.mark.parametrize("expression", [WHOLE, BY_GROUP], ids=["whole", "by group"])
@pytest.mark.parametrize("centre", TOLERANCES)
@pytest.mark.parametrize("world", WORLDS)
def test_moments_far_from_zero(world: str, centre: float, expression: ibis.Table) -> None:
    assert_same(*_merged(WORLDS[world](centre), expression), TOLERANCES[centre])


@pytest.mark.parametrize("expression", [WHOLE, BY_GROUP], ids=["whole", "by group"])
@pytest.mark.parametrize("world", FEW)
def test_moments_of_few_rows(world: str, expression: ibis.Table) -> None:
    assert_same(*_merged(FEW[world], expression))


@pytest.mark.parametrize("centre", TOLERANCES)
def test_a_merged_variance_is_as_near_the_exact_one_as_the_engines_own(centre: float) -> None:
    parts = WORLDS["far from zero"](centre)
    values = [Fraction(value) for part in parts for value in part["x"] if value is not None]
    mean = sum(values) / len(values)
    exact = float(sum((value - mean) ** 2 for value in values) / len(values))
    merged, pooled = _merged(parts, SPLIT.aggregate(v=SPLIT.x.var(how="pop")))
    for ((found,),) in (merged, pooled):
        assert math.isclose(found, exact, rel_tol=TOLERANCES[centre] / 2)


def test_a_nan_at_one_part_reaches_the_whole() -> None:
    nan: Part = {"x": [math.nan, 1.0], "y": [1.0, 2.0]}
    values = {name: value for name, value in MOMENTS.items() if name in ("variance_pop", "mean")}
    assert_same(*_merged((nan, _far(2, 20, 0.0), NONE), SPLIT.aggregate(**values)))
