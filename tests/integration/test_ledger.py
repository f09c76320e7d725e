"""The ledger with real files, processes and engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.plan.errors import PolicyError, SiteError
from blossom.policy.ledger import Figure
from blossom.sites.ledger import Grant, Ledger, history

ROWS = 400


def figure(seed: int) -> Figure:
    rows = np.random.default_rng(seed).integers(1, 1 << 32, 768, dtype=np.uint32)
    return Figure(10, rows, {"=t.x": rows + np.uint32(1)})


def grant(run: str = "r", user: str | None = "ann") -> Grant:
    return Grant(run=run, plan=run, recipients=("hub",), user=user, tables=("t",), cells=1, figures=1)


# ---- files and processes


def test_what_was_written_is_known_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant("one"), [figure(1)])
        session.record(grant("two"), [figure(2)])
    ledger.close()
    again = Ledger(tmp_path)
    with again.session() as session:
        assert session.book.judge([figure(1), figure(2), figure(3)])[1].tolist() == [True, True, False]
        np.testing.assert_array_equal(session.book.figures[0].contents["=t.x"], figure(1).contents["=t.x"])
    assert [one.run for one in history(tmp_path)] == ["one", "two"]
    again.close()
    assert history(tmp_path / "nowhere") == ()


def test_two_ledgers_on_one_folder_are_as_one(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    assert one.hashing.null == other.hashing.null
    with one.session() as session:
        session.record(grant(), [figure(1)])
    with other.session() as session:
        assert session.book.judge([figure(1)])[1][0]
    one.close()
    other.close()


def test_the_same_answer_again_does_not_grow_the_file(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant("same"), [figure(1)])
        size = ledger.path.stat().st_size
        for _time in range(10):
            session.record(grant("same"), [])
        assert ledger.path.stat().st_size == size
        session.record(grant("same", user="bob"), [])  # somebody else was given it
    assert ledger.path.stat().st_size > size
    assert [one.user for one in ledger.history()] == ["ann", "bob"]
    ledger.close()


def test_a_full_ledger_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "north", most=5)
    with ledger.session() as session:
        session.record(grant("1"), [figure(1), figure(2)])
        with pytest.raises(PolicyError, match="ledger of north is full"):
            session.record(grant("2"), [figure(3)])
    assert len(ledger) == 2
    ledger.close()


@pytest.mark.parametrize("cut", [1, 20, 40, 500, 1500])
def test_an_unfinished_frame_is_cut_off(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant("1"), [figure(1)])
        size = ledger.path.stat().st_size
        session.record(grant("2"), [figure(2)])
    ledger.close()
    os.truncate(ledger.path, ledger.path.stat().st_size - cut)
    again = Ledger(tmp_path)
    assert (len(again), again.path.stat().st_size) == (1, size)
    with again.session() as session:
        session.record(grant("3"), [figure(3)])
    again.close()
    assert [one.run for one in history(tmp_path)] == ["1", "3"]


@pytest.mark.parametrize("place", [0, 25, 30, 55, 300, 1400])
def test_a_changed_byte_refuses(tmp_path: Path, place: int) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant("1"), [figure(1)])
        session.record(grant("2"), [figure(2)])
    ledger.close()
    with ledger.path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0xFF]))
    with pytest.raises(SiteError, match="damaged"):
        Ledger(tmp_path)


def test_a_ledger_without_its_key_refuses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant(), [figure(1)])
    ledger.close()
    (tmp_path / "ledger.key").unlink()
    with pytest.raises(SiteError, match="key is missing"):
        Ledger(tmp_path)


def test_a_ledger_cut_short_under_an_open_one_refuses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.session() as session:
        session.record(grant(), [figure(1)])
    os.truncate(ledger.path, 20)
    with pytest.raises(SiteError, match="shorter"), ledger.session():
        pass
    ledger.close()


WRITER = """
import sys
import numpy as np
from pathlib import Path
from blossom.policy.ledger import Figure
from blossom.sites.ledger import Grant, Ledger

