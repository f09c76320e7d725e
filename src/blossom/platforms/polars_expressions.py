"""The table of value operations that Polars runs with DuckDB's semantics: what each takes, and how it is said.

An operation stands in `OPERATIONS` only where tests compare it with DuckDB; everything else is refused. Where Polars' own
operation differs (integer overflow, rounding, modulo, letters whose upper case is two letters), the table says a corrected
form; where no cheap one exists, the operation is absent and `DIFFERS` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from blossom.plan.errors import PlanError
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    Expression,
    Literal,
)
from blossom.platforms import polars_builds as build
from blossom.platforms import polars_checks as check
from blossom.platforms.polars_builds import Build
from blossom.platforms.polars_casts import (
    DATE_INTERVALS,
    DATE_UNITS,
    TIMESTAMP_INTERVALS,
    TIMESTAMP_UNITS,
)
from blossom.platforms.polars_checks import Check
from blossom.platforms.polars_text import lower, upper
from blossom.platforms.polars_types import (
    ANY,
    DAY,
    FLOATING,
    MOMENT,
    NUMBER,
    STAMP,
    TEXT,
    TRUTH,
    WHOLE,
    F,
    Family,
    Term,
    family,
    literal,
    polars_type,
)

Columns: TypeAlias = Callable[[Column], Term]
"""Gives the term of an input column."""


DIFFERS: Mapping[str, str] = {
    "Log10": "Polars divides natural logarithms: log10(1000) is 2.9999999999999996",
    "Log2": "Polars divides natural logarithms: powers of two may miss by one unit in the last place",
    "Log": "Polars divides natural logarithms: powers of the base may miss by one unit in the last place",
    "TryCast": "Polars reads numbers from text by other rules than DuckDB (spaces, exponents, fractions)",
    "StringFind": "Polars gives positions in bytes, not in characters",
    "RegexSearch": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "RegexReplace": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "RegexExtract": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "ExtractEpochSeconds": "DuckDB gives fractions of seconds, Polars whole ones",
    "First": "which row comes first is not defined over a stream",
    "Last": "which row comes last is not defined over a stream",
    "Median": "Polars leaves NaN out of order statistics",
    "Quantile": "Polars leaves NaN out of order statistics",
    "Mode": "ties are broken differently",
    "Hash": "hash functions differ from engine to engine",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """How one value operation is said.

    Attributes:
        takes: The families that each argument may have; a tuple argument's members all obey its entry. None: not a value.
        build: Makes the term from the call and its translated arguments.
        check: A further condition on the call; gives the reason against it.
    """

    takes: tuple[frozenset[Family] | None, ...]
    build: Build
    check: Check | None = None


def refusal(expression: Expression) -> str | None:
    """Why an expression cannot be translated, judged by its declared types alone; None when it can."""
    if isinstance(expression, Column):
        return None
    if isinstance(expression, Literal):
        if family(expression.dtype) is F.OTHER:
            return f"a literal of type {expression.dtype} is not translated"
        return None
    if not isinstance(expression, Call):
        return f"{type(expression).__name__} is not translated"
    operation = OPERATIONS.get(expression.op)
    if operation is None:
        return DIFFERS.get(expression.op, f"{expression.op} is not translated")
    if len(expression.args) != len(operation.takes):
        return f"{expression.op} takes {len(operation.takes)} arguments"
    for takes, arg in zip(operation.takes, expression.args, strict=True):
        if takes is None:
            continue
        for item in arg if isinstance(arg, tuple) else (arg,):
            if item is None:
                continue
            if not isinstance(item, Column | Literal | Call):
                return f"{expression.op} of {type(item).__name__} is not translated"
            if family(item.dtype) not in takes:
                return f"{expression.op} of {item.dtype} is not translated"
            reason = refusal(item)
            if reason is not None:
                return reason
    return operation.check(expression) if operation.check else None


def translate(expression: Argument, columns: Columns) -> Term:
    """An expression as a term.

    Raises:
        PlanError: It holds what `refusal` refuses.
    """
    match expression:
        case Column():
            return columns(expression)
        case Literal(value=value, dtype=text):
            return literal(value, polars_type(text) if value is not None else _null_type(text))
        case Call():
            operation = OPERATIONS.get(expression.op)
            if operation is None:
                raise PlanError(f"the Polars translation has no {expression.op}")
            args = [
                arg if takes is None else _argument(arg, columns)
                for takes, arg in zip(operation.takes, expression.args, strict=True)
            ]
            return operation.build(expression, args)
        case _:
            raise PlanError(f"the Polars translation has no {type(expression).__name__}")


def _null_type(text: str) -> Any:
    return pl.Null if family(text) is F.NULL else polars_type(text)


def _argument(arg: Argument, columns: Columns) -> Any:
    if isinstance(arg, tuple):
        return [translate(item, columns) for item in arg]
    return None if arg is None else translate(arg, columns)


_TWO_NUMBERS = (NUMBER, NUMBER)
_TWO_ANY = (ANY, ANY)
_COMPARISONS: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "Equals": pl.Expr.eq,
    "NotEquals": pl.Expr.ne,
    "Less": pl.Expr.lt,
    "LessEqual": pl.Expr.le,
    "Greater": pl.Expr.gt,
    "GreaterEqual": pl.Expr.ge,
    "IdenticalTo": pl.Expr.eq_missing,
}
_PARTS: Mapping[str, tuple[frozenset[Family], Callable[[pl.Expr], pl.Expr]]] = {
    "ExtractYear": (MOMENT, lambda e: e.dt.year()),
    "ExtractQuarter": (MOMENT, lambda e: e.dt.quarter()),
    "ExtractMonth": (MOMENT, lambda e: e.dt.month()),
    "ExtractDay": (MOMENT, lambda e: e.dt.day()),
    "ExtractDayOfYear": (MOMENT, lambda e: e.dt.ordinal_day()),
    "ExtractWeekOfYear": (MOMENT, lambda e: e.dt.week()),
    "DayOfWeekIndex": (MOMENT, lambda e: e.dt.weekday().cast(pl.Int64) - 1),
    "ExtractHour": (STAMP, lambda e: e.dt.hour()),
    "ExtractMinute": (STAMP, lambda e: e.dt.minute()),
    "ExtractSecond": (STAMP, lambda e: e.dt.second()),
    "ExtractMillisecond": (STAMP, lambda e: e.dt.millisecond()),
    "ExtractMicrosecond": (STAMP, lambda e: e.dt.microsecond()),
}
_SPACES = " \t\n\r\v\f"

OPERATIONS: Mapping[str, Operation] = {
    "Add": Operation(_TWO_NUMBERS, build.arithmetic(lambda a, b: a + b)),
    "Subtract": Operation(_TWO_NUMBERS, build.arithmetic(lambda a, b: a - b)),
    "Multiply": Operation(_TWO_NUMBERS, build.arithmetic(lambda a, b: a * b, product=True), check.whole_multiply),
    "Divide": Operation(_TWO_NUMBERS, build.of_floats(lambda a, b: a / b)),
    "FloorDivide": Operation(_TWO_NUMBERS, build.floor_divide, check.literal_divisor),
    "Modulus": Operation((WHOLE, WHOLE), build.remainder, check.literal_divisor),
    "Power": Operation(_TWO_NUMBERS, build.power),
    "Negate": Operation((NUMBER,), build.negate),
    "Abs": Operation((NUMBER,), build.absolute),
    "Ceil": Operation((NUMBER,), build.rounding(pl.Expr.ceil)),
    "Floor": Operation((NUMBER,), build.rounding(pl.Expr.floor)),
    "Round": Operation((NUMBER, WHOLE), build.round_half_away, check.literal_number(1, 0, "literal digits", optional=True)),
    "Sqrt": Operation((NUMBER,), build.of_floats(pl.Expr.sqrt)),
    "Exp": Operation((NUMBER,), build.of_floats(pl.Expr.exp)),
    "Ln": Operation((NUMBER,), build.of_floats(lambda a: a.log())),
    "Clip": Operation((NUMBER, NUMBER, NUMBER), build.clip, check.all_comparable),
    "BitwiseAnd": Operation((WHOLE, WHOLE), build.bits(lambda a, b: a & b)),
    "BitwiseOr": Operation((WHOLE, WHOLE), build.bits(lambda a, b: a | b)),
    "BitwiseXor": Operation((WHOLE, WHOLE), build.bits(lambda a, b: a ^ b)),
    "Sign": Operation((NUMBER,), build.sign),
    **{
        name: Operation(_TWO_ANY, build.compare(apply), check.all_comparable) for name, apply in _COMPARISONS.items()
    },
    "Between": Operation((ANY, ANY, ANY), build.between, check.all_comparable),
    "InValues": Operation((ANY, ANY), build.in_values, check.in_check),
    "And": Operation((TRUTH, TRUTH), build.logic(lambda a, b: a & b)),
    "Or": Operation((TRUTH, TRUTH), build.logic(lambda a, b: a | b)),
    "Xor": Operation((TRUTH, TRUTH), build.logic(lambda a, b: a ^ b)),
    "Not": Operation((TRUTH,), lambda call, args: Term(~args[0].cast(pl.Boolean).expr, pl.Boolean)),
    "IsNull": Operation((ANY,), build.null_test(pl.Expr.is_null)),
    "NotNull": Operation((ANY,), build.null_test(pl.Expr.is_not_null)),
    "IsNan": Operation((FLOATING - {F.NULL},), build.null_test(pl.Expr.is_nan)),
    "IsInf": Operation((FLOATING - {F.NULL},), build.null_test(pl.Expr.is_infinite)),
    "Coalesce": Operation((ANY,), build.coalesce, check.all_comparable),
    "IfElse": Operation((TRUTH, ANY, ANY), build.if_else, check.results_comparable(1, 2)),
    "NullIf": Operation(_TWO_ANY, build.null_if, check.all_comparable),
    "SearchedCase": Operation((TRUTH, ANY, ANY), build.searched_case, check.results_comparable(1, 2)),
    "SimpleCase": Operation((ANY, ANY, ANY, ANY), build.simple, check.simple_case),
    "Greatest": Operation((ANY,), build.extreme(greatest=True), check.all_comparable),
    "Least": Operation((ANY,), build.extreme(greatest=False), check.all_comparable),
    "Cast": Operation((ANY, None), build.cast, check.cast_check),
    "StringLength": Operation((TEXT,), build.length),
    "Uppercase": Operation((TEXT,), build.of_text(upper)),
    "Lowercase": Operation((TEXT,), build.of_text(lower)),
    "Strip": Operation((TEXT,), build.of_text(lambda s: s.str.strip_chars(_SPACES))),
    "LStrip": Operation((TEXT,), build.of_text(lambda s: s.str.strip_chars_start(_SPACES))),
    "RStrip": Operation((TEXT,), build.of_text(lambda s: s.str.strip_chars_end(_SPACES))),
    "Substring": Operation((TEXT, WHOLE, WHOLE), build.substring, check.substring),
    "StrRight": Operation((TEXT, WHOLE), build.tail, check.literal_number(1, 1, "a literal count")),
    "StringContains": Operation(
        (TEXT, TEXT), build.of_text(lambda s, n: s.str.contains(n, literal=True), pl.Boolean)
    ),
    "StartsWith": Operation((TEXT, TEXT), build.of_text(lambda s, n: s.str.starts_with(n), pl.Boolean)),
    "EndsWith": Operation((TEXT, TEXT), build.of_text(lambda s, n: s.str.ends_with(n), pl.Boolean)),
    "StringConcat": Operation((TEXT,), build.concat),
    "StringReplace": Operation(
        (TEXT, TEXT, TEXT), build.of_text(lambda s, p, r: s.str.replace_all(p, r, literal=True)), check.replace
    ),
    "StringSQLLike": Operation((TEXT, TEXT, None), build.like_build(fold=False), check.like),
    "StringSQLILike": Operation((TEXT, TEXT, None), build.like_build(fold=True), check.like),
    **{name: Operation((takes,), build.part(apply)) for name, (takes, apply) in _PARTS.items()},
    "Date": Operation((STAMP - {F.NULL},), build.to_date),
    "DateTruncate": Operation((DAY - {F.NULL}, None), build.truncate(DATE_UNITS), check.unit(DATE_UNITS)),
    "TimestampTruncate": Operation((STAMP - {F.NULL}, None), build.truncate(TIMESTAMP_UNITS), check.unit(TIMESTAMP_UNITS)),
    "DateDelta": Operation((None, DAY, DAY), build.days_between, check.day_part),
    "DayOfWeekName": Operation((MOMENT - {F.NULL},), build.weekday_name),
    "DateAdd": Operation((DAY - {F.NULL}, None), build.shift(1, DATE_INTERVALS), check.interval(DATE_INTERVALS)),
    "DateSub": Operation((DAY - {F.NULL}, None), build.shift(-1, DATE_INTERVALS), check.interval(DATE_INTERVALS)),
    "TimestampAdd": Operation(
        (STAMP - {F.NULL}, None), build.shift(1, TIMESTAMP_INTERVALS), check.interval(TIMESTAMP_INTERVALS)
    ),
    "TimestampSub": Operation(
        (STAMP - {F.NULL}, None), build.shift(-1, TIMESTAMP_INTERVALS), check.interval(TIMESTAMP_INTERVALS)
    ),
}  # fmt: skip
"""Operation name -> what it takes and how Polars says it."""
