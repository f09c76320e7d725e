"""Written tables: laundering a predicate, a unit, a recipient or a weight by keeping it as a table."""

from __future__ import annotations

from typing import Any

from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.families.groups import hers, rows
from tests.attacks.world import VICTIM, VICTIM_AGE, VICTIM_DAY, Door, known

import blossom as bl

FAMILY = "written tables"


@attack(FAMILY, "inherits", "writes a flag of her identifier, and multiplies with the stored column")
def laundered_flag(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.mutate(me=(t.pid == VICTIM).cast("float64")))
    return number((kept.salary * kept.me).sum())


@attack(
    FAMILY, "inherits", "writes a flag of her age, on which conditions are allowed, and multiplies with it"
)
def laundered_allowed_flag(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.mutate(me=(t.age == VICTIM_AGE).cast("float64")))
    return number((kept.salary * kept.me).sum())


@attack(
    FAMILY,
    "inherits",
    "the same with 1 added to the flag, so that nobody dominates, and the plain sum taken away",
)
def laundered_lifted_flag(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.mutate(me=1.0 + (t.age == VICTIM_AGE).cast("float64")))
    row = rows(kept.agg(a=(kept.salary * kept.me).sum(), b=kept.salary.sum()))[0]
    return row["a"] - row["b"]


@attack(FAMILY, "inherits", "writes the product of salary and flag")
def laundered_product(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.mutate(p=t.salary * (t.pid == VICTIM).cast("float64")))
    return number(kept.p.sum())


@attack(FAMILY, "inherits", "launders twice, a step at a time")
def laundered_twice(door: Door) -> Guess:
    t = door.table("people", site="north")
    once = door.write(t.mutate(far=(t.age - VICTIM_AGE) * (t.age - VICTIM_AGE)))
    twice = door.write(once.mutate(me=(once.far == 0).cast("float64")))
    return number((twice.salary * twice.me).sum())


@attack(
    FAMILY,
    "inherits",
    "scales a column up a little in each of many writes, until it overflows",
    tolerance=1_000,
)
def laundered_scale(door: Door) -> Guess:
    t = door.table("people", site="north").select("pid", "salary")
    kept = door.write(t)
    for _ in range(12):
        kept = door.write(kept.mutate(salary=kept.salary * 1e24))

    def high(x: float) -> bool:
        # infinity times zero is NaN
        return number((kept.salary * (1.7976931348623157e308 / 1e288 / x) * 0.0).sum()) is None

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY, "inherits", "writes under another unit, so that one person's visits look like many", secret="cost"
)
def laundered_unit(door: Door) -> Guess:
    v = door.table("visits", site="north")
    kept = door.write(v.filter(v.day == VICTIM_DAY).select(pid="vid", cost="cost"))
    return number(kept.cost.sum())


@attack(FAMILY, "inherits", "writes rows at a place of its own choice", tolerance=0.01)
def written_elsewhere(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.select("pid", "salary"), site="south")
    return next((row["salary"] for row in rows(kept) if row["pid"] == VICTIM), None)


@attack(FAMILY, "inherits", "writes the column that may not leave, and groups by it")
def laundered_name(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.select("salary", label="name"))
    return hers(rows(kept.group_by("label").agg(s=kept.salary.sum())), "label", "Ada Lovelace")


@attack(FAMILY, "inherits", "writes each unit's figure and reads the table")
def laundered_units(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.group_by("pid").agg(s=t.salary.sum()))
    return hers(rows(kept), "pid", VICTIM)


@attack(FAMILY, "inherits", "writes a small group and reads it back")
def laundered_small_group(door: Door) -> Guess:
    t = door.table("people", site="north")
    kept = door.write(t.group_by("city").agg(s=t.salary.sum()))
    return hers(rows(kept), "city", "Zed")


@attack(
    FAMILY, "shape", "writes weights of its own at the site, where stored columns are taken for the owner's"
)
def own_weights_at_the_site(door: Door) -> Guess:
    pids = known()["pid"].tolist()
    own = door.local({"pid": pids, "w": [1.0 if pid == VICTIM else 0.0 for pid in pids]})
    kept = door.write(own, site="north")
    t = door.table("people", site="north").join(kept, "pid")
    return number((t.salary * t.w).sum())


