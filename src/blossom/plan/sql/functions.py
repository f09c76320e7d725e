"""Scalar functions: a table from sqlglot's nodes, and DuckDB's names, to Ibis's value operations."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as x

from blossom.plan.errors import PlanError
from blossom.plan.sql import types
from blossom.plan.sql.reading import arguments, refused
from blossom.plan.sql.types import cast, double, literal, text_of

Value = ops.Value


@dataclass(frozen=True, slots=True)
class Function:
    """How one function is built.

    Attributes:
        build: Takes the translated arguments in the order of `args`; an optional one that is absent is None.
        args: The arguments of sqlglot's node that are read.
        raw: Arguments handed over untranslated (units, constants).
        flags: Arguments that sqlglot sets by itself, with the one value we know.
    """

    build: Callable[..., Value]
    args: tuple[str, ...] = ("this",)
    raw: frozenset[str] = frozenset()
    flags: Mapping[str, Any] = field(default_factory=dict)


def function(node: x.Expr, value: Callable[[x.Expr], Value]) -> Value | None:
    """The function call as an Ibis value; None when the node is no function of the table."""
    if isinstance(node, x.Anonymous):
        return _named(node, value)
    rule = FUNCTIONS.get(type(node))
    if rule is None:
        return None
    given = arguments(node, *rule.args, flags=rule.flags)

    def one(name: str, arg: Any) -> Any:
        if arg is None or name in rule.raw:
            return arg
        return [value(item) for item in arg] if isinstance(arg, list) else value(arg)

    return rule.build(*(one(name, arg) for name, arg in zip(rule.args, given, strict=True)))


def _named(node: x.Anonymous, value: Callable[[x.Expr], Value]) -> Value:
    args = node.expressions
    name = node.name.lower()
    if name in ("date_part", "datepart") and len(args) == 2 and isinstance(args[0], x.Literal):
        return field_of(args[0].name, value(args[1]))
    rule = NAMED.get((name, len(args)))
    if rule is None:
        raise refused(node, f"the function {name} with {len(args)} arguments")
    return rule(*map(value, args))


def field_of(part: str, moment: Value) -> Value:
    """EXTRACT(part FROM moment), as DuckDB counts (Sunday is day 0)."""
    build = FIELDS.get(part.lower())
    if build is None:
        known = ", ".join(sorted(FIELDS))
        raise PlanError(f"the date part {part!r} is not supported", where="SQL", hint=f"known: {known}")
    return build(moment)


def _clock(build: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """A field of the clock; DuckDB reads a date as its midnight."""
    return lambda moment: build(cast(moment, "timestamp") if moment.dtype.is_date() else moment)


def _weekday(moment: Value) -> Value:
    return ops.Modulus(ops.Add(cast(ops.DayOfWeekIndex(moment), "int32"), _int(1)), _int(7))


def _epoch(moment: Value) -> Value:
    if not moment.dtype.is_date():
        raise PlanError(
            "the epoch of a timestamp, a fraction, is not supported",
            where="SQL",
            hint="use date_diff('second', TIMESTAMP '1970-01-01', x) for whole seconds",
        )
    return cast(ops.ExtractEpochSeconds(moment), "float64")


def _int(number: int) -> Value:
    return literal(number, "int32")


FIELDS: Mapping[str, Callable[[Value], Value]] = {
    "year": ops.ExtractYear,
    "isoyear": ops.ExtractIsoYear,
    "quarter": ops.ExtractQuarter,
    "month": ops.ExtractMonth,
    "week": ops.ExtractWeekOfYear,
    "weekofyear": ops.ExtractWeekOfYear,
    "day": ops.ExtractDay,
    "dayofmonth": ops.ExtractDay,
    "doy": ops.ExtractDayOfYear,
    "dayofyear": ops.ExtractDayOfYear,
    "dow": _weekday,
    "dayofweek": _weekday,
    "weekday": _weekday,
    "isodow": lambda moment: ops.Add(cast(ops.DayOfWeekIndex(moment), "int32"), _int(1)),
    "hour": _clock(ops.ExtractHour),
    "minute": _clock(ops.ExtractMinute),
    "second": _clock(ops.ExtractSecond),
    "epoch": _epoch,
}
"""Parts of a date or timestamp."""


def _truncate(moment: Value, unit: Any) -> Value:
    moment = cast(moment, "timestamp") if moment.dtype.is_date() else moment
    return ops.TimestampTruncate(moment, types.unit(unit))


def _difference(end: Value, start: Value, unit: Any) -> Value:
    """Boundaries of `unit` crossed from start to end."""
    part = unit.name.lower()
    types.unit(unit)
    return delta(end, start, part)


def delta(end: Value, start: Value, part: str) -> Value:
    """Boundaries of `part` between two moments."""
    end, start = types.alike(end, start)
    if end.dtype.is_date() and start.dtype.is_date():
        return ops.DateDelta(literal(part, "string"), end, start)
    if end.dtype.is_time() and start.dtype.is_time():
        return ops.TimeDelta(literal(part, "string"), end, start)
    return ops.TimestampDelta(literal(part, "string"), cast(end, "timestamp"), cast(start, "timestamp"))


def _rounded(build: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """FLOOR and CEIL keep a DOUBLE a double; Ibis makes integers, which NaN and large numbers do not fit."""

    def apply(arg: Value) -> Value:
        if arg.dtype.is_integer():
            return cast(arg, "float64")
        if arg.dtype.is_decimal():
            return build(arg)
        arg = double(arg)
        exact = ops.Or(ops.IsNan(arg), ops.GreaterEqual(ops.Abs(arg), literal(2.0**53, "float64")))
        return ops.IfElse(exact, arg, ops.Cast(build(arg), to=dt.float64))

    return apply


def _round(arg: Value, digits: Value | None) -> Value:
    if digits is None:
        if arg.dtype.is_integer():
            return arg
        if arg.dtype.is_decimal():
            return ops.Round(arg, literal(0, "int32"))
        digits = literal(0, "int32")
    if arg.dtype.is_floating() and isinstance(digits, ops.Literal) and digits.value == 0:
        # Ibis would cast to an integer, which NaN does not fit, were the zero a bare constant
        digits = ops.Cast(digits, to=dt.int32)
    return ops.Round(arg, digits)


def _log(base: Value, arg: Value | None) -> Value:
    """LOG(x) is to base 10, LOG(b, x) to base b."""
    if arg is None:
        return ops.Log10(double(base))
    if isinstance(base, ops.Literal) and base.value in (2, 10):
        return (ops.Log2 if base.value == 2 else ops.Log10)(double(arg))
    return ops.Log(double(arg), double(base))


def _substring(arg: Value, start: Value, length: Value | None) -> Value:
    if not isinstance(start, ops.Literal) or not isinstance(start.value, int) or start.value < 1:
        raise PlanError(
            "SUBSTRING needs a constant start of 1 or more", where="SQL", hint="use left() or right()"
        )
    return ops.Substring(arg, _int(start.value - 1), length)


def _edge(from_left: bool) -> Callable[[Value, Value], Value]:
    def apply(arg: Value, count: Value) -> Value:
        if not isinstance(count, ops.Literal) or not isinstance(count.value, int) or count.value < 0:
            raise PlanError("LEFT and RIGHT need a constant length of 0 or more", where="SQL")
        return ops.Substring(arg, _int(0), count) if from_left else ops.StrRight(arg, count)

    return apply


def _concat(parts: list[Value]) -> Value:
    """CONCAT skips NULLs."""
    filled = (ops.Coalesce((text_of(part), literal("", "string"))) for part in parts)
    return ops.StringConcat(tuple(filled))


def _join(parts: list[Value]) -> Value:
    separator, *rest = parts
    return ops.StringJoin(tuple(map(text_of, rest)), separator)


def _strip(arg: Value, position: Any) -> Value:
    """TRIM takes blanks off; Ibis's own strips every white space, so a pattern says which."""
    pattern = {None: "^ +| +$", "BOTH": "^ +| +$", "LEADING": "^ +", "TRAILING": " +$"}[position]
    return ops.RegexReplace(arg, literal(pattern, "string"), literal("", "string"))


