"""The shape rule: which expressions are affine, and which hide a predicate that could single out a person."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from blossom.plan.errors import Refusal
from blossom.plan.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    TypeArgument,
    children,
    columns,
)
from blossom.plan.lineage import ELEMENTWISE
from blossom.policy.rules import Rules
from blossom.policy.states import AFFINE, CONSTANT, OPAQUE, PRODUCT, PUBLIC, Value, stored

SPREAD = 1e10
"""How far literals may lie apart in one affine form: (x + 1e16) - 1e16 in floating point is a step function of x."""

SIZES = (1e-30, 1e30)
"""How small and how large literals may become: near the ends of floating point x * 5e-324 rounds, and x * 1e304 is infinite,
beyond a threshold that the literal chooses."""

WHOLE = {AFFINE: 1e6, PRODUCT: 1e3}
"""How large the literals of an integer or decimal form may become: beyond 64 bits, or 38 digits, engines fail, and whether they
do is an answer."""

DIGITS = 20
"""Digits before the point that a product of decimals must leave room for, for the same reason."""

_INTEGERS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 9, "uint16": 17, "uint32": 33}
_FLOATS = {"float32": 32, "float64": 64}
_DECIMAL = re.compile(r"!?decimal\(\d+, (\d+)\)")


@dataclass(slots=True)
class Shapes:
    """Values of the expressions of one node.

    Attributes:
        rules: The policies.
        view: The value of a column of an input, as the node sees it.
        problems: What was found that forbids a guard above the node.
    """

    rules: Rules
    view: Callable[[int, str], Value]
    problems: list[Refusal]

    def value(self, expression: Expression) -> Value:
        """The value of an expression; problems are noted as they are met."""
        match expression:
            case Column():
                return self.view(expression.input, expression.name)
            case Literal():
                return _literal(expression.value)
            case Call():
                rule = _ARITHMETIC.get(expression.op)
                if rule is not None and _plain(expression):
                    return _whole(expression, rule(*[self.value(child) for child in children(expression)]))
                if expression.op == "Cast":
                    return self._cast(expression)
                if expression.op not in ELEMENTWISE:
                    self.problems.append(
                        self.rules.refuse(
                            self._table(expression), None, "operation",
                            f"no rule knows the operation {expression.op} on rows of a private table",
                            "aggregates of bare columns, or the operation on their result",
                        )
                    )  # fmt: skip
                return self.opaque(expression)
            case Outer():
                return PUBLIC
            case Subquery():
                # The judge sees to it that its plan is public; what reaches out of it makes it a function of the row.
                return self.opaque(expression)

    def opaque(self, expression: Expression) -> Value:
        """All that an expression reads, in no known form."""
        sources = [self.value(child).sources for child in children(expression)]
        if isinstance(expression, Subquery):
            sources += [self.view(column.input, column.name).sources for column in columns(expression)]
        return Value(frozenset().union(*sources))

    def _cast(self, expression: Call) -> Value:
        arg, to = expression.args
        assert isinstance(arg, Column | Outer | Literal | Call | Subquery)
        value = self.value(arg)
        assert isinstance(to, TypeArgument)
        if _widens(arg.dtype, to.dtype):
            return replace(value, bare=None) if arg.dtype.lstrip("!") != to.dtype.lstrip("!") else value
        return Value(value.sources)

    def _table(self, expression: Expression) -> str:
        sources = sorted(
            source
            for column in columns(expression)
            for source in self.view(column.input, column.name).sources
        )
        return sources[0][0] if sources else "(rows)"


def predicate(shapes: Shapes, expression: Expression, where: str) -> Iterator[Refusal]:
    """Judge a predicate: hard refusals are yielded, what merely forbids a guard above goes to `shapes.problems`."""
    sources = stored(shapes.value(expression).sources)
    yield from shapes.rules.predicates(sources, where)
    shapes.problems.extend(shapes.rules.transforms(sources, where))


def present(shapes: Shapes, conjunct: Expression) -> Value | None:
    """The value, where the condition is that it is there: to count rows so is to count the value, and needs no more."""
    match conjunct:
        case Call("NotNull", (Column() | Call() as value,)):
            found = shapes.value(value)
            return found if held(found) else None
        case _:
            return None


def _plain(expression: Call) -> bool:
    return all(isinstance(arg, Column | Outer | Literal | Call | Subquery) for arg in expression.args)


def _literal(value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return PUBLIC
    size = abs(float(value))
    return Value(form=CONSTANT, low=size, high=size) if math.isfinite(size) else PUBLIC


def _bounded(sources: Value, form: int, low: float, high: float, others: Value | None = None) -> Value:
    """A computed value, opaque where its literals lie too far apart."""
    found = sources.sources if others is None else sources.sources | others.sources
    if form >= OPAQUE or not (SIZES[0] <= low <= high <= SIZES[1]) or high > SPREAD * low:
        return Value(found)
    return Value(found, form, low=low, high=high)


def _whole(expression: Call, value: Value) -> Value:
    """The value, opaque where integers or decimals could be made to overflow."""
    kind = expression.dtype.lstrip("!")
    if value.form not in WHOLE or not (kind in _INTEGERS or kind.startswith("decimal")):
        return value
    narrow = kind.startswith("decimal") and expression.op == "Multiply" and 38 - _scale(expression) < DIGITS
    return Value(value.sources) if narrow or value.high > WHOLE[value.form] else value


def _scale(product: Call) -> int:
    """Digits after the point of an exact product: those of its factors together, whatever type Ibis declares."""
    kinds = [_DECIMAL.fullmatch(one.dtype) for one in children(product)]
    return sum(int(kind[1]) for kind in kinds if kind)


def _negate(value: Value) -> Value:
    return _bounded(value, value.form, value.low, value.high)


def _add(left: Value, right: Value) -> Value:
    if left.form == CONSTANT and right.form == CONSTANT:
        # The sum of two literals may cancel: nothing is known of its size.
        return PUBLIC
    if left.form == OPAQUE or right.form == OPAQUE:
        return Value(left.sources | right.sources)
    if CONSTANT in (left.form, right.form):
        constant, other = (left, right) if left.form == CONSTANT else (right, left)
        return _bounded(other, other.form, other.low, max(other.high, constant.high))
    return _bounded(
        left, max(left.form, right.form), min(left.low, right.low), max(left.high, right.high), right
    )


def _multiply(left: Value, right: Value) -> Value:
    if left.form == OPAQUE or right.form == OPAQUE:
        return Value(left.sources | right.sources)
    form = left.form + right.form if CONSTANT not in (left.form, right.form) else max(left.form, right.form)
    return _bounded(
        left, form if form <= PRODUCT else OPAQUE, left.low * right.low, left.high * right.high, right
    )


def _divide(left: Value, right: Value) -> Value:
    if right.form != CONSTANT or left.form == OPAQUE or not right.low:
        return Value(left.sources | right.sources)
    return _bounded(left, left.form, left.low / right.low, left.high / right.low)


_ARITHMETIC: dict[str, Callable[..., Value]] = {
    "Add": _add,
    "Subtract": _add,
    "Multiply": _multiply,
    "Divide": _divide,
    "Negate": _negate,
}
"""Operations that keep a form affine. Where literals multiply a form, its largest and smallest coefficient scale alike."""


def _widens(source: str, target: str) -> bool:
    """Whether a cast keeps apart what the source type keeps apart (to 53 bits, for floats)."""
    source, target = source.lstrip("!"), target.lstrip("!")
    if source == target:
        return True
    if target == "float64":
        return source == "boolean" or source in _INTEGERS or source in _FLOATS or source.startswith("decimal")
    if target in _INTEGERS:
        return source == "boolean" or _INTEGERS.get(source, 99) <= _INTEGERS[target]
    return target.startswith("decimal(38") and source in _INTEGERS


def held(value: Value) -> bool:
    """Whether a value is of a form that an aggregate may take of any releasable column."""
    return value.form in (CONSTANT, AFFINE, PRODUCT)
