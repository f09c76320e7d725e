"""Guarded stages at a site: run, decided by every rule, written into the ledger, and only then let on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
from blossom.sites.ledger import Grant, Ledger, Session

REFUSALS_AN_HOUR = 500
"""Answers that a user may get refused in an hour because of what the data say: each tells a little."""

_TRIES = 3

_Rows = Callable[[], Iterable[pa.RecordBatch]]


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
    """

    site: str
    ledger: Ledger

    def stage(
        self,
        stage: Stage,
        query: _Rows,
        detail: _Rows,
        grant: Grant,
    ) -> Passed:
        """Run a stage and let on what every rule lets on; what the ledger must know is on disk before this returns.

        Args:
            stage: The stage.
            query: Runs its query.
            detail: Runs its detail, each time anew.
            grant: Who asks for what.

        Raises:
            PolicyError: The user was refused too often of late, or the ledger is full.
            SiteError: The ledger cannot be used, or the table changes all the time.
        """
        self._not_too_often(grant)
        result, cells = self._looked(stage, query, detail)
        if cells is None:  # the owner lets figures about single units leave
            shown = np.min(_controls(result, stage), axis=0) > 0
            kept = gate(result, stage, Decision(shown, {}, ()))
            return Passed(kept, result.num_rows - kept.num_rows)
        keys = result.select(list(stage.keys))
        with self.ledger.session() as session:
            decision = decide(cells, keys, session.book)
            kept = gate(result, stage, decision)
            self._record(session, decision, kept.num_rows, replace(grant, tables=stage.tables))
        held = result.num_rows - kept.num_rows
        return Passed(kept, held if kept.num_rows else max(held, 1))

    def _looked(self, stage: Stage, query: _Rows, detail: _Rows) -> tuple[pa.Table, Cells | None]:
        """The result of a stage and its cells; read anew where the table changed between the two."""
        schema = pa.schema(
            [*stage.columns.to_pyarrow(), *(pa.field(facet.control, pa.int64()) for facet in stage.facets)]
        )
        tries = _TRIES
        while True:
            batches = list(query())
            result = pa.Table.from_batches(batches, batches[0].schema if batches else schema)
            if all(unit.min_group <= 1 for unit in stage.units):
                return result, None
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
            else:
                return result, cells

    def _record(self, session: Session, decision: Decision, cells: int, grant: Grant) -> None:
        refused = "differencing" if decision.hidden["differencing"] else None if cells else "min_group"
        session.record(
            replace(grant, cells=cells, figures=len(decision.figures), refused=refused), decision.figures
        )

    def _not_too_often(self, grant: Grant) -> None:
        with self.ledger.session() as session:
            often = session.refusals(grant.user) >= REFUSALS_AN_HOUR
        if often:
            refusal = Refusal(
                self.site, ", ".join(grant.tables) or "(tables)", None, "rate",
                f"{REFUSALS_AN_HOUR} answers were held back from this user within an hour", "questions later",
            )  # fmt: skip
            raise PolicyError(f"the policy of {self.site} refuses for now", [refusal], where=self.site)

    def failed(self, grant: Grant) -> None:
        """Note that a question about private rows failed: whether it does may depend on them."""
        with self.ledger.session() as session:
            session.record(replace(grant, refused="error"), ())

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
