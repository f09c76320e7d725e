"""From a planned pipeline to its explanation: policies as short phrases, training in words, actual figures where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blossom.executor.federation import Federation
from blossom.executor.planner import Planned
from blossom.fedpy.explain import Actual, Explanation
from blossom.plan.relations import Scan
from blossom.policy.model import TablePolicy


def explained(
    planned: Planned,
    federation: Federation,
    actuals: Mapping[str, Actual] | None = None,
    notes: Sequence[str] = (),
) -> Explanation:
    """The explanation of a plan."""
    read: dict[str, dict[str, TablePolicy]] = {}
    for node in planned.stages[-1][1].walk():
        if isinstance(node, Scan) and node.site in federation.descriptions:
            read.setdefault(node.site, {})[node.table] = federation.sites[node.site].policy(node.table)
    policies = {
        site: "; ".join(f"{table}: {phrase(policy)}" for table, policy in sorted(tables.items()))
        for site, tables in read.items()
    }
    return Explanation(planned.physical, planned.stages, dict(actuals or {}), policies, tuple(notes))


def phrase(policy: TablePolicy) -> str:
    """A table's policy in a few words.

    >>> phrase(TablePolicy(release="aggregates", min_group=10, privacy_unit="patient"))
    'aggregates of at least 10 patient'
    """
    match policy.release:
        case "rows":
            return "rows may leave"
        case "aggregates":
            return f"aggregates of at least {policy.min_group} {policy.privacy_unit}"
        case "none":
            return "nothing may leave"
