"""Prices of one workload: unit costs of every place and link, put into the planner's arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blossom.optimizer.costs.model import Pricing, Workload
from blossom.optimizer.costs.prior import MARGIN, hops, link, units
from blossom.optimizer.costs.terms import NUMBER, READS, WRITES, Floats, amounts, moved

Hop = tuple[str, str]
"""A link, by the sites at its ends."""


@dataclass(frozen=True, eq=False)
class Prior:
    """The cost model of which nothing was learned.

    >>> from blossom.optimizer.physical import Location
    >>> here = Location("north", "duckdb")
    >>> Prior().price(Workload([], [], [], [here], ["duckdb"], "north")).latency.tolist()
    [[0.0]]
    """

    def price(self, load: Workload) -> Pricing:
        """The prices of a workload."""
        return Prices(load, np.array([units(kind) for kind in load.kinds]).T, {})


@dataclass(eq=False)
class Prices:
    """The arrays of one planning, from what a unit of each term costs.

    Args:
        load: The workload.
        units: (terms, k) seconds a unit of each term at each place.
        links: Seconds before the first byte, and seconds a byte, by hop; a hop that is not there costs what the prior says.
    """

    load: Workload
    units: Floats
    links: Mapping[Hop, tuple[float, float]]
    operators: Floats = field(init=False)
    delivery: Floats = field(init=False)
    latency: Floats = field(init=False)
    per_byte: Floats = field(init=False)
    amounts: Floats = field(init=False)
    moved: Floats = field(init=False)

    def __post_init__(self) -> None:
        load = self.load
        self.amounts = amounts(load.work)
        self.moved = np.array([moved(one.own, len(one.relation.schema)) for one in load.work]).reshape(-1, 3)
        self.operators = self.amounts @ self.units
        start = self.units[NUMBER["start"]]
        sent = self.moved[list(load.child)].sum(axis=0) if len(load.child) else np.zeros(3)
        mix = (
            sent / sent[0] if sent[0] > 0 else np.array([1.0, 1 / 32, 1 / 8])
        )  # of an average byte of this plan
        out, into = mix @ self.units[WRITES], mix @ self.units[READS]
        self.latency, self.per_byte = self._between(load.locations)
        away = ~np.eye(len(load.locations), dtype=np.bool_)
        self.latency += np.where(away, start[:, None], 0.0)
        self.per_byte += np.where(away, out[:, None] + into[None, :], 0.0)
        last = self.moved[-1] if len(self.moved) else np.zeros(3)
        self.delivery = start + last @ self.units[WRITES]
        for i, location in enumerate(load.locations):
            if location.site != load.consumer:
                seconds, rate = self.way(location.site, load.consumer)
                self.delivery[i] += seconds + rate * float(last[0])

    def way(self, source: str, target: str) -> tuple[float, float]:
        """Seconds before the first byte, and seconds a byte, between two sites."""
        found = [self._hop(hop) for hop in hops(source, target)]
        return sum(one for one, _ in found), sum(two for _, two in found)

    def _hop(self, hop: Hop) -> tuple[float, float]:
        known = self.links.get(hop)
        if known is None:
            fact = link(*hop)
            known = fact.seconds, 1 / fact.bytes_per_second
        return known

    def _between(self, locations: Sequence[object]) -> tuple[Floats, Floats]:
        sites = [location.site for location in self.load.locations]
        names = list(dict.fromkeys(sites))
        ways = np.array([[self.way(one, two) for two in names] for one in names]).reshape(
            len(names), len(names), 2
        )
        at = [names.index(site) for site in sites]
        every = ways[np.ix_(at, at)]
        away = ~np.eye(len(locations), dtype=np.bool_)
        return np.where(away, every[..., 0], 0.0), np.where(away, every[..., 1], 0.0)

    def total(self, choice: NDArray[np.int64]) -> float:
        """Seconds of a placed plan: the sum of its work and moves."""
        used = np.flatnonzero(choice >= 0)
        seconds = float(self.operators[used, choice[used]].sum()) + float(self.delivery[choice[-1]])
        for child, parent in zip(self.load.child, self.load.parent, strict=True):
            i, j = int(choice[child]), int(choice[parent])
            if i >= 0 and j >= 0:
                seconds += float(self.latency[i, j] + self.per_byte[i, j] * self.moved[child, 0])
        return seconds

    def margin(self, best: NDArray[np.int64], simpler: NDArray[np.int64]) -> float:
        """The prior does not know how wrong it is about any one plan."""
        return MARGIN

    def spread(self, choice: NDArray[np.int64]) -> float:
        """The prior's guess of itself."""
        return PRIOR_SPREAD


PRIOR_SPREAD = 4.0
"""How many times longer than the prior says 90 % of the plans take at most."""
