"""Names in reach of one SELECT: its sources' columns, its aliases, and the scopes around it."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import ibis.expr.operations as ops
import sqlglot.expressions as x

from blossom.plan.errors import PlanError, unknown
from blossom.plan.sql.reading import refused, text


@dataclass(slots=True)
class Source:
    """One item of FROM: its columns, and where their values are read.

    `anchor` is the relation that holds them while joins are put together; later (None) it is the scope's own relation.
    """

    alias: str
    fields: dict[str, str]
    anchor: ops.Relation | None = None

    def column(self, name: str) -> str | None:
        """The column by its exact or, as in DuckDB, case-insensitive name."""
        if name in self.fields:
            return name
        return next((known for known in self.fields if known.casefold() == name.casefold()), None)


@dataclass(slots=True, eq=False)
class Scope:
    """One SELECT under translation.

    Columns of its trees are first made *exact* (`resolve`): `"scope number"."alias"."column"`, so that equal expressions
    are equal trees, whichever way their columns were written.
    """

    number: int
    outer: Scope | None
    query: Callable[[x.Query, Scope], ops.Relation]
    relation: ops.Relation
    sources: list[Source] = field(default_factory=list)
    merged: dict[str, x.Expr] = field(default_factory=dict)  # USING columns by case-folded name
    hidden: set[tuple[str, str]] = field(default_factory=set)  # the other side's USING columns
    computed: dict[x.Expr, str] | None = None  # after GROUP BY: exact tree -> column of `relation`
    windows: dict[str, x.Window] = field(default_factory=dict)

    def find(self, name: str, table: str | None = None) -> x.Expr | None:
        """The exact tree of a column of this scope, None where it has none.

        Raises:
            PlanError: More than one source has it.
        """
        if table is None and name.casefold() in self.merged:
            return self.merged[name.casefold()].copy()
        found = [
            self.exact(source.alias, column)
            for source in self.sources
            if table is None or source.alias.casefold() == table.casefold()
            if (column := source.column(name)) is not None
            if table is not None or (source.alias, column) not in self.hidden
        ]
        if len(found) > 1:
            owners = ", ".join(f"{column.table}.{column.name}" for column in found)
            raise PlanError(f"the column {name!r} is ambiguous", where="SQL", hint=f"it may be {owners}")
        return found[0] if found else None

    def exact(self, alias: str, column: str) -> x.Column:
        """The exact tree of a column."""
        parts = (x.to_identifier(part, quoted=True) for part in (column, alias, str(self.number)))
        return x.Column(**dict(zip(("this", "table", "db"), parts, strict=True)))

    def resolve(
        self, tree: x.Expr, aliases: Mapping[str, x.Expr] | None = None, *, aliases_first: bool = False
    ) -> x.Expr:
        """The tree with exact columns; nested queries are left for their own scope.

        Args:
            tree: A tree of this scope.
            aliases: Names of the select list (case-folded) with their exact trees.
            aliases_first: Whether aliases win over columns of the same name.
        """

        def one(node: x.Expr) -> x.Expr:
            if isinstance(node, x.Query) and node is not tree:
                return node.copy()
            if not isinstance(node, x.Column):
                return node
            if isinstance(node.this, x.Star):
                raise refused(node, "a star inside an expression")
            if node.args.get("db") is not None or node.args.get("catalog") is not None:
                raise refused(node, "a column with a schema or struct path", "name the table by its alias")
            return self._named(node, aliases or {}, aliases_first)

        return tree.transform(one)

    def _named(self, node: x.Column, aliases: Mapping[str, x.Expr], aliases_first: bool) -> x.Expr:
        name, table = node.name, node.table or None
        alias = aliases.get(name.casefold()) if table is None else None
        if alias is not None and aliases_first:
            return alias.copy()
        own = self.find(name, table)
        if own is not None:
            return own
        if alias is not None:
            return alias.copy()
        around = self.outer
        while around is not None:
            if (found := around.find(name, table)) is not None:
                return found
            around = around.outer
        raise self._unknown(node, aliases)

    def _unknown(self, node: x.Column, aliases: Iterable[str]) -> PlanError:
        table = node.table or None
        scopes = list(self.chain())
        if table is not None:
            owners = [s for scope in scopes for s in scope.sources if s.alias.casefold() == table.casefold()]
            if not owners:
                names = {source.alias for scope in scopes for source in scope.sources}
                what, hint = unknown("table alias", table, names)
                return PlanError(f"{what} in {text(node)}", where="SQL", hint=hint)
            what, hint = unknown("column", node.name, owners[0].fields)
            return PlanError(f"{what} of {owners[0].alias}", where="SQL", hint=hint)
        names = {name for scope in scopes for source in scope.sources for name in source.fields}
        what, hint = unknown("column", node.name, names.union(aliases))
        return PlanError(what, where="SQL", hint=hint)

    def chain(self) -> Iterator[Scope]:
        """This scope, then those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def value(self, column: x.Column) -> ops.Value:
        """The value of an exact column, of this scope or of one around it."""
        number = column.args["db"].name
        scope = next(scope for scope in self.chain() if str(scope.number) == number)
        if scope.computed is not None:
            if column in scope.computed:
                return ops.Field(scope.relation, scope.computed[column])
            raise PlanError(
                f"the column {column.name!r} must stand in GROUP BY or inside an aggregate function",
                where="SQL",
                hint=f"use any_value({column.name}) for any one of the group's values",
            )
        source = next(source for source in scope.sources if source.alias == column.table)
        anchor = scope.relation if source.anchor is None else source.anchor
        return ops.Field(anchor, source.fields[column.name])
