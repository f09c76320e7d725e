"""Parts of a plan that ran already, or run: what is planned after them takes their rows where they are, at no cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blossom.optimizer.cardinality import Cardinality, Rows, width
from blossom.optimizer.graph import Bools, Ints
from blossom.optimizer.nodes import Node
from blossom.optimizer.physical import Location
from blossom.plan.errors import PlanError
from blossom.plan.relations import Relation


@dataclass(frozen=True, eq=False)
class Finished:
    """The output of a fragment that is not to run again.

    Attributes:
        key: Its fragment's key.
        computes: The part of the distributed plan whose rows it gives.
        location: Where it was made.
        sites: Where its rows may be used: the sites that they were given to, and its own if they stay there. A use elsewhere
            would be another release.
        rows: How many there are, as far as is told; None while they are still coming.
    """

    key: str
    computes: Relation
    location: Location
    sites: frozenset[str]
    rows: Rows | None

    @property
    def size(self) -> Cardinality | None:
        """Its true size."""
        if self.rows is None:
            return None
        return Cardinality(self.rows.low, self.rows.expected, self.rows.high, width(self.computes.schema))


def located(table: Sequence[Node], finished: Sequence[Finished]) -> dict[int, Finished]:
    """The finished outputs by the number of their node.

    Raises:
        PlanError: One is no part of the plan.
    """
    numbers = {id(node.relation): node.number for node in table}
    found: dict[int, Finished] = {}
    for one in finished:
        number = numbers.get(id(one.computes))
        if number is None:
            raise PlanError(
                f"what fragment {one.key} computed is no part of the plan",
                where="placement",
                hint="plan the whole pipeline",
            )
        found[number] = one
    return found


def settled(table: Sequence[Node], finished: dict[int, Finished]) -> Bools:
    """(n,) nodes that only finished outputs lead to: nothing of them is left to do."""
    alive: Bools = np.zeros(len(table), dtype=np.bool_)
    alive[-1] = True
    for node in reversed(table):
        if alive[node.number] and node.number not in finished:
            alive[list(node.below)] = True
    return ~alive


def remaining(child: Ints, parent: Ints, finished: dict[int, Finished], dead: Bools) -> Ints:
    """The edges that are left: none from what is still to be placed into what is settled."""
    inner: Bools = dead.copy()
    inner[list(finished)] = True
    return np.flatnonzero(~inner[parent] | dead[child])
