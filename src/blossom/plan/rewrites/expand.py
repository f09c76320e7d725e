"""Expand federated tables: a table that several sites publish becomes the bag of its parts, or one of its copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blossom.plan.errors import PlanError, unknown
from blossom.plan.expressions import Call, Named, TypeArgument
from blossom.plan.relations import Copies, Partition, Parts, Project, Relation, Scan
from blossom.plan.schema import Schema


@dataclass(frozen=True, slots=True)
class FederatedTable:
    """What the hub knows of a table: the schema all sites agree on, and each site's own.

    Attributes:
        schema: The agreed schema.
        parts: Site -> that site's schema; never empty.
        partition: Rows with equal values of its columns live at one site.
        replicated: Every site holds the same rows.
        steward: The one site that may answer for a replicated table.
    """

    schema: Schema
    parts: Mapping[str, Schema]
    partition: Partition | None = None
    replicated: bool = False
    steward: str | None = None


def expand(scan: Scan, tables: Mapping[str, FederatedTable]) -> Relation:
    """What a scan of a table means, site by site.

    Raises:
        PlanError: No such table, or not at that site.
    """
    if scan.site == "hub":
        return scan
    table = tables.get(scan.table)
    if table is None:
        what, hint = unknown("table", scan.table, tables)
        raise PlanError(what, hint=hint)
    if scan.site is not None:
        if scan.site not in table.parts:
            what, hint = unknown("site", scan.site, table.parts)
            raise PlanError(f"{what} for table {scan.table!r}", hint=hint)
        return Scan(scan.table, table.parts[scan.site], scan.site)
    parts = tuple(_part(scan.table, table, site) for site in table.parts)
    sites = tuple(table.parts)
    if len(parts) == 1:
        return parts[0]
    if table.replicated:
        return Copies(parts, sites, table.steward)
    return Parts(parts, sites, table.partition)


def _part(name: str, table: FederatedTable, site: str) -> Relation:
    own = table.parts[site]
    scan = Scan(name, own, site)
    if own.names == table.schema.names and all(_alike(own[c], table.schema[c]) for c in own):
        return scan
    values: list[Named] = []
    for column, wanted in table.schema.items():
        value = scan.column(column)
        same = _alike(own[column], wanted)
        values.append((column, value if same else Call("Cast", (value, TypeArgument(wanted)), wanted)))
    return Project(scan, tuple(values))


def _alike(a: str, b: str) -> bool:
    return a.lstrip("!") == b.lstrip("!")
