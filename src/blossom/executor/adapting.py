"""When a running plan is planned anew: which outputs are waited for, and which sizes are a surprise.

What runs cannot be moved, and a stream's size is known when it has ended, mostly too late. So some outputs are *held*: their
users start when they are complete. Holding costs the time in which an engine would have worked beside the one that it
waits for, hence only small outputs are held whose wait is predicted to be a trifle beside the whole run.
Progressive optimisation with checks at materialised points: Markl et al., SIGMOD 2004.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from blossom.optimizer.cardinality import Rows
from blossom.optimizer.costs import HUB
from blossom.optimizer.physical import Estimate, Fragment

HELD_BYTES = 16 << 20
"""Largest output, as expected, that is held."""

SHARE = 0.03
"""The share of a plan's seconds that holding one output may cost it, as predicted."""

TRIFLE = 0.01
"""Seconds that holding may cost whatever the share: some threads' switching."""

FACTOR = 2.0
"""How far outside the predicted interval a size must be: counts of engines are out of date, and those of private tables rounded."""

ROWS = 1_000
"""Rows by which it must be outside besides: of few rows no place is wrong."""

MOST = 4
"""Times that one run is planned anew."""


def surprising(rows: Rows, estimate: Estimate) -> bool:
    """Whether so many rows are far outside the predicted interval.

    >>> predicted = Estimate(1.0, 500.0, 4000.0, low=100.0, high=2000.0)
    >>> [surprising(Rows.exactly(n), predicted) for n in (0, 100, 4000, 40_000)]
    [False, False, False, True]
    """
    return rows.low > max(FACTOR * estimate.high, estimate.high + ROWS) or rows.high < min(
        estimate.low / FACTOR, estimate.low - ROWS
    )


def consumers(fragments: Iterable[Fragment]) -> Mapping[str, list[Fragment]]:
    """By key, the fragments that read an output."""
    found: dict[str, list[Fragment]] = {}
    for fragment in fragments:
        found.setdefault(fragment.key, [])
        for key in fragment.inputs:
            found.setdefault(key, []).append(fragment)
    return found


def held(fragments: Sequence[Fragment], seconds: float) -> frozenset[str]:
    """Keys of the outputs that are held.

    Args:
        fragments: What is to run, inputs first, the result last.
        seconds: What all of it is predicted to take.
    """
    users = consumers(fragments)
    spare = max(TRIFLE, SHARE * seconds)
    after: dict[str, set[str]] = {}
    places = {fragment.key: fragment.location.site for fragment in fragments}
    for fragment in reversed(fragments):
        after[fragment.key] = {user.key for user in users[fragment.key]}.union(
            *(after[user.key] for user in users[fragment.key])
        )
    return frozenset(
        one.key
        for one in fragments[:-1]
        if one.computes is not None
        and one.estimate.bytes <= HELD_BYTES
        and (math.isfinite(one.estimate.high) or one.estimate.low > 0)
        # there is something to decide when more is left than to merge at the hub
        and (len(after[one.key]) > 1 or any(places[key] != HUB for key in after[one.key]))
        and all(min(one.estimate.seconds, user.estimate.seconds) <= spare for user in users[one.key])
    )


def gates(
    fragments: Sequence[Fragment], waits: frozenset[str], alone: frozenset[str]
) -> Mapping[str, frozenset[str]]:
    """By key, the held outputs for which a fragment waits before it starts.

    Args:
        fragments: What is to run, inputs first.
        waits: The held outputs.
        alone: Fragments whose output stays for one reader, as a stream that runs when it is read: such a fragment starts with its
            reader, so that both can still be planned anew.
    """
    users = consumers(fragments)
    found: dict[str, frozenset[str]] = {}
    for fragment in reversed(fragments):
        own = waits.intersection(fragment.inputs)
        if fragment.key in alone and fragment.key not in waits:
            own = own.union(*(found[user.key] for user in users[fragment.key]))
        found[fragment.key] = own
    return found


def size_text(rows: Rows) -> str:
    """A size for people.

    >>> size_text(Rows.exactly(1200)), size_text(Rows.rounded(1024))
    ('1,200 rows', 'up to 1,024 rows')
    """
    return f"{'' if rows.low == rows.high else 'up to '}{rows.high:,.0f} row{'s' * (rows.high != 1)}"
