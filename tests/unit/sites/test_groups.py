"""Groups of a fit's rows: what is entered, what is withheld, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from blossom.learning.design import Design, Levels, Numeric
from blossom.learning.statistics.groupings import Coded, Grouping, TwoValued, of_features
from blossom.learning.target import Target
from blossom.plan.errors import PolicyError
from blossom.policy.facets import Content
from blossom.policy.training import TrainingUnit
from blossom.sites.groups import Groups
from blossom.sites.ledger import Grant, Ledger

LEAST = 5
GRANT = Grant(run="r", plan="p", recipients=("hub",), tables=("people",))
CONTENTS = {"pay": Content(("pay",), frozenset({"people.pay"}), frozenset({"size", "spread"}))}


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Groups]:
    ledger = Ledger(tmp_path, "north", LEAST)
    yield Groups("north", ledger, [TrainingUnit("__unit_people", "people", LEAST)], CONTENTS)
    ledger.close()


def batches(codes: list[int], pay: list[float] | None = None, size: int = 9) -> list[pa.RecordBatch]:
    rows = pa.RecordBatch.from_pydict(
        {
            "code": codes,
            "pay": pay or [float(10 + i % 3) for i in range(len(codes))],
            "__unit_people": list(range(len(codes))),
        }
    )
    return [rows.slice(i, size) for i in range(0, len(codes), size)]


def by_code(
    name: str = "codes", *, needed: bool = True, few: bool = False, weighed: bool = False
) -> Grouping:
    def codes(block: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return block.column("code").to_numpy().astype(np.int64)

    return Coded(name, ("pay",), weighed, needed, few, of=codes)


def enter(
    groups: Groups, codes: list[int], grouping: Grouping, pay: list[float] | None = None
) -> frozenset[str]:
    rows = batches(codes, pay)
    return groups.enter([grouping], lambda: rows, GRANT)


def test_large_groups_are_entered_once(groups: Groups) -> None:
    codes = [0] * 20 + [1] * 20
    assert enter(groups, codes, by_code()) == frozenset()
    known = len(groups.ledger)
    assert known >= 2
    assert enter(groups, codes, by_code()) == frozenset()
    assert len(groups.ledger) == known


@pytest.mark.parametrize(
    ("codes", "rule"),
    [([0] * 37 + [1] * 3, "min_group"), ([0] * 20 + [1] * 19 + [-1], "differencing")],
)
def test_few_and_near_groups_are_refused_or_withheld(groups: Groups, codes: list[int], rule: str) -> None:
    enter(groups, [0] * 20 + [1] * 20, by_code())
    with pytest.raises(PolicyError) as caught:
        enter(groups, codes, by_code())
    assert caught.value.refusals[0].rule == rule
    assert enter(groups, codes, by_code("signs", needed=False)) == {"signs"}
    refused = [grant.refused for grant in groups.ledger.history()]
    assert refused[-2:] == [rule, rule]


def test_a_group_that_the_answer_leaves_out_itself_may_be_small(groups: Groups) -> None:
    assert enter(groups, [0] * 37 + [1] * 3, by_code(few=True)) == frozenset()


def test_one_unit_may_not_be_nearly_all_of_a_sum(groups: Groups) -> None:
    pay = [10.0] * 39 + [1e6]
    codes = [0] * 20 + [1] * 20
    assert enter(groups, codes, by_code(), pay) == frozenset()
    with pytest.raises(PolicyError, match="nearly all of a sum"):
        enter(groups, codes, by_code(weighed=True), pay)


def test_what_was_withheld_is_not_known(groups: Groups) -> None:
    enter(groups, [0] * 20 + [1] * 20, by_code())
    known = len(groups.ledger)
    enter(groups, [0] * 19 + [1] * 21, by_code(needed=False))
    assert len(groups.ledger) == known


def test_two_values_divide_and_three_do_not(groups: Groups) -> None:
    two = TwoValued("two", ("pay",), column="code")
    with pytest.raises(PolicyError, match="min_group"):
        enter(groups, [1] * 37 + [2] * 3, two)
    assert enter(groups, [1] * 30 + [2] * 3 + [3] * 3, TwoValued("three", column="code")) == frozenset()
    assert enter(groups, [7] * 30, TwoValued("one", column="code")) == frozenset()
    assert len(groups.ledger) == 0


def test_a_value_has_one_code_in_every_pass() -> None:
    grouping = TwoValued("two", column="code")
    rows = batches([4, 9] * 20, size=1)
    first = [grouping.codes(batch).tolist() for batch in rows]
    assert grouping.divides()
    assert [grouping.codes(batch).tolist() for batch in rows] == first
    assert sum(len(codes) for codes in first) == 40


def test_the_groups_of_features() -> None:
    design = Design(
        (Numeric("x", 3.0, 2.0), Levels.plain("k", ["a", "b"], rest=True, drop=True), Numeric("x"))
    )
    found = of_features(design, Target("late", (False, True)))
    assert [one.name for one in found] == ["the values of 'x'", "the levels of 'k'", "the classes of 'late'"]
    block = pa.RecordBatch.from_pydict({"x": [0, 1], "k": ["b", "z"], "late": [True, False]})
    assert found[1].codes(block).tolist() == [3, 4]
    assert [one.name for one in of_features(design, Target("pay"))][-1] == "the values of 'pay'"
    assert len({one.key for one in found}) == 3
