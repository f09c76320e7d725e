"""Shares of predicates from column statistics."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.optimizer.selectivity import all_of, selectivity
from blossom.optimizer.statistics import ColumnStatistics, number, of_expression
from blossom.plan.expressions import Call, Column, Expression, Literal

A, B, DAY = Column("a", "int64"), Column("b", "int64"), Column("day", "date")
KNOWN = {
    "a": ColumnStatistics(100.0, 0.0, 100.0),
    "b": ColumnStatistics(1000.0, 0.0, 1000.0, nulls=0.5),
    "day": ColumnStatistics(3650.0, number(datetime.date(2010, 1, 1)), number(datetime.date(2020, 1, 1))),
}


def of(column: Column) -> ColumnStatistics | None:
    return KNOWN.get(column.name)


def op(name: str, *args: Expression) -> Call:
    return Call(name, args, "boolean")


def of_int(value: int) -> Literal:
    return Literal(value, "int64")


@pytest.mark.parametrize(
    ("predicate", "share"),
    [
        (op("Equals", A, of_int(7)), 1 / 100),
        (op("Equals", of_int(7), A), 1 / 100),
        (op("NotEquals", A, of_int(7)), 99 / 100),
        (op("Equals", B, of_int(7)), 0.5 / 1000),
        (op("Equals", A, B), 0.5 / 1000),
        (op("Equals", Column("other", "int64"), of_int(7)), 1 / 10),
        (Call("InValues", (A, (of_int(1), of_int(2), of_int(3))), "boolean"), 3 / 100),
        (op("Less", A, of_int(25)), 0.25),
        (op("Greater", of_int(25), A), 0.25),
        (op("GreaterEqual", A, of_int(75)), 0.25),
        (op("Less", A, of_int(-5)), 1e-6),
        (op("Less", A, of_int(5000)), 1.0),
        (op("Between", A, of_int(10), of_int(30)), 0.2),
        (op("IsNull", B), 0.5),
        (op("NotNull", B), 0.5),
        (op("Less", DAY, Literal(datetime.date(2011, 1, 1), "date")), 0.1),
        (op("Less", op("Abs", A), of_int(25)), 1 / 3),
    ],
)
def test_shares(predicate: Call, share: float) -> None:
    assert selectivity(predicate, of) == pytest.approx(share, rel=1e-2)


def test_bounds_of_one_column_are_taken_together() -> None:
    within = (op("GreaterEqual", A, of_int(40)), op("Less", A, of_int(50)))
    assert all_of(within, of) == pytest.approx(0.1)
    assert all_of((op("And", *within), op("Less", B, of_int(100))), of) == pytest.approx(0.1 * 0.05)
    never = (op("Less", A, of_int(10)), op("Greater", A, of_int(90)))
    assert all_of(never, of) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("value", "distinct"),
    [
        (Call("ExtractMonth", (Column("unknown", "date"),), "int32"), 12.0),
        (Call("ExtractYear", (DAY,), "int32"), 10.0),
        (Call("Add", (A, B), "int64"), 100_000.0),
        (Call("Cast", (A,), "float64"), 100.0),
        (of_int(3), 1.0),
    ],
)
def test_values_made_of_columns(value: Expression, distinct: float) -> None:
    found = of_expression(value, of)
    assert found is not None
    assert found.distinct == distinct


numbers = st.none() | st.floats(-1e12, 1e12)


@given(
    st.builds(ColumnStatistics, st.none() | st.floats(0, 1e12), numbers, numbers, st.floats(0, 1)),
    st.sampled_from(["Equals", "NotEquals", "Less", "LessEqual", "Greater", "GreaterEqual"]),
    st.integers(-(10**12), 10**12),
)
def test_whatever_statistics_say_a_share_is_a_share(
    statistics: ColumnStatistics, name: str, value: int
) -> None:
    share = selectivity(op(name, A, of_int(value)), lambda _: statistics)
    assert 0 <= share <= 1
