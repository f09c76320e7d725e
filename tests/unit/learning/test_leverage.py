"""Leverage: against the hat matrix, of rows and of units, and what is refused by it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.learning import leverage
from blossom.learning.design import Design, Levels, Numeric
from blossom.learning.score import Score
from blossom.learning.statistics.base import Guard
from blossom.learning.statistics.spans import Span, of_products, of_score
from blossom.learning.target import Target
from blossom.plan.errors import PolicyError

GUARD = Guard("north", "people", ("id",), 10)


def batch(columns: dict[str, object], units: list[int] | None = None) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return pa.RecordBatch.from_pydict({**columns, "id": units or list(range(rows))})


def refused(span: Span, rows: pa.RecordBatch) -> str | None:
    cut = [rows.slice(i, 7) for i in range(0, rows.num_rows, 7)]
    try:
        leverage.check(span, lambda: cut, GUARD)
    except PolicyError as error:
        return error.refusals[0].column
    return None


def largest(matrix: np.ndarray, units: np.ndarray, weights: np.ndarray) -> float:
    """Of any unit, by definition; `matrix` has shape (rows, columns)."""
    root = matrix * np.sqrt(weights)[:, None]
    hat = root @ np.linalg.pinv(root.T @ root, rcond=1e-13) @ root.T
    return max(np.linalg.eigvalsh(hat[np.ix_(units == u, units == u)])[-1] for u in np.unique(units))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0.1, 2.5), st.booleans())
def test_it_is_that_of_the_hat_matrix(seed: int, width: int, tail: float, several: bool) -> None:
    random = np.random.default_rng(seed)
    rows = 40
    values = np.exp(random.normal(0.0, tail, (rows, width))) * 10.0 ** random.integers(-3, 4, width)
    units = random.integers(0, 15, rows) if several else np.arange(rows)
    design = Design(tuple(Numeric(f"x{i}") for i in range(width)))
    found = refused(Span(design), batch({f"x{i}": values[:, i] for i in range(width)}, units.tolist()))
    truth = largest(np.column_stack([np.ones(rows), values]), units, np.ones(rows))
    if abs(truth - leverage.LARGEST) > 1e-6:
        assert (found is not None) == (truth > leverage.LARGEST)


def test_two_harmless_columns_whose_difference_is_one_unit() -> None:
    half = np.arange(60) % 2 * 1.0
    for size in (1.0, 1e-5):
        other = half.copy()
        other[7] += size
        rows = batch({"a": half, "b": other, "y": np.random.default_rng(0).normal(size=60)})
        design = Design((Numeric("a"), Numeric("b")))
        assert refused(Span(design), rows) in ("a", "b")
        assert refused(Span(Design((Numeric("a"),))), rows) is None


def test_columns_that_are_equal_determine_nothing_twice() -> None:
    x = np.random.default_rng(1).normal(size=50)
    rows = batch({"a": x, "b": 2.0 * x + 1.0})
    assert refused(Span(Design((Numeric("a"), Numeric("b")))), rows) is None


def test_a_target_far_from_the_line_is_a_column_too() -> None:
    x = np.linspace(0.0, 1.0, 50)
    y = 3.0 * x
    y[10] += 100.0
    rows = batch({"x": x, "y": y})
    (span,) = of_products(Design((Numeric("x"),)), Target("y"))
    assert refused(span, rows) == "y"
    assert refused(Span(Design((Numeric("x"),))), rows) is None


def test_a_unit_of_many_rows_counts_as_a_whole() -> None:
    flag = np.zeros(80)
    flag[:20] = 1.0
    rows = batch({"x": flag}, [0] * 20 + list(range(1, 61)))
    assert refused(Span(Design((Numeric("x"),))), rows) == "x"
    assert refused(Span(Design((Numeric("x"),))), batch({"x": flag})) is None


def test_levels_and_rows_without_a_unit() -> None:
    levels = Design((Levels.plain("k", ["a", "b"], rest=False, drop=False),))
    rows = batch({"k": ["a"] + ["b"] * 40})
    assert refused(Span(levels), rows) in ("k_a", "k_b")
    nobody = rows.set_column(1, "id", pa.array([None, *range(40)], pa.int64()))
    assert refused(Span(levels), nobody) is None


def test_the_weights_of_a_fitted_score_count() -> None:
    """Where all others are sure, the one doubtful row decides."""
    x = np.concatenate([np.linspace(-30.0, -20.0, 30), [0.0], np.linspace(20.0, 30.0, 30)])
    rows = batch({"x": x})
    score = Score.linear(Design((Numeric("x"),)), "logistic", np.ones(1), 0.0)
    assert refused(Span(score.design), rows) is None
    (span,) = of_score(score)
    assert refused(span, rows) is not None
    gentle = Score.linear(Design((Numeric("x"),)), "logistic", np.full(1, 0.01), 0.0)
    assert refused(of_score(gentle)[0], rows) is None
    assert of_score(Score.linear(score.design, "identity", np.ones(1), 0.0)) == ()


def test_no_rows_and_constant_columns() -> None:
    span = Span(Design((Numeric("x"),)))
    leverage.check(span, list, GUARD)
    assert refused(span, batch({"x": np.ones(30)})) is None


@pytest.mark.parametrize("tail", [1.0, 1.5])
def test_skewed_data_of_some_size_pass(tail: float) -> None:
    random = np.random.default_rng(3)
    names = [f"x{i}" for i in range(6)]
    rows = batch({name: np.exp(random.normal(0.0, tail, 300)) for name in names})
    assert refused(Span(Design(tuple(map(Numeric, names)))), rows) is None
