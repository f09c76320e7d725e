"""What is PostgreSQL's own: catalogue types, secrets, read-only sessions, cancelling on the server, and rare values."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import ibis
import pyarrow as pa
import pytest

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.postgresql import PostgreSQL

pytestmark = pytest.mark.postgres

SETUP = """
DROP SCHEMA IF EXISTS ward CASCADE;
CREATE SCHEMA ward;
CREATE TYPE ward.mood AS ENUM ('calm', 'cross');
CREATE COLLATION ward.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE ward."Stays" (
    id integer PRIMARY KEY, small smallint, big bigint, r real, x double precision, ok boolean, name varchar(10), code char(4),
    price numeric(10, 2), free numeric, day date, at timestamp, zoned timestamptz, u uuid, j jsonb, mood ward.mood, raw bytea,
    folded text COLLATE ward.blind, list integer[]
);
INSERT INTO ward."Stays" (id, small, big, r, x, ok, name, code, price, free, day, at, zoned, u, j, mood, raw, folded) VALUES
    (1, 1, 9223372036854775807, 0.5, 'NaN', true, 'Ada', 'a', 1.50, 1.123456789, '2020-02-29', '2020-01-01 00:00:00.000001',
     '2020-01-01 12:00+02', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"k": 1}', 'calm', '\\x00ff', 'Same'),
    (2, NULL, 9223372036854775807, NULL, 2.5, NULL, 'ada', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'same');
