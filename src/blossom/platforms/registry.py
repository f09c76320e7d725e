"""Platform kind -> class; a driver is imported only when its kind is asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from blossom.plan.errors import ConfigError, PlatformError, unknown
from blossom.platforms.files.platform import WithFiles
from blossom.platforms.interface import Platform
from blossom.platforms.sources import FORMATS


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a platform's class is, and which extra of the distribution brings its driver (None: the base install).

    `formats`: those of local files that the engine reads itself. `files`: it reads the others, Delta, Iceberg, whole files and URLs through `blossom.platforms.files`.
    """

    module: str
    name: str
    extra: str | None = None
    files: bool = False
    formats: frozenset[str] = frozenset(FORMATS)


PLATFORMS: Mapping[str, Entry] = {
    "duckdb": Entry("blossom.platforms.duckdb", "DuckDB", files=True),
    "sqlite": Entry("blossom.platforms.sqlite", "SQLite"),
    "python": Entry("blossom.platforms.python", "Python"),
    "polars": Entry("blossom.platforms.polars", "Polars", "polars", files=True),
    "postgresql": Entry("blossom.platforms.postgresql", "PostgreSQL", "postgresql"),
    "mariadb": Entry("blossom.platforms.mariadb", "MariaDB", "mariadb"),
    "datafusion": Entry("blossom.platforms.datafusion", "DataFusion", "datafusion", files=True),
    "clickhouse": Entry(
        "blossom.platforms.clickhouse", "ClickHouse", "clickhouse", files=True, formats=frozenset({"parquet"})
    ),
    "spark": Entry("blossom.platforms.spark", "Spark", "spark"),
}

_importing = threading.Lock()
"""Sites open in parallel, and Ibis's compilers import one another in circles: two threads at it would deadlock."""


def platform_class(kind: str) -> type[Platform]:
    """The class of a kind.

    Raises:
        ConfigError: No such kind.
        PlatformError: Its driver is not installed; the hint names the extra that brings it.
    """
    entry = PLATFORMS.get(kind)
    if entry is None:
        what, hint = unknown("platform kind", kind, PLATFORMS)
        raise ConfigError(what, hint=hint)
    try:
        with _importing:
            found = getattr(import_module(entry.module), entry.name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("blossom") or entry.extra is None:
            raise
        raise PlatformError(
            f"the driver of {kind} is not installed ({error.name} is missing)",
            where=f"platform kind {kind!r}",
            hint=f"pip install 'blossom-sky[{entry.extra}]'",
        ) from error
    assert isinstance(found, type)
    assert issubclass(found, Platform)
    return found


def open_platform(kind: str, name: str, options: Mapping[str, Any]) -> Platform:
    """Make a platform from its options in the configuration.

    Raises:
        ConfigError: No such kind, or an option that it does not know.
        PlatformError: Its driver is missing, or it cannot be opened.
    """
    found = platform_class(kind)
    known = _options(found)
    for option in options:
        if option not in known:
            what, hint = unknown("option", option, known)
            raise ConfigError(what, where=f"platform {name!r} ({kind})", hint=hint)
    opened = found(name, **options)
    return WithFiles(opened, PLATFORMS[kind].formats) if PLATFORMS[kind].files else opened


def _options(found: type[Platform]) -> tuple[str, ...]:
    code = found.__init__.__code__
    return code.co_varnames[2 : code.co_argcount + code.co_kwonlyargcount]
