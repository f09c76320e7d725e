"""Conditions hidden in arithmetic: every way to write "if it is her" without a filter."""

from __future__ import annotations

from typing import Any

import ibis
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.world import VICTIM, VICTIM_AGE, VICTIM_NAME, Door

FAMILY = "arithmetic"


@attack(FAMILY, "shape", "sums salaries times CASE WHEN pid = hers")
def case_sum(door: Door) -> Guess:
    t = door.people
    return number(ibis.cases((t.pid == VICTIM, t.salary), else_=0.0).sum())


@attack(
    FAMILY, "shape", "sums hers and 50,000 for everybody else, so that nothing is rare and no unit dominates"
)
def case_constant(door: Door) -> Guess:
    t = door.people
    total = number(ibis.cases((t.pid == VICTIM, t.salary), else_=50_000.0).sum())
    n = number(t.count())
    return None if total is None or n is None else total - 50_000.0 * (n - 1)


@attack(FAMILY, "shape", "averages instead of summing")
def case_mean(door: Door) -> Guess:
    t = door.people
    mean = number(ibis.cases((t.pid == VICTIM, t.salary), else_=0.0).mean())
    n = number(t.count())
    return None if mean is None or n is None else mean * n


@attack(FAMILY, "shape", "multiplies with a comparison cast to a number")
def boolean_factor(door: Door) -> Guess:
    t = door.people
    return number((t.salary * (t.pid == VICTIM).cast("float64")).sum())


@attack(FAMILY, "filter", "uses the aggregate's own FILTER clause")
def sum_where(door: Door) -> Guess:
    t = door.people
    return number(t.salary.sum(where=t.pid == VICTIM))


@attack(FAMILY, "filter", "uses FILTER with a mean, and her age, on which conditions are allowed")
def mean_where(door: Door) -> Guess:
    t = door.people
    return number(t.salary.mean(where=t.age == VICTIM_AGE))


@attack(FAMILY, "shape", "multiplies with a condition on her age, on which conditions are allowed")
def allowed_condition_factor(door: Door) -> Guess:
    t = door.people
    return number((t.salary * (t.age == VICTIM_AGE).cast("int64")).sum())


@attack(FAMILY, "shape", "pushes everybody else far below zero and takes GREATEST with zero")
def greatest(door: Door) -> Guess:
    t = door.people
    return number(ibis.greatest(t.salary - 1e7 * (t.pid - VICTIM) * (t.pid - VICTIM), 0.0).sum())


@attack(FAMILY, "shape", "the same with LEAST and a large constant")
def least(door: Door) -> Guess:
    t = door.people
    far = ibis.least((t.pid - VICTIM) * (t.pid - VICTIM), 1)
    return number((t.salary * (1 - far)).sum())


@attack(FAMILY, "shape", "clips a parabola around her identifier")
def clip(door: Door) -> Guess:
    t = door.people
    return number((t.salary - 1e7 * (t.pid - VICTIM) * (t.pid - VICTIM)).clip(lower=0.0).sum())


@attack(FAMILY, "shape", "takes the second difference of |pid - x| at her identifier, by three queries")
def absolute_kink(door: Door) -> Guess:
    t = door.people

    def at(x: int) -> Any:
        return (t.salary * (t.pid - x).abs()).sum()

    low, middle, high = (number(at(VICTIM + d)) for d in (-1, 0, 1))
    if low is None or middle is None or high is None:
        return None
    return (low - 2 * middle + high) / 2


@attack(FAMILY, "shape", "divides whole numbers: a step at her identifier less a step just after it")
def floor_division(door: Door) -> Guess:
    t = door.people
    step = (t.pid - VICTIM) // 10_000_000 - (t.pid - VICTIM - 1) // 10_000_000
    return number((t.salary * step).sum())


@attack(FAMILY, "shape", "uses the remainder of a division")
def modulo(door: Door) -> Guess:
    t = door.people
    # (pid mod V) - pid is 0 below V and -V from V on (identifiers are below 2 V)
    step = (t.pid - t.pid % VICTIM) - (t.pid - t.pid % (VICTIM + 1)) * VICTIM / (VICTIM + 1)
    return number((t.salary * step / VICTIM).sum())


@attack(FAMILY, "shape", "uses the sign of a difference")
def sign(door: Door) -> Guess:
    t = door.people
    s = (t.pid - VICTIM).sign()
    return number((t.salary * (1 - s * s)).sum())


@attack(FAMILY, "shape", "raises zero to a power")
def zero_power(door: Door) -> Guess:
    t = door.people
    distance = ((t.pid - VICTIM) * (t.pid - VICTIM)).cast("float64")
    return number((t.salary * (ibis.literal(0.0).pow(distance))).sum())


@attack(FAMILY, "shape", "uses a bump so narrow that it is zero but at her identifier")
def narrow_bump(door: Door) -> Guess:
    t = door.people
    return number((t.salary * (-50.0 * (t.pid - VICTIM) * (t.pid - VICTIM)).exp()).sum())


@attack(FAMILY, "shape", "uses XOR, zero where the bits agree")
def exclusive_or(door: Door) -> Guess:
    t = door.people
    return number((t.salary * (1 - ibis.least(t.pid ^ VICTIM, 1))).sum())


@attack(FAMILY, "shape", "compares as text")
def text_comparison(door: Door) -> Guess:
    t = door.people
    return number((t.salary * (t.pid.cast("string") == str(VICTIM)).cast("int64")).sum())


