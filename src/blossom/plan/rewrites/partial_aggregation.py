"""Partial aggregation: each part folds its own rows, a merge folds what they send.

Variance, covariance and correlation merge as (n, means, centred second moments), never as sums of squares (Chan, Golub and
LeVeque 1979): the between-part term needs the joint mean first, which a window over the few partial rows gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ibis.expr.datatypes import Decimal

from blossom.plan.expressions import (
    REDUCTIONS,
    Argument,
    Call,
    Column,
    Expression,
    Literal,
    Named,
    TypeArgument,
    transform,
    walk,
)
from blossom.plan.relations import Aggregate, Parts, Project, Relation
from blossom.plan.rewrites.local_maps import renamed
from blossom.plan.schema import datatype

FLOAT, COUNT = "float64", "int64"


def partial_aggregation(node: Relation) -> Relation:
    """Split an aggregate over parts into one at each part and a merge; leave it where a metric cannot be merged."""
    if not isinstance(node, Aggregate) or not isinstance(node.input, Parts):
        return node
    parts = node.input
    if node.holds_subquery:
        return node
    kept = renamed(parts.partition, dict(node.groups))
    if kept is not None:
        return Parts(tuple(replace(node, input=part) for part in parts.tables), parts.sites, kept)
    split = _Split(parts)
    finals = [(name, split.metric(value)) for name, value in node.metrics]
    if split.stuck:
        return node
    # every part must make the same partial columns, and a group without metrics is a distinct
    partial = [Aggregate(part, node.groups, tuple(split.partials.items())) for part in parts.tables]
    united: Relation = Parts(tuple(partial), parts.sites)
    groups = tuple((name, Column(name, value.dtype)) for name, value in node.groups)
    if split.centred:
        united = _with_joint_means(united, groups, split)
    merged = Aggregate(united, groups, tuple(split.merges.items()))
    values: list[Named] = [(name, merged.column(name)) for name, _ in groups]
    values.extend((name, value) for name, value in finals if value is not None)
    return Project(merged, tuple(values))


@dataclass(slots=True)
class _Split:
    """Collects what the parts compute, how it merges, and the final expression of each metric."""

    parts: Parts
    partials: dict[str, Expression] = field(default_factory=dict)
    merges: dict[str, Expression] = field(default_factory=dict)
    centred: list[tuple[str, str]] = field(
        default_factory=list
    )  # (count column, mean column) that need a joint mean
    stuck: bool = False

    def metric(self, value: Expression) -> Expression | None:
        def one(node: Expression) -> Expression | None:
            if isinstance(node, Call) and node.op in REDUCTIONS:
                return self.reduction(node)
            if isinstance(node, Call) and node.op == "WindowFunction":
                self.stuck = True
            return None

        final = transform(value, one)
        if any(isinstance(n, Column) and n.name not in self.merges for n in walk(final)):
            self.stuck = True  # a bare column outside any reduction
        return final

    def reduction(self, node: Call) -> Expression:
        rule = _RULES.get(node.op)
        made = None if rule is None else rule(self, node)
        if made is None:
            self.stuck = True
            return node
        return made

    def partial(self, value: Expression) -> Column:
        """A column that each part computes; equal ones are computed once."""
        for name, known in self.partials.items():
            if known == value:
                return Column(name, value.dtype)
        name = f"__p{len(self.partials)}"
        self.partials[name] = value
        return Column(name, value.dtype)

    def merge(self, value: Expression) -> Column:
        for name, known in self.merges.items():
            if known == value:
                return Column(name, value.dtype)
        name = f"__m{len(self.merges)}"
        self.merges[name] = value
        return Column(name, value.dtype)

    def total(self, partial: Column, dtype: str | None = None) -> Column:
        return self.merge(Call("Sum", (partial, None), dtype or partial.dtype))


def _sum(split: _Split, node: Call) -> Expression:
    return split.total(split.partial(node), node.dtype)


def _count(split: _Split, node: Call) -> Expression:
    return _cast(split.total(split.partial(node), COUNT), COUNT)


def _same(split: _Split, node: Call) -> Expression:
    partial = split.partial(node)
    extra: tuple[Argument, ...] = (None,)
    return split.merge(Call(node.op, (partial, *extra), node.dtype))


def _mean(split: _Split, node: Call) -> Expression:
    value, where = node.args
    assert isinstance(value, Column | Call | Literal)
    total = split.total(split.partial(Call("Sum", (value, where), _sum_type(value.dtype))))
    count = split.total(split.partial(Call("Count", (value, where), COUNT)))
    return Call("Divide", (_cast(total, FLOAT), _cast(count, FLOAT)), FLOAT)


def _sum_type(dtype: str) -> str:
    """What Ibis says a sum of this type is: the parts' columns must have the types that it will find again."""
    kind = datatype(dtype)
    if isinstance(kind, Decimal):
        return str(Decimal(max(38, kind.precision or 38), max(kind.scale or 0, 2)))
    return FLOAT if kind.is_floating() else COUNT


