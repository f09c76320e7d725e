"""How many rows of each class are predicted as which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, Ints
from blossom.learning.score import Score
from blossom.learning.statistics.base import (
    Collector,
    Guard,
    Measured,
    Released,
    State,
    Statistic,
    ints,
    register,
)
from blossom.learning.statistics.cells import coarse_errors, rounded_errors
from blossom.learning.statistics.groupings import SIDES, Coded, Grouping
from blossom.learning.target import Target
from blossom.learning.units import Tally


@register
@dataclass(frozen=True)
class Confusion(Statistic):
    """`rows`, shape (classes, classes): rows of the first class that are predicted as the second, where that may be told.

    A cell with 1 to `min_group` - 1 units is withheld; as a class's rows are known altogether, the withheld cells of a class
    hold at least `min_group` units together and are at least two, or a further one is withheld. `withheld`, of the same
    shape: at how many sites a cell is withheld. `errors`: the least and the most wrongly predicted rows; they differ where the
    exact number would tell a small group.
    """

    kind = "confusion"
    score: Score
    target: Target

    @property
    def _classes(self) -> int:
        return len(self.target.classes or ())

    @property
    def width(self) -> int:
        return self.score.design.width + 3 * self.score.outputs + 8

    def empty(self) -> State:
        shape = (self._classes, self._classes)
        return {
            "rows": np.zeros(shape, np.int64),
            "withheld": np.zeros(shape, np.int64),
            "errors": np.zeros(2, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        return {key: ints(a, key) + ints(b, key) for key in ("rows", "withheld", "errors")}

    def releases(self) -> tuple[Released, ...]:
        return (Released("rows a cell, withheld cells, errors", 2 * self._classes**2 + 2, "count"),)

    def measures(self) -> Measured:
        return Measured(self.score, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return (Coded(SIDES, needed=False, few=True, of=self.codes),)

    def codes(self, block: pa.RecordBatch) -> Ints:
        """Each row's cell of the matrix."""
        codes = self.target.codes(block)
        return codes * self._classes + self.score.best(self.score.design.matrix(block))

    def collect(self, guard: Guard) -> Collector:
        return _ConfusionCollector(self, guard, self._classes)


class _ConfusionCollector(Collector):
    def __init__(self, statistic: Confusion, guard: Guard, classes: int) -> None:
        self._statistic = statistic
        self._least = guard.min_group
        self._near = SIDES in guard.withheld
        self._classes = classes
        self._tally = Tally(guard.units, guard.min_group)
        self._rows = np.zeros((classes, classes), np.int64)

    def add(self, block: pa.RecordBatch) -> None:
        cells = self._statistic.codes(block)
        self._tally.add(cells, np.arange(len(cells)), block)
        self._rows += np.bincount(cells, minlength=self._classes**2).reshape(self._rows.shape)

    def finish(self) -> State:
        if self._near:
            rows = int(self._rows.sum())
            return {
                "rows": np.zeros_like(self._rows),
                "withheld": np.ones_like(self._rows),
                "errors": np.asarray(
                    coarse_errors(rows - int(np.trace(self._rows)), rows, self._least), np.int64
                ),
            }
        hidden = np.stack([self._hidden(code) for code in range(self._classes)])
        rows = int(self._rows.sum())
        errors = rows - int(np.trace(self._rows))
        told = (errors, errors)
        diagonal = int(np.diag(hidden).sum())
        # Where diagonal cells are hidden, the errors less the visible ones are those of the hidden classes alone.
        unseen = int(self._rows[np.diag(hidden)].sum() - np.diag(self._rows)[np.diag(hidden)].sum())
        if self._least > 1 and diagonal and (diagonal == 1 or unseen < self._least):
            most = -(-max(errors, 1) // self._least) * self._least
            told = (most - self._least + 1, min(most, rows))
        elif self._least > 1:
            told = rounded_errors(errors, rows, self._least)
        return {
            "rows": np.where(hidden, 0, self._rows),
            "withheld": hidden.astype(np.int64),
            "errors": np.asarray(told if rows else (0, 0), np.int64),
        }

    def _hidden(self, code: int) -> Bools:
        """The cells of one class that are withheld."""
        own: Ints = code * self._classes + np.arange(self._classes)
        units = self._tally.counts(self._classes**2)[own]
        hidden: Bools = np.asarray((units > 0) & (units < self._least), np.bool_)
        while hidden.any():
            together = self._tally.union(own[hidden].tolist())
            if hidden.sum() > 1 and together >= self._least:
                break
            shown = np.flatnonzero(~hidden & (units > 0))
            if not len(shown):
                hidden[:] = True
                break
            hidden[shown[np.argmin(self._rows[code, shown])]] = True
        return hidden
