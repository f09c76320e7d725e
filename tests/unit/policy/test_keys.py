"""Rows find their cells, against a dictionary."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.plan.errors import PolicyError
from blossom.policy.keys import Index

KINDS = {
    "narrow": (pa.int32(), st.integers(-5, 5)),
    "wide": (pa.int64(), st.sampled_from([-(1 << 63), -1, 0, 1, 1 << 21, (1 << 63) - 1])),
    "small": (pa.uint8(), st.integers(0, 255)),
    "unsigned": (pa.uint64(), st.sampled_from([0, 1, (1 << 64) - 1])),
    "text": (pa.string(), st.sampled_from(["", "a", "b", "ä"])),
    "float": (pa.float64(), st.sampled_from([0.0, 1.5, -2.0])),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.sampled_from([date(1969, 12, 31), date(2020, 2, 29)])),
}


@settings(deadline=None, max_examples=200)
@given(data=st.data(), kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=3))
def test_a_row_is_of_the_cell_with_its_keys_or_of_none(data, kinds):
    drawn = st.tuples(*(st.none() | KINDS[kind][1] for kind in kinds))
    rows = data.draw(st.lists(drawn, max_size=40))
    known = data.draw(st.lists(drawn, unique=True, max_size=8)) if kinds else [()]
    types = [KINDS[kind][0] for kind in kinds]
    keys = pa.table({f"k{i}": pa.array([row[i] for row in known], kind) for i, kind in enumerate(types)})
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(types)]
    places = {key: at for at, key in enumerate(known)}
    expected = [places.get(row, len(known)) for row in rows]
    assert Index(keys, len(known)).cells(columns, len(rows)).tolist() == expected


def test_minus_zero_is_zero():
    index = Index(pa.table({"k": [0.0, 1.0]}), 2)
    assert index.cells([pa.array([-0.0, 1.0])], 2).tolist() == [0, 1]


def test_too_many_combinations_are_refused():
    many = pa.table({f"k{i}": list(range(1 << 12)) for i in range(6)})
    with pytest.raises(PolicyError, match="too many combinations"):
        Index(many, 1 << 12)
