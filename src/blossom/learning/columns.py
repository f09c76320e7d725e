"""Reading a batch's columns as numbers, as categories, as codes; and the plain values of documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.plan.errors import ConfigError, TrainingError, unknown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Scalar = bool | int | str
"""A value of a category or of a class."""

FILTER_HINT = "filter these rows, or fill the values with SimpleImputer first"


def finite(value: object) -> float:
    """A document's number as a finite float.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ConfigError(f"expected a finite number, got {value!r:.60}")


def nonzero(value: object) -> float:
    """A document's number as a finite float other than 0."""
    number = finite(value)
    if number == 0.0:
        raise ConfigError("a scale cannot be 0")
    return number


def scalars(values: Iterable[object]) -> tuple[Scalar, ...]:
    """Categories or classes: all of one type (bool, integer or string), each once.

    Raises:
        ConfigError: They are something else.
    """
    out = tuple(values)
    kinds = {type(value) for value in out}
    if len(kinds) > 1 or not kinds <= {bool, int, str}:
        raise ConfigError("categories and classes are all booleans, all integers or all strings")
    if len(set(out)) != len(out):
        raise ConfigError("a category or class is named twice")
    checked = cast("tuple[Scalar, ...]", out)
    if kinds == {int} and not all(-(2**63) <= value < 2**63 for value in cast("tuple[int, ...]", out)):
        raise ConfigError("an integer category or class does not fit into 64 bits")
    return checked


def column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column by name, dictionary encoding undone."""
    index = batch.schema.get_field_index(name)
    if index < 0:
        what, hint = unknown("column", name, batch.schema.names)
        raise TrainingError(what, hint=hint)
    values = batch.column(index)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def numbers(batch: pa.RecordBatch, name: str, fill: Scalar | float | None = None) -> tuple[Floats, Bools]:
    """A numeric or boolean column as float64, 0 where unusable, and the mask of usable (finite, not null) rows.

    Null and NaN become `fill`, where it is given; infinite values stay unusable.

    Raises:
        TrainingError: The column's type is not numeric.
    """
    values = column(batch, name)
    kind = values.type
    if pa.types.is_null(kind):
        values = values.cast(pa.float64())
        kind = values.type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise TrainingError(
            f"column {name!r} holds {kind}, not numbers", hint="encode it with OneHotEncoder, or cast it"
        )
    values = values.cast(pa.float64(), safe=False)
    if values.null_count:
        values = pc.fill_null(values, math.nan)
    out = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    if fill is not None and not isinstance(fill, str):
        gaps = np.isnan(out)
        if gaps.any():
            out = np.where(gaps, float(fill), out)
    fine = np.isfinite(out)
    return (out if fine.all() else np.where(fine, out, 0.0)), fine


def category_values(batch: pa.RecordBatch, name: str, fill: Scalar | None = None) -> pa.Array:
    """A category or class column in one of three types: bool, int64, string; nulls become `fill`, where it is given.

    Raises:
        TrainingError: The column's type has no categories, or not the type of `fill`.
    """
    values = _category_values(batch, name)
    if fill is None or not values.null_count:
        return values
    try:
        return pc.fill_null(values, pa.scalar(fill, CATEGORY_ARROW[type(fill)]).cast(values.type))
    except pa.ArrowException as error:
        raise TrainingError(f"column {name!r} holds {values.type}, its fill value is {fill!r:.40}") from error


def _category_values(batch: pa.RecordBatch, name: str) -> pa.Array:
    values = column(batch, name)
    kind = values.type
    for test, common in _CATEGORY_TYPES:
        if test(kind):
            try:
                return values if kind == common else values.cast(common)
            except pa.ArrowInvalid as error:
                raise TrainingError(f"column {name!r} holds integers beyond 64 bits") from error
    raise TrainingError(
        f"column {name!r} holds {kind}, which has no categories",
        hint="cast it to string, integer or boolean first",
    )


CATEGORY_ARROW: Mapping[type, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
"""The Arrow type of each type of category."""

_CATEGORY_TYPES: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_null, pa.string()),
)


def level_codes(values: pa.Array, categories: Sequence[Scalar], name: str) -> Ints:
    """The position of each value in `categories`; -1 for other values and null."""
    if not categories:
        return np.full(len(values), -1, np.int64)
    kind = CATEGORY_ARROW[type(categories[0])]
    if values.null_count < len(values) and values.type != kind:
        raise TrainingError(f"column {name!r} holds {values.type}, its categories are {kind}")
    codes = pc.call_function(
        "index_in",
        [values],
        pc.SetLookupOptions(value_set=pa.array(list(categories), kind).cast(values.type)),
    )
    return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)).astype(np.int64)


def valid(values: pa.Array) -> Bools:
    """The mask of values that are not null."""
    if not values.null_count:
        return np.ones(len(values), np.bool_)
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def bad_values(name: str, count: int | None = None) -> TrainingError:
    """The error for a column with unusable values. Says how many at most, never which."""
    many = "" if count is None else f" in up to {count} rows"
    return TrainingError(f"column {name!r} holds null, NaN or infinite values{many}", hint=FILTER_HINT)
