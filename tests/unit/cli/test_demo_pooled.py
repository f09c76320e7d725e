"""The demo's reference: AUC and log loss by their definitions, and the cells that an owner sees."""

from __future__ import annotations

import csv
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from blossom.cli import demo_data
from blossom.cli.demo_figures import Promise
from blossom.cli.demo_pooled import Cell, Pooled, quality


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


def test_cells_are_what_the_raw_rows_hold(source: Path, rows: list[dict[str, str]]) -> None:
    expected: dict[tuple[str, str], Cell] = {}
    sites = {origin: site for site, origin in demo_data.AIRPORTS.items()}
    for key in {(row["origin"], row["carrier"]) for row in rows}:
        own = [row for row in rows if (row["origin"], row["carrier"]) == key]
        arrived = [row for row in own if row["arr_delay"] != "NA"]
        if not arrived:
            continue
        delay = sum(int(row["arr_delay"]) for row in arrived)
        aircraft = len({row["tailnum"] for row in arrived})
        expected[sites[key[0]], key[1]] = Cell(len(arrived), delay, aircraft)
    with Pooled(source) as pooled:
        assert pooled.cells() == expected
        assert pooled.count() == 400
        folder = pooled._folder
        assert folder.exists()
    assert not folder.exists()