name, folder = sys.argv[1], Path(sys.argv[2])
ledger = Ledger(folder)
for number in range(int(sys.argv[3])):
    rows = np.random.default_rng(int.from_bytes(f"{name}{number}".encode(), "big")).integers(1, 1 << 32, 768, dtype=np.uint32)
    with ledger.session() as session:
        session.record(Grant(run=f"{name}{number}", plan=f"{name}{number}", recipients=("hub",)), [Figure(10, rows)])
    print(number, flush=True)  # only now would anything leave
"""


def writer(name: str, folder: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), name, str(folder), str(number)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    processes = [writer(name, tmp_path, 40) for name in "ab"]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    runs = [one.run for one in history(tmp_path)]
    assert len(runs) == 80
    assert [run for run in runs if run[0] == "a"] == [f"a{i}" for i in range(40)]


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.05, 0.11])
def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, wait: float) -> None:
    process = writer("k", tmp_path, 100_000)
    assert process.stdout is not None
    answered = int(process.stdout.readline())
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    answered = max([answered, *(int(line) for line in process.stdout.read().split())])
    process.wait(timeout=60)
    process.stdout.close()
    runs = [one.run for one in history(tmp_path)]
    assert runs == [f"k{i}" for i in range(len(runs))]
    assert len(runs) >= answered + 1


# ---- sites


def people() -> pa.Table:
    rng = np.random.default_rng(5)
    return pa.table(
        {
            "pid": np.arange(ROWS),
            "city": [("a", "b", "c", "d")[i % 4] for i in range(ROWS)],
            "age": 20 + np.arange(ROWS) % 60,
            "pay": 1000.0 + rng.normal(0, 100, ROWS),
            "visits": rng.integers(1, 5, ROWS),
        }
    )


def config(folder: Path, state: Path) -> dict[str, Any]:
    policy = {
        "release": "aggregates", "min_group": 10, "privacy_unit": "pid", "training": "updates",
        "columns": {name: {"transform": True} for name in ("pid", "city", "age")},
    }  # fmt: skip
    return {
        "sites": {
            "north": {
                "state": str(state),
                "platforms": {"duckdb": {"kind": "duckdb", "threads": 1}},
                "tables": {
                    "people": {
                        "platform": "duckdb",
                        "source": str(folder / "people.parquet"),
                        "policy": policy,
                    }
                },
            }
        }
    }


@pytest.fixture
def north(tmp_path: Path) -> Iterator[dict[str, Any]]:
    pq.write_table(people(), tmp_path / "people.parquet")
    return config(tmp_path, tmp_path / "state")


def ask(fed: bl.Session, expression: Any) -> list[dict[str, Any]]:
    return fed.run(expression).result.to_pylist()


def pay(fed: bl.Session, *conditions: Any) -> float | None:
    (row,) = ask(fed, fed.table("people").filter(*conditions).agg(s=_.pay.sum())) or [{"s": None}]
    return row["s"]


def test_all_but_one_is_refused_in_either_order_session_and_process(
    north: dict[str, Any], tmp_path: Path
) -> None:
    with bl.connect(north) as fed:
        everyone = pay(fed, _.pid >= 0)
        assert everyone is not None
        assert pay(fed, _.pid != 77) is None
        assert pay(fed, _.pid >= 10) is not None  # ten fewer
        assert pay(fed, _.pid >= 0) == everyone  # the same again
        assert fed.last_run is not None
    with bl.connect(north) as one, bl.connect(config(tmp_path, tmp_path / "state")) as other:
        assert pay(one, _.pid != 78) is None
        assert pay(other, _.pid != 79) is None
    script = "import blossom as bl, sys; from ibis import _\n" + textwrap.dedent(
        f"""
        with bl.connect({north!r}) as fed:
            print(fed.run(fed.table("people").filter(_.pid != 80).agg(s=_.pay.sum())).result.to_pylist())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_the_total_less_the_shown_cells_is_refused(north: dict[str, Any]) -> None:
    with bl.connect(north) as fed:
        cities = ask(fed, fed.table("people").filter(_.pid != 77).group_by("city").agg(s=_.pay.sum()))
        assert len(cities) == 4
        assert pay(fed, _.pid >= 0) is None


