"""The score histogram of two classes, behind AUC, accuracy, confusion and calibration: one release for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, Ints
from blossom.learning.score import Score, expit
from blossom.learning.statistics.base import (
    Collector,
    Guard,
    Measured,
    Released,
    State,
    Statistic,
    floats,
    ints,
    register,
)
from blossom.learning.statistics.groupings import BINS as BY_BIN
from blossom.learning.statistics.groupings import SIDES, Coded, Grouping
from blossom.learning.target import Target
from blossom.learning.units import Tally

GRID = 1 << 16
"""Cells of the fine grid over all scores, before it is cut at the bins' edges."""

BINS = 10
"""Bins of the probability, of equal width, as in scikit-learn's `calibration_curve`."""

_SHARES = np.arange(1, BINS) / BINS
EDGES: Floats = np.log(_SHARES / (1.0 - _SHARES))
"""The scores at the bins' inner edges; a score on an edge belongs to the bin below. The middle one is exactly 0."""

CELLS = GRID + BINS - 1


@register
@dataclass(frozen=True)
class ScoreCells(Statistic):
    """The scores of each class as cells of at least `min_group` units, and each site's own share of ordered pairs.

    Scores lie on a fine grid, uniform in t / (1 + |t|) with t = (score - centre) / spread, cut once more at `EDGES`. A site
    joins adjacent grid cells, separately per class, until each holds `min_group` units; a leftover joins the last. Cells end
    at the edges of the bins where enough units lie on both sides. Pairs of two rows of one site need no cells: the site counts
    them on its own grid. A site where a class has 1 to `min_group` - 1 units tells no cell, only a rounded number of errors.

    Answer, with m cells over s sites:
        cells: (m, 6) integers: site's number, class, first and last grid cell, rows, 1 where all scores in it are one value.
        values: (m,) that value, else 0.
        sums: (m,) sum of the probabilities of the second class.
        pairs: (s, 2): pairs of the site in which the event scores higher (a tie or an unresolved pair: a half), and how many
            of them are unresolved, being in one grid cell with different scores.
        withheld: Classes at sites that have 1 to `min_group` - 1 units; at least 1 for a site that tells no cell.
        errors: (2,) the least and the most wrongly classified rows at sites that tell no cell.
        unbinned: Sites whose cells may not be read off bin by bin.
    """

    kind = "score cells"
    score: Score
    target: Target
    centre: float
    spread: float

    @property
    def width(self) -> int:
        return self.score.design.width + 3 * self.score.outputs + 8

    def empty(self) -> State:
        return {
            "cells": np.zeros((0, 6), np.int64),
            "values": np.zeros(0),
            "sums": np.zeros(0),
            "pairs": np.zeros((0, 2)),
            "withheld": np.zeros(1, np.int64),
            "errors": np.zeros(2, np.int64),
            "unbinned": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        moved = ints(b, "cells").copy()
        moved[:, 0] += len(floats(a, "pairs"))
        return {
            "cells": np.vstack([ints(a, "cells"), moved]),
            "values": np.concatenate([floats(a, "values"), floats(b, "values")]),
            "sums": np.concatenate([floats(a, "sums"), floats(b, "sums")]),
            "pairs": np.vstack([floats(a, "pairs"), floats(b, "pairs")]),
            "withheld": ints(a, "withheld") + ints(b, "withheld"),
            "errors": ints(a, "errors") + ints(b, "errors"),
            "unbinned": ints(a, "unbinned") + ints(b, "unbinned"),
        }

    def releases(self) -> tuple[Released, ...]:
        return (
            Released("score cells, errors", 0, "count"),
            Released("ordered pairs, probabilities a cell", 2, "sum"),
        )

    def measures(self) -> Measured:
        return Measured(self.score, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return (
            Coded(SIDES, needed=False, few=True, of=lambda block: self._coded(block, np.zeros(1))),
            Coded(BY_BIN, needed=False, few=True, of=lambda block: self._coded(block, EDGES)),
        )

    def _coded(self, block: pa.RecordBatch, edges: Floats) -> Ints:
        """Each row's class and place between the edges."""
        scores = self.score.event(self.score.design.matrix(block))
        place = np.searchsorted(edges, scores, "left")
        return self.target.codes(block) * (len(edges) + 1) + place

    def collect(self, guard: Guard) -> Collector:
        return _ScoreCollector(self, guard)

    def grid(self, scores: Floats) -> Ints:
        """The grid cell of each score; never decreases with the score."""
        return self._fine(scores) + np.searchsorted(EDGES, scores, "left")

    def _fine(self, scores: Floats) -> Ints:
        t = (scores - self.centre) / self.spread
        return np.clip(((t / (1.0 + np.abs(t)) + 1.0) * (GRID / 2)).astype(np.int64), 0, GRID - 1)

    def bins(self, cells: Ints) -> Ints:
        """The bin of each grid cell."""
        return np.searchsorted(self._fine(EDGES) + np.arange(BINS - 1), cells, "left")


def rounded_errors(errors: int, rows: int, least: int) -> tuple[int, int]:
    """The least and the most errors that may be told: exact, unless errors or hits are 1 to `least` - 1 rows.

    >>> rounded_errors(12, 100, 10), rounded_errors(3, 100, 10), rounded_errors(97, 100, 10)
    ((12, 12), (1, 9), (91, 99))
    """
    if all(part == 0 or part >= least for part in (errors, rows - errors)):
        return errors, errors
    if errors < least:
        return 1, min(least - 1, rows)
    return max(rows - least + 1, 0), rows - 1


def coarse_errors(errors: int, rows: int, least: int) -> tuple[int, int]:
    """The least and the most errors that may be told where even sums of groups would tell of a few: steps of `least`.

    >>> coarse_errors(12, 100, 10), coarse_errors(3, 8, 10)
    ((10, 19), (0, 8))
    """
    low = errors // least * least
    return low, min(low + least - 1, rows)


class _ScoreCollector(Collector):
    def __init__(self, statistic: ScoreCells, guard: Guard) -> None:
        self._statistic = statistic
        self._near, self._unbinned = SIDES in guard.withheld, BY_BIN in guard.withheld
        self._least = guard.min_group
        self._tally = Tally(guard.units, guard.min_group)
        self._rows = np.zeros(2 * CELLS, np.int64)
        self._low = np.full(2 * CELLS, np.inf)
        self._high = np.full(2 * CELLS, -np.inf)
        self._sums = np.zeros(2 * CELLS)
        self._errors = 0

    def add(self, block: pa.RecordBatch) -> None:
        own = self._statistic
        scores = own.score.event(own.score.design.matrix(block))
        codes = own.target.codes(block)
        self._errors += int(((scores > 0) != (codes == 1)).sum())
        cells = codes * CELLS + own.grid(scores)
        self._tally.add(cells, np.arange(len(cells)), block)
        self._rows += np.bincount(cells, minlength=2 * CELLS)
        self._sums += np.bincount(cells, expit(scores), minlength=2 * CELLS)
        np.minimum.at(self._low, cells, scores)
        np.maximum.at(self._high, cells, scores)

    def finish(self) -> State:
        if not self._rows.any():
            return self._statistic.empty()
        parts: list[tuple[Ints, Floats, Floats]] = []
        withheld = 0
        for code in (0, 1):
            occupied = code * CELLS + np.flatnonzero(self._rows[code * CELLS :][:CELLS])
            runs = self._runs(occupied, code)
            withheld += bool(len(occupied)) and not len(runs)
            if len(runs):
                parts.append(self._cells(code, occupied, runs))
        if withheld or self._near:
            rows = int(self._rows.sum())
            round_off = coarse_errors if self._near else rounded_errors
            errors = round_off(self._errors, rows, self._least)
            return {
                **self._statistic.empty(),
                "pairs": np.zeros((1, 2)),
                "withheld": np.asarray([max(withheld, 1)], np.int64),
                "errors": np.asarray(errors, np.int64),
            }
        return {
            "cells": np.concatenate([cells for cells, _, _ in parts]),
            "values": np.concatenate([values for _, values, _ in parts]),
            "sums": np.concatenate([sums for _, _, sums in parts]),
            "pairs": self._pairs(),
            "withheld": np.zeros(1, np.int64),
            "errors": np.zeros(2, np.int64),
            "unbinned": np.asarray([self._unbinned], np.int64),
        }

    def _runs(self, occupied: Ints, code: int) -> Ints:
        """The ends of runs of occupied cells, within bins where those hold enough units; shape (runs,)."""
        stops = np.searchsorted(self._statistic.bins(occupied - code * CELLS), np.arange(BINS), "right")
        ends: list[int] = []
        start = 0
        for stop in np.unique(stops).tolist():
            found = self._tally.runs(occupied[start:stop], self._least)
            if found:
                ends.extend(start + end for _, end in found)
                start = stop
        if ends:
            ends[-1] = len(occupied)
        return np.asarray(ends, np.int64)

    def _cells(self, code: int, occupied: Ints, ends: Ints) -> tuple[Ints, Floats, Floats]:
        starts = np.concatenate([[0], ends[:-1]])
        low = np.minimum.reduceat(self._low[occupied], starts)
        high = np.maximum.reduceat(self._high[occupied], starts)
        rows = np.add.reduceat(self._rows[occupied], starts)
        sums = np.add.reduceat(self._sums[occupied], starts)
        first, last = occupied[starts] - code * CELLS, occupied[ends - 1] - code * CELLS
        one = low == high
        cells = np.stack([np.zeros_like(rows), np.full_like(rows, code), first, last, rows, one], axis=1)
        return cells.astype(np.int64), np.where(one, low, 0.0), sums

    def _pairs(self) -> Floats:
        negative, positive = self._rows[:CELLS].astype(np.float64), self._rows[CELLS:].astype(np.float64)
        lower = np.cumsum(negative) - negative
        shared = positive * negative
        one_value = np.minimum(self._low[:CELLS], self._low[CELLS:]) == np.maximum(
            self._high[:CELLS], self._high[CELLS:]
        )
        ordered = float(positive @ lower) + 0.5 * float(shared.sum())
        return np.asarray([[ordered, float(shared[~one_value].sum())]])
