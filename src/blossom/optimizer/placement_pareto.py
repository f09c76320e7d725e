"""Placement by two objectives: every assignment that no other one beats in both time and money.

The dynamic programming of `placement`, with a set of labels (time, money) in place of each number: the labels of an input
are moved to each place of its user and those that another one dominates are dropped (Hansen, "Bicriterion path problems",
1980). A shared node is a free variable that its users' labels are kept apart by until they meet. Exact while the sets
and the graph are small; `Front.exact` says whether they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeAlias

import numpy as np

from blossom.optimizer.graph import Floats, Graph, Ints, Problem
from blossom.optimizer.placement import MOST_STARTUPS, Assignment, place

MOST_LABELS = 32
"""Largest set of labels of a node at a place; of a larger one some are left out, evenly, its ends never."""

MOST_ELEMENTS = 20_000
"""Largest number of sets that a search looks at; shared nodes are pinned until it fits."""

MOST_TOGETHER = 4
"""Of more costly places than these, not every set is tried, but all of them together, and each one's absence."""

SAME = 1e-12
"""Labels whose money differs by this share of it or less are the same."""


@dataclass(frozen=True, eq=False)
class Money:
    """What a problem costs in money; shapes as in `Problem`.

    Attributes:
        operator: (n, k) usd of each node at each place.
        moves: (m, k, k) usd of each edge's move.
        startup: (k,) usd once for each place that is used.
    """

    operator: Floats
    moves: Floats
    startup: Floats


@dataclass(frozen=True, eq=False)
class Label:
    """An assignment: what it takes, and the place of each node, -1 where it has none."""

    seconds: float
    usd: float
    choice: Ints


@dataclass(frozen=True, eq=False)
class Front:
    """The assignments that no other one beats, fastest first.

    Attributes:
        labels: None where no assignment exists.
        exact: Whether none is missing for certain.
    """

    labels: tuple[Label, ...]
    exact: bool


Trace: TypeAlias = "tuple[int, int, Trace | None] | tuple[Trace | None, Trace | None] | None"
"""How a label came about: (node, place, its inputs), or two of these side by side."""

Open: TypeAlias = tuple[int, ...]
Sets: TypeAlias = "dict[tuple[Open, int], _Labels]"
"""By the places of the open shared nodes (in the order of their names), and the own place."""


@dataclass(frozen=True, eq=False, slots=True)
class _Labels:
    seconds: Floats
    usd: Floats
    traces: list[Trace]


def front(problem: Problem, money: Money) -> Front:
    """The Pareto front of a problem by sums of time and money.

    >>> two = Problem(
    ...     operator=np.array([[1.0, 3.0]]), child=np.array([], dtype=np.int64), parent=np.array([], dtype=np.int64),
    ...     bytes=np.array([]), latency=np.zeros((2, 2)), per_byte=np.zeros((2, 2)))
    >>> dear = Money(np.array([[9.0, 1.0]]), np.zeros((0, 2, 2)), np.zeros(2))
    >>> [(one.seconds, one.usd, one.choice.tolist()) for one in front(two, dear).labels]
    [(1.0, 9.0, [0]), (3.0, 1.0, [1])]
    """
    n, k = problem.operator.shape
    startup = np.zeros(k) if problem.startup is None else problem.startup
    costly = np.flatnonzero((startup > 0) | (money.startup > 0)).tolist()
    if len(costly) > MOST_STARTUPS:
        raise ValueError(f"{len(costly)} places have a start-up cost; at most {MOST_STARTUPS} are supported")
    every = len(costly) <= MOST_TOGETHER
    sizes = range(len(costly) + 1) if every else (0, 1, len(costly) - 1, len(costly))
    exact = every
    found: list[Label] = []
    moves = problem.transfers()
    for size in sizes:
        for used in combinations(costly, size):
            operator = problem.operator
            closed = [place for place in costly if place not in used]
            if closed:
                operator = operator.copy()
                operator[:, closed] = np.inf
            labels, whole = _search(problem.costing(operator), moves, money)
            exact = exact and whole
            for seconds, usd, trace in zip(labels.seconds, labels.usd, labels.traces, strict=True):
                choice = _choice(n, trace)
                here = np.unique(choice[choice >= 0])
                found.append(
                    Label(
                        float(seconds + startup[here].sum()), float(usd + money.startup[here].sum()), choice
                    )
                )
    return Front(tuple(undominated(found)), exact)


def undominated(labels: Iterable[Label]) -> list[Label]:
    """Those that no other one beats or equals, fastest first."""
    kept: list[Label] = []
    for label in sorted(labels, key=lambda one: (one.seconds, one.usd)):
        if not kept or label.usd < kept[-1].usd * (1 - SAME):
            kept.append(label)
    return kept


