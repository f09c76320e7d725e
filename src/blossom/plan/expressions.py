"""Expressions over a node's input columns: the leaves of the plan, free of any engine or library.

An expression never points at a relation, only at "column `name` of my node's input `input`", so a rewrite may change what
lies below a node without touching what the node computes. Operator names and argument order are those of Ibis's value
operations (`ibis.expr.operations`), whose validators see every expression again before it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


class Facts(NamedTuple):
    """What rewrites ask of an expression again and again; computed once for each object.

    Attributes:
        ops: Operations of the calls in the same scope.
        columns: Input columns read, those that subqueries reach included.
        subquery: Whether it holds a subquery.
        size: How many expressions it is made of, shared ones counted each time they are met.
        depth: How deep they are nested.
    """

    ops: frozenset[str]
    columns: frozenset[Column]
    subquery: bool
    size: int
    depth: int


@dataclass(frozen=True, slots=True)
class Call:
    """An Ibis value operation, by class name, with its arguments in Ibis's order.

    Relation arguments (CountStar, CountDistinctStar) are left out: they always mean the node's own input.
    """

    op: str
    args: tuple[Argument, ...]
    dtype: str
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)
    _facts: Facts | None = field(default=None, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        # asked for at every level by whoever looks an expression up, so it is remembered
        if self._hash is None:
            object.__setattr__(self, "_hash", hash((self.op, self.args, self.dtype)))
        return self._hash  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class Subquery:
    """A scalar, `exists` or `in` subquery; `plan` may hold `Outer` columns."""

    kind: str  # "scalar" | "exists" | "in"
    plan: Relation
    dtype: str
    needle: Expression | None = None
    _facts: Facts | None = field(default=None, init=False, repr=False, compare=False)


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


_EXPRESSIONS = frozenset({Column, Outer, Literal, Call, Subquery})
_COMPOUND = frozenset({Call, Subquery})


def children(expression: Expression) -> list[Expression]:
    """The expressions directly below, subquery plans excluded."""
    if isinstance(expression, Call):
        return _flatten(expression.args)
    if isinstance(expression, Subquery) and expression.needle is not None:
        return [expression.needle]
    return []


def _flatten(args: tuple[Argument, ...]) -> list[Expression]:
    found: list[Expression] = []
    for arg in args:
        if type(arg) in _EXPRESSIONS:
            found.append(arg)  # pyright: ignore[reportArgumentType]
        elif type(arg) is tuple:
            found += _flatten(arg)
    return found


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it in the same scope (not into subquery plans)."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        if type(node) is Call:
            stack += _flatten(node.args)
        elif type(node) is Subquery and node.needle is not None:
            stack.append(node.needle)


_NO_OPS: frozenset[str] = frozenset()
_NO_COLUMNS: frozenset[Column] = frozenset()
_LEAF = Facts(_NO_OPS, _NO_COLUMNS, False, 1, 1)


def facts(expression: Expression) -> Facts:
    """What an expression is made of.

    >>> less = Call("Less", (Column("a", "int64"), Literal(1, "int8")), "boolean")
    >>> sorted(c.name for c in facts(less).columns), facts(less).size, facts(less).depth
    (['a'], 3, 2)
    """
    if isinstance(expression, (Call, Subquery)):
        found = expression._facts  # pyright: ignore[reportPrivateUsage]
        if found is None:
            found = _gathered(expression)
            object.__setattr__(expression, "_facts", found)
        return found
    if isinstance(expression, Column):
        return Facts(_NO_OPS, frozenset((expression,)), False, 1, 1)
    return _LEAF


def _gathered(expression: Call | Subquery) -> Facts:
    ops, read, subquery, size, depth = _NO_OPS, _NO_COLUMNS, False, 1, 1
    for child in children(expression):
        if isinstance(child, Column):
            read = read if child in read else read | {child}
            size += 1
        elif isinstance(child, (Literal, Outer)):
            size += 1
        else:
            below = child._facts or facts(child)  # pyright: ignore[reportPrivateUsage]
            ops = ops | below.ops if ops else below.ops
            read = read | below.columns if read else below.columns
            subquery |= below.subquery
            size += below.size
            depth = max(depth, below.depth)
    depth += size > 1
    if isinstance(expression, Call):
        return Facts(ops if expression.op in ops else ops | {expression.op}, read, subquery, size, depth)
    outer = frozenset(Column(o.name, o.dtype, o.input) for o in outer_columns(expression.plan))
    return Facts(ops, read | outer, True, size, depth)


def columns(expression: Expression) -> frozenset[Column]:
    """The input columns that an expression reads, those read through the subqueries it holds included."""
    return facts(expression).columns


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

    Subquery plans are left alone, but for the needle of an `in`; use `rebuilding.map_outer` for correlated references.
    """
    replaced = rule(expression)
    if replaced is not None:
        return replaced
    if isinstance(expression, Call):
        args = _map_args(expression.args, rule)
        return expression if args is expression.args else Call(expression.op, args, expression.dtype)
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
        if type(arg) in _EXPRESSIONS:
            new = transform(arg, rule)  # pyright: ignore[reportArgumentType]
        elif type(arg) is tuple:
            new = _map_args(arg, rule)
        changed |= new is not arg
        out.append(new)
    return tuple(out) if changed else args


def has(expression: Expression, ops: frozenset[str]) -> bool:
    """Whether any call below (same scope) is one of `ops`."""
    return type(expression) in _COMPOUND and not ops.isdisjoint(facts(expression).ops)


def has_subquery(expression: Expression) -> bool:
    """Whether the expression holds a subquery."""
    return type(expression) in _COMPOUND and facts(expression).subquery


def has_window(expression: Expression) -> bool:
    """Whether the expression holds a window function."""
    return type(expression) in _COMPOUND and "WindowFunction" in facts(expression).ops


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
