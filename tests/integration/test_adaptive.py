"""A run adapts: sizes that lie, engines that are lost, memory that ends, many runs at once; and nothing is left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.plan.errors import PlatformError
from blossom.plan.relations import Aggregate, Join
from blossom.platforms.duckdb import DuckDB

ROWS = 60_000
OPEN = {"release": "rows"}


def numbers(rows: int, value: str) -> pa.Table:
    ids = np.arange(rows)
    return pa.table({"id": ids, "k": ids % 100, value: ids * 0.5})


@pytest.fixture
def two_sites(tmp_path: Path) -> dict[str, Any]:
    """Table a at north; a larger table b at south, in SQLite, where DuckDB and Polars may join too."""
    pq.write_table(numbers(ROWS, "x"), tmp_path / "a.parquet")
    south = tmp_path / "south.sqlite"
    with sqlite3.connect(south) as connection:
        connection.execute("CREATE TABLE b (id INTEGER, g INTEGER, y REAL)")
        connection.executemany(
            "INSERT INTO b VALUES (?, ?, ?)", ((i, i % 7, i * 0.25) for i in range(4 * ROWS))
        )
    connection.close()
    north = {"a": {"source": str(tmp_path / "a.parquet"), "policy": {**OPEN, "to": ["hub", "site:south"]}}}
    wide = {"b": {"platform": "lite", "source": "b", "policy": OPEN}}
    lite = {"kind": "sqlite", "database": str(south)}
    return {
        "sites": {
            "north": {"tables": north},
            "south": {"platforms": {"lite": lite, "polars": {"kind": "polars"}}, "tables": wide},
        }
    }


@pytest.fixture
def session(two_sites: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Only south joins."""
    with bl.connect(two_sites) as fed:
        without_join(fed, monkeypatch, "north", "duckdb")
        monkeypatch.setattr(fed.federation.hub, "unsupported", _no_join(fed.federation.hub.unsupported))
        yield fed
    assert not started()


_before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def before() -> None:
    """Which threads other tests have left."""
    _before.clear()
    _before.update(threading.enumerate())


def started() -> list[str]:
    """Blossom's threads that this test has started and that still run."""
    alive = (one for one in threading.enumerate() if one not in _before)
    return [one.name for one in alive if one.name.startswith("blossom-")]


def question(fed: Any) -> Any:
    joined = fed.table("b").join(fed.table("a").mutate(z=_.x * 2), "id")
    return joined.group_by("g").agg(n=_.count(), s=_.z.sum()).order_by("g")


def answer() -> dict[str, list[Any]]:
    ids = np.arange(ROWS)
    groups = [ids[ids % 7 == g] for g in range(7)]
    return {"g": list(range(7)), "n": [len(one) for one in groups], "s": [float(one.sum()) for one in groups]}


def lying(fed: Any, monkeypatch: pytest.MonkeyPatch, site: str, table: str, rows: int) -> None:
    """A site that tells a wrong size of a table."""
    one = fed.federation.sites[site]
    told = one.rows
    monkeypatch.setattr(one, "rows", lambda name: rows if name == table else told(name))


def without_join(fed: Any, monkeypatch: pytest.MonkeyPatch, site: str, *platforms: str) -> None:
    """Platforms that can join no more."""
    one = fed.federation.sites[site]
    can = one.unsupported

    def unsupported(platform: str, node: Any) -> str | None:
        return "it may not" if platform in platforms and isinstance(node, Join) else can(platform, node)

    monkeypatch.setattr(one, "unsupported", unsupported)


# -- sizes that lie


