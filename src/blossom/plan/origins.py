"""Where a column's value in a row comes from: a digest that is equal for equal formulas over equally named stored columns.

Two plans may read other rows, by other filters, and still compute a column in the same way. A site asks this when somebody wants to
measure a model: the columns must mean what they meant when it was fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    TypeArgument,
)
from blossom.plan.lineage import ELEMENTWISE
from blossom.plan.relations import Filter, Join, Model, Predict, Project, Received, Relation, Scan


@dataclass(frozen=True, slots=True)
class Origin:
    """A column's formula.

    Attributes:
        digest: Its content hash.
        tables: The tables whose columns it reads.
    """

    digest: str
    tables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Origins:
    """The formulas of a relation's columns.

    Attributes:
        columns: By name; one that is missing has no known formula.
        scans: The tables read, each as often as it is read.
        joins: How they are joined, as digests; None where that is not known.
    """

    columns: Mapping[str, Origin]
    scans: tuple[str, ...] = ()
    joins: frozenset[str] | None = frozenset()

    def of(self, names: Iterable[str]) -> dict[str, str] | None:
        """One digest a name; None where a formula is not known.

        How tables are joined counts only where the columns are of several of them: values of one row stay together.
        """
        found: dict[str, Origin] = {}
        for name in names:
            if name not in self.columns:
                return None
            found[name] = self.columns[name]
        tables = frozenset[str]().union(*(origin.tables for origin in found.values()))
        if sum(self.scans.count(table) for table in tables) <= 1:
            return {name: origin.digest for name, origin in found.items()}
        if self.joins is None:
            return None
        return {name: _digest(origin.digest, *sorted(self.joins)) for name, origin in found.items()}


NO_ORIGINS = Origins({}, (), None)

Stored = Callable[[str, str], str | None]
"""(table, column) -> what a stored column is called across tables; None where a user chose its values."""


def origins(root: Relation, stored: Stored, received: Mapping[str, Origins]) -> Origins:
    """The formulas of a relation's columns.

    Args:
        root: The relation.
        stored: Names stored columns.
        received: What is known of outputs that it receives, by key. Nothing is known of others.

    >>> from blossom.plan.schema import Schema
    >>> t = Scan("t", Schema([("a", "int64"), ("b", "int64")]))
    >>> fewer = Filter(t, (Call("Greater", (t.column("b"), Literal(1, "int8")), "boolean"),))
    >>> one, other = (origins(r, lambda table, column: column, {}).of(["a"]) for r in (t, fewer))
    >>> one == other
    True
    """
    known: dict[int, Origins] = {}
    for node in root.walk():
        known[id(node)] = _node(node, [known[id(one)] for one in node.inputs], stored, received)
    return known[id(root)]


def _node(node: Relation, below: list[Origins], stored: Stored, received: Mapping[str, Origins]) -> Origins:
    match node:
        case Scan():
            named = {name: stored(node.table, name) for name in node.schema.names}
            columns = {
                name: Origin(_digest("stored", text), frozenset({node.table}))
                for name, text in named.items()
                if text is not None
            }
            return Origins(columns, (node.table,))
        case Received():
            return received.get(node.key, NO_ORIGINS)
        case Model():
            return Origins({})
        case Filter():
            return below[0]
        case Project():
            return Origins(_values(node.values, below), below[0].scans, below[0].joins)
        case Join():
            return _join(node, below)
        case Predict():
            return _predicted(node, below[0])
        case _:
            return Origins({}, tuple(table for one in below for table in one.scans), None)


def _join(node: Join, below: list[Origins]) -> Origins:
    joins: set[str] | None = set()
    for one in below:
        joins = None if joins is None or one.joins is None else joins | one.joins
    for link in node.links:
        for predicate in link.predicates:
            found = _expression(predicate, below)
            joins = None if joins is None or found is None else joins | {_digest(link.how, found.digest)}
    scans = tuple(table for one in below for table in one.scans)
    return Origins(_values(node.values, below), scans, None if joins is None else frozenset(joins))


def _predicted(node: Predict, below: Origins) -> Origins:
    columns = dict(below.columns)
    read = [below.columns[name] for name in node.features if name in below.columns]
    for name, _ in node.outputs:
        columns.pop(name, None)
        if isinstance(node.model, Model) and len(read) == len(node.features):
            columns[name] = Origin(
                _digest("predicted", node.model.document, name, *(one.digest for one in read)),
                frozenset[str]().union(*(one.tables for one in read)),
            )
    return Origins(columns, below.scans, below.joins)


def _values(values: Iterable[tuple[str, Expression]], below: list[Origins]) -> dict[str, Origin]:
    found = {name: _expression(value, below) for name, value in values}
    return {name: origin for name, origin in found.items() if origin is not None}


def _expression(value: Expression, below: list[Origins]) -> Origin | None:
    match value:
        case Column():
            return below[value.input].columns.get(value.name)
        case Literal():
            return Origin(_digest("literal", repr(value.value), value.dtype.lstrip("!")), frozenset())
        case Call() if value.op in ELEMENTWISE:
            tables: set[str] = set()
            parts: list[str] = []
            for arg in value.args:
                text = _argument(arg, below, tables)
                if text is None:
                    return None
                parts.append(text)
            if value.op == "Equals":
                parts.sort()  # an optimizer may turn them round
            return Origin(_digest(value.op, *parts), frozenset(tables))
        case _:
            return None  # a window, a subquery, chance: it depends on other rows


def _argument(arg: Argument, below: list[Origins], tables: set[str]) -> str | None:
    if isinstance(arg, tuple):
        parts = [_argument(one, below, tables) for one in arg]
        known = [part for part in parts if part is not None]
        return _digest("tuple", *known) if len(known) == len(parts) else None
    if isinstance(arg, TypeArgument | EnumArgument | str | int | float | bool | None):
        return repr(arg)
    found = _expression(arg, below)
    if found is None:
        return None
    tables |= found.tables
    return found.digest


def _digest(*parts: str) -> str:
    text = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    return hashlib.sha256(text).hexdigest()
