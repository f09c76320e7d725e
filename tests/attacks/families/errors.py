"""Errors that say a value, and errors whose mere occurrence answers a question."""

from __future__ import annotations

from typing import Any

import ibis
from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.world import VICTIM, VICTIM_AGE, Door

import blossom as bl

FAMILY = "errors"


@attack(
    FAMILY,
    "errors",
    "casts a text of her salary to a date: the engine prints what it could not read",
    tolerance=0.0,
)
def failing_cast(door: Door) -> Guess:
    t = door.people
    only = t.filter(t.age == VICTIM_AGE)
    number(only.salary.cast("string").cast("date").count())
    return None


@attack(
    FAMILY,
    "errors",
    "multiplies incomes beyond 64 bits: the engine prints the factors",
    secret="income",
    tolerance=0.0,
)
def printed_overflow(door: Door) -> Guess:
    t = door.people
    number((t.filter(t.age == VICTIM_AGE).income * 2**60).sum())
    return None


@attack(
    FAMILY,
    "errors",
    "casts incomes to 8 bits: the engine prints the first that does not fit",
    secret="income",
    tolerance=0.0,
)
def printed_cast(door: Door) -> Guess:
    t = door.people
    number(t.filter(t.age == VICTIM_AGE).income.cast("int8").sum())
    return None


@attack(FAMILY, "errors", "casts in a write, where nothing leaves", secret="income", tolerance=0.0)
def printed_cast_in_a_write(door: Door) -> Guess:
    t = door.table("people", site="north")
    door.write(t.filter(t.age == VICTIM_AGE).mutate(small=t.income.cast("int8")))
    return None


def fails(door: Door, condition: Any, t: Any) -> bool:
    """Whether writing a cast that fails on a condition fails."""
    text = ibis.cases((condition, ibis.literal("no number")), else_=ibis.literal("1"))
    try:
        door.write(t.mutate(x=text.cast("int64")))
    except bl.PolicyError:
        raise
    except bl.BlossomError:
        return True
    return False


@attack(
    FAMILY,
    "errors",
    "writes rows with a cast that fails if her salary exceeds a threshold, and moves it",
    tolerance=50.0,
)
def write_as_oracle(door: Door) -> Guess:
    t = door.table("people", site="north")
    return bisected(lambda x: fails(door, (t.pid == VICTIM) & (t.salary > x), t), 60_000, 130_000, 40.0)


@attack(FAMILY, "errors", "aggregates with such a cast", tolerance=50.0)
def aggregate_as_oracle(door: Door) -> Guess:
    t = door.people

    def high(x: float) -> bool:
        condition = (t.pid == VICTIM) & (t.salary > x)
        text = ibis.cases((condition, ibis.literal("no number")), else_=ibis.literal("1"))
        try:
            number(text.cast("int64").sum())
        except bl.PolicyError:
            raise
        except bl.BlossomError:
            return True
        return False

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "errors", "trains on rows with such a cast", tolerance=50.0)
def training_as_oracle(door: Door) -> Guess:
    t = door.people

    def high(x: float) -> bool:
        condition = (t.pid == VICTIM) & (t.salary > x)
        text = ibis.cases((condition, ibis.literal("no number")), else_=ibis.literal("1"))
        table = t.select("age", x=text.cast("float64"))
        try:
            bl.train(bl.LinearRegression(), table, target="age", features=["x"]).fit()
        except bl.PolicyError:
            raise
        except bl.PlatformError:
            return True
        except bl.BlossomError:
            return False
        return False

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "errors",
    "multiplies her income alone up to an overflow, below a cell that is withheld",
    secret="income",
    tolerance=50.0,
)
def withheld_overflow_as_oracle(door: Door) -> Guess:
    t = door.people
    only = t.filter(t.age == VICTIM_AGE)

    def high(x: float) -> bool:
        try:
            number((only.income * int((2**63 - 1) // x)).sum())
        except bl.PolicyError:
            raise
        except bl.BlossomError:
            return True
        return False

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "errors", "divides by zero in whole numbers if the condition holds", tolerance=50.0)
def division_by_zero(door: Door) -> Guess:
    t = door.people

    def high(x: float) -> bool:
        value = number(
            (1.0 / ((t.pid == VICTIM) & (t.salary > x)).cast("float64")).sum(where=t.pid == VICTIM)
        )
        return value is not None and value == 1.0

    return bisected(high, 60_000, 130_000, 40.0)


@honest(FAMILY)
def cast_of_an_open_column(door: Door) -> Any:
    t = door.people
    return number(t.age.cast("float64").mean())


@honest(FAMILY)
def cast_that_widens(door: Door) -> Any:
    t = door.people
    return number(t.income.cast("float64").sum())
