"""Placements of one pipeline beside the planner's: every single engine, the planner's next best, and random ones; all by pins."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blossom.optimizer.pins import Operator
from blossom.plan.errors import BlossomError
from blossom.plan.lineage import subqueries
from blossom.plan.relations import Filter, MapBatches, Project, Scan

Pins = Mapping[int, str]


@dataclass(frozen=True)
class Placement:
    """A full assignment of a pipeline's operators.

    Attributes:
        pins: Operator number -> "platform@site", for every operator that is placed.
        seconds: What the planner predicts.
        kind: "planner", "single", "near" or "random".
        label: Its engines, in words.
    """

    pins: Pins
    seconds: float
    kind: str
    label: str

    @property
    def key(self) -> frozenset[tuple[int, str]]:
        """Equal for equal placements, however they were found."""
        return frozenset(self.pins.items())


def placed(session: Any, expression: Any, kind: str, pins: Pins | None = None, label: str = "") -> Placement:
    """The placement that the planner makes of a pipeline under some pins.

    Raises:
        PlanError, PolicyError: There is none.
    """
    plan = session.explain(expression, pins=pins).plan
    places = {one.number: str(one.location) for one in plan.operators() if one.location is not None}
    words = label or " + ".join(dict.fromkeys(str(one.location) for one in plan.fragments))
    return Placement(places, plan.seconds, kind, words)


def operators(session: Any, expression: Any) -> Sequence[Operator]:
    """The pipeline's operators."""
    found: Sequence[Operator] = session.explain(expression).plan.operators()
    return found


def singles(session: Any, expression: Any) -> Iterator[Placement]:
    """For every engine that can: all but the tables themselves there; and the same with filters and columns left at the tables.

    Python functions, which no engine runs, are where the planner has them.
    """
    listed = operators(session, expression)
    at_home: set[int] = set()
    for one in listed:
        plain = isinstance(one.relation, Filter | Project) and not subqueries(one.relation)
        if isinstance(one.relation, Scan) or (plain and at_home.issuperset(one.below)):
            at_home.add(one.number)
    free = [one for one in listed if not isinstance(one.relation, Scan | MapBatches)]
    for place in dict.fromkeys(str(at) for one in free for at in one.able):
        for kept, note in ((set[int](), "rows as they are"), (at_home, "filtered rows")):
            pins = {one.number: place for one in free if one.number not in kept}
            try:
                yield placed(session, expression, "single", pins, f"{place}, {note}")
            except BlossomError:
                continue  # an engine that cannot run it whole is no single engine


def near(session: Any, expression: Any, most: int, tries: int, seed: int) -> list[Placement]:
    """The planner's next best: one operator moved by hand and the others placed anew, the least predicted seconds first."""
    moves = [
        (one.number, str(at))
        for one in operators(session, expression)
        if not isinstance(one.relation, Scan)
        for at in one.able
        if at != one.location
    ]
    random.Random(seed).shuffle(moves)
    found: dict[frozenset[tuple[int, str]], Placement] = {}
    for number, place in moves[:tries]:
        try:
            one = placed(session, expression, "near", {number: place})
        except BlossomError:
            continue  # that operator cannot be there
        found.setdefault(one.key, one)
    return sorted(found.values(), key=lambda one: one.seconds)[:most]


def anyhow(session: Any, expression: Any, most: int, seed: int) -> Iterator[Placement]:
    """Random placements: every operator on any engine that can run it."""
    chance = random.Random(seed)
    free = [one for one in operators(session, expression) if not isinstance(one.relation, Scan)]
    for _ in range(most):
        pins = {one.number: str(chance.choice(one.able)) for one in free if one.able}
        try:
            yield placed(session, expression, "random", pins)
        except BlossomError:
            continue  # rows may not or cannot go that way
