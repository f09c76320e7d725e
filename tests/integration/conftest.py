"""Fixtures of the integration tests: servers, given or started."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _beside(name: str) -> ModuleType:
    # test folders are no packages (import-mode is importlib), so a module beside this one is loaded by its path
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


postgres_server = _beside("postgres_server")
mariadb_server = _beside("mariadb_server")
spark_server = _beside("spark_server")


def _given_or_started(module: ModuleType, what: str, *, there: bool) -> Iterator[str]:
    """The URL in a module's variable, else that of a server that it starts, which stands in the variable meanwhile."""
    given = os.environ.get(module.URL)
    if given:
        yield given
        return
    if not there:
        pytest.skip(f"{module.URL} names no {what} server and none is installed")
    with module.server() as url:
        os.environ[module.URL] = url
        try:
            yield url
        finally:
            del os.environ[module.URL]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server: BLOSSOM_TEST_PG_URL, else one started from installed binaries, else the test is skipped."""
    yield from _given_or_started(postgres_server, "PostgreSQL", there=postgres_server.binaries() is not None)


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """As `postgres_url`, with BLOSSOM_TEST_MARIADB_URL."""
    yield from _given_or_started(mariadb_server, "MariaDB", there=mariadb_server.binaries() is not None)


@pytest.fixture(scope="session")
def spark_url() -> Iterator[str]:
    """As `postgres_url`, with BLOSSOM_TEST_SPARK_URL; the server that is started is Sail."""
    yield from _given_or_started(spark_server, "Spark Connect", there=spark_server.installed())


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
