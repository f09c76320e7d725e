"""The physical plan: fragments at places and the transfers between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blossom.optimizer.budget import Budget
from blossom.plan.errors import Offer
from blossom.plan.relations import Relation

if TYPE_CHECKING:
    from blossom.optimizer.pins import Operator


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A platform at a site. The hub is the site "hub"."""

    site: str
    platform: str

    def __str__(self) -> str:
        return f"{self.platform}@{self.site}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the planner expects: seconds of work, rows and bytes of output.

    Attributes:
        low: The fewest rows that it holds possible.
        high: The most.
        usd: Of its work and of what it takes in; starts and shortest bills of platforms are the plan's.
    """

    seconds: float
    rows: float
    bytes: float
    low: float = 0.0
    high: float = math.inf
    usd: float = 0.0


@dataclass(frozen=True, eq=False)
class Fragment:
    """A maximal part of the plan that one platform runs as one query.

    Attributes:
        key: Names the fragment in its run, and its output as a `Received` leaf of others ("f0", "f1", ...).
        location: Where it runs.
        root: Its plan; leaves are `Scan`, `Constant`, `Model`, or `Received` of the fragments in `inputs`.
        inputs: Keys of the fragments whose output it reads.
        recipients: Sites that get the output (its own site included when a fragment there reads it; "hub" for the result).
        estimate: Predicted figures.
        reasons: Why here, in words; rejected alternatives with their cost.
        computes: The part of the whole distributed plan whose rows it gives; None where it is no part of one.
    """

    key: str
    location: Location
    root: Relation
    inputs: tuple[str, ...]
    recipients: tuple[str, ...]
    estimate: Estimate
    reasons: Sequence[str] = ()
    computes: Relation | None = None


@dataclass(frozen=True, eq=False)
class PhysicalPlan:
    """Fragments in an order in which inputs come before users; the last one's output is the result.

    Attributes:
        seconds: When the result is expected to be there.
        planning_seconds: What the planning took.
        seconds_high: The 90 % upper estimate of `seconds`.
        usd: What it is expected to cost; 0 where no prices are known.
        usd_high: The 90 % upper estimate of `usd`.
        offers: Finds the cheapest and the fastest plan of the pipeline; None where nobody asked what it costs.
        budget: What it was chosen under.
        pins: The operators that were placed by hand, by number.
        operators: Lists the operators with their numbers and places, inputs first.
    """

    fragments: tuple[Fragment, ...]
    seconds: float
    planning_seconds: float = 0.0
    seconds_high: float = math.inf
    usd: float = 0.0
    usd_high: float = 0.0
    offers: Callable[[], tuple[Offer, Offer]] | None = None
    budget: Budget | None = None
    pins: Mapping[int, Location] = field(default_factory=dict[int, Location])
    operators: Callable[[], tuple[Operator, ...]] | None = None

    @property
    def result(self) -> Fragment:
        """The fragment whose output is the result."""
        return self.fragments[-1]
