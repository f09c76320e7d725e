"""Joins as filters, as weights and as flags: with the attacker's own data, with open lists, with other private tables."""

from __future__ import annotations

from typing import Any

import ibis
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.families.groups import hers, rows
from tests.attacks.world import VICTIM, VICTIM_AGE, VICTIM_DAY, Door, known, roll

FAMILY = "joins"


@attack(FAMILY, "filter", "joins with a table of her identifier")
def with_her_identifier(door: Door) -> Guess:
    t = door.people.join(door.local({"pid": [VICTIM]}), "pid")
    return number(t.salary.sum())


@attack(FAMILY, "filter", "the same with a table held by Ibis")
def with_a_memtable(door: Door) -> Guess:
    t = door.people.join(ibis.memtable({"pid": [VICTIM]}), "pid")
    return number(t.salary.sum())


@attack(FAMILY, "shape", "gives everybody a weight, hers 1 and all others 0")
def weights(door: Door) -> Guess:
    pids = known(None)["pid"].tolist()
    w = door.local({"pid": pids, "w": [1.0 if pid == VICTIM else 0.0 for pid in pids]})
    t = door.people.join(w, "pid")
    return number((t.salary * t.w).sum())


@attack(FAMILY, "shape", "gives weights by age, on which conditions are allowed")
def weights_by_age(door: Door) -> Guess:
    w = door.local({"age": list(range(20, 98)), "w": [0.0] * 77 + [1.0]})
    t = door.people.join(w, "age")
    return number((t.salary * t.w).sum())


@attack(FAMILY, "shape", "repeats her row a million times less one, by a fan-out join on age")
def fan_out(door: Door) -> Guess:
    w = door.local({"age": [*range(20, 98), *[VICTIM_AGE] * 1000]})
    t = door.people
    joined = t.join(w, "age")
    a, b = number(joined.salary.sum()), number(t.salary.sum())
    return None if a is None or b is None else (a - b) / 1000


@attack(FAMILY, "shape", "repeats rows by a cross join and a comparison")
def unequal_join(door: Door) -> Guess:
    w = door.local({"top": [VICTIM, VICTIM - 1]})
    t = door.people
    joined = t.join(w, [t.pid <= w.top])
    found = rows(joined.group_by("top").agg(s=joined.salary.sum()))
    a, b = hers(found, "top", VICTIM), hers(found, "top", VICTIM - 1)
    return None if not isinstance(a, float) or not isinstance(b, float) else a - b


@attack(FAMILY, "filter", "uses a semi join with her identifier")
def semi(door: Door) -> Guess:
    t = door.people
    return number(t.semi_join(door.local({"pid": [VICTIM]}), "pid").salary.sum())


@attack(FAMILY, "filter", "uses an anti join with everybody else")
def anti(door: Door) -> Guess:
    t = door.people
    others = [pid for pid in known(None)["pid"].tolist() if pid != VICTIM]
    return number(t.anti_join(door.local({"pid": others}), "pid").salary.sum())


@attack(FAMILY, "filter", "joins from the left with a list of its own, and groups by the list's label")
def labels(door: Door) -> Guess:
    w = door.local({"pid": [VICTIM], "label": ["her"]})
    t = w.left_join(door.people, "pid")
    return hers(rows(t.group_by("label").agg(s=t.salary.sum())), "label", "her")


@attack(FAMILY, "filter", "joins from the right and counts the nulls")
def outer_nulls(door: Door) -> Guess:
    w = door.local({"pid": [VICTIM], "w": [1.0]})
    t = door.people.outer_join(w, "pid")
    return number((t.salary * t.w.fill_null(0.0)).sum())


@attack(FAMILY, "several", "joins the table with itself, narrowed to her")
def self_join(door: Door) -> Guess:
    t = door.people
    one = t.filter(t.age == VICTIM_AGE).select(pid="pid", again="salary")
    return number(t.join(one, "pid").again.sum())


@attack(FAMILY, "several", "joins the table with itself from the left: only her row matches")
def self_left_join(door: Door) -> Guess:
    t = door.people
    one = t.filter(t.age == VICTIM_AGE).select(key="pid", again="salary")
    joined = t.left_join(one, t.pid == one.key)
    return number(joined.again.sum())


@attack(FAMILY, "several", "joins her department with her alone, and sums her salary once a colleague")
def self_join_on_a_coarse_key(door: Door) -> Guess:
    t = door.table("people", site="north")
    one = t.filter(t.age == VICTIM_AGE).select(d="dept", again="salary")
    joined = t.join(one, t.dept == one.d)
    row = joined.agg(s=joined.again.sum(), n=joined.count()).to_pyarrow().to_pylist()[0]
    return row["s"] / row["n"]


@attack(FAMILY, "several", "compares each salary with each other's: those below her are all")
def self_join_by_comparison(door: Door) -> Guess:
    t = door.table("people", site="north")
    other = t.select(s="salary")
    joined = t.join(other, [t.salary < other.s])
    below = rows(joined.group_by("s").agg(n=joined.count()))
    return max((row["s"] for row in below), default=None)


@attack(FAMILY, "several", "joins people with the visits of a day on which only she came")
def narrow_right_side(door: Door) -> Guess:
    t, v = door.people, door.visits
    return number(t.join(v.filter(v.day == VICTIM_DAY), "pid").salary.mean())