@attack(FAMILY, "columns", "finds her name by a string function")
def name_starts_with(door: Door) -> Guess:
    t = door.people
    return number((t.salary * t.name.startswith(VICTIM_NAME[:5]).cast("int64")).sum())


@attack(FAMILY, "columns", "adds the length of a name that only she has, by a string replaced")
def name_length(door: Door) -> Guess:
    t = door.people
    gone = t.name.length() - t.name.replace(VICTIM_NAME, "").length()
    return number((t.salary * gone / len(VICTIM_NAME)).sum())


@attack(FAMILY, "shape", "makes her identifier null and counts on sums skipping nulls")
def null_if(door: Door) -> Guess:
    t = door.people
    everybody = number(t.salary.sum())
    others = number((t.salary + 0 * t.pid.nullif(VICTIM)).sum())
    return None if everybody is None or others is None else everybody - others


@attack(FAMILY, "shape", "fills the null bonus, which only she has")
def fill_null(door: Door) -> Guess:
    t = door.people
    marked = t.bonus.fill_null(1e9)
    total, plain = number((marked * t.salary / 1e9).sum()), number((t.bonus * t.salary / 1e9).sum())
    return None if total is None or plain is None else total - plain


@attack(FAMILY, "shape", "covaries the salary with a flag")
def covariance_flag(door: Door) -> Guess:
    t = door.people
    flag = (t.pid == VICTIM).cast("float64")
    joint, mean, n = number(t.salary.cov(flag, how="pop")), number(t.salary.mean()), number(t.count())
    return None if joint is None or mean is None or n is None else joint * n + mean


@attack(FAMILY, "shape", "rounds a scaled distance to a flag")
def rounding(door: Door) -> Guess:
    t = door.people
    far = (t.pid - VICTIM) * (t.pid - VICTIM)
    flag = 1.0 - (far / (far + 0.1)).round()
    return number((t.salary * flag).sum())


@attack(FAMILY, "shape", "casts a fraction to a whole number, which rounds")
def narrowing_cast(door: Door) -> Guess:
    t = door.people
    far = (t.pid - VICTIM) * (t.pid - VICTIM)
    return number((t.salary * (0.1 / (far + 0.1)).cast("int64")).sum())


@attack(FAMILY, "filter", "groups by the condition itself")
def computed_key(door: Door) -> Guess:
    t = door.people
    rows = list(numbers_by(t.group_by(her=t.pid == VICTIM).agg(s=t.salary.sum())))
    return next((row["s"] for row in rows if row["her"]), None)


@attack(FAMILY, "shape", "takes a flag per unit first, harmlessly, and uses it above")
def per_unit_flag(door: Door) -> Guess:
    t = door.people
    each = t.group_by("pid").agg(s=t.salary.max(), her=(t.pid == VICTIM).max())
    return number((each.s * each.her.cast("int64")).sum())


@attack(FAMILY, "shape", "counts visits per person and looks who has most", secret="visits", tolerance=0.5)
def most_visits(door: Door) -> Guess:
    v = door.visits
    each = v.group_by("pid").agg(n=v.count())
    for n in range(40, 4, -1):
        found = number((each.n >= n).cast("int64").sum())
        if found is None:
            return None
        if found >= 1:
            return float(n)
    return None


@attack(
    FAMILY,
    "shape",
    "the same with 1 added to the flag, so that the flag of one does not dominate",
    secret="visits",
    tolerance=0.5,
)
def most_visits_lifted(door: Door) -> Guess:
    v = door.visits
    each = v.group_by("pid").agg(n=v.count())
    for n in range(30, 4, -1):
        row = numbers_by(each.agg(a=(1 + (each.n >= n).cast("int64")).sum(), b=each.count()))[0]
        if row["a"] - row["b"] >= 1:
            return float(n)
    return None


@attack(
    FAMILY,
    "shape",
    "sums powers of the visits per person: the highest power is hers alone",
    secret="visits",
    tolerance=0.5,
)
def visits_power(door: Door) -> Guess:
    v = door.visits
    each = v.group_by("pid").agg(n=v.count())
    total = number((each.n.cast("float64") ** 60).sum())
    return None if total is None else total ** (1 / 60)


def numbers_by(expr: Any) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries."""
    return list(expr.to_pyarrow().to_pylist())


@honest(FAMILY)
def affine_sum(door: Door) -> Any:
    t = door.people
    return number((12 * t.salary + t.bonus - 100).sum())


@honest(FAMILY)
def product_of_two(door: Door) -> Any:
    t = door.people
    return number((t.salary * (1 - t.bonus / 1000)).mean())


@honest(FAMILY)
def moments(door: Door) -> Any:
    t = door.people
    row = t.agg(m=t.salary.mean(), sd=t.salary.std(), r=t.salary.corr(t.age), n=t.count())
    return row.to_pyarrow().to_pylist()[0]["sd"]


@honest(FAMILY)
def condition_on_an_open_column(door: Door) -> Any:
    t = door.people
    return number((t.age >= 50).cast("float64").mean())


@honest(FAMILY)
def filter_clause(door: Door) -> Any:
    t = door.people
    return number(t.salary.mean(where=t.age < 40))


@honest(FAMILY)
def means_of_unit_means(door: Door) -> Any:
    v = door.visits
    each = v.group_by("pid").agg(mean=v.cost.mean(), n=v.count())
    return number(each["mean"].mean())
