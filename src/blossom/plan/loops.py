"""Loops in plans: binding a state, the plan of one turn, and the parts of a body that no turn changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from blossom.plan.everywhere import everywhere
from blossom.plan.expressions import has_window
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import (
    Aggregate,
    Distinct,
    Join,
    Limit,
    MapBatches,
    Predict,
    Project,
    Relation,
    Repeat,
    Sample,
    SetOperation,
    Sort,
    State,
    Unnest,
    after,
    before,
)

WORK = (
    Aggregate, Distinct, Join, Limit, MapBatches, Predict, Repeat, Sample, SetOperation, Sort, Unnest,
)  # fmt: skip
"""Nodes whose answer is worth keeping for the next turn; to filter and project a table again costs little more than to read it."""


def bound(root: Relation, states: Mapping[str, Relation]) -> Relation:
    """The plan with the states of those keys put in their places. An inner loop's own key is its own."""

    def rule(node: Relation) -> Relation:
        if isinstance(node, State):
            return states.get(node.key, node)
        if isinstance(node, Repeat):
            free = {key: value for key, value in states.items() if key not in _bound_by(node)}
            until = None if node.until is None else bound(node.until, free)
            return replace(node, body=bound(node.body, free), until=until)
        return node

    return everywhere(root, rule)


def _bound_by(node: Repeat) -> frozenset[str]:
    return frozenset({node.key, before(node.key), after(node.key)})


def one_turn(root: Relation, first: Callable[[Relation], Relation] | None = None) -> Relation:
    """The plan with each loop as its body over its first state: what can be placed, judged and explained without running it.

    Args:
        root: The plan.
        first: Gives the first state as the loop will see it, from its plan; None: the plan.
    """

    def rule(node: Relation) -> Relation:
        if not isinstance(node, Repeat):
            return node
        start = node.input if first is None else first(node.input)
        return one_turn(bound(node.body, {node.key: start}), first)

    return everywhere(root, rule)


def loops(root: Relation) -> list[Repeat]:
    """The loops of a plan, those in subqueries and in other loops' bodies included, inner ones first."""
    found: list[Repeat] = []

    def rule(node: Relation) -> Relation:
        if isinstance(node, Repeat):
            everywhere(node.body, rule)
            if node.until is not None:
                everywhere(node.until, rule)
            found.append(node)
        return node

    everywhere(root, rule)
    return found


def depends(root: Relation, keys: frozenset[str]) -> bool:
    """Whether a plan reads a state of one of the keys."""
    found = False

    def rule(node: Relation) -> Relation:
        nonlocal found
        if isinstance(node, State):
            found |= node.key in keys
        elif isinstance(node, Repeat):
            free = keys - _bound_by(node)
            found |= depends(node.body, free) or (node.until is not None and depends(node.until, free))
        return node

    everywhere(root, rule)
    return found


def without_invariants(
    root: Relation, keys: frozenset[str], name: str
) -> tuple[Relation, dict[str, Relation]]:
    """Take out of a body what no turn changes and is work to compute, the largest parts that are.

    Args:
        root: The body or the condition of a loop.
        keys: The keys of its states.
        name: Begins the keys under which the parts are read instead.

    Returns:
        The body with `State` leaves in the places of the parts, and the parts by their keys.
    """
    steady = {id(node): not depends(node, keys) for node in root.walk()}
    worth: dict[int, bool] = {}
    for node in root.walk():
        worth[id(node)] = _works(node) or any(worth[id(child)] for child in node.inputs)
    taken: dict[int, Relation] = {}
    parts: dict[str, Relation] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in taken:
            continue
        if steady[id(node)] and worth[id(node)]:
            key = f"{name} {len(parts)}"
            parts[key] = node
            taken[id(node)] = State(key, node.schema)
        else:
            stack.extend(node.inputs)
    return rewrite(root, lambda node: node, memo=dict(taken)) if taken else root, parts


def _works(node: Relation) -> bool:
    return isinstance(node, WORK) or (
        isinstance(node, Project) and any(has_window(value) for value in node.expressions())
    )
