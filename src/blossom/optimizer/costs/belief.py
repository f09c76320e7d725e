"""What is believed of one platform or link: a Gaussian over the logarithms of its unit costs, updated by every measurement.

The measured seconds of a fragment (or of several that ran as one stream) are taken as

    log y = log( sum_f exp(w . traits_f) * sum_t amount_ft * unit_t * exp(b_t) ) + noise

with `unit` the prior's facts. The state (b, w) starts at zero, that is at the prior, and is shrunk towards it; an extended
Kalman filter (Anderson and Moore, "Optimal Filtering", 1979, chapter 8; three Gauss-Newton steps an update) takes in one
measurement after the other. So a rate is learned in the measure in which measurements depend on it, the rest stays with the
prior, and intervals come for nothing. The covariance at the start has a part that all terms share: a platform that was found
slow at one kind of work is expected to be slow at the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from blossom.optimizer.costs.terms import Floats

SHARED_SD = 0.6
"""How far, as a logarithm, a whole engine is off the prior: a factor of 1.8 in one of two cases outside."""

OWN_SD = 0.8
"""How far one of its terms is off beside that."""

TRAIT_SD = 0.15
"""How much a trait of a fragment matters."""

NOISE_SD = 0.35
"""What repeated measurements of one thing differ by, before any were made."""

LEAST_NOISE_SD = 0.08
NOISE_WEIGHT = 8.0
"""How many measurements the first guess of the noise weighs."""
NOISE_MEMORY = 100.0
"""Measurements over which the noise is an average."""

WANDER_SD = 0.02
"""How much a rate may change from one measurement to the next."""

OUTLIER = 3.0
"""Standard deviations from which on a measurement counts for less (Huber)."""

IMPOSSIBLE = math.log(1000.0)
"""From this error on it is the sizes that were wrong, not the rates: nothing is learned."""

STEPS = 3
FARTHEST = 12.0
"""No rate is believed to be off by more than exp(12)."""

ERRORS = 100
"""How many of the latest errors are kept to tell how wrong the model has been."""

SLACK, ALARM = 0.5, 8.0
"""Page's cumulative sum test (Biometrika 41, 1954): standard deviations that are no drift, and their sum that is one."""
DRIFT_SD = 0.7
"""How uncertain a drift makes every rate again."""
SETTLED = 20
"""Measurements before which nothing is known well enough to drift."""


@dataclass(slots=True, eq=False)
class Belief:
    """One platform of one site, or one link; mutable, guarded by its owner's lock.

    Attributes:
        terms: Names of the terms that have a rate.
        traits: Names of the fragment's traits that the seconds are scaled by.
        unit: (terms,) the prior's seconds a unit.
        own_sd: How far each of its terms may be off by itself, as a logarithm.
        mean: (terms + traits,) logarithms of the corrections.
        covariance: Of the same.
        noise: The variance of one measurement's logarithm.
        observations: How many measurements it has taken in.
        errors: Logarithms of measured over predicted, each before it was learned from; latest last.
        prior_errors: The same against the prior.
        drifts: How often a drift was noticed.
        since_drift: Measurements since the last one; None when there was none.
    """

    terms: tuple[str, ...]
    traits: tuple[str, ...]
    unit: Floats
    own_sd: float = OWN_SD
    mean: Floats = field(init=False)
    covariance: Floats = field(init=False)
    noise: float = NOISE_SD**2
    observations: int = 0
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=ERRORS))
    prior_errors: deque[float] = field(default_factory=lambda: deque(maxlen=ERRORS))
    drifts: int = 0
    since_drift: int | None = None
    rising: float = 0.0
    falling: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.terms)
        self.mean = np.zeros(n + len(self.traits))
        self.covariance = np.diag(np.array([self.own_sd**2] * n + [TRAIT_SD**2] * len(self.traits)))
        self.covariance[:n, :n] += SHARED_SD**2

    def units(self) -> Floats:
        """(terms,) the seconds a unit that are believed."""
        units: Floats = self.unit * np.exp(self.mean[: len(self.terms)])
        return units

    def factor(self, share: float = 1.6449) -> Floats:
        """(terms,) how many times more or less a unit may cost: half the width of the 90 % interval, as a factor."""
        n = len(self.terms)
        spread: Floats = np.exp(share * np.sqrt(np.diag(self.covariance)[:n]))
        return spread


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one fragment, or one link, contributes to a measurement.

    Attributes:
        name: Of the platform or link.
        amounts: (terms,) of its work.
        traits: (traits,) of the fragment.
    """

    name: str
    amounts: Floats
    traits: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Expected seconds of parts that run one after the other, and how they depend on what is believed.

    Attributes:
        seconds: Their sum.
        gradients: By name, the derivative of log(seconds) by the belief's mean.
        noise: The variance of one run's logarithm around it, were every rate known.
        variance: The variance that comes from rates that are not known.
    """

    seconds: float
    gradients: dict[str, Floats]
    noise: float
    variance: float


