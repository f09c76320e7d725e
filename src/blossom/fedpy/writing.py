"""Keeps a result as a table of the federation, where its rows may live."""
# pyright: basic

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.types as ir

from blossom.executor.federation import FederationCatalogue
from blossom.executor.storing import Storing
from blossom.fedpy.results import Run
from blossom.plan.errors import PlanError, unknown
from blossom.plan.relations import Parts, Relation, Scan
from blossom.plan.rewrites.stages import distribute
from blossom.sites.config.model import HUB

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
    with run.failing(), session.counted(run).current():
        logical = session.resolved(expr, run)
        catalogue = FederationCatalogue(federation)
        root = distribute(logical, federation.tables, catalogue.place)[-1][1]
        targets = _targets(session, root, table, site)
        storing = Storing(federation, table, run.id, run.cancellation)
        plans = storing.place(targets)
        run.record("[]")
        try:
            storing.store(targets, plans, run.event)
        finally:
            storing.close()
            run.extra_releases.extend(storing.releases)
        run.finish(None)
        return run


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
