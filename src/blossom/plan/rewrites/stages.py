"""The rewrites in order, as named stages that `explain` can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blossom.plan.errors import PlanError
from blossom.plan.expressions import Expression, Subquery, transform
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Copies, Parts, Relation, Scan
from blossom.plan.rewrites.decorrelate import decorrelate
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.local_joins import local_joins
from blossom.plan.rewrites.local_maps import local_maps
from blossom.plan.rewrites.partial_aggregation import partial_aggregation
from blossom.plan.rewrites.prune_columns import prune_columns
from blossom.plan.rewrites.push_filters import push_filters
from blossom.plan.rewrites.split_joins import Place, split_joins
from blossom.plan.rewrites.top_k import top_k

Stages = tuple[tuple[str, Relation], ...]


def distribute(root: Relation, tables: Mapping[str, FederatedTable], place: Place) -> Stages:
    """Rewrite a logical plan into one whose every part names its site.

    Args:
        root: The plan as lowered; scans may name federated tables.
        tables: The federated tables.
        place: Where a relation without `Parts` can be computed whole without moving anything.

    Returns:
        Stage name -> plan: "logical", "decorrelated", "filters pushed", "columns pruned", "distributed", "joins split". A plan
        that one engine can run whole is left as it is: engines optimise what they see.
    """
    stages: list[tuple[str, Relation]] = [("logical", root)]
    if _may_stay(root, tables, place):
        expanded = _expand_all(root, tables)
        if place(expanded) is not None:
            stages.append(("whole", expanded))
            return tuple(stages)
    stages.append(("decorrelated", decorrelate(root)))
    stages.append(("filters pushed", push_filters(stages[-1][1])))
    stages.append(("columns pruned", prune_columns(stages[-1][1])))
    stages.append(("distributed", _distributed(stages[-1][1], tables)))
    stages.append(
        ("joins split", prune_columns(rewrite(stages[-1][1], lambda node: split_joins(node, place))))
    )
    return tuple(stages)


def _may_stay(root: Relation, tables: Mapping[str, FederatedTable], place: Place) -> bool:
    """Whether all tables lie at one place, without which no engine can run the plan whole."""
    homes = {place(expand(node, tables)) for node in root.walk() if isinstance(node, Scan)}
    return len(homes) == 1 and None not in homes


def _distributed(root: Relation, tables: Mapping[str, FederatedTable]) -> Relation:
    def rule(node: Relation) -> Relation:
        if isinstance(node, Scan):
            return expand(node, tables)
        node = _expand_subqueries(node, tables)
        for step in (local_maps, local_joins, partial_aggregation, top_k):
            new = step(node)
            if new is not node:
                return new
        return node

    return rewrite(root, rule)


def _expand_all(root: Relation, tables: Mapping[str, FederatedTable]) -> Relation:
    """Only the scans replaced: what the plan is if nothing needs distributing."""

    def rule(node: Relation) -> Relation:
        if isinstance(node, Scan):
            return expand(node, tables)
        return _expand_subqueries(node, tables)

    return rewrite(root, rule)


def _expand_subqueries(node: Relation, tables: Mapping[str, FederatedTable]) -> Relation:
    if not node.holds_subquery:
        return node

    def one(expression: Expression) -> Expression | None:
        if not isinstance(expression, Subquery):
            return None
        needle = None if expression.needle is None else transform(expression.needle, one)
        return replace(expression, plan=_expand_all(expression.plan, tables), needle=needle)

    return node.map_expressions(lambda e: transform(e, one))


def check_resolved(root: Relation) -> None:
    """Raise when a plan still holds a scan without a site: a rewrite has forgotten it."""
    for node in root.walk():
        if isinstance(node, Scan) and node.site is None:
            raise PlanError(f"the table {node.table!r} was not expanded")


def is_distributed(root: Relation) -> bool:
    """Whether any node gathers parts or chooses among copies."""
    return any(isinstance(node, Parts | Copies) for node in root.walk())
