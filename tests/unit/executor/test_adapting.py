"""Which outputs are held, who waits for them, and which sizes are a surprise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.executor.adapting import HELD_BYTES, gates, held, surprising
from blossom.optimizer.cardinality import Rows
from blossom.optimizer.physical import Estimate, Fragment, Location
from blossom.plan.expressions import Literal
from blossom.plan.relations import Constant

NODE = Constant((("a", Literal(1, "int64")),))


def fragment(
    key: str, place: str, *inputs: str, seconds: float = 0.001, size: float = 100.0, high: float = 50.0
) -> Fragment:
    platform, site = place.split("@")
    estimate = Estimate(seconds, 10.0, size, 0.0, high)
    return Fragment(key, Location(site, platform), NODE, inputs, (), estimate, computes=NODE)


CHAIN = [
    fragment("f0", "duckdb@north"),
    fragment("f1", "polars@south", "f0"),
    fragment("f2", "duckdb@hub", "f1"),
]


def test_what_more_than_the_hub_reads_is_held() -> None:
    assert held(CHAIN, 1.0) == {"f0"}
    merged = [fragment("f0", "a@north"), fragment("f1", "a@south"), fragment("f2", "duckdb@hub", "f0", "f1")]
    assert held(merged, 1.0) == frozenset()  # nothing is left to decide


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"size": HELD_BYTES + 1.0}, {}),  # too large
        ({"high": math.inf}, {}),  # no size could be a surprise
        ({"seconds": 1.0}, {"seconds": 1.0}),  # both are long: they shall run side by side
    ],
)
def test_what_is_streamed(first: dict[str, float], last: dict[str, float]) -> None:
    chain = [fragment("f0", "duckdb@north", **first), fragment("f1", "polars@south", "f0", **last), CHAIN[2]]
    assert held(chain, 2.0) == frozenset()


def test_a_long_fragment_may_be_waited_for_by_a_short_one() -> None:
    chain = [fragment("f0", "duckdb@north", seconds=9.0), CHAIN[1], CHAIN[2]]
    assert held(chain, 9.0) == {"f0"}


def test_a_stream_that_stays_starts_with_its_reader() -> None:
    plan = [
        fragment("f0", "duckdb@north"),
        fragment("f1", "lite@south"),
        fragment("f2", "polars@south", "f0", "f1"),
        fragment("f3", "duckdb@hub", "f2"),
    ]
    found = gates(plan, frozenset({"f0"}), frozenset({"f1"}))
    assert found == {"f0": frozenset(), "f1": {"f0"}, "f2": {"f0"}, "f3": frozenset()}


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1))
def test_no_size_inside_the_interval_is_a_surprise(one: float, other: float, share: float) -> None:
    low, high = sorted((one, other))
    rows = Rows.exactly(low + (high - low) * share)
    assert not surprising(rows, Estimate(1.0, low, low, low, high))


@given(st.integers(0, 1_000_000))
def test_ten_thousand_times_as_many_are_a_surprise(expected: int) -> None:
    estimate = Estimate(1.0, expected, expected, expected, expected)
    assert surprising(Rows.exactly(10_000.0 * max(expected, 1)), estimate)
    if expected > 2_000:
        assert surprising(Rows.exactly(expected / 10_000), estimate)
