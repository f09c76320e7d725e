"""Small groups by any operator that makes groups, orders rows or picks some of them."""

from __future__ import annotations

from typing import Any

import ibis
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.world import VICTIM, VICTIM_DAY, VICTIM_NAME, Door

FAMILY = "groups"


def rows(expr: Any) -> list[dict[str, Any]]:
    """The rows of a query."""
    return list(expr.to_pyarrow().to_pylist())


def hers(found: list[dict[str, Any]], key: str, value: object, figure: str = "s") -> Guess:
    """The figure of the row that is about her."""
    return next((row[figure] for row in found if row[key] == value), None)


@attack(FAMILY, "frequency", "groups by city: she is alone in hers")
def group_of_one(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("city").agg(s=t.salary.sum())), "city", "Zed")


@attack(FAMILY, "frequency", "groups by identifier")
def by_unit(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("pid").agg(s=t.salary.sum())), "pid", VICTIM)


@attack(FAMILY, "partition", "groups by the partition's column, which needs no merge")
def by_partition_column(door: Door) -> Guess:
    v = door.visits.group_by("pid").agg(s=door.visits.cost.max())
    t = door.people.join(v, "pid").group_by("pid").agg(s=ibis._.salary.mean())
    return hers(rows(t), "pid", VICTIM)


@attack(FAMILY, "columns", "groups by name")
def by_name(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("name").agg(s=t.salary.sum())), "name", VICTIM_NAME)


@attack(FAMILY, "frequency", "groups by the salary itself and reads the keys")
def by_the_secret(door: Door) -> Guess:
    t = door.people
    return max((row["salary"] for row in rows(t.group_by("salary").agg(n=t.count()))), default=None)


@attack(FAMILY, "frequency", "groups by many harmless keys at once")
def by_many_keys(door: Door) -> Guess:
    t = door.people
    found = rows(t.group_by("age", "sex", "dept").agg(s=t.salary.sum()))
    return hers(found, "age", 97)


@attack(FAMILY, "nulls", "groups by team, which is null for her alone")
def null_group(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("team").agg(s=t.salary.sum())), "team", None)


@attack(FAMILY, "nulls", "asks for a group of fifteen rows, none of which names its unit", secret="level")
def null_units(door: Door) -> Guess:
    s = door.table("samples")
    return hers(rows(s.group_by("lot").agg(s=s.level.mean())), "lot", "rare")


@attack(
    FAMILY, "frequency", "groups her 25 visits by day and person, so that rows look like many", secret="cost"
)
def many_rows_of_one_unit(door: Door) -> Guess:
    v = door.visits
    return hers(rows(v.group_by("day").agg(s=v.cost.sum())), "day", VICTIM_DAY)


@attack(FAMILY, "frequency", "keeps groups of one by HAVING")
def having_one(door: Door) -> Guess:
    t = door.people
    groups = t.group_by("city").agg(n=t.count(), s=t.salary.sum())
    return next((row["s"] for row in rows(groups.filter(groups.n == 1))), None)


@attack(FAMILY, "rows", "sorts by salary and takes the first row")
def sort_and_limit(door: Door) -> Guess:
    t = door.people
    return next((row["salary"] for row in rows(t.order_by(ibis.desc("salary")).limit(1))), None)


@attack(FAMILY, "unknown", "sorts, takes one row, and sums over it")
def sum_over_limit(door: Door) -> Guess:
    t = door.people
    return number(t.order_by(ibis.desc("salary")).limit(1).salary.sum())


@attack(FAMILY, "unknown", "takes the sum over the distinct salaries less the sum over all but the last")
def sum_over_offset(door: Door) -> Guess:
    t = door.people
    ordered = t.order_by("salary").select("salary")
    a, b = number(ordered.limit(440).salary.sum()), number(ordered.limit(439).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "rows", "lists the distinct salaries")
def distinct(door: Door) -> Guess:
    t = door.people
    return max((row["salary"] for row in rows(t.select("salary").distinct())), default=None)


@attack(FAMILY, "rows", "takes a sample that happens to be everything")
def sample(door: Door) -> Guess:
    t = door.people
    return max((row["salary"] for row in rows(t.sample(1.0))), default=None)


@attack(FAMILY, "unknown", "subtracts the others with EXCEPT and sums what is left")
def set_difference(door: Door) -> Guess:
    t = door.people
    kept = t.select("pid", "salary")
    return number(kept.difference(t.filter(t.age < 90).select("pid", "salary")).salary.sum())


@attack(FAMILY, "unknown", "intersects with those of her age")
def set_intersection(door: Door) -> Guess:
    t = door.people
    kept = t.select("pid", "salary")
    return number(kept.intersect(t.filter(t.age > 90).select("pid", "salary")).salary.sum())


@attack(FAMILY, "unknown", "pads her with rows of its own by UNION, and takes them off")
def padded_union(door: Door) -> Guess:
    t = door.people
    padding = door.local({"pid": list(range(40)), "salary": [1000.0] * 40})
    both = t.filter(t.age > 90).select("pid", "salary").union(padding)
    total = number(both.salary.sum())
    return None if total is None else total - 40_000


@attack(FAMILY, "unknown", "unites the table with itself filtered, so that she counts twice")
def doubled_union(door: Door) -> Guess:
    t = door.people
    twice = t.select("pid", "salary").union(t.filter(t.age > 90).select("pid", "salary"))
    a, b = number(twice.salary.sum()), number(t.salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "rows", "takes the maximum")
