"""The relational nodes that Polars runs with DuckDB's semantics, each as LazyFrame operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import polars as pl

from blossom.plan import relations as rel
from blossom.plan.errors import PlanError
from blossom.plan.expressions import Argument, Call, Column, Expression, columns, conjuncts
from blossom.platforms.polars_checks import comparable
from blossom.platforms.polars_expressions import refusal, translate
from blossom.platforms.polars_reductions import Figures, metric_refusal, metric_term
from blossom.platforms.polars_types import F, Term, alike, common_integer, family

Watch: TypeAlias = Callable[[pl.LazyFrame], pl.LazyFrame]
"""Puts a check for cancellation into a stream of rows."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A lazy frame with the names and types of its columns in order."""

    lazy: pl.LazyFrame
    types: Mapping[str, Any]

    def columns(self, column: Column) -> Term:
        """The term of a column of this frame."""
        return Term(pl.col(column.name), self.types[column.name])


# --- what is refused ---------------------------------------------------------------------------------------------------------


_KNOWN: WeakKeyDictionary[rel.Relation, str | None] = WeakKeyDictionary()


def node_refusal(node: rel.Relation) -> str | None:
    """Why a node's own work cannot run in Polars, judged by declared types alone; None when it can.

    Found once for each node: every Polars of a federation asks the same.
    """
    try:
        return _KNOWN[node]
    except KeyError:
        found = _KNOWN[node] = _node_refusal(node)
        return found


def _node_refusal(node: rel.Relation) -> str | None:
    check = _CHECKS.get(type(node))
    if check is None:
        return f"{type(node).__name__} is not translated for Polars"
    odd = [name for name, text in node.schema.items() if family(text) is F.OTHER]
    if odd:
        return f"column {odd[0]!r} has a type that is not translated ({node.schema[odd[0]]})"
    return check(node)


def _expressions(node: Any) -> str | None:
    return next(filter(None, map(refusal, node.expressions())), None)


def _leaf(node: Any) -> str | None:
    return None if node.schema else "a table without columns has no number of rows in Polars"


def _sort(node: Any) -> str | None:
    return _expressions(node)


def _aggregate(node: Any) -> str | None:
    grouping = (refusal(value) for _, value in node.groups)
    metrics = (metric_refusal(value) for _, value in node.metrics)
    return next(filter(None, (*grouping, *metrics)), None)


def _set_operation(node: Any) -> str | None:
    if node.kind != "union" and not node.distinct:
        return f"{node.kind} that keeps duplicates is not translated"
    if any(table.schema.names != node.schema.names for table in node.tables):
        return f"{node.kind} of tables with other column names is not translated"
    for name in node.schema:
        reason = comparable([table.column(name) for table in node.tables])
        if reason is not None:
            return f"{node.kind}: {reason}"
    return None


HOWS: Mapping[str, str] = {
    "inner": "inner", "left": "left", "right": "right", "outer": "full", "semi": "semi", "anti": "anti", "cross": "cross",
}  # fmt: skip
"""Link -> how Polars calls it."""


def _join(node: Any) -> str | None:
    reason = _expressions(node)
    if reason is not None:
        return reason
    for position, link in enumerate(node.links, start=1):
        if link.how not in HOWS:
            return f"{link.how} joins are not translated"
        parts = split(link, position)
        if link.how == "inner":
            continue
        if link.how != "cross" and not parts.keys:
            return f"a {link.how} join without an equality is not translated"
        movable = link.how in ("left", "semi", "anti")
        if parts.rest or (parts.right and not movable):
            return f"a {link.how} join with a condition that is no equality is not translated"
    return None


_CHECKS: Mapping[type[rel.Relation], Callable[[Any], str | None]] = {
    rel.Scan: _leaf,
    rel.Received: _leaf,
    rel.Constant: _expressions,
    rel.Project: _expressions,
    rel.Filter: _expressions,
    rel.Join: _join,
    rel.Aggregate: _aggregate,
    rel.Sort: _sort,
    rel.Limit: lambda node: None,
    rel.Distinct: lambda node: None,
    rel.SetOperation: _set_operation,
}


# --- how nodes are said ------------------------------------------------------------------------------------------------------


