"""Calibration of real engines at one site: what it learns holds for other queries, and the commands tell it."""

from __future__ import annotations

import json
import math
import sqlite3
import statistics
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.cli.application import main
from blossom.executor import calibrating
from blossom.executor.calibrating import Calibration
from blossom.executor.experience import COSTS
from blossom.executor.federation import FederationCatalogue
from blossom.executor.measuring import Measurement, measurements
from blossom.executor.statistics import gather, gather_all
from blossom.fedpy.session import Session
from blossom.optimizer.costs import learned
from blossom.optimizer.costs.learned import Learned
from blossom.optimizer.costs.prior import units
from blossom.plan.errors import PlanError
from blossom.plan.relations import Scan
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation

N = 100_000


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three engines at one site, and calibration on small tables."""
    monkeypatch.setattr(calibrating, "SIZES", (1_000, 20_000))
    random = np.random.default_rng(0)
    table = pa.table(
        {"id": np.arange(N), "g": random.integers(0, 50, N), "h": random.integers(0, N // 4, N), "x": random.integers(0, 1000, N)}
    )  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    pq.write_table(
        table.select(["h", "x"]).rename_columns(["k", "y"]).slice(0, N // 4), tmp_path / "u.parquet"
    )
    with closing(sqlite3.connect(tmp_path / "s.db")) as lite:
        lite.execute("CREATE TABLE s (id INTEGER, g INTEGER, h INTEGER, x INTEGER)")
        lite.executemany("INSERT INTO s VALUES (?, ?, ?, ?)", zip(*table.to_pydict().values(), strict=True))
        lite.commit()
    tables = "".join(
        f'[sites.north.tables.{name}]\nplatform = "{platform}"\nsource = "{source}"\npolicy = {{ release = "rows" }}\n'
        for name, platform, source in (
            ("t", "duckdb", "t.parquet"),
            ("u", "polars", "u.parquet"),
            ("s", "lite", "s"),
        )
    )
    path = tmp_path / "blossom.toml"
    path.write_text(
        '[hub]\nstate = "state"\n[sites.north.platforms]\nduckdb = { kind = "duckdb", threads = 1 }\n'
        f'polars = {{ kind = "polars" }}\nlite = {{ kind = "sqlite", database = "s.db" }}\n{tables}'
    )
    return path


def pipelines(fed: Session, x: int) -> Iterator[object]:
    t, u, s = fed.table("t"), fed.table("u"), fed.table("s")
    yield t.filter(_.x > x).group_by("g").agg(n=_.count(), m=_.x.sum())
    yield s.filter(_.x > x).group_by("g").agg(n=_.count(), m=_.x.sum())
    yield t.filter(_.x > x).join(u, t.h == u.k).group_by("g").agg(n=_.count(), m=_.y.sum())
    yield s.filter(_.x > 500 + x).join(u, s.h == u.k).group_by("g").agg(n=_.count())
    yield t.filter(_.x > 800 + x).order_by(_.x)


def real_runs(fed: Session) -> list[Measurement]:
    """Measurements of queries, none of which is learned from."""
    found: list[Measurement] = []
    experience = fed.federation.experience
    for turn in range(6):
        for pipeline in pipelines(fed, turn):
            fed.run(pipeline)
            rows = FederationCatalogue(fed.federation).rows
            for ran in experience.take():
                found += [] if turn == 0 else measurements(ran.plan, ran.outputs, rows)
    return found


def off(model: Learned, measured: list[Measurement]) -> float:
    """The median factor by which a model is off."""
    return statistics.median(
        math.exp(abs(math.log(one.seconds / model.predict(one.parts).seconds))) for one in measured
    )


WRONG = {"duckdb": 8.0, "polars": 1 / 8, "sqlite": 6.0}
"""How far a prior is off that was made on another machine."""


@pytest.mark.parametrize("wrong", [{}, WRONG], ids=["prior", "wrong prior"])
def test_calibration_makes_estimates_of_other_queries_better(
    config: Path, monkeypatch: pytest.MonkeyPatch, wrong: Mapping[str, float]
) -> None:
    monkeypatch.setattr(learned, "units", lambda kind: units(kind) * wrong.get(kind, 1.0))
    with bl.connect(config) as fed:
        experience = fed.federation.experience
        found = {str(one.location): one for one in Calibration(fed.federation, 60).run(lambda text: None)}
        gather_all(fed.federation)
        engines = [found[name] for name in ("duckdb@north", "polars@north", "lite@north", "duckdb@hub")]
        assert all(one.measured > 20 for one in engines)
        measured = real_runs(fed)
        prior = Learned()
        for name, kind in experience.costs.kinds.items():
            prior.know(name, kind)
        before, after = off(prior, measured), off(experience.costs, measured)
        print(
            f"{len(measured)} measurements of queries: off by {before:.2f}x before, by {after:.2f}x after calibration"
        )
        assert after < 2.5
        if wrong:
            assert all(one.after < one.before for one in engines)
            assert after < 0.7 * before
        assert experience.costs.beliefs["north>hub"].observations >= 4


def test_the_commands_calibrate_and_tell(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "WORK", calibrating.WORK[:4])
    assert main(["cost", str(config)]) == 0
    assert "nothing was measured yet" in capsys.readouterr().out
    assert main(["calibrate", str(config), "--minutes", "1"]) == 0
    assert "lite@north" in capsys.readouterr().out
    assert not (config.parent / "state" / "calibration.json").exists()
    assert main(["cost", str(config), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in document["platforms"]} >= {
        "north/duckdb",
        "north/polars",
        "north/lite",
        "north>hub",
    }
    assert document["warnings"] == []
    assert main(["cost", str(config)]) == 0
    assert "90 % interval" in capsys.readouterr().out
    (config.parent / "state" / COSTS).write_text("no model")
    assert main(["cost", str(config)]) == 0
    told = capsys.readouterr().out
    assert "warning" in told
    assert f"{COSTS}.corrupt-1" in told
    assert main(["calibrate", str(config), "--site", "nroth"]) != 0
    assert "did you mean 'north'" in capsys.readouterr().err


def test_explain_tells_of_a_model_that_cannot_be_read(config: Path) -> None:
    state = config.parent / "state"
    state.mkdir()
    (state / COSTS).write_text("{")
    with bl.connect(config) as fed:
        assert "costs are those of the prior" in " ".join(
            str(fed.explain(fed.table("t").count().as_table())).split()
        )


def test_a_stopped_calibration_goes_on_where_it_was(config: Path) -> None:
    class Stopped(Exception):
        pass

    def until_third(text: str) -> None:
        seen.append(text)
        if sum(" rows" in one for one in seen) == 3:
            raise Stopped

    seen: list[str] = []
    with bl.connect(config) as fed, pytest.raises(Stopped):
        list(Calibration(fed.federation, 60, "north").run(until_third))
    with bl.connect(config) as fed:
        again: list[str] = []

        def note(text: str) -> None:
            again.append(text)
            if " rows" in text:
                raise Stopped

        assert fed.federation.experience.costs.beliefs["north/duckdb"].observations > 0
        with pytest.raises(Stopped):
            list(Calibration(fed.federation, 60, "north").run(note))
    assert again[-1] == [one for one in seen if " rows" in one][2]


def test_a_rehearsal_reads_no_table(config: Path) -> None:
    with bl.connect(config) as fed:
        scan = Scan("t", Schema([("id", "int64")]), "north")
        with pytest.raises(PlanError, match="reads no table"):
            fed.federation.sites["north"].rehearse("duckdb", scan, {}, Cancellation())


def test_the_second_run_knows_how_many_rows_there_are(config: Path) -> None:
    with bl.connect(config) as fed:
        first = next(pipelines(fed, 990))
        assert fed.run(first).result.num_rows == 50
    with bl.connect(config) as fed:
        plan = fed._planner.planned("again", lambda: fed._lower(next(pipelines(fed, 990)), None)).physical
        assert plan.result.estimate.rows == 50
        assert (plan.result.estimate.low, plan.result.estimate.high) == (50, 50)


def test_statistics_are_a_release_and_only_of_rows_that_may_come(config: Path, tmp_path: Path) -> None:
    config.write_text(
        config.read_text().replace('"t.parquet"\npolicy = { release = "rows" }', '"t.parquet"\npolicy = { release = "aggregates", min_group = 10, privacy_unit = "id" }')
    )  # fmt: skip
    with bl.connect(config) as fed:
        site = fed.federation.sites["north"]
        assert gather(fed.federation, "north", "t") == {}
        found = gather(fed.federation, "north", "s")
        assert found["g"].distinct == 50
        assert (found["id"].low, found["id"].high) == (0, N - 1)
        entries = [entry for entry in site.audit.entries() if entry.run.startswith("statistics-")]
        assert len({entry.run for entry in entries}) == 4
        assert all(entry.tables == ("s",) for entry in entries)
