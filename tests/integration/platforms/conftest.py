"""The fixed tricky data of the conformance suite, and how each kind of platform gets it."""

from __future__ import annotations

import datetime as dt
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blossom.platforms.interface import Platform, TableSource
from blossom.platforms.registry import open_platform

INT64_MAX = 2**63 - 1


def _stamp(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def _date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


def _people() -> pa.Table:
    """Nulls in every column, ties, empty and non-ASCII text, negative numbers, quotes and wildcards, days at month ends."""
    rows = [
        (1, "Ada", "oslo", 36, 1.5, True, "2020-01-31", "2020-01-31 23:59:59.123456", "10.25"),
        (2, "Žofie", "Köln", -7, -2.25, False, "2020-02-29", "2020-02-29 00:00:00", "-3.50"),
        (3, "ada", "oslo", 36, 1.5, True, "1999-12-31", "1999-12-31 12:30:00", "10.25"),
        (4, "", "Köln", None, 0.1, None, "2021-03-01", "2021-03-01 01:02:03.5", "0.00"),
        (5, None, None, 0, None, False, None, None, None),
        (6, "O'Hara_%", "oslo", -36, 1e-9, True, "1970-01-01", "1970-01-01 00:00:00.000001", "99999.99"),
        (7, "日本語", "東京", 7, 1e15, False, "2000-02-29", "2000-02-29 23:00:00", "-0.01"),
        (8, "bob", None, 7, -0.0, None, "2020-12-28", "2020-12-28 06:00:00", None),
        (9, "Bob ", "Köln", 2, 2.5, True, "2021-01-03", "2021-01-03 23:59:59.999999", "1.00"),
        (10, "émile", "oslo", None, 3.5, False, "1969-07-20", "1969-07-20 20:17:40", "7.77"),
    ]
    columns = list(zip(*rows, strict=True))
    return pa.table(
        {
            "id": pa.array(columns[0], pa.int64()),
            "name": pa.array(columns[1], pa.string()),
            "city": pa.array(columns[2], pa.string()),
            "age": pa.array(columns[3], pa.int64()),
            "score": pa.array(columns[4], pa.float64()),
            "active": pa.array(columns[5], pa.bool_()),
            "born": pa.array([_date(text) for text in columns[6]], pa.date32()),
            "seen": pa.array([_stamp(text) for text in columns[7]], pa.timestamp("us")),
            "owed": pa.array([None if t is None else Decimal(t) for t in columns[8]], pa.decimal128(9, 2)),
        }
    )


def _visits() -> pa.Table:
    """Several a person, some of nobody known, keys with nulls."""
    return pa.table(
        {
            "visit": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.int64()),
            "person": pa.array([1, 1, 3, 99, None, 7, 7, 7], pa.int64()),
            "cost": pa.array([10, 20, None, 5, 7, -3, 0, 12], pa.int64()),
            "place": pa.array(["Köln", "oslo", "oslo", None, "東京", "東京", "x", "oslo"], pa.string()),
            "on": pa.array(
                [
                    _stamp("2020-01-01 00:00:00"),
                    _stamp("2020-06-01 00:00:00"),
                    _stamp("2000-01-01 00:00:00"),
                    _stamp("2021-01-01 00:00:00"),
                    None,
                    _stamp("2000-03-01 00:00:00"),
                    _stamp("2001-01-01 00:00:00"),
                    _stamp("1999-01-01 00:00:00"),
                ],
                pa.timestamp("us"),
            ),
        }
    )


def _extremes() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4, 5], pa.int64()),
            "big": pa.array([INT64_MAX, -INT64_MAX - 1, 0, None, 2**53 + 1], pa.int64()),
            "huge": pa.array([1.7e308, -1.7e308, 5e-324, None, 0.0], pa.float64()),
        }
    )


def _specials() -> pa.Table:
    """NaN and the infinities, which SQLite cannot hold."""
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
            "x": pa.array([1.0, math.nan, math.inf, -math.inf, None, -2.0], pa.float64()),
        }
    )


DATA: Mapping[str, pa.Table] = {
    "people": _people(),
    "visits": _visits(),
    "extremes": _extremes(),
    "specials": _specials(),
    "empty": _people().slice(0, 0),
    "hollow": pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "n": pa.array([None, None, None], pa.int64()),
            "s": pa.array([None, None, None], pa.string()),
            "f": pa.array([None, None, None], pa.float64()),
        }
    ),
}
"""Published table -> its rows, in every platform."""

UNSTORABLE: Mapping[str, frozenset[str]] = {
    "sqlite": frozenset({"specials"}),
    "mariadb": frozenset({"specials"}),
}
"""Kind -> the tables that its engine cannot hold as they are; their cases do not run there."""


def write_parquet(folder: Path, tables: Mapping[str, pa.Table]) -> dict[str, str]:
    """Write each table to a Parquet file and give the paths."""
    paths: dict[str, str] = {}
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        paths[name] = str(path)
    return paths


def _over_parquet(kind: str, options: Mapping[str, object]) -> Callable[[Path], Platform]:
    def make(folder: Path) -> Platform:
        platform = open_platform(kind, kind, options)
        for name, path in write_parquet(folder, DATA).items():
            platform.publish(name, TableSource(source=path))
        return platform

    return make


