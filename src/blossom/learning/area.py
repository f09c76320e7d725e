"""The area under the ROC curve over sites, from cells of scores, with a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blossom.learning.columns import Floats, Ints
from blossom.learning.statistics import State
from blossom.learning.statistics.base import floats, ints


@dataclass(frozen=True, slots=True)
class _Side:
    """The cells of one class at one site, in order; `first` and `last` are grid cells, both included."""

    first: Ints
    last: Ints
    rows: Floats
    one_value: np.ndarray
    value: Floats


def auc(state: State) -> tuple[float, float] | None:
    """The area under the ROC curve and its bound, of merged `ScoreCells`: the pooled area lies within estimate ± bound.

    The area is the share of (event, other) pairs of rows in which the event scores higher, a tie counting a half. Pairs
    within a site are counted there. Of a pair across sites, the order is known unless the rows' cells overlap: such a pair
    adds between 0 and 1. The estimate spreads each cell's rows evenly over it; the bound is the distance from the estimate to
    the farther of the two extremes, half the mass of the overlapping pairs when the estimate is in the middle. Cells that hold
    one value each are ordered, or tied, exactly.

    Returns:
        None when one class has no rows.
    """
    cells, values, pairs = ints(state, "cells"), floats(state, "values"), floats(state, "pairs")
    events, others = _side(cells, values, 1), _side(cells, values, 0)
    total = float(sum(side.rows.sum() for side in events.values()))
    total *= float(sum(side.rows.sum() for side in others.values()))
    if not total:
        return None
    estimate = float(pairs[:, 0].sum())
    doubt = 0.5 * float(pairs[:, 1].sum())
    least, most = estimate - doubt, estimate + doubt
    for site, event in events.items():
        for elsewhere, other in others.items():
            if site != elsewhere:
                sure, likely, possible = _across(event, other)
                least, estimate, most = least + sure, estimate + likely, most + possible
    return estimate / total, max(most - estimate, estimate - least) / total


def _side(cells: Ints, values: Floats, code: int) -> dict[int, _Side]:
    sides: dict[int, _Side] = {}
    for site in np.unique(cells[:, 0]).tolist():
        own = (cells[:, 0] == site) & (cells[:, 1] == code)
        if own.any():
            chosen, value = cells[own], values[own]
            order = np.argsort(chosen[:, 2], kind="stable")
            chosen = chosen[order]
            sides[site] = _Side(
                chosen[:, 2], chosen[:, 3], chosen[:, 4].astype(np.float64), chosen[:, 5] > 0, value[order]
            )
    return sides


def _across(event: _Side, other: _Side) -> tuple[float, float, float]:
    """Pairs in which the event scores higher: surely, by the estimate, at most."""
    mass = np.concatenate([[0.0], np.cumsum(other.rows)])
    below = mass[np.searchsorted(other.last, event.first, "left")]
    reached = mass[np.searchsorted(other.first, event.last, "right")]
    knots = np.stack([other.first, other.last + 1], axis=1).ravel().astype(np.float64)
    heights = np.stack([mass[:-1], mass[1:]], axis=1).ravel()
    start, stop = event.first.astype(np.float64), event.last.astype(np.float64) + 1
    even = (_integral(knots, heights, stop) - _integral(knots, heights, start)) / (stop - start)
    least, likely, most = (float(event.rows @ part) for part in (below, even, reached))
    for mine, yours in _shared_points(event, other):
        both = float(event.rows[mine] * other.rows[yours])
        a, b = float(event.value[mine]), float(other.value[yours])
        wins = 1.0 if a > b else 0.5 if a == b else 0.0
        least += both * wins
        likely += both * (wins - 0.5)
        most += both * (wins - 1.0)
    return least, likely, most


def _integral(knots: Floats, heights: Floats, at: Floats) -> Floats:
    """The integral up to `at` of the function through (knots, heights), constant outside."""
    pieces = np.concatenate([[0.0], np.cumsum(np.diff(knots) * (heights[1:] + heights[:-1]) / 2)])
    inside = np.clip(at, knots[0], knots[-1])
    piece = np.clip(np.searchsorted(knots, inside, "right") - 1, 0, len(knots) - 2)
    along = inside - knots[piece]
    width = knots[piece + 1] - knots[piece]
    slope = np.divide(heights[piece + 1] - heights[piece], width, out=np.zeros_like(width), where=width > 0)
    return (
        pieces[piece]
        + along * (heights[piece] + slope * along / 2)
        + (at - inside) * heights[-1] * (at > inside)
    )


def _shared_points(event: _Side, other: _Side) -> list[tuple[int, int]]:
    """Pairs of cells of one value each that share a grid cell; their order is known."""
    mine = {
        int(cell): index
        for index, cell in enumerate(event.first)
        if event.one_value[index] and event.last[index] == cell
    }
    return [
        (mine[int(cell)], index)
        for index, cell in enumerate(other.first)
        if other.one_value[index] and other.last[index] == cell and int(cell) in mine
    ]
