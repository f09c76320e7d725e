"""The relational nodes of a plan: frozen values that hold their inputs and expressions over them.

Nodes are compared by identity and may be shared (a plan is a graph without cycles). `fingerprint` gives a content hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from typing import Any, ClassVar, Self

from blossom.plan.expressions import (
    Call,
    Column,
    Expression,
    Named,
    Subquery,
    facts,
    has_subquery,
    walk,
)
from blossom.plan.schema import Schema, datatype, nullable


@cache
def _names(kind: type[Relation]) -> tuple[str, ...]:
    """The names of a kind of node's fields."""
    return tuple(field.name for field in fields(kind))


@dataclass(frozen=True, eq=False)
class Relation:
    """Base of all relational nodes.

    Attributes:
        declares: Whether the node's own fields tell its columns, whatever it reads.
    """

    declares: ClassVar[bool] = False

    @property
    def inputs(self) -> tuple[Relation, ...]:
        """The relations that this node reads."""
        return ()

    @cached_property
    def schema(self) -> Schema:
        """Names and types of the output columns."""
        raise NotImplementedError(type(self).__name__)

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        """The same node over other inputs (in the order of `inputs`)."""
        if inputs:
            raise ValueError(f"{type(self).__name__} has no inputs")
        return self

    def _over(self, **inputs: Any) -> Self:
        """A copy with other inputs. Rewrites make one of most nodes, so what is known of its own fields goes along."""
        new = object.__new__(type(self))
        known = self.__dict__
        own = new.__dict__
        for name in _names(type(self)):
            own[name] = known[name]
        for name in ("operations", "holds_subquery", *(("schema",) if self.declares else ())):
            if name in known:
                own[name] = known[name]
        own.update(inputs)
        return new

    def expressions(self) -> Iterator[Expression]:
        """Every expression that the node evaluates."""
        return iter(())

    @cached_property
    def holds_subquery(self) -> bool:
        """Whether any of its expressions holds a subquery."""
        return any(map(has_subquery, self.expressions()))

    @cached_property
    def operations(self) -> frozenset[str]:
        """Names of the value operations of the node's own work, those inside its subqueries included."""
        found: set[str] = set()
        for expression in self.expressions():
            if isinstance(expression, Column):
                continue
            found |= facts(expression).ops
            for part in walk(expression) if self.holds_subquery else ():
                if isinstance(part, Subquery):
                    found.update(*(inner.operations for inner in part.plan.walk()))
        return frozenset(found)

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        """The same node with each of its expressions replaced by `rule(expression)`."""
        return self

    def walk(self) -> Iterator[Relation]:
        """Every node of the plan once, inputs before users (subquery plans not entered)."""
        seen: set[int] = set()
        stack: list[tuple[Relation, bool]] = [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                yield node
            elif id(node) not in seen:
                seen.add(id(node))
                inputs = node.inputs
                if not inputs:
                    yield node
                    continue
                stack.append((node, True))
                stack.extend([(child, False) for child in reversed(inputs) if id(child) not in seen])

    def column(self, name: str, input: int = 0) -> Column:  # noqa: A002 - the field's name
        """A reference to output column `name`, seen from a node that has this relation as its input number `input`."""
        return Column(name, self.schema[name], input)


class _Unary(Relation):
    input: Relation

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return (self.input,)

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        (new,) = inputs
        return self if new is self.input else self._over(input=new)

    @cached_property
    def schema(self) -> Schema:
        return self.input.schema


def _map_named(named: tuple[Named, ...], rule: Callable[[Expression], Expression]) -> tuple[Named, ...]:
    return tuple((name, rule(value)) for name, value in named)


@dataclass(frozen=True, eq=False)
class Scan(Relation):
    """A published table. `site` None: the federated table; else that site's part (or the hub's own data)."""

    table: str
    columns: Schema
    site: str | None = None

    @cached_property
    def schema(self) -> Schema:
        return self.columns


@dataclass(frozen=True, eq=False)
class Received(Relation):
    """In a fragment: the rows of another fragment, delivered under `key`."""

    key: str
    columns: Schema

    @cached_property
    def schema(self) -> Schema:
        return self.columns


@dataclass(frozen=True, eq=False)
class Constant(Relation):
    """One row of literal values."""

    values: tuple[Named, ...]

    @cached_property
    def schema(self) -> Schema:
        return Schema((name, value.dtype) for name, value in self.values)

    def expressions(self) -> Iterator[Expression]:
        return (value for _, value in self.values)

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, values=_map_named(self.values, rule))


@dataclass(frozen=True, eq=False)
class Project(_Unary):
    """Exactly the columns `values`, in order; may hold window functions."""

    declares: ClassVar[bool] = True

    input: Relation
    values: tuple[Named, ...]

    @cached_property
    def schema(self) -> Schema:
        return Schema((name, value.dtype) for name, value in self.values)

    def expressions(self) -> Iterator[Expression]:
        return (value for _, value in self.values)

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, values=_map_named(self.values, rule))


