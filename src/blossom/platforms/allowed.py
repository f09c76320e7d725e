"""Allow-lists: the operations, with the types and forms, that were shown to give DuckDB's answer on an engine driven by SQL.

`COMMON` is what most engines can be brought to agree on; an engine takes it, changes what it must, and the conformance suite
judges. What stands in no list is refused, whatever the engine's compiler can express.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

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
    walk,
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
        if (family(_dtype(arg) or "null"), family(to.dtype)) in allowed:
            return None
        return f"Cast of {_dtype(arg)} to {to.dtype} was not shown to agree"

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

JOINS = frozenset({"inner", "left", "right", "outer", "semi", "anti", "cross"})
RELATIONS: frozenset[type[rel.Relation]] = frozenset(
    {
        rel.Scan, rel.Received, rel.Constant, rel.Project, rel.Filter, rel.Join, rel.Aggregate, rel.Sort, rel.Limit, rel.Distinct,
        rel.SetOperation,
    }
)  # fmt: skip


def _accept(value: object) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class AllowList:
    """What one engine runs with DuckDB's answers.

    Attributes:
        engine: Its name in reasons ("PostgreSQL").
        operations: Operation -> when it is right.
        differs: Operation -> why it is not; gives the reason for one that is not in `operations`.
        relations: The nodes of plans that agree.
        joins: The kinds of join that do.
        equal_outer: Whether full joins need equalities between the tables.
        identifier: Why a column's name cannot be used; None when it can.
        literal: Why a constant cannot be written; None when it can.
        node: A further check of a node.
    """

    engine: str
    operations: Mapping[str, Rule]
    differs: Mapping[str, str] = field(default_factory=dict)
    relations: frozenset[type[rel.Relation]] = RELATIONS
    joins: frozenset[str] = JOINS
    equal_outer: bool = False
    identifier: Callable[[str], str | None] = _accept
    literal: Callable[[Literal], str | None] = _accept
    node: Callable[[rel.Relation], str | None] = _accept

    def node_refusal(self, node: rel.Relation) -> str | None:
        """Why a node's own work, subqueries included, is not known to agree with DuckDB; None when it is."""
        reason = next(filter(None, map(self.identifier, node.schema)), None)
        if reason is not None:
            return reason
        odd = [text for text in node.schema.values() if family(text) is F.OTHER]
        if odd:
            return f"a column of type {odd[0]} was not shown to agree"
        if type(node) not in self.relations:
            return f"{type(node).__name__} was not shown to agree"
        reason = self._shape(node) or self.node(node)
        return reason or next(filter(None, map(self.refusal, node.expressions())), None)

    def refusal(self, expression: Argument) -> str | None:
        """Why an expression is not known to agree; None when it is."""
        if isinstance(expression, tuple):
            return next(filter(None, map(self.refusal, expression)), None)
        if isinstance(expression, Subquery):
            inner = (self.node_refusal(node) for node in expression.plan.walk())
            return next(filter(None, inner), None) or self.refusal(expression.needle)
        if isinstance(expression, Literal):
            if family(expression.dtype) is F.OTHER:
                return f"a literal of type {expression.dtype} was not shown to agree"
            return self.literal(expression)
        return self._call(expression) if isinstance(expression, Call) else None

    def _call(self, call: Call) -> str | None:
        rule = self.operations.get(call.op)
        if rule is None:
            return self.differs.get(call.op, f"{call.op} was not shown to agree")
        for takes, arg in zip(rule.takes, call.args, strict=False):
            for item in arg if isinstance(arg, tuple) else (arg,):
                text = _dtype(item)
                if takes is not None and text is not None and family(text) not in takes:
                    return f"{call.op} of {text} was not shown to agree"
        reason = rule.check(call) if rule.check else None
        interval = call.op in ("DateAdd", "DateSub", "TimestampAdd", "TimestampSub")
        return reason or next(filter(None, map(self.refusal, call.args[:1] if interval else call.args)), None)

    def _shape(self, node: rel.Relation) -> str | None:
        match node:
            case rel.Join():
                return self._join(node)
            case rel.SetOperation():
                return _set_operation(node)
            case rel.Sort():
                odd = [key.value.dtype for key in node.keys if family(key.value.dtype) not in ORDERABLE]
                return f"order by {odd[0]} was not shown to agree" if odd else None
            case _:
                return None

    def _join(self, node: rel.Join) -> str | None:
        for position, link in enumerate(node.links, start=1):
            if link.how not in self.joins:
                return f"{link.how} joins were not shown to agree"
            parts = [part for predicate in link.predicates for part in conjuncts(predicate)]
            equal = bool(parts) and all(_equality(part, position) for part in parts)
            if link.how == "outer" and self.equal_outer and not equal:
                return f"{self.engine}'s full joins need equalities between the tables"
        return None


def _equality(part: Expression, position: int) -> bool:
    if not isinstance(part, Call) or part.op != "Equals":
        return False
    one, other = ({column.input for column in columns(arg)} for arg in part.args)  # pyright: ignore[reportArgumentType]
    return (one == {position} and other != set() and position not in other) or (
        other == {position} and one != set() and position not in one
    )


def _set_operation(node: rel.SetOperation) -> str | None:
    for texts in zip(*(table.schema.values() for table in node.tables), strict=True):
        kinds = {family(text) for text in texts}
        if len(kinds) > 1 and not kinds <= {F.INTEGER, F.FLOAT64, F.DECIMAL}:
            return f"{node.kind} of {', '.join(texts)} was not shown to agree"
    return None


# --- restrictions that several engines share ---------------------------------------------------------------------------------


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


def subqueries_in_filters(engine: str, node: rel.Relation) -> str | None:
    """Why a node's subqueries do not run on an engine that turns them into joins, which it can in some places only."""
    for value in node.expressions():
        for part in walk(value):
            if not isinstance(part, Subquery):
                continue
            if part.kind != "scalar" and not isinstance(node, rel.Filter):
                return f"{engine} has `{part.kind}` subqueries in filters only"
            if part.kind != "exists" and correlated(part.plan):
                return f"correlated `{part.kind}` subqueries were not shown to agree on {engine}"
    return None


def correlated(plan: rel.Relation) -> bool:
    """Whether a subquery reads columns of the query around it."""
    parts = (part for node in plan.walk() for value in node.expressions() for part in walk(value))
    return any(
        isinstance(part, Outer) or (isinstance(part, Subquery) and correlated(part.plan)) for part in parts
    )
