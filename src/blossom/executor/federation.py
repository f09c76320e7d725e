"""An opened federation: its sites, the hub's own engines, and what the hub knows of every table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blossom.executor.experience import Experience
from blossom.optimizer.physical import Location
from blossom.optimizer.prices import Prices
from blossom.optimizer.statistics import ColumnStatistics
from blossom.plan.errors import PlanError, Refusal, unknown
from blossom.plan.relations import Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable
from blossom.plan.schema import Schema
from blossom.policy.model import Recipient, TablePolicy
from blossom.sites.agreement import agree
from blossom.sites.config.model import HUB, PlatformConfig
from blossom.sites.functions import Functions
from blossom.sites.place import Place, Predictor
from blossom.sites.spool import ROOM, Room
from blossom.sites.tasks import Description, SiteInterface

HUB_PLATFORMS: Mapping[str, PlatformConfig] = {
    "duckdb": PlatformConfig("duckdb", {}),
    "python": PlatformConfig("python", {}),
}


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as policies and audit logs see it."""

    name: str | None = None
    role: str | None = None
    purpose: str | None = None

    def at(self, site: str) -> Recipient:
        """The user as a recipient at a place."""
        return Recipient(site, self.role, self.purpose, self.name)


@dataclass(slots=True)
class Federation:
    """Sites by name, in the configuration's order; the hub merges with engines of its own."""

    sites: Mapping[str, SiteInterface]
    functions: Functions
    predictor: Predictor
    user: User = field(default_factory=User)
    experience: Experience = field(default_factory=Experience)
    prices: Prices = field(default_factory=Prices)
    warm: set[Location] = field(init=False, default_factory=set)  # costly platforms that a run has started
    room: Room = field(default_factory=lambda: Room(ROOM, lambda: Path(tempfile.gettempdir()), HUB))
    hub: Place = field(init=False)
    tables: dict[str, FederatedTable] = field(init=False)
    descriptions: dict[str, Description] = field(init=False)

    def __post_init__(self) -> None:
        self.hub = Place(HUB, HUB_PLATFORMS, self.functions, self.predictor)
        self.descriptions = {}
        self.tables = {}
        self.refresh()

    def refresh(self) -> None:
        """Ask every site what it publishes, all at once.

        Raises:
            ConfigError: Sites disagree about a table.
            SiteError, PlatformError: A site or an engine cannot be reached.
        """
        if not self.sites:
            self.descriptions, self.tables = {}, {}
            return
        with ThreadPoolExecutor(max_workers=len(self.sites), thread_name_prefix="blossom-describe") as pool:
            described = list(pool.map(lambda site: site.describe(), self.sites.values()))
        self.descriptions = {description.name: description for description in described}
        names = dict.fromkeys(table for d in described for table in d.tables)
        self.tables = {name: self._table(name) for name in names}

    def _table(self, name: str) -> FederatedTable:
        parts = {site: d.tables[name] for site, d in self.descriptions.items() if name in d.tables}
        agreed = agree(name, {site: (part.schema, part.config) for site, part in parts.items()})
        schemas = {site: part.schema for site, part in parts.items()}
        return FederatedTable(agreed.schema, schemas, agreed.partition, agreed.replicated, agreed.steward)

    def schema(self, table: str, site: str | None) -> Schema | None:
        """A table's schema, federated or at one site; None when there is none."""
        if site == HUB:
            kept = self.hub.kept(table)
            return None if kept is None else Schema.from_pyarrow(kept.schema)
        found = self.tables.get(table)
        if found is None:
            return None
        return found.schema if site is None else found.parts.get(site)

    def private(self) -> bool:
        """Whether any table has a rule stricter than rows to the hub."""
        return any(
            part.config.policy.release != "rows"
            for d in self.descriptions.values()
            for part in d.tables.values()
        )

    def close(self) -> None:
        """Write down what was learned, and close the hub's engines and every site."""
        try:
            self.experience.settle(FederationCatalogue(self).rows)
            self.experience.save()
        finally:
            self._close_engines()

    def _close_engines(self) -> None:
        self.hub.close()
        for site in self.sites.values():
            close: Any = getattr(site, "close", None)
            if close is not None:
                close()


class FederationCatalogue:
    """The planner's view of an opened federation, for one user."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._locations = tuple(
            Location(site, info.name) for site, d in federation.descriptions.items() for info in d.platforms
        ) + tuple(Location(HUB, name) for name in federation.hub.configs)
        self._kinds = {
            Location(site, info.name): info.kind
            for site, d in federation.descriptions.items()
            for info in d.platforms
        } | {Location(HUB, name): config.kind for name, config in federation.hub.configs.items()}
        self._ship: dict[tuple[int, str, str], tuple[Refusal, ...]] = {}
        self._alive: list[Relation] = []

    @property
    def locations(self) -> tuple[Location, ...]:
        """Every platform of every site, then the hub's."""
        return self._locations

    def home(self, site: str, table: str) -> Location:
        """Where a site's table is published."""
        if site == HUB:
            return Location(HUB, "duckdb")
        return Location(site, self._federation.descriptions[site].tables[table].config.platform)

    def kind(self, location: Location) -> str:
        """The platform's kind."""
        return self._kinds[location]

    def unsupported(self, location: Location, node: Relation) -> str | None:
        """Why a node cannot run there."""
        if location.site == HUB:
            return self._federation.hub.unsupported(location.platform, node)
        return self._federation.sites[location.site].unsupported(location.platform, node)

    def rows(self, site: str, table: str) -> int | None:
        """A table's size, as far as the hub may know it."""
        if site == HUB:
            kept = self._federation.hub.kept(table)
            return None if kept is None else kept.num_rows
        if table not in self._federation.descriptions[site].tables:
            return None  # it is gone: kept for a run only, or its owner has removed it
        return self._federation.sites[site].rows(table)

    def column(self, site: str, table: str, column: str) -> ColumnStatistics | None:
        """What is known of a column: only sites whose rows may come to the hub tell."""
        return self._federation.experience.columns.of(site, table, column)

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        """Why a site would refuse to send a relation there."""
        if site == HUB:
            return ()
        key = (id(relation), site, recipient)
        if key not in self._ship:
            self._alive.append(relation)  # its id must stay its own
            self._ship[key] = self._federation.sites[site].may_release(
                relation, self._federation.user.at(recipient)
            )
        return self._ship[key]

    def policy(self, site: str, table: str) -> TablePolicy:
        """A table's rules; the hub's own tables are the user's."""
        return TablePolicy(release="rows") if site == HUB else self._federation.sites[site].policy(table)

    def place(self, relation: Relation) -> Location | None:
        """The one platform on which a relation can be computed whole with nothing moved; None when there is none."""
        found: Location | None = None
        for node in relation.walk():
            if isinstance(node, Scan):
                if node.site is None:
                    return None
                home = self.home(node.site, node.table)
                if found is not None and home != found:
                    return None
                found = home
        if found is None:
            return None
        return found if all(self.unsupported(found, node) is None for node in relation.walk()) else None


def require_table(federation: Federation, name: str, site: str | None) -> Schema:
    """A table's schema.

    Raises:
        PlanError: No such table, or not at that site; names the nearest.
    """
    schema = federation.schema(name, site)
    if schema is not None:
        return schema
    if name not in federation.tables:
        what, hint = unknown("table", name, federation.tables)
        raise PlanError(what, hint=hint)
    what, hint = unknown("site", str(site), federation.tables[name].parts)
    raise PlanError(f"{what} for table {name!r}", hint=hint)
