"""Pins: operators of a plan that the user places by hand, by their numbers; the planner places the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from blossom.optimizer.nodes import Node
from blossom.optimizer.physical import Location
from blossom.plan.errors import PlanError, nearest
from blossom.plan.relations import Parts, Relation
from blossom.plan.text import node_text

Pins: TypeAlias = Mapping[int, Location]
"""Operator number -> where it must run."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator as pins name it.

    Attributes:
        number: Its number, inputs first; the same each time while the pipeline, its tables and their policies are the same.
        relation: What it does.
        able: The places whose platform can run it; policies may forbid some of them.
        location: Where it was placed; None where nothing needs it (a copy of a table that was not taken).
        below: The numbers of the operators whose rows it reads.
    """

    number: int
    relation: Relation
    able: tuple[Location, ...]
    location: Location | None
    below: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.number} {named(self.relation)}"


def named(relation: Relation) -> str:
    """An operator in a few words."""
    return "Union" if isinstance(relation, Parts) else node_text(relation)


def location(text: str) -> Location:
    """A place from its text.

    >>> location("duckdb@north")
    Location(site='north', platform='duckdb')

    Raises:
        PlanError: It is no place's text.
    """
    platform, at, site = text.partition("@")
    if not (platform and at and site):
        raise PlanError(f"{text!r} is no place", where="pins", hint='write platform@site, as "duckdb@north"')
    return Location(site, platform)


def allowed(
    table: Sequence[Node],
    locations: Sequence[Location],
    incapable: Sequence[Mapping[int, str]],
    pins: Pins,
) -> Mapping[int, int]:
    """Node number -> the number of the only location that its pin allows.

    Raises:
        PlanError: A pin names an operator or a place that the plan does not have, or a place that cannot run the operator.
    """
    found: dict[int, int] = {}
    for number, place in pins.items():
        if not 0 <= number < len(table):
            raise PlanError(
                f"the plan has no operator {number}",
                where="pins",
                hint=f"its operators are 0 to {len(table) - 1}: explain(...).plan.operators() lists them",
            )
        what = f"operator {number} ({named(table[number].relation)})"
        if place not in locations:
            names = [str(one) for one in locations]
            close = nearest(str(place), names)
            guess = f"did you mean {close}? " if close else ""
            raise PlanError(
                f"{place} is no place of this plan", where=what, hint=f"{guess}it has {', '.join(names)}"
            )
        at = locations.index(place)
        if at in incapable[number]:
            able = [str(one) for i, one in enumerate(locations) if i not in incapable[number]]
            raise PlanError(
                f"{place} cannot run it: {incapable[number][at]}",
                where=what,
                hint=f"it can run on {', '.join(able) or 'no place'}",
            )
        found[number] = at
    return found


def unfeasible(table: Sequence[Node], pins: Pins, blocked: int) -> PlanError:
    """The error when there is a plan without the pins, but none with them."""
    return PlanError(
        f"no plan obeys the pins: with them, operator {blocked} ({named(table[blocked].relation)}) cannot get its rows anywhere",
        where=", ".join(f"{number} on {place}" for number, place in sorted(pins.items())),
        hint="leave one out: an engine may not be able to take in such rows, or a policy keeps them where they are",
    )
