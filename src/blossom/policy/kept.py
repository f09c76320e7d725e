"""What a site remembers of a fragment's output that stayed there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blossom.plan.lineage import Flow
from blossom.policy.model import TablePolicy
from blossom.policy.states import AFFINE, CONSTANT, State, Value


@dataclass(frozen=True, eq=False)
class Kept:
    """What a site remembers of an output that stayed, for judging the fragment that reads it.

    Attributes:
        state: Its state. Where private, the output has hidden columns for its units.
        flow: Which columns are behind it.
        tables: Every table behind it, guarded ones included: each must admit who gets what is made of it.
        guarded: Whether a guard let part of it out.
    """

    state: State
    flow: Flow
    tables: frozenset[str]
    guarded: bool

    def disguised(self, policies: Mapping[str, TablePolicy]) -> frozenset[str]:
        """Columns that would hide a predicate, were they taken for stored ones (when the output becomes a table of its own).

        The judge lets bare columns into aggregates; `if pid = 777 then salary else 0` must not become one by being written.
        """
        plain = self.plain()
        return frozenset(
            name
            for name, value in self.state.columns.items()
            if name not in plain
            and any(not policies[table].column(column).transform for table, column in value.sources)
        )

    def plain(self) -> frozenset[str]:
        """Columns that may be taken for stored ones when the output becomes a table of its own."""
        if self.state.weighted:
            return frozenset()
        return frozenset(name for name, value in self.state.columns.items() if _plain(value))


NOTHING_KEPT: Mapping[str, Kept] = {}


def _plain(value: Value) -> bool:
    # Written again and again, shifts larger than the scale, or scales, would add up to a threshold (see Value.low).
    return value.bare is not None or (value.form in (CONSTANT, AFFINE) and value.low == value.high == 1.0)
