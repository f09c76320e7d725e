"""Reconstruction: a random user asks random allowed queries and solves all answers together for any one person's salary.

Each answered sum is one linear equation over the salaries of the rows that it ranges over, which the attacker is taken to know (all
columns but the salary). A person is determined when the answers' row space holds that person's unit vector. The site's ledger keeps
that row space too, for as many figures as two a bucket of its sketches (512), and holds back what would determine anyone: so nobody is,
however many questions are asked of a table of this size. How near the answers come is printed: narrow bounds are no exact values, and
against them stands differential privacy only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.attacks.world import Door, people

from blossom.plan.errors import PolicyError

KEYS = ("dept", "city", "sex", "team")
QUERIES = 120
"""Random queries: without an audit of combinations, 86 determine five people."""

Bools = NDArray[np.bool_]


class Knowledge:
    """The equations of an attacker: an orthonormal basis of the answered sums' row space."""

    def __init__(self, rows: int) -> None:
        self.basis = np.zeros((0, rows))
        self.answers: list[tuple[Bools, float]] = []

    def learn(self, members: Bools, value: float) -> None:
        """Take in a sum over some rows."""
        self.answers.append((members, value))
        rest = members.astype(float)
        for _ in range(2):  # twice, so that rounding leaves nothing behind
            rest = rest - self.basis.T @ (self.basis @ rest)
        size = np.linalg.norm(rest)
        if size > 1e-7 * np.sqrt(members.sum()):
            self.basis = np.vstack([self.basis, rest / size])

    def determined(self) -> Bools:
        """Which rows' salaries follow from the answers."""
        return (self.basis**2).sum(axis=0) > 1 - 1e-9

    def solved(self) -> NDArray[np.float64]:
        """The salaries of least norm that agree with all answers."""
        matrix = np.stack([members for members, _ in self.answers]).astype(float)
        return np.linalg.lstsq(matrix, np.asarray([value for _, value in self.answers]), rcond=None)[0]


def ask(
    door: Door, frame: pd.DataFrame, knowledge: Knowledge, ages: list[int] | None, keys: list[str]
) -> None:
    """One query: sums by group, over people of some ages."""
    table = door.table("people", site="north")
    chosen = np.ones(len(frame), bool) if ages is None else frame.age.isin(ages).to_numpy()
    table = table if ages is None else table.filter(table.age.isin(ages))
    query: Any = table.group_by(keys) if keys else table
    try:
        found = query.agg(s=table.salary.sum()).to_pyarrow().to_pylist()
    except PolicyError:
        return
    for row in found:
        if row["s"] is None:
            continue
        members = chosen.copy()
        for key in keys:
            own = frame[key].isna() if row[key] is None else frame[key] == row[key]
            members &= own.to_numpy()
        np.testing.assert_allclose(row["s"], frame.salary[members].sum(), rtol=1e-9)
        knowledge.learn(members, row["s"])


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return people("north").to_pandas()


queries = st.lists(
    st.tuples(
        st.one_of(
            st.none(),
            st.builds(lambda a, n: list(range(a, a + n)), st.integers(18, 70), st.integers(3, 60)),
            st.lists(st.integers(20, 97), min_size=5, max_size=60, unique=True),
        ),
        st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
    ),
    min_size=2,
    max_size=2,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=queries)
def test_two_releases_determine_nobody(
    asked: Any, frame: pd.DataFrame, data: Path, tmp_path_factory: Any
) -> None:
    """Whatever two queries are: no salary follows from their answers."""
    knowledge = Knowledge(len(frame))
    fresh = tmp_path_factory.mktemp("fresh")
    with (
        mock.patch.dict(os.environ, BLOSSOM_HOME=str(fresh / "home")),  # else examples would share one ledger
        Door(data, fresh, protected=True) as door,
    ):
        for ages, keys in asked:
            ask(door, frame, knowledge, ages, keys)
    found = knowledge.determined()
    assert not found.any(), f"{len(asked)} queries gave {frame.name[found].tolist()}"


def test_random_queries_reconstruct_nobody(
    frame: pd.DataFrame, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random subsets of ages by random keys, in one session: nobody is ever determined, and many are answered."""
    rng = np.random.default_rng(7)
    knowledge = Knowledge(len(frame))
    with Door(data, tmp_path, protected=True) as door:
        for asked in range(1, QUERIES + 1):
            ages = rng.choice(np.arange(20, 98), rng.integers(15, 70), replace=False).tolist()
            keys = list(rng.choice(KEYS, rng.integers(0, 3), replace=False))
            ask(door, frame, knowledge, ages, keys)
            found = knowledge.determined()
            assert not found.any(), f"{asked} queries gave {frame.name[found].tolist()}"
    with capsys.disabled():
        nearest = (knowledge.basis**2).sum(axis=0).max()
        print(
            f"\nreconstruction: {QUERIES} random queries, {len(knowledge.answers)} figures answered: no salary determined; "
            f"of the one nearest to it, {nearest:.2%} of the unit vector"
        )
    assert len(knowledge.answers) > 150  # it holds though it answers


def test_without_rules_few_queries_are_enough(frame: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    """The solver is no straw man: where all may leave, the same kind of queries determines people at once."""
    knowledge = Knowledge(len(frame))
    with Door(data, tmp_path, protected=False) as door:
        ask(door, frame, knowledge, list(range(20, 60)), ["dept", "city"])
        ask(door, frame, knowledge, None, ["dept", "city"])
        ask(door, frame, knowledge, [97, *range(20, 60)], ["dept"])
        ask(door, frame, knowledge, [*range(20, 60)], ["dept"])
    found = knowledge.determined()
    assert found[0]
    assert abs(knowledge.solved()[0] - frame.salary[0]) < 0.5
