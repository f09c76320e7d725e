"""A column that one unit dominates is refused, by rows, by units, per class, and with a bounded tally."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.learning import LinearRegression, LogisticRegression
from blossom.learning.statistics import dominance
from blossom.learning.statistics.dominance import RowShares, UnitShares, dominated
from blossom.plan.errors import PolicyError


@pytest.mark.parametrize(("large", "refused"), [(1e6, True), (30.0, False)])
def test_one_row_that_is_nearly_the_whole_sum(lab, large, refused):
    random = np.random.default_rng(0)
    x = np.abs(random.normal(size=60)) * 0.3 + 0.1
    x[7] = -large
    table = pa.table({"x": x, "z": random.normal(size=60), "y": random.normal(size=60)})
    if not refused:
        lab.run(LinearRegression(), {"north": table}, "y", ["x"], min_group=10)
        return
    with pytest.raises(PolicyError) as caught:
        lab.run(LinearRegression(), {"north": table}, "y", ["x", "z"], min_group=10)
    (found,) = caught.value.refusals
    assert (found.rule, found.site, found.column) == ("dominance", "north", "x")
    with pytest.raises(PolicyError) as caught:
        lab.run(LinearRegression(), {"north": table}, "x", ["y", "z"], min_group=10)
    assert caught.value.refusals[0].column == "x", "a numeric target too"
    lab.run(LinearRegression(), {"north": table}, "y", ["x", "z"], min_group=1)


def test_a_unit_of_many_rows(lab):
    random = np.random.default_rng(0)
    x = np.concatenate([np.full(400, 5.0), random.random(50) + 0.1])
    ids = np.concatenate([np.zeros(400, int), np.arange(1, 51)])
    table = pa.table({"x": x, "y": random.normal(size=450), "id": ids})
    lab.run(LinearRegression(), {"s": table}, "y", ["x"], min_group=10)
    with pytest.raises(PolicyError) as caught:
        lab.run(LinearRegression(), {"s": table}, "y", ["x"], min_group=10, units=("id",))
    assert caught.value.refusals[0].rule == "dominance"


def test_within_one_class(lab):
    random = np.random.default_rng(0)
    late = np.arange(200) % 2 == 0
    x = random.random(200) * np.where(late, 1e-4, 1.0)
    x[0] = 20.0  # the largest of the late ones by far, and not of all
    table = pa.table({"x": x, "late": late})
    with pytest.raises(PolicyError) as caught:
        lab.run(LogisticRegression(), {"s": table}, "late", min_group=10)
    assert "one class" in caught.value.refusals[0].reason


def exact(amounts, classes, units, width):
    out = []
    for row in amounts:
        for code in range(width):
            sums = {}
            for amount, own, unit in zip(row, classes, units, strict=True):
                if own == code:
                    sums[unit] = sums.get(unit, 0.0) + amount
            top = [*sorted(sums.values(), reverse=True), 0.0, 0.0]
            out.append((sum(sums.values()), top[0], top[1]))
    return dominated(*np.array(out).T)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 80), batch=st.integers(1, 30), named=st.booleans())
def test_the_tallies_are_exact(seed, rows, batch, named):
    random = np.random.default_rng(seed)
    amounts = np.floor(10 ** random.uniform(0, 4, size=(2, rows)) * (random.random((2, rows)) < 0.5))
    classes = random.integers(0, 2, size=rows)
    ids = random.integers(0, 12, size=rows)
    block = pa.RecordBatch.from_pydict({"id": ids})
    shares = UnitShares("id") if named else RowShares()
    for start in range(0, rows, batch):
        part = slice(start, start + batch)
        shares.add(amounts[:, part], classes[part], 2, block.slice(start, batch))
    expected = exact(amounts, classes, ids if named else range(rows), 2)
    assert shares.dominated().tolist() == expected.tolist()


def test_a_bounded_tally_never_misses(monkeypatch):
    monkeypatch.setattr(dominance, "_MOST_NUMBERS", 1)
    random = np.random.default_rng(5)
    for heavy in (0.0, 1e9):
        shares = UnitShares("id")
        for start in range(5):
            ids = np.arange(start * 3000, (start + 1) * 3000)
            amounts = random.random((1, 3000))
            ids[0], amounts[0, 0] = -1, heavy / 5  # a unit that comes back in every block
            shares.add(amounts, np.zeros(3000, np.int64), 1, pa.RecordBatch.from_pydict({"id": ids}))
        assert shares.dominated().tolist() == [heavy > 0.0]
