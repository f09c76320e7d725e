"""Run records: what is kept of a run, when it is written, and what a crash leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from blossom.executor.records import (
    SCHEMA_VERSION,
    TICK,
    EventRecord,
    FragmentRecord,
    ReleaseRecord,
    RunRecord,
    RunRecords,
)
from blossom.optimizer.physical import Estimate, Location
from blossom.plan.errors import ConfigError, SiteError

NORTH = Location("north", "duckdb")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


@pytest.fixture
def records(path: Path) -> Iterator[RunRecords]:
    with RunRecords(path) as opened:
        yield opened


def small(records: RunRecords, run_id: str, outcome: str = "done", error: str | None = None) -> None:
    records.begin(run_id, "query", "patients.count()", "{}")
    records.fragment(
        run_id, "f0", NORTH, Estimate(0.1, 10.0, 80.0), state="done", seconds=0.2, rows=12, bytes=96
    )
    records.release(run_id, "north", "aggregates", "hub", rows=12, bytes=96, withheld=True)
    records.finish(run_id, outcome, 0.25, error)  # pyright: ignore[reportArgumentType]


def in_file(path: Path, query: str = "SELECT id FROM run ORDER BY id") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def test_a_run_is_read_as_it_was_told(records: RunRecords) -> None:
    records.begin("r1", "fit", "train(...)", '{"fragments": []}')
    records.event("r1", "info", "round 1")
    records.fragment("r1", "f0", NORTH, Estimate(0.1, 10.0, 80.0), state="running")
    records.fragment(
        "r1", "f0", NORTH, Estimate(0.1, 10.0, 80.0), state="done", seconds=0.2, rows=12, bytes=96
    )
    records.fragment("r1", "f1", Location("hub", "python"), None, state="failed")
    records.release("r1", "north", "aggregates", "hub", rows=12, bytes=96, withheld=True)
    records.release("r1", "south", "updates", "hub")
    records.finish("r1", "failed", 1.5, "TrainingError: no")
    run = records.run("r1")
    assert run == RunRecord(
        id="r1",
        kind="fit",
        pipeline="train(...)",
        started=run.started,
        outcome="failed",
        seconds=1.5,
        error="TrainingError: no",
        plan='{"fragments": []}',
        fragments=(
            FragmentRecord("f0", NORTH, Estimate(0.1, 10.0, 80.0), "done", 0.2, 12, 96),
            FragmentRecord("f1", Location("hub", "python"), None, "failed", None, None, None),
        ),
        releases=(
            ReleaseRecord("north", "aggregates", "hub", 12, 96, True),
            ReleaseRecord("south", "updates", "hub", None, None, False),
        ),
        events=(EventRecord(run.events[0].at, "info", "round 1"),),
    )
    assert run.started.endswith("+00:00")


def test_numbers_of_engines_are_taken(records: RunRecords) -> None:
    records.begin("r1", "query", "", "{}")
    size = np.int64(96)
    records.fragment(
        "r1", "f0", NORTH, Estimate(np.float64(0.1), np.float64(3), np.float64(8)), state="done",
        seconds=np.float64(1.0), rows=np.int64(3), bytes=size,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    records.release("r1", "north", "rows", "hub", rows=np.int64(3), bytes=size)  # pyright: ignore[reportArgumentType]
    records.finish("r1", "done", 1.0)
    assert records.run("r1").fragments[0].bytes == 96


def test_the_latest_come_first(records: RunRecords) -> None:
    for number in range(5):
        small(records, f"r{number}")
    assert [run.id for run in records.runs(3)] == ["r4", "r3", "r2"]
    assert len(records.runs()) == 5


def test_the_text_of_a_run(records: RunRecords) -> None:
    small(records, "r1", "failed", "SiteError: south is away\n  hint: wait")
    run = records.run("r1")
    assert run.text().replace(run.started[:19], "2026-11-24T08:00:00") == (
        "run r1 (query) failed after 0.250 s, started 2026-11-24T08:00:00 UTC\n"
        "  patients.count()\n"
        "fragments\n"
        "  fragment  where         state  seconds  expected  rows  expected  bytes\n"
        "  f0        duckdb@north  done   0.200    0.100     12    10        96\n"
        "releases\n"
        "  site   to   kind        rows  bytes  withheld\n"
        "  north  hub  aggregates  12    96     yes\n"
        "error\n"
        "  SiteError: south is away\n"
        "    hint: wait"
    )
    (summary,) = records.runs()
    assert summary.line() == f"r1  {run.started[:19]}  query     failed          0.250 s  patients.count()"


def test_a_run_without_anything_has_a_text_too(records: RunRecords) -> None:
    records.begin("r1", "query", "", "{}")
    assert records.run("r1").text().startswith("run r1 (query) running, started ")
    assert records.runs()[0].line().endswith("-")


def test_a_small_run_is_written_once_at_its_end(records: RunRecords, path: Path) -> None:
    records.begin("r1", "query", "", "{}")
    records.fragment("r1", "f0", NORTH, None, state="done")
    assert in_file(path) == []
    records.finish("r1", "done", 0.01)
    assert in_file(path) == [("r1",)]
    assert list(path.parent.glob("*.owner-*")) == []


def test_a_longer_run_is_seen_by_others_while_it_runs(records: RunRecords, path: Path) -> None:
    records.begin("r1", "query", "", "{}")
    eventually(lambda: in_file(path) == [("r1",)])
    with RunRecords(path) as other:
        assert other.run("r1").outcome == "running"
        records.event("r1", "info", "half way")
        eventually(lambda: len(other.run("r1").events) == 1)
        records.finish("r1", "done", 1.0)
        assert other.run("r1").outcome == "done"
        assert len(other.run("r1").events) == 1


def test_ones_own_run_is_seen_at_once(records: RunRecords) -> None:
    records.begin("r1", "query", "", "{}")
    assert [(run.id, run.outcome) for run in records.runs()] == [("r1", "running")]
    records.finish("r1", "done", 0.1)
    assert records.run("r1").outcome == "done"


def test_the_watcher_rests_and_wakes_again(records: RunRecords, path: Path) -> None:
    small(records, "r1")
    time.sleep(3 * TICK)
    records.begin("r2", "query", "", "{}")
    eventually(lambda: ("r2",) in in_file(path))


CRASH = """
import sys, time
from blossom.executor.records import RunRecords
records = RunRecords(sys.argv[1])
records.begin("r1", "query", "", "{}")
records.event("r1", "info", "on it")
time.sleep(float(sys.argv[2]))
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_an_interrupted_run(records: RunRecords, path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", CRASH, str(path), "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    eventually(lambda: in_file(path) == [("r1",)])
    process.send_signal(signal.SIGSTOP)
    assert records.run("r1").outcome == "running", "a process that hangs still runs"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert records.run("r1").outcome == "interrupted"
    assert records.run("r1").events[0].text == "on it"
    (left,) = path.parent.glob("*.owner-*")
    os.utime(left, (0, 0))
    with RunRecords(path) as other:
        assert not left.exists()
        assert other.run("r1").outcome == "interrupted"


def test_closing_leaves_open_runs_interrupted(path: Path) -> None:
    first = RunRecords(path)
    first.begin("r1", "query", "", "{}")
    first.close()
    first.close()
    with RunRecords(path) as second:
        assert second.run("r1").outcome == "interrupted"
    assert list(path.parent.glob("*.owner-*")) == []


def _write(path: Path, name: str) -> None:
    with RunRecords(path) as records:
        for number in range(30):
            small(records, f"{name}-{number}")


def test_processes_and_threads_share_the_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(path, f"p{n}")) for n in range(3)]
    for process in processes:
        process.start()
    with RunRecords(path) as records:
        threads = [
            threading.Thread(target=lambda n=n: [small(records, f"t{n}-{i}") for i in range(30)])
            for n in range(2)
        ]
        for thread in threads:
            thread.start()
        for worker in (*processes, *threads):
            worker.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert len(records.runs(1000)) == 150
        assert len(records.run("p1-29").fragments) == len(records.run("t1-29").releases) == 1


