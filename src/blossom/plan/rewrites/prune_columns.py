"""Prune columns: every node keeps only what something above it reads."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from blossom.plan.expressions import Column, Expression, Named, columns, has
from blossom.plan.relations import (
    Aggregate,
    Copies,
    Filter,
    Join,
    Limit,
    Parts,
    Predict,
    Project,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Sort,
    Train,
)


def prune_columns(root: Relation) -> Relation:
    """Drop unread columns everywhere; the root keeps its schema."""
    order = list(root.walk())
    needs: dict[int, set[str]] = defaultdict(set)
    needs[id(root)] = set(root.schema)
    for node in reversed(order):
        mine = needs[id(node)]
        if not mine:
            mine.add(_narrowest(node))
        for child, wanted in zip(node.inputs, _inputs_need(node, mine), strict=True):
            needs[id(child)] |= wanted
    done: dict[int, Relation] = {}
    for node in order:
        inputs = tuple(done[id(child)] for child in node.inputs)
        done[id(node)] = _narrow(node if inputs == node.inputs else node.with_inputs(inputs), needs[id(node)])
    return done[id(root)]


def _narrowest(node: Relation) -> str:
    """A column to keep where none is read (a row must have at least one): a number rather than a text."""
    fixed = ("boolean", "int", "float", "date")
    return next(
        (name for name, dtype in node.schema.items() if dtype.lstrip("!").startswith(fixed)),
        node.schema.names[0],
    )


_MANY = frozenset({"Unnest"})


def _kept(values: tuple[Named, ...], mine: set[str]) -> tuple[Named, ...]:
    """The values that are read, and those that decide how many rows there are."""
    return tuple(item for item in values if item[0] in mine or has(item[1], _MANY))


def _reads(expressions: list[Expression], count: int) -> list[set[str]]:
    wanted: list[set[str]] = [set() for _ in range(count)]
    for expression in expressions:
        if isinstance(expression, Column):
            wanted[expression.input].add(expression.name)
            continue
        for column in columns(expression):
            wanted[column.input].add(column.name)
    return wanted


def _inputs_need(node: Relation, mine: set[str]) -> list[set[str]]:
    match node:
        case Project():
            return _reads([value for _, value in _kept(node.values, mine)], 1)
        case Aggregate():
            kept = [value for _, value in node.groups] + [
                value for name, value in node.metrics if name in mine
            ]
            return _reads(kept, 1)
        case Join():
            kept = [p for link in node.links for p in link.predicates]
            return _reads(kept + [value for _, value in _kept(node.values, mine)], len(node.tables))
        case Filter() | Sort():
            (wanted,) = _reads(list(node.expressions()), 1)
            return [wanted | mine]
        case Limit() | Sample():
            return [set(mine)]
        case SetOperation() if node.kind == "union" and not node.distinct:
            return [set(mine) for _ in node.tables]
        case Parts() | Copies():
            kept = set(node.partition.columns) if isinstance(node, Parts) and node.partition else set[str]()
            return [mine | kept for _ in node.tables]
        case Train():
            return [{*filter(None, (node.target,)), *node.features}]
        case Predict():
            made = {name for name, _ in node.outputs}
            return [(mine - made) | set(node.features), {"model"}]
        case _:
            return [set(child.schema) for child in node.inputs]


def _narrow(node: Relation, mine: set[str]) -> Relation:
    if isinstance(node, Parts | Copies) or (
        isinstance(node, SetOperation) and node.kind == "union" and not node.distinct
    ):
        kept = mine | (
            set(node.partition.columns) if isinstance(node, Parts) and node.partition else set[str]()
        )
        wanted = [name for name in node.schema if name in kept]
        return node.with_inputs(tuple(_exactly(table, wanted) for table in node.tables))
    if len(mine) == len(node.schema):
        return node
    match node:
        case Project():
            return replace(node, values=_kept(node.values, mine))
        case Aggregate():
            metrics = tuple(item for item in node.metrics if item[0] in mine)
            if not node.groups and not metrics:
                metrics = node.metrics[:1]
            return replace(node, metrics=metrics)
        case Join():
            return replace(node, values=_kept(node.values, mine))
        case Scan():
            return _pick(node, mine)
        case _:
            return node  # passes its input's columns on; what is left over is dropped above


def _pick(node: Relation, mine: set[str]) -> Relation:
    return Project(node, tuple((name, node.column(name)) for name in node.schema if name in mine))


def _exactly(table: Relation, wanted: list[str]) -> Relation:
    """The branches of a union must end up with the same columns in the same order."""
    if list(table.schema) == wanted:
        return table
    return Project(table, tuple((name, table.column(name)) for name in wanted))
