"""K-means that is exact over sites: Lloyd's steps on sums a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from blossom.learning.columns import Floats, Ints
from blossom.learning.design import Design
from blossom.learning.estimator import require_choice, require_number
from blossom.learning.predicting import Predictor, Solution, Standard, Step, Steps, Task
from blossom.learning.score import Score
from blossom.learning.statistics import ClusterSums, Gram, State
from blossom.learning.statistics.base import floats, ints
from blossom.plan.errors import ConfigError, TrainingError

LARGEST_TOL = 1e-3
_SKETCH = 64
"""Points drawn a cluster, from which the initial centres are chosen."""


class KMeans(Predictor):
    """K-means by Lloyd's steps; for a given `init` the same centres as scikit-learn's with `n_init=1`.

    Own initial centres are never rows: points are drawn from the normal distribution that has the data's mean and covariance,
    and centres are chosen among them by k-means++. A cluster that a site has fewer than `min_group` units of gets nothing from
    it. A cluster that gets nothing from any site stays where it is with a given `init` (scikit-learn would move it to a row), and
    moves beside the widest cluster else. Clusters of a run that has not settled are not given out, since a step from centres
    that one chose would tell sums over rows that one chose.

    Args:
        n_clusters: How many.
        init: "moments", or one centre a cluster, in the units of the features.
        n_init: How many starts; the one with the least inertia is kept. 1 with given centres.
        max_iter: Most steps of a start.
        tol: A start has settled when the centres move less than this, relative to the features' mean variance (squared
            distance, as in scikit-learn); at most 1e-3.
        random_state: Chooses the initial centres.
    """

    kind = "clusterer"

    def __init__(
        self,
        *,
        n_clusters: int = 8,
        init: Literal["moments"] | Sequence[Sequence[float]] = "moments",
        n_init: int = 1,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.validate()

    def validate(self) -> None:
        own = "KMeans"
        if isinstance(self.init, np.ndarray):
            self.init = self.init.tolist()
        for name in ("n_clusters", "n_init", "max_iter"):
            require_number(own, name, getattr(self, name), above=1, inclusive=True)
        require_number(own, "tol", self.tol, above=0.0, inclusive=True)
        require_number(own, "random_state", self.random_state, above=0, inclusive=True)
        if self.tol > LARGEST_TOL:
            raise ConfigError(f"tol={self.tol!r} is above {LARGEST_TOL}", where=own)
        if isinstance(self.init, str):
            require_choice(own, "init", self.init, ("moments",))
            return
        if self.n_init != 1:
            raise ConfigError(f"n_init={self.n_init!r} with given centres", where=own, hint="n_init=1")
        widths = {len(centre) for centre in self.init}
        if len(self.init) != self.n_clusters or len(widths) != 1:
            raise ConfigError(
                f"init is not {self.n_clusters} centres of one length", where=own, hint="one row a cluster"
            )
        for centre in self.init:
            for value in centre:
                require_number(own, "init", value, above=-np.inf)

    def solve(self, task: Task) -> Steps[Solution]:
        # As in scikit-learn only the mean is taken out: distances are in the units of the features.
        design = task.design.rescaled(task.mean, np.ones_like(task.mean))
        limit = float(self.tol) * float((task.deviation**2).mean())
        best: tuple[float, Floats, Floats, int] | None = None
        for start, centres in enumerate((yield from self._starts(task, design))):
            found = yield from self._lloyd(task, design, centres, limit, start)
            if best is None or found[0] < best[0]:
                best = found
        assert best is not None, "n_init is at least 1"
        inertia, centres, sizes, steps = best
        score = Score(design, "nearest", np.ones_like(centres), np.zeros(len(centres)), centres)
        attributes = {
            "cluster_centers_": centres + task.mean,
            "inertia_": np.asarray(inertia),
            "cluster_sizes_": sizes,
        }
        return Solution(score, attributes, steps)

    def _starts(self, task: Task, design: Design) -> Steps[list[Floats]]:
        if not isinstance(self.init, str):
            centres = np.asarray(self.init, np.float64)
            if centres.shape[1] != design.width:
                raise ConfigError(
                    f"init has {centres.shape[1]} numbers a centre, the data {design.width} features",
                    where="KMeans",
                    hint=f"in the order {', '.join(design.names[:8])}",
                )
            return [centres - task.mean]
        standard = Standard.of(task)
        state = yield Step("covariance", 0, Gram(standard.design, None))
        task.record("covariance", 0, None, None)
        covariance = floats(state, "products") / task.rows
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T * standard.scale
        random = np.random.default_rng(int(self.random_state))
        return [self._spread_out(random, root) for _ in range(int(self.n_init))]

    def _spread_out(self, random: np.random.Generator, root: Floats) -> Floats:
        """Centres chosen by k-means++ (Arthur, Vassilvitskii 2007) among points that were drawn, not rows."""
        count = int(self.n_clusters)
        points = random.normal(size=(_SKETCH * count, len(root))) @ root
        chosen = [points[0]]
        apart = ((points - chosen[0]) ** 2).sum(axis=1)
        while len(chosen) < count:
            total = float(apart.sum())
            pick = random.choice(len(points), p=apart / total) if total > 0.0 else len(chosen)
            chosen.append(points[pick])
            apart = np.minimum(apart, ((points - points[pick]) ** 2).sum(axis=1))
        return np.asarray(chosen)

    def _lloyd(
        self, task: Task, design: Design, centres: Floats, limit: float, start: int
    ) -> Steps[tuple[float, Floats, Floats, int]]:
        """Inertia, centres, rows a cluster and steps of one start."""
        random = np.random.default_rng([int(self.random_state), start])
        before: State | None = None
        moves = 0
        for iteration in range(1, int(self.max_iter) + 1):
            state = yield Step("lloyd", iteration, ClusterSums(design, centres))
            counts = ints(state, "n")
            inertia = float(floats(state, "squares").sum())
            rows = int(counts.sum())
            if not rows:
                raise TrainingError(
                    "every cluster has too few units at every site",
                    where="KMeans",
                    hint="ask for fewer clusters",
                )
            task.record("lloyd", iteration, inertia / rows, None)
            moved = centres + floats(state, "sums") / np.maximum(counts, 1)[:, None]
            empty = np.flatnonzero(counts == 0)
            if len(empty) and isinstance(self.init, str) and moves < 10:
                moves += 1
                centres, before = _relocated(moved, empty, state, random), None
                continue
            same = before is not None and np.array_equal(ints(before, "n"), counts)
            shift = float(((moved - centres) ** 2).sum())
            if (same and shift <= 1e-28 * (1.0 + float((centres**2).sum()))) or shift <= limit:
                # The last rows a cluster and the inertia are those of the centres that are given out.
                last = yield Step("lloyd", iteration + 1, ClusterSums(design, moved, before=centres))
                inertia = float(floats(last, "squares").sum())
                task.record("lloyd", iteration + 1, inertia / rows, None)
                return inertia, moved, ints(last, "n").astype(np.float64), iteration
            centres, before = moved, state
        raise TrainingError(
            f"not settled after {self.max_iter} steps",
            where="KMeans",
            hint="raise max_iter, or tol up to 1e-3",
        )


def _relocated(centres: Floats, empty: Ints, state: State, random: np.random.Generator) -> Floats:
    """Empty clusters moved beside those with the largest sums of squares, half a root mean square off."""
    counts, squares = ints(state, "n"), floats(state, "squares")
    found = centres.copy()
    widest = np.argsort(-squares, kind="stable")
    for index, cluster in enumerate(empty.tolist()):
        source = int(widest[index % max(int((counts > 0).sum()), 1)])
        direction = random.normal(size=centres.shape[1])
        length = 0.5 * np.sqrt(squares[source] / max(int(counts[source]), 1))
        found[cluster] = centres[source] + length * direction / np.linalg.norm(direction)
    return found
