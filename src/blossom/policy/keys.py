"""Group keys: which cell of a release a row belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.plan.errors import PolicyError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SPARSE = 1 << 22
"""Above this many codes, combinations of keys are searched instead of looked up."""

_DENSE = 1 << 20
"""Whole numbers within a range of this size are looked up by themselves."""


class Index:
    """Finds the cell of a row by its keys.

    Args:
        keys: The group keys as a query gave them, one row a cell; a table without columns for a single cell.
        number: How many cells there are.

    Raises:
        PolicyError: The keys cannot be told apart, or have too many combinations.

    >>> index = Index(pa.table({"city": ["b", "a", None]}), 3)
    >>> index.cells([pa.array(["a", None, "c", "b"])], 4).tolist()
    [1, 2, 3, 0]
    """

    def __init__(self, keys: pa.Table, number: int) -> None:
        self._number = number
        self._parts: list[_Dense | _Listed] = []
        self._strides: list[int] = []
        codes = np.zeros(number, np.int64)
        size = 1
        for i, column in enumerate(keys.columns):
            values = _plain(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
            part = _part(values, i)
            self._parts.append(part)
            self._strides.append(size)
            codes += part.codes(values) * size
            size *= max(part.number, 1)
            if size > 1 << 62:
                raise PolicyError(
                    "too many combinations of group keys to be judged", hint="group by fewer columns"
                )
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]
        self._table: Ints | None = None
        if size <= _SPARSE:
            self._table = np.full(size, number, np.int64)
            self._table[codes] = np.arange(number)
        self._single: _Dense | None = None
        first = self._parts[0] if len(self._parts) == 1 else None
        if isinstance(first, _Dense) and self._table is not None:
            self._single = first.onto(self._table, number)

    def cells(self, keys: list[pa.Array], rows: int) -> Ints:
        """The cell of each row; the number of cells for rows of none.

        Args:
            keys: The keys' columns, of the types that the cells' keys have.
            rows: How many rows there are.
        """
        if self._single is not None:
            return self._single.codes(_plain(keys[0]))
        if not self._parts:
            return np.zeros(rows, np.int64)
        codes = np.zeros(rows, np.int64)
        unknown: Bools | None = None
        for part, stride, column in zip(self._parts, self._strides, keys, strict=True):
            own = part.codes(_plain(column))
            if rows and own.min() < 0:
                unknown = own < 0 if unknown is None else unknown | (own < 0)
            codes += own * stride
        if not self._number:
            return np.zeros(rows, np.int64)
        if unknown is not None:
            codes[unknown] = 0
        if self._table is not None:
            found = self._table[codes]
        else:
            at = np.minimum(np.searchsorted(self._sorted, codes), self._number - 1)
            found = np.where(self._sorted[at] == codes, self._order[at], self._number)
        if unknown is not None:
            found[unknown] = self._number
        return found


class _Listed:
    """Codes of values that are searched in a list."""

    def __init__(self, values: pa.Array, i: int) -> None:
        self._values, self._i = values.unique(), i
        self.number = len(self._values)

    def codes(self, values: pa.Array) -> Ints:
        """A number for each value; -1 where it is not among those known."""
        try:
            found = pc.call_function(
                "index_in", [values], pc.SetLookupOptions(value_set=self._values.cast(values.type))
            )
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise PolicyError(
                f"groups by a key of type {values.type} cannot be told apart (key {self._i + 1})",
                hint="group by plain values",
            ) from error
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


class _Dense:
    """Codes of whole numbers in a narrow range: looked up, not searched."""

    def __init__(self, low: int, table: Ints, null: int, unknown: int, number: int) -> None:
        self._low, self._table, self._null, self._unknown = low, table, null, unknown
        self.number = number

    def codes(self, values: pa.Array) -> Ints:
        """A number for each value; that of the unknown ones where it is not among those known."""
        missing = None
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False)
            values = values.fill_null(self._low)
        # what lies below the lowest wraps around and lies above the highest
        at = (values.to_numpy(zero_copy_only=False).astype(np.int64) - self._low).view(np.uint64)
        beyond = None
        if len(at) and at.max() >= len(self._table):
            beyond = at >= len(self._table)
            at[beyond] = 0
        found = self._table[at.view(np.int64)]
        if beyond is not None:
            found[beyond] = self._unknown
        if missing is not None:
            found[missing] = self._null
        return found

    def onto(self, table: Ints, unknown: int) -> _Dense:
        """The same with every code replaced by what a table gives for it."""
        own = np.where(self._table < 0, unknown, table[self._table])
        return _Dense(self._low, own, unknown if self._null < 0 else int(table[self._null]), unknown, unknown)


def _part(values: pa.Array, i: int) -> _Dense | _Listed:
    kind = values.type
    if not pa.types.is_integer(kind) or pa.types.is_uint64(kind) or values.null_count == len(values):
        return _Listed(values, i)
    present = np.unique(values.drop_null().to_numpy(zero_copy_only=False).astype(np.int64))
    low, high = int(present[0]), int(present[-1])
    if high - low >= _DENSE:
        return _Listed(values, i)
    table = np.full(high - low + 1, -1, np.int64)
    table[present - low] = np.arange(len(present))
    null = len(present) if values.null_count else -1
    return _Dense(low, table, null, -1, len(present) + (null >= 0))


def _plain(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        return pc.call_function("add", [values, pa.scalar(0.0, values.type)])  # -0.0 and 0.0 are one group
    return values
