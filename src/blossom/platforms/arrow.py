"""Arrow at an engine's border: batches with the declared names, one representation a type, and a sensible size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.errors import BlossomError, PlatformError
from blossom.plan.schema import Schema, datatype

BATCH_BYTES = 1 << 20
"""The size of a batch that costs the least to move: smaller pays per batch, larger spills the caches."""

_VARIABLE_WIDTH = 24
_PRIMING = pa.RecordBatch.from_arrays([], names=[])
_MICROSECOND = pa.duration("us")


def batch_rows(schema: Schema) -> int:
    """Rows of `schema` that make a batch of about 1 MiB, for engines that are asked for a number of rows.

    >>> batch_rows(Schema([("a", "int64"), ("b", "float64")]))
    65536
    """
    width = sum(_width(arrow_type(text)) for text in schema.values())
    return max(2048, min(BATCH_BYTES // max(width, 1), 1 << 20))


def _width(dtype: pa.DataType) -> int:
    return (dtype.bit_width + 7) // 8 if pa.types.is_primitive(dtype) else _VARIABLE_WIDTH


@lru_cache(maxsize=4096)
def arrow_type(text: str) -> pa.DataType:
    """The Arrow type in which a column of the declared type travels.

    >>> arrow_type("timestamp(3)")
    TimestampType(timestamp[ms])
    """
    return _declared(datatype(text))


def _declared(dtype: dt.DataType) -> pa.DataType:
    # Ibis gives `not null` flags to the children of nested types; they are not kept here, as engines disagree on them.
    return plain_layout(dtype.to_pyarrow())


def conform(
    reader: pa.RecordBatchReader,
    declared: Schema,
    *,
    where: str | None = None,
    finished: Callable[[], None] | None = None,
    failure: Callable[[Exception], Exception] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> pa.RecordBatchReader:
    """Give an engine's stream the declared names, order and types.

    Types are brought to one representation each (plain strings, no dictionaries, no views, no extensions) and cast safely to
    the declared type, with these exceptions, where the engine knows better than the declaration (whose decimal arithmetic is
    Ibis's): an arrived decimal stays as it arrived, a declared decimal that arrives as a float stays a float, and an interval
    becomes microseconds. Non-null flags are dropped.

    Args:
        reader: What the engine gave.
        declared: Names and types that it should have.
        where: Names the place in errors ("duckdb 'warehouse'").
        finished: Called once, when the stream has ended, failed or been given up.
        failure: Gives the error to raise for one that the engine raised while streaming; by default a `PlatformError` with its
            message.
        cancelled: Asked before each batch; an engine's interrupt that falls between two batches stops nothing.

    Returns:
        A lazy reader; batches over 2 MiB are cut.

    Raises:
        PlatformError: A column is missing, or its type cannot become the declared one (while streaming: a value does not fit,
            or the engine failed).
    """
    try:
        order = _order(reader.schema, declared, where)
        fields: list[pa.Field] = []
        casts: list[Callable[[pa.Array], pa.Array] | None] = []
        for (name, text), index in zip(declared.items(), order, strict=True):
            arrived = reader.schema.field(index)
            target, cast = _conversion(arrived.type, text, name, where)
            fields.append(pa.field(name, target))
            casts.append(cast)
    except BaseException:
        if finished is not None:
            finished()
        raise
    schema = pa.schema(fields)
    untouched = order == list(range(len(reader.schema))) and not any(casts)
    stream = _stream(
        reader, schema, order, None if untouched else casts, failure or _engine(where), finished, cancelled
    )
    next(
        stream
    )  # to its first yield: a generator that was never started would not run its `finally` when dropped
    return pa.RecordBatchReader.from_batches(schema, stream)


def _engine(where: str | None) -> Callable[[Exception], Exception]:
    return lambda error: PlatformError(str(error).strip(), where=where)


def _order(arrived: pa.Schema, declared: Schema, where: str | None) -> list[int]:
    names = arrived.names
    if names == list(declared):
        return list(range(len(names)))
    positions = {name: index for index, name in enumerate(names)}
    missing = [name for name in declared if name not in positions]
    if missing or len(names) != len(positions):
        raise PlatformError(
            f"the engine gave columns {', '.join(names) or 'none'}; expected {', '.join(declared)}",
            where=where,
        )
    return [positions[name] for name in declared]


def _stream(
    reader: pa.RecordBatchReader,
    schema: pa.Schema,
    order: Sequence[int],
    casts: Sequence[Callable[[pa.Array], pa.Array] | None] | None,
    failure: Callable[[Exception], Exception],
    finished: Callable[[], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Iterator[pa.RecordBatch]:
    try:
        yield _PRIMING
        while True:
            if cancelled is not None and cancelled():
                raise failure(InterruptedError("the run was cancelled"))
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except BlossomError:
                raise
            except Exception as error:
                raise failure(error) from error
            arrays: list[pa.Array] = batch.columns
            if casts is not None:
                arrays = [
                    arrays[index] if cast is None else cast(arrays[index])
                    for index, cast in zip(order, casts, strict=True)
                ]
            if batch.num_rows or not schema:
                yield from split(pa.RecordBatch.from_arrays(arrays, schema=schema))
    finally:
        if finished is not None:
            finished()


def gathered(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Join an engine's small batches to batches of about 1 MiB (a copy, cheaper than what each batch costs on its way)."""

    def batches() -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in reader:
            waiting.append(batch)
            size += batch.nbytes
            if size >= BATCH_BYTES:
                yield pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]
                waiting, size = [], 0
        if waiting:
            yield pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def split(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch of more than 2 MiB into parts of about 1 MiB (no copy)."""
    size = batch.nbytes
    if size <= 2 * BATCH_BYTES or batch.num_rows < 2:
        yield batch
        return
    parts = min(-(-size // BATCH_BYTES), batch.num_rows)
    rows = -(-batch.num_rows // parts)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _conversion(
    arrived: pa.DataType, text: str, name: str, where: str | None
) -> tuple[pa.DataType, Callable[[pa.Array], pa.Array] | None]:
    plain, target = _types(arrived, text)
    declared = datatype(text)
    if target == arrived:
        return target, None
    if plain == pa.month_day_nano_interval():
        return target, lambda array: _duration(array, name, where)
    fault = f"column {name!r}: {plain} cannot become {target} (declared {declared})"

    def cast(array: pa.Array) -> pa.Array:
        try:
            return _recast(array, target)
        except pa.ArrowNotImplementedError as error:
            raise PlatformError(fault, where=where) from error
        except pa.ArrowInvalid:
            # Arrow's message quotes the value, which may be private: it is not kept, not even as the cause.
            problem = f"column {name!r}: a value of type {plain} does not fit {target} (declared {declared})"
            raise PlatformError(
                problem, where=where, hint="declare the column's type as the engine has it, or cast it"
            ) from None

    try:
        cast(pa.nulls(0, arrived))
    except pa.ArrowNotImplementedError as error:
        raise PlatformError(fault, where=where) from error
    return target, cast


@lru_cache(maxsize=4096)
def _types(arrived: pa.DataType, text: str) -> tuple[pa.DataType, pa.DataType]:
    """The arrived type in plain layout, and the type that the column leaves with."""
    plain = plain_layout(arrived)
    return plain, _target(plain, datatype(text))


def _recast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    elif pa.types.is_run_end_encoded(array.type):
        array = pc.call_function("run_end_decode", [array])
    if array.type == target:
        return array
    if pa.types.is_string(target) and pa.types.is_binary(array.type):
        return array.cast(pa.string())
    return array.cast(target)


def plain_layout(dtype: pa.DataType) -> pa.DataType:
    """The type of the same values in Arrow's plain layout: no views, dictionaries, runs or extensions, small offsets."""
    if isinstance(dtype, pa.BaseExtensionType):
        return plain_layout(dtype.storage_type)
    if pa.types.is_dictionary(dtype) or pa.types.is_run_end_encoded(dtype):
        return plain_layout(dtype.value_type)
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype):
        return pa.binary()
    if pa.types.is_map(dtype):
        return pa.map_(plain_layout(dtype.key_type), plain_layout(dtype.item_type))
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(child.name, plain_layout(child.type)) for child in dtype])
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return pa.list_(pa.field("item", plain_layout(dtype.value_type)))
    return dtype


