"""How features become scores, and scores become predictions: the one form that all fitted predictors share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from blossom.learning.columns import Floats, Ints, finite
from blossom.learning.design import Design, mix
from blossom.plan.errors import ConfigError

Link = Literal["identity", "log", "logistic", "softmax", "nearest"]
"""What a score means: a value, a value's logarithm, an event's log odds, classes' log weights, minus a squared distance."""

STEEPEST = 500.0
"""Largest exponent that is raised: exp(500) squared and summed is still finite."""


def expit(z: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))


def softmax(scores: Floats) -> Floats:
    """Probabilities of classes from their log weights, shape (classes, rows)."""
    raised = np.exp(scores - scores.max(axis=0, initial=-np.inf))
    return raised / raised.sum(axis=0)


@dataclass(frozen=True)
class Score:
    """One or several scores a row.

    Linear: `bias + weights @ z`, or with centres quadratic: `bias - sum(weights * (z - centres)**2)`, z the design's outputs.

    Attributes:
        design: The features.
        link: What a score means.
        weights: Shape (scores, features).
        bias: Shape (scores,).
        centres: Shape (scores, features), or None.
    """

    design: Design
    link: Link
    weights: Floats
    bias: Floats
    centres: Floats | None = None

    @classmethod
    def linear(cls, design: Design, link: Link, weights: Floats, bias: float) -> Score:
        """A single linear score; `weights` of shape (features,)."""
        return cls(design, link, weights[None, :], np.asarray([bias]))

    @property
    def outputs(self) -> int:
        """The number of scores."""
        return len(self.bias)

    def raw(self, values: Floats) -> Floats:
        """The scores, shape (scores, rows), of features of shape (features, rows); equal rows have equal bits."""
        if self.centres is None:
            return mix(values, self.weights, self.bias)
        scores = np.repeat(self.bias[:, None], values.shape[1], axis=1)
        for output in range(self.outputs):
            pairs = zip(values, self.weights[output].tolist(), self.centres[output].tolist(), strict=True)
            for row, weight, centre in pairs:
                scores[output] -= weight * (row - centre) ** 2
        return scores

    def event(self, values: Floats) -> Floats:
        """The log odds of the second of two classes, shape (rows,)."""
        scores = self.raw(values)
        return scores[0] if self.link == "logistic" else scores[1] - scores[0]

    def value(self, values: Floats) -> Floats:
        """A regressor's prediction, shape (rows,)."""
        scores = self.raw(values)[0]
        return np.exp(np.minimum(scores, STEEPEST)) if self.link == "log" else scores

    def best(self, values: Floats) -> Ints:
        """The number of the class or cluster with the highest score, shape (rows,); the first of equal ones."""
        if self.link == "logistic":
            return (self.raw(values)[0] > 0).astype(np.int64)
        return self.raw(values).argmax(axis=0).astype(np.int64)

    def probabilities(self, values: Floats) -> Floats:
        """Shape (classes, rows)."""
        scores = self.raw(values)
        if self.link == "logistic":
            return np.stack([expit(-scores[0]), expit(scores[0])])
        return softmax(scores)

    def to_document(self) -> dict[str, Any]:
        """The score as JSON values."""
        return {
            "design": self.design.to_document(),
            "link": self.link,
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
            "centres": None if self.centres is None else self.centres.tolist(),
        }

    @classmethod
    def from_document(cls, document: object) -> Score:
        """Read what `to_document` wrote.

        Raises:
            ConfigError: The document is not of that shape.
        """
        doc = cast("dict[str, object]", document) if isinstance(document, dict) else {}
        if doc.keys() != {"design", "link", "weights", "bias", "centres"}:
            raise ConfigError("a score is design, link, weights, bias and centres")
        design = Design.from_document(doc["design"])
        bias = vector(doc["bias"])
        centres = None if doc["centres"] is None else matrix(doc["centres"], len(bias), design.width)
        return checked(design, doc["link"], matrix(doc["weights"], len(bias), design.width), bias, centres)


def checked(design: Design, link: object, weights: Floats, bias: Floats, centres: Floats | None) -> Score:
    """A score whose parts fit together.

    Raises:
        ConfigError: They do not.
    """
    if link not in get_args(Link):
        raise ConfigError(f"{link!r:.40} is no link of a score")
    shape = (len(bias), design.width)
    if bias.ndim != 1 or weights.shape != shape or (centres is not None and centres.shape != shape):
        raise ConfigError("the weights, biases and features of a score differ in number")
    single = link in ("identity", "log", "logistic")
    if single != (len(bias) == 1) and not (link == "nearest" and len(bias) == 1):
        raise ConfigError(f"a score with link {link!r} cannot have {len(bias)} outputs")
    return Score(design, cast("Link", link), weights, bias, centres)


def vector(value: object) -> Floats:
    """A document's list as finite floats.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, list):
        raise ConfigError("expected a list of numbers")
    return np.asarray([finite(item) for item in cast("list[object]", value)], np.float64)


def matrix(value: object, rows: int, width: int) -> Floats:
    """A document's list of lists as finite floats, shape (rows, width).

    Raises:
        ConfigError: It is something else.
    """
    lines: Sequence[object] = cast("list[object]", value) if isinstance(value, list) else []
    found = [vector(line) for line in lines]
    if len(found) != rows or any(len(line) != width for line in found):
        raise ConfigError("a matrix of a document has another shape than expected")
    return np.asarray(found, np.float64).reshape(rows, width)
