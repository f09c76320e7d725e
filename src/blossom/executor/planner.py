"""From a logical plan to a physical one: rewrites, compliance and placement for one user, with a cache for repeated plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from blossom.executor.attempt import Rest
from blossom.executor.federation import Federation, FederationCatalogue
from blossom.optimizer.budget import Budget
from blossom.optimizer.cardinality import Cardinality, Sizes
from blossom.optimizer.finished import Finished
from blossom.optimizer.physical import Fragment, Location, PhysicalPlan
from blossom.optimizer.pins import Pins
from blossom.optimizer.planning import plan as place_plan
from blossom.optimizer.seen import Fingerprints
from blossom.plan.relations import Received, Relation
from blossom.plan.rewrites.stages import Stages, check_resolved, distribute
from blossom.plan.wire import fingerprint
from blossom.sites.config.model import HUB


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan at all its stages."""

    stages: Stages
    physical: PhysicalPlan
    logical: Relation

    @cached_property
    def hash(self) -> str:
        """The logical plan's fingerprint, for the run's record."""
        return fingerprint(self.logical)


@dataclass(slots=True)
class _Known:
    """A plan, how often it was asked for, and how many surprises had been learned from when it was made."""

    planned: Planned
    surprises: int
    asked: int = 1


class Planner:
    """Plans for one session; equal pipelines are planned once, and again when runs have shown costs or sizes to be otherwise."""

    def __init__(self, federation: Federation, *, capacity: int = 256) -> None:
        self._federation = federation
        self._capacity = capacity
        self._known: dict[Hashable, _Known] = {}
        self._lock = threading.Lock()

    def planned(
        self,
        key: Hashable,
        lower: Callable[[], Relation],
        *,
        budget: Budget | None = None,
        pins: Pins | None = None,
    ) -> Planned:
        """The plan known under `key` for a budget and pins, or a new one of what `lower` gives."""
        key = key, budget, frozenset((pins or {}).items()), frozenset(self._federation.warm)
        found = self._known.get(key)
        if found is not None:
            found.asked += 1
            if not self._outdated(found):
                return found.planned
        made = self.plan(lower(), budget=budget, pins=pins)
        with self._lock:
            if len(self._known) >= self._capacity:
                self._known.pop(next(iter(self._known)))
            asked = 1 if found is None else found.asked
            self._known[key] = _Known(made, self._federation.experience.surprises, asked)
        return made

    def _outdated(self, known: _Known) -> bool:
        """Whether a plan may be wrong by what was learned since. Looked into at the 2nd, 4th, 8th time: less and less often."""
        if known.asked & (known.asked - 1):
            return False
        experience = self._federation.experience
        experience.settle(FederationCatalogue(self._federation).rows)
        return experience.surprises > known.surprises

    def plan(
        self,
        logical: Relation,
        *,
        consumer: str = HUB,
        budget: Budget | None = None,
        pins: Pins | None = None,
    ) -> Planned:
        """Plan a logical plan without `Train` nodes.

        Raises:
            PlanError: It cannot be expressed.
            PolicyError: No compliant plan exists; names the rules.
            BudgetError: No plan fits the budget.
        """
        began = time.perf_counter()
        catalogue = FederationCatalogue(self._federation)
        self._federation.experience.settle(catalogue.rows)
        stages = distribute(logical, self._federation.tables, catalogue.place)
        root = stages[-1][1]
        check_resolved(root)
        physical = place_plan(
            root,
            catalogue,
            consumer=consumer,
            sizes=self._sizes(catalogue),
            costs=self._federation.experience.costs,
            prices=self._federation.prices,
            budget=budget,
            warm=frozenset(self._federation.warm),
            pins=pins,
        )
        physical = replace(physical, planning_seconds=time.perf_counter() - began)
        return Planned(stages, physical, logical)

    def rest(self, planned: Planned, *, consumer: str = HUB) -> Rest:
        """Plans what is left of a plan that runs, with what is known by then."""
        root = planned.stages[-1][1]

        def plan(finished: Sequence[Finished], without: Iterable[Location], first: int) -> PhysicalPlan:
            catalogue = FederationCatalogue(self._federation)
            known = {one.computes: one.size for one in finished if one.size is not None}
            return place_plan(
                root,
                catalogue,
                consumer=consumer,
                sizes=self._sizes(catalogue, known),
                costs=self._federation.experience.costs,
                prices=self._federation.prices,
                budget=planned.physical.budget,
                warm=frozenset(self._federation.warm),
                finished=finished,
                without=tuple(without),
                first=first,
                pins=planned.physical.pins,
            )

        return plan

    def _sizes(
        self, catalogue: FederationCatalogue, known: Mapping[Relation, Cardinality] | None = None
    ) -> Sizes:
        seen = self._federation.experience.seen.sizes()
        return Sizes(catalogue.rows, seen, Fingerprints(catalogue.rows), catalogue.column, known)

    def forget(self) -> None:
        """Drop the cache: tables or policies have changed."""
        with self._lock:
            self._known.clear()


def ending_at(physical: PhysicalPlan, site: str) -> PhysicalPlan:
    """The plan with its result at a site: where it ends elsewhere, a last fragment there takes the result in."""
    last = physical.result
    if last.location.site == site:
        return physical
    taken = Fragment(
        f"{last.key}_at_{site}",
        Location(site, "duckdb"),
        Received(last.key, last.root.schema),
        (last.key,),
        (site,),
        last.estimate,
        ("the result shall live here",),
    )
    return replace(physical, fragments=(*physical.fragments, taken))
