"""Who may have what: recipients, roles, purposes, friends, names that collide with hidden ones, other doors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ibis
import pyarrow.parquet as pq
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.families.groups import hers, rows
from tests.attacks.world import SECRETS, VICTIM, VICTIM_AGE, Door, people

import blossom as bl

FAMILY = "admission and names"


def rest() -> float:
    """The salaries of everybody in the north but her, which this attacker knows."""
    return sum(people("north")["salary"].to_pylist()) - float(SECRETS["salary"])


def everybody(t: Any) -> Guess:
    """Her salary from the sum of all, by who knows all others."""
    total = number(t.salary.sum())
    return None if total is None else total - rest()


@attack(FAMILY, "admission", "asks a table that is for auditors, without that role")
def without_the_role(door: Door) -> Guess:
    return everybody(door.table("ledgers"))


@attack(FAMILY, "admission", "claims another role")
def another_role(door: Door) -> Guess:
    return everybody(door.session(role="Auditor").table("ledgers"))


@attack(FAMILY, "admission", "asks without the purpose")
def without_the_purpose(door: Door) -> Guess:
    return everybody(door.table("research"))


@attack(FAMILY, "admission", "states another purpose")
def another_purpose(door: Door) -> Guess:
    return everybody(door.session(purpose="research on something else").table("research"))


@attack(FAMILY, "admission", "reads a table that only the south may have")
def not_a_recipient(door: Door) -> Guess:
    return hers(rows(door.table("letters")), "pid", VICTIM, "salary")


@attack(FAMILY, "admission", "lets the south join it with a table of its own, and asks the south")
def through_a_friend(door: Door) -> Guess:
    t, c = door.table("letters"), door.table("cities", site="south")
    return hers(rows(t.join(c, "city").select("pid", "salary")), "pid", VICTIM, "salary")


@attack(FAMILY, "admission", "writes it in the south, which may have it, and reads the written table")
def kept_by_a_friend(door: Door) -> Guess:
    kept = door.write(door.table("letters").select("pid", "salary"), site="south")
    return hers(rows(kept), "pid", VICTIM, "salary")


@attack(FAMILY, "admission", "uses a table for auditors only to steer rows of another")
def steered_by_a_closed_table(door: Door) -> Guess:
    t, closed = door.table("people", site="north"), door.table("ledgers")
    joined = t.semi_join(closed.filter(closed.age == VICTIM_AGE), "pid")
    return number(joined.salary.mean())


@attack(FAMILY, "rows", "writes rows to a file instead of showing them")
def to_a_file(door: Door) -> Guess:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        door.people.select("pid", "salary").to_parquet(path)
        return hers(pq.read_table(path).to_pylist(), "pid", VICTIM, "salary")


@attack(FAMILY, "rows", "streams rows in batches")
def as_a_stream(door: Door) -> Guess:
    with door.people.select("pid", "salary").to_pyarrow_batches(chunk_size=10) as reader:
        found = [row for batch in reader for row in batch.to_pylist()]
    return hers(found, "pid", VICTIM, "salary")


@attack(FAMILY, "rows", "asks for a single column's value")
def as_a_column(door: Door) -> Guess:
    return float(door.people.salary.execute().max())


@attack(FAMILY, "columns", "names its own column like the hidden one that carries the unit", secret="cost")
def hidden_unit_column(door: Door) -> Guess:
    v = door.visits
    forged = v.filter(v.age_of == 1) if "age_of" in v.columns else v.filter(v.day > ibis.date("2025-01-01"))
    return number(forged.mutate(__unit_0=forged.vid).cost.sum())


@attack(FAMILY, "columns", "the same in capitals", secret="cost")
def hidden_unit_column_in_capitals(door: Door) -> Guess:
    v = door.visits
    forged = v.filter(v.day > ibis.date("2025-01-01"))
    return number(forged.mutate(**{"__UNIT_0": forged.vid, "__Null_0": ibis.literal(1)}).cost.sum())


@attack(FAMILY, "columns", "names a figure like a guard, so that the guard reads it")
def forged_guard(door: Door) -> Guess:
    t = door.people
    found = rows(t.group_by("city").agg(s=t.salary.sum(), __guard_0=t.age.sum()))
    return hers(found, "city", "Zed")


@attack(FAMILY, "columns", "brings a table whose columns are named like hidden ones")
def forged_units_of_its_own(door: Door) -> Guess:
    own = door.local({"age": [VICTIM_AGE] * 20, "__unit_0": list(range(20)), "__null_0": [0] * 20})
    t = door.people.join(own, "age")
    total = number(t.salary.sum())
    return None if total is None else total / 20


@attack(FAMILY, "columns", "names its own table like a guarded stage's result")
def forged_stage(door: Door) -> Guess:
    import pyarrow as pa

    own = door.fed.from_arrow(pa.table({"city": ["Zed"], "s": [0.0]}), name=f"guarded_{len(door.fed._local)}")
    t = door.people
    groups = t.group_by("city").agg(s=t.salary.sum())
    found = rows(groups.join(own, "city").select("city", s=groups.s))
    return hers(found, "city", "Zed")


@attack(FAMILY, "columns", "adds a column whose name differs from the salary's in case only")
def case_twin(door: Door) -> Guess:
    t = door.people
    twin = t.mutate(SALARY=t.salary * (t.pid == VICTIM).cast("float64"))
    return number(twin["SALARY"].sum())


@attack(FAMILY, "columns", "adds a column whose name folds to the salary's (a long s)")
def folded_twin(door: Door) -> Guess:
    t = door.people
    twin = t.mutate(**{"ſalary": t.salary * (t.pid == VICTIM).cast("float64")})
    return number(twin["ſalary"].sum())


@attack(FAMILY, "fit", "trains where training is not allowed")
def untrained(door: Door) -> Guess:
    t = door.table("untrained")
    only = t.filter(t.age > 60).select("age", "salary")
    fitted = bl.train(bl.LinearRegression(), only, target="salary", features=["age"]).fit()
    frame = people("north").to_pandas()
    frame = frame[frame.age > 60]
    others = frame[frame.age != VICTIM_AGE]
    # the normal equations, solved for her salary: the slope times the ages' squares is the sum of products
    centred = frame.age - frame.age.mean()
    products = float(fitted.coef_[0]) * float((centred**2).sum())
    rest_of_it = float(((others.age - frame.age.mean()) * others.salary).sum())
    return (products - rest_of_it) / (VICTIM_AGE - float(frame.age.mean()))


@honest(FAMILY)
def with_the_role(door: Door) -> Any:
    return number(door.session(role="auditor").table("ledgers").salary.mean())


@honest(FAMILY)
def with_the_purpose(door: Door) -> Any:
    return number(door.session(purpose="research").table("research").salary.mean())


@honest(FAMILY)
def open_rows(door: Door) -> Any:
    return rows(door.table("cities"))


@honest(FAMILY)
def one_site_alone(door: Door) -> Any:
    t = door.table("people", site="south")
    return rows(t.group_by("dept").agg(m=t.bonus.mean()))


@honest(FAMILY)
def the_steward_answers(door: Door) -> Any:
    s = door.table("staff")
    return rows(s.group_by("grade").agg(m=s.pay.mean(), n=s.count()))
