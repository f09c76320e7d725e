"""Types on the way to Polars: families of plan types, typed Polars expressions, and how two of them are made alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import ibis.expr.datatypes as dt
import polars as pl

from blossom.plan.errors import PlanError
from blossom.plan.schema import datatype

PolarsType: TypeAlias = Any  # a DataType instance or class; Polars' own alias is private
MAX_DIGITS = 38
_INT64_DIGITS = 19


class Family(Enum):
    """Plan types that behave alike in the translation."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    STRING = "string"
    BINARY = "binary"
    DATE = "date"
    TIMESTAMP = "timestamp"
    ZONED = "timestamp with time zone"
    OTHER = "other"


F = Family

ANY: frozenset[Family] = frozenset(set(Family) - {F.OTHER})
NUMBER = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.NULL})
EXACT = frozenset({F.INTEGER, F.DECIMAL, F.NULL})
REAL = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.FLOAT32, F.NULL})
WHOLE = frozenset({F.INTEGER, F.NULL})
TRUTH = frozenset({F.BOOLEAN, F.NULL})
TEXT = frozenset({F.STRING, F.NULL})
DAY = frozenset({F.DATE, F.NULL})
STAMP = frozenset({F.TIMESTAMP, F.NULL})
MOMENT = DAY | STAMP
FLOATING = frozenset({F.FLOAT64, F.FLOAT32, F.NULL})

_INTEGERS: dict[type[dt.DataType], PolarsType] = {
    dt.Int8: pl.Int8,
    dt.Int16: pl.Int16,
    dt.Int32: pl.Int32,
    dt.Int64: pl.Int64,
    dt.UInt8: pl.UInt8,
    dt.UInt16: pl.UInt16,
    dt.UInt32: pl.UInt32,
    dt.UInt64: pl.UInt64,
}
_UNITS = {0: "ms", 3: "ms", 6: "us", 9: "ns", None: "us"}


@lru_cache(maxsize=4096)
def family(text: str) -> Family:
    """The family of a type's text.

    >>> family("int8"), family("timestamp('UTC')")
    (<Family.INTEGER: 'integer'>, <Family.ZONED: 'timestamp with time zone'>)
    """
    match datatype(text):
        case dt.Timestamp(timezone=zone):
            return F.TIMESTAMP if zone is None else F.ZONED
        case dt.Null():
            return F.NULL
        case dt.Boolean():
            return F.BOOLEAN
        case dt.Integer():
            return F.INTEGER
        case dt.Float32():
            return F.FLOAT32
        case dt.Float64():
            return F.FLOAT64
        case dt.Decimal():
            return F.DECIMAL
        case dt.String():
            return F.STRING
        case dt.Binary():
            return F.BINARY
        case dt.Date():
            return F.DATE
        case _:
            return F.OTHER


def polars_type(text: str) -> PolarsType:
    """The Polars type of a type's text.

    >>> polars_type("decimal(15, 2)")
    Decimal(precision=15, scale=2)

    Raises:
        PlanError: The type is of no family that is translated.
    """
    dtype = datatype(text)
    match dtype:
        case dt.Decimal(precision=precision, scale=scale):
            return pl.Decimal(precision or MAX_DIGITS, scale or 0)
        case dt.Timestamp(timezone=zone, scale=scale) if scale in _UNITS:
            return pl.Datetime(_UNITS[scale], zone)  # pyright: ignore[reportArgumentType]
        case dt.Integer():
            return _INTEGERS[type(dtype)]
        case _:
            pass
    simple = {
        F.NULL: pl.Null,
        F.BOOLEAN: pl.Boolean,
        F.FLOAT32: pl.Float32,
        F.FLOAT64: pl.Float64,
        F.STRING: pl.String,
        F.BINARY: pl.Binary,
        F.DATE: pl.Date,
    }
    found = simple.get(family(text))
    if found is None:
        raise PlanError(f"the type {text} has no form in the Polars translation")
    return found


@dataclass(frozen=True, slots=True)
class Term:
    """A Polars expression with the type that it has.

    Attributes:
        expr: The expression.
        dtype: Its Polars type.
        value: The Python value where the term is a literal; None otherwise (a null literal has the type Null or a cast).
    """

    expr: pl.Expr
    dtype: PolarsType
    value: Any = None

    def cast(self, dtype: PolarsType) -> Term:
        """The same value as another type; a value that does not fit is an error when it is run."""
        if self.dtype == dtype:
            return self
        if self.value is not None:
            return literal(self.value, dtype)
        return Term(self.expr.cast(dtype, strict=True), dtype)


