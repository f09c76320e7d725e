"""Which ledger belongs to which data."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blossom.plan.errors import ConfigError
from blossom.sites.config import SiteConfig, ledger_folder, load
from blossom.sites.config.register import register_home

POLICY = {"release": "aggregates", "privacy_unit": "pid"}


def site(
    state: Path | None,
    *sources: str | Path,
    platform: dict[str, Any] | None = None,
    key: str = "source",
    policy: dict[str, Any] = POLICY,
) -> SiteConfig:
    tables = {
        f"t{i}": {"platform": "engine" if platform else "duckdb", key: str(source), "policy": policy}
        for i, source in enumerate(sources)
    }
    body: dict[str, Any] = {"tables": tables, "platforms": {"engine": platform} if platform else {}}
    if state is not None:
        body["state"] = str(state)
    return load({"sites": {"north": body}}).sites["north"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for name in ("a.parquet", "b.parquet"):
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def test_a_second_state_folder_finds_the_ledger_of_the_first(data: Path, tmp_path: Path) -> None:
    one = ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    assert one == (tmp_path / "one").resolve()
    assert (one / "ledger").exists()
    assert ledger_folder(site(tmp_path / "two", data / "a.parquet", data / "b.parquet")) == one
    assert (
        ledger_folder(site(tmp_path / "three", data / "b.parquet")) == one
    )  # it came to be known by the second
    (data / "c.parquet").touch()
    assert ledger_folder(site(tmp_path / "four", data / "c.parquet")) == (tmp_path / "four").resolve()


@pytest.mark.parametrize("first", ["a.parquet", "*.parquet", ".", "[ab].parquet"])
@pytest.mark.parametrize("second", ["a.parquet", "*.parquet", ".", "link.parquet", "../data/a.parquet"])
def test_however_the_same_files_are_named(data: Path, tmp_path: Path, first: str, second: str) -> None:
    (data / "link.parquet").symlink_to(data / "a.parquet")
    one = ledger_folder(site(tmp_path / "one", f"{data}/{first}"))
    assert ledger_folder(site(tmp_path / "two", f"{data}/{second}")) == one


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"kind": "sqlite", "database": "{data}/clinic.db"}, {"kind": "sqlite", "database": "{data}/../data/clinic.db"}),
        ({"kind": "sqlite", "database": "{data}/clinic.db"}, {"kind": "duckdb", "database": "{data}/clinic.db"}),
        ({"kind": "postgresql", "url": "postgresql://ann:x@DB/c"}, {"kind": "postgresql", "url": "postgresql://bob:y@db/c?a=1"}),
        ({"kind": "postgresql", "url": "host=db dbname=c user=ann"}, {"kind": "postgresql", "url": "dbname=c host=db user=bob"}),
    ],
)  # fmt: skip
def test_a_database_has_one_ledger_whoever_connects_and_whatever_is_read(
    data: Path, tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    first, second = ({k: v.format(data=data) for k, v in one.items()} for one in (first, second))
    one = ledger_folder(site(tmp_path / "one", "people", platform=first))
    assert ledger_folder(site(tmp_path / "two", "SELECT * FROM v", platform=second, key="query")) == one
    other = {**first, **{key: first[key].replace("clinic", "other").replace("/c", "/d").replace("=c", "=d") for key in first if key != "kind"}}  # fmt: skip
    assert ledger_folder(site(tmp_path / "three", "people", platform=other)) != one
    assert "ann" not in (register_home() / "ledgers.json").read_text()


def test_the_same_query_over_files_finds_its_ledger(data: Path, tmp_path: Path) -> None:
    query = f"SELECT * FROM '{data}/a.parquet'"
    one = ledger_folder(site(tmp_path / "one", query, key="query"))
    assert ledger_folder(site(tmp_path / "two", query.replace(" ", "  "), key="query")) == one


def test_who_deletes_the_ledger_begins_anew(data: Path, tmp_path: Path) -> None:
    ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    shutil.rmtree(tmp_path / "one")
    two = ledger_folder(site(tmp_path / "two", data / "b.parquet", data / "a.parquet"))
    assert two == (tmp_path / "two").resolve()
    assert set(json.loads((register_home() / "ledgers.json").read_text())["ledgers"].values()) == {str(two)}


def test_tables_of_two_ledgers_are_refused(data: Path, tmp_path: Path) -> None:
    ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    ledger_folder(site(tmp_path / "two", data / "b.parquet"))
    with pytest.raises(ConfigError, match="several ledgers") as caught:
        ledger_folder(site(tmp_path / "three", data / "a.parquet", data / "b.parquet"))
    assert str(tmp_path / "one") in str(caught.value)
    assert "deleting" in (caught.value.hint or "")
    (tmp_path / "two" / "ledger").unlink()
    both = ledger_folder(site(tmp_path / "three", data / "a.parquet", data / "b.parquet"))
    assert both == (tmp_path / "one").resolve()


def test_a_site_without_a_state_folder_registers_nothing_but_uses_what_is_known(
    data: Path, tmp_path: Path
) -> None:
    alone = site(None, data / "a.parquet")
    temporary = ledger_folder(alone)
    assert temporary == ledger_folder(alone)
    assert list(register_home().iterdir()) == []
    one = ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    assert ledger_folder(site(None, data / "a.parquet")) == one


def test_tables_that_hold_no_units_have_none(data: Path, tmp_path: Path) -> None:
    rows: dict[str, Any] = {"release": "rows"}
    own = tmp_path / "one"
    assert ledger_folder(site(own, data / "a.parquet", policy=rows)) == own
    assert list(register_home().iterdir()) == []


def test_to_look_writes_nothing(data: Path, tmp_path: Path) -> None:
    given = site(tmp_path / "one", data / "a.parquet")
    assert ledger_folder(given, begin=False) == tmp_path / "one"
    assert list(register_home().iterdir()) == []
    assert not (tmp_path / "one" / "ledger").exists()
    assert ledger_folder(given) == ledger_folder(site(tmp_path / "two", data / "a.parquet"), begin=False)


@pytest.mark.parametrize("text", ["", "[]", '{"ledgers": 3}', '{"ledgers": {"file'])
def test_a_damaged_register_refuses(data: Path, tmp_path: Path, text: str) -> None:
    (register_home() / "ledgers.json").write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        ledger_folder(site(tmp_path / "one", data / "a.parquet"))


def test_a_register_that_cannot_be_written_refuses(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BLOSSOM_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    assert "BLOSSOM_HOME" in (caught.value.hint or "")
    assert not (tmp_path / "one" / "ledger").exists()


def test_where_the_register_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOSSOM_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert register_home() == tmp_path / "blossom"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert register_home() == tmp_path / ".local" / "state" / "blossom"


def test_only_the_owner_reads_it(data: Path, tmp_path: Path) -> None:
    ledger_folder(site(tmp_path / "one", data / "a.parquet"))
    for path in register_home().iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_begin_at_once_agree(data: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from blossom.sites.config import ledger_folder, load\n"
        "site = load({'sites': {'n': {'state': sys.argv[1], 'tables': {'t': {'source': sys.argv[2], 'policy':"
        " {'release': 'aggregates', 'privacy_unit': 'pid'}}}}}}).sites['n']\n"
        "print(ledger_folder(site))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / f"s{i}"), str(data / "a.parquet")],
            stdout=subprocess.PIPE, text=True, env=dict(os.environ),
        )
        for i in range(3)
    ]  # fmt: skip
    folders = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert len(folders) == 1
    assert all(process.returncode == 0 for process in processes)
