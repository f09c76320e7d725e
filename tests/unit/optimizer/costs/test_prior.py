"""The prior's facts, the terms that costs are counted in, and the arrays that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from blossom.optimizer.cardinality import Cardinality
from blossom.optimizer.costs import Prior, Work, Workload
from blossom.optimizer.costs.prior import PLATFORMS, hops, units
from blossom.optimizer.costs.terms import NUMBER, READS, ROWS, TERMS, WORK, WRITES, amounts
from blossom.optimizer.physical import Location
from blossom.plan.errors import ConfigError
from blossom.plan.expressions import Call, Column
from blossom.plan.relations import Filter, Join, Limit, Link, Project, Relation, Scan
from blossom.plan.schema import Schema

SCAN = Scan("t", Schema([("a", "int64")]), "north")
BIG = Cardinality.known(1e6, 8)
SMALL = Cardinality.known(10, 8)
A = Column("a", "int64")

UNPLACED = {"_Unary", "Received", "Train", "State", "Repeat"}
"""What has no work of its own when places are chosen."""


def concrete(kind: type[Relation]) -> list[type[Relation]]:
    return [
        one
        for sub in kind.__subclasses__()
        for one in ([sub] if sub.__module__ == Relation.__module__ else []) + concrete(sub)
    ]


def seconds(kind: str, node: Relation, below: list[Cardinality], own: Cardinality) -> float:
    return float(amounts([Work(node, below, own)])[0] @ units(kind))


def test_every_node_that_is_placed_has_a_kind_of_work() -> None:
    assert {one.__name__ for one in WORK} == {one.__name__ for one in concrete(Relation)} - UNPLACED


def test_every_platform_has_every_kind_of_work_and_nothing_is_free() -> None:
    for kind, facts in PLATFORMS.items():
        assert set(facts.rows) == set(ROWS)
        assert (units(kind) > 0).all()
        assert units(kind).shape == (len(TERMS),)


def test_work_is_counted_by_rows_read_and_given() -> None:
    keep = Filter(SCAN, (Column("a", "boolean"),))
    assert seconds("duckdb", keep, [BIG], SMALL) == pytest.approx(1e6 / 80e6)
    assert seconds("duckdb", Limit(SCAN, 1), [BIG], SMALL) == pytest.approx(1e6 / 200e6)
    window = Project(SCAN, (("r", Call("WindowFunction", (), "int64")),))
    plain = Project(SCAN, (("r", A),))
    assert seconds("duckdb", window, [BIG], BIG) > 10 * seconds("duckdb", plain, [BIG], BIG)


@pytest.mark.parametrize(
    ("how", "equal", "term"), [("inner", True, None), ("semi", True, "lookup"), ("inner", False, "compare")]
)
def test_pairs_are_counted_where_an_engine_may_have_to_compare_them(
    how: str, equal: bool, term: str | None
) -> None:
    meet = Call("Equals" if equal else "Less", (A, Column("a", "int64", 1)), "boolean")
    join = Join((SCAN, SCAN), (Link(how, (meet,)),), (("a", A),))
    counted = amounts([Work(join, [BIG, SMALL], SMALL)])[0]
    for each in ("compare", "lookup"):
        assert counted[NUMBER[each]] == (1e7 if each == term else 0)
    if term == "lookup":
        slow, fast = (seconds(kind, join, [BIG, SMALL], SMALL) for kind in ("sqlite", "duckdb"))
        assert slow > 1 > fast


def test_a_move_of_four_columns_costs_what_the_facts_say() -> None:
    million = np.array([32e6, 1e6, 4e6])
    assert million @ units("duckdb")[READS] == pytest.approx(32e6 / 1000e6)
    assert million @ units("sqlite")[WRITES] == pytest.approx(32e6 / 8e6)


def test_unknown_kinds_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'duckdb'"):
        units("duckbd")


def test_what_goes_from_site_to_site_goes_through_the_hub() -> None:
    assert hops("north", "hub") == (("north", "hub"),)
    assert hops("north", "north") == (("north", "north"),)
    assert hops("north", "south") == (("north", "hub"), ("hub", "south"))


def test_moves_are_free_at_home_cheap_at_a_site_and_dear_between_sites() -> None:
    places = (
        Location("hub", "duckdb"),
        Location("north", "duckdb"),
        Location("north", "polars"),
        Location("south", "pg"),
    )
    work = [Work(SCAN, [], BIG), Work(Limit(SCAN, 5), [BIG], SMALL)]
    priced = Prior().price(
        Workload(work, [0], [1], places, ("duckdb", "duckdb", "polars", "postgresql"), "hub")
    )
    latency, per_byte = priced.latency, priced.per_byte
    assert (np.diag(latency) == 0).all()
    assert (np.diag(per_byte) == 0).all()
    assert latency[1, 2] < latency[1, 0] < latency[1, 3]
    assert per_byte[1, 2] < per_byte[1, 0] < per_byte[1, 3]
    assert priced.delivery[0] < priced.delivery[1]
    stays, goes = np.array([1, 1]), np.array([1, 0])
    assert priced.total(goes) > priced.total(stays) > 0
