"""Reads a price table: what providers charge, from a file of the user's or the one that comes with Blossom."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from blossom.plan.errors import ConfigError, unknown
from blossom.sites.config import border
from blossom.sites.config.base import Base
from blossom.sites.config.faults import Key, given, raise_faults, validate

LISTED = "list_prices.toml"
"""The table that comes with Blossom."""


class KindTable(border.PlatformPriceTable):
    """`[providers.NAME.platforms.KIND]`: a managed engine with prices of its own."""

    source: str | None = None


class ProviderTable(border.Table):
    """`[providers.NAME]`."""

    source: str
    usd_per_hour: float = Field(ge=0, allow_inf_nan=False)
    egress_usd_per_gb: float = Field(ge=0, allow_inf_nan=False)
    region_usd_per_gb: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    within_usd_per_gb: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    platforms: dict[str, KindTable] = Field(default_factory=dict)
    regions: dict[str, border.SitePriceTable] = Field(default_factory=dict)


class PriceTable(border.Table):
    """A price file."""

    title: str
    date: datetime.date
    providers: dict[str, ProviderTable]

    def __str__(self) -> str:
        return f"{self.title}, {self.date}"


def price_table(given_prices: object, base: Base) -> PriceTable | None:
    """The table that a configuration names, or holds itself; None (and faults) where it cannot be used.

    Args:
        given_prices: A path, a table of the same shape, or None for the one that comes with Blossom.
        base: Where the configuration stands.
    """
    key: Key = ("prices",)
    if given_prices is None:
        return listed_prices()
    if isinstance(given_prices, str):
        document = _read(Path(base.resolve(given_prices)), key, base)
        if document is None:
            return None
    elif isinstance(given_prices, dict):
        document = cast("dict[str, Any]", given_prices)
    else:
        base.fault(key, f"expected the path of a price file, got {given(given_prices)}")
        return None
    table = validate(PriceTable, document, key, base.faults)
    if table is not None:
        _check(table, key, base)
    return table


@cache
def listed_prices() -> PriceTable:
    """The price table that comes with Blossom.

    >>> sorted(listed_prices().providers)
    ['aws', 'azure', 'gcp']
    """
    text = resources.files("blossom.sites.config").joinpath(LISTED).read_text(encoding="utf-8")
    base = Base(Path(), None)
    table = validate(PriceTable, tomllib.loads(text), (), base.faults)
    raise_faults(base.faults, LISTED)
    if table is None:
        raise ConfigError("the price table that comes with Blossom cannot be used", where=LISTED)
    return table


def _read(path: Path, key: Key, base: Base) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        base.fault(key, f"{str(path)!r} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        base.fault(key, f"{str(path)!r} is not UTF-8 text (byte {error.start})")
    except tomllib.TOMLDecodeError as error:
        base.fault(key, f"{str(path)!r} is not valid TOML: {error}")
    return None


def _check(table: PriceTable, key: Key, base: Base) -> None:
    for name, provider in table.providers.items():
        for kind in provider.platforms:
            if kind not in border.KINDS:
                base.fault(
                    (*key, "providers", name, "platforms", kind),
                    *unknown("platform kind", kind, border.KINDS),
                )
