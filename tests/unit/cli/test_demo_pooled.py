"""The demo's reference: AUC and log loss by their definitions, and the cells that an owner sees."""

from __future__ import annotations

import csv
import random
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from blossom.cli import demo_data
from blossom.cli.demo_figures import Promise
from blossom.cli.demo_pooled import Pooled, quality
from blossom.policy.model import TablePolicy


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=2).filter(
        lambda rows: len({late for late, _ in rows}) == 2
    )
)
def test_quality_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    late = np.array([float(one) for one, _ in rows])
    probability = np.array([score / 10 for _, score in rows])
    found = quality("x", late, probability)
    assert found.auc == pytest.approx(roc_auc_score(late, probability), abs=1e-12)
    assert found.log_loss == pytest.approx(log_loss(late, probability), rel=1e-12)
    assert found.rows == len(rows)


@pytest.mark.parametrize("measured", [float("nan"), float("inf"), 0.2])
def test_a_promise_is_broken_by_what_is_not_measured(measured: float) -> None:
    assert not Promise("x", measured, 0.1).kept
    assert Promise("x", 0.1, 0.1).kept


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    draw = random.Random(3)
    found: list[dict[str, str]] = []
    for _ in range(400):
        row = dict.fromkeys(demo_data.FLIGHTS, "1")
        row |= {
            "origin": draw.choice(["EWR", "JFK", "LGA"]),
            "carrier": draw.choice(["AA", "B6", "Ö'", "OO"]),
            "tailnum": draw.choice(["NA", *(f"N{n}" for n in range(25))]),
            "arr_delay": draw.choice(["NA", "-3", "5", "40"]),
            "dest": "BOS",
            "time_hour": "2013-01-01T05:00:00Z",
        }
        found.append(row)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> Path:
    folder = tmp_path_factory.mktemp("source")
    flights = folder / "flights.csv"
    with flights.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, demo_data.FLIGHTS)
        writer.writeheader()
        writer.writerows(rows)
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.write(flights, "flights.csv")
    flights.unlink()
    (folder / "weather.csv").write_text(",".join(demo_data.WEATHER) + "\n")
    return folder


@pytest.mark.parametrize("unit", ["tailnum", "row"])
@pytest.mark.parametrize("least", [1, 15, 1000])
def test_cells_are_those_that_describe_enough_units(
    source: Path, rows: list[dict[str, str]], unit: str, least: int
) -> None:
    policy = TablePolicy(release="aggregates", min_group=least, privacy_unit=unit)
    units: dict[tuple[str, str], set[object]] = defaultdict(set)
    flights: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for number, row in enumerate(rows):
        cell = (row["origin"], row["carrier"])
        flights[cell].append(row)
        if row["arr_delay"] != "NA":
            units[cell].add(row["tailnum"] if unit == "tailnum" else number)
    with Pooled(source) as pooled:
        total, held = pooled.cells(dict.fromkeys(demo_data.AIRPORTS, policy))
        assert pooled.count() == 400
        folder = pooled._folder
    assert not folder.exists()
    origins = demo_data.AIRPORTS
    assert {(origins[one.site], one.carrier) for one in held} == {
        cell for cell in flights if len(units[cell]) < least
    }
    for carrier in {row["carrier"] for row in rows}:
        kept = [cell for cell in flights if cell[1] == carrier and len(units[cell]) >= least]
        assert (carrier in total) == bool(kept)
        if kept:
            own = [row for cell in kept for row in flights[cell]]
            delays = [int(row["arr_delay"]) for row in own if row["arr_delay"] != "NA"]
            cell = total[carrier]
            assert (cell.flights, cell.delay, cell.arrivals) == (len(own), sum(delays), len(delays))