@dataclass(frozen=True, eq=False)
class Filter(_Unary):
    """The rows for which every predicate is true."""

    input: Relation
    predicates: tuple[Expression, ...]

    def expressions(self) -> Iterator[Expression]:
        return iter(self.predicates)

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, predicates=tuple(map(rule, self.predicates)))


@dataclass(frozen=True, slots=True)
class Link:
    """How the next table joins the ones before it.

    `how`: inner, left, right, outer, semi, anti, cross, asof, any_inner, any_left, positional.
    """

    how: str
    predicates: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class Join(Relation):
    """A chain of joins: `tables[0]`, then `tables[i]` by `links[i-1]`; `values` picks the output.

    Columns in predicates and values name their table by `Column.input`. A predicate of `links[i-1]` may use tables 0..i;
    after a semi or anti link its table is gone.
    """

    declares: ClassVar[bool] = True

    tables: tuple[Relation, ...]
    links: tuple[Link, ...]
    values: tuple[Named, ...]

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return self.tables

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        if len(inputs) != len(self.tables):
            raise ValueError("a join keeps its number of tables")
        return self._over(tables=inputs)

    @cached_property
    def schema(self) -> Schema:
        return Schema((name, nullable(value.dtype)) for name, value in self.values)

    def expressions(self) -> Iterator[Expression]:
        for link in self.links:
            yield from link.predicates
        for _, value in self.values:
            yield value

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        links = tuple(Link(link.how, tuple(map(rule, link.predicates))) for link in self.links)
        return replace(self, links=links, values=_map_named(self.values, rule))


@dataclass(frozen=True, eq=False)
class Aggregate(_Unary):
    """One row a group; without groups exactly one row."""

    declares: ClassVar[bool] = True

    input: Relation
    groups: tuple[Named, ...]
    metrics: tuple[Named, ...]

    @cached_property
    def schema(self) -> Schema:
        return Schema((name, value.dtype) for name, value in (*self.groups, *self.metrics))

    def expressions(self) -> Iterator[Expression]:
        return (value for _, value in (*self.groups, *self.metrics))

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, groups=_map_named(self.groups, rule), metrics=_map_named(self.metrics, rule))


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order."""

    value: Expression
    ascending: bool = True
    nulls_first: bool = False


@dataclass(frozen=True, eq=False)
class Sort(_Unary):
    """The same rows in order."""

    input: Relation
    keys: tuple[SortKey, ...]

    def expressions(self) -> Iterator[Expression]:
        return (key.value for key in self.keys)

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, keys=tuple(replace(key, value=rule(key.value)) for key in self.keys))


@dataclass(frozen=True, eq=False)
class Limit(_Unary):
    """Rows `offset` to `offset + n` (`n` None: all)."""

    input: Relation
    n: int | None
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Distinct(_Unary):
    """Each row once."""

    input: Relation


@dataclass(frozen=True, eq=False)
class SetOperation(Relation):
    """`kind`: "union", "intersection" or "difference" of inputs with equal schemas (union takes two or more)."""

    kind: str
    tables: tuple[Relation, ...]
    distinct: bool

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return self.tables

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        return self._over(tables=inputs)

    @cached_property
    def schema(self) -> Schema:
        return self.tables[0].schema


@dataclass(frozen=True, eq=False)
class Sample(_Unary):
    """A random part of the rows."""

    input: Relation
    fraction: float
    method: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Unnest(_Unary):
    """One row an element of an array column."""

    input: Relation
    value: Expression
    name: str
    offset: str | None
    keep_empty: bool

    @cached_property
    def schema(self) -> Schema:
        own = dict(self.input.schema)
        own[self.name] = str(datatype(self.value.dtype).value_type)  # pyright: ignore[reportAttributeAccessIssue]
        if self.offset is not None:
            own[self.offset] = "int64"
        return Schema(own.items())

    def expressions(self) -> Iterator[Expression]:
        return iter((self.value,))

    def map_expressions(self, rule: Callable[[Expression], Expression]) -> Self:
        return replace(self, value=rule(self.value))


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function by content hash; the plan never holds code. `parameters` is JSON text."""

    name: str
    digest: str
    parameters: str = "{}"


PER = {
    "batch": "batches, in any split: a batch gives a batch",
    "mask": "batches, in any split: a batch gives one truth value a row, and rows stay where it is true",
    "row": "rows, as mappings: a row gives an iterable of rows",
    "each": "rows, as mappings: a row gives a row",
    "keep": "rows, as mappings: a row stays where the function gives True",
    "group": "all rows of a group at once: they give rows",
    "fold": "rows of a group, associative: they give fewer rows of the same columns, which are folded again",
}
"""What a Python function is applied to."""

