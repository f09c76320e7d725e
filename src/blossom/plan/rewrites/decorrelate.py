"""Decorrelate: EXISTS, IN and scalar subqueries in filters and projections become semi, anti, left and cross joins.

A subquery that does not fit a known shape stays as it is; the planner then gives it an engine that runs subqueries.
Shapes after Galindo-Legaria and Joshi, "Orthogonal optimization of subqueries and aggregation" (SIGMOD 2001).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from blossom.plan.expressions import (
    IMPURE,
    REDUCTIONS,
    Call,
    Column,
    Expression,
    Literal,
    Named,
    Outer,
    Subquery,
    TypeArgument,
    children,
    columns,
    conjuncts,
    has,
    has_subquery,
    outer_columns,
    transform,
    walk,
)
from blossom.plan.rebuilding import rewrite, substitute
from blossom.plan.relations import Aggregate, Distinct, Filter, Join, Link, Project, Relation, Sort, identity

_INNER = frozenset({"inner", "cross"})


def decorrelate(root: Relation) -> Relation:
    """Remove the subqueries of a plan where that changes nothing."""
    return rewrite(root, _node)


def _node(node: Relation) -> Relation:
    match node:
        case Filter() if node.holds_subquery:
            return _filter(node)
        case Project() if node.holds_subquery:
            return _project(node)
        case _:
            return node


def _filter(node: Filter) -> Relation:
    parts = [part for predicate in node.predicates for part in conjuncts(predicate)]
    plain = tuple(part for part in parts if not has_subquery(part))
    base: Relation = Filter(node.input, plain) if plain else node.input
    wanted = node.input.schema.names
    left: list[Expression] = []
    for part in parts:
        if not has_subquery(part):
            continue
        joined = _semi(base, part) or _not_in(base, part)
        if joined is not None:
            base = joined
            continue
        base, part = _scalars(base, part)
        left.append(part)
    if left:
        base = Filter(base, tuple(left))
    return _only(base, wanted)


def _project(node: Project) -> Relation:
    if any(has(value, frozenset({"WindowFunction"})) for value in node.expressions()):
        return node
    base = node.input
    values: list[Named] = []
    for name, value in node.values:
        base, new = _scalars(base, value)
        values.append((name, new))
    return Project(base, tuple(values))


def _only(base: Relation, names: tuple[str, ...]) -> Relation:
    if base.schema.names == names:
        return base
    return Project(base, tuple((name, base.column(name)) for name in names))


# -- EXISTS and IN -----------------------------------------------------------------------------------------------------


def _semi(base: Relation, part: Expression) -> Relation | None:
    """A semi or anti join for [NOT] EXISTS and for IN."""
    negated = isinstance(part, Call) and part.op == "Not"
    query = part.args[0] if isinstance(part, Call) and negated else part
    if not isinstance(query, Subquery) or query.kind == "scalar" or (query.kind == "in" and negated):
        return None
    if query.needle is not None and has_subquery(query.needle):
        return None
    pulled = _pull(query.plan if query.kind == "in" else _bare(query.plan))
    if pulled is None:
        return None
    pulled.plan = decorrelate(pulled.plan)
    predicates = [_to_link(p) for p in pulled.predicates]
    if pulled.one_row and query.kind == "exists":
        never = Literal(False, "boolean")  # an aggregate of nothing is a row too
        return Filter(base, (never,)) if negated else base
    if query.needle is not None:
        name = query.plan.schema.names[0]
        if predicates and pulled.one_row and not _is_null(pulled.missing[name]):
            return None  # a count of nothing may be the needle
        inner = Column(name, pulled.plan.schema[name], 1)
        predicates.append(Call("Equals", (query.needle, inner), "boolean"))
    if not predicates:
        return None  # an uncorrelated EXISTS asks nothing of the row
    how = "anti" if negated else "semi"
    return Join((base, pulled.plan), (Link(how, tuple(predicates)),), identity(base))


def _not_in(base: Relation, part: Expression) -> Relation | None:
    """NOT IN, with its nulls: true when the list is empty, or the needle and all of the list are known and differ."""
    if not (isinstance(part, Call) and part.op == "Not" and isinstance(part.args[0], Subquery)):
        return None
    query = part.args[0]
    if query.kind != "in" or query.needle is None or outer_columns(query.plan) or has_subquery(query.needle):
        return None
    name = query.plan.schema.names[0]
    column = query.plan.column(name)
    listed = decorrelate(query.plan)
    sizes = Aggregate(
        listed,
        (),
        (
            ("__rows", Call("CountStar", (None,), "int64")),
            ("__known", Call("Count", (column, None), "int64")),
        ),
    )
    named = identity(base)
    counted = Join(
        (base, sizes),
        (Link("cross", ()),),
        (*named, ("__rows", sizes.column("__rows", 1)), ("__known", sizes.column("__known", 1))),
    )
    same = Call("Equals", (query.needle, Column(name, column.dtype, 1)), "boolean")
    anti = Join((counted, listed), (Link("anti", (same,)),), identity(counted))
    rows, known = anti.column("__rows"), anti.column("__known")
    empty = Call("Equals", (rows, Literal(0, "int8")), "boolean")
    certain = Call(
        "And",
        (Call("NotNull", (query.needle,), "boolean"), Call("Equals", (rows, known), "boolean")),
        "boolean",
    )
    kept = Filter(anti, (Call("Or", (empty, certain), "boolean"),))
    return Project(kept, named)


def _bare(plan: Relation) -> Relation:
    """What EXISTS asks: the rows, whatever their columns and order."""
    while isinstance(plan, Project | Sort | Distinct):
        plan = plan.input
    return plan


def _to_link(predicate: Expression) -> Expression:
    """A pulled predicate (columns of the subquery, `Outer` of the outer row) as a predicate of a two-table join."""

    def one(node: Expression) -> Expression | None:
        if isinstance(node, Outer):
            return Column(node.name, node.dtype, 0)
        if isinstance(node, Column):
            return replace(node, input=1)
        return None

    return transform(predicate, one)


# -- scalar subqueries -------------------------------------------------------------------------------------------------


def _scalars(base: Relation, value: Expression) -> tuple[Relation, Expression]:
    """The value with its scalar subqueries read from columns that joins have added to `base`."""
    for query in [n for n in walk(value) if isinstance(n, Subquery) and n.kind == "scalar"]:
        attached = _attach(base, query)
        if attached is None:
            continue
        base, column = attached

        def one(node: Expression, query: Subquery = query, column: Expression = column) -> Expression | None:
            return column if node is query else None

        value = transform(value, one)
    return base, value


def _attach(base: Relation, query: Subquery) -> tuple[Relation, Expression] | None:
    """`base` with the answer of a scalar subquery beside each row, and the column that holds it."""
    pulled = _pull(query.plan)
    if pulled is None or not pulled.one_row:
        return None
    pulled.plan = decorrelate(pulled.plan)
    name = query.plan.schema.names[0]
    fresh = _fresh(base, "__q")
    predicates = tuple(_to_link(p) for p in pulled.predicates)
    answer = Column(name, pulled.plan.schema[name], 1)
    values = [*identity(base), (fresh, answer)]
    if not predicates:
        joined = Join((base, pulled.plan), (Link("cross", ()),), tuple(values))
        return joined, joined.column(fresh)
    missing = pulled.missing[name]
    link = Link("left", predicates)
    if _is_null(missing):
        joined = Join((base, pulled.plan), (link,), tuple(values))
        return joined, joined.column(fresh)
    # what an equality has matched is not null, so a null says that there was no match
    key = next(c for c in columns(predicates[0]) if c.input == 1)
    matched = _fresh(base, "__m")
    joined = Join((base, pulled.plan), (link,), (*values, (matched, key)))
    there = Call("NotNull", (joined.column(matched),), "boolean")
    column = joined.column(fresh)
    return joined, Call("IfElse", (there, column, missing), column.dtype)


def _fresh(base: Relation, prefix: str) -> str:
    number = 0
    while f"{prefix}{number}" in base.schema:
        number += 1
    return f"{prefix}{number}"


# -- pulling correlated predicates out of a subquery -------------------------------------------------------------------


@dataclass(slots=True)
class _Pulled:
    """A subquery's plan without correlation, and the predicates that correlated it (over the plan's columns and `Outer`)."""

    plan: Relation
    predicates: list[Expression] = field(default_factory=list)
    one_row: bool = (
        False  # one row for each outer row; where the predicates leave none, `missing` says what it would be
    )
    missing: dict[str, Expression] = field(default_factory=dict)


def _pull(plan: Relation) -> _Pulled | None:
    if any(o.depth > 1 for o in _all_outer(plan)):
        return None
    if not outer_columns(plan):
        return _Pulled(plan, one_row=_one_row(plan))
    match plan:
        case Filter():
            return _pull_filter(plan)
        case Project():
            return _pull_project(plan)
        case Aggregate():
            return _pull_aggregate(plan)
        case Join():
            return _pull_join(plan)
        case Sort():
            return _pull(plan.input)
        case _:
            return None


def _all_outer(plan: Relation) -> Iterator[Outer]:
    for node in plan.walk():
        for expression in node.expressions():
            for item in walk(expression):
                if isinstance(item, Outer):
                    yield item
                elif isinstance(item, Subquery):
                    yield from outer_columns(item.plan, 2)


def _one_row(plan: Relation) -> bool:
    while isinstance(plan, Project | Sort):
        plan = plan.input
    return isinstance(plan, Aggregate) and not plan.groups


def _correlated(expression: Expression) -> bool:
    return any(isinstance(n, Outer) for n in walk(expression)) or any(
        outer_columns(n.plan, 2) for n in walk(expression) if isinstance(n, Subquery)
    )


def _pull_filter(plan: Filter) -> _Pulled | None:
    below = _pull(plan.input)
    if below is None or below.one_row:
        return None  # a filter over the one row may leave none
    parts = [part for predicate in plan.predicates for part in conjuncts(predicate)]
    mine = [part for part in parts if _correlated(part)]
    if any(has_subquery(part) or has(part, IMPURE) for part in mine):
        return None
    rest = tuple(part for part in parts if part not in mine)
    inner: Relation = Filter(below.plan, rest) if rest else below.plan
    return _Pulled(inner, [*below.predicates, *mine])


def _pull_project(plan: Project) -> _Pulled | None:
    below = _pull(plan.input)
    if below is None or any(
        _correlated(v) or has(v, frozenset({"WindowFunction"})) for v in plan.expressions()
    ):
        return None
    values = list(plan.values)
    predicates, extra = _carried(below, {name for name, _ in values})
    values.extend(extra)
    gone = below.missing
    missing = {name: substitute(value, lambda c: gone[c.name]) for name, value in plan.values if gone}
    return _Pulled(Project(below.plan, tuple(values)), predicates, below.one_row, missing)


def _carried(below: _Pulled, taken: set[str]) -> tuple[list[Expression], list[Named]]:
    """The predicates over fresh columns, and those columns' values over `below.plan`."""
    fresh: dict[str, tuple[str, Column]] = {}
    for predicate in below.predicates:
        for column in columns(predicate):
            if column.name not in fresh:
                number = len(fresh)
                while f"__c{number}" in taken:
                    number += 1
                taken.add(f"__c{number}")
                fresh[column.name] = (f"__c{number}", column)

    def one(node: Expression) -> Expression | None:
        return replace(node, name=fresh[node.name][0]) if isinstance(node, Column) else None

    return [transform(p, one) for p in below.predicates], [(name, column) for name, column in fresh.values()]


