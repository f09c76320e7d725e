"""Three workloads over a database and a lake: the plan that Blossom chooses beside every single engine that can run it whole.

    python tests/integration/postgres_server.py python benchmarks/wins.py [--rows 1000000] [--repeat 5]

    complaints  which of the fifty customers that spent most (lake) complain, and about what (PostgreSQL, indexed by customer)
    stores      takings by store (PostgreSQL) beside visitors by store (lake)
    receipts    a shop's receipts by day (SQLite, at its tills) beside the weather of the day (lake)

A single engine gets the other engine's table whole ("rows as they are"; loading it is part of its time, as it is of Blossom's), or
only the columns and rows that the question needs, chosen by the engine that has them ("filtered rows"), which is more than it could do alone.
Every engine has one thread. Cold: the first run of a new session; no engine has met the question, the planner has no
experience but calibration. Warm: the median of the following ones. Wanted: 1.5 times as fast as the fastest single engine, both ways.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from placements import singles

import blossom as bl
from blossom.executor.calibrating import Calibration
from blossom.executor.statistics import gather_all
from blossom.plan.errors import BlossomError

Pins = Mapping[int, str]

CUSTOMERS = 50_000
STORES = 400
DAYS = 1_000

HOPELESS = 6.0
"""A single engine is stopped when it has taken so many times as long as the chosen plan, and a second."""


# -- data ----------------------------------------------------------------------------------------------------------------


def database(rows: int) -> dict[str, pa.Table]:
    """What PostgreSQL has."""
    random = np.random.default_rng(1)
    tickets = pa.table(
        {
            "ticket": np.arange(rows),
            "customer": random.integers(0, CUSTOMERS, rows),
            "topic": [f"topic {i}" for i in random.integers(0, 20, rows)],
            "severity": random.integers(1, 6, rows),
        }
    )
    payments = pa.table(
        {
            "payment": np.arange(rows),
            "store": random.integers(0, STORES, rows),
            "cents": random.integers(100, 100_000, rows),
            "method": [f"method {i}" for i in random.integers(0, 5, rows)],
        }
    )
    return {"tickets": tickets, "payments": payments}


def lake(rows: int) -> dict[str, pa.Table]:
    """What lies as Parquet, three times as long."""
    random = np.random.default_rng(2)
    many = 3 * rows
    orders = pa.table(
        {
            "customer": random.integers(0, CUSTOMERS, many),
            "cents": random.exponential(5_000, many).astype(np.int64),
            "item": random.integers(0, 10_000, many),
        }
    )
    visits = pa.table(
        {"store": random.integers(0, STORES, many), "minutes": random.exponential(20, many), "hour": random.integers(8, 20, many)}
    )  # fmt: skip
    weather = pa.table(
        {"day": random.integers(0, DAYS, many), "degrees": random.normal(12, 8, many), "station": random.integers(0, 50, many)}
    )  # fmt: skip
    return {"orders": orders, "visits": visits, "weather": weather}


def load_postgresql(url: str, rows: int) -> None:
    """Its tables, indexed and analysed."""
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS wins CASCADE")
        cursor.execute("CREATE SCHEMA wins")
        for name, table in database(rows).items():
            cursor.adbc_ingest(name, table, mode="create", db_schema_name="wins")
        cursor.execute("CREATE INDEX ON wins.tickets (customer)")
        cursor.execute("ANALYZE wins.tickets")
        cursor.execute("ANALYZE wins.payments")
        connection.commit()


def load_sqlite(path: Path, rows: int) -> None:
    """The tills' receipts."""
    random = np.random.default_rng(3)
    columns = (np.arange(rows), random.integers(0, DAYS, rows), random.integers(100, 20_000, rows))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE receipts (receipt INTEGER, day INTEGER, cents INTEGER)")
        connection.executemany(
            "INSERT INTO receipts VALUES (?, ?, ?)",
            zip(*(column.tolist() for column in columns), strict=True),
        )
        connection.commit()


def configuration(folder: Path, url: str, rows: int) -> dict[str, Any]:
    """One site with a database, the tills' files, a lake and two engines to read it."""
    load_postgresql(url, rows)
    load_sqlite(folder / "tills.db", rows)
    tables: dict[str, Any] = {
        name: {"platform": "postgresql", "source": f"wins.{name}"} for name in ("tickets", "payments")
    }
    tables["receipts"] = {"platform": "sqlite", "source": "receipts"}
    for name, table in lake(rows).items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        tables[name] = {"platform": "polars" if name == "visits" else "duckdb", "source": str(path)}
    platforms = {
        "duckdb": {"kind": "duckdb", "threads": 1},
        "polars": {"kind": "polars"},
        "postgresql": {"kind": "postgresql", "url": url},
        "sqlite": {"kind": "sqlite", "database": str(folder / "tills.db")},
    }
    published = {name: table | {"policy": {"release": "rows"}} for name, table in tables.items()}
    return {
        "hub": {"state": str(folder / "state")},
        "sites": {"one": {"platforms": platforms, "tables": published, "state": str(folder / "site")}},
    }


