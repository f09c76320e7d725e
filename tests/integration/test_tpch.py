"""The 22 TPC-H queries, as Ibis's expressions and as SQL, through a whole federation, against DuckDB's own answers."""

from __future__ import annotations

import importlib
import inspect
import math
import sqlite3
import subprocess
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import blossom as bl
from blossom.fedpy.session import Session

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
PARTITIONED = {"orders": "o_orderkey", "lineitem": "l_orderkey"}
TEXTS = files("ibis") / "backends" / "tests" / "tpc" / "queries" / "duckdb" / "h"
NUMBERS = range(1, 23)


class _NoMarks:
    """Stands for `pytest.mark`: every mark leaves its function as it is."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: lambda function: function


def _expressions() -> Mapping[int, Callable[..., Any]]:
    """Ibis's own test functions, undecorated: each takes the tables that it reads and gives an expression."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        decorators = importlib.import_module("ibis.backends.tests.tpc.conftest")
        patch.setattr(
            decorators,
            "tpc_test",
            lambda *args, **options: args[0] if callable(args[0]) else (lambda made: made),
        )
        patch.setattr(pytest, "mark", _NoMarks())  # its marks are not ours
        module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    return {number: getattr(module, f"test_{number:02}") for number in NUMBERS}


EXPRESSIONS = _expressions()


