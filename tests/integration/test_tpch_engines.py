"""The 22 TPC-H queries where one engine holds every table, alone at its site with DuckDB to help where it refuses."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import blossom as bl
from blossom.fedpy.session import Session


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"engines_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


tpch = _beside("test_tpch")
platforms = _beside("platforms/conftest")
data = tpch.data
"""The fixture that makes the tables."""

Site = tuple[dict[str, Any], Callable[[str], str]]
"""A platform's configuration, and what each table's `source` is."""


def _datafusion(data: Any, request: pytest.FixtureRequest) -> Site:
    return {"kind": "datafusion", "threads": 1}, lambda table: str(data.path(table))


def _clickhouse(data: Any, request: pytest.FixtureRequest) -> Site:
    pytest.importorskip("chdb")
    return {"kind": "clickhouse", "threads": 1}, lambda table: str(data.path(table))


def _mariadb(data: Any, request: pytest.FixtureRequest) -> Site:
    url = request.getfixturevalue("mariadb_url")
    platforms.load_mariadb(url, "tpch", {name: data.table(name) for name in tpch.TABLES})
    return {"kind": "mariadb", "url": url}, lambda table: f"tpch.{table}"


def _spark(data: Any, request: pytest.FixtureRequest) -> Site:
    return {"kind": "spark", "url": request.getfixturevalue("spark_url")}, lambda table: str(data.path(table))


ENGINES: Mapping[str, Callable[[Any, pytest.FixtureRequest], Site]] = {
    "mariadb": _mariadb,
    "datafusion": _datafusion,
    "clickhouse": _clickhouse,
    "spark": _spark,
}
MARKS = {"clickhouse": pytest.mark.clickhouse, "mariadb": pytest.mark.mariadb, "spark": pytest.mark.spark}


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=MARKS.get(kind, ())) for kind in ENGINES])
def alone(request: pytest.FixtureRequest, data: Any) -> Iterator[tuple[str, Session]]:
    """An engine's name, and a session with its site."""
    platform, source = ENGINES[request.param](data, request)
    tables = {
        name: {"platform": "engine", "source": source(name), "policy": {"release": "rows"}}
        for name in tpch.TABLES
    }
    platforms = {"engine": platform, "duckdb": {"kind": "duckdb", "threads": 1}}
    with bl.connect({"sites": {"one": {"platforms": platforms, "tables": tables}}}) as session:
        yield request.param, session


@pytest.mark.parametrize("number", tpch.NUMBERS)
def test_a_query(alone: tuple[str, Session], data: Any, number: int) -> None:
    _kind, session = alone
    tpch.check(number, session.run(tpch.ibis_expression(session, number)).result, data)


WHOLE: Mapping[str, frozenset[int]] = {
    "mariadb": frozenset(tpch.NUMBERS)
    - {4, 8, 14, 20, 21, 22},  # shares of sums that may be zero, correlated subqueries
    "datafusion": frozenset(tpch.NUMBERS),
    "clickhouse": frozenset(tpch.NUMBERS) - {21},  # semi joins on more than equalities
    "spark": frozenset(tpch.NUMBERS),
}
"""The queries that an engine runs whole, with nobody's help."""

BY_COST: Mapping[str, frozenset[int]] = {"mariadb": frozenset({20})}
"""Those that it can run whole, where that is not always the cheapest: costs are learned while the tests run."""


def test_what_runs_whole(alone: tuple[str, Session]) -> None:
    kind, session = alone
    found = set()
    for number in tpch.NUMBERS:
        text = session.explain(tpch.ibis_expression(session, number)).text()
        if set(re.findall(r"^f\d+ +(\w+)@", text, re.MULTILINE)) == {"engine"}:
            found.add(number)
    assert found - BY_COST.get(kind, frozenset()) == WHOLE[kind]
