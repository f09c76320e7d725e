"""Window functions: ranks, shifts, edges and any aggregate over a frame."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ibis.expr.operations as ops
import sqlglot.expressions as x

from blossom.plan.errors import PlanError, unknown
from blossom.plan.sql.aggregates import Translate, core, finished, reduction, sort_key
from blossom.plan.sql.reading import arguments, refused
from blossom.plan.sql.types import cast, literal, whole

Value = ops.Value


@dataclass(frozen=True, slots=True)
class _Frame:
    how: str
    start: ops.WindowBoundary | None
    end: ops.WindowBoundary | None


_PARTITION = _Frame("rows", None, None)


def _ranking(op: type[ops.Value]) -> Callable[[x.Expr, Translate], Value]:
    def build(node: x.Expr, value: Translate) -> Value:
        arguments(node)
        return op()

    return build


def _shift(op: type[ops.Value]) -> Callable[[x.Expr, Translate], Value]:
    def build(node: x.Expr, value: Translate) -> Value:
        this, offset, default = arguments(node, "this", "offset", "default")
        steps = (
            None if offset is None else literal(whole(offset, f"the offset of {node.key.upper()}"), "int64")
        )
        return op(value(this), steps, None if default is None else value(default))

    return build


def _tiles(node: x.Expr, value: Translate) -> Value:
    (this,) = arguments(node, "this")
    return ops.NTile(literal(whole(this, "NTILE"), "int64"))


_RANKED = (x.RowNumber, x.Rank, x.DenseRank, x.Ntile)

_OWN: Mapping[type[x.Expr], Callable[[x.Expr, Translate], Value]] = {
    x.RowNumber: _ranking(ops.RowNumber),
    x.Rank: _ranking(ops.MinRank),
    x.DenseRank: _ranking(ops.DenseRank),
    x.PercentRank: _ranking(ops.PercentRank),
    x.CumeDist: _ranking(ops.CumeDist),
    x.Ntile: _tiles,
    x.Lag: _shift(ops.Lag),
    x.Lead: _shift(ops.Lead),
}
"""Functions that know the whole partition: a frame has no meaning for them."""

_EDGES = {x.FirstValue: ops.First, x.LastValue: ops.Last}


def window(node: x.Window, value: Translate, base: ops.Relation, named: Mapping[str, x.Window]) -> Value:
    """One windowed call.

    Args:
        node: The call with its OVER clause.
        value: Translates an argument, a partition or an order.
        base: The rows under the window.
        named: The WINDOW clause.

    Raises:
        PlanError: A function, frame or clause that plans do not know.
    """
    this, partition, order, spec = _clauses(node, named)
    group_by = tuple(map(value, partition or ()))
    order_by = tuple(sort_key(key, value) for key in (order.expressions if order is not None else ()))
    inner = core(this)

    def over(func: Value, frame: _Frame) -> Value:
        return ops.WindowFunction(
            func, how=frame.how, start=frame.start, end=frame.end, group_by=group_by, order_by=order_by
        )

    own = _OWN.get(type(inner))
    if own is not None:
        if inner is not this or spec is not None:
            raise refused(node, f"a clause around {inner.key.upper()}")
        result = over(own(inner, value), _PARTITION)
        # Ibis counts ranks from 0
        return ops.Add(result, literal(1, "int64")) if isinstance(inner, _RANKED) else result
    frame = _frame(spec, bool(order_by), value)
    if isinstance(inner, x.FirstValue | x.LastValue | x.NthValue):
        if inner is not this:
            raise refused(node, f"a clause around {inner.key.upper()}")
        return over(_edge(inner, value), frame)
    return _folded(this, value, base, lambda func: over(func, frame))


def _folded(this: x.Expr, value: Translate, base: ops.Relation, over: Callable[[Value], Value]) -> Value:
    func = reduction(this, value, base)
    if isinstance(func, ops.First | ops.Last):
        raise refused(this, f"{core(this).key.upper()} over a window", "use first_value() or last_value()")
    if isinstance(func, ops.Any | ops.All):
        # Ibis gives these a frame of its own; the largest or smallest of 0 and 1 is the same
        fold = ops.Max if isinstance(func, ops.Any) else ops.Min
        return ops.Equals(over(fold(cast(func.arg, "int8"), where=func.where)), literal(1, "int8"))
    return finished(this, over(func))


def _edge(node: x.Expr, value: Translate) -> Value:
    if isinstance(node, x.NthValue):
        this, offset = arguments(node, "this", "offset")
        return ops.NthValue(value(this), literal(whole(offset, "the offset of NTH_VALUE") - 1, "int64"))
    (this,) = arguments(node, "this")
    return _EDGES[type(node)](value(this), include_null=True)


def _clauses(node: x.Window, named: Mapping[str, x.Window]) -> tuple[Any, Any, Any, Any]:
    """Function, partition, order and frame, those of a named window filled in."""
    this, partition, order, spec, alias = arguments(
        node, "this", "partition_by", "order", "spec", "alias", flags={"over": "OVER"}
    )
    if alias is None:
        return this, partition, order, spec
    base = named.get(alias.name.casefold())
    if base is None:
        what, hint = unknown("window", alias.name, named)
        raise PlanError(what, where="SQL", hint=hint)
    _, base_partition, base_order, base_spec = _clauses(base, named)
    return this, partition or base_partition, order or base_order, spec or base_spec


def _frame(spec: x.WindowSpec | None, ordered: bool, value: Translate) -> _Frame:
    if spec is None:
        # SQL's default: up to the current row and its peers where there is an order, else the partition
        return _Frame("range", None, _current()) if ordered else _PARTITION
    kind, start, start_side, end, end_side = arguments(spec, "kind", "start", "start_side", "end", "end_side")
    # sqlglot keeps the words of a frame as they were written
    kind, start, start_side, end, end_side = (
        part.upper() if isinstance(part, str) else part for part in (kind, start, start_side, end, end_side)
    )
    if kind not in ("ROWS", "RANGE"):
        raise refused(spec, f"a frame of {kind}")
    if (start == "UNBOUNDED" and start_side == "FOLLOWING") or (
        end == "UNBOUNDED" and end_side == "PRECEDING"
    ):
        raise refused(spec, "a frame without rows")
    first = _boundary(start, start_side, value)
    last = _current() if end is None else _boundary(end, end_side, value)
    # Ibis wants both edges of one type, so the current row counts in the unit of the other edge
    if first is not None and last is not None:
        if start == "CURRENT ROW":
            first = _current(last.dtype)
        elif end in (None, "CURRENT ROW"):
            last = _current(first.dtype)
    return _Frame(kind.lower(), first, last)


def _current(kind: Any = "int64") -> ops.WindowBoundary:
    return ops.WindowBoundary(literal(0, kind), preceding=False)


def _boundary(edge: Any, side: str | None, value: Translate) -> ops.WindowBoundary | None:
    if edge == "UNBOUNDED":
        return None
    if edge == "CURRENT ROW":
        return _current()
    amount = value(edge)
    if not isinstance(amount, ops.Literal):
        raise refused(edge, "a frame's edge that is no constant")
    return ops.WindowBoundary(amount, preceding=side == "PRECEDING")
