"""What PostgreSQL runs with DuckDB's semantics: an explicit list of operations, with the types and forms that were shown right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache

import ibis.expr.datatypes as dt

from blossom.plan import relations as rel
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    TypeArgument,
    columns,
    conjuncts,
)
from blossom.plan.schema import datatype

DIFFERS: Mapping[str, str] = {
    "Uppercase": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Reverse": "PostgreSQL reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "RegexReplace": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "RegexExtract": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "TryCast": "PostgreSQL has no cast that gives null instead of an error",
    "Log2": "PostgreSQL computes logarithms of other bases in decimals",
    "Log": "PostgreSQL computes logarithms of other bases in decimals",
    "ExtractEpochSeconds": "PostgreSQL gives decimals",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Correlation": "PostgreSQL gives null where DuckDB gives NaN, for values without variation",
    "Mode": "ties are broken differently",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "BitwiseLeftShift": "PostgreSQL wraps where DuckDB raises",
    "BitwiseRightShift": "PostgreSQL wraps where DuckDB raises",
}

IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer names."""


class Family(Enum):
    """Plan types that PostgreSQL treats alike."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    STRING = "string"
    BINARY = "binary"
    DATE = "date"
    TIMESTAMP = "timestamp"
    ZONED = "timestamp with time zone"
    OTHER = "other"


F = Family


@lru_cache(maxsize=4096)
def family(text: str) -> Family:
    """The family of a type's text; types that PostgreSQL lacks (unsigned integers, nanoseconds) are OTHER."""
    match datatype(text):
        case dt.Timestamp(timezone=zone, scale=scale) if scale is None or scale <= 6:
            return F.TIMESTAMP if zone is None else F.ZONED
        case dt.Null():
            return F.NULL
        case dt.Boolean():
            return F.BOOLEAN
        case dt.SignedInteger():
            return F.INTEGER
        case dt.Float32():
            return F.FLOAT32
        case dt.Float64():
            return F.FLOAT64
        case dt.Decimal():
            return F.DECIMAL
        case dt.String():
            return F.STRING
        case dt.Binary():
            return F.BINARY
        case dt.Date():
            return F.DATE
        case _:
            return F.OTHER


Families = frozenset[Family]
ANY: Families = frozenset(set(Family) - {F.OTHER})
NUMBER: Families = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.NULL})
EXACT: Families = frozenset({F.INTEGER, F.DECIMAL, F.NULL})
WHOLE: Families = frozenset({F.INTEGER, F.NULL})
ORDERABLE: Families = ANY - {F.BINARY}
TRUTH: Families = frozenset({F.BOOLEAN, F.NULL})
TEXT: Families = frozenset({F.STRING, F.NULL})
DAY: Families = frozenset({F.DATE})
STAMP: Families = frozenset({F.TIMESTAMP})
MOMENT: Families = DAY | STAMP

