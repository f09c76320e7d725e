"""A plan from outside, type-checked: every expression is rebuilt through Ibis's own validators before anything trusts it."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import ibis.expr.datashape as ds
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.rules as rlz

from blossom.plan import expressions as ex
from blossom.plan import relations as rel
from blossom.plan.errors import PlanError, unknown
from blossom.plan.schema import Schema
from blossom.plan.to_ibis import operations
from blossom.plan.wire_values import enumerations, known_type, literal, same_type

Scope = Mapping[int, ops.Relation]

JOINS = (
    "inner", "left", "right", "outer", "semi", "anti", "cross", "asof", "any_inner", "any_left", "positional",
)  # fmt: skip

_COUNTS = ("CountStar", "CountDistinctStar")


@cache
def allowed_operations() -> Mapping[str, type[ops.Value]]:
    """The value operations of a plan document: Ibis's, without user functions, impure ones, and those that hold relations."""

    def holds_relation(cls: type[ops.Value]) -> bool:
        patterns = (getattr(p.annotation, "pattern", None) for p in cls.__signature__.parameters.values())
        return any("operations.relations.Relation" in str(pattern) for pattern in patterns)

    return {
        name: cls
        for name, cls in operations().items()
        if name not in ex.IMPURE
        and not issubclass(cls, ops.Impure)
        and (name in _COUNTS or not holds_relation(cls))
    }


def operation(name: str) -> type[ops.Value]:
    """The class of an operation that may stand in a plan document.

    Raises:
        PlanError: It may not, or there is none.
    """
    found = allowed_operations().get(name)
    if found is not None:
        return found
    if name in ex.IMPURE:
        raise PlanError(
            f"{name} may not stand in a plan: its answer changes from call to call",
            hint="pass a constant instead",
        )
    what, hint = unknown("operation", name, allowed_operations())
    raise PlanError(what, hint=hint.partition("known:")[0].strip() or None)


def bottom_up(root: ex.Expression, done: Mapping[int, object]) -> Iterator[ex.Expression]:
    """The parts of an expression, inner ones first, without those whose id is in `done`; deep ones need no deep stack."""
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            yield node
        else:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(list(ex.children(node))))


def check(root: rel.Relation) -> None:
    """Check every node of a plan and of the subqueries in it.

    Raises:
        PlanError: Where a node is used against its inputs, or an expression does not type-check; `where` names the node.
    """
    _check(root, ())


def _check(root: rel.Relation, outer: tuple[Scope, ...]) -> None:
    for node in root.walk():
        try:
            _node(node, outer)
        except PlanError as error:
            if error.where is None:
                raise PlanError(error.what, where=type(node).__name__, hint=error.hint) from error
            raise


def _stand_in(schema: Schema, number: int, depth: int) -> ops.Relation:
    """A bare table of the input's columns: what lies below has been checked already."""
    return ops.UnboundTable(f"input {number} of scope {depth}", schema=schema.to_ibis())


def _node(node: rel.Relation, outer: tuple[Scope, ...]) -> None:
    inputs = {i: _stand_in(child.schema, i, len(outer)) for i, child in enumerate(node.inputs)}
    checker = _Checker((*outer, inputs))
    rule = _RULES.get(type(node))
    if rule is None:
        raise PlanError(f"{type(node).__name__} may not stand in a plan document")
    rule(node, checker)


