"""The aggregate rule: what may be computed over groups of a private table's rows, and what such a result is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from blossom.plan.errors import Refusal
from blossom.plan.expressions import (
    REDUCTIONS,
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    children,
    columns,
    conjuncts,
)
from blossom.plan.lineage import ELEMENTWISE
from blossom.plan.relations import Aggregate
from blossom.policy.rules import Rules
from blossom.policy.shape import Shapes, held, predicate, present
from blossom.policy.states import (
    AFFINE,
    OPAQUE,
    PRODUCT,
    Carrier,
    State,
    Value,
    null_column,
    rows_of,
    stored,
    unit_column,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """How a reduction reads its arguments: positions of the values it folds, and of its `where`."""

    values: tuple[int, ...]
    where: int


METRICS: dict[str, Metric] = {
    "Sum": Metric((0,), 1),
    "Mean": Metric((0,), 1),
    "Count": Metric((0,), 1),
    "CountStar": Metric((), 0),
    "CountDistinct": Metric((0,), 1),
    "Variance": Metric((0,), 2),
    "StandardDev": Metric((0,), 2),
    "Covariance": Metric((0, 1), 3),
    "Correlation": Metric((0, 1), 3),
}
"""Reductions that may leave once guarded. All others may show one row's value."""

PER_UNIT: frozenset[str] = frozenset({"Sum", "Mean", "Count", "CountStar"})
"""Reductions that keep the form of their argument when each group holds one unit's rows."""

PER_UNIT_OPAQUE: frozenset[str] = frozenset(
    {"CountDistinct", "Variance", "StandardDev", "Covariance", "Correlation", "Min", "Max", "Any", "All", "BitAnd", "BitOr",
     "BitXor", "Kurtosis", "Median", "Quantile", "Mode", "ApproxCountDistinct", "ApproxMedian", "ApproxQuantile"}
)  # fmt: skip
"""Other reductions of one unit's rows: known, and free functions of them."""


@dataclass(frozen=True, slots=True)
class Reduced:
    """One reduction inside a metric: the values whose nulls it skips, and its `where`."""

    values: tuple[Expression, ...]
    where: Expression | None


def reduced(call: Call, free: Collection[Call] = ()) -> Reduced:
    """The parts of a reduction of `METRICS`; a conditional one's (see `conditional`) unless it is among the `free`."""
    found = None if call in free else conditional(call)
    return _direct(call) if found is None else found


def _direct(call: Call) -> Reduced:
    metric = METRICS[call.op]
    where = _at(call, metric.where)
    return Reduced(tuple(value for at in metric.values if (value := _at(call, at)) is not None), where)


def conditional(call: Call) -> Reduced | None:
    """The parts of a sum of `CASE WHEN c THEN v ELSE 0 END` as those of a sum of v where c; None where it is none.

    Other reductions of one value: only where the CASE has no ELSE, so that they skip what is not c.
    """
    metric = METRICS[call.op]
    if len(metric.values) != 1:
        return None
    match _at(call, metric.values[0]):
        case Call(
            "IfElse",
            (Column() | Call() as condition, Column() | Call() | Literal() as value, Literal() as rest),
        ):
            pass
        case Call(
            "SearchedCase",
            ((Column() | Call() as condition,), (Column() | Call() | Literal() as value,), Literal() as rest),
        ):
            pass
        case _:
            return None
    nothing = rest.value is None or (
        call.op == "Sum" and isinstance(rest.value, int | float | Decimal) and rest.value == 0
    )
    if not nothing or (isinstance(value, Literal) and value.value is None):
        return None
    where = _at(call, metric.where)
    both = condition if where is None else Call("And", (where, condition), "boolean")
    return Reduced((value,) if columns(value) else (), both)


def reductions(expression: Expression) -> Iterator[Call]:
    """The outermost reductions in a metric."""
    if isinstance(expression, Call) and expression.op in REDUCTIONS:
        yield expression
    else:
        for child in children(expression):
            yield from reductions(child)


