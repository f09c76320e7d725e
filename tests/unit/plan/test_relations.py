"""Nodes over other inputs, and the keys by which their own work is recognised."""

from __future__ import annotations

from blossom.plan.expressions import Call, Column, Literal, Subquery
from blossom.plan.relations import Filter, Join, Link, Project, Relation, Scan, identity
from blossom.plan.schema import Schema
from blossom.plan.work import work_key

NARROW = Scan("t", Schema([("a", "int64")]), "north")
WIDE = Scan("u", Schema([("a", "int64"), ("b", "string")]), "south")


def above(relation: Relation, least: int = 18) -> Filter:
    over = Call("Greater", (Column("a", "int64"), Literal(least, "int8")), "boolean")
    return Filter(relation, (over,))


def test_a_filter_over_another_input_has_its_columns() -> None:
    node = above(NARROW)
    assert node.schema.names == ("a",)
    assert node.with_inputs((WIDE,)).schema.names == ("a", "b")
    assert node.schema.names == ("a",)


def test_a_projection_keeps_its_columns() -> None:
    node = Project(NARROW, identity(NARROW))
    schema = node.schema
    assert node.with_inputs((WIDE,)).schema is schema
    assert node.with_inputs((WIDE,)).input is WIDE


def test_a_join_over_other_tables_is_a_join_of_them() -> None:
    node = Join((NARROW, NARROW), (Link("cross", ()),), (("a", Column("a", "int64", 1)),))
    other = node.with_inputs((NARROW, WIDE))
    assert other.tables == (NARROW, WIDE)
    assert other.links is node.links
    assert other.schema == node.schema


def test_equal_work_has_one_key() -> None:
    first, second = above(NARROW), above(Scan("elsewhere", NARROW.columns, "south"))
    assert work_key(first) is work_key(second)
    assert work_key(first) is work_key(first)
    assert work_key(above(WIDE)) != work_key(first)  # other columns come in
    assert work_key(above(NARROW, 19)) != work_key(first)
    assert work_key(Project(NARROW, ())) != work_key(Filter(NARROW, ()))


def test_subqueries_are_told_apart_by_their_plans() -> None:
    def exists(plan: Relation) -> Filter:
        return Filter(NARROW, (Subquery("exists", plan, "boolean"),))

    inner = above(WIDE)
    assert work_key(exists(inner)) == work_key(exists(inner))
    assert work_key(exists(inner)) != work_key(exists(above(WIDE)))


def test_operations_are_those_of_the_node_and_its_subqueries() -> None:
    node = Filter(above(NARROW), (Call("Not", (Subquery("exists", above(WIDE), "boolean"),), "boolean"),))
    assert node.operations == {"Not", "Greater"}
    assert node.holds_subquery
    assert not above(NARROW).holds_subquery
    assert node.with_inputs((WIDE,)).operations == {"Not", "Greater"}
