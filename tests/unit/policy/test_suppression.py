"""Secondary suppression, against brute force over every total."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.policy.suppression import secondary, totals

LEAST = 3
cells = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from([None, 1])),
    st.frozensets(st.integers(0, 9), min_size=1, max_size=6),
    min_size=1,
    max_size=10,
)


def decided(found: dict) -> tuple[list, list[frozenset[int]], np.ndarray]:
    keys, units = list(found), list(found.values())
    few = np.array([len(own) < LEAST for own in units])
    pairs = [(i, unit) for i, own in enumerate(units) if few[i] for unit in own]
    small = (np.array([i for i, _ in pairs], np.int64), np.array([u for _, u in pairs], np.uint64))
    table = pa.table({f"k{j}": pa.array([key[j] for key in keys]) for j in range(3)})
    hidden = secondary(
        few, few, np.array([len(own) for own in units]), small, LEAST, totals(table, len(keys))
    )
    return keys, units, hidden


@settings(deadline=None)
@given(found=cells)
def test_no_total_less_the_shown_cells_describes_a_few(found):
    keys, units, hidden = decided(found)
    assert all(hidden[i] for i, own in enumerate(units) if len(own) < LEAST)
    for size in range(3):
        for chosen in combinations(range(3), size):
            slices: dict[tuple, list[int]] = {}
            for i, key in enumerate(keys):
                slices.setdefault(tuple(key[j] for j in chosen), []).append(i)
            for members in slices.values():
                together = frozenset().union(*(units[i] for i in members if hidden[i]))
                shown = [i for i in members if not hidden[i]]
                assert not shown or not together or len(together) >= LEAST


@settings(deadline=None)
@given(found=cells)
def test_nothing_is_hidden_where_no_cell_is_small(found):
    large = {key: frozenset(range(LEAST + 1)) for key in found}
    assert not decided(large)[2].any()


def test_the_next_smallest_goes_and_no_more():
    found = {
        ("a", "x", 1): frozenset({1}),
        ("a", "y", 1): frozenset(range(5)),
        ("a", "z", 1): frozenset(range(4)),
    }
    _, _, hidden = decided(found)
    assert hidden.tolist() == [True, False, True]


def test_five_keys_leave_out_one_or_all():
    table = pa.table({f"k{j}": [0, 1] for j in range(5)})
    assert len(totals(table, 2)) == 6
    assert totals(pa.table({}), 1) == ()
