"""What may run where: the locations that cannot run a node's own work, or cannot take its rows in, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.nodes import Node, rebuilt
from blossom.optimizer.physical import Location
from blossom.optimizer.subqueries import spine
from blossom.plan.errors import PlanError
from blossom.plan.relations import Copies, Received, Relation, Scan
from blossom.plan.schema import Schema


def incapable(
    table: Sequence[Node], locations: Sequence[Location], catalogue: Catalogue
) -> list[Mapping[int, str]]:
    """By node: location number -> why the node cannot run there; without those that it can run at.

    Raises:
        PlanError: A table lives on a platform that is not there.
    """
    return [_incapable(node, locations, catalogue) for node in table]


def _incapable(node: Node, locations: Sequence[Location], catalogue: Catalogue) -> Mapping[int, str]:
    if isinstance(node.relation, Scan):
        home = catalogue.home(node.relation.site or "", node.relation.table)
        if home not in locations:
            raise PlanError(
                f"{home} is not a platform of the federation", where=f"Scan {node.relation.table}"
            )
        here = f"{node.relation.site}/{node.relation.table} lives on {home}"
        return {i: here for i, one in enumerate(locations) if one != home}
    reasons: dict[int, str] = {}
    for one in _work(node):
        for i, location in enumerate(locations):
            if i not in reasons:
                why = catalogue.unsupported(location, one)
                if why is not None:
                    reasons[i] = why
    return reasons


def _work(node: Node) -> list[Relation]:
    """What an engine must be able to do for a node; closed parts of its subqueries are nodes of their own."""
    if isinstance(node.relation, Copies):
        return []
    leaves = [Received(f"attached{i}", one.schema) for i, one in enumerate(node.attached_plans)]
    own = rebuilt(node, node.relation.inputs, leaves)
    return [] if own in node.relation.inputs else [own, *spine(own)]  # `Parts` of one table: nothing to do


def untakeable(
    table: Sequence[Node], locations: Sequence[Location], catalogue: Catalogue
) -> Iterator[tuple[int, list[int]]]:
    """Node numbers with the numbers of the locations that cannot take in rows of its types, where there are any."""
    known: dict[Schema, list[int]] = {}
    for node in table:
        schema = node.relation.schema
        found = known.get(schema)
        if found is None:
            rows = Received("input", schema)
            refusing = (i for i, one in enumerate(locations) if catalogue.unsupported(one, rows) is not None)
            found = known[schema] = list(refusing)
        if found:
            yield node.number, found
