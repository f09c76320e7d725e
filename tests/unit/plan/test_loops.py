"""Loops in plans: states bound, one turn unrolled, what no turn changes taken out."""

from __future__ import annotations

from typing import Any

import ibis
from hypothesis import given
from hypothesis import strategies as st
from ibis import _

from blossom.plan import from_ibis
from blossom.plan import operators as own
from blossom.plan.everywhere import scans
from blossom.plan.loops import bound, depends, loops, one_turn, without_invariants
from blossom.plan.relations import Relation, Repeat, Scan, State
from blossom.plan.text import plan_text

T = ibis.table({"a": "int64", "b": "int64"}, name="t")
U = ibis.table({"a": "int64", "c": "int64"}, name="u")
KEYS = frozenset({"state 0"})


def state(key: str = "state 0") -> Any:
    return own.State(key, schema=T.schema(), source=None).to_expr()


def repeat(body: Any, key: str = "state 0", first: Any = T, times: int = 3) -> Any:
    return own.Repeat(first, body, None, times, key, T.schema()).to_expr()


def lowered(expr: Any) -> Relation:
    return from_ibis.relation(expr.op())


def states(plan: Relation) -> set[str]:
    return {node.key for node in plan.walk() if isinstance(node, State)}


def test_one_turn_is_the_body_over_the_first_state() -> None:
    plan = one_turn(lowered(repeat(state().mutate(a=_.a + 1)).filter(_.a > 3)))
    assert plan_text(plan).splitlines() == ["Filter a > 3", "  Project a=a + 1, b", "    Scan */t (a, b)"]


def test_one_turn_of_a_loop_in_a_loop() -> None:
    inner = repeat(state("state 1").mutate(a=_.a * 2), "state 1", first=state())
    plan = one_turn(lowered(repeat(inner.mutate(b=_.a))))
    assert plan_text(plan).splitlines() == [
        "Project a, b=a",
        "  Project a=a * 2, b",
        "    Scan */t (a, b)",
    ]


def test_an_inner_loops_own_state_is_its_own() -> None:
    inner = repeat(
        state().filter(_.a > 1), first=state()
    )  # of the same key: built on its own, then used in another
    outer = lowered(inner)
    assert isinstance(outer, Repeat)
    done = bound(outer, {"state 0": Scan("x", outer.schema)})
    assert isinstance(done, Repeat)
    assert isinstance(done.input, Scan)
    assert states(done.body) == {"state 0"}
    assert depends(outer, KEYS)
    assert not depends(done, KEYS)


def test_states_in_subqueries_are_bound() -> None:
    plan = lowered(T.filter(_.a > state().a.max().as_scalar()))
    assert depends(plan, KEYS)
    done = bound(plan, {"state 0": Scan("x", T.op().schema)})
    assert not depends(done, KEYS)
    assert {scan.table for scan in scans(done)} == {"t", "x"}


def test_loops_are_found_wherever_they_are() -> None:
    inner = repeat(state("state 1"), "state 1", first=state())
    expr = T.filter(_.a > repeat(inner).a.max().as_scalar())
    assert [loop.key for loop in loops(lowered(expr))] == ["state 1", "state 0"]


def test_what_no_turn_changes_is_taken_out_at_its_largest() -> None:
    degrees = U.group_by("a").agg(n=_.count())
    weighted = U.filter(_.c > 0).join(degrees, "a").select("a", w=_.c / _.n)
    body = lowered(state().join(weighted, "a").select("a", b=(_.b * _.w).cast("int64")))
    rest, parts = without_invariants(body, KEYS, "shared")
    assert list(parts) == ["shared 0"]
    assert {type(node).__name__ for node in parts["shared 0"].walk()} >= {"Join", "Aggregate", "Filter"}
    assert states(rest) == {"state 0", "shared 0"}
    assert scans(rest) == []


def test_a_table_as_it_is_stays_in_the_body() -> None:
    body = lowered(state().join(U.filter(_.c > 0), "a").select("a", b=_.c))
    rest, parts = without_invariants(body, KEYS, "shared")
    assert rest is body
    assert parts == {}


def test_a_shared_part_is_taken_once() -> None:
    counted = U.group_by("a").agg(n=_.count())
    body = lowered(state().join(counted, "a").join(counted.view(), "a").select("a", b=_.n))
    _rest, parts = without_invariants(body, KEYS, "shared")
    assert len(parts) == 1


def test_a_body_without_the_state_is_one_part() -> None:
    rest, parts = without_invariants(lowered(T.distinct()), KEYS, "shared")
    assert isinstance(rest, State)
    assert rest.key in parts


@given(st.lists(st.sampled_from(["state", "table", "both"]), min_size=1, max_size=6))
def test_parts_put_back_give_the_body(kinds: list[str]) -> None:
    """Whatever is taken out depends on no state, and binding it again gives the plan there was."""
    expr = state()
    for number, kind in enumerate(kinds):
        other = {
            "state": state().filter(_.a > number),
            "table": T.filter(_.b > number).distinct(),
            "both": T.join(state(), "a").select("a", "b"),
        }[kind]
        expr = expr.union(other)
    body = lowered(expr)
    rest, parts = without_invariants(body, KEYS, "shared")
    assert all(not depends(part, KEYS) for part in parts.values())
    assert plan_text(bound(rest, parts)) == plan_text(body)
