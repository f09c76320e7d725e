"""SELECT, set operations, VALUES and WITH as Ibis relations: the walk over sqlglot's tree."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import reduce

import ibis.common.exceptions as ibis_errors
import ibis.expr.operations as ops
import ibis.expr.types as ir
import sqlglot.expressions as x
from ibis.common.annotations import SignatureValidationError
from ibis.common.collections import FrozenOrderedDict

from blossom.plan.errors import PlanError, unknown
from blossom.plan.sql import grouping, types
from blossom.plan.sql.aggregates import sort_key
from blossom.plan.sql.reading import arguments, read, refused, text
from blossom.plan.sql.scope import Scope, Source
from blossom.plan.sql.sources import read_from, unique
from blossom.plan.sql.stars import Item, select_list
from blossom.plan.sql.types import literal, whole
from blossom.plan.sql.values import value

MAX_VALUES = 1_000
"""Most rows of a VALUES list; more belong into a table."""

Tables = Mapping[str, ops.Relation]


def parse(
    sql: str, table: Callable[[str, str | None], ir.Table], names: Callable[[], Iterable[str]]
) -> ir.Table:
    """Translate one query in DuckDB's dialect.

    Args:
        sql: The text: one SELECT, VALUES or set operation, with or without WITH.
        table: Gives the Ibis table of a name, and of the site that qualifies it (`north.patients`), else None.
        names: The names of all tables, for messages and for case-insensitive lookup.

    Raises:
        PlanError: Not SQL, a name that does not exist, types that do not fit, or a construct that plans cannot hold; it
            names the construct and its text.

    Example:
        >>> import ibis
        >>> t = ibis.table({"a": "int64", "b": "string"}, name="t")
        >>> parse("SELECT b, sum(a) AS total FROM t GROUP BY b", lambda name, site: t, lambda: ["t"]).columns
        ('b', 'total')
    """
    tree = read(sql)
    try:
        return ir.Table(_Walk(table, names).query(tree, {}, None))
    except RecursionError as error:
        raise PlanError("the statement is nested too deeply", where="SQL") from error
    except (ibis_errors.IbisError, SignatureValidationError) as error:
        reason = " ".join(str(error).split())
        raise PlanError(
            f"Ibis cannot express this statement: {reason[:300]}",
            where="SQL",
            hint="a correlated subquery may use outer columns in its WHERE only",
        ) from error


class _Walk:
    def __init__(
        self, table: Callable[[str, str | None], ir.Table], names: Callable[[], Iterable[str]]
    ) -> None:
        self._table, self._names = table, names
        self._numbers = itertools.count()
        self._below: dict[ops.Relation, frozenset[ops.Node]] = {}

    def query(self, node: x.Expr, ctes: Tables, outer: Scope | None) -> ops.Relation:
        """Any query; `outer` is the scope around a subquery."""
        ctes = self._with(node, ctes, outer)
        match node:
            case x.Select():
                return self._select(node, ctes, outer)
            case x.SetOperation():
                rows = self._set(node, ctes, outer)
            case x.Subquery() if isinstance(node.this, x.Query):
                (inner, *_) = arguments(node, "this", "alias", "order", "limit", "offset", "with_")
                rows = self.query(inner, ctes, outer)
            case x.Values():
                rows = self._values(node)
            case _:
                raise refused(node, "this query")
        return self._ordered(rows, node)

    def _with(self, node: x.Expr, ctes: Tables, outer: Scope | None) -> Tables:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        expressions, recursive = arguments(clause, "expressions", "recursive")
        if recursive:
            raise refused(clause, "WITH RECURSIVE", "use bl.repeat for iteration")
        known = dict(ctes)
        for cte in expressions:
            # MATERIALIZED is a hint about speed: the plan shares the rows anyway
            inner, alias, _ = arguments(cte, "this", "alias", "materialized")
            known[alias.name.casefold()] = _renamed(self.query(inner, known, outer), alias)
        return known

    def _set(self, node: x.SetOperation, ctes: Tables, outer: Scope | None) -> ops.Relation:
        kind = {x.Union: ops.Union, x.Intersect: ops.Intersection, x.Except: ops.Difference}.get(type(node))
        arms: list[x.Expr] = []
        first, second, distinct, *_ = arguments(
            node, "this", "expression", "distinct", "with_", "order", "limit", "offset"
        )
        arms = [first, second]
        # a long UNION is a deep tree on its left: unroll it
        while (
            isinstance(arms[0], type(node))
            and bool(arms[0].args.get("distinct")) == bool(distinct)
            and not any(arms[0].args.get(key) for key in ("with_", "order", "limit", "offset"))
            and isinstance(node, x.Union)
        ):
            left, right, _ = arguments(arms[0], "this", "expression", "distinct")
            arms[0:1] = [left, right]
        if kind is None:
            raise refused(node)
        return _combined(kind, [self.query(arm, ctes, outer) for arm in arms], bool(distinct), node)

    def _values(self, node: x.Values) -> ops.Relation:
        rows, alias, *_ = arguments(node, "expressions", "alias", "order", "limit", "offset")
        if len(rows) > MAX_VALUES:
            raise PlanError(
                f"VALUES holds more than {MAX_VALUES} rows", where="SQL", hint="use bl.from_arrow"
            )
        scope = self._scope(None)
        tables = []
        for row in rows:
            cells = row.expressions if isinstance(row, x.Tuple) else [row]
            built = {f"col{i}": value(scope.resolve(cell), scope) for i, cell in enumerate(cells)}
            tables.append(ops.DummyTable(FrozenOrderedDict(built)))
        combined = tables[0] if len(tables) == 1 else _combined(ops.Union, tables, False, node)
        return combined if alias is None else _renamed(combined, alias)

    def _ordered(self, rows: ops.Relation, node: x.Expr) -> ops.Relation:
        """ORDER BY and LIMIT of a query whose output alone is in reach."""
        order = node.args.get("order")
        if order is not None:
            scope = self._scope(None)
            scope.relation = rows
            scope.sources = [Source("", {name: name for name in rows.schema.names})]
            items = [Item(name, scope.exact("", name)) for name in rows.schema.names]
            keys = [
                sort_key(key, lambda part: value(_sort_tree(part, items, scope), scope))
                for key in _sort_nodes(order, items)
            ]
            rows = ops.Sort(rows, tuple(keys))
        return _limited(rows, node)

    def _scope(self, outer: Scope | None, ctes: Tables | None = None) -> Scope:
        known = ctes or {}
        return Scope(
            number=next(self._numbers),
            outer=outer,
            query=lambda node, scope: self.query(node, known, scope),
            relation=ops.DummyTable(FrozenOrderedDict({"one": literal(1, "int32")})),
        )

    def _source(self, node: x.Expr, ctes: Tables, scope: Scope) -> tuple[str, ops.Relation]:
        match node:
            case x.Table():
                rows = self._named(node, ctes)
            case x.Subquery() if isinstance(node.this, x.Table):
                raise refused(node, "a join in parentheses", "write the joins one after the other")
            case x.Subquery() | x.Values():
                rows = self.query(node, ctes, scope.outer)
            case _:
                raise refused(node, f"{node.key.upper()} in FROM")
        alias = node.args.get("alias")
        if alias is not None and not isinstance(node, x.Values):
            rows = _renamed(rows, alias)
        name = node.alias_or_name or f"unnamed_{len(scope.sources)}_{next(self._numbers)}"
        around = scope.outer
        while around is not None:
            if not self._tables_of(rows).isdisjoint(self._tables_of(around.relation)):
                # the same table inside and around a subquery: a reference keeps their columns apart
                return name, ops.SelfReference(rows, None)
            around = around.outer
        return name, rows

    def _tables_of(self, rows: ops.Relation) -> frozenset[ops.Node]:
        """The tables below a relation, found once: it takes a walk of all that the relation is made of."""
        if rows not in self._below:
            self._below[rows] = frozenset(rows.find(ops.PhysicalTable))
        return self._below[rows]

    def _named(self, node: x.Table, ctes: Tables) -> ops.Relation:
        this, site, _ = arguments(node, "this", "db", "alias")
        if not isinstance(this, x.Identifier):
            raise refused(node, "a table function")
        if site is None and this.name.casefold() in ctes:
            return ctes[this.name.casefold()]
        known = list(self._names())
        folded = {name.casefold(): name for name in known}
        name = this.name if this.name in known else folded.get(this.name.casefold())
        if name is None:
            what, hint = unknown("table", this.name, [*known, *ctes])
            raise PlanError(what, where="SQL", hint=hint)
        return self._table(name, None if site is None else site.name).op()

    def _select(self, node: x.Select, ctes: Tables, outer: Scope | None) -> ops.Relation:
        projections, source, joins, where, group, having, qualify, windows, distinct, *_ = arguments(
            node, "expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "distinct",
            "order", "limit", "offset", "with_",
        )  # fmt: skip
        scope = self._scope(outer, ctes)
        if distinct is not None:
            (on,) = arguments(distinct, "on")
            if on is not None:
                raise refused(distinct, "DISTINCT ON", "use QUALIFY row_number() OVER (...) = 1")

        def aliases() -> dict[str, x.Expr]:
            return {
                item.name.casefold(): item.tree
                for item in reversed(select_list(projections, scope))
                if item.named
            }

        if source is None:
            if joins:
                raise refused(node, "a join without FROM")
            conditions = [] if where is None else [scope.resolve(where.this, aliases())]
        else:
            conditions = read_from(node, scope, lambda item: self._source(item, ctes, scope), aliases)
        if conditions:
            grouping.without(conditions, x.Window, "WHERE", "use QUALIFY")
            scope.relation = ops.Filter(scope.relation, _predicates(conditions, scope))
        for named in windows or ():
            scope.windows[named.name.casefold()] = scope.resolve(named)
        items = select_list(projections, scope)
        named_trees = aliases()
        order = node.args.get("order")
        sorts = [] if order is None else _sort_nodes(order, items)
        trees = [_sort_tree(key.this, items, scope) for key in sorts]
        having_tree = None if having is None else scope.resolve(having.this, named_trees)
        qualify_tree = None if qualify is None else scope.resolve(qualify.this, named_trees)
        window_trees = list(scope.windows.values())
        used = [item.tree for item in items] + trees + window_trees
        used += [tree for tree in (having_tree, qualify_tree) if tree is not None]
        if group is not None or having is not None or any(map(grouping.has_aggregate, used)):
            grouping.aggregate(scope, group, items, used, named_trees)
            if having_tree is not None:
                grouping.without([having_tree], x.Window, "HAVING", "use QUALIFY")
                if not scope.relation.groups:
                    # Ibis takes a field of an ungrouped fold for the fold itself, which no filter may hold
                    scope.relation = ops.Project(scope.relation, scope.relation.fields)
                scope.relation = ops.Filter(scope.relation, _predicates(_split(having_tree), scope))
        rows = self._projected(scope, items, sorts, trees, qualify_tree, distinct is not None, node)
        return _limited(rows, node)

    def _projected(
        self,
        scope: Scope,
        items: list[Item],
        sorts: list[x.Ordered],
        trees: list[x.Expr],
        qualify: x.Expr | None,
        distinct: bool,
        node: x.Select,
    ) -> ops.Relation:
        """Select list, QUALIFY, DISTINCT and ORDER BY; what only a clause needs rides along and is dropped after it."""
        values = {item.name: value(item.tree, scope) for item in items}
        hidden: dict[str, ops.Value] = {}

        def carried(tree: x.Expr) -> str:
            for item in items:
                if item.tree == tree:
                    return item.name
            name = unique("_key", {*values, *hidden})
            hidden[name] = value(tree, scope)
            return name

        test = None if qualify is None else carried(qualify)
        names = [carried(tree) for tree in trees]
        if distinct and any(name in hidden for name in names):
            raise refused(node, "DISTINCT with an ORDER BY that is not in the select list")
        rows = project(scope.relation, {**values, **hidden})
        if test is not None:
            rows = ops.Filter(rows, (ops.Field(rows, test),))
        if distinct:
            if hidden:
                rows = project(rows, {name: ops.Field(rows, name) for name in values})
            rows = ops.Distinct(rows)
        if sorts:
            fields = {id(tree): ops.Field(rows, name) for tree, name in zip(trees, names, strict=True)}
            keys = [
                sort_key(key, lambda _, tree=tree: fields[id(tree)])
                for key, tree in zip(sorts, trees, strict=True)
            ]
            rows = ops.Sort(rows, tuple(keys))
        if len(rows.schema) != len(values):
            rows = project(rows, {name: ops.Field(rows, name) for name in values})
        return rows


def project(rows: ops.Relation, values: Mapping[str, ops.Value]) -> ops.Relation:
    """A projection, or the rows themselves where it would change nothing."""
    if tuple(values.items()) == tuple(rows.fields.items()):
        return rows
    return ops.Project(rows, FrozenOrderedDict(values))


def _split(tree: x.Expr) -> list[x.Expr]:
    return list(tree.flatten()) if isinstance(tree, x.And) else [tree]


def _predicates(trees: Iterable[x.Expr], scope: Scope) -> tuple[ops.Value, ...]:
    """The conditions; one that reads outer columns only is joined to one that reads these rows, as Ibis demands."""
    built = [value(tree, scope) for tree in trees]
    own = [p for p in built if not p.relations or scope.relation in p.relations]
    foreign = [p for p in built if p.relations and scope.relation not in p.relations]
    if foreign:
        anchor = next((p for p in own if p.relations), None)
        if anchor is None:
            raise PlanError(
                "a subquery's WHERE uses outer columns only",
                where="SQL",
                hint="move that condition out of the subquery",
            )
        own[own.index(anchor)] = reduce(ops.And, foreign, anchor)
    return tuple(own)


def _sort_nodes(order: x.Order, items: list[Item]) -> list[x.Ordered]:
    """The keys of ORDER BY; ALL means each output column."""
    (keys,) = arguments(order, "expressions")
    expanded: list[x.Ordered] = []
    for key in keys:
        if isinstance(key.this, x.Var) and key.this.name.upper() == "ALL":
            for position in range(len(items)):
                copy = key.copy()
                copy.set("this", x.Literal.number(position + 1))
                expanded.append(copy)
        else:
            expanded.append(key)
    return expanded


def _sort_tree(node: x.Expr, items: list[Item], scope: Scope) -> x.Expr:
    """A key's exact tree: a position, an output column, or an expression."""
    if isinstance(node, x.Literal) and not node.is_string:
        return grouping.at(items, whole(node, "a position in ORDER BY"), "ORDER BY").tree
    aliases = {item.name.casefold(): item.tree for item in reversed(items)}
    return scope.resolve(node, aliases, aliases_first=isinstance(node, x.Column))


