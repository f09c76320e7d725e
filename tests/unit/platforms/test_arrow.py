"""conform: names, order, one representation a type, safe casts, batch size, and an end that is always told."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.plan.errors import PlatformError, SiteError
from blossom.plan.schema import Schema
from blossom.platforms.arrow import arrow_type, batch_rows, conform, split

MOMENT = datetime.fromisoformat("2020-01-01 00:00:00.000005")


def one(array: pa.Array, declared: str) -> pa.ChunkedArray:
    batch = pa.record_batch({"x": array})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    return conform(reader, Schema([("x", declared)])).read_all()["x"]


@pytest.mark.parametrize(
    ("array", "declared", "arrives_as"),
    [
        (pa.array(["a", None], pa.large_string()), "string", pa.string()),
        (pa.array(["a", None]).cast(pa.string_view()), "string", pa.string()),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", pa.string()),
        (pa.array([b"a", None], pa.large_binary()), "binary", pa.binary()),
        (pa.array([["a"], None], pa.large_list(pa.large_string())), "array<string>", pa.list_(pa.string())),
        (pa.array([{"a": "x"}], pa.struct([("a", pa.large_string())])), "struct<a: string>", pa.struct([("a", pa.string())])),
        (pa.array([[("k", 1)]], pa.map_(pa.large_string(), pa.int32())), "map<string, int64>", pa.map_(pa.string(), pa.int64())),
        (pa.array([1, None], pa.int32()), "int64", pa.int64()),
        (pa.array([1, None], pa.int64()), "int8", pa.int8()),
        (pa.array([1, None], pa.int64()), "float64", pa.float64()),
        (pa.array([None, None], pa.null()), "timestamp", pa.timestamp("us")),
        (pa.array([MOMENT], pa.timestamp("us")), "timestamp('UTC')", pa.timestamp("us", "UTC")),
        (pa.array([MOMENT], pa.timestamp("us")), "timestamp(9)", pa.timestamp("ns")),
        (pa.array([5, None], pa.int64()), "decimal(10, 2)", pa.decimal128(38, 2)),
        # what the engine knows better than the declaration
        (pa.array([Decimal("1.5")], pa.decimal128(38, 1)), "int64", pa.decimal128(38, 1)),
        (pa.array([Decimal("1.5555")], pa.decimal128(30, 4)), "decimal(10, 2)", pa.decimal128(30, 4)),
        (pa.array([1.5, None], pa.float64()), "decimal(10, 2)", pa.float64()),
    ],
)  # fmt: skip
def test_one_representation_a_type(array: pa.Array, declared: str, arrives_as: pa.DataType) -> None:
    got = one(array, declared)
    assert got.type == arrives_as
    if not pa.types.is_timestamp(arrives_as):
        assert got.to_pylist() == array.to_pylist()


def test_numbers_that_come_as_text_of_an_extension_type() -> None:
    opaque = pa.opaque(pa.string(), "numeric", "PostgreSQL")
    array = pa.ExtensionArray.from_storage(opaque, pa.array(["1.25", None]))
    assert one(array, "decimal(10, 2)").to_pylist() == [Decimal("1.25"), None]
    assert one(array, "float64").to_pylist() == [1.25, None]


def test_intervals_become_microseconds() -> None:
    array = pa.array([(0, 1, 2_000), None], pa.month_day_nano_interval())
    assert one(array, "interval('s')").to_pylist() == [timedelta(days=1, microseconds=2), None]
    with pytest.raises(PlatformError, match="months"):
        one(pa.array([(1, 0, 0)], pa.month_day_nano_interval()), "interval('s')")


@pytest.mark.parametrize(
    ("array", "declared"),
    [
        (pa.array([1, 300_123]), "int8"),
        (pa.array([1.5]), "int64"),
        (pa.array(["300123x"]), "int64"),
        (pa.array([MOMENT], pa.timestamp("us")), "timestamp(3)"),
        (pa.array([{"a": 1}]), "int64"),
    ],
)
def test_what_does_not_fit_is_named_but_not_shown(array: pa.Array, declared: str) -> None:
    with pytest.raises(PlatformError, match="column 'x'") as caught:
        one(array, declared)
    assert "300123" not in str(caught.value)
    assert caught.value.__cause__ is None or "300123" not in str(caught.value.__cause__)


def test_names_and_order_are_the_declared_ones() -> None:
    batch = pa.record_batch({"b": [1], "a": ["x"]})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    got = conform(reader, Schema([("a", "string"), ("b", "int64")])).read_all()
    assert got.to_pylist() == [{"a": "x", "b": 1}]
    assert got.column_names == ["a", "b"]


def test_a_missing_column_is_named() -> None:
    batch = pa.record_batch({"b": [1]})
    with pytest.raises(PlatformError, match="gave columns b; expected a"):
        conform(pa.RecordBatchReader.from_batches(batch.schema, [batch]), Schema([("a", "int64")]))


def test_flags_of_non_null_are_dropped() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    batch = pa.RecordBatch.from_arrays([pa.array([1])], schema=schema)
    got = conform(pa.RecordBatchReader.from_batches(schema, [batch]), Schema([("a", "!int64")]))
    assert got.schema.field("a").nullable


@given(st.integers(1, 2_000_000))
def test_splitting_keeps_the_rows_and_bounds_the_size(rows: int) -> None:
    batch = pa.record_batch({"a": pa.nulls(rows, pa.int64())})
    parts = list(split(batch))
    assert pa.Table.from_batches(parts).num_rows == rows
    assert all(part.nbytes <= 2 << 20 for part in parts)


@given(st.lists(st.sampled_from(["int64", "float64", "string", "boolean", "date"]), min_size=1, max_size=60))
def test_a_batch_of_batch_rows_is_about_a_mebibyte(types: list[str]) -> None:
    schema = Schema((f"c{i}", text) for i, text in enumerate(types))
    fixed = sum(arrow_type(text).bit_width for text in types if text != "string") / 8
    assert 2048 <= batch_rows(schema) <= 1 << 20
    assert batch_rows(schema) * fixed <= 1 << 20


class _Ends:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def _reader(error: Exception | None = None) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"x": [1]})
        if error is not None:
            raise error

    return pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())


SCHEMA = Schema([("x", "int64")])


def test_the_end_is_told_once_when_all_is_read() -> None:
    ends = _Ends()
    reader = conform(_reader(), SCHEMA, finished=ends)
    assert ends.count == 0
    reader.read_all()
    del reader
    gc.collect()
    assert ends.count == 1


def test_the_end_is_told_when_the_reader_is_dropped_unread() -> None:
    ends = _Ends()
    reader = conform(_reader(), SCHEMA, finished=ends)
    del reader
    gc.collect()
    assert ends.count == 1


@pytest.mark.parametrize("schema", [SCHEMA, Schema([("y", "int64")])])
def test_the_end_is_told_when_something_fails(schema: Schema) -> None:
    ends = _Ends()
    with pytest.raises(PlatformError):
        conform(_reader(RuntimeError("engine broke")), schema, finished=ends, where="here").read_all()
    gc.collect()
    assert ends.count == 1


@pytest.mark.parametrize(
    ("error", "kind"), [(RuntimeError("engine broke"), PlatformError), (SiteError("line broke"), SiteError)]
)
def test_an_engines_error_becomes_a_platform_error_and_ours_pass(error: Exception, kind: type[Any]) -> None:
    with pytest.raises(kind, match="broke"):
        conform(_reader(error), SCHEMA).read_all()
