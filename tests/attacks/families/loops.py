"""Loops: a private state asked for, a condition that answers questions, turns that differ by one person."""

from __future__ import annotations

from typing import Any

from ibis import _
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.families.groups import rows
from tests.attacks.world import VICTIM, Door

import blossom as bl

FAMILY = "loops"


def people(door: Door) -> Any:
    return door.people.select("pid", "age", "salary")


@attack(FAMILY, "rows", "keeps rows as a loop's state and asks for the last one")
def state_of_rows(door: Door) -> Guess:
    last = bl.repeat(people(door), lambda t: t.mutate(age=_.age + 1), times=2)
    return next((row["salary"] for row in rows(last) if row["pid"] == VICTIM), None)


@attack(FAMILY, "columns", "narrows a loop's state down to her, and asks for its sum")
def state_of_one(door: Door) -> Guess:
    last = bl.repeat(people(door), lambda t: t.filter(_.pid == VICTIM), times=1)
    return number(last.salary.sum())


@attack(FAMILY, "frequency", "asks about her in a loop's condition, and counts its turns", tolerance=2000.0)
def condition(door: Door) -> Guess:
    start = door.fed.from_arrow({"bound": [0.0]})
    salary = door.people.filter(_.pid == VICTIM).salary.sum().as_scalar()
    last = bl.repeat(
        start,
        lambda t: t.mutate(bound=_.bound + 2000.0),
        until=lambda before, after: salary < after.bound.max().as_scalar(),
        max_times=200,
    )
    return number(last.bound.max())


@attack(FAMILY, "differencing", "drops one person more in each turn, and takes the turns' sums apart")
def turns(door: Door) -> Guess:
    start = door.fed.from_arrow({"total": [0.0], "part": [0.0], "skip": [VICTIM]})

    def step(t: Any) -> Any:
        one = t.agg(skip=_.skip.max())
        kept = door.people.cross_join(one).filter(_.pid != _.skip)
        sums = kept.agg(part=_.salary.sum()).cross_join(door.people.agg(total=_.salary.sum()))
        return sums.select("total", "part", skip=VICTIM)

    (row,) = rows(bl.repeat(start, step, times=1))
    return None if row["total"] is None or row["part"] is None else row["total"] - row["part"]


@honest(FAMILY)
def mean_by_descent(door: Door) -> Any:
    start = door.fed.from_arrow({"mean": [0.0]})

    def step(t: Any) -> Any:
        found = door.people.agg(mean=_.bonus.mean())
        return t.cross_join(found.select(new="mean")).select(mean=(_.mean + _.new) / 2)

    return number(bl.repeat(start, step, times=3).mean.max())
