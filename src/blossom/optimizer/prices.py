"""What the places of a federation charge: seconds of their platforms, bytes that leave a zone, starts and shortest bills.

Money is counted in US dollars. A bill of a plan is, for each platform that it uses,

    usd_per_second * max(start-up + busy, shortest bill)        (start-up and shortest bill only where the platform is cold)

where a platform is busy while it works, and while it sends or takes in what is moved; and for each byte that crosses from one
zone into another, what the zone charges that it leaves. What goes from one site to another goes through the hub and pays twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from blossom.optimizer.costs.prior import HUB
from blossom.optimizer.graph import Floats
from blossom.optimizer.physical import Location

GB = 1e9
"""Bytes of a gigabyte, as providers bill them."""

NONE_GIVEN = "no prices are given, so everything costs 0 usd"


@dataclass(frozen=True, slots=True)
class Zone:
    """A region of a provider, and what a byte costs that leaves it.

    Attributes:
        provider: None: nobody's, such as a machine room of one's own.
        region: None: the provider's only one.
        out: Usd a byte to other providers.
        between: Usd a byte to other regions of the provider.
        within: Usd a byte to another site in the region.
    """

    provider: str | None = None
    region: str | None = None
    out: float = 0.0
    between: float = 0.0
    within: float = 0.0

    def to(self, other: Zone) -> float:
        """Usd a byte that goes there.

        >>> aws = Zone("aws", "eu", out=9e-11, between=2e-11)
        >>> aws.to(Zone()), aws.to(Zone("aws", "us")), aws.to(Zone("aws", "eu"))
        (9e-11, 2e-11, 0.0)
        """
        if self.provider is None or self.provider != other.provider:
            return self.out
        return self.within if self.region == other.region else self.between


@dataclass(frozen=True, slots=True)
class PlacePrice:
    """What a platform of a site charges.

    Attributes:
        usd_per_second: While it is up.
        startup_seconds: Until a cold platform can begin.
        minimum_seconds: The shortest time that is billed, once a start.
        zone: Where it is.
    """

    usd_per_second: float = 0.0
    startup_seconds: float = 0.0
    minimum_seconds: float = 0.0
    zone: Zone = Zone()

    @property
    def costly(self) -> bool:
        """Whether it makes a difference that the platform is cold."""
        return self.startup_seconds > 0 or self.minimum_seconds * self.usd_per_second > 0

    def bill(self, busy: float, *, cold: bool) -> float:
        """Usd for so many seconds.

        >>> spark = PlacePrice(0.01, startup_seconds=20, minimum_seconds=60)
        >>> spark.bill(10, cold=True), spark.bill(100, cold=True), spark.bill(10, cold=False)
        (0.6, 1.2, 0.1)
        """
        billed = max(self.startup_seconds + busy, self.minimum_seconds) if cold else busy
        return self.usd_per_second * billed


FREE = PlacePrice()


@dataclass(frozen=True)
class Prices:
    """The prices of a federation.

    Attributes:
        places: By location; what is not there is free.
        zones: Of the sites, and of the hub.
        source: Where the figures are from, in words; None where there are none.
    """

    places: Mapping[Location, PlacePrice] = field(default_factory=dict)
    zones: Mapping[str, Zone] = field(default_factory=dict)
    source: str | None = None

    def of(self, location: Location) -> PlacePrice:
        """What a location charges."""
        return self.places.get(location, FREE)

    @cached_property
    def any(self) -> bool:
        """Whether anything costs money."""
        zones = [*self.zones.values(), *(one.zone for one in self.places.values())]
        return any(one.usd_per_second > 0 for one in self.places.values()) or any(
            max(zone.out, zone.between, zone.within) > 0 for zone in zones
        )

    @property
    def note(self) -> str:
        """Where the money of an estimate comes from, in words."""
        if not self.any:
            return NONE_GIVEN
        return f"by {self.source}" if self.source else "by the prices of the configuration"

    def zone(self, site: str) -> Zone:
        """Where a site is."""
        return self.zones.get(site, Zone())

    def _zone_of(self, location: Location) -> Zone:
        found = self.places.get(location)
        return self.zone(location.site) if found is None else found.zone

    def move(self, source: Location, target: Location) -> float:
        """Usd a byte from one platform to another."""
        out, into = self._zone_of(source), self._zone_of(target)
        if source.site == target.site:
            return 0.0 if (out.provider, out.region) == (into.provider, into.region) else out.to(into)
        if HUB in (source.site, target.site):
            return out.to(into)
        return self.deliver(source, HUB) + self.zone(HUB).to(into)

    def deliver(self, source: Location, site: str) -> float:
        """Usd a byte of a result that a site gets."""
        if source.site == site:
            return 0.0
        out = self._zone_of(source)
        if HUB in (source.site, site):
            return out.to(self.zone(site))
        return out.to(self.zone(HUB)) + self.zone(HUB).to(self.zone(site))


class Tariff:
    """The prices of one planning's places as arrays.

    Args:
        prices: The federation's.
        locations: (k) the places.
        consumer: The site that gets the result.
        warm: Places that run already: they need no start and are billed by the second.

    Attributes:
        per_second: (k,) usd.
        per_byte: (k, k) usd a byte of a move.
        delivery: (k,) usd a byte of the result.
        startup: (k,) seconds until the place can begin.
    """

    def __init__(
        self, prices: Prices, locations: tuple[Location, ...], consumer: str, warm: Collection[Location]
    ) -> None:
        self.prices = prices
        self.locations = locations
        self.cold = [one not in warm for one in locations]
        found = [prices.of(one) for one in locations]
        self._found = found
        self.per_second: Floats = np.array([one.usd_per_second for one in found])
        self.per_byte: Floats = np.zeros((len(locations), len(locations)))
        self.delivery: Floats = np.zeros(len(locations))
        if prices.any:
            self.per_byte += [[prices.move(one, two) for two in locations] for one in locations]
            self.delivery += [prices.deliver(one, consumer) for one in locations]
        self.startup: Floats = np.array(
            [one.startup_seconds if cold else 0.0 for one, cold in zip(found, self.cold, strict=True)]
        )

    @property
    def free(self) -> bool:
        """Whether no plan costs anything."""
        return not (self.per_second.any() or self.per_byte.any() or self.delivery.any())

    def bill(self, busy: Mapping[int, float], factor: float = 1.0) -> float:
        """Usd of the platforms.

        Args:
            busy: Place number -> seconds that it works and moves data, without its start.
            factor: How many times as long it may take.
        """
        return sum(
            self._found[place].bill(seconds * factor, cold=self.cold[place])
            for place, seconds in busy.items()
        )
