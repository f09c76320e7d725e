"""The select list: stars expanded, every output column with its name."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot.expressions as x

from blossom.plan.errors import PlanError, unknown
from blossom.plan.sql.reading import arguments, refused, text
from blossom.plan.sql.scope import Scope, Source
from blossom.plan.sql.sources import unique


@dataclass(slots=True)
class Item:
    """One output column; `named` when the query itself names it with AS."""

    name: str
    tree: x.Expr
    named: bool = True


def select_list(projections: list[x.Expr], scope: Scope) -> list[Item]:
    """The output columns in order, exact; an item may use the aliases before it, as DuckDB allows.

    Raises:
        PlanError: Unknown columns, or a star with nothing to stand for.
    """
    items: list[Item] = []
    taken: set[str] = set()
    aliases: dict[str, x.Expr] = {}

    def add(name: str, tree: x.Expr, named: bool) -> None:
        free = unique(name, taken)
        taken.add(free)
        items.append(Item(free, tree, named))

    for node in projections:
        if isinstance(node, x.Star) or (isinstance(node, x.Column) and isinstance(node.this, x.Star)):
            for name, tree in _star(node, scope):
                add(name, tree, False)
            continue
        if isinstance(node, x.Alias):
            inner, alias = arguments(node, "this", "alias")
            tree = scope.resolve(inner, aliases)
            aliases.setdefault(alias.name.casefold(), tree)
            add(alias.name, tree, True)
            continue
        tree = scope.resolve(node, aliases)
        name = node.name if isinstance(node, x.Column) else text(node, 60).lower()
        own = tree.name if isinstance(node, x.Column) and isinstance(tree, x.Column) else name
        add(own or "column", tree, False)
    if not items:
        raise PlanError("the select list is empty", where="SQL")
    return items


def _star(node: x.Expr, scope: Scope) -> Iterator[tuple[str, x.Expr]]:
    star, table = (node, None) if isinstance(node, x.Star) else (node.this, node.args.get("table"))
    if node is not star:
        arguments(node, "this", "table")
    except_, replace, rename = arguments(star, "except_", "replace", "rename")
    if not scope.sources:
        raise PlanError("a star needs FROM", where="SQL")
    columns = list(_columns(scope, None if table is None else table.name))
    known = [name for name, _ in columns]
    dropped = {_known(item.name, known, star) for item in except_ or ()}
    changed = {_known(item.alias, known, star): scope.resolve(item.this) for item in replace or ()}
    renamed = {_known(item.this.name, known, star): item.alias for item in rename or ()}
    for name, tree in columns:
        if name not in dropped:
            yield renamed.get(name, name), changed.get(name, tree)


def _columns(scope: Scope, table: str | None) -> Iterator[tuple[str, x.Expr]]:
    sources: list[Source] = scope.sources
    if table is not None:
        sources = [source for source in sources if source.alias.casefold() == table.casefold()]
        if not sources:
            what, hint = unknown("table alias", table, [source.alias for source in scope.sources])
            raise PlanError(f"{what} in {table}.*", where="SQL", hint=hint)
    for source in sources:
        for column in source.fields:
            if table is not None:
                yield column, scope.exact(source.alias, column)
            elif (source.alias, column) not in scope.hidden:
                merged = scope.merged.get(column.casefold())
                yield column, scope.exact(source.alias, column) if merged is None else merged.copy()


def _known(name: str, known: list[str], star: x.Expr) -> str:
    if not name:
        raise refused(star)
    found = next((column for column in known if column.casefold() == name.casefold()), None)
    if found is None:
        what, hint = unknown("column", name, known)
        raise PlanError(f"{what} in {text(star)}", where="SQL", hint=hint)
    return found