def predict(
    beliefs: dict[str, Belief], parts: Sequence[Part], means: dict[str, Floats] | None = None
) -> Prediction:
    """What parts are expected to take in all.

    Args:
        beliefs: By name.
        parts: What runs.
        means: Used in place of the beliefs' own means.
    """
    seconds = 0.0
    gradients: dict[str, Floats] = {}
    noises: dict[str, float] = {}
    for part in parts:
        belief = beliefs[part.name]
        mean = belief.mean if means is None else means[part.name]
        n = len(belief.terms)
        each = part.amounts * belief.unit * np.exp(mean[:n])
        scale = math.exp(float(part.traits @ mean[n:])) if len(belief.traits) else 1.0
        own = scale * float(each.sum())
        slope = np.concatenate([scale * each, own * part.traits])
        gradients[part.name] = slope if part.name not in gradients else gradients[part.name] + slope
        noises[part.name] = noises.get(part.name, 0.0) + own
        seconds += own
    if seconds <= 0.0:
        return Prediction(0.0, {}, NOISE_SD**2, 0.0)
    gradients = {name: slope / seconds for name, slope in gradients.items()}
    variance = sum(float(slope @ beliefs[name].covariance @ slope) for name, slope in gradients.items())
    noise = sum(beliefs[name].noise * own for name, own in noises.items()) / seconds
    return Prediction(seconds, gradients, noise, variance)


def learn(beliefs: dict[str, Belief], parts: Sequence[Part], seconds: float, *, drift: bool = True) -> float:
    """Take in one measurement; gives its error before that, as the logarithm of measured over expected.

    Args:
        beliefs: By name; those of the parts are changed.
        parts: What ran.
        seconds: How long it took in all.
        drift: Whether errors of one sign after another mean that something has changed; not so of work that is tried kind by kind.
    """
    first = predict(beliefs, parts)
    if first.seconds <= 0.0 or not math.isfinite(seconds) or seconds <= 0.0:
        return 0.0
    error = math.log(seconds / first.seconds)
    if abs(error) > IMPOSSIBLE:
        return error
    _note(beliefs, parts, first, error, seconds)
    if drift:
        _watch(beliefs, first, error)
    start = {name: beliefs[name].mean.copy() for name in first.gradients}
    means, now = dict(start), first
    gains: dict[str, Floats] = {}
    total = noise = 0.0
    for _ in range(STEPS):
        noise = first.noise
        total = sum(float(g @ beliefs[name].covariance @ g) for name, g in now.gradients.items()) + noise
        left = math.log(seconds / now.seconds)
        left -= sum(float(g @ (start[name] - means[name])) for name, g in now.gradients.items())
        excess = abs(left) / math.sqrt(total)
        if excess > OUTLIER:  # as though it were measured less exactly
            noise += total * (excess / OUTLIER - 1)
            total += total * (excess / OUTLIER - 1)
        gains = {name: beliefs[name].covariance @ g / total for name, g in now.gradients.items()}
        means = {
            name: np.clip(start[name] + gain * left, -FARTHEST, FARTHEST) for name, gain in gains.items()
        }
        now = predict(beliefs, parts, means)
    for name, gain in gains.items():
        belief = beliefs[name]
        belief.mean = means[name]
        moved = belief.covariance - total * np.outer(gain, gain)
        # what was used may wander: old measurements count for less than new ones
        belief.covariance = (moved + moved.T) / 2 + WANDER_SD**2 * np.diag(np.abs(now.gradients[name]))
        share = float(np.abs(first.gradients[name][: len(belief.terms)]).sum())
        belief.observations += 1
        seen = noise + first.variance
        expected = (
            noise * first.variance / seen + (noise / seen * error) ** 2
        )  # of the noise's square, given the error
        weight = share / (min(belief.observations, NOISE_MEMORY) + NOISE_WEIGHT)
        belief.noise = max(
            LEAST_NOISE_SD**2, belief.noise + weight * (min(expected, 4 * belief.noise) - belief.noise)
        )
    return error


MAIN = 0.3
"""From this share of a measurement on, its error says something of the platform."""


def _note(
    beliefs: dict[str, Belief], parts: Sequence[Part], first: Prediction, error: float, seconds: float
) -> None:
    """Keep the error where it belongs."""
    zero = {name: np.zeros_like(beliefs[name].mean) for name in first.gradients}
    prior = predict(beliefs, parts, zero).seconds
    for name, slope in first.gradients.items():
        belief = beliefs[name]
        if float(slope[: len(belief.terms)].sum()) < MAIN:
            continue
        belief.errors.append(error)
        belief.prior_errors.append(math.log(seconds / prior))


def _watch(beliefs: dict[str, Belief], first: Prediction, error: float) -> None:
    """Notice that a platform has changed, and believe less of what was learned of it before."""
    for name, slope in first.gradients.items():
        belief = beliefs[name]
        if float(slope[: len(belief.terms)].sum()) < MAIN or belief.observations < SETTLED:
            continue
        if belief.since_drift is not None:
            belief.since_drift += 1
        normal = error / math.sqrt(first.noise + first.variance)
        normal = max(-OUTLIER, min(OUTLIER, normal))
        belief.rising = max(0.0, belief.rising + normal - SLACK)
        belief.falling = max(0.0, belief.falling - normal - SLACK)
        if max(belief.rising, belief.falling) > ALARM:
            belief.drifts += 1
            belief.since_drift = 0
            belief.rising = belief.falling = 0.0
            n = len(belief.terms)
            belief.covariance[:n, :n] += DRIFT_SD**2
