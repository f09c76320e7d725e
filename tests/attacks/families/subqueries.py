"""Subqueries of every kind, and SQL text as a second door to the same plans."""

from __future__ import annotations

from typing import Any

from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.families.groups import rows
from tests.attacks.world import VICTIM, VICTIM_AGE, Door, known

FAMILY = "subqueries and SQL"


def sql(door: Door, text: str) -> float | None:
    """The figure of a query in SQL."""
    found = rows(door.fed.sql(text))
    value = next(iter(found[0].values())) if found else None
    return None if value is None or value != value else float(value)


@attack(FAMILY, "unknown", "keeps the rows that equal the maximum")
def equals_the_maximum(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.salary == t.salary.max()).salary.sum())


@attack(FAMILY, "filter", "keeps rows whose identifier is in a subquery of its own data")
def in_a_subquery(door: Door) -> Guess:
    t = door.people
    return number(t.filter(t.pid.isin(door.local({"x": [VICTIM]}).x)).salary.sum())


@attack(FAMILY, "filter", "keeps rows of an age that a subquery over a private table finds")
def in_a_private_subquery(door: Door) -> Guess:
    t = door.people
    oldest = t.filter(t.salary > 97_000).age
    return number(t.filter(t.age.isin(oldest)).salary.sum())


@attack(FAMILY, "shape", "looks a weight up by a correlated subquery on its own data")
def correlated_weight(door: Door) -> Guess:
    t = door.people
    pids = known(None)["pid"].tolist()
    w = door.local({"key": pids, "w": [1.0 if pid == VICTIM else 0.0 for pid in pids]})
    weight = w.filter(w.key == t.pid).w.sum().as_scalar()
    return number(t.mutate(p=t.salary * weight).p.sum())


@attack(FAMILY, "filter", "lets a correlated count of its own rows decide")
def correlated_exists(door: Door) -> Guess:
    t = door.people
    w = door.local({"key": [VICTIM]})
    return number(t.filter((w.key == t.pid).any()).salary.sum())


@attack(FAMILY, "unknown", "subtracts two scalar subqueries in one plan")
def scalar_difference(door: Door) -> Guess:
    t = door.people
    one = door.local({"one": [1.0]})
    value = t.salary.sum().as_scalar() - t.filter(t.pid != VICTIM).salary.sum().as_scalar()
    return number(one.mutate(v=value).v.sum())


@attack(FAMILY, "filter", "counts rows above a correlated mean, moved by a constant", tolerance=50.0)
def correlated_threshold(door: Door) -> Guess:
    t = door.people
    mean = t.bonus.mean().as_scalar()
    return bisected(
        lambda x: (number(t.filter(t.salary > mean * 0 + x).count()) or 0) >= 1, 60_000, 130_000, 40.0
    )


@attack(FAMILY, "filter", "writes the filter in SQL")
def sql_filter(door: Door) -> Guess:
    return sql(door, f"SELECT sum(salary) FROM people WHERE pid = {VICTIM}")


@attack(FAMILY, "shape", "writes CASE in SQL")
def sql_case(door: Door) -> Guess:
    return sql(door, f"SELECT sum(CASE WHEN pid = {VICTIM} THEN salary ELSE 0 END) FROM people")


@attack(FAMILY, "filter", "writes a FILTER clause in SQL")
def sql_filter_clause(door: Door) -> Guess:
    return sql(door, f"SELECT sum(salary) FILTER (WHERE pid = {VICTIM}) FROM people")


@attack(FAMILY, "filter", "hides the filter in a common table expression")
def sql_common_table(door: Door) -> Guess:
    return sql(door, f"WITH w AS (SELECT * FROM people WHERE pid = {VICTIM}) SELECT sum(salary) FROM w")


@attack(FAMILY, "rows", "takes the maximum in SQL, by ordering and limiting")
def sql_order_limit(door: Door) -> Guess:
    return sql(door, "SELECT salary FROM people ORDER BY salary DESC LIMIT 1")


@attack(FAMILY, "filter", "uses EXISTS in SQL")
def sql_exists(door: Door) -> Guess:
    return sql(
        door,
        "SELECT sum(p.salary) FROM people p WHERE EXISTS "
        f"(SELECT 1 FROM visits v WHERE v.pid = p.pid AND v.day = DATE '2025-02-03' AND p.age = {VICTIM_AGE})",
    )


@attack(FAMILY, "filter", "uses a comparison with a scalar subquery in SQL")
def sql_scalar(door: Door) -> Guess:
    return sql(door, "SELECT sum(salary) FROM people WHERE age = (SELECT max(age) FROM people)")


@attack(FAMILY, "columns", "writes the identifier in capitals, which engines read as the same")
def sql_capitals(door: Door) -> Guess:
    return sql(door, f'SELECT sum("SALARY") FROM people WHERE "PID" = {VICTIM}')


@attack(FAMILY, "columns", "writes the name's column in letters that only look or fold alike")
def sql_lookalikes(door: Door) -> Guess:
    return sql(door, "SELECT sum(ſalary) FROM people WHERE NAME = 'Ada Lovelace'")


@attack(FAMILY, "unknown", "unites two selections in SQL")
def sql_union(door: Door) -> Guess:
    text = f"SELECT sum(s) FROM (SELECT salary AS s FROM people WHERE age = {VICTIM_AGE} UNION ALL SELECT 0.0 AS s)"
    return sql(door, text)


@attack(FAMILY, "frequency", "groups by an expression in SQL and keeps one group by HAVING")
def sql_having(door: Door) -> Guess:
    return sql(door, "SELECT sum(salary) FROM people GROUP BY city HAVING count(*) = 1")


@honest(FAMILY)
def sql_group_by(door: Door) -> Any:
    return rows(
        door.fed.sql("SELECT dept, count(*) AS n, avg(salary) AS m FROM people GROUP BY dept ORDER BY m")
    )


@honest(FAMILY)
def sql_join(door: Door) -> Any:
    text = (
        "SELECT c.region, avg(p.bonus) AS m FROM people p JOIN cities c ON p.city = c.city GROUP BY c.region"
    )
    return rows(door.fed.sql(text))


@honest(FAMILY)
def beside_the_overall_mean(door: Door) -> Any:
    t = door.people
    groups = t.group_by("dept").agg(m=t.bonus.mean())
    return rows(groups.cross_join(t.agg(all=t.bonus.mean())))


@honest(FAMILY)
def share_of_the_total(door: Door) -> Any:
    t = door.people
    groups = t.group_by("sex").agg(s=t.bonus.sum())
    return rows(groups.mutate(share=groups.s / groups.s.sum()))
