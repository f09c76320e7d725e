"""FROM and its joins: sources become one relation whose columns the scope knows by alias."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import ibis.expr.operations as ops
import sqlglot.expressions as x
from ibis.common.collections import FrozenOrderedDict

from blossom.plan.errors import PlanError, unknown
from blossom.plan.sql.reading import arguments, refused, text
from blossom.plan.sql.scope import Scope, Source
from blossom.plan.sql.values import value

_KINDS = {
    ("", ""): "inner",
    ("", "INNER"): "inner",
    ("", "CROSS"): "cross",
    ("LEFT", ""): "left",
    ("LEFT", "OUTER"): "left",
    ("RIGHT", ""): "right",
    ("RIGHT", "OUTER"): "right",
    ("FULL", ""): "outer",
    ("FULL", "OUTER"): "outer",
    ("", "OUTER"): "outer",
    ("", "SEMI"): "semi",
    ("", "ANTI"): "anti",
}


@dataclass(slots=True)
class _Item:
    alias: str
    rows: ops.Relation
    columns: tuple[str, ...]


def unique(name: str, taken: Iterable[str]) -> str:
    """The name, or the first of name_1, name_2, ... that is free."""
    used = taken if isinstance(taken, set | dict) else set(taken)
    if name not in used:
        return name
    count = 1
    while f"{name}_{count}" in used:
        count += 1
    return f"{name}_{count}"


def conjuncts(tree: x.Expr) -> Iterator[x.Expr]:
    """The conditions that AND connects, with those that every branch of an OR repeats taken out in front."""
    while isinstance(tree, x.Paren):
        tree = tree.this
    if isinstance(tree, x.And):
        for part in tree.flatten():
            yield from conjuncts(part)
        return
    if isinstance(tree, x.Or):
        branches = [list(conjuncts(part)) for part in tree.flatten()]
        # the OR stays whole: naming its shared conditions once more lets joins use them
        yield from (part for part in branches[0] if all(part in other for other in branches[1:]))
    yield tree


def read_from(
    select: x.Select,
    scope: Scope,
    item: Callable[[x.Expr], tuple[str, ops.Relation]],
    aliases: Callable[[], Mapping[str, x.Expr]],
) -> list[x.Expr]:
    """Build FROM; gives the conditions of WHERE that still have to be applied, with exact columns.

    Args:
        select: The SELECT, with at least one source.
        scope: Its scope; `relation` and `sources` are set here.
        item: Gives alias and rows of one source.
        aliases: Gives the exact trees of the select list's names, once the sources are known.
    """
    joins = select.args.get("joins") or []
    items = [_item(*item(node)) for node in (select.args["from_"].this, *(join.this for join in joins))]
    where = select.args.get("where")
    if not joins:
        _add(scope, items[0], None)
        scope.relation = items[0].rows
        return _conditions(where, scope, aliases)
    references = [ops.JoinReference(entry.rows, None) for entry in items]
    if all(_is_comma(join) for join in joins):
        for entry, reference in zip(items, references, strict=True):
            _add(scope, entry, reference)
        conditions = _conditions(where, scope, aliases)
        first, links, conditions = _commas(scope, items, references, conditions)
        _finish(scope, first, links)
        return conditions
    _add(scope, items[0], references[0])
    links = []
    for join, entry, reference in zip(joins, items[1:], references[1:], strict=True):
        links.append(_link(join, entry, reference, scope))
    _finish(scope, references[0], links)
    return _conditions(where, scope, aliases)


def _item(alias: str, rows: ops.Relation) -> _Item:
    return _Item(alias, rows, tuple(rows.schema.names))


def _conditions(
    where: x.Where | None, scope: Scope, aliases: Callable[[], Mapping[str, x.Expr]]
) -> list[x.Expr]:
    if where is None:
        return []
    (tree,) = arguments(where, "this")
    return list(dict.fromkeys(conjuncts(scope.resolve(tree, aliases()))))


def _add(scope: Scope, item: _Item, anchor: ops.Relation | None) -> None:
    if any(source.alias.casefold() == item.alias.casefold() for source in scope.sources):
        raise PlanError(
            f"the alias {item.alias!r} stands twice in FROM", where="SQL", hint="rename one with AS"
        )
    scope.sources.append(Source(item.alias, {name: name for name in item.columns}, anchor))


def _finish(scope: Scope, first: ops.JoinReference, links: list[ops.JoinLink]) -> None:
    """Close the chain: every column of every source gets a name of its own."""
    values: dict[str, ops.Value] = {}
    for source in scope.sources:
        fields: dict[str, str] = {}
        for column in source.fields:
            fields[column] = unique(column, values)
            values[fields[column]] = ops.Field(source.anchor, column)
        source.fields, source.anchor = fields, None
    scope.relation = ops.JoinChain(first, tuple(links), FrozenOrderedDict(values))


def _is_comma(join: x.Join) -> bool:
    return {key for key, given in join.args.items() if given} <= {"this", "kind"} and join.kind in (
        "",
        "CROSS",
    )


def _commas(
    scope: Scope, items: list[_Item], references: list[ops.JoinReference], conditions: list[x.Expr]
) -> tuple[ops.JoinReference, list[ops.JoinLink], list[x.Expr]]:
    """A comma list is joined by the equalities of WHERE, each time with a source that one of them reaches."""
    number = str(scope.number)
    reach = {
        id(tree): {column.table for column in tree.find_all(x.Column)}
        for tree in conditions
        if not tree.find(x.Query, x.Window)
        and all(column.args["db"].name == number for column in tree.find_all(x.Column))
    }
    waiting = dict(zip((entry.alias for entry in items), references, strict=True))
    first = waiting.pop(items[0].alias)
    seen = {items[0].alias}
    links: list[ops.JoinLink] = []
    while waiting:
        ready = {alias: _reached(conditions, reach, seen, alias) for alias in waiting}
        linked = next(
            (name for name, found in ready.items() if any(isinstance(c, x.EQ) for c in found)), None
        )
        alias = linked or next(iter(waiting))
        predicates = [] if linked is None else ready[alias]
        how = "inner" if predicates else "cross"
        links.append(ops.JoinLink(how, waiting.pop(alias), tuple(value(c, scope) for c in predicates)))
        used = {id(c) for c in predicates}
        conditions = [c for c in conditions if id(c) not in used]
        seen.add(alias)
    return first, links, conditions


def _reached(
    conditions: list[x.Expr], reach: dict[int, set[str]], seen: set[str], alias: str
) -> list[x.Expr]:
    """The conditions that tie a source to those already joined."""
    found: list[x.Expr] = []
    for condition in conditions:
        tables = reach.get(id(condition), set())
        if len(tables) > 1 and alias in tables and tables <= seen | {alias}:
            found.append(condition)
    return found


def _link(join: x.Join, item: _Item, reference: ops.JoinReference, scope: Scope) -> ops.JoinLink:
    _, on, using, method, side, kind = arguments(join, "this", "on", "using", "method", "side", "kind")
    how = _KINDS.get((side or "", kind or ""))
    if how is None or method not in (None, "", "NATURAL"):
        raise refused(join, " ".join(filter(None, (method, side, kind, "JOIN"))))
    names = [node.name for node in using or ()]
    if method == "NATURAL":
        mine = {column.casefold() for column in item.columns}
        names = [c for source in scope.sources for c in source.fields if c.casefold() in mine]
        if not names:
            raise PlanError(f"NATURAL JOIN shares no column: {text(join)}", where="SQL")
    lefts = [_shared(scope, name, join) for name in names]
    _add(scope, item, reference)
    predicates = []
    for name, left in zip(names, lefts, strict=True):
        right = scope.find(name, item.alias)
        if right is None:
            what, hint = unknown("column", name, item.columns)
            raise PlanError(f"{what} of {item.alias}", where="SQL", hint=hint)
        predicates.append(x.EQ(this=left, expression=right))
        if how in ("right", "outer"):
            scope.merged[name.casefold()] = x.Coalesce(this=left.copy(), expressions=[right.copy()])
        elif how not in ("semi", "anti"):
            scope.merged[name.casefold()] = left.copy()
        scope.hidden.add((item.alias, right.name))
    if on is not None:
        predicates.extend(dict.fromkeys(conjuncts(scope.resolve(on))))
    if not predicates and how == "inner":
        how = "cross"
    if not predicates and how != "cross":
        raise refused(join, "an outer, semi or anti join without a condition")
    built = tuple(value(predicate, scope) for predicate in predicates)
    if how in ("semi", "anti"):
        scope.sources.pop()
    return ops.JoinLink(how, reference, built)


def _shared(scope: Scope, name: str, join: x.Join) -> x.Expr:
    left = scope.find(name)
    if left is None:
        names = {column for source in scope.sources for column in source.fields}
        what, hint = unknown("column", name, names)
        raise PlanError(f"{what} on the left of {text(join)}", where="SQL", hint=hint)
    return left
