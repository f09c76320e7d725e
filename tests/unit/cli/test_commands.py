"""The small commands on a small federation: what they print, what they exit with, that readers leave no trace."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blossom as bl
from blossom.cli import doctor, main

CONFIG = """
[sites.north.tables.people]
source = "north.csv"
[sites.north.tables.people.policy]
release = "aggregates"
privacy_unit = "id"
min_group = 2

[sites.south.tables.people]
source = "south.csv"
[sites.south.tables.people.policy]
release = "aggregates"
privacy_unit = "id"
min_group = 2
"""

PIPELINES = """
import ibis
from ibis import _

def pipeline(fed):
    return fed.table("people").group_by("city").agg(n=_.count(), age=_.age.mean()).order_by("city")

def rows(fed):
    return fed.table("people")

def mean(fed):
    return fed.table("people").age.mean()
"""


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "blossom.toml").write_text(CONFIG)
    (tmp_path / "p.py").write_text(PIPELINES)
    # Every city has as many people of 30 as of 40, but for two cities in the north with one person each.
    north = [("Ålesund", 30 + 10 * (n % 2)) for n in range(20)] + [("Bergen", 90), ("Oslo", 90)]
    south = [("Bergen", 30 + 10 * (n % 2)) for n in range(10)]
    for name, people, first in (("north", north, 0), ("south", south, 100)):
        lines = [f"{first + number},{city},{age}" for number, (city, age) in enumerate(people)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,city,age", *lines]) + "\n")
    return tmp_path


def _json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> object:
    capsys.readouterr()  # what was printed before
    assert main([*arguments, "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_run_prints_the_result_and_its_figures(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, "run", "p.py")
    assert isinstance(document, dict)
    assert document["columns"] == {"city": "string", "n": "int64", "age": "double"}
    assert document["rows"] == [
        {"city": "Bergen", "n": 10, "age": 35.0},
        {"city": "Ålesund", "n": 20, "age": 35.0},
    ]
    assert document["withheld"] == {"north": True, "south": False}
    assert set(document["left"]) == {"north", "south"}
    assert all(own["aggregates"] > 0 and own["rows"] == 0 for own in document["left"].values())

    assert main(["run", "p.py", "--config", "blossom.toml"]) == 0
    out, err = capsys.readouterr()
    assert "Ålesund  20   35" in out
    assert "held back: cells that describe too few, at north" in out
    assert "blossom.toml" not in out
    assert "running p.py" in err


def test_run_strict_and_refused_exit_with_3(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p.py", "--strict"]) == 3
    assert "withheld at north" in capsys.readouterr().err
    assert main(["run", "p.py", "--function", "rows"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "may not leave" in err


def test_run_of_a_value(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, "run", "p.py", "--function", "mean")
    assert isinstance(document, dict)
    (row,) = document["rows"]
    assert list(row.values()) == [pytest.approx((30 * 35 + 180) / 32)]


def test_run_of_a_large_result_shows_its_first_rows_and_counts_all(
    federation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (federation / "large.toml").write_text(
        '[sites.a.tables.numbers]\nquery = "SELECT range AS a FROM range(200000)"\n'
        '[sites.a.tables.numbers.policy]\nrelease = "rows"\n'
    )
    (federation / "large.py").write_text("def pipeline(fed):\n    return fed.table('numbers')\n")
    assert main(["run", "large.py", "--config", "large.toml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[41] == "(200,000 rows, the first 40 shown)"


@pytest.mark.parametrize(("form", "start"), [("text", "Plan: "), ("mermaid", "flowchart"), ("svg", "<svg")])
def test_explain_in_every_form(
    federation: Path, capsys: pytest.CaptureFixture[str], form: str, start: str
) -> None:
    assert main(["explain", "p.py", "--format", form]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_explain_runs_nothing_and_shows_stages_when_asked(
    federation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = _json(capsys, "explain", "p.py")
    staged = _json(capsys, "explain", "p.py", "--stages")
    assert isinstance(plain, dict)
    assert isinstance(staged, dict)
    assert "stages" not in plain
    assert len(staged["stages"]) > 1
    assert {one["site"] for one in plain["fragments"]} >= {"north", "south"}
    assert _json(capsys, "runs") == []
    assert main(["explain", "p.py", "--stages"]) == 0
    assert staged["stages"][0]["name"] in capsys.readouterr().out


def test_sites_and_tables(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sites = _json(capsys, "sites")
    tables = _json(capsys, "tables")
    assert isinstance(sites, list)
    assert isinstance(tables, list)
    assert [one["site"] for one in sites] == ["north", "south"]
    assert [(one["table"], one["site"]) for one in tables] == [("people", "north"), ("people", "south")]
    assert sites[0]["platforms"] == {"duckdb": "duckdb", "python": "python"}
    assert tables[0]["columns"] == {"id": "int64", "city": "string", "age": "int64"}
    assert tables[0]["rows"] is None or isinstance(tables[0]["rows"], int)
    assert main(["tables"]) == 0
    assert "people at north: id: int64, city: string, age: int64" in capsys.readouterr().out


def test_runs_lists_and_shows(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "nothing was run yet" in capsys.readouterr().out
    assert not (federation / ".blossom").exists()
    assert main(["runs", "ab"]) == 2
    ran = _json(capsys, "run", "p.py")
    assert main(["run", "p.py", "--function", "rows"]) == 3
    capsys.readouterr()
    listed = _json(capsys, "runs")
    assert isinstance(ran, dict)
    assert isinstance(listed, list)
    assert [one["outcome"] for one in listed] == ["refused", "done"]
    assert listed[1]["id"] == ran["run"]
    one = _json(capsys, "runs", ran["run"][:6])
    assert isinstance(one, dict)
    assert one["id"] == ran["run"]
    assert {release["site"] for release in one["releases"]} == {"north", "south"}
    assert main(["runs", ran["run"]]) == 0
    assert f"run {ran['run']} (query) done" in capsys.readouterr().out
    assert main(["runs", "--limit", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["runs", "zz"]) == 2
    assert main(["runs", ""]) == 2
    assert "2 runs start with ''" in capsys.readouterr().err


def test_no_configuration_exits_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["sites"], ["runs"], ["site", "check", "none.toml"], ["site", "audit", "none.toml"]):
        assert main(arguments) == 2


def test_check_says_what_an_outsider_can_obtain(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "check", "blossom.toml"]) == 0
    out = capsys.readouterr().out
    assert "table people at north, south: 3 columns" in out
    assert "over groups of at least 2 distinct" in " ".join(out.split())
    assert "! min_group = 2 is small" in out
    assert "The configuration is right; 2 warnings (!)." in out
    assert not (federation / ".blossom").exists()


def test_check_finds_every_fault_at_once(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (federation / "south.csv").write_text("id,city,age\n4,Bergen,young\n")
    more = '[sites.south.tables.gone]\nsource = "gone.csv"\n[sites.south.tables.two]\nsource = "north.csv"\n'
    more += '[sites.south.tables.two.policy]\nprivacy_unit = "idd"\nrelease = "aggregates"\n'
    (federation / "blossom.toml").write_text(CONFIG + more)
    document = _json(capsys, "site", "check", "blossom.toml", code=4)
    assert isinstance(document, dict)
    assert document["right"] is False
    assert "age" in document["disagreements"][0]
    south = document["sites"]["south"]
    assert "gone" in south["gone"]["faults"][0]
    assert "did you mean 'id'" in south["two"]["faults"][0]
    assert south["people"]["faults"] == []
    assert main(["site", "check", "blossom.toml"]) == 4
    out = capsys.readouterr().out
    assert out.count("WRONG:") == 3
    assert "3 things wrong" in out


def test_check_of_a_faulty_file_tells_its_faults(
    federation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (federation / "blossom.toml").write_text(CONFIG.replace("min_group", "min_grop"))
    assert main(["site", "check", "blossom.toml"]) == 4
    out = capsys.readouterr().out
    assert "sites.north.tables.people.policy.min_grop" in out
    assert "min_group" in out


def test_audit_prints_and_verifies(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "audit", "blossom.toml"]) == 0
    assert "north: no log yet" in capsys.readouterr().out
    assert not (federation / ".blossom").exists()
    ran = _json(capsys, "run", "p.py")
    assert isinstance(ran, dict)
    document = _json(capsys, "site", "audit", "blossom.toml", "--site", "north")
    assert isinstance(document, dict)
    assert list(document) == ["north"]
    (entry,) = document["north"]["entries"]
    assert (entry["run"], entry["decision"], entry["kind"]) == (ran["run"], "withheld", "aggregates")
    assert main(["site", "audit", "blossom.toml"]) == 0
    assert "verified: 1 entries" in capsys.readouterr().out
    assert main(["site", "audit", "blossom.toml", "--site", "nort"]) == 2
    assert "did you mean 'north'" in capsys.readouterr().err


def test_audit_finds_a_changed_log(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["run", "p.py"]) == 0
    log = federation / ".blossom" / "north" / "audit.jsonl"
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first.replace(b'"withheld"', b'"released"') + second)
    capsys.readouterr()
    assert main(["site", "audit", "blossom.toml", "--verify"]) == 4
    out = capsys.readouterr().out
    assert "BROKEN: line 1" in out
    assert "site south" in out
    assert main(["site", "audit", "blossom.toml", "--site", "south"]) == 0
    log.unlink()
    document = _json(capsys, "site", "audit", "blossom.toml", "--site", "north", code=4)
    assert isinstance(document, dict)
    assert document["north"]["verified"] is False


def test_doctor_names_what_is_missing_and_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    real = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name.startswith(("polars", "rich")) else real(name)
    )
    document = _json(capsys, "doctor")
    assert isinstance(document, dict)
    engines = {one["name"]: one for one in document["engines"]}
    assert engines["polars"] == {"name": "polars", "found": None, "hint": "pip install 'blossom-sky[polars]'"}
    assert engines["duckdb"]["found"].startswith("duckdb 2.")
    here = {one["name"]: one["found"] for one in document["here"]}
    assert here["configuration"] is None
    assert "can be written" in here["state"]
    assert int(here["cores"]) >= 1
    assert list(tmp_path.iterdir()) == []
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "polars missing pip install 'blossom-sky[polars]'" in out


def test_the_ledger_lists_what_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table({"id": list(range(40)), "x": [float(i) for i in range(40)]})
    pq.write_table(rows, tmp_path / "t.parquet")
    file = tmp_path / "blossom.toml"
    file.write_text(
        '[sites.a.tables.t]\nsource = "t.parquet"\n'
        '[sites.a.tables.t.policy]\nrelease = "aggregates"\nmin_group = 5\nprivacy_unit = "id"\n'
    )
    assert main(["site", "ledger", str(file)]) == 0
    assert "the ledger is empty" in capsys.readouterr().out
    with bl.connect(file, user="ada") as fed:
        assert fed.table("t").x.sum().execute() == 780.0
    assert main(["site", "ledger", str(file), "--format", "json"]) == 0
    (grant,) = json.loads(capsys.readouterr().out)["a"]
    assert (grant["user"], grant["tables"], grant["cells"], grant["refused"]) == ("ada", ["t"], 1, None)
    assert main(["site", "ledger", str(file), "--site", "b"]) == 2
