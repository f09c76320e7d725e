"""Finding and reading a configuration: a TOML file, or a mapping of the same shape."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blossom.plan.errors import ConfigError
from blossom.sites.config.base import Base
from blossom.sites.config.build import build
from blossom.sites.config.faults import Key, dotted, raise_faults
from blossom.sites.config.model import Federation

FILE_NAME = "blossom.toml"


def find(start: str | Path | None = None) -> Path:
    """The nearest `blossom.toml` in `start` (default: the working directory) or a folder above it.

    Raises:
        ConfigError: There is none; names the folders that were looked into.
    """
    folder = Path(start or Path.cwd()).resolve()
    looked = [folder, *folder.parents]
    for candidate in looked:
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    places = ", ".join(map(str, looked))
    raise ConfigError(
        f"no {FILE_NAME} found in {places}", hint="give its path: bl.connect('path/to/blossom.toml')"
    )


def load(source: str | Path | Mapping[str, Any]) -> Federation:
    """Read and check a configuration.

    Args:
        source: The path of a TOML file, or a mapping of the same shape (whose relative paths start at the working directory).

    Returns:
        The sites with absolute paths and secrets filled in.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong. Every fault found is named by its dotted key.

    >>> federation = load({"sites": {"north": {"tables": {"t": {"source": "https://data.example.org/t.parquet"}}}}})
    >>> federation.sites["north"].tables["t"].platform
    'duckdb'
    """
    if isinstance(source, Mapping):
        base = Base(Path.cwd(), None)
        document = _plain(source, ())
        origin = None
    else:
        path = Path(source).expanduser().absolute()
        base = Base(path.parent, path)
        document = _read(path)
        origin = str(source)
    federation = build(document, base)
    raise_faults(base.faults, origin)
    if federation is None:
        raise AssertionError("a document without a federation has a fault")
    return federation


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=str(path)) from None
    except OSError as error:
        hint = f"give the file in it: {path / FILE_NAME}" if path.is_dir() else None
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start})", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        # Before Python 3.14 the line stands only in the message.
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError(f"not valid TOML: {error}", where=where) from None


def _plain(value: Any, key: Key) -> Any:
    """A program's value as TOML would give it: dicts, lists and texts for mappings, tuples and paths."""
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ConfigError(
                    f"a key is a text, got {type(name).__name__} {name!r}", where=dotted(key) or None
                )
        return {name: _plain(item, (*key, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*key, number)) for number, item in enumerate(value)]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
