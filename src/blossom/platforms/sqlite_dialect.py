"""SQLite's dialect: Ibis's compiler put right where its text answers otherwise, and the functions that the text calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import ibis.expr.datatypes as dt
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.sqlite import SQLiteCompiler

from blossom.platforms.sqlite_rules import PARTS


class Compiler(SQLiteCompiler):
    """Ibis's compiler with the texts replaced that give another answer than DuckDB, or need a newer SQLite."""

    # Ibis's naming, hence the lint exceptions
    def visit_Modulus(self, op: Any, *, left: Any, right: Any) -> Any:  # noqa: N802
        # mod() computes in floats; the operator is exact and keeps the dividend's sign, as DuckDB's does
        return self.binop(sge.Mod, left, right)

    def visit_FloorDivide(self, op: Any, *, left: Any, right: Any) -> Any:  # noqa: N802
        left, right = sge.paren(left), sge.paren(right)
        modulus = sge.paren(
            sge.Mod(
                this=sge.paren(sge.Add(this=sge.Mod(this=left, expression=right), expression=right)),
                expression=right,
            )
        )
        return sge.IntDiv(this=sge.paren(sge.Sub(this=left, expression=modulus)), expression=right)

    def visit_Greatest(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
        return self._extreme("max", arg)

    def visit_Least(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
        return self._extreme("min", arg)

    def _extreme(self, name: str, values: tuple[Any, ...]) -> Any:
        # SQLite's give NULL as soon as one value is; DuckDB's pass over them
        found, *rest = values
        for value in rest:
            found = self.f.coalesce(self.f[name](found, value), found, value)
        return found

    def visit_StartsWith(self, op: Any, *, arg: Any, start: Any) -> Any:  # noqa: N802
        # not LIKE: the text to be found may hold % and _
        return self.f.substr(arg, 1, self.f.length(start)).eq(start)

    def visit_EndsWith(self, op: Any, *, arg: Any, end: Any) -> Any:  # noqa: N802
        return self.f.substr(arg, -self.f.length(end)).eq(end)

    def visit_Date(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
        return self.f.substr(arg, 1, 10)

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:  # noqa: N802
        source = op.arg.dtype
        if source.is_date() and to.is_timestamp():
            return sge.DPipe(this=arg, expression=sge.convert(" 00:00:00"))
        if source.is_timestamp() and to.is_date():
            return self.f.substr(arg, 1, 10)
        if (source.is_date() and to.is_date()) or (source.is_timestamp() and to.is_timestamp()):
            return arg
        return super().visit_Cast(op, arg=arg, to=to)

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:  # noqa: N802
        # timestamps are held as "YYYY-MM-DD HH:MM:SS[.ffffff]"
        kept, rest = {
            "Y": (4, "-01-01 00:00:00"),
            "M": (7, "-01 00:00:00"),
            "D": (10, " 00:00:00"),
            "h": (13, ":00:00"),
            "m": (16, ":00"),
            "s": (19, ""),
        }[unit.short]
        return sge.DPipe(this=self.f.substr(arg, 1, kept), expression=sge.convert(rest))

    def visit_DateAdd(self, op: Any, *, left: Any, right: Any) -> Any:  # noqa: N802
        return self._shift(op, left, 1)

    def visit_DateSub(self, op: Any, *, left: Any, right: Any) -> Any:  # noqa: N802
        return self._shift(op, left, -1)

    def _shift(self, op: Any, left: Any, sign: int) -> Any:
        unit = timedelta(days=7 if op.right.dtype.unit.short == "W" else 1)
        days = (sign * op.right.value * unit).days
        return self.f.date(left, sge.convert(f"{days:+d} days"))

    def visit_DateDelta(self, op: Any, *, left: Any, right: Any, part: Any) -> Any:  # noqa: N802
        days = self.f.anon.julianday(left) - self.f.anon.julianday(right)
        return self.cast(self.f.round(days), dt.int64)

    def visit_ExtractQuarter(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
        month = self.cast(self.f.strftime("%m", arg), dt.int64)
        return sge.IntDiv(this=sge.paren(month + 2), expression=sge.convert(3))

    def visit_ExtractWeekOfYear(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
        thursday = self.f.date(arg, "-3 days", "weekday 4")
        day = self.cast(self.f.strftime("%j", thursday), dt.int64)
        return sge.IntDiv(this=sge.paren(day - 1), expression=sge.convert(7)) + 1

    def visit_Any(self, op: Any, *, arg: Any, where: Any) -> Any:  # noqa: N802
        return self._fold("max", arg, where)

    def visit_All(self, op: Any, *, arg: Any, where: Any) -> Any:  # noqa: N802
        return self._fold("min", arg, where)

    def _fold(self, name: str, arg: Any, where: Any) -> Any:
        fold = getattr(self.agg, name)  # Ibis makes its members on demand
        return fold(arg, where=where)


def _of_whole_seconds(inherited: Callable[..., Any]) -> Callable[..., Any]:
    """strftime rounds to milliseconds, so the last microsecond of a day would be the next day's: cut it off first."""

    def visit(self: Compiler, op: Any, *, arg: Any) -> Any:
        return inherited(self, op, arg=self.f.substr(arg, 1, 19) if op.arg.dtype.is_timestamp() else arg)

    return visit


for _part in PARTS:
    setattr(Compiler, f"visit_{_part}", _of_whole_seconds(getattr(Compiler, f"visit_{_part}")))


class _Variance:
    """Welford's running variance (Knuth, TAOCP 2, 4.2.2); NULL where there are too few values."""

    least = 0

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def step(self, value: float | None) -> None:
        if value is not None:
            self.count += 1
            delta = value - self.mean
            self.mean += delta / self.count
            self.squares += delta * (value - self.mean)

    def finalize(self) -> float | None:
        divisor = self.count - self.least
        return self.squares / divisor if divisor > 0 else None


class _SampleVariance(_Variance):
    least = 1


class _Bits:
    """A fold of integers by a bit operation; NULL for no values."""

    def __init__(self, fold: Callable[[int, int], int]) -> None:
        self._fold = fold
        self._value: int | None = None

    def step(self, value: int | None) -> None:
        if value is not None:
            self._value = value if self._value is None else self._fold(self._value, value)

    def finalize(self) -> int | None:
        return self._value


class _BitAnd(_Bits):
    def __init__(self) -> None:
        super().__init__(int.__and__)


class _BitOr(_Bits):
    def __init__(self) -> None:
        super().__init__(int.__or__)


class _BitXor(_Bits):
    def __init__(self) -> None:
        super().__init__(int.__xor__)


def _repeat(text: str | None, times: int | None) -> str | None:
    return None if text is None or times is None else text * times


def canonical_timestamp(text: object) -> str | None:
    """A timestamp's text as SQLite compares it: "YYYY-MM-DD HH:MM:SS", with six digits of fraction unless they are zero.

    In this form (which is also that of compiled literals) texts order as the times do. An offset is turned into UTC.

    Raises:
        ValueError: Not a timestamp in ISO 8601.

    >>> canonical_timestamp("2020-01-31T10:00:00.5Z")
    '2020-01-31 10:00:00.500000'
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError("not a text")
    found = datetime.fromisoformat(text)
    offset = found.utcoffset()
    return (found if offset is None else found.replace(tzinfo=None) - offset).isoformat(" ")


_AGGREGATES: Mapping[str, type[Any]] = {
    "_ibis_var_pop": _Variance,
    "_ibis_var_sample": _SampleVariance,
    "_ibis_bit_and": _BitAnd,
    "_ibis_bit_or": _BitOr,
    "_ibis_bit_xor": _BitXor,
}


def _is_timestamp(text: object) -> bool:
    try:
        return canonical_timestamp(text) is not None
    except ValueError:
        return False


def prepare(connection: sqlite3.Connection) -> None:
    """Give a connection what compiled texts call, and the LIKE of the standard."""
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.create_function("_ibis_repeat", 2, _repeat, deterministic=True)
    connection.create_function("_blossom_timestamp", 1, canonical_timestamp, deterministic=True)
    connection.create_function("_blossom_is_timestamp", 1, _is_timestamp, deterministic=True)
    for name, aggregate in _AGGREGATES.items():
        connection.create_aggregate(name, 1, aggregate)
