"""Integer arithmetic is computed in the type that the plan declares."""

from __future__ import annotations

import pyarrow as pa
import pytest

import blossom as bl


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32()])
def test_products_of_narrow_integers_do_not_overflow(kind: pa.DataType) -> None:
    """Engines compute int32 * int16 in 32 bits and fail beyond: whether they do would tell of the largest value."""
    with bl.connect({"sites": {"north": {}}}) as fed:
        t = fed.from_arrow(pa.table({"x": pa.array([100, 100, 27], kind)}))
        wide = t.agg(a=(t.x * 20_000 * 20_000 + 5).sum(), b=(t.x * t.x).sum(), c=(t.x + 120).sum())
        assert wide.to_pyarrow().to_pylist() == [{"a": 227 * 400_000_000 + 15, "b": 20_729, "c": 587}]