def _pull_aggregate(plan: Aggregate) -> _Pulled | None:
    below = _pull(plan.input)
    if below is None or below.one_row or any(_correlated(v) for v in plan.expressions()):
        return None
    keys: list[tuple[Expression, Expression]] = []
    for predicate in below.predicates:
        sides = _equality(predicate)
        if sides is None:
            return None
        keys.append(sides)
    if plan.groups:
        return None  # several rows an outer row, and each may miss
    groups = tuple((f"__k{i}", inner) for i, (inner, _) in enumerate(keys))
    predicates: list[Expression] = [
        Call("Equals", (Column(name, inner.dtype), outer), "boolean")
        for (name, _), (inner, outer) in zip(groups, keys, strict=True)
    ]
    missing = {name: _of_nothing(value) for name, value in plan.metrics}
    return _Pulled(Aggregate(below.plan, groups, plan.metrics), predicates, True, missing)


_COUNTS = frozenset({"Count", "CountStar", "CountDistinct", "CountDistinctStar", "ApproxCountDistinct"})
_STRICT = frozenset(
    {"Add", "Subtract", "Multiply", "Divide", "FloorDivide", "Modulus", "Negate", "Abs", "Cast", "Sqrt"}
)


def _of_nothing(metric: Expression) -> Expression:
    """What a metric is over no rows: counts are 0, other reductions null."""

    def one(node: Expression) -> Expression | None:
        if not isinstance(node, Call) or node.op not in REDUCTIONS:
            return None
        kind = node.dtype.lstrip("!")
        if node.op in _COUNTS:
            return Literal(0, kind)
        return Call("Cast", (Literal(None, "null"), TypeArgument(kind)), kind)

    return transform(metric, one)


