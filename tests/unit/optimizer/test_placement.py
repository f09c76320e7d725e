"""Placement against brute force on random trees, graphs, masks, alternatives and start-up costs; and its speed."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from blossom.optimizer import placement
from blossom.optimizer.placement import Assignment, Infeasible, Problem, alternatives, place


def random_problem(rng, n, k, *, extra=0, any_of=0.0, forbid=0.15, masks=0, startup=False) -> Problem:
    """A random tree with `extra` more edges from an inner node to a later one (so that some nodes are shared)."""
    edges = [(u, int(rng.integers(u + 1, n))) for u in range(n - 1)]
    for _ in range(extra):
        u = int(rng.integers(0, n - 1))
        edges.append((u, int(rng.integers(u + 1, n))))
    operator = rng.lognormal(0, 1, (n, k))
    operator[rng.random((n, k)) < forbid] = np.inf
    latency = rng.lognormal(0, 1, (k, k))
    latency[rng.random((k, k)) < forbid / 2] = np.inf
    np.fill_diagonal(latency, 0)
    per_byte = rng.lognormal(-1, 1, (k, k))
    np.fill_diagonal(per_byte, 0)
    return Problem(
        operator=operator,
        child=np.array([u for u, _ in edges], dtype=np.int64),
        parent=np.array([v for _, v in edges], dtype=np.int64),
        bytes=rng.lognormal(0, 1, len(edges)),
        latency=latency,
        per_byte=per_byte,
        masks=rng.random((masks, k, k)) < 0.8 if masks else None,
        mask=rng.integers(-1, masks, len(edges)) if masks else None,
        any_of=rng.random(n) < any_of if any_of else None,
        startup=np.where(rng.random(k) < 0.6, rng.lognormal(1, 1, k), 0.0) if startup else None,
    )


def edge_cost(problem: Problem, e: int, i: int, j: int) -> float:
    if (
        problem.masks is not None
        and problem.mask is not None
        and problem.mask[e] >= 0
        and not problem.masks[problem.mask[e], i, j]
    ):
        return np.inf
    return float(problem.latency[i, j] + problem.bytes[e] * problem.per_byte[i, j])


def cost_of(problem: Problem, places, *, startup: bool = True) -> float:
    """The cost of one full assignment, by the definition; an any-node takes its cheapest input's whole subtree."""
    n, _ = problem.operator.shape
    below = [[e for e in range(len(problem.child)) if problem.parent[e] == v] for v in range(n)]
    users = np.bincount(problem.child, minlength=n)
    paid: set[int] = set()

    def subtree(v: int) -> float:
        parts = []
        for e in below[v]:
            u = int(problem.child[e])
            part = edge_cost(problem, e, places[u], places[v])
            if users[u] > 1:
                paid.add(u)
            else:
                part += subtree(u)
            parts.append(part)
        if problem.any_of is not None and problem.any_of[v] and parts:
            return float(problem.operator[v, places[v]]) + min(parts)
        return float(problem.operator[v, places[v]]) + sum(parts)

    total = subtree(n - 1)
    done: set[int] = set()
    while paid - done:
        s = max(paid - done)
        done.add(s)
        total += subtree(s)
    if startup and problem.startup is not None:
        total += sum(problem.startup[i] for i in set(places))
    return total


def brute(problem: Problem, **kwargs) -> float:
    n, k = problem.operator.shape
    return min(cost_of(problem, a, **kwargs) for a in itertools.product(range(k), repeat=n))


def check(problem: Problem) -> bool:
    want = brute(problem)
    found = place(problem)
    if not np.isfinite(want):
        assert isinstance(found, Infeasible)
        assert found.proven
        assert found.blocked
        return False
    assert isinstance(found, Assignment)
    assert found.total == pytest.approx(want)
    assert found.gap == pytest.approx(0, abs=1e-9)
    if problem.any_of is None:
        assert cost_of(problem, found.choice) == pytest.approx(want)
    return True


def test_trees_equal_brute_force() -> None:
    rng = np.random.default_rng(1)
    feasible = [
        check(
            random_problem(
                rng, int(rng.integers(1, 7)), int(rng.integers(1, 4)), masks=int(rng.integers(0, 3))
            )
        )
        for _ in range(200)
    ]
    assert 0.3 < np.mean(feasible) < 1


@pytest.mark.parametrize("extra", [1, 2, 4])
def test_graphs_equal_brute_force(extra: int) -> None:
    rng = np.random.default_rng(extra)
    feasible = [
        check(random_problem(rng, int(rng.integers(3, 7)), 3, extra=extra, masks=2, forbid=0.4))
        for _ in range(80)
    ]
    assert 0.2 < np.mean(feasible) < 1


def test_alternative_inputs_equal_brute_force_and_unused_ones_have_no_place() -> None:
    rng = np.random.default_rng(5)
    unused = 0
    for _ in range(80):
        problem = random_problem(rng, 6, 2, any_of=0.5, forbid=0.1)
        if check(problem):
            unused += int((place(problem).choice < 0).any())
    assert unused > 10


def test_startup_costs_equal_brute_force() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        check(random_problem(rng, 5, 3, extra=1, startup=True))


