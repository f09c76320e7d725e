"""Guarded stages at a site: run, decided by every rule, written into the ledger, and only then let on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.plan.errors import PolicyError, Refusal
from blossom.policy.cells import Cells, Changed
from blossom.policy.facets import Content, Facet
from blossom.policy.gate import gate
from blossom.policy.guards import Stage
from blossom.policy.release import Decision, decide
from blossom.policy.states import Unit, null_column, unit_column
from blossom.policy.training import TrainingUnit
from blossom.sites import looks, rate
from blossom.sites.ledger import ERROR, Grant, Ledger, Session

_TRIES = 3

_Rows = Callable[[], Iterable[pa.RecordBatch]]
_Version = Callable[[], Hashable | None]


@dataclass(frozen=True, slots=True)
class Passed:
    """A stage's rows that may be used further.

    Attributes:
        table: The rows.
        withheld: How many cells were held back; at least 1 where none is left, so that nobody and a few look alike.
    """

    table: pa.Table
    withheld: int


@dataclass(frozen=True, slots=True)
class Guarding:
    """The guards of one site.

    Args:
        site: Its name.
        ledger: Its ledger.
        looks: What it remembers of looks; they stand in this ledger.
    """

    site: str
    ledger: Ledger
    looks: looks.Looks = field(default_factory=looks.Looks)

    def stage(
        self,
        stage: Stage,
        query: _Rows,
        detail: _Rows,
        grant: Grant,
        version: _Version = lambda: None,
    ) -> Passed:
        """Run a stage and let on what every rule lets on; what the ledger must know is on disk before this returns.

        Args:
            stage: The stage.
            query: Runs its query.
            detail: Runs its detail, each time anew.
            grant: Who asks for what.
            version: Gives the version of everything that the stage reads, as it is now; None where there is none. A look at rows
                of the same version is not taken again.

        Raises:
            PolicyError: Too many were refused of late, or the ledger is full.
            SiteError: The ledger cannot be used, or the table changes all the time.
        """
        self._not_too_often(grant)
        before = version()  # of what the query reads next
        result = self._queried(stage, query)
        controls = _controls(result, stage)
        if all(
            unit.min_group <= 1 for unit in stage.units
        ):  # the owner lets figures about single units leave
            kept = gate(result, stage, Decision(np.min(controls, axis=0) > 0, {}, ()))
            return Passed(kept, result.num_rows - kept.num_rows)
        key = None if before is None else looks.key(stage, before)
        look = None if key is None else self.looks.get(key)
        decision = None if look is None else look.decision(result.select(list(stage.keys)), controls)
        grant = replace(grant, tables=stage.tables)
        if decision is not None and version() == before:
            with self.ledger.session() as session:
                kept = gate(result, stage, decision)
                self._record(session, decision, kept.num_rows, grant)
        else:
            result, cells = self._looked(stage, result, query, detail)
            keys = result.select(list(stage.keys))
            with self.ledger.session() as session:
                decision = decide(cells, keys, session.book)
                kept = gate(result, stage, decision)
                self._record(session, decision, kept.num_rows, grant)
            if key is not None and version() == before:
                controls = tuple(_controls(result, stage))
                self.looks.put(key, looks.Look(keys, controls, decision.shown, decision.hidden))
        held = result.num_rows - kept.num_rows
        return Passed(kept, held if kept.num_rows else max(held, 1))

    def _queried(self, stage: Stage, query: _Rows) -> pa.Table:
        schema = pa.schema(
            [*stage.columns.to_pyarrow(), *(pa.field(facet.control, pa.int64()) for facet in stage.facets)]
        )
        batches = list(query())
        return pa.Table.from_batches(batches, batches[0].schema if batches else schema)

    def _looked(self, stage: Stage, result: pa.Table, query: _Rows, detail: _Rows) -> tuple[pa.Table, Cells]:
        """The result of a stage and its cells; both anew where the table changed between the two."""
        tries = _TRIES
        while True:
            cells = Cells(
                result.select(list(stage.keys)), _controls(result, stage), stage.units, stage.facets,
                self.ledger.hashing,
            )  # fmt: skip
            try:
                cells.read(detail)
            except Changed:
                tries -= 1
                if not tries:
                    raise
                result = self._queried(stage, query)
            else:
                return result, cells

    def _record(self, session: Session, decision: Decision, cells: int, grant: Grant) -> None:
        refused = "differencing" if decision.hidden["differencing"] else None if cells else "min_group"
        session.record(
            replace(grant, cells=cells, figures=len(decision.figures), refused=refused), decision.figures
        )

    def _not_too_often(self, grant: Grant) -> None:
        with self.ledger.session() as session:
            refused = session.refused()
        rate.check(refused, grant, self.site)

    def failed(self, grant: Grant) -> None:
        """Note that a question about private rows failed: whether it does may depend on them."""
        with self.ledger.session() as session:
            session.record(replace(grant, refused=ERROR), ())

    def fit(
        self,
        batches: _Rows,
        units: Sequence[TrainingUnit],
        contents: Sequence[Content],
        grant: Grant,
    ) -> None:
        """Enter the rows of a fit into the ledger: it describes them like any release.

        Args:
            batches: Gives the rows, each time from the start.
            units: Their unit columns.
            contents: The columns that the model reads. Rows where one is null count in no model.
            grant: Who asks.

        Raises:
            PolicyError: One unit dominates a column, or the rows differ from those of a known figure by a few units.
        """
        protected = [unit for unit in units if unit.min_group > 1]
        if not protected:
            return
        self._not_too_often(grant)
        # what fills in nulls sees all rows, all else those without a null
        facets = (
            Facet("rows"),
            Facet("complete", (), tuple(one.factors[0] for one in contents), tuple(contents)),
        )
        counts = [
            sum(column) for column in zip(*(_rows(batch, facets[1]) for batch in batches()), strict=True)
        ]
        if not counts or not counts[0]:
            return
        cells = Cells(
            pa.table({}), [np.array([count]) for count in counts],
            [Unit(unit.table, unit.min_group, "") for unit in protected], facets, self.ledger.hashing,
        )  # fmt: skip
        cells.read(lambda: _as_detail(batches(), protected))
        if not len(cells.judged) or cells.few().any():
            return  # the fit's own check refuses, or answers as for no rows
        with self.ledger.session() as session:
            decision = decide(cells, pa.table({}), session.book)
            rule = next((rule for rule, count in decision.hidden.items() if count), None)
            session.record(
                replace(grant, cells=int(rule is None), figures=len(decision.figures), refused=rule),
                () if rule else decision.figures,
            )
        if rule is not None:
            reason, allowed = _FIT_REFUSED[rule]
            refusal = Refusal(self.site, ", ".join(grant.tables), None, rule, reason, allowed)
            raise PolicyError(f"the policy of {self.site} refuses this fit", [refusal], where=self.site)


_FIT_REFUSED = {
    "dominance": (
        "one unit outweighs all others in a column that the model reads",
        "columns without such extremes: clip or transform them where the owner lets you, or leave them out",
    ),
    "differencing": (
        "its rows differ from those of an earlier release by fewer units than the smallest group",
        "a fit on the very same rows, or on rows of clearly more or fewer units; leave out rows with nulls by a filter",
    ),
}


def _controls(result: pa.Table, stage: Stage) -> list[NDArray[np.int64]]:
    """How many rows of each facet the query counted in each cell."""
    return [
        np.asarray(pc.fill_null(result.column(facet.control), 0).to_numpy()).astype(np.int64)
        for facet in stage.facets
    ]


def _rows(batch: pa.RecordBatch, facet: Facet) -> tuple[int, int]:
    """All rows, and those of the facet."""
    there = np.ones(batch.num_rows, np.bool_)
    for name in facet.present:
        column = batch.column(name)
        if column.null_count:
            there &= column.is_valid().to_numpy(zero_copy_only=False)
    return batch.num_rows, int(there.sum())


def _as_detail(batches: Iterable[pa.RecordBatch], units: Sequence[TrainingUnit]) -> Iterator[pa.RecordBatch]:
    """Rows of a fit with their unit columns named as those of a stage; a null unit there means no unit."""
    for batch in batches:
        own = [name for name in batch.schema.names if not name.startswith("__unit_")]
        columns = {name: batch.column(name) for name in own}
        for i, unit in enumerate(units):
            columns[unit_column(i)] = batch.column(unit.column)
            columns[null_column(i)] = pa.array(np.zeros(batch.num_rows, np.int8))
        yield pa.RecordBatch.from_pydict(columns)
