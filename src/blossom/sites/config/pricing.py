"""What every place of a configuration charges: the provider's prices, and over them what the owner says."""

from __future__ import annotations

from collections.abc import Mapping

from blossom.optimizer.physical import Location
from blossom.optimizer.prices import GB, PlacePrice, Prices, Zone
from blossom.plan.errors import unknown
from blossom.sites.config.base import Base
from blossom.sites.config.faults import Key
from blossom.sites.config.model import HUB, HubConfig, PlatformConfig, Price, SiteConfig
from blossom.sites.config.price_table import PriceTable, ProviderTable

HOUR = 3600.0

HUB_KINDS = ("duckdb", "python")
"""The engines of the hub, each named as its kind."""


def prices(sites: Mapping[str, SiteConfig], hub: HubConfig, table: PriceTable | None, base: Base) -> Prices:
    """The prices of all places; faults name providers that the table does not have.

    Args:
        sites: By name.
        hub: The hub's own settings.
        table: What providers charge; None where it is faulty: nothing more is said then.
        base: Takes the faults.
    """
    if table is None:
        return Prices()
    places: dict[Location, PlacePrice] = {}
    zones: dict[str, Zone] = {}
    billed = False
    everywhere: list[tuple[SiteConfig | HubConfig, Mapping[str, PlatformConfig], Key]] = [
        (site, site.platforms, ("sites", name)) for name, site in sites.items()
    ]
    everywhere.append((hub, {kind: PlatformConfig(kind, {}) for kind in HUB_KINDS}, (HUB,)))
    for place, platforms, key in everywhere:
        provider = _provider(place.provider, key, table, base)
        zones[place.name] = _zone(place.provider, place.region, provider, place.price)
        billed = billed or provider is not None
        for name, platform in platforms.items():
            own = _provider(platform.provider, (*key, "platforms", name), table, base)
            zone = zones[place.name]
            if platform.provider is not None or platform.region is not None:
                same = platform.provider in (None, place.provider)
                of = platform.provider or place.provider
                region = platform.region or (place.region if same else None)
                zone = _zone(of, region, own or provider, place.price if same else Price())
            site_price = place.price if own is None else Price()
            places[Location(place.name, name)] = _place(platform, zone, own or provider, site_price)
            billed = billed or own is not None
    return Prices(places, zones, str(table) if billed else None)


def _provider(name: str | None, key: Key, table: PriceTable, base: Base) -> ProviderTable | None:
    if name is not None and name not in table.providers:
        base.fault((*key, "provider"), *unknown("provider", name, table.providers))
    return None if name is None else table.providers.get(name)


def _zone(name: str | None, region: str | None, provider: ProviderTable | None, price: Price) -> Zone:
    out = between = within = 0.0
    if provider is not None:
        regional = provider.regions.get(region or "")
        special = None if regional is None else regional.egress_usd_per_gb
        out = provider.egress_usd_per_gb if special is None else special
        between, within = provider.region_usd_per_gb, provider.within_usd_per_gb
    if price.egress_usd_per_gb is not None:
        out = between = within = price.egress_usd_per_gb
    return Zone(name, region, out / GB, between / GB, within / GB)


def _place(platform: PlatformConfig, zone: Zone, provider: ProviderTable | None, site: Price) -> PlacePrice:
    """A platform's price: what is said of the platform itself counts most, then of its site, its kind, its region, its provider."""
    hourly, startup, minimum = 0.0, 0.0, 0.0
    if provider is not None:
        regional = provider.regions.get(zone.region or "")
        hourly = _first(None if regional is None else regional.usd_per_hour, provider.usd_per_hour)
        kind = provider.platforms.get(platform.kind)
        if kind is not None:
            hourly = _first(kind.usd_per_hour, hourly)
            startup, minimum = _first(kind.startup_seconds, 0.0), _first(kind.minimum_seconds, 0.0)
    hourly = _first(platform.price.usd_per_hour, site.usd_per_hour, hourly)
    startup = _first(platform.price.startup_seconds, startup)
    minimum = _first(platform.price.minimum_seconds, minimum)
    return PlacePrice(hourly / HOUR, startup, minimum, zone)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
