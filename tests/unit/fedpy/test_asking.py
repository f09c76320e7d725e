"""Refusals and plans that cannot be made name the line of the user who asked."""

from __future__ import annotations

import inspect
import sysconfig
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.fedpy.asking import located, users_line
from blossom.plan.errors import PlanError, PolicyError, SiteError


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


@pytest.fixture
def fed(tmp_path: Path) -> bl.Session:
    pq.write_table(pa.table({"id": range(40), "x": [1.0, None] * 20}), tmp_path / "t.parquet")
    policy = {"release": "aggregates", "min_group": 30, "privacy_unit": "id"}
    return bl.connect(
        {"sites": {"north": {"tables": {"t": {"source": str(tmp_path / "t.parquet"), "policy": policy}}}}}
    )


def test_every_way_to_ask(fed: bl.Session) -> None:
    rows = fed.table("t")
    ways = [rows.execute, rows.to_pyarrow, rows.to_pandas, lambda: fed.run(rows), lambda: fed.explain(rows)]
    for way in ways:
        with pytest.raises(PolicyError) as caught:
            way()
        assert caught.value.at is not None
        assert caught.value.at.rpartition(":")[0].endswith("test_asking.py")
        assert str(caught.value).endswith(f"\n  at {caught.value.at}")


def test_the_very_line(fed: bl.Session) -> None:
    rows = fed.table("t")
    with pytest.raises(PolicyError) as caught:
        rows.to_pyarrow()
    assert caught.value.at == f"{Path(__file__).relative_to(Path.cwd())}:{here() - 1}"


def test_withheld_cells_under_strict_name_the_line_and_the_missing_values(fed: bl.Session) -> None:
    with pytest.raises(
        PolicyError, match=r"ask for x\.count\(\) instead of count\(\).*\n  at .*test_asking.py:\d+$"
    ):
        fed.run(fed.table("t").agg(n=_.count(), m=_.x.mean()), strict=True)
    assert fed.last_run is not None
    assert "filter by x.notnull() first" in fed.last_run.report()


def test_only_errors_of_the_plan_and_the_policy_are_located() -> None:
    with pytest.raises(SiteError) as caught, located():
        raise SiteError("gone")
    assert caught.value.at is None


def test_a_line_that_is_known_stays() -> None:
    error = PlanError("cannot be")
    error.at = "elsewhere.py:1"
    with pytest.raises(PlanError), located():
        raise error
    assert str(error) == "cannot be\n  at elsewhere.py:1"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("/tmp/ipykernel_1/1.py", "line 3 of the cell"),
        ("<ipython-input-4-abc>", "line 3 of the cell"),
        ("/elsewhere/study.py", "study.py:3"),
        ("<stdin>", "<stdin>:3"),
    ],
)
def test_files_and_cells(file: str, told: str) -> None:
    found: dict[str, object] = {}
    exec(compile("\n\nfound['at'] = ask()", file, "exec"), {"found": found, "ask": users_line})
    assert found["at"] == told


def test_a_command_that_starts_blossom_is_nobodys_code() -> None:
    space: dict[str, object] = {"users_line": users_line}
    launcher = str(Path(sysconfig.get_path("scripts")) / "blossom")
    exec(compile("found = users_line()", launcher, "exec"), space)
    # the next caller that is somebody's code: this test
    assert str(space["found"]).startswith("tests/unit/fedpy/test_asking.py:")