def _regex_replace(arg: Value, pattern: Value, replacement: Value, modifiers: Any) -> Value:
    if modifiers is None or modifiers.name != "g":
        raise PlanError(
            "REGEXP_REPLACE of the first match only is not supported",
            where="SQL",
            hint="pass 'g' to replace all",
        )
    return ops.RegexReplace(arg, pattern, replacement)


def _if(test: Value, yes: Value, no: Value | None) -> Value:
    yes, no = types.unified((yes, ops.NULL if no is None else no))
    return ops.SearchedCase((test,), (yes,), no)


def _pad(arg: Value, length: Value, fill: Value, is_left: Any) -> Value:
    """LPAD and RPAD cut what is too long; Ibis's pads leave it."""
    padded = ops.LPad(arg, length, fill) if is_left else ops.RPad(arg, length, fill)
    if not isinstance(fill, ops.Literal) or len(fill.value) != 1:
        raise PlanError("LPAD and RPAD need one constant character to fill with", where="SQL")
    return ops.Substring(padded, _int(0), length)


def _power(base: Value, exponent: Value) -> Value:
    return ops.Power(double(base), double(exponent))


def _position(arg: Value, needle: Value) -> Value:
    return ops.Add(ops.StringFind(arg, needle), _int(1))


def _math(build: Callable[..., Value]) -> Function:
    return Function(lambda *args: build(*map(double, args)))


