"""What the planner asks about the federation: places, tables, abilities, sizes, and what may leave a site."""

from __future__ import annotations

from typing import Protocol

from blossom.optimizer.physical import Location
from blossom.plan.errors import Refusal
from blossom.plan.relations import Relation
from blossom.policy.model import TablePolicy


class Catalogue(Protocol):
    """The planner's view of a federation; every answer is fixed while one plan is made."""

    @property
    def locations(self) -> tuple[Location, ...]:
        """Every platform of every site, the hub's included; of equally good ones the planner takes the first."""
        ...

    def home(self, site: str, table: str) -> Location:
        """The platform that a site's table is published on."""
        ...

    def kind(self, location: Location) -> str:
        """The platform's kind: a key of `cost.PLATFORMS`."""
        ...

    def unsupported(self, location: Location, node: Relation) -> str | None:
        """Why this node's own work cannot run there; None when it can."""
        ...

    def rows(self, site: str, table: str) -> int | None:
        """What is known of a table's size; None when nothing is."""
        ...

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        """Why a site may not send this relation to another; empty when it may.

        `relation` is a whole sub-plan as the site would run it: its `Scan` leaves are the site's own tables, what comes
        from elsewhere is a `Received` leaf (whose senders are asked on their own).
        """
        ...

    def policy(self, site: str, table: str) -> TablePolicy:
        """The rules in force for a site's table: for telling users what is allowed, never for deciding it."""
        ...
