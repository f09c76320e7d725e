"""Filling missing values, over all sites at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from blossom.learning.columns import Scalar, bad_values
from blossom.learning.design import Block, Numeric
from blossom.learning.estimator import require_choice
from blossom.learning.preparation import Asking, Knowledge, Role, Transformer, source_column
from blossom.learning.statistics import Categories, PresentMeans
from blossom.learning.statistics.base import floats, ints, scalar_list
from blossom.plan.errors import ConfigError, TrainingError


class SimpleImputer(Transformer):
    """Put one value of a column in the place of its nulls and NaNs.

    It comes first in a pipeline (or a branch of a ColumnTransformer); a filled text column is then encoded by OneHotEncoder.

    Args:
        strategy: "mean" (of all sites' rows), "constant", or "most_frequent" (of whole numbers, texts and booleans: among the values
            that at least `min_group` units of a site have, counted at those sites; the smallest of equally frequent ones).
            "median" is not available: it is a row's value.
        fill_value: The value of "constant".
    """

    def __init__(
        self,
        *,
        strategy: Literal["mean", "constant", "most_frequent"] = "mean",
        fill_value: Scalar | float | None = None,
    ) -> None:
        self.strategy = strategy
        self.fill_value = fill_value
        self.validate()

    def validate(self) -> None:
        if str(self.strategy) == "median":
            raise ConfigError(
                "a median is a row's value, which may not leave its site",
                where="SimpleImputer",
                hint='strategy="mean", "most_frequent" or "constant"',
            )
        require_choice("SimpleImputer", "strategy", self.strategy, ("mean", "constant", "most_frequent"))
        if (self.strategy == "constant") != (self.fill_value is not None):
            raise ConfigError(
                f"fill_value={self.fill_value!r:.40} with strategy={self.strategy!r}",
                where="SimpleImputer",
                hint='strategy="constant" takes a fill_value, the others none',
            )

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        role: Role = "gaps" if self.strategy == "mean" else "category gaps"
        if self.strategy == "constant":
            role = "category gaps" if isinstance(self.fill_value, str) else "gaps"
        return [(name, role) for name in columns]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        del knowledge
        columns = [source_column(block, "SimpleImputer") for block in blocks]
        fills = yield from self._fills(columns)
        return tuple(Numeric(name, fill=fill) for name, fill in zip(columns, fills, strict=True))

    def _fills(self, columns: Sequence[str]) -> Asking[list[Scalar | float]]:
        if self.fill_value is not None:
            return [self.fill_value for _ in columns]
        if self.strategy == "mean":
            (state,) = yield [PresentMeans(tuple(columns))]
            for name, n, bad in zip(columns, ints(state, "n"), ints(state, "bad"), strict=True):
                if bad:
                    raise bad_values(name, int(bad))
                if not n:
                    raise _nothing(name)
            means: list[Scalar | float] = list(floats(state, "mean").tolist())
            return means
        states = yield [Categories(name, None, gaps=True) for name in columns]
        found: list[Scalar | float] = []
        for name, state in zip(columns, states, strict=True):
            values, rows = scalar_list(state, "values"), ints(state, "rows")
            if not values:
                raise _nothing(name)
            found.append(values[int(rows.argmax())])
        return found


def _nothing(name: str) -> TrainingError:
    return TrainingError(
        f"column {name!r} has no value that may be told",
        where="SimpleImputer",
        hint='leave the column out, or fill it with strategy="constant"',
    )
