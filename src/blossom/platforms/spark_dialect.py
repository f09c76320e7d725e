"""Ibis's Spark compiler, corrected where the answers of Spark, or of a server that speaks its protocol, would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

import math
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

_SPACES = " \t\n\r\v\f"
_EXACT = float(2**52)
"""Doubles from here on have no fraction."""
_WIDE = dt.Decimal(38, 0)
_UNITS = {"Y": "YEAR", "Q": "QUARTER", "M": "MONTH", "W": "WEEK"}


class Compiler(PySparkCompiler):
    """What differs, and how it is corrected:

    - NaN counts as null in Ibis's text: it is not;
    - where the server does not check integers, they wrap: they are computed in 38 digits, and narrowed with an error;
    - dividing by zero raises, logarithms outside their domain are null or raise: a CASE gives what IEEE 754 says;
    - `round` goes by decimal digits, casts cut, `ceil` and `floor` saturate: all are said with casts, which raise;
    - -0.0 may sort before 0.0: adding 0.0 makes one zero of the two; extremes may pass NaN over;
    - truncated dates are timestamps with time zone: they are cast back.

    Args:
        checked: Whether the server itself raises when integers overflow.
    """

    __slots__ = ("checked",)

    # a class sets up the methods of these itself, over what it defines: the parent's are enough
    SIMPLE_OPS = {}  # noqa: RUF012
    UNSUPPORTED_OPS = ()

    def __init__(self, *, checked: bool = False) -> None:
        super().__init__()
        self.checked = checked

    def _double(self, value: Any) -> Any:
        return self.cast(value, dt.float64)

    def _number(self, value: float) -> Any:
        return self._double(sge.convert(value))

    def _case(self, *branches: tuple[Any, Any], otherwise: Any) -> Any:
        return sge.Case(ifs=[self.if_(test, value) for test, value in branches], default=otherwise)

    def _less(self, one: Any, other: Any) -> Any:
        return sge.LT(this=one, expression=other)

    def _one_zero(self, op: ops.Value, value: Any) -> Any:
        return sge.paren(self.binop(sge.Add, value, self._number(0.0))) if op.dtype.is_floating() else value

    def visit_IsNull(self, op: Any, *, arg: Any) -> Any:
        return arg.is_(sge.Null())

    def visit_NotNull(self, op: Any, *, arg: Any) -> Any:
        return arg.is_(sge.Not(this=sge.Null()))

    def visit_IsInf(self, op: Any, *, arg: Any) -> Any:
        return self.f.abs(arg).eq(self.POS_INF)

    def visit_Xor(self, op: Any, *, left: Any, right: Any) -> Any:
        return sge.NEQ(this=sge.paren(left), expression=sge.paren(right))

    # --- numbers ---------------------------------------------------------------------------------------------------------

    def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:
        if dtype.is_floating() and math.isfinite(value):
            return self._number(float(value))
        if dtype.is_timestamp() and dtype.timezone is None:
            return sge.Cast(
                this=sge.convert(value.isoformat(" ")),
                to=sge.DataType.build("TIMESTAMP_NTZ", dialect="spark"),
            )
        if dtype.is_date():
            return self.cast(sge.convert(value.isoformat()), dt.date)
        if dtype.is_floating():
            return super(PySparkCompiler, self).visit_NonNullLiteral(op, value=value, dtype=dtype)
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def visit_Field(self, op: Any, *, rel: Any, name: str) -> Any:
        # the parent's asks for options that Ibis sets only when it connects to Spark
        return super(PySparkCompiler, self).visit_Field(op, rel=rel, name=name)

    def _integers(self, node: Any, op: Any, left: Any, right: Any) -> Any:
        if not (op.left.dtype.is_integer() and op.right.dtype.is_integer()):
            return self.binop(node, left, right)
        narrow = max(op.left.dtype.nbytes, op.right.dtype.nbytes) <= 4
        if self.checked or narrow:
            return self.binop(node, self.cast(left, dt.int64), self.cast(right, dt.int64))
        found = self.binop(node, self.cast(left, _WIDE), self.cast(right, _WIDE))
        # a sum has more than 64 bits, on DuckDB too
        return (
            found
            if isinstance(op.left, ops.Sum) or isinstance(op.right, ops.Sum)
            else self.cast(found, dt.int64)
        )

    def visit_Add(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Add, op, left, right)

    def visit_Subtract(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Sub, op, left, right)

    def visit_Multiply(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Mul, op, left, right)

    def visit_Negate(self, op: Any, *, arg: Any) -> Any:
        if self.checked or not op.arg.dtype.is_integer():
            return sge.Neg(this=sge.paren(arg))
        return self.cast(
            self.binop(sge.Sub, self.cast(sge.convert(0), _WIDE), self.cast(arg, _WIDE)), dt.int64
        )

    def visit_Divide(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other = self._double(left), self._double(right)
        if isinstance(op.right, ops.Literal) and op.right.value:
            return self.binop(sge.Div, one, other)
        zero = self._number(0.0)
        inf, neg = self.POS_INF, self.NEG_INF
        if op.right.dtype.is_floating():
            # 1 / -0.0 is minus infinity
            minus = self.cast(other, dt.string).eq(sge.convert("-0.0"))
            inf, neg = self.if_(minus, neg, inf), self.if_(minus, inf, neg)
        # the server may raise for rows that a CASE leaves out
        safe = self._case((other.eq(zero), self._number(1.0)), otherwise=other.copy())
        return self._case(
            (sge.Or(this=one.is_(sge.Null()), expression=other.is_(sge.Null())), sge.Null()),
            (other.neq(zero), self.binop(sge.Div, one, safe)),
            (sge.Or(this=one.eq(zero), expression=self.f.isnan(one)), self.NAN),
            (self._less(zero, one), inf),
            otherwise=neg,
        )

    def visit_FloorDivide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._floor(self.visit_Divide(op, left=left, right=right))

    def visit_Power(self, op: Any, *, left: Any, right: Any) -> Any:
        base, exponent = self._double(left), self._double(right)
        pole = sge.And(this=base.eq(self._number(0.0)), expression=self._less(exponent, self._number(0.0)))
        safe = self._case((pole.copy(), self._number(1.0)), otherwise=base.copy())
        return self._case((pole, self.POS_INF), otherwise=self.f.pow(safe, exponent.copy()))

    def visit_Sqrt(self, op: Any, *, arg: Any) -> Any:
        value = self._double(arg)
        below = self._less(value, self._number(0.0))
        safe = self._case((below, self._number(0.0)), otherwise=value.copy())
        return self._case((below.copy(), self.NAN), otherwise=self.f.sqrt(safe))

    def visit_Ln(self, op: Any, *, arg: Any) -> Any:
        return self._logarithm("ln", arg)

    def visit_Log2(self, op: Any, *, arg: Any) -> Any:
        return self._logarithm("log2", arg)

    def visit_Log10(self, op: Any, *, arg: Any) -> Any:
        return self._logarithm("log10", arg)

    def _logarithm(self, name: str, arg: Any) -> Any:
        value = self._double(arg)
        below = self._less(value, self._number(0.0))
        safe = self._case(
            (sge.LTE(this=value, expression=self._number(0.0)), self._number(1.0)), otherwise=value.copy()
        )
        return self._case(
            (value.eq(self._number(0.0)), self.NEG_INF), (below, self.NAN), otherwise=self.f.anon[name](safe)
        )

    def visit_Sign(self, op: Any, *, arg: Any) -> Any:
        zero = sge.convert(0)
        signs = self._case(
            (arg.is_(sge.Null()), sge.Null()),
            (self.f.isnan(self._double(arg)), zero),
            (sge.GT(this=arg, expression=zero), sge.convert(1)),
            (self._less(arg, zero), sge.convert(-1)),
            otherwise=zero,
        )
        return self.cast(signs, op.dtype)

    def _ceil(self, value: Any) -> Any:
        cut = self.cast(value, dt.int64)
        more = self._case(
            (self._less(self._double(cut), value.copy()), sge.convert(1)), otherwise=sge.convert(0)
        )
        return sge.paren(self.binop(sge.Add, cut.copy(), more))

    def _floor(self, value: Any) -> Any:
        cut = self.cast(value, dt.int64)
        less = self._case(
            (self._less(value.copy(), self._double(cut)), sge.convert(1)), otherwise=sge.convert(0)
        )
        return sge.paren(self.binop(sge.Sub, cut.copy(), less))

    def visit_Ceil(self, op: Any, *, arg: Any) -> Any:
        if op.arg.dtype.is_integer():
            return arg
        return self._ceil(arg) if op.arg.dtype.is_floating() else self.cast(self.f.ceil(arg), op.dtype)

    def visit_Floor(self, op: Any, *, arg: Any) -> Any:
        if op.arg.dtype.is_integer():
            return arg
        return self._floor(arg) if op.arg.dtype.is_floating() else self.cast(self.f.floor(arg), op.dtype)

    def visit_Round(self, op: Any, *, arg: Any, digits: Any) -> Any:
        if op.arg.dtype.is_integer():
            return self.cast(arg, op.dtype)
        places = 0 if op.digits is None else op.digits.value
        if op.arg.dtype.is_decimal():
            return self.cast(self.f.round(arg, sge.convert(places)), op.dtype)
        if places == 0:
            return self.cast(self._half_away(arg), op.dtype)
        factor = self._number(float(10**places))
        return self.binop(sge.Div, self._half_away(self.binop(sge.Mul, arg, factor)), factor.copy())

    def _half_away(self, value: Any) -> Any:
        half = self._number(0.5)
        small = self._less(self.f.abs(value), self._number(_EXACT))
        safe = self._case((small, value.copy()), otherwise=self._number(0.0))
        cut = self._double(self.cast(safe, dt.int64))
        rest = sge.paren(self.binop(sge.Sub, safe.copy(), cut))
        rounded = self._case(
            (sge.GTE(this=rest, expression=half), self.binop(sge.Add, cut.copy(), self._number(1.0))),
            (
                sge.LTE(this=rest.copy(), expression=sge.Neg(this=half.copy())),
                self.binop(sge.Sub, cut.copy(), self._number(1.0)),
            ),
            otherwise=cut.copy(),
        )
        return self._case((small.copy(), rounded), otherwise=value.copy())

    def _half_even(self, value: Any) -> Any:
        cut = self.cast(value, dt.int64)
        rest = sge.paren(self.binop(sge.Sub, value.copy(), self._double(cut)))
        half, one = self._number(0.5), sge.convert(1)
        odd = self.binop(sge.Mod, cut.copy(), sge.convert(2)).neq(sge.convert(0))
        up = sge.Or(
            this=sge.GT(this=rest, expression=half),
            expression=sge.paren(sge.And(this=rest.copy().eq(half.copy()), expression=odd)),
        )
        minus = sge.Neg(this=half.copy())
        down = sge.Or(
            this=self._less(rest.copy(), minus),
            expression=sge.paren(sge.And(this=rest.copy().eq(minus.copy()), expression=odd.copy())),
        )
        return self._case(
            (up, self.binop(sge.Add, cut.copy(), one)),
            (down, self.binop(sge.Sub, cut.copy(), one.copy())),
            otherwise=cut.copy(),
        )

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        if to.is_integer() and op.arg.dtype.is_floating():
            arg = self._half_even(arg)
        elif to.is_integer() and op.arg.dtype.is_decimal():
            arg = self.f.round(arg, sge.convert(0))
        return self._cast(arg, to)

    def _cast(self, arg: Any, to: Any) -> Any:
        if to.is_timestamp() and to.timezone is None:
            return sge.Cast(this=arg, to=sge.DataType.build("TIMESTAMP_NTZ", dialect="spark"))
        return self.cast(arg, to)

    # --- order -----------------------------------------------------------------------------------------------------------

    def visit_SortKey(self, op: Any, *, arg: Any, ascending: bool, nulls_first: bool) -> Any:
        return super().visit_SortKey(
            op, arg=self._one_zero(op.arg, arg), ascending=ascending, nulls_first=nulls_first
        )

    def visit_WindowFunction(self, op: Any, *, func: Any, group_by: Any, **window: Any) -> Any:
        keys = [self._one_zero(key, value) for key, value in zip(op.group_by, group_by, strict=True)]
        if isinstance(func, sge.Cast):
            # the cast stands around the window, not inside
            inner = super().visit_WindowFunction(op, func=func.this, group_by=keys, **window)
            return sge.Cast(this=inner, to=func.args["to"])
        return super().visit_WindowFunction(op, func=func, group_by=keys, **window)

    # --- reductions ------------------------------------------------------------------------------------------------------

    def _fold(self, name: str, *values: Any, where: Any) -> Any:
        folds: Any = self.agg
        return folds[name](*values, where=where)

    def visit_Sum(self, op: Any, *, arg: Any, where: Any) -> Any:
        if op.arg.dtype.is_boolean():
            arg = self.cast(arg, dt.int64)
        if op.arg.dtype.is_integer() or op.arg.dtype.is_boolean():
            arg = self.cast(arg, dt.Decimal(20, 0))
        return self._fold("sum", arg, where=where)

    def visit_Mean(self, op: Any, *, arg: Any, where: Any) -> Any:
        if op.arg.dtype.is_boolean():
            arg = self.cast(arg, dt.int64)
        return self._fold("avg", self._double(arg), where=where)

    def visit_CountStar(self, op: Any, *, arg: Any, where: Any) -> Any:
        if where is None:
            return self.f.count(sge.Star())
        return self.f.count(self.if_(where, sge.convert(1), sge.Null()))

    def visit_Min(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("min", arg, where=where)
        known = self._case((self.f.isnan(arg), sge.Null()), otherwise=self._one_zero(op.arg, arg))
        only = self._fold("bool_and", self._known_nan(arg), where=where)
        return self._case((only, self.NAN), otherwise=self._fold("min", known, where=where))

    def visit_Max(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("max", arg, where=where)
        some = self._fold("bool_or", self._known_nan(arg), where=where)
        greatest = self._fold("max", self._one_zero(op.arg, arg.copy()), where=where)
        return self._case((some, self.NAN), otherwise=greatest)

    def _known_nan(self, value: Any) -> Any:
        # isnan of null is false on Spark
        return self._case((value.copy().is_(sge.Null()), sge.Null()), otherwise=self.f.isnan(value.copy()))

    def visit_Median(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("percentile", self._double(arg), sge.convert(0.5), where=where)

    def visit_Quantile(self, op: Any, *, arg: Any, quantile: Any, where: Any) -> Any:
        return self._fold("percentile", self._double(arg), quantile, where=where)

    def visit_Variance(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_Variance(op, arg=self._double(arg), how=how, where=where)

    def visit_StandardDev(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_StandardDev(op, arg=self._double(arg), how=how, where=where)

    # --- text ------------------------------------------------------------------------------------------------------------

    def _trim(self, arg: Any, position: str) -> Any:
        return sge.Trim(this=arg, expression=sge.convert(_SPACES), position=position)

    def visit_Strip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "BOTH")

    def visit_LStrip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "LEADING")

    def visit_RStrip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "TRAILING")

    # --- moments ---------------------------------------------------------------------------------------------------------

    def _zoned(self, arg: Any) -> Any:
        # by its full name: sessions here have TIMESTAMP mean the one without zone
        return sge.Cast(this=arg, to=sge.DataType.build("TIMESTAMP_LTZ", dialect="spark"))

    def visit_DateTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        if unit.short not in _UNITS:
            return arg
        return self.cast(self.f.anon.date_trunc(sge.convert(_UNITS[unit.short]), self._zoned(arg)), dt.date)

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        name = _UNITS.get(unit.short, unit.singular)
        return self._cast(self.f.anon.date_trunc(sge.convert(name), self._zoned(arg)), dt.timestamp)

    def visit_Date(self, op: Any, *, arg: Any) -> Any:
        return self.cast(arg, dt.date)

    def _micros(self, arg: Any) -> Any:
        return self.f.anon.unix_micros(self._zoned(arg))

    def visit_ExtractEpochSeconds(self, op: Any, *, arg: Any) -> Any:
        million = sge.convert(1_000_000)
        micros = self._micros(arg)
        whole = sge.paren(self.binop(sge.Sub, micros, self.f.anon.pmod(micros.copy(), million)))
        return sge.IntDiv(this=whole, expression=million.copy())

    def visit_ExtractSecond(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.second(arg)

    def visit_ExtractMillisecond(self, op: Any, *, arg: Any) -> Any:
        rest = self.f.anon.pmod(self._micros(arg), sge.convert(1_000_000))
        return sge.IntDiv(this=rest, expression=sge.convert(1000))

    def visit_DateDelta(self, op: Any, *, part: Any, left: Any, right: Any) -> Any:
        return self.f.anon.datediff(left, right)
