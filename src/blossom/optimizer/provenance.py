"""Where the columns of a plan come from, and what is known of their values there."""

from __future__ import annotations

from collections.abc import Callable

from blossom.optimizer.statistics import ColumnStatistics, of_expression
from blossom.plan.expressions import Column, Expression
from blossom.plan.relations import (
    Aggregate,
    Copies,
    Distinct,
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
    Unnest,
)

StatisticsOf = Callable[[str, str, str], ColumnStatistics | None]
"""What is known of a column by (site, table, column)."""


class Provenance:
    """Answers for the columns of one plan, each looked up once.

    Args:
        statistics: Of the tables' columns; None: nothing is known.
        rows: Rows of a node below the one that is asked about.
    """

    def __init__(self, statistics: StatisticsOf | None, rows: Callable[[Relation], float]) -> None:
        self._statistics = statistics
        self._rows = rows
        self._known: dict[tuple[int, str], ColumnStatistics | None] = {}

    def of(self, node: Relation, name: str) -> ColumnStatistics | None:
        """What is known of an output column where its values come from, whatever rows were left out since; None when nothing is."""
        if self._statistics is None:
            return None
        # down to where the column comes from, so that long chains need no deep recursion
        path: list[tuple[int, str]] = []
        found: ColumnStatistics | None = None
        while (id(node), name) not in self._known:
            path.append((id(node), name))
            below = carried(node, name)
            if below is None:
                found = self._source(node, name)
                break
            node, name = below
        else:
            found = self._known[id(node), name]
        for key in path:
            self._known[key] = found
        return found

    def _source(self, node: Relation, name: str) -> ColumnStatistics | None:
        """Of a column that its node makes, or whose table has it."""
        match node:
            case Scan() if self._statistics is not None:
                return self._statistics(node.site or "", node.table, name)
            case Project():
                return self.made(dict(node.values)[name], node)
            case Aggregate():
                value = dict(node.groups).get(name)
                return None if value is None else self.made(value, node)
            case Parts():
                return self._parts(node, name)
            case _:
                return None

    def made(self, value: Expression, node: Relation) -> ColumnStatistics | None:
        """What is known of a value over a node's inputs."""
        return of_expression(value, lambda column: self.of(node.inputs[column.input], column.name))

    def _parts(self, node: Parts, name: str) -> ColumnStatistics | None:
        """Of a table's parts: values that are many in each part are taken to differ from part to part, few to be the same."""
        each = [(self.of(part, name), self._rows(part)) for part in node.tables]
        counts = [one.distinct for one, _ in each if one is not None and one.distinct is not None]
        if len(counts) < len(each):
            return None
        many = sum(counts) >= sum(rows for _, rows in each) / 20
        lows = [one.low for one, _ in each if one is not None and one.low is not None]
        highs = [one.high for one, _ in each if one is not None and one.high is not None]
        return ColumnStatistics(
            sum(counts) if many else max(counts),
            min(lows) if len(lows) == len(each) else None,
            max(highs) if len(highs) == len(each) else None,
            max(one.nulls for one, _ in each if one is not None),
        )

    def base(self, side: Expression, node: Relation, rows: float) -> float:
        """Rows of the table that a key comes from, before any of them was left out; `rows` where it comes from none."""
        if not isinstance(side, Column):
            return rows
        relation, name = node.inputs[side.input], side.name
        while True:
            below = carried(relation, name)
            if below is None:
                break
            relation, name = below
        if isinstance(relation, Scan | Parts):
            return max(1.0, self._rows(relation))
        return max(1.0, rows)


def carried(node: Relation, name: str) -> tuple[Relation, str] | None:
    """The input column that an output column is, value for value; None where the node makes it."""
    match node:
        case Filter() | Sort() | Limit() | Distinct() | Sample():
            return node.input, name
        case Predict() | Unnest():
            return (node.input, name) if name in node.input.schema else None
        case Copies():
            return node.tables[0], name
        case SetOperation():
            return node.tables[0], name
        case Project():
            value = dict(node.values)[name]
            return (node.input, value.name) if isinstance(value, Column) else None
        case Aggregate():
            value = dict(node.groups).get(name)
            return (node.input, value.name) if isinstance(value, Column) else None
        case Join():
            value = dict(node.values)[name]
            return (node.tables[value.input], value.name) if isinstance(value, Column) else None
        case _:
            return None