class _Checker:
    """Rebuilds expressions in one node's scope."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes
        self._done: dict[int, ops.Value] = {}

    def value(self, expression: ex.Expression) -> ops.Value:
        """The expression as Ibis's value; its declared type is the one that Ibis computes."""
        for node in bottom_up(expression, self._done):
            self._done[id(node)] = self._build(node)
        return self._done[id(expression)]

    def _build(self, expression: ex.Expression) -> ops.Value:
        declared = known_type(expression.dtype)
        match expression:
            case ex.Column():
                built: ops.Value = self._field(expression.name, expression.input, self.scopes[-1])
            case ex.Outer():
                if not 1 <= expression.depth < len(self.scopes):
                    raise PlanError(
                        f"the outer column {expression.name!r} reaches {expression.depth} scopes up, too far"
                    )
                built = self._field(expression.name, expression.input, self.scopes[-1 - expression.depth])
            case ex.Literal():
                return literal(expression.value, declared)
            case ex.Call():
                built = self._call(expression)
            case ex.Subquery():
                built = self._subquery(expression)
        if not same_type(built.dtype, declared):
            name = getattr(expression, "op", None) or getattr(expression, "name", "a subquery")
            raise PlanError(f"{name} is declared {declared} but is {built.dtype}")
        return built

    @staticmethod
    def _field(name: str, number: int, scope: Scope) -> ops.Value:
        if number not in scope:
            raise PlanError(f"the column {name!r} is read from input {number}, which there is not")
        table = scope[number]
        if name not in table.schema:
            what, hint = unknown("column", name, table.schema.names)
            raise PlanError(f"{what} of input {number}", hint=hint)
        return ops.Field(table, name)

    def _call(self, call: ex.Call) -> ops.Value:
        cls = operation(call.op)
        args = [self._argument(arg) for arg in call.args]
        if call.op in _COUNTS:
            if self.scopes[-1].keys() != {0}:
                raise PlanError(f"{call.op} needs a node of one input")
            args = [self.scopes[-1][0], *args]
        names = cls.__argnames__
        if len(args) != len(names):
            given = len(call.args)
            raise PlanError(f"{call.op} takes {len(names) - (call.op in _COUNTS)} arguments, not {given}")
        try:
            built = cls.__recreate__(dict(zip(names, args, strict=True)))
            _ = built.dtype, built.shape
        except Exception as error:
            raise PlanError(
                f"{call.op} does not take these arguments: {' '.join(str(error).split())[:200]}"
            ) from error
        return built

    def _argument(self, arg: ex.Argument) -> Any:
        match arg:
            case ex.Column() | ex.Outer() | ex.Literal() | ex.Call() | ex.Subquery():
                return self.value(arg)
            case ex.TypeArgument():
                return known_type(arg.dtype)
            case ex.EnumArgument():
                return member(arg)
            case tuple():
                return tuple(self._argument(item) for item in arg)
            case _:
                return arg

    def _subquery(self, node: ex.Subquery) -> ops.Value:
        _one_of(node.kind, ("scalar", "exists", "in"), "kind of subquery")
        if (node.needle is not None) != (node.kind == "in"):
            raise PlanError("an `in` subquery, and no other, has a needle")
        _check(node.plan, self.scopes)
        if node.kind == "exists":
            return _column_of("boolean")
        if len(node.plan.schema) != 1:
            raise PlanError(f"a subquery for one value has {len(node.plan.schema)} columns")
        (kind,) = node.plan.schema.values()
        answer = _column_of(kind)
        if node.kind == "scalar":
            return answer
        assert node.needle is not None
        if not rlz.comparable(answer, self.value(node.needle)):
            raise PlanError(f"a {node.needle.dtype} is not comparable with the subquery's {kind}")
        return _column_of("boolean")

    def named(self, values: Sequence[ex.Named], *, what: str = "a value") -> list[ops.Value]:
        """Named values: unique names, no bare reductions."""
        _distinct([name for name, _ in values], "column")
        return [self.plain(value, what) for _, value in values]

    def plain(self, expression: ex.Expression, what: str) -> ops.Value:
        """A value a row: a reduction may stand in it under a window only."""
        built = self.value(expression)
        bare = _bare_reduction(expression)
        if bare is not None:
            raise PlanError(f"{bare} folds rows and may not stand in {what}", hint="use an Aggregate")
        return built

    def predicate(self, expression: ex.Expression) -> None:
        """A boolean value a row."""
        built = self.plain(expression, "a predicate")
        if not built.dtype.is_boolean():
            raise PlanError(f"a predicate must be boolean, not {built.dtype}")


def _column_of(kind: str) -> ops.Value:
    return ops.Field(ops.UnboundTable("subquery", schema={"value": known_type(kind)}), "value")


def member(arg: ex.EnumArgument) -> Any:
    """The member of a unit enumeration.

    Raises:
        PlanError: There is none.
    """
    cls = enumerations().get(arg.enum)
    if cls is None or arg.member not in cls.__members__:
        raise PlanError(f"unknown unit {arg.enum}.{arg.member}")
    return cls[arg.member]


