"""The version of a table's source: a value that differs whenever the rows may differ, or None where a change could go unnoticed.

Only files that an engine reads anew for every query have one: a file, or a folder with everything below it, on a local file
system. It is made of each file's device, inode, size, modification time and change time (which nobody can set back). Tables of a
database or of a lake, queries, globs and addresses have none.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from blossom.platforms.interface import TableSource

_READ_ANEW = frozenset({"duckdb", "polars", "datafusion"})
"""Kinds of platform that read a file for each query."""

_PLAIN = frozenset({None, "parquet", "csv", "json"})
"""Formats of files that hold their rows themselves; a lake's may name files elsewhere."""

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs", "zfs", "btrfs", "overlay", "tmpfs"})
"""File systems whose times are those of the data: one over a network may show old ones for as long as it likes."""

_SETTLED = 2.0
"""Seconds since the last change: a change right after it would carry the same time where a file system keeps whole seconds."""

_MOST_FILES = 1024

_PATTERN = frozenset("*?[{")

_MOUNTS = Path("/proc/self/mountinfo")


def version(kind: str, source: TableSource) -> Hashable | None:
    """The version of a source.

    Args:
        kind: The kind of platform that reads it.
        source: The source; its path is absolute.
    """
    path = source.source
    if kind not in _READ_ANEW or source.query is not None or path is None:
        return None
    if source.options.get("format") not in _PLAIN:
        return None
    if not Path(path).is_absolute() or not _PATTERN.isdisjoint(path):
        return None
    found: list[tuple[str, int, int, int, int, int]] = []
    local = _local_devices()
    try:
        for file in _files(Path(path)):
            about = file.stat()
            plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
            if not plain or about.st_dev not in local or len(found) >= _MOST_FILES:
                return None
            if time.time() - max(about.st_mtime, about.st_ctime) < _SETTLED:
                return None
            found.append(
                (
                    str(file),
                    about.st_dev,
                    about.st_ino,
                    about.st_size,
                    about.st_mtime_ns,
                    about.st_ctime_ns,
                )
            )
    except (OSError, _Link):
        return None  # what cannot be looked at has no version; the engine says what is wrong with it
    return tuple(found)


class _Link(Exception):
    """A link below a folder: what it leads to could change elsewhere."""


def _files(path: Path) -> Iterator[Path]:
    yield path
    if not path.is_dir():
        return

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(path, onerror=fail):
        for name in sorted((*folders, *files)):
            below = Path(folder, name)
            if below.is_symlink():
                raise _Link
            yield below


def _local_devices() -> frozenset[int]:
    """Devices of local file systems; none where the system does not tell."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(_devices(lines))


def _devices(lines: Iterable[str]) -> Iterator[int]:
    for line in lines:
        about, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] in _LOCAL:
            major, _, minor = about.split(" ")[2].partition(":")
            yield os.makedev(int(major), int(minor))
