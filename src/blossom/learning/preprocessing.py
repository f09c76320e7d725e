"""Scaling and encoding of columns, with scikit-learn's names, fitted over all sites at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from blossom.learning.design import Block, Design, Floats, Levels, Numeric, Scalar, Target, scalars
from blossom.learning.estimator import require_choice, require_flag, require_number
from blossom.learning.preparation import Asking, Knowledge, Role, Transformer, source_column, spread
from blossom.learning.statistics import Moments, RareCategories, State, Statistic
from blossom.learning.statistics.base import floats, ints, number
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


def output_moments(design: Design, knowledge: Knowledge) -> Asking[tuple[Floats, Floats]]:
    """Mean and standard deviation of each output of a design; asks the sites only about category levels."""
    mean, deviation = np.zeros(design.width), np.zeros(design.width)
    unknown_blocks: list[Block] = []
    unknown_outputs: list[int] = []
    at = 0
    for block in design.blocks:
        if isinstance(block, Numeric):
            known = knowledge.moments[block.column]
            mean[at] = (known.mean - block.shift) / block.scale
            deviation[at] = known.deviation / abs(block.scale)
        else:
            unknown_blocks.append(block)
            unknown_outputs.extend(range(at, at + len(block.names)))
        at += len(block.names)
    if unknown_outputs:
        states = yield [Moments(Design(tuple(unknown_blocks)), knowledge.target)]
        rows = max(number(states[0], "n"), 1.0)
        mean[unknown_outputs] = floats(states[0], "mean")[: len(unknown_outputs)]
        deviation[unknown_outputs] = np.sqrt(floats(states[0], "m2")[: len(unknown_outputs)] / rows)
    return mean, deviation


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
        given = self._given(columns)
        candidates = (
            [self._frequent(name, knowledge) for name in columns]
            if given is None
            else [tuple(values) for values in given]
        )
        target = knowledge.target if knowledge.target.classes is not None else None
        states = yield _questions(columns, candidates, target)
        joined: list[Block] = []
        for name, values, state in zip(columns, candidates, states, strict=True):
            block = self._levels(name, values, state, given is not None)
            if not block.level_names:
                raise PlanError(
                    f"column {name!r} has no category with enough units",
                    hint="leave the column out, or group its values before training",
                )
            joined.append(block)
        return tuple(joined)

    def _frequent(self, name: str, knowledge: Knowledge) -> tuple[Scalar, ...]:
        values, rows = knowledge.categories[name]
        least = self.min_frequency or 0
        return tuple(value for value, count in zip(values, rows, strict=True) if count >= least)

    def _levels(self, name: str, values: tuple[Scalar, ...], state: State, given: bool) -> Levels:
        marked = ints(state, "marked") > 0
        some_marked = bool(marked.any())
        outside = number(state, "rest") > 0
        rest = some_marked or (outside and not given)
        kept = [value for value, joins in zip(values, marked.tolist(), strict=True) if not joins]
        return Levels.plain(name, kept, rest=rest, drop=self.drop == "first")


def _questions(
    columns: Sequence[str], candidates: Sequence[tuple[Scalar, ...]], target: Target | None
) -> list[Statistic]:
    return [RareCategories(name, values, target) for name, values in zip(columns, candidates, strict=True)]
