"""Results as the pipeline's types say them, without losing what an engine kept wider.

A decimal stays as it arrived, since Ibis's decimal arithmetic types are narrower than what engines compute; a sum of integers
arrives as decimal(38, 0) and becomes int64 wherever every value fits, so that nothing wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.errors import PlatformError

AnyArray = Any


def conform(table: pa.Table, declared: pa.Schema) -> pa.Table:
    """A whole result with the declared names, and the declared types where no value would be lost."""
    columns = [_whole(table.column(i), field.type) for i, field in enumerate(declared)]
    return pa.table(columns, names=declared.names)


def conform_stream(reader: pa.RecordBatchReader, declared: pa.Schema, rows: int) -> pa.RecordBatchReader:
    """The same for a stream; types are fixed before the first row, so a sum too large for int64 is an error here."""
    casts: list[Callable[[AnyArray], AnyArray]] = []
    fields: list[pa.Field] = []
    for arrived, wanted in zip(reader.schema, declared, strict=True):
        kind = _target(arrived.type, wanted.type)
        fields.append(pa.field(wanted.name, kind))
        casts.append(_caster(wanted.name, kind))
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            for start in range(0, batch.num_rows, rows):
                part = batch.slice(start, rows)
                columns = [cast(column) for cast, column in zip(casts, part.columns, strict=True)]
                yield pa.record_batch(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _target(arrived: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    if arrived.equals(wanted):
        return wanted
    if pa.types.is_decimal(arrived) and not (pa.types.is_integer(wanted) or pa.types.is_floating(wanted)):
        return arrived
    if pa.types.is_decimal(wanted) and pa.types.is_floating(arrived):
        return arrived
    return wanted


def _caster(name: str, kind: pa.DataType) -> Callable[[AnyArray], AnyArray]:
    def cast(column: AnyArray) -> AnyArray:
        if column.type.equals(kind):
            return column
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid as error:
            raise PlatformError(
                f"a value of column {name!r} does not fit {kind}",
                hint="collect the whole result (to_pyarrow), or cast the column to a wider type in the pipeline",
            ) from error

    return cast


def _whole(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    kind = _target(column.type, wanted)
    if column.type.equals(kind):
        return column
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        if pa.types.is_decimal(column.type):
            return column  # wider than declared, and exact
        raise
