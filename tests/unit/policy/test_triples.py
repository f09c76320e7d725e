"""The search for three figures that together tell about a few units, against brute force."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.policy.figures import HASHING, LEAST, figure

from blossom.policy import triples
from blossom.policy.ledger import Book, Figure

UNITS = 300

split = st.tuples(st.integers(0, 99), st.integers(6, 140), st.integers(6, 140))
"""Two disjoint sets of units: a seed and their sizes."""


def halves(drawn: tuple[int, int, int]) -> tuple[dict[int, int], dict[int, int]]:
    seed, first, second = drawn
    units = np.random.default_rng(seed).permutation(UNITS).tolist()
    return whole(units[:first]), whole(units[first : first + second])


def whole(*units: range | list[int]) -> dict[int, int]:
    return dict.fromkeys((unit for own in units for unit in own), 1)


def book(*known: dict[int, int]) -> Book:
    found = Book(HASHING.width)
    for one in known:
        found.add([figure(one)])
    return found


@pytest.fixture(autouse=True)
def only_triples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What combinations of any number of figures find is no merit of this search."""
    monkeypatch.setattr(
        "blossom.policy.span.Span.judge", lambda _, rows, least: np.zeros(len(rows), np.bool_)
    )


@settings(deadline=None, max_examples=50)
@given(
    drawn=split,
    few=st.sets(st.integers(0, UNITS - 1), min_size=1, max_size=LEAST - 1),
    role=st.integers(0, 2),
    noise=st.integers(0, 20),
)
def test_a_sum_or_difference_up_to_few_units_is_found(drawn, few, role, noise):
    one, other = halves(drawn)
    both = {**one, **other}
    changed = [dict(one), dict(other), dict(both)]
    for unit in few:  # this many are left over, whatever the three are combined to
        changed[role][unit] = changed[role].get(unit, 0) + 1
    rng = np.random.default_rng(noise)
    known = book(*({int(u): 1 for u in rng.choice(UNITS, 100, replace=False)} for _ in range(noise)))
    for number in range(3):
        if number != role:
            known.add([figure(changed[number])])
    assert known.judge([figure(changed[role])])[0][0]


@settings(deadline=None, max_examples=50)
@given(drawn=split, more=st.integers(0, 2))
def test_nothing_else_is_held_back(drawn, more):
    """Three figures that combine exactly tell nothing; nor do those that leave over enough."""
    one, other = halves(drawn)
    both = {**one, **other} | ({} if not more else {UNITS + i: 1 for i in range(3 * LEAST * more)})
    for new, known in ((both, (one, other)), (one, (other, both)), (other, (both, one))):
        assert not book(*known).judge([figure(new)])[0][0]


def test_two_figures_of_one_release_count_with_a_known_one_and_the_first_may_leave():
    known = book(whole(range(60)))
    first, second = figure(whole(range(29))), figure(whole(range(30, 60)))
    assert known.judge([first, second])[0].tolist() == [False, True]
    assert known.judge([second, first])[0].tolist() == [False, True]
    assert known.judge([first])[0].tolist() == [False]


def test_values_folded_over_known_rows_are_compared_over_three_figures():
    values = {unit: 100 + unit for unit in range(60)}
    low, high, all_ = whole(range(30)), whole(range(30, 60)), whole(range(60))
    known = Book(HASHING.width)
    known.add([figure(low), figure(high)])
    known.add([figure(low, contents=values)])  # over rows that are known already
    known.add([figure(high, contents=values)])
    known.add([figure(all_)])  # the rows are known: what follows is looked at for its values only
    assert not known.judge([figure(all_, contents=values)])[0][0]
    assert known.judge([figure(all_, contents={**values, 7: 5})])[0][0]
    assert not known.judge([figure(all_, contents=dict.fromkeys(values, 5))])[0][0]


def test_a_figure_of_a_table_with_a_larger_smallest_group_is_held_to_it():
    known = book(whole(range(40)), whole(range(40, 80)))
    both = whole(range(80), [100, 101, 102, 103, 104])
    assert not known.judge([figure(both)])[0][0]
    assert known.judge([figure(both, least=10)])[0][0]


def test_many_cells_are_searched_within_bounds(monkeypatch):
    """Where not all blocks can be afforded, a single unit is still found; beyond, among the newest figures."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 1 << 32, (400, HASHING.size), dtype=np.uint32)
    known = Book(HASHING.width)
    known.add([Figure(10, row) for row in rows])
    new = rng.integers(0, 1 << 32, (50, HASHING.size), dtype=np.uint32)
    new[20] = rows[300] + rows[399]
    new[20, [5, 261, 530]] += np.uint32(7)
    figures = [Figure(10, row) for row in new]
    for work in (1 << 26, 2 * 2 * 50 * 400, 2 * 2 * 50 * 150):
        monkeypatch.setattr(triples, "WORK", work)
        assert np.flatnonzero(known.judge(figures)[0]).tolist() == [20]
    looked = []
    find = triples._Index.find
    monkeypatch.setattr(
        triples._Index,
        "find",
        lambda self, block, wanted: looked.append(len(wanted)) or find(self, block, wanted),
    )
    known.judge(figures)
    assert sum(looked) <= 3 * triples.WORK  # three indexes: large, fresh, and the release's own


def test_a_hundred_thousand_figures_are_searched_in_a_tenth_of_a_second():
    """Processor time, on a machine that others use too; 25 ms on a quiet one."""
    known = np.random.default_rng(0).integers(0, 1 << 32, (100_000, 768), dtype=np.uint32)
    found = Book(256)
    found.add([Figure(10, one) for one in known])
    new = known[77] - known[99_000]
    new[[3, 20, 40, 60, 80, 100, 120, 140, 160]] += np.uint32(1)
    assert found.judge([Figure(10, new)])[0][0]
    seconds = []
    for _ in range(7):
        began = time.process_time()
        found.judge([Figure(10, new)])
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.1
