"""Local maps: what works row by row runs at each part, before the parts are brought together."""

from __future__ import annotations

from dataclasses import replace

from blossom.plan.expressions import Call, Column, Expression, has_subquery, has_window, walk
from blossom.plan.relations import (
    BY_GROUP,
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    MapBatches,
    Model,
    Partition,
    Parts,
    Predict,
    Project,
    Relation,
    Sample,
    SetOperation,
    Sort,
    Unnest,
)


def local_maps(node: Relation) -> Relation:
    """Move one node below the `Parts` or `Copies` that it reads, where that changes nothing."""
    if isinstance(node, SetOperation):
        return _union(node)
    if not node.inputs:
        return node
    below = node.inputs[0]
    if isinstance(below, Copies):
        return _over_copies(node, below)
    if not isinstance(below, Parts):
        return node
    if isinstance(node, Distinct):
        parts = tuple(Distinct(part) for part in below.tables)
        spread = replace(below, tables=parts)
        return spread if below.partition is not None else Distinct(spread)
    if isinstance(node, MapBatches) and node.per in BY_GROUP:
        return _by_group(node, below)
    if not _row_by_row(node, below):
        return node
    parts = tuple(node.with_inputs((part, *node.inputs[1:])) for part in below.tables)
    return Parts(parts, below.sites, _surviving(node, below.partition))


def _by_group(node: MapBatches, below: Parts) -> Relation:
    """Groups that are whole at one site stay there; an associative function is applied at each part, then to what they gave."""
    whole = below.partition is not None and set(below.partition.columns) <= set(node.by)
    if not whole and node.per != "fold":
        return node
    parts = replace(below, tables=tuple(replace(node, input=part) for part in below.tables), partition=None)
    return parts if whole else replace(node, input=parts)


def _row_by_row(node: Relation, below: Parts) -> bool:
    match node:
        case Filter() | Unnest():
            return not any(has_subquery(e) or has_window(e) for e in node.expressions())
        case Project():
            windows = [
                w
                for value in node.expressions()
                for w in walk(value)
                if isinstance(w, Call) and w.op == "WindowFunction"
            ]
            return not node.holds_subquery and all(_within_part(w, below.partition) for w in windows)
        case MapBatches() | Sample():
            return True
        case Predict():
            return isinstance(node.model, Model)
        case _:
            return False


def _within_part(window: Call, partition: Partition | None) -> bool:
    """A window whose group contains the bare partition columns sees all its rows at one site."""
    group_by = window.args[4]
    names = {g.name for g in group_by if isinstance(g, Column)} if isinstance(group_by, tuple) else set[str]()
    return partition is not None and set(partition.columns) <= names


def _surviving(node: Relation, partition: Partition | None) -> Partition | None:
    """The partition as seen above the node; None when a column of it is gone."""
    match node:
        case Project():
            return renamed(partition, dict(node.values))
        case MapBatches():
            return partition if node.per in ("mask", "keep") else None
        case _:
            return partition


def renamed(partition: Partition | None, values: dict[str, Expression], number: int = 0) -> Partition | None:
    """The partition after a projection: each of its columns must appear bare under some name."""
    if partition is None:
        return None
    names = {
        value.name: name
        for name, value in reversed(values.items())
        if isinstance(value, Column) and value.input == number
    }
    if not set(partition.columns) <= names.keys():
        return None
    return Partition(partition.scheme, tuple(names[column] for column in partition.columns))


def _over_copies(node: Relation, below: Copies) -> Relation:
    """Every copy gives the same answer, so any operator may run at each."""
    unary = isinstance(
        node, Project | Filter | Aggregate | Sort | Limit | Distinct | Unnest | MapBatches | Predict
    )
    if not unary or isinstance(node, Join) or node.holds_subquery:
        return node
    return replace(below, tables=tuple(node.with_inputs((copy, *node.inputs[1:])) for copy in below.tables))


def _union(node: SetOperation) -> Relation:
    """A bag union of parts is the parts' unions; a copy is read once, at one of its sites."""
    if node.kind != "union" or node.distinct or not any(isinstance(t, Parts) for t in node.tables):
        return node
    if not all(isinstance(t, Parts | Copies | Constant) for t in node.tables):
        return node
    at: dict[str, list[Relation]] = {}
    for table in node.tables:
        if isinstance(table, Parts):
            for site, part in zip(table.sites, table.tables, strict=True):
                at.setdefault(site, []).append(part)
    for table in node.tables:
        if isinstance(table, Copies):
            home = table.steward or next((site for site in table.sites if site in at), table.sites[0])
            at.setdefault(home, []).append(table.tables[table.sites.index(home)])
        elif isinstance(table, Constant):
            next(iter(at.values())).append(table)
    tables = tuple(
        many[0] if len(many) == 1 else SetOperation("union", tuple(many), False) for many in at.values()
    )
    return Parts(tables, tuple(at), None)
