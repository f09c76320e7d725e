"""From a parsed document to a federation: the sites one by one, then what must hold between them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blossom.sites.config import border
from blossom.sites.config.base import Base, check_name
from blossom.sites.config.faults import Key, validate
from blossom.sites.config.model import (
    HUB,
    Federation,
    HubConfig,
    PlatformConfig,
    Price,
    SiteConfig,
    TableConfig,
)
from blossom.sites.config.platforms import BUILT_IN, platform_config
from blossom.sites.config.price_table import price_table
from blossom.sites.config.pricing import prices
from blossom.sites.config.tables import reader_of, table_config


def build(document: Mapping[str, Any], base: Base) -> Federation | None:
    """The federation that a parsed document describes; None, or one with gaps, when `base.faults` is not empty at the end."""
    top = validate(border.DocumentTable, document, (), base.faults)
    if top is None:
        return None
    if not top.sites:
        base.fault(("sites",), "no site is declared", "declare one as [sites.NAME]")
    sites: dict[str, SiteConfig] = {}
    for name, body in top.sites.items():
        key: Key = ("sites", name)
        check_name(name, "site", key, base)
        if name == HUB:
            base.fault(
                key,
                '"hub" is reserved for the hub itself',
                "give the site another name; the hub's own keys stand in [hub]",
            )
        site = _site(name, body, key, base)
        if site is not None:
            sites[name] = site
    hub = _hub(top.hub, base)
    _check_states((hub, *sites.values()), base)
    _check_stewards(sites, base)
    return Federation(sites, hub, base.path, prices(sites, hub, price_table(top.prices, base), base))


def folder_name(name: str) -> str:
    """A site's name as the name of one folder, the same for no two sites.

    >>> folder_name("north"), folder_name("../a b")
    ('north', '%2E.%2Fa b')
    """
    return re.sub(r'[%/\\:*?"<>|]|^\.', lambda match: f"%{ord(match[0]):02X}", name)


def _state(given_state: str | None, name: str, base: Base) -> Path | None:
    if given_state is not None:
        return Path(base.resolve(given_state))
    return None if base.path is None else base.folder / ".blossom" / folder_name(name)


def _bytes(size: str | None) -> int | None:
    return None if size is None else border.size_bytes(size)


def _hub(table: border.HubTable | None, base: Base) -> HubConfig:
    table = table or border.HubTable()
    return HubConfig(
        table.title or HUB,
        table.region,
        _state(table.state, HUB, base),
        provider=table.provider,
        price=Price(**table.price.model_dump()),
        memory_limit=_bytes(table.memory_limit),
    )


def _site(name: str, body: Mapping[str, Any], key: Key, base: Base) -> SiteConfig | None:
    table = validate(border.SiteTable, body, key, base.faults)
    if table is None:
        return None
    declared: dict[str, PlatformConfig] = {}
    off: set[str] = set()
    faulty: set[str] = set()
    for platform, options in table.platforms.items():
        before = len(base.faults)
        config = platform_config(platform, options, (*key, "platforms", platform), base)
        if config is not None:
            declared[platform] = config
        else:
            (off if len(base.faults) == before else faulty).add(platform)
    kinds = {config.kind for config in declared.values()}
    built_in = {
        kind: PlatformConfig(kind, {}) for kind in BUILT_IN if kind not in off | faulty and kind not in kinds
    }
    platforms = declared | built_in
    tables: dict[str, TableConfig] = {}
    for published, content in table.tables.items():
        where = (*key, "tables", published)
        check_name(published, "table", where, base)
        raw = validate(border.TableTable, content, where, base.faults)
        if raw is None:
            continue
        if raw.platform in faulty:
            continue
        platform = reader_of(raw, declared, platforms, off, where, base)
        if platform is not None:
            tables[published] = table_config(published, raw, platform, platforms[platform], where, base)
    return SiteConfig(
        name,
        table.title or name,
        table.region,
        _state(table.state, name, base),
        platforms,
        tables,
        table.provider,
        Price(**table.price.model_dump()),
        memory_limit=_bytes(table.memory_limit),
    )


def _check_states(places: tuple[SiteConfig | HubConfig, ...], base: Base) -> None:
    """Two places never write into one folder: their audit logs and ledgers would mix."""
    owners: dict[str, str] = {}
    for place in places:
        if place.state is None:
            continue
        own = os.path.normcase(os.path.realpath(place.state))
        if own in owners:
            key: Key = ("hub", "state") if isinstance(place, HubConfig) else ("sites", place.name, "state")
            base.fault(key, f"{str(place.state)!r} is already the state folder of {owners[own]!r}")
        owners[own] = place.name


def _check_stewards(sites: Mapping[str, SiteConfig], base: Base) -> None:
    """A steward in this file publishes the table. One that is not in it is checked when the sites meet (`agreement`)."""
    for site in sites.values():
        for table in site.tables.values():
            steward = sites.get(table.steward or "")
            if steward is not None and table.name not in steward.tables:
                publishers = [other.name for other in sites.values() if table.name in other.tables]
                base.fault(
                    ("sites", site.name, "tables", table.name, "steward"),
                    f"site {steward.name!r} does not publish {table.name!r}",
                    f"one of {', '.join(publishers)}",
                )
