"""Types and constants: DuckDB's reading of literals, implicit casts, and dates with intervals."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

import calendar
import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import ibis.common.exceptions as ibis_errors
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as x
from ibis.backends.sql.datatypes import DuckDBType

from blossom.plan.errors import PlanError
from blossom.plan.sql.reading import arguments, refused, text

UNITS = {
    "YEAR": "Y", "QUARTER": "Q", "MONTH": "M", "WEEK": "W", "DAY": "D", "HOUR": "h", "MINUTE": "m", "SECOND": "s",
    "MILLISECOND": "ms", "MICROSECOND": "us",
}  # fmt: skip
"""DuckDB's unit names and Ibis's short ones."""

DIGITS = 38
"""The most digits of a DECIMAL."""

_MONTHS = {"Y": 12, "Q": 3, "M": 1}
_DELTAS = {"W": "weeks", "D": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}  # fmt: skip


def literal(value: Any, kind: str | dt.DataType) -> ops.Literal:
    """A constant of an exact type."""
    return ops.Literal(value, dtype=dt.dtype(kind))


def number(node: x.Literal) -> ops.Literal:
    """DuckDB's type for a number: INTEGER, BIGINT, DECIMAL for a decimal point, DOUBLE for an exponent."""
    shown = node.name.replace("_", "")
    try:
        if any(mark in shown for mark in "eE"):
            return literal(float(shown), "float64")
        if "." in shown:
            value = Decimal(shown)
            scale = max(0, -int(value.as_tuple().exponent))
            return literal(value, dt.Decimal(max(len(value.as_tuple().digits), scale), scale))
        whole = int(shown)
    except (ValueError, ArithmeticError) as error:
        raise refused(node, f"the number {shown!r}") from error
    if whole >= 2**63:
        raise refused(node, "an integer beyond BIGINT", "write it as a string and cast it to a DECIMAL")
    return literal(whole, "int32" if whole < 2**31 else "int64")


def unit(node: Any) -> str:
    """Ibis's short unit for a unit's name, singular or plural."""
    name = (node.name if isinstance(node, x.Expr) else str(node)).upper()
    known = UNITS.get(name) or UNITS.get(name.removesuffix("S"))
    if known is None:
        raise PlanError(f"the unit {name} is not supported", where="SQL", hint=f"known: {', '.join(UNITS)}")
    return known


def target(node: x.DataType) -> dt.DataType:
    """The Ibis type of a cast's target."""
    try:
        for part in node.find_all(x.DataType):
            kind = DuckDBType.to_ibis(part, nullable=True)
            if kind.is_unknown() or kind.is_geospatial() or part.this == x.DataType.Type.ENUM:
                raise refused(node, f"the type {text(part)}")
        return DuckDBType.to_ibis(node, nullable=True)
    except (ibis_errors.IbisError, KeyError, TypeError, ValueError, NotImplementedError) as error:
        raise refused(node, f"the type {text(node)}") from error


def cast(value: ops.Value, kind: str | dt.DataType) -> ops.Value:
    """The value as another type; nothing to do where it has it."""
    wanted = dt.dtype(kind)
    if value.dtype.copy(nullable=True) == wanted.copy(nullable=True):
        return value
    if isinstance(value, ops.Literal):
        folded = _constant(value, wanted)
        if folded is not None:
            return folded
    return ops.Cast(value, to=wanted)


def _constant(value: ops.Literal, wanted: dt.DataType) -> ops.Literal | None:
    """Casts of constants that give the same on every engine are done here, so that the optimizer sees plain constants."""
    raw = value.value
    try:
        match raw:
            case str() if wanted.is_date():
                return literal(datetime.date.fromisoformat(raw), "date")
            case str() if wanted.is_timestamp() and wanted.timezone is None:
                moment = datetime.datetime.fromisoformat(raw)
                return literal(moment, "timestamp") if moment.tzinfo is None else None
            case Decimal() if wanted == dt.float64:
                return literal(float(raw), "float64")
            case int() if wanted == dt.float64 and not isinstance(raw, bool):
                return literal(float(raw), "float64")
            case _:
                return None
    except ValueError:
        return None  # DuckDB reads more forms than ISO's; the engine's own cast decides about those


def text_of(value: ops.Value) -> ops.Value:
    """The value as a string."""
    return cast(value, "string")


def double(value: ops.Value) -> ops.Value:
    """The value as a DOUBLE, as DuckDB's mathematical functions take it."""
    return value if value.dtype.is_floating() else cast(value, "float64")


def _constants_alike(left: ops.Value, right: ops.Value) -> tuple[ops.Value, ops.Value]:
    if isinstance(right, ops.Literal):
        return left, _like(right, left)
    if isinstance(left, ops.Literal):
        return _like(left, right), right
    return left, right


def alike(left: ops.Value, right: ops.Value) -> tuple[ops.Value, ops.Value]:
    """Two operands as DuckDB combines them.

    Constants take the other side's type; a DECIMAL beside a DOUBLE becomes one. Ibis finds a common type of two decimals only
    where one has no fewer digits and no smaller scale, so the one with the longer fraction is given the digits it lacks.
    """
    left, right = _constants_alike(left, right)
    a, b = left.dtype, right.dtype
    if a.is_floating() and b.is_decimal():
        return left, cast(right, "float64")
    if a.is_decimal() and b.is_floating():
        return cast(left, "float64"), right
    if a.is_decimal() and b.is_decimal() and None not in (a.precision, a.scale, b.precision, b.scale):
        if a.scale > b.scale and a.precision < b.precision:
            return _wider(left, b.precision), right
        if b.scale > a.scale and b.precision < a.precision:
            return left, _wider(right, a.precision)
    return left, right


