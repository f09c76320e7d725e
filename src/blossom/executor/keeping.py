"""Intermediate results that live as long as a run, each where it was made: the states of loops, and what their turns share."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from blossom.executor.federation import Federation, FederationCatalogue
from blossom.executor.planner import Planned, Planner
from blossom.executor.run import Execution, Release
from blossom.executor.storing import Storing
from blossom.plan.errors import PolicyError
from blossom.plan.everywhere import scans
from blossom.plan.expressions import Call, Literal, Named, TypeArgument
from blossom.plan.relations import Constant, Parts, Project, Relation, Scan
from blossom.plan.rewrites.stages import check_resolved, distribute
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.written import KEPT


@dataclass(frozen=True, slots=True)
class Kept:
    """An intermediate result.

    Attributes:
        rows: How to read it in a plan, with the columns that it was declared with.
        place: In words.
        name: The table that holds it; None where it is a table that was there already.
        count: How many rows it has, as far as the hub may know.
    """

    rows: Relation
    place: str
    name: str | None
    count: int | None


@dataclass(slots=True)
class Keeper:
    """Computes and keeps intermediate results for one run, and takes all of them back at its end.

    Args:
        federation: The sites and the hub.
        planner: Plans for the session.
        run: The run's id.
        cancellation: Stops the run.
    """

    federation: Federation
    planner: Planner
    run: str
    cancellation: Cancellation
    releases: list[Release] = field(default_factory=list)
    _stored: dict[str, Storing | None] = field(default_factory=dict)
    _number: int = 0

    def keep(self, logical: Relation) -> Kept:
        """Compute a plan and keep its rows where they are: each part at its site, or else at the hub, if they may go there.

        Raises:
            PolicyError: They can be computed at no single site, and may not go to the hub.
            BlossomError: Any other fault.
        """
        held = (
            self.federation.hub.kept(logical.table)
            if isinstance(logical, Scan) and logical.site == HUB
            else None
        )
        if held is not None:
            return Kept(_literally(held, logical.schema) or logical, HUB, None, held.num_rows)
        catalogue = FederationCatalogue(self.federation)
        root = distribute(logical, self.federation.tables, catalogue.place)[-1][1]
        check_resolved(root)
        parts = self._parts(root, logical)
        self._number += 1
        name = f"{KEPT}{os.getpid()}_{self.run[:12]}_{self._number}"
        if parts is None:
            return self._at_hub(name, logical)
        return self._at_sites(name, parts, logical.schema)

    def _parts(self, root: Relation, logical: Relation) -> dict[str, Relation] | None:
        """The rows by site; None: the hub."""
        if isinstance(root, Parts):
            return dict(zip(root.sites, root.tables, strict=True))
        homes = {scan.site for scan in scans(root)} - {None}
        if len(homes) == 1:
            (home,) = homes
            return None if home == HUB or home is None else {home: root}
        if not homes:
            return None
        # rows of several places: where they are brought together is the planner's choice
        made_at = self.planner.plan(logical).physical.result.location.site
        return None if made_at == HUB else {made_at: root}

    def _at_hub(self, name: str, logical: Relation) -> Kept:
        table = self.compute(self.planner.plan(logical))
        self.federation.hub.keep(name, table)
        self._stored[name] = None
        scan = _as(Scan(name, Schema.from_pyarrow(table.schema), HUB), logical.schema)
        return Kept(_literally(table, logical.schema) or scan, HUB, name, table.num_rows)

    def compute(self, planned: Planned) -> pa.Table:
        """The rows of a plan, at the hub."""
        execution = Execution(
            self.federation,
            planned.physical,
            f"{self.run}-{self._number}",
            planned.hash,
            cancellation=self.cancellation.child(),
            rest=self.planner.rest(planned),
            whole=True,
        )
        try:
            return execution.reader().read_all()
        finally:
            self.releases.extend(execution.releases)

    def _at_sites(self, name: str, parts: dict[str, Relation], schema: Schema) -> Kept:
        storing = Storing(self.federation, name, f"{self.run}-{self._number}", self.cancellation)
        try:
            storing.store(parts, storing.place(parts), lambda text: None)
        except BaseException:
            storing.close()
            raise
        finally:
            self.releases.extend(storing.releases)
        self._stored[name] = storing
        self.federation.refresh()
        (site, *more) = parts
        scan = Scan(name, self.federation.tables[name].schema, None if more else site)
        catalogue = FederationCatalogue(self.federation)
        counts = [catalogue.rows(at, name) for at in parts]
        known = [count for count in counts if count is not None]
        return Kept(
            _as(scan, schema), ", ".join(parts), name, sum(known) if len(known) == len(counts) else None
        )

    def mark(self) -> frozenset[str]:
        """What is kept now, for `drop_since`."""
        return frozenset(self._stored)

    def drop_since(self, mark: frozenset[str], but: Kept) -> None:
        """Take back what was kept after a mark was taken, but for one result."""
        self._drop([name for name in self._stored if name not in mark and name != but.name])

    def drop(self, kept: Kept) -> None:
        """Take one result back; what this keeper has not made is left alone."""
        self._drop([name for name in self._stored if name == kept.name])

    def close(self) -> None:
        """Take everything back; idempotent."""
        self._drop(list(self._stored))

    def _drop(self, names: list[str]) -> None:
        gone = [(name, self._stored.pop(name)) for name in names]
        for name, storing in gone:
            if storing is None:
                self.federation.hub.drop(name)
                continue
            try:
                storing.retract()
            finally:
                storing.close()
        if any(storing is not None for _, storing in gone):
            self.federation.refresh()


def first_state(federation: Federation, planner: Planner, initial: Relation) -> Relation:
    """The first state of a loop as its turns will see it: the user's own single row as literals, all else as its plan."""
    if {scan.site for scan in scans(initial)} - {HUB}:
        return initial
    keeper = Keeper(federation, planner, uuid.uuid4().hex, Cancellation())
    try:
        kept = keeper.keep(initial)
        return kept.rows if isinstance(kept.rows, Constant) else initial
    finally:
        keeper.close()


_PLAIN: Mapping[type, str] = {int: "int", float: "float", bool: "boolean", str: "string"}
"""Python type of a value -> how the type begins for which its literal means the same in every engine."""


def or_inline(keep: Callable[[], Kept], plan: Relation) -> Relation:
    """The rows kept; the plan itself where the policy lets nobody keep them."""
    try:
        return keep().rows
    except PolicyError:
        return plan


def _literally(table: pa.Table, declared: Schema) -> Relation | None:
    """One row as literals, which can stand in a plan at any place and which policies see to be one row; None: it is not so plain."""
    if table.num_rows != 1:
        return None
    (row,) = table.to_pylist()
    values: list[Named] = []
    for name, kind in declared.items():
        value = row[name]
        plain = _PLAIN.get(type(value))
        if plain is None or not kind.lstrip("!").startswith(plain):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        values.append((name, Literal(value, kind)))
    return Constant(tuple(values))


def _as(scan: Scan, declared: Schema) -> Relation:
    """The rows with the declared types, where those that came back from an engine differ."""
    values: list[Named] = []
    for name, wanted in declared.items():
        column = scan.column(name)
        same = scan.schema[name].lstrip("!") == wanted.lstrip("!")
        values.append((name, column if same else Call("Cast", (column, TypeArgument(wanted)), wanted)))
    return Project(scan, tuple(values)) if any(isinstance(v, Call) for _, v in values) else scan
