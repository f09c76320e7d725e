"""Formulas of columns: equal for equal ones over equally named columns, whatever the rows."""

from __future__ import annotations

import pytest

from blossom.plan.expressions import Call, Column, Literal
from blossom.plan.origins import NO_ORIGINS, Origins, origins
from blossom.plan.relations import Aggregate, Filter, Join, Link, Project, Received, Relation, Scan
from blossom.plan.schema import Schema

T = Scan("t", Schema([("a", "int64"), ("b", "int64"), ("k", "int64")]))
U = Scan("u", Schema([("a", "int64"), ("c", "int64"), ("k", "int64")]))


def called(op: str, *args: object, dtype: str = "int64") -> Call:
    return Call(op, args, dtype)  # type: ignore[arg-type]


def of(root: Relation, *names: str, received: dict[str, Origins] | None = None) -> dict[str, str] | None:
    return origins(root, lambda table, column: column, received or {}).of(names)


def test_a_filter_and_another_table_change_no_formula() -> None:
    some = Filter(T, (called("Greater", T.column("b"), Literal(3, "int8"), dtype="boolean"),))
    assert of(some, "a", "k") == of(T, "a", "k") == of(U, "a", "k")


@pytest.mark.parametrize(
    "value",
    [
        T.column("b"),
        Literal(5, "int8"),
        called("Multiply", T.column("a"), Literal(2, "int8")),
        called("Add", T.column("a"), T.column("b")),
    ],
)
def test_another_value_under_the_name_is_another_formula(value: Column | Literal | Call) -> None:
    assert of(Project(T, (("a", value),)), "a") != of(T, "a")


def test_equal_formulas_are_equal_after_other_steps() -> None:
    double = called("Multiply", T.column("a"), Literal(2, "int8"))
    direct = Project(T, (("x", double),))
    renamed = Project(T, (("other", T.column("a")),))
    later = Project(renamed, (("x", called("Multiply", renamed.column("other"), Literal(2, "int8"))),))
    assert of(direct, "x") == of(later, "x")
    tripled = Project(T, (("x", called("Multiply", T.column("a"), Literal(3, "int8"))),))
    assert of(tripled, "x") != of(direct, "x")


def test_what_depends_on_other_rows_has_no_formula() -> None:
    mean = called("Mean", T.column("a"), dtype="float64")
    assert of(Aggregate(T, (("k", T.column("k")),), (("m", mean),)), "m") is None
    assert of(Project(T, (("x", called("RandomScalar", dtype="float64")),)), "x") is None
    assert of(Received("f0", Schema([("a", "int64")])), "a") is None


def joined(predicate: Call) -> Join:
    return Join((T, U), (Link("inner", (predicate,)),), (("a", T.column("a")), ("c", U.column("c", 1))))


def test_how_tables_are_joined_counts_for_columns_of_several() -> None:
    same = joined(called("Equals", T.column("k"), U.column("k", 1), dtype="boolean"))
    turned = joined(called("Equals", U.column("k", 1), T.column("k"), dtype="boolean"))
    other = joined(called("Equals", T.column("a"), U.column("k", 1), dtype="boolean"))
    assert of(same, "a", "c") == of(turned, "a", "c")
    assert of(same, "a", "c") != of(other, "a", "c")
    assert of(same, "a") == of(other, "a") == of(T, "a")  # values of one row stay together


def test_a_table_joined_with_itself_is_two() -> None:
    def paired(key: str) -> Join:
        on = called("Equals", T.column("k"), T.column(key, 1), dtype="boolean")
        return Join((T, T), (Link("inner", (on,)),), (("a", T.column("a")), ("x", T.column("b", 1))))

    assert of(paired("k"), "a", "x") != of(paired("a"), "a", "x")


def test_what_was_received_goes_on() -> None:
    leaf = Received("f0", Schema([("a", "int64")]))
    known = origins(T, lambda table, column: column, {})
    assert of(leaf, "a", received={"f0": known}) == of(T, "a")
    unknown = Join(
        (T, leaf),
        (Link("inner", (called("Equals", T.column("k"), leaf.column("a", 1), dtype="boolean"),)),),
        (("a", T.column("a")), ("x", leaf.column("a", 1))),
    )
    assert of(unknown, "a") == of(T, "a")
    assert of(unknown, "a", "x", received={"f0": NO_ORIGINS}) is None


def test_a_column_whose_values_a_user_chose_has_none() -> None:
    assert origins(T, lambda table, column: None, {}).of(["a"]) is None
