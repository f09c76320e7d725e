"""Why a fragment is where it is, in words; made when somebody asks, for most plans are run and never explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import overload

from blossom.optimizer.compliance import Compliance
from blossom.optimizer.fragments import Piece
from blossom.optimizer.graph import Problem
from blossom.optimizer.nodes import Node
from blossom.optimizer.physical import Location
from blossom.optimizer.placement import Assignment, alternatives
from blossom.plan.errors import listed
from blossom.plan.relations import Model, Scan

ALTERNATIVES = 5
"""How many of the cheapest alternatives are looked at for a fragment's reasons."""


class Told(Sequence[str]):
    """Sentences that are made when they are first read.

    >>> told = Told(lambda: ("people lives here",))
    >>> len(told), told[0], list(told)
    (1, 'people lives here', ['people lives here'])
    """

    def __init__(self, make: Callable[[], tuple[str, ...]]) -> None:
        self._make: Callable[[], tuple[str, ...]] | None = make
        self._told: tuple[str, ...] = ()

    def _read(self) -> tuple[str, ...]:
        make = self._make
        if make is not None:
            self._told = make()
            self._make = None  # and with it the planning's arrays
        return self._told

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())


class Reasons:
    """Tells why each piece of a placed plan is where it is.

    Args:
        table: The plan's nodes.
        locations: The places.
        incapable: By node, the places that cannot run it, with the reasons.
        compliance: The verdicts.
        consumer: The site that gets the result.
        problem: What was placed.
        assignment: The placement.
        note: Why a simpler plan stands in place of the cheapest; None where it does not.
    """

    def __init__(
        self,
        table: Sequence[Node],
        locations: Sequence[Location],
        incapable: Sequence[Mapping[int, str]],
        *,
        compliance: Compliance,
        consumer: str,
        problem: Problem,
        assignment: Assignment,
        note: str | None,
    ) -> None:
        self._table = table
        self._locations = locations
        self._incapable = incapable
        self._compliance = compliance
        self._consumer = consumer
        self._problem = problem
        self._assignment = assignment
        self._note = note

    def of(self, piece: Piece) -> Told:
        """What lies where the piece runs, what may not leave, what an engine cannot do, what else would cost."""
        return Told(lambda: self._tell(piece))

    @cached_property
    def _other(self) -> tuple[list[int], list[float]]:
        """For each node the best other place, and what the whole plan would cost with it there."""
        place_of, cost = alternatives(self._problem, self._assignment)
        return place_of.tolist(), cost.tolist()

    def _tell(self, piece: Piece) -> tuple[str, ...]:
        here = self._locations[piece.place]
        members = [self._table[number] for number in piece.members]
        reasons = [*_home(members), *self._bound(piece, here), *self._forced(piece, members)]
        sources = self._sources(piece)
        if len({one.site for one in sources}) > 1:
            sites = list(dict.fromkeys(one.site for one in sources))
            reasons.append(f"here comes together what {listed(sites)} send")
        nearest = self._nearest(piece)
        if nearest is not None:
            other, forced = self._other
            more = forced[nearest] - self._assignment.total
            there = f"{self._locations[other[nearest]]} was considered"
            reasons.append(
                f"{there}: {seconds_text(more)} more"
                if more >= 0
                else f"{there}: {seconds_text(-more)} less, with all else as fast as can be; the budget decided"
            )
        if self._note is not None and self._note.startswith(("all on ", f"{here.site} stays on ")):
            reasons.append(self._note)
        return tuple(dict.fromkeys(reasons))

    def _bound(self, piece: Piece, here: Location) -> list[str]:
        """What policies forbid of taking the piece's input elsewhere."""
        kept: dict[tuple[str, str], list[str]] = {}
        for number in self._table[piece.top].below:
            for refusal in self._compliance.refusals(self._table[number], here.site, self._consumer):
                tables = kept.setdefault((refusal.rule, refusal.reason), [])
                if refusal.table not in tables:
                    tables.append(refusal.table)
        rows = [table for (rule, _), tables in kept.items() if rule == "rows" for table in tables]
        reasons = [f"rows of {listed(list(dict.fromkeys(rows)))} may not leave {here.site}"] if rows else []
        others = {words: tables for (rule, words), tables in kept.items() if rule != "rows"}
        return reasons + [f"policy of {listed(tables)}: {words}" for words, tables in others.items()]

    def _forced(self, piece: Piece, members: Sequence[Node]) -> list[str]:
        """What the engine that holds the input cannot do, where this is why the work goes on elsewhere."""
        here = self._locations[piece.place]
        # A model is written into the fragment that predicts with it: the prediction is what an engine can or cannot do.
        work = [node for node in members if not isinstance(node.relation, Model)]
        unable: dict[Location, str] = {}
        for source in self._sources(piece):
            number = self._locations.index(source)
            why = next(
                (
                    self._incapable[one.number][number]
                    for one in work
                    if number in self._incapable[one.number]
                ),
                None,
            )
            if why is None:
                return []
            unable[source] = why
        return [f"{source}: {why}, so {here} takes it" for source, why in sorted(unable.items())[:1]]

    def _sources(self, piece: Piece) -> list[Location]:
        """Where the piece's inputs come from."""
        inside = set(piece.members)
        below = {number for member in piece.members for number in self._table[member].below} - inside
        places = {int(self._assignment.choice[number]) for number in below}
        return [self._locations[place] for place in sorted(places) if place >= 0]

    def _nearest(self, piece: Piece) -> int | None:
        """The member whose move elsewhere would cost least, of the moves that policies allow; few are looked at."""
        other, forced = self._other
        choice = self._assignment.choice
        able = sorted(
            (number for number in piece.members if other[number] >= 0), key=lambda number: forced[number]
        )
        for number in able[:ALTERNATIVES]:
            there = self._locations[other[number]].site
            below = [i for i in self._table[number].below if choice[i] >= 0]
            sources = [self._locations[int(choice[i])].site for i in below]
            if not any(
                self._compliance.refusals(self._table[i], source, there)
                for i, source in zip(below, sources, strict=True)
            ):
                return number
        return None


def _home(members: Sequence[Node]) -> list[str]:
    """The tables that a piece reads, which lie where it runs."""
    tables = list(dict.fromkeys(one.relation.table for one in members if isinstance(one.relation, Scan)))
    return [f"{listed(tables)} {'lives' if len(tables) == 1 else 'live'} here"] if tables else []


def seconds_text(value: float) -> str:
    """Seconds for people.

    >>> seconds_text(0.0123), seconds_text(1.26)
    ('12 ms', '1.3 s')
    """
    return f"{value:.2g} s" if value >= 0.1 else f"{value * 1e3:.2g} ms"
