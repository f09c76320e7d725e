"""Equations: products with other columns, columns that are nearly alike, and rare flags, all over the very same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.families.groups import rows
from tests.attacks.world import SECRETS, Door, crew

FAMILY = "equations"


def _only(expr: Any) -> dict[str, Any]:
    found = rows(expr)
    return found[0] if found else {}


@attack(FAMILY, "differencing", "sums two columns that are equal for all but her", secret="raise")
def twin_columns(door: Door) -> Guess:
    t = door.table("crew")
    return number(t.raised.sum()) - number(t.wage.sum())


@attack(FAMILY, "differencing", "sums both in one query", secret="raise")
def twin_columns_in_one_release(door: Door) -> Guess:
    t = door.table("crew")
    found = _only(t.agg(one=t.raised.sum(), other=t.wage.sum()))
    return found["one"] - found["other"]


@attack(
    FAMILY,
    "differencing",
    "sums wages, and wages times a flag that she alone lacks, in one query",
    secret="wage",
)
def product_in_one_release(door: Door) -> Guess:
    t = door.table("crew")
    found = _only(t.agg(all=t.wage.sum(), rest=(t.wage * t.early).sum()))
    return found["all"] - found["rest"]


@attack(
    FAMILY,
    "differencing",
    "takes the second sum from a covariance with the flag",
    secret="wage",
    tolerance=5.0,
)
def product_by_covariance(door: Door) -> Guess:
    t = door.table("crew")
    found = _only(
        t.agg(n=t.count(), wage=t.wage.mean(), flags=t.early.mean(), c=t.wage.cov(t.early, how="pop"))
    )  # fmt: skip
    return found["n"] * (found["wage"] - found["c"] - found["wage"] * found["flags"])


@attack(FAMILY, "differencing", "adds up the wages of three shifts, of which she is on none", secret="wage")
def one_hot_columns(door: Door) -> Guess:
    t = door.table("crew")
    parts = _only(t.agg(**{f"on_{i}": (t.wage * t[f"on_{i}"]).sum() for i in range(3)}))
    return number(t.wage.sum()) - sum(parts.values())


@attack(FAMILY, "differencing", "does so with the sum of all first, and a shift a query", secret="wage")
def one_hot_columns_one_by_one(door: Door) -> Guess:
    t = door.table("crew")
    total = number(t.wage.sum())
    return total - sum(number((t.wage * t[f"on_{i}"]).sum()) for i in range(3))


@attack(
    FAMILY,
    "differencing",
    "solves twelve equations, products with known columns, for twelve wages",
    secret="wage",
)
def as_many_equations_as_people(door: Door) -> Guess:
    t = door.table("crew")
    known = crew().to_pandas()[:12][[f"test_{i}" for i in range(12)]].to_numpy(float)
    sums = []
    for i in range(12):
        found = rows(t.group_by("port").agg(s=(t.wage * t[f"test_{i}"]).sum()))
        sums.append(next((row["s"] for row in found if row["port"] == "Ems"), np.nan))
    return float(np.linalg.solve(known.T, np.array(sums))[5])


@attack(
    FAMILY,
    "frequency",
    "finds the three who are ill by the power sums of their identifiers",
    secret="ill",
    tolerance=0.4,
)
def power_sums_of_a_rare_flag(door: Door) -> Guess:
    t = door.table("crew")
    near = t.pid - 5_100
    found = _only(
        t.agg(n=t.ill.sum(), one=(t.ill * near).sum(), total=t.count(), m=(t.ill * near).mean(), near=near.mean(),
              v=(t.ill * near).var(how="pop"), c=(t.ill * near).cov(near * near, how="pop"),
              square=(near * near).mean())
    )  # fmt: skip
    n = found["total"]
    one, two = found["one"], n * (found["v"] + found["m"] ** 2)
    three = n * (found["c"] + found["m"] * found["square"])
    e2 = (one * one - two) / 2
    e3 = (three - one * two + one * e2) / 3
    return [float(root.real) + 5_100 for root in np.roots([1.0, -one, e2, -e3])]


@attack(
    FAMILY, "dominance", "adds a multiple of a column in which she alone differs, and watches when she outweighs all",
    secret="wage", tolerance=60.0,
)  # fmt: skip
def withheld_as_a_balance(door: Door) -> Guess:
    t = door.table("crew")
    if not door.protected:  # where nothing is withheld, there is no balance to watch, and no need of one
        return SECRETS["wage"] if number(t.wage.max()) == SECRETS["wage"] else None

    def tips(sign: float, times: float) -> bool:
        return number(((t.year - 2023) * (sign * times / 24) + t.wage).sum()) is None

    # 0.1 * (b + x) and 0.1 * (b - x) outweigh the same rest
    up = _tipping(lambda b: tips(-1.0, b))
    down = _tipping(lambda b: tips(1.0, b))
    return (down - up) / 2


def _tipping(tips: Any) -> float:
    if tips(1e6) or not tips(1e8):
        raise ValueError("no balance")
    return bisected(lambda b: not tips(b), 1e6, 1e8, 5.0)


@attack(
    FAMILY,
    "shape",
    "multiplies 64-bit cents by moderate literals up to an overflow",
    secret="cents",
    tolerance=400.0,
)
def overflow_of_cents(door: Door) -> Guess:
    from blossom.plan.errors import PlatformError

    t = door.table("crew")

    def high(x: float) -> bool:
        try:
            number((t.cents * int((2**63 - 1) // x)).mean())
        except PlatformError:
            return True
        return False

    # literals below 1e12, which are harmless where values are small
    return bisected(high, 9_500_000, 20_000_000, 200.0)


@honest(FAMILY)
def several_products(door: Door) -> Any:
    t = door.table("crew")
    return rows(t.agg(**{f"s{i}": (t.wage * t[f"test_{i}"]).sum() for i in range(6)}, n=t.count()))


@honest(FAMILY)
def twelve_columns_by_group(door: Door) -> Any:
    t = door.table("crew")
    found = rows(
        t.group_by("port").agg(**{f"s{i}": t[f"test_{i}"].sum() for i in range(12)}, w=t.wage.mean())
    )
    return found if len(found) == 2 else False


@honest(FAMILY)
def parts_that_make_the_whole(door: Door) -> Any:
    t = door.people
    red = number((t.salary * (1 - t.flag)).sum())
    return number(t.salary.sum()) - number((t.salary * t.flag).sum()) - red == 0 or red