def test_the_rest_is_planned_anew_when_a_size_surprises(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(session, monkeypatch, "north", "a", 6)
    real = session._planner.rest
    before: list[str] = []

    def rest(planned: Any, **options: Any) -> Any:
        inner = real(planned, **options)

        def plan(*arguments: Any) -> Any:
            # what joined before may not join now, so that another place must be found
            (place,) = {f.location.platform for f in planned.physical.fragments if _joins(f)}
            before.append(place)
            without_join(session, monkeypatch, "south", place)
            return inner(*arguments)

        return plan

    monkeypatch.setattr(session._planner, "rest", rest)
    run = session.run(question(session))
    assert run.result.to_pydict() == answer()
    assert before
    (text,) = [event.text for event in run.events if "planned anew" in event.text]
    assert "gave 60,000 rows, where 6 to 6 were expected" in text
    assert "instead" in text
    assert text in " ".join(str(run.explain()).split())
    (joined,) = [f for f in run._execution.plan.fragments if _joins(f)]
    assert joined.location.platform != before[0]
    # what had left was not asked for again
    assert [(one.site, one.recipient) for one in run.releases].count(("north", "south")) == 1


def _joins(fragment: Any) -> bool:
    return any(isinstance(node, Join) for node in fragment.root.walk())


def test_a_lie_that_changes_nothing_is_told_and_the_run_goes_on(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(session, monkeypatch, "north", "a", 6)
    run = session.run(question(session))
    assert run.result.to_pydict() == answer()
    (text,) = [event.text for event in run.events if "planned anew" in event.text]
    assert "north gave 60,000 rows" in text


def test_an_honest_plan_is_not_planned_anew(session: Any) -> None:
    run = session.run(question(session))
    assert run.result.to_pydict() == answer()
    assert not [event for event in run.events if "planned anew" in event.text]


def test_a_plan_that_cannot_be_made_anew_stands(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lying(session, monkeypatch, "north", "a", 6)
    real = session._planner.rest

    def rest(planned: Any, **options: Any) -> Any:
        inner = real(planned, **options)

        def plan(*arguments: Any) -> Any:
            without_join(session, monkeypatch, "south", "duckdb", "polars", "lite")
            return inner(*arguments)

        return plan

    monkeypatch.setattr(session._planner, "rest", rest)
    run = session.run(question(session))
    assert run.result.to_pydict() == answer()
    assert any("it goes on as it was" in event.text for event in run.events)


# -- engines that are lost


class Failing:
    """Makes an engine fail at joins."""

    def __init__(self, fed: Any, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException]) -> None:
        self.failed = 0
        place = fed.federation.sites["south"]._place
        run = place.run

        def failing(platform: str, root: Any, inputs: Any, cancellation: Any) -> Any:
            if not any(isinstance(node, Join) for node in root.walk()) or self.failed:
                return run(platform, root, inputs, cancellation)
            self.failed += 1
            self.platform = platform
            for reader in inputs.values():  # it had read all of it
                reader.read_all()
            raise error()

        monkeypatch.setattr(place, "run", failing)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (lambda: PlatformError("Out of Memory Error: failed to allocate"), "ran out of memory"),
        (lambda: PlatformError("could not write to file: No space left on device"), "ran out of disk"),
        (lambda: PlatformError("server closed the connection unexpectedly"), "closed the connection"),
    ],
)
def test_another_engine_takes_over(
    session: Any, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException], why: str
) -> None:
    without_join(session, monkeypatch, "south", "lite")  # the tables are its own
    failing = Failing(session, monkeypatch, error)
    run = session.run(question(session))
    assert run.result.to_pydict() == answer()
    assert failing.failed == 1
    (text,) = [event.text for event in run.events if "planned anew without it" in event.text]
    assert text.startswith(f"{failing.platform}@south {why}")
    assert text in " ".join(str(run.explain()).split())
    assert not session.federation.sites["south"]._runs
    # what north gave was kept, and not asked for again
    assert [(one.site, one.recipient) for one in run.releases].count(("north", "south")) == 1


def _no_join(can: Callable[[str, Any], str | None]) -> Callable[[str, Any], str | None]:
    return lambda platform, node: "it may not" if isinstance(node, Join) else can(platform, node)


def test_an_error_in_the_data_is_no_reason_to_try_again(session: Any) -> None:
    wrong = session.table("a").mutate(v=(_.k.cast("string") + "x").cast("int64")).agg(s=_.v.sum())
    with pytest.raises(PlatformError, match=r"(?i)convert|conversion"):
        session.run(wrong)
    assert not [event for event in session.last_run.events if "planned anew" in event.text]


def test_rows_are_never_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(numbers(300_000, "x"), tmp_path / "a.parquet")
    config = {"sites": {"north": {"tables": {"a": {"source": str(tmp_path / "a.parquet"), "policy": OPEN}}}}}
    with bl.connect(config) as fed:
        run = DuckDB.run

        def breaking(self: DuckDB, *arguments: Any) -> pa.RecordBatchReader:
            reader = run(self, *arguments)

            def batches() -> Iterator[pa.RecordBatch]:
                yield reader.read_next_batch()
                raise PlatformError("Out of Memory Error: of the second batch")

            return pa.RecordBatchReader.from_batches(reader.schema, batches())

        monkeypatch.setattr(DuckDB, "run", breaking)
        stream = fed.to_pyarrow_batches(fed.table("a"))
        with pytest.raises(PlatformError, match="rows of the result had been given"):
            stream.read_all()
    assert not started()


