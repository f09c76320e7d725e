"""A site's platforms from their tables of keys: kinds, options, and secrets from the environment or a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from blossom.plan.errors import unknown
from blossom.sites.config import border
from blossom.sites.config.base import Base, check_name
from blossom.sites.config.faults import Key, given, validate
from blossom.sites.config.model import PlatformConfig, Price, Secret

BUILT_IN = ("duckdb", "python")
"""Platforms that every site has unless they are switched off."""


def platform_config(name: str, body: object, key: Key, base: Base) -> PlatformConfig | None:
    """The platform, or None when it is switched off (or faulty, which is recorded)."""
    check_name(name, "platform", key, base)
    if isinstance(body, bool):
        body = {"enabled": body}
    if not isinstance(body, dict):
        base.fault(key, f"expected a table of keys or false, got {given(body)}")
        return None
    values = cast("dict[str, Any]", body)
    kind = values.get("kind", name)
    if "kind" not in values and name not in border.KINDS:
        base.fault((*key, "kind"), "this key is required", f"one of {', '.join(border.KINDS)}")
        return None
    if not isinstance(kind, str):
        base.fault((*key, "kind"), f"expected a text, got {given(kind)}")
        return None
    if kind not in border.KINDS:
        base.fault((*key, "kind"), *unknown("platform kind", kind, border.KINDS))
        return None
    if name in BUILT_IN and kind != name:
        base.fault(
            (*key, "kind"), f"a platform named {name!r} is of kind {name!r}", "give this one another name"
        )
        return None
    if values.get("enabled") is False:
        # Options of a platform that is switched off are checked no further: its url may name a secret that is not there.
        return None
    table = validate(border.KINDS[kind], {**values, "kind": kind}, key, base.faults)
    if table is None:
        return None
    options: dict[str, Any] = {}
    if isinstance(table, border.DuckDBTable | border.DataFusionTable | border.ClickHouseTable):
        options = {"memory_limit": table.memory_limit, "threads": table.threads}
    if isinstance(table, border.DuckDBTable | border.SQLiteTable) and table.database is not None:
        memory = table.database == ":memory:"
        options["database"] = table.database if memory else base.resolve(table.database)
    if isinstance(table, border.PythonTable):
        options = {"memory_limit": table.memory_limit, "timeout": table.timeout}
    if isinstance(table, border.SparkTable):
        options = {"local": table.local or None, "memory_limit": table.memory_limit}
        if (table.url is None) != table.local:
            what = "this key is required" if table.url is None else "it stands beside local = true"
            base.fault((*key, "url"), what, "a server's url, or local = true for a server of its own")
    if isinstance(table, border.ServerTable | border.SparkTable) and table.url is not None:
        options["url"] = revealed(table.url, (*key, "url"), base)
    given_options = {option: value for option, value in options.items() if value is not None}
    return PlatformConfig(
        kind, given_options, table.provider, table.region, Price(**table.price.model_dump())
    )


def revealed(table: border.SecretTable, key: Key, base: Base) -> Secret | None:
    """The text of a secret, from where it says that it stands; None (and a fault) where it is not there."""
    if isinstance(table, border.PlainSecret):
        # A mapping is built by a program, which may have the password from a safe place; a file is what gets copied around.
        if base.path is not None and _holds_password(table.text):
            base.fault(
                key,
                "a password stands in the file",
                'put the url into the environment and say url = { env = "NAME" }',
            )
        return Secret(table.text)
    if table.env is not None:
        value = os.environ.get(table.env)
        if not value:
            base.fault(key, f"the environment variable {table.env!r} is not set", f"export {table.env}=...")
        return Secret(value or "")
    path = Path(base.resolve(table.file or ""))
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        base.fault(key, f"the secret's file {str(path)!r} cannot be read: {reason}")
        return None
    if not text:
        base.fault(key, f"the secret's file {str(path)!r} is empty")
    return Secret(text)


def _holds_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        inside = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        return True  # it cannot be taken apart, so it cannot be shown to be harmless
    return inside or re.search(r"\b(password|token)\s*=", url) is not None
