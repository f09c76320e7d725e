"""Python workers: every kind of function, every way in which one can go wrong, and that nothing of it stays behind."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.plan.errors import ConfigError, PlanError, PlatformError
from blossom.plan.relations import Function, MapBatches, Received, Relation
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation
from blossom.platforms.python import Python
from blossom.platforms.python_functions import Packed, pack
from blossom.platforms.python_worker_forks import SERVER
from blossom.platforms.python_worker_steps import grouped

ROWS = Schema([("a", "int64"), ("s", "string")])
DESCRIPTORS = Path("/proc/self/fd")
TABLE = pa.table({"a": pa.array(range(10), pa.int64()), "s": ["even", "odd"] * 5})


class Registry:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def resolve(self, function: Function) -> Packed:
        return pack(self.function)


def node(per: str = "batch", columns: Schema = ROWS, parameters: str = "{}", **more: Any) -> MapBatches:
    return MapBatches(Received("f0", ROWS), Function("f", "00", parameters), columns, per, **more)


def run(
    function: Callable[..., Any],
    plan: Relation | None = None,
    table: pa.Table | pa.RecordBatchReader = TABLE,
    *,
    cancellation: Cancellation | None = None,
    **limits: Any,
) -> pa.Table:
    platform = Python("p", functions=Registry(function), **limits)
    reader = table if isinstance(table, pa.RecordBatchReader) else table.to_reader()
    return platform.run(plan or node(), {"f0": reader}, cancellation or Cancellation()).read_all()


def workers() -> list[psutil.Process]:
    """Every process below the one that workers are forked from."""
    server = SERVER._process
    return [] if server is None else psutil.Process(server.pid).children(recursive=True)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    files = len(list(DESCRIPTORS.iterdir()))
    warm = SERVER._process
    yield
    assert workers() == []
    assert len(list(DESCRIPTORS.iterdir())) <= files + (warm is None)  # the server's own socket


# -- kinds -----------------------------------------------------------------------------------------------------------


def tenfold(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"a": row["a"] * 10, "s": row["s"]}


def is_odd(row: Mapping[str, Any]) -> bool | None:
    return None if row["a"] == 9 else row["a"] % 2 == 1


def test_a_row_gives_a_row() -> None:
    assert run(tenfold, node("each"))["a"].to_pylist() == [10 * a for a in range(10)]


def test_rows_are_kept_where_it_is_true() -> None:
    assert run(is_odd, node("keep"))["a"].to_pylist() == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda batch: pc.greater(batch["a"], 6), "arrow"),
        (lambda batch: np.asarray(batch["a"]) > 6, "arrow"),
        (lambda frame: frame.a > 6, "pandas"),
        (lambda frame: [a > 6 for a in frame.a], "pandas"),
    ],
)
def test_a_batch_gives_a_mask(function: Callable[..., Any], kind: str) -> None:
    assert run(function, node("mask", format=kind))["a"].to_pylist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda batch: [True], "gave 1 values of bool for 10 rows"),
        (lambda batch: batch["a"], "values of int64 for 10 rows; expected one bool a row"),
        (lambda batch: 3, "gave a int; expected one truth value a row"),
    ],
)
def test_what_is_no_mask_is_told(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        run(function, node("mask"))


def test_what_is_no_answer_of_a_row_filter_is_told() -> None:
    with pytest.raises(PlatformError, match="gave a str on row 0; expected True or False"):
        run(lambda row: "yes", node("keep"))


def test_data_frames() -> None:
    def function(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(a=frame.a.where(frame.a > 1), s=frame.s.str.upper())

    got = run(function, node(format="pandas"))
    assert got["a"].to_pylist() == [None, None, *range(2, 10)]
    assert got["s"].to_pylist()[:2] == ["EVEN", "ODD"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda frame: frame.assign(a=frame.a + 0.5), "column 'a' as float; expected int64"),
        (lambda frame: frame[["a"]], "lacks s"),
        (lambda frame: frame.a, "gave a Series; expected a pandas.DataFrame"),
        (lambda frame: pd.concat([frame, frame], axis=1), "lacks a, s"),
    ],
)
def test_a_frame_unlike_the_declared_schema_is_told(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(PlatformError, match=message):
        run(function, node(format="pandas"))


def largest(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.take(pc.sort_indices(rows["a"], sort_keys=[("", "descending")])[:1])


def test_groups_and_folds() -> None:
    pieces = pa.Table.from_batches(TABLE.to_batches(max_chunksize=3))
    for per in ("group", "fold"):
        got = run(largest, node(per, by=("s",)), pieces)
        assert got.to_pylist() == [{"a": 8, "s": "even"}, {"a": 9, "s": "odd"}]
    assert run(largest, node("fold"), pieces)["a"].to_pylist() == [9]
    assert run(largest, node("group"), TABLE.slice(0, 0)).num_rows == 0


def test_a_fold_folds_what_it_gave() -> None:
    big = pa.table({"a": pa.array(range(2_000_000), pa.int64()), "s": pa.array(["x"] * 2_000_000)})

    def total(rows: pa.RecordBatch) -> pa.RecordBatch:
        print(f"{rows.num_rows} rows")
        return pa.record_batch({"a": [pc.sum(rows["a"]).as_py()], "s": ["x"]})

    told: list[str] = []
    got = run(total, node("fold", by=("s",)), big, cancellation=Cancellation(told.append))
    assert got.to_pylist() == [{"a": sum(range(2_000_000)), "s": "x"}]
    counts = [int(line.split()[1]) for line in told]
    assert len(counts) > 1
    assert sum(counts) == 2_000_000 + len(counts) - 1


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(0, 3)),
            st.one_of(st.none(), st.sampled_from("xyz")),
            st.floats(allow_nan=True),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_grouping_is_that_of_a_dictionary(rows: list[tuple[Any, ...]]) -> None:
    batch = pa.record_batch(
        {
            "a": pa.array([row[0] for row in rows], pa.int64()),
            "b": pa.array([row[1] for row in rows], pa.string()),
            "c": pa.array([row[2] for row in rows], pa.float64()),
        }
    )
    wanted: dict[tuple[Any, ...], list[float]] = {}
    for a, b, c in rows:
        wanted.setdefault((a, b), []).append(c)
    got = {(g["a"][0].as_py(), g["b"][0].as_py()): g["c"].to_pylist() for g in grouped(batch, ("a", "b"))}
    assert list(got) == list(wanted)
    assert repr(got) == repr(wanted)
    assert [len(g) for g in grouped(batch, ())] == ([len(rows)] if rows else [])


# -- what goes with a function ---------------------------------------------------------------------------------------


def scaled(batch: pa.RecordBatch, factor: int, *, plus: int = 0) -> pa.RecordBatch:
    return batch.set_column(0, "a", pc.add(pc.multiply(batch["a"], factor), plus))


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return scaled(batch, self.factor)

    def method(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return scaled(batch, self.factor)


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: scaled(batch, 3),
        functools.partial(scaled, factor=3),
        Scaler(3),
        Scaler(3).method,
    ],
)
def test_any_callable_goes(function: Callable[..., Any]) -> None:
    assert run(function)["a"].to_pylist() == [3 * a for a in range(10)]


def test_parameters_are_given() -> None:
    got = run(scaled, node(parameters='{"factor": 2, "plus": 1}'))
    assert got["a"].to_pylist() == [2 * a + 1 for a in range(10)]


def test_what_it_refers_to_goes_as_it_is_now() -> None:
    factor = 2
    packed = pack(lambda batch: scaled(batch, factor))
    factor = 3

    class Fixed:
        def resolve(self, function: Function) -> Packed:
            return packed

    got = Python("p", functions=Fixed()).run(node(), {"f0": TABLE.to_reader()}, Cancellation()).read_all()
    assert got["a"].to_pylist() == [2 * a for a in range(10)]


def test_a_module_beside_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_worker_test.py").write_text("def same(batch):\n    return batch\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        import beside_the_worker_test

        return beside_the_worker_test.same(batch)

    assert run(function).num_rows == 10


def test_what_cannot_leave_its_process_is_told() -> None:
    lock = threading.Lock()
    with pytest.raises(PlanError, match="cannot be sent to its process") as caught:
        pack(lambda batch: lock)
    assert "locks inside the function" in str(caught.value)


# -- faults ----------------------------------------------------------------------------------------------------------


def on_seven(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["a"] == 7:
        raise ValueError("seven is not right")
    return dict(row)


def test_the_row_and_the_line_are_told() -> None:
    with pytest.raises(PlatformError) as caught:
        run(on_seven, node("each"), pa.Table.from_batches(TABLE.to_batches(max_chunksize=4)))
    assert str(caught.value).splitlines() == [
        "python 'p', function 'f': the function raised ValueError on row 7: seven is not right",
        f'  hint: line {on_seven.__code__.co_firstlineno + 2} of on_seven: raise ValueError("seven is not right")',
    ]


def test_the_group_is_told() -> None:
    def function(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows if rows["s"][0].as_py() == "even" else rows.select(["nothing"])

    with pytest.raises(PlatformError, match="raised KeyError on the group s='odd'"):
        run(function, node("group", by=("s",)))


def test_a_function_of_no_file_shows_its_line() -> None:
    import linecache

    text = "def function(batch):\n    return 1 / 0  # here\n"
    linecache.cache["<cell 7>"] = (len(text), None, text.splitlines(keepends=True), "<cell 7>")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell 7>", "exec"), space)
    with pytest.raises(PlatformError, match="line 2 of function: return 1 / 0  # here"):
        run(space["function"])


def end(code: int) -> Callable[[Any], Any]:
    return lambda batch: os._exit(code)


def crash(batch: Any) -> Any:
    return ctypes.string_at(0)


def hog(batch: Any) -> Any:
    return [bytearray(1 << 26) for _ in range(1000)]


def hog_in_numpy(batch: Any) -> Any:
    return np.ones(1 << 30)


def for_ever(batch: Any) -> Any:
    while True:
        pass


def asleep(batch: Any) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (end(3), "ended by itself with exit code 3"),
        (end(0), "ended by itself with exit code 0"),
        (lambda batch: sys.exit(4), "raised SystemExit on rows 0 to 9: 4"),
        (lambda batch: os.kill(os.getpid(), signal.SIGKILL), r"was killed \(SIGKILL\)"),
        (lambda batch: os.abort(), r"crashed \(SIGABRT\) at line \d+ of <lambda>"),
        (crash, rf"crashed \(SIGSEGV\) at line {crash.__code__.co_firstlineno + 1} of crash"),
        (hog, "ran out of its memory on rows 0 to 9"),
        (hog_in_numpy, "ran out of its memory on rows 0 to 9"),
    ],
)
def test_however_it_dies_one_error_tells(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(PlatformError, match=f"function 'f': the function('s process)? {message}"):
        run(function, memory_limit="500MB")


@pytest.mark.parametrize(
    "function", [for_ever, asleep, lambda batch: [print("x") for _ in itertools.count()]]
)
def test_a_function_that_never_ends_is_stopped(function: Callable[..., Any]) -> None:
    began = time.monotonic()
    with pytest.raises(PlatformError, match=r"more than 0\.3 s for one batch and was stopped"):
        run(function, timeout=0.3)
    assert time.monotonic() - began < 5


def test_rows_without_end_are_stopped() -> None:
    def function(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        while True:
            yield row

    with pytest.raises(PlatformError, match=r"more than 0\.5 s"):
        run(function, node("row"), timeout=0.5)


def test_a_slow_reader_is_not_the_functions_fault() -> None:
    platform = Python("p", functions=Registry(lambda batch: batch), timeout=0.3)
    source = pa.Table.from_batches(TABLE.to_batches(max_chunksize=1))
    reader = platform.run(node(), {"f0": source.to_reader()}, Cancellation())
    rows = 0
    for batch in reader:
        rows += batch.num_rows
        time.sleep(0.1)
    assert rows == 10


@pytest.mark.parametrize("function", [for_ever, asleep])
def test_cancelling_ends_it_at_once(function: Callable[..., Any]) -> None:
    cancellation = Cancellation()
    timer = threading.Timer(0.5, cancellation.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(PlatformError, match="the run was cancelled"):
        run(function, cancellation=cancellation)
    timer.join()
    assert time.monotonic() - began < 2


def test_what_a_function_starts_ends_with_it() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        child = subprocess.Popen(["sleep", "1000"])
        print(child.pid)
        return batch

    told: list[str] = []
    run(function, cancellation=Cancellation(told.append))
    number = int(told[0].split()[-1])
    until = time.monotonic() + 2
    while psutil.pid_exists(number) and time.monotonic() < until:
        time.sleep(0.01)
    assert not psutil.pid_exists(number)


def test_a_stream_that_is_given_up_ends_its_worker() -> None:
    platform = Python("p", functions=Registry(lambda batch: batch))
    source = pa.Table.from_batches(TABLE.to_batches() * 50)
    reader = platform.run(node(), {"f0": source.to_reader()}, Cancellation())
    reader.read_next_batch()
    assert len(workers()) == 1
    del reader
    assert workers() == []


def test_a_worker_that_lies_is_not_believed() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        for number in range(3, 20):
            try:
                os.write(number, b"\x03" + (1 << 60).to_bytes(8, "little") + b"nonsense")
            except OSError:
                continue
        return batch

    with pytest.raises(PlatformError, match="sent what it may not send"):
        run(function)


def test_an_error_of_the_rows_before_it_passes() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise PlatformError("the engine before failed")

    source = pa.RecordBatchReader.from_batches(TABLE.schema, batches())
    with pytest.raises(PlatformError, match="the engine before failed"):
        run(lambda batch: batch, table=source)


def test_the_server_is_started_again_when_it_is_gone() -> None:
    run(lambda batch: batch)
    server = SERVER._process
    assert server is not None
    server.kill()
    server.wait()
    assert run(lambda batch: batch).num_rows == 10


def test_workers_end_with_the_process_that_needs_them() -> None:
    program = textwrap.dedent(
        """
        import os, threading, time
        import pyarrow as pa
        from blossom.plan.relations import Function, MapBatches, Received
        from blossom.plan.schema import Schema
        from blossom.platforms.interface import Cancellation
        from blossom.platforms.python import Python
        from blossom.platforms.python_functions import pack

        def for_ever(batch):
            print(os.getpid(), os.getppid())
            while True: pass

        class Registry:
            def resolve(self, function): return pack(for_ever)

        rows = Schema([("a", "int64")])
        told = Cancellation(lambda text: print(text, flush=True))
        plan = MapBatches(Received("f0", rows), Function("f", "00"), rows)
        Python("p", functions=Registry()).run(plan, {"f0": pa.table({"a": [1]}).to_reader()}, told).read_all()
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        numbers = [int(text) for text in process.stdout.readline().split()[1:]]
        assert len(numbers) == 2
        process.kill()
    until = time.monotonic() + 5
    while any(map(_alive, numbers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(_alive, numbers))


def _alive(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- what it prints --------------------------------------------------------------------------------------------------


def test_what_it_prints_is_told_and_harms_no_row() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw, without an end")
        return batch

    told: list[str] = []
    assert run(function, cancellation=Cancellation(told.append)).equals(TABLE)
    assert told == ["f: to stdout", "f: to stderr", "f: raw, without an end"]


def test_endless_printing_is_cut() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        for number in range(20_000):
            print(number, "x" * 100)
        return batch

    told: list[str] = []
    assert run(function, cancellation=Cancellation(told.append)).num_rows == 10
    assert len(told) == 1001
    assert told[-1] == "f: 19,000 more printed lines are not shown"


def test_many_batches_and_much_printing_do_not_lock_each_other() -> None:
    def function(batch: pa.RecordBatch) -> pa.RecordBatch:
        print("y" * 300_000)
        return pa.concat_batches([batch] * 20)

    text = pa.table({"a": pa.array(range(1000), pa.int64()), "s": ["z" * 2000] * 1000})
    source = pa.Table.from_batches(text.to_batches() * 5)
    got = run(function, table=source, cancellation=Cancellation(lambda text: None))
    assert got.num_rows == 100_000


@pytest.mark.parametrize(("text", "size"), [("512MB", 512e6), ("1GiB", 2**30), ("1.5 kb", 1500)])
def test_sizes(text: str, size: float) -> None:
    assert Python("p", memory_limit=text)._limits.memory == size


def test_a_wrong_size_is_told() -> None:
    with pytest.raises(ConfigError, match="no size"):
        Python("p", memory_limit="much")
