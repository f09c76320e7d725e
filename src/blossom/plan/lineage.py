"""Where values come from: which table columns reach each output column of a relation, and which only steer its rows.

An abstract interpretation, bottom-up over the nodes of a plan: a column is stood for by the set of source columns that reach
it. A node or value operation without a rule here raises: nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal as OneOf
from typing import NamedTuple

from blossom.plan.errors import PlanError
from blossom.plan.expressions import (
    REDUCTIONS,
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    children,
    walk,
)
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    MapBatches,
    Model,
    Parts,
    Predict,
    Project,
    Received,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Sort,
    Train,
    Unnest,
)

State = OneOf["raw", "mixed"]


class Source(NamedTuple):
    """A table's column that reaches a value.

    Attributes:
        table: The table's name.
        column: Its column.
        site: The site whose part it is; None for the federated table.
        state: "raw" where a row's own value may be read off, "mixed" where only a sum, mean, count or the like of it may.
    """

    table: str
    column: str
    site: str | None = None
    state: State = "raw"


Sources = frozenset[Source]
NOTHING: Sources = frozenset()


class Flow(NamedTuple):
    """What reaches a relation: each output column's sources, those that steer rows, and the (table, site)s it reads."""

    columns: Mapping[str, Sources]
    rows: Sources
    tables: frozenset[tuple[str, str | None]]


MIXING: frozenset[str] = frozenset(
    {
        "Sum", "Mean", "Count", "CountStar", "CountDistinct", "CountDistinctStar", "ApproxCountDistinct", "Variance",
        "StandardDev", "Covariance", "Correlation", "Kurtosis",
    }
)  # fmt: skip
"""Reductions whose result is no single row's value; all others may show one."""

ELEMENTWISE: frozenset[str] = frozenset(
    {
        "Abs", "Acos", "Add", "And", "Array", "ArrayConcat", "ArrayContains", "ArrayDistinct", "ArrayFlatten", "ArrayIndex",
        "ArrayIntersect", "ArrayLength", "ArrayMax", "ArrayMean", "ArrayMin", "ArrayMode", "ArrayPosition", "ArrayRemove",
        "ArrayRepeat", "ArraySlice", "ArraySort", "ArrayStringJoin", "ArraySum", "ArrayUnion", "Asin", "Atan", "Atan2",
        "BaseConvert", "Between", "BetweenTime", "BitwiseAnd", "BitwiseLeftShift", "BitwiseNot", "BitwiseOr",
        "BitwiseRightShift", "BitwiseXor", "Bucket", "Capitalize", "Cast", "Ceil", "Clip", "Coalesce", "Cos", "Cot", "Date",
        "DateAdd", "DateDelta", "DateDiff", "DateFromYMD", "DateSub", "DateTruncate", "DayOfWeekIndex", "DayOfWeekName",
        "Degrees", "Divide", "E", "EndsWith", "Equals", "Exp", "ExtractAuthority", "ExtractDay", "ExtractDayOfYear",
        "ExtractEpochSeconds", "ExtractFile", "ExtractFragment", "ExtractHost", "ExtractHour", "ExtractIsoYear",
        "ExtractMicrosecond", "ExtractMillisecond", "ExtractMinute", "ExtractMonth", "ExtractPath", "ExtractProtocol",
        "ExtractQuarter", "ExtractQuery", "ExtractSecond", "ExtractUserInfo", "ExtractWeekOfYear", "ExtractYear", "FindInSet",
        "Floor", "FloorDivide", "Greater", "GreaterEqual", "Greatest", "Hash", "HashBytes", "HexDigest", "IdenticalTo",
        "IfElse", "InValues", "IntervalAdd", "IntervalFloorDivide", "IntervalFromInteger", "IntervalMultiply",
        "IntervalSubtract", "IsInf", "IsNan", "IsNull", "JSONGetItem", "LPad", "LStrip", "Least", "Less", "LessEqual",
        "Levenshtein", "Ln", "Log", "Log10", "Log2", "Lowercase", "Map", "MapConcat", "MapContains", "MapGet", "MapKeys",
        "MapLength", "MapMerge", "MapValueForKey", "MapValueOrDefaultForKey", "MapValues", "Modulus", "Multiply", "Negate",
        "Not", "NotEquals", "NotNull", "NullIf", "Or", "Pi", "Power", "RPad", "RStrip", "Radians", "RegexExtract",
        "RegexReplace", "RegexSearch", "RegexSplit", "Repeat", "Reverse", "Round", "SearchedCase", "Sign", "SimpleCase",
        "Sin", "Sqrt", "StartsWith", "StrRight", "Strftime", "StringAscii", "StringConcat", "StringContains", "StringFind",
        "StringJoin", "StringLength", "StringReplace", "StringSQLILike", "StringSQLLike", "StringSlice", "StringSplit",
        "StringToDate", "StringToTime", "StringToTimestamp", "Strip", "StructColumn", "StructField", "Substring", "Subtract",
        "Tan", "Time", "TimeAdd", "TimeDelta", "TimeDiff", "TimeFromHMS", "TimeSub", "TimeTruncate", "TimestampAdd",
        "TimestampBucket", "TimestampDelta", "TimestampDiff", "TimestampFromUNIX", "TimestampFromYMDHMS", "TimestampSub",
        "TimestampTruncate", "ToJSONArray", "ToJSONMap", "Translate", "TryCast", "TypeOf", "Uppercase", "Xor",
    }
)  # fmt: skip
"""Value operations whose result depends on their arguments in the same row, and on nothing else."""

