"""Rules on operations: with which types and forms one was shown to give DuckDB's answer.

`COMMON` is what most engines can be brought to agree on; an engine takes it, changes what it must, and the conformance suite
judges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    Literal,
    Outer,
    Subquery,
    TypeArgument,
)
from blossom.platforms.families import (
    ANY,
    DAY,
    EXACT,
    MOMENT,
    NUMBER,
    ORDERABLE,
    STAMP,
    TEXT,
    TRUTH,
    WHOLE,
    Families,
    Family,
    family,
)  # fmt: skip

F = Family

Check = Callable[[Call], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """When one operation is right: the families of each argument (None: not judged), and a further check."""

    takes: tuple[Families | None, ...]
    check: Check | None = None


_TYPED = frozenset({Column, Literal, Call, Subquery, Outer})


def type_of(arg: Argument) -> str | None:
    """The type's text of an argument that is an expression."""
    return arg.dtype if type(arg) in _TYPED else None  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]


def _flat(call: Call) -> list[str]:
    found: list[str] = []
    for arg in call.args:
        found.extend(
            text
            for item in (arg if isinstance(arg, tuple) else (arg,))
            if (text := type_of(item)) is not None
        )
    return found


def _alike(call: Call) -> str | None:
    return _kinds(call, _flat(call))


def _results_alike(*positions: int) -> Check:
    def check(call: Call) -> str | None:
        found: list[str] = []
        for position in positions:
            arg = call.args[position]
            found.extend(
                t for item in (arg if isinstance(arg, tuple) else (arg,)) if (t := type_of(item)) is not None
            )
        return _kinds(call, found)

    return check


def _kinds(call: Call, texts: list[str]) -> str | None:
    kinds = {family(text) for text in texts} - {F.NULL}
    if len(kinds) <= 1 or kinds <= {F.INTEGER, F.FLOAT64, F.DECIMAL} or kinds == {F.DATE, F.TIMESTAMP}:
        return None
    return f"{call.op} of {', '.join(sorted(kind.value for kind in kinds))} was not shown to agree"


def _compared(call: Call) -> str | None:
    # text literals beside dates are read as dates by both engines when they are written in full
    kinds = {family(text) for text in _flat(call)} - {F.NULL}
    if len(kinds) <= 1:
        return None
    if F.STRING in kinds and kinds - {F.STRING} in ({F.DATE}, {F.TIMESTAMP}):
        texts = [arg for arg in call.args if family(type_of(arg) or "null") is F.STRING]
        if all(
            isinstance(arg, Literal) and re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", str(arg.value))
            for arg in texts
        ):
            return None
    return _alike(call)


def _literal(position: int, least: int, *, optional: bool = False) -> Check:
    def check(call: Call) -> str | None:
        arg = call.args[position]
        if arg is None and optional:
            return None
        value = arg.value if isinstance(arg, Literal) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return None
        return f"{call.op} was shown to agree only with a literal of at least {least}"

    return check


def _substring(call: Call) -> str | None:
    return _literal(1, 0)(call) or _literal(2, 0, optional=True)(call)


def _like(call: Call) -> str | None:
    _, pattern, escape = call.args
    if (
        isinstance(pattern, Literal)
        and isinstance(pattern.value, str)
        and "\\" not in pattern.value
        and escape is None
    ):
        return None
    return f"{call.op} was shown to agree only with a literal pattern without backslash and escape"


def _find(call: Call) -> str | None:
    return (
        None
        if call.args[2] is None and call.args[3] is None
        else "StringFind from a position was not shown to agree"
    )


def _pad(call: Call) -> str | None:
    pad = call.args[2]
    if isinstance(pad, Literal) and isinstance(pad.value, str) and len(pad.value) == 1:
        return _literal(1, 0)(call)
    return f"{call.op} was shown to agree only with one literal letter"


def _day_part(call: Call) -> str | None:
    part = call.args[0]
    written = part.value if isinstance(part, Literal) else part
    return None if written == "day" else f"{call.op} in {written} was not shown to agree"


def _interval(call: Call) -> str | None:
    amount = call.args[1]
    if isinstance(amount, Literal) and isinstance(amount.value, int) and "ns" not in amount.dtype:
        return None
    return f"{call.op} was shown to agree only with a literal interval"


