"""Fragments counted whole: a placed plan as the parts that a cost is believed of, before it runs and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from blossom.optimizer.cardinality import Sizes
from blossom.optimizer.costs.belief import Part
from blossom.optimizer.costs.prior import hops
from blossom.optimizer.costs.terms import NUMBER, READS, TERMS, WORK, WRITES, Floats, Work, amounts, moved
from blossom.optimizer.physical import Location
from blossom.plan.relations import Constant, Copies, Model, Parts, Received, Relation, Scan

TRAITS = ("operators", "width", "reduction", "inputs")
"""What makes a fragment dearer or cheaper than the sum of its operators: how many there are (engines fuse them), bytes of a row
it gives, rows it reads for each row that it gives, and how many relations it reads."""

LINK_TERMS = ("latency", "bytes")
NO_TRAITS: Floats = np.zeros(0)
MOST = 3.0

_LEAVES = (Received, Constant, Model, Parts, Copies)


def platform_name(location: Location) -> str:
    """What is believed of a platform is kept under this name."""
    return f"{location.site}/{location.platform}"


def link_name(source: str, target: str) -> str:
    """What is believed of a link is kept under this name."""
    return f"{source}>{target}"


def traits(operators: int, inputs: int, rows_in: float, rows_out: float, width: float) -> Floats:
    """(traits,) of a fragment; all zero for one operator that gives as many rows of 32 bytes as it reads.

    >>> traits(1, 1, 100.0, 100.0, 32.0).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    raw = (
        math.log(max(operators, 1)),
        math.log(max(width, 1.0) / 32),
        math.log((rows_in + 1) / (rows_out + 1)) / 4,
        math.log(max(inputs, 1)),
    )
    return np.array([max(-MOST, min(MOST, one)) for one in raw])


def is_operator(relation: Relation) -> bool:
    """Whether a node is work of its own, and no mere leaf or wrapper."""
    return not isinstance(relation, _LEAVES) and type(relation) in WORK


def transfer(source: str, target: str, size: float) -> list[Part]:
    """The links that `size` bytes take between two sites; within a site, one of its own."""
    return [Part(link_name(*hop), np.array([1.0, size]), NO_TRAITS) for hop in hops(source, target)]


def fragment(root: Relation, location: Location, sizes: Sizes, *, gives: bool) -> Part:
    """One fragment as it runs.

    Args:
        root: Its plan.
        location: Where.
        sizes: Of its nodes; of its `Received` leaves too.
        gives: Whether its output is handed over as Arrow.
    """
    nodes = list(root.walk())
    work = [Work(node, [sizes.of(child) for child in node.inputs], sizes.of(node)) for node in nodes]
    total = amounts(work).sum(axis=0)
    total[NUMBER["start"]] = 1.0
    rows_in, inputs = 0.0, 0
    for one in work:
        if isinstance(one.relation, Received):
            total[READS] += moved(one.own, len(one.relation.schema))
        if isinstance(one.relation, Received | Scan):
            rows_in += one.own.expected
            inputs += 1
    own = work[-1].own
    if gives:
        total[WRITES] += moved(own, len(root.schema))
    operators = sum(is_operator(node) for node in nodes)
    return Part(platform_name(location), total, traits(operators, inputs, rows_in, own.expected, own.width))


def placed(
    work: Sequence[Work],
    counted: Floats,
    sent: Floats,
    below: Sequence[Sequence[int]],
    choice: Sequence[int],
    locations: Sequence[Location],
    consumer: str,
) -> list[Part]:
    """A placed plan as parts: its fragments, and the links between them.

    Args:
        work: (n) the nodes, inputs first.
        counted: (n, terms) their amounts.
        sent: (n, 3) bytes, rows and values of their outputs.
        below: (n) numbers of the nodes that each reads.
        choice: (n) the number of each node's location, -1 for nodes that are not used.
        locations: The places.
        consumer: The site that gets the result.
    """
    top = tops(below, choice)
    totals: dict[int, Floats] = {}
    reads: dict[int, list[float]] = {}  # rows in, relations in, operators
    links: list[Part] = []
    for number, number_of_top in enumerate(top):
        if number_of_top < 0:
            continue
        total = totals.setdefault(number_of_top, np.zeros(len(TERMS)))
        into = reads.setdefault(number_of_top, [0.0, 0.0, 0.0])
        total += counted[number]
        relation = work[number].relation
        into[2] += is_operator(relation)
        if isinstance(relation, Scan):
            into[0] += work[number].own.expected
            into[1] += 1
        for child in below[number]:
            if choice[child] < 0 or top[child] == number_of_top:
                continue
            total[READS] += sent[child]
            into[0] += sent[child, 1]
            into[1] += 1
            source, target = locations[choice[child]].site, locations[choice[number]].site
            links += transfer(source, target, float(sent[child, 0]))
    parts: list[Part] = []
    for number, total in totals.items():
        total[NUMBER["start"]] = 1.0
        total[WRITES] += sent[number]
        rows, inputs, operators = reads[number]
        shape = traits(int(operators), int(inputs), rows, float(sent[number, 1]), work[number].own.width)
        parts.append(Part(platform_name(locations[choice[number]]), total, shape))
    last = len(work) - 1
    if last >= 0 and locations[choice[last]].site != consumer:
        links += transfer(locations[choice[last]].site, consumer, float(sent[last, 0]))
    return parts + links


def tops(below: Sequence[Sequence[int]], choice: Sequence[int]) -> list[int]:
    """The top node of each node's fragment, by the rule of `fragments.cut`; -1 for nodes that are not used."""
    users: list[list[int]] = [[] for _ in below]
    for number, children in enumerate(below):
        if choice[number] >= 0:
            for child in children:
                users[child].append(number)
    top = [-1] * len(below)
    for number in reversed(range(len(below))):
        if choice[number] < 0:
            continue
        above = {top[user] for user in users[number]}
        (only,) = above if len(above) == 1 else (number,)
        top[number] = only if choice[only] == choice[number] else number
    return top
