"""What SQLite is trusted with: the operations, on the types and arguments, for which it gives DuckDB's answer.

The lists are allow-lists: the conformance suite proves their entries against DuckDB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import ibis.expr.datatypes as dt

from blossom.plan import relations as rel
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Outer,
    Subquery,
    walk,
)
from blossom.plan.schema import datatype

DIFFERS: Mapping[str, str] = {
    "Uppercase": "SQLite folds ASCII letters only",
    "Lowercase": "SQLite folds ASCII letters only",
    "Capitalize": "SQLite folds ASCII letters only",
    "StringSQLILike": "SQLite folds ASCII letters only",
    "Round": "SQLite rounds through decimal text",
    "Sqrt": "a NaN becomes NULL",
    "Power": "a NaN becomes NULL",
    "Ln": "an argument that is not positive gives NULL",
    "Log": "an argument that is not positive gives NULL",
    "Log2": "an argument that is not positive gives NULL",
    "Log10": "an argument that is not positive gives NULL",
    "Exp": "infinities meet differently, and the function depends on how SQLite was built",
    "Sin": "a NaN becomes NULL",
    "Cos": "a NaN becomes NULL",
    "Tan": "a NaN becomes NULL",
    "Acos": "a NaN becomes NULL",
    "Asin": "a NaN becomes NULL",
    "IsNan": "a NaN becomes NULL when it is stored",
    "IsInf": "there is no such function",
    "Reverse": "combined characters are taken apart",
    "RegexSearch": "there is no RE2",
    "RegexExtract": "there is no RE2",
    "RegexReplace": "there is no RE2",
    "LPad": "text that is too long is not cut",
    "RPad": "text that is too long is not cut",
    "DateFromYMD": "a day that does not exist rolls over",
    "TimestampAdd": "fractions of a second are lost",
    "TimestampSub": "fractions of a second are lost",
    "RandomScalar": "another distribution",
}
"""Operations that SQLite has, and answers otherwise than DuckDB."""

_COMPARISONS = frozenset(
    {"Equals", "NotEquals", "Less", "LessEqual", "Greater", "GreaterEqual", "Between", "InValues", "IdenticalTo", "NullIf"}
)  # fmt: skip
_ON_DECIMALS = _COMPARISONS | {
    "IsNull", "NotNull", "Min", "Max", "Count", "CountDistinct", "Coalesce", "WindowFunction", "Lag", "Lead", "IfElse",
    "SimpleCase", "SearchedCase", "SortKey",
}  # fmt: skip
PARTS = frozenset(
    {
        "ExtractYear", "ExtractMonth", "ExtractDay", "ExtractQuarter", "ExtractDayOfYear", "ExtractWeekOfYear", "ExtractHour",
        "ExtractMinute", "ExtractSecond", "ExtractEpochSeconds", "DayOfWeekIndex", "DayOfWeekName",
    }
)  # fmt: skip
"""Parts of a date or timestamp."""

_ALLOWED = _COMPARISONS | _ON_DECIMALS | PARTS | {
    "And", "Or", "Not", "Xor",
    "Add", "Subtract", "Multiply", "Divide", "FloorDivide", "Modulus", "Negate", "Abs", "Sign", "Greatest", "Least", "Clip",
    "BitwiseAnd", "BitwiseOr",
    "StringLength", "StringConcat", "StringContains", "StartsWith", "EndsWith", "StringSQLLike", "Substring", "StrRight",
    "StringFind", "StringSlice", "Strip", "LStrip", "RStrip", "StringReplace", "Repeat",
    "DateTruncate", "TimestampTruncate", "Date", "DateAdd", "DateSub", "DateDelta",
    "Cast",
    "CountStar", "Sum", "Mean", "Variance", "StandardDev", "Any", "All", "BitAnd", "BitOr", "BitXor",
    "SortKey", "WindowBoundary", "RowNumber", "MinRank", "DenseRank", "PercentRank", "CumeDist", "NTile",
}  # fmt: skip

_CASTS: frozenset[tuple[str, str]] = frozenset(
    {
        ("boolean", "integer"), ("integer", "float"), ("integer", "string"), ("date", "string"), ("date", "timestamp"),
        ("timestamp", "date"), ("decimal", "float"),
    }
)  # fmt: skip
_HOWS = frozenset({"inner", "left", "right", "outer", "semi", "anti", "cross"})
_RELATIONS = (
    rel.Scan, rel.Received, rel.Constant, rel.Project, rel.Filter, rel.Join, rel.Aggregate, rel.Sort, rel.Limit, rel.Distinct,
    rel.SetOperation,
)  # fmt: skip
EXACT_DIGITS = 15
"""Digits of a decimal that survive SQLite's 8-byte floats."""


