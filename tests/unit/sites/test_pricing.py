"""What places charge: the provider's prices, and what the owner says over them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pytest

from blossom.optimizer.physical import Location
from blossom.optimizer.prices import NONE_GIVEN, PlacePrice, Prices
from blossom.plan.errors import ConfigError
from blossom.sites.config import load
from blossom.sites.config.border import KINDS
from blossom.sites.config.price_table import listed_prices

TABLE = {
    "title": "a test",
    "date": datetime.date(2026, 1, 31),
    "providers": {
        "cloud": {
            "source": "nowhere",
            "usd_per_hour": 36,
            "egress_usd_per_gb": 9.0,
            "region_usd_per_gb": 2.0,
            "within_usd_per_gb": 1.0,
            "platforms": {"sqlite": {"usd_per_hour": 72.0, "startup_seconds": 5, "minimum_seconds": 60}},
            "regions": {"far": {"usd_per_hour": 54.0, "egress_usd_per_gb": 18.0}},
        },
        "other": {"source": "nowhere", "usd_per_hour": 3.6, "egress_usd_per_gb": 0.5},
    },
}
LITE = {"lite": {"kind": "sqlite"}}


def prices(site: Mapping[str, Any], **top: Any) -> Prices:
    return load({"prices": TABLE, "sites": {"north": dict(site)}, **top}).prices


def place(found: Prices, platform: str = "duckdb") -> PlacePrice:
    return found.of(Location("north", platform))


def per_hour(found: Prices, platform: str = "duckdb") -> float:
    return place(found, platform).usd_per_second * 3600


def test_a_provider_bills_every_platform_of_a_site() -> None:
    found = prices({"provider": "cloud", "platforms": LITE})
    assert per_hour(found) == pytest.approx(36)
    assert per_hour(found, "python") == pytest.approx(36)
    lite = place(found, "lite")
    assert (lite.usd_per_second * 3600, lite.startup_seconds, lite.minimum_seconds) == (
        pytest.approx(72),
        5,
        60,
    )
    assert found.note == "by a test, 2026-01-31"


@pytest.mark.parametrize(
    ("site", "platform", "usd"),
    [
        ({"provider": "cloud", "region": "far"}, "duckdb", 54.0),
        ({"provider": "cloud", "region": "near"}, "duckdb", 36.0),
        ({"provider": "cloud", "region": "far"}, "lite", 72.0),
        ({"provider": "cloud", "price": {"usd_per_hour": 1.0}}, "duckdb", 1.0),
        ({"provider": "cloud", "price": {"usd_per_hour": 1.0}}, "lite", 1.0),
        ({"price": {"usd_per_hour": 1.0}}, "duckdb", 1.0),
        ({}, "duckdb", 0.0),
    ],
)
def test_what_is_said_nearest_to_a_platform_counts(site: dict[str, Any], platform: str, usd: float) -> None:
    assert per_hour(prices({**site, "platforms": LITE}), platform) == pytest.approx(usd)


def test_a_platform_may_have_a_provider_and_a_price_of_its_own() -> None:
    lite = {"kind": "sqlite", "provider": "other", "price": {"startup_seconds": 7.5}}
    found = prices({"provider": "cloud", "price": {"usd_per_hour": 1}, "platforms": {"lite": lite}})
    assert per_hour(found, "lite") == pytest.approx(3.6)
    assert place(found, "lite").startup_seconds == 7.5
    assert place(found, "lite").zone.provider == "other"
    assert per_hour(found) == pytest.approx(1)
    assert found.move(Location("north", "duckdb"), Location("north", "lite")) == pytest.approx(9e-9)


def test_bytes_cost_what_the_zones_say() -> None:
    far = prices({"provider": "cloud", "region": "far"}, hub={"provider": "cloud", "region": "near"})
    assert far.deliver(Location("north", "duckdb"), "hub") == pytest.approx(2e-9)
    away = prices({"provider": "cloud", "region": "far"})
    assert away.deliver(Location("north", "duckdb"), "hub") == pytest.approx(18e-9)
    own = prices({"price": {"egress_usd_per_gb": 4}})
    assert own.deliver(Location("north", "duckdb"), "hub") == pytest.approx(4e-9)
    assert own.note == "by the prices of the configuration"


def test_without_providers_all_is_free() -> None:
    found = load({"sites": {"north": {}}}).prices
    assert not found.any
    assert found.note == NONE_GIVEN


def test_the_list_that_comes_along_has_sources_and_known_kinds() -> None:
    table = listed_prices()
    assert set(table.providers) == {"aws", "azure", "gcp"}
    for provider in table.providers.values():
        assert provider.source.startswith("https://")
        assert 0.01 < provider.usd_per_hour < 10
        assert 0.01 < provider.egress_usd_per_gb < 0.2
        assert set(provider.platforms) <= set(KINDS)
        assert all((kind.minimum_seconds or 0) >= 60 for kind in provider.platforms.values())


@pytest.mark.parametrize(
    ("site", "fault"),
    [
        ({"provider": "clowd"}, "sites.north.provider: unknown provider 'clowd'"),
        ({"price": {"usd_per_hour": float("nan")}}, "sites.north.price.usd_per_hour"),
        (
            {"price": {"usd_per_hour": float("inf")}},
            "sites.north.price.usd_per_hour: expected a number that is not endless",
        ),
        ({"price": {"startup_seconds": 1.0}}, "unknown key 'startup_seconds'"),
        ({"platforms": {"duckdb": {"price": {"minimum_seconds": -1}}}}, "expected 0.0 or more, got -1"),
        (
            {"platforms": {"duckdb": {"provider": "clowd"}}},
            "sites.north.platforms.duckdb.provider: unknown provider",
        ),
    ],
)
def test_faults_name_their_key(site: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prices(site)
    assert fault in str(caught.value)