def test_a_cell_of_another_grouping_is_refused(north: dict[str, Any]) -> None:
    with bl.connect(north) as fed:
        shown = ask(fed, fed.table("people").group_by("city").agg(s=_.pay.sum()))
        moved = fed.table("people").mutate(group=(_.pid == 77).ifelse("a", _.city))
        again = ask(fed, moved.group_by("group").agg(s=_.pay.sum()))
        assert {row["city"] for row in shown} == set("abcd")
        assert {row["group"] for row in again} == {"c", "d"}  # 77 is in b


def test_another_column_of_the_same_rows_is_answered(north: dict[str, Any]) -> None:
    with bl.connect(north) as fed:
        table = fed.table("people").group_by("city")
        assert len(ask(fed, table.agg(s=_.pay.sum()))) == 4
        assert len(ask(fed, table.agg(s=_.visits.sum(), m=_.pay.mean(), n=_.count(), d=_.pay.std()))) == 4
        assert len(ask(fed, table.agg(s=_.age.sum()))) == 4


def test_a_dominant_unit_is_held_back(tmp_path: Path, north: dict[str, Any]) -> None:
    table = people()
    values = np.ones(ROWS)
    values[77] = 1e7
    pq.write_table(table.set_column(3, "pay", pa.array(values)), tmp_path / "people.parquet")
    with bl.connect(north) as fed:
        run = fed.run(fed.table("people").group_by("city").agg(s=_.pay.sum(), n=_.count()))
        assert {row["city"] for row in run.result.to_pylist()} == {"a", "c", "d"}
        assert run.withheld == {"north": True}


def test_nobody_and_a_few_look_alike(north: dict[str, Any]) -> None:
    with bl.connect(north) as fed:
        for query in (
            lambda low: fed.table("people").filter(_.pid >= low).agg(n=_.count()),
            lambda low: fed.table("people").filter(_.pid >= low).group_by("city").agg(n=_.count()),
        ):
            few, nobody = fed.run(query(ROWS - 3)), fed.run(query(ROWS))
            assert few.result.to_pylist() == nobody.result.to_pylist()
            assert few.withheld == nobody.withheld == {"north": True}


def test_weights_of_joined_rows_are_told_apart(north: dict[str, Any]) -> None:
    """Equal units, one row more for one of them."""
    with bl.connect(north) as fed:
        ages = pa.table({"age": np.arange(20, 80)})
        twice = pa.table({"age": np.append(np.arange(20, 80), 37)})
        people_ = fed.table("people").filter(_.pid < 60)  # one person a year of age
        sums = [
            ask(fed, people_.join(fed.from_arrow(rows), "age").agg(n=_.count())) for rows in (ages, twice)
        ]
        assert sums[0] == [{"n": 60}]
        assert sums[1] in ([], [{"n": None}])


def test_a_fit_is_a_release(north: dict[str, Any]) -> None:
    with bl.connect(north) as fed:
        rows = fed.table("people")
        fit = lambda table: bl.train(bl.LinearRegression(), table, target="pay", features=["age"]).fit()  # noqa: E731
        fit(rows)
        fit(rows)
        with pytest.raises(bl.PolicyError, match="differencing"):
            fit(rows.filter(_.pid != 77))
        assert pay(fed, _.pid != 77) is None
        fit(rows.filter(_.pid >= 50))


def test_the_history_says_who_was_given_what(north: dict[str, Any], tmp_path: Path) -> None:
    with bl.connect(north) as fed:
        pay(fed, _.pid >= 0)
        pay(fed, _.pid != 5)
    first, second = history(tmp_path / "state")
    assert (first.tables, first.cells, first.refused, first.recipients) == (("people",), 1, None, ("hub",))
    assert "people.pay" in first.columns
    assert (second.cells, second.refused) == (0, "differencing")


def test_who_was_refused_too_often_waits_and_the_log_says_so(
    north: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blossom.sites.rate.USER_AN_HOUR", 2)
    with bl.connect(north) as fed:
        assert pay(fed, _.pid >= 0) is not None
        assert pay(fed, _.pid != 1) is None
        assert pay(fed, _.pid != 2) is None
        with pytest.raises(bl.PolicyError, match=r"\[rate\]"):
            pay(fed, _.pid >= 0)
    assert '"rule":"rate"' in (tmp_path / "state" / "audit.jsonl").read_text()