def test_an_engine_whose_memory_really_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 1_000_000
    texts = pa.array([f"text {i} of some length to fill the memory" for i in range(rows)])
    pq.write_table(pa.table({"t": texts, "x": np.arange(rows) * 0.5}), tmp_path / "a.parquet")
    platforms = {
        "duckdb": {"kind": "duckdb", "threads": 1, "memory_limit": "10MB"},
        "polars": {"kind": "polars"},
        "datafusion": {"kind": "datafusion", "threads": 1},
    }
    table = {"platform": "datafusion", "source": str(tmp_path / "a.parquet"), "policy": OPEN}
    with bl.connect({"sites": {"north": {"platforms": platforms, "tables": {"a": table}}}}) as fed:
        cannot = {"datafusion", "polars"}
        site, hub = fed.federation.sites["north"], fed.federation.hub
        for place, of in ((site, cannot), (hub, {"duckdb", "python"})):
            monkeypatch.setattr(place, "unsupported", _no_aggregate(place.unsupported, of))
        each = fed.table("a").group_by("t").agg(n=_.count(), m=_.x.max())
        total = each.group_by("n").agg(c=_.count(), m=_.m.max())
        fed.explain(total)  # DuckDB is to group, the only one that can
        cannot.discard("polars")
        run = fed.run(total)
        assert run.result.to_pydict() == {"n": [1], "c": [rows], "m": [(rows - 1) * 0.5]}
        (text,) = [event.text for event in run.events if "planned anew" in event.text]
        assert text.startswith("duckdb@north ran out of memory; planned anew without it")
        assert "polars@north" in text


def _no_aggregate(can: Callable[[str, Any], str | None], of: set[str]) -> Callable[[str, Any], str | None]:
    def unsupported(platform: str, node: Any) -> str | None:
        return "it may not" if isinstance(node, Aggregate) and platform in of else can(platform, node)

    return unsupported


@contextlib.contextmanager
def own_server() -> Iterator[tuple[str, Any]]:
    """A server that a test may kill, and the driver."""
    spec = importlib.util.spec_from_file_location("pg", Path(__file__).parent / "postgres_server.py")
    assert spec is not None
    assert spec.loader is not None
    pg = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pg)
    if pg.binaries() is None:
        pytest.skip("no PostgreSQL server is installed")
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    with pg.server() as url:
        yield url, dbapi


def slow(url: str, seconds: int) -> dict[str, Any]:
    """A table whose rows take so long."""
    query = f"SELECT g AS id, pg_sleep({seconds})::text AS s FROM generate_series(1, 2) g"
    table = {"platform": "pg", "query": query, "policy": OPEN}
    return {
        "sites": {"north": {"platforms": {"pg": {"kind": "postgresql", "url": url}}, "tables": {"b": table}}}
    }


