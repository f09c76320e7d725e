"""Groups of rows that an answer tells something of: by level, by class, by predicted class, by cluster, by the error's sign.

A site enters the rows of each group into its ledger before the answer leaves, and answers less, or nothing, where a group is
dominated by one unit or differs from a known one by a few.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Ints, numbers
from blossom.learning.design import Design, Levels, Numeric
from blossom.learning.target import Target

SIDES = "predicted classes"
BINS = "bins of the probability"
SIGNS = "signs of the errors"


@dataclass
class Grouping(ABC):
    """One way in which an answer divides its rows.

    Attributes:
        name: In words.
        contents: The columns that are summed in each group.
        weighed: Whether no unit may dominate these sums.
        needed: Whether there is no answer without the groups; else it can be given without them.
        few: Whether the answer itself leaves groups of too few units out.
        key: Groupings of one key are the same; "" for one that is never asked about again.
    """

    name: str
    contents: tuple[str, ...] = ()
    weighed: bool = False
    needed: bool = True
    few: bool = False
    key: str = ""

    @abstractmethod
    def codes(self, block: pa.RecordBatch) -> Ints:
        """The group of each row; -1 for none. To be asked of every block once before `divides`."""

    def divides(self) -> bool:
        """Whether the rows seen are divided at all."""
        return True


@dataclass
class Coded(Grouping):
    """Groups that a function gives."""

    of: Callable[[pa.RecordBatch], Ints] = field(kw_only=True)

    def codes(self, block: pa.RecordBatch) -> Ints:
        return self.of(block)


@dataclass
class TwoValued(Grouping):
    """The two groups of a numeric column that has two values: a sum of its products is then a sum over one of them."""

    column: str = field(kw_only=True)
    fill: bool | int | str | float | None = None
    target: Target | None = None
    _values: list[float] = field(default_factory=list)
    _many: bool = False

    def codes(self, block: pa.RecordBatch) -> Ints:
        values = numbers(block, self.column, self.fill)[0]
        if not self._many:
            fresh = np.setdiff1d(np.unique(values), self._values)
            if len(self._values) + len(fresh) > 2:
                self._many = True
            else:
                self._values.extend(fresh.tolist())
        if self._many:
            return np.full(len(values), -1, np.int64)
        codes = np.zeros(len(values), np.int64)
        if len(self._values) == 2:
            codes[values == self._values[1]] = 1
        return by_class(codes, self.target, block)

    def divides(self) -> bool:
        return not self._many and len(self._values) == 2


def by_class(codes: Ints, target: Target | None, block: pa.RecordBatch) -> Ints:
    """Groups divided once more by the target's classes, where it has some."""
    if target is None or target.classes is None:
        return codes
    return np.where(codes < 0, -1, codes * len(target.classes) + target.codes(block))


def of_features(design: Design, target: Target | None) -> tuple[Grouping, ...]:
    """The groups of sums of products: each level's rows, and those of each value of a column that has two; a class apart."""
    classes = None if target is None else target.to_document()
    number = target.column if target is not None and target.classes is None else None
    found: list[Grouping] = []
    seen: set[Numeric | Levels] = set()
    for leaf in _plain(design.leaves()):
        if leaf in seen:
            continue
        seen.add(leaf)
        contents = () if number is None else (number,)
        key = json.dumps([leaf.to_document(), classes])
        if isinstance(leaf, Numeric):
            found.append(
                TwoValued(
                    f"the values of {leaf.column!r}", contents, True,
                    key=key, column=leaf.column, fill=leaf.fill, target=target,
                )
            )  # fmt: skip
        else:
            found.append(
                Coded(f"the levels of {leaf.column!r}", contents, True, key=key, of=_levels(leaf, target))
            )
    if number is not None:
        found.append(TwoValued(f"the values of {number!r}", key=number, column=number))
    return (*found, *of_classes(target, ()))


def amounts(design: Design, target: Target | None) -> tuple[Numeric, ...]:
    """The columns that sums over a design and a target hold as numbers, as they are stored."""
    found = [leaf for leaf in _plain(design.leaves()) if isinstance(leaf, Numeric)]
    if target is not None and target.classes is None:
        found.append(Numeric(target.column))
    return tuple(found)


def of_classes(target: Target | None, contents: Sequence[str]) -> tuple[Grouping, ...]:
    """The rows of each class."""
    if target is None or target.classes is None:
        return ()
    key = json.dumps([target.to_document(), *contents])
    return (Coded(f"the classes of {target.column!r}", tuple(contents), key=key, of=target.codes),)


def _plain(leaves: Iterator[Numeric | Levels]) -> Iterator[Numeric | Levels]:
    """Leaves as the columns' own values, whatever shift and scale."""
    for leaf in leaves:
        if isinstance(leaf, Numeric):
            yield Numeric(leaf.column, fill=leaf.fill)
        else:
            yield Levels.plain(leaf.column, leaf.categories, rest=leaf.rest, drop=leaf.drop, fill=leaf.fill)


def _levels(leaf: Levels, target: Target | None) -> Callable[[pa.RecordBatch], Ints]:
    return lambda block: by_class(leaf.codes(block)[0], target, block)
