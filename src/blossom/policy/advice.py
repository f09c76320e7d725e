"""Why groups may be held back that are large enough, told from the plan alone: what the data say is no user's to know."""

from __future__ import annotations

from collections.abc import Iterator

from blossom.plan.errors import listed
from blossom.plan.expressions import columns
from blossom.plan.relations import Aggregate, Relation
from blossom.policy.aggregates import METRICS, reduced, reductions


def uneven(plan: Relation) -> str | None:
    """What to ask instead, where figures of one group range over different rows because values may be missing.

    `count()` looks at all rows of a group and `mean(x)` at those with an x: where fewer than `min_group` units lack one, the two
    figures would describe these few, so the group is held back. None where no figures of the plan differ so.

    >>> from blossom.plan.expressions import Call, Column
    >>> from blossom.plan.relations import Scan
    >>> from blossom.plan.schema import Schema
    >>> t = Scan("t", Schema([("x", "float64")]))
    >>> n, m = Call("CountStar", (None,), "int64"), Call("Mean", (Column("x", "float64"), None), "float64")
    >>> print(uneven(Aggregate(t, (), (("n", n), ("m", m)))))
    where few units lack x, a count of rows beside figures of x would describe these few: ask for x.count() instead of count(), or filter by x.notnull() first
    >>> uneven(Aggregate(t, (), (("m", m),))) is None
    True
    """
    names = sorted({name for node in plan.walk() if isinstance(node, Aggregate) for name in _missing(node)})
    if not names:
        return None
    some = listed(names)
    if len(names) > 1:
        return (
            f"where few units lack one of {some}, figures of different rows would describe these few: "
            f"filter by {' & '.join(f'{name}.notnull()' for name in names)} first, or ask for each column by itself"
        )
    return (
        f"where few units lack {some}, a count of rows beside figures of {some} would describe these few: "
        f"ask for {some}.count() instead of count(), or filter by {some}.notnull() first"
    )


def _missing(node: Aggregate) -> Iterator[str]:
    """Stored columns whose missing values make figures of the same group range over different rows."""
    calls = [call for _, metric in node.metrics for call in reductions(metric) if call.op in METRICS]
    read = [{column.name for value in reduced(call).values for column in columns(value)} for call in calls]
    for name in frozenset[str]().union(*read):
        known_there = node.input.schema[name].startswith("!")
        if not known_there and not all(name in names for names in read):
            yield name
