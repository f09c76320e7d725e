"""GB/s of Arrow out of and into each engine, by Blossom's platform and by the engine's own driver, in the same run.

    python tests/integration/postgres_server.py python benchmarks/moves.py [--rows 1000000] [--repeat 5] [--only duckdb postgresql]

Out: a table of three numbers and a short text is read whole, as record batches. Into: the same rows are given to the engine, which
finds the largest value of each column (sums would differ: engines are made to add exactly). The driver does the same by hand, without checks of types, names or cancellation. One
thread an engine; runs by turns; medians. SQLite's driver knows no Arrow: it gives and takes Python tuples, and so its figure says
how much of the time the engine and its rows take, not what another Arrow driver would.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blossom.plan.expressions import Call
from blossom.plan.relations import Aggregate, Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.registry import platform_class

COLUMNS = Schema([("a", "int64"), ("b", "int64"), ("x", "float64"), ("s", "string")])
BATCH = 32_768
MOST = "SELECT max(a) AS a, max(b) AS b, max(x) AS x, max(s) AS s FROM"


def largest(rows: Relation) -> Relation:
    """The aggregate that reads every value."""
    column = rows.column
    return Aggregate(
        rows,
        (),
        (
            ("a", Call("Max", (column("a"), None), "int64")),
            ("b", Call("Max", (column("b"), None), "int64")),
            ("x", Call("Max", (column("x"), None), "float64")),
            ("s", Call("Max", (column("s"), None), "string")),
        ),
    )


OUT = Scan("t", COLUMNS, "one")
INTO = largest(Received("rows", COLUMNS))


def table(rows: int) -> pa.Table:
    """Rows of 24 bytes and a text of some eight."""
    random = np.random.default_rng(0)
    return pa.table(
        {
            "a": np.arange(rows),
            "b": random.integers(0, 1000, rows),
            "x": random.normal(size=rows),
            "s": [f"name{i}" for i in random.integers(0, 10_000, rows)],
        }
    )


def reader(rows: pa.Table) -> pa.RecordBatchReader:
    """The rows as the executor hands them over."""
    return rows.to_reader(max_chunksize=BATCH)


def drained(batches: Any) -> int:
    """Read to the end."""
    return sum(batch.num_rows for batch in batches)


@dataclass(frozen=True)
class Channel:
    """One engine's border; each of the four reads or gives everything once.

    Attributes:
        ours_out: By the platform.
        raw_out: By the driver.
        ours_into: By the platform.
        raw_into: By the driver.
    """

    ours_out: Callable[[], object]
    raw_out: Callable[[], object]
    ours_into: Callable[[], object]
    raw_into: Callable[[], object]


def channel(
    engine: Platform,
    source: TableSource,
    rows: pa.Table,
    raw_out: Callable[[], object],
    raw_into: Callable[[], object],
) -> Channel:
    """A channel whose own side is the platform's `run`."""
    engine.publish("t", source)

    def ours_out() -> int:
        return drained(engine.run(OUT, {}, Cancellation()))

    def ours_into() -> int:
        return drained(engine.run(INTO, {"rows": reader(rows)}, Cancellation()))

    return Channel(ours_out, raw_out, ours_into, raw_into)


# -- engines -------------------------------------------------------------------------------------------------------------


def duckdb(stack: ExitStack, rows: pa.Table, path: Path) -> Channel:
    """Out of and into Arrow readers."""
    import duckdb as driver

    engine = stack.enter_context(closing(platform_class("duckdb")("duckdb", threads=1)))
    raw = stack.enter_context(closing(driver.connect(config={"threads": 1})))

    def into() -> object:
        raw.register("rows", reader(rows))
        return raw.sql(f"{MOST} rows").to_arrow_table()

    return channel(
        engine,
        TableSource(source=str(path)),
        rows,
        lambda: drained(raw.sql(f"FROM '{path}'").to_arrow_reader(BATCH)),
        into,
    )


def polars(stack: ExitStack, rows: pa.Table, path: Path) -> Channel:
    """Out of and into Arrow tables."""
    import polars as pl

    engine = stack.enter_context(closing(platform_class("polars")("polars")))

    def into() -> object:
        frame = pl.from_arrow(reader(rows).read_all())
        assert isinstance(frame, pl.DataFrame)
        return frame.lazy().select(pl.col("a", "b", "x", "s").max()).collect()

    return channel(
        engine,
        TableSource(source=str(path)),
        rows,
        lambda: drained(pl.scan_parquet(path).collect(engine="streaming").to_arrow().to_batches()),
        into,
    )


def datafusion(stack: ExitStack, rows: pa.Table, path: Path) -> Channel:
    """Out of and into record batches."""
    from datafusion import SessionConfig, SessionContext

    engine = stack.enter_context(closing(platform_class("datafusion")("datafusion", threads=1)))

    def session() -> SessionContext:
        return SessionContext(SessionConfig().with_target_partitions(1))

    raw = session()
    raw.register_parquet("t", str(path))

    def into() -> object:
        own = session()
        own.register_record_batches("rows", [list(reader(rows))])
        return own.sql(f"{MOST} rows").to_arrow_table()

    return channel(
        engine,
        TableSource(source=str(path)),
        rows,
        lambda: drained(one.to_pyarrow() for one in raw.sql("SELECT * FROM t").execute_stream()),
        into,
    )


