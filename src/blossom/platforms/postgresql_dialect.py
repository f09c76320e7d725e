"""Ibis's PostgreSQL compiler, corrected where the server's answers would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.postgres import PostgresCompiler


def _binary(text: Any) -> Any:
    """Text that compares by its bytes, whatever the database's collation."""
    return sge.Collate(this=sge.paren(text), expression=sg.to_identifier("C", quoted=True))


def _is_nonzero(op: ops.Value) -> bool:
    return isinstance(op, ops.Literal) and bool(op.value)


class Compiler(PostgresCompiler):
    """What differs, and how it is corrected:

    - text is ordered by the database's language: order, extremes and inequalities get the collation "C";
    - dividing by zero, roots and logarithms outside their domain raise: a CASE gives what IEEE 754 says;
    - `round` of doubles goes to even, and the detour over decimal rounds another value: it is said with `trunc`;
    - averages of integers and decimals are decimals: they become doubles;
    - dates truncated or shifted become timestamps (with time zone): they are cast back.
    """

    __slots__ = ()

    # --- order of text ---------------------------------------------------------------------------------------------------

    def _ordered(self, op: ops.Value, *values: Any) -> tuple[Any, ...]:
        return tuple(map(_binary, values)) if op.dtype.is_string() else values

    def _inequality(self, node: Any, op: Any, left: Any, right: Any) -> Any:
        if op.left.dtype.is_string() and op.right.dtype.is_string():
            left, right = _binary(left), _binary(right)
        return self.binop(node, left, right)

    def visit_Less(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.LT, op, left, right)

    def visit_LessEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.LTE, op, left, right)

    def visit_Greater(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.GT, op, left, right)

    def visit_GreaterEqual(self, op: Any, *, left: Any, right: Any) -> Any:
        return self._inequality(sge.GTE, op, left, right)

    def visit_Between(self, op: Any, *, arg: Any, lower_bound: Any, upper_bound: Any) -> Any:
        (arg,) = self._ordered(op.arg, arg)
        return sge.Between(this=arg, low=lower_bound, high=upper_bound)

    def visit_SortKey(self, op: Any, *, arg: Any, ascending: bool, nulls_first: bool) -> Any:
        (arg,) = self._ordered(op.arg, arg)
        return super().visit_SortKey(op, arg=arg, ascending=ascending, nulls_first=nulls_first)

    def visit_Min(self, op: Any, *, arg: Any, where: Any) -> Any:
        (arg,) = self._ordered(op.arg, arg)
        return super().visit_Min(op, arg=arg, where=where)

    def visit_Max(self, op: Any, *, arg: Any, where: Any) -> Any:
        (arg,) = self._ordered(op.arg, arg)
        return super().visit_Max(op, arg=arg, where=where)

    def visit_Greatest(self, op: Any, *, arg: Any) -> Any:
        return self.f.greatest(*self._ordered(op, *arg))

    def visit_Least(self, op: Any, *, arg: Any) -> Any:
        return self.f.least(*self._ordered(op, *arg))

    # --- numbers ---------------------------------------------------------------------------------------------------------

    def _double(self, value: Any) -> Any:
        return self.cast(value, dt.float64)

    def _case(self, *branches: tuple[Any, Any], otherwise: Any) -> Any:
        return sge.Case(ifs=[self.if_(test, value) for test, value in branches], default=otherwise)

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        if op.arg.dtype.is_boolean() and to.is_integer():
            arg = self.cast(arg, dt.int32)
        return super().visit_Cast(op, arg=arg, to=to)

    def visit_Divide(self, op: Any, *, left: Any, right: Any) -> Any:
        one, other = self._double(left), self._double(right)
        quotient = self.binop(sge.Div, one, other)
        if _is_nonzero(op.right):
            return quotient
        zero = sge.convert(0)
        inf, neg = self.POS_INF, self.NEG_INF
        if op.right.dtype.is_floating():
            # 1 / -0.0 is minus infinity
            minus = self.cast(other, dt.string).eq(sge.convert("-0"))
            inf, neg = self.if_(minus, neg, inf), self.if_(minus, inf, neg)
        return self._case(
            (other.is_(sge.Null()), sge.Null()),
            (other.neq(zero), quotient),
            (one.eq(zero).or_(one.eq(self.NAN)), self.NAN),
            (one.copy() > zero, inf),
            (sge.LT(this=one.copy(), expression=zero), neg),
            otherwise=sge.Null(),
        )

    def visit_Power(self, op: Any, *, left: Any, right: Any) -> Any:
        base, exponent = self._double(left), self._double(right)
        zero = sge.convert(0)
        return self._case(
            (base.eq(zero).and_(sge.LT(this=exponent, expression=zero)), self.POS_INF),
            (sge.LT(this=base, expression=zero).and_(exponent.neq(self.f.floor(exponent))), self.NAN),
            otherwise=self.f.pow(base, exponent),
        )

    def visit_Sqrt(self, op: Any, *, arg: Any) -> Any:
        value = self._double(arg)
        return self._case(
            (sge.LT(this=value, expression=sge.convert(0)), self.NAN), otherwise=self.f.sqrt(value)
        )

    def visit_Ln(self, op: Any, *, arg: Any) -> Any:
        return self._logarithm("ln", arg)

    def visit_Log10(self, op: Any, *, arg: Any) -> Any:
        return self._logarithm("log", arg)

    def _logarithm(self, name: str, arg: Any) -> Any:
        value, zero = self._double(arg), sge.convert(0)
        return self._case(
            (value.eq(zero), self.NEG_INF),
            (sge.LT(this=value, expression=zero), self.NAN),
            otherwise=self.f.anon[name](value),
        )

    def visit_Sign(self, op: Any, *, arg: Any) -> Any:
        if not op.arg.dtype.is_floating():
            return self.cast(self.f.sign(arg), op.dtype)
        nothing = sge.convert(0)
        return self.cast(self._case((arg.eq(self.NAN), nothing), otherwise=self.f.sign(arg)), op.dtype)

    def visit_Ceil(self, op: Any, *, arg: Any) -> Any:
        # over doubles an integer of more than 53 bits would change
        return arg if op.arg.dtype.is_integer() else super().visit_Ceil(op, arg=arg)

    def visit_Floor(self, op: Any, *, arg: Any) -> Any:
        return arg if op.arg.dtype.is_integer() else self.cast(self.f.floor(arg), op.dtype)

    def visit_Round(self, op: Any, *, arg: Any, digits: Any) -> Any:
        if op.arg.dtype.is_integer():
            return self.cast(arg, op.dtype)
        if op.arg.dtype.is_decimal():
            places = 0 if op.digits is None else op.digits.value
            return self.cast(self.f.round(arg, sge.convert(places)), op.dtype)
        if digits is None or op.digits.value == 0:
            return self.cast(self._half_away(arg), op.dtype)
        factor = self._double(sge.convert(float(10**op.digits.value)))
        # the grammar of what DuckDB computes: scale, round half away from zero, scale back
        return self.binop(sge.Div, self._half_away(self.binop(sge.Mul, arg, factor)), factor.copy())

    def _half_away(self, value: Any) -> Any:
        whole = self.f.trunc(value)
        rest = self.f.abs(self.binop(sge.Sub, value, whole))
        away = self.binop(sge.Add, whole, self.f.sign(value))
        return self._case(
            (sge.GTE(this=rest, expression=self._double(sge.convert(0.5))), away), otherwise=whole
        )

    def visit_Mean(self, op: Any, *, arg: Any, where: Any) -> Any:
        return self._double(super().visit_Mean(op, arg=arg, where=where))

    def visit_Variance(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_Variance(op, how=how, where=where, arg=self._double(arg))

    def visit_StandardDev(self, op: Any, *, arg: Any, how: str, where: Any) -> Any:
        return super().visit_StandardDev(op, how=how, where=where, arg=self._double(arg))

    def visit_WindowFunction(self, op: Any, *, func: Any, **window: Any) -> Any:
        if not isinstance(func, sge.Cast):
            return super().visit_WindowFunction(op, func=func, **window)
        # the cast of an average stands around the window, not inside
        return sge.Cast(this=super().visit_WindowFunction(op, func=func.this, **window), to=func.args["to"])

    # --- moments -----------------------------------------------------------------------------------------------------------

    def visit_DateTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:
        stamp = self.cast(arg, dt.timestamp)
        return self.cast(super().visit_DateTruncate(op, arg=stamp, unit=unit), dt.date)

    def visit_DateAdd(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.cast(self.binop(sge.Add, left, right), dt.date)

    def visit_DateSub(self, op: Any, *, left: Any, right: Any) -> Any:
        return self.cast(self.binop(sge.Sub, left, right), dt.date)