def family(dtype: dt.DataType) -> str | None:
    """How SQLite holds values of a type, or None when it cannot."""
    if dtype.is_boolean():
        return "boolean"
    if dtype.is_integer():
        return None if isinstance(dtype, dt.UInt64) else "integer"
    if isinstance(dtype, dt.Float64):
        return "float"
    if isinstance(dtype, dt.Decimal):
        return "decimal" if (dtype.precision or 38) <= EXACT_DIGITS else None
    if dtype.is_string():
        return "string"
    if dtype.is_date():
        return "date"
    if isinstance(dtype, dt.Timestamp):
        micros = dtype.scale is None or dtype.scale <= 6
        return "timestamp" if micros and dtype.timezone in (None, "UTC") else None
    if dtype.is_binary():
        return "binary"
    return "null" if dtype.is_null() else None


def refusal(node: rel.Relation) -> str | None:
    """Why SQLite would not give DuckDB's answer for a node; None when it does."""
    if not isinstance(node, _RELATIONS):
        return f"{type(node).__name__} is not supported on SQLite"
    if isinstance(node, rel.Received):
        for name, text in node.schema.items():
            if family(datatype(text)) in (None, "float"):
                nan = ", which may hold a NaN" if family(datatype(text)) else ""
                return f"column {name!r}: SQLite cannot hold {text}{nan}"
    if isinstance(node, rel.Join):
        for link in node.links:
            if link.how not in _HOWS:
                return f"SQLite has no {link.how} join"
    if isinstance(node, rel.SetOperation) and not node.distinct and node.kind != "union":
        return f"SQLite has no {node.kind} of bags"
    for expression in node.expressions():
        for part in walk(expression):
            reason = _expression(part)
            if reason is not None:
                return reason
    return None


def _expression(part: Expression) -> str | None:
    if isinstance(part, Subquery):
        return next((reason for inner in part.plan.walk() if (reason := refusal(inner))), None)
    if isinstance(part, Literal):
        return _literal(part)
    if not isinstance(part, Call):
        return None
    if part.op in DIFFERS:
        return f"{part.op} differs on SQLite: {DIFFERS[part.op]}"
    if part.op not in _ALLOWED:
        return f"{part.op} is not supported on SQLite"
    families = [family(datatype(dtype)) for dtype in (part.dtype, *_types(part.args))]
    if None in families:
        return f"{part.op} on a type that SQLite does not have ({part.dtype})"
    if "decimal" in families and part.op not in _ON_DECIMALS and part.op != "Cast":
        return f"{part.op} on decimals is inexact on SQLite"
    rule = _RULES.get(part.op)
    if rule is None and part.op in _COMPARISONS:
        rule = _comparable
    return None if rule is None else rule(part)


def _literal(part: Literal) -> str | None:
    if part.value is None:
        return None
    if isinstance(part.value, float) and math.isnan(part.value):
        return "SQLite holds NaN as NULL"
    if isinstance(part.value, str) and "\0" in part.value:
        return "SQLite ends a text at its first NUL"
    if isinstance(part.value, Decimal):
        exact = len(part.value.as_tuple().digits) <= EXACT_DIGITS
        return None if exact else "SQLite compares decimals of up to 15 digits"
    dtype = datatype(part.dtype)
    return None if family(dtype) or dtype.is_interval() else f"SQLite has no literal of type {part.dtype}"


def _types(args: tuple[Argument, ...]) -> Iterator[str]:
    for arg in args:
        if isinstance(arg, tuple):
            yield from _types(arg)
        elif isinstance(arg, Literal):
            # an interval stands only where a rule looks at it
            if isinstance(arg.value, Decimal):
                yield f"decimal({EXACT_DIGITS}, 0)"  # Ibis gives a literal no precision; `_literal` counts its digits
            elif not datatype(arg.dtype).is_interval():
                yield arg.dtype
        elif isinstance(arg, Column | Outer | Call | Subquery):
            yield arg.dtype


def _comparable(call: Call) -> str | None:
    numbers = {"integer": "number", "float": "number", "decimal": "number"}
    found = {family(datatype(text)) or "" for text in _types(call.args)} - {"null"}
    if call.op == "NullIf" or len({numbers.get(name, name) for name in found}) <= 1:
        return None
    return f"{call.op} between {' and '.join(sorted(found))} compares otherwise on SQLite"


def _constant(argument: Argument) -> Any:
    return argument.value if isinstance(argument, Literal) else None


def _divisor(call: Call) -> str | None:
    value = _constant(call.args[1])
    if not isinstance(value, int | float) or value == 0:
        return f"{call.op} by anything but a constant other than zero differs on SQLite (NULL for NaN and infinity)"
    if call.op != "Divide" and not all(datatype(text).is_integer() for text in _types(call.args)):
        return f"{call.op} of floats differs on SQLite"
    return None


