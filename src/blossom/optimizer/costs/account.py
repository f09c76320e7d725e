"""What the cost model believes of each platform and link, and how wrong it has been, in figures for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from blossom.optimizer.costs.belief import Belief
from blossom.optimizer.costs.learned import Learned

TWO_SIDED_90 = 1.6449

LEARNED = 0.55
"""A rate whose uncertainty is below this share of what it was before any measurement counts as learned."""

RECENT_DRIFT = 50
"""Measurements for which a drift is told."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit costs.

    Attributes:
        per_second: Units a second (rows, pairs, bytes or values); of `start` and `latency`, which are seconds, their inverse.
        low: The lower end of the 90 % interval.
        high: The upper end.
        learned: Whether measurements say so, or still mostly the prior.
    """

    per_second: float
    low: float
    high: float
    learned: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One platform or link.

    Attributes:
        name: "site/platform", or "site>site" for a link.
        kind: The platform's kind; None for a link.
        observations: Measurements learned from.
        rates: By term.
        noise: The factor that repeated measurements differ by, in two of three cases within.
        median: Of the latest measurements, the factor by which half of the predictions were off at most, each made before its
            measurement was learned from; None while there are none.
        high: The factor by which nine of ten were.
        prior_median: `median`, had nothing been learned.
        prior_high: `high`, had nothing been learned.
        drifts: How often the platform was found to have changed.
        since_drift: Measurements since the last time; None when it never was.
    """

    name: str
    kind: str | None
    observations: int
    rates: dict[str, Rate]
    noise: float
    median: float | None
    high: float | None
    prior_median: float | None
    prior_high: float | None
    drifts: int
    since_drift: int | None

    @property
    def drifted(self) -> bool:
        """Whether it changed of late."""
        return self.since_drift is not None and self.since_drift <= RECENT_DRIFT


def accounts(model: Learned) -> list[Account]:
    """Every platform and link that something was learned of, platforms first."""
    with model.held():
        found = [
            _account(name, model.kinds.get(name), belief)
            for name, belief in model.beliefs.items()
            if belief.observations
        ]
    return sorted(found, key=lambda one: (one.kind is None, one.name))


def _account(name: str, kind: str | None, belief: Belief) -> Account:
    fresh = Belief(belief.terms, belief.traits, belief.unit, belief.own_sd)
    before, now = np.diag(fresh.covariance), np.diag(belief.covariance)
    rates: dict[str, Rate] = {}
    for i, (term, unit) in enumerate(zip(belief.terms, belief.units().tolist(), strict=True)):
        spread = math.exp(TWO_SIDED_90 * math.sqrt(max(float(now[i]), 0.0)))
        learned = bool(now[i] < LEARNED * before[i])
        rates[term] = Rate(1 / unit, 1 / unit / spread, 1 / unit * spread, learned)
    median, high = factors(belief.errors)
    prior_median, prior_high = factors(belief.prior_errors)
    return Account(
        name, kind, belief.observations, rates, math.exp(math.sqrt(belief.noise)), median, high, prior_median, prior_high,
        belief.drifts, belief.since_drift,
    )  # fmt: skip


def factors(errors: Iterable[float]) -> tuple[float | None, float | None]:
    """The median and the 90 % factor of errors that are logarithms; None, None of none.

    >>> factors([0.0, math.log(2), -math.log(4)])
    (2.0, 4.0)
    """
    sizes = np.exp(np.abs(np.array(list(errors))))
    if not len(sizes):
        return None, None
    return float(np.median(sizes)), float(np.quantile(sizes, 0.9, method="higher"))
