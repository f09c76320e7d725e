"""Keeps a result as a table of the federation, where its rows may live."""
# pyright: basic

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.types as ir

from blossom.executor.federation import FederationCatalogue
from blossom.executor.planner import ending_at
from blossom.executor.run import Execution
from blossom.fedpy.results import Run
from blossom.optimizer.planning import plan as place_plan
from blossom.plan.errors import PlanError, unknown
from blossom.plan.relations import Parts, Relation, Scan
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
        logical = session.resolved(expr)
        catalogue = FederationCatalogue(federation)
        root = distribute(logical, federation.tables, catalogue.place)[-1][1]
        targets = _targets(session, root, table, site)
        run.record("[]")
        begun: list[tuple[str, str]] = []
        executions: list[Execution] = []
        try:
            for place, part in targets.items():
                physical = ending_at(place_plan(part, catalogue, consumer=place), place)
                name = f"{run.id}-{place}"
                execution = Execution(federation, physical, name, fingerprint(part), keep_result=True)
                executions.append(execution)
                begun.append((place, name))
                task = WriteTask(name, physical.result.key, table)
                execution.keep(lambda place=place, task=task: federation.sites[place].stage(task))
                run.event(f"{place} has stored its part of {table}")
            for place, name in begun:
                federation.sites[place].commit(name)
        finally:
            for execution in executions:
                execution.close()
                run.extra_releases.extend(execution.releases)
        run.finish(None)
        return run


def _targets(session: Session, root: Relation, table: str, site: str | None) -> dict[str, Relation]:
    federation = session.federation
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
