"""Fingerprints of what sub-plans compute, and the sizes remembered under them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from blossom.optimizer import seen as module
from blossom.optimizer.cardinality import Rows
from blossom.optimizer.seen import Fingerprints, Seen
from blossom.plan.errors import ConfigError
from blossom.plan.expressions import Call, Column, Literal, Subquery
from blossom.plan.relations import Filter, Join, Limit, Link, Relation, Sample, Scan
from blossom.plan.schema import Schema

COLUMNS = Schema([("a", "int64")])
A = Column("a", "int64")


def scan(table: str = "t") -> Scan:
    return Scan(table, COLUMNS, "north")


def less(value: int) -> Call:
    return Call("Less", (A, Literal(value, "int64")), "boolean")


def joined(left: Relation, right: Relation) -> Join:
    on = Call("Equals", (A, Column("a", "int64", 1)), "boolean")
    return Join((left, right), (Link("inner", (on,)),), (("a", A),))


def rows(site: str, table: str) -> int:
    return 1000


def test_equal_plans_have_equal_fingerprints_and_others_do_not() -> None:
    prints = Fingerprints(rows)
    plans = [
        lambda: scan(),
        lambda: scan("u"),
        lambda: Filter(scan(), (less(1),)),
        lambda: Filter(scan(), (less(2),)),
        lambda: Limit(Filter(scan(), (less(1),)), 5),
        lambda: joined(scan(), scan("u")),
        lambda: joined(scan("u"), scan()),
        lambda: Filter(scan(), (Subquery("exists", scan("u"), "boolean"),)),
        lambda: Filter(scan(), (Subquery("exists", scan("t"), "boolean"),)),
    ]
    found = [prints(make()) for make in plans]
    assert len(set(found)) == len(plans)
    assert found == [Fingerprints(rows)(make()) for make in plans]


def test_a_table_that_has_grown_a_lot_is_another() -> None:
    plan = Filter(scan(), (less(1),))
    prints = [Fingerprints(lambda *_, n=n: n)(plan) for n in (1000, 1010, 5000, None)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_what_differs_from_run_to_run_has_none() -> None:
    prints = Fingerprints(rows)
    assert prints(Limit(Sample(scan(), 0.5, "row", None), 5)) == ""
    assert prints(Sample(scan(), 0.5, "row", 1)) != ""
    assert prints(Filter(scan(), (Call("Less", (A, Call("RandomScalar", (), "float64")), "boolean"),))) == ""


def test_fingerprints_are_the_same_in_every_process() -> None:
    text = (
        "from blossom.optimizer.seen import Fingerprints\n"
        "from blossom.plan.expressions import Call, Column, Literal\n"
        "from blossom.plan.relations import Filter, Scan\n"
        "from blossom.plan.schema import Schema\n"
        "scan = Scan('t', Schema([('a', 'int64')]), 'north')\n"
        "less = Call('Less', (Column('a', 'int64'), Literal(1, 'int64')), 'boolean')\n"
        "print(Fingerprints(lambda *_: 1000)(Filter(scan, (less,))))\n"
    )
    found = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout
    assert found.strip() == Fingerprints(rows)(Filter(scan(), (less(1),)))


def test_long_chains_need_no_deep_recursion() -> None:
    plan: Relation = scan()
    for i in range(3000):
        plan = Filter(plan, (less(i),))
        assert plan.schema
    assert Fingerprints(rows)(plan) != ""


def test_sizes_survive_as_a_document() -> None:
    known = Seen()
    known.remember("x", Rows.exactly(7))
    known.remember("y", Rows.rounded(16))
    known.remember("", Rows.exactly(1))
    back = Seen.load(json.loads(json.dumps(known.dump())))
    assert dict(back.sizes()) == {"x": Rows(7, 7, 7), "y": Rows(8, 12, 16)}


def test_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    known = Seen()
    for key in ("x", "y", "x", "z"):
        known.remember(key, Rows.exactly(1))
    assert set(known.sizes()) == {"x", "z"}


@pytest.mark.parametrize(
    "document",
    [None, [], {"version": 9, "rows": {}}, {"version": 1}, {"version": 1, "rows": {"x": [3, 2, 1]}}, {"version": 1, "rows": {"x": [1]}}],
)  # fmt: skip
def test_a_document_that_is_none_is_refused(document: object) -> None:
    with pytest.raises(ConfigError):
        Seen.load(document)
