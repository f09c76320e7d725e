"""Allow-lists: what was shown to give DuckDB's answer on an engine driven by SQL.

What stands in no list is refused, whatever the engine's compiler can express.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from weakref import WeakKeyDictionary

from blossom.plan import relations as rel
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    columns,
    conjuncts,
    walk,
)
from blossom.plan.schema import Schema
from blossom.platforms.families import ORDERABLE, Family, family
from blossom.platforms.rules import Rule, type_of

F = Family

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
    _known: WeakKeyDictionary[rel.Relation, str | None] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    def node_refusal(self, node: rel.Relation) -> str | None:
        """Why a node's own work, subqueries included, is not known to agree with DuckDB; None when it is.

        Found once for each node: every server of this engine in a federation asks the same.
        """
        try:
            return self._known[node]
        except KeyError:
            found = self._known[node] = self._node_refusal(node)
            return found

    def _node_refusal(self, node: rel.Relation) -> str | None:
        reason = _columns(self.identifier, node.schema)
        if reason is not None:
            return reason
        if type(node) not in self.relations:
            return f"{type(node).__name__} was not shown to agree"
        reason = self._shape(node) or self.node(node)
        return reason or next(filter(None, map(self.refusal, node.expressions())), None)

    def refusal(self, expression: Argument) -> str | None:
        """Why an expression is not known to agree; None when it is."""
        if isinstance(expression, Column):
            return None
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
            if takes is None:
                continue
            for item in arg if isinstance(arg, tuple) else (arg,):
                text = type_of(item)
                if text is not None and family(text) not in takes:
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


@lru_cache(maxsize=4096)
def _columns(identifier: Callable[[str], str | None], schema: Schema) -> str | None:
    """Why columns of these names and types cannot be there; most nodes of a plan have those of the node below."""
    reason = next(filter(None, map(identifier, schema)), None)
    odd = [text for text in schema.values() if family(text) is F.OTHER]
    return f"a column of type {odd[0]} was not shown to agree" if reason is None and odd else reason


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


def subqueries_in_filters(engine: str, node: rel.Relation) -> str | None:
    """Why a node's subqueries do not run on an engine that turns them into joins, which it can in some places only."""
    if not node.holds_subquery:
        return None
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
