"""The p-percent rule, against brute force."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.policy.cells import Cells
from blossom.policy.dominance import Contributions, dominated, dominated_by
from blossom.policy.facets import Content, Facet
from blossom.policy.sketch import Hashing
from blossom.policy.states import Unit

HASHING = Hashing(bytes(range(32)))
values = st.lists(
    st.tuples(st.integers(0, 12), st.one_of(st.integers(-50, 50), st.sampled_from([1000, -4000])).map(float)),
    min_size=1,
    max_size=60,
)


def brute(pairs: list[tuple[int, float]], weight: str) -> bool:
    mean = sum(x for _, x in pairs) / len(pairs)
    sums: dict[int, float] = {}
    for unit, x in pairs:
        sums[unit] = sums.get(unit, 0.0) + (abs(x) if weight == "size" else (x - mean) ** 2)
    ordered = [*sorted(sums.values(), reverse=True), 0.0, 0.0]
    return sum(ordered[2:]) < 0.1 * ordered[0] - 1e-9


@settings(deadline=None)
@given(pairs=values, weight=st.sampled_from(["size", "spread"]))
def test_a_unit_dominates_where_the_others_are_less_than_a_tenth_of_it(pairs, weight):
    array = np.array([x for _, x in pairs])
    found = dominated_by(array, np.array([unit for unit, _ in pairs]), {weight}, 2)
    assert found == brute(pairs, weight)


@settings(deadline=None)
@given(pairs=values, weight=st.sampled_from(["size", "spread"]), buckets=st.integers(1, 6))
def test_buckets_clear_no_cell_that_a_unit_dominates(pairs, weight, buckets):
    bounds = Contributions({weight}, (1, buckets))
    slots = np.array([unit % buckets for unit, _ in pairs])
    bounds.add(slots, pa.array([x for _, x in pairs]))
    cleared = not bounds.dominated(2)[0]
    assert not (cleared and brute(pairs, weight))


@settings(deadline=None, max_examples=50)
@given(
    cells=st.lists(values, min_size=1, max_size=4),
    weight=st.sampled_from(["size", "spread"]),
    cut=st.integers(1, 9),
)
def test_cells_read_from_a_stream_are_judged_exactly(cells, weight, cut):
    rows = [(cell, unit, x) for cell, pairs in enumerate(cells) for unit, x in pairs]
    order = np.random.default_rng(cut).permutation(len(rows))
    rows = [rows[i] for i in order]
    batch = pa.record_batch(
        {
            "__key_0": [cell for cell, _, _ in rows],
            "__unit_0": [unit for _, unit, _ in rows],
            "__null_0": pa.array([0] * len(rows), pa.int8()),
            "v": [x for _, _, x in rows],
        }
    )
    counts = np.array([len(pairs) for pairs in cells])
    facet = Facet("n", (), ("v",), (Content(("v",), frozenset({"t.v"}), frozenset({weight})),))
    seen = Cells(
        pa.table({"k": list(range(len(cells)))}),
        [counts, counts],
        [Unit("t", 2, "int64")],
        [Facet("all"), facet],
        HASHING,
    )
    seen.read(lambda: [batch.slice(i, cut) for i in range(0, len(rows), cut)])
    enough = [len({unit for unit, _ in cells[cell]}) >= 2 for cell in seen.judged]
    expected = [brute(cells[cell], weight) for cell in seen.judged]
    assert [bool(a) for a, b in zip(seen.dominated, enough, strict=True) if b] == [
        a for a, b in zip(expected, enough, strict=True) if b
    ]


def test_all_equal_values_have_no_dominant_spread():
    assert not dominated_by(np.full(30, 0.1), np.arange(30), {"spread"}, 10)


def test_a_far_mean_does_not_hide_a_dominant_spread():
    far = np.full(40, 1e9)
    far[3] += 1.0
    bounds = Contributions({"spread"}, (2, 64))
    bounds.add(
        np.concatenate([np.arange(40), 64 + np.arange(40)]), pa.array(np.concatenate([np.zeros(40), far]))
    )
    assert bounds.dominated(10)[1]
    assert dominated_by(far, np.arange(40), {"spread"}, 10)


@pytest.mark.parametrize(
    ("wild", "computed", "found"), [(1, True, True), (9, True, True), (10, True, False), (1, False, False)]
)
def test_a_computed_value_that_is_not_finite_for_a_few_tells_of_them(wild, computed, found):
    x = np.ones(40)
    x[:wild] = np.inf
    assert dominated_by(x, np.arange(40), {"size"}, 10, computed=computed) == found


def test_sums_that_overflow_dominate():
    assert dominated(np.array([[1e308, 1e308, 1e308, np.inf]]))[0]
    assert dominated(np.array([[1.7e308, 1.7e308, 1.7e308, 1.7e308]]))[0]
