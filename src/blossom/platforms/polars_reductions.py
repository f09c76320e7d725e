"""The table of reductions that Polars runs with DuckDB's semantics: partial figures a group, then an expression over them.

A reduction is split in two. While grouping, Polars computes plain figures (a sum, a count, the largest value) of columns made
beforehand, which its streaming engine knows; what SQL adds to them (a sum of nothing is null, NaN is the largest) is an
expression over the grouped figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from blossom.plan.errors import PlanError
from blossom.plan.expressions import REDUCTIONS, Argument, Call, Column, Expression, Literal, has, transform
from blossom.platforms.polars_expressions import DIFFERS, Columns, refusal, translate
from blossom.platforms.polars_types import ANY, NUMBER, REAL, TRUTH, F, Family, Term, family, narrow

_FEW_BITS = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)


@dataclass
class Figures:
    """What a grouping computes: the columns to make first, and the figures over them."""

    columns: Columns
    made: dict[str, pl.Expr] = field(default_factory=dict)
    figures: dict[str, pl.Expr] = field(default_factory=dict)
    _names: dict[Any, str] = field(default_factory=dict)

    def column(self, key: Any, expr: Callable[[], pl.Expr]) -> pl.Expr:
        """A column that is made before grouping, once a key."""
        return self._once(self.made, "argument", key, expr)

    def figure(self, key: Any, expr: Callable[[], pl.Expr]) -> pl.Expr:
        """A figure of each group, computed once a key; in reach after grouping."""
        return self._once(self.figures, "figure", key, expr)

    def _once(self, store: dict[str, pl.Expr], what: str, key: Any, expr: Callable[[], pl.Expr]) -> pl.Expr:
        name = self._names.get((what, key))
        if name is None:
            name = self._names[what, key] = f"\x01{what} {len(store)}"
            store[name] = expr()
        return pl.col(name)


@dataclass(frozen=True, slots=True)
class Values:
    """What a reduction folds, as a column: null where the reduction's condition is not true.

    Its figures are named by the expression, the condition and the type, so that a sum and a mean share them.
    """

    figures: Figures
    key: tuple[Any, ...]
    expr: pl.Expr
    dtype: Any

    def figure(self, kind: str, apply: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
        """A figure over the column."""
        return self.figures.figure((kind, self.key), lambda: apply(self.expr))

    @property
    def count(self) -> pl.Expr:
        """How many values are not null."""
        return self.figure("count", pl.Expr.count)


def _values(figures: Figures, arg: Argument, where: Argument, dtype: Any = None) -> Values:
    term = translate(arg, figures.columns)
    if dtype is not None:
        term = narrow(term).cast(dtype)
    if where is not None:
        condition = translate(where, figures.columns).cast(pl.Boolean)
        term = Term(pl.when(condition.expr).then(term.expr).otherwise(None), term.dtype)
    key = (arg, where, str(term.dtype))
    return Values(figures, key, figures.column(key, lambda: term.expr), term.dtype)


def _total(found: Values) -> Term:
    """The sum, null where there is nothing to sum."""
    dtype = found.dtype
    if dtype.is_float():
        wide: Any = pl.Float64
    elif isinstance(dtype, pl.Decimal):
        wide = pl.Decimal(38, dtype.scale)
    else:
        # Polars wraps in silence: sum in as many bits as it takes
        wide = pl.Int64 if dtype in _FEW_BITS or dtype == pl.Boolean else pl.Int128
    total = found.figure("sum", lambda e: e.cast(wide).sum())
    return Term(pl.when(found.count > 0).then(total).otherwise(None).cast(wide), wide)


def _sum(call: Call, figures: Figures) -> Term:
    return _total(_values(figures, *call.args))


def _mean(call: Call, figures: Figures) -> Term:
    found = _values(figures, *call.args)
    total = _total(found)
    return Term(total.expr.cast(pl.Float64) / found.count, pl.Float64)


def _count(call: Call, figures: Figures) -> Term:
    return Term(_values(figures, *call.args).count.cast(pl.Int64), pl.Int64)


def _count_star(call: Call, figures: Figures) -> Term:
    (where,) = call.args
    if where is None:
        return Term(figures.figure("rows", pl.len).cast(pl.Int64), pl.Int64)
    condition = figures.column(
        ("where", where), lambda: translate(where, figures.columns).cast(pl.Boolean).expr
    )
    rows = figures.figure(("rows", where), lambda: condition.cast(pl.Int64).sum())
    return Term(rows, pl.Int64)


def _count_distinct(call: Call, figures: Figures) -> Term:
    found = _values(figures, *call.args)
    values = found.figure("distinct", pl.Expr.n_unique).cast(pl.Int64)
    nulls = found.figure("nulls", pl.Expr.null_count)
    return Term(values - (nulls > 0).cast(pl.Int64), pl.Int64)


def _min(call: Call, figures: Figures) -> Term:
    found = _values(figures, *call.args)
    return Term(found.figure("min", pl.Expr.min), found.dtype)


def _max(call: Call, figures: Figures) -> Term:
    found = _values(figures, *call.args)
    if found.dtype.is_float():
        # Polars leaves NaN out of a maximum, DuckDB orders it last
        return Term(found.figure("max", pl.Expr.nan_max), found.dtype)
    return Term(found.figure("max", pl.Expr.max), found.dtype)


def _truth(kind: str, apply: Callable[[pl.Expr], pl.Expr]) -> Callable[[Call, Figures], Term]:
    def build(call: Call, figures: Figures) -> Term:
        found = _values(figures, *call.args)
        value = found.figure(kind, lambda e: apply(e.cast(pl.Boolean)))
        return Term(pl.when(found.count > 0).then(value).otherwise(None), pl.Boolean)

    return build


def _spread(kind: str, apply: Callable[[pl.Expr, int], pl.Expr]) -> Callable[[Call, Figures], Term]:
    def build(call: Call, figures: Figures) -> Term:
        arg, how, where = call.args
        found = _values(figures, arg, where, pl.Float64)
        degrees = 1 if how == "sample" else 0
        return Term(found.figure(f"{kind} {degrees}", lambda e: apply(e, degrees)), pl.Float64)

    return build


def _covariance(call: Call, figures: Figures) -> Term:
    left, right, how, where = call.args
    one = _values(figures, left, where, pl.Float64)
    other = _values(figures, right, where, pl.Float64)
    degrees = 1 if how == "sample" else 0
    key = ("covariance", degrees, one.key, other.key)
    return Term(figures.figure(key, lambda: pl.cov(one.expr, other.expr, ddof=degrees)), pl.Float64)


def _correlation(call: Call, figures: Figures) -> Term:
    left, right, _, where = call.args
    one = _values(figures, left, where, pl.Float64)
    other = _values(figures, right, where, pl.Float64)
    pairs = figures.figure(
        ("pairs", one.key, other.key),
        lambda: (one.expr.is_not_null() & other.expr.is_not_null()).cast(pl.Int64).sum(),
    )
    value = figures.figure(("correlation", one.key, other.key), lambda: pl.corr(one.expr, other.expr))
    return Term(pl.when(pairs > 0).then(value).otherwise(None), pl.Float64)


@dataclass(frozen=True, slots=True)
class Reduction:
    """How one reduction is said; `takes` is as in `Operation`, None for arguments that are not values."""

    takes: tuple[frozenset[Family] | None, ...]
    build: Callable[[Call, Figures], Term]


_PLAIN = ANY - {F.NULL, F.OTHER}
_TRUTHS = TRUTH - {F.NULL}
_ADDED = (REAL | TRUTH) - {F.NULL}
_SPREAD = (NUMBER | {F.FLOAT32}) - {F.NULL}

TABLE: Mapping[str, Reduction] = {
    "Sum": Reduction((_ADDED, TRUTH), _sum),
    "Mean": Reduction((_ADDED, TRUTH), _mean),
    "Count": Reduction((_PLAIN, TRUTH), _count),
    "CountStar": Reduction((TRUTH,), _count_star),
    "CountDistinct": Reduction((_PLAIN, TRUTH), _count_distinct),
    "Min": Reduction((_PLAIN - {F.BINARY}, TRUTH), _min),
    "Max": Reduction((_PLAIN - {F.BINARY}, TRUTH), _max),
    "Any": Reduction((_TRUTHS, TRUTH), _truth("any", lambda e: e.any(ignore_nulls=True))),
    "All": Reduction((_TRUTHS, TRUTH), _truth("all", lambda e: e.all(ignore_nulls=True))),
    "Variance": Reduction((_SPREAD, None, TRUTH), _spread("variance", lambda e, d: e.var(ddof=d))),
    "StandardDev": Reduction((_SPREAD, None, TRUTH), _spread("deviation", lambda e, d: e.std(ddof=d))),
    "Covariance": Reduction((_SPREAD, _SPREAD, None, TRUTH), _covariance),
    "Correlation": Reduction((_SPREAD, _SPREAD, None, TRUTH), _correlation),
}
"""Reduction name -> what it takes and how it is computed."""


def metric_refusal(metric: Expression) -> str | None:
    """Why a metric (reductions, and operations over them) cannot be translated; None when it can."""
    found: list[Call] = []
    rest = split_metric(metric, found)
    for call in found:
        reason = _reduction_refusal(call)
        if reason is not None:
            return reason
    return refusal(rest)


def _reduction_refusal(call: Call) -> str | None:
    reduction = TABLE.get(call.op)
    if reduction is None:
        return DIFFERS.get(call.op, f"{call.op} is not translated")
    if call.op == "Correlation" and call.args[2] == "sample":
        return "DuckDB, the reference, has no sample correlation"
    if len(call.args) != len(reduction.takes):
        return f"{call.op} takes {len(reduction.takes)} arguments"
    for takes, arg in zip(reduction.takes, call.args, strict=True):
        if takes is None or arg is None:
            continue
        if not isinstance(arg, Column | Literal | Call) or has(arg, REDUCTIONS):
            return f"{call.op} of {type(arg).__name__} is not translated"
        if family(arg.dtype) not in takes:
            return f"{call.op} of {arg.dtype} is not translated"
        reason = refusal(arg)
        if reason is not None:
            return reason
    return None


_FIGURE = -1
"""The input number under which a metric's reductions stand as columns."""


def split_metric(metric: Expression, found: list[Call]) -> Expression:
    """The metric with each reduction put into `found` and replaced by a column that stands for it."""

    def rule(node: Expression) -> Expression | None:
        if not isinstance(node, Call) or node.op not in REDUCTIONS:
            return None
        found.append(node)
        return Column(str(len(found) - 1), node.dtype, _FIGURE)

    return transform(metric, rule)


def metric_term(metric: Expression, figures: Figures) -> Term:
    """The metric as an expression over the figures of its groups.

    Raises:
        PlanError: It reads a column outside any reduction, or holds what `metric_refusal` refuses.
    """
    found: list[Call] = []
    rest = split_metric(metric, found)
    terms = [TABLE[call.op].build(call, figures) for call in found]

    def columns(column: Column) -> Term:
        if column.input != _FIGURE:
            raise PlanError(f"the metric reads {column.name!r} outside any reduction")
        return terms[int(column.name)]

    return translate(rest, columns)
