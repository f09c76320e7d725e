"""Plans rebuilt: node by node from the leaves up, and their expressions with columns replaced, into subqueries too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blossom.plan.expressions import Column, Expression, Outer, Subquery, transform
from blossom.plan.relations import Relation


def rewrite(
    root: Relation, rule: Callable[[Relation], Relation], memo: dict[int, Relation] | None = None
) -> Relation:
    """Rebuild bottom-up: `rule` sees each node once, its inputs already rewritten. Sharing is kept.

    Plans inside subqueries are not entered; rewrites that must enter them say so.
    """
    done: dict[int, Relation] = {} if memo is None else memo
    for node in root.walk():
        if id(node) in done:
            continue
        inputs = tuple(done[id(child)] for child in node.inputs)
        # nodes are compared by identity
        new = done[id(node)] = rule(node if inputs == node.inputs else node.with_inputs(inputs))
        _ = new.schema  # made from the leaves up, a schema never recurses through a long plan
    return done[id(root)]


def map_outer(plan: Relation, rule: Callable[[Outer], Expression], depth: int = 1) -> Relation:
    """A subquery's plan with every reference that reaches `depth` scopes up replaced.

    `rule` sees the reference with depth 1 and answers in the terms of the scope that holds the subquery; a `Column` in its
    answer is turned into the `Outer` that means it inside.
    """

    def inside(expression: Expression) -> Expression:
        def one(node: Expression) -> Expression | None:
            if isinstance(node, Outer) and node.depth == depth:
                return _sink(rule(replace(node, depth=1)), depth)
            if isinstance(node, Subquery):
                needle = None if node.needle is None else inside(node.needle)
                return replace(node, plan=map_outer(node.plan, rule, depth + 1), needle=needle)
            return None

        return transform(expression, one)

    return rewrite(plan, lambda node: node.map_expressions(inside))


def _sink(expression: Expression, depth: int) -> Expression:
    def one(node: Expression) -> Expression | None:
        return Outer(node.name, node.dtype, node.input, depth) if isinstance(node, Column) else None

    return transform(expression, one)


def substitute(expression: Expression, rule: Callable[[Column], Expression]) -> Expression:
    """Replace every input column, those that subqueries reach included."""

    def one(node: Expression) -> Expression | None:
        if isinstance(node, Column):
            return rule(node)
        if isinstance(node, Subquery):
            needle = None if node.needle is None else substitute(node.needle, rule)
            return replace(
                node,
                plan=map_outer(node.plan, lambda o: rule(Column(o.name, o.dtype, o.input))),
                needle=needle,
            )
        return None

    return transform(expression, one)
