"""What a Python function gave, brought to the declared columns: only casts within one kind of type are made, and only safe ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from blossom.plan.errors import PlatformError

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


def checked(batch: pa.RecordBatch, out: pa.Schema) -> pa.RecordBatch:
    """A record batch with exactly the declared columns.

    Raises:
        PlatformError: Columns are missing or too many, or a value does not fit.
    """
    if len(batch.schema) != len(out) or set(batch.schema.names) != set(out.names):
        raise _columns_fault(batch.schema.names, out)
    return pa.RecordBatch.from_arrays([column(batch.column(field.name), field) for field in out], schema=out)


def from_rows(rows: Sequence[Mapping[str, Any]], out: pa.Schema) -> pa.RecordBatch:
    """A record batch from rows as mappings.

    Raises:
        PlatformError: A row's columns are not the declared ones, or a value does not fit.
    """
    arrays: list[pa.Array] = []
    for row in rows:
        if len(row) != len(out):
            raise _columns_fault(list(row), out)
    for field in out:
        try:
            values = [row[field.name] for row in rows]
        except KeyError:
            raise _columns_fault(list(next(row for row in rows if field.name not in row)), out) from None
        if pa.types.is_integer(field.type) and any(isinstance(value, float) for value in values):
            raise _type_fault(field, "float")  # Arrow would cut its fraction off
        arrays.append(_array(values, field, pandas=False))
    return pa.RecordBatch.from_arrays(arrays, schema=out)


def from_frame(frame: Mapping[str, Any], out: pa.Schema) -> pa.RecordBatch:
    """A record batch from pandas Series by name; a NaN in them is a null.

    Raises:
        PlatformError: Its columns are not the declared ones, or a value does not fit.
    """
    if set(frame) != set(out.names):
        raise _columns_fault(list(frame), out)
    arrays = [_array(frame[field.name], field, pandas=True) for field in out]
    return pa.RecordBatch.from_arrays(arrays, schema=out)


def _array(values: Any, field: pa.Field, *, pandas: bool) -> pa.Array:
    try:
        made = pa.array(values, field.type, from_pandas=pandas)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise _type_fault(field, " or ".join(kinds)) from None
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def column(array: pa.Array, field: pa.Field) -> pa.Array:
    """The column in its declared type; int32 may become int64, an integer a float, and no more.

    Raises:
        PlatformError: It is of another kind, or a value does not fit.
    """
    found = array.type
    if found == field.type:
        return array
    if isinstance(array, pa.DictionaryArray):
        return column(array.dictionary_decode(), field)
    alike = pa.types.is_null(found) or any(of(found) and of(field.type) for of in _FAMILIES)
    whole = pa.types.is_integer(found) and pa.types.is_floating(field.type)
    if not (alike or whole):
        raise _type_fault(field, str(found))
    try:
        return array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _type_fault(field, f"{found} (with values that do not fit)") from None


def _columns_fault(got: Sequence[str], out: pa.Schema) -> PlatformError:
    missing = [name for name in out.names if name not in got]
    extra = [name for name in got if name not in out.names]
    faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} besides"] * bool(
        extra
    )
    return PlatformError(
        f"the function's result {' and '.join(faults) or 'repeats a column'}: got columns {', '.join(got) or 'none'}; "
        f"expected {', '.join(out.names)}"
    )


def _type_fault(field: pa.Field, got: str) -> PlatformError:
    return PlatformError(f"the function gave column {field.name!r} as {got}; expected {field.type}")
