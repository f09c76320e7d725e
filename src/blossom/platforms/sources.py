"""What a published source says, read once for all platforms: the format of its files, and which columns under which names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from blossom.plan.errors import PlatformError, unknown
from blossom.platforms.interface import TableSource

FORMATS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv"),
    "json": (".ndjson", ".jsonl", ".json"),
}
"""Format -> the ends of names that mean it."""

READER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "parquet": ("format",),
    "csv": ("format", "null_values", "delimiter", "header"),
    "json": ("format",),
}
"""Format -> the reader options it takes."""


def file_format(path: str, options: Mapping[str, Any], where: str, *, folder: bool | None = None) -> str:
    """The format of a path: the one said, else by its name; a folder without one holds Parquet.

    Args:
        path: A path, glob or URL.
        options: The reader's.
        where: Names the table in errors.
        folder: Whether it is one; None: a folder of this machine is looked for.

    Raises:
        PlatformError: It is of no known format, or an option does not belong to it.
    """
    given = options.get("format")
    if given is not None:
        if given not in FORMATS:
            what, hint = unknown("format", str(given), FORMATS)
            raise PlatformError(what, where=where, hint=hint)
        kind = str(given)
    else:
        found = [kind for kind, suffixes in FORMATS.items() if path.casefold().endswith(suffixes)]
        if not found and not (Path(path).is_dir() if folder is None else folder):
            raise PlatformError(
                f"{path!r} is no Parquet, CSV or JSON path",
                where=where,
                hint="say the file's `format` in its options",
            )
        kind = found[0] if found else "parquet"
    for option in options:
        if option not in READER_OPTIONS[kind]:
            what, hint = unknown(f"{kind} reader option", option, READER_OPTIONS[kind])
            raise PlatformError(what, where=where, hint=hint)
    return kind


def table_or_query(source: TableSource, where: str) -> None:
    """Refuse a source that is not exactly one table or one query of an engine with tables of its own."""
    if (source.source is None) == (source.query is None):
        raise PlatformError("give a source (a table or view) or a query", where=where)
    if source.options:
        raise PlatformError("reader options are for files", where=where)


def selected(arrived: Collection[str], source: TableSource, where: str) -> list[tuple[str, str]]:
    """Published name and own name of each column that is published, in order.

    Raises:
        PlatformError: A name that the source does not have; names the nearest.

    >>> selected(["a", "b"], TableSource(source="t", rename={"x": "a"}), "here")
    [('x', 'a'), ('b', 'b')]
    """
    published = {own: name for name, own in source.rename.items()}
    own = {published.get(column, column): column for column in arrived}
    for name in source.rename.values():
        if name not in arrived:
            what, hint = unknown("column", name, arrived)
            raise PlatformError(what, where=where, hint=hint)
    for name in (*source.schema, *(source.columns or ())):
        if name not in own:
            what, hint = unknown("column", name, own)
            raise PlatformError(what, where=where, hint=hint)
    return [(name, own[name]) for name in (source.columns if source.columns is not None else own)]
