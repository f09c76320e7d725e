"""What an engine and a link cost before anything was measured: tables of facts, by platform kind.

Orders of magnitude, meant to extrapolate sensibly rather than to be right: measurements of runs take their place (`learned`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from blossom.optimizer.costs.terms import NUMBER, READ, ROWS, TERMS, WRITE, Floats
from blossom.plan.errors import ConfigError, unknown

HUB = "hub"
"""The hub's name as a site."""

MARGIN = 0.30
"""The prior's own uncertainty: a plan over more platforms must promise to be this much faster than a simpler one."""

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
        worker: Seconds to begin a Python function.
        loops: Whether semi and anti joins by equality compare pairs too.
    """

    start: float
    rows: Mapping[str, float]
    read: float
    write: float
    pairs: float
    worker: float = 0.2
    loops: bool = False


# fmt: off
PLATFORMS: Mapping[str, PlatformFacts] = {
    "duckdb": PlatformFacts(0.004, {"scan": 60 * M, "map": 80 * M, "join": 15 * M, "aggregate": 25 * M, "sort": 6 * M, "window": 3 * M,
                                    "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1000e6, write=1000e6, pairs=300 * M),
    "polars": PlatformFacts(0.003, {"scan": 60 * M, "map": 80 * M, "join": 15 * M, "aggregate": 20 * M, "sort": 8 * M, "window": 4 * M,
                                    "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1500e6, write=1500e6, pairs=100 * M),
    "sqlite": PlatformFacts(0.002, {"scan": 6 * M, "map": 8 * M, "join": 0.8 * M, "aggregate": 3 * M, "sort": 0.6 * M, "window": 0.3 * M,
                                    "function": 0.3 * M, "predict": 0.5 * M, "pass": 5 * M}, read=15e6, write=8e6, pairs=5 * M, loops=True),
    "postgresql": PlatformFacts(0.006, {"scan": 8 * M, "map": 8 * M, "join": 2.5 * M, "aggregate": 4 * M, "sort": 1.5 * M, "window": 0.8 * M,
                                        "function": 0.3 * M, "predict": 0.5 * M, "pass": 20 * M}, read=20e6, write=32e6, pairs=10 * M),
    "mariadb": PlatformFacts(0.006, {"scan": 3 * M, "map": 3 * M, "join": 0.7 * M, "aggregate": 1 * M, "sort": 0.7 * M, "window": 0.3 * M,
                                     "function": 0.3 * M, "predict": 0.5 * M, "pass": 5 * M}, read=8e6, write=12e6, pairs=5 * M, loops=True),
    "datafusion": PlatformFacts(0.006, {"scan": 50 * M, "map": 60 * M, "join": 12 * M, "aggregate": 15 * M, "sort": 6 * M, "window": 3 * M,
                                        "function": 0.5 * M, "predict": 1 * M, "pass": 200 * M}, read=1500e6, write=1500e6, pairs=100 * M),
    "clickhouse": PlatformFacts(0.015, {"scan": 50 * M, "map": 60 * M, "join": 8 * M, "aggregate": 20 * M, "sort": 6 * M, "window": 2 * M,
                                        "function": 0.5 * M, "predict": 1 * M, "pass": 100 * M}, read=300e6, write=400e6, pairs=50 * M),
    "spark": PlatformFacts(0.15, {"scan": 20 * M, "map": 20 * M, "join": 5 * M, "aggregate": 6 * M, "sort": 3 * M, "window": 1.5 * M,
                                  "function": 0.5 * M, "predict": 1 * M, "pass": 50 * M}, read=25e6, write=40e6, pairs=50 * M),
    "python": PlatformFacts(0.001, {"scan": 100 * M, "map": 20 * M, "join": 2 * M, "aggregate": 2 * M, "sort": 2 * M, "window": 0.5 * M,
                                    "function": 0.5 * M, "predict": 2 * M, "pass": 200 * M}, read=2000e6, write=2000e6, pairs=10 * M),
}
"""By platform kind; rows of about four columns (32 bytes)."""
# fmt: on

HASHED = 1e-13
"""Seconds a pair where a semi or anti join hashes: nothing, but never zero."""

SHARES = (1 / 2, 1 / 4 * 32, 1 / 4 * 8)
"""What a move costs a byte, a row and a value, in units of a byte: for rows of four columns of eight bytes, one a byte in all."""


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


@cache
def _units(kind: str) -> tuple[float, ...]:
    engine = facts(kind)
    seconds = np.zeros(len(TERMS))
    seconds[NUMBER["start"]] = engine.start
    seconds[NUMBER["worker"]] = engine.worker
    for work in ROWS:
        seconds[NUMBER[work]] = 1 / engine.rows[work]
    seconds[NUMBER["compare"]] = 1 / engine.pairs
    seconds[NUMBER["lookup"]] = 1 / engine.pairs if engine.loops else HASHED
    for terms, rate in ((READ, engine.read), (WRITE, engine.write)):
        for term, share in zip(terms, SHARES, strict=True):
            seconds[NUMBER[term]] = share / rate
    return tuple(seconds.tolist())


def units(kind: str) -> Floats:
    """(terms,) seconds that one unit of each term costs on a platform kind; none is zero."""
    return np.array(_units(kind))


@dataclass(frozen=True, slots=True)
class Link:
    """A way between two sites: bytes a second, and seconds before the first byte."""

    bytes_per_second: float
    seconds: float


TO_HUB = Link(bytes_per_second=50e6, seconds=0.02)
"""What is assumed of the way from a site to the hub, or back, until it was measured. Sites listen to nobody, so what goes
from one to another goes through the hub and pays twice."""

WITHIN_SITE = Link(bytes_per_second=5000e6, seconds=1e-5)
"""Arrow in memory, handed from one platform of a site to another."""


def hops(source: str, target: str) -> tuple[tuple[str, str], ...]:
    """The links that data take from one site to another: one within a site or from and to the hub, else two.

    >>> hops("north", "south")
    (('north', 'hub'), ('hub', 'south'))
    """
    if source == target or HUB in (source, target):
        return ((source, target),)
    return ((source, HUB), (HUB, target))


def link(source: str, target: str) -> Link:
    """One hop's facts."""
    return WITHIN_SITE if source == target else TO_HUB
