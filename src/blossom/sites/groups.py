"""Groups of a fit's rows that an answer tells of: decided by every rule and entered in the ledger before the answer leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.learning.statistics.groupings import Grouping
from blossom.plan.errors import PolicyError, Refusal
from blossom.policy.cells import Cells
from blossom.policy.facets import Content, Facet
from blossom.policy.release import Decision, decide
from blossom.policy.states import Unit, null_column, unit_column
from blossom.policy.training import TrainingUnit
from blossom.sites.ledger import Grant, Ledger

Rows = Callable[[], Iterable[pa.RecordBatch]]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Groups:
    """The judge of groups of rows at one site.

    Args:
        site: Its name.
        ledger: Its ledger.
        units: The unit columns of the rows whose smallest group is above 1.
        contents: What the ledger knows the columns by.
    """

    site: str
    ledger: Ledger
    units: Sequence[TrainingUnit]
    contents: Mapping[str, Content]

    def enter(self, groupings: Sequence[Grouping], rows: Rows, grant: Grant) -> frozenset[str]:
        """Enter the groups that an answer will tell of.

        Args:
            groupings: How the answer divides the rows.
            rows: Gives them, each time from the start.
            grant: Who asks.

        Returns:
            The names of those of which it may tell nothing.

        Raises:
            PolicyError: It may not be given without one of these.
        """
        counted = _counted(groupings, rows)
        divided = [(one, count) for one, count in zip(groupings, counted, strict=True) if one.divides()]
        cells = [(one, *self._cells(one, count, rows)) for one, count in divided if count.any()]
        withheld: set[str] = set()
        with self.ledger.session() as session:
            figures = []
            for grouping, found, keys in cells:
                decision = decide(found, keys, session.book)
                rule = _broken(grouping, decision)
                if rule is None:
                    figures += decision.figures
                elif grouping.needed:
                    session.record(replace(grant, refused=rule), ())
                    raise self._refused(rule, grouping, grant)
                else:
                    session.record(replace(grant, refused=rule), ())
                    withheld.add(grouping.name)
            if figures:
                session.record(replace(grant, cells=len(figures), figures=len(figures)), figures)
        return frozenset(withheld)

    def _cells(self, grouping: Grouping, counts: Ints, rows: Rows) -> tuple[Cells, pa.Table]:
        groups = np.flatnonzero(counts)
        keys = pa.table({"group": groups})
        contents = [self.contents[name] for name in dict.fromkeys(grouping.contents)]
        weights = frozenset({"size"} if grouping.weighed else ())
        facet = Facet("rows", contents=tuple(replace(one, weights=one.weights & weights) for one in contents))
        units = [Unit(unit.table, unit.min_group, "") for unit in self.units]
        cells = Cells(keys, [counts[groups]], units, (facet,), self.ledger.hashing)
        cells.read(lambda: self._detail(grouping, rows))
        return cells, keys

    def _detail(self, grouping: Grouping, rows: Rows) -> Iterator[pa.RecordBatch]:
        """The rows with their groups and units named as those of a stage; a null unit means no unit."""
        for batch in rows():
            columns = {name: batch.column(name) for name in grouping.contents}
            columns["__key_0"] = pa.array(grouping.codes(batch))
            for i, unit in enumerate(self.units):
                columns[unit_column(i)] = batch.column(unit.column)
                columns[null_column(i)] = pa.array(np.zeros(batch.num_rows, np.int8))
            yield pa.RecordBatch.from_pydict(columns)

    def _refused(self, rule: str, grouping: Grouping, grant: Grant) -> PolicyError:
        reason, allowed = _REFUSED[rule]
        refusal = Refusal(
            self.site, ", ".join(grant.tables), None, rule, f"{reason} ({grouping.name})", allowed
        )
        return PolicyError(f"the policy of {self.site} refuses this fit", [refusal], where=self.site)


_REFUSED = {
    "min_group": (
        "too few units make up a group of rows that the model describes",
        "columns whose groups all hold enough units: drop or coarsen the column",
    ),
    "dominance": (
        "one unit has nearly all of a sum over a group of rows that the model describes",
        "larger groups, or a column without such extremes: clip it where the owner lets you",
    ),
    "differencing": (
        "a group of rows that the model describes differs from one of a known figure by fewer units than the smallest group",
        "a fit on the very same rows, or on rows of clearly more or fewer units in each group",
    ),
}


def _broken(grouping: Grouping, decision: Decision) -> str | None:
    """The first rule that a grouping breaks."""
    asked = ("dominance", "differencing") if grouping.few else ("min_group", "dominance", "differencing")
    return next((rule for rule in asked if decision.hidden[rule]), None)


def _counted(groupings: Sequence[Grouping], rows: Rows) -> list[Ints]:
    """The rows of each group."""
    counts = [np.zeros(0, np.int64) for _ in groupings]
    for batch in rows():
        for number, grouping in enumerate(groupings):
            codes = grouping.codes(batch)
            new = np.bincount(codes[codes >= 0], minlength=len(counts[number])).astype(np.int64)
            new[: len(counts[number])] += counts[number]
            counts[number] = new
    return counts
