"""Kinds are found by name, and a missing driver is told with the extra that brings it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from blossom.plan.errors import ConfigError, PlatformError
from blossom.platforms import registry
from blossom.platforms.registry import PLATFORMS, Entry, open_platform, platform_class


@pytest.mark.parametrize("kind", PLATFORMS)
def test_every_kind_is_the_class_it_says(kind: str) -> None:
    if kind == "clickhouse" and find_spec("chdb") is None:  # half a gigabyte: only `make engines` installs it
        with pytest.raises(PlatformError, match=r"blossom-sky\[clickhouse\]"):
            platform_class(kind)
    else:
        assert platform_class(kind).kind == kind


def test_an_unknown_kind_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'duckdb'"):
        platform_class("ducksdb")


def test_an_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'memory_limit'"):
        open_platform("duckdb", "main", {"memory_limits": "1GB"})


def test_a_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ghost_platform.py").write_text("import a_driver_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "PLATFORMS", {"ghost": Entry("ghost_platform", "Ghost", "ghostly")})
    with pytest.raises(PlatformError, match=r"pip install 'blossom-sky\[ghostly\]'") as caught:
        platform_class("ghost")
    assert "a_driver_that_nobody_has" in str(caught.value)


def test_a_fault_of_our_own_is_not_taken_for_a_missing_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_platform.py").write_text("import blossom.not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "PLATFORMS", {"broken": Entry("broken_platform", "Broken", "extra")})
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        platform_class("broken")


def test_importing_the_registry_loads_no_engine() -> None:
    import subprocess

    code = (
        "import sys, blossom.platforms.registry;"
        "print([m for m in ('duckdb', 'polars', 'adbc_driver_postgresql', 'sqlite3') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
