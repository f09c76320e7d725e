"""Budgets: what they hold, what they refuse to be, and how two of them go together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.optimizer.budget import Budget, tighter, unaffordable, usd_text
from blossom.plan.errors import BudgetError, Offer

LIMITS = st.none() | st.floats(0, 1e6)
BUDGETS = st.tuples(LIMITS, LIMITS).filter(any).map(lambda two: Budget(*two))


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf, "60", True, [1]])
@pytest.mark.parametrize("name", ["seconds", "usd"])
def test_what_is_no_limit_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BudgetError, match=rf"Budget.{name}.* is no limit") as caught:
        Budget(**{name: value})  # pyright: ignore[reportArgumentType]
    assert "0 or more" in (caught.value.hint or "")


def test_a_budget_without_a_limit_and_an_unknown_preference_are_refused() -> None:
    with pytest.raises(BudgetError, match="without a limit"):
        Budget()
    with pytest.raises(BudgetError, match="prefer is 'best'"):
        Budget(1, prefer="best")  # pyright: ignore[reportArgumentType]


def test_what_is_preferred() -> None:
    assert Budget(seconds=1).preference == "cheapest"
    assert Budget(usd=1).preference == "fastest"
    assert Budget(seconds=1, usd=1).preference == "fastest"
    assert Budget(seconds=1, prefer="fastest").preference == "fastest"


@given(BUDGETS, BUDGETS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_tighter_of_two_holds_what_both_hold(
    one: Budget, two: Budget, seconds: float, usd: float
) -> None:
    both = tighter(one, two)
    assert both is not None
    assert both.holds(seconds, usd) == (one.holds(seconds, usd) and two.holds(seconds, usd))
    assert both.preference == one.preference
    assert tighter(None, one) == tighter(one, None) == one


def test_a_budget_that_nobody_can_meet_names_the_cheapest_and_the_fastest() -> None:
    cheap = Offer(9.0, 0.1, 18.0, 0.2, ("duckdb@slow",))
    fast = Offer(1.0, 5.0, 2.0, 10.0, ("duckdb@fast", "duckdb@hub"))
    error = unaffordable(Budget(seconds=1, usd=0.05), cheap, fast)
    assert error.cheapest == cheap
    assert error.fastest == fast
    assert "no plan fits the budget of 1 s and 0.050 usd" in str(error)
    assert "cheapest: 9 s (at most 18 s) and 0.1 usd (at most 0.2 usd) on duckdb@slow" in str(error)
    assert "fastest: 1 s" in str(error)
    assert "the cheapest and fastest plan: 1 s" in str(unaffordable(Budget(seconds=1), fast, fast))


@given(st.floats(1e-12, 1e6))
def test_money_is_told_in_two_figures_at_least(usd: float) -> None:
    assert float(usd_text(usd).removesuffix(" usd")) == pytest.approx(usd, rel=0.051)