ROW_ORDER: frozenset[str] = frozenset(
    {
        "WindowFunction", "WindowBoundary", "SortKey", "Lag", "Lead", "MinRank", "DenseRank", "RowNumber", "PercentRank",
        "CumeDist", "NTile", "NthValue", "TimestampNow", "DateNow", "TimeNow", "RandomScalar", "RandomUUID",
    }
)  # fmt: skip
"""Operations that also look at other rows or at nothing: what reaches them is what reaches their arguments."""


def lineage(root: Relation) -> Flow:
    """The sources of a relation's output.

    Returns:
        Per output column, in order, the table columns that reach it (values, conditions of CASE, keys of a group it is), and apart
        from these the columns that only steer which rows there are (predicates, join keys, group keys, order).

    Raises:
        PlanError: A node or value operation has no rule.

    >>> from blossom.plan.schema import Schema
    >>> from blossom.plan.relations import call
    >>> t = Scan("t", Schema([("a", "int64"), ("b", "int64")]))
    >>> over = call("Greater", t.column("b"), Literal(1, "int8"), dtype="boolean")
    >>> flow = lineage(Filter(t, (over,)))
    >>> sorted(s.column for s in flow.columns["a"]), sorted(s.column for s in flow.rows)
    (['a'], ['b'])
    """
    return Tracer().relation(root)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The inputs of a node that holds a subquery, for its `Outer` columns."""

    inputs: tuple[Flow, ...]
    parent: _Scope | None


class Tracer:
    """Lineage of the relations of one plan, each computed once; `release` marks a relation as public from there on."""

    def __init__(self, scope: _Scope | None = None, kept: Mapping[str, Flow] | None = None) -> None:
        self._memo: dict[int, tuple[Relation, Flow]] = {}
        self._scope = scope
        self._kept = kept or {}

    def relation(self, root: Relation) -> Flow:
        """What reaches `root`."""
        found = self._memo.get(id(root))
        if found is not None:
            return found[1]
        for node in self._pending(root):
            rule = _RULES.get(type(node))
            if rule is None:
                raise PlanError(
                    f"no lineage rule for a {type(node).__name__} node", hint="this operator cannot be judged"
                )
            # The node is kept with its flow: an id is only good while its object lives.
            self._memo[id(node)] = (node, rule(self, node))
        return self._memo[id(root)][1]

    def _pending(self, root: Relation) -> Iterable[Relation]:
        stack: list[tuple[Relation, bool]] = [(root, False)]
        while stack:
            node, done = stack.pop()
            if id(node) in self._memo:
                continue
            if done:
                yield node
            else:
                stack.append((node, True))
                stack.extend((child, False) for child in node.inputs)

    def release(self, node: Relation) -> None:
        """From now on nothing private is behind `node`: a guard or an owner let it out."""
        self._memo[id(node)] = (node, Flow(dict.fromkeys(node.schema, NOTHING), NOTHING, frozenset()))

    def value(self, expression: Expression, inputs: tuple[Flow, ...]) -> Sources:
        """What reaches an expression over the columns of `inputs`."""
        if isinstance(expression, Column):
            return inputs[expression.input].columns[expression.name]
        match expression:
            case Literal():
                return NOTHING
            case Call():
                found = self._union(children(expression), inputs)
                if expression.op in MIXING:
                    return frozenset(source._replace(state="mixed") for source in found)
                if expression.op in ELEMENTWISE or expression.op in REDUCTIONS or expression.op in ROW_ORDER:
                    return found
                raise PlanError(
                    f"no lineage rule for the value operation {expression.op!r}", hint="it cannot be judged"
                )
            case Outer():
                scope = self._scope
                for _ in range(expression.depth - 1):
                    scope = scope.parent if scope else None
                if scope is None:
                    raise PlanError(f"column {expression.name!r} refers to no enclosing query")
                return scope.inputs[expression.input].columns[expression.name]
            case Subquery():
                return self._subquery(expression, inputs)

    def _subquery(self, expression: Subquery, inputs: tuple[Flow, ...]) -> Sources:
        # A subquery that reaches out depends on its place, so its flows are not kept. All that touches it counts as
        # reaching: whether a row exists is a value here.
        tracer = Tracer(_Scope(inputs, self._scope), self._kept) if correlated(expression.plan) else self
        flow = tracer.relation(expression.plan)
        found = flow.rows.union(*flow.columns.values())
        return found if expression.needle is None else found | self.value(expression.needle, inputs)

    def _union(self, expressions: Iterable[Expression], inputs: tuple[Flow, ...]) -> Sources:
        found: Sources = NOTHING
        for expression in expressions:
            found = found | self.value(expression, inputs)
        return found

    def tables(self, node: Relation, inputs: Iterable[Flow]) -> frozenset[tuple[str, str | None]]:
        """The tables that the inputs and the subqueries of a node read."""
        found = frozenset[tuple[str, str | None]]().union(*(flow.tables for flow in inputs))
        for subquery in subqueries(node):
            found |= _scanned(subquery.plan)
        return found

    # ---- one rule a node

    def scan(self, node: Scan) -> Flow:
        columns = {name: frozenset({Source(node.table, name, node.site)}) for name in node.schema}
        return Flow(columns, NOTHING, frozenset({(node.table, node.site)}))

    def leaf(self, node: Received | Constant | Model) -> Flow:
        if isinstance(node, Received) and node.key in self._kept:
            return self._kept[node.key]
        return Flow(dict.fromkeys(node.schema, NOTHING), NOTHING, frozenset())

    def constant(self, node: Constant) -> Flow:
        return Flow(
            {name: self.value(value, ()) for name, value in node.values}, NOTHING, self.tables(node, ())
        )

    def project(self, node: Project) -> Flow:
        below = self._memo[id(node.input)][1]
        columns = {name: self.value(value, (below,)) for name, value in node.values}
        return Flow(columns, below.rows, self.tables(node, (below,)))

    def filter(self, node: Filter) -> Flow:
        below = self._memo[id(node.input)][1]
        return Flow(
            below.columns, below.rows | self._union(node.predicates, (below,)), self.tables(node, (below,))
        )

    def join(self, node: Join) -> Flow:
        below = tuple(self._memo[id(table)][1] for table in node.tables)
        rows = NOTHING.union(*(flow.rows for flow in below))
        for link in node.links:
            rows = rows | self._union(link.predicates, below)
        columns = {name: self.value(value, below) for name, value in node.values}
        return Flow(columns, rows, self.tables(node, below))

    def aggregate(self, node: Aggregate) -> Flow:
        below = self._memo[id(node.input)][1]
        keys = {name: self.value(value, (below,)) for name, value in node.groups}
        metrics = {name: self.value(value, (below,)) for name, value in node.metrics}
        return Flow(keys | metrics, below.rows.union(NOTHING, *keys.values()), self.tables(node, (below,)))

    def sort(self, node: Sort) -> Flow:
        below = self._memo[id(node.input)][1]
        rows = below.rows | self._union((key.value for key in node.keys), (below,))
        return Flow(below.columns, rows, self.tables(node, (below,)))

    def same(self, node: Limit | Sample) -> Flow:
        return self._memo[id(node.input)][1]

    def distinct(self, node: Distinct) -> Flow:
        below = self._memo[id(node.input)][1]
        return Flow(below.columns, below.rows.union(*below.columns.values()), below.tables)

    def stacked(self, node: SetOperation | Parts | Copies) -> Flow:
        below = [self._memo[id(table)][1] for table in node.inputs]
        columns = {
            name: NOTHING.union(*parts)
            for name, parts in zip(
                node.schema, zip(*(flow.columns.values() for flow in below), strict=True), strict=True
            )
        }
        rows = NOTHING.union(*(flow.rows for flow in below))
        if isinstance(node, SetOperation) and (node.distinct or node.kind != "union"):
            rows = rows.union(*columns.values())
        return Flow(columns, rows, self.tables(node, below))

    def unnest(self, node: Unnest) -> Flow:
        below = self._memo[id(node.input)][1]
        value = self.value(node.value, (below,))
        columns = {**below.columns, node.name: value}
        if node.offset is not None:
            columns[node.offset] = value
        return Flow(columns, below.rows | value, self.tables(node, (below,)))

    def map_batches(self, node: MapBatches) -> Flow:
        # What a function does is unknown: everything may reach everything, and decide which rows there are.
        below = self._memo[id(node.input)][1]
        everything = below.rows.union(*below.columns.values())
        return Flow(dict.fromkeys(node.schema, everything), everything, below.tables)

    def train(self, node: Train) -> Flow:
        below = self._memo[id(node.input)][1]
        used = {*filter(None, (node.target,)), *node.features, *_named(node.options, below.columns)}
        # A model can hold rows (neighbours, trees, overfitted networks): what reaches it counts as raw.
        found = below.rows.union(*(below.columns[name] for name in used))
        return Flow({"model": found}, below.rows, below.tables)

    def predict(self, node: Predict) -> Flow:
        below, model = (self._memo[id(table)][1] for table in node.inputs)
        found = NOTHING.union(*(below.columns[name] for name in node.features), *model.columns.values())
        columns = {**below.columns, **{name: found for name, _ in node.outputs}}
        return Flow(columns, below.rows, below.tables | model.tables)


def correlated(plan: Relation, level: int = 0) -> bool:
    """Whether a subquery's plan refers to a query around it."""
    for relation in plan.walk():
        for expression in relation.expressions():
            for node in walk(expression):
                if isinstance(node, Outer) and node.depth > level:
                    return True
                if isinstance(node, Subquery) and correlated(node.plan, level + 1):
                    return True
    return False


