"""Analyses that people ask of a federation of hospitals: each is answered, as DuckDB answers it on the cells that the rules let out."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

import blossom as bl
from blossom.sites.guarding import Guarding, Passed


def _beside(name: str) -> ModuleType:
    # test folders are no packages (import-mode is importlib), so a module beside this one is loaded by its path
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


hospital = _beside("policy_hospital")
reference = hospital.reference


@dataclass(frozen=True)
class Data:
    folder: Path
    oracle: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    folder = tmp_path_factory.mktemp("hospitals")
    with closing(hospital.write(folder)) as connection:
        yield Data(folder, connection)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The cells that the guards of every site let on."""
    found: list[tuple[Any, ...]] = []
    stage = Guarding.stage

    def watched(self: Guarding, *args: Any) -> Passed:
        passed = stage(self, *args)
        keys = passed.table.select(list(args[0].keys)).to_pylist()
        found.extend((self.site, *row.values()) for row in keys or [{}] * passed.table.num_rows)
        return passed

    monkeypatch.setattr(Guarding, "stage", watched)
    return found


def equal(got: Any, want: Any) -> bool:
    if isinstance(got, float) or isinstance(want, float):
        return got is not None and want is not None and math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9)
    return bool(got == want) and (got is None) == (want is None)


@pytest.mark.parametrize("name", hospital.ANALYSES)
def test_an_analysis_is_answered(data: Data, shown: list[tuple[Any, ...]], name: str) -> None:
    analysis = hospital.ANALYSES[name]
    with hospital.federation(data.folder) as fed:
        run = fed.run(analysis.ask(hospital.tables(fed)))
    expected = reference.expected(data.oracle, analysis.release())
    expected.check(shown)
    sites = {cell[0] for cell in expected.passing}
    assert sites == ({"north"} if "one site" in name else set(hospital.SITES))
    kept = reference.on_cells(analysis.rows, analysis.keys, shown, data.oracle)
    want = data.oracle.sql(f"WITH r AS {kept} {analysis.answer}").fetchall()
    got = list(zip(*(column.to_pylist() for column in run.result.columns), strict=True))
    assert len(got) == len(want) > 0
    if " ORDER BY " not in analysis.answer.rpartition(")")[2]:
        got, want = sorted(got, key=str), sorted(want, key=str)
    for row, other in zip(got, want, strict=True):
        assert all(map(equal, row, other)), f"{row}, not {other}"
    assert {release.kind for release in run.releases} <= {"aggregates", "public", "rows"}
    left = run.bytes_by_kind()
    assert all(not left.get(site, {}).get("rows") or "code list" in name for site in hospital.SITES)


def test_there_are_forty() -> None:
    assert len(hospital.ANALYSES) >= 40


def test_rows_of_protected_columns_stay(data: Data) -> None:
    with (
        hospital.federation(data.folder) as fed,
        pytest.raises(bl.PolicyError, match="their rows may not leave"),
    ):
        fed.run(fed.table("patients").select("pid", "pressure"))
