"""Split joins by place: the tables of one engine join there first, before the rest of an inner chain."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from blossom.plan.expressions import Column, Expression, columns, conjuncts, transform
from blossom.plan.relations import Join, Link, Relation

Place = Callable[[Relation], Hashable | None]


def split_joins(node: Relation, place: Place) -> Relation:
    """Nest the tables of each place that are linked to one another; others stay in the outer chain.

    Args:
        node: Any node; only inner chains over several places change.
        place: Where a relation can be computed whole without moving anything; None when nowhere.
    """
    if not isinstance(node, Join) or not all(link.how in ("inner", "cross") for link in node.links):
        return node
    if node.holds_subquery:
        return node
    places = [place(table) for table in node.tables]
    if len({p for p in places if p is not None} | {None for p in places if p is None}) < 2:
        return node
    predicates = [q for link in node.links for p in link.predicates for q in conjuncts(p)]
    groups = _components(places, [{c.input for c in columns(p)} for p in predicates])
    if all(len(group) == 1 for group in groups):
        return node
    return _nest(node, groups, predicates)


def _components(places: list[Hashable | None], links: list[set[int]]) -> list[list[int]]:
    """Tables of one place that predicates connect, in the chain's order."""
    left = list(range(len(places)))
    groups: list[list[int]] = []
    while left:
        group = [left.pop(0)]
        grew = places[group[0]] is not None
        while grew:
            reach = set(group)
            more = [
                i
                for i in left
                if places[i] == places[group[0]]
                and any(i in link and link <= reach | {i} and len(link) > 1 for link in links)
            ]
            group.extend(more[:1])
            left = [i for i in left if i not in group]
            grew = bool(more)
        groups.append(group)
    return groups


def _nest(node: Join, groups: list[list[int]], predicates: list[Expression]) -> Relation:
    # in order, for a set's order differs from one process to the next
    used = {
        (c.input, c.name): c
        for e in node.expressions()
        for c in sorted(columns(e), key=lambda c: (c.input, c.name))
    }
    tables: list[Relation] = []
    moved: dict[tuple[int, str], Column] = {}
    done: list[Expression] = []
    for number, group in enumerate(groups):
        if len(group) == 1:
            tables.append(node.tables[group[0]])
            moved.update(
                {key: Column(c.name, c.dtype, number) for key, c in used.items() if key[0] == group[0]}
            )
            continue
        inner, inside = _inner(node, group, predicates, used)
        done.extend(inside)
        tables.append(inner)
        for (i, name), column in used.items():
            if i in group:
                moved[(i, name)] = replace(column, name=f"j{i}_{name}", input=number)

    def move(expression: Expression) -> Expression:
        return transform(expression, lambda e: moved[(e.input, e.name)] if isinstance(e, Column) else None)

    rest = [move(p) for p in predicates if p not in done]
    if len(tables) == 1:
        raise AssertionError("a chain over several places cannot become one group")
    return _chain(tables, rest, tuple((name, move(value)) for name, value in node.values))


def _inner(
    node: Join, group: list[int], predicates: list[Expression], used: dict[tuple[int, str], Column]
) -> tuple[Relation, list[Expression]]:
    place = {old: new for new, old in enumerate(group)}
    inside = [p for p in predicates if len(own := {c.input for c in columns(p)}) > 1 and own <= set(group)]

    def move(expression: Expression) -> Expression:
        return transform(
            expression, lambda e: replace(e, input=place[e.input]) if isinstance(e, Column) else None
        )

    values = tuple((f"j{i}_{name}", move(column)) for (i, name), column in used.items() if i in place)
    if not values:
        first = node.tables[group[0]]
        name = first.schema.names[0]
        values = ((f"j{group[0]}_{name}", first.column(name)),)
    return _chain([node.tables[i] for i in group], [move(p) for p in inside], values), inside


def _chain(
    tables: list[Relation], predicates: list[Expression], values: tuple[tuple[str, Expression], ...]
) -> Join:
    """An inner chain in which each predicate stands at the first link that can evaluate it, linked tables first."""
    order, rest, todo = [0], list(range(1, len(tables))), list(predicates)
    while rest:
        reach = set(order)
        sets = [{c.input for c in columns(p)} for p in todo]
        following = next((i for i in rest if any(i in s and s <= reach | {i} for s in sets)), rest[0])
        order.append(following)
        rest.remove(following)
    place = {old: new for new, old in enumerate(order)}

    def move(expression: Expression) -> Expression:
        return transform(
            expression, lambda e: replace(e, input=place[e.input]) if isinstance(e, Column) else None
        )

    at: dict[int, list[Expression]] = {i: [] for i in range(1, len(order))}
    for predicate in predicates:
        new = move(predicate)
        at[max((1, *(c.input for c in columns(new))))].append(new)
    links = tuple(Link("inner" if at[i] else "cross", tuple(at[i])) for i in range(1, len(order)))
    return Join(tuple(tables[i] for i in order), links, tuple((name, move(value)) for name, value in values))