def _target(plain: pa.DataType, declared: dt.DataType) -> pa.DataType:
    """The type that a column leaves with, from the (plain) type it came with and the declared one."""
    if isinstance(declared, dt.Unknown):
        return plain
    wanted = _declared(declared)
    if pa.types.is_decimal(plain) and declared.is_numeric():
        return plain
    if declared.is_decimal():
        # whole numbers and text get all the digits there are: Arrow refuses to cast int64 to fewer than 19
        return plain if pa.types.is_floating(plain) else pa.decimal128(38, wanted.scale)
    if declared.is_interval() and plain == pa.month_day_nano_interval():
        return _MICROSECOND
    if isinstance(declared, dt.Array) and pa.types.is_list(plain):
        return pa.list_(pa.field("item", _target(plain.value_type, declared.value_type)))
    if isinstance(declared, dt.Struct) and pa.types.is_struct(plain) and len(declared) == plain.num_fields:
        pairs = zip(declared.items(), plain, strict=True)
        return pa.struct([pa.field(name, _target(child.type, text)) for (name, text), child in pairs])
    if isinstance(declared, dt.Map) and pa.types.is_map(plain):
        return pa.map_(
            _target(plain.key_type, declared.key_type), _target(plain.item_type, declared.value_type)
        )
    return wanted


_INTERVAL = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])


def _duration(array: pa.Array, name: str, where: str | None) -> pa.Array:
    """Months-days-nanoseconds as microseconds; months have no fixed length, so a value with months is an error."""
    data = array.buffers()[1]
    parts = np.frombuffer(data or b"", _INTERVAL, len(array) if data else 0, array.offset * 16 if data else 0)
    valid = np.asarray(array.is_valid())
    if (parts["months"][valid] != 0).any():
        raise PlatformError(f"column {name!r}: an interval of months has no fixed length", where=where)
    micros = parts["days"].astype(np.int64) * 86_400_000_000 + parts["nanoseconds"] // 1000
    return pa.array(micros, mask=~valid).cast(_MICROSECOND)
