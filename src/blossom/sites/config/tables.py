"""A site's tables from their tables of keys: platform, source, partition, replication and policy, checked together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from blossom.plan.errors import unknown
from blossom.plan.relations import Partition
from blossom.plan.schema import datatype
from blossom.platforms.interface import TableSource
from blossom.platforms.registry import PLATFORMS
from blossom.policy.model import ColumnPolicy, TablePolicy
from blossom.sites.config import border
from blossom.sites.config.base import URL, Base, check_list, check_name
from blossom.sites.config.faults import Key
from blossom.sites.config.model import PlatformConfig, Secret, TableConfig
from blossom.sites.config.platforms import revealed

_READS: Mapping[str, Literal["files", "tables", "either", "both"]] = {
    "duckdb": "either",
    "polars": "files",
    "sqlite": "tables",
    "postgresql": "tables",
    "mariadb": "tables",
    "datafusion": "files",
    "clickhouse": "files",
    "spark": "both",
    "python": "files",
}
"""What a `source` means to a kind of platform. "either": DuckDB with a database has tables of its own; without, files only.
"both": a path of files as the server sees them, or the name of a table."""

_FILE = re.compile(r"[/\\*?\[]|\.(parquet|pq|csv|tsv|txt|json|jsonl|ndjson)(\.(gz|zst|bz2))?$", re.IGNORECASE)
"""Marks a source as a path or glob rather than the name of a table."""

_ARROW_FORMATS = frozenset({"delta", "iceberg", "files"})
"""Formats that are read for an engine, which receives Arrow."""

_SECRET = re.compile(r"secret|token|password|account_key|connection_string|credential", re.IGNORECASE)
"""Keys of a store whose values do not belong in a file."""

_RECIPIENT = re.compile(r"hub|(site|role):.+", re.DOTALL)


def reader_of(
    raw: border.TableTable,
    declared: Mapping[str, PlatformConfig],
    platforms: Mapping[str, PlatformConfig],
    off: set[str],
    key: Key,
    base: Base,
) -> str | None:
    """The name of the platform that reads a table: the one named, the site's only declared one, or duckdb."""
    if raw.platform is not None:
        if raw.platform in platforms:
            return raw.platform
        if raw.platform in off:
            base.fault((*key, "platform"), f"the platform {raw.platform!r} is switched off")
        else:
            base.fault((*key, "platform"), *unknown("platform", raw.platform, platforms))
        return None
    readers = [name for name, platform in declared.items() if platform.kind != "python"]
    if len(readers) == 1:
        return readers[0]
    if "duckdb" in platforms:
        return "duckdb"
    base.fault(
        (*key, "platform"),
        "this key is required",
        f"one of {', '.join(platforms) or 'none that is switched on'}",
    )
    return None


def table_config(
    name: str, raw: border.TableTable, platform: str, config: PlatformConfig, key: Key, base: Base
) -> TableConfig:
    """A table's checked configuration; `platform` and `config` are those of its reader."""
    policy = _policy(raw.policy, (*key, "policy"), base)
    partition = None
    if raw.partition is not None:
        columns = tuple(raw.partition.by)
        check_list(columns, "column", (*key, "partition", "by"), base)
        if not columns:
            base.fault((*key, "partition", "by"), "at least one column is needed")
        scheme = name if raw.partition.scheme is None else raw.partition.scheme
        check_name(scheme, "scheme", (*key, "partition", "scheme"), base)
        partition = Partition(scheme, columns)
    _check_replication(raw, policy, key, base)
    return TableConfig(
        name,
        platform,
        _source(raw, platform, config, key, base),
        partition,
        raw.replicated,
        raw.steward,
        policy,
    )


def _source(
    raw: border.TableTable, platform: str, config: PlatformConfig, key: Key, base: Base
) -> TableSource:
    if (raw.source is None) == (raw.query is None):
        base.fault(
            key,
            "exactly one of source and query is needed",
            'source = "schema.table" or a path, or query = "SELECT ..."',
        )
    for given_key, text in (("source", raw.source), ("query", raw.query)):
        if text is not None and not text.strip():
            base.fault((*key, given_key), "it is empty")
    origins: set[str] = set()
    for published, origin in raw.rename.items():
        if origin in origins:
            base.fault((*key, "rename", published), f"the source's column {origin!r} is renamed twice")
        origins.add(origin)
    types: dict[str, str] = {}
    for column, text in raw.schema_.items():
        try:
            types[column] = str(datatype(text))
        except Exception:  # noqa: BLE001 - Ibis's parser raises errors of several families, all meaning "no such type"
            base.fault(
                (*key, "schema", column),
                f"{text!r} is not a type",
                'for example "int64", "float64", "string", "date"',
            )
    delimiter = raw.options.delimiter
    if delimiter is not None and len(delimiter) != 1:
        base.fault((*key, "options", "delimiter"), f"expected one character, got {delimiter!r}")
    if raw.columns is not None:
        check_list(tuple(raw.columns), "column", (*key, "columns"), base)
        if not raw.columns:
            base.fault(
                (*key, "columns"), "a table needs at least one column", "leave the key out to publish all"
            )
    source = raw.source
    named = raw.options.format == "iceberg" and raw.options.catalog is not None
    if raw.options.format in _ARROW_FORMATS and not PLATFORMS[config.kind].files:
        readers = [kind for kind, entry in PLATFORMS.items() if entry.files]
        base.fault(
            (*key, "options", "format"),
            f"{platform!r} ({config.kind}) does not read {raw.options.format}",
            f"give the table a platform of kind {', '.join(readers)}",
        )
    if source is not None and not named and not URL.match(source):
        looks = _FILE.search(source) is not None
        reads = _READS[config.kind]
        if reads == "tables" and looks and "/" in source:
            base.fault(
                (*key, "source"),
                f"{source!r} is a path, but {platform!r} ({config.kind}) reads its own tables",
                'add platform = "duckdb" to read a file',
            )
        own = reads == "either" and "database" in config.options
        if (
            reads == "files"
            or raw.options.format is not None
            or (looks and reads != "tables")
            or (reads == "either" and not own)
        ):
            source = base.resolve(source)
    return TableSource(
        source,
        raw.query,
        dict(raw.rename),
        types,
        _options(raw.options, (*key, "options"), base),
        None if raw.columns is None else tuple(raw.columns),
    )


