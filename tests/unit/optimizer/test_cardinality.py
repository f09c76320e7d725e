"""Sizes: textbook selectivities, intervals that hold the expectation, remembered truths."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.optimizer.cardinality import UNKNOWN_ROWS, Rows, Sizes, width
from blossom.optimizer.selectivity import selectivity
from blossom.plan.expressions import Call, Column, Expression, Literal, Subquery
from blossom.plan.relations import (
    Aggregate,
    Distinct,
    Filter,
    Function,
    Join,
    Limit,
    Link,
    MapBatches,
    Parts,
    Project,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Sort,
    SortKey,
    identity,
)
from blossom.plan.schema import Schema

COLUMNS = Schema([("a", "int64"), ("b", "float32"), ("s", "string"), ("flag", "boolean"), ("d", "date")])
A = Column("a", "int64")
ONE = Literal(1, "int8")
ROWS = {"small": 100, "large": 1_000_000}


def scan(table: str) -> Scan:
    return Scan(table, COLUMNS, "north")


def size(relation: Relation, **kwargs):
    return Sizes(lambda _site, table: ROWS.get(table), **kwargs).of(relation)


def op(name: str, *args) -> Call:
    return Call(name, args, "boolean")


def link(how: str, *more: Expression) -> Join:
    on = op("Equals", Column("a", "int64", 0), Column("a", "int64", 1))
    return Join((scan("large"), scan("small")), (Link(how, (on, *more)),), (("a", Column("a", "int64", 0)),))


def test_width_follows_the_types() -> None:
    assert width(COLUMNS) == 8 + 4 + 24 + 0.125 + 4
    assert width(Schema([("t", "timestamp"), ("m", "decimal(15, 2)"), ("l", "array<int64>")])) == 8 + 16 + 64


@pytest.mark.parametrize(
    ("predicate", "share"),
    [
        (op("Equals", A, ONE), 0.1),
        (op("Not", op("Equals", A, ONE)), 0.9),
        (op("And", op("Equals", A, ONE), op("Less", A, ONE)), 0.1 / 3),
        (op("Or", op("Equals", A, ONE), op("Equals", A, ONE)), 0.19),
        (op("InValues", A, (ONE, ONE, ONE)), 0.3),
        (op("InValues", A, (ONE,) * 40), 0.5),
        (op("Between", A, ONE, ONE), 0.25),
        (Literal(True, "boolean"), 1.0),
        (Literal(False, "boolean"), 0.0),
        (Column("flag", "boolean"), 0.5),
        (Subquery("exists", scan("small"), "boolean"), 0.5),
        (op("SomethingElse", A), 1 / 3),
    ],
)
def test_selectivity(predicate: Expression, share: float) -> None:
    assert selectivity(predicate) == pytest.approx(share)


@pytest.mark.parametrize(
    ("relation", "rows"),
    [
        (scan("small"), 100),
        (scan("unknown"), UNKNOWN_ROWS[1]),
        (Filter(scan("large"), (op("Equals", A, ONE), op("Less", A, ONE))), 1e6 / 30),
        (Project(scan("small"), (("a", A),)), 100),
        (link("inner"), 1_000_000),  # every row of the larger side meets its key
        (link("left"), 1_000_000),
        (link("semi"), 1_000_000 * (1 - math.exp(-1))),
        (link("anti"), 1_000_000 * math.exp(-1)),
        (link("inner", op("Less", A, ONE)), 1_000_000 / 3),
        (Join((scan("small"), scan("small")), (Link("cross", ()),), (("a", A),)), 10_000),
        (Aggregate(scan("large"), (), (("n", Call("CountStar", (None,), "int64")),)), 1),
        (Aggregate(scan("large"), (("a", A),), ()), 1000),
        (Aggregate(scan("large"), (("a", A), ("s", Column("s", "string"))), ()), 10_000),
        (Limit(scan("large"), 10), 10),
        (Limit(scan("small"), 10, offset=95), 5),
        (Limit(scan("small"), None, offset=40), 60),
        (Sample(scan("large"), 0.01, "row", None), 10_000),
        (SetOperation("union", (scan("small"), scan("large")), False), 1_000_100),
        (SetOperation("intersection", (scan("small"), scan("large")), True), 50),
        (SetOperation("difference", (scan("small"), scan("large")), True), 50),
        (Parts((scan("small"), scan("large")), ("north", "south")), 1_000_100),
        (MapBatches(scan("small"), Function("f", "0"), COLUMNS), 100),
        (MapBatches(scan("small"), Function("f", "0"), COLUMNS, per="row"), 300),
    ],
)
def test_expected_rows(relation: Relation, rows: float) -> None:
    found = size(relation)
    assert found.expected == pytest.approx(rows)
    assert found.low <= found.expected <= found.high
    assert found.bytes == pytest.approx(rows * width(relation.schema))


def test_remembered_sizes_win_and_reach_what_lies_above() -> None:
    inner = Filter(scan("large"), (op("Equals", A, ONE),))
    found = size(
        Limit(inner, None),
        remembered={"x": Rows.exactly(7)},
        fingerprint=lambda node: "x" if node is inner else "",
    )
    assert (found.low, found.expected, found.high) == (7, 7, 7)


relations = st.recursive(
    st.sampled_from(["small", "large", "unknown"]).map(scan),
    lambda below: st.one_of(
        below.map(lambda r: Filter(r, (op("Equals", A, ONE),))),
        below.map(Distinct),
        below.map(lambda r: Sort(r, (SortKey(A),))),
        st.tuples(below, st.none() | st.integers(0, 50), st.integers(0, 50)).map(lambda t: Limit(*t)),
        st.tuples(below, below, st.sampled_from(["union", "intersection", "difference"]), st.booleans()).map(
            lambda t: SetOperation(t[2], (t[0], t[1]), t[3])
        ),
        st.tuples(
            below,
            below,
            st.sampled_from(["inner", "left", "right", "outer", "semi", "anti", "cross", "positional"]),
        ).map(
            lambda t: Join(
                (t[0], t[1]), (Link(t[2], (op("Equals", A, Column("a", "int64", 1)),)),), identity(t[0])
            )
        ),
    ),
    max_leaves=8,
)


@given(relations)
def test_intervals_always_hold_the_expectation(relation: Relation) -> None:
    found = size(relation)
    assert 0 <= found.low <= found.expected <= found.high
    assert found.expected < float("inf")
