"""What ran already is taken where it is: never made again, never moved to where it was not given."""

from __future__ import annotations

import numpy as np
import pytest

from blossom.optimizer.budget import Budget
from blossom.optimizer.cardinality import Rows
from blossom.optimizer.finished import Finished, remaining, settled
from blossom.optimizer.nodes import flatten
from blossom.optimizer.physical import Location
from blossom.optimizer.planning import plan
from blossom.plan.errors import PlanError, PolicyError
from blossom.plan.expressions import Call, Column
from blossom.plan.relations import Join, Link, Project, Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.policy.model import TablePolicy

SCHEMA = Schema([("id", "int64"), ("v", "int64")])


class Everything:
    """A catalogue of two sites and the hub, each with two engines that can do all."""

    locations = tuple(Location(s, p) for s in ("north", "south", "hub") for p in ("duckdb", "polars"))

    def home(self, site: str, table: str) -> Location:
        return Location(site, "duckdb")

    def kind(self, location: Location) -> str:
        return location.platform

    def unsupported(self, location: Location, node: Relation) -> str | None:
        return None

    def rows(self, site: str, table: str) -> int | None:
        return {"a": 1000, "b": 1_000_000}[table]

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[()]:
        return ()

    def policy(self, site: str, table: str) -> TablePolicy:
        return TablePolicy(release="rows")


def pipeline() -> tuple[Relation, Relation]:
    """A join of a, narrowed at north, with b of south; and the narrowed part."""
    a = Scan("a", SCHEMA, "north")
    narrowed = Project(a, (("id", a.column("id")),))
    b = Scan("b", SCHEMA, "south")
    equal = Call("Equals", (Column("id", "int64", 0), Column("id", "int64", 1)), "boolean")
    columns = (("id", Column("id", "int64", 0)), ("v", Column("v", "int64", 1)))
    return Join((narrowed, b), (Link("inner", (equal,)),), columns), narrowed


def done(part: Relation, *sites: str) -> Finished:
    return Finished("f0", part, Location("north", "duckdb"), frozenset(sites), Rows.exactly(900.0))


@pytest.mark.parametrize("budget", [None, Budget(seconds=1e6)])
def test_only_what_is_left_is_planned(budget: Budget | None) -> None:
    root, narrowed = pipeline()
    found = plan(root, Everything(), finished=[done(narrowed, "south", "hub")], first=5, budget=budget)
    assert {one.key for one in found.fragments} == {f"f{i}" for i in range(5, 5 + len(found.fragments))}
    for one in found.fragments:
        assert not [n for n in one.root.walk() if isinstance(n, Scan) and n.table == "a"]
    readers = [one for one in found.fragments if "f0" in one.inputs]
    assert readers
    assert any(isinstance(node, Received) and node.key == "f0" for node in readers[0].root.walk())


@pytest.mark.parametrize("sites", [("south",), ("hub",), ("north",)])
def test_it_is_read_only_where_it_was_given(sites: tuple[str, ...]) -> None:
    root, narrowed = pipeline()
    found = plan(root, Everything(), finished=[done(narrowed, *sites)])
    assert {one.location.site for one in found.fragments if "f0" in one.inputs} == set(sites)


def test_a_platform_that_is_gone_is_not_used() -> None:
    root, narrowed = pipeline()
    gone = [one for one in Everything.locations if one.platform == "polars"] + [Location("hub", "duckdb")]
    found = plan(root, Everything(), finished=[done(narrowed, "south", "hub")], without=gone)
    assert {one.location for one in found.fragments} == {Location("south", "duckdb")}
    with pytest.raises((PlanError, PolicyError)):
        plan(root, Everything(), finished=[done(narrowed, "south")], without=[Location("south", "duckdb")])


def test_what_is_no_part_of_the_plan_is_refused() -> None:
    root, _ = pipeline()
    _, other = pipeline()
    with pytest.raises(PlanError, match="no part of the plan"):
        plan(root, Everything(), finished=[done(other, "hub")])


def test_what_lies_below_is_settled() -> None:
    root, narrowed = pipeline()
    table = flatten(root)
    numbers = {id(node.relation): node.number for node in table}
    finished = {numbers[id(narrowed)]: done(narrowed, "hub")}
    below = settled(table, finished)
    assert [table[i].relation.table for i in np.flatnonzero(below)] == ["a"]  # type: ignore[attr-defined]
    edges = [(u, node.number) for node in table for u in node.below]
    child, parent = (np.array(side) for side in zip(*edges, strict=True))
    assert len(remaining(child, parent, finished, below)) == len(edges)
