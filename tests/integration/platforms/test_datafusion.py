"""DataFusion's own sources, and what its kind promises beside answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blossom.plan.errors import PlatformError
from blossom.plan.relations import Scan
from blossom.plan.schema import Schema
from blossom.platforms.datafusion import DataFusion
from blossom.platforms.interface import Cancellation, TableSource


@pytest.fixture
def engine() -> Iterator[DataFusion]:
    made = DataFusion("test", threads=1, memory_limit="64MiB")
    yield made
    made.close()


def rows(engine: DataFusion, table: str, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan(table, schema), {}, Cancellation()).read_all().to_pylist()


def test_text_files_keep_declared_types_from_guesses(engine: DataFusion, tmp_path: Path) -> None:
    path = tmp_path / "trips.csv"
    path.write_text("Code,Delay,day\n007,5,2020-01-02\n008,NA,\n", encoding="utf-8")
    source = TableSource(
        source=str(path), options={"null_values": ["NA"]}, schema={"code": "string", "Delay": "int64"}, rename={"code": "Code"}
    )  # fmt: skip
    schema = engine.publish("trips", source)
    assert dict(schema) == {"code": "string", "Delay": "int64", "day": "date"}
    assert [(row["code"], row["Delay"]) for row in rows(engine, "trips", schema)] == [
        ("007", 5),
        ("008", None),
    ]


def test_a_folder_of_parquet_and_json(engine: DataFusion, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for part in range(3):
        pq.write_table(pa.table({"n": pa.array([part], pa.int16())}), tmp_path / "parts" / f"{part}.parquet")
    (tmp_path / "t.ndjson").write_text('{"n": 1}\n{"n": 2}\n', encoding="utf-8")
    folder = engine.publish("folder", TableSource(source=str(tmp_path / "parts")))
    lines = engine.publish("lines", TableSource(source=str(tmp_path / "t.ndjson")))
    assert dict(folder) == {"n": "int16"}
    assert sorted(row["n"] for row in rows(engine, "folder", folder)) == [0, 1, 2]
    assert len(rows(engine, "lines", lines)) == 2
    assert [engine.row_count(name) for name in ("folder", "lines")] == [3, None]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TableSource(source="/nowhere/t.parquet"), "no file"),
        (TableSource(source="t.xlsx"), "no Parquet, CSV or JSON"),
        (TableSource(query="SELECT 1"), "files only"),
    ],
)
def test_what_cannot_be_published_says_why(engine: DataFusion, source: TableSource, message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        engine.publish("t", source)


def test_a_column_that_is_not_there_is_named(engine: DataFusion, tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), tmp_path / "t.parquet")
    with pytest.raises(PlatformError, match=r"(?s)prise.*price"):
        engine.publish("t", TableSource(source=str(tmp_path / "t.parquet"), columns=("prise",)))


def test_a_limit_that_is_no_size_is_refused() -> None:
    with pytest.raises(PlatformError, match="no size"):
        DataFusion("test", memory_limit="much")
