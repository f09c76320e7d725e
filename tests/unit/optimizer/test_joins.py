"""How many rows joins and groups give where keys are known, and where only the tables' sizes are."""

from __future__ import annotations

import pytest

from blossom.optimizer.cardinality import Sizes
from blossom.optimizer.statistics import ColumnStatistics
from blossom.plan.expressions import Call, Column, Literal
from blossom.plan.relations import Aggregate, Filter, Join, Link, Parts, Project, Relation, Scan
from blossom.plan.schema import Schema

ROWS = {"customer": 1_000, "orders": 10_000, "visits": 100_000}
DISTINCT = {
    ("customer", "id"): 1_000.0, ("orders", "id"): 700.0, ("visits", "id"): 1_000.0,
    ("customer", "group"): 5.0, ("orders", "group"): 50.0, ("visits", "group"): 50.0,
}  # fmt: skip
COLUMNS = Schema([("id", "int64"), ("group", "int64")])
FEW = Call("Equals", (Column("group", "int64"), Literal(1, "int64")), "boolean")


def scan(table: str, site: str = "north") -> Scan:
    return Scan(table, COLUMNS, site)


def join(left: Relation, right: Relation, *keys: str, how: str = "inner") -> Join:
    on = tuple(Call("Equals", (Column(k, "int64"), Column(k, "int64", 1)), "boolean") for k in keys)
    return Join((left, right), (Link(how, on),), tuple((k, Column(k, "int64")) for k in COLUMNS))


def statistics(site: str, table: str, column: str) -> ColumnStatistics | None:
    return ColumnStatistics(DISTINCT[table, column])


def expected(plan: Relation, *, known: bool = True) -> float:
    return Sizes(lambda _, table: ROWS[table], statistics=statistics if known else None).of(plan).expected


@pytest.mark.parametrize("known", [True, False])
def test_a_foreign_key_join_gives_a_row_for_each_foreign_key(known: bool) -> None:
    assert expected(join(scan("customer"), scan("orders"), "id"), known=known) == 10_000
    assert expected(join(scan("orders"), scan("customer"), "id"), known=known) == 10_000


@pytest.mark.parametrize(("known", "share"), [(True, 1 / 5), (False, 1 / 10)])
def test_a_filtered_key_side_keeps_its_share_of_the_other(known: bool, share: float) -> None:
    few = Filter(scan("customer"), (FEW,))
    assert expected(join(few, scan("orders"), "id"), known=known) == pytest.approx(10_000 * share)


def test_joins_of_many_with_many() -> None:
    assert expected(join(scan("orders"), scan("visits"), "group")) == 10_000 * 100_000 / 50


def test_several_keys_are_no_more_than_the_rows_that_hold_them() -> None:
    assert expected(join(scan("customer"), scan("visits"), "id", "group")) == 1_000 * 100_000 / 50_000
    assert expected(join(scan("customer"), scan("customer"), "id", "group")) == 1_000


def test_a_semi_join_keeps_those_that_are_found() -> None:
    found = expected(join(scan("customer"), scan("orders"), "id", how="semi"))
    assert found == pytest.approx(700, rel=0.01)
    assert expected(join(scan("customer"), scan("orders"), "id", how="anti")) == pytest.approx(300, rel=0.01)


def test_columns_are_followed_through_the_plan() -> None:
    renamed = Project(
        Filter(scan("orders"), (FEW,)), (("k", Column("id", "int64")), ("id", Column("group", "int64")))
    )
    groups = Aggregate(renamed, (("k", Column("k", "int64")),), ())
    assert expected(groups) == pytest.approx(700 * (1 - 2.718281828 ** (-200 / 700)), rel=1e-3)
    assert expected(Aggregate(scan("visits"), (("group", Column("group", "int64")),), ())) == 50


def test_parts_of_a_table_share_few_values_and_split_many() -> None:
    parts = Parts((scan("orders", "north"), scan("orders", "south")), ("north", "south"))
    assert expected(Aggregate(parts, (("group", Column("group", "int64")),), ())) == 50
    assert expected(Aggregate(parts, (("id", Column("id", "int64")),), ())) == pytest.approx(1400, rel=0.01)
