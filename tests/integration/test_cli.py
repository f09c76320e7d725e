"""The command line as real processes: the demo's promises, Ctrl-C on long work, a reader that goes away."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

BLOSSOM = [sys.executable, "-m", "blossom.cli"]

LONG = """
[sites.north.tables.numbers]
query = "SELECT range AS a FROM range(100000000000)"
[sites.north.tables.numbers.policy]
release = "rows"
"""
"""A table whose sum takes minutes, and no memory."""

PIPELINES = """
from ibis import _

def pipeline(fed):
    return fed.table("numbers").aggregate(total=(_.a % 7).sum())

def short(fed):
    return fed.table("numbers").limit(20_000)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """One thread an engine, and temporary files where the test can see them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    own = {
        "TMPDIR": str(folder),
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error",
    }
    return {**os.environ, **own}


@pytest.fixture
def long(tmp_path: Path) -> Path:
    folder = tmp_path / "federation"
    folder.mkdir()
    (folder / "blossom.toml").write_text(LONG)
    (folder / "p.py").write_text(PIPELINES)
    return folder


def _outcomes(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / ".blossom" / "hub" / "runs.db")) as database:
        return [outcome for (outcome,) in database.execute("SELECT outcome FROM run ORDER BY started")]


@pytest.fixture
def started(environment: Mapping[str, str], long: Path) -> Iterator[subprocess.Popen[str]]:
    """A long run, once it is in the records: then its query runs."""
    process = subprocess.Popen(
        [*BLOSSOM, "run", "p.py"],
        cwd=long,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        records = long / ".blossom" / "hub" / "runs.db"
        patience = time.monotonic() + 60
        while not (records.exists() and _has_run(records)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < patience, "the run did not start"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def _has_run(records: Path) -> bool:
    with closing(sqlite3.connect(records)) as database:
        try:
            return database.execute("SELECT count(*) FROM run").fetchone() == (1,)
        except sqlite3.OperationalError:  # the file is there before its tables are
            return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_stops_at_once_and_leaves_nothing_half_written(
    started: subprocess.Popen[str],
    environment: Mapping[str, str],
    long: Path,
    number: signal.Signals,
    code: int,
) -> None:
    began = time.monotonic()
    started.send_signal(number)
    out, err = started.communicate(timeout=30)
    assert started.returncode == code, err
    assert time.monotonic() - began < 10
    assert out == ""
    assert err.splitlines()[-1] == f"blossom: {'interrupted' if code == 130 else 'terminated'}"
    assert "Traceback" not in err
    assert _outcomes(long) == ["cancelled"]
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert sorted(path.name for path in (long / ".blossom" / "hub").iterdir()) == ["runs.db"]


def test_a_reader_that_goes_away_ends_the_command_quietly(environment: Mapping[str, str], long: Path) -> None:
    command = [*BLOSSOM, "run", "p.py", "--function", "short", "--format", "json"]
    with subprocess.Popen(
        command, cwd=long, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 141
    assert "Broken pipe" not in err
    assert "Traceback" not in err
    assert _outcomes(long) == ["done"]


def test_an_interrupted_demo_leaves_no_half_made_data(environment: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        [*BLOSSOM, "demo", "--folder", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "kennedy" in line:  # the second of three sites is being written
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, ""), err
    assert list(folder.iterdir()) == []
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


# -- the demo, once ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if name != "BLOSSOM_DEMO_PG_URL"}
    done = subprocess.run(
        [*BLOSSOM, "demo", "--format", "json", "--folder", str(folder / "data")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_the_demo_keeps_its_promises(demo: tuple[Path, dict[str, Any], str]) -> None:
    _, figures, _ = demo
    assert figures["kept"] is True
    promises = {one["what"]: one for one in figures["promises"]}
    assert all(one["kept"] and one["measured"] <= one["bound"] for one in promises.values())
    bounds = {what.partition(":")[0]: one["bound"] for what, one in promises.items()}
    assert bounds == {
        "delay by carrier": 1e-9,
        "AUC": 5e-4,
        "log loss": 1e-6,
        "coefficients": 1e-6,
        "rows": 0.0,
    }
    federated, pooled, library = figures["quality"]
    assert federated["rows"] == pooled["rows"] == library["rows"] == 165_184
    assert federated["auc"] == pytest.approx(library["auc"], abs=5e-4)
    assert federated["auc"] == pytest.approx(0.686, abs=1e-3)
    assert federated["auc"] == pytest.approx(pooled["auc"], abs=federated["auc_bound"])
    assert federated["log_loss"] == pytest.approx(library["log_loss"], abs=1e-6)
    for one in figures["training"]["coefficients"]:
        assert one["federated"] == pytest.approx(one["pooled"], abs=1e-6)
    assert figures["training"]["rows"] == 160_540
    assert figures["flights"] == 336_776
    assert figures["peak_bytes"] < 1.5e9


def test_the_demo_uses_three_engines_and_no_row_leaves(demo: tuple[Path, dict[str, Any], str]) -> None:
    _, figures, _ = demo
    assert [site["engine"] for site in figures["sites"]] == ["duckdb", "polars", "sqlite"]
    fragments = figures["question"]["plan_document"]["fragments"]
    places = {one["site"]: one["platform"] for one in fragments}
    assert [places[site] for site in ("newark", "kennedy", "laguardia")] == ["duckdb", "polars", "sqlite"]
    assert set(figures["left"]) == {"newark", "kennedy", "laguardia"}
    for own in figures["left"].values():
        assert own["rows"] == 0
        assert own["aggregates"] > 0
        assert own["updates"] > 0


def test_the_demo_tells_what_was_held_back_and_what_was_refused(
    demo: tuple[Path, dict[str, Any], str],
) -> None:
    _, figures, _ = demo
    question = figures["question"]
    assert question["withheld"]["newark"]
    held = question["held_back"]
    assert {"site": "newark", "carrier": "OO", "flights": 6, "aircraft": 5} in held
    assert {one["site"] for one in held} == {
        site for site, withheld in question["withheld"].items() if withheld
    }
    counted = {row["carrier"]: row["flights"] for row in question["answer"]}
    assert sum(counted.values()) == 327_346 - sum(one["flights"] for one in held)
    assert {one["site"] for one in figures["refused"]["refusals"]} == {"newark", "kennedy", "laguardia"}
    assert "may not leave" in figures["refused"]["message"]
    losses = [one["loss"] for one in figures["training"]["rounds"] if one["loss"] is not None]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) >= 4


def test_the_demo_tells_each_step_and_leaves_records_and_logs(
    demo: tuple[Path, dict[str, Any], str],
) -> None:
    folder, figures, err = demo
    assert "fitting a model at the three sites" in err
    assert "newton, round 0, loss" in err
    assert "\x1b" not in err
    listed = subprocess.run(
        [*BLOSSOM, "runs", "--format", "json", "--config", figures["config"]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes = {one["id"]: one["outcome"] for one in json.loads(listed.stdout)}
    told = {name: outcomes[run] for name, run in figures["runs"].items()}
    assert told.pop("the ten latest flights") == "refused"
    assert set(told.values()) == {"done"}
    audit = subprocess.run(
        [*BLOSSOM, "site", "audit", figures["config"], "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    for log in json.loads(audit.stdout).values():
        assert log["verified"]
        assert {entry["kind"] for entry in log["entries"] if entry["decision"] == "released"} <= {
            "aggregates",
            "updates",
        }


def test_the_text_of_the_demo_fits_a_terminal(demo: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, _ = demo
    done = subprocess.run(
        [*BLOSSOM, "demo", "--folder", "data", "--seconds"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"} | {"BLOSSOM_DEMO_PG_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    too_wide = [line for line in done.stdout.splitlines() if len(line) > 100 and str(folder) not in line]
    assert too_wide == []
    assert "Every promise holds." in done.stdout