# -- workloads -----------------------------------------------------------------------------------------------------------


def complaints(fed: Any) -> Any:
    """What the best customers complain about."""
    orders, tickets = fed.table("orders"), fed.table("tickets")
    best = orders.group_by("customer").agg(spent=orders.cents.sum())
    best = best.order_by(ibis.desc("spent"), "customer").limit(50)
    theirs = tickets.join(best, "customer")
    return theirs.group_by("topic").agg(n=theirs.count(), worst=theirs.severity.max())


def stores(fed: Any) -> Any:
    """Takings a visitor, by store."""
    payments, visits = fed.table("payments"), fed.table("visits")
    taken = payments.group_by("store").agg(cents=payments.cents.sum())
    seen = visits.group_by("store").agg(visitors=visits.count(), minutes=visits.minutes.mean())
    both = taken.join(seen, "store")
    return both.mutate(each=both.cents / both.visitors)


def receipts(fed: Any) -> Any:
    """Takings and temperature by day."""
    tills, weather = fed.table("receipts"), fed.table("weather")
    taken = tills.group_by("day").agg(cents=tills.cents.sum(), n=tills.count())
    warm = weather.group_by("day").agg(degrees=weather.degrees.mean())
    return taken.join(warm, "day")


WORKLOADS: Mapping[str, Callable[[Any], Any]] = {
    "complaints": complaints,
    "stores": stores,
    "receipts": receipts,
}


# -- measuring -----------------------------------------------------------------------------------------------------------


def timed(
    config: Mapping[str, Any],
    make: Callable[[Any], Any],
    pins: Pins | None,
    repeat: int,
    cap: float = threading.TIMEOUT_MAX,
) -> tuple[float, float]:
    """Seconds of the first run in a new session, and the median of the others; its plan is made within the first.

    Raises:
        BlossomError: A run failed, or was stopped after `cap` seconds.
    """
    with bl.connect(config) as fed:
        expression = make(fed)
        times: list[float] = []
        for _ in range(repeat + 1):
            timer = threading.Timer(cap, lambda: fed.last_run.cancel())
            timer.start()
            began = time.perf_counter()
            try:
                fed.run(expression, pins=pins)
            finally:
                timer.cancel()
            times.append(time.perf_counter() - began)
    return times[0], statistics.median(times[1:])


def measure(config: Mapping[str, Any], name: str, repeat: int) -> None:
    """A workload's lines of the table."""
    make = WORKLOADS[name]
    with bl.connect(config) as fed:
        alone = list(singles(fed, make(fed)))
        chosen = fed.explain(make(fed)).plan
    places = " + ".join(dict.fromkeys(str(one.location) for one in chosen.fragments))
    ours = timed(config, make, None, repeat)
    print(f"{name}: {places}: cold {ours[0]:.2f} s, warm {ours[1]:.2f} s", flush=True)
    found: list[tuple[float, float, str]] = []
    for one in alone:
        try:
            times = timed(config, make, one.pins, min(repeat, 3), HOPELESS * ours[0] + 1)
        except BlossomError as error:
            print(f"  {one.label}: stopped or failed ({error.what}), limit {HOPELESS * ours[0] + 1:.1f} s")
            continue
        print(
            f"  {one.label}: cold {times[0]:.2f} s ({times[0] / ours[0]:.1f}x), warm {times[1]:.2f} s ({times[1] / ours[1]:.1f}x)",
            flush=True,
        )
        found.append((times[0] / ours[0], times[1] / ours[1], one.label))
    for way, at in (("cold", 0), ("warm", 1)):
        best = min(found, key=lambda each: each[at])
        whole = min((each for each in found if "as they are" in each[2]), key=lambda each: each[at])
        print(f"  {way}: {whole[at]:.2f} times as fast as {whole[2]}; {best[at]:.2f} as {best[2]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0.2, help="of calibration, a platform")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    url = os.environ.get("BLOSSOM_TEST_PG_URL")
    if not url:
        print("nothing is measured: the workloads need PostgreSQL, and BLOSSOM_TEST_PG_URL is not set")
        return
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(Path(folder), url, options.rows)
        with bl.connect(config) as fed:
            for _ in Calibration(fed.federation, options.minutes * 60).run(lambda _: None):
                pass
            gather_all(fed.federation)
        load = "{:.1f} and {:.1f}".format(*os.getloadavg()[:2])
        print(f"{options.rows:,} rows a table, the lake's {3 * options.rows:,}; load {load}", flush=True)
        for name in WORKLOADS:
            if not options.only or name in options.only:
                measure(config, name, options.repeat)


if __name__ == "__main__":
    main()
