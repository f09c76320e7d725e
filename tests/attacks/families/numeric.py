"""Numbers as tools: rounding, overflow, underflow, infinities and collisions turn arithmetic into predicates."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.world import VICTIM, Door, known, people

FAMILY = "numeric"


@attack(
    FAMILY, "shape", "adds and takes away 1e20, which leaves a step function of the salary", tolerance=50.0
)
def absorbing_constant(door: Door) -> Guess:
    t = door.people
    unit = 2.0**18  # the spacing of doubles at 2^70: half of it is the threshold

    def high(x: float) -> bool:
        steps = ((t.salary - x + unit / 2) + 2.0**70) - 2.0**70
        return (number(steps.sum()) or 0.0) > 0.5 * unit

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "shape",
    "scales salaries to the brink of overflow and counts the distinct values left",
    tolerance=50.0,
)
def overflow_distinct(door: Door) -> Guess:
    t = door.people
    everybody = number(t.salary.nunique())
    if everybody is None:
        return None

    def high(x: float) -> bool:
        # the highest salary becomes infinite: still one value, so push another one over as well and see a loss
        count = number((t.salary * (1.7976931348623157e308 / x)).nunique())
        return count is not None and count < everybody

    second = bisected(high, 60_000, 130_000, 20.0)
    top = number((t.salary * (1.7976931348623157e308 / (second + 0.5)) * 0.0).sum())  # inf * 0 is NaN
    return _highest(door) if top is None else None


def _highest(door: Door) -> float | None:
    t = door.people

    def high(x: float) -> bool:
        return number((t.salary * (1.7976931348623157e308 / x) * 0.0).sum()) is None

    return bisected(high, 60_000, 130_000, 20.0)


@attack(FAMILY, "shape", "makes the highest salary infinite, and the sum NaN with it", tolerance=50.0)
def overflow_poison(door: Door) -> Guess:
    return _highest(door)


@attack(
    FAMILY, "shape", "scales salaries into the denormals, where doubles round to a few steps", tolerance=50.0
)
def denormal_steps(door: Door) -> Guess:
    t = door.people
    smallest = 5e-324

    def high(x: float) -> bool:
        # salary / x rounds to 1 (half of x and up) or 0 (below); products of columns keep literals within bounds
        steps = (t.salary / 2e5) * smallest * 1e160 * 1e160
        shifted = ((t.salary - x) / 1e6 + 0.5) * smallest * 1e160 * 1e160
        del steps
        return (number(shifted.sum()) or 0.0) > 0.0

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "shape",
    "multiplies incomes up to the limit of 64-bit integers: an error says whether one exceeds it",
    secret="income",
    tolerance=50.0,
)
def integer_overflow(door: Door) -> Guess:
    from blossom.plan.errors import PlatformError, PolicyError

    t = door.table("people", site="north")

    def high(x: float) -> bool:
        try:
            number((t.income * int((2**63 - 1) // x)).mean())
        except PolicyError:
            raise
        except PlatformError:
            return True
        return False

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "shape",
    "counts distinct pid + c * flag: values collide exactly when one flag is set and another is not",
    secret="flag",
)
def distinct_collisions(door: Door) -> Guess:
    t = door.table("people", site="north")
    pids = sorted(known()["pid"])
    n = len(pids)
    truth = dict(zip(people("north")["pid"].to_pylist(), people("north")["flag"].to_pylist(), strict=True))
    gaps: dict[int, list[tuple[int, int]]] = {}
    for a, b in combinations(pids, 2):
        gaps.setdefault(b - a, []).append((a, b))
    right = asked = 0
    for a in pids[:14]:
        alone = [(gap, b) for gap, pairs in gaps.items() if len(pairs) == 1 for x, b in pairs if x == a][:2]
        for gap, b in alone:
            count = number((t.pid + int(gap) * t.flag).nunique())
            if count is None:
                return None
            asked += 1
            right += (count < n) == (truth[a] == 1 and truth[b] == 0)
    return 1.0 if asked >= 10 and right == asked else None


@attack(
    FAMILY, "shape", "poisons the sum with NaN where an infinity meets zero: only at her row", tolerance=50.0
)
def nan_poison(door: Door) -> Guess:
    t = door.people
    far = (t.pid - VICTIM) * (t.pid - VICTIM)

    def high(x: float) -> bool:
        # (salary - x) * far * 1e308 * 1e308: infinite for all but her; times zero NaN; only signs of hers remain
        return number(((t.salary - x) / far.cast("float64")).sum()) in (float("inf"),)

    return bisected(high, 60_000, 130_000, 40.0)


@attack(FAMILY, "shape", "divides by the distance to her identifier, which is zero for her alone")
def pole(door: Door) -> Guess:
    t = door.people
    tiny = 1e-9
    return number((tiny * t.salary / ((t.pid - VICTIM) * (t.pid - VICTIM) + tiny)).sum())


@attack(FAMILY, "shape", "casts to a decimal of no digits, which rounds, of a scaled bump")
def decimal_cast(door: Door) -> Guess:
    t = door.people
    far = (t.pid - VICTIM) * (t.pid - VICTIM)
    return number((t.salary * (0.6 / (far + 0.6)).cast("decimal(18, 0)").cast("float64")).sum())


@attack(FAMILY, "shape", "casts to single precision, which forgets small differences", tolerance=50.0)
def single_precision(door: Door) -> Guess:
    t = door.people

    def high(x: float) -> bool:
        steps = ((t.salary - x) + 0.5 * 2.0**17 + 2.0**40).cast("float32").cast("float64") - 2.0**40
        return (number(steps.sum()) or 0.0) > 0.0

    return bisected(high, 60_000, 130_000, 40.0)


@attack(
    FAMILY,
    "dominance",
    "takes her value of a column that she dominates from the deviation and the mean",
    secret="revenue",
    tolerance=10_000,
)
def deviation_of_an_outlier(door: Door) -> Guess:
    t = door.table("people", site="north")
    sd, n = number(t.revenue.std()), number(t.count())
    return None if sd is None or n is None else sd * np.sqrt(n) + 3_000


@attack(FAMILY, "dominance", "sums a column that she dominates", secret="revenue", tolerance=900_000)
def dominated_sum(door: Door) -> Guess:
    return number(door.table("people", site="north").revenue.sum())


@attack(
    FAMILY,
    "dominance",
    "shifts that column by a million, so that she no longer dominates, and shifts back",
    secret="revenue",
    tolerance=900_000,
)
def dominated_shifted(door: Door) -> Guess:
    t = door.table("people", site="north")
    total, n = number((t.revenue + 1e6).sum()), number(t.count())
    return None if total is None or n is None else total - 1e6 * n


@attack(
    FAMILY,
    "dominance",
    "adds a large column to it, and takes that column's sum away",
    secret="revenue",
    tolerance=900_000,
)
def dominated_mixed(door: Door) -> Guess:
    t = door.table("people", site="north")
    both, other = number((t.revenue + 100 * t.salary).sum()), number((100 * t.salary).sum())
    return None if both is None or other is None else both - other


@attack(
    FAMILY,
    "dominance",
    "covaries the column that she dominates with her age",
    secret="revenue",
    tolerance=900_000,
)
def dominated_covariance(door: Door) -> Guess:
    t = door.table("people", site="north")
    joint, n, mean = number(t.revenue.cov(t.age, how="pop")), number(t.count()), number(t.age.mean())
    return None if joint is None or n is None or mean is None else joint * n / (97 - mean)


@attack(FAMILY, "dominance", "sums the squares of salaries to a high power, so that the highest remains")
def high_power(door: Door) -> Guess:
    t = door.people
    total = number(((t.salary / 1e5) ** 600).sum())
    return None if total is None else total ** (1 / 600) * 1e5


@honest(FAMILY)
def distinct_people(door: Door) -> Any:
    v = door.visits
    return number(v.pid.nunique())


@honest(FAMILY)
def rescaled_mean(door: Door) -> Any:
    t = door.people
    return number((t.salary / 12 * 1.1).mean())


@honest(FAMILY)
def deviation(door: Door) -> Any:
    t = door.people
    return number(t.income.std())
