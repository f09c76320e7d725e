"""The release check of a fit: enough units a parameter, no feature cell that only a few units fill, no dominant unit.

The rules of "A fit is a release" (docs: learning): gradient, Hessian and Gram matrix hold, as entries, sums over the rows on
which one feature, or one pair of indicators, is not zero. Where only a few units are not zero, such a sum is their values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, Ints, column, numbers
from blossom.learning.design import Design, Levels, Numeric
from blossom.learning.statistics.base import Check, Guard, fingerprint
from blossom.learning.statistics.dominance import P, RowShares, UnitShares
from blossom.learning.target import Target
from blossom.learning.units import Tally


@dataclass(frozen=True)
class Requirement:
    """What a site checks before it describes rows through a design.

    Attributes:
        design: The features, whose raw values are judged (before any shift).
        target: With classes: each cell is judged per class. A numeric target is judged like a feature.
        parameters: The model's number of parameters; at most a third of the units may be fitted.
        pairs: Whether pairs of indicators are described too (a Gram matrix, a Hessian).
    """

    design: Design
    target: Target | None = None
    parameters: int = 0
    pairs: bool = False

    def check(self, guard: Guard) -> Check | None:
        """The check for one site's rows, or None where there is nothing to check."""
        target = None if self.target is None else self.target.to_document()
        if guard.min_group <= 1:
            return None  # the owner lets figures about single units leave: there is nothing to protect
        key = fingerprint(guard.scope, self.design.to_document(), target, self.parameters, self.pairs)
        if guard.passed is not None and key in guard.passed:
            return None
        return _Presence(self, guard, key)


@dataclass(frozen=True, slots=True)
class _Cells:
    """A run of cells that one look at a block fills: their names, from `start` on."""

    start: int
    names: tuple[str, ...]
    column: str | None


class _Presence(Check):
    def __init__(self, requirement: Requirement, guard: Guard, key: str) -> None:
        self._requirement = requirement
        self._guard = guard
        self._key = key
        target = requirement.target
        self._classes = 1 if target is None or target.classes is None else len(target.classes)
        self._tally = Tally(guard.units, guard.min_group)
        self._total = Tally(guard.units, max(guard.min_group, 3 * requirement.parameters))
        self._runs: list[_Cells] = []
        self._shares: list[RowShares | UnitShares] = [*map(UnitShares, guard.units)] or [RowShares()]
        self._measured: tuple[str, ...] = ()

    def add(self, block: pa.RecordBatch) -> None:
        classes = self._class_codes(block)
        runs = _Runs(self._classes, self._tally, block, classes)
        everything = np.zeros(block.num_rows, np.int64)
        self._total.add(everything, np.arange(block.num_rows), block)
        runs.fill(("every row",), None, everything)
        amounts = self._look(runs, block)
        self._runs, self._measured = runs.done, tuple(amounts)
        if amounts:
            stacked = np.stack([*amounts.values()])
            for shares in self._shares:
                shares.add(stacked, classes, self._classes, block)

    def _class_codes(self, block: pa.RecordBatch) -> Ints:
        target = self._requirement.target
        if target is None or target.classes is None:
            return np.zeros(block.num_rows, np.int64)
        return target.codes(block)

    def _look(self, runs: _Runs, block: pa.RecordBatch) -> dict[str, Floats]:
        """Count the block's cells; the absolute values of each numeric column."""
        target = self._requirement.target
        amounts: dict[str, Floats] = {}
        indicators: list[tuple[str, tuple[str, ...], Ints]] = []
        for part in self._requirement.design.leaves():
            if isinstance(part, Numeric):
                values = numbers(block, part.column, part.fill)[0]
                amounts[part.column] = np.abs(values)
                codes = np.where(values != 0.0, 0, -1)
                runs.fill((part.column,), part.column, codes)
                if pa.types.is_boolean(column(block, part.column).type):
                    indicators.append((part.column, (part.column,), codes))
            else:
                codes, names = _level_cells(block, part)
                runs.fill(names, part.column, codes)
                indicators.append((part.column, names, codes))
        if target is not None and target.classes is None:
            values = numbers(block, target.column)[0]
            amounts[target.column] = np.abs(values)
            runs.fill((target.column,), target.column, np.where(values != 0.0, 0, -1))
        if self._requirement.pairs:
            for (name, names, codes), (_, others, more) in combinations(indicators, 2):
                both = np.where((codes < 0) | (more < 0), -1, codes * len(others) + more)
                runs.fill(tuple(f"{a} and {b}" for a in names for b in others), name, both)
        return amounts

    def verify(self) -> None:
        guard, least = self._guard, self._guard.min_group
        total = int(self._total.counts(1)[0])
        if not total:
            return
        if total < least:
            guard.refuse(
                "min_group", None, f"fewer than {least} units", f"fits on at least {least} units a site"
            )
        needed = 3 * self._requirement.parameters
        if total < needed:
            guard.refuse(
                "parameters",
                None,
                f"{self._requirement.parameters} parameters need at least {needed} units at the site",
                "fewer features or categories; parameters are at most a third of the units",
            )
        for run in self._runs:
            size = len(run.names) * self._classes
            counts = self._tally.counts(run.start + size)[run.start :].reshape(len(run.names), self._classes)
            few = np.flatnonzero(((counts > 0) & (counts < least)).any(axis=1))
            if len(few):
                per_class = " of one class" if self._classes > 1 else ""
                guard.refuse(
                    "feature cells",
                    run.column,
                    f"fewer than {least} units{per_class} are not zero in {run.names[few[0]]!r}",
                    f"features, and pairs of indicators, that 0 or at least {least} units fill"
                    f"{' in each class' if self._classes > 1 else ''}: drop or coarsen the column",
                )
        self._verify_shares()
        if guard.passed is not None:
            guard.passed.add(self._key)

    def _verify_shares(self) -> None:
        for shares in self._shares if self._measured else ():
            found = np.flatnonzero(shares.dominated())
            if len(found):
                name = self._measured[found[0] // self._classes]
                per_class = " among the rows of one class" if self._classes > 1 else ""
                self._guard.refuse(
                    "dominance",
                    name,
                    f"one unit has nearly all of the sum of |{name}|{per_class}",
                    f"columns whose sum, less the two largest units, is at least {P:.0%} of the largest: "
                    "cap or bin the column, or filter extreme values out",
                )


class _Runs:
    """Lays the cells of one block's looks one after another, always in the same order."""

    def __init__(self, classes: int, tally: Tally, block: pa.RecordBatch, class_codes: Ints) -> None:
        self._classes = classes
        self._tally = tally
        self._block = block
        self._class_codes = class_codes
        self._next = 0
        self.done: list[_Cells] = []

    def fill(self, names: tuple[str, ...], name: str | None, codes: Ints) -> None:
        """Count each row with `codes >= 0` in its named cell and class."""
        rows = np.flatnonzero(codes >= 0)
        cells = self._next + codes[rows] * self._classes + self._class_codes[rows]
        self._tally.add(cells, rows, self._block)
        self.done.append(_Cells(self._next, names, name))
        self._next += len(names) * self._classes


def _level_cells(block: pa.RecordBatch, part: Levels) -> tuple[Ints, tuple[str, ...]]:
    """A row's level, and the levels' names; the rows that no level names are a cell of their own.

    That cell and a dropped level have no column, and are told all the same: by the number of rows less the other cells.
    """
    codes = part.codes(block)[0]
    return codes, part.level_names if part.rest else (*part.level_names, f"{part.column} (other values)")