def asked(url: str, dbapi: Any, query: str) -> Any:
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def sleeping(url: str, dbapi: Any) -> int:
    """How many of the server's sessions run such a query."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    return int(asked(url, dbapi, busy))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_statement_that_never_returns_is_stopped(tmp_path: Path) -> None:
    with own_server() as (url, dbapi), bl.connect(slow(url, 600)) as fed:
        question = fed.table("b").agg(n=_.count(), s=_.s.max())
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(fed.run, question)
            wait_until(lambda: sleeping(url, dbapi) == 1)
            fed.last_run.cancel()
            with pytest.raises(bl.BlossomError, match="cancelled"):
                run.result(20)
        wait_until(lambda: sleeping(url, dbapi) == 0)
        with pytest.raises(bl.BudgetError, match="budget"):
            fed.run(question, budget=bl.Budget(seconds=3))
        wait_until(lambda: sleeping(url, dbapi) == 0)
        assert not fed.federation.sites["north"]._runs
        assert not [event for event in fed.last_run.events if "planned anew" in event.text]
    wait_until(lambda: not started())


@pytest.mark.parametrize("kill", [signal.SIGQUIT, signal.SIGKILL])
def test_a_server_killed_in_the_middle_is_one_clear_error(kill: signal.Signals) -> None:
    with own_server() as (url, dbapi), bl.connect(slow(url, 600)) as fed:
        server = int(asked(url, dbapi, "SELECT pg_read_file('postmaster.pid')").split()[0])
        question = fed.table("b").agg(n=_.count(), s=_.s.max())
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(fed.run, question)
            wait_until(lambda: sleeping(url, dbapi) == 1)
            backend = int(asked(url, dbapi, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
            os.kill(server, kill)
            if kill == signal.SIGKILL:  # the sessions of a server killed so live on
                os.kill(backend, kill)
            with pytest.raises(PlatformError) as caught:
                run.result(40)
        assert "pg@north" in str(caught.value)
        assert "the tables b live there" in str(caught.value)
        assert "start the engine again" in str(caught.value)
        assert not fed.federation.sites["north"]._runs
    wait_until(lambda: not started())


# -- memory that ends


def test_what_does_not_fit_is_spilled_and_memory_stays_bounded(tmp_path: Path) -> None:
    rows = 6_000_000
    ids = np.arange(rows)
    pq.write_table(
        pa.table({"id": ids, "k": ids % 10, "x": ids * 0.5, "w": ids * 0.25}), tmp_path / "a.parquet"
    )
    body = """
        import json, sys, os
        import blossom as bl
        from ibis import _
        config = json.loads(sys.argv[1])
        limits = config.pop("expect")
        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
        with bl.connect(config) as fed:
            a = fed.table("a")
            fed.run(a.limit(3))
            start = peak()
            site = fed.federation.sites["north"]
            room = fed.federation.room
            from blossom.sites.spool import Spool
            spools = []
            of = Spool.of.__func__
            def kept(cls, *arguments):
                made = of(cls, *arguments)
                spools.append((made.bytes, made.spilled))
                return made
            Spool.of = classmethod(kept)
            # the rows are read by two: by the join, and by the sum
            wide = a.mutate(v=_.x + _.w)
            n = wide.join(fed.table("c"), "k").agg(n=_.count(), s=_.v.sum())
            found = fed.run(n).result.to_pydict()
            from blossom.executor.run import Execution
            import pyarrow as pa
            from blossom.sites.site import Site
            from blossom.sites.tasks import Task
            from blossom.plan.relations import Scan
            from blossom.platforms.interface import Cancellation
            scan = Scan("a", fed.federation.descriptions["north"].tables["a"].schema, "north")
            before = peak()
            task = Task("run", "f0", scan, "duckdb", (), {}, Cancellation(), keep=2)
            site.run(task)
            read = [sum(b.num_rows for b in site._read("run", "f0")) for _i in range(2)]
            site.forget("run")
        print(json.dumps({"found": found, "grown": peak() - start, "spools": spools, "read": read}))
    """
    pq.write_table(pa.table({"k": np.arange(10), "c": np.arange(10)}), tmp_path / "c.parquet")
    state = tmp_path / "state"
    config = {
        "expect": {},
        "hub": {"memory_limit": "16MiB"},
        "sites": {
            "north": {
                "memory_limit": "16MiB",
                "state": str(state),
                "platforms": {"duckdb": {"kind": "duckdb", "threads": 1, "memory_limit": "100MB"}},
                "tables": {"a": {"source": str(tmp_path / "a.parquet"), "policy": OPEN}},
            },
            "south": {"tables": {"c": {"source": str(tmp_path / "c.parquet"), "policy": OPEN}}},
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body), json.dumps(config)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["found"] == {"n": [rows], "s": [float(np.sum(ids * 0.75))]}
    assert told["read"] == [rows, rows]
    size, spilled = told["spools"][-1]
    assert size >= 32 * rows
    assert spilled > 0.8 * size
    assert told["grown"] < 170 << 20, told
    assert not list(state.glob("spill-*"))


# -- many at once


def test_eight_runs_at_once_do_not_disturb_each_other(tmp_path: Path, postgres_url: str) -> None:
    import adbc_driver_postgresql.dbapi as dbapi

    name = f"adaptive_{os.getpid()}"
    with dbapi.connect(postgres_url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(name, numbers(5000, "y"))
        connection.commit()
    pq.write_table(numbers(5000, "x"), tmp_path / "a.parquet")
    config = {
        "sites": {
            "north": {"tables": {"a": {"source": str(tmp_path / "a.parquet"), "policy": OPEN}}},
            "south": {
                "platforms": {"pg": {"kind": "postgresql", "url": postgres_url}},
                "tables": {"b": {"platform": "pg", "source": name, "policy": OPEN}},
            },
        }
    }
    try:
        with bl.connect(config) as fed:

            def one(i: int) -> tuple[int, int, float]:
                a = fed.table("a").filter(_.id % 8 == i)
                joined = a.join(fed.table("b"), "id").agg(n=_.count(), least=_.id.min(), s=_.y.sum())
                row = fed.run(joined).result.to_pylist()[0]
                return row["n"], row["least"], row["s"]

            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(one, [*range(8), *range(8)]))
            for i, (n, least, total) in enumerate(found):
                mine = np.arange(5000)[np.arange(5000) % 8 == i % 8]
                assert (n, least, total) == (len(mine), i % 8, float((mine * 0.5).sum()))
            assert all(not site._runs for site in fed.federation.sites.values())
            assert fed.federation.room.free == fed.federation.room.size
    finally:
        with dbapi.connect(postgres_url) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {name}")
            connection.commit()
    assert not started()