def frame(root: rel.Relation, leaf: Callable[[rel.Relation], Frame], watch: Watch) -> Frame:
    """A plan as a lazy frame.

    Args:
        root: The plan.
        leaf: Gives the frame of a `Scan` or `Received`.
        watch: Wrapped around the inputs of nodes that hold rows back (grouping, joining, sorting).

    Raises:
        PlanError: It holds what `node_refusal` refuses.
    """
    built: dict[int, Frame] = {}
    for node in root.walk():
        inputs = [built[id(child)] for child in node.inputs]
        built[id(node)] = _node(node, inputs, leaf, watch)
    return built[id(root)]


def _node(
    node: rel.Relation, inputs: list[Frame], leaf: Callable[[rel.Relation], Frame], watch: Watch
) -> Frame:
    match node:
        case rel.Scan() | rel.Received():
            return leaf(node)
        case rel.Constant():
            return _project(Frame(pl.LazyFrame({"\x01row": [0]}), {}), node.values)
        case rel.Project():
            return _project(inputs[0], node.values)
        case rel.Filter():
            kept = [translate(item, inputs[0].columns).cast(pl.Boolean).expr for item in node.predicates]
            return Frame(inputs[0].lazy.filter(*kept), inputs[0].types) if kept else inputs[0]
        case rel.Aggregate():
            return _grouped(node, inputs[0], watch)
        case rel.Sort():
            return _sorted(node, inputs[0], watch)
        case rel.Limit():
            return Frame(inputs[0].lazy.slice(node.offset, node.n), inputs[0].types)
        case rel.Distinct():
            return Frame(watch(inputs[0].lazy).unique(), inputs[0].types)
        case rel.SetOperation():
            return _combined(node, inputs, watch)
        case rel.Join():
            return _joined(node, inputs, watch)
        case _:
            raise PlanError(f"{type(node).__name__} is not translated for Polars")


def _project(source: Frame, values: Sequence[tuple[str, Expression]]) -> Frame:
    terms = {name: translate(value, source.columns) for name, value in values}
    if any(columns(value) for _, value in values):
        lazy = source.lazy.select(**{name: term.expr for name, term in terms.items()})
    else:
        # a selection of literals alone would give one row
        made = {f"\x01{name}": term.expr for name, term in terms.items()}
        lazy = source.lazy.with_columns(**made).select(**{name: pl.col(f"\x01{name}") for name in terms})
    return Frame(lazy, {name: term.dtype for name, term in terms.items()})


def _grouped(node: rel.Aggregate, source: Frame, watch: Watch) -> Frame:
    keys = {f"\x01key {i}": translate(value, source.columns) for i, (_, value) in enumerate(node.groups)}
    figures = Figures(source.columns)
    terms = {name: metric_term(value, figures) for name, value in node.metrics}
    made = {**{name: term.expr for name, term in keys.items()}, **figures.made}
    lazy = watch(source.lazy.with_columns(**made))
    if not keys:
        # a figure that is always there keeps the one row where metrics are literals
        lazy = lazy.select(pl.len().alias("\x01rows"), **figures.figures)
    elif figures.figures:
        lazy = lazy.group_by(list(keys)).agg(**figures.figures)
    else:
        lazy = lazy.select(list(keys)).unique()
    result = {
        name: Term(pl.col(key), term.dtype)
        for (name, _), (key, term) in zip(node.groups, keys.items(), strict=True)
    }
    result.update(terms)
    moved = {f"\x01out {name}": term.expr for name, term in result.items()}
    lazy = lazy.with_columns(**moved).select(**{name: pl.col(f"\x01out {name}") for name in result})
    return Frame(lazy, {name: term.dtype for name, term in result.items()})


def _sorted(node: rel.Sort, source: Frame, watch: Watch) -> Frame:
    by = [translate(key.value, source.columns).expr for key in node.keys]
    lazy = watch(source.lazy).sort(
        by,
        descending=[not key.ascending for key in node.keys],
        nulls_last=[not key.nulls_first for key in node.keys],
    )
    return Frame(lazy, source.types)


def _common(types: Sequence[Any]) -> Any:
    if all(one == types[0] for one in types):
        return types[0]
    if all(one.is_integer() for one in types):
        return common_integer(types)
    return alike([Term(pl.lit(None), one) for one in types])[0].dtype


