"""The Pareto front of placement against brute force on random trees and graphs, in both objectives."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.optimizer import placement_pareto
from blossom.optimizer.graph import Problem
from blossom.optimizer.placement import Assignment, place
from blossom.optimizer.placement_pareto import Front, Money, front


def random_problem(
    rng, n: int, k: int, *, extra: int = 0, any_of: bool = False, startup: bool = False
) -> tuple[Problem, Money]:
    """A random tree with `extra` more edges, and its money: dear places are fast."""
    edges = [(u, int(rng.integers(u + 1, n))) for u in range(n - 1)]
    for _ in range(extra if n > 1 else 0):
        u = int(rng.integers(0, n - 1))
        edges.append((u, int(rng.integers(u + 1, n))))
    operator = rng.lognormal(0, 1, (n, k))
    operator[rng.random((n, k)) < 0.15] = np.inf
    latency = rng.lognormal(0, 1, (k, k))
    latency[rng.random((k, k)) < 0.1] = np.inf
    np.fill_diagonal(latency, 0)
    per_byte = rng.lognormal(-1, 1, (k, k))
    np.fill_diagonal(per_byte, 0)
    ways = rng.random(n) < 0.5
    problem = Problem(
        operator=operator,
        child=np.array([u for u, _ in edges], dtype=np.int64),
        parent=np.array([v for _, v in edges], dtype=np.int64),
        bytes=rng.lognormal(0, 1, len(edges)),
        latency=latency,
        per_byte=per_byte,
        any_of=ways if any_of else None,
        startup=np.where(rng.random(k) < 0.6, rng.lognormal(0, 1, k), 0.0) if startup else None,
    )
    price = rng.lognormal(0, 1, k)
    moves = rng.lognormal(-1, 1, (len(edges), k, k))
    moves[:, np.arange(k), np.arange(k)] = 0.0
    paid = np.zeros(k) if problem.startup is None else problem.startup * price
    return problem, Money(rng.lognormal(0, 0.5, (n, k)) * price, moves, paid)


def brute(problem: Problem, money: Money) -> list[tuple[float, float]]:
    """Every undominated (seconds, usd), by the definition: all places, and all ways where one input is enough."""
    n, k = problem.operator.shape
    moves = problem.transfers()
    into = [[e for e in range(len(problem.child)) if problem.parent[e] == v] for v in range(n)]
    choosers = [v for v in range(n) if problem.any_of is not None and problem.any_of[v] and into[v]]
    found: set[tuple[float, float]] = set()
    for ways in itertools.product(*(into[v] for v in choosers)):
        taken = dict(zip(choosers, ways, strict=True))
        used, edges, stack = {n - 1}, [], [n - 1]
        while stack:
            v = stack.pop()
            for e in [taken[v]] if v in taken else into[v]:
                edges.append(e)
                if problem.child[e] not in used:
                    used.add(int(problem.child[e]))
                    stack.append(int(problem.child[e]))
        nodes = sorted(used)
        for places in itertools.product(range(k), repeat=len(nodes)):
            at = dict(zip(nodes, places, strict=True))
            ends = [(e, at[int(problem.child[e])], at[int(problem.parent[e])]) for e in edges]
            seconds = sum(problem.operator[v, i] for v, i in at.items()) + sum(
                moves[e, i, j] for e, i, j in ends
            )
            if not np.isfinite(seconds):
                continue
            usd = sum(money.operator[v, i] for v, i in at.items()) + sum(
                money.moves[e, i, j] for e, i, j in ends
            )
            if problem.startup is not None:
                seconds += sum(problem.startup[i] for i in set(places))
                usd += sum(money.startup[i] for i in set(places))
            found.add((float(seconds), float(usd)))
    return [
        one
        for one in sorted(found)
        if not any(two[0] <= one[0] and two[1] <= one[1] and two != one for two in found)
    ]


def taken(problem: Problem, money: Money, choice) -> tuple[float, float]:
    """What an assignment takes, by the definition; of graphs without alternatives."""
    moves = problem.transfers()
    ends = [
        (e, choice[u], choice[v]) for e, (u, v) in enumerate(zip(problem.child, problem.parent, strict=True))
    ]
    n = len(problem.operator)
    seconds = problem.operator[range(n), choice].sum() + sum(moves[one] for one in ends)
    usd = money.operator[range(n), choice].sum() + sum(money.moves[one] for one in ends)
    return float(seconds), float(usd)


def figures(found: Front) -> list[tuple[float, float]]:
    return [(one.seconds, one.usd) for one in found.labels]


def check(problem: Problem, money: Money) -> int:
    want, found = brute(problem, money), front(problem, money)
    assert found.exact
    assert np.array(figures(found)).reshape(-1, 2) == pytest.approx(np.array(want).reshape(-1, 2))
    return len(want)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), k=st.integers(1, 3), extra=st.integers(0, 3))
def test_every_label_of_brute_force_is_found_and_no_other(seed: int, n: int, k: int, extra: int) -> None:
    check(*random_problem(np.random.default_rng(seed), n, k, extra=extra))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), any_of=st.booleans(), startup=st.booleans())
def test_alternatives_and_starts_too(seed: int, any_of: bool, startup: bool) -> None:
    extra = (
        0 if any_of else 1
    )  # what alternatives share is paid for both ways, as in `place`: tables are not shared so
    check(*random_problem(np.random.default_rng(seed), 5, 3, extra=extra, any_of=any_of, startup=startup))


def test_the_random_problems_have_fronts_worth_the_name() -> None:
    rng = np.random.default_rng(1)
    sizes = [len(figures(front(*random_problem(rng, 6, 3, extra=2)))) for _ in range(40)]
    assert np.mean(np.array(sizes) > 2) > 0.5


def test_each_label_is_what_its_choice_takes() -> None:
    rng = np.random.default_rng(2)
    looked = 0
    for _ in range(40):
        problem, money = random_problem(rng, 7, 3, extra=2)
        for label in front(problem, money).labels:
            assert (label.seconds, label.usd) == pytest.approx(taken(problem, money, label.choice))
            looked += 1
    assert looked > 80


def test_the_fastest_label_is_what_place_finds() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        problem, money = random_problem(rng, 12, 4, extra=2)
        best, labels = place(problem), front(problem, money).labels
        assert isinstance(best, Assignment) == bool(labels)
        if labels:
            assert labels[0].seconds == pytest.approx(best.total)


def test_pinned_shared_nodes_and_thinned_sets_are_told_and_keep_both_ends(monkeypatch) -> None:
    rng = np.random.default_rng(4)
    thinned = pinned = 0
    for _ in range(10):
        problem, money = random_problem(rng, 10, 3, extra=3)
        whole = front(problem, money)
        if not whole.labels:
            continue
        monkeypatch.setattr(placement_pareto, "MOST_LABELS", 4)
        few = front(problem, money)
        thinned += not few.exact
        assert few.labels[0].seconds == pytest.approx(whole.labels[0].seconds)
        assert few.labels[-1].usd == pytest.approx(whole.labels[-1].usd)
        monkeypatch.undo()
        monkeypatch.setattr(placement_pareto, "MOST_ELEMENTS", 1)
        fixed = front(problem, money)
        pinned += not fixed.exact
        for label in fixed.labels:  # nothing that the whole front has not, or beats
            assert any(
                one.seconds <= label.seconds * 1.0001 and one.usd <= label.usd * 1.0001
                for one in whole.labels
            )
        assert fixed.labels[0].seconds == pytest.approx(whole.labels[0].seconds)
        monkeypatch.undo()
    assert thinned > 3
    assert pinned > 3


def test_eighty_operators_on_ten_places_take_a_fraction_of_a_second() -> None:
    problem, money = random_problem(np.random.default_rng(5), 80, 10)
    began = time.process_time()
    found = front(problem, money)
    assert found.labels
    assert time.process_time() - began < 3.0
