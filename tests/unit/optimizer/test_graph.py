"""The shape of placement problems: which nodes must run, and how much must be pinned."""

from __future__ import annotations

import numpy as np

from blossom.optimizer.graph import Graph, Problem


def graph(edges: list[tuple[int, int]], k: int = 3, any_of: tuple[int, ...] = ()) -> Graph:
    n = max(v for _, v in edges) + 1
    return Problem(
        operator=np.ones((n, k)),
        child=np.array([u for u, _ in edges]),
        parent=np.array([v for _, v in edges]),
        bytes=np.ones(len(edges)),
        latency=np.zeros((k, k)),
        per_byte=np.zeros((k, k)),
        any_of=np.array([v in any_of for v in range(n)]),
    ).graph


DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


def test_a_tree_needs_no_pins() -> None:
    assert graph([(0, 2), (1, 2)]).pins(set(), 1) == set()


def test_a_shared_node_is_pinned_when_the_search_would_be_too_large() -> None:
    shape = graph(DIAMOND)
    assert shape.pins(set(), 1_000) == set()
    assert shape.pins(set(), 50) == {0}
    assert shape.pins({0}, 50) == set()  # its place is known: it opens nothing


def test_the_node_that_is_open_longest_is_pinned_first() -> None:
    long = [(0, 1), (1, 2), (2, 3), (0, 7), (4, 5), (4, 6), (5, 6), (6, 7), (3, 7)]
    shape = graph(long)
    assert shape.shared == [0, 4]
    assert shape.pins(set(), 250) == {0}


def test_copies_need_not_all_run() -> None:
    shape = graph([(0, 2), (1, 2), (2, 3)], any_of=(2,))
    assert shape.required.tolist() == [False, False, True, True]
    assert graph(DIAMOND).required.all()


def test_another_costing_has_the_same_graph() -> None:
    problem = Problem(
        np.ones((2, 2)), np.array([0]), np.array([1]), np.ones(1), np.zeros((2, 2)), np.zeros((2, 2))
    )
    found = problem.graph
    other = problem.costing(np.zeros((2, 2)))
    assert other.graph is found
    assert other.operator.sum() == 0
