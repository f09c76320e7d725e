"""Push filters down: each conjunct goes as near to its table as it can, through projections, joins, groups and unions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from blossom.plan.expressions import (
    IMPURE,
    Column,
    Expression,
    columns,
    conjuncts,
    has,
    has_subquery,
    has_window,
)
from blossom.plan.relations import (
    Aggregate,
    Distinct,
    Filter,
    Join,
    Link,
    Parts,
    Predict,
    Project,
    Relation,
    SetOperation,
    Sort,
    rewrite,
    substitute,
)

# after these links every row of the tables before still stands for itself, so a filter may move below them
_KEEPS_LEFT = frozenset({"inner", "left", "semi", "anti", "cross", "any_inner", "any_left"})
_FREE = frozenset({"inner", "cross"})
_MANY = frozenset({"Unnest"})  # makes several rows of one: it has no value that a row could be judged by


def push_filters(root: Relation) -> Relation:
    """Move every filter of the plan down."""
    return rewrite(
        root, lambda node: _push(node.input, node.predicates) if isinstance(node, Filter) else node
    )


def _push(below: Relation, predicates: tuple[Expression, ...]) -> Relation:
    """A relation equal to a filter of `below`, with the filter as low as possible."""
    parts = [conjunct for predicate in predicates for conjunct in conjuncts(predicate)]
    movable = [part for part in parts if _movable(part)]
    fixed = [part for part in parts if not _movable(part)]
    moved, stuck = _through(below, movable)
    left = (*fixed, *stuck)
    return Filter(moved, left) if left else moved


def _movable(predicate: Expression) -> bool:
    return not (has_subquery(predicate) or has_window(predicate) or has(predicate, IMPURE)) and bool(
        columns(predicate)
    )


def _through(node: Relation, parts: list[Expression]) -> tuple[Relation, list[Expression]]:
    """`node` with what could go below it, and the conjuncts that could not."""
    if not parts:
        return node, []
    match node:
        case Filter():
            return _push(node.input, (*node.predicates, *parts)), []
        case Project():
            return _through_project(node, parts)
        case Sort() | Distinct():
            return node.with_inputs((_push(node.input, tuple(parts)),)), []
        case SetOperation() | Parts():
            return node.with_inputs(tuple(_push(table, _retype(table, parts)) for table in node.tables)), []
        case Aggregate():
            return _through_aggregate(node, parts)
        case Join():
            return _through_join(node, parts)
        case Predict():
            made = {name for name, _ in node.outputs}
            below = [part for part in parts if not {c.name for c in columns(part)} & made]
            above = [part for part in parts if part not in below]
            return (node.with_inputs((_push(node.input, tuple(below)), node.model)) if below else node), above
        case _:
            return node, parts


def _retype(table: Relation, parts: list[Expression]) -> tuple[Expression, ...]:
    return tuple(substitute(part, lambda c: table.column(c.name)) for part in parts)


def _through_project(node: Project, parts: list[Expression]) -> tuple[Relation, list[Expression]]:
    values = dict(node.values)
    pure = {name for name, value in values.items() if _plain(value)}
    if any(has_window(value) for value in values.values()):
        pure = set()  # fewer rows below would change every window
    below = [part for part in parts if {c.name for c in columns(part)} <= pure]
    above = [part for part in parts if part not in below]
    if not below:
        return node, above
    moved = tuple(substitute(part, lambda c: values[c.name]) for part in below)
    return replace(node, input=_push(node.input, moved)), above


def _plain(value: Expression) -> bool:
    return not (has_subquery(value) or has_window(value) or has(value, IMPURE | _MANY))


def _through_aggregate(node: Aggregate, parts: list[Expression]) -> tuple[Relation, list[Expression]]:
    groups = {name: value for name, value in node.groups if _plain(value)}
    below = [part for part in parts if {c.name for c in columns(part)} <= groups.keys()]
    above = [part for part in parts if part not in below]
    if not below:
        return node, above
    moved = tuple(substitute(part, lambda c: groups[c.name]) for part in below)
    return replace(node, input=_push(node.input, moved)), above


def _through_join(node: Join, parts: list[Expression]) -> tuple[Relation, list[Expression]]:
    values = dict(node.values)
    if any(has_window(value) for value in values.values()):
        return node, parts  # fewer rows below would change every window
    pushed: dict[int, list[Expression]] = defaultdict(list)
    joined: dict[int, list[Expression]] = defaultdict(list)
    above: list[Expression] = []
    hows = [link.how for link in node.links]
    for part in parts:
        if not all(_plain(values[c.name]) for c in columns(part)):
            above.append(part)
            continue
        inside = substitute(part, lambda c: values[c.name])
        used = {c.input for c in columns(inside)}
        last = max(used, default=0)
        later_keep = all(how in _KEEPS_LEFT for how in hows[last:])
        if len(used) == 1 and later_keep and (last == 0 or hows[last - 1] in _FREE):
            pushed[last].append(substitute(inside, lambda c: Column(c.name, c.dtype)))
        elif len(used) > 1 and later_keep and hows[last - 1] in _FREE:
            joined[last].append(inside)
        else:
            above.append(part)
    tables = tuple(
        _push(table, tuple(pushed[i])) if pushed[i] else table for i, table in enumerate(node.tables)
    )
    links = tuple(
        Link("inner", (*link.predicates, *joined[i])) if joined[i] else link
        for i, link in enumerate(node.links, 1)
    )
    return replace(node, tables=tables, links=links), above
