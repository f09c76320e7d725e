"""Principal components that are exact over sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from blossom.learning.columns import Floats
from blossom.learning.design import Block, Design, Projection
from blossom.learning.estimator import require_flag, require_number
from blossom.learning.preparation import Asking, Knowledge, Role, Transformer, output_moments, spread
from blossom.learning.statistics import Gram
from blossom.learning.statistics.base import floats, number
from blossom.plan.errors import ConfigError, TrainingError


class PCA(Transformer):
    """Principal components of the centred features, as in scikit-learn; the largest entry of each component is positive.

    Where components tie in variance, only the space that they span is determined.

    Args:
        n_components: How many; between 0 and 1: as many as explain this share of the variance; None: all.
        whiten: Whether outputs are scaled to variance 1.
    """

    def __init__(self, *, n_components: int | float | None = None, whiten: bool = False) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.validate()

    def validate(self) -> None:
        require_flag("PCA", "whiten", self.whiten)
        if self.n_components is not None:
            require_number("PCA", "n_components", self.n_components, above=0.0)
            if isinstance(self.n_components, float) and self.n_components >= 1.0:
                raise ConfigError(
                    f"n_components={self.n_components!r} is neither a whole number nor a share below 1",
                    where="PCA",
                )

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        return [(name, "numeric") for name in columns]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        return (yield from self.finish(blocks, knowledge))[0]

    def finish(
        self, blocks: tuple[Block, ...], knowledge: Knowledge
    ) -> Asking[tuple[tuple[Block, ...], Mapping[str, Floats]]]:
        design = Design(blocks)
        mean, deviation = yield from output_moments(design, knowledge)
        scale = spread(deviation, mean)
        (state,) = yield [Gram(design.rescaled(mean, scale), None)]
        n, sums = number(state, "n"), floats(state, "sums")
        if n < 2:
            raise TrainingError("components need at least 2 rows", where="PCA")
        # The Gram matrix is of scaled features, which hold their digits; the components are of the unscaled ones.
        covariance = (floats(state, "products") - np.outer(sums, sums) / n) / (n - 1) * np.outer(scale, scale)
        values, vectors = np.linalg.eigh(covariance)
        order = np.argsort(-values, kind="stable")
        variances, components = np.maximum(values[order], 0.0), vectors[:, order].T
        largest = np.abs(components).argmax(axis=1)
        components = (
            components * np.where(components[np.arange(len(largest)), largest] < 0.0, -1.0, 1.0)[:, None]
        )
        most = min(int(n), design.width)
        count = self._count(variances, most)
        kept, own = components[:count], variances[:count]
        noise = float(variances[count:most].mean()) if count < most else 0.0
        size = np.sqrt(np.maximum(own, np.finfo(np.float64).eps)) if self.whiten else np.ones(count)
        centred = design.rescaled(mean, np.ones(design.width))
        block = Projection(
            centred.blocks,
            tuple(tuple(row) for row in kept.tolist()),
            (0.0,) * count,
            tuple(size.tolist()),
        )
        total = float(variances.sum())
        attributes = {
            "components_": kept,
            "explained_variance_": own,
            "explained_variance_ratio_": own / total if total > 0.0 else np.zeros(count),
            "singular_values_": np.sqrt(own * (n - 1)),
            "mean_": mean,
            "noise_variance_": np.asarray(noise),
        }
        return (block,), attributes

    def _count(self, variances: Floats, most: int) -> int:
        if self.n_components is None:
            return most
        if isinstance(self.n_components, float):
            shares = np.cumsum(variances) / max(float(variances.sum()), np.finfo(np.float64).tiny)
            return min(int(np.searchsorted(shares, self.n_components, "right")) + 1, most)
        if self.n_components > most:
            raise ConfigError(
                f"n_components={self.n_components} is more than the {most} that rows and features allow",
                where="PCA",
            )
        return int(self.n_components)
