"""What a checked configuration says, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blossom.optimizer.prices import Prices
from blossom.plan.relations import Partition
from blossom.platforms.interface import TableSource
from blossom.policy.model import TablePolicy

HUB = "hub"
"""The name that no site may take: it means the hub wherever a site's name can stand."""


class Secret(str):
    """A text that an engine needs and nobody should read: its `repr` hides it, so that tracebacks and dumps do too.

    >>> Secret("postgresql://me:pw@db/clinic")
    <secret>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


@dataclass(frozen=True, slots=True)
class Price:
    """What its owner says that a site, the hub or a platform charges; None leaves it to the provider's prices.

    Attributes:
        usd_per_hour: While it is up.
        egress_usd_per_gb: For a gigabyte (10^9 bytes) that leaves the site; of sites and the hub only.
        startup_seconds: Until a cold platform can begin; of platforms only.
        minimum_seconds: The shortest time that is billed; of platforms only.
    """

    usd_per_hour: float | None = None
    egress_usd_per_gb: float | None = None
    startup_seconds: float | None = None
    minimum_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """An engine at a site.

    Attributes:
        kind: One of `platforms.registry.PLATFORMS`.
        options: The options of that kind that were given: duckdb {database, memory_limit, threads}, sqlite {database},
            datafusion {memory_limit, threads}, python {memory_limit, timeout}, postgresql, mariadb and spark {url}. Paths are absolute; `url` is a `Secret`.
        provider: Who bills it; None: the site's.
        region: The provider's region; None: the site's where the provider is the site's too.
        price: What it charges.
    """

    kind: str
    options: Mapping[str, Any]
    provider: str | None = None
    region: str | None = None
    price: Price = Price()


@dataclass(frozen=True, slots=True)
class TableConfig:
    """A table that a site publishes.

    Attributes:
        name: Its name in the federation.
        platform: The name of the site's platform that reads it.
        source: Where the rows come from; paths are absolute.
        partition: Which rows live together at one site, where the owner declares it.
        replicated: Every publishing site holds the same rows.
        steward: For a replicated table: the site that alone answers for it.
        policy: What may leave.
    """

    name: str
    platform: str
    source: TableSource
    partition: Partition | None = None
    replicated: bool = False
    steward: str | None = None
    policy: TablePolicy = field(default_factory=TablePolicy)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SiteConfig:
    """A site: its platforms, its tables and its rules. Compared by identity: each loaded site has its own state.

    Attributes:
        name: The site's name in the federation.
        title: For people; the name when the file gives none.
        region: Provider region, for prices and links; None when the file gives none.
        state: The folder of audit log, ledger and models; None for a private temporary one (see `state_folder`).
        platforms: By name; `duckdb` and `python` are there unless switched off.
        tables: By name.
        provider: Who bills its machines and its network: a provider of the price table; None: nobody.
        price: What it charges.
        memory_limit: Bytes of intermediate results that it holds in memory; what is more lies in its state folder.
    """

    name: str
    title: str
    region: str | None
    state: Path | None
    platforms: Mapping[str, PlatformConfig]
    tables: Mapping[str, TableConfig]
    provider: str | None = None
    price: Price = Price()
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class HubConfig:
    """The hub of an embedded federation; fields as in `SiteConfig`."""

    title: str = HUB
    region: str | None = None
    state: Path | None = None
    name: str = HUB
    provider: str | None = None
    price: Price = Price()
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Federation:
    """Every site of one configuration.

    Attributes:
        sites: By name, in the order of the file.
        hub: The hub's own settings.
        path: The file it was read from; None for a mapping.
        prices: What its places charge.
    """

    sites: Mapping[str, SiteConfig]
    hub: HubConfig
    path: Path | None = None
    prices: Prices = field(default_factory=Prices)