def _some(call: Call) -> str | None:
    return _compared(call) if call.args[1] else f"{call.op} of no values was not shown to agree"


Casts = frozenset[tuple[Family, Family]]

CASTS: Casts = frozenset(
    {
        *((kind, kind) for kind in ANY - {F.ZONED}),
        (F.INTEGER, F.FLOAT64), (F.INTEGER, F.DECIMAL), (F.INTEGER, F.STRING), (F.BOOLEAN, F.INTEGER), (F.BOOLEAN, F.STRING),
        (F.FLOAT32, F.FLOAT64), (F.FLOAT64, F.INTEGER), (F.DECIMAL, F.INTEGER), (F.DECIMAL, F.FLOAT64),
        (F.DATE, F.TIMESTAMP), (F.TIMESTAMP, F.DATE), (F.DATE, F.STRING),
        *((F.NULL, kind) for kind in ANY),
    }
)  # fmt: skip
"""Casts that agree. Absent: text to anything and floats to text, whose rules differ."""


def casts(allowed: Casts) -> Check:
    """The check of a Cast that admits these pairs."""

    def check(call: Call) -> str | None:
        arg, to = call.args
        assert isinstance(to, TypeArgument)
        if (family(type_of(arg) or "null"), family(to.dtype)) in allowed:
            return None
        return f"Cast of {type_of(arg)} to {to.dtype} was not shown to agree"

    return check


def _quantile(call: Call) -> str | None:
    level = call.args[1]
    return (
        None
        if isinstance(level, Literal) and isinstance(level.value, int | float | Decimal)
        else "a literal quantile is needed"
    )


_TWO = (NUMBER, NUMBER)
_PART = (MOMENT,)
_TIME = (STAMP,)
_FOLDED: Families = (NUMBER | {F.BOOLEAN, F.FLOAT32}) - {F.NULL}
_WINDOWED = ("RowNumber", "MinRank", "DenseRank", "PercentRank", "CumeDist")

