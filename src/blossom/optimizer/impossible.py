"""The error when no placement exists: nothing can run an operator, a policy forbids it, or both together leave no place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.compliance import Compliance
from blossom.optimizer.graph import Problem
from blossom.optimizer.nodes import Node
from blossom.optimizer.physical import Location
from blossom.optimizer.refusing import refused
from blossom.plan.errors import PlanError, PolicyError, Refusal, listed
from blossom.plan.relations import Parts, Relation


def impossible(
    table: Sequence[Node],
    locations: Sequence[Location],
    incapable: Sequence[Mapping[int, str]],
    problem: Problem,
    blocked: int,
    *,
    catalogue: Catalogue,
    compliance: Compliance,
    consumer: str,
) -> PlanError | PolicyError:
    """What to raise.

    Args:
        table: The plan's nodes.
        locations: The places.
        incapable: By node, the places that cannot run it, with the reasons.
        problem: The placement that has no solution.
        blocked: The number of a node that has no place although each of its inputs has one.
        catalogue: Knows the policies.
        compliance: The verdicts.
        consumer: The site that would get the result.
    """
    node, unable = table[blocked], incapable[blocked]
    able = [i for i in range(len(locations)) if i not in unable]
    where = _name(node.relation)
    if not able:
        reasons = dict.fromkeys(f"{locations[i]}: {why}" for i, why in unable.items())
        return PlanError(
            f"no platform can run {where} with the reference semantics", where=where, hint="; ".join(reasons)
        )
    cannot = "; ".join(f"{locations[i]} cannot: {why}" for i, why in unable.items())
    error = refused(table, catalogue, compliance, consumer)
    if error is not None:
        return error
    refusals = _kept_apart(table, locations, problem, node, able, compliance)
    if not refusals:
        return PlanError(
            f"no place can run {where}: {cannot}",
            where=where,
            hint="give one of the sites a platform that can run it",
        )
    sites = listed(sorted({one.site for one in refusals}))
    return PolicyError(
        f"only {', '.join(str(locations[i]) for i in able)} can run it, and what it needs may not leave {sites}",
        refusals,
        where=where,
        hint=cannot or None,
    )


def _kept_apart(
    table: Sequence[Node],
    locations: Sequence[Location],
    problem: Problem,
    node: Node,
    able: Sequence[int],
    compliance: Compliance,
) -> tuple[Refusal, ...]:
    """Where every result may leave: why the inputs of an operator may not go to where it can run."""
    refusals: dict[Refusal, None] = {}
    for i in able:
        for number in node.below:
            for j in np.flatnonzero(np.isfinite(problem.operator[number])).tolist():
                sites = locations[j].site, locations[i].site
                refusals.update(dict.fromkeys(compliance.refusals(table[number], *sites)))
    return tuple(refusals)


def _name(relation: Relation) -> str:
    return "Union" if isinstance(relation, Parts) else type(relation).__name__
