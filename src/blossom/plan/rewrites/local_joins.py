"""Local joins: tables partitioned by the same scheme, and replicated ones, join at each site.

A join of two unions is the union of local joins only when equal keys live at one site (equality on the unmodified partition
columns of one scheme, paired by position) or one side has all its rows everywhere. A replicated table joins locally by an
inner join, as the null-supplying side of an outer join, or on the right of a semi or anti join. So does the user's own data at the
hub, which may go anywhere: it can meet rows that may not come to it.
"""

from __future__ import annotations

from dataclasses import replace

from blossom.plan.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    Named,
    TypeArgument,
    columns,
    conjuncts,
    has_window,
    transform,
)
from blossom.plan.relations import (
    Constant,
    Copies,
    Filter,
    Join,
    Link,
    Partition,
    Parts,
    Project,
    Relation,
    Scan,
)
from blossom.plan.rewrites.local_maps import renamed

_FREE = frozenset({"inner", "cross"})
_COPY_ON_RIGHT = frozenset({"inner", "cross", "left", "semi", "anti", "any_inner", "any_left", "asof"})
_PARTED_ON_RIGHT = frozenset(
    {"inner", "left", "semi", "anti", "right", "outer", "any_inner", "any_left", "asof"}
)
_FALSE = Literal(False, "boolean")


def local_joins(node: Relation) -> Relation:
    """Turn a join over parts and copies into parts of joins, as far down its chain as the meaning allows."""
    if not isinstance(node, Join) or not any(isinstance(t, Parts | Copies) for t in node.tables):
        return node
    if node.holds_subquery:
        return node
    if not any(isinstance(t, Parts) for t in node.tables):
        return _copies_only(node)
    if any(has_window(value) for _, value in node.values):
        return node  # a window must see the rows of all sites
    ordered = _parts_first(node)
    return _prefix(ordered)


def _copies_only(node: Join) -> Relation:
    """Copies joined with copies are copies, at the sites that have them all."""
    copies = [table for table in node.tables if isinstance(table, Copies)]
    if len(copies) != len(node.tables):
        return node
    sites = [site for site in copies[0].sites if all(site in copy.sites for copy in copies)]
    stewards = {copy.steward for copy in copies if copy.steward}
    if not sites or len(stewards) > 1 or not stewards <= set(sites):
        return node
    joined = [
        node.with_inputs(tuple(copy.tables[copy.sites.index(site)] for copy in copies)) for site in sites
    ]
    return Copies(tuple(joined), tuple(sites), next(iter(stewards), None))


def _parts_first(node: Join) -> Join:
    """An inner chain in an order that lets parts and copies meet first; other chains keep their order."""
    if not all(link.how in _FREE for link in node.links):
        return node
    predicates = [p for link in node.links for q in link.predicates for p in conjuncts(q)]
    start = next(i for i, table in enumerate(node.tables) if isinstance(table, Parts))
    order, rest = [start], [i for i in range(len(node.tables)) if i != start]
    local = True
    while rest:
        chosen = _next(node, order, rest, predicates, local)
        if chosen is None:
            local = False
            chosen = next((i for i in rest if _linked(i, order, predicates)), rest[0])
        order.append(chosen)
        rest.remove(chosen)
    return _reordered(node, order, predicates)


def _next(
    node: Join, order: list[int], rest: list[int], predicates: list[Expression], local: bool
) -> int | None:
    """The next table that can join without leaving its site: a co-partitioned one, else a copy that is linked."""
    if not local:
        return None
    first = node.tables[order[0]]
    assert isinstance(first, Parts)
    for i in rest:
        table = node.tables[i]
        if isinstance(table, Parts) and any(_co_partitioned(node, j, i, predicates) for j in order):
            return i
    for i in rest:
        if _anywhere(node.tables[i]) and _linked(i, order, predicates):
            return i
    # an unlinked copy joins by a cross product, best last
    return next(
        (
            i
            for i in rest
            if _anywhere(node.tables[i]) and not any(_linked(i, [j], predicates) for j in rest if j != i)
        ),
        None,
    )


def _anywhere(table: Relation) -> bool:
    """Whether a site can have the whole table: a copy, or the user's own."""
    if isinstance(table, Copies | Constant):
        return True
    leaves = [node for node in table.walk() if not node.inputs]
    return all(
        isinstance(leaf, Constant) or (isinstance(leaf, Scan) and leaf.site == "hub") for leaf in leaves
    )


def _linked(i: int, order: list[int], predicates: list[Expression]) -> bool:
    reach = {i, *order}
    return any(i in used and used <= reach and len(used) > 1 for used in map(_tables, predicates))


def _tables(expression: Expression) -> set[int]:
    return {column.input for column in columns(expression)}


def _reordered(node: Join, order: list[int], predicates: list[Expression]) -> Join:
    place = {old: new for new, old in enumerate(order)}

    def move(expression: Expression) -> Expression:
        def one(item: Expression) -> Expression | None:
            return replace(item, input=place[item.input]) if isinstance(item, Column) else None

        return transform(expression, one)

    at: dict[int, list[Expression]] = {i: [] for i in range(1, len(order))}
    for predicate in predicates:
        moved = move(predicate)
        at[max((*_tables(moved), 1))].append(moved)
    links = tuple(Link("inner" if at[i] else "cross", tuple(at[i])) for i in range(1, len(order)))
    values = tuple((name, move(value)) for name, value in node.values)
    return Join(tuple(node.tables[i] for i in order), links, values)


