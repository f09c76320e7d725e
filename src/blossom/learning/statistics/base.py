"""What a statistic is: a question that a site answers in one pass, whose answers merge.

A statistic is a frozen value. `measure` describes one block of rows, `merge` joins two descriptions, `empty` is the answer of
no rows; `release` makes of a site's own description what may leave it. A description is a *state*: named arrays and lists.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NoReturn, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.learning.columns import Floats, Ints, Scalar, finite, scalars
from blossom.learning.design import Design, Numeric
from blossom.learning.score import Score, checked
from blossom.learning.statistics.groupings import Grouping
from blossom.learning.statistics.spans import Span
from blossom.learning.target import Target
from blossom.plan.errors import ConfigError, PolicyError, Refusal, SiteError, unknown

State = Mapping[str, "NDArray[Any] | list[Scalar]"]
"""An answer, or a part of one: plain data only."""


def floats(state: State, key: str) -> Floats:
    """A state's array as float64."""
    return np.asarray(state[key], np.float64)


def ints(state: State, key: str) -> Ints:
    """A state's array as int64."""
    return np.asarray(state[key], np.int64)


def number(state: State, key: str) -> float:
    """A state's single number."""
    return float(np.asarray(state[key], np.float64).reshape(-1)[0])


def scalar_list(state: State, key: str) -> list[Scalar]:
    """A state's list of categories or classes."""
    return list(cast("list[Scalar]", state[key]))


@dataclass(frozen=True, slots=True)
class Measured:
    """A fitted score and the target that it is measured against.

    Attributes:
        score: The score.
        target: The target; None for clusters.
    """

    score: Score
    target: Target | None

    @property
    def digest(self) -> str:
        """Names the score and target by their content."""
        target = None if self.target is None else self.target.to_document()
        return fingerprint(self.score.to_document(), target)


@dataclass(frozen=True, slots=True)
class Released:
    """What a statistic lets out of a site: how many numbers, and of what form."""

    name: str
    numbers: int
    form: Literal["count", "sum", "category"]


@dataclass(frozen=True, slots=True)
class Guard:
    """The owner's side of a question: who answers, what a privacy unit is, and how few are too few.

    Attributes:
        site: The site's name, for refusals.
        table: The table's name, for refusals.
        units: Unit columns of the batches; none: each row is a unit. With several, every one's minimum must hold.
        min_group: The fewest units that a released figure may describe.
        passed: Checks already passed on the same rows, which need no second look. The caller owns the set and keeps it no
            longer than the prepared rows; None: always check.
        scope: Which part of the rows is meant (set by `Part`).
        withheld: Names of groupings (see `groupings`) of which nothing may be told.
    """

    site: str = ""
    table: str = ""
    units: tuple[str, ...] = ()
    min_group: int = 1
    passed: set[str] | None = None
    scope: str = ""
    withheld: frozenset[str] = frozenset()

    def refuse(self, rule: str, column: str | None, reason: str, allowed: str) -> NoReturn:
        """Refuse to answer.

        Raises:
            PolicyError: Always.
        """
        refusal = Refusal(self.site, self.table, column, rule, reason, allowed)
        raise PolicyError("the site's policy refuses this fit", [refusal], where=self.site or None)


class Collector(ABC):
    """Takes a site's blocks of rows and gives the answer that may leave."""

    @abstractmethod
    def add(self, block: pa.RecordBatch) -> None:
        """Take in a block of rows."""

    @abstractmethod
    def finish(self) -> State:
        """The answer.

        Raises:
            PolicyError: The rows may not be described so.
        """


@dataclass(frozen=True)
class Statistic(ABC):
    """Base of all statistics."""

    kind: ClassVar[str]

    @abstractmethod
    def empty(self) -> State:
        """The answer of no rows; merging with it changes nothing."""

    @abstractmethod
    def merge(self, a: State, b: State) -> State:
        """The answer of both parts' rows."""

    @abstractmethod
    def releases(self) -> tuple[Released, ...]:
        """What leaves the site with an answer."""

    @abstractmethod
    def collect(self, guard: Guard) -> Collector:
        """A collector for one site's rows."""

    def groupings(self) -> tuple[Grouping, ...]:
        """The groups of rows that the answer tells something of."""
        return ()

    def spans(self) -> tuple[Span, ...]:
        """The spaces of which the answer holds sums of products."""
        return ()

    def amounts(self) -> tuple[Numeric, ...]:
        """The columns that the answer sums as numbers."""
        return ()

    def measures(self) -> Measured | None:
        """The fitted score that the answer measures; None for a question of a fit."""
        return None

    @property
    def width(self) -> int:
        """About how many float64 a row costs while it is measured."""
        return 8


@dataclass(frozen=True)
class Folded(Statistic):
    """A statistic whose answer is the fold of its blocks' answers."""

    @abstractmethod
    def measure(self, block: pa.RecordBatch) -> State:
        """The answer of one block of rows.

        Raises:
            TrainingError: A value cannot be used; names its column.
        """

    def update(self, state: State, block: pa.RecordBatch) -> State:
        """The state with a block's rows taken in."""
        return self.merge(state, self.measure(block))

    def release(self, state: State, guard: Guard) -> State:
        """What of a site's state leaves it."""
        del guard
        return state

    def check(self, guard: Guard) -> Check | None:
        """What must hold of the rows before the answer leaves."""
        del guard
        return None

    def collect(self, guard: Guard) -> Collector:
        return _Fold(self, guard)


class Check(ABC):
    """Looks at the rows of an answer and refuses what may not leave."""

    @abstractmethod
    def add(self, block: pa.RecordBatch) -> None:
        """Look at a block of rows."""

    @abstractmethod
    def verify(self) -> None:
        """Judge all rows seen.

        Raises:
            PolicyError: They may not be described so.
        """


