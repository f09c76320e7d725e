"""The Python platform: functions a batch and a row, models, and the faults of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from blossom.plan.errors import PlatformError
from blossom.plan.relations import Filter, Function, MapBatches, Model, Predict, Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.python import Python
from blossom.platforms.python_functions import Packed, pack
from blossom.platforms.python_worker import AHEAD

ROWS = Schema([("a", "int64"), ("s", "string")])
TABLE = pa.table({"a": pa.array([1, 2, None], pa.int64()), "s": ["x y", "", None]})


class Registry:
    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.functions: Mapping[str, Callable[..., Any]] = functions

    def resolve(self, function: Function) -> Packed:
        return pack(self.functions[function.name])


def mapped(name: str, columns: Schema, below: Relation | None = None, per: str = "batch") -> MapBatches:
    return MapBatches(below or Received("f0", ROWS), Function(name, "00"), columns, per)


def run(plan: Relation, platform: Python, table: pa.Table = TABLE, **more: pa.Table) -> pa.Table:
    inputs = {key: value.to_reader() for key, value in ({"f0": table} | more).items()}
    return platform.run(plan, inputs, Cancellation()).read_all()


def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"a": pc.multiply(batch.column("a"), 2)})


def words(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for word in (row["s"] or "").split():
        yield {"word": word, "n": row["a"]}


WORDS = Schema([("word", "string"), ("n", "int64")])
DOUBLED = Schema([("a", "int64")])


def test_a_function_of_batches() -> None:
    got = run(mapped("f", DOUBLED), Python("p", functions=Registry(f=doubled)))
    assert got.to_pylist() == [{"a": 2}, {"a": 4}, {"a": None}]


def test_a_function_of_rows_gives_none_one_or_many() -> None:
    got = run(mapped("f", WORDS, per="row"), Python("p", functions=Registry(f=words)))
    assert got.to_pylist() == [{"word": "x", "n": 1}, {"word": "y", "n": 1}]


def test_steps_chain() -> None:
    platform = Python("p", functions=Registry(f=doubled))
    assert run(mapped("f", DOUBLED, mapped("f", DOUBLED)), platform)["a"].to_pylist() == [4, 8, None]


@pytest.mark.parametrize("per", ["batch", "row"])
def test_no_rows_give_no_rows_of_the_declared_types(per: str) -> None:
    platform = Python("p", functions=Registry(f=doubled if per == "batch" else words))
    columns = DOUBLED if per == "batch" else WORDS
    got = run(mapped("f", columns, per=per), platform, TABLE.slice(0, 0))
    assert got.num_rows == 0
    assert got.schema.names == list(columns)


def test_rows_are_streamed() -> None:
    pulled: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(100):
            pulled.append(number)
            yield TABLE.to_batches()[0]

    source = pa.RecordBatchReader.from_batches(TABLE.schema, batches())
    platform = Python("p", functions=Registry(f=doubled))
    reader = platform.run(mapped("f", DOUBLED), {"f0": source}, Cancellation())
    assert pulled == []
    reader.read_next_batch()
    assert len(pulled) <= AHEAD + 1


def test_columns_may_come_in_any_order_and_wider_types_are_taken() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch({"n": pa.array([1], pa.int8()), "word": pa.array(["x"], pa.large_string())})

    got = run(mapped("f", WORDS), Python("p", functions=Registry(f=function)))
    assert got.to_pylist() == [{"word": "x", "n": 1}]
    assert got.schema.types == [pa.string(), pa.int64()]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"a": ["x"]}, "the function gave column 'a' as string; expected int64"),
        ({"a": [1.5]}, "the function gave column 'a' as double; expected int64"),
        ({"a": [2**40]}, None),
        ({"b": [1]}, "lacks a and has b besides: got columns b; expected a"),
        ({"a": [1], "b": [1]}, "has b besides"),
    ],
)
def test_a_result_unlike_the_declared_schema_is_told(made: dict[str, Any], message: str | None) -> None:
    platform = Python("p", functions=Registry(f=lambda _batch: pa.record_batch(made)))
    if message is None:
        assert run(mapped("f", DOUBLED), platform)["a"].to_pylist() == [2**40]
        return
    with pytest.raises(PlatformError, match="function 'f'") as caught:
        run(mapped("f", DOUBLED), platform)
    assert message in str(caught.value)


def test_a_value_too_large_for_its_type_is_told() -> None:
    platform = Python("p", functions=Registry(f=lambda _batch: pa.record_batch({"a": [2**40]})))
    with pytest.raises(
        PlatformError, match=r"column 'a' as int64 .with values that do not fit.; expected int8"
    ):
        run(mapped("f", Schema([("a", "int8")])), platform)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([{"word": 1, "n": 1}], "column 'word' as int; expected string"),
        ([{"word": "x", "n": 1.5}], "column 'n' as float; expected int64"),
        ([{"word": "x"}], "lacks n"),
        (["x"], "a row of type str on row 0; expected a mapping"),
        ({"word": "x", "n": 1}, "gave a dict on row 0; expected an iterable of rows"),
        (None, "gave a NoneType on row 0; expected an iterable of rows"),
    ],
)
def test_a_row_unlike_the_declared_schema_is_told(row: Any, message: str) -> None:
    platform = Python("p", functions=Registry(f=lambda _row: row))
    with pytest.raises(PlatformError, match="function 'f'") as caught:
        run(mapped("f", WORDS, per="row"), platform)
    assert message in str(caught.value)


def broken(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(["no such column"])


def broken_row(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"word": "x", "n": 1 // (row["a"] - 1)}


@pytest.mark.parametrize(
    ("per", "function", "error", "line"),
    [
        ("batch", broken, "KeyError", 'return batch.select(["no such column"])'),
        ("row", broken_row, "ZeroDivisionError", 'yield {"word": "x", "n": 1 // (row["a"] - 1)}'),
    ],
)
def test_an_exception_is_told_with_the_users_line(
    per: str, function: Callable[..., Any], error: str, line: str
) -> None:
    platform = Python("p", functions=Registry(f=function))
    with pytest.raises(PlatformError, match=f"the function raised {error}") as caught:
        run(mapped("f", WORDS, per=per), platform)
    assert line in str(caught.value)
    assert ("on rows 0 to 2" if per == "batch" else "on row 0") in str(caught.value)


def scorer_of(document: str) -> Callable[[pa.RecordBatch], list[pa.Array]]:
    factor = int(document)
    return lambda features: [pc.multiply(features.column("a"), factor)]


OUTPUTS = (("prediction", "float64"),)


def test_predictions_are_appended() -> None:
    plan = Predict(Received("f0", ROWS), Model("3"), ("a",), OUTPUTS)
    got = run(plan, Python("p", predictor=scorer_of))
    assert got.column_names == ["a", "s", "prediction"]
    assert got["prediction"].to_pylist() == [3.0, 6.0, None]


def test_a_model_may_arrive_as_rows() -> None:
    plan = Predict(Received("f0", ROWS), Received("m", Schema([("model", "string")])), ("a",), OUTPUTS)
    got = run(plan, Python("p", predictor=scorer_of), m=pa.table({"model": ["2"]}))
    assert got["prediction"].to_pylist() == [2.0, 4.0, None]
    with pytest.raises(PlatformError, match="a model is one row"):
        run(plan, Python("p", predictor=scorer_of), m=pa.table({"model": ["2", "3"]}))


def test_a_model_that_gives_too_little_is_told() -> None:
    plan = Predict(Received("f0", ROWS), Model("3"), ("a",), OUTPUTS)
    with pytest.raises(PlatformError, match="gave 0 columns; expected 1"):
        run(plan, Python("p", predictor=lambda _document: lambda _batch: []))
    with pytest.raises(PlatformError, match="gave 1 values of 'prediction' for 3 rows"):
        run(plan, Python("p", predictor=lambda _document: lambda _batch: [pa.array([1.0])]))


def test_what_it_runs() -> None:
    rows = Received("f0", ROWS)
    full = Python("p", functions=Registry(), predictor=scorer_of)
    bare = Python("p")
    for node in (mapped("f", ROWS), Predict(rows, Model("3"), ("a",), OUTPUTS)):
        assert full.unsupported(node) is None
        assert bare.unsupported(node) is not None
    assert full.unsupported(rows) is None
    assert full.unsupported(Filter(rows, ())) == "Filter does not run in Python"
    assert full.unsupported(Scan("t", ROWS)) == "Scan does not run in Python"


def test_it_holds_no_tables() -> None:
    with pytest.raises(PlatformError, match="table 't'"):
        Python("p").publish("t", TableSource(source="t.parquet"))


def test_a_cancelled_run_stops() -> None:
    cancellation = Cancellation()
    platform = Python("p", functions=Registry(f=doubled))
    source = pa.Table.from_batches(TABLE.to_batches() * 3)
    reader = platform.run(mapped("f", DOUBLED), {"f0": source.to_reader()}, cancellation)
    reader.read_next_batch()
    cancellation.cancel()
    with pytest.raises(PlatformError, match="cancelled"):
        reader.read_next_batch()


def test_missing_rows_are_named() -> None:
    with pytest.raises(PlatformError, match="f0"):
        Python("p", functions=Registry(f=doubled)).run(mapped("f", DOUBLED), {}, Cancellation())
