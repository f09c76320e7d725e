"""Plan -> Ibis: rebuilds Ibis's operator graph, through its validators, to compile a fragment."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportAssignmentType=false

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import ibis.common.exceptions as ibis_errors
import ibis.common.temporal as temporal
import ibis.expr.operations as ops
from ibis.common.annotations import SignatureValidationError
from ibis.common.collections import FrozenOrderedDict

from blossom.plan import relations as rel
from blossom.plan.errors import PlanError
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Outer,
    Subquery,
    TypeArgument,
    outer_columns,
    walk,
)
from blossom.plan.schema import datatype

Scope = Mapping[int, ops.Relation]
"""Input number -> the Ibis relation that stands for it."""

_NEVER = {
    "ScalarUDF",
    "AggUDF",
    "ScalarParameter",
    "ScalarSubquery",
    "ExistsSubquery",
    "InSubquery",
    "Field",
    "Literal",
    "Alias",
}


@cache
def operations() -> Mapping[str, type[ops.Value]]:
    """The value operations that a plan may hold, by name: Ibis's concrete ones, without user functions."""

    def below(cls: type[ops.Value]) -> set[type[ops.Value]]:
        return {cls}.union(*(below(child) for child in cls.__subclasses__()))

    return {
        cls.__name__: cls
        for cls in below(ops.Value)
        if cls.__module__.startswith("ibis.expr.operations.")
        and not cls.__module__.endswith(".udf")
        and cls.__name__ not in _NEVER
        and not getattr(cls, "__abstractmethods__", None)
    }


@cache
def _enums() -> Mapping[str, type[enum.Enum]]:
    found = (
        value for value in vars(temporal).values() if isinstance(value, type) and issubclass(value, enum.Enum)
    )
    return {cls.__name__: cls for cls in found}


def relation(root: rel.Relation, leaf: Callable[[rel.Relation], ops.Relation]) -> ops.Relation:
    """Build the Ibis relation of a plan.

    Args:
        root: The plan.
        leaf: Gives the Ibis relation of a leaf (`Scan`, `Received`).

    Raises:
        PlanError: A node or an expression that Ibis does not accept.
    """
    return _build(root, leaf, ())


def expression(
    value: Expression, scopes: tuple[Scope, ...], leaf: Callable[[rel.Relation], ops.Relation]
) -> ops.Value:
    """Build one Ibis value; `scopes` lists the relations in reach, the innermost last."""
    built = _argument(value, scopes, leaf)
    assert isinstance(built, ops.Value)
    return built


def _build(
    root: rel.Relation, leaf: Callable[[rel.Relation], ops.Relation], outer: tuple[Scope, ...]
) -> ops.Relation:
    built: dict[int, ops.Relation] = {}
    for node in root.walk():
        inputs = [built[id(child)] for child in node.inputs]
        try:
            built[id(node)] = _node(node, inputs, leaf, outer)
        except (ibis_errors.IbisError, SignatureValidationError) as error:
            raise PlanError(f"{type(node).__name__} does not type-check: {error}") from error
    return built[id(root)]


def _node(
    node: rel.Relation,
    inputs: list[ops.Relation],
    leaf: Callable[[rel.Relation], ops.Relation],
    outer: tuple[Scope, ...],
) -> ops.Relation:
    if isinstance(node, rel.Filter) and isinstance(inputs[0], ops.Aggregate) and not inputs[0].groups:
        inputs = [
            ops.Project(inputs[0], inputs[0].fields)
        ]  # a filter may not name a reduction, seen through any field
    if len(inputs) == 1 and not isinstance(inputs[0], ops.PhysicalTable) and _correlated(node):
        # Ibis merges selections, and would forget to tell the subquery
        inputs = [ops.SelfReference(inputs[0], len(outer))]
    scopes = (*outer, dict(enumerate(inputs)))

    def value(item: Expression) -> ops.Value:
        return expression(item, scopes, leaf)

    def named(items: tuple[tuple[str, Expression], ...]) -> FrozenOrderedDict[str, ops.Value]:
        return FrozenOrderedDict({name: value(item) for name, item in items})

    match node:
        case rel.Scan() | rel.Received():
            return leaf(node)
        case rel.Constant():
            return ops.DummyTable(named(node.values))
        case rel.Project():
            return ops.Project(inputs[0], named(node.values))
        case rel.Filter():
            return ops.Filter(inputs[0], tuple(map(value, node.predicates)))
        case rel.Aggregate():
            return ops.Aggregate(inputs[0], named(node.groups), named(node.metrics))
        case rel.Sort():
            keys = tuple(ops.SortKey(value(k.value), k.ascending, k.nulls_first) for k in node.keys)
            return ops.Sort(inputs[0], keys)
        case rel.Limit():
            return ops.Limit(inputs[0], node.n, node.offset)
        case rel.Distinct():
            return ops.Distinct(inputs[0])
        case rel.SetOperation():
            return _set_operation(node, inputs)
        case rel.Join():
            return _join(node, inputs, leaf, outer)
        case rel.Sample():
            return ops.Sample(inputs[0], fraction=node.fraction, method=node.method, seed=node.seed)
        case rel.Unnest():
            return ops.TableUnnest(inputs[0], value(node.value), node.name, node.offset, node.keep_empty)
        case _:
            raise PlanError(f"{type(node).__name__} has no SQL form")


