"""Rows chosen by a predicate: by who she is, by what she earns, by complements."""

from __future__ import annotations

from typing import Any

from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.world import VICTIM, VICTIM_AGE, VICTIM_NAME, Door

FAMILY = "predicates"


@attack(FAMILY, "filter", "filters by her identifier")
def by_identifier(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.pid == VICTIM).salary.sum())


@attack(FAMILY, "columns", "filters by her name")
def by_name(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.name == VICTIM_NAME).salary.mean())


@attack(FAMILY, "columns", "filters by a pattern of her name")
def by_pattern(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.name.like("Ada%")).salary.mean())


@attack(FAMILY, "frequency", "filters by her age, which is allowed and hers alone")
def by_age(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.age == VICTIM_AGE).salary.sum())


@attack(FAMILY, "frequency", "filters by her age and groups by department")
def by_age_and_key(door: Door) -> Guess:
    t = door.people
    rows = t.filter(t.age > 90).group_by("dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    return rows[0]["s"] if rows else None


@attack(FAMILY, "filter", "counts salaries above a threshold and moves the threshold", tolerance=50.0)
def threshold_count(door: Door) -> Guess:
    t = door.people
    return bisected(lambda x: (number(t.filter(t.salary > x).count()) or 0) >= 1, 60_000, 130_000, 40.0)


@attack(FAMILY, "filter", "the same with HAVING on each person's group", tolerance=50.0)
def threshold_having(door: Door) -> Guess:
    t = door.people
    each = t.group_by("pid").agg(s=t.salary.sum())
    return bisected(lambda x: (number(each.filter(each.s > x).count()) or 0) >= 1, 60_000, 130_000, 40.0)


@attack(FAMILY, "filter", "asks for everybody but her")
def complement(door: Door) -> Guess:
    t = door.people
    everybody, others = number(t.salary.sum()), number(t.filter(t.pid != VICTIM).salary.sum())
    return None if everybody is None or others is None else everybody - others


@attack(FAMILY, "filter", "asks for a disjunction of her and of a crowd, and for the crowd")
def crowd(door: Door) -> Guess:
    t = door.people
    both = number(t.filter((t.pid == VICTIM) | (t.dept == "bank")).salary.sum())
    alone = number(t.filter(t.dept == "bank").salary.sum())
    return None if both is None or alone is None else both - alone


@attack(FAMILY, "filter", "puts the predicate into the means of two columns: BETWEEN on the unit column")
def between(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.pid.between(VICTIM, VICTIM)).salary.mean())


@attack(FAMILY, "filter", "uses IN with a list of one")
def in_list(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.pid.isin([VICTIM])).salary.mean())


@attack(FAMILY, "filter", "filters by null, which only her bonus is")
def is_null(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.bonus.isnull()).salary.mean())


@attack(FAMILY, "filter", "filters after a projection that renames the identifier")
def renamed(door: Door) -> Guess:
    t = door.people.select(harmless="pid", value="salary")
    return number(t.filter(t.harmless == VICTIM).value.sum())


@attack(FAMILY, "filter", "compares two columns of a row, one scaled so that only she passes")
def column_against_column(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.revenue > 10 * t.salary).salary.sum())


@attack(FAMILY, "filter", "chooses rows by a sample with a known seed, sharpened by her age")
def sampled(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.age > 90).sample(1.0, method="row", seed=1).salary.sum())


@honest(FAMILY)
def age_band(door: Door) -> Any:
    t = door.people
    return number(t.filter(t.age.between(30, 59)).salary.mean())


@honest(FAMILY)
def filter_and_group(door: Door) -> Any:
    t = door.people
    return t.filter(t.age < 60).group_by("dept").agg(m=t.salary.mean()).to_pyarrow().to_pylist()


@honest(FAMILY)
def having_on_groups(door: Door) -> Any:
    t = door.people
    groups = t.group_by("dept").agg(n=t.count(), m=t.salary.mean())
    return groups.filter(groups.n > 20).to_pyarrow().to_pylist()
