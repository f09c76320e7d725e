"""Push filters down: each conjunct goes as near to its table as it can, through projections, joins, groups and unions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import replace

from blossom.plan.expressions import (
    IMPURE,
    Column,
    Expression,
    columns,
    conjuncts,
    facts,
    has,
    has_subquery,
    has_window,
)
from blossom.plan.rebuilding import substitute
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
)

LARGEST = 16
"""Largest size to which a conjunct may grow on its way through computed columns. It computes again what the projection computes,
and through a chain of n projections n filters would otherwise grow to n ** 2."""

# after these links every row of the tables before still stands for itself, so a filter may move below them
_KEEPS_LEFT = frozenset({"inner", "left", "semi", "anti", "cross", "any_inner", "any_left"})
_FREE = frozenset({"inner", "cross"})
_MANY = frozenset({"Unnest"})  # makes several rows of one: it has no value that a row could be judged by
_NEVER = IMPURE | _MANY

Conjuncts = Sequence[Expression]
Visit = Generator[tuple[Relation, Conjuncts], Relation, Relation]
"""The rewriting of one node: asks for a node below, filtered by conjuncts, and is sent it; gives the node in its new form."""


def push_filters(root: Relation) -> Relation:
    """Move every filter of the plan down.

    One pass from the root to the tables, which carries the conjuncts along: time grows with the plan, not with its square, and
    a long chain does not meet the recursion limit.
    """
    done: dict[int, Relation] = {}
    visits: list[tuple[int | None, Visit]] = [(id(root), _visit(root, ()))]
    answer: Relation | None = None
    while True:
        key, visit = visits[-1]
        try:
            below, parts = next(visit) if answer is None else visit.send(answer)
        except StopIteration as stop:
            made: Relation = stop.value
            _ = made.schema  # made from the leaves up, a schema never recurses through a long plan
            visits.pop()
            if key is not None:
                done[key] = made
            if not visits:
                return made
            answer = made
            continue
        answer = None if parts else done.get(id(below))  # a node without filters above it stays shared
        if answer is None:
            visits.append((None if parts else id(below), _visit(below, parts)))


def _visit(node: Relation, parts: Conjuncts) -> Visit:
    """A relation equal to a filter of `node`, with the filter as low as possible."""
    match node:
        case Filter():
            own = [conjunct for predicate in node.predicates for conjunct in conjuncts(predicate)]
            movable = [part for part in own if _movable(part)]
            fixed = [part for part in own if not _movable(part)]
            below = yield node.input, [*movable, *parts]
            if not fixed:
                return below
            if isinstance(below, Filter):  # what stuck right below stays one filter with it
                return Filter(below.input, (*fixed, *below.predicates))
            return Filter(below, tuple(fixed))
        case Project():
            down, stuck = _through_values(node, dict(node.values), parts)
            return _filtered((yield from _over(node, [down])), stuck)
        case Aggregate():
            down, stuck = _through_values(node, dict(node.groups), parts)
            return _filtered((yield from _over(node, [down])), stuck)
        case Sort() | Distinct():
            return (yield from _over(node, [parts]))
        case SetOperation() | Parts():
            return (yield from _over(node, [_retyped(table, parts) for table in node.tables]))
        case Join():
            join, down, stuck = _through_join(node, parts)
            return _filtered((yield from _over(join, down)), stuck)
        case Predict():
            made = {name for name, _ in node.outputs}
            stuck = [part for part in parts if any(c.name in made for c in columns(part))]
            down = [part for part in parts if not any(c.name in made for c in columns(part))]
            return _filtered((yield from _over(node, [down, ()])), stuck)
        case _:
            return _filtered((yield from _over(node, [() for _ in node.inputs])), parts)


def _over(node: Relation, parts: Sequence[Conjuncts]) -> Visit:
    """The node over its inputs, each filtered by its conjuncts."""
    inputs: list[Relation] = []
    for child, own in zip(node.inputs, parts, strict=True):
        inputs.append((yield child, own))
    same = all(new is old for new, old in zip(inputs, node.inputs, strict=True))
    return node if same else node.with_inputs(tuple(inputs))


def _filtered(node: Relation, parts: Conjuncts) -> Relation:
    return Filter(node, tuple(parts)) if parts else node


def _movable(predicate: Expression) -> bool:
    return _steady(predicate, IMPURE) and bool(columns(predicate))


def _plain(value: Expression) -> bool:
    return _steady(value, _NEVER)


def _steady(value: Expression, never: frozenset[str]) -> bool:
    """Whether a value depends on its row alone."""
    return not (has_subquery(value) or has_window(value) or has(value, never))


def _retyped(table: Relation, parts: Conjuncts) -> list[Expression]:
    return [substitute(part, lambda c: table.column(c.name)) for part in parts]


def _through_values(
    node: Project | Aggregate, values: dict[str, Expression], parts: Conjuncts
) -> tuple[list[Expression], list[Expression]]:
    """The conjuncts below a node in the terms of its input, and those that must stay above it.

    Args:
        node: The node.
        values: Its output columns by which a row below may be judged.
        parts: The conjuncts.
    """
    if isinstance(node, Project) and any(has_window(value) for value in values.values()):
        return [], list(parts)  # fewer rows below would change every window
    below: list[Expression] = []
    above: list[Expression] = []
    for part in parts:
        used = columns(part)
        if not all(c.name in values and _plain(values[c.name]) for c in used):
            above.append(part)
        elif all(values[c.name] == c for c in used):
            below.append(part)
        else:
            moved = substitute(part, lambda c: values[c.name])
            small = facts(moved).size <= max(LARGEST, facts(part).size)
            (below if small else above).append(moved if small else part)
    return below, above


def _through_join(node: Join, parts: Conjuncts) -> tuple[Join, list[list[Expression]], list[Expression]]:
    """The join with the conjuncts that tie its tables, those for each table, and those that must stay above."""
    values = dict(node.values)
    count = len(node.tables)
    if not parts or any(has_window(value) for value in values.values()):
        return node, [[] for _ in range(count)], list(parts)  # fewer rows below would change every window
    pushed: list[list[Expression]] = [[] for _ in range(count)]
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
    if not joined:
        return node, pushed, above
    links = tuple(
        Link("inner", (*link.predicates, *joined[i])) if joined[i] else link
        for i, link in enumerate(node.links, 1)
    )
    return replace(node, links=links), pushed, above
