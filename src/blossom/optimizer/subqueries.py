"""Plans inside subquery expressions: which parts stand on their own, and how a node looks once they were cut out.

A subquery's plan is *closed* when it refers to nothing outside it. Closed plans, and the largest closed sub-plans of the
others, are *attached* to the node that holds the subquery: further inputs of it, that may be computed elsewhere. What is
left of a correlated subquery is its *spine*, which runs with the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from blossom.plan.expressions import (
    Column,
    Expression,
    Outer,
    Subquery,
    columns,
    has_subquery,
    transform,
    walk,
)
from blossom.plan.relations import Aggregate, Filter, Join, Limit, Project, Relation, Sample, Sort


def reach(plan: Relation) -> int:
    """How many scopes above its own a plan refers to; 0 for a closed one."""
    furthest = 0
    for relation in plan.walk():
        for expression in relation.expressions():
            for node in walk(expression):
                if isinstance(node, Outer):
                    furthest = max(furthest, node.depth)
                elif isinstance(node, Subquery):
                    furthest = max(furthest, reach(node.plan) - 1)
    return furthest


@dataclass(frozen=True, eq=False)
class Attached:
    """A closed sub-plan of a subquery, and the columns of it that are needed (None: all)."""

    plan: Relation
    needed: tuple[str, ...] | None


def subqueries(node: Relation) -> Iterator[Subquery]:
    """The subqueries directly in a node's own expressions."""
    if not node.holds_subquery:
        return
    for expression in node.expressions():
        for inner in walk(expression):
            if isinstance(inner, Subquery):
                yield inner


def attached(node: Relation) -> tuple[Attached, ...]:
    """Every largest closed sub-plan of the node's subqueries, once each."""
    found: dict[int, Attached] = {}
    for subquery in subqueries(node):
        if reach(subquery.plan) == 0:
            _add(found, Attached(subquery.plan, None))
        else:
            _from_spine(subquery.plan, None if subquery.kind != "exists" else frozenset(), found)
    return tuple(found.values())


def spine(node: Relation) -> Iterator[Relation]:
    """The nodes of the node's subqueries that are not closed, in nested subqueries too: they run with the node."""
    for subquery in subqueries(node):
        if reach(subquery.plan) == 0:
            continue
        stack = [subquery.plan]
        while stack:
            relation = stack.pop()
            if reach(relation) > 0:
                yield relation
                yield from spine(relation)
                stack.extend(relation.inputs)


Rule = Callable[[Relation], Relation]


def replace_attached(node: Relation, closed: Rule, spine_form: Rule) -> Relation:
    """The node with the plans of its subqueries rebuilt; itself when nothing changed.

    Args:
        node: Holds the subqueries.
        closed: Gives what stands for a closed sub-plan.
        spine_form: Gives what stands for a spine node (its inputs already rebuilt).
    """
    changed = False

    def inside(expression: Expression) -> Expression:
        if not has_subquery(expression):
            return expression

        def one(part: Expression) -> Expression | None:
            nonlocal changed
            if not isinstance(part, Subquery):
                return None
            plan = _rebuild(part.plan, closed, spine_form)
            needle = None if part.needle is None else inside(part.needle)
            if plan is part.plan and needle is part.needle:
                return part
            changed = True
            return replace(part, plan=plan, needle=needle)

        return transform(expression, one)

    new = node.map_expressions(inside)
    return new if changed else node


def _rebuild(plan: Relation, closed: Rule, spine_form: Rule) -> Relation:
    if reach(plan) == 0:
        return closed(plan)
    inputs = tuple(_rebuild(child, closed, spine_form) for child in plan.inputs)
    same = all(new is old for new, old in zip(inputs, plan.inputs, strict=True))
    return spine_form(replace_attached(plan if same else plan.with_inputs(inputs), closed, spine_form))


def _add(found: dict[int, Attached], new: Attached) -> None:
    old = found.get(id(new.plan))
    if old is None:
        found[id(new.plan)] = new
    elif old.needed is not None:
        both = None if new.needed is None else _ordered(new.plan, {*old.needed, *new.needed})
        found[id(new.plan)] = Attached(new.plan, both)


def _ordered(plan: Relation, names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in plan.schema if name in names) or plan.schema.names[:1]


def _from_spine(relation: Relation, wanted: frozenset[str] | None, found: dict[int, Attached]) -> None:
    """Collect below a spine node of whose output only `wanted` is used (None: everything)."""
    for inner in attached(relation):
        _add(found, inner)
    for number, child in enumerate(relation.inputs):
        below = _wanted_below(relation, number, wanted)
        if reach(child) > 0:
            _from_spine(child, below, found)
        else:
            _add(found, Attached(child, None if below is None else _ordered(child, set(below))))


def _wanted_below(relation: Relation, number: int, wanted: frozenset[str] | None) -> frozenset[str] | None:
    """Which columns of input `number` a node needs, when only `wanted` of its own output is used."""
    read: set[str] = set()
    for expression in relation.expressions():
        read.update(c.name for c in columns(expression) if _own(c, relation, number))
    if isinstance(relation, Project | Aggregate | Join):
        return frozenset(read)
    if isinstance(relation, Filter | Sort | Limit | Sample):
        return None if wanted is None else wanted | read
    return None


def _own(column: Column, relation: Relation, number: int) -> bool:
    return column.input == number or len(relation.inputs) == 1