def test_alternatives_are_exact_on_trees() -> None:
    rng = np.random.default_rng(7)
    for _ in range(40):
        problem = random_problem(rng, 5, 3, masks=2)
        found = place(problem)
        if isinstance(found, Infeasible):
            continue
        other, cost = alternatives(problem, found)
        for v in range(5):
            forced = problem.operator.copy()
            forced[v, found.choice[v]] = np.inf
            want = brute(
                Problem(
                    forced,
                    problem.child,
                    problem.parent,
                    problem.bytes,
                    problem.latency,
                    problem.per_byte,
                    problem.masks,
                    problem.mask,
                )
            )
            assert cost[v] == pytest.approx(want)
            assert (other[v] < 0) == (not np.isfinite(want))


def test_alternatives_on_graphs_never_promise_too_much() -> None:
    rng = np.random.default_rng(8)
    compared = 0
    for _ in range(40):
        problem = random_problem(rng, 6, 3, extra=2)
        found = place(problem)
        if isinstance(found, Infeasible):
            continue
        _, cost = alternatives(problem, found)
        for v in range(6):
            forced = problem.operator.copy()
            forced[v, found.choice[v]] = np.inf
            again = place(
                Problem(
                    forced, problem.child, problem.parent, problem.bytes, problem.latency, problem.per_byte
                )
            )
            if isinstance(again, Assignment):
                compared += 1
                assert cost[v] >= again.total - 1e-9
            else:
                assert np.isinf(cost[v])
    assert compared > 50


def test_pinning_keeps_a_true_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    gaps = []
    for _ in range(60):
        problem = random_problem(rng, 9, 3, extra=6, forbid=0.0)
        exact = place(problem)
        monkeypatch.setattr(placement, "MOST_ELEMENTS", 3**2)
        pinned = place(problem)
        monkeypatch.undo()
        assert isinstance(exact, Assignment)
        assert isinstance(pinned, Assignment)
        assert pinned.lower_bound <= exact.total + 1e-9
        assert pinned.total >= exact.total - 1e-9
        assert cost_of(problem, pinned.choice) == pytest.approx(pinned.total)
        gaps.append(pinned.total / exact.total)
    assert np.mean(gaps) < 1.02


def test_infeasible_names_the_node() -> None:
    operator = np.array([[1.0, np.inf], [np.inf, 1.0], [1.0, 1.0]])
    no = np.array([[0.0, np.inf], [np.inf, 0.0]])
    found = place(Problem(operator, np.array([0, 1]), np.array([1, 2]), np.ones(2), no, np.zeros((2, 2))))
    assert isinstance(found, Infeasible)
    assert found.blocked == (1,)


def test_many_shared_nodes_that_close_at_once_stay_exact_and_fast() -> None:
    """Twenty diamonds in a row: each shared node closes before the next opens."""
    rng = np.random.default_rng(10)
    edges, n = [], 1
    for _ in range(20):
        edges += [(n - 1, n), (n - 1, n + 1), (n, n + 2), (n + 1, n + 2)]
        n += 3
    k = 10
    latency = rng.lognormal(0, 1, (k, k))
    np.fill_diagonal(latency, 0)
    problem = Problem(
        rng.lognormal(0, 1, (n, k)), np.array([u for u, _ in edges]), np.array([v for _, v in edges]),
        np.zeros(len(edges)), latency, np.zeros((k, k)),
    )  # fmt: skip
    found = place(problem)
    assert isinstance(found, Assignment)
    assert found.gap == 0
    assert cost_of(problem, found.choice) == pytest.approx(found.total)


@pytest.mark.parametrize(("n", "k", "limit"), [(80, 10, 0.002), (300, 40, 0.010)])
@pytest.mark.parametrize("shape", ["chain", "binary"])
def test_speed(n: int, k: int, limit: float, shape: str) -> None:
    """The best of several runs, with room for a loaded machine."""
    rng = np.random.default_rng(11)
    parent = (
        [u + 1 for u in range(n - 1)]
        if shape == "chain"
        else [n - 1 - (n - 2 - u) // 2 for u in range(n - 1)]
    )
    latency = rng.lognormal(0, 1, (k, k))
    np.fill_diagonal(latency, 0)
    problem = Problem(
        rng.lognormal(0, 1, (n, k)),
        np.arange(n - 1),
        np.array(parent),
        rng.lognormal(0, 1, n - 1),
        latency,
        rng.lognormal(0, 1, (k, k)),
    )
    times = []
    for _ in range(15):
        start = time.perf_counter()
        place(problem)
        times.append(time.perf_counter() - start)
    print(f"{n} x {k} {shape}: {min(times) * 1e3:.2f} ms")
    assert min(times) < 3 * limit


def test_malformed_problems_are_refused() -> None:
    one = np.zeros((1, 1))
    with pytest.raises(ValueError, match="smaller number"):
        Problem(np.zeros((2, 1)), np.array([1]), np.array([0]), np.zeros(1), one, one)
    with pytest.raises(ValueError, match="must have a user"):
        Problem(np.zeros((3, 1)), np.array([0]), np.array([2]), np.zeros(1), one, one)
    with pytest.raises(ValueError, match=r"must be \(1, 1\)"):
        Problem(
            np.zeros((1, 1)),
            np.array([], dtype=int),
            np.array([], dtype=int),
            np.zeros(0),
            np.zeros((2, 2)),
            one,
        )
