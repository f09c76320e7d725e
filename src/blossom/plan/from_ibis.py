"""Ibis expression -> plan: lowers Ibis's operator graph to our own nodes."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportAssignmentType=false

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from blossom.plan import operators as own
from blossom.plan import relations as rel
from blossom.plan.errors import PlanError
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Named,
    Outer,
    Subquery,
    TypeArgument,
)
from blossom.plan.schema import Schema, type_text

_UDF = (ops.ScalarUDF, ops.AggUDF)
_RELATION_REDUCTIONS = (ops.CountStar, ops.CountDistinctStar)


def relation(
    op: ops.Relation,
    *,
    parameters: Mapping[ops.ScalarParameter, Any] | None = None,
    in_memory: Callable[[ops.InMemoryTable], str] | None = None,
) -> rel.Relation:
    """Lower an Ibis relation.

    Args:
        op: The root of the operator graph.
        parameters: Values of scalar parameters.
        in_memory: Takes in a local table's data and gives the name under which the hub publishes it.

    Raises:
        PlanError: An operation that plans do not know, named.

    Example:
        >>> import ibis
        >>> t = ibis.table({"a": "int64"}, name="t")
        >>> type(relation(t.filter(t.a > 1).op())).__name__
        'Filter'
    """
    return _Lowering(parameters or {}, in_memory).relation(op, ())


@dataclass(slots=True)
class _Scope:
    """The relations whose fields an expression may name, with their input numbers."""

    inputs: Mapping[ops.Relation, int]


@dataclass(slots=True)
class _Lowering:
    parameters: Mapping[ops.ScalarParameter, Any]
    in_memory: Callable[[ops.InMemoryTable], str] | None
    memo: dict[ops.Relation, rel.Relation] = field(default_factory=dict)

    def relation(self, op: ops.Relation, outer: tuple[_Scope, ...]) -> rel.Relation:
        """Iterative over relations, so that long pipelines do not meet the recursion limit."""
        memo = self.memo if not outer else {}
        stack: list[tuple[ops.Relation, bool]] = [(op, False)]
        while stack:
            node, ready = stack.pop()
            if node in memo:
                continue
            parents = _parents(node)
            if not ready:
                stack.append((node, True))
                stack.extend((parent, False) for parent in reversed(parents) if parent not in memo)
                continue
            memo[node] = made = self._node(node, [memo[parent] for parent in parents], outer)
            _ = made.schema  # made from the leaves up, a schema never recurses through a long plan
        return memo[op]

    def _node(self, node: ops.Relation, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
        rule = _RULES.get(type(node))
        if rule is None:
            raise PlanError(
                f"the relation {type(node).__name__} is not supported in a pipeline",
                hint="use Ibis tables of this session; for Python functions use bl.map_batches, for local data bl.from_arrow",
            )
        return rule(self, node, below, outer)

    def value(self, value: ops.Value, scopes: tuple[_Scope, ...]) -> Expression:
        lowered = self._argument(value, scopes)
        assert isinstance(lowered, Column | Outer | Literal | Call | Subquery)
        return lowered

    def _argument(self, arg: Any, scopes: tuple[_Scope, ...]) -> Argument:
        if type(arg) is ops.Field:  # most of all arguments
            return _field(arg, scopes)
        match arg:
            case ops.Alias():
                return self._argument(arg.arg, scopes)
            case ops.Field():
                return _field(arg, scopes)
            case ops.Literal():
                return Literal(arg.value, type_text(arg.dtype))
            case ops.ScalarParameter():
                if arg not in self.parameters:
                    raise PlanError(
                        f"the parameter {arg.name} has no value", hint="pass params={parameter: value}"
                    )
                return Literal(self.parameters[arg], type_text(arg.dtype))
            case ops.ScalarSubquery():
                return Subquery("scalar", self.relation(arg.rel, scopes), type_text(arg.dtype))
            case ops.ExistsSubquery():
                return Subquery("exists", self.relation(arg.rel, scopes), "boolean")
            case ops.InSubquery():
                needle = self.value(arg.needle, scopes)
                return Subquery("in", self.relation(arg.rel, scopes), "boolean", needle)
            case _ if isinstance(arg, _UDF):
                raise PlanError(
                    f"the Python function {type(arg).__name__!r} cannot stand inside an expression",
                    hint="use table.pipe(bl.map_batches, function, schema=...)",
                )
            case _ if isinstance(arg, _RELATION_REDUCTIONS):
                where = None if arg.where is None else self._argument(arg.where, scopes)
                return Call(type(arg).__name__, (where,), type_text(arg.dtype))
            case ops.Correlation() if arg.how == "sample":
                # n / (n - 1) cancels: one correlation, under the name that every engine knows
                return self._argument(arg.copy(how="pop"), scopes)
            case ops.Value():
                args = tuple(self._argument(a, scopes) for a in arg.__args__)
                return Call(type(arg).__name__, args, type_text(arg.dtype))
            case dt.DataType():
                return TypeArgument(type_text(arg))
            case enum.Enum():
                return EnumArgument(type(arg).__name__, arg.name)
            case None | bool() | int() | float() | str():
                return arg
            case tuple() | list():
                return tuple(self._argument(a, scopes) for a in arg)
            case _:
                raise PlanError(f"an argument of type {type(arg).__name__} cannot travel in a plan")

    def named(self, values: Mapping[str, ops.Value], scopes: tuple[_Scope, ...]) -> tuple[Named, ...]:
        return tuple((name, self.value(value, scopes)) for name, value in values.items())


def _parents(node: ops.Relation) -> list[ops.Relation]:
    match node:
        case ops.JoinChain():
            return [table.parent for table in node.tables]
        case ops.Set():
            return [node.left, node.right]
        case own.Predict():
            return [node.parent, node.model]
        case ops.PhysicalTable() if not isinstance(node, ops.AliasedRelation):
            return []
        case _:
            parent = getattr(node, "parent", None)
            return [] if parent is None else [parent]


def _field(op: ops.Field, scopes: tuple[_Scope, ...]) -> Column | Outer:
    for depth, scope in enumerate(reversed(scopes)):
        if op.rel in scope.inputs:
            number = scope.inputs[op.rel]
            return (
                Column(op.name, type_text(op.dtype), number)
                if depth == 0
                else Outer(op.name, type_text(op.dtype), number, depth)
            )
    raise PlanError(
        f"column {op.name!r} belongs to a table that this operation does not read",
        hint="use columns of the table at hand, or ibis's deferred `_`; join the other table first",
    )


def _table(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Scan(node.name, Schema.from_ibis(node.schema), node.namespace.database)


def _in_memory(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    if self.in_memory is None:
        raise PlanError("a local table needs a session", hint="use bl.from_arrow")
    return rel.Scan(self.in_memory(node), Schema.from_ibis(node.schema), "hub")


def _constant(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    return rel.Constant(self.named(node.values, (*outer, _Scope({}))))


def _same(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return below[0]


def _one(node: Any, outer: tuple[_Scope, ...]) -> tuple[_Scope, ...]:
    return (*outer, _Scope({node.parent: 0}))


def _project(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    return rel.Project(below[0], self.named(node.values, _one(node, outer)))


def _drop_columns(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    keep = [(name, value) for name, value in rel.identity(below[0]) if name not in node.columns_to_drop]
    return rel.Project(below[0], tuple(keep))


def _filter(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Filter(below[0], tuple(self.value(p, _one(node, outer)) for p in node.predicates))


def _aggregate(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    scopes = _one(node, outer)
    return rel.Aggregate(below[0], self.named(node.groups, scopes), self.named(node.metrics, scopes))


def _sort(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    scopes = _one(node, outer)
    keys = tuple(rel.SortKey(self.value(k.arg, scopes), k.ascending, k.nulls_first) for k in node.keys)
    return rel.Sort(below[0], keys)


def _limit(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    if not isinstance(node.n, int | None) or not isinstance(node.offset, int):
        raise PlanError(
            "a limit must be a plain number", hint="compute the number first, then pass it as an int"
        )
    return rel.Limit(below[0], node.n, node.offset)


def _join(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    scopes = (*outer, _Scope({table: i for i, table in enumerate(node.tables)}))
    links = tuple(
        rel.Link(link.how, tuple(self.value(p, scopes) for p in link.predicates)) for link in node.rest
    )
    return rel.Join(tuple(below), links, self.named(node.values, scopes))


def _set(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    kind = {"Union": "union", "Intersection": "intersection", "Difference": "difference"}[type(node).__name__]
    return rel.SetOperation(kind, tuple(below), node.distinct)


def _distinct(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    return rel.Distinct(below[0])


def _sample(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Sample(below[0], node.fraction, node.method, node.seed)


def _drop_null(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    table = below[0]
    names = [c.name for c in node.subset] if node.subset is not None else list(table.schema)
    checks = [Call("NotNull", (table.column(name),), "boolean") for name in names]
    if not checks:
        return table
    if node.how == "any":
        return rel.Filter(table, tuple(checks))
    some: Expression = checks[0]
    for check in checks[1:]:
        some = Call("Or", (some, check), "boolean")
    return rel.Filter(table, (some,))


def _fill_null(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    table = below[0]
    by_column = not isinstance(node.replacements, ops.Value)
    values: list[Named] = []
    for name, column in rel.identity(table):
        kind = table.schema.to_ibis()[name]
        value = node.replacements.get(name) if by_column else node.replacements
        fits = by_column or (kind.is_numeric() if node.replacements.dtype.is_numeric() else kind.is_string())
        if value is None or not fits:
            values.append((name, column))
            continue
        literal = (
            value if isinstance(value, ops.Value) else ops.Literal(value, dtype=kind.copy(nullable=True))
        )
        filled = Call("Coalesce", ((column, self.value(literal, ())),), column.dtype)
        values.append((name, filled))
    return rel.Project(table, tuple(values))


def _unnest(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Unnest(
        below[0], self.value(node.column, _one(node, outer)), node.column_name, node.offset, node.keep_empty
    )


def _map_batches(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    function = rel.Function(node.name, node.digest, node.parameters)
    columns = Schema.from_ibis(node.schema)
    return rel.MapBatches(below[0], function, columns, node.per, node.format, tuple(node.by))


def _state(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.State(node.name, Schema.from_ibis(node.schema))


def _repeat(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    until = None if node.until is None else self.relation(node.until, ())
    return rel.Repeat(below[0], self.relation(node.body, ()), until, node.times, node.key)


def _model(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Model(node.document)


def _train(self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]) -> rel.Relation:
    return rel.Train(below[0], node.estimator, node.target, tuple(node.features), node.options)


def _predict(
    self: _Lowering, node: Any, below: list[rel.Relation], outer: tuple[_Scope, ...]
) -> rel.Relation:
    outputs = tuple((name, type_text(kind)) for name, kind in node.outputs.items())
    return rel.Predict(below[0], below[1], tuple(node.features), outputs)


_RULES: Mapping[Any, Callable[..., rel.Relation]] = {
    ops.DatabaseTable: _table,
    ops.UnboundTable: _table,
    ops.InMemoryTable: _in_memory,
    ops.DummyTable: _constant,
    ops.Project: _project,
    ops.DropColumns: _drop_columns,
    ops.Filter: _filter,
    ops.Aggregate: _aggregate,
    ops.Sort: _sort,
    ops.Limit: _limit,
    ops.JoinChain: _join,
    ops.JoinReference: _same,
    ops.SelfReference: _same,
    ops.AliasedRelation: _same,
    ops.Union: _set,
    ops.Intersection: _set,
    ops.Difference: _set,
    ops.Distinct: _distinct,
    ops.Sample: _sample,
    ops.DropNull: _drop_null,
    ops.FillNull: _fill_null,
    ops.TableUnnest: _unnest,
    own.MapBatches: _map_batches,
    own.State: _state,
    own.Repeat: _repeat,
    own.Model: _model,
    own.Train: _train,
    own.Predict: _predict,
}