class _Fold(Collector):
    def __init__(self, statistic: Folded, guard: Guard) -> None:
        self._statistic = statistic
        self._guard = guard
        self._check = statistic.check(guard)
        self._state = statistic.empty()

    def add(self, block: pa.RecordBatch) -> None:
        self._state = self._statistic.update(self._state, block)
        if self._check is not None:
            self._check.add(block)

    def finish(self) -> State:
        if self._check is not None:
            self._check.verify()
        return self._statistic.release(self._state, self._guard)


def fold(statistic: Statistic, states: Mapping[str, State]) -> State:
    """Merge sites' answers in the order of the sites' names, so that the bits do not depend on who answered first.

    Raises:
        SiteError: An answer is not of the statistic's shape, or holds NaN or infinite values; names the site.
    """
    merged = statistic.empty()
    for site in sorted(states):
        state = states[site]
        _examine(site, statistic, state, merged)
        try:
            merged = statistic.merge(merged, state)
        except (ValueError, IndexError, TypeError) as error:
            raise SiteError(f"answered {statistic.kind!r} in a wrong shape: {error}", where=site) from error
    return merged


def _examine(site: str, statistic: Statistic, state: State, pattern: State) -> None:
    if state.keys() != pattern.keys():
        raise SiteError(f"answered {statistic.kind!r} with other parts than asked", where=site)
    for key, value in state.items():
        if isinstance(value, list) != isinstance(pattern[key], list):
            raise SiteError(f"answered {statistic.kind!r} with a wrong {key!r}", where=site)
        if not isinstance(value, list) and not (value.dtype.kind in "if" and np.isfinite(value).all()):
            raise SiteError(
                f"answered {statistic.kind!r} with a {key!r} that is not finite",
                where=site,
                hint="values near the limit of float64 overflow: rescale the columns",
            )


REGISTRY: dict[str, type[Statistic]] = {}
"""Statistic by its name on the wire."""


S = TypeVar("S", bound=Statistic)


def register(cls: type[S]) -> type[S]:
    """Make a statistic known by its `kind`."""
    REGISTRY[cls.kind] = cls
    return cls


Arrays = dict[str, NDArray[Any]]


def to_message(statistic: Statistic) -> tuple[dict[str, Any], Arrays]:
    """A statistic as JSON values and named float64 arrays."""
    arrays: Arrays = {}
    return _encode(statistic, arrays), arrays


def from_message(document: object, arrays: Mapping[str, NDArray[Any]]) -> Statistic:
    """Read what `to_message` wrote.

    Raises:
        ConfigError: The message is not of that shape.
    """
    doc = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    kind = doc.get("kind")
    if not isinstance(kind, str) or kind not in REGISTRY:
        what, hint = unknown("statistic", str(kind), REGISTRY)
        raise ConfigError(what, hint=hint)
    cls = REGISTRY[kind]
    expected = {field.name: str(field.type) for field in fields(cls)}
    if doc.keys() != {"kind", *expected}:
        raise ConfigError(f"statistic {kind!r} takes {', '.join(expected)}")
    return cls(**{name: _decode(doc[name], expected[name], arrays) for name in expected})


def fingerprint(*parts: object) -> str:
    """A content hash of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _encode(value: object, arrays: Arrays) -> Any:
    match value:
        case Statistic():
            own = {field.name: _encode(getattr(value, field.name), arrays) for field in fields(value)}
            return {"kind": value.kind, **own}
        case Design() | Target():
            return value.to_document()
        case Score():
            parts = {key: getattr(value, key) for key in ("link", "weights", "bias", "centres")}
            return {
                "design": value.design.to_document(),
                **{key: _encode(part, arrays) for key, part in parts.items()},
            }
        case np.ndarray():
            name = f"a{len(arrays)}"
            arrays[name] = value
            return {"array": name}
        case tuple():
            return [_encode(item, arrays) for item in cast("tuple[object, ...]", value)]
        case _:
            return value


def _decode(value: object, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    match kind, value:
        case ("str", str()) | ("bool", bool()):
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", _:
            return finite(value)
        case "Design", _:
            return Design.from_document(value)
        case "Target", _:
            return Target.from_document(value)
        case "Score", dict():
            return _score(cast("dict[str, object]", value), arrays)
        case "Target | None", _:
            return None if value is None else Target.from_document(value)
        case "Floats", {"array": str(name)} if name in arrays:
            array = np.asarray(arrays[name], np.float64)
            if array.ndim not in (1, 2) or not np.isfinite(array).all():
                raise ConfigError("an array of a statistic is a vector or matrix of finite numbers")
            return array
        case "Floats | None", _:
            return None if value is None else _decode(value, "Floats", arrays)
        case "Scalar | None", None | bool() | int() | str():
            return value
        case "tuple[str, ...]", list() if all(isinstance(item, str) for item in cast("list[object]", value)):
            return tuple(cast("list[str]", value))
        case "tuple[Scalar, ...]", list():
            return scalars(cast("list[object]", value))
        case "Statistic", _:
            return from_message(value, arrays)
        case "tuple[Statistic, ...]", list():
            return tuple(from_message(item, arrays) for item in cast("list[object]", value))
        case _:
            raise ConfigError(f"a statistic's value does not fit: expected {kind}")


def _score(doc: dict[str, object], arrays: Mapping[str, NDArray[Any]]) -> Score:
    if doc.keys() != {"design", "link", "weights", "bias", "centres"}:
        raise ConfigError("a score is design, link, weights, bias and centres")
    weights, bias = (_decode(doc[key], "Floats", arrays) for key in ("weights", "bias"))
    centres = _decode(doc["centres"], "Floats | None", arrays)
    return checked(Design.from_document(doc["design"]), doc["link"], weights, bias, centres)
