"""Several platforms of one kind at a site: each reads its own tables, and a plan may use them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blossom as bl

Platform = dict[str, Any]


def _spark(request: pytest.FixtureRequest) -> Platform:
    return {"kind": "spark", "url": request.getfixturevalue("spark_url")}


KINDS: Mapping[str, Callable[[pytest.FixtureRequest], Platform]] = {
    "duckdb": lambda request: {"kind": "duckdb", "threads": 1},
    "polars": lambda request: {"kind": "polars"},
    "datafusion": lambda request: {"kind": "datafusion", "threads": 1},
    "spark": _spark,
}
MARKS = {"spark": pytest.mark.spark}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in KINDS])
def test_two_of_a_kind(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    platform = KINDS[kind](request)
    pq.write_table(pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}), tmp_path / "people.parquet")
    pq.write_table(pa.table({"person": [1, 1, 3], "cost": [5, 6, 7]}), tmp_path / "visits.parquet")
    policy = {"release": "rows"}
    tables = {
        "people": {"platform": "left", "source": str(tmp_path / "people.parquet"), "policy": policy},
        "visits": {"platform": "right", "source": str(tmp_path / "visits.parquet"), "policy": policy},
    }
    site = {"platforms": {"left": platform, "right": platform}, "tables": tables}
    with bl.connect({"sites": {"one": site}}) as session:
        people, visits = session.table("people"), session.table("visits")
        joined = people.join(visits, people.id == visits.person).group_by("name").agg(total=visits.cost.sum())
        found = session.run(joined).result.to_pylist()
    assert sorted((row["name"], row["total"]) for row in found) == [("a", 11), ("c", 7)]
