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
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

WIDEST = 4_000_000
"""Largest number of elements of one step's array; shared nodes are pinned until every step fits."""

MOST_STARTUPS = 8
"""Largest number of places with a start-up cost: every set of them is tried."""

PASSES = 4
"""Rounds of coordinate descent over pinned nodes."""


@dataclass(frozen=True, eq=False)
class Problem:
    """n nodes, k places, m edges from an input (`child`) to its user (`parent`).

    Nodes are numbered inputs first; node n - 1 is the root and the only one without a user.

    Attributes:
        operator: (n, k) seconds of a node's own work at a place; inf where it cannot run.
        child: (m,) the input's number.
        parent: (m,) the user's number, larger than the input's.
        bytes: (m,) what crosses when the two are at different places.
        latency: (k, k) seconds of a move from place i to place j, whatever its size; inf where there is none.
        per_byte: (k, k) seconds a byte from place i to place j.
        masks: (c, k, k) sets of moves that are allowed.
        mask: (m,) which of `masks` an edge obeys; -1 for none.
        any_of: (n,) nodes that need only one of their inputs (copies of one table); None: no node.
        startup: (k,) seconds paid once when a place is used at all; None: nothing.
    """

    operator: Floats
    child: Ints
    parent: Ints
    bytes: Floats
    latency: Floats
    per_byte: Floats
    masks: Bools | None = None
    mask: Ints | None = None
    any_of: Bools | None = None
    startup: Floats | None = None

    def __post_init__(self) -> None:
        n, k = self.operator.shape
        if self.latency.shape != (k, k) or self.per_byte.shape != (k, k):
            raise ValueError(f"latency and per_byte must be ({k}, {k})")
        if not (len(self.child) == len(self.parent) == len(self.bytes)):
            raise ValueError("child, parent and bytes must have one entry an edge")
        if np.any(self.child >= self.parent):
            raise ValueError("an input must have a smaller number than its user")
        if set(self.child.tolist()) != set(range(n - 1)):
            raise ValueError("every node but the last must have a user")
        if (self.masks is None) != (self.mask is None):
            raise ValueError("masks and mask go together")

    def transfers(self) -> Floats:
        """(m, k, k) seconds of each edge's move; inf where it is not allowed."""
        closed = np.isinf(self.latency) | np.isinf(self.per_byte)
        base = np.where(closed, np.inf, self.latency)
        slope = np.where(closed, 0.0, self.per_byte)
        moves: Floats = slope * self.bytes[:, None, None]
        moves += base
        if self.masks is not None and self.mask is not None:
            ruled = np.flatnonzero(self.mask >= 0)
            moves[ruled] = np.where(self.masks[self.mask[ruled]], moves[ruled], np.inf)
        return moves


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
    graph = _Graph(problem)
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
            found = _search(graph, operator)
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
    graph = _Graph(problem)
    n, k = problem.operator.shape
    choice = assignment.choice
    used = choice >= 0
    pins = {s: int(choice[s]) for s in graph.shared if used[s]}
    for s in graph.shared:
        pins.setdefault(s, 0)
    state = _Inside(graph, problem.operator, pins)
    state.run()
    moves = graph.moves
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


class _Graph:
    """A problem's edges by node, its shared nodes, and where each of them closes."""

    def __init__(self, problem: Problem) -> None:
        n, k = problem.operator.shape
        self.n, self.k = n, k
        self.child: list[int] = problem.child.tolist()
        self.parent: list[int] = problem.parent.tolist()
        self.moves = problem.transfers()
        self.any_of: list[bool] = [False] * n if problem.any_of is None else problem.any_of.tolist()
        self.in_edges: list[list[int]] = [[] for _ in range(n)]
        self.out_edges: list[list[int]] = [[] for _ in range(n)]
        for e, (u, v) in enumerate(zip(self.child, self.parent, strict=True)):
            self.in_edges[v].append(e)
            self.out_edges[u].append(e)
        self.shared = [v for v in range(n) if len(self.out_edges[v]) > 1]
        self.closes: dict[int, list[int]] = {}
        if self.shared:
            meet = self._post_dominators()
            for s in reversed(self.shared):  # descending: an inner one may still hold outer ones open
                self.closes.setdefault(meet[s], []).append(s)

    def _post_dominators(self) -> list[int]:
        """For each node the first node that all its ways to the root go through."""
        meet = [self.n - 1] * self.n
        for v in range(self.n - 2, -1, -1):
            users = {self.parent[e] for e in self.out_edges[v]}
            while len(users) > 1:  # lift the lowest until all meet; numbers grow towards the root
                lowest = min(users)
                users.remove(lowest)
                users.add(meet[lowest])
            (meet[v],) = users
        return meet

    def widest(self, pinned: Mapping[int, int] | set[int]) -> tuple[int, list[int]]:
        """The largest step's number of elements, and the shared nodes open there."""
        opens: list[frozenset[int]] = [frozenset()] * self.n
        worst: tuple[int, list[int]] = (self.k**2, [])
        for v in range(self.n):
            together: frozenset[int] = frozenset()
            for e in self.in_edges[v]:
                u = self.child[e]
                if len(self.out_edges[u]) == 1:
                    together |= opens[u]
                    worst = max(worst, (self.k ** (len(opens[u]) + 2), sorted(opens[u])))
                elif u not in pinned:
                    together |= {u}
            for s in self.closes.get(v, ()):
                together |= opens[s]
            worst = max(worst, (self.k ** (len(together) + 1), sorted(together)))
            opens[v] = together - frozenset(self.closes.get(v, ()))
        return worst


