"""The audit of combinations of any number of figures, against exact linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.policy.figures import HASHING, figure

from blossom.policy.span import Echelon, Span

UNITS = 12

sets = st.lists(
    st.lists(st.integers(0, 2), min_size=UNITS, max_size=UNITS).filter(any), min_size=1, max_size=8
)
"""Figures as rows of each unit."""


def sketch(rows: list[int]) -> np.ndarray:
    return figure({unit: times for unit, times in enumerate(rows) if times}).rows


def space(*figures: list[int]) -> Span:
    found = Span(HASHING.width)
    for one in figures:
        found.release(sketch(one)[None, :], np.array([2]))
    return found


def told(figures: list[list[int]]) -> set[int]:
    """The units whose value follows from sums over these rows."""
    if not figures:
        return set()
    matrix = np.array(figures, float)
    rank = np.linalg.matrix_rank(matrix)
    return {
        unit
        for unit in range(UNITS)
        if np.linalg.matrix_rank(np.vstack([matrix, np.eye(UNITS)[unit]])) == rank
    }


@settings(deadline=None, max_examples=150)
@given(known=sets, new=st.lists(st.integers(0, 2), min_size=UNITS, max_size=UNITS).filter(any))
def test_just_the_figures_that_tell_of_one_more_unit_are_held_back(known, new):
    """By itself a figure is no combination, whatever it is about: that is for other rules."""
    kept: list[list[int]] = []
    span = Span(HASHING.width)
    for one in [*known, new]:
        held = span.judge(sketch(one)[None, :], np.array([2]))[0]
        before, after = told(kept), told([*kept, one])
        assert held == bool(kept and after - before)
        if not held:
            span.release(sketch(one)[None, :], np.array([2]))
            kept.append(one)


def test_four_quarters_and_the_whole():
    quarters = [[int(unit // 3 == q) for unit in range(UNITS)] for q in range(4)]
    whole = [1] * UNITS
    whole[0] = 0
    assert space(*quarters).judge(sketch(whole)[None, :], np.array([2]))[0]
    assert not space(*quarters[:3]).judge(sketch(whole)[None, :], np.array([2]))[0]
    assert not space(*quarters).judge(sketch([1] * UNITS)[None, :], np.array([2]))[0]


def test_halves_of_sums_count_too():
    """A = (AB + AC - BC) / 2: two has no inverse modulo 2^32."""

    def rows(*parts: int) -> list[int]:
        return [int(unit // 3 in parts) for unit in range(UNITS)]

    span = space(rows(0, 1), rows(1, 2), rows(0, 2))
    near = rows(0)
    near[11] = 1
    assert not span.judge(sketch(rows(0))[None, :], np.array([2]))[0]
    assert span.judge(sketch(near)[None, :], np.array([2]))[0]


def test_halves_with_the_new_figure_count_too():
    """The unit is half of a combination that the new figure completes."""

    def rows(*parts: int) -> list[int]:
        return [int(unit // 3 in parts) for unit in range(UNITS)]

    last = rows(0, 2)
    last[11] = 2
    assert space(rows(0, 1), rows(1, 2), rows(0)).judge(sketch(last)[None, :], np.array([2]))[0]
    uneven = rows(0, 2)
    uneven[11] = 1
    assert space(rows(0, 1), rows(1, 2), rows(0)).judge(sketch(uneven)[None, :], np.array([2]))[0]


def test_few_units_count_as_one_does_while_figures_are_few():
    rng = np.random.default_rng(4)
    parts = [rng.choice(1000, 200, replace=False).tolist() for _ in range(4)]
    found = 0
    for few in range(1, 10):
        span = Span(HASHING.width)
        times = [sum(unit in part for part in parts) for unit in range(1000)]
        for part in parts:
            span.release(figure(dict.fromkeys(part, 1)).rows[None, :], np.array([10]))
        rows = {unit: count for unit, count in enumerate(times) if count} | {2000 + i: 1 for i in range(few)}
        found += span.judge(figure(rows).rows[None, :], np.array([10]))[0]
    assert found >= 8
    enough = {unit: count for unit, count in enumerate(times) if count} | {2000 + i: 1 for i in range(12)}
    assert not span.judge(figure(enough).rows[None, :], np.array([10]))[0]


def test_figures_of_one_release_count_for_those_after_them():
    thirds = [[int(unit // 4 == q) for unit in range(UNITS)] for q in range(3)]
    whole = [1] * UNITS
    whole[5] = 0
    span = space(whole)
    held = span.judge(np.stack([sketch(one) for one in thirds]), np.array([2, 2, 2]))
    assert held.tolist() == [False, False, True]
    assert not span.judge(sketch(thirds[2])[None, :], np.array([2]))[0]  # the trial is forgotten


@pytest.mark.parametrize("units", [300, 5000])
def test_the_newest_figures_are_kept_and_no_more(units):
    """Of a table of more units than can be kept, old figures are forgotten; of a smaller one none is."""
    rng = np.random.default_rng(units)
    span = Span(64)
    size = 3 * 64
    assert span.capacity == 128
    rows = rng.integers(0, 1 << 32, (units if units < 128 else 200, size), dtype=np.uint32)
    for row in rows:
        span.release(row[None, :], np.array([2]))
        assert not span.judge(rows[:1], np.array([2]))[0]
        assert len(span._newest) <= span.capacity
    assert all(len(form._pivots) == len(span._newest) for form in span._forms)


def test_large_releases_enter_with_their_totals_only():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1 << 32, (1000, HASHING.size), dtype=np.uint32)
    span = Span(HASHING.width)
    span.release(rows, np.full(1000, 2))
    assert not span.judge(rows, np.full(1000, 2)).any()
    assert len(span._newest) == 64


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, (1 << 32) - 1), min_size=12, max_size=12), min_size=1, max_size=8),
    st.booleans(),
)
def test_the_echelon_form_holds_just_the_combinations_of_its_rows(rows, even):
    given_ = np.array(rows, np.uint32) * np.uint32(2 if even else 1)
    form = Echelon(np.arange(12))
    for row in given_:
        form.add(row, 2)
    pivots = form._rows[:, form._pivots] << np.uint32(form._lost)
    np.testing.assert_array_equal(pivots, np.eye(len(pivots), dtype=np.uint32) << np.uint32(form._lost))
    for row in given_:
        assert not form.add(row, 2)  # it is in already, or no pivot could be had
