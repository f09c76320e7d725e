"""The rule of tests/conftest.py: with BLOSSOM_NO_SKIP set, a skip fails the session and is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPED_TEST = """
import pytest

def test_right(): pass

@pytest.mark.skip(reason="no such server")
def test_skipped(): pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
"""
SKIPPED_MODULE = "import pytest\npytest.importorskip('a_module_that_nobody_has')\n"


def _session(folder: Path, source: str, no_skip: str, *options: str) -> subprocess.CompletedProcess[str]:
    folder.joinpath("conftest.py").write_text(CONFTEST.read_text())
    folder.joinpath("test_one.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--rootdir={folder}",
            "-c",
            os.devnull,
            *options,
            str(folder),
        ],
        env=environment | {"BLOSSOM_NO_SKIP": no_skip},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "workers"])
def test_a_skip_fails_the_session_and_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    session = _session(tmp_path, SKIPPED_TEST, "1", *options)
    assert session.returncode == 1, session.stdout
    assert "test_skipped: Skipped: no such server" in session.stdout
    assert "test_known:" not in session.stdout


def test_a_skipped_module_fails_the_session(tmp_path: Path) -> None:
    session = _session(tmp_path, SKIPPED_MODULE, "1")
    assert session.returncode == 1, session.stdout
    assert "a_module_that_nobody_has" in session.stdout


def test_elsewhere_a_skip_is_only_a_skip(tmp_path: Path) -> None:
    assert _session(tmp_path, SKIPPED_TEST, "").returncode == 0
