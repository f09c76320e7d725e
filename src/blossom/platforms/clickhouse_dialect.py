"""Ibis's ClickHouse compiler, corrected where the engine's answers would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.clickhouse import ClickHouseCompiler

_SPACES = " \t\n\r\v\f"
_EXACT = float(2**52)
"""Doubles from here on have no fraction."""
_MICROS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_STARTS = {
    "Y": "toStartOfYear",
    "Q": "toStartOfQuarter",
    "M": "toStartOfMonth",
    "W": "toMonday",
    "D": "toDate32",
}


_RANKS = (ops.MinRank, ops.DenseRank, ops.PercentRank, ops.CumeDist, ops.NTile)


class Compiler(ClickHouseCompiler):
    """What differs, and how it is corrected:

    - integers wrap: they are computed in 128 bits, and narrowed with an error;
    - NaN equals nothing and is above nothing: comparisons, extremes and descending order say what DuckDB makes of it;
    - `round` goes half to even, casts cut: both are said with what is cut off;
    - text is bytes: the functions for UTF-8 stand for the others;
    - `x IN (...)` is never null: it is said with equalities;
    - a variance of one value is NaN: it is null.
    """

    __slots__ = ()

    # a class sets up the methods of these itself, over what it defines: the parent's are enough
    SIMPLE_OPS = {}  # noqa: RUF012
    UNSUPPORTED_OPS = ()

    @staticmethod
    def _minimize_spec(op: Any, spec: Any) -> Any:
        # beside a frame of rows, each row is its own peer
        return None if isinstance(op.func, _RANKS) else spec

    def visit_NTile(self, op: Any, *, buckets: Any) -> Any:
        return self.f.anon.ntile(sge.convert(op.buckets.value))

    def _double(self, value: Any) -> Any:
        return self.f.anon.toFloat64(value)

    def _wide(self, value: Any) -> Any:
        return self.f.anon.toInt128(value)

    def _narrow(self, value: Any, to: dt.DataType) -> Any:
        return self.f.anon.accurateCast(
            value, sge.convert(self.type_mapper.to_string(to.copy(nullable=True)))
        )

    def _case(self, *branches: tuple[Any, Any], otherwise: Any) -> Any:
        return sge.Case(ifs=[self.if_(test, value) for test, value in branches], default=otherwise)

    def _nan(self, value: Any) -> Any:
        return self.f.isNaN(value.copy())

    # --- numbers ---------------------------------------------------------------------------------------------------------

    def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:
        if dtype.is_floating():
            if math.isfinite(value):
                return self._double(sge.convert(float(value)))
            text = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
            return self._double(sge.convert(text))
        if dtype.is_integer():
            return self.cast(sge.convert(value), dtype.copy(nullable=False))
        if dtype.is_decimal():
            places = dtype.scale if dtype.scale is not None else max(-value.as_tuple().exponent, 0)
            return self.f.anon.toDecimal128(sge.convert(format(value, "f")), sge.convert(places))
        if dtype.is_date():
            return self.f.anon.toDate32(sge.convert(value.isoformat()))
        if dtype.is_timestamp():
            text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
            return self.f.anon.toDateTime64(sge.convert(text), sge.convert(6), sge.convert("UTC"))
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def _integers(self, node: Any, op: Any, left: Any, right: Any) -> Any:
        if op.left.dtype.is_floating() or op.right.dtype.is_floating():
            return self.binop(node, self._double(left), self._double(right))
        if not (op.left.dtype.is_integer() and op.right.dtype.is_integer()):
            return self.binop(node, self._digits(op.left, left), self._digits(op.right, right))
        found = self.binop(node, self._wide(left), self._wide(right))
        # a sum has more than 64 bits, on DuckDB too
        summed = isinstance(op.left, ops.Sum) or isinstance(op.right, ops.Sum)
        return sge.paren(found) if summed else self._narrow(found, dt.int64)

    def _digits(self, op: ops.Value, value: Any) -> Any:
        """A number in 38 digits: the engine computes in as many as the wider side has, and the plan's places may be wrong."""
        one = self.f.anon.toDecimal128(sge.convert(1), sge.convert(0))
        if op.dtype.is_decimal():
            return sge.paren(self.binop(sge.Mul, value, one))
        return self.f.anon.toDecimal128(value, sge.convert(0))

    def visit_Add(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Add, op, left, right)

    def visit_Subtract(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Sub, op, left, right)

    def visit_Multiply(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Mul, op, left, right)

    def visit_Negate(self, op: Any, *, arg: Any) -> Any:
        if not op.arg.dtype.is_integer():
            return sge.Neg(this=sge.paren(arg))
        return self._narrow(sge.Neg(this=self._wide(arg)), dt.int64)

    def visit_Abs(self, op: Any, *, arg: Any) -> Any:
        if not op.arg.dtype.is_integer():
            return self.f.abs(arg)
        return self._narrow(self.f.abs(self._wide(arg)), op.dtype)

    def visit_Divide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.binop(sge.Div, self._double(left), self._double(right))

    def visit_FloorDivide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._narrow(self.f.floor(self.visit_Divide(op, left=left, right=right)), op.dtype)

    def visit_Modulus(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._narrow(self.binop(sge.Mod, self._wide(left), self._wide(right)), dt.int64)

    def visit_Power(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.f.anon.pow(self._double(left), self._double(right))

    def _of_double(self, name: str, *args: Any) -> Any:
        return self.f.anon[name](*map(self._double, args))

    def visit_Sqrt(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("sqrt", arg)

    def visit_Exp(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("exp", arg)

    def visit_Ln(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("log", arg)

    def visit_Log2(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("log2", arg)

    def visit_Log10(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("log10", arg)

    def visit_Sin(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("sin", arg)

    def visit_Cos(self, op: Any, *, arg: Any) -> Any:
        return self._of_double("cos", arg)

    def visit_Atan2(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._of_double("atan2", left, right)

    def visit_Sign(self, op: Any, *, arg: Any) -> Any:
        return self._narrow(self.f.anon.sign(self._double(arg)), op.dtype)

    def visit_Ceil(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self._narrow(self.f.anon.ceil(arg), op.dtype)

    def visit_Floor(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self._narrow(self.f.anon.floor(arg), op.dtype)

    def visit_Round(self, op: Any, *, arg: Any, digits: Any) -> Any:
        if op.arg.dtype.is_integer():
            return self._narrow(arg, op.dtype)
        places = 0 if op.digits is None else op.digits.value
        if op.arg.dtype.is_decimal():
            half = self.f.anon.toDecimal128(sge.convert("0.5"), sge.convert(places + 1))
            if places:
                half = self.f.anon.toDecimal128(
                    sge.convert("0." + "0" * places + "5"), sge.convert(places + 1)
                )
            up = self.f.anon.floor(self.binop(sge.Add, self.f.abs(arg), half), sge.convert(places))
            return self._narrow(
                self.binop(sge.Mul, up, self.f.anon.toInt8(self.f.anon.sign(arg.copy()))), op.dtype
            )
        if places == 0:
            return self._narrow(self._half_away(arg), op.dtype)
        factor = self._double(sge.convert(float(10**places)))
        return self.binop(sge.Div, self._half_away(self.binop(sge.Mul, arg, factor)), factor.copy())

    def _half_away(self, value: Any) -> Any:
        cut = self.f.anon.trunc(value)
        rest = self.binop(sge.Sub, value.copy(), cut.copy())
        half, one = self._double(sge.convert(0.5)), self._double(sge.convert(1.0))
        return self._case(
            (sge.GTE(this=sge.paren(rest), expression=half), self.binop(sge.Add, cut.copy(), one)),
            (
                sge.LTE(this=sge.paren(rest.copy()), expression=sge.Neg(this=half.copy())),
                self.binop(sge.Sub, cut.copy(), one.copy()),
            ),
            otherwise=cut.copy(),
        )

    def visit_BitwiseAnd(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._bits("bitAnd", left, right)

    def visit_BitwiseOr(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._bits("bitOr", left, right)

    def visit_BitwiseXor(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._bits("bitXor", left, right)

    def _bits(self, name: str, left: Any, right: Any) -> Any:
        return self.f.anon[name](self.f.anon.toInt64(left), self.f.anon.toInt64(right))

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        given = op.arg.dtype
        if given.is_null():
            return self.cast(arg, to)
        if to.is_integer():
            if given.is_floating():
                arg = self.f.anon.roundBankers(arg)
            elif given.is_decimal():
                places = given.scale or 0
                if places:
                    half = self.f.anon.toDecimal128(sge.convert("0.5"), sge.convert(places))
                    up = self.f.anon.floor(self.binop(sge.Add, self.f.abs(arg), half))
                    arg = self.binop(sge.Mul, up, self.f.anon.toInt8(self.f.anon.sign(arg.copy())))
            return self._narrow(arg, to)
        if to.is_string():
            return self.f.toString(arg)
        if to.is_floating():
            return self.f.anon.toFloat32(arg) if to.nbytes == 4 else self._double(arg)
        if to.is_boolean() or (given.is_boolean() and to.is_boolean()):
            return arg
        if to.is_date():
            return self.f.anon.toDate32(arg)
        if to.is_timestamp():
            return self.f.anon.toDateTime64(arg, sge.convert(6), sge.convert("UTC"))
        return self.cast(arg, to)

    # --- comparisons and order -------------------------------------------------------------------------------------------

    def _compared(self, op: Any, left: Any, right: Any) -> tuple[Any, Any, bool]:
        """Both sides, and whether NaN may be among them."""
        floats = op.left.dtype.is_floating() or op.right.dtype.is_floating()
        return (self._double(left), self._double(right), True) if floats else (left, right, False)

    def visit_Equals(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return self._equal(one, other) if floats else self.binop(sge.EQ, one, other)

    def _equal(self, one: Any, other: Any) -> Any:
        both = sge.And(this=self._nan(one), expression=self._nan(other))
        return sge.paren(sge.Or(this=self.binop(sge.EQ, one, other), expression=sge.paren(both)))

    def visit_NotEquals(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return sge.Not(this=self._equal(one, other)) if floats else self.binop(sge.NEQ, one, other)

    def visit_Less(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return self._below(one, other) if floats else self.binop(sge.LT, one, other)

    def visit_Greater(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return self._below(other, one) if floats else self.binop(sge.GT, one, other)

    def _below(self, one: Any, other: Any) -> Any:
        above = sge.And(this=self._nan(other), expression=sge.Not(this=self._nan(one)))
        return sge.paren(sge.Or(this=self.binop(sge.LT, one, other), expression=sge.paren(above)))

    def visit_LessEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return sge.Not(this=self._below(other, one)) if floats else self.binop(sge.LTE, one, other)

    def visit_GreaterEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other, floats = self._compared(op, left, right)
        return sge.Not(this=self._below(one, other)) if floats else self.binop(sge.GTE, one, other)

    def visit_Between(self, op: Any, *, arg: Any, lower_bound: Any, upper_bound: Any) -> Any:
        low = ops.GreaterEqual(op.arg, op.lower_bound)
        high = ops.LessEqual(op.arg, op.upper_bound)
        return sge.paren(
            sge.And(
                this=self.visit_GreaterEqual(low, left=arg, right=lower_bound),
                expression=self.visit_LessEqual(high, left=arg.copy(), right=upper_bound),
            )
        )

    def visit_InValues(self, op: Any, *, value: Any, options: Any) -> Any:
        equal = [
            self.visit_Equals(ops.Equals(op.value, option), left=value.copy(), right=text)
            for option, text in zip(op.options, options, strict=True)
        ]
        return sge.paren(reduce(lambda one, other: sge.Or(this=one, expression=other), equal))

    def visit_IdenticalTo(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other = left.is_(sge.Null()), right.is_(sge.Null())
        equal = self.visit_Equals(op, left=left.copy(), right=right.copy())
        both = sge.And(this=one, expression=other)
        return self._case((sge.paren(both), sge.true()), otherwise=self.f.ifNull(equal, sge.false()))

    def visit_Xor(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.f.anon.xor(left, right)

    def visit_SortKey(self, op: Any, *, arg: Any, ascending: bool, nulls_first: bool) -> Any:
        if op.arg.dtype.is_floating() and ascending == nulls_first:
            # the engine has NaN beside the nulls; bits in the order of the numbers have it above them
            arg = self._ordered_bits(arg)
        elif op.arg.dtype.is_floating():
            arg = self.binop(sge.Add, arg, self._double(sge.convert(0.0)))
        return super().visit_SortKey(op, arg=arg, ascending=ascending, nulls_first=nulls_first)

    def _ordered_bits(self, arg: Any) -> Any:
        one_zero = self.binop(sge.Add, self._double(arg), self._double(sge.convert(0.0)))
        bits = self.f.anon.reinterpretAsInt64(one_zero)
        turned = self.f.anon.bitXor(bits.copy(), sge.convert(2**63 - 1))
        return self._case(
            (arg.copy().is_(sge.Null()), sge.Null()),
            (self._nan(arg), sge.convert(2**63 - 1)),
            (sge.LT(this=arg.copy(), expression=sge.convert(0)), turned),
            otherwise=bits,
        )

    def visit_WindowFunction(self, op: Any, *, func: Any, group_by: Any, **window: Any) -> Any:
        if isinstance(func, sge.Cast):
            # the cast stands around the window, not inside
            inner = super().visit_WindowFunction(op, func=func.this, group_by=group_by, **window)
            return sge.Cast(this=inner, to=func.args["to"])
        return super().visit_WindowFunction(op, func=func, group_by=group_by, **window)

    # --- reductions ------------------------------------------------------------------------------------------------------

    def _fold(self, name: str, *values: Any, where: Any) -> Any:
        chosen = [self._where(value, where) for value in values]
        return self.f.anon[name](*chosen)

    def _where(self, value: Any, where: Any) -> Any:
        return value if where is None else self.if_(where.copy(), value, sge.Null())

    def visit_Sum(self, op: Any, *, arg: Any, where: Any) -> Any:
        whole = op.arg.dtype.is_integer() or op.arg.dtype.is_boolean()
        return self._fold("sum", self._wide(arg) if whole else arg, where=where)

    def visit_Mean(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("avg", self._double(arg), where=where)

    def visit_Count(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self.cast(self._fold("count", arg, where=where), dt.int64)

    def visit_CountStar(self, op: Any, *, arg: Any, where: Any) -> Any:
        found = self.f.anon.count() if where is None else self._fold("count", sge.convert(1), where=where)
        return self.cast(found, dt.int64)

    def visit_CountDistinct(self, op: Any, *, arg: Any, where: Any) -> Any:
        found = self.f.ifNull(self._fold("uniqExact", arg, where=where), sge.convert(0))
        return self.cast(found, dt.int64)

    def visit_Any(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("max", arg, where=where)

    def visit_All(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("min", arg, where=where)

    def visit_Min(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("min", arg, where=where)
        known = self._case((self._nan(arg), sge.Null()), otherwise=arg.copy())
        least = self._fold("min", known, where=where)
        only = sge.And(
            this=least.is_(sge.Null()),
            expression=sge.GT(this=self._fold("count", arg.copy(), where=where), expression=sge.convert(0)),
        )
        return self._case((only, self._double(sge.convert("nan"))), otherwise=least.copy())

    def visit_Max(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("max", arg, where=where)
        some = self._fold("max", self._nan(arg), where=where).eq(sge.convert(1))
        return self._case(
            (some, self._double(sge.convert("nan"))), otherwise=self._fold("max", arg.copy(), where=where)
        )

    def _moments(self, name: str, how: str, *args: Any, where: Any) -> Any:
        values = [self._where(self._double(arg), where) for arg in args]
        known = reduce(lambda one, other: sge.And(this=one, expression=other), [
            value.copy().is_(sge.Not(this=sge.Null())) for value in values
        ])  # fmt: skip
        found = self.f.anon[f"{name}{'Pop' if how == 'pop' else 'Samp'}Stable"](*values)
        if how == "pop":
            return found
        count = self.f.anon.countIf(known)
        return self._case((sge.GT(this=count, expression=sge.convert(1)), found), otherwise=sge.Null())

    def visit_Variance(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return self._moments("var", how, arg, where=where)

    def visit_StandardDev(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return self._moments("stddev", how, arg, where=where)

    def visit_Covariance(self, op: Any, *, left: Any, right: Any, how: str, where: Any) -> Any:
        return self._moments("covar", how, left, right, where=where)

    def visit_Median(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self.visit_Quantile(op, arg=arg, quantile=sge.convert(0.5), where=where)

    def visit_Quantile(self, op: Any, *, arg: Any, quantile: Any, where: Any) -> Any:
        level = float(getattr(getattr(op, "quantile", None), "value", 0.5))
        value = self._where(self._double(arg), where)
        return sge.ParameterizedAgg(
            this="quantileExactInclusive", expressions=[sge.convert(level)], params=[value]
        )

    def visit_BitAnd(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("groupBitAnd", self.f.anon.toInt64(arg), where=where)

    def visit_BitOr(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("groupBitOr", self.f.anon.toInt64(arg), where=where)

    def visit_BitXor(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("groupBitXor", self.f.anon.toInt64(arg), where=where)

    # --- text ------------------------------------------------------------------------------------------------------------

    def _trim(self, arg: Any, position: str) -> Any:
        return sge.Trim(this=arg, expression=sge.convert(_SPACES), position=position)

    def visit_Strip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "BOTH")

    def visit_LStrip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "LEADING")

    def visit_RStrip(self, op: Any, *, arg: Any) -> Any:
        return self._trim(arg, "TRAILING")

    def visit_StringLength(self, op: Any, *, arg: Any) -> Any:
        return self.cast(self.f.anon.lengthUTF8(arg), op.dtype)

    def visit_Substring(self, op: Any, *, arg: Any, start: Any, length: Any) -> Any:
        first = self.binop(sge.Add, start, sge.convert(1))
        return self.f.anon.substringUTF8(arg, first, *([] if length is None else [length]))

    def visit_StrRight(self, op: Any, *, arg: Any, nchars: Any) -> Any:
        return self.f.anon.rightUTF8(arg, nchars)

    def visit_StringContains(self, op: Any, *, haystack: Any, needle: Any) -> Any:
        return sge.GT(this=self.f.anon.position(haystack, needle), expression=sge.convert(0))

    def visit_StringFind(self, op: Any, *, arg: Any, substr: Any, start: Any, end: Any) -> Any:
        return self.f.anon.positionUTF8(arg, substr)  # from 1: Ibis counts back

    def visit_StringReplace(self, op: Any, *, arg: Any, pattern: Any, replacement: Any) -> Any:
        return self.f.anon.replaceAll(arg, pattern, replacement)

    def visit_LPad(self, op: Any, *, arg: Any, length: Any, pad: Any) -> Any:
        return self._padded("leftPadUTF8", arg, length, pad)

    def visit_RPad(self, op: Any, *, arg: Any, length: Any, pad: Any) -> Any:
        return self._padded("rightPadUTF8", arg, length, pad)

    def _padded(self, name: str, arg: Any, length: Any, pad: Any) -> Any:
        # the engine cuts longer text
        longer = sge.GTE(this=self.f.anon.lengthUTF8(arg.copy()), expression=length.copy())
        return self._case((longer, arg.copy()), otherwise=self.f.anon[name](arg, length, pad))

    def visit_Repeat(self, op: Any, *, arg: Any, times: Any) -> Any:
        return self.f.anon.repeat(arg, times)

    # --- moments ---------------------------------------------------------------------------------------------------------

    def _micros(self, arg: Any) -> Any:
        return self.f.anon.toUnixTimestamp64Micro(self._stamp(arg))

    def _stamp(self, arg: Any) -> Any:
        return self.f.anon.toDateTime64(arg, sge.convert(6), sge.convert("UTC"))

    def _from_micros(self, arg: Any) -> Any:
        return self.f.anon.fromUnixTimestamp64Micro(arg, sge.convert("UTC"))

    def visit_Date(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.toDate32(arg)

    def visit_ExtractMillisecond(self, op: Any, *, arg: Any) -> Any:
        rest = self.f.anon.positiveModulo(self._micros(arg), sge.convert(1_000_000))
        return self.f.anon.intDiv(rest, sge.convert(1000))

    def visit_ExtractEpochSeconds(self, op: Any, *, arg: Any) -> Any:
        micros = self._micros(arg)
        rest = self.f.anon.positiveModulo(micros, sge.convert(1_000_000))
        whole = sge.paren(self.binop(sge.Sub, micros.copy(), rest))
        return self.f.anon.intDiv(whole, sge.convert(1_000_000))

    def visit_DayOfWeekIndex(self, op: Any, *, arg: Any) -> Any:
        return self.binop(sge.Sub, self.f.anon.toInt16(self.f.anon.toDayOfWeek(arg)), sge.convert(1))

    def visit_DayOfWeekName(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.dateName(sge.convert("weekday"), self._stamp(arg))

    def visit_DateTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        return self.f.anon[_STARTS[unit.short]](arg)

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        if unit.short in _MICROS:
            size = sge.convert(_MICROS[unit.short])
            micros = self._micros(arg)
            rest = self.f.anon.positiveModulo(micros, size)
            return self._from_micros(self.binop(sge.Sub, micros.copy(), rest))
        return self._stamp(self.f.anon[_STARTS[unit.short]](self.f.anon.toDate32(arg)))

    def visit_DateDelta(self, op: Any, *, part: Any, left: Any, right: Any) -> Any:
        days = self.binop(sge.Sub, self.f.anon.toInt32(left), self.f.anon.toInt32(right))
        return self.cast(days, dt.int64)
