"""Several statistics in one pass, and a statistic of one side of the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools
from blossom.learning.design import Numeric
from blossom.learning.split import split
from blossom.learning.statistics.base import (
    Collector,
    Guard,
    Measured,
    Released,
    State,
    Statistic,
    register,
)
from blossom.learning.statistics.groupings import Coded, Grouping
from blossom.learning.statistics.spans import Span
from blossom.plan.errors import ConfigError


@register
@dataclass(frozen=True)
class Together(Statistic):
    """Several statistics answered in one pass; the state of part i has its keys under "i/"."""

    kind = "together"
    parts: tuple[Statistic, ...]

    def __post_init__(self) -> None:
        if any(isinstance(part, Part) or part.measures() is not None for part in self.parts):
            raise ConfigError("a part of the rows, and a score that is measured, are asked of alone")

    @property
    def width(self) -> int:
        return max((part.width for part in self.parts), default=8)

    def join(self, states: list[State]) -> State:
        """One state of the parts' states."""
        return {f"{index}/{key}": value for index, state in enumerate(states) for key, value in state.items()}

    def separate(self, state: State) -> list[State]:
        """The parts' states."""
        split_state: list[dict[str, np.ndarray | list[bool | int | str]]] = [{} for _ in self.parts]
        for key, value in state.items():
            index, _, own = key.partition("/")
            split_state[int(index)][own] = value
        return [*split_state]

    def empty(self) -> State:
        return self.join([part.empty() for part in self.parts])

    def merge(self, a: State, b: State) -> State:
        pairs = zip(self.parts, self.separate(a), self.separate(b), strict=True)
        return self.join([part.merge(own, other) for part, own, other in pairs])

    def releases(self) -> tuple[Released, ...]:
        return tuple(released for part in self.parts for released in part.releases())

    def groupings(self) -> tuple[Grouping, ...]:
        return tuple(grouping for part in self.parts for grouping in part.groupings())

    def amounts(self) -> tuple[Numeric, ...]:
        return tuple(one for part in self.parts for one in part.amounts())

    def spans(self) -> tuple[Span, ...]:
        return tuple(span for part in self.parts for span in part.spans())

    def collect(self, guard: Guard) -> Collector:
        return _TogetherCollector(self, [part.collect(guard) for part in self.parts])


class _TogetherCollector(Collector):
    def __init__(self, statistic: Together, parts: list[Collector]) -> None:
        self._statistic = statistic
        self._parts = parts

    def add(self, block: pa.RecordBatch) -> None:
        for part in self._parts:
            part.add(block)

    def finish(self) -> State:
        return self._statistic.join([part.finish() for part in self._parts])


@register
@dataclass(frozen=True)
class Part(Statistic):
    """A statistic of the rows that are held out for validation, or of those that are not.

    The split is by the first unit column, or by the whole row where each row is a unit. It is asked alone or of several together,
    not inside them.
    """

    kind = "part"
    whole: Statistic
    fraction: float
    seed: int
    held_out: bool

    def __post_init__(self) -> None:
        if isinstance(self.whole, Part):
            raise ConfigError("a part of a part of the rows is not asked of")

    @property
    def width(self) -> int:
        return self.whole.width

    def empty(self) -> State:
        return self.whole.empty()

    def merge(self, a: State, b: State) -> State:
        return self.whole.merge(a, b)

    def releases(self) -> tuple[Released, ...]:
        return self.whole.releases()

    def groupings(self) -> tuple[Grouping, ...]:
        return self.whole.groupings()

    def amounts(self) -> tuple[Numeric, ...]:
        return self.whole.amounts()

    def spans(self) -> tuple[Span, ...]:
        return self.whole.spans()

    def measures(self) -> Measured | None:
        return self.whole.measures()

    @property
    def scope(self) -> str:
        """Names the rows that are meant."""
        return f"{self.fraction!r} {self.seed} {self.held_out}"

    def collect(self, guard: Guard) -> Collector:
        inner = self.whole.collect(replace(guard, scope=f"{guard.scope}/{self.scope}"))
        return _PartCollector(self, guard.units, inner)

    def sides(self, columns: Sequence[str], units: Sequence[str]) -> tuple[Grouping, ...]:
        """The two sides of the split, each of which is described by sums over the columns."""
        held_out = replace(self, held_out=True)
        return (
            Coded(
                "the rows held out for validation, or the others",
                tuple(columns),
                True,
                of=lambda block: held_out.chosen(block, units).astype(np.int64),
            ),
        )

    def chosen(self, block: pa.RecordBatch, units: Sequence[str]) -> Bools:
        """The mask of the rows that are meant, split by the first unit column."""
        held = split(block, units[:1], self.fraction, self.seed)
        return held if self.held_out else ~held


class _PartCollector(Collector):
    def __init__(self, statistic: Part, units: Sequence[str], inner: Collector) -> None:
        self._statistic = statistic
        self._units = units
        self._inner = inner

    def add(self, block: pa.RecordBatch) -> None:
        rows = block.filter(pa.array(self._statistic.chosen(block, self._units)))
        if rows.num_rows:
            self._inner.add(rows)

    def finish(self) -> State:
        return self._inner.finish()
