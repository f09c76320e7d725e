"""Facets: the sets of rows that the reductions of an aggregate range over, and the values that they fold there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal as OneOf

from blossom.plan.expressions import Call, Column, Expression, Literal, Named, columns
from blossom.policy.aggregates import reduced
from blossom.policy.states import State, Value

Weight = OneOf["size", "spread"]
"""What a unit contributes to a figure: the sum of |x|, or of squared deviations from the cell's mean."""

WEIGHTS: dict[str, Weight] = {
    "Sum": "size", "Mean": "size", "Variance": "spread", "StandardDev": "spread", "Covariance": "spread",
    "Correlation": "spread",
}  # fmt: skip

_NUMBERS = ("int", "uint", "float", "decimal", "boolean")


@dataclass(frozen=True, slots=True)
class Content:
    """A value that a figure is made of, as it is told apart by the ledger.

    Attributes:
        column: The detail's column.
        labels: Under which names two figures' contents are compared: "=table.column" for a stored column as it is,
            "table.column" (or several) for the folded value, computed of these.
        weights: How units contribute to the figures folded from it.
    """

    column: str
    labels: frozenset[str]
    weights: frozenset[Weight] = frozenset()

    @property
    def computed(self) -> bool:
        """Whether it is computed, and no stored column as it is."""
        return not any(label.startswith("=") for label in self.labels)


@dataclass(frozen=True, slots=True)
class Facet:
    """The rows of a cell on which some reductions look.

    Attributes:
        control: The query's column that counts these rows.
        where: Columns of the detail that are true on these rows.
        present: Columns of the detail that are not null on these rows.
        contents: The values folded there.
    """

    control: str
    where: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    contents: tuple[Content, ...] = ()


@dataclass(slots=True)
class Facets:
    """Collects the facets of one aggregate over `below`.

    Attributes:
        below: The state of its input.
    """

    below: State
    _facets: dict[tuple[frozenset[str], frozenset[str]], tuple[Facet, Expression | None]] = field(
        default_factory=dict
    )
    _values: dict[Expression, str] = field(default_factory=dict)
    _where: dict[Expression, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._facet((), (), None)

    def take_all(self, calls: Iterable[Call]) -> None:
        """Take in reductions, those that fold values first: a count of the same values then needs nothing more."""
        for call in sorted(calls, key=lambda call: not _folds(call)):
            self._take(call)

    def _take(self, call: Call) -> None:
        parts = reduced(call)
        values = [value for value in dict.fromkeys(parts.values) if columns(value)]
        condition = parts.where
        where: list[str] = [] if parts.where is None else [self._boolean(parts.where)]
        present: list[str] = []
        contents: list[Content] = []
        weight = WEIGHTS.get(call.op)
        for value in values:
            there = Call("NotNull", (value,), "boolean")
            condition = there if condition is None else Call("And", (condition, there), "boolean")
            if not _folds(call) and value not in self._values:
                where.append(self._boolean(there))
                continue
            name = self._value(value)
            present.append(name)
            if _folds(call):
                contents += self._contents(name, value, weight)
        facet = self._facet(tuple(where), tuple(present), condition)
        merged = {content.column: content for content in facet.contents}
        for content in contents:
            known = merged.get(content.column)
            merged[content.column] = content if known is None else Content(
                content.column, known.labels | content.labels, known.weights | content.weights
            )  # fmt: skip
        key = (frozenset(where), frozenset(present))
        self._facets[key] = (replace(facet, contents=tuple(merged.values())), self._facets[key][1])

    def found(self) -> list[tuple[Facet, Expression | None]]:
        """The facets, each with its condition (None: all rows)."""
        return list(self._facets.values())

    def columns(self) -> tuple[Named, ...]:
        """What the detail must hold for them."""
        return tuple((name, value) for held in (self._values, self._where) for value, name in held.items())

    def _facet(self, where: tuple[str, ...], present: tuple[str, ...], condition: Expression | None) -> Facet:
        key = (frozenset(where), frozenset(present))
        if key not in self._facets:
            self._facets[key] = (Facet(f"__guard_{len(self._facets)}", where, present), condition)
        return self._facets[key][0]

    def _boolean(self, condition: Expression) -> str:
        return self._where.setdefault(condition, f"__where_{len(self._where)}")

    def _value(self, value: Expression) -> str:
        return self._values.setdefault(value, f"__value_{len(self._values)}")

    def _contents(self, name: str, value: Expression, weight: Weight | None) -> list[Content]:
        weights = frozenset[Weight]() if weight is None or not _number(value) else frozenset({weight})
        read = sorted(columns(value), key=lambda column: column.name)
        known = [self.below.value(column.name) for column in read]
        sources = sorted({source for one in known for source in one.sources})
        labels = {", ".join(f"{table}.{column}" for table, column in sources)}
        found: list[Content] = []
        for column, one in zip(read, known, strict=True):
            if column == value:
                labels |= _bare(one)
            elif one.bare is not None:
                # two figures of one column, differently computed: what they are computed of must be the same rows
                found.append(Content(self._value(column), _bare(one)))
        return [Content(name, frozenset(labels), weights), *found]


def _folds(call: Call) -> bool:
    return call.op in WEIGHTS or call.op == "CountDistinct"


def _bare(value: Value) -> frozenset[str]:
    return frozenset() if value.bare is None else frozenset({"=" + ".".join(value.bare)})


def _number(value: Expression) -> bool:
    return not isinstance(value, Literal) and value.dtype.lstrip("!").startswith(_NUMBERS)


def column_content(column: Column, value: Value, weights: frozenset[Weight]) -> Content:
    """The content of a column that a fit reads."""
    sources = ", ".join(f"{table}.{name}" for table, name in sorted(value.sources))
    return Content(column.name, _bare(value) | {sources}, weights if _number(column) else frozenset())