BY_GROUP = frozenset({"group", "fold"})
"""Those of `PER` that look at more than one row for their answer."""


@dataclass(frozen=True, eq=False)
class MapBatches(_Unary):
    """A Python function over the rows of the input.

    Attributes:
        per: What it is applied to, one of `PER`.
        format: How it sees batches: "arrow" (a record batch) or "pandas" (a DataFrame).
        by: For `BY_GROUP`: the columns whose equal values make a group (nulls are equal); none: all rows are one.
    """

    declares: ClassVar[bool] = True

    input: Relation
    function: Function
    columns: Schema
    per: str = "batch"
    format: str = "arrow"
    by: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> Schema:
        return self.columns


@dataclass(frozen=True, eq=False)
class State(Relation):
    """In the body or the condition of a loop: the rows of the loop's state, under its key."""

    key: str
    columns: Schema

    @cached_property
    def schema(self) -> Schema:
        return self.columns


@dataclass(frozen=True, eq=False)
class Repeat(_Unary):
    """A loop whose state is a table: the input first, then `body` of the state, again and again.

    `body` and `until` are plans of their own, like those of subqueries: walks and rewrites do not enter them. The executor turns
    a loop into the table that it ends with before anything is placed (`plan.loops`).

    Attributes:
        body: The next state, over `State(key)`; its columns are the input's.
        until: One row with one boolean, over `State(before(key))` and `State(after(key))`: the loop ends where it is true.
        times: How many turns; with `until` the most turns, one of which must meet it.
        key: Names the state; an inner loop's differs from those of the loops around it.
    """

    input: Relation
    body: Relation
    until: Relation | None
    times: int
    key: str


def before(key: str) -> str:
    """Under which key a loop's condition sees the state before the turn."""
    return f"{key} before"


def after(key: str) -> str:
    """Under which key a loop's condition sees the state after the turn."""
    return f"{key} after"


@dataclass(frozen=True, eq=False)
class Train(_Unary):
    """A model fitted on the input: one row, one column `model` (the model's JSON document)."""

    declares: ClassVar[bool] = True

    input: Relation
    estimator: str  # the estimator's JSON document
    target: str  # "" for an estimator that learns none
    features: tuple[str, ...]
    options: str = "{}"  # JSON: rounds, validate, seed, ...

    @cached_property
    def schema(self) -> Schema:
        return Schema([("model", "string")])


@dataclass(frozen=True, eq=False)
class Model(Relation):
    """A fitted model as a leaf; `document` is its JSON text."""

    document: str

    @cached_property
    def schema(self) -> Schema:
        return Schema([("model", "string")])


@dataclass(frozen=True, eq=False)
class Predict(Relation):
    """The rows of `input` with the model's output columns appended."""

    input: Relation
    model: Relation  # Train or Model
    features: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]  # name, type

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return (self.input, self.model)

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        rows, model = inputs
        return self._over(input=rows, model=model)

    @cached_property
    def schema(self) -> Schema:
        return Schema([*self.input.schema.items(), *self.outputs])


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows with equal values of `columns` (never null) live at one site only; equal schemes place equal keys alike."""

    scheme: str
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Parts(Relation):
    """The bag union of one relation a site, `sites[i]` holding `tables[i]`; made by rewrites, never by users."""

    tables: tuple[Relation, ...]
    sites: tuple[str, ...]
    partition: Partition | None = None

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return self.tables

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        return self._over(tables=inputs)

    @cached_property
    def schema(self) -> Schema:
        return self.tables[0].schema


@dataclass(frozen=True, eq=False)
class Copies(Relation):
    """The same rows at every one of `sites`; any one copy is the relation. `steward` alone may answer for it, if named."""

    tables: tuple[Relation, ...]
    sites: tuple[str, ...]
    steward: str | None = None

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return self.tables

    def with_inputs(self, inputs: tuple[Relation, ...]) -> Self:
        return self._over(tables=inputs)

    @cached_property
    def schema(self) -> Schema:
        return self.tables[0].schema


def identity(relation: Relation) -> tuple[Named, ...]:
    """Each column of a relation as a value of a projection over it."""
    return tuple((name, Column(name, dtype)) for name, dtype in relation.schema.items())


def node_fields(node: Relation) -> dict[str, Any]:
    """The node's own dataclass fields by name."""
    return {field.name: getattr(node, field.name) for field in fields(node)}


def call(op: str, *args: Any, dtype: str) -> Call:
    """Shorthand for a `Call`.

    >>> call("Negate", Column("a", "int64"), dtype="int64").op
    'Negate'
    """
    return Call(op, tuple(args), dtype)
