"""Coarseness: values of few units are found, whatever the batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.learning import coarseness
from blossom.learning.design import Numeric
from blossom.learning.statistics.base import Guard
from blossom.plan.errors import PolicyError


def rows(values: list[float], units: list[int], size: int) -> list[pa.RecordBatch]:
    whole = pa.RecordBatch.from_pydict({"x": values, "id": units})
    return [whole.slice(i, size) for i in range(0, len(values), size)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(2, 5),
)
def test_each_value_is_that_of_enough_units(pairs: list[tuple[int, int]], size: int, least: int) -> None:
    values, units = zip(*pairs, strict=True)
    fewest = min(len({u for v, u in pairs if v == value}) for value in set(values))
    guard = Guard("north", "people", ("id",), least)
    batches = rows([float(v) for v in values], list(units), size)
    if fewest >= least:
        coarseness.check(Numeric("x"), batches, guard, "'pay'")
        return
    with pytest.raises(PolicyError, match="computed"):
        coarseness.check(Numeric("x"), batches, guard, "'pay'")


def test_a_column_of_very_many_values_is_none() -> None:
    values = np.repeat(np.arange(coarseness.MOST_VALUES + 2.0), 3)
    guard = Guard("north", "people", ("id",), 3)
    with pytest.raises(PolicyError, match="round or bin"):
        coarseness.check(Numeric("x"), rows(values.tolist(), list(range(len(values))), 5000), guard, "'pay'")


def test_a_gap_counts_as_what_fills_it() -> None:
    batches = [pa.RecordBatch.from_pydict({"x": [1.0, None, 1.0, None], "id": [1, 2, 3, 4]})]
    guard = Guard("north", "people", ("id",), 3)
    coarseness.check(Numeric("x", fill=1.0), batches, guard, "'pay'")
    with pytest.raises(PolicyError):
        coarseness.check(Numeric("x", fill=2.0), batches, guard, "'pay'")
