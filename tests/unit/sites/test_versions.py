"""A source has a version only where no change of its rows can go unnoticed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from blossom.platforms.interface import TableSource
from blossom.sites import versions
from blossom.sites.versions import version


@pytest.fixture(autouse=True)
def settled(monkeypatch, tmp_path):
    """Files of the test count as old, and its folder as one of a local file system."""
    monkeypatch.setattr(versions, "_SETTLED", -1.0)
    monkeypatch.setattr(versions, "_local_devices", lambda: {tmp_path.stat().st_dev})


def of(path: Path | str, kind: str = "duckdb"):
    return version(kind, TableSource(source=str(path)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "facts.parquet"
    path.write_bytes(b"one")
    return path


def test_a_file_that_nobody_touched_keeps_its_version(file):
    assert of(file) is not None
    assert of(file) == of(file)


def test_every_change_of_a_file_changes_its_version(file):
    def rewritten():
        file.write_bytes(b"two")

    def rewritten_and_dated_back():
        about = file.stat()
        file.write_bytes(b"six")
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))

    def replaced():
        other = file.with_name("other")
        other.write_bytes(b"ten")
        about = file.stat()
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        other.replace(file)

    def longer():
        with file.open("ab") as sink:
            sink.write(b"more")

    for change in (rewritten, rewritten_and_dated_back, replaced, longer):
        before = of(file)
        time.sleep(0.02)  # the system keeps times in steps of a few milliseconds
        change()
        assert of(file) not in (None, before), change.__name__


def test_files_of_a_folder_are_all_looked_at(tmp_path):
    folder = tmp_path / "facts"
    (folder / "year=1").mkdir(parents=True)
    (folder / "year=1" / "a.parquet").write_bytes(b"one")
    before = of(folder)
    assert before is not None
    time.sleep(0.02)
    (folder / "year=1" / ".b.parquet").write_bytes(b"two")
    assert of(folder) not in (None, before)
    (folder / "year=1" / "c.parquet").symlink_to(folder / "year=1" / "a.parquet")
    assert of(folder) is None


def test_a_file_that_has_just_changed_has_no_version_yet(file, monkeypatch):
    monkeypatch.setattr(versions, "_SETTLED", 2.0)
    assert of(file) is None


def test_a_file_system_that_may_show_old_times_has_no_versions(file, monkeypatch):
    monkeypatch.setattr(versions, "_local_devices", frozenset)
    assert of(file) is None


def test_devices_are_local_by_the_type_of_their_file_system():
    lines = [
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
        "30 27 0:40 / /home rw,relatime - nfs4 server:/home rw,vers=4.2",
        "31 27 0:41 / /tmp rw - tmpfs tmpfs rw",
        "32 27 0:42 / /mnt rw - fuse.sshfs host: rw",
    ]
    assert set(versions._devices(lines)) == {os.makedev(254, 0), os.makedev(0, 41)}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("duckdb", TableSource(source="clinic.patients")),
        ("duckdb", TableSource(query="SELECT * FROM 'facts.parquet'")),
        ("duckdb", TableSource(source="https://data.example.org/facts.parquet")),
        ("duckdb", TableSource(source="/data/*.parquet")),
        ("postgresql", TableSource(source="patients")),
        ("duckdb", TableSource(source="/nowhere/facts.parquet")),
    ],
)
def test_other_sources_have_none(kind, source):
    assert version(kind, source) is None


@pytest.mark.parametrize("format_", ["delta", "iceberg", "files"])
def test_a_table_that_may_name_files_elsewhere_has_none(tmp_path, format_):
    assert version("duckdb", TableSource(source=str(tmp_path))) is not None
    assert version("duckdb", TableSource(source=str(tmp_path), options={"format": format_})) is None


def test_another_kind_of_engine_may_hold_rows_of_its_own(file):
    assert of(file, "spark") is None
