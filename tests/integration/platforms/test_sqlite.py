"""SQLite's own traps: values that do not fit their column, texts that stand for times, files that change."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.relations import Received, Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.sqlite import SQLite


def write(path: Path, declared: str, rows: Sequence[tuple[Any, ...]], table: str = "t") -> str:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} ({declared})")
    marks = ", ".join("?" * len(rows[0])) if rows else ""
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    connection.commit()
    connection.close()
    return str(path)


def opened(
    path: Path, declared: str, rows: Sequence[tuple[Any, ...]], **source: Any
) -> tuple[SQLite, Schema]:
    engine = SQLite("test", database=write(path / "t.db", declared, rows))
    return engine, engine.publish("t", TableSource(**({"source": "t"} | source)))


def values(engine: SQLite, schema: Schema) -> list[dict[str, Any]]:
    return engine.run(Scan("t", schema), {}, Cancellation()).read_all().to_pylist()


def test_declared_columns_come_out_typed(tmp_path: Path) -> None:
    engine, schema = opened(
        tmp_path,
        "a BIGINT, b VARCHAR(9), c DOUBLE PRECISION, d BOOLEAN, e DATE, f DATETIME, g NUMERIC(9, 2), h BLOB",
        [(1, "x", 2, 1, "2020-02-29", "2020-02-29T10:00:00Z", 1.5, b"\x00"), (None,) * 8],
    )
    assert list(schema.values()) == [
        "int64", "string", "float64", "boolean", "date", "timestamp(6)", "decimal(9, 2)", "binary",
    ]  # fmt: skip
    first, second = values(engine, schema)
    assert list(first.values()) == [
        1, "x", 2.0, True, dt.date(2020, 2, 29), dt.datetime.fromisoformat("2020-02-29 10:00:00"), Decimal("1.50"), b"\x00",
    ]  # fmt: skip
    assert set(second.values()) == {None}
    engine.close()


def test_undeclared_columns_are_inferred(tmp_path: Path) -> None:
    engine, schema = opened(tmp_path, "a, b, c NUMERIC", [(1, "x", 1), (2, "y", 2.5)])
    assert dict(schema) == {"a": "int64", "b": "string", "c": "float64"}
    assert values(engine, schema)[0] == {"a": 1, "b": "x", "c": 1.0}
    engine.close()


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ("n INTEGER", [(1,), ("secret",)], "column 'n': the value in row 2 is no int64"),
        ("n INTEGER", [(1,), (2,), (1.5,)], "column 'n': the value in row 3 is no int64"),
        ("n BOOLEAN", [(2,)], "column 'n': the value in row 1 is no boolean"),
        ("n DATE", [("2020-02-30",)], "column 'n': the value in row 1 is no date"),
        ("n DATE", [(1577836800,)], "column 'n': the value in row 1 is no date"),
        ("n TIMESTAMP", [("soon",)], "column 'n': the value in row 1 is no timestamp"),
        ("n DECIMAL(4, 1)", [(1.55,)], "column 'n': the value in row 1 is no decimal(4, 1)"),
        ("n DECIMAL(4, 1)", [(1000,)], "column 'n': the value in row 1 is no decimal(4, 1)"),
        ("n", [(1,), ("x",)], "column 'n' has no declared type and holds integer and text values"),
        ("n", [(None,)], "column 'n' has no declared type and holds no values"),
    ],
)
def test_a_value_that_does_not_fit_is_named_but_not_shown(
    tmp_path: Path, columns: str, rows: Sequence[tuple[Any, ...]], message: str
) -> None:
    with pytest.raises(PlatformError, match="table 't'") as caught:
        opened(tmp_path, columns, rows)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_declared_schema_overrides_and_renames(tmp_path: Path) -> None:
    engine, schema = opened(
        tmp_path,
        "K INTEGER, day TEXT",
        [(1, "2020-01-01")],
        rename={"key": "K"},
        schema={"key": "int8", "day": "date"},
        columns=("day", "key"),
    )
    assert list(schema.items()) == [("day", "date"), ("key", "int8")]
    assert values(engine, schema) == [{"day": dt.date(2020, 1, 1), "key": 1}]
    engine.close()


def test_times_compare_however_they_are_written(tmp_path: Path) -> None:
    rows = [
        ("2020-01-01 00:00:00",), ("2020-01-01T00:00:00",), ("2020-01-01",), ("2020-01-01 00:00:00.000000",),
        ("2020-01-01T01:00:00+01:00",), ("2020-01-01 00:00:00.5",),
    ]  # fmt: skip
    engine, schema = opened(tmp_path, "at TIMESTAMP", rows)
    table = ibis.table(schema.to_ibis(), name="t")
    moment = ibis.timestamp("2020-01-01 00:00:00")
    counts = table.agg(same=(table["at"] == moment).sum(), later=(table["at"] > moment).sum())
    got = engine.run(from_ibis.relation(counts.op()), {}, Cancellation()).read_all().to_pylist()
    assert got == [{"same": 5, "later": 1}]
    engine.close()


def test_a_query_may_name_a_table_as_itself(tmp_path: Path) -> None:
    engine, schema = opened(
        tmp_path, "n INTEGER", [(1,), (5,)], source=None, query="SELECT n, n * 2 AS m FROM t WHERE n > 1;"
    )
    assert dict(schema) == {"n": "int64", "m": "int64"}
    assert values(engine, schema) == [{"n": 5, "m": 10}]
    assert engine.row_count("t") == 1
    engine.close()


def test_a_change_of_the_file_is_seen_and_checked(tmp_path: Path) -> None:
    engine, schema = opened(tmp_path, "n INTEGER", [(1,)])
    assert len(values(engine, schema)) == 1
    with sqlite3.connect(tmp_path / "t.db") as writer:
        writer.execute("INSERT INTO t VALUES (2)")
    writer.close()
    assert len(values(engine, schema)) == 2
    assert engine.row_count("t") == 2
    with sqlite3.connect(tmp_path / "t.db") as writer:
        writer.execute("INSERT INTO t VALUES ('x')")
    writer.close()
    with pytest.raises(PlatformError, match="row 3"):
        values(engine, schema)
    engine.close()


def test_a_nan_is_refused_rather_than_lost() -> None:
    engine = SQLite("test")
    schema = Schema([("x", "float64")])
    rows = pa.table({"x": [1.0, math.nan]})
    with pytest.raises(PlatformError, match="column 'x' holds a NaN"):
        engine.run(Received("f0", schema), {"f0": rows.to_reader()}, Cancellation())
    engine.close()


def test_an_integer_sum_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    engine, schema = opened(tmp_path, "n INTEGER", [(2**63 - 1,), (1,)])
    table = ibis.table(schema.to_ibis(), name="t")
    with pytest.raises(PlatformError, match="overflow"):
        engine.run(from_ibis.relation(table.agg(s=table.n.sum()).op()), {}, Cancellation()).read_all()
    engine.close()


def test_text_is_compared_byte_by_byte_whatever_its_collation(tmp_path: Path) -> None:
    engine, schema = opened(tmp_path, "s TEXT COLLATE NOCASE", [("A",), ("a",)])
    table = ibis.table(schema.to_ibis(), name="t")
    for plan, rows in (
        (table.filter(table.s == "a"), 1),
        (table.distinct(), 2),
        (table.group_by("s").agg(), 2),
    ):
        assert engine.run(from_ibis.relation(plan.op()), {}, Cancellation()).read_all().num_rows == rows
    engine.close()


def test_the_file_is_never_written(tmp_path: Path) -> None:
    engine, schema = opened(tmp_path, "n INTEGER", [(1,)])
    before = (tmp_path / "t.db").read_bytes()
    rows = pa.table({"n": pa.array([1, 2], pa.int64())})
    engine.run(Received("f0", schema), {"f0": rows.to_reader()}, Cancellation()).read_all()
    engine.close()
    assert (tmp_path / "t.db").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TableSource(source="nothing"), "no such table"),
        (TableSource(source="t", options={"header": True}), "no reader options"),
        (TableSource(), "give a source or a query"),
        (TableSource(source="t", columns=("m",)), "unknown column 'm'"),
        (TableSource(source="t", schema={"n": "array<int64>"}), "SQLite cannot hold array<int64>"),
    ],
)
def test_a_source_that_cannot_be_read_names_the_table(
    tmp_path: Path, source: TableSource, message: str
) -> None:
    engine = SQLite("test", database=write(tmp_path / "t.db", "n INTEGER", [(1,)]))
    with pytest.raises(PlatformError, match="table 'visits'") as caught:
        engine.publish("visits", source)
    assert message in str(caught.value)
    engine.close()


def test_a_missing_database_or_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="there is no database"):
        SQLite("test", database=str(tmp_path / "none.db"))
    (tmp_path / "text.db").write_text("no database at all, but long enough to be taken for one" * 99)
    with pytest.raises(PlatformError, match="not a database"):
        SQLite("test", database=str(tmp_path / "text.db"))
