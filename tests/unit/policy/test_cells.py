"""What the rules see of a release's cells, against brute force over the rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.policy import cells as module
from blossom.policy.cells import Cells, Changed
from blossom.policy.facets import Content, Facet
from blossom.policy.pairs import Collected
from blossom.policy.sketch import TURNS, Hashing, low
from blossom.policy.states import Unit

HASHING = Hashing(bytes(range(32)))
LEAST = 3
FACETS = (
    Facet("all"),
    Facet("x", (), ("x",), (Content(("x",), frozenset({"t.x"}), frozenset({"size"}), computed=True),)),
    Facet(
        "xy", ("w",), ("x", "y"),
        (Content(("x", "y"), frozenset({"t.x", "t.y"}), frozenset({"size", "spread"})),),
    ),
)  # fmt: skip

number = st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.0, 50.0, 1000.0, float("nan"), float("inf")])
rows = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.none() | st.sampled_from("abc"),
            "u": st.none() | st.integers(0, 9),
            "null": st.sampled_from([0, 1]),
            "x": st.none() | number,
            "y": st.none() | number,
            "w": st.none() | st.booleans(),
        }
    ),
    max_size=80,
)


def inside(row: dict, facet: Facet) -> bool:
    return all(row[name] for name in facet.where) and all(row[name] is not None for name in facet.present)


def unit(row: dict):
    """The row's unit; () where its table had no row."""
    return row["u"] if row["u"] is not None else "null" if row["null"] == 1 else ()


def hashed(found) -> int:
    return int(HASHING.null if found == "null" else HASHING.units(pa.array([found]))[0])


def summed(hash_: int) -> int:
    """What a row adds to a bucket."""
    return int(low(np.array([hash_], np.uint64))[0])


def slots(hash_: int) -> list[int]:
    return [turn * 256 + ((hash_ << (8 * turn)) % (1 << 64) >> 56) for turn in range(TURNS)]


def dominates(contributions: dict) -> bool:
    ordered = [*sorted(contributions.values(), reverse=True), 0.0, 0.0]
    return sum(ordered[2:]) < 0.1 * ordered[0]


def expected_dominance(chosen: list[dict], content: Content) -> bool:
    values = []
    for row in chosen:
        value = 1.0
        for factor in content.factors:
            value *= row[factor]
        values.append((unit(row), value))
    wild = {own for own, value in values if not np.isfinite(value)}
    if content.computed and wild and len(wild) < LEAST:
        return True
    values = [(own, value if np.isfinite(value) else 0.0) for own, value in values]
    size, spread = defaultdict(float), defaultdict(float)
    mean = sum(value for _, value in values) / len(values)
    for own, value in values:
        size[own] += abs(value)
        spread[own] += (value - mean) ** 2
    return dominates(size) or ("spread" in content.weights and dominates(spread))


