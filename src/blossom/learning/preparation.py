"""What transformers know while they are fitted, and how several of them ask in one pass."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from blossom.learning.columns import Floats, Scalar, bad_values
from blossom.learning.design import Block, Design, Numeric
from blossom.learning.estimator import Estimator
from blossom.learning.statistics import Moments, State, Statistic
from blossom.learning.statistics.base import floats, ints, number
from blossom.learning.target import Target
from blossom.plan.errors import PlanError, unknown

Role = Literal["numeric", "category", "gaps", "category gaps"]
"""What a column is used as; with gaps: its nulls are filled."""
T = TypeVar("T")

Asking = Generator[list[Statistic], list[State], T]
"""Yields lists of statistics, is sent their merged states, returns a T."""


@dataclass(frozen=True, slots=True)
class ColumnMoments:
    """A numeric column's rows, mean and standard deviation (divided by n) over all sites."""

    n: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class Knowledge:
    """What the first pass over the data told.

    Attributes:
        target: The target, if there is one, with its classes where it has some.
        moments: Per column used as a number.
        categories: Per column with automatic categories: its frequent values and their rows.
        learned: The mean of a numeric target (else 0), and the share of each class.
    """

    target: Target | None
    moments: Mapping[str, ColumnMoments]
    categories: Mapping[str, tuple[Sequence[Scalar], Sequence[int]]]
    learned: tuple[float, Floats]


class Transformer(Estimator):
    """An estimator that turns columns into features. Its fitted form is a list of blocks."""

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        """Each source column that is used, and as what; one used in two ways stands twice."""
        raise NotImplementedError(type(self).__name__)

    def automatic(self, columns: Sequence[str]) -> list[str]:
        """The columns whose categories must be found in the data."""
        del columns
        return []

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        """Fit on the features that `blocks` describe, and give the features that come out."""
        raise NotImplementedError(type(self).__name__)

    def finish(
        self, blocks: tuple[Block, ...], knowledge: Knowledge
    ) -> Asking[tuple[tuple[Block, ...], Mapping[str, Floats]]]:
        """As `prepare`, where no step follows: also what scikit-learn's transformer would show, by name."""
        return (yield from self.prepare(blocks, knowledge)), {}


def raw(columns: Sequence[str]) -> tuple[Block, ...]:
    """Columns as they are."""
    return tuple(Numeric(name) for name in columns)


def source_column(block: Block, owner: str) -> str:
    """The column that a block passes through unchanged.

    Raises:
        PlanError: The block is the output of another transformer.
    """
    if not isinstance(block, Numeric) or (block.shift, block.scale) != (0.0, 1.0):
        raise PlanError(
            f"{owner} takes columns, not the output of another transformer",
            where=block.columns[0],
            hint="put it first, in a ColumnTransformer branch of its own",
        )
    return block.column


def lockstep(parts: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Run several generators side by side, so that their questions share one pass over the data."""
    results: dict[int, T] = {}
    waiting: dict[int, list[Statistic]] = {}

    def advance(index: int, states: list[State] | None) -> None:
        try:
            waiting[index] = next(parts[index]) if states is None else parts[index].send(states)
        except StopIteration as stop:
            results[index] = stop.value

    for index in range(len(parts)):
        advance(index, None)
    while waiting:
        asked = sorted(waiting.items())
        waiting = {}
        states = yield [statistic for _, own in asked for statistic in own]
        at = 0
        for index, own in asked:
            advance(index, states[at : at + len(own)])
            at += len(own)
    return [results[index] for index in range(len(parts))]


def spread(deviation: Floats, mean: Floats) -> Floats:
    """Each output's scale: its standard deviation, or 1 where it is constant up to rounding.

    >>> spread(np.array([2.0, 1e-9]), np.array([0.0, 1e8])).tolist()
    [2.0, 1.0]
    """
    constant = deviation <= 8 * np.finfo(np.float64).eps * np.abs(mean)
    return np.where(constant, 1.0, deviation)


def output_moments(design: Design, knowledge: Knowledge) -> Asking[tuple[Floats, Floats]]:
    """Mean and standard deviation of each output of a design; asks the sites only about what is no bare column."""
    mean, deviation = np.zeros(design.width), np.zeros(design.width)
    unknown_blocks: list[Block] = []
    unknown_outputs: list[int] = []
    at = 0
    for block in design.blocks:
        if isinstance(block, Numeric) and block.fill is None and block.column in knowledge.moments:
            known = knowledge.moments[block.column]
            mean[at] = (known.mean - block.shift) / block.scale
            deviation[at] = known.deviation / abs(block.scale)
        else:
            unknown_blocks.append(block)
            unknown_outputs.extend(range(at, at + len(block.names)))
        at += len(block.names)
    if unknown_outputs:
        states = yield [Moments(Design(tuple(unknown_blocks)), knowledge.target)]
        asked = Design(tuple(unknown_blocks))
        for name, count in zip(asked.columns, ints(states[0], "bad").tolist(), strict=False):
            if count:
                raise bad_values(name, count)
        rows = max(number(states[0], "n"), 1.0)
        mean[unknown_outputs] = floats(states[0], "mean")[: len(unknown_outputs)]
        deviation[unknown_outputs] = np.sqrt(floats(states[0], "m2")[: len(unknown_outputs)] / rows)
    return mean, deviation


def design_of(blocks: Sequence[Block]) -> Design:
    """A design of blocks.

    Raises:
        PlanError: There is no feature in it.
    """
    design = Design(tuple(blocks))
    if not design.width:
        raise PlanError(
            "no feature is left to fit on", hint="name features, or keep more columns in the transformers"
        )
    return design


def missing_column(name: str, columns: Sequence[str], where: str) -> PlanError:
    """The error for a column that is not among the features."""
    what, hint = unknown("column", name, columns)
    return PlanError(what, where=where, hint=hint)
