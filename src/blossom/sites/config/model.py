"""What a checked configuration says, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
class PlatformConfig:
    """An engine at a site.

    Attributes:
        kind: One of `platforms.registry.PLATFORMS`.
        options: The options of that kind that were given: duckdb {database, memory_limit, threads}, sqlite {database},
            datafusion {memory_limit, threads}, postgresql, mariadb and spark {url}. Paths are absolute; `url` is a `Secret`.
    """

    kind: str
    options: Mapping[str, Any]


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
    """

    name: str
    title: str
    region: str | None
    state: Path | None
    platforms: Mapping[str, PlatformConfig]
    tables: Mapping[str, TableConfig]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class HubConfig:
    """The hub of an embedded federation; fields as in `SiteConfig`."""

    title: str = HUB
    region: str | None = None
    state: Path | None = None
    name: str = HUB


@dataclass(frozen=True, slots=True)
class Federation:
    """Every site of one configuration.

    Attributes:
        sites: By name, in the order of the file.
        hub: The hub's own settings.
        path: The file it was read from; None for a mapping.
    """

    sites: Mapping[str, SiteConfig]
    hub: HubConfig
    path: Path | None = None
