"""Expressions over a node's input columns: the leaves of the plan, free of any engine or library.

An expression never points at a relation, only at "column `name` of my node's input `input`", so a rewrite may change what
lies below a node without touching what the node computes. Operator names and argument order are those of Ibis's value
operations (`ibis.expr.operations`), whose validators see every expression again before it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from blossom.plan.relations import Relation


@dataclass(frozen=True, slots=True)
class Column:
    """Column `name` of the node's input number `input`."""

    name: str
    dtype: str
    input: int = 0


@dataclass(frozen=True, slots=True)
class Outer:
    """In a subquery: a column of the node that holds the subquery, `depth` scopes up (1 is the nearest)."""

    name: str
    dtype: str
    input: int = 0
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. Values are plain Python: None, bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, UUID,
    tuples of these, and Ibis's FrozenDict for structs and maps."""

    value: Any
    dtype: str


@dataclass(frozen=True, slots=True)
class TypeArgument:
    """A type given as an argument, as in Cast."""

    dtype: str


@dataclass(frozen=True, slots=True)
class EnumArgument:
    """A member of one of Ibis's unit enumerations, as in TimestampTruncate."""

    enum: str
    member: str


@dataclass(frozen=True, slots=True)
class Call:
    """An Ibis value operation, by class name, with its arguments in Ibis's order.

    Relation arguments (CountStar, CountDistinctStar) are left out: they always mean the node's own input.
    """

    op: str
    args: tuple[Argument, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Subquery:
    """A scalar, `exists` or `in` subquery; `plan` may hold `Outer` columns."""

    kind: str  # "scalar" | "exists" | "in"
    plan: Relation
    dtype: str
    needle: Expression | None = None


Expression: TypeAlias = Column | Outer | Literal | Call | Subquery
Argument: TypeAlias = (
    Expression | TypeArgument | EnumArgument | str | int | float | bool | tuple["Argument", ...] | None
)
Named: TypeAlias = tuple[str, Expression]

TRUE = Literal(True, "boolean")

REDUCTIONS: frozenset[str] = frozenset(
    {
        "Sum", "Mean", "Count", "CountStar", "CountDistinct", "CountDistinctStar", "Min", "Max", "Any", "All", "Variance",
        "StandardDev", "Covariance", "Correlation", "First", "Last", "Arbitrary", "ArgMin", "ArgMax", "Mode", "Median", "Quantile",
        "MultiQuantile", "ApproxCountDistinct", "ApproxMedian", "ApproxQuantile", "ApproxMultiQuantile", "ArrayCollect",
        "GroupConcat", "BitAnd", "BitOr", "BitXor", "Kurtosis",
    }
)  # fmt: skip
"""Value operations that fold many rows into one value."""

IMPURE: frozenset[str] = frozenset(
    {"RandomScalar", "RandomUUID", "TimestampNow", "DateNow", "TimeNow", "Impure"}
)
"""Value operations whose answer changes from call to call."""


def children(expression: Expression) -> Iterator[Expression]:
    """The expressions directly below, subquery plans excluded."""
    if isinstance(expression, Call):
        yield from _flatten(expression.args)
    elif isinstance(expression, Subquery) and expression.needle is not None:
        yield expression.needle


def _flatten(args: tuple[Argument, ...]) -> Iterator[Expression]:
    for arg in args:
        if isinstance(arg, tuple):
            yield from _flatten(arg)
        elif isinstance(arg, Column | Outer | Literal | Call | Subquery):
            yield arg


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it in the same scope (not into subquery plans)."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def columns(expression: Expression) -> frozenset[Column]:
    """The input columns that an expression reads, those read through the subqueries it holds included."""
    found: set[Column] = set()
    for node in walk(expression):
        if isinstance(node, Column):
            found.add(node)
        elif isinstance(node, Subquery):
            found.update(Column(o.name, o.dtype, o.input) for o in outer_columns(node.plan))
    return frozenset(found)


def outer_columns(plan: Relation, depth: int = 1) -> frozenset[Outer]:
    """The `Outer` references of a subquery's plan that reach exactly `depth` scopes up, given with depth 1."""
    found: set[Outer] = set()
    for relation in plan.walk():
        for expression in relation.expressions():
            for node in walk(expression):
                if isinstance(node, Outer) and node.depth == depth:
                    found.add(replace(node, depth=1))
                elif isinstance(node, Subquery):
                    found |= outer_columns(node.plan, depth + 1)
    return frozenset(found)


def transform(expression: Expression, rule: Callable[[Expression], Expression | None]) -> Expression:
    """Rebuild top-down: where `rule` gives a replacement it stands (and is not entered), elsewhere go on below.

    Subquery plans are left alone, but for the needle of an `in`; use `relations.map_outer` for correlated references.
    """
    replaced = rule(expression)
    if replaced is not None:
        return replaced
    if isinstance(expression, Call):
        args = _map_args(expression.args, rule)
        return expression if args is expression.args else replace(expression, args=args)
    if isinstance(expression, Subquery) and expression.needle is not None:
        return replace(expression, needle=transform(expression.needle, rule))
    return expression


def _map_args(
    args: tuple[Argument, ...], rule: Callable[[Expression], Expression | None]
) -> tuple[Argument, ...]:
    out: list[Argument] = []
    changed = False
    for arg in args:
        new: Argument = arg
        if isinstance(arg, tuple):
            new = _map_args(arg, rule)
        elif isinstance(arg, Column | Outer | Literal | Call | Subquery):
            new = transform(arg, rule)
        changed |= new is not arg
        out.append(new)
    return tuple(out) if changed else args


def has(expression: Expression, ops: frozenset[str]) -> bool:
    """Whether any call below (same scope) is one of `ops`."""
    return any(isinstance(node, Call) and node.op in ops for node in walk(expression))


def has_subquery(expression: Expression) -> bool:
    """Whether the expression holds a subquery."""
    return any(isinstance(node, Subquery) for node in walk(expression))


def has_window(expression: Expression) -> bool:
    """Whether the expression holds a window function."""
    return has(expression, frozenset({"WindowFunction"}))


def conjuncts(predicate: Expression) -> Iterator[Expression]:
    """The parts of nested ANDs.

    >>> [c.name for c in conjuncts(Call("And", (Column("a", "boolean"), Column("b", "boolean")), "boolean"))]
    ['a', 'b']
    """
    if isinstance(predicate, Call) and predicate.op == "And":
        for arg in predicate.args:
            yield from conjuncts(arg)  # pyright: ignore[reportArgumentType]
    else:
        yield predicate
