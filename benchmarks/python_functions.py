"""What it costs that Python functions run in processes of their own.

    python benchmarks/python_functions.py [--rows 5000000] [--row-rows 300000] [--repeat 5]

The same function, batch by batch, called in this process (the floor: no border at all) and by the Python platform (a worker process,
Arrow over a socket, both directions, checked); and what a worker costs to start.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.relations import Function, MapBatches, Received
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation
from blossom.platforms.python import Python
from blossom.platforms.python_functions import Packed, pack

COLUMNS = Schema([("a", "int64"), ("b", "float64"), ("c", "int64"), ("d", "float64")])
BATCH = 32_768
"""Rows of 32 bytes: batches of 1 MiB."""


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def scored(batch: pa.RecordBatch) -> pa.RecordBatch:
    b, d = batch["b"], batch["d"]
    score = pc.add(pc.multiply(b, 0.3), pc.sin(pc.multiply(d, 2.0)))
    return batch.set_column(1, "b", score)


def scored_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(b=frame.b * 0.3 + np.sin(frame.d * 2.0))


def scored_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "b": row["b"] * 0.3 + row["d"]}


def split(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield row
    yield row


class Registry:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._packed = pack(function)

    def resolve(self, function: Function) -> Packed:
        return self._packed


def table(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    whole = pa.table(
        {
            "a": np.arange(rows),
            "b": rng.normal(size=rows),
            "c": rng.integers(0, 1000, rows),
            "d": rng.normal(size=rows),
        }
    )
    return pa.Table.from_batches(whole.to_batches(max_chunksize=BATCH))


def in_process(function: Callable[..., Any], per: str, form: str, rows: pa.Table) -> int:
    """The function over every batch, nothing checked, nothing kept."""
    count = 0
    for batch in rows.to_batches():
        if per == "batch":
            made = function(batch.to_pandas() if form == "pandas" else batch)
            count += len(made) if form == "pandas" else made.num_rows
        else:
            items = [function(row) for row in batch.to_pylist()]
            flat = [item for many in items for item in many] if per == "row" else items
            count += pa.RecordBatch.from_pylist(flat, schema=COLUMNS.to_pyarrow()).num_rows
    return count


def in_worker(function: Callable[..., Any], per: str, form: str, rows: pa.Table) -> int:
    platform = Python("p", functions=Registry(function))
    plan = MapBatches(Received("f0", COLUMNS), Function("f", "00"), COLUMNS, per, form)
    reader = platform.run(plan, {"f0": rows.to_reader(max_chunksize=BATCH)}, Cancellation())
    return sum(batch.num_rows for batch in reader)


def timed(run: Callable[[], int], repeat: int) -> tuple[float, float]:
    """Median seconds, and median CPU seconds of this process and those below it that have ended."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(repeat):
        began, before = time.perf_counter(), _cpu()
        run()
        walls.append(time.perf_counter() - began)
        cpus.append(_cpu() - before)
    return statistics.median(walls), statistics.median(cpus)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


CASES: Mapping[str, tuple[Callable[..., Any], str, str]] = {
    "batch -> batch, nothing done": (same, "batch", "arrow"),
    "batch -> batch, arithmetic": (scored, "batch", "arrow"),
    "DataFrame -> DataFrame, arithmetic": (scored_frame, "batch", "pandas"),
    "row -> row": (scored_row, "each", "arrow"),
    "row -> two rows": (split, "row", "arrow"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--row-rows", type=int, default=300_000, help="for functions of rows")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    many, few, none = table(options.rows), table(options.row_rows), table(10)
    began = time.perf_counter()
    in_worker(same, "batch", "arrow", none)
    print(f"first worker (starts the server): {time.perf_counter() - began:.2f} s")
    start, _ = timed(lambda: in_worker(same, "batch", "arrow", none), 20)
    print(f"every further worker, ten rows through it and its end: {1e3 * start:.1f} ms")
    in_worker(scored_frame, "batch", "pandas", none)  # pandas is loaded once
    for name, (function, per, form) in CASES.items():
        rows = many if per == "batch" else few
        floor, _ = timed(lambda: in_process(function, per, form, rows), options.repeat)  # noqa: B023
        wall, _ = timed(lambda: in_worker(function, per, form, rows), options.repeat)  # noqa: B023
        print(
            f"{name}: {rows.num_rows / wall / 1e6:.2f} M rows/s, {rows.nbytes / wall / 1e9:.2f} GB/s in the worker; "
            f"{rows.num_rows / floor / 1e6:.2f} M rows/s, {rows.nbytes / floor / 1e9:.2f} GB/s in process; ratio of times {wall / floor:.2f}"
        )


if __name__ == "__main__":
    main()
