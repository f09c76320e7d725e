"""TPC-H's 22 queries over three sites that release aggregates only: each answered on the cells that pass, or refused with reasons."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

import blossom as bl
from blossom.sites.guarding import Guarding, Passed

SCALE = 0.1
TEXTS = files("ibis") / "backends" / "tests" / "tpc" / "queries" / "duckdb" / "h"


def _beside(name: str) -> ModuleType:
    # test folders are no packages (import-mode is importlib), so a module beside this one is loaded by its path
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


tpch = _beside("policy_tpch")
reference = tpch.reference


@dataclass(frozen=True)
class Data:
    folder: Path
    oracle: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    folder = tmp_path_factory.mktemp("tpch")
    tpch.generate(folder, SCALE)
    with closing(tpch.oracle(folder)) as connection:
        tpch.split(folder, connection)
        yield Data(folder, connection)


def by_ibis(session: bl.Session, number: int) -> Any:
    return tpch.expression(session, number)


def by_sql(session: bl.Session, number: int) -> Any:
    return session.sql((TEXTS / f"{number:02}.sql").read_text())


DOORS: dict[str, Callable[[bl.Session, int], Any]] = {"ibis": by_ibis, "sql": by_sql}


@contextmanager
def shown() -> Iterator[list[tuple[Any, ...]]]:
    """Records the cells that the guards of every site let on."""
    found: list[tuple[Any, ...]] = []
    stage = Guarding.stage

    def watched(self: Guarding, *args: Any) -> Passed:
        passed = stage(self, *args)
        keys = passed.table.select(list(args[0].keys)).to_pylist()
        found.extend((self.site, *row.values()) for row in keys or [{}] * passed.table.num_rows)
        return passed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guarding, "stage", watched)
        yield found


def equal(got: Any, want: Any) -> bool:
    if isinstance(got, float | Decimal) and isinstance(want, float | Decimal):
        return math.isclose(float(got), float(want), rel_tol=1e-9)
    return bool(got == want)


def check(run: bl.Run, want: Sequence[tuple[Any, ...]]) -> None:
    rows = list(zip(*(column.to_pylist() for column in run.result.columns), strict=True))
    assert len(rows) == len(want), f"{rows}, not {want}"
    for row, other in zip(rows, want, strict=True):
        assert all(map(equal, row, other)), f"{row}, not {other}"


ASKED = [(number, "o_orderkey") for number in tpch.ANSWERED] + [
    (number, "o_custkey") for number, case in tpch.ANSWERED.items() if "o_orderkey" in case.units
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("number", "unit"), ASKED)
def test_answered_on_the_cells_that_pass(data: Data, number: int, unit: str, door: str) -> None:
    case = tpch.ANSWERED[number]
    with tpch.federation(data.folder, unit) as session, shown() as cells:
        run = session.run(DOORS[door](session, number))
    expected = reference.expected(data.oracle, case.release(unit))
    expected.check(cells)
    assert len(expected.passing) >= len(tpch.SITES) or number in tpch.RARE
    kept = reference.on_cells(case.rows, case.keys, cells, data.oracle)
    check(run, data.oracle.sql(case.answer(kept)).fetchall())
    assert {release.kind for release in run.releases} == {"aggregates"}
    assert {site for site, held in run.withheld.items() if held} >= {cell[0] for cell in expected.hidden}


@pytest.mark.parametrize("number", tpch.PUBLIC)
def test_answered_from_open_tables(data: Data, number: int) -> None:
    with tpch.federation(data.folder) as session:
        run = session.run(by_sql(session, number))
    text = (TEXTS / f"{number:02}.sql").read_text()
    rows = zip(*(column.to_pylist() for column in run.result.columns), strict=True)
    assert sorted(map(str, rows)) == sorted(map(str, data.oracle.sql(text).fetchall()))
    assert not any(run.withheld.values())


def test_groups_of_too_few_answer_nothing(data: Data) -> None:
    number = tpch.NOBODY
    with tpch.federation(data.folder) as session:
        run = session.run(by_ibis(session, number))
        assert not run.result.num_rows
        assert run.withheld == dict.fromkeys(tpch.SITES, True)
        with pytest.raises(bl.PolicyError, match="withheld"):
            session.run(by_ibis(session, number), strict=True)


@pytest.mark.parametrize("door", DOORS)
def test_too_many_groups_are_not_judged(data: Data, door: str) -> None:
    with (
        tpch.federation(data.folder) as session,
        pytest.raises(bl.PolicyError, match=r"combinations of group keys .*\n  hint: group by fewer columns"),
    ):
        session.run(DOORS[door](session, tpch.WIDE))


def test_the_best_supplier_of_those_that_pass(data: Data) -> None:
    rows = "SELECT * FROM lineitem WHERE l_shipdate >= DATE '1996-01-01' AND l_shipdate < DATE '1996-04-01'"
    price = "l_extendedprice * (1 - l_discount)"
    sets = (reference.Rows(sizes=(price, "l_extendedprice", "l_extendedprice * l_discount")),)
    with tpch.federation(data.folder) as session, shown() as cells:
        run = session.run(by_sql(session, tpch.SUPPLIERS))
    expected = reference.expected(
        data.oracle, reference.Release(rows, ("l_suppkey",), tpch.LINES, tpch.LEAST, sets)
    )
    expected.check(cells)
    kept = reference.on_cells(rows, ("l_suppkey",), set(cells), data.oracle)
    best = f"SELECT l_suppkey, sum({price}) AS revenue FROM {kept} GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    ((supplier, revenue),) = data.oracle.sql(best).fetchall()
    assert run.result["s_suppkey"].to_pylist() == [supplier]
    assert equal(run.result["total_revenue"][0].as_py(), revenue)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("number", tpch.REFUSED)
def test_refused_with_what_would_be_answered(data: Data, number: int, door: str) -> None:
    rule, table, column = tpch.REFUSED[number]
    with tpch.federation(data.folder) as session:
        with pytest.raises(bl.PolicyError) as caught:
            session.run(DOORS[door](session, number))
        found = {(r.rule, r.table, r.column, r.site) for r in caught.value.refusals}
        assert {(rule, table, column, site) for site in tpch.SITES} <= found
        assert all(refusal.allowed for refusal in caught.value.refusals)
        assert "would be answered: " in str(caught.value)


def test_every_query_is_accounted_for() -> None:
    known = [*tpch.ANSWERED, *tpch.PUBLIC, *tpch.REFUSED, tpch.NOBODY, tpch.WIDE, tpch.SUPPLIERS]
    assert sorted(known) == list(range(1, 23))