def _at(call: Call, position: int) -> Expression | None:
    arg = call.args[position] if position < len(call.args) else None
    return arg if isinstance(arg, Column | Outer | Literal | Call | Subquery) else None


def row_like(node: Aggregate, below: State) -> bool:
    """Whether each group holds the rows of one unit of every private table."""
    keyed: set[int] = set()
    for _, value in node.groups:
        if isinstance(value, Column):
            keyed |= below.value(value.name).covers
    return keyed == set(range(len(below.units)))


def keys(
    node: Aggregate, rules: Rules, shapes: Shapes, *, leaving: bool
) -> tuple[dict[str, Value], list[Refusal]]:
    """The values of the group keys, and what is refused for good."""
    refusals: list[Refusal] = []
    found: dict[str, Value] = {}
    for name, expression in node.groups:
        value = shapes.value(expression)
        if value.bare is not None:
            refusals += rules.key(value.bare, "group key")
        elif sources := stored(value.sources):
            refusals += rules.predicates(sources, "group key")
            shapes.problems.extend(rules.transforms(sources, "group key"))
        if leaving:
            shapes.problems.extend(rules.reaches(value.sources))
        found[name] = value
    return found, refusals


def guarded(node: Aggregate, below: State, rules: Rules, shapes: Shapes, free: set[Call]) -> list[Refusal]:
    """Judge an aggregate that is to leave behind a guard; problems go to `shapes.problems`, the rest is returned.

    Conditional reductions all of whose columns may be computed with freely are added to `free`: their condition needs no guard.
    """
    problems = shapes.problems
    problems.extend(below.pending)
    for unit in below.units:
        if unit.missing is not None:
            problems.append(unit.missing)
    refusals = keys(node, rules, shapes, leaving=True)[1]
    if all(rules.foreign(unit.table) for unit in below.units):
        refusals += rules.stewards({unit.table for unit in below.units}, "aggregates")
    keyed = frozenset[int]().union(
        *(below.value(value.name).covers for _, value in node.groups if isinstance(value, Column))
    )
    for index in sorted(keyed):
        unit = below.units[index]
        if unit.min_group > 1:
            others = sorted({other.table for at, other in enumerate(below.units) if at not in keyed})
            problems.append(
                rules.refuse(
                    unit.table, None, "min_group",
                    f"each group is one unit of {unit.table}, but many of {', '.join(others)}",
                    "group by the units of every table (per-unit values), or by something coarser",
                )
            )  # fmt: skip
    for _, expression in node.metrics:
        refusals += _metric(expression, below, rules, shapes, free)
    return refusals


def _metric(
    expression: Expression, below: State, rules: Rules, shapes: Shapes, free: set[Call]
) -> list[Refusal]:
    """One metric: reductions, and known arithmetic over their results."""
    match expression:
        case Call() if expression.op in REDUCTIONS:
            return _reduction(expression, below, rules, shapes, free)
        case Call() if expression.op in ELEMENTWISE:
            return [
                refusal
                for child in children(expression)
                for refusal in _metric(child, below, rules, shapes, free)
            ]
        case Literal():
            return []
        case Subquery(kind="scalar") if not columns(expression):
            return []
        case _:
            shapes.problems.append(
                rules.refuse(
                    below.units[0].table, None, "operation",
                    f"no rule knows {_name(expression)} as a metric of a private table", _known(),
                )
            )  # fmt: skip
            return []


