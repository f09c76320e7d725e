"""Top-k: a limit over parts takes its first rows at each part, so that a site sends at most k + offset rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blossom.plan.expressions import IMPURE, Column, Expression, has, has_subquery, has_window
from blossom.plan.relations import Limit, Parts, Project, Relation, Sort

_NOT_BY_ROW = IMPURE | {"Unnest"}


def top_k(node: Relation) -> Relation:
    """Copy a limit, with the order that it cuts, into each part below it."""
    if not isinstance(node, Limit) or node.n is None:
        return node
    first = node.n + node.offset
    match node.input:
        case Parts():
            return replace(node, input=_each(node.input, lambda part: Limit(part, first)))
        case Sort(input=Parts() as parts, keys=keys) if all(_by_row(key.value) for key in keys):
            spread = _each(parts, lambda part: Limit(Sort(part, keys), first))
            return replace(node, input=Sort(spread, keys))
        case Project() as project if _bare(project):
            inner = top_k(replace(node, input=project.input))
            return replace(project, input=inner)
        case _:
            return node


def _each(parts: Parts, rule: Callable[[Relation], Relation]) -> Parts:
    return replace(parts, tables=tuple(rule(part) for part in parts.tables))


def _bare(project: Project) -> bool:
    """A projection that a limit may pass: each row makes one row, from itself alone."""
    return all(isinstance(value, Column) or _by_row(value) for value in project.expressions())


def _by_row(value: Expression) -> bool:
    """Whether a row alone decides the value, so that a part finds what the whole table would."""
    return not (has_subquery(value) or has_window(value) or has(value, _NOT_BY_ROW))
