"""A placement problem as arrays, and the shape of its graph: what `place` searches."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

FAR = 60
"""Open nodes beyond which more of them make no difference: no search could hold the first of its arrays."""


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

    def total(self, choice: Ints) -> float:
        """Seconds of an assignment, starts left out."""
        used = np.flatnonzero(choice >= 0)
        edges = np.flatnonzero((choice[self.child] >= 0) & (choice[self.parent] >= 0))
        source, target = choice[self.child[edges]], choice[self.parent[edges]]
        moved = self.latency[source, target] + self.per_byte[source, target] * self.bytes[edges]
        return float(self.operator[used, choice[used]].sum() + moved.sum())

    @cached_property
    def graph(self) -> Graph:
        """Its edges by node, whatever they cost."""
        return Graph(self)

    def costing(self, operator: Floats) -> Problem:
        """The same problem with other operator costs."""
        other = replace(self, operator=operator)
        other.__dict__["graph"] = self.graph
        return other


class Graph:
    """A problem's edges by node, its shared nodes, and where each of them closes; no costs.

    Attributes:
        n: Nodes.
        k: Places.
        child: By edge, the input.
        parent: By edge, the user.
        any_of: By node, whether one of its inputs is enough.
        in_edges: By node, the edges to its inputs.
        out_edges: By node, the edges to its users.
        shared: Nodes with several users.
        closes: Node -> the shared nodes whose users' ways all meet there.
        required: (n,) nodes that every assignment places: all but those that only copies lead to.
    """

    def __init__(self, problem: Problem) -> None:
        n, k = problem.operator.shape
        self.n, self.k = n, k
        self.child: list[int] = problem.child.tolist()
        self.parent: list[int] = problem.parent.tolist()
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
        self.required: Bools = np.ones(n, dtype=np.bool_)
        for v in range(n - 2, -1, -1):
            users = (self.parent[e] for e in self.out_edges[v])
            self.required[v] = any(self.required[user] and not self.any_of[user] for user in users)

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

    @cached_property
    def _open(self) -> Bools:
        """(steps, shared) which shared nodes are open at each step of the search: one step an edge and one a node."""
        opens: list[frozenset[int]] = [frozenset()] * self.n
        steps: list[frozenset[int]] = []
        for v in range(self.n):
            together: frozenset[int] = frozenset()
            for e in self.in_edges[v]:
                u = self.child[e]
                if len(self.out_edges[u]) == 1:
                    together |= opens[u]
                    steps.append(opens[u])
                else:
                    together |= {u}
            for s in self.closes.get(v, ()):
                together |= opens[s]
            steps.append(together)
            opens[v] = together - frozenset(self.closes.get(v, ()))
        found: Bools = np.zeros((len(steps), len(self.shared)), dtype=np.bool_)
        column = {s: number for number, s in enumerate(self.shared)}
        for row, step in enumerate(steps):
            found[row, [column[s] for s in step]] = True
        return found

    def pins(self, fixed: Set[int], most: int) -> set[int]:
        """Shared nodes beside the fixed ones whose place must be given, so that a search looks at `most` elements at most."""
        if not self.shared:
            return set()
        free = np.array([s not in fixed for s in self.shared])
        pinned: set[int] = set()
        while free.any():
            size = float(self.k) ** (np.minimum(self._open[:, free].sum(axis=1), FAR) + 2)
            worth = size @ self._open
            worth[~free] = 0.0
            if size.sum() <= most or worth.max() <= 0:
                break
            dearest = int(worth.argmax())
            pinned.add(self.shared[dearest])
            free[dearest] = False
        return pinned
