"""What was learned is kept, shared between processes, and a file that cannot be read is put aside and told of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blossom.executor.experience import COLUMNS, COSTS, SIZES, Experience, put_aside
from blossom.optimizer.cardinality import Rows
from blossom.optimizer.costs.belief import Part
from blossom.optimizer.costs.terms import NUMBER, TERMS
from blossom.optimizer.costs.whole import TRAITS
from blossom.optimizer.statistics import ColumnStatistics
from blossom.plan.errors import SiteError


def learn(known: Experience, times: int = 1) -> None:
    amounts = np.zeros(len(TERMS))
    amounts[NUMBER["start"]], amounts[NUMBER["scan"]] = 1.0, 1e6
    known.costs.know("north/duckdb", "duckdb")
    for _ in range(times):
        known.costs.learn([Part("north/duckdb", amounts, np.zeros(len(TRAITS)))], 0.1)
    known.changed()


def test_what_was_learned_is_there_the_next_time(tmp_path: Path) -> None:
    known = Experience.open(tmp_path)
    learn(known, 3)
    known.seen.remember("x", Rows.exactly(7))
    known.columns.keep("north", "t", 10, {"a": ColumnStatistics(3.0, 0.0, 9.0)})
    known.save()
    back = Experience.open(tmp_path)
    assert back.costs.beliefs["north/duckdb"].observations == 3
    assert back.seen.sizes()["x"] == Rows.exactly(7)
    assert back.columns.of("north", "t", "a") == ColumnStatistics(3.0, 0.0, 9.0)
    assert back.columns.has("north", "t", 12)
    assert not back.columns.has("north", "t", 1000)
    assert back.warnings == []


@pytest.mark.parametrize("name", [COSTS, SIZES, COLUMNS])
@pytest.mark.parametrize("text", ["", "{", "null", '{"version": 99}', "[" * 100_000, "\xff\xfe"])
def test_a_file_that_cannot_be_read_is_kept_aside_and_told_of(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    known = Experience.open(tmp_path)
    (warning,) = known.warnings
    assert name in warning
    assert f"{name}.corrupt-1" in warning
    assert put_aside(tmp_path) == [f"{name}.corrupt-1"]
    assert (tmp_path / f"{name}.corrupt-1").read_text(encoding="latin-1") == text
    assert known.costs.beliefs == {}
    learn(known)
    known.save()
    assert Experience.open(tmp_path).warnings == []


def test_a_second_file_does_not_replace_the_first_put_aside(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / COSTS).write_text(text)
        Experience.open(tmp_path)
    assert [(tmp_path / name).read_text() for name in put_aside(tmp_path)] == ["one", "two"]


def test_two_processes_keep_what_is_better_known(tmp_path: Path) -> None:
    one, two = Experience.open(tmp_path), Experience.open(tmp_path)
    learn(one, 5)
    one.seen.remember("x", Rows.exactly(1))
    learn(two, 2)
    two.seen.remember("y", Rows.exactly(2))
    one.save()
    two.save()
    back = Experience.open(tmp_path)
    assert back.costs.beliefs["north/duckdb"].observations == 5
    assert set(back.seen.sizes()) == {"x", "y"}


def test_nothing_new_is_not_written_and_no_draft_stays(tmp_path: Path) -> None:
    known = Experience.open(tmp_path)
    known.save()
    assert list(tmp_path.iterdir()) == []
    learn(known)
    known.save()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    json.loads((tmp_path / COSTS).read_text())


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    known = Experience.open(tmp_path / "gone")
    learn(known)
    with pytest.raises(SiteError, match="what was learned cannot be written"):
        known.save()


def test_forgetting_begins_again_from_the_prior(tmp_path: Path) -> None:
    known = Experience.open(tmp_path)
    learn(known, 3)
    known.save()
    known.forget()
    known.save()
    assert Experience.open(tmp_path).costs.beliefs == {}
