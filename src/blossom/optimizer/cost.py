"""The analytic prior of cost: what a platform needs for an operator, and a move for its bytes, as tables of facts.

Orders of magnitude, meant to extrapolate sensibly rather than to be right: measurements of runs take their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blossom.optimizer.cardinality import Cardinality
from blossom.optimizer.physical import Location
from blossom.plan.errors import ConfigError, unknown
from blossom.plan.expressions import Call, conjuncts, has_window
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    MapBatches,
    Model,
    Parts,
    Predict,
    Project,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Sort,
    Unnest,
)

MARGIN = 0.30
"""The prior's own uncertainty: a plan over more platforms must promise to be this much faster than a simpler one."""

HUB = "hub"
"""The hub's name as a site."""

M = 1e6


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What an engine can do.

    Attributes:
        start: Seconds to begin a fragment (compile, connect, plan), whatever its size.
        rows: Rows a second by kind of work: scan, map, join, aggregate, sort, window, function, predict, pass.
        read: Bytes a second that it takes in as Arrow.
        write: Bytes a second that it gives out as Arrow.
        pairs: Pairs of rows a second that a join compares where no equality lets it look rows up.
        loops: Kinds of join that it always does by comparing pairs.
    """

    start: float
    rows: Mapping[str, float]
    read: float
    write: float
    pairs: float
    loops: frozenset[str] = frozenset()


# fmt: off
PLATFORMS: Mapping[str, PlatformFacts] = {
    "duckdb": PlatformFacts(0.004, {"scan": 60 * M, "map": 80 * M, "join": 15 * M, "aggregate": 25 * M, "sort": 6 * M, "window": 3 * M,
                                    "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1000e6, write=1000e6, pairs=300 * M),
    "polars": PlatformFacts(0.003, {"scan": 60 * M, "map": 80 * M, "join": 15 * M, "aggregate": 20 * M, "sort": 8 * M, "window": 4 * M,
                                    "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1500e6, write=1500e6, pairs=100 * M),
    "sqlite": PlatformFacts(0.002, {"scan": 3 * M, "map": 3 * M, "join": 0.8 * M, "aggregate": 1 * M, "sort": 0.6 * M, "window": 0.3 * M,
                                    "function": 0.3 * M, "predict": 0.5 * M, "pass": 5 * M}, read=15e6, write=25e6, pairs=5 * M,
                            loops=frozenset({"semi", "anti"})),
    "postgresql": PlatformFacts(0.006, {"scan": 8 * M, "map": 8 * M, "join": 2.5 * M, "aggregate": 4 * M, "sort": 1.5 * M, "window": 0.8 * M,
                                        "function": 0.3 * M, "predict": 0.5 * M, "pass": 20 * M}, read=20e6, write=32e6, pairs=10 * M),
    "mariadb": PlatformFacts(0.006, {"scan": 3 * M, "map": 3 * M, "join": 0.7 * M, "aggregate": 1 * M, "sort": 0.7 * M, "window": 0.3 * M,
                                     "function": 0.3 * M, "predict": 0.5 * M, "pass": 5 * M}, read=8e6, write=12e6, pairs=5 * M,
                             loops=frozenset({"semi", "anti"})),
    "datafusion": PlatformFacts(0.006, {"scan": 50 * M, "map": 60 * M, "join": 12 * M, "aggregate": 15 * M, "sort": 6 * M, "window": 3 * M,
                                        "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1500e6, write=1500e6, pairs=100 * M),
    "spark": PlatformFacts(0.15, {"scan": 20 * M, "map": 20 * M, "join": 5 * M, "aggregate": 6 * M, "sort": 3 * M, "window": 1.5 * M,
                                  "function": 0.5 * M, "predict": 1 * M, "pass": 50 * M}, read=25e6, write=40e6, pairs=50 * M),
    "python": PlatformFacts(0.001, {"scan": 100 * M, "map": 20 * M, "join": 2 * M, "aggregate": 2 * M, "sort": 2 * M, "window": 0.5 * M,
                                    "function": 0.5 * M, "predict": 2 * M, "pass": 200 * M}, read=2000e6, write=2000e6, pairs=10 * M),
}
"""By platform kind; rows of about four columns (32 bytes)."""
# fmt: on

WORK: Mapping[type[Relation], str] = {
    Scan: "scan",
    Constant: "pass",
    Model: "pass",
    Project: "map",
    Filter: "map",
    Sample: "map",
    Unnest: "map",
    Join: "join",
    Aggregate: "aggregate",
    Distinct: "aggregate",
    Sort: "sort",
    Limit: "pass",
    SetOperation: "pass",
    Parts: "pass",
    Copies: "pass",
    MapBatches: "function",
    Predict: "predict",
}
"""The kind of work of each node."""


@dataclass(frozen=True, slots=True)
class Link:
    """A way between two sites: bytes a second, and seconds before the first byte."""

    bytes_per_second: float
    seconds: float


TO_HUB = Link(bytes_per_second=50e6, seconds=0.02)
"""What is assumed of the way from a site to the hub, or back, until it was measured. Sites listen to nobody, so what goes
from one to another goes through the hub and pays twice."""

WITHIN_SITE = Link(bytes_per_second=5000e6, seconds=0.0)
"""Arrow in memory, handed from one platform of a site to another."""


def facts(kind: str) -> PlatformFacts:
    """The facts of a platform kind.

    Raises:
        ConfigError: The kind is not in the table.
    """
    try:
        return PLATFORMS[kind]
    except KeyError:
        what, hint = unknown("platform kind", kind, PLATFORMS)
        raise ConfigError(what, where="cost model", hint=hint) from None


def operator_seconds(kind: str, node: Relation, below: list[Cardinality], own: Cardinality) -> float:
    """Seconds of a node's own work on a platform kind, from the rows it reads and gives.

    >>> from blossom.plan.schema import Schema
    >>> size = Cardinality.known(6e6, 32)
    >>> operator_seconds("duckdb", Scan("t", Schema([("a", "int64")]), "north"), [], size)
    0.1
    """
    work = WORK[type(node)]
    if isinstance(node, Project) and any(has_window(value) for value in node.expressions()):
        work = "window"
    rows = sum(size.expected for size in below) + (own.expected if work != "pass" or not below else 0.0)
    if isinstance(node, Scan):
        rows = own.expected
    elif work in ("map", "aggregate", "sort", "window", "function", "predict"):
        rows = max(below[0].expected if below else 0.0, own.expected)
    seconds = rows / facts(kind).rows[work]
    return seconds + _pairs(facts(kind), node, below) if isinstance(node, Join) else seconds


def _pairs(engine: PlatformFacts, node: Join, below: list[Cardinality]) -> float:
    """Seconds for the links of a join that compare every row of one side with every row of the other."""
    compared = 0.0
    for link, size in zip(node.links, below[1:], strict=False):
        equal = any(
            isinstance(p, Call) and p.op == "Equals" for each in link.predicates for p in conjuncts(each)
        )
        if link.how in engine.loops or not equal:
            # rows after several joins and filters are often a hundredfold more than expected, and this work grows with their product
            compared += min(below[0].high, 100 * below[0].expected) * size.expected
    return compared / engine.pairs


def link(source: str, target: str) -> Link:
    """The way between two sites, by name.

    >>> link("north", "south").seconds == 2 * link("north", "hub").seconds
    True
    """
    if source == target:
        return WITHIN_SITE
    hops = 1 if HUB in (source, target) else 2
    return Link(TO_HUB.bytes_per_second / hops, TO_HUB.seconds * hops)


def moves(
    locations: tuple[Location, ...], kinds: tuple[str, ...]
) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds before the first byte, and seconds a byte, from every location (row) to every other (column)."""
    latency: list[list[float]] = []
    per_byte: list[list[float]] = []
    for source, source_kind in zip(locations, kinds, strict=True):
        one: list[float] = []
        two: list[float] = []
        for target, target_kind in zip(locations, kinds, strict=True):
            if source == target:
                one.append(0.0)
                two.append(0.0)
                continue
            way = link(source.site, target.site)
            start = facts(source_kind).start + facts(target_kind).start
            one.append(way.seconds + start)
            out, into = facts(source_kind).write, facts(target_kind).read
            two.append(1 / out + 1 / way.bytes_per_second + 1 / into)
        latency.append(one)
        per_byte.append(two)
    return latency, per_byte
