"""What the planner asks of a cost model: the arrays of one planning, whole plans scored again, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blossom.optimizer.costs.terms import Floats, Work
from blossom.optimizer.physical import Location


@dataclass(frozen=True, eq=False)
class Workload:
    """Everything of one plan that costs depend on; n nodes inputs first, k places, m edges.

    Attributes:
        work: (n) nodes with their sizes.
        child: (m,) an edge's input.
        parent: (m,) its user.
        locations: (k) the places.
        kinds: (k) their platform kinds.
        consumer: The site that gets the result.
    """

    work: Sequence[Work]
    child: Sequence[int]
    parent: Sequence[int]
    locations: Sequence[Location]
    kinds: Sequence[str]
    consumer: str


class Pricing(Protocol):
    """The prices of one workload.

    Attributes:
        operators: (n, k) seconds of each node's own work at each place.
        delivery: (k,) seconds to begin the last fragment there and to bring its result to the consumer.
        latency: (k, k) seconds of a move from place i to place j before its first byte, the sending fragment's start included.
        per_byte: (k, k) seconds a byte.
    """

    operators: Floats
    delivery: Floats
    latency: Floats
    per_byte: Floats

    def total(self, choice: NDArray[np.int64]) -> float:
        """Seconds of a placed plan, its fragments scored whole; `choice` is (n,) with -1 for nodes that are not used."""
        ...

    def margin(self, best: NDArray[np.int64], simpler: NDArray[np.int64]) -> float:
        """The share of the simpler plan's time that a gain over it must exceed to be believed."""
        ...

    def spread(self, choice: NDArray[np.int64]) -> float:
        """How many times the expected seconds of a placed plan are not exceeded with a probability of 90 %."""
        ...


class CostModel(Protocol):
    """Says what work and moves cost at the places of a federation."""

    def price(self, load: Workload) -> Pricing:
        """The prices of a workload, in one batch.

        Raises:
            ConfigError: A platform kind without facts.
        """
        ...