def _correlated(node: rel.Relation) -> bool:
    return any(
        isinstance(part, Subquery) and outer_columns(part.plan)
        for value in node.expressions()
        for part in walk(value)
    )


_SETS = {"union": ops.Union, "intersection": ops.Intersection, "difference": ops.Difference}


def _set_operation(node: rel.SetOperation, inputs: list[ops.Relation]) -> ops.Relation:
    built = inputs[0]
    for other in inputs[1:]:
        built = _SETS[node.kind](built, other, distinct=node.distinct)
    return built


def _join(
    node: rel.Join,
    inputs: list[ops.Relation],
    leaf: Callable[[rel.Relation], ops.Relation],
    outer: tuple[Scope, ...],
) -> ops.Relation:
    # numbered by position, not by Ibis's process-wide counter, so that equal plans give equal SQL
    references = [ops.JoinReference(table, i) for i, table in enumerate(inputs)]
    scopes = (*outer, dict(enumerate(references)))
    rest = [
        ops.JoinLink(link.how, table, [expression(p, scopes, leaf) for p in link.predicates])
        for link, table in zip(node.links, references[1:], strict=True)
    ]
    values = {name: expression(v, scopes, leaf) for name, v in node.values}
    return ops.JoinChain(references[0], rest, values)


def _argument(arg: Argument, scopes: tuple[Scope, ...], leaf: Callable[[rel.Relation], ops.Relation]) -> Any:
    match arg:
        case Column():
            return ops.Field(scopes[-1][arg.input], arg.name)
        case Outer():
            return ops.Field(scopes[-1 - arg.depth][arg.input], arg.name)
        case Literal():
            return ops.Literal(arg.value, datatype(arg.dtype))
        case Call():
            return _call(arg, scopes, leaf)
        case Subquery():
            return _subquery(arg, scopes, leaf)
        case TypeArgument():
            return datatype(arg.dtype)
        case EnumArgument():
            return _enums()[arg.enum][arg.member]
        case tuple():
            return tuple(_argument(item, scopes, leaf) for item in arg)
        case _:
            return arg


def _call(call: Call, scopes: tuple[Scope, ...], leaf: Callable[[rel.Relation], ops.Relation]) -> ops.Value:
    cls = operations().get(call.op)
    if cls is None:
        raise PlanError(f"the operation {call.op} may not stand in a plan")
    args = [_argument(item, scopes, leaf) for item in call.args]
    if call.op in ("CountStar", "CountDistinctStar"):
        args = [scopes[-1][0], *args]
    names = cls.__argnames__
    if len(args) != len(names):
        raise PlanError(f"{call.op} takes {len(names)} arguments, the plan gives {len(args)}")
    return cls.__recreate__(dict(zip(names, args, strict=True)))


def _subquery(
    node: Subquery, scopes: tuple[Scope, ...], leaf: Callable[[rel.Relation], ops.Relation]
) -> ops.Value:
    # a reference keeps a table inside apart from the same table around, else a correlated condition compares it with itself;
    # without correlation it would only hide from the engine that inside and outside share work
    apart = bool(outer_columns(node.plan))
    plan = _build(
        node.plan, (lambda table: ops.SelfReference(leaf(table), len(scopes))) if apart else leaf, scopes
    )
    if node.kind == "exists":
        # of an aggregate without groups Ibis keeps the rows only
        return ops.Literal(True, datatype("boolean")) if _one_row(node.plan) else ops.ExistsSubquery(plan)
    if (
        not plan.values
    ):  # Ibis reads the one column through `values`, which bare tables and set operations lack
        plan = ops.Project(plan, plan.fields)
    if node.kind == "scalar":
        return ops.ScalarSubquery(plan)
    assert node.needle is not None
    return ops.InSubquery(plan, _argument(node.needle, scopes, leaf))


def _one_row(plan: rel.Relation) -> bool:
    """Whether a plan has exactly one row for being an aggregate without groups."""
    while isinstance(plan, rel.Project | rel.Sort):
        plan = plan.input
    return isinstance(plan, rel.Aggregate) and not plan.groups
