"""Counting units a cell against sets, hashing, and the validation split."""

import datetime
import decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.learning import split
from blossom.learning.units import Tally, hashes, identities
from blossom.plan.errors import ConfigError

ROWS = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 12))), max_size=120)


@settings(max_examples=120, deadline=None)
@given(rows=ROWS, cap=st.integers(1, 6), batch=st.integers(1, 50), named=st.booleans())
def test_counts_are_those_of_sets_up_to_the_cap(rows, cap, batch, named):
    tally = Tally(("unit",) if named else (), cap)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        block = pa.RecordBatch.from_pydict({"unit": pa.array([unit for _, unit in part], pa.int64())})
        tally.add(np.array([cell for cell, _ in part], np.int64), np.arange(len(part)), block)

    def exact(cells):
        own = [unit for cell, unit in rows if cell in cells]
        return len(set(own) - {None}) if named else len(own)

    counts = tally.counts(7).tolist()
    for cell in range(7):
        assert min(counts[cell], cap) == min(exact([cell]), cap)
    assert min(tally.union([0, 2, 6]), cap) == min(exact([0, 2, 6]), cap)
    occupied = sorted({cell for cell, _ in rows})
    runs = tally.runs(np.array(occupied, np.int64), cap)
    assert bool(runs) == (exact(occupied) >= cap and bool(occupied))
    if runs:
        assert [runs[0][0], runs[-1][1]] == [0, len(occupied)]
        assert all(exact(occupied[a:b]) >= cap for a, b in runs)
        assert all(left[1] == right[0] for left, right in pairwise(runs))


def test_every_unit_column_must_agree():
    block = pa.RecordBatch.from_pydict({"a": [1, 2, 3, 4], "b": ["x", "x", "x", "y"]})
    tally = Tally(("a", "b"), 10)
    tally.add(np.zeros(4, np.int64), np.arange(4), block)
    assert tally.counts(1).tolist() == [2]


@pytest.mark.parametrize(
    "values",
    [
        ["a", None, "é", "a"],
        [1, None, -(2**60), 1],
        [0.5, None, 0.1, 0.5],
        [True, None, False, True],
        [b"\xff", None, b"", b"\xff"],
        [decimal.Decimal("1.50"), None, decimal.Decimal("2.00"), decimal.Decimal("1.50")],
        [datetime.date(2020, 1, 1), None, datetime.date(2021, 1, 1), datetime.date(2020, 1, 1)],
    ],
)
def test_hashes_follow_equality(values):
    found = hashes(pa.array(values))
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 3
    assert hashes(pa.array(values), b"key")[0] != found[0]
    assert np.array_equal(hashes(pa.array(values).dictionary_encode()), found)


def test_hashes_do_not_depend_on_arrow_layout():
    assert np.array_equal(hashes(pa.array([1, 7], pa.int16())), hashes(pa.array([1, 7], pa.uint64())))
    assert np.array_equal(
        hashes(pa.array(["a"], pa.large_string())), hashes(pa.array(["a"], pa.string_view()))
    )


def test_the_split_is_fixed_for_ever():
    batch = pa.RecordBatch.from_pydict({"id": list(range(12)), "x": [0.5] * 12})
    mask = split(batch, ["id"], 0.4, seed=1)
    assert np.flatnonzero(mask).tolist() == [4, 11]  # the same in every run, place and version


def test_the_split_keeps_units_together_and_its_share():
    ids = np.random.default_rng(0).integers(0, 4000, size=20_000)
    batch = pa.RecordBatch.from_pydict({"id": ids, "x": np.arange(20_000.0)})
    mask = split(batch, ["id"], 0.2, seed=7)
    sides = {}
    for unit, held in zip(ids.tolist(), mask.tolist(), strict=True):
        assert sides.setdefault(unit, held) == held
    assert np.mean(list(sides.values())) == pytest.approx(0.2, abs=0.03)
    assert not np.array_equal(mask, split(batch, ["id"], 0.2, seed=8))
    more = split(batch, ["id"], 0.5, seed=7)
    assert not (mask & ~more).any()
    whole = split(batch, [], 0.2, seed=7)
    assert whole.mean() == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(whole[100:200], split(batch.slice(100, 100), [], 0.2, seed=7))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
def test_a_share_beyond_its_bounds(fraction):
    with pytest.raises(ConfigError):
        split(pa.RecordBatch.from_pydict({"id": [1]}), ["id"], fraction, 1)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["a", "a\0", "é" * 9, ""])), max_size=40
    ),
    start=st.integers(0, 5),
)
def test_identities_tell_texts_apart(values, start):
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        block = pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["u"]).slice(start)
        found = identities(block, "u")
        own = values[start:]
        assert len(set(found.tolist())) == len(set(own))
        assert [bool(found[i] == found[j]) for i in range(len(own)) for j in range(i)] == [
            own[i] == own[j] for i in range(len(own)) for j in range(i)
        ]


def test_identities_of_other_types():
    for values in ([1, None, -1, 2**40], [0.5, None, 0.25, 1.0], [True, False, None]):
        block = pa.RecordBatch.from_pydict({"u": pa.array(values)})
        assert len(set(identities(block, "u").tolist())) == len(values)
