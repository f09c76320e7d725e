"""The configuration as it is written: pydantic models of the TOML's tables, strict and closed to unknown keys.

They check shape and type only. What needs more than one key is checked by `blossom.sites.config.build`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Table(BaseModel):
    """Base: no conversions between types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class DocumentTable(Table):
    """The whole file."""

    sites: dict[str, dict[str, Any]]
    hub: HubTable | None = None
    prices: Any = None


class PlatformPriceTable(Table):
    """`price = { ... }` of a platform, and `[providers.NAME.platforms.KIND]` of a price file."""

    usd_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    startup_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    minimum_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class SitePriceTable(Table):
    """`price = { ... }` of a site or the hub, and `[providers.NAME.regions.NAME]` of a price file."""

    usd_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    egress_usd_per_gb: float | None = Field(default=None, ge=0, allow_inf_nan=False)


def checked_size(value: str | None) -> str | None:
    """A size with its unit, as it was given."""
    if value is not None and not re.fullmatch(r"\d+(\.\d+)?\s*([KMGT]i?)?B", value, re.IGNORECASE):
        raise ValueError(f'expected a size such as "4GB" or "512MiB", got {value!r}')
    return value


def size_bytes(text: str) -> int:
    """Bytes of a checked size.

    >>> size_bytes("512MiB"), size_bytes("1.5 kB")
    (536870912, 1500)
    """
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B", text, re.IGNORECASE)
    assert found is not None
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper() or " ")))


class HubTable(Table):
    """`[hub]`."""

    title: str | None = None
    region: str | None = None
    state: str | None = None
    memory_limit: str | None = None
    provider: str | None = None
    price: SitePriceTable = SitePriceTable()

    _check_size = field_validator("memory_limit")(checked_size)


class SiteTable(Table):
    """`[sites.NAME]`."""

    title: str | None = None
    region: str | None = None
    state: str | None = None
    memory_limit: str | None = None
    provider: str | None = None
    price: SitePriceTable = SitePriceTable()
    platforms: dict[str, Any] = {}
    tables: dict[str, Any] = {}

    _check_size = field_validator("memory_limit")(checked_size)


class SecretTable(Table):
    """`{ env = "NAME" }` or `{ file = "path" }`."""

    env: str | None = None
    file: str | None = None


class PlainSecret(SecretTable):
    """A text that stands where a secret may."""

    text: str = Field(repr=False)


def secret_or_text(value: object) -> object:
    """What may stand where a secret may, as pydantic is to see it."""
    if isinstance(value, str):
        return PlainSecret(text=value)
    if isinstance(value, PlainSecret) or (isinstance(value, dict) and len(value) == 1):  # pyright: ignore[reportUnknownArgumentType]
        return value
    raise ValueError('expected { env = "NAME" }, { file = "PATH" } or a text without a password')


class PlatformTable(Table):
    """`[sites.NAME.platforms.NAME]`, the keys of every kind."""

    kind: str
    enabled: bool = True
    provider: str | None = None
    region: str | None = None
    price: PlatformPriceTable = PlatformPriceTable()


class DuckDBTable(PlatformTable):
    """`kind = "duckdb"`."""

    database: str | None = None
    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1)

    _check_size = field_validator("memory_limit")(checked_size)


class SQLiteTable(PlatformTable):
    """`kind = "sqlite"`."""

    database: str | None = None


class DataFusionTable(PlatformTable):
    """`kind = "datafusion"`."""

    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1)

    _check_size = field_validator("memory_limit")(checked_size)


class PythonTable(PlatformTable):
    """`kind = "python"`."""

    memory_limit: str | None = None
    timeout: float | None = Field(default=None, ge=0)

    _check_size = field_validator("memory_limit")(checked_size)


class ClickHouseTable(PlatformTable):
    """`kind = "clickhouse"`."""

    memory_limit: str | None = None
    threads: int | None = Field(default=None, ge=1)

    _check_size = field_validator("memory_limit")(checked_size)


class ServerTable(PlatformTable):
    """An engine that is reached by a URL: `kind = "postgresql"` or "mariadb"."""

    url: SecretTable

    _secret = field_validator("url", mode="before")(secret_or_text)


class SparkTable(PlatformTable):
    """`kind = "spark"`: a server's url, or `local = true` for one of its own."""

    url: SecretTable | None = None
    local: bool = False
    memory_limit: str | None = None

    _secret = field_validator("url", mode="before")(secret_or_text)
    _check_size = field_validator("memory_limit")(checked_size)


KINDS: dict[str, type[PlatformTable]] = {
    "duckdb": DuckDBTable,
    "polars": PlatformTable,
    "sqlite": SQLiteTable,
    "postgresql": ServerTable,
    "mariadb": ServerTable,
    "datafusion": DataFusionTable,
    "clickhouse": ClickHouseTable,
    "spark": SparkTable,
    "python": PythonTable,
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
    format: Literal["parquet", "csv", "json", "delta", "iceberg", "files"] | None = None
    version: int | None = Field(default=None, ge=0)
    snapshot: int | None = None
    catalog: SecretTable | None = None
    catalog_name: str | None = None
    storage: dict[str, bool | int | SecretTable] | None = None

    @field_validator("catalog", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return secret_or_text(value)

    @field_validator("storage", mode="before")
    @classmethod
    def _secrets(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        pairs = cast("dict[str, object]", value).items()
        return {key: each if isinstance(each, bool | int) else secret_or_text(each) for key, each in pairs}


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
