"""The demo's third airport on a real PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi

from blossom.cli import demo_data
from blossom.sites import config as site_config

pytestmark = pytest.mark.postgres


@pytest.fixture
def url() -> Iterator[str]:
    found = os.environ.get("BLOSSOM_TEST_PG_URL")
    if found is None:
        pytest.skip("BLOSSOM_TEST_PG_URL names no PostgreSQL server")
    yield found
    _execute(found, f"DROP SCHEMA IF EXISTS {demo_data.POSTGRESQL_SCHEMA} CASCADE")


def _execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_laguardia_is_loaded_once_and_again_when_the_server_has_lost_it(url: str, tmp_path: Path) -> None:
    lines: list[str] = []
    counts = (
        f"SELECT count(*), count(arr_delay), min(time_hour)::text FROM {demo_data.POSTGRESQL_SCHEMA}.flights"
    )
    config = demo_data.prepare(tmp_path / "demo", pg_url=url, progress=lines.append)
    expected = [(104_662, 101_140, "2013-01-01 10:00:00")]
    assert _execute(url, counts) == expected
    assert url not in config.read_text(encoding="utf-8")
    assert (tmp_path / "demo" / "laguardia-postgresql.url").stat().st_mode & 0o077 == 0
    platform = site_config.load(config).sites["laguardia"].platforms["pg"]
    assert (platform.kind, platform.options["url"]) == ("postgresql", url)

    loaded = len(lines)
    demo_data.prepare(tmp_path / "demo", pg_url=url, progress=lines.append)
    assert len(lines) == loaded
    _execute(url, f"DROP SCHEMA {demo_data.POSTGRESQL_SCHEMA} CASCADE")
    demo_data.prepare(tmp_path / "demo", pg_url=url, progress=lines.append)
    assert _execute(url, counts) == expected