ANALYZE ward."Stays";
"""
KNOWN = (
    "id", "small", "big", "r", "x", "ok", "name", "code", "price", "day", "at", "zoned", "u", "j", "mood", "raw", "folded",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[str]:
    _execute(postgres_url, *(text for text in SETUP.split(";\n") if text.strip()))
    yield postgres_url
    _execute(postgres_url, "DROP SCHEMA ward CASCADE")


def _execute(url: str, *statements: str) -> None:
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.fixture
def platform(server: str) -> Iterator[PostgreSQL]:
    made = PostgreSQL("pg", url=server)
    yield made
    made.close()


def run(platform: PostgreSQL, plan: Relation, **inputs: pa.Table) -> pa.Table:
    readers = {key: table.to_reader() for key, table in inputs.items()}
    return platform.run(plan, readers, Cancellation()).read_all()


STAYS = TableSource(source="ward.Stays", columns=KNOWN)


def test_types_come_from_the_catalogue(platform: PostgreSQL) -> None:
    schema = platform.publish("stays", STAYS)
    assert dict(schema) == {
        "id": "int32", "small": "int16", "big": "int64", "r": "float32", "x": "float64", "ok": "boolean", "name": "string",
        "code": "string", "price": "decimal(10, 2)", "day": "date", "at": "timestamp(6)", "zoned": "timestamp('UTC', 6)",
        "u": "string", "j": "string", "mood": "string", "raw": "binary", "folded": "string",
    }  # fmt: skip
    got = run(platform, Scan("stays", schema))
    assert got.schema.field("price").type == pa.decimal128(10, 2)
    row = got.sort_by("id").to_pylist()[0]
    assert math.isnan(row.pop("x"))
    assert row["price"] == Decimal("1.50")
    assert (row["code"], row["mood"], row["raw"], row["j"]) == ("a", "calm", b"\x00\xff", '{"k": 1}')
    assert row["zoned"].isoformat() == "2020-01-01T10:00:00+00:00"


@pytest.mark.parametrize("column", ["free", "list"])
def test_a_type_that_pipelines_do_not_know_must_be_declared(platform: PostgreSQL, column: str) -> None:
    with pytest.raises(PlatformError, match=f"table 'stays': column '{column}'") as caught:
        platform.publish("stays", TableSource(source="ward.Stays", columns=("id", column)))
    assert "declare a type" in str(caught.value)


def test_a_declared_type_wins_and_columns_are_renamed(platform: PostgreSQL) -> None:
    source = TableSource(
        source="ward.Stays",
        rename={"amount": "free", "key": "id"},
        schema={"amount": "decimal(12, 4)", "key": "int64"},
        columns=("key", "amount"),
    )
    schema = platform.publish("stays", source)
    assert dict(schema) == {"key": "int64", "amount": "decimal(12, 4)"}
    got = run(platform, Scan("stays", schema)).sort_by("key")
    assert got.to_pydict() == {"key": [1, 2], "amount": [Decimal("1.1235"), None]}
    assert got.schema.field("amount").type == pa.decimal128(12, 4)


def test_queries_and_views_are_published_with_their_digits(server: str, platform: PostgreSQL) -> None:
    _execute(server, 'CREATE VIEW ward.v AS SELECT id, price FROM ward."Stays"')
    query = 'SELECT id + 1 AS next, price, name FROM ward."Stays" WHERE id = 1;'
    assert dict(platform.publish("v", TableSource(source="ward.v"))) == {
        "id": "int32",
        "price": "decimal(10, 2)",
    }
    schema = platform.publish("q", TableSource(query=query))
    assert dict(schema) == {"next": "int32", "price": "decimal(10, 2)", "name": "string"}
    assert run(platform, Scan("q", schema)).to_pylist() == [
        {"next": 2, "price": Decimal("1.50"), "name": "Ada"}
    ]
    assert platform.row_count("q") is None
    assert platform.row_count("v") is None
    platform.publish("stays", STAYS)
    assert platform.row_count("stays") == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TableSource(source="ward.stays"), 'there is no table or view "ward"."stays"'),
        (TableSource(source="ward.Stays", columns=("idd",)), "did you mean 'id'"),
        (TableSource(source="ward.Stays", rename={"a": "idd"}), "unknown column 'idd'"),
        (TableSource(source="ward.Stays", options={"header": True}), "for files"),
        (TableSource(query="SELECT nonsense"), 'column "nonsense" does not exist'),
        (TableSource(), "give a source"),
        (TableSource(source="ward.Stays", schema={"name": "array<int64>"}, columns=("name",)), "array"),
        (
            TableSource(source="ward.Stays", schema={"day": "boolean"}, columns=("day",)),
            "cannot cast type date to boolean",
        ),
    ],
)
def test_sources_that_do_not_fit(platform: PostgreSQL, source: TableSource, message: str) -> None:
    with pytest.raises(PlatformError, match="postgresql 'pg', table 't'") as caught:
        platform.publish("t", source)
    assert message in str(caught.value)


def test_text_is_compared_by_its_bytes(platform: PostgreSQL) -> None:
    schema = platform.publish("stays", STAYS)
    stays = ibis.table(schema.to_ibis(), name="stays")
    ordered = from_ibis.relation(stays.order_by(stays.name).select("name").op())
    assert run(platform, ordered).to_pydict() == {"name": ["Ada", "ada"]}
    # a collation that takes other text for equal is not the reference's
    same = from_ibis.relation(stays.group_by("folded").agg(n=stays.count()).op())
    assert sorted(run(platform, same).to_pydict()["folded"]) == ["Same", "same"]
    extremes = from_ibis.relation(
        stays.agg(low=stays.name.min(), high=stays.name.max(), s=stays.big.sum()).op()
    )
    assert run(platform, extremes).to_pylist() == [{"low": "Ada", "high": "ada", "s": Decimal(2**64 - 2)}]


EDGES = pa.table(
    {
        "x": [0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 2.675, 1.005, 0.285, -1.0, math.nan, math.inf, -math.inf, None, 1e15, 0.49999999999999994],
        "y": [0.0, 1.0, -0.0, 0.0, -1.0, 0.5, 2.0, 0.0, None, 0.0, 0.0, 0.0, 0.0, 1.0, -2.0, math.nan],
        "i": pa.array([0, 1, -1, 7, -7, 2**53 + 1, 2**62, 3, None, 5, 6, 7, 8, 9, 10, 11], pa.int64()),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        lambda t: t.x / t.y,
        lambda t: t.i / t.y,
        lambda t: t.y / t.i,
        lambda t: t.x.round(2),
        lambda t: t.x.round(1),
        lambda t: t.x.sqrt(),
        lambda t: t.x.ln(),
        lambda t: t.x.log10(),
        lambda t: t.x**t.y,
        lambda t: t.i.ceil(),
        lambda t: t.i.round(),
        lambda t: t.x.sign(),
        lambda t: t.x > t.y,
        lambda t: ibis.greatest(t.x, t.y),
        lambda t: ibis.cases((t.x.isnan() | t.x.isinf(), 0), else_=t.x.round()),
        lambda t: t.x.isin([0.5, math.nan]),
    ],
)
def test_edges_agree_with_duckdb(platform: PostgreSQL, value: Any) -> None:
    table = ibis.table(Schema.from_pyarrow(EDGES.schema).to_ibis(), name="rows")
    plan = from_ibis.relation(table.select(v=value(table)).op())
    plan = plan.with_inputs((Received("rows", plan.inputs[0].schema),))
    assert platform.unsupported(plan) is None
    reference = DuckDB("reference", threads=1)
    expected = reference.run(plan, {"rows": EDGES.to_reader()}, Cancellation()).read_all()["v"].to_pylist()
    reference.close()
    got = run(platform, plan, rows=EDGES)["v"].to_pylist()
    for mine, theirs in zip(got, expected, strict=True):
        assert (
            mine == theirs
            or (math.isnan(mine) and math.isnan(theirs))
            or math.isclose(mine, theirs, rel_tol=1e-14)
        ), (got, expected)


def test_products_of_decimals_keep_their_digits(platform: PostgreSQL) -> None:
    data = pa.table(
        {"a": pa.array([Decimal("1.11"), None]), "b": pa.array([Decimal("0.05"), Decimal("1.00")])}
    )
    data = data.cast(pa.schema([("a", pa.decimal128(15, 2)), ("b", pa.decimal128(15, 2))]))
    table = ibis.table({"a": "decimal(15, 2)", "b": "decimal(15, 2)"}, name="rows")
    plan = from_ibis.relation(
        table.select(v=table.a * (1 - table.b) * (1 + table.b), half=table.a * 0.5).op()
    )
    plan = plan.with_inputs((Received("rows", plan.inputs[0].schema),))
    got = run(platform, plan, rows=data)
    assert got.to_pydict() == {"v": [Decimal("1.107225"), None], "half": [Decimal("0.555"), None]}


def test_sessions_are_read_only(server: str, platform: PostgreSQL) -> None:
    _execute(
        server,
        'CREATE FUNCTION ward.write() RETURNS integer LANGUAGE sql AS $$ INSERT INTO ward."Stays" (id) VALUES (9) RETURNING id $$',
    )
    schema = platform.publish("w", TableSource(query="SELECT ward.write() AS id"))
    with pytest.raises(PlatformError, match="read-only transaction"):
        run(platform, Scan("w", schema))
    assert _rows(server, 'SELECT count(*) FROM ward."Stays"') == [(2,)]


def test_temporary_tables_do_not_outlive_their_run(server: str, platform: PostgreSQL) -> None:
    data = pa.table({"a": pa.array([1, 2], pa.int64())})
    plan = Received("f0", Schema([("a", "int64")]))
    for _turn in range(3):
        assert run(platform, plan, f0=data).to_pydict() == {"a": [1, 2]}
    assert _rows(server, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_received\\_%'") == [(0,)]


SLOW = "SELECT count(*) AS n FROM generate_series(1, 4000000000) AS g"
LARGE = "SELECT g AS n FROM generate_series(1, 50000000) AS g"


def _active(url: str, part: str) -> int:
    return int(
        _rows(
            url,
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() "
            f"AND query LIKE '%{part}%'",
        )[0][0]
    )


def _wait_idle(url: str, part: str) -> None:
    deadline = time.monotonic() + 5
    while _active(url, part):
        assert time.monotonic() < deadline, "the server goes on with the query"
        time.sleep(0.05)


def test_cancelling_stops_the_server(server: str, platform: PostgreSQL) -> None:
    schema = platform.publish("slow", TableSource(query=SLOW))
    cancellation = Cancellation()
    timer = threading.Timer(0.5, cancellation.cancel)
    timer.start()
    start = time.monotonic()
    with pytest.raises(PlatformError, match="the run was cancelled"):
        platform.run(Scan("slow", schema), {}, cancellation).read_all()
    assert time.monotonic() - start < 10
    _wait_idle(server, "4000000000")
    timer.join()


def test_cancelling_amid_a_result_stops_the_server(server: str, platform: PostgreSQL) -> None:
    schema = platform.publish("large", TableSource(query=LARGE))
    cancellation = Cancellation()
    reader = platform.run(Scan("large", schema), {}, cancellation)
    assert reader.read_next_batch().num_rows
    cancellation.cancel()
    with pytest.raises(PlatformError, match="the run was cancelled"):
        reader.read_all()
    _wait_idle(server, "50000000")


def test_giving_a_result_up_stops_the_server(server: str, platform: PostgreSQL) -> None:
    schema = platform.publish("large", TableSource(query=LARGE))
    reader = platform.run(Scan("large", schema), {}, Cancellation())
    assert reader.read_next_batch().num_rows
    reader.close()
    del reader
    _wait_idle(server, "50000000")


def test_a_session_that_the_server_ended_is_replaced(server: str, platform: PostgreSQL) -> None:
    schema = platform.publish("stays", STAYS)
    _rows(
        server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    assert run(platform, Scan("stays", schema)).num_rows == 2


def test_errors_hold_no_secret(server: str) -> None:
    user, _, rest = server.removeprefix("postgresql://").partition(":")
    password, _, place = rest.partition("@")
    wrong = [
        f"postgresql://{user}:wrong-secret@{place}",
        "postgresql://user:wrong-secret@127.0.0.1:1/db",
        "postgresql://user:wr@ng-secret@127.0.0.1:1/db",
        "postgresql://user:wrong-secret@host.invalid/db",
        "postgresql://user@host:wrong-secret/db",
        "postgresql://user:x@127.0.0.1:1/db?wrong-secret=1",
    ]
    for url in wrong:
        with pytest.raises(PlatformError, match="postgresql 'pg'") as caught:
            PostgreSQL("pg", url=url)
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value.__cause__)
        assert caught.value.__suppress_context__
    assert password


def test_errors_quote_no_statement(platform: PostgreSQL) -> None:
    schema = platform.publish("stays", STAYS)
    stays = ibis.table(schema.to_ibis(), name="stays")
    plan = from_ibis.relation(stays.filter(stays.name != "private").select(v=stays.big + 1).op())
    with pytest.raises(PlatformError, match="bigint out of range") as caught:
        run(platform, plan)
    assert "private" not in str(caught.value)
    assert "SELECT" not in str(caught.value)


def test_a_closed_platform_says_so(server: str) -> None:
    made = PostgreSQL("pg", url=server)
    made.publish("stays", STAYS)
    made.close()
    made.close()
    with pytest.raises(PlatformError, match="closed"):
        made.row_count("stays")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda t: t.s.upper(), "letters follow the database's language"),
        (lambda t: t.s.cast("int64"), "Cast of string to int64"),
        (lambda t: t.s.like("a\\%"), "without backslash"),
        (lambda t: t.x % 2.0, "Modulus of float64"),
        (lambda t: t.s.max().upper(), "letters follow"),
        (lambda t: t.select(v=t.s.re_search("a")), "regular expressions"),
        (lambda t: t.select(**{"n" * 64: t.x}), "no column names like"),
        (lambda t: t.select(v=ibis.literal("a\0b")), "NUL"),
    ],
)
def test_refusals(platform: PostgreSQL, value: Any, reason: str) -> None:
    table = ibis.table({"s": "string", "x": "float64"}, name="t")
    made = value(table)
    plan = from_ibis.relation((made if isinstance(made, ibis.Table) else table.select(v=made)).op())
    found = [text for node in plan.walk() if (text := platform.unsupported(node)) is not None]
    assert any(reason in text for text in found)
