"""One expression of a SELECT as an Ibis value: operators, predicates, CASE, casts and subqueries."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import ibis.common.exceptions as ibis_errors
import ibis.expr.operations as ops
import sqlglot.expressions as x
from ibis.common.annotations import SignatureValidationError

from blossom.plan.errors import PlanError
from blossom.plan.sql import types
from blossom.plan.sql.aggregates import finished, is_aggregate, reduction
from blossom.plan.sql.functions import delta, function
from blossom.plan.sql.reading import arguments, refused, text
from blossom.plan.sql.scope import Scope
from blossom.plan.sql.types import alike, cast, literal, text_of
from blossom.plan.sql.windows import window

Value = ops.Value


def value(node: x.Expr, scope: Scope) -> Value:
    """Translate a tree whose columns are exact.

    Raises:
        PlanError: A construct that plans do not know, or operands of wrong types.
    """
    computed = scope.computed
    if computed is not None and node in computed:
        return finished(node, ops.Field(scope.relation, computed[node]))
    rule = _RULES.get(type(node))
    try:
        if rule is not None:
            return rule(node, scope)
        built = function(node, lambda part: value(part, scope))
    except (ibis_errors.IbisError, SignatureValidationError, TypeError) as error:
        raise _misfit(node, error) from error
    if built is not None:
        return built
    if is_aggregate(node):
        raise PlanError(
            f"the aggregate function {text(node)} may not stand here",
            where="SQL",
            hint="filter groups with HAVING, compute nested folds in a subquery",
        )
    raise refused(node, hint="see the SQL reference for what a pipeline can hold")


def fold(node: x.Expr, scope: Scope) -> Value:
    """An aggregate call over the scope's rows, as a bare reduction."""
    try:
        return reduction(node, lambda part: value(part, scope), scope.relation)
    except (ibis_errors.IbisError, SignatureValidationError, TypeError) as error:
        raise _misfit(node, error) from error


def _misfit(node: x.Expr, error: Exception) -> PlanError:
    if isinstance(error, ibis_errors.IntegrityError):
        return PlanError(
            f"a column of an outer query stands outside WHERE in {text(node)}",
            where="SQL",
            hint="a subquery may use outer columns in its WHERE only; or join the tables",
        )
    reason = " ".join(str(error).split())
    return PlanError(
        f"the types do not fit in {text(node)}",
        where="SQL",
        hint=f"cast an operand; Ibis says: {reason[:300]}",
    )


def _pair(node: x.Expr, scope: Scope, *flags: str) -> tuple[Value, Value]:
    left, right = arguments(node, "this", "expression", flags=dict.fromkeys(flags, True))
    return alike(value(left, scope), value(right, scope))


