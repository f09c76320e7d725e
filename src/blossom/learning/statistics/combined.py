"""Several statistics in one pass, and a statistic of one side of the validation split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from blossom.learning.split import split
from blossom.learning.statistics.base import Collector, Guard, Released, State, Statistic, register


@register
@dataclass(frozen=True)
class Together(Statistic):
    """Several statistics answered in one pass; the state of part i has its keys under "i/"."""

    kind = "together"
    parts: tuple[Statistic, ...]

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

    The split is by the first unit column, or by the whole row where each row is a unit.
    """

    kind = "part"
    whole: Statistic
    fraction: float
    seed: int
    held_out: bool

    @property
    def width(self) -> int:
        return self.whole.width

    def empty(self) -> State:
        return self.whole.empty()

    def merge(self, a: State, b: State) -> State:
        return self.whole.merge(a, b)

    def releases(self) -> tuple[Released, ...]:
        return self.whole.releases()

    def collect(self, guard: Guard) -> Collector:
        scope = f"{guard.scope}/{self.fraction!r} {self.seed} {self.held_out}"
        return _PartCollector(self, guard, self.whole.collect(replace(guard, scope=scope)))


class _PartCollector(Collector):
    def __init__(self, statistic: Part, guard: Guard, inner: Collector) -> None:
        self._statistic = statistic
        self._keys = guard.units[:1]
        self._inner = inner

    def add(self, block: pa.RecordBatch) -> None:
        held = split(block, self._keys, self._statistic.fraction, self._statistic.seed)
        rows = block.filter(pa.array(held if self._statistic.held_out else ~held))
        if rows.num_rows:
            self._inner.add(rows)

    def finish(self) -> State:
        return self._inner.finish()
