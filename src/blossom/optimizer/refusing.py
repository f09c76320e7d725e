"""What to tell a user when no placement obeys the policies: which parts would have to leave, and what would be answered.

Only the parts nearest to the result are judged, one a site: what they are made of would not leave on its own, and places that
nobody asked for are no matter of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.compliance import Compliance
from blossom.optimizer.costs import HUB
from blossom.optimizer.nodes import Node
from blossom.plan.errors import PolicyError, listed
from blossom.plan.expressions import Call, Column, walk
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import (
    Aggregate,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    Named,
    Parts,
    Project,
    Relation,
    Sample,
    Scan,
    Sort,
)

METRICS = 3
"""Most columns that a suggested query aggregates."""


@dataclass(frozen=True, eq=False)
class Departure:
    """A site's part nearest to the result: its output would have to leave the site.

    Attributes:
        node: The part.
        site: The only site whose tables it reads.
        user: The operator that needs it elsewhere; None where the part is the whole plan.
    """

    node: Node
    site: str
    user: Node | None


def refused(
    table: Sequence[Node], catalogue: Catalogue, compliance: Compliance, consumer: str
) -> PolicyError | None:
    """The error for a plan whose parts may not leave their sites; None when every part may, so that something else is wrong."""
    parts = departures(table, consumer)
    told = [(part, compliance.leaving(part.node, part.site, consumer)) for part in parts]
    stuck = [part for part, refusals in told if refusals]
    if not stuck:
        return None
    found = [refusal for _, refusals in told for refusal in refusals]
    sites = sorted({part.site for part in stuck})
    user = stuck[0].user
    if len(sites) == 1 and user is not None and not isinstance(user.relation, Parts):
        # All others could come to the one site whose data stay.
        for part in parts:
            if part.site != sites[0]:
                found += compliance.leaving(part.node, part.site, sites[0])
    refusals = tuple(dict.fromkeys(found))
    name, whole = operator(table, stuck[0])
    if whole:
        what = f"the result ({name}) may not reach {consumer} from {listed(sites)}"
    else:
        tables = listed(sorted({refusal.table for refusal in refusals}))
        what = f"what it needs of {tables} may not leave {listed(sites)}"
    hints = [_nearest(stuck, catalogue, compliance, consumer)]
    if any(isinstance(part.user.relation, Join) for part in stuck if part.user is not None):
        hints.append(
            "if equal keys of the joined tables live at one site, declare it: partition = { by = [...], scheme = ... }"
        )
    hint = "; ".join(filter(None, hints)) or None
    return PolicyError(what, refusals, where=name, hint=hint)


def departures(table: Sequence[Node], consumer: str) -> list[Departure]:
    """The parts nearest to the root that read one site's tables only, in the order of the plan.

    Tables of the consumer and of the hub go anywhere that the plan needs them, and bind nothing.
    """
    found: list[Departure] = []
    seen: set[int] = set()
    stack: list[tuple[int, Node | None]] = [(len(table) - 1, None)]
    while stack:
        number, user = stack.pop()
        if number in seen:
            continue
        seen.add(number)
        node = table[number]
        bound = node.owners - {consumer, HUB}
        if len(bound) == 1:
            (site,) = bound
            found.append(Departure(node, site, user))
        elif bound:
            stack.extend((below, node) for below in reversed(node.below))
    return found


def operator(table: Sequence[Node], part: Departure) -> tuple[str, bool]:
    """The operator that a part is needed for, and whether it is the result itself: unions of sites are no operator of the user's."""
    above = part.user
    while above is not None and isinstance(above.relation, Parts | Copies):
        number = above.number
        above = next((one for one in table if number in one.below), None)
    return type((part.node if above is None else above).relation).__name__, above is None


# -- the nearest query that would be answered


@dataclass(frozen=True, slots=True)
class _Kept:
    """The keys and values of an aggregate that a site would answer, and what it leaves out of the user's query."""

    keys: tuple[str, ...]
    values: tuple[str, ...]
    without: str