def _is_null(expression: Expression) -> bool:
    """Whether an expression without columns is null for sure."""
    if isinstance(expression, Literal):
        return expression.value is None
    return (
        isinstance(expression, Call)
        and expression.op in _STRICT
        and any(_is_null(child) for child in children(expression))
    )


def _equality(predicate: Expression) -> tuple[Expression, Expression] | None:
    """An equality of an inner expression and an outer one, in that order."""
    if not isinstance(predicate, Call) or predicate.op != "Equals":
        return None
    a, b = predicate.args
    if not isinstance(a, Column | Outer | Call) or not isinstance(b, Column | Outer | Call):
        return None
    for inner, outer in ((a, b), (b, a)):
        if not isinstance(inner, Column | Call) or not isinstance(outer, Outer | Call):
            continue
        if columns(inner) and not _correlated(inner) and _correlated(outer) and not _own(outer):
            return inner, outer
    return None


def _own(expression: Expression) -> bool:
    return any(isinstance(n, Column) for n in walk(expression))


def _pull_join(plan: Join) -> _Pulled | None:
    if not all(link.how in _INNER for link in plan.links):
        return None
    predicates: list[Expression] = []
    tables: list[Relation] = []
    for number, table in enumerate(plan.tables):
        below = _pull(table)
        if below is None or below.one_row:
            return None
        tables.append(below.plan)
        predicates.extend(_at_input(p, number) for p in below.predicates)
    links: list[Link] = []
    for link in plan.links:
        own = [q for p in link.predicates for q in conjuncts(p)]
        correlated = [p for p in own if _correlated(p)]
        if any(has_subquery(p) for p in correlated):
            return None
        predicates.extend(correlated)
        rest = tuple(p for p in own if p not in correlated)
        links.append(Link("inner" if rest else "cross", rest))
    if any(_correlated(v) for _, v in plan.values):
        return None
    taken = {name for name, _ in plan.values}
    extra: dict[tuple[int, str], tuple[str, Column]] = {}
    for predicate in predicates:
        for column in columns(predicate):
            key = (column.input, column.name)
            if key not in extra:
                number = len(extra)
                while f"__c{number}" in taken:
                    number += 1
                taken.add(f"__c{number}")
                extra[key] = (f"__c{number}", column)

    def one(node: Expression) -> Expression | None:
        return Column(extra[(node.input, node.name)][0], node.dtype) if isinstance(node, Column) else None

    moved = [transform(p, one) for p in predicates]
    values = (*plan.values, *((name, column) for name, column in extra.values()))
    return _Pulled(Join(tuple(tables), tuple(links), values), moved)


def _at_input(predicate: Expression, number: int) -> Expression:
    def one(node: Expression) -> Expression | None:
        return replace(node, input=number) if isinstance(node, Column) else None

    return transform(predicate, one)
