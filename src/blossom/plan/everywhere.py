"""A plan taken together with the plans of its subqueries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blossom.plan.expressions import Expression, Subquery, has_subquery, transform
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Relation, Scan


def everywhere(root: Relation, rule: Callable[[Relation], Relation]) -> Relation:
    """`rewrite` that enters the plans of subqueries as well; bodies and conditions of loops are left to the rule."""

    def one(expression: Expression) -> Expression | None:
        if not isinstance(expression, Subquery):
            return None
        needle = None if expression.needle is None else transform(expression.needle, one)
        return replace(expression, plan=everywhere(expression.plan, rule), needle=needle)

    def node_rule(node: Relation) -> Relation:
        if any(has_subquery(value) for value in node.expressions()):
            node = node.map_expressions(lambda value: transform(value, one))
        return rule(node)

    return rewrite(root, node_rule)


def scans(root: Relation) -> list[Scan]:
    """Every scan of a plan, those in subqueries included."""
    found: list[Scan] = []

    def rule(node: Relation) -> Relation:
        if isinstance(node, Scan):
            found.append(node)
        return node

    everywhere(root, rule)
    return found