def _named(options: str, columns: Mapping[str, Sources]) -> Iterable[str]:
    """The columns that a training's options name (weights, groups)."""
    found = json.loads(options)
    return [value for value in found.values() if isinstance(value, str) and value in columns]


def subqueries(node: Relation) -> list[Subquery]:
    """The subqueries in a node's own expressions, those inside their plans left out."""
    found: list[Subquery] = []
    if not node.holds_subquery:
        return found
    stack: list[object] = [expression for expression in node.expressions() if type(expression) is not Column]
    while stack:
        item = stack.pop()
        if isinstance(item, Call):
            stack.extend(arg for arg in item.args if type(arg) is not Column)
        elif isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Subquery):
            found.append(item)
            stack.append(item.needle)
    return found


def _scanned(plan: Relation) -> frozenset[tuple[str, str | None]]:
    found: set[tuple[str, str | None]] = set()
    for node in plan.walk():
        if isinstance(node, Scan):
            found.add((node.table, node.site))
        for subquery in subqueries(node):
            found |= _scanned(subquery.plan)
    return frozenset(found)


_RULES: dict[type[Relation], Callable[..., Flow]] = {
    Scan: Tracer.scan,
    Received: Tracer.leaf,
    Constant: Tracer.constant,
    Model: Tracer.leaf,
    Project: Tracer.project,
    Filter: Tracer.filter,
    Join: Tracer.join,
    Aggregate: Tracer.aggregate,
    Sort: Tracer.sort,
    Limit: Tracer.same,
    Sample: Tracer.same,
    Distinct: Tracer.distinct,
    SetOperation: Tracer.stacked,
    Parts: Tracer.stacked,
    Copies: Tracer.stacked,
    Unnest: Tracer.unnest,
    MapBatches: Tracer.map_batches,
    Train: Tracer.train,
    Predict: Tracer.predict,
}
