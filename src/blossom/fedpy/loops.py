"""Loops: a pipeline whose state is a table, as one lazy table of the pipeline around it."""
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false

from __future__ import annotations

import threading
from collections.abc import Callable

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from blossom.fedpy.operators import session_of
from blossom.plan import operators as own
from blossom.plan.errors import PlanError
from blossom.plan.relations import after, before

Step = Callable[[ir.Table], ir.Table]
Condition = Callable[[ir.Table, ir.Table], ir.BooleanValue]

_depth = threading.local()


def repeat(
    initial: ir.Table,
    step: Step,
    /,
    *,
    times: int | None = None,
    until: Condition | None = None,
    max_times: int | None = None,
) -> ir.Table:
    """Apply a step to a table again and again: k-means, gradient descent, PageRank.

    Nothing runs until the result is collected. Then, turn by turn, the state is kept where it is made: at its sites where all of
    it is at sites (private rows do not leave for it), else at the hub, if the policies let it go there. What no turn changes is
    computed once and kept where it is. Whatever a turn releases is judged, guarded and logged like every release, once a turn.

    Args:
        initial: The first state.
        step: The state -> the next state, any table expression; it may use other tables of the session. Its columns are the
            initial table's, by name, and are cast to their types.
        times: How many turns.
        until: (state before a turn, state after it) -> one boolean; the loop ends after the first turn for which it is true. Its
            value is a release each turn.
        max_times: With `until`: the most turns.

    Returns:
        The last state.

    Raises:
        PlanError: Neither or both of `times` and `until`, or a step with other columns.
        LoopError: When collected: `until` was not met within `max_times` turns.

    Example:
        >>> import blossom as bl
        >>> fed = bl.connect({"sites": {"north": {}}})
        >>> start = fed.from_arrow({"a": [1]})
        >>> bl.repeat(start, lambda t: t.mutate(a=t.a * 2), times=10).a.sum().execute()
        1024
    """
    session = session_of(initial)
    turns = _turns(times, until, max_times)
    schema = ibis.schema({name: kind.copy(nullable=True) for name, kind in initial.schema().items()})
    level = getattr(_depth, "level", 0)
    key = f"state {level}"

    def state(name: str) -> ir.Table:
        return own.State(name, schema=schema, source=session).to_expr()

    _depth.level = level + 1
    try:
        body = _shaped(step(state(key)), schema)
        condition = None if until is None else _condition(until(state(before(key)), state(after(key))))
    finally:
        _depth.level = level
    return own.Repeat(_shaped(initial, schema), body, condition, turns, key, schema).to_expr()


def _turns(times: int | None, until: Condition | None, max_times: int | None) -> int:
    if (times is None) == (until is None):
        raise PlanError(
            "a loop needs either times= or until=", where="repeat", hint="until= also needs max_times="
        )
    if (until is None) != (max_times is None):
        raise PlanError(
            "until= and max_times= belong together",
            where="repeat",
            hint="a loop that waits for a condition needs an end: max_times=100",
        )
    number, least = (times, 0) if max_times is None else (max_times, 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise PlanError(f"a loop cannot have {number!r} turns", where="repeat")
    return number


def _shaped(table: object, schema: ibis.Schema) -> ir.Table:
    """The table with the state's columns, in its order and types."""
    if not isinstance(table, ir.Table):
        raise PlanError(f"a step gives a table, not a {type(table).__name__}", where="repeat")
    if set(table.columns) != set(schema.names):
        raise PlanError(
            f"the step gives the columns {', '.join(table.columns)}; the state has {', '.join(schema.names)}",
            where="repeat",
            hint="end the step with .select(...) of the state's columns",
        )
    kinds = table.schema()
    same = table.columns == schema.names and all(
        kinds[name].copy(nullable=True) == kind for name, kind in schema.items()
    )
    if same:
        return table
    return table.select(
        **{
            name: table[name] if kinds[name].copy(nullable=True) == kind else table[name].cast(kind)
            for name, kind in schema.items()
        }
    )


def _condition(value: object) -> ops.Relation:
    """The condition as one row of one boolean; aggregates of several tables in it become subqueries."""
    if not isinstance(value, ir.BooleanScalar):
        what = type(value).__name__
        raise PlanError(
            f"the condition of a loop is one boolean, not a {what}",
            where="repeat",
            hint="aggregate what you compare: (after.x - ...).abs().max() < 1e-9",
        )
    op = value.op()
    if len(op.relations) > 1:
        value = _alone(op).to_expr()
    table = value.name("met").as_table()
    return table.op()


def _alone(op: ops.Value) -> ops.Value:
    """The value with every aggregate of one table as a subquery."""
    if len(op.relations) == 1 and op.shape.is_scalar():
        return ops.ScalarSubquery(op.to_expr().as_table().op())
    parts = {
        name: _alone(part) if isinstance(part, ops.Value) else part
        for name, part in zip(op.argnames, op.args, strict=True)
    }
    return op.__recreate__(parts)
