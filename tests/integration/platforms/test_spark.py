"""Spark's own sources, sessions and cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Column, Literal
from blossom.plan.relations import Aggregate, Join, Link, Received, Scan, call
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.spark import Spark

pytestmark = pytest.mark.spark


@pytest.fixture
def engine(spark_url: str) -> Iterator[Spark]:
    made = Spark("test", url=spark_url)
    yield made
    made.close()


def rows(engine: Spark, table: str, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan(table, schema), {}, Cancellation()).read_all().to_pylist()


def test_files_and_queries(engine: Spark, tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": pa.array([1, 2], pa.int32()), "s": ["x", None]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("code;n\n007;1\n008;NA\n", encoding="utf-8")
    options = {"delimiter": ";", "null_values": ["NA"]}
    parquet = engine.publish("parquet", TableSource(source=str(tmp_path / "t.parquet"), rename={"m": "n"}))
    text = engine.publish(
        "text",
        TableSource(source=str(tmp_path / "t.csv"), options=options, schema={"code": "string", "n": "int64"}),
    )
    query = engine.publish("query", TableSource(query="SELECT 1 AS a, 'x' AS b"))
    assert dict(parquet) == {"m": "int32", "s": "string"}
    assert dict(query) == {"a": "int32", "b": "string"}
    assert rows(engine, "text", text) == [{"code": "007", "n": 1}, {"code": "008", "n": None}]
    assert [engine.row_count(name) for name in ("parquet", "text", "query")] == [2, None, None]


def test_a_missing_table_or_column_is_named(engine: Spark, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="nowhere"):
        engine.publish("t", TableSource(source="nowhere"))
    pq.write_table(pa.table({"price": [1]}), tmp_path / "t.parquet")
    with pytest.raises(PlatformError, match=r"(?s)prise.*price"):
        engine.publish("t", TableSource(source=str(tmp_path / "t.parquet"), columns=("prise",)))


@pytest.mark.filterwarnings("ignore:.RETRIES_EXCEEDED")
def test_a_server_that_is_not_there_is_said_soon_and_without_its_token() -> None:
    start = time.monotonic()
    with pytest.raises(PlatformError, match="cannot be reached") as caught:
        Spark("test", url="sc://127.0.0.1:1/;token=secret-token")
    assert time.monotonic() - start < 20
    assert "secret-token" not in str(caught.value)


def test_a_cancelled_run_frees_its_caller_at_once(engine: Spark) -> None:
    numbers = pa.table({"a": range(30_000)})
    schema = Schema([("a", "int64")])
    total = call("Add", Column("a", "int64", 0), Column("a", "int64", 1), dtype="int64")
    seventh = call("Modulus", total, Literal(7, "int8"), dtype="int64")
    odd = call("Equals", seventh, Literal(3, "int8"), dtype="boolean")
    pairs = Join((Received("f0", schema), Received("f1", schema)), (Link("inner", (odd,)),), (("a", total),))
    plan = Aggregate(pairs, (), (("n", call("CountStar", None, dtype="int64")),))
    cancellation = Cancellation()
    moment: list[float] = []

    def cancel() -> None:
        moment.append(time.monotonic())
        cancellation.cancel()

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(PlatformError, match="cancel"):
        engine.run(plan, {"f0": numbers.to_reader(), "f1": numbers.to_reader()}, cancellation).read_all()
    timer.join()
    assert time.monotonic() - moment[0] < 1.0
