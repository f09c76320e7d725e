"""Facets: the sets of rows that the reductions of an aggregate range over, and the values that they fold there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal as OneOf

from blossom.plan.errors import PolicyError
from blossom.plan.expressions import Call, Column, Expression, Literal, Named, TypeArgument, columns
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
    """A value that a figure is made of.

    Attributes:
        factors: The detail's columns whose product it is.
        labels: The stored columns that it depends on: under each of them the ledger compares it with what other figures are
            made of. None where it is made of other contents, which are compared.
        weights: How units contribute to the figures folded from it.
        computed: Whether a few units may make it NaN or infinite by themselves: whether they do would be told of them alone.
    """

    factors: tuple[str, ...]
    labels: frozenset[str] = frozenset()
    weights: frozenset[Weight] = frozenset()
    computed: bool = False


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
        free: Conditional reductions whose condition needs no guard.
    """

    below: State
    free: Collection[Call] = ()
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
        parts = reduced(call, self.free)
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
        if call.op in _PRODUCTS and len(parts.values) == 2:
            contents += self._terms(Call("Multiply", parts.values, "float64"), frozenset({"size"}))
        facet = self._facet(tuple(where), tuple(present), condition)
        merged = {content.factors: content for content in facet.contents}
        for content in contents:
            known = merged.get(content.factors, content)
            merged[content.factors] = replace(
                content, labels=known.labels | content.labels, weights=known.weights | content.weights
            )
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
        """What a folded value is made of.

        A sum of `a * x + b * x * y` is a sum of x and one of x * y, whatever the literals: of these each is told apart, so that
        sum(x) and sum(2 * x * flag), which differ in those whose flag is 0, are seen to be the same but for these.
        """
        weights: frozenset[Weight] = frozenset()
        if weight is not None and _number(value):
            weights = frozenset({weight})
        # what the whole weighs is no matter: the sum is made of the terms' sums. That one weighs too much in a combination of a
        # user's choice would be an answer about its values.
        whole = Content((name,), computed=True)
        return [whole, *self._terms(value, weights)]

    def _terms(self, value: Expression, weights: frozenset[Weight]) -> list[Content]:
        found: list[Content] = []
        for term in terms(value) if _number(value) else {(value,)}:
            if term:
                factors = tuple(sorted(self._value(factor) for factor in term))
                labels = frozenset(label for factor in term for label in self._labels(factor))
                # a shift, or another column added, hides who dominates a term: it can be taken away again
                found.append(Content(factors, labels, weights, computed=True))
        return found

    def _labels(self, value: Expression) -> frozenset[str]:
        sources = {source for column in columns(value) for source in self.below.value(column.name).sources}
        return frozenset(".".join(source) for source in sources) or frozenset({""})


_PRODUCTS = ("Covariance", "Correlation")
"""Of these, with the means, a sum of products can be made."""

MOST_TERMS = 64
"""Terms of a folded value; a product of longer sums is refused."""


def terms(value: Expression) -> set[tuple[Expression, ...]]:
    """The products of columns that a value is a linear combination of; what is no arithmetic counts as a column.

    Raises:
        PolicyError: There are too many.

    >>> x, y = Column("x", "float64"), Column("y", "float64")
    >>> plus = Call("Add", (x, Literal(1, "int8")), "float64")
    >>> sorted([factor.name for factor in term] for term in terms(Call("Multiply", (plus, y), "float64")))
    [['x', 'y'], ['y']]
    """
    match value:
        case Literal():
            return {()}
        case Call(
            "Add" | "Subtract",
            (Column() | Call() | Literal() as left, Column() | Call() | Literal() as right),
        ):
            found = terms(left) | terms(right)
        case Call(
            "Multiply", (Column() | Call() | Literal() as left, Column() | Call() | Literal() as right)
        ):
            rest = terms(right)
            found = {tuple(sorted((*one, *other), key=repr)) for one in terms(left) for other in rest}
        case Call("Negate", (Column() | Call() | Literal() as inner,)):
            return terms(inner)
        case Call("Divide", (Column() | Call() as inner, Literal())):
            return terms(inner)
        case Call("Cast", (Column() | Call() as inner, TypeArgument())) if _number(value) and _number(inner):
            return terms(inner)
        case _:
            return {(value,)}
    if len(found) > MOST_TERMS:
        raise PolicyError(
            f"a value of more than {MOST_TERMS} terms below an aggregate cannot be told apart by the ledger",
            hint="fold shorter sums, and add up their results",
        )
    return found


def _folds(call: Call) -> bool:
    return call.op in WEIGHTS or call.op == "CountDistinct"


def _number(value: Expression) -> bool:
    return not isinstance(value, Literal) and value.dtype.lstrip("!").startswith(_NUMBERS)


def column_content(column: Column, value: Value) -> Content:
    """The content of a column that a fit reads."""
    labels = frozenset(".".join(source) for source in value.sources)
    # a fitted line goes through whoever is far from the others: a shift hides that from the size alone
    weights: frozenset[Weight] = frozenset({"size", "spread"}) if _number(column) else frozenset()
    return Content((column.name,), labels, weights, value.bare is None)
