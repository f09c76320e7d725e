"""More groups, rows, disk, threads and patience than there is: it streams, or stops with one error and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.executor.records import RunRecords
from blossom.sites.audit import AuditLog

Published = Callable[..., dict[str, Any]]
MB = 1 << 20


def script(body: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process of its own that runs `body`; `config` is its first argument, read as JSON."""
    head = """
        import json, os, resource, signal, sys, threading, time
        from pathlib import Path
        import blossom as bl
        from ibis import _
        config = json.loads(sys.argv[1])
        def peak():
            # not ru_maxrss: that also remembers how large the process was that this one was forked from
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def told(body: str, config: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What the process prints as its last line of JSON."""
    process = script(body, json.dumps(config), **options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def many(rows: int) -> pa.Table:
    numbers = np.arange(rows)
    return pa.table(
        {"id": numbers, "k": numbers, "x": numbers * 0.5, "y": numbers % 3 == 0, "text": numbers.astype(str)}
    )


# -- more groups and rows than is comfortable


def test_a_million_groups(published: Published) -> None:
    site = published(many(1_000_000), {"release": "aggregates", "min_group": 1, "privacy_unit": "id"})
    found = told(
        """
        fed = bl.connect(config)
        groups = fed.table("t").group_by("k").agg(n=_.count(), x=_.x.sum())
        rows = sums = 0
        for batch in groups.to_pyarrow_batches():
            rows += batch.num_rows
            sums += sum(batch["n"].to_pylist())
        print(json.dumps({"rows": rows, "sums": sums, "peak": peak(), "outcome": fed.last_run.outcome}))
        """,
        {"sites": {"north": site, "south": site}},
    )
    assert (found["rows"], found["sums"], found["outcome"]) == (1_000_000, 2_000_000, "done")
    assert found["peak"] < 1500 * MB


def wide(published: Published, limit: str | None = None) -> dict[str, Any]:
    """A site whose table joined with itself gives 40 million rows, about 1.3 GB as Arrow."""
    site = published(many(20_000))
    if limit:
        site["platforms"]["duckdb"]["memory_limit"] = limit
    return {"sites": {"north": site}}


CROSS = """
fed = bl.connect(config)
t = fed.table("t")
few = t.filter(t.id < 2000).select(other="id")
rows = t.select("id", "k", "x").cross_join(few)
"""


def test_a_result_larger_than_memory_streams(published: Published, tmp_path: Path) -> None:
    found = told(
        textwrap.dedent(CROSS)
        + textwrap.dedent(
            f"""
            before = peak()
            count = sum(batch.num_rows for batch in rows.to_pyarrow_batches())
            streamed = peak() - before
            half = rows.filter(_.other < 500)
            half.to_parquet({str(tmp_path / "out.parquet")!r})
            print(json.dumps({{"rows": count, "streamed": streamed, "written": peak() - before}}))
            """
        ),
        wide(published, "100MB"),
    )
    assert found["rows"] == 40_000_000
    assert found["streamed"] < 400 * MB
    assert found["written"] < 600 * MB
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == 10_000_000


def test_more_than_an_engine_may_use_is_one_error(published: Published) -> None:
    site = published(many(200_000))
    site["platforms"]["duckdb"] |= {"memory_limit": "2MB"}
    fed = bl.connect({"sites": {"north": site}})
    rows = fed.table("t")
    with pytest.raises(bl.PlatformError, match=r"(?i)out of memory"):
        rows.join(rows.view(), "k").order_by(_.text).to_pyarrow()
    assert fed.last_run is not None
    assert fed.last_run.outcome == "failed"


# -- files appear whole or not at all


def failing(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch["id"][-1].as_py() > 100_000:
        raise ValueError("no further")
    return batch.select(["id"])


def test_a_parquet_file_that_fails_midway_is_not_there(published: Published, tmp_path: Path) -> None:
    fed = bl.connect({"sites": {"north": published(many(300_000))}})
    target = tmp_path / "out" / "rows.parquet"
    target.parent.mkdir()
    bad = fed.table("t").order_by("id").pipe(bl.map_batches, failing, schema={"id": "int64"})
    with pytest.raises(bl.PlatformError, match="no further"):
        bad.to_parquet(target)
    assert list(target.parent.iterdir()) == []
    target.write_text("before")
    with pytest.raises(bl.PlatformError, match="no further"):
        bad.to_parquet(target)
    assert target.read_text() == "before"
    fed.table("t").to_parquet(target)
    assert pq.read_metadata(target).num_rows == 300_000
    assert [one.name for one in target.parent.iterdir()] == ["rows.parquet"]


def test_a_folder_that_is_not_there(published: Published, tmp_path: Path) -> None:
    fed = bl.connect({"sites": {"north": published(many(10))}})
    with pytest.raises(bl.BlossomError, match="cannot be written"):
        fed.table("t").to_parquet(tmp_path / "gone" / "rows.parquet")


FULL = """
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""


def test_a_full_disk_leaves_no_written_table(published: Published, tmp_path: Path) -> None:
    sites = {
        name: published(many(rows), name=name) | {"state": str(tmp_path / name)}
        for name, rows in (("small", 10), ("large", 500_000))
    }
    found = told(
        """
        fed = bl.connect(config)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            fed.write(fed.table("t"), table="copy")
        except bl.BlossomError as error:
            print(json.dumps({"error": type(error).__name__, "text": str(error), "tables": fed.list_tables(), "outcome": fed.last_run.outcome}))
        """,
        {"sites": sites},
    )
    assert (found["error"], found["tables"], found["outcome"]) == ("SiteError", ["t"], "failed")
    assert "site large" in found["text"]
    assert "free some disk" in found["text"]
    assert [path for name in sites for path in (tmp_path / name).rglob("*copy*")] == []


def test_nothing_leaves_when_the_audit_log_cannot_grow(published: Published, tmp_path: Path) -> None:
    site = published(many(1000)) | {"state": str(tmp_path / "north")}
    found = told(
        """
        fed = bl.connect(config)
        fed.table("t").x.sum().execute()
        log = Path(config["sites"]["north"]["state"]) / "audit.jsonl"
        size = log.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        seen = []
        try:
            for batch in fed.table("t").select("id").to_pyarrow_batches():
                seen.append(batch.num_rows)
        except bl.BlossomError as error:
            print(json.dumps({"error": type(error).__name__, "text": str(error), "seen": seen}))
        """,
        {"sites": {"north": site}},
    )
    assert (found["error"], found["seen"]) == ("SiteError", [])
    log = AuditLog(tmp_path / "north" / "audit.jsonl")
    checked = log.verify()
    log.close()
    assert checked.ok, checked


# -- Ctrl-C


WAITING = """
fed = bl.connect(config)
t = fed.table("t")
print("ready", flush=True)
began = time.monotonic()
try:
    {work}
except KeyboardInterrupt:
    threads = [one.name for one in threading.enumerate() if one is not threading.main_thread() and "records" not in one.name]
    print(json.dumps({{"seconds": time.monotonic() - began, "threads": threads, "outcome": fed.last_run.outcome}}), flush=True)
    raise
print("ended", flush=True)
"""

LONG = {
    "query": "few = t.select(other='k'); t.cross_join(few).filter(_.k * _.other % 1_000_003 == 5).agg(n=_.count()).execute()",
    "rows": "few = t.select(other='k'); [None for batch in t.cross_join(few).to_pyarrow_batches()]",
    "fit": "bl.train(bl.LogisticRegression(), t, target='y', features=['x', 'k']).fit()",
}


@pytest.mark.parametrize("work", ["query", "rows", "fit"])
def test_ctrl_c_leaves_nothing_behind(published: Published, tmp_path: Path, work: str) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    policy = (
        {"release": "rows"}
        if work != "fit"
        else {"release": "aggregates", "min_group": 5, "privacy_unit": "id", "training": "updates"}
    )
    rows = 200_000 if work != "fit" else 6_000_000
    table = (
        many(rows)
        if work != "fit"
        else pa.table(
            {
                "id": np.arange(rows),
                "k": np.arange(rows) % 1000,
                "x": np.random.default_rng(0).normal(size=rows),
                "y": np.arange(rows) % 3 == 0,
            }
        )
    )
    config = {
        "hub": {"state": str(tmp_path / "hub")},
        "sites": {"north": published(table, policy) | {"state": str(tmp_path / "north")}},
    }
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = script(WAITING.format(work=LONG[work]), json.dumps(config), env=environment)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == "ready\n", process.communicate()[1]
    time.sleep(1.0)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert "ended" not in out, "the work was over before Ctrl-C"
    assert process.returncode in (-signal.SIGINT, 130, 1), err
    found = json.loads(out.splitlines()[-1])
    if work != "rows":  # a stream that is given up ends when its reader goes, at the latest with the process
        assert (found["outcome"], found["threads"]) == ("cancelled", [])
    assert list(temporary.iterdir()) == []
    assert [
        one.name for one in (tmp_path / "north").iterdir() if not one.name.startswith(("audit", "ledger"))
    ] == []
    with RunRecords(tmp_path / "hub" / "runs.db") as records:
        assert [one.outcome for one in records.runs()] == ["cancelled"]


def test_a_session_that_closes_stops_what_it_streams(published: Published, tmp_path: Path) -> None:
    fed = bl.connect(wide(published) | {"hub": {"state": str(tmp_path / "hub")}})
    rows = fed.table("t")
    reader = rows.cross_join(rows.select(other="id")).to_pyarrow_batches()
    assert reader.read_next_batch().num_rows
    run = fed.last_run
    assert run is not None
    began = time.monotonic()
    fed.disconnect()
    assert time.monotonic() - began < 5
    assert run.outcome == "cancelled"
    assert [one.name for one in threading.enumerate() if run.id[:8] in one.name] == []
    with pytest.raises(Exception, match="cancelled"):
        reader.read_all()
    with RunRecords(tmp_path / "hub" / "runs.db") as records:
        assert [one.outcome for one in records.runs()] == ["cancelled"]


# -- several at once


def test_two_sessions_on_one_configuration(published: Published, tmp_path: Path) -> None:
    config = {
        "hub": {"state": str(tmp_path / "hub")},
        "sites": {"north": published(many(1000)) | {"state": str(tmp_path / "north")}},
    }
    one, two = bl.connect(config), bl.connect(config)
    with ThreadPoolExecutor(2) as pool:
        sums = [pool.submit(lambda fed=fed: fed.table("t").x.sum().execute()) for fed in (one, two) * 5]
    assert {future.result() for future in sums} == {999 * 1000 / 4}
    assert len(one.records.runs()) == 10
    assert two.table("t").count().execute() == 1000
    one.disconnect()
    assert two.table("t").count().execute() == 1000
    two.disconnect()
    log = AuditLog(tmp_path / "north" / "audit.jsonl")
    checked = log.verify()
    log.close()
    assert checked.ok, checked


def test_one_session_from_four_threads(published: Published) -> None:
    policy = {"release": "aggregates", "min_group": 5, "privacy_unit": "id", "training": "updates"}
    fed = bl.connect(
        {"sites": {"north": published(many(3000), policy), "south": published(many(2000), policy, name="b")}}
    )
    rows = fed.table("t")
    start = threading.Barrier(4)

    def work(number: int) -> tuple[list[int], list[float]]:
        start.wait()
        counts = [rows.agg(n=_.count(), x=_.x.mean()).execute()["n"][0] for _unused in range(5)]
        if number % 2:
            return counts, []
        model = bl.train(bl.Ridge(), rows, target="x", features=["k"])
        return counts, model.fit().coef_.tolist()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))
    assert {n for counts, _unused in done for n in counts} == {5000}
    fits = [coefficients for _unused, coefficients in done if coefficients]
    assert fits[0] == fits[1]
    assert [one.kind for one in fed.records.runs()].count("fit") == 1
