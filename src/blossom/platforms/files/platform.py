"""Any platform that takes received rows, with tables of files beside its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import pyarrow as pa

from blossom.plan.expressions import Column, Expression, Subquery, has_subquery, has_window, transform
from blossom.plan.expressions import columns as columns_of
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Filter, Project, Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.files.published import Published, outside
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.sources import FORMATS


@dataclass(frozen=True, slots=True)
class _Reading:
    """A scan of a table of files: where its rows are received, and what is known of the rows that are wanted."""

    key: str
    table: str
    columns: Schema
    predicates: tuple[Expression, ...]


class WithFiles(Platform):
    """A platform that publishes what it can itself, and Delta, Iceberg, whole files and URLs besides.

    A fragment's scan of such a table becomes rows that the engine receives: the columns that the projection above it reads, without
    those rows that the filters above it leave out in a way that the table's reader understands. The engine still does everything else,
    that filter included.

    Args:
        inner: The engine.
        formats: Those of local files that the engine reads itself.
    """

    def __init__(self, inner: Platform, formats: frozenset[str] = frozenset(FORMATS)) -> None:
        super().__init__(inner.name)
        self.inner = inner
        self._formats = formats
        self.kind = inner.kind  # pyright: ignore[reportAttributeAccessIssue] - those of the engine, not of this class
        self.dialect = inner.dialect  # pyright: ignore[reportAttributeAccessIssue]
        self.differs = inner.differs  # pyright: ignore[reportAttributeAccessIssue]
        self._lock = threading.Lock()
        self._tables: dict[str, Published] = {}
        # the engine recognises a plan that it compiled before by its identity
        self._plans: WeakKeyDictionary[Relation, tuple[Relation, list[_Reading]]] = WeakKeyDictionary()

    def publish(self, table: str, source: TableSource) -> Schema:
        if not outside(source, self._formats):
            with self._lock:
                self._tables.pop(table, None)
                self._plans.clear()
            return self.inner.publish(table, source)
        published = Published(source, f"{self.kind} {self.name!r}, table {table!r}")
        with self._lock:
            self._tables[table] = published
            self._plans.clear()
        return published.schema

    def row_count(self, table: str) -> int | None:
        published = self._tables.get(table)
        return self.inner.row_count(table) if published is None else published.count()

    def unsupported(self, node: Relation) -> str | None:
        if isinstance(node, Scan) and node.table in self._tables:
            return self.inner.unsupported(Received(node.table, node.columns))
        return self.inner.unsupported(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        if not self._tables:
            return self.inner.run(fragment, inputs, cancellation)
        with self._lock:
            known = self._plans.get(fragment)
        if known is None:
            readings: list[_Reading] = []
            known = (self._bound(fragment, readings), readings)
            with self._lock:
                self._plans[fragment] = known
        bound, readings = known
        if not readings:
            return self.inner.run(fragment, inputs, cancellation)
        opened = {
            reading.key: self._tables[reading.table].read(
                reading.columns.names, reading.predicates, cancellation
            )
            for reading in readings
        }
        return self.inner.run(bound, {**inputs, **opened}, cancellation)

    def _bound(self, root: Relation, readings: list[_Reading]) -> Relation:
        """The plan with received rows in place of tables of files, which are noted in `readings`; subqueries included."""
        above = wanted(root)

        def rule(node: Relation) -> Relation:
            if isinstance(node, Scan) and node.table in self._tables:
                key = f"files_{len(readings)}"
                asked = above[id(node)]
                readings.append(_Reading(key, node.table, asked.columns, asked.predicates))
                return Received(key, asked.columns)
            return node.map_expressions(inside) if any(map(has_subquery, node.expressions())) else node

        def inside(expression: Expression) -> Expression:
            def one(part: Expression) -> Expression | None:
                if not isinstance(part, Subquery):
                    return None
                needle = None if part.needle is None else inside(part.needle)
                return replace(part, plan=self._bound(part.plan, readings), needle=needle)

            return transform(expression, one)

        return rewrite(root, rule)

    def close(self) -> None:
        with self._lock:
            self._tables.clear()
        self.inner.close()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a plan reads of a scan: these columns, of the rows for which these predicates (over the scan's columns) are true."""

    columns: Schema
    predicates: tuple[Expression, ...] = ()


def wanted(root: Relation) -> dict[int, _Wanted]:
    """By the identity of each scan: what stands right above it says, as long as nothing else reads it."""
    users: dict[int, list[Relation]] = {}
    for node in root.walk():
        for child in node.inputs:
            users.setdefault(id(child), []).append(node)
    return {id(node): _above(node, users) for node in root.walk() if isinstance(node, Scan)}


def _above(scan: Scan, users: Mapping[int, list[Relation]]) -> _Wanted:
    names = {name: name for name in scan.columns}
    columns = scan.columns
    predicates: list[Expression] = []
    node: Relation = scan
    while len(above := users.get(id(node), [])) == 1:
        node = above[0]
        if any(map(has_window, node.expressions())):
            break  # a window looks at rows that a filter beside or above it leaves out
        if isinstance(node, Filter):
            predicates += [_renamed(part, names) for part in node.predicates if _plain(part, names)]
            continue
        if not isinstance(node, Project):
            break
        if columns is scan.columns and not any(map(has_subquery, node.expressions())):
            read = {column.name for value in node.expressions() for column in columns_of(value)}
            if node.input is scan and read:
                columns = Schema((name, text) for name, text in scan.columns.items() if name in read)
        names = {
            name: names[value.name]
            for name, value in node.values
            if isinstance(value, Column) and value.name in names
        }
    return _Wanted(columns, tuple(predicates))


def _plain(part: Expression, names: Mapping[str, str]) -> bool:
    return not has_subquery(part) and all(column.name in names for column in columns_of(part))


def _renamed(part: Expression, names: Mapping[str, str]) -> Expression:
    return transform(
        part, lambda node: replace(node, name=names[node.name]) if isinstance(node, Column) else None
    )
