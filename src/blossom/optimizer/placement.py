"""The pure core of placement: which of k places does each node of a graph run at, so that the sum of costs is least.

Exact dynamic programming over the graph, inputs before users, with numpy matrices. A node with several users is a free
variable that stays *open* from its users up to the node where all its users' paths meet again (its post-dominator), and is
minimised away there. A plan therefore costs k ** (open + 2) steps an edge, where `open` counts the shared nodes that are
open at once: a tree has none. Where that is too much, some shared nodes are pinned and improved one at a time, and the
assignment carries a lower bound, so the gap is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from blossom.optimizer.graph import Bools, Floats, Graph, Ints, Problem

__all__ = ["Assignment", "Bools", "Floats", "Infeasible", "Ints", "Problem", "alternatives", "place"]

MOST_ELEMENTS = 3_000_000
"""Largest number of array elements of one search; shared nodes are pinned until it fits. Some 20 ms: eighty nodes and ten
places with two shared nodes open all along."""

MOST_STARTUPS = 8
"""Largest number of places with a start-up cost: every set of them is tried."""

PASSES = 4
"""Rounds of coordinate descent over pinned nodes."""

VISITS = 5_000
"""Most nodes that coordinate descent looks at in all its trials, but for two: some 50 ms."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """A place for every node.

    Attributes:
        choice: (n,) the place; -1 for a node that nothing uses (a copy not chosen).
        total: Its cost in seconds.
        lower_bound: No assignment costs less; equal to `total` when the search was exact.
    """

    choice: Ints
    total: float
    lower_bound: float

    @property
    def gap(self) -> float:
        """How much of the total could at most be saved, 0 when exact."""
        return 0.0 if self.total <= 0 else max(0.0, 1.0 - self.lower_bound / self.total)


@dataclass(frozen=True, eq=False)
class Infeasible:
    """No assignment exists (or, when not `proven`, none was found).

    Attributes:
        blocked: Nodes that have no place although each of their inputs has one.
        proven: Whether no assignment exists for certain.
    """

    blocked: tuple[int, ...]
    proven: bool = True


def place(problem: Problem) -> Assignment | Infeasible:
    """The cheapest assignment.

    >>> two = Problem(
    ...     operator=np.array([[1.0, np.inf], [5.0, 1.0]]), child=np.array([0]), parent=np.array([1]),
    ...     bytes=np.array([10.0]), latency=np.array([[0.0, 1.0], [1.0, 0.0]]), per_byte=np.array([[0.0, 0.1], [0.1, 0.0]]))
    >>> found = place(two)
    >>> found.choice.tolist(), found.total
    ([0, 1], 4.0)
    """
    graph, moves = problem.graph, problem.transfers()
    costly = [] if problem.startup is None else np.flatnonzero(problem.startup > 0).tolist()
    if len(costly) > MOST_STARTUPS:
        raise ValueError(f"{len(costly)} places have a start-up cost; at most {MOST_STARTUPS} are supported")
    best: Assignment | None = None
    bound = np.inf
    failure: Infeasible | None = None
    for size in range(len(costly), -1, -1):
        for used in combinations(costly, size):
            operator = problem.operator
            fixed = 0.0
            if problem.startup is not None and costly:
                operator = operator.copy()
                operator[:, [c for c in costly if c not in used]] = np.inf
                fixed = float(problem.startup[list(used)].sum())
            found = _search(graph, moves, operator)
            if isinstance(found, Infeasible):
                failure = failure or found
                continue
            bound = min(bound, found.lower_bound + fixed)
            if best is None or found.total + fixed < best.total:
                best = Assignment(found.choice, found.total + fixed, 0.0)
    if best is None:
        assert failure is not None
        return failure
    return Assignment(best.choice, best.total, min(bound, best.total))


def alternatives(problem: Problem, assignment: Assignment) -> tuple[Ints, Floats]:
    """For each node the best other place and the total cost if the node were forced there.

    Everything else is chosen anew, but for shared nodes, which stay (so below and beside them it is an upper bound).
    Start-up costs are left out. Where a node has no other place: (-1, inf).
    """
    graph, moves = problem.graph, problem.transfers()
    n, k = problem.operator.shape
    choice = assignment.choice
    used = choice >= 0
    pins = {s: int(choice[s]) for s in graph.shared if used[s]}
    for s in graph.shared:
        pins.setdefault(s, 0)
    state = _Inside(graph, moves, problem.operator, pins)
    state.run()
    outside: Floats = np.full((n, k), np.inf)
    outside[n - 1] = 0.0
    place_of = np.full(n, -1, dtype=np.int64)
    cost = np.full(n, np.inf)
    total = float(state.inside[n - 1].min())
    for v in range(n - 1, -1, -1):
        if not used[v]:
            continue
        inside = state.inside[v]
        if v in pins and v != n - 1:
            here = pins[v]
            users = [e for e in graph.out_edges[v] if used[graph.parent[e]]]
            moved: Floats = np.zeros(k)
            for e in users:
                moved = moved + moves[e][:, choice[graph.parent[e]]]
            outside[v] = total - inside[here] - moved[here] + moved
        whole = inside + outside[v]
        others = whole.copy()
        others[choice[v]] = np.inf
        other = int(others.argmin())
        if np.isfinite(others[other]):
            place_of[v], cost[v] = other, others[other]
        for e in graph.in_edges[v]:
            u = graph.child[e]
            if u in pins or not used[u]:
                continue
            if graph.any_of[v]:
                rest = outside[v] + problem.operator[v]
            else:
                message = state.messages[e]
                rest = np.where(
                    np.isfinite(whole), whole - np.where(np.isfinite(message), message, 0.0), np.inf
                )
            outside[u] = (moves[e] + rest).min(axis=1)
    return place_of, cost


class _Inside:
    """One bottom-up pass: `inside[v]` is the least cost of v and all below, by the open shared nodes' places and v's."""

    def __init__(self, graph: Graph, moves: Floats, operator: Floats, pins: Mapping[int, int]) -> None:
        self.graph, self.moves, self.operator, self.pins = graph, moves, operator, pins
        self.inside: list[Floats] = [operator[0]] * graph.n
        self.axes: list[tuple[int, ...]] = [()] * graph.n  # the open shared nodes, one leading axis each
        self.messages: dict[int, Floats] = {}
        self.message_axes: dict[int, tuple[int, ...]] = {}
        self.before: dict[
            int, tuple[Floats, tuple[int, ...]]
        ] = {}  # shared node -> array just before it was closed

    def run(self) -> float:
        """The least total; inf when there is none (then `blocked` says where)."""
        graph, moves = self.graph, self.moves
        for v in range(graph.n):
            value, axes = self.operator[v], ()
            gathered: tuple[Floats, tuple[int, ...]] | None = None
            for e in graph.in_edges[v]:
                u = graph.child[e]
                if u in self.pins:
                    message, names = moves[e][self.pins[u]], ()
                elif len(graph.out_edges[u]) > 1:
                    message, names = moves[e], (u,)
                else:
                    names = self.axes[u]
                    message = (self.inside[u][..., None] + moves[e]).min(axis=-2)
                self.messages[e], self.message_axes[e] = message, names
                if not graph.any_of[v]:
                    value, axes = _combine(value, axes, message, names, np.add)
                elif gathered is None:
                    gathered = message, names
                else:
                    gathered = _combine(gathered[0], gathered[1], message, names, np.minimum)
            if gathered is not None:
                value, axes = _combine(value, axes, gathered[0], gathered[1], np.add)
            for s in graph.closes.get(v, ()):
                value, axes = self._close(s, value, axes)
            self.inside[v], self.axes[v] = value, axes
        return float(self.inside[-1].min())

    def blocked(self) -> tuple[int, ...]:
        """The nodes that have no place although each of their inputs has one."""
        able = [bool(np.isfinite(value).any()) for value in self.inside]
        graph = self.graph
        return tuple(
            v for v in range(graph.n) if not able[v] and all(able[graph.child[e]] for e in graph.in_edges[v])
        )

    def _close(self, s: int, value: Floats, axes: tuple[int, ...]) -> tuple[Floats, tuple[int, ...]]:
        if s in self.pins:
            below = self.inside[s][..., self.pins[s]]
            return _combine(value, axes, below[..., None], self.axes[s], np.add)
        below, names = self.inside[s], (*self.axes[s], s)
        value, axes = _combine(value, axes, below[..., None], names, np.add)
        self.before[s] = value, axes
        at = axes.index(s)
        return value.min(axis=at), axes[:at] + axes[at + 1 :]

    def choices(self) -> Ints:
        """The places of the least total, read back from the root down."""
        graph, moves = self.graph, self.moves
        choice = np.full(graph.n, -1, dtype=np.int64)
        choice[-1] = int(self.inside[-1].argmin())
        for v in range(graph.n - 1, -1, -1):
            if choice[v] < 0:
                continue
            here = int(choice[v])
            for s in reversed(graph.closes.get(v, [])):
                if s in self.pins:
                    choice[s] = self.pins[s]
                    continue
                value, axes = self.before[s]
                at: list[int | slice] = [slice(None) if a == s else int(choice[a]) for a in axes]
                choice[s] = int(value[(*at, here)].argmin())
            edges = graph.in_edges[v]
            if graph.any_of[v] and edges:
                worth = [self._known(self.messages[e], self.message_axes[e], choice)[here] for e in edges]
                edges = [edges[int(np.argmin(worth))]]
            for e in edges:
                u = graph.child[e]
                if len(graph.out_edges[u]) == 1:
                    choice[u] = int(
                        (self._known(self.inside[u], self.axes[u], choice) + moves[e][:, here]).argmin()
                    )
        return choice

    @staticmethod
    def _known(value: Floats, axes: tuple[int, ...], choice: Ints) -> Floats:
        return value[tuple(int(choice[a]) for a in axes)]


def _combine(
    left: Floats, left_axes: tuple[int, ...], right: Floats, right_axes: tuple[int, ...], how: np.ufunc
) -> tuple[Floats, tuple[int, ...]]:
    """Two arrays over open shared nodes (leading axes) and one place (last axis), aligned by name."""
    if left_axes == right_axes:
        return how(left, right), left_axes
    axes = tuple(sorted({*left_axes, *right_axes}))
    return how(_align(left, left_axes, axes), _align(right, right_axes, axes)), axes


def _align(value: Floats, names: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    order = sorted(range(len(names)), key=lambda i: names[i])
    value = value.transpose([*order, value.ndim - 1])
    sizes = iter(value.shape[:-1])
    return value.reshape([next(sizes) if a in names else 1 for a in axes] + [value.shape[-1]])


def _search(graph: Graph, moves: Floats, operator: Floats) -> Assignment | Infeasible:
    # a table that several read lies in one place: nothing is open there
    fixed = {s: int(np.argmin(operator[s])) for s in graph.shared if np.isfinite(operator[s]).sum() == 1}
    pinned = graph.pins(fixed.keys(), MOST_ELEMENTS)
    if pinned:
        return _descend(graph, moves, operator, sorted(pinned), fixed)
    state = _Inside(graph, moves, operator, fixed)
    total = state.run()
    if not np.isfinite(total):
        return Infeasible(state.blocked() or (graph.n - 1,))
    return Assignment(state.choices(), total, total)


def _descend(
    graph: Graph, moves: Floats, operator: Floats, pinned: Sequence[int], fixed: Mapping[int, int]
) -> Assignment | Infeasible:
    """Pin shared nodes beside those that are fixed, solve the rest exactly, and move one pin at a time while it helps."""
    relaxed, bound = _relaxed(graph, moves, operator)
    if not np.isfinite(bound):
        blocked = [
            v
            for v in range(graph.n)
            if not np.isfinite(relaxed[v]).any()
            and all(np.isfinite(relaxed[graph.child[e]]).any() for e in graph.in_edges[v])
        ]
        return Infeasible(tuple(blocked))

    def attraction(s: int) -> Floats:
        reach = [moves[e].min(axis=1) for e in graph.out_edges[s]]
        return relaxed[s] + np.sum(reach, axis=0)

    starts = [{**fixed, **{s: int(attraction(s).argmin()) for s in pinned}}]
    starts += [{**fixed, **dict.fromkeys(pinned, place)} for place in range(graph.k)]
    trials = max(2, VISITS // graph.n)
    starts = starts[: max(1, trials // 2)]
    best: tuple[float, dict[int, int]] | None = None
    stuck: tuple[int, ...] = ()
    for pins in starts:
        state = _Inside(graph, moves, operator, pins)
        total = state.run()
        if not np.isfinite(total):
            stuck = stuck or state.blocked()
        if np.isfinite(total) and (best is None or total < best[0]):
            best = total, pins
    if best is None:
        return Infeasible(stuck or (graph.n - 1,), proven=False)
    total, pins = best
    trials -= len(starts)
    for _ in range(PASSES):
        before = total
        for s in pinned:
            for spot in range(graph.k):
                if spot == pins[s] or not np.isfinite(operator[s, spot]) or trials <= 0:
                    continue
                trials -= 1
                trial = {**pins, s: spot}
                worth = _Inside(graph, moves, operator, trial).run()
                if worth < total:
                    total, pins = worth, trial
        if total >= before or trials <= 0:
            break
    state = _Inside(graph, moves, operator, pins)
    total = state.run()
    return Assignment(state.choices(), total, min(bound, total))


def _relaxed(graph: Graph, moves: Floats, operator: Floats) -> tuple[list[Floats], float]:
    """A lower bound: each user of a shared node may choose its own place for it and pays an equal share of its cost."""
    inside: list[Floats] = []
    for v in range(graph.n):
        value: Floats = operator[v].copy()
        parts: list[Floats] = []
        for e in graph.in_edges[v]:
            u = graph.child[e]
            share = inside[u] / len(graph.out_edges[u])
            parts.append((share[:, None] + moves[e]).min(axis=0))
        if graph.any_of[v] and parts:
            value = value + np.min(parts, axis=0)
        else:
            for part in parts:
                value = value + part
        inside.append(value)
    return inside, float(inside[-1].min())
