"""Planning under a budget over a small invented federation: two clouds hold copies, one fast and dear, one slow and cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.optimizer.budget import Budget
from blossom.optimizer.physical import Location, PhysicalPlan
from blossom.optimizer.planning import plan
from blossom.optimizer.prices import PlacePrice, Prices, Zone
from blossom.plan.errors import BudgetError, PlanError, Refusal
from blossom.plan.expressions import Call, Column
from blossom.plan.relations import Aggregate, Copies, Join, Link, Parts, Relation, Scan, Sort, SortKey
from blossom.plan.schema import Schema
from blossom.policy.model import TablePolicy

HUB = Location("hub", "duckdb")
DEAR, CHEAP = Location("dear", "duckdb"), Location("cheap", "sqlite")
SPARK = Location("dear", "spark")
SCHEMA = Schema([("id", "int64"), ("x", "float64")])


@dataclass(frozen=True)
class World:
    locations: tuple[Location, ...] = (HUB, DEAR, CHEAP)
    homes: Mapping[str, Location] = field(default_factory=dict)
    size: int = 5_000_000
    refused: frozenset[tuple[str, str]] = frozenset()  # (site, recipient)

    def home(self, site: str, table: str) -> Location:
        return self.homes.get(f"{site}/{table}") or next(one for one in self.locations if one.site == site)

    def kind(self, location: Location) -> str:
        return location.platform

    def unsupported(self, location: Location, node: Relation) -> str | None:
        return None

    def rows(self, site: str, table: str) -> int | None:
        return self.size

    def policy(self, site: str, table: str) -> TablePolicy:
        return TablePolicy(release="rows")

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        if (site, recipient) in self.refused:
            return (Refusal(site, "t", None, "release", "rows stay", "aggregate it"),)
        return ()


PRICES = Prices(
    {DEAR: PlacePrice(1.0, zone=Zone("a")), CHEAP: PlacePrice(0.001, zone=Zone("b"))},
    {"dear": Zone("a"), "cheap": Zone("b")},
)


def scan(site: str, table: str = "t") -> Scan:
    return Scan(table, SCHEMA, site)


def total(relation: Relation) -> Aggregate:
    x = Call("Sum", (relation.column("x"), None), "float64")
    return Aggregate(relation, (), (("x", x),))


COPIES = total(Copies((scan("dear"), scan("cheap")), ("dear", "cheap")))


def planned(root: Relation = COPIES, world: World | None = None, **options) -> PhysicalPlan:
    return plan(root, world or World(), **{"prices": PRICES, **options})


def sites(physical: PhysicalPlan) -> set[str]:
    return {one.location.site for one in physical.fragments}


def test_the_budget_decides_between_two_clouds_that_hold_the_same_rows() -> None:
    usual = planned()
    assert sites(usual) == {"dear"}
    assert sites(planned(budget=Budget(usd=usual.usd_high * 1.01))) == {"dear"}
    saving = planned(budget=Budget(usd=usual.usd_high * 0.5))
    assert sites(saving) == {"cheap"}
    assert saving.usd < usual.usd
    assert saving.seconds > usual.seconds
    assert sites(planned(budget=Budget(seconds=saving.seconds_high * 1.01))) == {
        "cheap"
    }  # the cheapest that is in time
    assert sites(planned(budget=Budget(seconds=saving.seconds_high * 0.5))) == {"dear"}
    assert sites(planned(budget=Budget(seconds=saving.seconds_high * 1.01, prefer="fastest"))) == {"dear"}


def test_a_budget_that_no_plan_fits_is_refused_with_the_cheapest_and_the_fastest() -> None:
    usual, saving = planned(), planned(budget=Budget(seconds=1e6))
    with pytest.raises(BudgetError) as caught:
        planned(budget=Budget(seconds=usual.seconds_high * 1.01, usd=usual.usd_high * 0.5))
    assert caught.value.fastest is not None
    assert caught.value.cheapest is not None
    assert caught.value.fastest.places == ("duckdb@dear",)
    assert caught.value.cheapest.places == ("sqlite@cheap",)
    assert caught.value.fastest.seconds_high == pytest.approx(usual.seconds_high)
    assert caught.value.cheapest.usd_high == pytest.approx(saving.usd_high)
    with pytest.raises(BudgetError, match="no plan fits the budget of 0 s"):
        planned(budget=Budget(seconds=0))


@settings(max_examples=30, deadline=None)
@given(seconds=st.none() | st.floats(0.001, 100), usd=st.none() | st.floats(1e-4, 10))
def test_what_is_chosen_fits_and_what_is_refused_does_not(seconds: float | None, usd: float | None) -> None:
    if seconds is None and usd is None:
        return
    budget = Budget(seconds, usd)
    both = [planned(), planned(budget=Budget(seconds=1e6))]
    able = [one for one in both if budget.holds(one.seconds_high, one.usd_high)]
    if not able:
        with pytest.raises(BudgetError):
            planned(budget=budget)
        return
    found = planned(budget=budget)
    assert budget.holds(found.seconds_high, found.usd_high)
    if budget.preference == "cheapest":
        assert found.usd <= min(one.usd for one in able) * 1.0001
    else:
        assert found.seconds <= min(one.seconds for one in able) * 1.0001


def test_without_prices_all_is_free_and_only_time_is_limited() -> None:
    usual = planned(prices=None)
    assert usual.usd == usual.usd_high == 0.0
    assert planned(prices=None, budget=Budget(usd=0)).seconds == pytest.approx(usual.seconds)
    with pytest.raises(BudgetError):
        planned(prices=None, budget=Budget(seconds=usual.seconds / 2))


def test_a_plan_without_a_budget_does_not_depend_on_prices() -> None:
    root = total(Parts((total(scan("dear")), total(scan("cheap"))), ("dear", "cheap")))
    with_prices, without = planned(root), planned(root, prices=None)
    assert [one.location for one in with_prices.fragments] == [one.location for one in without.fragments]
    assert with_prices.seconds == pytest.approx(without.seconds)


def test_the_bill_of_a_plan_is_its_work_and_what_leaves() -> None:
    gb = 1e-9
    zones = {"dear": Zone("a", out=0.09 * gb), "hub": Zone()}
    prices = Prices({DEAR: PlacePrice(1.0, zone=zones["dear"])}, zones)
    found = planned(scan("dear"), prices=prices)
    (one,) = found.fragments
    assert found.usd == pytest.approx(one.estimate.seconds * 1.0 + one.estimate.bytes * 0.09 * gb)
    assert one.estimate.usd == pytest.approx(found.usd)
    assert found.usd_high == pytest.approx(found.usd * 4)


def test_the_fragments_bills_add_up_to_the_plans() -> None:
    root = total(Parts((total(scan("dear")), scan("cheap")), ("dear", "cheap")))
    found = planned(root)
    assert len(found.fragments) == 2
    assert sum(one.estimate.usd for one in found.fragments) == pytest.approx(found.usd)


def test_what_one_site_does_is_one_after_the_other_and_what_two_do_side_by_side() -> None:
    world = World((HUB, DEAR, CHEAP), size=50_000_000)

    def alone(site: str) -> float:
        return planned(total(scan(site)), world, prices=None).seconds

    both = planned(
        Parts((total(scan("dear")), total(scan("cheap"))), ("dear", "cheap")), world, prices=None
    ).seconds
    assert both == pytest.approx(max(alone("dear"), alone("cheap")), rel=0.05)


COLD = Prices({SPARK: PlacePrice(0.5, startup_seconds=40.0, minimum_seconds=60.0)})
AT_SPARK = World((HUB, DEAR, SPARK), {"dear/big": SPARK, "dear/t": DEAR})


def test_a_cold_platform_costs_its_start_and_its_shortest_bill_and_a_warm_one_does_not() -> None:
    root = total(scan("dear", "big"))
    cold, warm = planned(root, AT_SPARK, prices=COLD), planned(root, AT_SPARK, prices=COLD, warm={SPARK})
    assert cold.seconds == pytest.approx(warm.seconds + 40.0)
    assert warm.usd == pytest.approx(0.5 * warm.seconds, rel=0.1)
    assert cold.usd == pytest.approx(0.5 * 60.0)
    assert cold.seconds_high == pytest.approx(40.0 + 4 * warm.seconds)
    with pytest.raises(BudgetError, match="spark@dear"):
        planned(root, AT_SPARK, prices=COLD, budget=Budget(usd=2))
    assert planned(root, AT_SPARK, prices=COLD, warm={SPARK}, budget=Budget(usd=2)).usd < 1


def test_a_cold_platform_is_left_out_where_its_start_is_not_worth_it() -> None:
    lite, other = Location("dear", "sqlite"), Location("dear", "polars")
    world = World((HUB, lite, other), {"dear/t": lite, "dear/u": lite})
    left, right = scan("dear"), scan("dear", "u")
    equal = Call("Equals", (left.column("id"), Column("id", "int64", 1)), "boolean")
    both: Relation = Join((left, right), (Link("inner", (equal,)),), (("x", left.column("x")),))
    for _ in range(8):  # enough work that moving both tables out of SQLite is worth it
        both = Sort(both, (SortKey(both.column("x")),))
    root = total(both)
    prices = Prices({other: PlacePrice(startup_seconds=40.0)})

    def used(**options) -> set[Location]:
        return {one.location for one in planned(root, world, prices=prices, **options).fragments}

    assert other in used(warm={other})
    assert other not in used()


def test_what_a_policy_forbids_is_no_cheaper_plan() -> None:
    world = World(refused=frozenset({("cheap", "hub"), ("cheap", "dear")}))
    usual = planned(world=world)
    assert sites(usual) == {"dear"}
    with pytest.raises(BudgetError) as caught:
        planned(world=world, budget=Budget(usd=usual.usd_high / 2))
    assert caught.value.cheapest is not None
    assert all("cheap" not in place for place in caught.value.cheapest.places)


def test_the_plan_names_the_cheapest_and_the_fastest() -> None:
    found = planned()
    assert found.offers is not None
    cheapest, fastest = found.offers()
    assert cheapest.places == ("sqlite@cheap",)
    assert fastest.places == ("duckdb@dear",)
    assert cheapest.usd < fastest.usd
    assert fastest.seconds < cheapest.seconds


def test_too_many_platforms_that_start_are_refused_in_words() -> None:
    many = tuple(Location("dear", f"spark{i}") for i in range(9))
    prices = Prices({one: PlacePrice(startup_seconds=1.0) for one in many})

    @dataclass(frozen=True)
    class Crowded(World):
        def kind(self, location: Location) -> str:
            return "spark" if location.platform.startswith("spark") else location.platform

    with pytest.raises(PlanError, match="9 platforms of the plan's sites have a start-up time"):
        planned(total(scan("dear")), Crowded((HUB, *many)), prices=prices)
