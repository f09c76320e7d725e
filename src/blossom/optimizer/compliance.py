"""Which moves between sites the owners' policies allow, found before any cost is looked at.

What a site sends is judged as one plan: everything below the node, as that site would run it, with what came from others as
`Received` leaves. So rows may be bound to their site while an aggregate over them may travel.

A move of node u from site s to site t (s and t differ) is allowed when
1. s, if it owns tables below u, may send u to t, and, since whatever t makes of it ends up with the consumer, to the consumer too;
2. every other owner below u has already agreed to the consumer when its data left it (rule 1); to any third site it must be
   willing to send the very tables below u, whole.
A move within a site is free; so is the return of data to its owner.
"""

from __future__ import annotations

from collections.abc import Sequence

from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.nodes import Node, rebuilt
from blossom.plan.errors import Refusal
from blossom.plan.relations import Copies, Received, Relation, Scan


class Compliance:
    """The verdicts for one plan, each asked for once.

    Args:
        table: The plan's nodes.
        catalogue: Knows the policies.
        consumer: The site that gets the result.
    """

    def __init__(self, table: Sequence[Node], catalogue: Catalogue, consumer: str) -> None:
        self._table = table
        self._catalogue = catalogue
        self._consumer = consumer
        self._asked: dict[tuple[int, str, str], tuple[Refusal, ...]] = {}
        self._as_run: dict[str, list[Relation]] = {}

    def refusals(self, node: Node, source: str, target: str) -> tuple[Refusal, ...]:
        """Why the node's output may not go from one site to the other; empty when it may."""
        if source == target or not node.owners:
            return ()
        found: list[Refusal] = []
        recipients = (self._consumer,) if target == self._consumer else (self._consumer, target)
        for owner in sorted(node.owners):
            if owner == source:
                for recipient in recipients:
                    found += self._ask(node, owner, recipient)
            elif owner != target and target != self._consumer:
                for scan in self._tables_below(node, owner):
                    found += self._ask(scan, owner, target)
        return tuple(dict.fromkeys(found))

    def leaving(self, node: Node, owner: str, recipient: str) -> tuple[Refusal, ...]:
        """Why an owner of tables below the node would not send it to a recipient."""
        return () if owner == recipient else self._ask(node, owner, recipient)

    def as_run_at(self, node: Node, site: str) -> Relation:
        """The sub-plan as that site would run all of it: what touches none of its tables is a `Received` leaf.

        Gives the relation itself where nothing had to change.
        """
        views = self._as_run.setdefault(site, [])
        for one in self._table[len(views) : node.number + 1]:  # the table has inputs first
            if not one.owners:
                views.append(one.relation)
            elif site not in one.owners:
                views.append(Received(f"elsewhere{one.number}", one.relation.schema))
            elif isinstance(one.relation, Copies):
                views.append(next(views[i] for i in one.inputs if site in self._table[i].owners))
            else:
                inside = [views[self._widened(number)] for number in one.attached]
                views.append(rebuilt(one, [views[i] for i in one.inputs], inside))
        return views[node.number]

    def _widened(self, number: int) -> int:
        node = self._table[number]
        return node.inputs[0] if node.narrowing else number

    def _ask(self, node: Node, owner: str, recipient: str) -> tuple[Refusal, ...]:
        key = (node.number, owner, recipient)
        if key not in self._asked:
            self._asked[key] = self._catalogue.may_ship(self.as_run_at(node, owner), owner, recipient)
        return self._asked[key]

    def _tables_below(self, node: Node, owner: str) -> list[Node]:
        stack, seen = [node.number], {node.number}
        while stack:
            for number in self._table[stack.pop()].below:
                if number not in seen and owner in self._table[number].owners:
                    seen.add(number)
                    stack.append(number)
        found = (self._table[number] for number in sorted(seen))
        return [one for one in found if isinstance(one.relation, Scan) and one.relation.site == owner]