def _part(name: str) -> Function:
    return Function(lambda moment: field_of(name, moment))


def _moved(arg: Value, by: Value) -> Value:
    return types.shift(arg, by, 1)


PAIR = ("this", "expression")
LIST = ("this", "expressions")

FUNCTIONS: Mapping[type[x.Expr], Function] = {
    x.Upper: Function(ops.Uppercase),
    x.Lower: Function(ops.Lowercase),
    x.Length: Function(ops.StringLength),
    x.Reverse: Function(ops.Reverse),
    x.Ascii: Function(ops.StringAscii),
    x.Trim: Function(_strip, ("this", "position"), frozenset({"position"})),
    x.Substring: Function(_substring, ("this", "start", "length")),
    x.Left: Function(_edge(True), PAIR),
    x.Right: Function(_edge(False), PAIR),
    x.Replace: Function(ops.StringReplace, ("this", "expression", "replacement")),
    x.Translate: Function(ops.Translate, ("this", "from_", "to")),
    x.Repeat: Function(ops.Repeat, ("this", "times")),
    x.Pad: Function(
        _pad, ("this", "expression", "fill_pattern", "is_left"), frozenset({"is_left"}), {"is_left": True}
    ),
    x.StrPosition: Function(_position, ("this", "substr")),
    x.StartsWith: Function(ops.StartsWith, PAIR),
    x.EndsWith: Function(ops.EndsWith, PAIR),
    x.Contains: Function(ops.StringContains, PAIR),
    x.Concat: Function(_concat, ("expressions",), flags={"safe": True, "coalesce": True}),
    x.ConcatWs: Function(_join, ("expressions",), flags={"safe": True, "coalesce": True}),
    x.RegexpLike: Function(ops.RegexSearch, PAIR),
    x.RegexpReplace: Function(
        _regex_replace,
        ("this", "expression", "replacement", "modifiers"),
        frozenset({"modifiers"}),
        {"single_replace": True},
    ),
    x.Levenshtein: Function(ops.Levenshtein, PAIR),
    x.Abs: Function(ops.Abs),
    x.Sign: Function(ops.Sign),
    x.Floor: Function(_rounded(ops.Floor)),
    x.Ceil: Function(_rounded(ops.Ceil)),
    x.Round: Function(_round, ("this", "decimals")),
    x.Sqrt: _math(ops.Sqrt),
    x.Exp: _math(ops.Exp),
    x.Ln: _math(ops.Ln),
    x.Log: Function(_log, PAIR),
    x.Pow: Function(_power, PAIR),
    x.Sin: _math(ops.Sin),
    x.Cos: _math(ops.Cos),
    x.Tan: _math(ops.Tan),
    x.Asin: _math(ops.Asin),
    x.Acos: _math(ops.Acos),
    x.Atan: _math(ops.Atan),
    x.Cot: _math(ops.Cot),
    x.Atan2: Function(lambda y, z: ops.Atan2(double(y), double(z)), PAIR),
    x.Degrees: _math(ops.Degrees),
    x.Radians: _math(ops.Radians),
    x.Pi: Function(ops.Pi, ()),
    x.IsNan: _math(ops.IsNan),
    x.IsInf: _math(ops.IsInf),
    x.Greatest: Function(
        lambda first, rest: ops.Greatest(types.unified((first, *rest))), LIST, flags={"ignore_nulls": True}
    ),
    x.Least: Function(
        lambda first, rest: ops.Least(types.unified((first, *rest))), LIST, flags={"ignore_nulls": True}
    ),
    x.Coalesce: Function(lambda first, rest: ops.Coalesce(types.unified((first, *rest))), LIST),
    x.Nullif: Function(lambda left, right: ops.NullIf(*types.alike(left, right)), PAIR),
    x.If: Function(_if, ("this", "true", "false")),
    x.Year: _part("year"),
    x.Quarter: _part("quarter"),
    x.Month: _part("month"),
    x.Week: _part("week"),
    x.WeekOfYear: _part("week"),
    x.Day: _part("day"),
    x.DayOfMonth: _part("day"),
    x.DayOfWeek: _part("dow"),
    x.DayOfWeekIso: _part("isodow"),
    x.DayOfYear: _part("doy"),
    x.Hour: _part("hour"),
    x.Minute: _part("minute"),
    x.Second: _part("second"),
    x.TimeToUnix: _part("epoch"),
    x.Extract: Function(
        lambda part, moment: field_of(part.name, moment), ("this", "expression"), frozenset({"this"})
    ),
    x.DateTrunc: Function(_truncate, ("this", "unit"), frozenset({"unit"})),
    x.TimestampTrunc: Function(_truncate, ("this", "unit"), frozenset({"unit"})),
    x.DateDiff: Function(_difference, ("this", "expression", "unit"), frozenset({"unit"})),
    x.DateAdd: Function(_moved, PAIR),
    x.DateFromParts: Function(ops.DateFromYMD, ("year", "month", "day")),
    x.TimeToStr: Function(ops.Strftime, ("this", "format")),
    x.Date: Function(lambda arg: cast(arg, "date")),
    x.MD5: Function(lambda arg: ops.HexDigest(arg, "md5")),
}
"""Functions that sqlglot knows by a node of their own, whatever DuckDB's spelling."""

NAMED: Mapping[tuple[str, int], Callable[..., Value]] = {
    ("prefix", 2): ops.StartsWith,
    ("suffix", 2): ops.EndsWith,
    ("ends_with", 2): ops.EndsWith,
    ("unicode", 1): ops.StringAscii,
    ("isfinite", 1): lambda arg: ops.Not(ops.Or(ops.IsNan(double(arg)), ops.IsInf(double(arg)))),
    ("weekday", 1): _weekday,
    ("isoyear", 1): ops.ExtractIsoYear,
}
"""Functions that sqlglot does not know, by DuckDB's name and number of arguments."""