COMMON: Mapping[str, Rule] = {
    **{name: Rule(_TWO) for name in ("Add", "Subtract", "Multiply", "Divide", "FloorDivide", "Power")},
    "Modulus": Rule((EXACT, EXACT)),
    **{name: Rule((NUMBER,)) for name in ("Negate", "Abs", "Ceil", "Floor", "Sqrt", "Exp", "Ln", "Log10", "Sign", "Sin", "Cos")},
    "Atan2": Rule(_TWO),
    "Round": Rule((NUMBER, WHOLE), _literal(1, 0, optional=True)),
    "Clip": Rule((NUMBER, NUMBER, NUMBER)),
    **{name: Rule((WHOLE, WHOLE)) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    **{name: Rule((ANY, ANY), _compared) for name in ("Equals", "NotEquals", "IdenticalTo")},
    **{name: Rule((ORDERABLE, ORDERABLE), _compared) for name in ("Less", "LessEqual", "Greater", "GreaterEqual")},
    "Between": Rule((ORDERABLE, ORDERABLE, ORDERABLE), _compared),
    "InValues": Rule((ANY, ANY), _some),
    **{name: Rule((TRUTH, TRUTH)) for name in ("And", "Or", "Xor")},
    "Not": Rule((TRUTH,)),
    "IsNull": Rule((ANY,)),
    "NotNull": Rule((ANY,)),
    "IsNan": Rule((frozenset({F.FLOAT64}),)),
    "IsInf": Rule((frozenset({F.FLOAT64}),)),
    "Coalesce": Rule((ANY,), _alike),
    "IfElse": Rule((TRUTH, ANY, ANY), _results_alike(1, 2)),
    "NullIf": Rule((ANY, ANY), _alike),
    "SearchedCase": Rule((TRUTH, ANY, ANY), _results_alike(1, 2)),
    "SimpleCase": Rule((ANY, ANY, ANY, ANY), lambda call: _results_alike(0, 1)(call) or _results_alike(2, 3)(call)),
    "Greatest": Rule((ORDERABLE,), _alike),
    "Least": Rule((ORDERABLE,), _alike),
    "Cast": Rule((ANY, None), casts(CASTS)),
    "StringLength": Rule((TEXT,)),
    **{name: Rule((TEXT,)) for name in ("Strip", "LStrip", "RStrip", "StringConcat")},
    "Substring": Rule((TEXT, WHOLE, WHOLE), _substring),
    "StrRight": Rule((TEXT, WHOLE), _literal(1, 1)),
    **{name: Rule((TEXT, TEXT)) for name in ("StringContains", "StartsWith", "EndsWith")},
    "StringReplace": Rule((TEXT, TEXT, TEXT)),
    "StringSQLLike": Rule((TEXT, TEXT, None), _like),
    "StringFind": Rule((TEXT, TEXT, None, None), _find),
    "Repeat": Rule((TEXT, WHOLE), _literal(1, 0)),
    "LPad": Rule((TEXT, WHOLE, TEXT), _pad),
    "RPad": Rule((TEXT, WHOLE, TEXT), _pad),
    **{
        name: Rule(_PART)
        for name in (
            "ExtractYear", "ExtractQuarter", "ExtractMonth", "ExtractDay", "ExtractDayOfYear", "ExtractWeekOfYear",
            "DayOfWeekIndex", "DayOfWeekName",
        )
    },
    **{name: Rule(_TIME) for name in ("ExtractHour", "ExtractMinute", "ExtractSecond", "ExtractMillisecond", "Date")},
    "DateTruncate": Rule((DAY, None)),
    "TimestampTruncate": Rule((STAMP, None)),
    "DateAdd": Rule((DAY, None), _interval),
    "DateSub": Rule((DAY, None), _interval),
    "TimestampAdd": Rule((STAMP, None), _interval),
    "TimestampSub": Rule((STAMP, None), _interval),
    "DateDelta": Rule((None, DAY, DAY), _day_part),
    "DateFromYMD": Rule((WHOLE, WHOLE, WHOLE)),
    # reductions
    "Sum": Rule((_FOLDED, TRUTH)),
    "Mean": Rule((_FOLDED, TRUTH)),
    "Count": Rule((ANY, TRUTH)),
    "CountStar": Rule((TRUTH,)),
    "CountDistinct": Rule((ANY, TRUTH)),
    "Min": Rule((ORDERABLE, TRUTH)),
    "Max": Rule((ORDERABLE, TRUTH)),
    "Any": Rule((TRUTH, TRUTH)),
    "All": Rule((TRUTH, TRUTH)),
    "Variance": Rule((NUMBER, None, TRUTH)),
    "StandardDev": Rule((NUMBER, None, TRUTH)),
    "Covariance": Rule((NUMBER, NUMBER, None, TRUTH)),
    "Median": Rule((frozenset({F.INTEGER}), TRUTH)),
    "Quantile": Rule((frozenset({F.INTEGER}), None, TRUTH), _quantile),
    **{name: Rule((WHOLE, TRUTH)) for name in ("BitAnd", "BitOr", "BitXor")},
    # windows
    **{name: Rule(()) for name in _WINDOWED},
    "NTile": Rule((WHOLE,)),
    "Lag": Rule((ANY, WHOLE, ANY)),
    "Lead": Rule((ANY, WHOLE, ANY)),
    "FirstValue": Rule((ANY,)),
    "LastValue": Rule((ANY,)),
    "WindowFunction": Rule((None, None, None, None, None, None)),
    "SortKey": Rule((ORDERABLE, None, None)),
    "WindowBoundary": Rule((WHOLE, None)),
}  # fmt: skip
"""Operation -> when an engine's answer is DuckDB's, if its compiler does its part."""


def floats_over_windows(engine: str) -> Check:
    """The check of a WindowFunction where extremes of groups are said with more than one fold, because of NaN."""

    def check(call: Call) -> str | None:
        fold = call.args[0]
        if (
            isinstance(fold, Call)
            and fold.op in ("Min", "Max")
            and family(fold.dtype) in (F.FLOAT64, F.FLOAT32)
        ):
            return f"{engine}'s {fold.op} of floats over a window passes NaN over"
        return None

    return check