def _search(problem: Problem, moves: Floats, money: Money) -> tuple[_Labels, bool]:
    """The labels of the root, and whether they are all."""
    graph = problem.graph
    fixed = {
        s: int(np.argmin(problem.operator[s]))
        for s in graph.shared
        if np.isfinite(problem.operator[s]).sum() == 1
    }
    pinned = graph.pins(fixed.keys(), MOST_ELEMENTS)
    if not pinned:
        search = _Search(problem, moves, money, fixed)
        return search.run(), search.exact
    best = [place(one) for one in (problem, _by_money(problem, money))]
    found = [one for one in best if isinstance(one, Assignment)]
    parts: list[_Labels] = []
    for one in found:
        pins = {s: max(0, int(one.choice[s])) for s in pinned}
        parts.append(_Search(problem, moves, money, {**fixed, **pins}).run())
    return (_pruned(parts)[0] if parts else _NOTHING), False


def _by_money(problem: Problem, money: Money) -> Problem:
    """The problem with usd in the place of seconds, as far as one number a byte can say it."""
    able = np.where(np.isfinite(problem.operator), money.operator, np.inf)
    closed = np.isinf(problem.latency) | np.isinf(problem.per_byte)
    rate = np.zeros_like(problem.per_byte)
    sizes = float(problem.bytes.sum())
    if sizes > 0:
        rate = money.moves.sum(axis=0) / sizes
    return Problem(
        operator=able,
        child=problem.child,
        parent=problem.parent,
        bytes=problem.bytes,
        latency=np.where(closed, np.inf, 0.0),
        per_byte=np.where(closed, np.inf, rate),
        masks=problem.masks,
        mask=problem.mask,
        any_of=problem.any_of,
    )


_NOTHING = _Labels(np.zeros(0), np.zeros(0), [])


