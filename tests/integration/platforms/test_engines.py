"""What every platform does beside giving answers: inputs, streams, cancellation, threads, failures."""

from __future__ import annotations

import gc
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import ibis
import pyarrow as pa
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError, SiteError
from blossom.plan.expressions import Column, Literal, TypeArgument
from blossom.plan.relations import Aggregate, Filter, Join, Link, Project, Received, Relation, call
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, Platform


def _sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"engines_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = _sibling("conftest")
Platforms = Callable[[str], Platform]


def _kinds(*kinds: str) -> list[Any]:
    return [pytest.param(kind, marks=setup.MARKS.get(kind, ())) for kind in kinds]


every_kind = pytest.mark.parametrize("kind", _kinds(*setup.FACTORIES))
interruptible = pytest.mark.parametrize("kind", _kinds("duckdb", "sqlite", "postgresql", "mariadb"))

PEOPLE = setup.DATA["people"]
PEOPLE_SCHEMA = Schema.from_pyarrow(PEOPLE.schema)


def _people() -> Any:
    return ibis.table(PEOPLE_SCHEMA.to_ibis(), name="people")


def _plan(expression: Any) -> Relation:
    return from_ibis.relation(expression.op())


def _run(platform: Platform, plan: Relation, **inputs: pa.Table) -> pa.Table:
    readers = {key: table.to_reader() for key, table in inputs.items()}
    return platform.run(plan, readers, Cancellation()).read_all()


def _numbers(rows: int) -> pa.Table:
    return pa.table(
        {
            "a": pa.array(range(rows), pa.int64()),
            "b": pa.array([f"text {i}" for i in range(rows)], pa.string()),
        }
    )


NUMBERS = Schema([("a", "int64"), ("b", "string")])


@every_kind
def test_received_rows_come_back_as_they_went(platforms: Platforms, kind: str) -> None:
    got = _run(platforms(kind), Received("f0", PEOPLE_SCHEMA), f0=PEOPLE)
    assert got.sort_by("id").to_pylist() == PEOPLE.to_pylist()
    assert got.schema.types == PEOPLE.schema.types


@every_kind
def test_received_rows_may_be_none(platforms: Platforms, kind: str) -> None:
    got = _run(platforms(kind), Received("f0", PEOPLE_SCHEMA), f0=PEOPLE.slice(0, 0))
    assert got.num_rows == 0
    assert got.schema.types == PEOPLE.schema.types


@every_kind
def test_received_rows_meet_published_ones(platforms: Platforms, kind: str) -> None:
    people = _plan(_people().select("id", "name"))
    keys = Received("f0", Schema([("k", "int64")]))
    same = call("Equals", Column("id", "int64", 0), Column("k", "int64", 1), dtype="boolean")
    join = Join((people, keys), (Link("inner", (same,)),), (("id", Column("id", "int64", 0)),))
    got = _run(platforms(kind), join, f0=pa.table({"k": pa.array([2, 4, 77], pa.int64())}))
    assert sorted(got["id"].to_pylist()) == [2, 4]


@every_kind
def test_received_rows_can_be_read_twice(platforms: Platforms, kind: str) -> None:
    rows = Received("f0", NUMBERS)
    same = call("Equals", Column("a", "int64", 0), Column("a", "int64", 1), dtype="boolean")
    join = Join((rows, rows), (Link("inner", (same,)),), (("a", Column("a", "int64", 0)),))
    assert _run(platforms(kind), join, f0=_numbers(50)).num_rows == 50


@every_kind
def test_missing_rows_are_named(platforms: Platforms, kind: str) -> None:
    with pytest.raises(PlatformError, match="f7"):
        _run(platforms(kind), Received("f7", NUMBERS))


@every_kind
def test_a_failing_input_gives_its_own_error(platforms: Platforms, kind: str) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from _numbers(10).to_batches()
        raise SiteError("the line broke")

    reader = pa.RecordBatchReader.from_batches(_numbers(0).schema, batches())
    with pytest.raises(SiteError, match="the line broke"):
        platforms(kind).run(Received("f0", NUMBERS), {"f0": reader}, Cancellation()).read_all()


