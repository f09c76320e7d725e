"""Errors, confusion and calibration of two classes, read off the cells of scores that sites have told."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, Ints
from blossom.learning.statistics import ScoreCells, State
from blossom.learning.statistics.base import floats, ints, number
from blossom.learning.statistics.cells import BINS

Figures = tuple[float, float, tuple[Ints, Ints], pa.Table | None]


def binary_figures(state: State, question: ScoreCells) -> Figures:
    """What merged `ScoreCells` say of two classes.

    Cells end at the edges of the bins wherever a site has enough units on both sides, so that most counts are exact. Of a
    cell across the middle the rows are spread evenly over it.

    Returns:
        Errors, how far they may be off, the confusion matrix (rows, and cells that are not known), and the calibration.
    """
    cells, sums = ints(state, "cells"), floats(state, "sums")
    first, last = question.bins(cells[:, 2]), question.bins(cells[:, 3])
    middle = BINS // 2
    confused, unknown = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64)
    least, most = ints(state, "errors").tolist()
    wrong = (least + most) / 2
    for code in (0, 1):
        own = cells[:, 1] == code
        for predicted, inside in ((0, last < middle), (1, first >= middle)):
            confused[code, predicted] = int(cells[own & inside, 4].sum())
        across = own & (first < middle) & (last >= middle)
        unknown[code] = int(across.sum())
        wrong += float(confused[code, 1 - code])
        for _, _, low, high, rows, _ in cells[across].tolist():
            edge = int(np.searchsorted(question.bins(np.arange(low, high + 1)), middle, "left"))
            above = rows * (1.0 - edge / (high - low + 1))
            wrong += above if code == 0 else rows - above
            most += rows
    if number(state, "withheld"):
        unknown[:] = 1
    doubt = max(
        float(most + confused[0, 1] + confused[1, 0]) - wrong, wrong - least - confused[0, 1] - confused[1, 0]
    )
    hidden = number(state, "withheld") or number(state, "unbinned")
    calibration = None if hidden else _calibration(cells, sums, first, last)
    return wrong, doubt, (confused, unknown), calibration


def _calibration(cells: Ints, sums: Floats, first: Ints, last: Ints) -> pa.Table:
    """The bins between edges that no cell lies across, empty ones left out."""
    crossed = np.zeros(BINS + 1, np.bool_)
    for low, high in zip(first.tolist(), last.tolist(), strict=True):
        crossed[low + 1 : high + 1] = True
    edges = np.flatnonzero(~crossed)
    rows: list[tuple[float, float, int, float, float]] = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside = (first >= low) & (last < high)
        count = int(cells[inside, 4].sum())
        if count:
            events = int(cells[inside & (cells[:, 1] == 1), 4].sum())
            mean = float(sums[inside].sum()) / count
            rows.append((low / BINS, high / BINS, count, mean, events / count))
    names = {
        "low": pa.float64(),
        "high": pa.float64(),
        "rows": pa.int64(),
        "predicted": pa.float64(),
        "observed": pa.float64(),
    }
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table(
        {name: pa.array(own, kind) for (name, kind), own in zip(names.items(), columns, strict=True)}
    )