def _bare_reduction(expression: ex.Expression) -> str | None:
    stack: list[ex.Expression] = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, ex.Call):
            if node.op in ex.REDUCTIONS:
                return node.op
            if node.op == "WindowFunction" and node.args and isinstance(node.args[0], ex.Call):
                func, *rest = node.args
                stack.extend(ex.children(func))
                stack.extend(item for arg in rest for item in ex.children(ex.Call("", (arg,), "")))
                continue
        stack.extend(ex.children(node))
    return None


def _distinct(names: Sequence[str], kind: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise PlanError(f"the {kind} {twice!r} stands twice")


def _existing(names: Sequence[str], schema: Mapping[str, str], kind: str) -> None:
    _distinct(names, kind)
    for name in names:
        if name not in schema:
            what, hint = unknown(kind, name, schema)
            raise PlanError(what, hint=hint)


def _schema(schema: Schema) -> None:
    for text in schema.values():
        known_type(text)


def _alike(tables: Sequence[rel.Relation]) -> None:
    first = tables[0].schema
    for other in tables[1:]:
        same = first.names == other.schema.names and all(
            same_type(known_type(first[name]), known_type(other.schema[name])) for name in first
        )
        if not same:
            raise PlanError(f"the inputs have different columns: {first} and {other.schema}"[:400])


def _json(text: str, what: str) -> None:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the {what} is no JSON text") from error


def _one_of(value: str, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise PlanError(f"unknown {what} {value!r}", hint=f"known: {', '.join(known)}")


def _leaf(node: rel.Scan | rel.Received | rel.State, checker: _Checker) -> None:
    _schema(node.columns)


def _constant(node: rel.Constant, checker: _Checker) -> None:
    if not node.values:
        raise PlanError("a constant row needs a column")
    checker.named(node.values)


def _project(node: rel.Project, checker: _Checker) -> None:
    if not node.values:
        raise PlanError("a projection needs a column")
    checker.named(node.values, what="a projection")


def _filter(node: rel.Filter, checker: _Checker) -> None:
    for predicate in node.predicates:
        checker.predicate(predicate)


def _join(node: rel.Join, checker: _Checker) -> None:
    if len(node.links) != len(node.tables) - 1:
        raise PlanError(
            f"a join of {len(node.tables)} tables needs {len(node.tables) - 1} links, not {len(node.links)}"
        )
    gone: set[int] = set()
    for number, link in enumerate(node.links, start=1):
        _one_of(link.how, JOINS, "kind of join")
        if link.how in ("cross", "positional") and link.predicates:
            raise PlanError(f"a {link.how} join takes no predicates")
        for predicate in link.predicates:
            _reach(predicate, set(range(number + 1)) - gone)
            checker.predicate(predicate)
        if link.how in ("semi", "anti"):
            gone.add(number)
    if not node.values:
        raise PlanError("a join needs a column")
    for _, value in node.values:
        _reach(value, set(range(len(node.tables))) - gone)
    checker.named(node.values, what="a join")


def _reach(expression: ex.Expression, inputs: set[int]) -> None:
    for column in ex.columns(expression):
        if column.input not in inputs:
            raise PlanError(f"the column {column.name!r} of input {column.input} is out of reach here")


def _aggregate(node: rel.Aggregate, checker: _Checker) -> None:
    if not node.groups and not node.metrics:
        raise PlanError("an aggregation needs a group or a metric")
    _distinct([name for name, _ in (*node.groups, *node.metrics)], "column")
    for _, value in node.groups:
        checker.plain(value, "a group")
    for name, value in node.metrics:
        if not isinstance(checker.value(value).shape, ds.Scalar):
            raise PlanError(f"the metric {name!r} does not fold its rows")


def _sort(node: rel.Sort, checker: _Checker) -> None:
    for key in node.keys:
        checker.plain(key.value, "an order")


def _limit(node: rel.Limit, checker: _Checker) -> None:
    if (node.n is not None and node.n < 0) or node.offset < 0:
        raise PlanError("a limit and its offset must be 0 or more")


def _distinct_rows(node: rel.Distinct, checker: _Checker) -> None:
    """Nothing to check: any rows have distinct ones."""


def _set_operation(node: rel.SetOperation, checker: _Checker) -> None:
    _one_of(node.kind, ("union", "intersection", "difference"), "set operation")
    if len(node.tables) < 2 or (node.kind != "union" and len(node.tables) != 2):
        raise PlanError(f"a {node.kind} cannot have {len(node.tables)} inputs")
    _alike(node.tables)


def _sample(node: rel.Sample, checker: _Checker) -> None:
    if not 0 <= node.fraction <= 1:
        raise PlanError("a sample's fraction lies between 0 and 1")
    _one_of(node.method, ("row", "block"), "way to sample")


def _unnest(node: rel.Unnest, checker: _Checker) -> None:
    built = checker.plain(node.value, "an unnest")
    if not isinstance(built.dtype, dt.Array):
        raise PlanError(f"only an array can be unnested, not {built.dtype}")
    if node.offset is not None and node.offset == node.name:
        raise PlanError(f"the column {node.name!r} stands twice")


def _map_batches(node: rel.MapBatches, checker: _Checker) -> None:
    _one_of(node.per, tuple(rel.PER), "way to map")
    _one_of(node.format, ("arrow", "pandas"), "format of batches")
    _schema(node.columns)
    _existing(node.by, node.input.schema, "column")
    if node.by and node.per not in rel.BY_GROUP:
        raise PlanError(f"a function per {node.per} has no groups")
    if node.per in ("mask", "keep", "fold"):
        _alike((node.input, node))
    _json(node.function.parameters, "parameters of the function")


def _repeat(node: rel.Repeat, checker: _Checker) -> None:
    _check(node.body, ())
    _alike((node.input, node.body))
    if node.until is not None:
        _check(node.until, ())
        if [known_type(kind).is_boolean() for kind in node.until.schema.values()] != [True]:
            raise PlanError("the condition of a loop is one boolean column")
    if node.times < (0 if node.until is None else 1):
        raise PlanError(f"a loop cannot have {node.times} turns")


def _train(node: rel.Train, checker: _Checker) -> None:
    _json(node.estimator, "estimator")
    _json(node.options, "options of the training")
    _existing(node.features, node.input.schema, "feature")
    if node.target:  # an estimator without a target has an empty one
        _existing([node.target], node.input.schema, "target")


def _model(node: rel.Model, checker: _Checker) -> None:
    _json(node.document, "model")


def _predict(node: rel.Predict, checker: _Checker) -> None:
    if not isinstance(node.model, rel.Train | rel.Model):
        raise PlanError(f"a prediction needs a model, not a {type(node.model).__name__}")
    _existing(node.features, node.input.schema, "feature")
    _distinct([*node.input.schema, *(name for name, _ in node.outputs)], "column")
    for _, kind in node.outputs:
        known_type(kind)


def _parts(node: rel.Parts | rel.Copies, checker: _Checker) -> None:
    if not node.tables or len(node.sites) != len(node.tables):
        raise PlanError(f"{len(node.tables)} tables at {len(node.sites)} sites")
    _distinct(node.sites, "site")
    _alike(node.tables)
    if isinstance(node, rel.Parts) and node.partition is not None:
        _existing(node.partition.columns, node.schema, "column")
    if isinstance(node, rel.Copies) and node.steward is not None:
        _one_of(node.steward, node.sites, "steward")


_RULES: Mapping[type[rel.Relation], Callable[[Any, _Checker], None]] = {
    rel.Scan: _leaf,
    rel.Received: _leaf,
    rel.Constant: _constant,
    rel.Project: _project,
    rel.Filter: _filter,
    rel.Join: _join,
    rel.Aggregate: _aggregate,
    rel.Sort: _sort,
    rel.Limit: _limit,
    rel.Distinct: _distinct_rows,
    rel.SetOperation: _set_operation,
    rel.Sample: _sample,
    rel.Unnest: _unnest,
    rel.MapBatches: _map_batches,
    rel.State: _leaf,
    rel.Repeat: _repeat,
    rel.Train: _train,
    rel.Model: _model,
    rel.Predict: _predict,
    rel.Parts: _parts,
    rel.Copies: _parts,
}