def maximum(door: Door) -> Guess:
    return number(door.people.salary.max())


@attack(FAMILY, "rows", "takes the maximum of a group")
def maximum_of_a_group(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("dept").agg(s=t.salary.max())), "dept", "audit")


@attack(FAMILY, "rows", "takes the last quantile")
def quantile(door: Door) -> Guess:
    return number(door.people.salary.quantile(1.0))


@attack(FAMILY, "rows", "takes the salary of the oldest")
def arg_max(door: Door) -> Guess:
    t = door.people
    return number(t.salary.argmax(t.age))


@attack(FAMILY, "rows", "takes any salary of her city")
def any_value(door: Door) -> Guess:
    t = door.people
    return hers(rows(t.group_by("city").agg(s=t.salary.arbitrary())), "city", "Zed")


@attack(FAMILY, "rows", "takes the first salary in order of age")
def first_value(door: Door) -> Guess:
    t = door.people
    return number(t.salary.first(order_by=ibis.desc(t.age)))


@attack(FAMILY, "rows", "collects all salaries into a list")
def collect(door: Door) -> Guess:
    t = door.people
    found = rows(t.agg(all=t.salary.collect()))
    return max(found[0]["all"]) if found and found[0]["all"] else None


@attack(FAMILY, "rows", "concatenates all salaries into a text")
def concatenate(door: Door) -> Guess:
    t = door.people
    found = rows(t.agg(all=t.salary.cast("string").group_concat(";")))
    return max(float(x) for x in found[0]["all"].split(";")) if found and found[0]["all"] else None


@attack(FAMILY, "rows", "takes the most frequent of her department's salaries above all")
def mode(door: Door) -> Guess:
    t = door.people
    return number(t.salary.mode(where=t.age > 90))


@attack(FAMILY, "rows", "takes the bitwise OR of all incomes, and of all but few", secret="income")
def bit_or(door: Door) -> Guess:
    t = door.people
    return number(t.income.bit_or(where=t.age > 90))


@attack(FAMILY, "rows", "orders value counts of the salary")
def value_counts(door: Door) -> Guess:
    t = door.people
    return max((row["salary"] for row in rows(t.salary.value_counts())), default=None)


@attack(FAMILY, "unknown", "ranks by a window and keeps rank one")
def window_rank(door: Door) -> Guess:
    t = door.people
    ranked = t.mutate(r=ibis.row_number().over(order_by=ibis.desc(t.salary)))
    return number(ranked.filter(ranked.r == 0).salary.sum())


@attack(FAMILY, "unknown", "sums over a window of one row each")
def window_sum(door: Door) -> Guess:
    t = door.people
    summed = t.mutate(s=t.salary.sum().over(ibis.window(group_by=t.city))).filter(t.city == "Zed")
    return number(summed.s.mean())


@attack(FAMILY, "unknown", "takes each salary's lag, and the sum of the differences")
def window_lag(door: Door) -> Guess:
    t = door.people
    steps = t.mutate(d=t.salary - t.salary.lag().over(order_by=t.salary).fill_null(0.0))
    return number(steps.d.sum())


@attack(FAMILY, "leaves", "takes means of means of small groups, weighted so that one remains")
def nested_groups(door: Door) -> Guess:
    t = door.people
    inner = t.group_by("city").agg(s=t.salary.sum(), n=t.count())
    return number(inner.filter(inner.n == 1).s.sum())


@attack(FAMILY, "leaves", "takes the maximum of per-person sums")
def maximum_of_unit_sums(door: Door) -> Guess:
    t = door.people
    each = t.group_by("pid").agg(s=t.salary.sum())
    return number(each.s.max())


@attack(FAMILY, "leaves", "sorts per-person sums and takes the first")
def top_unit(door: Door) -> Guess:
    t = door.people
    each = t.group_by("pid").agg(s=t.salary.sum())
    return next((row["s"] for row in rows(each.order_by(ibis.desc("s")).limit(1))), None)


@attack(
    FAMILY,
    "columns",
    "counts a person under a made-up identifier a visit, so that few look many",
    secret="cost",
)
def forged_units(door: Door) -> Guess:
    v = door.visits
    forged = v.filter(v.day == VICTIM_DAY).mutate(pid=v.vid)
    return number(forged.cost.sum())


@honest(FAMILY)
def by_department(door: Door) -> Any:
    t = door.people
    return rows(t.group_by("dept").agg(n=t.count(), m=t.salary.mean()))


@honest(FAMILY)
def top_groups(door: Door) -> Any:
    t = door.people
    groups = t.group_by("dept").agg(m=t.bonus.mean())
    return rows(groups.order_by(ibis.desc("m")).limit(2))


@honest(FAMILY)
def histogram(door: Door) -> Any:
    t = door.people
    return rows(t.group_by(band=t.age // 10).agg(n=t.count()))


@honest(FAMILY)
def largest_mean(door: Door) -> Any:
    t = door.people
    groups = t.group_by("dept").agg(m=t.income.mean())
    return number(groups.m.max())


@honest(FAMILY)
def union_of_results(door: Door) -> Any:
    t = door.people
    a = t.group_by(what="dept").agg(m=t.flag.mean())
    b = t.group_by(what="sex").agg(m=t.flag.mean())
    return rows(a.union(b))


@honest(FAMILY)
def share_by_month(door: Door) -> Any:
    v = door.visits
    year = v.filter(v.day.year() == 2024)
    return rows(year.group_by(month=year.day.month()).agg(n=year.count(), people=year.pid.nunique()))
