"""Budgets over real engines: two clouds with the same rows, runs that take longer than expected, and sessions with a limit."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blossom as bl

ROWS = 40_000

PRICES = """
title = "the prices of the test"
date = 2026-01-31

[providers.quick]
source = "https://prices.example.org/quick"
usd_per_hour = 360.0
egress_usd_per_gb = 0.10

[providers.thrifty]
source = "https://prices.example.org/thrifty"
usd_per_hour = 0.36
egress_usd_per_gb = 0.01
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same rows as a Parquet file and as a table of SQLite, and a price file."""
    rng = np.random.default_rng(1)
    table = pa.table({"k": rng.integers(0, 50, ROWS), "x": rng.random(ROWS)})
    pq.write_table(table, tmp_path / "t.parquet")
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("CREATE TABLE t (k INTEGER, x REAL)")
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    connection.close()
    (tmp_path / "prices.toml").write_text(PRICES)
    return tmp_path


def configured(folder: Path, **top: Any) -> dict[str, Any]:
    """A fast cloud and a slow one that hold copies of one table."""
    table = {"replicated": True, "policy": {"release": "rows"}, "schema": {"k": "int64", "x": "float64"}}
    quick = {"provider": "quick", "tables": {"t": {**table, "source": str(folder / "t.parquet")}}}
    engine = {"kind": "sqlite", "database": str(folder / "t.db")}
    thrifty = {
        "provider": "thrifty",
        "platforms": {"db": engine},
        "tables": {"t": {**table, "platform": "db", "source": "t"}},
    }
    return {"prices": str(folder / "prices.toml"), "sites": {"quick": quick, "thrifty": thrifty}} | top


Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[Any] = []

    def connected(*args: Any, **kwargs: Any) -> Any:
        opened.append(bl.connect(*args, **kwargs))
        return opened[-1]

    yield connected
    for one in opened:
        one.close()


def sums(fed: Any) -> Any:
    table = fed.table("t")
    return table.group_by("k").agg(x=table.x.sum()).order_by("k")


def read(run: Any) -> set[str]:
    """The sites whose rows a run read."""
    return {release.site for release in run.releases}


def test_the_budget_decides_which_of_two_clouds_answers(folder: Path, connect: Connect) -> None:
    fed = connect(configured(folder))
    usual = fed.explain(sums(fed)).plan
    fast = fed.run(sums(fed))
    assert read(fast) == {"quick"}
    cheap = fed.run(sums(fed), budget=bl.Budget(usd=usual.usd / 2))
    assert read(cheap) == {"thrifty"}
    in_time = fed.run(sums(fed), budget=bl.Budget(seconds=60))
    assert read(in_time) == {"thrifty"}
    assert in_time.result.column("k").equals(fast.result.column("k"))
    assert np.allclose(in_time.result.column("x").to_numpy(), fast.result.column("x").to_numpy())
    assert 0 < cheap.spent.usd < fast.spent.usd
    assert "cost" in fast.report()


def test_explain_names_the_chosen_the_cheapest_and_the_fastest_plan(folder: Path, connect: Connect) -> None:
    fed = connect(configured(folder))
    text = str(fed.explain(sums(fed), budget=bl.Budget(seconds=60, usd=1)))
    lines = [
        line
        for line in text.splitlines()
        if line.startswith(("chosen:", "cheapest:", "fastest:", "budget:", "money:"))
    ]
    chosen, cheapest, fastest, budget, money = lines
    assert "usd (at most" in chosen
    assert "db@thrifty" in cheapest
    assert "duckdb@quick" in fastest
    assert budget == "budget: 60 s and 1.00 usd; of the plans that fit the fastest is chosen"
    assert money == "money: by the prices of the test, 2026-01-31"
    data = fed.explain(sums(fed)).to_dict()["money"]
    assert data["cheapest"]["usd"] < data["fastest"]["usd"]


def test_without_prices_explain_says_that_all_is_free(folder: Path, connect: Connect) -> None:
    config = configured(folder)
    for site in config["sites"].values():
        del site["provider"]
    fed = connect(config)
    assert "money: no prices are given, so everything costs 0 usd" in str(fed.explain(sums(fed)))
    run = fed.run(sums(fed), budget=bl.Budget(usd=0))
    assert run.spent.usd == 0.0
    assert "cost" not in run.report()


def test_a_budget_that_nobody_can_meet_is_refused_before_anything_runs(
    folder: Path, connect: Connect
) -> None:
    fed = connect(configured(folder))
    with pytest.raises(bl.BudgetError, match="no plan fits the budget of 0 s") as caught:
        fed.run(sums(fed), budget=bl.Budget(seconds=0))
    assert caught.value.cheapest is not None
    assert caught.value.fastest is not None
    assert caught.value.at is not None
    assert "test_budget.py" in caught.value.at
    assert fed.last_run.releases == ()
    assert fed.last_run.outcome == "failed"
    assert fed.run(sums(fed)).result.num_rows == 50  # and the session goes on


def sleepy(batch: pa.RecordBatch) -> pa.RecordBatch:
    import time

    time.sleep(60)
    return batch


def test_a_run_that_takes_longer_than_its_budget_is_stopped(folder: Path, connect: Connect) -> None:
    fed = connect(configured(folder))
    table = fed.table("t", site="quick")
    slow = table.pipe(bl.map_batches, sleepy, schema={"k": "int64", "x": "float64"})
    began = time.monotonic()
    with pytest.raises(bl.BudgetError, match="stopped: it exceeds its budget of 8 s") as caught:
        fed.run(slow, budget=bl.Budget(seconds=8))
    assert 7 < time.monotonic() - began < 25
    assert caught.value.spent is not None
    assert caught.value.spent[0] >= 8
    assert "remained: 0.00 s" in str(caught.value)
    assert fed.run(sums(fed)).result.num_rows == 50


def test_a_sessions_budget_is_spent_by_its_runs(folder: Path, connect: Connect) -> None:
    free = connect(configured(folder))
    plan = free.explain(sums(free)).plan
    fed = connect(configured(folder), budget=bl.Budget(usd=plan.usd_high * 1.5))
    before = fed.remaining.usd
    first = fed.run(sums(fed))
    assert fed.spent.usd == pytest.approx(first.spent.usd)
    assert fed.remaining.usd == pytest.approx(before - first.spent.usd)
    fed.account.book(object(), type(fed.spent)(0.0, fed.remaining.usd))  # spent by others
    assert fed.remaining.usd == 0
    with pytest.raises(bl.BudgetError, match="the session's budget is") as caught:
        fed.run(sums(fed))
    assert caught.value.cheapest is not None


def test_what_is_left_of_a_session_decides_too(folder: Path, connect: Connect) -> None:
    free = connect(configured(folder))
    plan = free.explain(sums(free)).plan
    fed = connect(configured(folder), budget=bl.Budget(usd=plan.usd_high / 2))
    assert read(fed.run(sums(fed))) == {"thrifty"}


def test_a_stream_is_counted_and_limited(folder: Path, connect: Connect) -> None:
    fed = connect(configured(folder))
    with fed.to_pyarrow_batches(sums(fed), budget=bl.Budget(seconds=60)) as reader:
        assert reader.read_all().num_rows == 50
    assert fed.spent.usd > 0
    with pytest.raises(bl.BudgetError):
        fed.to_pyarrow_batches(sums(fed), budget=bl.Budget(seconds=0))


def test_what_a_running_query_may_still_take_is_set_aside(folder: Path, connect: Connect) -> None:
    free = connect(configured(folder))
    plan = free.explain(sums(free)).plan
    fed = connect(configured(folder), budget=bl.Budget(usd=plan.usd_high * 1.3))
    reader = fed.to_pyarrow_batches(sums(fed))
    assert fed.remaining.usd == pytest.approx(plan.usd_high * 0.3)
    assert read(fed.run(sums(fed))) == {"thrifty"}
    assert reader.read_all().num_rows == 50
    assert fed.remaining.usd == pytest.approx(plan.usd_high * 1.3 - fed.spent.usd)


def test_a_fit_is_counted_and_limited_by_its_session(folder: Path, connect: Connect) -> None:
    def model(fed: Any) -> Any:
        return bl.train(bl.LinearRegression(), fed.table("t", site="quick"), target="x")

    fed = connect(configured(folder))
    with pytest.raises(bl.PlanError, match="what a fit takes is not known"):
        fed.explain(model(fed).op.to_expr(), budget=bl.Budget(usd=1))
    model(fed).fit()
    assert fed.spent.usd > 0
    poor = connect(configured(folder), budget=bl.Budget(usd=0))
    with pytest.raises(bl.BudgetError, match=r"was not started.*budget of 0 usd"):
        model(poor).fit()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("title = 1", "prices.title: expected a text"),
        (PRICES.replace("usd_per_hour = 0.36", "usd_per_hour = nan"), "providers.thrifty.usd_per_hour"),
        (
            PRICES.replace("usd_per_hour = 0.36", "usd_per_hour = -1"),
            "providers.thrifty.usd_per_hour: expected 0.0 or more",
        ),
        (
            PRICES.replace("usd_per_hour = 0.36", 'usd_per_hour = "free"'),
            "providers.thrifty.usd_per_hour: expected a number",
        ),
        (PRICES + "egres = 1\n", "unknown key 'egres'"),
        (PRICES.replace("2026-01-31", '"today"'), "prices.date: expected a date"),
        (PRICES + "[providers.thrifty.platforms.sqlight]\n", "unknown platform kind 'sqlight'"),
        (PRICES.replace("thrifty", "thirfty"), "unknown provider 'thrifty'"),
        ("title =", "is not valid TOML"),
    ],
)
def test_a_faulty_price_file_names_its_key(text: str, fault: str, folder: Path) -> None:
    (folder / "prices.toml").write_text(text)
    with pytest.raises(bl.ConfigError) as caught:
        bl.connect(configured(folder))
    assert fault in str(caught.value)


def test_a_price_file_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(bl.ConfigError, match=r"prices.*gone\.toml.*cannot be read"):
        bl.connect(configured(folder, prices=str(folder / "gone.toml")))
    with pytest.raises(bl.ConfigError, match="expected the path of a price file, got a whole number"):
        bl.connect(configured(folder, prices=7))