def _reduction(call: Call, below: State, rules: Rules, shapes: Shapes, free: set[Call]) -> list[Refusal]:
    problems = shapes.problems
    if call.op not in METRICS:
        sources = sorted(source for child in children(call) for source in shapes.value(child).sources)
        table, column = sources[0] if sources else (below.units[0].table, None)
        problems.append(
            rules.refuse(table, column, "metric", f"{call.op} may show a single row's value", _known())
        )
        return []
    if conditional(call) is not None:
        sources = frozenset(source for part in _direct(call).values for source in shapes.value(part).sources)
        if not any(rules.transforms(sources, "")):
            free.add(call)
    parts = reduced(call, free)
    for part in parts.values:
        value = shapes.value(part)
        problems.extend(rules.reaches(value.sources))
        problems.extend(rules.stewards({table for table, _ in value.sources}, "figures of its columns"))
        # Sums over several columns collide where a chosen equation holds: their distinct values count solutions.
        counted = call.op == "CountDistinct" and value.bare is None
        if below.weighted or counted or not held(value):
            reason = "rows repeated by joined data" if below.weighted else f"argument of {call.op}"
            problems.extend(rules.transforms(value.sources, reason))
    if parts.where is None:
        return []
    refusals: list[Refusal] = []
    for conjunct in conjuncts(parts.where):
        known = present(shapes, conjunct)
        if known is None:
            refusals += predicate(shapes, conjunct, f"where of {call.op}")
        else:
            problems.extend(rules.reaches(known.sources))
    return refusals


def per_unit(node: Aggregate, below: State, rules: Rules, shapes: Shapes) -> tuple[State, list[Refusal]]:
    """The state of an aggregate whose groups are single units: still rows, one or more a unit."""
    found_columns, refusals = keys(node, rules, shapes, leaving=False)
    for name, expression in node.metrics:
        found_columns[name], found = _unit_metric(expression, below, rules, shapes)
        refusals += found
    carriers = tuple(
        Carrier(
            Call("Max", (Column(unit_column(index), unit.dtype), None), unit.dtype),
            Call("Max", (Column(null_column(index), "int8"), None), "int8"),
        )
        for index, unit in enumerate(below.units)
    )
    state = replace(
        below,
        columns=found_columns,
        pending=(*below.pending, *shapes.problems),
        carriers=carriers,
    )
    return state, refusals


def _unit_metric(
    expression: Expression, below: State, rules: Rules, shapes: Shapes
) -> tuple[Value, list[Refusal]]:
    if isinstance(expression, Literal):
        return shapes.value(expression), []
    if isinstance(expression, Call) and expression.op in PER_UNIT:
        parts = _direct(expression)
        values = [shapes.value(part) for part in parts.values]
        found = values[0] if values else Value(rows_of(below.units), AFFINE)
        if parts.where is None:
            form = max(found.form, AFFINE)
            return replace(found, form=form, bare=None, exact=frozenset(), covers=frozenset()), []
        # A condition makes of the metric a choice among rows: no longer affine in them.
        where = shapes.value(parts.where).sources
        refusals = list(rules.predicates(stored(where), f"where of {expression.op}"))
        counted = not values and not any(rules.transforms(stored(where), f"where of {expression.op}"))
        # How many of its rows a unit has under an allowed condition may be summed, but multiply nothing: it is a flag.
        return Value(found.sources | where, PRODUCT if counted else OPAQUE), refusals
    if isinstance(expression, Call) and (expression.op in PER_UNIT_OPAQUE or expression.op in ELEMENTWISE):
        sources: frozenset[tuple[str, str]] = frozenset()
        refusals = []
        for child in children(expression):
            inner, found = (
                (shapes.value(child), [])
                if expression.op in PER_UNIT_OPAQUE
                else _unit_metric(child, below, rules, shapes)
            )
            sources |= inner.sources
            refusals += found
        return Value(sources), refusals
    shapes.problems.append(
        rules.refuse(
            below.units[0].table, None, "operation",
            f"no rule knows {_name(expression)} as a metric of a unit's rows", _known(),
        )
    )  # fmt: skip
    return Value(), []


def _name(expression: Expression) -> str:
    return expression.op if isinstance(expression, Call) else type(expression).__name__.lower()


def _known() -> str:
    return ", ".join(METRICS)
