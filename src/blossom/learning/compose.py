"""Putting transformers side by side and one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from blossom.learning.columns import Floats
from blossom.learning.design import Block, Projection
from blossom.learning.estimator import Estimator, require_choice
from blossom.learning.preparation import (
    Asking,
    Knowledge,
    Role,
    Transformer,
    lockstep,
    missing_column,
)
from blossom.plan.errors import ConfigError, PlanError

Step = tuple[str, Estimator]
Branch = tuple[str, "Transformer | str", Sequence[str]]


class ColumnTransformer(Transformer):
    """Different transformers for different columns, side by side.

    Args:
        transformers: (name, transformer, columns) each; a transformer may be "passthrough" or "drop".
        remainder: What becomes of the other columns.
    """

    def __init__(
        self, transformers: Sequence[Branch], *, remainder: Literal["drop", "passthrough"] = "drop"
    ) -> None:
        self.transformers = [_branch(item) for item in transformers]
        self.remainder = remainder
        self.validate()

    def validate(self) -> None:
        require_choice("ColumnTransformer", "remainder", self.remainder, ("drop", "passthrough"))
        self.transformers = [_branch(item) for item in self.transformers]
        _distinct([name for name, _, _ in self.transformers], "ColumnTransformer")

    def named_parts(self) -> list[tuple[str, Estimator]]:
        return [(name, part) for name, part, _ in self.transformers if isinstance(part, Estimator)]

    def _branches(self, columns: Sequence[str]) -> list[tuple[Transformer | None, list[str]]]:
        """Each branch that keeps columns; None passes them through."""
        used: set[str] = set()
        branches: list[tuple[Transformer | None, list[str]]] = []
        for name, part, own in self.transformers:
            for column in own:
                if column not in columns:
                    raise missing_column(column, columns, f"ColumnTransformer, {name!r}")
            used.update(own)
            if part != "drop":
                branches.append((part if isinstance(part, Transformer) else None, list(own)))
        rest = [column for column in columns if column not in used]
        if rest and self.remainder == "passthrough":
            branches.append((None, rest))
        return branches

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        found: list[tuple[str, Role]] = []
        for part, own in self._branches(columns):
            found.extend([(name, "numeric") for name in own] if part is None else part.roles(own))
        return found

    def automatic(self, columns: Sequence[str]) -> list[str]:
        return [
            name for part, own in self._branches(columns) if part is not None for name in part.automatic(own)
        ]

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        by_column: dict[str, list[Block]] = {}
        for block in blocks:
            by_column.setdefault(_source(block), []).append(block)
        parts = [
            _branch_blocks(part, tuple(block for name in own for block in by_column[name]), knowledge)
            for part, own in self._branches(list(by_column))
        ]
        results = yield from lockstep(parts)
        return tuple(block for result in results for block in result)


def _source(block: Block) -> str:
    if isinstance(block, Projection):
        raise PlanError(
            "components mix columns, so that no columns can be chosen among them",
            where="ColumnTransformer",
            hint="put PCA into a branch of the ColumnTransformer, or after it",
        )
    return block.column


def _branch_blocks(
    part: Transformer | None, blocks: tuple[Block, ...], knowledge: Knowledge
) -> Asking[tuple[Block, ...]]:
    return blocks if part is None else (yield from part.prepare(blocks, knowledge))


def _branch(item: object) -> Branch:
    match item:
        case (str(name), Transformer() as part, _) if part.kind != "transformer":
            raise ConfigError(f"{name!r} ends in a predictor", where="ColumnTransformer")
        case (str(name), Transformer() | "passthrough" | "drop" as part, str(column)):
            return name, part, [column]
        case (str(name), Transformer() | "passthrough" | "drop" as part, list() | tuple() as columns) if all(
            isinstance(column, str) for column in cast("list[object]", columns)
        ):
            return name, part, list(cast("list[str]", columns))
        case _:
            raise ConfigError(
                f"{item!r:.80} is not (name, transformer, columns)",
                where="ColumnTransformer",
                hint='for example ("scale", StandardScaler(), ["age"])',
            )


class Pipeline(Transformer):
    """Transformers one after another, then perhaps a predictor, fitted, saved and predicted as one.

    Args:
        steps: (name, estimator) each.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = [_step(item) for item in steps]
        self.validate()

    def validate(self) -> None:
        self.steps = [_step(item) for item in self.steps]
        if not self.steps:
            raise ConfigError("a pipeline has at least one step", where="Pipeline")
        _distinct([name for name, _ in self.steps], "Pipeline")
        for name, part in self.steps[:-1]:
            if not isinstance(part, Transformer) or part.kind != "transformer":
                raise ConfigError(
                    f"step {name!r} is not a transformer", where="Pipeline", hint="predictors come last"
                )

    @property
    def kind(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - that of the last step
        """What the last step is."""
        return self.steps[-1][1].kind

    def named_parts(self) -> list[tuple[str, Estimator]]:
        return list(self.steps)

    @property
    def transformers(self) -> list[Transformer]:
        """The steps that are transformers."""
        return [part for _, part in self.steps if isinstance(part, Transformer)]

    def roles(self, columns: Sequence[str]) -> list[tuple[str, Role]]:
        first = self.transformers[:1]
        return first[0].roles(columns) if first else [(name, "numeric") for name in columns]

    def automatic(self, columns: Sequence[str]) -> list[str]:
        first = self.transformers[:1]
        return first[0].automatic(columns) if first else []

    def prepare(self, blocks: tuple[Block, ...], knowledge: Knowledge) -> Asking[tuple[Block, ...]]:
        for part in self.transformers:
            blocks = yield from part.prepare(blocks, knowledge)
        return blocks

    def finish(
        self, blocks: tuple[Block, ...], knowledge: Knowledge
    ) -> Asking[tuple[tuple[Block, ...], Mapping[str, Floats]]]:
        *before, last = self.transformers
        for part in before:
            blocks = yield from part.prepare(blocks, knowledge)
        return (yield from last.finish(blocks, knowledge))


def _step(item: object) -> Step:
    match item:
        case (str(name), Estimator() as part):
            return name, part
        case _:
            raise ConfigError(f"{item!r:.80} is not (name, estimator)", where="Pipeline")


def _distinct(names: Sequence[str], where: str) -> None:
    for name in names:
        if "__" in name or names.count(name) > 1:
            raise ConfigError(f"the name {name!r} stands twice or holds '__'", where=where)


def make_pipeline(*steps: Estimator) -> Pipeline:
    """A pipeline whose steps are named by their classes, as in scikit-learn.

    >>> from blossom.learning import LogisticRegression, StandardScaler
    >>> [name for name, _ in make_pipeline(StandardScaler(), LogisticRegression()).steps]
    ['standardscaler', 'logisticregression']
    """
    names = [type(step).__name__.lower() for step in steps]
    numbered = [
        f"{name}-{names[: index + 1].count(name)}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]
    return Pipeline(list(zip(numbered, steps, strict=True)))
