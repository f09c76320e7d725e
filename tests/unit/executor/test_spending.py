"""What a run spends, and the watch over it: on invented fragments, whose figures the test sets."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from blossom.executor.measuring import Stopwatch
from blossom.executor.spending import Account, Spending, Spent, current_spending
from blossom.optimizer.budget import Budget
from blossom.optimizer.physical import Estimate, Fragment, Location
from blossom.optimizer.prices import PlacePrice, Prices, Zone
from blossom.plan.errors import BudgetError
from blossom.plan.relations import Constant

NORTH, SPARK = Location("north", "duckdb"), Location("north", "spark")
CLOUD = Zone("cloud", out=0.5)
PRICES = Prices(
    {NORTH: PlacePrice(1.0, zone=CLOUD), SPARK: PlacePrice(2.0, 5.0, 60.0, CLOUD)}, {"north": CLOUD}
)


def fragment(
    key: str = "f0", at: Location = NORTH, *, seconds: float = 0.0, usd: float = 0.0, inputs=()
) -> Fragment:
    estimate = Estimate(seconds, 1, 8, usd=usd)
    return Fragment(key, at, Constant(()), tuple(inputs), ("hub",), estimate)


def figures(seconds: float = 0.0, size: int = 0, state: str = "done") -> SimpleNamespace:
    return SimpleNamespace(bytes=size, state=state, watch=Stopwatch([(0.0, seconds)], []))


@pytest.fixture
def spendings() -> Iterator[list[Spending]]:
    made: list[Spending] = []
    yield made
    for one in made:
        one.close()


def test_work_bytes_starts_and_shortest_bills_are_counted(spendings) -> None:
    warm: set[Location] = set()
    one = Spending(PRICES, warm)
    spendings.append(one)
    one.begin(fragment(), figures(3.0, 10))
    assert one.spent.usd == pytest.approx(3.0 + 10 * 0.5)
    one.begin(fragment("f1", SPARK), figures(10.0))
    assert one.spent.usd == pytest.approx(8.0 + 2.0 * 60.0)
    assert warm == {SPARK}
    again = Spending(PRICES, warm)
    spendings.append(again)
    again.begin(fragment("f1", SPARK), figures(10.0))
    assert again.spent.usd == pytest.approx(20.0)


def test_a_running_fragment_without_inputs_is_at_work_all_the_time(spendings) -> None:
    one = Spending(PRICES, set())
    spendings.append(one)
    one.begin(fragment(), figures(state="running"))
    one.begin(fragment("f1", inputs=["f0"]), figures(state="running"))
    time.sleep(0.05)
    assert 0.05 <= one.spent.usd < 1.0


def test_no_fragment_starts_that_would_exceed_the_money(spendings) -> None:
    one = Spending(PRICES, set(), Budget(usd=10))
    spendings.append(one)
    one.begin(fragment(usd=4), figures(4.0))
    with pytest.raises(BudgetError, match="f1 on duckdb@north was not started") as caught:
        one.begin(fragment("f1", usd=7), figures())
    assert caught.value.spent is not None
    assert caught.value.spent[1] == pytest.approx(4.0)
    assert caught.value.left == (None, pytest.approx(6.0))
    assert "s and 4.00 usd; remained: 6.00 usd" in str(caught.value)
    assert one.spent.usd == pytest.approx(4.0)  # it did not start


def test_what_running_fragments_still_take_is_set_aside(spendings) -> None:
    one = Spending(PRICES, set(), Budget(usd=10))
    spendings.append(one)
    one.begin(fragment(usd=6, inputs=["x"]), figures(1.0, state="running"))
    with pytest.raises(BudgetError, match="was not started"):
        one.begin(fragment("f1", usd=5), figures())


def test_the_shortest_bill_of_a_cold_platform_counts_before_it_starts(spendings) -> None:
    one = Spending(PRICES, set(), Budget(usd=100))
    spendings.append(one)
    with pytest.raises(BudgetError, match="spark@north was not started"):
        one.begin(fragment(at=SPARK, usd=1), figures())
    warm = Spending(PRICES, {SPARK}, Budget(usd=100))
    spendings.append(warm)
    warm.begin(fragment(at=SPARK, usd=1), figures())


@pytest.mark.parametrize("budget", [Budget(seconds=0.1), Budget(usd=0.1), Budget(seconds=9, usd=0.1)])
def test_a_fragment_that_takes_longer_than_expected_is_stopped(budget: Budget, spendings) -> None:
    one = Spending(PRICES, set(), budget)
    spendings.append(one)
    stopped = threading.Event()
    told: list[BaseException] = []

    def stop(error: BaseException) -> None:
        told.append(error)
        stopped.set()

    one.stops(stop)
    one.begin(fragment(), figures(state="running"))
    assert stopped.wait(3.0)
    assert one.spent.seconds < 2.0
    (error,) = told
    assert isinstance(error, BudgetError)
    assert "the run was stopped: it exceeds its budget" in str(error)
    with pytest.raises(BudgetError):
        one.check()
    with pytest.raises(BudgetError):
        one.begin(fragment("f1"), figures())


def test_nothing_is_stopped_within_the_budget_or_after_the_end(spendings) -> None:
    one = Spending(PRICES, set(), Budget(seconds=0.2))
    spendings.append(one)
    told: list[BaseException] = []
    one.stops(told.append)
    one.begin(fragment(), figures(0.01))
    one.close()
    final = one.spent
    time.sleep(0.4)
    assert not told
    assert one.spent == final


def test_an_account_sets_aside_and_books() -> None:
    account = Account(Budget(seconds=100, usd=10))
    one, two = Spending(PRICES, set(), None, account), Spending(PRICES, set(), None, account)
    one.hold(40, 4)
    two.hold(30, 3)
    assert account.remaining == Budget(seconds=30, usd=3)
    one.begin(fragment(), figures(1.5))
    one.close()
    one.close()
    assert account.spent.usd == pytest.approx(1.5)
    left = account.remaining
    assert left is not None
    assert left.usd == pytest.approx(10 - 3 - 1.5)
    two.close()
    assert account.remaining is not None
    assert account.remaining.usd == pytest.approx(8.5)
    assert account.remaining.seconds == pytest.approx(100, abs=1)


def test_an_overdrawn_account_has_nothing_left_and_one_without_a_limit_everything() -> None:
    account = Account(Budget(usd=1))
    one = Spending(PRICES, set(), None, account)
    one.begin(fragment(), figures(2.5))
    one.close()
    assert account.remaining == Budget(usd=0)
    assert Account().remaining is None
    assert Account().spent == Spent(0, 0)


def test_code_knows_what_it_spends_from() -> None:
    one = Spending(Prices(), set())
    assert current_spending() is None
    with one.current():
        assert current_spending() is one
    assert current_spending() is None
    one.close()
    assert math.isfinite(one.spent.seconds)
