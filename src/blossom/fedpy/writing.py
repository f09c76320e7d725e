"""Keeps a result as a table of the federation, where its rows may live."""
# pyright: basic

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.types as ir

from blossom.executor.federation import FederationCatalogue
from blossom.executor.planner import ending_at
from blossom.executor.run import Execution
from blossom.fedpy.results import Run
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.optimizer.planning import plan as place_plan
from blossom.plan.errors import PlanError, PolicyError, unknown
from blossom.plan.expressions import Subquery, walk
from blossom.plan.relations import Parts, Received, Relation, Scan, rewrite
from blossom.plan.rewrites.stages import distribute
from blossom.plan.wire import fingerprint
from blossom.sites.config.model import HUB
from blossom.sites.tasks import WriteTask

if TYPE_CHECKING:
    from blossom.fedpy.session import Session


def write(session: Session, expr: ir.Table, *, table: str, site: str | None) -> Run:
    """Run a pipeline and keep its rows as `table`: all of them at `site`, or each part at the site where it is.

    All sites keep their part, or none does.

    Raises:
        PlanError: The table exists, the site does not, or the rows are at no single site.
        PolicyError: Rows would have to go where they may not.
    """
    federation = session.federation
    run = Run(federation, session.records, text=f"write of {table}", kind="write", progress=session.progress)
    session.last_run = run
    with run.failing():
        logical = session.resolved(expr, run)
        catalogue = FederationCatalogue(federation)
        root = distribute(logical, federation.tables, catalogue.place)[-1][1]
        targets = _targets(session, root, table, site)
        plans = {
            place: ending_at(place_plan(part, catalogue, consumer=place), place)
            for place, part in targets.items()
        }
        for place, physical in plans.items():
            _may_live(physical, place, catalogue)
        run.record("[]")
        begun: list[tuple[str, str]] = []
        executions: list[Execution] = []
        try:
            for place, physical in plans.items():
                name = f"{run.id}-{place}"
                execution = Execution(
                    federation, physical, name, fingerprint(targets[place]), keep_result=True
                )
                executions.append(execution)
                begun.append((place, name))
                task = WriteTask(name, physical.result.key, table)
                execution.keep(lambda place=place, task=task: federation.sites[place].stage(task))
                run.event(f"{place} has stored its part of {table}")
            _commit(session, begun)
        finally:
            for execution in executions:
                execution.close()
                run.extra_releases.extend(execution.releases)
        run.finish(None)
        return run


def _commit(session: Session, begun: list[tuple[str, str]]) -> None:
    sites = session.federation.sites
    try:
        for place, name in begun:
            sites[place].commit(name)
    except BaseException:
        for place, name in begun:
            sites[place].retract(name)
        raise


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


def _targets(session: Session, root: Relation, table: str, site: str | None) -> dict[str, Relation]:
    federation = session.federation
    if not table or table.startswith("__"):
        raise PlanError(f"{table!r} is no name for a table", where="write", hint="choose another name")
    if site is not None and site not in federation.sites:
        what, hint = unknown("site", site, federation.sites)
        raise PlanError(what, hint=hint)
    if site is not None:
        targets: dict[str, Relation] = {site: root}
    elif isinstance(root, Parts):
        targets = dict(zip(root.sites, root.tables, strict=True))
    else:
        homes = {node.site for node in root.walk() if isinstance(node, Scan) and node.site is not None} - {
            HUB
        }
        if len(homes) != 1:
            raise PlanError(
                "the result is at no single site", hint="say where it shall live: fed.write(..., site=...)"
            )
        targets = {homes.pop(): root}
    for place in targets:
        if table in federation.descriptions[place].tables:
            raise PlanError(f"site {place} has a table {table!r} already", hint="choose another name")
    return targets
