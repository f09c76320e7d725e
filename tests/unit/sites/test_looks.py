"""A look at rows that have not changed is not taken twice, and never at the price of a rule."""

from __future__ import annotations

from collections import Counter

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.wire import fingerprint
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource
from blossom.policy.judge import judge
from blossom.policy.model import ColumnPolicy, Recipient, TablePolicy
from blossom.sites.guarding import Guarding
from blossom.sites.ledger import Grant, Ledger
from blossom.sites.looks import Look, Looks, tables

FACTS = ibis.table({"u": "int64", "g": "string", "x": "float64"}, name="facts")


def policy(least: int) -> TablePolicy:
    return TablePolicy(
        "aggregates", min_group=least, privacy_unit="u", columns={"g": ColumnPolicy(transform=True)}
    )


class World:
    """One file in one engine, its ledger, and how often its rows were looked at."""

    def __init__(self, folder, least: int = 3) -> None:
        self.file = folder / "facts.parquet"
        self.version = 0
        self.write({"u": list(range(20)), "g": ["a"] * 12 + ["b"] * 8, "x": [float(i) for i in range(20)]})
        self.engine = DuckDB("duckdb", threads=1)
        self.engine.publish("facts", TableSource(source=str(self.file)))
        self.policies = {"facts": policy(least)}
        self.ledger = Ledger(folder, "one")
        self.guarding = Guarding("one", self.ledger, Looks())
        self.counted: Counter[str] = Counter()

    def write(self, rows: dict) -> None:
        pq.write_table(pa.table(rows), self.file)
        self.version += 1

    def ask(self, query: ibis.Table, *, during=lambda: None, user: str | None = None) -> list[dict]:
        plan = from_ibis.relation(query.op())
        (stage,) = judge(plan, self.policies, Recipient("hub"), "one").allow().stages

        def run(what: str, root):
            self.counted[what] += 1
            batches = list(self.engine.run(root, {}, Cancellation()))
            during()
            return batches

        passed = self.guarding.stage(
            stage, lambda: run("query", stage.query), lambda: run("detail", stage.detail),
            Grant(run="r", plan=fingerprint(plan), recipients=("hub",), user=user), lambda: self.version,
        )  # fmt: skip
        return sorted(passed.table.to_pylist(), key=str)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.ledger.close()
    made.engine.close()


MEANS = FACTS.group_by("g").agg(m=_.x.mean())
SUMS = FACTS.group_by("g").agg(n=_.x.count(), s=_.x.sum())


def test_the_same_rows_are_looked_at_once(world):
    first = world.ask(MEANS)
    known = len(world.ledger)
    assert [row["g"] for row in first] == ["a", "b"]
    assert world.ask(MEANS) == first
    assert [row["s"] for row in world.ask(SUMS)] == [66.0, 124.0]  # another question about the same cells
    assert world.counted == {"query": 3, "detail": 1}
    assert len(world.ledger) == known


def test_everyone_who_is_answered_stands_in_the_ledger(world):
    for user in ("ann", "bob", "ann"):
        world.ask(MEANS, user=user)
    assert world.counted["detail"] == 1
    assert [grant.user for grant in world.ledger.history()] == ["ann", "bob"]


def test_other_rows_or_values_are_looked_at(world):
    world.ask(MEANS)
    world.ask(FACTS.filter(_.g == "a").group_by("g").agg(m=_.x.mean()))
    world.ask(FACTS.agg(m=_.x.mean()))
    world.ask(FACTS.group_by("g").agg(v=_.x.var()))
    assert world.counted["detail"] == 4


def test_what_was_held_back_stays_back_and_counts_as_refused(world):
    world.write({"u": [*range(10), 30], "g": ["a"] * 10 + ["c"], "x": [1.0] * 11})
    for _again in range(2):
        assert world.ask(FACTS.filter(_.g == "c").agg(m=_.x.mean())) == []
    assert world.counted["detail"] == 1
    assert [grant.refused for grant in world.ledger.history()] == ["min_group"] * 2


def test_changed_rows_are_looked_at_anew_and_compared(world):
    world.ask(FACTS.agg(s=_.x.sum()))
    rows = pq.read_table(world.file)
    world.write(rows.slice(1).to_pydict())  # one person less
    assert world.ask(FACTS.agg(s=_.x.sum())) == []
    assert world.counted["detail"] == 2


def test_rows_that_change_during_a_look_are_not_remembered(world):
    def change():
        world.version += 1

    world.ask(MEANS, during=change)
    assert len(world.guarding.looks) == 0
    world.ask(MEANS)
    assert len(world.guarding.looks) == 1
    world.ask(MEANS, during=change)  # what the query read may be newer than the look
    assert world.counted["detail"] == 3


def test_counts_that_differ_are_looked_at_even_under_the_same_version(world):
    world.ask(MEANS)
    world.write({"u": list(range(19)), "g": ["a"] * 12 + ["b"] * 7, "x": [1.0] * 19})
    world.version -= 1
    world.ask(MEANS)
    assert world.counted["detail"] == 2


def test_another_rule_is_another_look(world):
    world.ask(MEANS)
    world.policies["facts"] = policy(10)
    assert world.ask(MEANS) == []  # b has eight, and with a alone b would be told by the total
    assert world.counted["detail"] == 2


def test_nothing_is_remembered_that_the_ledger_did_not_take(world, monkeypatch):
    monkeypatch.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(Exception, match="cannot be used"):
        world.ask(MEANS)
    assert len(world.guarding.looks) == 0


@pytest.mark.parametrize(
    "query",
    [
        FACTS.filter(_.x < ibis.random()).agg(m=_.x.mean()),
        FACTS.limit(15).agg(m=_.x.mean()),
        FACTS.filter(ibis.row_number() < 15).agg(m=_.x.mean()),
    ],
)
def test_rows_that_may_be_others_next_time_are_not_remembered(world, query):
    root = from_ibis.relation(query.op())
    (stage,) = judge(from_ibis.relation(MEANS.op()), world.policies, Recipient("hub"), "one").allow().stages
    assert tables(stage) == {"facts"}
    assert tables(type(stage)(**{**vars(stage), "query": root})) is None


def a_look(cells: int) -> Look:
    keys = pa.table({"k": pa.array(np.arange(cells), pa.int64())})
    return Look(keys, (np.ones(cells, np.int64),), np.arange(cells) % 2 == 0, {})


def test_cells_are_known_in_any_order():
    look = a_look(5)
    order = [3, 1, 4, 0, 2]
    decision = look.decision(look.keys.take(order), (np.ones(5, np.int64),))
    assert decision is not None
    assert decision.shown.tolist() == [False, False, True, True, True]
    for keys in (look.keys.slice(1), pa.table({"k": [0, 1, 2, 3, 9]}), pa.table({"k": [0, 1, 2, 3, 3]})):
        assert look.decision(keys, (np.ones(keys.num_rows, np.int64),)) is None


def test_looks_are_bounded_and_the_oldest_go_first():
    size = a_look(100).nbytes
    looks = Looks(3 * size)
    for key in "abc":
        looks.put(key, a_look(100))
    assert looks.get("a") is not None
    looks.put("d", a_look(100))
    assert [looks.get(key) is not None for key in "abcd"] == [True, False, True, True]
    looks.put("e", a_look(10_000))
    assert looks.get("e") is None
    looks.put("a", a_look(100))
    assert len(looks) == 3