# -- data --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """The tables as files, for every engine that wants them."""

    folder: Path
    oracle: duckdb.DuckDBPyConnection
    answers: dict[int, tuple[list[str], list[tuple[Any, ...]]]] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def table(self, name: str) -> pa.Table:
        table = pq.read_table(self.path(name))  # its texts are views, which few Arrow kernels take
        plain = (
            pa.field(c.name, pa.string() if pa.types.is_string_view(c.type) else c.type) for c in table.schema
        )
        return table.cast(pa.schema(plain))

    def answer(self, number: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        if number not in self.answers:
            relation = self.oracle.sql((TEXTS / f"{number:02}.sql").read_text())
            self.answers[number] = (relation.columns, relation.fetchall())
        return self.answers[number]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    folder = tmp_path_factory.mktemp("tpch")
    generator = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    command = [generator, "parquet", "--scale-factor", "0.01", "--output-dir", folder]
    subprocess.run(command, check=True, capture_output=True)
    with closing(duckdb.connect(config={"threads": 1})) as oracle:
        for name in TABLES:
            oracle.sql(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder / name}.parquet')")
        yield Data(folder, oracle)


ROWS = {"release": "rows", "to": ["hub", "site:one", "site:two", "site:three"]}


def _declared(table: pa.Table) -> dict[str, str]:
    """What a SQLite table cannot say itself: decimals and dates."""
    types: dict[str, str] = {}
    for column in table.schema:
        if pa.types.is_decimal(column.type):
            types[column.name] = f"decimal({column.type.precision}, {column.type.scale})"
        elif pa.types.is_date(column.type):
            types[column.name] = "date"
    return types


def _sqlite_type(kind: pa.DataType, decimals: str) -> str:
    if pa.types.is_decimal(kind):
        return decimals
    return "INTEGER" if pa.types.is_integer(kind) else "TEXT"


def to_sqlite(path: Path, name: str, table: pa.Table, decimals: str) -> None:
    """Append a table to a database: dates as ISO text, decimals as `decimals` says (REAL or TEXT)."""
    convert: Mapping[type, Callable[[Any], object]] = {
        Decimal: float if decimals == "REAL" else str,
        date: date.isoformat,
    }
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    columns = ", ".join(f"{c.name} {_sqlite_type(c.type, decimals)}" for c in table.schema)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.executemany(
            f"INSERT INTO {name} VALUES ({', '.join('?' * table.num_columns)})",
            ([convert.get(type(value), lambda v: v)(value) for value in row] for row in rows),
        )
        connection.commit()


def to_postgresql(url: str, schema: str, tables: Mapping[str, pa.Table]) -> None:
    """Load tables as a PostgreSQL user declares them: numeric columns with their precision."""
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        cursor.execute(f"CREATE SCHEMA {schema}")
        for name, table in tables.items():
            cursor.adbc_ingest(name, table, mode="create", db_schema_name=schema)
            for c in table.schema:
                if pa.types.is_decimal(c.type):
                    kind = f"numeric({c.type.precision}, {c.type.scale})"
                    cursor.execute(
                        f"ALTER TABLE {schema}.{name} ALTER COLUMN {c.name} TYPE {kind} USING {c.name}::{kind}"
                    )
        connection.commit()


# -- federations -------------------------------------------------------------------------------------------------------


def _duckdb() -> dict[str, Any]:
    return {"kind": "duckdb", "threads": 1}


@pytest.fixture(scope="module")
def single(data: Data) -> Iterator[Session]:
    """(a) All tables on one DuckDB site."""
    tables = {name: {"source": str(data.path(name)), "policy": ROWS} for name in TABLES}
    with bl.connect({"sites": {"one": {"platforms": {"duckdb": _duckdb()}, "tables": tables}}}) as session:
        yield session


def _split(data: Data, home: Mapping[str, str], folder: Path, decimals: str, url: str) -> dict[str, Any]:
    """One site whose tables lie on several engines."""
    lake = folder / "lake.db"
    clinic = {name: data.table(name) for name, engine in home.items() if engine == "postgresql"}
    to_postgresql(url, "tpch", clinic)
    tables: dict[str, Any] = {}
    for name, engine in home.items():
        table: dict[str, Any] = {"platform": engine, "policy": ROWS, "source": str(data.path(name))}
        if engine == "sqlite":
            to_sqlite(lake, name, data.table(name), decimals)
            table |= {"source": name, "schema": _declared(data.table(name))}
        elif engine == "postgresql":
            table |= {"source": f"tpch.{name}"}
        tables[name] = table
    platforms = {
        "duckdb": _duckdb(),
        "polars": {"kind": "polars"},
        "sqlite": {"kind": "sqlite", "database": str(lake)},
        "postgresql": {"kind": "postgresql", "url": url},
    }
    return {"sites": {"one": {"platforms": platforms, "tables": tables}}}


HOMES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "lineitem on duckdb": (
        "REAL",
        {
            "customer": "postgresql", "lineitem": "duckdb", "nation": "sqlite", "orders": "polars", "part": "sqlite",
            "partsupp": "postgresql", "region": "polars", "supplier": "duckdb",
        },
    ),
    "lineitem on sqlite": (
        "TEXT",
        {
            "customer": "polars", "lineitem": "sqlite", "nation": "postgresql", "orders": "postgresql", "part": "duckdb",
            "partsupp": "sqlite", "region": "duckdb", "supplier": "polars",
        },
    ),
    "lineitem on polars": (
        "REAL",
        {
            "customer": "sqlite", "lineitem": "polars", "nation": "polars", "orders": "duckdb", "part": "postgresql",
            "partsupp": "polars", "region": "sqlite", "supplier": "sqlite",
        },
    ),
    "lineitem on postgresql": (
        "TEXT",
        {
            "customer": "duckdb", "lineitem": "postgresql", "nation": "duckdb", "orders": "sqlite", "part": "polars",
            "partsupp": "duckdb", "region": "postgresql", "supplier": "postgresql",
        },
    ),
}  # fmt: skip
"""Every table meets every engine once, and SQLite holds decimals both ways that its users choose."""


