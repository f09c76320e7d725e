"""Scaling and encoding of columns, with scikit-learn's names, fitted over all sites at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from blossom.learning.columns import Scalar, scalars
from blossom.learning.design import Block, Design, Levels, Numeric
from blossom.learning.estimator import require_choice, require_flag, require_number
from blossom.learning.preparation import (
    Asking,
    Knowledge,
    Role,
    Transformer,
    output_moments,
    source_column,
    spread,
)
from blossom.learning.statistics import Categories, Extremes, RareCategories, State
from blossom.learning.statistics.base import floats, ints, number, scalar_list
from blossom.plan.errors import ConfigError, PlanError


class StandardScaler(Transformer):
    """Remove the mean and divide by the standard deviation (divided by n), both of all sites' rows together.

    A constant column is only centred.
    """

    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.validate()

    def validate(self) -> None:
        require_flag("StandardScaler", "with_mean", self.with_mean)
        require_flag("StandardScaler", "with_std", self.with_std)

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        return [(name, "numeric") for name in columns]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        design = Design(blocks)
        mean, deviation = yield from output_moments(design, knowledge)
        shift = mean if self.with_mean else np.zeros(design.width)
        scale = spread(deviation, mean) if self.with_std else np.ones(design.width)
        return design.rescaled(shift, scale).blocks


class MinMaxScaler(Transformer):
    """Map each column's bounds to `feature_range`.

    The smallest and largest values of a column are values of single rows. So `bounds` are given, or else the sites are asked,
    and those whose `min_group` is above 1 refuse; rows that may move to the hub are asked there.

    Args:
        feature_range: What the bounds become.
        bounds: (low, high) for each column, in the order of the columns; None: the smallest and largest values.
        clip: False only: values outside the bounds are mapped outside the range.
    """

    def __init__(
        self,
        *,
        feature_range: tuple[float, float] = (0.0, 1.0),
        bounds: Sequence[tuple[float, float]] | None = None,
        clip: bool = False,
    ) -> None:
        self.feature_range = feature_range
        self.bounds = bounds
        self.clip = clip
        self.validate()

    def validate(self) -> None:
        require_choice("MinMaxScaler", "clip", self.clip, (False,))
        for name, pairs in (("feature_range", [self.feature_range]), ("bounds", self.bounds or ())):
            for pair in pairs:
                if isinstance(pair, int | float | str):
                    raise ConfigError(f"{name} holds {pair!r:.60}, not (low, high)", where="MinMaxScaler")
                if len(pair) != 2:
                    raise ConfigError(f"{name} holds {pair!r:.60}, not (low, high)", where="MinMaxScaler")
                for value in pair:
                    require_number("MinMaxScaler", name, value, above=-math.inf)
                if pair[0] > pair[1] or (name == "feature_range" and pair[0] == pair[1]):
                    raise ConfigError(
                        f"{name} holds {pair!r:.60}, which is not ascending", where="MinMaxScaler"
                    )
        self.feature_range = (self.feature_range[0], self.feature_range[1])
        self.bounds = None if self.bounds is None else [(low, high) for low, high in self.bounds]

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        return [(name, "numeric") for name in columns]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        del knowledge
        design = Design(blocks)
        if self.bounds is None:
            (state,) = yield [Extremes(design)]
            low, high = floats(state, "low"), floats(state, "high")
        else:
            if len(self.bounds) != design.width:
                raise ConfigError(
                    f"bounds has {len(self.bounds)} pairs for {design.width} columns",
                    where="MinMaxScaler",
                    hint=f"in the order {', '.join(design.names[:8])}",
                )
            low, high = np.asarray(self.bounds, np.float64).T
        start, stop = self.feature_range
        width = np.where(high > low, high - low, 1.0) / (stop - start)
        return design.rescaled(low - start * width, width).blocks


class OneHotEncoder(Transformer):
    """One indicator a category.

    A category that some site has fewer than `min_group` units of (per class, where the target is a class) joins "infrequent"
    at every site, as do all values that no site has enough units of: their names stay where they are. So an encoder that was
    fitted with such values has an "infrequent" output, and every value that it does not know falls into it, in fitting and in
    prediction alike. An encoder that was fitted without them has none, and an unknown value gives zeros.

    Args:
        categories: "auto", or one list of values a column; values outside a list give zeros, unless one of the list had to
            join "infrequent", where they then go too.
        drop: "first" leaves out each column's first category; None keeps all.
        handle_unknown: scikit-learn's two names for what is told above. "error" is not supported: a site's values may not
            be told to those who predict.
        min_frequency: Also join categories with fewer rows than this (over the sites that may name the category); with
            automatic categories only.
    """

    def __init__(
        self,
        *,
        categories: Literal["auto"] | Sequence[Sequence[Scalar]] = "auto",
        drop: Literal["first"] | None = None,
        handle_unknown: Literal["ignore", "infrequent_if_exist"] = "infrequent_if_exist",
        min_frequency: int | None = None,
    ) -> None:
        self.categories = categories
        self.drop = drop
        self.handle_unknown = handle_unknown
        self.min_frequency = min_frequency
        self.validate()

    def validate(self) -> None:
        require_choice("OneHotEncoder", "drop", self.drop, (None, "first"))
        require_choice(
            "OneHotEncoder", "handle_unknown", self.handle_unknown, ("ignore", "infrequent_if_exist")
        )
        if self.min_frequency is not None:
            require_number("OneHotEncoder", "min_frequency", self.min_frequency, above=1, inclusive=True)
        if isinstance(self.categories, str):
            require_choice("OneHotEncoder", "categories", self.categories, ("auto",))
            return
        if self.min_frequency is not None:
            raise ConfigError(
                "min_frequency chooses among automatic categories",
                where="OneHotEncoder",
                hint="leave out one of both",
            )
        for values in self.categories:
            if isinstance(values, str) or not values:
                raise ConfigError(
                    f"categories={self.categories!r:.80} is not one list of values a column",
                    where="OneHotEncoder",
                )
            scalars(values)

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        self._given(columns)
        return [(name, "category") for name in columns]

    def automatic(self, columns: Sequence[str]) -> list[str]:
        return list(columns) if self._given(columns) is None else []

    def _given(self, columns: Sequence[str]) -> list[tuple[Scalar, ...]] | None:
        if isinstance(self.categories, str):
            return None
        if len(self.categories) != len(columns):
            raise ConfigError(
                f"categories lists {len(self.categories)} columns, the encoder has {len(columns)}",
                where="OneHotEncoder",
            )
        return [scalars(cast("Sequence[object]", values)) for values in self.categories]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        columns = [source_column(block, "OneHotEncoder") for block in blocks]
        fills = [_category_fill(block) for block in blocks]
        given = self._given(columns)
        if given is None:
            candidates = yield from self._found(columns, fills, knowledge)
        else:
            candidates = [tuple(values) for values in given]
        target = knowledge.target
        if target is not None and target.classes is None:
            target = None
        states = yield [
            RareCategories(name, values, target, fill)
            for name, values, fill in zip(columns, candidates, fills, strict=True)
        ]
        joined: list[Block] = []
        for name, values, state, fill in zip(columns, candidates, states, fills, strict=True):
            block = replace(self._levels(name, values, state, given is not None), fill=fill)
            if not block.level_names:
                raise PlanError(
                    f"column {name!r} has no category with enough units",
                    hint="leave the column out, or group its values before training",
                )
            joined.append(block)
        return tuple(joined)

    def _found(
        self, columns: Sequence[str], fills: Sequence[Scalar | None], knowledge: Knowledge
    ) -> Asking[list[tuple[Scalar, ...]]]:
        """The frequent categories of each column; asks about those that an imputer fills."""
        open_columns = [
            (name, fill)
            for name, fill in zip(columns, fills, strict=True)
            if fill is not None or name not in knowledge.categories
        ]
        known = dict(knowledge.categories)
        if open_columns:
            states = yield [Categories(name, fill) for name, fill in open_columns]
            for (name, _), state in zip(open_columns, states, strict=True):
                known[name] = scalar_list(state, "values"), ints(state, "rows").tolist()
        least = self.min_frequency or 0
        return [
            tuple(value for value, count in zip(*known[name], strict=True) if count >= least)
            for name in columns
        ]

    def _levels(self, name: str, values: tuple[Scalar, ...], state: State, given: bool) -> Levels:
        marked = ints(state, "marked") > 0
        some_marked = bool(marked.any())
        outside = number(state, "rest") > 0
        rest = some_marked or (outside and not given)
        kept = [value for value, joins in zip(values, marked.tolist(), strict=True) if not joins]
        return Levels.plain(name, kept, rest=rest, drop=self.drop == "first")


def _category_fill(block: Block) -> Scalar | None:
    fill = block.fill if isinstance(block, Numeric) else None
    if isinstance(fill, float):
        raise PlanError(
            f"column {block.columns[0]!r} is filled with {fill!r}, which is no category",
            hint='fill it with a text or a whole number, or strategy="most_frequent"',
        )
    return fill