def _combined(node: rel.SetOperation, inputs: list[Frame], watch: Watch) -> Frame:
    types = {name: _common([item.types[name] for item in inputs]) for name in node.schema}
    lazies = [
        item.lazy.select(
            **{name: Term(pl.col(name), item.types[name]).cast(dtype).expr for name, dtype in types.items()}
        )
        for item in inputs
    ]
    if node.kind == "union":
        lazy = pl.concat(lazies, how="vertical")
        return Frame(watch(lazy).unique() if node.distinct else lazy, types)
    how = "semi" if node.kind == "intersection" else "anti"
    first, *rest = map(watch, lazies)
    lazy = reduce(
        lambda left, right: left.join(right, on=list(types), how=how, nulls_equal=True), rest, first
    )
    return Frame(lazy.unique(), types)


# --- joins -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """A link's condition: equalities between the sides (left first), conditions on the new table alone, and the rest."""

    keys: tuple[tuple[Expression, Expression], ...]
    right: tuple[Expression, ...]
    rest: tuple[Expression, ...]


def split(link: rel.Link, position: int) -> Parts:
    """Sort the parts of a link's condition; `position` is the new table's input number."""
    keys: list[tuple[Expression, Expression]] = []
    right: list[Expression] = []
    rest: list[Expression] = []
    for item in (part for predicate in link.predicates for part in conjuncts(predicate)):
        pair = _key(item, position)
        if pair is not None:
            keys.append(pair)
        elif _sides(item) == {position}:
            right.append(item)
        else:
            rest.append(item)
    return Parts(tuple(keys), tuple(right), tuple(rest))


def _sides(item: Argument) -> set[int]:
    return {column.input for column in columns(item)}  # pyright: ignore[reportArgumentType]


def _key(item: Expression, position: int) -> tuple[Expression, Expression] | None:
    if not isinstance(item, Call) or item.op != "Equals":
        return None
    left, right = item.args
    one, other = _sides(left), _sides(right)
    if other == {position} and one and position not in one:
        return (left, right)  # pyright: ignore[reportReturnType]
    if one == {position} and other and position not in other:
        return (right, left)  # pyright: ignore[reportReturnType]
    return None


def _inner_name(position: int, name: str) -> str:
    return f"\x01{position} {name}"


def _joined(node: rel.Join, inputs: list[Frame], watch: Watch) -> Frame:
    def of(column: Column) -> Term:
        return Term(pl.col(_inner_name(column.input, column.name)), inputs[column.input].types[column.name])

    lazies = [
        item.lazy.select(**{_inner_name(i, name): pl.col(name) for name in item.types})
        for i, item in enumerate(inputs)
    ]
    left = lazies[0]
    for position, link in enumerate(node.links, start=1):
        left = _linked(left, lazies[position], link, position, of, watch)
    terms = {name: translate(value, of) for name, value in node.values}
    made = {f"\x01out {name}": term.expr for name, term in terms.items()}
    lazy = left.with_columns(**made).select(**{name: pl.col(f"\x01out {name}") for name in terms})
    return Frame(lazy, {name: term.dtype for name, term in terms.items()})


def _linked(
    left: pl.LazyFrame,
    right: pl.LazyFrame,
    link: rel.Link,
    position: int,
    of: Callable[[Column], Term],
    watch: Watch,
) -> pl.LazyFrame:
    parts = split(link, position)
    if parts.right:
        right = right.filter(*_predicates(parts.right, of))
    if parts.keys:
        pairs = [alike((translate(one, of), translate(other, of))) for one, other in parts.keys]
        names = list(_key_names(position, len(pairs)))
        left = watch(
            left.with_columns(**{f"{n} left": one.expr for n, (one, _) in zip(names, pairs, strict=True)})
        )
        right = watch(
            right.with_columns(**{f"{n} right": two.expr for n, (_, two) in zip(names, pairs, strict=True)})
        )
        joined = left.join(
            right,
            left_on=[f"{name} left" for name in names],
            right_on=[f"{name} right" for name in names],
            how=HOWS[link.how],  # pyright: ignore[reportArgumentType]
            coalesce=False if link.how not in ("semi", "anti") else None,
        )
    else:
        joined = watch(left).join(watch(right), how="cross")
    return joined.filter(*_predicates(parts.rest, of)) if parts.rest else joined


def _key_names(position: int, number: int) -> Iterator[str]:
    return (f"\x01key {position} {i}" for i in range(number))


def _predicates(items: Sequence[Expression], of: Callable[[Column], Term]) -> list[pl.Expr]:
    return [translate(item, of).cast(pl.Boolean).expr for item in items]