@attack(
    FAMILY, "shape", "the same with weights 2 and 1, so that nobody dominates, and the plain sum taken away"
)
def own_lifted_weights_at_the_site(door: Door) -> Guess:
    pids = known()["pid"].tolist()
    own = door.local({"pid": pids, "w": [2.0 if pid == VICTIM else 1.0 for pid in pids]})
    kept = door.write(own, site="north")
    t = door.table("people", site="north").join(kept, "pid")
    row = rows(t.agg(a=(t.salary * t.w).sum(), b=t.salary.sum()))[0]
    return row["a"] - row["b"]


@attack(FAMILY, "shape", "writes a label a person at the site, and groups by it")
def own_labels_at_the_site(door: Door) -> Guess:
    pids = known()["pid"].tolist()
    labels = [0 if pid == VICTIM else 1 + i % 2 for i, pid in enumerate(pids)]
    kept = door.write(door.local({"pid": pids, "label": labels}), site="north")
    t = door.table("people", site="north")
    total = number(t.salary.sum())
    joined = t.join(kept, "pid")
    parts = rows(joined.group_by("label").agg(s=joined.salary.sum()))
    shown = [row["s"] for row in parts if row["label"] != 0]
    return None if total is None or len(shown) != 2 else total - sum(shown)


@attack(FAMILY, "shape", "writes a repeated list at the site, which repeats her row")
def own_fan_out_at_the_site(door: Door) -> Guess:
    pids = known()["pid"].tolist()
    kept = door.write(door.local({"pid": [*pids, *[VICTIM] * 1000]}), site="north")
    t = door.table("people", site="north")
    a, b = number(t.join(kept, "pid").salary.sum()), number(t.salary.sum())
    return None if a is None or b is None else (a - b) / 1000


@attack(
    FAMILY,
    "statistics",
    "writes those above a threshold beside a crowd of 16, and reads the table's rounded size",
    tolerance=50.0,
)
def size_of_a_written_table(door: Door) -> Guess:
    t = door.table("people", site="north")
    crowd = [pid for pid in known()["pid"].tolist() if pid != VICTIM][:16]

    def high(x: float) -> bool:
        kept = door.write(t.filter(t.pid.isin(crowd) | ((t.pid == VICTIM) & (t.salary > x))))
        name = kept.get_name()
        shown = next(row["rows"] for row in door.fed.catalog() if row["table"] == name)
        return "".join(c for c in shown if c.isdigit()) not in ("16", "")

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "inherits", "writes predictions of a model that is a threshold, and multiplies with them")
def laundered_prediction(door: Door) -> Guess:
    t = door.table("people", site="north")
    ages = list(range(20, 98))
    own = door.local({"age": ages, "y": [0] * 77 + [1]})
    model = bl.train(bl.LogisticRegression(C=1e8), own, target="y", features=["age"]).fit()
    kept = door.write(model.predict(t))
    return number((kept.salary * kept.prediction).sum())


@attack(FAMILY, "admission", "writes what only an auditor may see, and reads it as nobody")
def laundered_recipient(door: Door) -> Guess:
    t = door.table("ledgers", site="north")
    kept = door.write(t.select("pid", "salary", "age", "dept"))
    row = kept.agg(a=kept.salary.mean(), n=kept.count()).to_pyarrow().to_pylist()[0]
    whole = row["a"] * row["n"]
    return whole - _rest()


def _rest() -> float:
    from tests.attacks.world import SECRETS, people

    return sum(people("north")["salary"].to_pylist()) - float(SECRETS["salary"])


@honest(FAMILY)
def written_and_aggregated(door: Door) -> Any:
    t = door.table("people", site="north")
    kept = door.write(t.select("pid", "dept", "income"))
    return rows(kept.group_by("dept").agg(m=kept.income.mean()))


@honest(FAMILY)
def written_result(door: Door) -> Any:
    t = door.table("people", site="north")
    kept = door.write(t.group_by("dept").agg(m=t.bonus.mean()))
    return rows(kept)


@honest(FAMILY)
def written_band(door: Door) -> Any:
    t = door.table("people", site="north")
    kept = door.write(t.mutate(band=t.age // 20))
    return rows(kept.group_by("band").agg(n=kept.count(), m=kept.bonus.mean()))


@honest(FAMILY)
def own_table_written(door: Door) -> Any:
    return rows(door.write(door.local({"a": [1, 2, 3]}), site="north"))
