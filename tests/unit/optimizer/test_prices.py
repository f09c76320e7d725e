"""Bills of platforms, and what bytes cost that cross from one zone into another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.optimizer.physical import Location
from blossom.optimizer.prices import NONE_GIVEN, PlacePrice, Prices, Tariff, Zone

NORTH, SPARK, SOUTH, WEST, OWN = (
    Location("north", "duckdb"),
    Location("north", "spark"),
    Location("south", "duckdb"),
    Location("west", "duckdb"),
    Location("own", "duckdb"),
)
HUB = Location("hub", "duckdb")
EU, US = Zone("aws", "eu", 9.0, 2.0, 1.0), Zone("aws", "us", 9.0, 2.0, 1.0)
GCP = Zone("gcp", "eu", 12.0, 3.0, 0.0)
PRICES = Prices(
    {
        NORTH: PlacePrice(0.1, zone=EU),
        SPARK: PlacePrice(1.0, 20, 60, zone=GCP),
        SOUTH: PlacePrice(0.2, zone=EU),
        WEST: PlacePrice(0.3, zone=US),
    },
    {"north": EU, "south": EU, "west": US, "hub": EU},
)


@pytest.mark.parametrize(
    ("source", "target", "usd"),
    [
        (NORTH, NORTH, 0.0),
        (NORTH, SPARK, 9.0),  # another provider, at the same site
        (SPARK, NORTH, 12.0),
        (NORTH, HUB, 1.0),
        (NORTH, SOUTH, 2.0),  # through the hub: within the region, twice
        (NORTH, WEST, 3.0),
        (WEST, NORTH, 3.0),
        (HUB, WEST, 2.0),
        (NORTH, OWN, 10.0),  # to the hub, and from there to nobody's zone
        (OWN, NORTH, 1.0),
    ],
)
def test_a_byte_pays_each_zone_that_it_leaves(source: Location, target: Location, usd: float) -> None:
    assert PRICES.move(source, target) == usd
    if source.site != target.site:
        assert PRICES.deliver(source, target.site) == usd


def test_nobodys_zones_are_no_common_zone() -> None:
    dear = Zone(out=5.0)
    prices = Prices({NORTH: PlacePrice(zone=dear)}, {"north": dear, "south": dear})
    assert prices.move(NORTH, HUB) == 5.0
    assert prices.move(NORTH, SPARK) == 0.0


def test_without_prices_everything_is_free_and_says_so() -> None:
    assert not Prices().any
    assert Prices().note == NONE_GIVEN
    assert Tariff(Prices(), (NORTH, SOUTH), "hub", ()).free
    assert not Tariff(PRICES, (NORTH, SOUTH), "hub", ()).free
    assert PRICES.any
    assert Prices({}, {"north": EU}).any
    assert Prices(PRICES.places, source="a list").note == "by a list"


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_a_cold_platform_bills_its_start_and_never_less_than_its_shortest_bill(
    rate: float, startup: float, minimum: float, busy: float
) -> None:
    price = PlacePrice(rate, startup, minimum)
    assert price.bill(busy, cold=False) == rate * busy
    assert price.bill(busy, cold=True) >= max(price.bill(busy, cold=False), rate * minimum)
    assert price.bill(busy, cold=True) == pytest.approx(rate * max(startup + busy, minimum))


def test_a_tariff_starts_cold_places_only_and_stretches_the_work_alone() -> None:
    cold, warm = (Tariff(PRICES, (NORTH, SPARK), "hub", warm) for warm in ((), {SPARK}))
    assert cold.startup.tolist() == [0.0, 20.0]
    assert warm.startup.tolist() == [0.0, 0.0]
    assert cold.bill({0: 10.0, 1: 10.0}) == pytest.approx(1.0 + 60.0)
    assert cold.bill({0: 10.0, 1: 10.0}, 4.0) == pytest.approx(4.0 + 60.0)
    assert cold.bill({0: 10.0, 1: 10.0}, 5.0) == pytest.approx(5.0 + 70.0)
    assert warm.bill({0: 10.0, 1: 10.0}) == pytest.approx(1.0 + 10.0)
    assert np.allclose(cold.per_byte, [[0.0, 9.0], [12.0, 0.0]])
    assert cold.delivery.tolist() == [1.0, 12.0]
