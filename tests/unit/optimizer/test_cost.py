"""The prior's facts and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest

from blossom.optimizer import cost
from blossom.optimizer.cardinality import Cardinality
from blossom.optimizer.physical import Location
from blossom.plan.errors import ConfigError
from blossom.plan.expressions import Call, Column
from blossom.plan.relations import Filter, Limit, Project, Relation, Scan, Train
from blossom.plan.schema import Schema

SCAN = Scan("t", Schema([("a", "int64")]), "north")
BIG = Cardinality.known(1e6, 8)
SMALL = Cardinality.known(10, 8)


def concrete(kind: type[Relation]) -> list[type[Relation]]:
    return [
        one
        for sub in kind.__subclasses__()
        for one in ([sub] if sub.__module__ == Relation.__module__ else []) + concrete(sub)
    ]


def test_every_node_that_is_placed_has_a_kind_of_work() -> None:
    known = {one.__name__ for one in concrete(Relation)} - {"_Unary", "Received", "Train"}
    assert {one.__name__ for one in cost.WORK} == known
    assert Train not in cost.WORK


def test_every_platform_has_every_kind_of_work() -> None:
    kinds = {*cost.WORK.values(), "window"}
    for facts in cost.PLATFORMS.values():
        assert set(facts.rows) == kinds


def test_work_is_counted_by_rows_read_and_given() -> None:
    keep = Filter(SCAN, (Column("a", "boolean"),))
    assert cost.operator_seconds("duckdb", keep, [BIG], SMALL) == pytest.approx(1e6 / 80e6)
    assert cost.operator_seconds("duckdb", Limit(SCAN, 1), [BIG], SMALL) == pytest.approx(1e6 / 200e6)
    window = Project(SCAN, (("r", Call("WindowFunction", (), "int64")),))
    plain = Project(SCAN, (("r", Column("a", "int64")),))
    assert cost.operator_seconds("duckdb", window, [BIG], BIG) > 10 * cost.operator_seconds(
        "duckdb", plain, [BIG], BIG
    )


def test_unknown_kinds_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'duckdb'"):
        cost.operator_seconds("duckbd", SCAN, [], BIG)


def test_moves_are_free_at_home_cheap_at_a_site_and_dear_between_sites() -> None:
    places = (
        Location("hub", "duckdb"),
        Location("north", "duckdb"),
        Location("north", "polars"),
        Location("south", "pg"),
    )
    latency, per_byte = (
        np.array(each) for each in cost.moves(places, ("duckdb", "duckdb", "polars", "postgresql"))
    )
    assert (np.diag(latency) == 0).all()
    assert (np.diag(per_byte) == 0).all()
    assert latency[1, 2] < latency[1, 0] < latency[1, 3]
    assert per_byte[1, 2] < per_byte[1, 0] < per_byte[1, 3]
