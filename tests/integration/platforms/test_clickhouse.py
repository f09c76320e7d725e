"""ClickHouse's own sources, received rows, instances and cancellation."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Column, Literal
from blossom.plan.relations import Aggregate, Join, Link, Received, Scan, call
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.registry import open_platform

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def engine() -> Iterator[Platform]:
    pytest.importorskip("chdb")
    made = open_platform("clickhouse", "test", {"threads": 1, "memory_limit": "2GB"})
    yield made
    made.close()


def rows(engine: Platform, table: str, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan(table, schema), {}, Cancellation()).read_all().to_pylist()


def test_files_and_folders(engine: Platform, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in (1, 2):
        pq.write_table(
            pa.table({"n": [number], "s": ["x", None][number - 1 : number]}),
            tmp_path / f"parts/{number}.parquet",
        )
    (tmp_path / "t.csv").write_text("code;n\n007;1\n008;NA\n", encoding="utf-8")
    options = {"delimiter": ";", "null_values": ["NA"]}
    folder = engine.publish("folder", TableSource(source=str(tmp_path / "parts"), rename={"m": "n"}))
    globbed = engine.publish(
        "globbed", TableSource(source=f"{tmp_path}/parts/*.parquet", schema={"n": "float64"})
    )
    text = engine.publish(
        "text", TableSource(source=str(tmp_path / "t.csv"), options=options, schema={"code": "string"})
    )
    assert dict(folder) == {"m": "int64", "s": "string"}
    assert sorted(row["m"] for row in rows(engine, "folder", folder)) == [1, 2]
    assert sorted(row["n"] for row in rows(engine, "globbed", globbed)) == [1.0, 2.0]
    assert rows(engine, "text", text) == [{"code": "007", "n": 1}, {"code": "008", "n": None}]
    assert engine.row_count("folder") == 2


def test_what_cannot_be_read_is_named(engine: Platform, tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), tmp_path / "t.parquet")
    with pytest.raises(PlatformError, match=r"(?s)prise.*price"):
        engine.publish("t", TableSource(source=str(tmp_path / "t.parquet"), columns=("prise",)))
    with pytest.raises(PlatformError, match=r"nowhere\.parquet"):
        engine.publish("t", TableSource(source=str(tmp_path / "nowhere.parquet")))
    with pytest.raises(PlatformError, match="files only"):
        engine.publish("t", TableSource(query="SELECT 1"))
    with pytest.raises(PlatformError, match=r"(?s)no table 'u'|unknown table|'u'"):
        engine.run(Scan("u", Schema([("a", "int64")])), {}, Cancellation())


def test_received_rows_keep_their_types(engine: Platform) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "s": pa.array(["ž", None]),
            "b": pa.array([b"\xff\x00", None]),
            "d": pa.array([dt.date(1900, 1, 1), None]),
            "t": pa.array(
                [dt.datetime.fromisoformat("1969-12-31 23:59:59.999999"), None], pa.timestamp("us")
            ),
            "m": pa.array([Decimal("-0.05"), None], pa.decimal128(9, 2)),
            "o": pa.array([True, None]),
            "f": pa.array([1.5, None], pa.float32()),
        }
    )
    schema = Schema.from_pyarrow(table.schema)
    reader = engine.run(Received("r", schema), {"r": table.to_reader()}, Cancellation())
    got = reader.read_all()
    assert got.schema == table.schema
    assert got.to_pylist() == table.to_pylist()


def test_an_empty_answer_has_its_columns(engine: Platform) -> None:
    table = pa.table({"a": [1], "d": pa.array([Decimal("1.00")], pa.decimal128(9, 2))})
    schema = Schema.from_pyarrow(table.schema)
    none = ibis.table(schema.to_ibis(), name="t").filter(_.a > 5)
    plan = from_ibis.relation(none.op())
    source = plan.with_inputs((Received("r", schema),)) if plan.inputs else plan
    got = engine.run(source, {"r": table.to_reader()}, Cancellation()).read_all()
    assert got.column_names == ["a", "d"]
    assert got.num_rows == 0


def test_two_platforms_in_one_process_see_their_own_tables(engine: Platform, tmp_path: Path) -> None:
    other = open_platform("clickhouse", "other", {"threads": 1})
    for number, platform in enumerate((engine, other)):
        pq.write_table(pa.table({"a": [number]}), tmp_path / f"{number}.parquet")
        platform.publish("t", TableSource(source=str(tmp_path / f"{number}.parquet")))
    schema = Schema([("a", "int64")])
    assert rows(engine, "t", schema) == [{"a": 0}]
    assert rows(other, "t", schema) == [{"a": 1}]
    other.close()
    assert rows(engine, "t", schema) == [{"a": 0}]


def test_days_far_away_are_kept(engine: Platform, tmp_path: Path) -> None:
    days = [dt.date(1, 1, 1), dt.date(1850, 2, 28), dt.date(9999, 12, 31)]
    moments = [dt.datetime.combine(day, dt.time()) for day in days]
    pq.write_table(pa.table({"d": days, "t": pa.array(moments, pa.timestamp("us"))}), tmp_path / "t.parquet")
    schema = engine.publish("t", TableSource(source=str(tmp_path / "t.parquet")))
    parts = ibis.table(schema.to_ibis(), name="t").select(
        "d", y=_.d.year(), m=_.d.truncate("M"), h=_.t.date()
    )
    found = engine.run(from_ibis.relation(parts.op()), {}, Cancellation()).read_all().to_pylist()
    assert sorted((row["d"], row["y"], row["m"], row["h"]) for row in found) == [
        (day, day.year, day.replace(day=1), day) for day in days
    ]


def test_a_cancelled_run_stops_the_engine(engine: Platform) -> None:
    numbers = pa.table({"a": range(60_000)})
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

    timer = threading.Timer(0.7, cancel)
    timer.start()
    with pytest.raises(PlatformError, match="cancel"):
        engine.run(plan, {"f0": numbers.to_reader(), "f1": numbers.to_reader()}, cancellation).read_all()
    timer.join()
    assert time.monotonic() - moment[0] < 3.0
    assert rows(engine, "t", engine.publish("t", _one_row(engine))) == [{"a": 1}]


def _one_row(engine: Platform) -> TableSource:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://clickhouse/one.parquet", "wb") as file:
        pq.write_table(pa.table({"a": [1]}), file)
    return TableSource(source="memory://clickhouse/one.parquet")