def _co_partitioned(node: Join, left: int, right: int, predicates: list[Expression]) -> bool:
    a, b = node.tables[left], node.tables[right]
    if not isinstance(a, Parts) or not isinstance(b, Parts) or a.partition is None or b.partition is None:
        return False
    if a.partition.scheme != b.partition.scheme or len(a.partition.columns) != len(b.partition.columns):
        return False
    equal = {pair for predicate in predicates for q in conjuncts(predicate) for pair in _equality(q)}
    return all(
        ((left, x), (right, y)) in equal
        for x, y in zip(a.partition.columns, b.partition.columns, strict=True)
    )


def _equality(predicate: Expression) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    if not isinstance(predicate, Call) or predicate.op != "Equals":
        return []
    a, b = predicate.args
    if not isinstance(a, Column) or not isinstance(b, Column):
        return []
    x, y = (a.input, a.name), (b.input, b.name)
    return [(x, y), (y, x)]


def _prefix(node: Join) -> Relation:
    """Join the longest prefix of the chain at the sites, and the rest above it."""
    first = node.tables[0]
    if not isinstance(first, Parts):
        return node
    predicates: list[Expression] = []
    upto = 0
    for i, link in enumerate(node.links, 1):
        table = node.tables[i]
        if isinstance(table, Parts):
            fits = link.how in _PARTED_ON_RIGHT and any(
                _co_partitioned(node, j, i, list(link.predicates)) for j in range(i)
            )
            fits = fits and (link.how not in ("right", "outer") or i == 1)
        else:
            fits = _anywhere(table) and link.how in _COPY_ON_RIGHT
        if not fits:
            break
        predicates.extend(link.predicates)
        upto = i
    if upto == 0:
        return node
    if upto == len(node.links):
        return _spread(node)
    return _split(node, upto)


def _split(node: Join, upto: int) -> Relation:
    """The chain as a local join of tables 0..upto and a join of that with the rest."""
    gone = {i for i, link in enumerate(node.links, 1) if link.how in ("semi", "anti")}
    used: dict[tuple[int, str], Column] = {}
    later = [p for link in node.links[upto:] for p in link.predicates] + [value for _, value in node.values]
    for expression in later:
        for column in sorted(
            columns(expression), key=lambda c: (c.input, c.name)
        ):  # a set has no stable order
            if column.input <= upto and column.input not in gone:
                used.setdefault((column.input, column.name), column)
    if not used:
        name = node.tables[0].schema.names[0]
        used[(0, name)] = node.tables[0].column(name)
    names = {key: f"j{key[0]}_{key[1]}" for key in used}
    inner = _spread(
        Join(node.tables[: upto + 1], node.links[:upto], tuple((names[key], used[key]) for key in used))
    )

    def move(expression: Expression) -> Expression:
        def one(item: Expression) -> Expression | None:
            if not isinstance(item, Column):
                return None
            if item.input <= upto:
                return inner.column(names[(item.input, item.name)])
            return replace(item, input=item.input - upto)

        return transform(expression, one)

    links = tuple(Link(link.how, tuple(map(move, link.predicates))) for link in node.links[upto:])
    values = tuple((name, move(value)) for name, value in node.values)
    return Join((inner, *node.tables[upto + 1 :]), links, values)


def _spread(node: Join) -> Relation:
    """One join a site."""
    first = node.tables[0]
    assert isinstance(first, Parts)
    sites = list(first.sites)
    outer = {i: link.how for i, link in enumerate(node.links, 1)}
    for i, table in enumerate(node.tables):
        if isinstance(table, Parts) and outer.get(i) in ("right", "outer"):
            sites.extend(site for site in table.sites if site not in sites)
    for i, table in enumerate(node.tables):
        if isinstance(table, Parts) and outer.get(i) in ("inner", "semi", "any_inner", "asof"):
            sites = [site for site in sites if site in table.sites]
    if not sites:  # no site has both sides: the join is empty, told by one site's empty part
        sites = list(first.sites[:1])
    joined = tuple(node.with_inputs(tuple(_at(table, site) for table in node.tables)) for site in sites)
    if len(joined) == 1:
        return joined[0]
    partition = None if any(how in ("right", "outer") for how in outer.values()) else _partition(node)
    return Parts(joined, tuple(sites), partition)


def _partition(node: Join) -> Partition | None:
    values = dict(node.values)
    for i, table in enumerate(node.tables):
        how = None if i == 0 else node.links[i - 1].how
        if isinstance(table, Parts) and how in (None, "inner"):
            kept = renamed(table.partition, values, i)
            if kept is not None:
                return kept
    return None


def _at(table: Relation, site: str) -> Relation:
    """The table as that site sees it: its part, its copy (else any copy), or nothing."""
    if not isinstance(table, Parts | Copies):
        return table
    if site in table.sites:
        return table.tables[table.sites.index(site)]
    if isinstance(table, Copies):
        home = table.steward or table.sites[0]
        return table.tables[table.sites.index(home)]
    nulls: list[Named] = [
        (name, Call("Cast", (Literal(None, "null"), TypeArgument(_nullable(dtype))), _nullable(dtype)))
        for name, dtype in table.schema.items()
    ]
    row = Constant(tuple(nulls))
    return Filter(Project(row, tuple((name, row.column(name)) for name in row.schema)), (_FALSE,))


def _nullable(dtype: str) -> str:
    return dtype.lstrip("!")
