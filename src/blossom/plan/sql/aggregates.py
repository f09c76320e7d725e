"""Aggregate functions with DISTINCT, FILTER and ORDER BY, as Ibis's reductions."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ibis.expr.operations as ops
import sqlglot.expressions as x

from blossom.plan.sql.reading import arguments, refused
from blossom.plan.sql.types import cast, double, literal, text_of

Value = ops.Value
Translate = Callable[[x.Expr], Value]


@dataclass(frozen=True, slots=True)
class Fold:
    """What a call of an aggregate function brings along.

    Attributes:
        args: The translated arguments.
        where: The FILTER clause.
        order: The ORDER BY inside the call.
        distinct: DISTINCT inside the call.
        base: The relation whose rows are folded.
    """

    args: tuple[Value, ...]
    where: Value | None
    order: tuple[ops.SortKey, ...]
    distinct: bool
    base: ops.Relation


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How one aggregate function is built; `distinct` and `ordered` say whether it takes these clauses."""

    build: Callable[[Fold], Value]
    args: tuple[str, ...] = ("this",)
    distinct: bool = False
    ordered: bool = False
    flags: Mapping[str, Any] | None = None


def _simple(
    op: type[ops.Value], prepare: Callable[[Value], Value] = lambda arg: arg
) -> Callable[[Fold], Value]:
    return lambda fold: op(prepare(fold.args[0]), where=fold.where)


def _spread(op: type[ops.Value], how: str) -> Aggregate:
    return Aggregate(lambda fold: op(_real(fold.args[0]), how=how, where=fold.where))


def _pair(op: type[ops.Value], how: str) -> Aggregate:
    return Aggregate(
        lambda fold: op(_real(fold.args[0]), _real(fold.args[1]), how=how, where=fold.where),
        ("this", "expression"),
    )


def _real(arg: Value) -> Value:
    """DuckDB folds decimals as doubles where the result is no decimal."""
    return double(arg) if arg.dtype.is_decimal() else arg


def _count(fold: Fold) -> Value:
    if not fold.args or (isinstance(fold.args[0], ops.Literal) and fold.args[0].value is not None):
        return ops.CountStar(fold.base, where=fold.where)
    return (ops.CountDistinct if fold.distinct else ops.Count)(fold.args[0], where=fold.where)


def _count_if(fold: Fold) -> Value:
    """DuckDB 2.0 gives NULL, not 0, for no rows: it is the sum of 0 and 1."""
    return ops.Sum(
        cast(ops.IfElse(fold.args[0], literal(1, "int32"), literal(0, "int32")), "int64"), where=fold.where
    )


def _sum(fold: Fold) -> Value:
    arg = fold.args[0]
    return ops.Sum(cast(arg, "int32") if arg.dtype.is_boolean() else arg, where=fold.where)


def _quantile(fold: Fold) -> Value:
    return ops.Quantile(_real(fold.args[0]), fold.args[1], where=fold.where)


def _extreme(op: type[ops.Value]) -> Aggregate:
    def build(fold: Fold) -> Value:
        arg, key = fold.args
        # rows with NULL in either do not count; engines differ there unless told
        seen: Value = ops.And(ops.NotNull(arg), ops.NotNull(key))
        return op(arg, key, where=seen if fold.where is None else ops.And(seen, fold.where))

    return Aggregate(build, ("this", "expression"))


def _edge(op: type[ops.Value]) -> Aggregate:
    return Aggregate(
        lambda fold: op(fold.args[0], where=fold.where, order_by=fold.order, include_null=True), ordered=True
    )


def _text(fold: Fold) -> Value:
    separator = fold.args[1] if len(fold.args) > 1 else literal(",", "string")
    return ops.GroupConcat(text_of(fold.args[0]), separator, where=fold.where, order_by=fold.order)


def _list(fold: Fold) -> Value:
    return ops.ArrayCollect(
        fold.args[0], where=fold.where, order_by=fold.order, include_null=True, distinct=fold.distinct
    )


AGGREGATES: Mapping[type[x.Expr], Aggregate] = {
    x.Count: Aggregate(_count, distinct=True, flags={"big_int": True}),
    x.CountIf: Aggregate(_count_if),
    x.Sum: Aggregate(_sum),
    x.Avg: Aggregate(_simple(ops.Mean)),
    x.Min: Aggregate(_simple(ops.Min), distinct=True),
    x.Max: Aggregate(_simple(ops.Max), distinct=True),
    x.Stddev: _spread(ops.StandardDev, "sample"),
    x.StddevSamp: _spread(ops.StandardDev, "sample"),
    x.StddevPop: _spread(ops.StandardDev, "pop"),
    x.Variance: _spread(ops.Variance, "sample"),
    x.VariancePop: _spread(ops.Variance, "pop"),
    x.CovarSamp: _pair(ops.Covariance, "sample"),
    x.CovarPop: _pair(ops.Covariance, "pop"),
    x.Corr: _pair(ops.Correlation, "pop"),
    x.Median: Aggregate(_simple(ops.Median, _real)),
    x.PercentileCont: Aggregate(_quantile, ("this", "expression")),
    x.Quantile: Aggregate(_quantile, ("this", "quantile")),
    x.LogicalAnd: Aggregate(_simple(ops.All), distinct=True),
    x.LogicalOr: Aggregate(_simple(ops.Any), distinct=True),
    x.BitwiseAndAgg: Aggregate(_simple(ops.BitAnd), distinct=True),
    x.BitwiseOrAgg: Aggregate(_simple(ops.BitOr), distinct=True),
    x.BitwiseXorAgg: Aggregate(_simple(ops.BitXor)),
    x.ApproxDistinct: Aggregate(_simple(ops.ApproxCountDistinct)),
    x.Mode: Aggregate(_simple(ops.Mode)),
    x.AnyValue: Aggregate(_simple(ops.Arbitrary)),
    x.First: _edge(ops.First),
    x.Last: _edge(ops.Last),
    x.ArgMax: _extreme(ops.ArgMax),
    x.ArgMin: _extreme(ops.ArgMin),
    x.GroupConcat: Aggregate(_text, ("this", "separator"), ordered=True),
    x.ArrayAgg: Aggregate(_list, distinct=True, ordered=True),
}
"""Aggregate functions by sqlglot's node. QUANTILE_DISC has no exact counterpart in Ibis."""


