"""What is printed: aligned columns for people, JSON that reads back for machines."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.cli import printing

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.dates()
    | st.datetimes() | st.times() | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(VALUES)
def test_every_value_of_a_result_has_a_strict_json_form(value: Any) -> None:
    text = json.dumps(printing.plain(value), allow_nan=False)
    back = json.loads(text)
    if isinstance(value, bool | int | str | None):
        assert back == value
    if isinstance(value, float):
        assert float(back) == value or (math.isnan(value) and back == "NaN")


def test_a_value_without_a_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        printing.plain({"x": [object()]})


@given(st.text())
def test_no_cell_moves_the_cursor(value: str) -> None:
    text = printing.cell_text(value)
    assert text.isprintable()
    assert len(text) <= 40


@given(st.lists(st.tuples(st.text("abc", max_size=9), st.integers().map(str)), max_size=6))
def test_columns_are_aligned(rows: list[tuple[str, str]]) -> None:
    lines = printing.columns(("name", "number"), rows, right=["number"], indent=" ").splitlines()
    wide = max([len("number"), *(len(number) for _, number in rows)])
    start = 1 + max([len("name"), *(len(name) for name, _ in rows)]) + 2
    for line, (name, number) in zip(lines, [("name", "number"), *rows], strict=True):
        assert line == (" " + name.ljust(start - 1) + number.rjust(wide)).rstrip()


def test_a_large_result_shows_its_first_rows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    table = pa.table({"n": range(1_000), "x": [0.1] * 1_000})
    lines = printing.table_text(table).splitlines()
    assert len(lines) == 42
    assert lines[-1] == "(1,000 rows, the first 40 shown)"
    assert lines[40].split() == ["39", "0.1"]


def test_a_wide_result_keeps_to_the_terminal_and_names_what_it_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = pa.table({f"column_{i:02}": ["some text here"] for i in range(20)})
    text = printing.table_text(table)
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert all(name in flat for name in table.column_names)
    assert "more columns: " in flat


def test_results_without_rows_or_columns() -> None:
    assert printing.table_text(pa.table({"a": pa.array([], pa.int64())})) == "a\n(0 rows)"
    assert "rows)" in printing.table_text(pa.table({}))


def test_values_for_people() -> None:
    when = datetime.datetime(2013, 1, 1, 5, tzinfo=datetime.UTC)
    told = [printing.cell_text(value) for value in (True, decimal.Decimal("1.50"), when, [1, None], "é" * 50)]
    assert told[:4] == ["True", "1.50", "2013-01-01T05:00:00+00:00", "[1, None]"]
    assert told[4] == "é" * 39 + "…"
