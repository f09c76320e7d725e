"""DuckDB's own sources: files in their formats, tables of a database, queries; and what stays lazy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.relations import Received, Scan
from blossom.plan.schema import Schema
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource


@pytest.fixture
def engine() -> Iterator[DuckDB]:
    made = DuckDB("test", threads=1)
    yield made
    made.close()


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "trips.csv"
    path.write_text("Code,Delay,day\n007,5,2020-01-02\n008,NA,NA\n009,-3,\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "clinic.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE patients AS SELECT range AS id, range * 2.5 AS dose FROM range(7)")
        connection.execute("CREATE SCHEMA lab")
        connection.execute(
            "CREATE TABLE lab.results AS SELECT range AS id, 'x'::ENUM('x', 'y') AS grade FROM range(3)"
        )
    return str(path)


def rows(engine: DuckDB, table: str, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan(table, schema), {}, Cancellation()).read_all().to_pylist()


def test_null_values_make_a_column_typed(engine: DuckDB, csv: str) -> None:
    source = TableSource(source=csv, options={"null_values": ["NA"]}, schema={"Code": "string"})
    schema = engine.publish("trips", source)
    assert dict(schema) == {"Code": "string", "Delay": "int64", "day": "date"}
    assert [row["Delay"] for row in rows(engine, "trips", schema)] == [5, None, -3]
    assert rows(engine, "trips", schema)[0]["Code"] == "007"


def test_names_types_and_columns_can_be_declared(engine: DuckDB, csv: str) -> None:
    source = TableSource(
        source=csv,
        rename={"minutes": "Delay"},
        schema={"minutes": "float64"},
        columns=("minutes", "Code"),
        options={"null_values": ["NA"], "delimiter": ",", "header": True},
    )
    schema = engine.publish("trips", source)
    assert list(schema.items()) == [("minutes", "float64"), ("Code", "string")]
    assert rows(engine, "trips", schema)[2] == {"minutes": -3.0, "Code": "009"}


def test_a_declared_type_is_cast_to_in_parquet_too(engine: DuckDB, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": ["1", None]}), path)
    schema = engine.publish("t", TableSource(source=str(path), schema={"n": "int16"}))
    assert dict(schema) == {"n": "int16"}
    assert rows(engine, "t", schema) == [{"n": 1}, {"n": None}]


def test_a_glob_a_folder_and_json(engine: DuckDB, tmp_path: Path) -> None:
    for part in range(2):
        pq.write_table(pa.table({"n": [part]}), tmp_path / f"{part}.parquet")
    (tmp_path / "t.ndjson").write_text('{"n": 1}\n{"n": 2}\n', encoding="utf-8")
    for name, source in (
        ("glob", tmp_path / "*.parquet"),
        ("folder", tmp_path),
        ("json", tmp_path / "t.ndjson"),
    ):
        schema = engine.publish(name, TableSource(source=str(source)))
        assert len(rows(engine, name, schema)) == 2
    assert [engine.row_count(name) for name in ("glob", "folder", "json")] == [2, 2, None]


def test_tables_of_a_database_are_read_only(database: str) -> None:
    engine = DuckDB("test", database=database, threads=1)
    patients = engine.publish("patients", TableSource(source="patients"))
    results = engine.publish("results", TableSource(source="lab.results"))
    assert dict(results) == {"id": "int64", "grade": "string"}
    assert len(rows(engine, "patients", patients)) == 7
    assert rows(engine, "results", results)[0]["grade"] == "x"
    assert engine.row_count("patients") == 7
    with duckdb.connect(database, read_only=True) as other:
        assert other.sql("SELECT count(*) FROM patients").fetchall() == [(7,)]
    engine.close()


def test_a_query_may_name_a_table_as_itself(database: str) -> None:
    engine = DuckDB("test", database=database, threads=1)
    query = """
        WITH few AS (SELECT id FROM lab.results)
        SELECT p.id, max(p.dose) AS top FROM patients p JOIN few USING (id) GROUP BY ALL ORDER BY id;
    """
    schema = engine.publish("patients", TableSource(query=query))
    assert [row["id"] for row in rows(engine, "patients", schema)] == [0, 1, 2]
    assert engine.row_count("patients") is None
    engine.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TableSource(source="nowhere.parquet"), "No files found"),
        (TableSource(source="patients"), "neither a Parquet, CSV or JSON path nor in a database"),
        (TableSource(), "give a source or a query"),
        (TableSource(query="SELECT wrong FROM range(3)"), "wrong"),
        (TableSource(query="SELECT range AS n FROM range(3)", schema={"m": "int64"}), "unknown column 'm'"),
        (TableSource(query="SELECT range AS n FROM range(3)", columns=("m",)), "unknown column 'm'"),
        (TableSource(query="SELECT range AS n FROM range(3)", rename={"a": "m"}), "unknown column 'm'"),
        (TableSource(query="SELECT '101'::BIT AS bits"), "column 'bits' has the type BIT"),
        (
            TableSource(source="x.parquet", options={"delimiter": ";"}),
            "unknown parquet reader option 'delimiter'",
        ),
        (TableSource(source="x", options={"format": "cvs"}), "unknown format 'cvs'"),
    ],
)
def test_a_source_that_cannot_be_read_names_the_table(
    engine: DuckDB, source: TableSource, message: str
) -> None:
    with pytest.raises(PlatformError, match="table 'trips'") as caught:
        engine.publish("trips", source)
    assert message in str(caught.value)


def test_results_are_streamed(engine: DuckDB) -> None:
    """The first batch comes out long before the whole input has gone in."""
    schema = Schema([("n", "int64")])
    total, pulled = 400, []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(total):
            pulled.append(number)
            yield pa.record_batch({"n": pa.array(range(50_000), pa.int64())})

    source = pa.RecordBatchReader.from_batches(schema.to_pyarrow(), batches())
    reader = engine.run(Received("f0", schema), {"f0": source}, Cancellation())
    assert reader.read_next_batch().num_rows
    assert 0 < len(pulled) < total // 2


def test_a_python_variable_is_no_table(engine: DuckDB) -> None:
    secret = pa.table({"n": [1]})
    plan = Scan("secret", Schema.from_pyarrow(secret.schema))
    with pytest.raises(PlatformError, match="secret"):
        engine.run(plan, {}, Cancellation())


def test_integer_sums_grow_instead_of_wrapping(engine: DuckDB) -> None:
    schema = engine.publish("t", TableSource(query="SELECT 9223372036854775807 AS n FROM range(3)"))
    table = ibis.table(schema.to_ibis(), name="t")
    plan = from_ibis.relation(table.agg(s=table.n.sum()).op())
    assert int(engine.run(plan, {}, Cancellation()).read_all()["s"][0].as_py()) == 3 * (2**63 - 1)


def test_timestamps_are_utc(engine: DuckDB) -> None:
    schema = engine.publish("t", TableSource(query="SELECT TIMESTAMPTZ '2020-01-01 00:00:00+02' AS at"))
    table = ibis.table(schema.to_ibis(), name="t")
    plan = from_ibis.relation(table.select(h=table["at"].hour()).op())
    assert engine.run(plan, {}, Cancellation()).read_all()["h"].to_pylist() == [22]


def test_options_reach_the_engine(tmp_path: Path) -> None:
    engine = DuckDB("test", threads=1, memory_limit="123MB", temp_directory=str(tmp_path))
    query = "SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory"
    schema = engine.publish("settings", TableSource(query=query))
    assert rows(engine, "settings", schema) == [{"threads": 1, "memory": "117.3 MiB"}]
    engine.close()


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(PlatformError, match="Memory"):
        DuckDB("test", memory_limit="much")


def test_a_missing_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"none\.duckdb"):
        DuckDB("test", database=str(tmp_path / "none.duckdb"))


def test_close_twice_and_run_after() -> None:
    engine = DuckDB("test", threads=1)
    schema = engine.publish("t", TableSource(query="SELECT 1 AS n"))
    engine.close()
    engine.close()
    with pytest.raises(PlatformError):
        engine.run(Scan("t", schema), {}, Cancellation())


def test_no_thread_is_left(engine: DuckDB) -> None:
    before = threading.active_count()
    schema = engine.publish("t", TableSource(query="SELECT 1 AS n"))
    rows(engine, "t", schema)
    assert threading.active_count() == before