def core(node: x.Expr) -> x.Expr:
    """The function inside FILTER, WITHIN GROUP and IGNORE NULLS."""
    while isinstance(node, x.Filter | x.WithinGroup | x.IgnoreNulls | x.RespectNulls):
        node = node.this
    return node


def is_aggregate(node: x.Expr) -> bool:
    """Whether the node, as it stands, is a whole call of an aggregate function."""
    return isinstance(core(node), x.AggFunc)


def calls(tree: x.Expr) -> Iterator[x.Expr]:
    """The aggregate calls of a tree, outermost only; those of nested queries belong elsewhere.

    A window's own function folds the window, not the group; what stands inside it may be an aggregate.
    """
    if isinstance(tree, x.Query):
        return
    if isinstance(tree, x.Window):
        inner = core(tree.this)
        below = [*inner.iter_expressions(), *(c for c in tree.iter_expressions() if c is not tree.this)]
        if isinstance(tree.this, x.Filter):
            below.append(tree.this.expression)
        for child in below:
            yield from calls(child)
    elif is_aggregate(tree):
        yield tree
    else:
        for child in tree.iter_expressions():
            yield from calls(child)


def reduction(node: x.Expr, value: Translate, base: ops.Relation) -> Value:
    """One aggregate call as a bare reduction.

    Args:
        node: The call with its FILTER, WITHIN GROUP and so on.
        value: Translates an argument over the rows that are folded.
        base: These rows.

    Raises:
        PlanError: A function or clause that plans do not know.
    """
    where: Value | None = None
    within: x.Expr | None = None
    while True:
        match node:
            case x.Filter():
                node, clause = arguments(node, "this", "expression")
                where = value(clause.this)
            case x.WithinGroup():
                node, within = arguments(node, "this", "expression")
            case x.IgnoreNulls() if isinstance(node.this, x.AnyValue):
                (node,) = arguments(node, "this")
            case _:
                break
    rule = AGGREGATES.get(type(node))
    if rule is None:
        raise refused(node, f"the aggregate function {node.key.upper()}")
    given = list(arguments(node, *rule.args, flags=rule.flags))
    order: tuple[ops.SortKey, ...] = ()
    distinct = False
    if isinstance(given[0], x.Order):
        if not rule.ordered:
            raise refused(node, f"ORDER BY inside {node.key.upper()}")
        inner, keys = arguments(given[0], "this", "expressions")
        order, given[0] = tuple(sort_key(key, value) for key in keys), inner
    if isinstance(given[0], x.Distinct):
        (items,) = arguments(given[0], "expressions")
        if not rule.distinct or len(items) != 1:
            raise refused(node, f"DISTINCT in {node.key.upper()}")
        distinct, given[0] = True, items[0]
    if within is not None:
        if len(given) != 2 or given[1] is not None or len(within.expressions) != 1:
            raise refused(node, "WITHIN GROUP")
        given = [_ascending(within.expressions[0]), given[0]]
    if isinstance(given[0], x.Star):
        arguments(given[0])
        if not isinstance(node, x.Count) or distinct:
            raise refused(node, "a star in an aggregate function")
        given = []
    args = tuple(value(arg) for arg in given if arg is not None)
    return rule.build(Fold(args, where, order, distinct, base))


def finished(node: x.Expr, result: Value) -> Value:
    """The call's value after the fold: AVG of decimals is a DOUBLE in DuckDB, in Ibis a decimal."""
    if isinstance(core(node), x.Avg) and result.dtype.is_decimal():
        return cast(result, "float64")
    return result


def _ascending(key: x.Expr) -> x.Expr:
    inner, descending = arguments(key, "this", "desc")
    if descending:
        raise refused(key, "a descending WITHIN GROUP", "turn the fraction around")
    return inner


def sort_key(node: x.Expr, value: Translate) -> ops.SortKey:
    """One key of an ORDER BY; NULLs come last unless the query says otherwise."""
    inner, descending, nulls_first = arguments(node, "this", "desc", "nulls_first")
    return ops.SortKey(value(inner), ascending=not descending, nulls_first=bool(nulls_first))