@pytest.fixture(scope="module", params=HOMES)
def split(
    request: pytest.FixtureRequest, data: Data, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """(b) The tables split over four engines of one site."""
    decimals, home = HOMES[request.param]
    with bl.connect(_split(data, home, tmp_path_factory.mktemp("split"), decimals, postgres_url)) as session:
        yield session


SITES: Mapping[str, str] = {"one": "duckdb", "two": "polars", "three": "sqlite"}


@pytest.fixture(scope="module")
def partitioned(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """(c) Orders and their lines partitioned over three sites on three engines, the other tables replicated."""
    folder = tmp_path_factory.mktemp("partitioned")
    sites: dict[str, Any] = {}
    for number, (site, engine) in enumerate(SITES.items()):
        tables: dict[str, Any] = {}
        for name in TABLES:
            whole = data.table(name)
            key = PARTITIONED.get(name)
            if key is None:
                here, rules = whole, {"replicated": True}
            else:
                bucket = pc.bit_wise_and(pc.shift_right(whole[key], 1), 3)  # key order would be too kind
                here = whole.filter(pc.equal(pc.min_element_wise(bucket, 2), number))
                rules = {"partition": {"by": [key], "scheme": "orders"}}
            table: dict[str, Any] = {"platform": engine, "policy": ROWS, **rules}
            if engine == "sqlite":
                to_sqlite(folder / "lake.db", name, here, "REAL")
                table |= {"source": name, "schema": _declared(whole)}
            else:
                path = folder / f"{site}-{name}.parquet"
                pq.write_table(here, path)
                table |= {"source": str(path)}
            tables[name] = table
        own = {"kind": engine} | ({"database": str(folder / "lake.db")} if engine == "sqlite" else {})
        platforms = {"duckdb": _duckdb()} | ({} if engine == "duckdb" else {engine: own})
        sites[site] = {"platforms": platforms, "tables": tables}
    with bl.connect({"sites": sites}) as session:
        yield session


# -- comparison --------------------------------------------------------------------------------------------------------


def equal(got: Any, want: Any) -> bool:
    """Exactly, floats to nine digits; a decimal equals a float to nine digits only where one of both is a float."""
    if isinstance(got, float) or isinstance(want, float):
        return got is not None and want is not None and math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12)
    return bool(got == want)


def same_rows(got: Iterable[tuple[Any, ...]], want: Iterable[tuple[Any, ...]]) -> bool:
    """As multisets."""
    left = list(want)
    for row in got:
        found = next((w for w in left if all(map(equal, row, w))), None)
        if found is None:
            return False
        left.remove(found)
    return not left


ORDERS: Mapping[int, tuple[str, ...]] = {
    1: ("l_returnflag", "l_linestatus"), 2: ("s_acctbal", "n_name", "s_name", "p_partkey"), 3: ("revenue", "o_orderdate"),
    4: ("o_orderpriority",), 5: ("revenue",), 7: ("supp_nation", "cust_nation", "l_year"), 8: ("o_year",),
    9: ("nation", "o_year"), 10: ("revenue",), 11: ("value",), 12: ("l_shipmode",), 13: ("custdist", "c_count"),
    15: ("s_suppkey",), 16: ("supplier_cnt", "p_brand", "p_type", "p_size"), 18: ("o_totalprice", "o_orderdate"),
    20: ("s_name",), 21: ("numwait", "s_name"), 22: ("cntrycode",),
}  # fmt: skip
"""The columns of each ORDER BY, under the names of the answer."""


def check(number: int, got: pa.Table, data: Data) -> None:
    names, want = data.answer(number)
    rows = list(zip(*(column.to_pylist() for column in got.columns), strict=True))
    if not got.num_columns or len(rows) != len(want):
        pytest.fail(f"{len(rows)} rows, not {len(want)}")
    order = [names.index(name) for name in ORDERS.get(number, ()) if name in names]
    assert len(order) == len(ORDERS.get(number, ()))
    start = 0
    while start < len(rows):  # groups of equal sort keys, in order
        keys = [want[start][i] for i in order]
        end = start
        while end < len(want) and all(equal(want[end][i], key) for i, key in zip(order, keys, strict=True)):
            end += 1
        assert same_rows(rows[start:end], want[start:end]), f"rows {start} to {end}"
        start = end


# -- tests -------------------------------------------------------------------------------------------------------------


def ibis_expression(session: Session, number: int) -> Any:
    function = EXPRESSIONS[number]
    return function(**{name: session.table(name) for name in inspect.signature(function).parameters})


def sql_expression(session: Session, number: int) -> Any:
    return session.sql((TEXTS / f"{number:02}.sql").read_text())


DOORS = {"ibis": ibis_expression, "sql": sql_expression}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("number", NUMBERS)
def test_one_engine(single: Session, data: Data, number: int, door: str) -> None:
    run = single.run(DOORS[door](single, number))
    check(number, run.result, data)
    assert [release.fragment for release in run.releases] == ["f0"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("number", NUMBERS)
def test_split_over_engines(split: Session, data: Data, number: int, door: str) -> None:
    check(number, split.run(DOORS[door](split, number)).result, data)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("number", NUMBERS)
def test_partitioned_over_sites(partitioned: Session, data: Data, number: int, door: str) -> None:
    check(number, partitioned.run(DOORS[door](partitioned, number)).result, data)