def _distinct(split: _Split, node: Call) -> Expression | None:
    """Distinct values of the partition column never meet at two parts, so their counts add up."""
    partition = split.parts.partition
    value = node.args[0]
    if partition is not None and isinstance(value, Column) and partition.columns == (value.name,):
        return _count(split, node)
    return None


def _variance(split: _Split, node: Call) -> Expression | None:
    value, how, where = node.args
    assert isinstance(value, Column | Call | Literal)
    return _second_moment(split, node, [value], str(how), where)


def _covariance(split: _Split, node: Call) -> Expression | None:
    left, right, how, where = node.args
    assert isinstance(left, Column | Call | Literal)
    assert isinstance(right, Column | Call | Literal)
    return _second_moment(split, node, [left, right], "pop" if how is None else str(how), where)


def _second_moment(
    split: _Split, node: Call, values: list[Expression], how: str, where: Argument
) -> Expression | None:
    # the means must range over the very rows of the moment: those where every value is there
    pair: Argument = where
    for value in values if len(values) > 1 else ():
        present = Call("NotNull", (value,), "boolean")
        pair = present if pair is None else Call("And", (pair, present), "boolean")
    count = split.partial(Call("Count", (values[0], pair), COUNT))
    means = [split.partial(Call("Mean", (value, pair), FLOAT)) for value in values]
    joint = [f"{mean.name}__joint" for mean in means]
    for mean in means:
        if (count.name, mean.name) not in split.centred:
            split.centred.append((count.name, mean.name))

    def moment(i: int, j: int) -> Expression:
        x, y = values[i], values[j]
        inner = (
            Call("Variance", (x, "pop", pair), FLOAT)
            if i == j
            else Call("Covariance", (x, y, "pop", pair), FLOAT)
        )
        within = Call("Multiply", (split.partial(inner), count), FLOAT)
        shift_x = Call("Subtract", (means[i], Column(joint[i], FLOAT)), FLOAT)
        shift_y = Call("Subtract", (means[j], Column(joint[j], FLOAT)), FLOAT)
        between = Call("Multiply", (count, Call("Multiply", (shift_x, shift_y), FLOAT)), FLOAT)
        return split.merge(Call("Sum", (Call("Add", (within, between), FLOAT), None), FLOAT))

    total = _cast(split.total(count), FLOAT)
    if node.op == "Correlation":
        scale = Call("Sqrt", (Call("Multiply", (moment(0, 0), moment(1, 1)), FLOAT),), FLOAT)
        return Call("Divide", (moment(0, 1), scale), FLOAT)
    one_less = Call("Subtract", (total, Literal(1.0, FLOAT)), FLOAT)
    divisor = total if how == "pop" else Call("NullIf", (one_less, Literal(0.0, FLOAT)), FLOAT)
    variance = Call("Divide", (moment(0, len(values) - 1), divisor), FLOAT)
    return Call("Sqrt", (variance,), FLOAT) if node.op == "StandardDev" else variance


def _with_joint_means(united: Relation, groups: tuple[Named, ...], split: _Split) -> Relation:
    """The partial rows with, beside each part's mean, the mean over all parts of the same group."""
    keys = tuple(value for _, value in groups)
    values: list[Named] = [(name, united.column(name)) for name in united.schema]
    for count_name, mean_name in split.centred:
        count, mean = Column(count_name, COUNT), Column(mean_name, FLOAT)
        weighted = Call("Sum", (Call("Multiply", (mean, count), FLOAT), None), FLOAT)
        weight = Call("Sum", (count, None), COUNT)

        def over(function: Call) -> Call:
            return Call("WindowFunction", (function, "rows", None, None, keys, ()), function.dtype)

        joint = Call("Divide", (over(weighted), _cast(over(weight), FLOAT)), FLOAT)
        values.append((f"{mean_name}__joint", joint))
    return Project(united, tuple(values))


def _cast(value: Expression, dtype: str) -> Expression:
    return Call("Cast", (value, TypeArgument(dtype)), dtype)


_RULES = {
    "Sum": _sum,
    "Count": _count,
    "CountStar": _count,
    "Mean": _mean,
    "Min": _same,
    "Max": _same,
    "Any": _same,
    "All": _same,
    "BitAnd": _same,
    "BitOr": _same,
    "BitXor": _same,
    "Arbitrary": _same,
    "CountDistinct": _distinct,
    "Variance": _variance,
    "StandardDev": _variance,
    "Covariance": _covariance,
    "Correlation": _covariance,
}
