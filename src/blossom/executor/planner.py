"""From a logical plan to a physical one: rewrites, compliance and placement for one user, with a cache for repeated plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from blossom.executor.federation import Federation, FederationCatalogue
from blossom.optimizer.physical import Fragment, Location, PhysicalPlan
from blossom.optimizer.planning import plan as place_plan
from blossom.plan.relations import Received, Relation
from blossom.plan.rewrites.stages import Stages, check_resolved, distribute
from blossom.plan.wire import fingerprint
from blossom.sites.config.model import HUB


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan at all its stages."""

    stages: Stages
    physical: PhysicalPlan
    hash: str


class Planner:
    """Plans for one session; equal pipelines are planned once."""

    def __init__(self, federation: Federation, *, capacity: int = 256) -> None:
        self._federation = federation
        self._capacity = capacity
        self._known: dict[Hashable, Planned] = {}
        self._lock = threading.Lock()

    def planned(self, key: Hashable, lower: Callable[[], Relation]) -> Planned:
        """The plan known under `key`, or a new one of what `lower` gives."""
        found = self._known.get(key)
        if found is not None:
            return found
        made = self.plan(lower())
        with self._lock:
            if len(self._known) >= self._capacity:
                self._known.pop(next(iter(self._known)))
            self._known[key] = made
        return made

    def plan(self, logical: Relation, *, consumer: str = HUB) -> Planned:
        """Plan a logical plan without `Train` nodes.

        Raises:
            PlanError: It cannot be expressed.
            PolicyError: No compliant plan exists; names the rules.
        """
        began = time.perf_counter()
        catalogue = FederationCatalogue(self._federation)
        stages = distribute(logical, self._federation.tables, catalogue.place)
        root = stages[-1][1]
        check_resolved(root)
        physical = place_plan(root, catalogue, consumer=consumer)
        physical = replace(physical, planning_seconds=time.perf_counter() - began)
        return Planned(stages, physical, fingerprint(logical))

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