def _compare(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    return lambda node, scope: op(*_pair(node, scope))


def _different(node: x.Expr, scope: Scope) -> Value:
    return ops.Not(ops.IdenticalTo(*_pair(node, scope)))


def _connect(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    def build(node: x.Expr, scope: Scope) -> Value:
        return reduce(op, [value(part, scope) for part in node.flatten()])

    return build


def _add(node: x.Expr, scope: Scope) -> Value:
    left, right = _pair(node, scope)
    a, b = left.dtype, right.dtype
    if a.is_interval() and b.is_interval():
        return ops.IntervalAdd(left, right)
    if a.is_interval() or (b.is_date() and a.is_integer()):
        left, right, a, b = right, left, b, a
    if a.is_temporal() and b.is_interval():
        return types.shift(left, right, 1)
    if a.is_date() and b.is_integer():
        return _days(left, right, 1)
    return ops.Add(left, right)


def _subtract(node: x.Expr, scope: Scope) -> Value:
    left, right = _pair(node, scope)
    a, b = left.dtype, right.dtype
    if a.is_interval() and b.is_interval():
        return ops.IntervalSubtract(left, right)
    if a.is_temporal() and b.is_interval():
        return types.shift(left, right, -1)
    if a.is_date() and b.is_integer():
        return _days(left, right, -1)
    if a.is_date() and b.is_date():
        return delta(left, right, "day")
    if a.is_temporal() and b.is_temporal():
        return ops.TimestampDiff(cast(left, "timestamp"), cast(right, "timestamp"))
    return ops.Subtract(left, right)


def _days(start: Value, count: Value, sign: int) -> Value:
    if isinstance(count, ops.Literal):
        by: Value = literal(count.value, "interval('D')")
    else:
        by = ops.IntervalFromInteger(cast(count, "int64"), "D")
    return cast(types.shift(start, by, sign), "date")


def _multiply(node: x.Expr, scope: Scope) -> Value:
    left, right = _pair(node, scope)
    if right.dtype.is_interval():
        left, right = right, left
    return ops.IntervalMultiply(left, right) if left.dtype.is_interval() else ops.Multiply(left, right)


def _divide(node: x.Expr, scope: Scope) -> Value:
    left, right = arguments(node, "this", "expression", flags={"safe": True})
    return ops.Divide(*alike(value(left, scope), value(right, scope)))


def _divide_whole(node: x.Expr, scope: Scope) -> Value:
    """`//` cuts towards zero between integers; for other numbers it is `/`."""
    left, right = _pair(node, scope)
    if not (left.dtype.is_integer() and right.dtype.is_integer()):
        return ops.Divide(left, right)
    exact = ops.Subtract(left, ops.Modulus(left, right))  # divisible, so that no rounding can go wrong
    return ops.Cast(ops.Divide(exact, right), to="int64")


def _negate(node: x.Expr, scope: Scope) -> Value:
    (this,) = arguments(node, "this")
    inner = value(this, scope)
    if isinstance(inner, ops.Literal) and inner.dtype.is_numeric():
        return inner.copy(value=-inner.value)
    return ops.Negate(inner)


def _text(node: x.Expr, scope: Scope) -> Value:
    left, right = arguments(node, "this", "expression", flags={"safe": True})
    parts = value(left, scope), value(right, scope)
    if any(part.dtype.is_array() for part in parts):
        raise refused(node, "|| of lists")
    return ops.StringConcat(tuple(map(text_of, parts)))


def _unary(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    def build(node: x.Expr, scope: Scope) -> Value:
        (this,) = arguments(node, "this")
        return op(value(this, scope))

    return build


def _same(node: x.Expr, scope: Scope) -> Value:
    (this,) = arguments(node, "this")
    return value(this, scope)


def _column(node: x.Expr, scope: Scope) -> Value:
    return scope.value(node)


def _constant(node: x.Expr, scope: Scope) -> Value:
    this, is_string = arguments(node, "this", "is_string")
    return literal(this, "string") if is_string else types.number(node)


def _boolean(node: x.Expr, scope: Scope) -> Value:
    return literal(bool(node.this), "boolean")


def _null(node: x.Expr, scope: Scope) -> Value:
    arguments(node)
    return ops.NULL


def _is(node: x.Expr, scope: Scope) -> Value:
    this, what = arguments(node, "this", "expression")
    inner = value(this, scope)
    if isinstance(what, x.Null):
        return ops.IsNull(inner)
    if isinstance(what, x.Boolean):
        test = cast(inner, "boolean")
        return ops.Coalesce((test if what.this else ops.Not(test), literal(False, "boolean")))
    raise refused(node)


def _between(node: x.Expr, scope: Scope) -> Value:
    parts = arguments(node, "this", "low", "high")
    this, low, high = (value(part, scope) for part in parts)
    return ops.Between(this, alike(this, low)[1], alike(this, high)[1])


def _like(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    def build(node: x.Expr, scope: Scope) -> Value:
        this, pattern, negate = arguments(node, "this", "expression", "negate")
        if isinstance(pattern, x.Any | x.All | x.Tuple):
            raise refused(node)
        match = op(value(this, scope), value(pattern, scope))
        return ops.Not(match) if negate else match

    return build


def _in(node: x.Expr, scope: Scope) -> Value:
    this, options, query = arguments(node, "this", "expressions", "query")
    if isinstance(this, x.Tuple):
        raise refused(node, "IN over rows", "use EXISTS with one condition a column")
    needle = value(this, scope)
    if query is not None:
        return _membership(needle, query, scope)
    return ops.InValues(needle, tuple(alike(needle, value(option, scope))[1] for option in options))


def _membership(needle: Value, query: x.Expr, scope: Scope) -> Value:
    rows = scope.query(query, scope)
    if len(rows.schema) != 1:
        raise refused(query, f"IN over a query of {len(rows.schema)} columns")
    # Ibis reads the one column through `values`, which bare tables and set operations lack
    return ops.InSubquery(rows if rows.values else ops.Project(rows, rows.fields), needle)


def _quantified(node: x.Expr, scope: Scope) -> Value | None:
    """`= ANY (query)` is IN, `<> ALL (query)` is NOT IN."""
    inner = node.expression
    if not isinstance(inner, x.Any | x.All) or not isinstance(inner.this, x.Query):
        return None
    if isinstance(node, x.EQ) and isinstance(inner, x.Any):
        return _membership(value(node.this, scope), inner.this, scope)
    if isinstance(node, x.NEQ) and isinstance(inner, x.All):
        return ops.Not(_membership(value(node.this, scope), inner.this, scope))
    raise refused(node, hint="compare with min() or max() of the query")


def _equal(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    def build(node: x.Expr, scope: Scope) -> Value:
        return _quantified(node, scope) or op(*_pair(node, scope))

    return build


def _exists(node: x.Expr, scope: Scope) -> Value:
    (this,) = arguments(node, "this")
    return ops.ExistsSubquery(scope.query(this, scope))


def _scalar(node: x.Expr, scope: Scope) -> Value:
    rows = scope.query(node, scope)
    if len(rows.schema) != 1:
        raise refused(node, f"a query of {len(rows.schema)} columns as a value")
    return ops.ScalarSubquery(rows if rows.values else ops.Project(rows, rows.fields))


def _case(node: x.Expr, scope: Scope) -> Value:
    this, branches, default = arguments(node, "this", "ifs", "default")
    tested = None if this is None else value(this, scope)
    tests: list[Value] = []
    results: list[Value] = []
    for branch in branches:
        test, result = arguments(branch, "this", "true")
        condition = value(test, scope)
        tests.append(condition if tested is None else ops.Equals(*alike(tested, condition)))
        results.append(value(result, scope))
    otherwise = ops.NULL if default is None else value(default, scope)
    *outcomes, otherwise = types.unified((*results, otherwise))
    return ops.SearchedCase(tuple(tests), tuple(outcomes), otherwise)


def _cast(op: type[ops.Value]) -> Callable[[x.Expr, Scope], Value]:
    def build(node: x.Expr, scope: Scope) -> Value:
        this, to = arguments(node, "this", "to", flags={"safe": op is ops.TryCast})
        kind = types.target(to)
        inner = value(this, scope)
        return cast(inner, kind) if op is ops.Cast else op(inner, to=kind)

    return build


def _interval(node: x.Expr, scope: Scope) -> Value:
    return types.interval(node, lambda part: value(part, scope))


def _window(node: x.Expr, scope: Scope) -> Value:
    return window(node, lambda part: value(part, scope), scope.relation, scope.windows)


_RULES: Mapping[type[x.Expr], Callable[[x.Expr, Scope], Value]] = {
    x.Paren: _same,
    x.Column: _column,
    x.Literal: _constant,
    x.Boolean: _boolean,
    x.Null: _null,
    x.And: _connect(ops.And),
    x.Or: _connect(ops.Or),
    x.Not: _unary(ops.Not),
    x.EQ: _equal(ops.Equals),
    x.NEQ: _equal(ops.NotEquals),
    x.LT: _compare(ops.Less),
    x.LTE: _compare(ops.LessEqual),
    x.GT: _compare(ops.Greater),
    x.GTE: _compare(ops.GreaterEqual),
    x.NullSafeEQ: _compare(ops.IdenticalTo),
    x.NullSafeNEQ: _different,
    x.Is: _is,
    x.Between: _between,
    x.Like: _like(ops.StringSQLLike),
    x.ILike: _like(ops.StringSQLILike),
    x.In: _in,
    x.Exists: _exists,
    x.Subquery: _scalar,
    x.Add: _add,
    x.Sub: _subtract,
    x.Mul: _multiply,
    x.Div: _divide,
    x.IntDiv: _divide_whole,
    x.Mod: _compare(ops.Modulus),
    x.Neg: _negate,
    x.BitwiseAnd: _compare(ops.BitwiseAnd),
    x.BitwiseOr: _compare(ops.BitwiseOr),
    x.BitwiseXor: _compare(ops.BitwiseXor),
    x.BitwiseLeftShift: _compare(ops.BitwiseLeftShift),
    x.BitwiseRightShift: _compare(ops.BitwiseRightShift),
    x.BitwiseNot: _unary(ops.BitwiseNot),
    x.DPipe: _text,
    x.Case: _case,
    x.Cast: _cast(ops.Cast),
    x.TryCast: _cast(ops.TryCast),
    x.Interval: _interval,
    x.Window: _window,
}