def postgresql(stack: ExitStack, rows: pa.Table, path: Path) -> Channel:
    """Out of and into a server through ADBC."""
    import adbc_driver_postgresql.dbapi as adbc

    url = os.environ["BLOSSOM_TEST_PG_URL"]
    raw = stack.enter_context(adbc.connect(url))
    with raw.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS public.moves")
        cursor.adbc_ingest("moves", rows, mode="create")
    raw.commit()
    engine = stack.enter_context(closing(platform_class("postgresql")("postgresql", url=url)))

    def out() -> object:
        with raw.cursor() as cursor:
            cursor.execute("SELECT * FROM public.moves")
            return drained(cursor.fetch_record_batch())

    def into() -> object:
        with raw.cursor() as cursor:
            cursor.adbc_ingest("rows", reader(rows), mode="create", temporary=True)
            cursor.execute(f"{MOST} rows")
            found = cursor.fetch_arrow_table()
        raw.rollback()
        return found

    return channel(engine, TableSource(source="public.moves"), rows, out, into)


def sqlite(stack: ExitStack, rows: pa.Table, path: Path) -> Channel:
    """Out of and into Python tuples."""
    database = path.with_suffix(".db")
    raw = stack.enter_context(closing(sqlite3.connect(database)))
    tuples = list(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    made = "(a INTEGER, b INTEGER, x REAL, s TEXT)"
    raw.execute(f"CREATE TABLE t {made}")
    raw.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", tuples)
    raw.commit()
    engine = stack.enter_context(closing(platform_class("sqlite")("sqlite", database=str(database))))

    def out() -> object:
        return sum(1 for _ in raw.execute("SELECT * FROM t"))

    def into() -> object:
        with closing(sqlite3.connect(":memory:")) as own:
            own.execute(f"CREATE TABLE rows {made}")
            own.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", tuples)
            return own.execute(f"{MOST} rows").fetchall()

    return channel(engine, TableSource(source="t"), rows, out, into)


CHANNELS: Mapping[str, Callable[[ExitStack, pa.Table, Path], Channel]] = {
    "duckdb": duckdb,
    "polars": polars,
    "datafusion": datafusion,
    "postgresql": postgresql,
    "sqlite": sqlite,
}


# -- measuring -----------------------------------------------------------------------------------------------------------


def alternating(
    ours: Callable[[], object], raw: Callable[[], object], repeat: int
) -> tuple[float, float, list[float]]:
    """Median seconds of both, and the ratios of the turns; one of each warms up."""
    ours(), raw()
    taken: list[tuple[float, float]] = []
    for turn in range(repeat):
        times: dict[bool, float] = {}
        for own in (True, False) if turn % 2 else (False, True):
            began = time.perf_counter()
            (ours if own else raw)()
            times[own] = time.perf_counter() - began
        taken.append((times[True], times[False]))
    mine, theirs = zip(*taken, strict=True)
    return statistics.median(mine), statistics.median(theirs), [b / a for a, b in taken]


def figures(name: str, way: str, size: float, result: tuple[float, float, list[float]]) -> str:
    """A line of the table."""
    ours, raw, ratios = result
    return (
        f"{name:>11} {way:<9} {size / ours / 1e9:>8.3f} {size / raw / 1e9:>8.3f} {raw / ours:>6.2f}   "
        f"{min(ratios):.2f} to {max(ratios):.2f}"
    )


def chosen(only: list[str]) -> Iterator[str]:
    """The engines that are there."""
    for name in CHANNELS:
        if only and name not in only:
            continue
        if name == "postgresql" and not os.environ.get("BLOSSOM_TEST_PG_URL"):
            print("postgresql: no server (BLOSSOM_TEST_PG_URL is not set)")
            continue
        yield name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    rows = table(options.rows)
    size = float(rows.nbytes)
    load = "{:.1f} and {:.1f}".format(*os.getloadavg()[:2])
    print(f"{options.rows:,} rows, {size / 1e6:.0f} MB of Arrow, median of {options.repeat}; load {load}")
    print(f"{'engine':>11} {'way':<9} {'GB/s':>8} {'driver':>8} {'ratio':>6}   ratios of single turns")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        pq.write_table(rows, path)
        for name in chosen(options.only):
            with ExitStack() as stack:
                found = CHANNELS[name](stack, rows, path)
                out = alternating(found.ours_out, found.raw_out, options.repeat)
                print(figures(name, "out", size, out), flush=True)
                into = alternating(found.ours_into, found.raw_into, options.repeat)
                print(figures(name, "into", size, into), flush=True)


if __name__ == "__main__":
    main()