def _nearest(
    stuck: Sequence[Departure], catalogue: Catalogue, compliance: Compliance, consumer: str
) -> str | None:
    """An aggregate over the same rows that every site would answer, in Ibis's words; found by asking the sites."""
    answered: list[_Kept] = []
    widest: tuple[int, str] | None = None
    for part in stuck:
        view = compliance.as_run_at(part.node, part.site)
        kept = _answered(view, catalogue, part.site, consumer)
        if kept is None:
            return None
        answered.append(kept)
        for group in _groups(view, catalogue, part.site):
            widest = group if widest is None else max(widest, group)
    keys = [key for key in answered[0].keys if all(key in one.keys for one in answered)][:1]
    values = [value for value in answered[0].values if all(value in one.values for one in answered)][:METRICS]
    plain = [name for name in values if name.isidentifier()]
    metrics = ", ".join(
        [
            *(f"_[{name!r}].mean()" for name in values if name not in plain),
            "n=_.count()",
            *(f"{name}=_.{name}.mean()" for name in plain),
        ]
    )
    steps = f'.group_by("{keys[0]}").agg({metrics})' if keys else f".aggregate({metrics})"
    words = f"group by {keys[0]} and aggregate" if keys else "aggregate"
    of = "" if widest is None else f", in groups of at least {widest[0]} distinct {widest[1]}"
    without = max((one.without for one in answered), key=len)
    return f"would be answered: {words}{of}{without}: {steps}"


def _answered(view: Relation, catalogue: Catalogue, site: str, consumer: str) -> _Kept | None:
    keys, base, wanted = _asked(view)
    for without, rows in _simpler(base, catalogue, site):

        def allows(groups: Iterable[Named], metric: Call, rows: Relation = rows) -> bool:
            aggregate = Aggregate(rows, tuple(groups), (("n", metric),))
            return not catalogue.may_ship(aggregate, site, consumer)

        count = Call("CountStar", (None,), "int64")
        if not allows((), count):
            continue
        schema = rows.schema
        return _Kept(
            tuple(key for key in keys if key in schema and allows([(key, Column(key, schema[key]))], count)),
            tuple(
                name
                for name in wanted
                if name in schema
                and _numeric(schema[name])
                and allows((), Call("Mean", (Column(name, schema[name]), None), "float64"))
            ),
            without,
        )
    return None


def _simpler(base: Relation, catalogue: Catalogue, site: str) -> Iterator[tuple[str, Relation]]:
    """The rows asked for, and ever simpler ones, each with what it leaves out."""
    yield "", base
    unfiltered = _unfiltered(base)
    if unfiltered is not base:
        yield ", without the filter", unfiltered
    for node in base.walk():
        if isinstance(node, Scan) and catalogue.policy(site, node.table).release == "aggregates":
            yield f", of {node.table} alone", node


def _asked(view: Relation) -> tuple[list[str], Relation, list[str]]:
    """The likely keys, the rows, and the columns that a user who asked for `view` cares about."""
    inner = view
    while isinstance(inner, Sort | Limit | Distinct | Sample | Project | Filter):
        inner = inner.inputs[0]
    if isinstance(inner, Aggregate):
        keys = [value.name for _, value in inner.groups if isinstance(value, Column)]
        used = {one.name for _, metric in inner.metrics for one in walk(metric) if isinstance(one, Column)}
        wanted = [name for name in inner.input.schema if name in used and name not in keys]
        return keys, inner.input, wanted
    while isinstance(view, Sort | Limit | Distinct | Sample):
        view = view.inputs[0]
    names = [name for name in view.schema if not name.startswith("__")]
    keys = [name for name in names if view.schema[name] in ("string", "boolean")]
    return keys, view, names


def _unfiltered(root: Relation) -> Relation:
    return rewrite(root, lambda node: node.input if isinstance(node, Filter) else node)


def _numeric(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "float", "decimal"))


def _groups(view: Relation, catalogue: Catalogue, site: str) -> Iterable[tuple[int, str]]:
    for node in view.walk():
        if isinstance(node, Scan):
            policy = catalogue.policy(site, node.table)
            if policy.release == "aggregates" and policy.privacy_unit is not None:
                yield policy.min_group, "rows" if policy.privacy_unit == "row" else policy.privacy_unit