@settings(deadline=None, max_examples=200)
@given(rows=rows, cut=st.integers(1, 30), small=st.sampled_from([1, 8, 1 << 14]))
def test_cells_are_those_of_brute_force(rows, cut, small):
    keys = list(dict.fromkeys(row["k"] for row in rows))
    members = [[row for row in rows if row["k"] == key] for key in keys]
    controls = [np.array([sum(inside(r, facet) for r in of) for of in members], np.int64) for facet in FACETS]
    batch = pa.record_batch(
        {
            "__key_0": pa.array([row["k"] for row in rows], pa.string()),
            "__unit_0": pa.array([row["u"] for row in rows], pa.int64()),
            "__null_0": pa.array([row["null"] for row in rows], pa.int8()),
            "x": pa.array([row["x"] for row in rows], pa.float64()),
            "y": pa.array([row["y"] for row in rows], pa.float64()),
            "w": pa.array([row["w"] for row in rows], pa.bool_()),
        }
    )
    seen = Cells(
        pa.table({"k": pa.array(keys, pa.string())}), controls, [Unit("t", LEAST, "int64")], FACETS, HASHING
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SMALL", small)
        seen.read(lambda: [batch.slice(i, cut) for i in range(0, len(rows), cut)])
    assert seen.judged.tolist() == [i for i, of in enumerate(members) if len(of) >= LEAST]
    few = []
    for place, cell in enumerate(seen.judged):
        short = False
        dominated = False
        for track, facet in zip(seen.tracks[0], FACETS, strict=True):
            chosen = [row for row in members[cell] if inside(row, facet) and unit(row) != ()]
            times = Counter(map(unit, chosen))
            sketch = np.zeros(HASHING.size, np.uint64)
            for own, count in times.items():
                for slot in slots(hashed(own)):
                    sketch[slot] += count * summed(hashed(own))
            assert (track.sketch[place] == sketch.astype(np.uint32)).all()
            assert track.rows[place] == len(chosen)
            assert (track.counts[place] < LEAST) == (len(times) < LEAST)
            assert track.counts[place] == len(times) or LEAST <= track.counts[place] <= len(times)
            short |= len(times) < LEAST
            for content in facet.contents:
                kept = np.zeros(HASHING.size, np.uint64)
                for row in chosen:
                    own = hashed(unit(row))
                    value = pa.array([math.prod(row[factor] for factor in content.factors)])
                    word = summed(int(HASHING.contents(np.array([own], np.uint64), value)[0]))
                    for slot in slots(own):
                        kept[slot] += word
                assert (track.contents[content.factors][place] == kept.astype(np.uint32)).all()
                dominated |= len(times) >= LEAST and expected_dominance(chosen, content)
        few.append(short)
        assert bool(seen.dominated[place]) == dominated
    assert seen.few().tolist() == few
    together = {
        (cell, hashed(unit(row)))
        for cell, of in enumerate(members)
        for row in of
        if unit(row) != () and len({unit(r) for r in of} - {()}) < LEAST
    }
    assert set(zip(*(part.tolist() for part in seen.small(0)), strict=True)) == together


@pytest.mark.parametrize("units", [LEAST - 1, LEAST])
def test_one_unit_less_than_the_smallest_group_is_few_however_many_rows_it_has(units):
    rows = 200_000
    batch = pa.record_batch(
        {
            "__key_0": np.zeros(rows, np.int32),
            "__unit_0": np.arange(rows) % units,
            "__null_0": np.zeros(rows, np.int8),
        }
    )
    seen = Cells(
        pa.table({"k": pa.array([0], pa.int32())}), [np.array([rows])], [Unit("t", LEAST, "int64")],
        [Facet("all")], HASHING,
    )  # fmt: skip
    seen.read(lambda: [batch])
    assert seen.few().tolist() == [units < LEAST]
    assert len(seen.small(0)[0]) == (units if units < LEAST else 0)


def test_who_dominates_a_product_is_found_by_the_product():
    """The largest of x * y is small in x: the second look must weigh what is folded, not its first factor."""
    x, y = np.ones(300), np.ones(300)
    y[7] = 1e6
    batch = pa.record_batch(
        {"__unit_0": np.arange(300), "__null_0": np.zeros(300, np.int8), "x": x, "y": y},
    )
    facet = Facet("n", (), ("x", "y"), (Content(("x", "y"), frozenset({"t.x"}), frozenset({"size"})),))
    seen = Cells(
        pa.table({}), [np.array([300])] * 2, [Unit("t", 10, "int64")], [Facet("all"), facet], HASHING
    )
    seen.read(lambda: [batch])
    assert seen.dominated.tolist() == [True]


@pytest.mark.parametrize("key", [0, 5])
def test_rows_that_the_query_did_not_count_are_noticed(key):
    batch = pa.record_batch(
        {
            "__key_0": pa.array([0] * 9 + [key], pa.int32()),
            "__unit_0": np.arange(10),
            "__null_0": np.zeros(10, np.int8),
        }
    )
    seen = Cells(
        pa.table({"k": pa.array([0], pa.int32())}), [np.array([9 if key == 0 else 10])],
        [Unit("t", LEAST, "int64")], [Facet("all")], HASHING,
    )  # fmt: skip
    with pytest.raises(Changed):
        seen.read(lambda: [batch])


def test_pairs_are_told_apart_while_they_are_collected():
    collected = Collected()
    rng = np.random.default_rng(0)
    rows = [(rng.integers(0, 9, 50_000), rng.integers(0, 9_000, 50_000).astype(np.uint64)) for _ in range(12)]
    for cells, units in rows:
        collected.add(cells, units)
    assert collected._waiting < 300_000
    found = set(zip(*(part.tolist() for part in collected.pairs()), strict=True))
    assert found == {
        pair for cells, units in rows for pair in zip(cells.tolist(), units.tolist(), strict=True)
    }


@settings(deadline=None)
@given(texts=st.lists(st.none() | st.text(max_size=3), max_size=20), repeat=st.sampled_from([1, 200]))
def test_texts_are_hashed_alike_with_and_without_a_dictionary(texts, repeat):
    """Many different ones are hashed one by one, few ones once each."""
    filler = [f"{i}" for i in range(2000)]
    plain = HASHING.words(pa.array(texts * repeat, pa.string()))
    among = HASHING.words(pa.array(filler + texts * repeat, pa.string()))[len(filler) :]
    for text, one, other in zip(texts * repeat, plain, among, strict=True):
        assert text is None or one == other
