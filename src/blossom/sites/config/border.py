"""The configuration as it is written: pydantic models of the TOML's tables, strict and closed to unknown keys.

They check shape and type only. What needs more than one key is checked by `blossom.sites.config.build`.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Table(BaseModel):
    """Base: no conversions between types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class DocumentTable(Table):
    """The whole file."""

    sites: dict[str, dict[str, Any]]
    hub: HubTable | None = None


class HubTable(Table):
    """`[hub]`."""

    title: str | None = None
    region: str | None = None
    state: str | None = None


class SiteTable(Table):
    """`[sites.NAME]`."""

    title: str | None = None
    region: str | None = None
    state: str | None = None
    platforms: dict[str, Any] = {}
    tables: dict[str, Any] = {}


class SecretTable(Table):
    """`{ env = "NAME" }` or `{ file = "path" }`."""

    env: str | None = None
    file: str | None = None


class PlainSecret(SecretTable):
    """A text that stands where a secret may."""

    text: str = Field(repr=False)


class PlatformTable(Table):
    """`[sites.NAME.platforms.NAME]`, the keys of every kind."""

    kind: str
    enabled: bool = True


def _size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d+(\.\d+)?\s*([KMGT]i?)?B", value, re.IGNORECASE):
        raise ValueError(f'expected a size such as "4GB" or "512MiB", got {value!r}')
    return value


class DuckDBTable(PlatformTable):
    """`kind = "duckdb"`."""

    database: str | None = None
    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1)

    _check_size = field_validator("memory_limit")(_size)


class SQLiteTable(PlatformTable):
    """`kind = "sqlite"`."""

    database: str | None = None


class DataFusionTable(PlatformTable):
    """`kind = "datafusion"`."""

    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1)

    _check_size = field_validator("memory_limit")(_size)


class ServerTable(PlatformTable):
    """An engine that is reached by a URL: `kind = "postgresql"`, "mariadb" or "spark"."""

    url: SecretTable

    @field_validator("url", mode="before")
    @classmethod
    def _secret(cls, value: object) -> object:
        if isinstance(value, str):
            return PlainSecret(text=value)
        if isinstance(value, dict) and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
            return value
        raise ValueError('expected { env = "NAME" }, { file = "PATH" } or a text without a password')


KINDS: dict[str, type[PlatformTable]] = {
    "duckdb": DuckDBTable,
    "polars": PlatformTable,
    "sqlite": SQLiteTable,
    "postgresql": ServerTable,
    "mariadb": ServerTable,
    "datafusion": DataFusionTable,
    "spark": ServerTable,
    "python": PlatformTable,
}
"""Platform kind -> the keys it takes."""


class PartitionTable(Table):
    """`partition = { by = [...], scheme = "..." }`."""

    by: list[str]
    scheme: str | None = None

    @field_validator("by", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class ReaderTable(Table):
    """`options = { ... }` of a table."""

    null_values: list[str] | None = None
    delimiter: str | None = None
    header: bool | None = None
    format: Literal["parquet", "csv", "json"] | None = None


class ColumnPolicyTable(Table):
    """`columns.NAME = { ... }` of a policy."""

    release: Literal["rows", "aggregates", "none"] | None = None
    filter: bool = True
    key: bool = True
    transform: bool | None = None


class PolicyTable(Table):
    """`[sites.NAME.tables.NAME.policy]`."""

    release: Literal["rows", "aggregates", "none"] = "none"
    to: list[str] = ["hub"]
    min_group: int = Field(default=10, ge=1)
    privacy_unit: str | None = None
    columns: dict[str, ColumnPolicyTable] = {}
    training: Literal["none", "updates", "secure", "private"] = "none"
    purposes: list[str] = []
    epsilon: Any = None


class TableTable(Table):
    """`[sites.NAME.tables.NAME]`."""

    platform: str | None = None
    source: str | None = None
    query: str | None = None
    rename: dict[str, str] = {}
    schema_: dict[str, str] = Field(default={}, alias="schema")
    options: ReaderTable = ReaderTable()
    columns: list[str] | None = None
    partition: PartitionTable | None = None
    replicated: bool = False
    steward: str | None = None
    policy: PolicyTable = PolicyTable()

    @field_validator("partition", mode="before")
    @classmethod
    def _bare_columns(cls, value: object) -> object:
        return {"by": value} if isinstance(value, str | list) else value