SQLITE_TYPES = {
    "int64": "INTEGER",
    "string": "TEXT",
    "double": "REAL",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "timestamp[us]": "TIMESTAMP",
    "decimal128(9, 2)": "DECIMAL(9, 2)",
}


def _sqlite_value(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def write_sqlite(path: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write tables to a SQLite database, typed as its users type them."""
    connection = sqlite3.connect(path)
    for name, table in tables.items():
        columns = ", ".join(f'"{field.name}" {SQLITE_TYPES[str(field.type)]}' for field in table.schema)
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        marks = ", ".join("?" * table.num_columns)
        connection.executemany(
            f'INSERT INTO "{name}" VALUES ({marks})', [tuple(map(_sqlite_value, row)) for row in rows]
        )
    connection.commit()
    connection.close()


def _sqlite(folder: Path) -> Platform:
    path = folder / "data.db"
    tables = {name: table for name, table in DATA.items() if name not in UNSTORABLE["sqlite"]}
    write_sqlite(path, tables)
    platform = open_platform("sqlite", "sqlite", {"database": str(path)})
    for name in tables:
        platform.publish(name, TableSource(source=name))
    return platform


def _postgresql(folder: Path) -> Platform:
    import adbc_driver_postgresql.dbapi as adbc

    url = os.environ.get("BLOSSOM_TEST_PG_URL")
    if not url:
        pytest.skip("BLOSSOM_TEST_PG_URL names no PostgreSQL server")
    schema = f"conformance_{os.getpid()}"
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        cursor.execute(f"CREATE SCHEMA {schema}")
        for name, table in DATA.items():
            cursor.adbc_ingest(name, table, mode="create", db_schema_name=schema)
        connection.commit()
    platform = open_platform("postgresql", "postgresql", {"url": url})
    declared = {"people": {"owed": "decimal(9, 2)"}, "empty": {"owed": "decimal(9, 2)"}}
    for name in DATA:
        platform.publish(name, TableSource(source=f"{schema}.{name}", schema=declared.get(name, {})))
    return platform


def load_mariadb(url: str, database: str, tables: Mapping[str, pa.Table]) -> None:
    """Make a database of tables, typed as its users type them, in a collation that ignores case."""
    from urllib.parse import unquote, urlsplit

    import pymysql

    from blossom.platforms.mariadb_storage import insertions

    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port, user=unquote(parts.username), password=unquote(parts.password), charset="utf8mb4",
        autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {database}")
        cursor.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        for name, table in tables.items():
            columns = ", ".join(f"`{field.name}` {mariadb_type(field.type)}" for field in table.schema)
            cursor.execute(f"CREATE TABLE {database}.{name} ({columns})")
            for batch in table.to_batches(max_chunksize=16_384):
                for statement in insertions(f"{database}.{name}", batch, name):
                    cursor.execute(statement)
            cursor.execute(f"ANALYZE TABLE {database}.{name}")


MARIADB_TYPES = {
    "int32": "INT",
    "int64": "BIGINT",
    "string": "VARCHAR(200)",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "timestamp[us]": "DATETIME(6)",
}


def mariadb_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return MARIADB_TYPES[str(kind)]


def _mariadb(folder: Path) -> Platform:
    url = os.environ["BLOSSOM_TEST_MARIADB_URL"]
    database = f"conformance_{os.getpid()}"
    tables = {name: table for name, table in DATA.items() if name not in UNSTORABLE["mariadb"]}
    load_mariadb(url, database, tables)
    platform = open_platform("mariadb", "mariadb", {"url": url})
    for name in tables:
        platform.publish(name, TableSource(source=f"{database}.{name}"))
    return platform


def _spark(folder: Path) -> Platform:
    platform = open_platform("spark", "spark", {"url": os.environ["BLOSSOM_TEST_SPARK_URL"]})
    for name, path in write_parquet(folder, DATA).items():
        platform.publish(name, TableSource(source=path))
    return platform


def _clickhouse(folder: Path) -> Platform:
    pytest.importorskip("chdb")
    return _over_parquet("clickhouse", {"threads": 1})(folder)


FACTORIES: Mapping[str, Callable[[Path], Platform]] = {
    "duckdb": _over_parquet("duckdb", {"threads": 1}),
    "sqlite": _sqlite,
    "polars": _over_parquet("polars", {}),
    "postgresql": _postgresql,
    "mariadb": _mariadb,
    "datafusion": _over_parquet("datafusion", {"threads": 1}),
    "clickhouse": _clickhouse,
    "spark": _spark,
}
"""Kind -> makes a platform that has published all of `DATA` that it can hold, given an empty folder."""

SERVERS = {"postgresql": "postgres_url", "mariadb": "mariadb_url", "spark": "spark_url"}
"""Kind -> the fixture that starts its server."""

MARKS = {
    "clickhouse": (pytest.mark.clickhouse,),
    "postgresql": (pytest.mark.postgres,),
    "mariadb": (pytest.mark.mariadb,),
    "spark": (pytest.mark.spark,),
}


@pytest.fixture(scope="session")
def platforms(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Platform]]:
    """Gives the platform of a kind with all of the data, made at the first use and kept for the session."""
    made: dict[str, Platform] = {}

    def get(kind: str) -> Platform:
        if kind not in made:
            if kind in SERVERS:
                request.getfixturevalue(SERVERS[kind])  # starts a server where none is given
            made[kind] = FACTORIES[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    yield get
    for platform in made.values():
        platform.close()