Check = Callable[[Call], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """When one operation is right: the families of each argument (None: not judged), and a further check."""

    takes: tuple[Families | None, ...]
    check: Check | None = None


def _dtype(arg: Argument) -> str | None:
    return arg.dtype if isinstance(arg, Column | Literal | Call | Subquery | Outer) else None


def _flat(call: Call) -> list[str]:
    found: list[str] = []
    for arg in call.args:
        found.extend(
            text for item in (arg if isinstance(arg, tuple) else (arg,)) if (text := _dtype(item)) is not None
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
                t for item in (arg if isinstance(arg, tuple) else (arg,)) if (t := _dtype(item)) is not None
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
    if F.STRING in kinds and kinds - {F.STRING} in ({F.DATE}, {F.TIMESTAMP}):
        texts = [arg for arg in call.args if family(_dtype(arg) or "null") is F.STRING]
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


CASTS: frozenset[tuple[Family, Family]] = frozenset(
    {
        *((kind, kind) for kind in ANY - {F.ZONED}),
        (F.INTEGER, F.FLOAT64), (F.INTEGER, F.DECIMAL), (F.INTEGER, F.STRING), (F.BOOLEAN, F.INTEGER), (F.BOOLEAN, F.STRING),
        (F.FLOAT32, F.FLOAT64), (F.FLOAT64, F.INTEGER), (F.DECIMAL, F.INTEGER), (F.DECIMAL, F.FLOAT64),
        (F.DATE, F.TIMESTAMP), (F.TIMESTAMP, F.DATE), (F.DATE, F.STRING),
        *((F.NULL, kind) for kind in ANY),
    }
)  # fmt: skip
"""Casts that agree. Absent: text to anything and floats to text, whose rules differ."""


def _cast(call: Call) -> str | None:
    arg, to = call.args
    assert isinstance(to, TypeArgument)
    if (family(_dtype(arg) or "null"), family(to.dtype)) in CASTS:
        return None
    return f"Cast of {_dtype(arg)} to {to.dtype} was not shown to agree"


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

OPERATIONS: Mapping[str, Rule] = {
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
    "Cast": Rule((ANY, None), _cast),
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
"""Operation -> when PostgreSQL's answer is DuckDB's."""


def node_refusal(node: rel.Relation) -> str | None:
    """Why a node's own work, subqueries included, is not known to agree with DuckDB; None when it is."""
    names = [
        name for name in node.schema if len(name.encode()) > IDENTIFIER_BYTES or "\0" in name or not name
    ]
    if names:
        return f"PostgreSQL has no column names like {names[0]!r}"
    odd = [text for text in node.schema.values() if family(text) is F.OTHER]
    if odd:
        return f"a column of type {odd[0]} was not shown to agree"
    check = _NODES.get(type(node))
    if check is None:
        return f"{type(node).__name__} was not shown to agree"
    reason = check(node)
    if reason is not None:
        return reason
    return next(filter(None, map(refusal, node.expressions())), None)


def refusal(expression: Argument) -> str | None:
    """Why an expression is not known to agree; None when it is."""
    if isinstance(expression, tuple):
        return next(filter(None, map(refusal, expression)), None)
    if isinstance(expression, Subquery):
        inner = (node_refusal(node) for node in expression.plan.walk())
        return next(filter(None, inner), None) or refusal(expression.needle)
    if isinstance(expression, Literal):
        return _literal_refusal(expression)
    if not isinstance(expression, Call):
        return None
    rule = OPERATIONS.get(expression.op)
    if rule is None:
        return DIFFERS.get(expression.op, f"{expression.op} was not shown to agree")
    for takes, arg in zip(rule.takes, expression.args, strict=False):
        for item in arg if isinstance(arg, tuple) else (arg,):
            text = _dtype(item)
            if takes is not None and text is not None and family(text) not in takes:
                return f"{expression.op} of {text} was not shown to agree"
    reason = rule.check(expression) if rule.check else None
    interval = expression.op in ("DateAdd", "DateSub", "TimestampAdd", "TimestampSub")
    return reason or next(
        filter(None, map(refusal, expression.args[:1] if interval else expression.args)), None
    )


def _literal_refusal(literal: Literal) -> str | None:
    if family(literal.dtype) is F.OTHER:
        return f"a literal of type {literal.dtype} was not shown to agree"
    if isinstance(literal.value, str) and "\0" in literal.value:
        return "PostgreSQL's text cannot hold the letter NUL"
    return None


_JOINS = frozenset({"inner", "left", "right", "outer", "semi", "anti", "cross"})


def _join(node: rel.Relation) -> str | None:
    assert isinstance(node, rel.Join)
    for position, link in enumerate(node.links, start=1):
        if link.how not in _JOINS:
            return f"{link.how} joins were not shown to agree"
        parts = [part for predicate in link.predicates for part in conjuncts(predicate)]
        if link.how == "outer" and not (parts and all(_equality(part, position) for part in parts)):
            return "PostgreSQL's full joins need equalities between the tables"
    return None


def _equality(part: Expression, position: int) -> bool:
    if not isinstance(part, Call) or part.op != "Equals":
        return False
    one, other = ({column.input for column in columns(arg)} for arg in part.args)  # pyright: ignore[reportArgumentType]
    return (one == {position} and other != set() and position not in other) or (
        other == {position} and one != set() and position not in one
    )


def _set_operation(node: rel.Relation) -> str | None:
    assert isinstance(node, rel.SetOperation)
    for texts in zip(*(table.schema.values() for table in node.tables), strict=True):
        kinds = {family(text) for text in texts}
        if len(kinds) > 1 and not kinds <= {F.INTEGER, F.FLOAT64, F.DECIMAL}:
            return f"{node.kind} of {', '.join(texts)} was not shown to agree"
    return None


def _sort(node: rel.Relation) -> str | None:
    assert isinstance(node, rel.Sort)
    odd = [key.value.dtype for key in node.keys if family(key.value.dtype) not in ORDERABLE]
    return f"order by {odd[0]} was not shown to agree" if odd else None


def _plain(node: rel.Relation) -> str | None:
    return None


_NODES: Mapping[type[rel.Relation], Callable[[rel.Relation], str | None]] = {
    rel.Scan: _plain,
    rel.Received: _plain,
    rel.Constant: _plain,
    rel.Project: _plain,
    rel.Filter: _plain,
    rel.Join: _join,
    rel.Aggregate: _plain,
    rel.Sort: _sort,
    rel.Limit: _plain,
    rel.Distinct: _plain,
    rel.SetOperation: _set_operation,
}


# --- digits ----------------------------------------------------------------------------------------------------------------------

Digits = tuple[int, int]
"""Digits in all, and after the point."""

_MOST = 38


def digits(root: rel.Relation) -> Mapping[str, Digits]:
    """The digits of each decimal or integer column, by DuckDB's rules; Ibis declares fewer for products."""
    found: dict[int, dict[str, Digits]] = {}
    for node in root.walk():
        inputs = [found[id(child)] for child in node.inputs]
        match node:
            case rel.Project(values=values) | rel.Constant(values=values) | rel.Join(values=values):
                found[id(node)] = {name: _digits(value, inputs) for name, value in values}
            case rel.Aggregate():
                named = (*node.groups, *node.metrics)
                found[id(node)] = {name: _digits(value, inputs) for name, value in named}
            case rel.SetOperation():
                sides = {name: [one[name] for one in inputs] for name in node.schema}
                found[id(node)] = {
                    name: (max(p for p, _ in all_), max(s for _, s in all_)) for name, all_ in sides.items()
                }
            case _ if inputs:
                found[id(node)] = inputs[0]
            case _:
                found[id(node)] = {name: _declared(text) for name, text in node.schema.items()}
    return found[id(root)]


def _declared(text: str) -> Digits:
    dtype = datatype(text)
    return (dtype.precision or _MOST, dtype.scale or 0) if isinstance(dtype, dt.Decimal) else (_MOST, 0)


def _digits(value: Argument, inputs: list[dict[str, Digits]]) -> Digits:
    match value:
        case Column(name=name, input=position):
            # a column of an enclosing query counts as whole: subqueries that give decimals so were not met
            return inputs[position][name] if position < len(inputs) else (_MOST, 0)
        case Subquery(kind="scalar", plan=plan):
            return next(iter(digits(plan).values()))
        case Call(op="Cast", args=(_, TypeArgument(dtype=text))):
            return _declared(text)
        case _:
            return _MOST, _scale(value, inputs)


def _scale(value: Argument, inputs: list[dict[str, Digits]]) -> int:
    match value:
        case Literal(value=float() | Decimal() as number):
            exponent = Decimal(repr(number) if isinstance(number, float) else number).as_tuple().exponent
            return max(-exponent, 0) if isinstance(exponent, int) else 0
        case Call(op="Round"):
            return _declared(value.dtype)[1]
        case Call(op=op, args=args):
            below = [
                _digits(item, inputs)[1]
                for arg in args
                for item in (arg if isinstance(arg, tuple) else (arg,))
            ]
            return sum(below) if op == "Multiply" else max(below, default=0)
        case _:
            return 0