class _Search:
    """One bottom-up pass over a problem; `pins` gives the places of some shared nodes."""

    def __init__(self, problem: Problem, moves: Floats, money: Money, pins: Mapping[int, int]) -> None:
        self._operator = problem.operator
        self._graph: Graph = problem.graph
        self._moves, self._money, self._pins = moves, money, pins
        self._sets: list[Sets] = []
        self._axes: list[Open] = []
        self.exact = True

    def run(self) -> _Labels:
        graph = self._graph
        for v in range(graph.n):
            own = self._own(v)
            axes: Open = ()
            parts = [self._message(e) for e in graph.in_edges[v]]
            if graph.any_of[v] and parts:
                merged, merged_axes = self._any(parts)
                own, axes = self._joined(own, axes, merged, merged_axes)
            else:
                for part, part_axes in parts:
                    own, axes = self._joined(own, axes, part, part_axes)
            for s in graph.closes.get(v, ()):
                own, axes = self._closed(s, own, axes)
            marked = {
                key: _Labels(one.seconds, one.usd, [(v, key[1], trace) for trace in one.traces])
                for key, one in own.items()
            }
            self._sets.append(marked)
            self._axes.append(axes)
        return self._prune([one for (_, _), one in self._sets[-1].items()])

    def _own(self, v: int) -> Sets:
        return {
            ((), i): _Labels(self._operator[v, i : i + 1], self._money.operator[v, i : i + 1], [None])
            for i in np.flatnonzero(np.isfinite(self._operator[v])).tolist()
        }

    def _message(self, e: int) -> tuple[Sets, Open]:
        """What the input of an edge takes, moved to each place of its user."""
        graph = self._graph
        u, k = graph.child[e], graph.k
        seconds, usd = self._moves[e], self._money.moves[e]
        found: Sets = {}
        if u in self._pins or len(graph.out_edges[u]) > 1:
            pin = self._pins.get(u)
            places = [pin] if pin is not None else sorted({i for _, i in self._sets[u]})
            for i in places:
                for j in np.flatnonzero(np.isfinite(seconds[i])).tolist():
                    open_places = () if pin is not None else (i,)
                    found[open_places, j] = _Labels(seconds[i, j : j + 1], usd[i, j : j + 1], [None])
            return found, () if pin is not None else (u,)
        by_open: dict[Open, list[tuple[int, _Labels]]] = {}
        for (open_places, i), labels in self._sets[u].items():
            by_open.setdefault(open_places, []).append((i, labels))
        for open_places, group in by_open.items():
            for j in range(k):
                moved = [
                    _Labels(one.seconds + seconds[i, j], one.usd + usd[i, j], one.traces)
                    for i, one in group
                    if np.isfinite(seconds[i, j])
                ]
                if moved:
                    found[open_places, j] = self._prune(moved)
        return found, self._axes[u]

    def _joined(self, left: Sets, left_axes: Open, right: Sets, right_axes: Open) -> tuple[Sets, Open]:
        """Both together, at equal places of the shared nodes that both know, and of their user."""
        axes = tuple(sorted({*left_axes, *right_axes}))
        both = [a for a in axes if a in left_axes and a in right_axes]
        at_left, at_right = [left_axes.index(a) for a in both], [right_axes.index(a) for a in both]
        by_key: dict[tuple[Open, int], list[tuple[Open, _Labels]]] = {}
        for (open_places, j), labels in right.items():
            by_key.setdefault((tuple(open_places[a] for a in at_right), j), []).append((open_places, labels))
        found: Sets = {}
        for (open_left, j), one in left.items():
            for open_right, two in by_key.get((tuple(open_left[a] for a in at_left), j), ()):
                known = dict(zip(right_axes, open_right, strict=True)) | dict(
                    zip(left_axes, open_left, strict=True)
                )
                found[tuple(known[a] for a in axes), j] = self._sum(one, two)
        return found, axes

    def _sum(self, one: _Labels, two: _Labels) -> _Labels:
        if len(one.traces) == 1 and one.traces[0] is None:
            return _Labels(one.seconds + two.seconds, one.usd + two.usd, two.traces)
        seconds = (one.seconds[:, None] + two.seconds[None, :]).ravel()
        usd = (one.usd[:, None] + two.usd[None, :]).ravel()
        kept = self._kept(seconds, usd)
        width = len(two.seconds)
        traces: list[Trace] = [(one.traces[i // width], two.traces[i % width]) for i in kept.tolist()]
        return _Labels(seconds[kept], usd[kept], traces)

    def _any(self, parts: list[tuple[Sets, Open]]) -> tuple[Sets, Open]:
        """The better of several inputs; shared nodes that only one of them knows may be anywhere for the others."""
        axes = tuple(sorted({a for _, part_axes in parts for a in part_axes}))
        gathered: dict[tuple[Open, int], list[_Labels]] = {}
        for part, part_axes in parts:
            free = [(a,) if a in part_axes else tuple(sorted({i for _, i in self._sets[a]})) for a in axes]
            for (open_places, j), labels in part.items():
                known = dict(zip(part_axes, open_places, strict=True))
                spread = (
                    (known[a],) if a in known else options for a, options in zip(axes, free, strict=True)
                )
                for places in product(*spread):
                    gathered.setdefault((places, j), []).append(labels)
        return {key: self._prune(several) for key, several in gathered.items()}, axes

    def _closed(self, s: int, value: Sets, axes: Open) -> tuple[Sets, Open]:
        """What the shared node itself takes is paid where all its users' ways meet, and its best places are kept."""
        below, below_axes = self._sets[s], self._axes[s]
        places = [self._pins[s]] if s in self._pins else sorted({i for _, i in below})
        own_axes = below_axes if s in self._pins else (*below_axes, s)
        here = sorted({j for _, j in value})
        paid: Sets = {}
        for (open_places, i), labels in below.items():
            if i in places:
                for j in here:
                    paid[(open_places if s in self._pins else (*open_places, i)), j] = labels
        joined, names = self._joined(value, axes, paid, own_axes)
        if s in self._pins:
            return joined, names
        at = names.index(s)
        gathered: dict[tuple[Open, int], list[_Labels]] = {}
        for (open_places, j), labels in joined.items():
            gathered.setdefault((open_places[:at] + open_places[at + 1 :], j), []).append(labels)
        rest = names[:at] + names[at + 1 :]
        return {key: self._prune(several) for key, several in gathered.items()}, rest

    def _prune(self, parts: list[_Labels]) -> _Labels:
        found, whole = _pruned(parts)
        self.exact = self.exact and whole
        return found

    def _kept(self, seconds: Floats, usd: Floats) -> Ints:
        kept, whole = _undominated(seconds, usd)
        self.exact = self.exact and whole
        return kept


def _pruned(parts: list[_Labels]) -> tuple[_Labels, bool]:
    if not parts:
        return _NOTHING, True
    if len(parts) == 1:
        return parts[0], True
    seconds = np.concatenate([one.seconds for one in parts])
    usd = np.concatenate([one.usd for one in parts])
    traces = [trace for one in parts for trace in one.traces]
    kept, whole = _undominated(seconds, usd)
    return _Labels(seconds[kept], usd[kept], [traces[i] for i in kept.tolist()]), whole


def _undominated(seconds: Floats, usd: Floats) -> tuple[Ints, bool]:
    """Numbers of the labels that are kept, fastest first; and whether they are all that no other one beats."""
    if len(seconds) == 1:
        return np.zeros(1, dtype=np.int64), True
    order = np.lexsort((usd, seconds))
    sorted_usd = usd[order]
    least = np.minimum.accumulate(sorted_usd)
    better = np.ones(len(order), dtype=np.bool_)
    better[1:] = sorted_usd[1:] < least[:-1] * (1 - SAME)
    kept: Ints = order[better]
    if len(kept) <= MOST_LABELS:
        return kept, True
    some = np.unique(np.linspace(0, len(kept) - 1, MOST_LABELS).round().astype(np.int64))
    return kept[some], False


def _choice(n: int, trace: Trace) -> Ints:
    choice = np.full(n, -1, dtype=np.int64)
    stack: list[Trace] = [trace]
    while stack:
        one = stack.pop()
        if one is None:
            continue
        if len(one) == 3:
            choice[one[0]] = one[1]
            stack.append(one[2])
        else:
            stack.extend(one)
    return choice
