"""Ibis's DataFusion compiler, corrected where the engine's answers would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.datafusion import DataFusionCompiler

_SPACES = " \t\n\r\v\f"
_WIDE = dt.Decimal(38, 0)
_MICROS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}


class Compiler(DataFusionCompiler):
    """What differs, and how it is corrected:

    - sums and products of integers wrap: they are computed in 38 digits, and narrowed with an error;
    - -0.0 sorts before 0.0, and the statistics of Parquet files, which know no NaN, answer extremes and skip rows: adding
      0.0 makes one zero of the two and keeps statistics out;
    - floats are cut to integers: they are rounded half to even before;
    - the extremes of groups pass NaN over, roots of negative numbers raise, decimals divide to decimals;
    - truncation goes by nanoseconds, which end in the year 2262: it is computed from the parts of dates and in microseconds;
    - some functions of Ibis's own backend are not there: the engine's stand for them.
    """

    __slots__ = ()

    # a class sets up the methods of these itself, over what it defines: the parent's are enough
    SIMPLE_OPS = {}  # noqa: RUF012
    UNSUPPORTED_OPS = ()

    def _double(self, value: Any) -> Any:
        return self.cast(value, dt.float64)

    def _case(self, *branches: tuple[Any, Any], otherwise: Any) -> Any:
        return sge.Case(ifs=[self.if_(test, value) for test, value in branches], default=otherwise)

    def _one_zero(self, op: ops.Value, value: Any) -> Any:
        if not op.dtype.is_floating():
            return value
        return sge.paren(self.binop(sge.Add, value, self._double(sge.convert(0.0))))

    # --- numbers ---------------------------------------------------------------------------------------------------------

    def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:
        if dtype.is_date():
            return self.cast(sge.convert(value.isoformat()), dt.date)
        if dtype.is_floating() and isinstance(value, int | float) and abs(value) < float("inf"):
            return self._double(sge.convert(float(value)))
        if dtype.is_floating() and value == float("-inf"):
            return self.NEG_INF  # Ibis writes the positive one
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def _integers(self, node: Any, op: Any, left: Any, right: Any) -> Any:
        if not (op.left.dtype.is_integer() and op.right.dtype.is_integer()):
            return self.binop(node, left, right)
        sizes = [op.left.dtype.nbytes, op.right.dtype.nbytes]
        wide = dt.int64 if max(sizes) <= 4 else _WIDE
        found = self.binop(node, self._wide(left, wide), self._wide(right, wide))
        # a sum has more than 64 bits, on DuckDB too
        return (
            found
            if isinstance(op.left, ops.Sum) or isinstance(op.right, ops.Sum)
            else self.cast(found, dt.int64)
        )

    def _wide(self, value: Any, dtype: Any) -> Any:
        if dtype.is_decimal():
            return self.f.arrow_cast(value, "Decimal128(38, 0)")
        return self.cast(value, dtype)

    def visit_Add(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Add, op, left, right)

    def visit_Subtract(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Sub, op, left, right)

    def visit_Multiply(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._integers(sge.Mul, op, left, right)

    def visit_Negate(self, op: Any, *, arg: Any) -> Any:
        if not op.arg.dtype.is_integer():
            return sge.Neg(this=sge.paren(arg))
        return self.cast(
            self.binop(sge.Sub, self._wide(sge.convert(0), _WIDE), self._wide(arg, _WIDE)), dt.int64
        )

    def visit_Divide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.binop(sge.Div, self._double(left), self._double(right))

    def visit_FloorDivide(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.cast(self.f.floor(self.binop(sge.Div, self._double(left), self._double(right))), op.dtype)

    def visit_Power(self, op: Any, *, left: Any, right: Any) -> Any:
        base, exponent = self._double(left), self._double(right)
        zero = self._double(sge.convert(0))
        pole = base.eq(zero).and_(sge.LT(this=exponent, expression=zero))
        # the engine raises at the pole, even for rows that a CASE leaves out
        safe = self._case((pole.copy(), self._double(sge.convert(1))), otherwise=base.copy())
        return self._case((pole, self.POS_INF), otherwise=self.f.pow(safe, exponent.copy()))

    def visit_Sqrt(self, op: Any, *, arg: Any) -> Any:
        value, zero = self._double(arg), self._double(sge.convert(0))
        # the engine raises for negative numbers, even in rows that a CASE leaves out
        below = sge.LT(this=value, expression=zero)
        safe = self._case((below, zero.copy()), otherwise=value.copy())
        return self._case((below.copy(), self.NAN), otherwise=self.f.sqrt(safe))

    def visit_Ln(self, op: Any, *, arg: Any) -> Any:
        return self.f.ln(self._double(arg))

    def visit_Log2(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.log2(self._double(arg))

    def visit_Log10(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.log10(self._double(arg))

    def visit_Sign(self, op: Any, *, arg: Any) -> Any:
        zero = sge.convert(0)
        signs = self._case(
            (arg.is_(sge.Null()), sge.Null()),
            (self.f.isnan(self._double(arg)), zero),
            (sge.GT(this=arg, expression=zero), sge.convert(1)),
            (sge.LT(this=arg, expression=zero), sge.convert(-1)),
            otherwise=zero,
        )
        return self.cast(signs, op.dtype)

    def visit_Ceil(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self.cast(self.f.ceil(arg), op.dtype)

    def visit_Floor(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self.cast(self.f.floor(arg), op.dtype)

    def visit_Round(self, op: Any, *, arg: Any, digits: Any) -> Any:
        if op.arg.dtype.is_integer():
            return self.cast(arg, op.dtype)
        return self.cast(self.f.round(arg, digits if digits is not None else sge.convert(0)), op.dtype)

    def visit_BitwiseXor(self, op: Any, *, left: Any, right: Any) -> Any:
        # the engine's own sign for it depends on its dialect
        either, both = (
            sge.BitwiseOr(this=left, expression=right),
            sge.BitwiseAnd(this=left.copy(), expression=right.copy()),
        )
        return sge.paren(sge.Sub(this=sge.paren(either), expression=sge.paren(both)))

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        if op.arg.dtype.is_floating() and to.is_integer():
            half = self._double(sge.convert(0.5))
            two = self._double(sge.convert(2))
            rest = self.f.abs(self.binop(sge.Sub, arg, self.f.trunc(arg)))
            even = self.binop(sge.Mul, self.f.round(self.binop(sge.Div, arg.copy(), two)), two.copy())
            arg = self._case((rest.eq(half), even), otherwise=self.f.round(arg.copy()))
        elif op.arg.dtype.is_decimal() and to.is_integer():
            arg = self.f.round(arg)
        return super().visit_Cast(op, arg=arg, to=to)

    # --- comparisons and order -------------------------------------------------------------------------------------------

    def _inequality(self, node: Any, op: Any, left: Any, right: Any) -> Any:
        return self.binop(node, self._one_zero(op.left, left), self._one_zero(op.right, right))

    def visit_Less(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.LT, op, left, right)

    def visit_LessEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.LTE, op, left, right)

    def visit_Greater(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.GT, op, left, right)

    def visit_GreaterEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.GTE, op, left, right)

    def visit_Equals(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.EQ, op, left, right)

    def visit_NotEquals(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.NEQ, op, left, right)

    def visit_Between(self, op: Any, *, arg: Any, lower_bound: Any, upper_bound: Any) -> Any:
        return sge.Between(this=self._one_zero(op.arg, arg), low=lower_bound, high=upper_bound)

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
            arg = self.f.arrow_cast(arg, "Decimal128(20, 0)")
        return self._fold("sum", arg, where=where)

    def visit_Mean(self, op: Any, *, arg: Any, where: Any) -> Any:
        if op.arg.dtype.is_boolean():
            arg = self.cast(arg, dt.int64)
        return self._fold("avg", self._double(arg), where=where)

    def visit_Min(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("min", arg, where=where)
        known = self._case((self.f.isnan(arg), sge.Null()), otherwise=self._one_zero(op.arg, arg))
        only = self._fold("bool_and", self.f.isnan(arg.copy()), where=where)
        return self._case((only, self.NAN), otherwise=self._fold("min", known, where=where))

    def visit_Max(self, op: Any, *, arg: Any, where: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self._fold("max", arg, where=where)
        some = self._fold("bool_or", self.f.isnan(arg), where=where)
        greatest = self._fold("max", self._one_zero(op.arg, arg.copy()), where=where)
        return self._case((some, self.NAN), otherwise=greatest)

    def visit_Median(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._fold("median", self._double(arg), where=where)

    def visit_Variance(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_Variance(op, arg=self._double(arg), how=how, where=where)

    def visit_StandardDev(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_StandardDev(op, arg=self._double(arg), how=how, where=where)

    # --- text ------------------------------------------------------------------------------------------------------------

    def visit_Strip(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.btrim(arg, sge.convert(_SPACES))

    def visit_LStrip(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.ltrim(arg, sge.convert(_SPACES))

    def visit_RStrip(self, op: Any, *, arg: Any) -> Any:
        return self.f.anon.rtrim(arg, sge.convert(_SPACES))

    # --- moments ---------------------------------------------------------------------------------------------------------

    def _part(self, name: str, arg: Any) -> Any:
        return self.f.date_part(name, arg)

    def _micros(self, arg: Any) -> Any:
        return self.f.arrow_cast(self._stamp(arg), "Int64")

    def _stamp(self, arg: Any) -> Any:
        return self.f.arrow_cast(arg, "Timestamp(Microsecond, None)")

    def visit_ExtractMinute(self, op: Any, *, arg: Any) -> Any:
        return self._part("minute", arg)

    def visit_ExtractSecond(self, op: Any, *, arg: Any) -> Any:
        return self._part("second", arg)

    def visit_ExtractMillisecond(self, op: Any, *, arg: Any) -> Any:
        return self.binop(sge.Mod, self._part("millisecond", arg), sge.convert(1000))

    def visit_ExtractEpochSeconds(self, op: Any, *, arg: Any) -> Any:
        return self.binop(sge.Div, self._floored(self._micros(arg), 1_000_000), sge.convert(1_000_000))

    def _floored(self, value: Any, unit: int) -> Any:
        """The greatest multiple of a unit that is not above."""
        size = sge.convert(unit)
        rest = self.binop(
            sge.Mod,
            sge.paren(self.binop(sge.Add, self.binop(sge.Mod, value, size), size.copy())),
            size.copy(),
        )
        return sge.paren(self.binop(sge.Sub, value.copy(), rest))

    def visit_Date(self, op: Any, *, arg: Any) -> Any:
        return self.cast(arg, dt.date)

    def visit_DateTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        return self._first_day(arg, unit.short)

    def _first_day(self, day: Any, unit: str) -> Any:
        one = sge.convert(1)
        year = self._part("year", day)
        match unit:
            case "Y":
                return self.f.anon.make_date(year, one, one.copy())
            case "Q":
                quarter = sge.paren(self.binop(sge.Sub, self._part("quarter", day.copy()), one))
                return self.f.anon.make_date(
                    year,
                    self.binop(sge.Add, self.binop(sge.Mul, quarter, sge.convert(3)), one.copy()),
                    one.copy(),
                )
            case "M":
                return self.f.anon.make_date(year, self._part("month", day.copy()), one)
            case "W":
                weekday = sge.paren(
                    self.binop(
                        sge.Mod,
                        sge.paren(self.binop(sge.Add, self._part("dow", day), sge.convert(6))),
                        sge.convert(7),
                    )
                )
                number = self.binop(sge.Sub, self.f.arrow_cast(day.copy(), "Int32"), weekday)
                return self.f.arrow_cast(self.f.arrow_cast(number, "Int32"), "Date32")
            case _:
                return day

    def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        if unit.short in _MICROS:
            return self._stamp(self._floored(self._micros(arg), _MICROS[unit.short]))
        return self._stamp(self._first_day(self.cast(arg, dt.date), unit.short))

    def visit_DateDelta(self, op: Any, *, part: Any, left: Any, right: Any) -> Any:
        return self.binop(sge.Sub, self._days(left), self._days(right))

    def _days(self, day: Any) -> Any:
        return self.f.arrow_cast(self.f.arrow_cast(day, "Int32"), "Int64")
