"""The search over known figures, against unit by unit comparison."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.policy.ledger import Book, Figure
from blossom.policy.sketch import Hashing, Sums

LEAST = 4
HASHING = Hashing(bytes(range(32)))

rows = st.dictionaries(st.integers(0, 40), st.integers(1, 3), min_size=LEAST, max_size=30)


def figure(units: dict[int, int], least: int = LEAST, contents: dict[int, int] | None = None) -> Figure:
    """A figure over rows: unit -> how many."""
    hashes = HASHING.units(pa.array(list(units)))
    slots = HASHING.slots(np.zeros(len(units), np.int64), hashes)

    def sketch(words):
        sums = Sums(1, HASHING)
        sums.add(slots, words)
        return sums.sketches()[0]

    held = {}
    if contents is not None:
        held["t.x"] = sketch(HASHING.contents(hashes, pa.array([contents[unit] for unit in units])))
    return Figure(least, sketch(hashes * np.array(list(units.values()), np.uint64)), held)


def apart(one: dict[int, int], other: dict[int, int]) -> int:
    return sum(one.get(unit, 0) != other.get(unit, 0) for unit in one.keys() | other.keys())


@settings(deadline=None, max_examples=200)
@given(
    known=st.lists(rows, min_size=1, max_size=8),
    base=rows,
    change=st.dictionaries(st.integers(0, 40), st.integers(0, 3), max_size=6),
)
def test_every_figure_that_differs_by_a_few_units_is_found(known, base, change):
    new = {unit: times for unit, times in {**base, **change}.items() if times}
    book = Book(HASHING.width)
    book.add([figure(one) for one in [*known, base]])
    book._index(LEAST + 1)  # so that the index is used, however few there are
    assert book._indexed == len(book)
    conflict, same = book.judge([figure(new)])
    distances = [apart(new, one) for one in [*known, base]]
    if 0 in distances:  # known already, whatever is known beside it
        assert same[0]
        assert not conflict[0]
    elif any(0 < distance < LEAST for distance in distances):
        assert conflict[0]
    elif all(distance > 3 * LEAST for distance in distances):
        assert not conflict[0]
        assert not same[0]


def test_the_same_rows_with_another_value_for_one_unit_are_told_apart():
    units = dict.fromkeys(range(20), 1)
    values = {unit: 100 + unit for unit in units}
    book = Book(HASHING.width)
    book.add([figure(units, contents=values)])
    assert book.judge([figure(units, contents=values)])[1][0]
    assert book.judge([figure(units, contents={**values, 7: 5})])[0][0]
    everyone = {unit: value + 1 for unit, value in values.items()}
    assert not book.judge([figure(units, contents=everyone)])[0][0]


def test_one_row_less_of_a_unit_is_told_apart():
    book = Book(HASHING.width)
    book.add([figure(dict.fromkeys(range(20), 2))])
    assert book.judge([figure({**dict.fromkeys(range(20), 2), 5: 1})])[0][0]


def test_a_figure_of_a_table_with_a_larger_smallest_group_is_held_to_it():
    book = Book(HASHING.width)
    book.add([figure(dict.fromkeys(range(30), 1), least=2)])
    fewer = dict.fromkeys(range(25), 1)
    assert not book.judge([figure(fewer, least=2)])[0][0]
    assert book.judge([figure(fewer, least=10)])[0][0]


def test_sketches_add_up():
    one, other = dict.fromkeys(range(10), 1), dict.fromkeys(range(10, 30), 2)
    both = figure({**one, **other}).rows
    np.testing.assert_array_equal(figure(one).rows + figure(other).rows, both)


def test_a_hundred_thousand_figures_are_searched_in_fifty_milliseconds():
    known = np.random.default_rng(0).integers(0, 1 << 32, (100_000, 768), dtype=np.uint32)
    book = Book(256)
    book.add([Figure(10, one) for one in known])
    near = known[77].copy()
    near[:9] += 1
    assert book.judge([Figure(10, near)])[0][0]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        book.judge([Figure(10, near)])
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05


def test_a_difference_of_just_the_smallest_group_is_rarely_taken_for_less():
    taken = 0
    for key in range(400):
        hashing = Hashing(bytes([key % 256, key // 256] * 16))
        hashes = hashing.units(pa.array(list(range(10))))
        turns = [len(np.unique(slots)) for slots in hashing.slots(np.zeros(10, np.int64), hashes)]
        taken += max(turns) < 10
    assert taken <= 10  # 0.4 % expected; one turn alone would take 16 %
