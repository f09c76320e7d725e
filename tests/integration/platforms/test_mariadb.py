"""MariaDB's own sources and types, what never leaves in an error, and what stays on the server after a run: nothing."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pymysql
import pytest

from blossom.plan.errors import PlatformError
from blossom.plan.relations import Received, Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.mariadb import MariaDB

pytestmark = pytest.mark.mariadb


@pytest.fixture(scope="module")
def server(mariadb_url: str) -> Iterator[Any]:
    parts = urlsplit(mariadb_url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port, user=unquote(str(parts.username)), password=unquote(str(parts.password)),
        charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE DATABASE shop CHARACTER SET latin1 COLLATE latin1_swedish_ci")
        cursor.execute(
            "CREATE TABLE shop.goods (id INT UNSIGNED, name VARCHAR(30), kind ENUM('x', 'y'), price DECIMAL(9, 2), sold TINYINT(1),"
            " made TIMESTAMP(3) NULL, made_in YEAR, raw VARBINARY(9), weight FLOAT, hours TIME, huge BIGINT UNSIGNED)"
        )
        cursor.execute(
            "INSERT INTO shop.goods VALUES (4294967295, 'Kö', 'x', 1.25, 1, '2020-01-01 00:00:00.5', 1999, x'00ff', 0.5, '1:00:00', 1),"
            " (2, 'kö', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2)"
        )
        yield cursor


@pytest.fixture
def engine(mariadb_url: str, server: Any) -> Iterator[MariaDB]:
    made = MariaDB("test", url=mariadb_url)
    yield made
    made.close()


READ = ("id", "name", "kind", "price", "sold", "made", "made_in", "raw", "weight")


def rows(engine: MariaDB, table: str, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan(table, schema), {}, Cancellation()).read_all().to_pylist()


def test_types(engine: MariaDB) -> None:
    schema = engine.publish("goods", TableSource(source="shop.goods", columns=READ))
    assert dict(schema) == {
        "id": "int64", "name": "string", "kind": "string", "price": "decimal(9, 2)", "sold": "boolean", "made": "timestamp('UTC', 6)",
        "made_in": "int32", "raw": "binary", "weight": "float64",
    }  # fmt: skip
    first, second = sorted(rows(engine, "goods", schema), key=lambda row: -row["id"])
    assert first["made"].isoformat() == "2020-01-01T00:00:00.500000+00:00"
    assert {key: first[key] for key in READ if key != "made"} == {
        "id": 2**32 - 1, "name": "Kö", "kind": "x", "price": Decimal("1.25"), "sold": True, "made_in": 1999, "raw": b"\0\xff", "weight": 0.5,
    }  # fmt: skip
    assert second == dict.fromkeys(READ) | {"id": 2, "name": "kö"}


@pytest.mark.parametrize("column", ["hours", "huge"])
def test_a_type_without_a_meaning_is_named(engine: MariaDB, column: str) -> None:
    with pytest.raises(PlatformError, match=column):
        engine.publish("goods", TableSource(source="shop.goods", columns=(column,)))


def test_a_query_with_declared_types(engine: MariaDB) -> None:
    source = TableSource(query="SELECT id, huge FROM shop.goods;", schema={"huge": "decimal(20, 0)"})
    schema = engine.publish("few", source)
    assert dict(schema) == {"id": "int64", "huge": "decimal(20, 0)"}
    assert sorted(row["huge"] for row in rows(engine, "few", schema)) == [1, 2]
    assert engine.row_count("few") is None


def test_a_missing_table_is_named(engine: MariaDB) -> None:
    with pytest.raises(PlatformError, match="nowhere"):
        engine.publish("t", TableSource(source="shop.nowhere"))


def test_no_error_tells_the_password(mariadb_url: str) -> None:
    secret = urlsplit(mariadb_url).password
    assert secret
    for url in (
        mariadb_url.replace(secret, "wrong-secret"),
        "mariadb://me:wrong-secret@127.0.0.1:1/x",
        "nonsense",
    ):
        with pytest.raises(PlatformError) as caught:
            MariaDB("test", url=url)
        assert "wrong-secret" not in str(caught.value)


def test_sessions_read_only(engine: MariaDB) -> None:
    with engine._pool.session() as session, pytest.raises(PlatformError, match="READ ONLY"):
        session.execute("DELETE FROM shop.goods")
    with pytest.raises(PlatformError, match="syntax"):
        engine.publish("t", TableSource(query="SELECT 1 AS a) AS q; DELETE FROM shop.goods; --"))


def test_rows_that_cannot_be_held_are_refused(engine: MariaDB) -> None:
    plan = Received("f0", Schema([("x", "float64")]))
    assert engine.unsupported(plan) is not None
    with pytest.raises(PlatformError, match="infinity"):
        engine.run(plan, {"f0": pa.table({"x": [float("nan")]}).to_reader()}, Cancellation())


def test_nothing_runs_after_a_result_was_given_up(engine: MariaDB, server: Any) -> None:
    many = "SELECT CAST(a.seq AS SIGNED) AS n FROM seq_1_to_100000 a JOIN seq_1_to_100000 b"
    schema = engine.publish("many", TableSource(query=many))
    reader = engine.run(Scan("many", schema), {}, Cancellation())
    assert reader.read_next_batch().num_rows
    del reader
    gc.collect()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        server.execute(
            "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%seq_1_to%' AND ID <> CONNECTION_ID()"
        )
        if server.fetchone() == (0,):
            return
        time.sleep(0.05)
    pytest.fail("the statement still runs")