class _Inside:
    """One bottom-up pass: `inside[v]` is the least cost of v and all below, by the open shared nodes' places and v's."""

    def __init__(self, graph: _Graph, operator: Floats, pins: Mapping[int, int]) -> None:
        self.graph, self.operator, self.pins = graph, operator, pins
        self.inside: list[Floats] = [operator[0]] * graph.n
        self.axes: list[tuple[int, ...]] = [()] * graph.n  # the open shared nodes, one leading axis each
        self.messages: dict[int, Floats] = {}
        self.message_axes: dict[int, tuple[int, ...]] = {}
        self.before: dict[
            int, tuple[Floats, tuple[int, ...]]
        ] = {}  # shared node -> array just before it was closed
        self.blocked: list[int] = []

    def run(self) -> float:
        """The least total; inf when there is none (then `blocked` says where)."""
        graph, moves = self.graph, self.graph.moves
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
            if not np.isfinite(value).any() and all(
                np.isfinite(self.inside[graph.child[e]]).any() for e in graph.in_edges[v]
            ):
                self.blocked.append(v)
            self.inside[v], self.axes[v] = value, axes
        return float(self.inside[-1].min())

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
        graph, moves = self.graph, self.graph.moves
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


def _search(graph: _Graph, operator: Floats) -> Assignment | Infeasible:
    pinned: set[int] = set()
    size, opens = graph.widest(pinned)
    while size > WIDEST and opens:
        pinned.add(max(opens, key=lambda s: len(graph.out_edges[s])))
        size, opens = graph.widest(pinned)
    if not pinned:
        state = _Inside(graph, operator, {})
        total = state.run()
        if not np.isfinite(total):
            return Infeasible(tuple(state.blocked) or (graph.n - 1,))
        return Assignment(state.choices(), total, total)
    return _descend(graph, operator, sorted(pinned))


def _descend(graph: _Graph, operator: Floats, pinned: Sequence[int]) -> Assignment | Infeasible:
    """Pin shared nodes, solve the rest exactly, and move one pin at a time while it helps."""
    relaxed, bound = _relaxed(graph, operator)
    if not np.isfinite(bound):
        blocked = [
            v
            for v in range(graph.n)
            if not np.isfinite(relaxed[v]).any()
            and all(np.isfinite(relaxed[graph.child[e]]).any() for e in graph.in_edges[v])
        ]
        return Infeasible(tuple(blocked))

    def attraction(s: int) -> Floats:
        reach = [graph.moves[e].min(axis=1) for e in graph.out_edges[s]]
        return relaxed[s] + np.sum(reach, axis=0)

    starts = [{s: int(attraction(s).argmin()) for s in pinned}]
    starts += [dict.fromkeys(pinned, place) for place in range(graph.k)]
    best: tuple[float, dict[int, int]] | None = None
    stuck: tuple[int, ...] = ()
    for pins in starts:
        state = _Inside(graph, operator, pins)
        total = state.run()
        stuck = stuck or tuple(state.blocked)
        if np.isfinite(total) and (best is None or total < best[0]):
            best = total, pins
    if best is None:
        return Infeasible(stuck or (graph.n - 1,), proven=False)
    total, pins = best
    for _ in range(PASSES):
        before = total
        for s in pinned:
            for spot in range(graph.k):
                if spot == pins[s] or not np.isfinite(operator[s, spot]):
                    continue
                trial = {**pins, s: spot}
                worth = _Inside(graph, operator, trial).run()
                if worth < total:
                    total, pins = worth, trial
        if total >= before:
            break
    state = _Inside(graph, operator, pins)
    total = state.run()
    return Assignment(state.choices(), total, min(bound, total))


def _relaxed(graph: _Graph, operator: Floats) -> tuple[list[Floats], float]:
    """A lower bound: each user of a shared node may choose its own place for it and pays an equal share of its cost."""
    inside: list[Floats] = []
    for v in range(graph.n):
        value: Floats = operator[v].copy()
        parts: list[Floats] = []
        for e in graph.in_edges[v]:
            u = graph.child[e]
            share = inside[u] / len(graph.out_edges[u])
            parts.append((share[:, None] + graph.moves[e]).min(axis=0))
        if graph.any_of[v] and parts:
            value = value + np.min(parts, axis=0)
        else:
            for part in parts:
                value = value + part
        inside.append(value)
    return inside, float(inside[-1].min())
