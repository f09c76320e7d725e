"""Fixtures of the integration tests: a PostgreSQL server, given or started."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

_spec = importlib.util.spec_from_file_location(
    "postgres_server", Path(__file__).parent / "postgres_server.py"
)
assert _spec is not None
assert _spec.loader is not None
postgres_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(postgres_server)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server: BLOSSOM_TEST_PG_URL, else one started from installed binaries, else the test is skipped."""
    given = os.environ.get(postgres_server.URL)
    if given:
        yield given
        return
    if postgres_server.binaries() is None:
        pytest.skip(f"{postgres_server.URL} names no PostgreSQL server and none is installed")
    with postgres_server.server() as url:
        os.environ[postgres_server.URL] = url
        try:
            yield url
        finally:
            del os.environ[postgres_server.URL]


@pytest.fixture
def published(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Makes a site's configuration with one table over a Parquet file: `published(rows, policy, table="t", name="part")`."""

    def make(
        rows: pa.Table,
        policy: dict[str, object] | None = None,
        *,
        table: str = "t",
        name: str = "part",
        **declared: object,
    ) -> dict[str, object]:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(rows, path)
        config = {
            "platform": "duckdb",
            "source": str(path),
            "policy": policy or {"release": "rows"},
            **declared,
        }
        return {"platforms": {"duckdb": {"kind": "duckdb", "threads": 1}}, "tables": {table: config}}

    return make