def _not_negative(call: Call) -> str | None:
    for argument in call.args[1:]:
        value = 0 if argument is None else _constant(argument)
        if not isinstance(value, int) or value < 0 or (call.op == "StrRight" and value == 0):
            return f"{call.op} with positions that are not constants from 0 differs on SQLite"
    return None


def _constant_pattern(call: Call) -> str | None:
    return (
        None
        if isinstance(_constant(call.args[1]), str)
        else f"{call.op} with a pattern from a column differs on SQLite"
    )


def _like(call: Call) -> str | None:
    if len(call.args) > 2 and call.args[2] is not None:
        return "LIKE with an escape character is not supported on SQLite"
    return _constant_pattern(call)


def _not_empty(call: Call) -> str | None:
    return None if _constant(call.args[1]) else f"{call.op} of an empty or computed text differs on SQLite"


def _find(call: Call) -> str | None:
    whole = all(argument is None for argument in call.args[2:])
    return None if whole else "StringFind in a part of the text is not supported on SQLite"


def _cast(call: Call) -> str | None:
    source, target = (family(datatype(text)) for text in (*_types(call.args), call.dtype))
    wide = datatype(call.dtype)
    if source == target == "integer" or (source, target) == ("boolean", "integer"):
        narrow = min(datatype(next(_types(call.args))).nbytes if source == "integer" else 1, 8)  # pyright: ignore[reportAttributeAccessIssue]
        widens = wide.nbytes > narrow or isinstance(wide, dt.Int64)  # pyright: ignore[reportAttributeAccessIssue]
        return None if widens else "a cast to a smaller integer is not checked on SQLite"
    if source == target and source != "decimal" and source is not None:
        return None
    if source == "null" or (source, target) in _CASTS:
        return None
    return f"a cast from {source} to {call.dtype} differs on SQLite"


def _truncate(call: Call) -> str | None:
    unit = call.args[1]
    name = unit.member if isinstance(unit, EnumArgument) else ""
    return None if name in _UNITS[call.op] else f"{call.op} to {name.lower()} is not supported on SQLite"


_UNITS: Mapping[str, frozenset[str]] = {
    "DateTruncate": frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY"}),
    "TimestampTruncate": frozenset({"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"}),
}


def _days(call: Call) -> str | None:
    interval = call.args[1]
    if isinstance(interval, Literal):
        dtype = datatype(interval.dtype)
        if isinstance(dtype, dt.Interval) and dtype.unit.short in ("D", "W") and interval.value is not None:
            return None
    return f"{call.op} of anything but a constant number of days or weeks differs on SQLite"


def _day_delta(call: Call) -> str | None:
    part, *days = call.args
    name = part.member if isinstance(part, EnumArgument) else _constant(part)
    dates = all(datatype(text).is_date() for text in _types(tuple(days)))
    return (
        None
        if str(name).casefold() == "day" and dates
        else "DateDelta in other units than days is not supported on SQLite"
    )


def _number_sum(call: Call) -> str | None:
    first = family(datatype(next(_types(call.args))))
    return (
        None
        if first in ("integer", "float", "boolean")
        else f"{call.op} of {first} is not supported on SQLite"
    )


def _extract(call: Call) -> str | None:
    first = family(datatype(next(_types(call.args))))
    return None if first in ("date", "timestamp") else f"{call.op} of {first} is not supported on SQLite"


def _window(call: Call) -> str | None:
    held = call.args[0]
    return (
        None
        if isinstance(held, Call) and held.op not in ("Variance", "StandardDev", "BitAnd", "BitOr", "BitXor")
        else ("SQLite has this aggregate outside of windows only")
    )


_RULES: Mapping[str, Callable[[Call], str | None]] = {
    "Divide": _divisor,
    "FloorDivide": _divisor,
    "Modulus": _divisor,
    "Substring": _not_negative,
    "StrRight": _not_negative,
    "StringSlice": _not_negative,
    "StringSQLLike": _like,
    "StringFind": _find,
    "StartsWith": _not_empty,
    "EndsWith": _not_empty,
    "StringReplace": _not_empty,
    "Cast": _cast,
    "DateTruncate": _truncate,
    "TimestampTruncate": _truncate,
    "DateAdd": _days,
    "DateSub": _days,
    "DateDelta": _day_delta,
    "Sum": _number_sum,
    "Mean": _number_sum,
    "WindowFunction": _window,
    **dict.fromkeys(PARTS, _extract),
}  # fmt: skip
"""What an operation's arguments must be."""
