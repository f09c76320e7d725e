"""Several platforms of one kind at a site: each reads its own tables, and a plan may use them all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blossom as bl

Platform = dict[str, Any]

PEOPLE = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})
VISITS = pa.table({"person": [1, 1, 3], "cost": [5, 6, 7]})


@contextlib.contextmanager
def _files(platform: Platform, folder: Path) -> Iterator[tuple[Platform, Platform, str, str]]:
    """Two instances with a Parquet file each."""
    pq.write_table(PEOPLE, folder / "people.parquet")
    pq.write_table(VISITS, folder / "visits.parquet")
    yield platform, platform, str(folder / "people.parquet"), str(folder / "visits.parquet")


@contextlib.contextmanager
def _duckdb_files(folder: Path) -> Iterator[tuple[Platform, Platform, str, str]]:
    """Two DuckDB databases; the tables have one name, so that reading the other one's would be noticed."""
    import duckdb

    for name, rows in (("left", PEOPLE), ("right", VISITS)):
        with duckdb.connect(str(folder / f"{name}.db")) as connection:
            connection.register("rows", rows)
            connection.execute("CREATE TABLE t AS SELECT * FROM rows")
    left, right = (
        {"kind": "duckdb", "threads": 1, "database": str(folder / f"{n}.db")} for n in ("left", "right")
    )
    yield left, right, "t", "t"


@contextlib.contextmanager
def _postgresql(url: str) -> Iterator[tuple[Platform, Platform, str, str]]:
    """Two databases of a PostgreSQL server, each an instance of its own, with tables of one name."""
    import adbc_driver_postgresql.dbapi as adbc

    names = [f"instance_{side}_{os.getpid()}" for side in ("left", "right")]
    urls = [url.rpartition("/")[0] + f"/{name}" for name in names]
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"CREATE DATABASE {name}")
        try:
            for address, rows in zip(urls, (PEOPLE, VISITS), strict=True):
                with adbc.connect(address) as inside, inside.cursor() as writing:
                    writing.adbc_ingest("t", rows, mode="create")
                    inside.commit()
            left, right = ({"kind": "postgresql", "url": address} for address in urls)
            yield left, right, "public.t", "public.t"
        finally:
            for name in names:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


Instances = Callable[[pytest.FixtureRequest, Path], Any]

KINDS: Mapping[str, Instances] = {
    "duckdb": lambda request, folder: _files({"kind": "duckdb", "threads": 1}, folder),
    "duckdb databases": lambda request, folder: _duckdb_files(folder),
    "polars": lambda request, folder: _files({"kind": "polars"}, folder),
    "datafusion": lambda request, folder: _files({"kind": "datafusion", "threads": 1}, folder),
    "postgresql": lambda request, folder: _postgresql(request.getfixturevalue("postgres_url")),
    "spark": lambda request, folder: _files(
        {"kind": "spark", "url": request.getfixturevalue("spark_url")}, folder
    ),
}
MARKS = {"spark": pytest.mark.spark, "postgresql": pytest.mark.postgres}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in KINDS])
def test_two_of_a_kind(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    policy = {"release": "rows"}
    with KINDS[kind](request, tmp_path) as (left, right, people_source, visits_source):
        tables = {
            "people": {"platform": "left", "source": people_source, "policy": policy},
            "visits": {"platform": "right", "source": visits_source, "policy": policy},
        }
        site = {"platforms": {"left": left, "right": right}, "tables": tables}
        with bl.connect({"sites": {"one": site}}) as session:
            people, visits = session.table("people"), session.table("visits")
            joined = (
                people.join(visits, people.id == visits.person).group_by("name").agg(total=visits.cost.sum())
            )
            found = session.run(joined).result.to_pylist()
            alone = session.run(people.order_by("id")).result.to_pylist()
    assert sorted((row["name"], row["total"]) for row in found) == [("a", 11), ("c", 7)]
    assert alone == PEOPLE.to_pylist()
