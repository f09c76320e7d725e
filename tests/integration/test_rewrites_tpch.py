"""Rewritten plans give the rows of the plans that they come from: TPC-H, and moments that are hard to merge, on DuckDB."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
import subprocess
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
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
from blossom.plan.relations import Aggregate, Copies, Partition, Parts, Relation, Scan, SetOperation, rewrite
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


def same(one: object, other: object) -> bool:
    """Equal, numbers to a billionth of their size; a null is a null and a NaN a NaN."""
    if isinstance(one, float) and isinstance(other, int | float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(
            one, other, rel_tol=1e-9, abs_tol=1e-12
        )
    return type(one) is type(other) and one == other


def assert_same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs)
        assert all(map(same, ours, theirs)), (ours, theirs)


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


def _far(seed: int, count: int) -> dict[str, list[float | None]]:
    """Two correlated columns a billion from zero, spread by one: squares of them lose every digit that matters."""
    random = np.random.default_rng(seed)
    x = 1e9 + random.standard_normal(count)
    y = x + random.standard_normal(count)
    return {"x": x.tolist(), "y": y.tolist()}


def _holed(seed: int) -> dict[str, list[float | None]]:
    made = _far(seed, 40)
    for name, step in (("x", 3), ("y", 4)):
        made[name][::step] = [None] * len(made[name][::step])
    return made


NONE: dict[str, list[float | None]] = {"x": [], "y": []}
NULLS: dict[str, list[float | None]] = {"x": [None, None], "y": [None, 1.0]}
ONE: dict[str, list[float | None]] = {"x": [1e9 + 2], "y": [1e9 - 3]}
NAN: dict[str, list[float | None]] = {"x": [math.nan, 1e9], "y": [1e9, 1e9 + 1]}

WORLDS: Mapping[str, tuple[dict[str, list[float | None]], ...]] = {
    "far from zero": (_far(1, 500), _far(2, 300), _far(3, 7)),
    "an empty part": (_far(1, 50), NONE, _far(3, 7)),
    "a part of nulls": (_far(1, 50), NULLS, _far(3, 7)),
    "holes": (_holed(1), _holed(2), _far(3, 9)),
    "a part of one row": (ONE, _far(2, 20), ONE),
    "one row in all": (ONE, NONE, NONE),
    "no rows": (NONE, NONE, NONE),
    "nulls only": (NULLS, NONE, NULLS),
    "NaN": (NAN, _far(2, 20), NONE),
}
MOMENTS: Mapping[str, Callable[[Any], Any]] = {
    f"{name} {how}": function
    for how in ("pop", "sample")
    for name, function in {
        "variance": lambda t, how=how: t.x.var(how=how),
        "deviation": lambda t, how=how: t.x.std(how=how),
        "covariance": lambda t, how=how: t.x.cov(t.y, how=how),
        "filtered": lambda t, how=how: t.y.var(how=how, where=t.x > 1e9),
    }.items()
} | {"correlation": lambda t: t.x.corr(t.y)}

SPLIT = ibis.table({"g": "int64", "x": "float64", "y": "float64"}, name="split")


def _merged(
    parts: tuple[dict[str, list[float | None]], ...], expression: ibis.Table
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
            arrow = pa.table(
                {"g": groups, **part},
                schema=pa.schema([("g", pa.int64()), ("x", pa.float64()), ("y", pa.float64())]),
            )
            connection.register("arrow", arrow)
            connection.sql(f'CREATE TABLE "{site}/split" AS FROM arrow')
            connection.unregister("arrow")
        pooled = " UNION ALL ".join(f'FROM "{site}/split"' for site in SITES)
        connection.sql(f"CREATE VIEW split AS {pooled}")
        found = rows(connection, sql_of(rewritten))
        wanted = rows(connection, compiler.to_sqlglot(expression).sql(dialect="duckdb"))
    return found, wanted


@pytest.mark.parametrize("grouped", [False, True], ids=["whole", "by group"])
@pytest.mark.parametrize(
    ("world", "moment"), [*itertools.product([name for name in WORLDS if name != "NaN"], MOMENTS)]
)
def test_moments(world: str, moment: str, grouped: bool) -> None:
    value = MOMENTS[moment](SPLIT)
    expression = SPLIT.group_by("g").aggregate(m=value).order_by("g") if grouped else SPLIT.aggregate(m=value)
    assert_same(*_merged(WORLDS[world], expression))
