"""What is said beside the answer: sizes, plans, records, flags of withholding."""

from __future__ import annotations

import re
from typing import Any

from tests.attacks.attack import Guess, attack, bisected, honest
from tests.attacks.families.groups import rows
from tests.attacks.world import CITIES, VICTIM, VICTIM_AGE, Door, known

import blossom as bl

FAMILY = "side channels"


def threshold(door: Door, x: float) -> Any:
    """Sixteen known people, and her if her salary exceeds the threshold."""
    t = door.table("people", site="north")
    crowd = [pid for pid in known()["pid"].tolist() if pid != VICTIM][:16]
    return t.filter(t.pid.isin(crowd) | ((t.pid == VICTIM) & (t.salary > x)))


@attack(FAMILY, "statistics", "reads the sizes of fragments in the analysed plan", tolerance=50.0)
def analysed_plan(door: Door) -> Guess:
    def high(x: float) -> bool:
        plan = door.fed.explain(threshold(door, x), analyze=True)
        return re.search(r"actual.* 17 rows", plan.text()) is not None

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "statistics", "reads rows and bytes of the release from the run's record", tolerance=50.0)
def run_record(door: Door) -> Guess:
    def high(x: float) -> bool:
        expr = threshold(door, x).count()
        run = door.fed.run(expr)
        record = door.fed.records.run(run.id)
        return (
            run.result.to_pylist()[0]
            and int(next(iter(run.result.to_pylist()[0].values()))) > 16
            and bool(record)
        )

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "statistics", "reads the sizes that a fit leaves in its run", tolerance=50.0)
def fit_record(door: Door) -> Guess:
    def high(x: float) -> bool:
        table = threshold(door, x).select("age", "income", "pid")
        fitted = bl.train(bl.LinearRegression(), table, target="income", features=["age"]).fit()
        return int(fitted.rows) > 16

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "zero",
    "asks whether anybody of her age is in a city: nobody and too few must look alike",
    secret="city",
)
def nobody_or_too_few(door: Door) -> Guess:
    t = door.people
    looks: dict[str, tuple[object, ...]] = {}
    for city in (*CITIES, "Zed", "Nowhere"):
        list_of_one = door.local({"age": [VICTIM_AGE if city != "Nowhere" else 199]})
        del list_of_one
        ages = t.filter(t.age == (VICTIM_AGE if city != "Nowhere" else 199))
        run = door.fed.run(ages.group_by("city").agg(n=ages.count()))
        looks[city] = (
            run.result.num_rows,
            any(run.withheld.values()),
            tuple(r.withheld for r in run.releases),
        )
        shown = {row["city"] for row in run.result.to_pylist()}
        if shown:
            return next(iter(shown))
    return "Zed" if looks["Zed"] != looks["Nowhere"] else None


@attack(
    FAMILY,
    "zero",
    "the same for a figure without groups: no row, null and zero must look alike",
    secret="flag",
)
def empty_figure(door: Door) -> Guess:
    t = door.people
    looks = []
    for age in (VICTIM_AGE, 199):
        some = t.filter(t.age == age)
        run = door.fed.run(some.agg(n=some.count(), s=some.salary.sum()))
        looks.append(
            (
                run.result.to_pylist(),
                dict(run.withheld),
                [(r.rows, r.bytes, r.withheld) for r in run.releases],
            )
        )
    return 1.0 if looks[0] != looks[1] else None


@attack(FAMILY, "zero", "counts how many groups were withheld", secret="flag")
def number_of_withheld_groups(door: Door) -> Guess:
    t = door.people
    counts = []
    for low in (VICTIM_AGE, 79):
        some = t.filter(t.age >= low)
        run = door.fed.run(some.group_by("dept").agg(n=some.count()))
        if run.result.num_rows:
            return 1.0
        counts.append(sum(r.withheld for r in run.releases))
    return 1.0 if counts[0] != counts[1] else None


@attack(FAMILY, "zero", "asks strictly, and takes the refusal for an answer", secret="flag")
def strict_refusal(door: Door) -> Guess:
    t = door.people
    looks: list[str] = []
    for age in (VICTIM_AGE, 199):
        some = t.filter(t.age == age)
        try:
            looks.append(
                str(door.fed.run(some.group_by("dept").agg(n=some.count()), strict=True).result.to_pylist())
            )
        except bl.PolicyError as error:
            looks.append(str(error))
    return 1.0 if looks[0] != looks[1] else None


@attack(FAMILY, "statistics", "reads the size of what moves between engines of the site", tolerance=50.0)
def sizes_between_engines(door: Door) -> Guess:
    own = door.local({"age": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0]})
    model = bl.train(bl.LinearRegression(), own, target="y", features=["age"]).fit()

    def high(x: float) -> bool:
        scored = model.predict(threshold(door, x))
        plan = door.fed.explain(scored.agg(p=scored.prediction.mean()), analyze=True)
        return re.search(r"actual.* 17 rows", plan.text()) is not None or "32 rows" in plan.text()

    return bisected(high, 60_000, 130_000, 40.0)


@honest(FAMILY)
def explained(door: Door) -> Any:
    t = door.people
    return door.fed.explain(t.group_by("dept").agg(n=t.count())).text()


@honest(FAMILY)
def analysed(door: Door) -> Any:
    t = door.people
    return door.fed.explain(t.group_by("dept").agg(m=t.bonus.mean()), analyze=True).text()


@honest(FAMILY)
def catalogue(door: Door) -> Any:
    return [row for row in door.fed.catalog() if row["table"] == "people"]


@honest(FAMILY)
def told_what_was_withheld(door: Door) -> Any:
    t = door.people
    run = door.fed.run(t.group_by("team").agg(m=t.income.mean()))
    assert rows(t.group_by("team").agg(m=t.income.mean()))
    return set(run.withheld)