@attack(FAMILY, "several", "keeps people who have a visit on that day, by a semi join")
def narrow_semi_join(door: Door) -> Guess:
    t, v = door.people, door.visits
    return number(t.semi_join(v.filter(v.day == VICTIM_DAY), "pid").salary.mean())


@attack(FAMILY, "several", "keeps people who have no visit on that day, and takes the total")
def narrow_anti_join(door: Door) -> Guess:
    t, v = door.people, door.visits
    a = number(t.salary.sum())
    b = number(t.anti_join(v.filter(v.day == VICTIM_DAY), "pid").salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "several", "weights salaries by matched visits: products of a person's columns and presence")
def presence_product(door: Door) -> Guess:
    t, v = door.people, door.visits
    one = v.filter(v.day == VICTIM_DAY).select(key="pid", cost="cost")
    joined = t.left_join(one, t.pid == one.key)
    a = number((joined.salary * joined.cost).sum())
    b = number(joined.cost.sum())
    return None if a is None or b is None else a / b


@attack(FAMILY, "filter", "filters an open list by her city, and joins it")
def filtered_list(door: Door) -> Guess:
    t, c = door.people, door.table("cities")
    return number(t.join(c.filter(c["size"] == 2), "city").salary.sum())


@attack(FAMILY, "shape", "multiplies with a flag of an open list that stands for the city")
def flag_of_a_list(door: Door) -> Guess:
    t = door.people.join(door.table("cities"), "city")
    return number((t.salary * (t["size"] == 2).cast("int64")).sum())


@attack(
    FAMILY, "shape", "counts, by a flag of an open list, who of its rows is among the people", secret="flag"
)
def membership_by_a_list(door: Door) -> Guess:
    t, r = door.table("people", site="north"), door.table("roll")
    joined = t.join(r, "pid").select("salary", listed=r.pid)
    inside = set(known()["pid"])
    asked = roll()["pid"].to_pylist()[::23]
    right = 0
    for pid in asked:
        found = number((joined.listed == pid).cast("int64").sum())
        if found is None:
            return None
        right += (found == 1) == (pid in inside)
    return 1.0 if right == len(asked) else None


@attack(
    FAMILY,
    "shape",
    "the same with 1 added to the flag, so that the flag of one does not dominate",
    secret="flag",
)
def membership_by_a_lifted_flag(door: Door) -> Guess:
    t, r = door.table("people", site="north"), door.table("roll")
    joined = t.join(r, "pid").select("salary", listed=r.pid)
    inside = set(known()["pid"])
    asked = roll()["pid"].to_pylist()[::23]
    right = 0
    for pid in asked:
        row = rows(joined.agg(a=(1 + (joined.listed == pid).cast("int64")).sum(), n=joined.count()))[0]
        right += (row["a"] - row["n"] == 1) == (pid in inside)
    return 1.0 if right == len(asked) else None


@attack(FAMILY, "filter", "filters by the identifier of an open list that was joined by it")
def identifier_of_a_list(door: Door) -> Guess:
    t, r = door.table("people", site="north"), door.table("roll")
    joined = t.join(r, "pid").select("salary", listed=r.pid)
    a = number(joined.salary.sum())
    b = number(joined.filter(joined.listed != VICTIM).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "shape", "looks weights up twice: age to code, code to weight")
def chained_lookup(door: Door) -> Guess:
    codes = door.local({"age": list(range(20, 98)), "code": [1] * 77 + [2]})
    w = door.local({"code": [1, 2], "w": [0.0, 1.0]})
    t = door.people.join(codes, "age").join(w, "code")
    return number((t.salary * t.w).sum())


@attack(FAMILY, "columns", "joins on her name")
def on_her_name(door: Door) -> Guess:
    t = door.people.join(door.local({"name": ["Ada Lovelace"]}), "name")
    return number(t.salary.sum())


@attack(FAMILY, "shape", "unnests a list of its own beside each row to repeat hers")
def as_of_join(door: Door) -> Guess:
    w = door.local({"mark": [VICTIM], "w": [1.0]})
    t = door.people
    joined = t.asof_join(w, on=t.pid >= w.mark)
    a = number(joined.salary.sum(where=joined.mark.notnull() & (joined.pid < 55_000)))
    return a


@honest(FAMILY)
def people_and_visits(door: Door) -> Any:
    t = door.people.join(door.visits, "pid")
    return rows(t.group_by("dept").agg(cost=t.cost.mean(), n=t.count()))


@honest(FAMILY)
def with_a_code_list(door: Door) -> Any:
    t = door.people.join(door.table("cities"), "city")
    return rows(t.group_by("region").agg(n=t.count(), m=t.bonus.mean()))


@honest(FAMILY)
def with_bands_of_ones_own(door: Door) -> Any:
    bands = door.local({"age": list(range(20, 98)), "band": [age // 20 for age in range(20, 98)]})
    t = door.table("people", site="north").join(bands, "age")
    return rows(t.group_by("band").agg(n=t.count()))


@honest(FAMILY)
def left_join_with_unit_totals(door: Door) -> Any:
    v = door.visits
    each = v.group_by("pid").agg(spent=v.cost.sum())
    t = door.people.left_join(each, "pid")
    return rows(t.group_by("sex").agg(m=t.spent.mean()))


@honest(FAMILY)
def result_joined_with_own_data(door: Door) -> Any:
    t = door.people
    names = door.local({"dept": ["audit", "bank"], "title": ["Audit", "Bank"]})
    return rows(t.group_by("dept").agg(n=t.count()).join(names, "dept"))
