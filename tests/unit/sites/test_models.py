"""The models that a site helped to fit: known after a restart and to every process, never by halves."""

from __future__ import annotations

from pathlib import Path

import pytest

from blossom.plan.errors import SiteError
from blossom.sites.models import Models

COLUMNS = {"age": "f1", "pay": "f2"}


def test_a_model_is_known_with_its_columns_only(tmp_path: Path) -> None:
    models = Models(tmp_path)
    assert not models.knows("m", COLUMNS)
    models.remember("m", COLUMNS)
    assert models.knows("m", dict(reversed(COLUMNS.items())))
    assert not models.knows("m", {**COLUMNS, "age": "other"})
    assert not models.knows("other", COLUMNS)


def test_others_know_it_too_and_it_is_written_once(tmp_path: Path) -> None:
    first, second = Models(tmp_path), Models(tmp_path)
    first.remember("m", COLUMNS)
    whole = (tmp_path / "models.jsonl").read_text()
    assert second.knows("m", COLUMNS)
    second.remember("m", COLUMNS)
    assert len((tmp_path / "models.jsonl").read_text().split()) == len(whole.split())
    assert Models(tmp_path).knows("m", COLUMNS)


def test_a_line_that_a_crash_cut_short_makes_nothing_known(tmp_path: Path) -> None:
    models = Models(tmp_path)
    models.remember("m", COLUMNS)
    file = tmp_path / "models.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-5])
    assert not Models(tmp_path).knows("m", COLUMNS)
    later = Models(tmp_path)
    later.remember("other", COLUMNS)
    assert later.knows("other", COLUMNS)
    assert not Models(tmp_path).knows("m", COLUMNS)


def test_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "models.jsonl").mkdir()
    with pytest.raises(SiteError, match="list of models"):
        Models(tmp_path).remember("m", COLUMNS)
