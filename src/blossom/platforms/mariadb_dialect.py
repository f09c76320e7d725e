"""Ibis's MySQL compiler, corrected where MariaDB's answers would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

from typing import Any

import ibis.expr.datatypes as dt
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.mysql import MySQLCompiler

_SPACES = " \t\n\r\v\f"
_STAMP = sge.DataType.build("DATETIME(6)", dialect="mysql")


class Compiler(MySQLCompiler):
    """What differs, and how it is corrected:

    - quotients and averages are decimals: they become doubles;
    - doubles are rounded half to even: it is said with `floor`;
    - bit operations are unsigned: they are cast back;
    - truncated moments are text, moments lose their microseconds in casts: they are cast to what they are;
    - Ibis compares text as bytes, which counts positions in bytes too: the session's collation compares text so.
    """

    __slots__ = ()

    # a class sets up the methods of these itself, over what it defines: the parent's are enough
    SIMPLE_OPS = {}  # noqa: RUF012
    UNSUPPORTED_OPS = ()

    def _double(self, value: Any) -> Any:
        return self.cast(value, dt.float64)

    def _stamp(self, value: Any) -> Any:
        return sge.Cast(this=value, to=_STAMP.copy())

    def _case(self, *branches: tuple[Any, Any], otherwise: Any) -> Any:
        return sge.Case(ifs=[self.if_(test, value) for test, value in branches], default=otherwise)

    # --- numbers ---------------------------------------------------------------------------------------------------------

    def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:
        if dtype.is_floating():
            return sge.Literal(
                this=f"{float(value):e}" if float(f"{float(value):e}") == value else f"{float(value):.17e}",
                is_string=False,
            )
        if dtype.is_decimal():
            return sge.Literal(this=f"{value:f}", is_string=False)
        if dtype.is_timestamp():
            return self._stamp(sge.convert(value.isoformat(" ")))
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def visit_Divide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.binop(sge.Div, self._double(left), self._double(right))

    def visit_FloorDivide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.f.floor(self.binop(sge.Div, self._double(left), self._double(right)))

    def _signed(self, value: Any) -> Any:
        return self.cast(value, dt.int64)

    def visit_BitwiseAnd(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._signed(self.binop(sge.BitwiseAnd, left, right))

    def visit_BitwiseOr(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._signed(self.binop(sge.BitwiseOr, left, right))

    def visit_BitwiseXor(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._signed(self.binop(sge.BitwiseXor, left, right))

    def visit_Ceil(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self.f.ceil(arg)

    def visit_Floor(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self.f.floor(arg)

    def visit_Round(self, op: Any, *, arg: Any, digits: Any) -> Any:
        if op.arg.dtype.is_integer():
            return arg
        places = 0 if op.digits is None else op.digits.value
        if op.arg.dtype.is_decimal():
            return self.f.round(arg, sge.convert(places))
        if places == 0:
            return self._half_away(arg)
        factor = sge.Literal(this=f"1e{places}", is_string=False)
        return self.binop(sge.Div, self._half_away(self.binop(sge.Mul, arg, factor)), factor.copy())

    def _half_away(self, value: Any) -> Any:
        size = self.f.abs(value)
        whole = self.f.floor(size)
        rest = self.binop(sge.Sub, size.copy(), whole)
        more = self._case(
            (sge.GTE(this=rest, expression=sge.Literal(this="5e-1", is_string=False)), sge.convert(1)),
            otherwise=sge.convert(0),
        )
        return self.binop(
            sge.Mul, self.f.sign(value.copy()), sge.paren(self.binop(sge.Add, whole.copy(), more))
        )

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        if to.is_timestamp():
            return self._stamp(arg)
        if to.is_decimal() and to.precision is None:
            return self.cast(arg, dt.Decimal(38, to.scale or 0))
        return self.cast(arg, to)

    # --- reductions ------------------------------------------------------------------------------------------------------

    def _fold(self, name: str, *values: Any, where: Any) -> Any:
        folds: Any = self.agg
        return folds[name](*values, where=where)

    def visit_CountStar(self, op: Any, *, arg: Any, where: Any) -> Any:
        if where is None:
            return self.f.count(sge.Star())
        return self.f.count(self.if_(where, sge.convert(1), sge.Null()))

    def visit_CountDistinct(self, op: Any, *, arg: Any, where: Any) -> Any:
        if where is not None:
            arg = self.if_(where, arg, sge.Null())
        return self.f.count(sge.Distinct(expressions=[arg]))

    def visit_Mean(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("avg", self._double(arg), where=where)

    def visit_Variance(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_Variance(op, arg=self._double(arg), how=how, where=where)

    def visit_StandardDev(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_StandardDev(op, arg=self._double(arg), how=how, where=where)

    # --- text ------------------------------------------------------------------------------------------------------------

    def visit_Equals(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.binop(sge.EQ, left, right)

    def visit_StringLength(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.char_length(arg)

    def visit_StartsWith(self, op: Any, *, arg: Any, start: Any) -> Any:
        return self.f.anon.left(arg, self.f.anon.char_length(start)).eq(start.copy())

    def visit_EndsWith(self, op: Any, *, arg: Any, end: Any) -> Any:
        return self.f.anon.right(arg, self.f.anon.char_length(end)).eq(end.copy())

    def visit_StringContains(self, op: Any, *, haystack: Any, needle: Any) -> Any:
        return sge.GT(this=self.f.anon.locate(needle, haystack), expression=sge.convert(0))

    def visit_StringFind(self, op: Any, *, arg: Any, substr: Any, start: Any, end: Any) -> Any:
        return self.f.anon.locate(substr, arg)

    def _trim(self, arg: Any, pattern: str) -> Any:
        return self.f.anon.regexp_replace(arg, sge.convert(pattern), sge.convert(""))

    def visit_Strip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(self._trim(arg, f"^[{_SPACES}]+"), f"[{_SPACES}]+$")

    def visit_LStrip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, f"^[{_SPACES}]+")

    def visit_RStrip(self, op: Any, *, arg: Any) -> Any:
        # without D, $ stands before a last line feed too
        return self._trim(arg, f"[{_SPACES}]+$")

    # --- moments ---------------------------------------------------------------------------------------------------------

    def visit_DateTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        return self._first_day(arg, unit)

    def _first_day(self, arg: Any, unit: Any) -> Any:
        if unit.short == "W":
            return self.f.anon.subdate(self.cast(arg, dt.date), self.f.anon.weekday(arg.copy()))
        return self.cast(self.visit_DateTimestampTruncate(None, arg=arg, unit=unit), dt.date)

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        if unit.short in ("Y", "Q", "M", "W", "D"):
            return self._stamp(self._first_day(arg, unit))
        return self._stamp(super().visit_DateTimestampTruncate(op, arg=arg, unit=unit))

    def visit_Date(self, op: Any, *, arg: Any) -> Any:
        return self.cast(arg, dt.date)

    def visit_ExtractMillisecond(self, op: Any, *, arg: Any) -> Any:
        micros = sge.Extract(this=sge.var("MICROSECOND"), expression=arg)
        return self._signed(self.f.floor(self.binop(sge.Div, micros, sge.convert(1000))))
