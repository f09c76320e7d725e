"""The second half of a table's check: the columns that its declarations name exist in what the platform publishes."""

from __future__ import annotations

from collections.abc import Iterable

from blossom.plan.errors import unknown
from blossom.plan.schema import Schema
from blossom.policy.model import ROW_UNIT
from blossom.sites.config.faults import Fault, Key, raise_faults
from blossom.sites.config.model import TableConfig


def check_columns(table: TableConfig, schema: Schema, *, site: str | None = None) -> None:
    """Check every column name of a table's configuration against the published schema.

    Args:
        table: The table's configuration.
        schema: What its platform publishes, after renaming.
        site: The site, to name the full key in errors.

    Raises:
        ConfigError: Names the key of every column that does not exist, and the nearest one that does.
    """
    prefix: Key = ("tables", table.name) if site is None else ("sites", site, "tables", table.name)
    source, policy, partition = table.source, table.policy, table.partition
    named: list[tuple[Key, str]] = [
        *_each(("rename",), source.rename),
        *_each(("schema",), source.schema),
        *_numbered(("columns",), source.columns or ()),
        *_numbered(("partition", "by"), () if partition is None else partition.columns),
        *_each(("policy", "columns"), policy.columns),
    ]
    if policy.privacy_unit not in (None, ROW_UNIT):
        named.append((("policy", "privacy_unit"), policy.privacy_unit))
    faults = [
        Fault((*prefix, *key), *unknown("column", name, schema)) for key, name in named if name not in schema
    ]
    raise_faults(faults, None)


def _each(key: Key, names: Iterable[str]) -> Iterable[tuple[Key, str]]:
    return (((*key, name), name) for name in names)


def _numbered(key: Key, names: Iterable[str]) -> Iterable[tuple[Key, str]]:
    return (((*key, number), name) for number, name in enumerate(names))