def _options(raw: border.ReaderTable, key: Key, base: Base) -> dict[str, Any]:
    """The reader's options; secrets revealed."""
    options = raw.model_dump(exclude_none=True, exclude={"catalog", "storage"})
    if raw.catalog is not None:
        catalog = revealed(raw.catalog, (*key, "catalog"), base)
        options["catalog"] = Secret(base.resolve(catalog)) if catalog else ""
    if raw.storage is not None:
        storage: dict[str, Any] = {}
        for name, value in raw.storage.items():
            where = (*key, "storage", name)
            if isinstance(value, border.PlainSecret) and base.path is not None and _SECRET.search(name):
                base.fault(where, "a secret stands in the file", f'say {name} = {{ env = "NAME" }}')
            storage[name] = revealed(value, where, base) if isinstance(value, border.SecretTable) else value
        options["storage"] = storage
    return options


def _policy(raw: border.PolicyTable, key: Key, base: Base) -> TablePolicy:
    if raw.training in ("secure", "private") or raw.epsilon is not None:
        which = "epsilon" if raw.epsilon is not None else "training"
        value = "" if which == "epsilon" else f' = "{raw.training}"'
        base.fault(
            (*key, which),
            f"{which}{value} is not available in this version",
            'it is refused rather than weakened: use training = "updates" or "none", without epsilon',
        )
    for number, entry in enumerate(raw.to):
        where = (*key, "to", number)
        if not _RECIPIENT.fullmatch(entry):
            hint = 'a recipient is "hub", "site:NAME" or "role:NAME"'
            base.fault(where, f"{entry!r} is no recipient", hint)
        elif entry == "site:hub":
            base.fault(where, "the hub is no site", 'say "hub"')
    check_list(tuple(raw.to), "recipient", (*key, "to"), base)
    check_list(tuple(raw.purposes), "purpose", (*key, "purposes"), base)
    if "purposes" in raw.model_fields_set and not raw.purposes:
        base.fault(
            (*key, "purposes"), "the list is empty", "name a purpose, or leave the key out to admit any"
        )
    columns = {
        name: ColumnPolicy(rules.release, rules.filter, rules.key, rules.transform)
        for name, rules in raw.columns.items()
    }
    if raw.privacy_unit is None:
        hint = 'name the column of the people behind the rows, or "row"'
        if raw.release == "aggregates":
            base.fault((*key, "privacy_unit"), 'release = "aggregates" needs this key', hint)
        elif raw.training == "updates" and raw.release != "rows":
            base.fault((*key, "privacy_unit"), 'training = "updates" needs this key', hint)
        for name, rules in columns.items():
            if rules.release == "aggregates" and raw.release != "aggregates":
                base.fault(
                    (*key, "privacy_unit"), f'release = "aggregates" of column {name!r} needs this key', hint
                )
    training = "updates" if raw.training == "updates" else "none"
    return TablePolicy(
        raw.release, tuple(raw.to), raw.min_group, raw.privacy_unit, columns, training, tuple(raw.purposes)
    )


def _check_replication(raw: border.TableTable, policy: TablePolicy, key: Key, base: Base) -> None:
    if not raw.replicated:
        if raw.steward is not None:
            base.fault((*key, "steward"), "only a replicated table has a steward", "add replicated = true")
        return
    if raw.partition is not None:
        base.fault(
            (*key, "partition"), "a replicated table has all its rows at every site, so it has no partition"
        )
    held = [name for name, rules in policy.columns.items() if rules.release not in (None, "rows")]
    if raw.steward is None and (policy.release != "rows" or held):
        column = f" (column {held[0]!r} is not)" if policy.release == "rows" else ""
        base.fault(
            (*key, "replicated"),
            f"a replicated table is released as rows{column}, or names the one site that answers for it",
            'add policy.release = "rows" or steward = "NAME"',
        )
