"""Two or more answers, each about enough people, whose difference is about one."""

from __future__ import annotations

from typing import Any

from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.world import CITIES, DEPARTMENTS, VICTIM_AGE, VICTIM_DAY, Door

FAMILY = "differencing"


def difference(left: Any, right: Any) -> Guess:
    """The difference of the figures of two queries."""
    a, b = number(left), number(right)
    return None if a is None or b is None else a - b


def others(t: Any) -> Any:
    """All rows but hers, by her age."""
    return t.filter(t.age != VICTIM_AGE)


@attack(FAMILY, "differencing", "sums everybody, then everybody but her")
def with_and_without(door: Door) -> Guess:
    t = door.people
    return difference(t.salary.sum(), others(t).salary.sum())


@attack(FAMILY, "differencing", "the same in the other order")
def without_and_with(door: Door) -> Guess:
    t = door.people
    without = number(others(t).salary.sum())
    everybody = number(t.salary.sum())
    return None if without is None or everybody is None else everybody - without


@attack(FAMILY, "differencing", "uses means and counts instead of sums")
def by_means(door: Door) -> Guess:
    t = door.people
    n, m = number(t.count()), number(t.salary.mean())
    k, o = number(others(t).count()), number(others(t).salary.mean())
    return None if n is None or m is None or k is None or o is None else n * m - k * o


@attack(FAMILY, "differencing", "a sum first, a mean the second time")
def sum_against_mean(door: Door) -> Guess:
    t = door.people
    total, mean = number(t.salary.sum()), number(others(t).salary.mean())
    return None if total is None or mean is None else total - mean * 439


@attack(FAMILY, "differencing", "a yearly sum first, a monthly one the second time")
def by_rescaled_column(door: Door) -> Guess:
    t = door.people
    year, month = number((12 * t.salary + 7).sum()), number((others(t).salary / 1000).sum())
    return None if year is None or month is None else (year - 7 * 440) / 12 - month * 1000


@attack(FAMILY, "differencing", "takes the second figure from a sum of products")
def by_products(door: Door) -> Guess:
    t = door.people
    a = number((t.salary * t.age).sum())
    b = number((others(t).salary * others(t).age).sum())
    return None if a is None or b is None else (a - b) / VICTIM_AGE


@attack(FAMILY, "differencing", "takes both from covariances and means")
def by_covariance(door: Door) -> Guess:
    def total(t: Any) -> float | None:
        figures = [
            number(t.salary.cov(t.age, how="pop")),
            number(t.salary.mean()),
            number(t.age.mean()),
            number(t.count()),
        ]
        c, m, a, n = figures
        return None if c is None or m is None or a is None or n is None else n * (c + m * a)

    everybody, rest = total(door.people), total(others(door.people))
    return None if everybody is None or rest is None else (everybody - rest) / VICTIM_AGE