def test_many_threads_tell_of_one_run(records: RunRecords) -> None:
    records.begin("r1", "query", "", "{}")

    def tell(start: int) -> None:
        for number in range(start, start + 50):
            records.fragment("r1", f"f{number}", NORTH, None, state="done")
            if number % 10 == 0:
                records.runs()  # a flush in between

    threads = [threading.Thread(target=tell, args=(start,)) for start in (0, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records.finish("r1", "done", 1.0)
    assert len(records.run("r1").fragments) == 150


def test_a_forked_child_has_records_of_its_own(records: RunRecords) -> None:
    records.begin("parent", "query", "", "{}")
    records.runs()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            small(records, "child")
            records.begin("child-open", "query", "", "{}")
            records.runs()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    outcomes = {run.id: run.outcome for run in records.runs()}
    assert outcomes == {"parent": "running", "child": "done", "child-open": "interrupted"}
    records.finish("parent", "done", 1.0)
    assert records.run("parent").outcome == "done"


def test_a_run_that_has_not_begun_is_a_mistake(records: RunRecords) -> None:
    with pytest.raises(ValueError, match="has not begun, or is finished"):
        records.event("r1", "info", "x")
    small(records, "r1")
    with pytest.raises(ValueError, match="has not begun, or is finished"):
        records.finish("r1", "done", 1.0)
    records.begin("r2", "query", "", "{}")
    with pytest.raises(ValueError, match="has already begun"):
        records.begin("r2", "query", "", "{}")


def test_the_same_run_twice_in_the_file_is_a_mistake(records: RunRecords) -> None:
    small(records, "r1")
    with pytest.raises(ValueError, match="is in the file already"):
        small(records, "r1")
    small(records, "r2")
    assert [run.id for run in records.runs()] == ["r2", "r1"]


def test_an_unknown_run(records: RunRecords) -> None:
    with pytest.raises(ConfigError, match="there is no run 'nope'"):
        records.run("nope")


def test_a_newer_file_is_a_clear_error(path: Path) -> None:
    RunRecords(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(
        ConfigError, match=f"of version {SCHEMA_VERSION + 1}, this Blossom reads version {SCHEMA_VERSION}"
    ):
        RunRecords(path)


def test_another_programs_file_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(ConfigError, match="some other program's database"):
        RunRecords(path)
    assert in_file(path, "SELECT name FROM sqlite_schema") == [("theirs",)]
    path.write_bytes(b"this is no database at all, but text of some length" * 20)
    with pytest.raises(SiteError, match="cannot be opened: file is not a database"):
        RunRecords(path)


def test_a_file_that_cannot_be_written_fails_the_record_and_keeps_the_records_usable(
    records: RunRecords, path: Path
) -> None:
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE release RENAME TO gone")
    connection.close()
    with pytest.raises(SiteError, match="the run records cannot be written: no such table: release"):
        small(records, "r1")
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE gone RENAME TO release")
    connection.close()
    small(records, "r2")
    assert [run.id for run in records.runs()] == ["r2"], "half a run was written"


def test_what_cannot_be_written_at_a_tick_is_written_later(records: RunRecords, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE event RENAME TO gone")
    records.begin("r1", "query", "", "{}")
    records.event("r1", "info", "kept")
    time.sleep(3 * TICK)
    assert in_file(path) == []
    connection.execute("ALTER TABLE gone RENAME TO event")
    connection.close()
    eventually(lambda: in_file(path) == [("r1",)])
    assert [event.text for event in records.run("r1").events] == ["kept"]


def test_a_small_run_pays_less_than_a_millisecond(records: RunRecords) -> None:
    seconds: list[float] = []
    for number in range(200):
        start = time.perf_counter()
        small(records, f"r{number}")
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[50] < 1e-3  # the lower quartile: the machine may be busy with other work
