"""Python at a site: the user's functions and fitted models applied to Arrow streams, batch by batch."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Protocol, TypeAlias

import pyarrow as pa

from blossom.plan.errors import BlossomError, PlatformError
from blossom.plan.relations import Function, MapBatches, Model, Predict, Received, Relation
from blossom.plan.schema import Schema
from blossom.platforms.arrow import batch_rows, conform
from blossom.platforms.interface import Cancellation, Platform, TableSource

Scorer: TypeAlias = Callable[[pa.RecordBatch], Sequence[pa.Array]]
"""The features of some rows -> one array an output, each with one value a row."""


class FunctionRegistry(Protocol):
    """Where approved functions are found."""

    def resolve(self, function: Function) -> Callable[..., Any]:
        """The function with that digest, its parameters bound.

        Raises:
            BlossomError: It is not approved here.
        """
        ...


class Python(Platform):
    """Runs fragments that are a chain of `MapBatches` and `Predict` over one received stream.

    Args:
        name: The platform's name at its site.
        functions: Resolves the functions of `MapBatches`; None: there are none.
        predictor: Gives the scorer of a model's document; None: there are no models.
    """

    kind: ClassVar[str] = "python"

    def __init__(
        self,
        name: str,
        *,
        functions: FunctionRegistry | None = None,
        predictor: Callable[[str], Scorer] | None = None,
    ) -> None:
        super().__init__(name)
        self._where = f"python {name!r}"
        self._functions = functions
        self._predictor = predictor

    def publish(self, table: str, source: TableSource) -> Schema:
        raise PlatformError(
            "the Python platform holds no tables",
            where=f"{self._where}, table {table!r}",
            hint="publish the table on DuckDB, Polars, SQLite or PostgreSQL",
        )

    def row_count(self, table: str) -> int | None:
        raise PlatformError("the Python platform holds no tables", where=f"{self._where}, table {table!r}")

    def unsupported(self, node: Relation) -> str | None:
        match node:
            case Received() | Model():
                return None
            case MapBatches():
                return "this site runs no Python functions" if self._functions is None else None
            case Predict():
                return "this site runs no models" if self._predictor is None else None
            case _:
                return f"{type(node).__name__} does not run in Python"

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        steps: list[MapBatches | Predict] = []
        node = fragment
        while isinstance(node, MapBatches | Predict):
            steps.append(node)
            node = node.input
        for step in steps:
            reason = self.unsupported(step)
            if reason is not None:
                raise PlatformError(reason, where=self._where)
        reader: pa.RecordBatchReader = conform(self._received(node, inputs), node.schema, where=self._where)
        batches = self._until_cancelled(reader, cancellation)
        types = reader.schema
        for step in reversed(steps):
            batches, types = self._apply(step, batches, types, inputs)
        return conform(pa.RecordBatchReader.from_batches(types, batches), fragment.schema, where=self._where)

    def close(self) -> None:
        """Nothing is held."""

    def _received(self, node: Relation, inputs: Mapping[str, pa.RecordBatchReader]) -> pa.RecordBatchReader:
        if not isinstance(node, Received):
            raise PlatformError(f"{type(node).__name__} does not run in Python", where=self._where)
        if node.key not in inputs:
            raise PlatformError(f"no rows were given for {node.key}", where=self._where)
        return inputs[node.key]

    def _until_cancelled(
        self, batches: Iterable[pa.RecordBatch], cancellation: Cancellation
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where)
            yield batch

    def _apply(
        self,
        step: MapBatches | Predict,
        batches: Iterator[pa.RecordBatch],
        types: pa.Schema,
        inputs: Mapping[str, pa.RecordBatchReader],
    ) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
        if isinstance(step, MapBatches):
            assert self._functions is not None
            function = self._functions.resolve(step.function)
            where = f"{self._where}, function {step.function.name!r}"
            out = step.columns.to_pyarrow()
            if step.per == "row":
                return _each_row(function, batches, step.columns, out, where), out
            return _each_batch(function, batches, out, where), out
        assert self._predictor is not None
        scorer = self._predictor(self._document(step.model, inputs))
        outputs = Schema(step.outputs).to_pyarrow()
        scored = pa.schema([*types, *outputs])
        return _predict(scorer, step, batches, outputs, scored, f"{self._where}, prediction"), scored

    def _document(self, model: Relation, inputs: Mapping[str, pa.RecordBatchReader]) -> str:
        if isinstance(model, Model):
            return model.document
        found = self._received(model, inputs).read_all()
        if found.num_rows != 1 or found.column_names != ["model"]:
            raise PlatformError(
                f"a model is one row with the column 'model'; got {found.num_rows} rows with {', '.join(found.column_names)}",
                where=self._where,
            )
        return str(found.column(0)[0].as_py())


def _each_batch(
    function: Callable[..., Any], batches: Iterator[pa.RecordBatch], out: pa.Schema, where: str
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        result = _called(function, batch, where)
        if isinstance(result, pa.Table):
            yield from (_checked(part, out, where) for part in result.to_batches())
        elif isinstance(result, pa.RecordBatch):
            yield _checked(result, out, where)
        else:
            raise PlatformError(
                f"the function gave a {type(result).__name__}; expected a pyarrow.RecordBatch", where=where
            )


def _each_row(
    function: Callable[..., Any],
    batches: Iterator[pa.RecordBatch],
    columns: Schema,
    out: pa.Schema,
    where: str,
) -> Iterator[pa.RecordBatch]:
    size = min(batch_rows(columns), 65_536)
    rows: list[Mapping[str, Any]] = []
    for row in chain.from_iterable(batch.to_pylist() for batch in batches):
        for made in _rows(function, row, where):
            rows.append(made)
            if len(rows) == size:
                yield _from_rows(rows, out, where)
                rows = []
    if rows:
        yield _from_rows(rows, out, where)


def _rows(function: Callable[..., Any], row: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    result = _called(function, row, where)
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
        raise PlatformError(
            f"the function gave a {type(result).__name__}; expected an iterable of rows (mappings)",
            where=where,
        )
    made = iter(result)
    while True:
        try:
            item = next(made)
        except StopIteration:
            return
        except BlossomError:
            raise
        except Exception as error:
            raise _fault(error, where) from error
        if not isinstance(item, Mapping):
            raise PlatformError(
                f"the function gave a row of type {type(item).__name__}; expected a mapping", where=where
            )
        yield item


def _from_rows(rows: Sequence[Mapping[str, Any]], out: pa.Schema, where: str) -> pa.RecordBatch:
    expected = set(out.names)
    for row in rows:
        if set(row) != expected:
            raise _columns_fault(list(row), out, where)
    arrays: list[pa.Array] = []
    for field in out:
        values = [row[field.name] for row in rows]
        try:
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            kinds = sorted({type(value).__name__ for value in values if value is not None})
            raise _type_fault(field, " or ".join(kinds), where) from None
        if pa.types.is_integer(field.type) and any(isinstance(value, float) for value in values):
            raise _type_fault(field, "float", where)  # Arrow would cut its fraction off
    return pa.RecordBatch.from_arrays(arrays, schema=out)


def _checked(batch: pa.RecordBatch, out: pa.Schema, where: str) -> pa.RecordBatch:
    if len(batch.schema) != len(out) or set(batch.schema.names) != set(out.names):
        raise _columns_fault(batch.schema.names, out, where)
    arrays = [_column(batch.column(field.name), field, where) for field in out]
    return pa.RecordBatch.from_arrays(arrays, schema=out)


_FAMILIES: Sequence[Callable[[pa.DataType], bool]] = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_temporal,
    lambda dtype: (
        pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype)
    ),
    lambda dtype: pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype),
    pa.types.is_nested,
)


def _column(array: pa.Array, field: pa.Field, where: str) -> pa.Array:
    """The column in its declared type; only a cast within one kind of type (int32 to int64) is made, and only a safe one."""
    found = array.type
    if found == field.type:
        return array
    if isinstance(array, pa.DictionaryArray):
        return _column(array.dictionary_decode(), field, where)
    alike = pa.types.is_null(found) or any(of(found) and of(field.type) for of in _FAMILIES)
    whole = pa.types.is_integer(found) and pa.types.is_floating(field.type)
    if not (alike or whole):
        raise _type_fault(field, str(found), where)
    try:
        return array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _type_fault(field, f"{found} (with values that do not fit)", where) from None


def _predict(
    scorer: Scorer,
    step: Predict,
    batches: Iterator[pa.RecordBatch],
    outputs: pa.Schema,
    scored: pa.Schema,
    where: str,
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        made = list(_called(scorer, batch.select(list(step.features)), where))
        if len(made) != len(outputs):
            raise PlatformError(
                f"the model gave {len(made)} columns; expected {len(outputs)} ({', '.join(outputs.names)})",
                where=where,
            )
        for array, field in zip(made, outputs, strict=True):
            if len(array) != batch.num_rows:
                raise PlatformError(
                    f"the model gave {len(array)} values of {field.name!r} for {batch.num_rows} rows",
                    where=where,
                )
        columns = [_column(array, field, where) for array, field in zip(made, outputs, strict=True)]
        yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=scored)


def _called(function: Callable[..., Any], argument: Any, where: str) -> Any:
    try:
        return function(argument)
    except BlossomError:
        raise
    except Exception as error:
        raise _fault(error, where) from error


def _fault(error: Exception, where: str) -> PlatformError:
    """What the user's function raised, and its own line that did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    # the function may call libraries; the last line in its own file is the one that its author can mend
    last = next((frame for frame in reversed(frames) if frame.filename == frames[0].filename), None)
    line = None if last is None else f"line {last.lineno} of {last.name}: {last.line or '(no source)'}"
    return PlatformError(f"the function raised {type(error).__name__}: {error}", where=where, hint=line)


def _columns_fault(got: Sequence[str], out: pa.Schema, where: str) -> PlatformError:
    missing = [name for name in out.names if name not in got]
    extra = [name for name in got if name not in out.names]
    faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} besides"] * bool(
        extra
    )
    return PlatformError(
        f"the function's result {' and '.join(faults) or 'repeats a column'}: got columns {', '.join(got) or 'none'}; "
        f"expected {', '.join(out.names)}",
        where=where,
    )


def _type_fault(field: pa.Field, got: str, where: str) -> PlatformError:
    return PlatformError(
        f"the function gave column {field.name!r} as {got}; expected {field.type}", where=where
    )
