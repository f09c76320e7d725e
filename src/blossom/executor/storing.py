"""Stores the parts of a result as a table at the sites where they are: all sites keep theirs, or none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blossom.executor.federation import Federation, FederationCatalogue
from blossom.executor.planner import ending_at
from blossom.executor.run import Execution, Release
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.optimizer.planning import plan as place_plan
from blossom.plan.errors import PlanError, PolicyError
from blossom.plan.expressions import Subquery, walk
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Received, Relation
from blossom.plan.wire import fingerprint
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.tasks import WriteTask


class Storing:
    """One table on its way into the state folders of sites.

    Args:
        federation: The sites.
        table: Its name.
        run: The run that stores it; its tasks at a site carry the site's name besides.
        cancellation: Stops it.
    """

    def __init__(self, federation: Federation, table: str, run: str, cancellation: Cancellation) -> None:
        self._federation = federation
        self._table = table
        self._run = run
        self._cancellation = cancellation
        self._executions: list[Execution] = []
        self._begun: list[tuple[str, str]] = []

    def place(self, parts: Mapping[str, Relation]) -> dict[str, PhysicalPlan]:
        """The physical plan of each site's part, its rows ending there.

        Raises:
            PolicyError: They would have to go where they may not.
        """
        catalogue = FederationCatalogue(self._federation)
        plans = {
            site: ending_at(
                place_plan(
                    part,
                    catalogue,
                    consumer=site,
                    prices=self._federation.prices,
                    warm=frozenset(self._federation.warm),
                ),
                site,
            )
            for site, part in parts.items()
        }
        for site, physical in plans.items():
            _may_live(physical, site, catalogue)
        return plans

    def store(
        self, parts: Mapping[str, Relation], plans: Mapping[str, PhysicalPlan], say: Callable[[str], None]
    ) -> None:
        """Run every part, keep its rows, and publish them when all sites have theirs.

        Raises:
            BlossomError: The first fault; no site publishes anything.
        """
        for site, physical in plans.items():
            name = f"{self._run}-{site}"
            execution = Execution(
                self._federation,
                physical,
                name,
                fingerprint(parts[site]),
                keep_result=True,
                cancellation=self._cancellation.child(),
            )
            self._executions.append(execution)
            self._begun.append((site, name))
            task = WriteTask(name, physical.result.key, self._table)
            execution.keep(lambda site=site, task=task: self._federation.sites[site].stage(task))
            say(f"{site} has stored its part of {self._table}")
        try:
            for site, name in self._begun:
                self._federation.sites[site].commit(name)
        except BaseException:
            self.retract()
            raise

    def retract(self) -> None:
        """Take the table back; idempotent."""
        for site, name in self._begun:
            self._federation.sites[site].retract(name)

    def close(self) -> None:
        """Let the sites forget the run; what is published stays."""
        for execution in self._executions:
            execution.close()

    @property
    def releases(self) -> list[Release]:
        """What left a site for another one's part."""
        return [release for execution in self._executions for release in execution.releases]


def _may_live(physical: PhysicalPlan, place: str, catalogue: FederationCatalogue) -> None:
    """Check that what other sites lend to a written table may also reach whoever may read that table: the hub.

    The table's own site does not know their policies, so it could not keep them.

    Raises:
        PolicyError: It may not.
    """
    by_key = {fragment.key: fragment for fragment in physical.fragments}
    for fragment in physical.fragments:
        source = fragment.location.site
        if source in (place, HUB) or not set(fragment.recipients) - {source}:
            continue
        refusals = catalogue.may_ship(_whole(fragment, by_key), source, HUB)
        if refusals:
            raise PolicyError(
                f"a table at {place} could be read at the hub, where this part of {source} may not go",
                refusals,
                where="write",
                hint=f"write it at {source}",
            )


def _whole(fragment: Fragment, by_key: dict[str, Fragment]) -> Relation:
    """A fragment's plan from its site's own tables on: what it reads of earlier fragments there put in its place."""

    def rule(node: Relation) -> Relation:
        if isinstance(node, Received) and by_key[node.key].location.site == fragment.location.site:
            return _whole(by_key[node.key], by_key)
        return node

    for node in fragment.root.walk():
        for expression in node.expressions():
            for part in walk(expression):
                if isinstance(part, Subquery) and any(isinstance(one, Received) for one in part.plan.walk()):
                    raise PlanError(
                        "the rows of a written table depend on a subquery that several fragments compute",
                        where="write",
                        hint="write the parts where they are, without site=...",
                    )
    return rewrite(fragment.root, rule)
