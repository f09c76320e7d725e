"""What a run tells: work apart from waiting, and one measurement for each stream of fragments."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.executor.measuring import Output, Stopwatch, measurements, true_sizes, working
from blossom.optimizer.costs.terms import NUMBER
from blossom.optimizer.physical import Estimate, Fragment, Location, PhysicalPlan
from blossom.plan.expressions import Column
from blossom.plan.relations import Limit, Project, Received, Relation, Scan
from blossom.plan.schema import Schema

COLUMNS = Schema([("a", "int64")])
DUCKDB, POLARS, HUB = Location("north", "duckdb"), Location("north", "polars"), Location("hub", "duckdb")

spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda t: (float(t[0]), float(t[0] + t[1])))
)


@given(spans, spans)
def test_work_is_producing_while_nothing_is_waited_for(
    produced: list[tuple[float, float]], waited: list[tuple[float, float]]
) -> None:
    def within(at: float, each: list[tuple[float, float]]) -> bool:
        return any(begin <= at < end for begin, end in each)

    brute = sum(within(at + 0.5, produced) and not within(at + 0.5, waited) for at in range(50))
    assert working([Stopwatch(list(produced), list(waited))]) == pytest.approx(brute)


def test_a_slow_reader_is_no_work_and_a_slow_input_is_waiting() -> None:
    def slowly() -> pa.RecordBatchReader:
        def batches():
            for _ in range(3):
                time.sleep(0.02)
                yield pa.record_batch({"a": [1]})

        return pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())

    maker = Stopwatch()
    for _ in maker.output(slowly()):
        time.sleep(0.05)  # the reader takes its time
    assert 0.05 < maker.seconds < 0.12
    passer = Stopwatch()
    assert sum(1 for _ in passer.output(passer.input(slowly()))) == 3
    assert passer.seconds < 0.03


def fragment(key: str, location: Location, root: Relation, *inputs: str, to: str) -> Fragment:
    return Fragment(key, location, root, inputs, (to,), Estimate(0, 0, 0), computes=root)


def limited(key: str) -> Relation:
    return Limit(Received(key, COLUMNS), 5)


def output(rows: int, seconds: float, at: float = 0.0, *, kept: bool = False, whole: bool = True) -> Output:
    return Output(rows, whole, kept, Stopwatch([(at, at + seconds)]))


SCAN = Scan("t", COLUMNS, "north")


def rows(site: str, table: str) -> int:
    return 1000


def test_fragments_that_stay_at_a_site_are_measured_with_the_one_that_sends() -> None:
    plan = PhysicalPlan(
        (
            fragment("f0", DUCKDB, Project(SCAN, (("a", Column("a", "int64")),)), to="north"),
            fragment("f1", POLARS, limited("f0"), "f0", to="hub"),
            fragment("f2", HUB, limited("f1"), "f1", to="hub"),
        ),
        0.0,
    )
    outputs = {"f0": output(1000, 1, kept=True), "f1": output(5, 2, 10), "f2": output(5, 3, 20)}
    site, hub = measurements(plan, outputs, rows)
    assert {part.name for part in site.parts} == {"north/duckdb", "north/polars", "north>north", "north>hub"}
    assert site.seconds == 3
    assert {part.name for part in hub.parts} == {"hub/duckdb"}  # the way to the hub is the sender's
    assert hub.seconds == 3
    by_name = {part.name: part for part in site.parts}
    assert by_name["north/duckdb"].amounts[NUMBER["scan"]] == 1000
    assert by_name["north/polars"].amounts[NUMBER["read_rows"]] == 1000
    assert by_name["north/polars"].amounts[NUMBER["write_rows"]] == 5
    assert by_name["north>hub"].amounts.tolist() == [1.0, 40.0]
    assert [(relation, size.expected) for relation, size in true_sizes(plan, outputs)] == [
        (plan.fragments[0].root, 1000), (plan.fragments[1].root, 5), (plan.fragments[2].root, 5),
    ]  # fmt: skip


def test_what_was_not_read_to_its_end_tells_nothing() -> None:
    plan = PhysicalPlan(
        (fragment("f0", DUCKDB, SCAN, to="hub"), fragment("f1", HUB, limited("f0"), "f0", to="hub")), 0.0
    )
    outputs = {"f0": output(100, 1, whole=False), "f1": output(5, 2)}
    assert measurements(plan, outputs, rows) == []
    assert [size.expected for _, size in true_sizes(plan, outputs)] == [5]


def test_what_stays_may_be_a_rounded_count() -> None:
    assert output(1024, 1, kept=True).counted.low == 512
    assert output(1024, 1).counted.low == 1024
    assert output(1000, 1, kept=True).counted.low == 1000
