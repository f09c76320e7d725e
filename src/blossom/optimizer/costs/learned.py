"""The cost model that learns: the prior of each platform and link, corrected by everything that was measured there."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blossom.optimizer.costs.belief import Belief, Part, Prediction, learn, predict
from blossom.optimizer.costs.model import Pricing, Workload
from blossom.optimizer.costs.pricing import Hop, Prices
from blossom.optimizer.costs.prior import hops, link, units
from blossom.optimizer.costs.terms import TERMS
from blossom.optimizer.costs.whole import LINK_TERMS, TRAITS, link_name, placed, platform_name

LEAST_MARGIN, MOST_MARGIN = 0.03, 0.5
"""However sure or unsure the model is, a plan over more platforms must promise so much."""

ONE_SIDED_90 = 1.2816

LINK_SD = 1.5
"""How far a link is off the prior, as a logarithm: it may be a function call or an ocean."""


def platform_belief(kind: str) -> Belief:
    """What is believed of a platform of a kind before it was measured."""
    return Belief(TERMS, TRAITS, units(kind))


def link_belief(source: str, target: str) -> Belief:
    """What is believed of a link before it was measured."""
    fact = link(source, target)
    return Belief(LINK_TERMS, (), np.array([fact.seconds, 1 / fact.bytes_per_second]), LINK_SD)


@dataclass(eq=False)
class Learned:
    """Beliefs by platform and link; safe for many threads.

    Attributes:
        beliefs: By `platform_name` or `link_name`.
        kinds: The kind of each platform that is believed something of.
        version: Grows with every change.

    >>> from blossom.optimizer.physical import Location
    >>> model = Learned()
    >>> here = Location("north", "duckdb")
    >>> model.price(Workload([], [], [], [here], ["duckdb"], "north")).latency.tolist()
    [[0.0]]
    """

    beliefs: dict[str, Belief] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    version: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def price(self, load: Workload) -> Pricing:
        """The prices of a workload, as far as is known now."""
        with self._lock:
            for location, kind in zip(load.locations, load.kinds, strict=True):
                self.know(platform_name(location), kind)
            columns = [self.beliefs[platform_name(location)].units() for location in load.locations]
            sites = dict.fromkeys(location.site for location in load.locations)
            ways = dict.fromkeys(
                hop for one in sites for two in (*sites, load.consumer) for hop in hops(one, two)
            )
            links = {hop: self._link(hop) for hop in ways}
        return LearnedPrices(load, np.array(columns).T, links, model=self)

    def held(self) -> contextlib.AbstractContextManager[bool]:
        """Hold the model still, to read several of its figures together."""
        return self._lock

    def adopt(self, other: Learned) -> None:
        """Take over each belief of another model that rests on more measurements."""
        with self._lock:
            for name, theirs in other.beliefs.items():
                ours = self.beliefs.get(name)
                if ours is None or ours.observations < theirs.observations:
                    self.beliefs[name] = theirs
                    if name in other.kinds:
                        self.kinds[name] = other.kinds[name]
            self.version += 1

    def forget(self) -> None:
        """Begin again from the prior."""
        with self._lock:
            self.beliefs.clear()
            self.kinds.clear()
            self.version += 1

    def know(self, name: str, kind: str) -> None:
        """Have a belief of a platform; a platform that changed its kind is a new one."""
        if self.kinds.get(name) != kind:
            self.beliefs[name] = platform_belief(kind)
            self.kinds[name] = kind

    def _link(self, hop: Hop) -> tuple[float, float]:
        belief = self.beliefs.get(link_name(*hop))
        if belief is None:
            belief = self.beliefs[link_name(*hop)] = link_belief(*hop)
        seconds, rate = belief.units().tolist()
        return seconds, rate

    def _have(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.name not in self.beliefs:
                source, _, target = part.name.partition(">")
                self.beliefs[part.name] = link_belief(source, target)

    def predict(self, parts: Sequence[Part]) -> Prediction:
        """What parts are expected to take one after the other. The platforms in them are known."""
        with self._lock:
            self._have(parts)
            return predict(self.beliefs, parts)

    def learn(self, parts: Sequence[Part], seconds: float, *, drift: bool = True) -> float:
        """Take in one measurement; gives the error before it, as the logarithm of measured over expected."""
        with self._lock:
            self._have(parts)
            self.version += 1
            return learn(self.beliefs, parts, seconds, drift=drift)

    def difference(self, best: Sequence[Part], simpler: Sequence[Part]) -> float:
        """The standard deviation of log(simpler / best) that comes from rates that are not known well.

        What both plans do has the same rates, so it mostly cancels.
        """
        with self._lock:
            self._have([*best, *simpler])
            one, two = predict(self.beliefs, best), predict(self.beliefs, simpler)
            slopes = {
                name: np.asarray(two.gradients.get(name, 0.0) - one.gradients.get(name, 0.0))
                for name in {*one.gradients, *two.gradients}
            }
            variance = sum(
                float(slope @ self.beliefs[name].covariance @ slope) for name, slope in slopes.items()
            )
        return math.sqrt(max(variance, 0.0))


@dataclass(eq=False)
class LearnedPrices(Prices):
    """Prices with whole fragments scored by what is believed of their platforms."""

    model: Learned = field(default_factory=Learned)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._below: list[list[int]] = [[] for _ in self.load.work]
        for child, parent in zip(self.load.child, self.load.parent, strict=True):
            self._below[parent].append(child)

    def _parts(self, choice: NDArray[np.int64]) -> list[Part]:
        load = self.load
        return placed(
            load.work, self.amounts, self.moved, self._below, choice.tolist(), load.locations, load.consumer
        )

    def total(self, choice: NDArray[np.int64]) -> float:
        """Seconds of a placed plan: its fragments scored whole."""
        return self.model.predict(self._parts(choice)).seconds

    def margin(self, best: NDArray[np.int64], simpler: NDArray[np.int64]) -> float:
        """One standard deviation of what is not known about the gain: it is real in five cases of six."""
        unsure = 1 - math.exp(-self.model.difference(self._parts(best), self._parts(simpler)))
        return max(LEAST_MARGIN, min(MOST_MARGIN, unsure))

    def spread(self, choice: NDArray[np.int64]) -> float:
        """From what is not known of the rates, and from what repeated runs differ by."""
        found = self.model.predict(self._parts(choice))
        return math.exp(ONE_SIDED_90 * math.sqrt(found.variance + found.noise))
