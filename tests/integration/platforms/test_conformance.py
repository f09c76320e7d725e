"""Every platform gives DuckDB's answer to every case that it says it supports, and supports what its golden list says.

`BLOSSOM_UPDATE_GOLDEN=1` rewrites the lists of unsupported cases (`unsupported_<kind>.txt`).
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import ibis
import pyarrow as pa
import pytest

from blossom.plan import from_ibis
from blossom.plan.relations import Limit, Relation, Scan, Sort
from blossom.plan.to_ibis import operations
from blossom.platforms.arrow import arrow_type
from blossom.platforms.interface import Cancellation, Platform

FOLDER = Path(__file__).parent


def _sibling(name: str) -> ModuleType:
    # test folders are no packages (import-mode is importlib), so a module beside this one is loaded by its path
    spec = importlib.util.spec_from_file_location(f"platforms_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = _sibling("conftest")
CASES = _sibling("cases").CASES
TABLES = {
    name: ibis.table(ibis.Schema.from_pyarrow(table.schema), name=name) for name, table in setup.DATA.items()
}
Platforms = Callable[[str], Platform]


def fragment(case: str) -> Relation:
    """The plan of a case."""
    return from_ibis.relation(CASES[case](TABLES).op())


def golden(kind: str) -> Path:
    """The list of cases that a kind does not support."""
    return FOLDER / f"unsupported_{kind}.txt"


def unsupported_cases(kind: str) -> frozenset[str]:
    """The names in a kind's list; none when there is no list yet."""
    path = golden(kind)
    return frozenset(path.read_text(encoding="utf-8").splitlines()) if path.exists() else frozenset()


def why_not(platform: Platform, plan: Relation) -> str | None:
    """The first reason why a platform cannot run a plan."""
    lacking = setup.UNSTORABLE.get(platform.kind, frozenset())
    for node in plan.walk():
        if isinstance(node, Scan) and node.table in lacking:
            return f"cannot hold {node.table}"
        reason = platform.unsupported(node)
        if reason is not None:
            return reason
    return None


def answer(platform: Platform, plan: Relation) -> pa.Table:
    return platform.run(plan, {}, Cancellation()).read_all()


def _pairs() -> Iterator[Any]:
    for kind in setup.FACTORIES:
        skipped = unsupported_cases(kind)
        for case in CASES:
            if case not in skipped:
                yield pytest.param(kind, case, marks=setup.MARKS.get(kind, ()), id=f"{kind}-{case}")


def _kinds() -> list[Any]:
    return [pytest.param(kind, marks=setup.MARKS.get(kind, ())) for kind in setup.FACTORIES]


@pytest.mark.parametrize(("kind", "case"), list(_pairs()))
def test_the_answer_is_the_references(platforms: Platforms, kind: str, case: str) -> None:
    plan = fragment(case)
    platform = platforms(kind)
    assert why_not(platform, plan) is None
    got = answer(platform, plan)
    expected = answer(platforms("duckdb"), plan)
    ordered = isinstance(plan, Sort) or (isinstance(plan, Limit) and isinstance(plan.input, Sort))
    assert_same(got, expected, ordered=ordered)
    assert_declared(got, plan)


@pytest.mark.parametrize("kind", _kinds())
def test_what_is_unsupported_is_listed(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    found = [case for case in CASES if why_not(platform, fragment(case)) is not None]
    if os.environ.get("BLOSSOM_UPDATE_GOLDEN"):
        golden(kind).write_text("".join(f"{case}\n" for case in found), encoding="utf-8")
    assert set(found) == unsupported_cases(kind)


@pytest.mark.parametrize("kind", _kinds())
def test_what_differs_is_an_operation_and_is_refused(platforms: Platforms, kind: str) -> None:
    platform = platforms(kind)
    assert set(platform.differs) <= set(operations())
    held = {
        op
        for case in set(CASES) - unsupported_cases(kind)
        for node in fragment(case).walk()
        for op in node.operations
    }
    assert held.isdisjoint(platform.differs)


def test_the_reference_supports_every_case(platforms: Platforms) -> None:
    reasons = {case: why_not(platforms("duckdb"), fragment(case)) for case in CASES}
    assert {case: reason for case, reason in reasons.items() if reason is not None} == {}


def assert_same(got: pa.Table, expected: pa.Table, *, ordered: bool = False) -> None:
    """Equal rows (in any order unless `ordered`), floats to 1e-9, numbers whatever their types."""
    assert got.column_names == expected.column_names
    mine, theirs = _rows(got), _rows(expected)
    assert len(mine) == len(theirs)
    if not ordered:
        mine.sort(key=_key)
        theirs.sort(key=_key)
    for row, right in zip(mine, theirs, strict=True):
        assert all(map(_equal, row, right)), f"got {row}, expected {right}"


def assert_declared(got: pa.Table, plan: Relation) -> None:
    """The columns have the plan's names and types, but for what `conform` leaves to the engine."""
    assert got.column_names == list(plan.schema)
    for field, text in zip(got.schema, plan.schema.values(), strict=True):
        wanted = arrow_type(text)
        exact = pa.types.is_decimal(field.type) or (
            pa.types.is_decimal(wanted) and field.type == pa.float64()
        )
        assert exact or field.type == wanted, f"{field.name}: {field.type}, expected {wanted}"


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _key(row: tuple[Any, ...]) -> str:
    return repr([_coarse(value) for value in row])


def _coarse(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    number = float(value)
    return "nan" if math.isnan(number) else f"{number + 0.0:.6g}"


def _equal(got: Any, expected: Any) -> bool:
    numbers = (int, float, Decimal)
    if isinstance(got, numbers) and isinstance(expected, numbers) and not isinstance(got, bool):
        if isinstance(got, int) and isinstance(expected, int):
            return got == expected
        a, b = float(got), float(expected)
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return type(got) is type(expected) and got == expected
