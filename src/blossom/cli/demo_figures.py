"""The demo's figures, as plain values: what `blossom demo --format json` prints and what the text is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AUC_BOUND = 5e-4
EXACT = 1e-6
AGGREGATE = 1e-9
"""Relative, of floats that are summed in another order."""


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """A site: its engine, what it publishes (table -> source), and what may leave (table -> in words)."""

    name: str
    title: str
    engine: str
    sources: Mapping[str, str]
    may_leave: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A cell that its site held back; flights and aircraft are from the raw rows, which only the site's owner has."""

    site: str
    carrier: str
    flights: int
    aircraft: int


@dataclass(frozen=True, slots=True)
class Question:
    """The group-by: its source code, its plan, its answer and what was held back.

    Attributes:
        withheld: Site -> whether it held cells back: all that the asker is told.
        held_back: Which cells those were, from the raw rows.
        difference: The largest relative difference from the same cells summed over the pooled rows.
    """

    source: str
    plan: str
    plan_document: Mapping[str, Any]
    answer: Sequence[Mapping[str, Any]]
    withheld: Mapping[str, bool]
    held_back: Sequence[HeldBack]
    difference: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The query that no site answers."""

    source: str
    message: str
    refusals: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the fit: every site answered one question. Loss and gradient norm are of a row."""

    round: int
    step: str
    loss: float | None
    gradient_norm: float | None


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of the federated model beside the pooled one's."""

    name: str
    federated: float
    pooled: float


@dataclass(frozen=True, slots=True)
class Training:
    """The fit: how it was done, round by round, and what came out."""

    source: str
    how: str
    rows: int
    seconds: float
    rounds: Sequence[Round]
    coefficients: Sequence[Coefficient]


@dataclass(frozen=True, slots=True)
class Quality:
    """A model on the held-out months. `auc` is within `auc_bound` of the exact one."""

    model: str
    rows: int
    auc: float
    auc_bound: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What the demo promises, measured."""

    what: str
    measured: float
    bound: float

    @property
    def kept(self) -> bool:
        """Whether it holds; a figure that is not a number keeps no promise."""
        return self.measured <= self.bound


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the demo shows.

    Attributes:
        left: Site -> kind of release -> bytes that left it, in all of the runs.
        runs: What was run -> the id of its record.
        parts: Part of the demo -> seconds.
        peak_bytes: The most memory that the process held.
    """

    config: str
    example: str
    flights: int
    sites: Sequence[SiteFigures]
    question: Question
    refused: Refused
    training: Training
    quality: Sequence[Quality]
    months: Sequence[Mapping[str, Any]]
    left: Mapping[str, Mapping[str, int]]
    promises: Sequence[Promise]
    records: str
    runs: Mapping[str, str]
    parts: Mapping[str, float]
    seconds: float
    peak_bytes: int

    @property
    def kept(self) -> bool:
        """Whether every promise holds."""
        return all(promise.kept for promise in self.promises)