def literal(value: Any, dtype: PolarsType) -> Term:
    """A constant of a Polars type."""
    if dtype == pl.Null or value is None:
        return Term(pl.lit(None, dtype=dtype), dtype)
    if dtype.is_integer():
        value = int(value)
    elif dtype.is_float():
        value = float(value)
    elif isinstance(dtype, pl.Decimal):
        value = value if isinstance(value, Decimal) else Decimal(repr(value))
    elif dtype == pl.Date and isinstance(value, str):
        value = date.fromisoformat(value)
    elif isinstance(dtype, pl.Datetime) and not isinstance(value, datetime):
        value = datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
    return Term(pl.lit(value, dtype=dtype), dtype, value)


def is_iso(text: str, kind: Family) -> bool:
    """Whether a literal text is a date or timestamp that every engine reads alike."""
    try:
        if kind is F.DATE:
            return date.fromisoformat(text).isoformat() == text
        return datetime.fromisoformat(text).tzinfo is None and text[:10].count("-") == 2
    except ValueError:
        return False


def scale(term: Term) -> int:
    """Digits after the point of a decimal or integer term, and of a float literal as it is written."""
    if isinstance(term.dtype, pl.Decimal):
        return term.dtype.scale
    if isinstance(term.value, float):
        return -int(Decimal(repr(term.value)).as_tuple().exponent)
    return 0


def written_as_decimal(term: Term) -> bool:
    """Whether a term is a float literal that SQL reads as an exact decimal (1.2, not 1e-7)."""
    return (
        isinstance(term.value, float)
        and "e" not in repr(term.value)
        and term.value == term.value
        and abs(term.value) != float("inf")
    )


def decimals(terms: Sequence[Term], digits: int) -> list[Term]:
    """Integers, decimals and float literals as decimals with `digits` digits after the point."""
    if digits > MAX_DIGITS - _INT64_DIGITS and any(term.dtype.is_integer() for term in terms):
        raise PlanError(f"a whole number does not fit a decimal with {digits} digits after the point")
    if digits > MAX_DIGITS:
        raise PlanError(f"a decimal with {digits} digits after the point does not fit {MAX_DIGITS} digits")
    target = pl.Decimal(MAX_DIGITS, digits)
    return [(narrow(term)).cast(target) for term in terms]


def narrow(term: Term) -> Term:
    """A 128-bit sum as a 64-bit integer, an error where it does not fit."""
    return term.cast(pl.Int64) if term.dtype == pl.Int128 else term


def common_integer(types: Sequence[PolarsType]) -> PolarsType:
    """An integer type that holds every value of `types`."""
    if all(one == types[0] for one in types):
        return types[0]
    wide = any(one in (pl.Int128, pl.UInt64) for one in types)
    return pl.Int128 if wide else pl.Int64


def _fit(terms: Sequence[Term]) -> PolarsType:
    """The integer type of the terms that are not literals, where every literal fits it: keeps a column as it is stored."""
    stored = [term.dtype for term in terms if term.value is None]
    if not stored:
        return common_integer([term.dtype for term in terms])
    dtype = common_integer(stored)
    bits = {pl.Int8: 7, pl.Int16: 15, pl.Int32: 31, pl.Int64: 63}.get(dtype)
    values = [term.value for term in terms if term.value is not None]
    if bits is not None and all(-(1 << bits) <= value < 1 << bits for value in values):
        return dtype
    return common_integer([term.dtype for term in terms])


def alike(terms: Sequence[Term]) -> list[Term]:
    """The terms in one common type, chosen as DuckDB chooses it for comparisons and for the branches of a CASE."""
    real = [term for term in terms if term.dtype != pl.Null]
    if not real:
        return list(terms)
    first = real[0].dtype
    if all(term.dtype == first for term in real):
        return [term.cast(first) for term in terms]
    types = [term.dtype for term in real]
    if any(one in (pl.Date,) or isinstance(one, pl.Datetime) for one in types):
        return [term.cast(_moment(types)) for term in terms]
    if all(one.is_integer() for one in types):
        target = _fit(real)
        return [term.cast(target) for term in terms]
    floats = [term for term in real if term.dtype.is_float()]
    if all(written_as_decimal(term) for term in floats):
        found = decimals(real, max(map(scale, real)))
        nulls = [term.cast(found[0].dtype) for term in terms if term.dtype == pl.Null]
        made = iter(found)
        rest = iter(nulls)
        return [next(rest) if term.dtype == pl.Null else next(made) for term in terms]
    return [term.cast(pl.Float64) for term in terms]


def _moment(types: Sequence[PolarsType]) -> PolarsType:
    stamps = [one for one in types if isinstance(one, pl.Datetime)]
    return stamps[0] if stamps else pl.Date