def _limited(rows: ops.Relation, node: x.Expr) -> ops.Relation:
    limit, offset = node.args.get("limit"), node.args.get("offset")
    if limit is None and offset is None:
        return rows
    count = skip = None
    if limit is not None:
        if not isinstance(limit, x.Limit):
            raise refused(limit)
        count, inner = arguments(limit, "expression", "offset")
        if inner is not None:
            raise refused(limit)
    if offset is not None:
        (skip,) = arguments(offset, "expression")
    return ops.Limit(
        rows,
        n=None if count is None else whole(count, "LIMIT"),
        offset=0 if skip is None else whole(skip, "OFFSET"),
    )


def _renamed(rows: ops.Relation, alias: x.TableAlias) -> ops.Relation:
    _, columns = arguments(alias, "this", "columns")
    if not columns:
        return rows
    names = [column.name for column in columns]
    if len(names) > len(rows.schema):
        raise PlanError(f"{text(alias)} names more columns than there are", where="SQL")
    given = {**dict.fromkeys(names)}
    if len(given) != len(names):
        raise PlanError(f"{text(alias)} names a column twice", where="SQL")
    old = rows.schema.names
    return project(
        rows,
        {new: ops.Field(rows, name) for new, name in zip([*names, *old[len(names) :]], old, strict=True)},
    )


def _combined(kind: type[ops.Set], arms: list[ops.Relation], distinct: bool, node: x.Expr) -> ops.Relation:
    """Arms by position: the names are the first arm's, each type is the common one."""
    widths = {len(arm.schema) for arm in arms}
    if len(widths) != 1:
        raise PlanError(f"the arms have different numbers of columns: {text(node)}", where="SQL")
    names = arms[0].schema.names
    try:
        columns = zip(*(arm.schema.types for arm in arms), strict=True)
        common = [types.common_type(kinds).copy(nullable=True) for kinds in columns]
    except ibis_errors.IbisTypeError as error:
        raise PlanError(
            f"the arms' types do not fit: {text(node)}", where="SQL", hint="cast a column"
        ) from error

    def shaped(arm: ops.Relation) -> ops.Relation:
        values: dict[str, ops.Value] = {}
        for name, old, wanted in zip(names, arm.schema.names, common, strict=True):
            field = ops.Field(arm, old)
            same = field.dtype == wanted
            values[name] = field if same else ops.Cast(field, to=wanted)
        return project(arm, values)

    return reduce(lambda left, right: kind(left, right, distinct=distinct), map(shaped, arms))
