"""What was learned of costs as JSON values, and back, checked."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from blossom.optimizer.costs.belief import ERRORS, Belief
from blossom.optimizer.costs.learned import Learned, link_belief, platform_belief
from blossom.optimizer.costs.prior import PLATFORMS
from blossom.plan.errors import ConfigError

VERSION = 1

SIGNIFICANT = 6
"""Digits that are kept of a figure."""


def dump(model: Learned) -> dict[str, Any]:
    """What was learned, as JSON values."""
    with model.held():
        return {
            "version": VERSION,
            "beliefs": {
                name: _dump(belief) | {"kind": model.kinds.get(name)}
                for name, belief in sorted(model.beliefs.items())
                if belief.observations
            },
        }


def _dump(belief: Belief) -> dict[str, Any]:
    lower = belief.covariance[np.tril_indices(len(belief.mean))]
    return {
        "terms": list(belief.terms),
        "traits": list(belief.traits),
        "mean": _short(belief.mean),
        "covariance": _short(lower),
        "noise": belief.noise,
        "observations": belief.observations,
        "errors": _short(belief.errors),
        "prior_errors": _short(belief.prior_errors),
        "drifts": belief.drifts,
        "since_drift": belief.since_drift,
        "rising": belief.rising,
        "falling": belief.falling,
    }


def _short(values: Any) -> list[float]:
    return [float(f"{float(value):.{SIGNIFICANT}g}") for value in values]


def load(document: object) -> Learned:
    """A model from JSON values.

    Terms are found by their names, so that a file survives terms that come and go; a platform of a kind that is not known is
    left out.

    Raises:
        ConfigError: The document is of another version, or not one of these.
    """
    try:
        return _load(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"this is no cost model: {error}", where="cost model") from error


def _load(document: Any) -> Learned:
    if document["version"] != VERSION:
        raise ConfigError(
            f"the cost model is of version {document['version']}, this Blossom reads version {VERSION}",
            where="cost model",
        )
    model = Learned()
    for name, one in document["beliefs"].items():
        kind = one["kind"]
        if kind is None:
            source, _, target = name.partition(">")
            model.beliefs[name] = _filled(link_belief(source, target), one)
        elif kind in PLATFORMS:
            model.beliefs[name] = _filled(platform_belief(kind), one)
            model.kinds[name] = kind
    return model


def _filled(belief: Belief, one: Mapping[str, Any]) -> Belief:
    theirs = [*one["terms"], *one["traits"]]
    ours = [*belief.terms, *belief.traits]
    n = len(theirs)
    mean = np.array(one["mean"], dtype=np.float64)
    lower = np.array(one["covariance"], dtype=np.float64)
    covariance = np.zeros((n, n))
    covariance[np.tril_indices(n)] = lower
    covariance = covariance + np.tril(covariance, -1).T
    if mean.shape != (n,) or not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        raise ValueError("figures that are none")
    if n and np.linalg.eigvalsh(covariance).min() < -1e-6:
        raise ValueError("a covariance that is none")
    common = [(ours.index(term), theirs.index(term)) for term in ours if term in theirs]
    here, there = [i for i, _ in common], [j for _, j in common]
    belief.mean[here] = mean[there]
    fresh = [i for i in range(len(ours)) if i not in here]
    belief.covariance[np.ix_(fresh, here)] = 0.0
    belief.covariance[np.ix_(here, fresh)] = 0.0
    belief.covariance[np.ix_(here, here)] = covariance[np.ix_(there, there)]
    noise = float(one["noise"])
    if not (math.isfinite(noise) and noise > 0):
        raise ValueError("a noise that is none")
    belief.noise = noise
    belief.observations = int(one["observations"])
    belief.errors = deque(map(float, one["errors"]), maxlen=ERRORS)
    belief.prior_errors = deque(map(float, one["prior_errors"]), maxlen=ERRORS)
    belief.drifts = int(one["drifts"])
    belief.since_drift = None if one["since_drift"] is None else int(one["since_drift"])
    belief.rising, belief.falling = float(one["rising"]), float(one["falling"])
    return belief