def _wider(value: ops.Value, precision: int) -> ops.Value:
    kind = dt.Decimal(precision, value.dtype.scale)
    return literal(value.value, kind) if isinstance(value, ops.Literal) else ops.Cast(value, to=kind)


def common_type(kinds: Sequence[dt.DataType]) -> dt.DataType:
    """The type of a CASE's, a COALESCE's or a UNION's outcome.

    Raises:
        IbisTypeError: There is none.
    """
    decimals = [kind for kind in kinds if kind.is_decimal() and kind.precision is not None]
    if decimals and any(kind.is_floating() for kind in kinds):
        return dt.highest_precedence([dt.float64 if kind.is_decimal() else kind for kind in kinds])
    if len(decimals) > 1:
        scale = max(kind.scale for kind in decimals)
        whole_digits = max(kind.precision - kind.scale for kind in decimals)
        widest = dt.Decimal(min(DIGITS, whole_digits + scale), scale)
        return dt.highest_precedence([widest if kind.is_decimal() else kind for kind in kinds])
    return dt.highest_precedence(kinds)


def unified(values: Sequence[ops.Value]) -> tuple[ops.Value, ...]:
    """Alternatives of one outcome, those whose type differs from the common one cast where Ibis would not see it right."""
    first = next((value for value in values if not isinstance(value, ops.Literal)), values[0])
    fitted = [_like(value, first) if isinstance(value, ops.Literal) else value for value in values]
    kinds = [value.dtype for value in fitted]
    if not any(kind.is_decimal() for kind in kinds):
        return tuple(fitted)
    wanted = common_type(kinds)
    return tuple(
        value if value.dtype.is_null() or value.dtype.is_integer() else cast(value, wanted)
        for value in fitted
    )


def _like(constant: ops.Literal, other: ops.Value) -> ops.Value:
    kind = other.dtype
    if constant.dtype.is_string() and not (kind.is_string() or kind.is_null()):
        return cast(constant, kind)
    if constant.dtype.is_decimal() and kind.is_floating():
        return cast(constant, "float64")
    moment = constant.value
    if (
        kind.is_date()
        and isinstance(moment, datetime.datetime)
        and constant.dtype == dt.timestamp
        and moment.time() == datetime.time()
    ):
        return literal(moment.date(), "date")  # a midnight compares with dates as its day does
    return constant


def interval(node: x.Interval, value: Any) -> ops.Value:
    """INTERVAL '3' MONTH, INTERVAL 3 MONTH, INTERVAL (n) DAY; `value` translates a node."""
    amount, units = arguments(node, "this", "unit")
    if amount is None or units is None or not isinstance(units, x.Var):
        raise refused(node, "an interval without one unit", "write INTERVAL '3' MONTH")
    short = unit(units)
    while isinstance(amount, x.Paren):
        amount = amount.this
    sign = 1
    if isinstance(amount, x.Neg):
        sign, amount = -1, amount.this
    if isinstance(amount, x.Literal):
        try:
            return literal(sign * int(amount.name), dt.Interval(short))
        except ValueError as error:
            raise refused(node, "an interval of a fraction", "use a finer unit") from error
    count = cast(value(amount), "int64")
    return ops.IntervalFromInteger(count if sign == 1 else ops.Negate(count), short)


def shift(moment: ops.Value, by: ops.Value, sign: int) -> ops.Value:
    """A date, timestamp or time plus (1) or minus (-1) an interval; dates become timestamps, as in DuckDB."""
    if moment.dtype.is_time():
        return ops.TimeAdd(moment, by) if sign == 1 else ops.TimeSub(moment, by)
    if isinstance(moment, ops.Literal) and isinstance(by, ops.Literal) and moment.value is not None:
        folded = _shifted(moment.value, sign * by.value, by.dtype.unit.short)
        if folded is not None:
            return literal(folded, "timestamp")
    start = cast(moment, "timestamp") if moment.dtype.is_date() else moment
    return ops.TimestampAdd(start, by) if sign == 1 else ops.TimestampSub(start, by)


def _shifted(start: datetime.date, amount: int, short: str) -> datetime.datetime | None:
    moment = (
        start
        if isinstance(start, datetime.datetime)
        else datetime.datetime(start.year, start.month, start.day)  # noqa: DTZ001 - TIMESTAMP has no zone
    )
    try:
        if short not in _MONTHS:
            return moment + datetime.timedelta(**{_DELTAS[short]: amount})
        years, month = divmod(moment.year * 12 + moment.month - 1 + amount * _MONTHS[short], 12)
        day = min(moment.day, calendar.monthrange(years, month + 1)[1])
        return moment.replace(year=years, month=month + 1, day=day)
    except (OverflowError, ValueError):
        return None  # beyond Python's years; the engine decides


def whole(node: Any, what: str) -> int:
    """A constant whole number, as LIMIT and positions take it."""
    while isinstance(node, x.Paren):
        node = node.this
    if isinstance(node, x.Literal) and not node.is_string and node.name.isdigit():
        return int(node.name)
    raise PlanError(f"{what} must be a whole number, not {text(node)}", where="SQL")
