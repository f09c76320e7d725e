"""Operators placed by hand: a pipeline runs where its pins say, and says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blossom as bl
from blossom.optimizer.pins import Operator
from blossom.plan.errors import PlanError
from blossom.plan.relations import Aggregate, Scan


@pytest.fixture
def fed(tmp_path: Path) -> Iterator[Any]:
    for name in ("a", "b"):
        pq.write_table(pa.table({"k": range(100), name: range(100)}), tmp_path / f"{name}.parquet")
    tables = {
        name: {"platform": engine, "source": str(tmp_path / f"{name}.parquet"), "policy": {"release": "rows"}}
        for name, engine in {"a": "duckdb", "b": "polars"}.items()
    }
    platforms = {"duckdb": {"kind": "duckdb", "threads": 1}, "polars": {"kind": "polars"}}
    with bl.connect({"sites": {"one": {"platforms": platforms, "tables": tables}}}) as session:
        yield session


def pipeline(fed: Any) -> Any:
    joined = fed.table("a").join(fed.table("b"), "k")
    return joined.group_by(g=joined.k % 7).agg(total=joined.b.sum())


def operators(fed: Any) -> tuple[Operator, ...]:
    listed: tuple[Operator, ...] = fed.explain(pipeline(fed)).plan.operators()
    return listed


def top(fed: Any) -> int:
    return next(one.number for one in reversed(operators(fed)) if isinstance(one.relation, Aggregate))


@pytest.mark.parametrize("place", ["duckdb@one", "polars@one", "duckdb@hub"])
def test_every_operator_runs_where_it_is_pinned(fed: Any, place: str) -> None:
    pins = {one.number: place for one in operators(fed) if not isinstance(one.relation, Scan)}
    run = fed.run(pipeline(fed), pins=pins)
    planned = run.explain().plan
    assert {str(one.location) for one in planned.operators() if one.number in pins} == {place}
    assert planned.result.location == next(one for one in operators(fed)[-1].able if str(one) == place)
    assert run.result.sort_by("g").equals(fed.run(pipeline(fed)).result.sort_by("g"))


def test_one_pin_moves_one_operator(fed: Any) -> None:
    aggregated = top(fed)
    for place in ("duckdb@one", "polars@one"):
        planned = fed.explain(pipeline(fed), pins={aggregated: place}).plan
        assert str(planned.operators()[aggregated].location) == place
        assert [str(at) for at in planned.pins.values()] == [place]


def test_a_pin_that_cannot_be_obeyed_says_why(fed: Any) -> None:
    scan = next(one for one in operators(fed) if isinstance(one.relation, Scan) and one.relation.table == "a")
    with pytest.raises(PlanError, match="lives on duckdb@one"):
        fed.explain(pipeline(fed), pins={scan.number: "polars@one"})
    with pytest.raises(PlanError, match="has no operator 99"):
        fed.explain(pipeline(fed), pins={99: "polars@one"})
    with pytest.raises(PlanError, match="did you mean polars@one"):
        fed.explain(pipeline(fed), pins={top(fed): "polar@one"})
    with pytest.raises(PlanError, match="is no place"):
        fed.explain(pipeline(fed), pins={top(fed): "polars"})


def test_pins_and_policies_that_leave_no_plan(tmp_path: Path) -> None:
    """What a pin asks for and a policy forbids is refused; without the pin there is a plan."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"k": range(100), "unit": range(100)}), path)
    policy = {"release": "aggregates", "min_group": 10, "privacy_unit": "unit"}
    with bl.connect({"sites": {"one": {"tables": {"t": {"source": str(path), "policy": policy}}}}}) as fed:
        count = fed.table("t").count().as_table()
        listed = fed.explain(count).plan.operators()
        first = next(one.number for one in listed if isinstance(one.relation, Aggregate))
        with pytest.raises(PlanError, match="no plan obeys the pins"):
            fed.explain(count, pins={first: "duckdb@hub"})


def test_loops_take_no_pins(fed: Any) -> None:
    start = fed.from_arrow({"a": [1]})
    with pytest.raises(PlanError, match="without loops"):
        fed.run(bl.repeat(start, lambda t: t.mutate(a=t.a * 2), times=2), pins={0: "duckdb@hub"})