@attack(FAMILY, "differencing", "takes the difference within one group of a group by")
def within_a_group(door: Door) -> Guess:
    def cell(t: Any) -> float | None:
        rows = t.group_by("dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
        return next((row["s"] for row in rows if row["dept"] == "audit"), None)

    with_her, without = cell(door.people), cell(others(door.people))
    return None if with_her is None or without is None else with_her - without


@attack(FAMILY, "differencing", "asks both in one query, by FILTER clauses")
def within_one_release(door: Door) -> Guess:
    t = door.people
    row = t.agg(a=t.salary.sum(), b=t.salary.sum(where=t.age != VICTIM_AGE)).to_pyarrow().to_pylist()[0]
    return row["a"] - row["b"]


@attack(
    FAMILY,
    "differencing",
    "asks both in one query, by adding the bonus, which she alone has not",
)
def by_nulls_in_one_release(door: Door) -> Guess:
    t = door.people
    row = t.agg(a=t.salary.sum(), b=(t.salary + t.bonus).sum(), c=t.bonus.sum()).to_pyarrow().to_pylist()[0]
    return row["a"] - (row["b"] - row["c"])


@attack(FAMILY, "differencing", "the same in three queries")
def by_nulls(door: Door) -> Guess:
    t = door.people
    a, b, c = number(t.salary.sum()), number((t.salary + t.bonus).sum()), number(t.bonus.sum())
    return None if a is None or b is None or c is None else a - (b - c)


@attack(FAMILY, "differencing", "asks about two halves and about both together")
def two_halves(door: Door) -> Guess:
    t = door.people
    whole = number(t.salary.sum())
    young = number(t.filter(t.age < 50).salary.sum())
    old = number(t.filter((t.age >= 50) & (t.age != VICTIM_AGE)).salary.sum())
    return None if whole is None or young is None or old is None else whole - young - old


@attack(
    FAMILY,
    "differencing",
    "adds her to the crowd together with twenty others, who are asked about alone",
)
def by_a_bridge(door: Door) -> Guess:
    t = door.people
    low = number(t.filter(t.age < 60).salary.sum())
    bridge = number(t.filter((t.age >= 60) & (t.age < 65)).salary.sum())
    both = number(t.filter((t.age < 65) | (t.age == VICTIM_AGE)).salary.sum())
    return None if low is None or bridge is None or both is None else both - low - bridge


@attack(
    FAMILY,
    "differencing",
    "leaves a few more people out each time, always a different few",
)
def by_a_ladder(door: Door) -> Guess:
    t = door.people
    # {20..69}, {20..79 and her}, {70..79}: sizes far apart from one another
    a = number(t.filter(t.age < 70).salary.sum())
    b = number(t.salary.sum())
    c = number(t.filter((t.age >= 70) & (t.age < 80)).salary.sum())
    return None if a is None or b is None or c is None else b - a - c


@attack(FAMILY, "differencing", "asks about four age bands, and about all four together and her")
def by_quarters(door: Door) -> Guess:
    t = door.people
    parts = [number(t.filter((t.age >= low) & (t.age < low + 15)).salary.sum()) for low in (20, 35, 50, 65)]
    whole = number(t.salary.sum())
    return None if whole is None or None in parts else whole - sum(filter(None, parts))


@attack(FAMILY, "differencing", "takes half of the sum of two overlapping sums less a third")
def by_halves_of_sums(door: Door) -> Guess:
    t = door.people
    low, middle, high = t.age < 40, (t.age >= 40) & (t.age < 60), (t.age >= 60) & (t.age < 80)
    a, b = number(t.filter(low | middle).salary.sum()), number(t.filter(low | high).salary.sum())
    c = number(t.filter(middle | high).salary.sum())
    whole = number(t.salary.sum())
    return None if a is None or b is None or c is None or whole is None else whole - (a + b + c) / 2


@attack(FAMILY, "differencing", "asks about two groups at once, then by group without her")
def by_two_groups_of_a_release(door: Door) -> Guess:
    t = door.people
    both = number(t.filter(t.dept.isin(["audit", "bank"])).salary.sum())
    rows = others(t).group_by("dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    parts = [row["s"] for row in rows if row["dept"] in ("audit", "bank")]
    return None if both is None or len(parts) != 2 else both - sum(parts)


@attack(FAMILY, "differencing", "asks about two halves and both together in one query, by FILTER clauses")
def two_halves_in_one_release(door: Door) -> Guess:
    t = door.people
    young, old = t.age < 50, (t.age >= 50) & (t.age != VICTIM_AGE)
    sums = t.agg(a=t.salary.sum(), b=t.salary.sum(where=young), c=t.salary.sum(where=old))
    row = sums.to_pyarrow().to_pylist()[0]
    return row["a"] - row["b"] - row["c"]


@attack(
    FAMILY,
    "differencing",
    "drops one visit of a person who has others: the same people, one row less",
    secret="cost",
)
def one_row_of_a_unit(door: Door) -> Guess:
    v = door.visits
    return difference(v.cost.sum(), v.filter(v.day != VICTIM_DAY).cost.sum())


@attack(
    FAMILY,
    "differencing",
    "sums salaries over visits with and without her one visit of a day",
)
def one_row_of_a_join(door: Door) -> Guess:
    t, v = door.people, door.visits
    joined = t.join(v, "pid")
    few = t.join(v.filter(v.day != VICTIM_DAY), "pid")
    return difference(joined.salary.sum(), few.salary.sum())


@attack(FAMILY, "recipients", "asks the second question in another session")
def second_session(door: Door) -> Guess:
    a = number(door.people.salary.sum())
    other = door.session(user="somebody else", role="analyst").table("people")
    b = number(others(other).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "recipients", "closes everything and asks the second question after a restart")
def after_a_restart(door: Door) -> Guess:
    a = number(door.people.salary.sum())
    t = door.restart().table("people")
    b = number(others(t).salary.sum())
    return None if a is None or b is None else a - b


@attack(
    FAMILY,
    "recipients",
    "asks the second question with a copy of the configuration and a new state folder",
)
def copied_configuration(door: Door) -> Guess:
    a = number(door.people.salary.sum())
    t = door.copied().table("people")
    b = number(others(t).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "recipients", "asks the second question of another table made of the same rows")
def another_table_of_the_rows(door: Door) -> Guess:
    t = door.table("people", site="north")
    copy = door.write(t.select("pid", "age", "salary"))
    a, b = number(t.salary.sum()), number(others(copy).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "recipients", "reaches the second rows through a join that changes nothing")
def through_a_join(door: Door) -> Guess:
    t, c = door.people, door.table("cities")
    a = number(t.join(c, "city").salary.sum())
    b = number(others(t).salary.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "recipients", "joins with an open list that lacks her city")
def by_an_inner_join(door: Door) -> Guess:
    t, c = door.people, door.table("cities")
    short = c.filter(c.size != 2)
    return difference(t.salary.sum(), t.semi_join(short, "city").salary.sum())


@attack(FAMILY, "differencing", "fills the ledger with thousands of harmless cells first")
def after_a_flood(door: Door) -> Guess:
    t = door.people
    a = number(t.salary.sum())
    for age in range(30, 60, 4):
        t.filter(t.age < age).group_by("dept").agg(s=t.bonus.sum(), m=t.revenue.mean()).execute()
    b = number(others(t).salary.sum())
    return None if a is None or b is None else a - b


@attack(
    FAMILY,
    "replicated",
    "takes the total from one copy of a replicated table and the rest from another",
    secret="pay",
)
def two_copies(door: Door) -> Guess:
    north, south = door.table("staff", site="north"), door.table("staff", site="south")
    a, b = number(north.pay.sum()), number(others(south).pay.sum())
    return None if a is None or b is None else a - b


@attack(
    FAMILY,
    "replicated",
    "asks the copy that is no steward first, then the federated table",
    secret="pay",
)
def copy_before_steward(door: Door) -> Guess:
    south, both = door.table("staff", site="south"), door.table("staff")
    a, b = number(south.pay.sum()), number(others(both).pay.sum())
    return None if a is None or b is None else a - b


@attack(FAMILY, "secondary", "sums all cities and takes the shown ones away")
def total_less_parts(door: Door) -> Guess:
    t = door.people
    parts = t.group_by("city").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    total = number(t.salary.sum())
    shown = [row["s"] for row in parts if row["city"] != "Zed"]
    return None if total is None or not shown else total - sum(shown)


@attack(FAMILY, "secondary", "the same with the total first")
def parts_after_total(door: Door) -> Guess:
    t = door.people
    total = number(t.salary.sum())
    parts = t.group_by("city").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    shown = [row["s"] for row in parts if row["city"] != "Zed"]
    return None if total is None or not shown else total - sum(shown)


@attack(FAMILY, "secondary", "takes cities from departments: two group bys with different margins")
def two_margins(door: Door) -> Guess:
    t = door.people
    cities = t.group_by("city").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    departments = t.group_by("dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    return sum(row["s"] for row in departments) - sum(row["s"] for row in cities if row["city"] != "Zed")


@attack(FAMILY, "secondary", "takes cells by city and department from departments")
def cells_from_margins(door: Door) -> Guess:
    t = door.table("people", site="north")
    cells = t.group_by("city", "dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    margin = t.group_by("dept").agg(s=t.salary.sum()).to_pyarrow().to_pylist()
    whole = next((row["s"] for row in margin if row["dept"] == "audit"), None)
    parts = [row["s"] for row in cells if row["dept"] == "audit" and row["city"] != "Zed"]
    return None if whole is None or len(parts) != 3 else whole - sum(parts)


@attack(
    FAMILY, "secondary", "sums the shown groups' means times their counts, all in one query with the total"
)
def total_in_one_query(door: Door) -> Guess:
    t = door.people
    parts = t.group_by("city").agg(s=t.salary.sum())
    total = t.agg(all=t.salary.sum())
    rows = parts.cross_join(total).to_pyarrow().to_pylist()
    shown = [row["s"] for row in rows if row["city"] != "Zed"]
    return None if not rows else rows[0]["all"] - sum(shown)


@attack(
    FAMILY,
    "secondary",
    "solves four ordinary tables together: all, by department, by city, and by both",
)
def linked_tables(door: Door) -> Guess:
    import numpy as np

    t = door.table("people", site="north")
    cells: dict[tuple[str, str], int] = {}

    def cell(dept: str, city: str) -> int:
        return cells.setdefault((dept, city), len(cells))

    for dept in DEPARTMENTS:
        for city in (*CITIES, "Zed"):
            cell(dept, city)
    matrix, values = [], []
    for keys in ([], ["dept"], ["dept", "city"], ["city"]):
        query = t.group_by(keys) if keys else t
        for row in query.agg(s=t.salary.sum()).to_pyarrow().to_pylist():
            matrix.append(
                [
                    # that she alone lives in her city, and in the audit department, is known
                    float(
                        row.get("dept", d) == d and row.get("city", c) == c and (c != "Zed" or d == "audit")
                    )
                    for d, c in cells
                ]
            )
            values.append(row["s"])
    return float(np.linalg.lstsq(np.asarray(matrix), np.asarray(values), rcond=None)[0][cell("audit", "Zed")])


@honest(FAMILY)
def the_same_twice(door: Door) -> Any:
    t = door.people
    assert number(t.bonus.mean()) == number(t.bonus.mean())
    return number(t.bonus.mean())


@honest(FAMILY)
def the_same_after_a_restart(door: Door) -> Any:
    before = number(door.people.bonus.mean())
    return number(door.restart().table("people").bonus.mean()) == before


@honest(FAMILY)
def overlapping_bands(door: Door) -> Any:
    t = door.people
    return [number(t.filter(t.age < top).income.mean()) for top in (40, 50, 60)]


@honest(FAMILY)
def several_columns_of_the_same_groups(door: Door) -> Any:
    t = door.people
    rows = t.group_by("dept").agg(n=t.count(), a=t.income.mean(), b=t.income.std(), c=t.flag.mean())
    return rows.to_pyarrow().to_pylist()


@honest(FAMILY)
def two_halves_and_the_whole(door: Door) -> Any:
    t = door.people
    young, old = t.filter(t.age < 50), t.filter(t.age >= 50)
    return [number(young.bonus.mean()), number(old.bonus.mean()), number(t.bonus.mean())]


@honest(FAMILY)
def tables_with_their_margins(door: Door) -> Any:
    t = door.table("people", site="north")
    shown = {
        keys: t.group_by(*keys).agg(s=t.salary.sum()).to_pyarrow().num_rows
        for keys in (("dept",), ("dept", "city"), ("city",), ("sex", "dept"), ("sex",))
    }
    # one of four cities is of one person, whose companion another is
    fewest = {("dept",): 5, ("dept", "city"): 13, ("city",): 2, ("sex", "dept"): 10, ("sex",): 2}
    return all(shown[keys] >= count for keys, count in fewest.items())


@honest(FAMILY)
def two_keys(door: Door) -> Any:
    t = door.people
    return t.group_by("sex", "dept").agg(m=t.income.mean()).to_pyarrow().to_pylist()