@every_kind
def test_a_large_result_comes_in_batches(platforms: Platforms, kind: str) -> None:
    rows = 200_000
    reader = platforms(kind).run(Received("f0", NUMBERS), {"f0": _numbers(rows).to_reader()}, Cancellation())
    sizes = [(batch.num_rows, batch.nbytes) for batch in reader]
    assert sum(count for count, _size in sizes) == rows
    assert len(sizes) > 1
    assert max(size for _count, size in sizes) <= 2 << 20


@every_kind
def test_a_result_can_be_given_up(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    for _turn in range(3):
        reader = platform.run(Received("f0", NUMBERS), {"f0": _numbers(100_000).to_reader()}, Cancellation())
        assert reader.read_next_batch().num_rows
        del reader
        gc.collect()
    assert _run(platform, _plan(_people().select("id"))).num_rows == 10


@every_kind
def test_half_read_results_block_nobody(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    plan = _plan(_people().select("id"))
    readers = [platform.run(plan, {}, Cancellation()) for _turn in range(3)]
    assert _run(platform, plan).num_rows == 10
    assert [reader.read_all().num_rows for reader in readers] == [10, 10, 10]


@every_kind
def test_four_threads_at_once(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)

    def work(number: int) -> tuple[int, int]:
        plan = _plan(_people().filter(_.id > number).agg(n=_.id.count()))
        received = Filter(
            Received("f0", NUMBERS),
            (call("Less", Column("a", "int64"), Literal(number, "int64"), dtype="boolean"),),
        )
        found = _run(platform, plan)["n"][0].as_py()
        return found, _run(platform, received, f0=_numbers(20)).num_rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(10))) == [(10 - number, number) for number in range(10)]


def _endless() -> Relation:
    """Every pair of two received tables, folded: hours of work."""
    left, right = Received("f0", NUMBERS), Received("f1", NUMBERS)
    total = call("Add", Column("a", "int64", 0), Column("a", "int64", 1), dtype="int64")
    odd = call(
        "Equals",
        call("Modulus", total, Literal(7, "int8"), dtype="int64"),
        Literal(3, "int8"),
        dtype="boolean",
    )
    pairs = Join((left, right), (Link("inner", (odd,)),), (("a", total),))
    return Aggregate(pairs, (), (("n", call("CountStar", None, dtype="int64")),))


@interruptible
def test_cancelling_stops_a_long_query_within_a_second(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    cancellation = Cancellation()
    tables = {"f0": _numbers(150_000), "f1": _numbers(150_000)}
    moment: list[float] = []

    def cancel() -> None:
        moment.append(time.monotonic())
        cancellation.cancel()

    timer = threading.Timer(1.5, cancel)
    timer.start()
    with pytest.raises(PlatformError, match="cancel"):
        platform.run(
            _endless(), {key: table.to_reader() for key, table in tables.items()}, cancellation
        ).read_all()
    timer.join()
    assert time.monotonic() - moment[0] < 1.0
    assert _run(platform, _plan(_people().select("id"))).num_rows == 10


@every_kind
def test_a_cancelled_run_does_not_start(platforms: Platforms, kind: str) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PlatformError, match="cancel"):
        platforms(kind).run(_plan(_people()), {}, cancellation).read_all()


@every_kind
def test_cancelling_after_the_end_does_no_harm(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    cancellation = Cancellation()
    platform.run(_plan(_people()), {}, cancellation).read_all()
    cancellation.cancel()
    assert _run(platform, _plan(_people())).num_rows == 10


@every_kind
def test_an_unknown_table_is_named_with_the_nearest(platforms: Platforms, kind: str) -> None:
    with pytest.raises(PlatformError, match=r"(?s)peeple.*people"):
        platforms(kind).row_count("peeple")


@every_kind
def test_row_counts(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    count = platform.row_count("people")
    assert count is None or count == 10


@pytest.mark.parametrize("kind", _kinds("duckdb", "postgresql"))
def test_an_engines_failure_gives_its_message(platforms: Platforms, kind: str) -> None:
    number = call("Cast", Column("name", "string"), TypeArgument("int64"), dtype="int64")
    with pytest.raises(PlatformError, match=r"Could not convert|invalid input syntax"):
        _run(platforms(kind), Project(_plan(_people()), (("n", number),)))
