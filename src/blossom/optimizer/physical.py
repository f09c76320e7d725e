"""The physical plan: fragments at places and the transfers between them."""

from __future__ import annotations

from dataclasses import dataclass

from blossom.plan.relations import Relation


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A platform at a site. The hub is the site "hub"."""

    site: str
    platform: str

    def __str__(self) -> str:
        return f"{self.platform}@{self.site}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the planner expects: seconds of work, rows and bytes of output."""

    seconds: float
    rows: float
    bytes: float


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
    """

    key: str
    location: Location
    root: Relation
    inputs: tuple[str, ...]
    recipients: tuple[str, ...]
    estimate: Estimate
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PhysicalPlan:
    """Fragments in an order in which inputs come before users; the last one's output is the result."""

    fragments: tuple[Fragment, ...]
    seconds: float
    planning_seconds: float = 0.0

    @property
    def result(self) -> Fragment:
        """The fragment whose output is the result."""
        return self.fragments[-1]
