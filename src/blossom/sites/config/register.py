"""Which ledger belongs to which data: a second configuration over the same rows finds the ledger of the first.

A ledger that began anew with every state folder would hold for those only who never copy a configuration. So the user's
register (`ledgers.json`) names, for every source of protected rows, the state folder whose ledger knows what was released of it.
Sources are files by their real path, databases and servers as a whole, because one row may be read through many of their views.

The ledger itself stays in the state folder that came first. Who deletes it there ends its period on purpose, and the next site that
reads these sources begins a new one. A site without a state folder of its own (a mapping without `state`) uses a ledger that is
registered for its sources, and registers none.

The register stands in `$BLOSSOM_HOME`, else in `$XDG_STATE_HOME/blossom`, else in `~/.local/state/blossom`. Each user of a machine has one.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
from collections.abc import Generator, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from blossom.plan.errors import ConfigError
from blossom.sites.config.base import URL
from blossom.sites.config.model import PlatformConfig, SiteConfig, TableConfig
from blossom.sites.config.state import state_folder

LEDGER = "ledger"
"""The ledger's file in its folder."""

_CREDENTIALS = re.compile(r"\b(user|password|passfile|sslkey|token)\s*=\s*('[^']*'|\S+)", re.IGNORECASE)

_MOST_FILES = 10_000
"""Files of a glob that are registered one by one; of more their folder is."""


def ledger_folder(site: SiteConfig, *, begin: bool = True) -> Path:
    """The folder of the ledger that knows what was released of a site's sources.

    Args:
        site: The site.
        begin: Register it for sources that have none yet; else nothing is written.

    Raises:
        ConfigError: The sources have several ledgers, or the register cannot be used.
        SiteError: The state folder cannot be made.
    """
    own = state_folder(site)
    keys = sorted({key for table in site.tables.values() for key in _keys(site, table)})
    path = register_home() / "ledgers.json"
    try:
        if not keys or (not path.exists() and (site.state is None or not begin)):
            return own
        with _locked(path.parent) if begin else contextlib.nullcontext():
            known = _read(path)
            chosen = _found(site, own, keys, known)
            if chosen is None:
                if site.state is None or not begin:
                    return own
                chosen = own.resolve()
            if begin:
                # there before it is registered: a ledger that is not there has been deleted on purpose
                (chosen / LEDGER).touch(mode=0o600)
                added = {key: str(chosen) for key in keys}
                if added.items() - known.items():
                    kept = {k: v for k, v in known.items() if (Path(v) / LEDGER).exists()}
                    _write(path, kept | added)
            return chosen
    except OSError as error:
        raise ConfigError(
            f"the register of ledgers cannot be used, so nothing may leave: {error.strerror}",
            where=f"site {site.name}, {error.filename or path}",
            hint="make the folder writable, or name another one by the environment variable BLOSSOM_HOME",
        ) from error


def _found(site: SiteConfig, own: Path, keys: Iterable[str], known: Mapping[str, str]) -> Path | None:
    """The one ledger of some sources; None where there is none yet."""
    folders = {Path(folder) for key in keys for folder in _overlapping(key, known)} | {own}
    found = {folder.resolve() for folder in folders if (folder / LEDGER).exists()}
    if len(found) > 1:
        raise ConfigError(
            "its tables have several ledgers, and figures of one cannot be compared with those of another: "
            + ", ".join(sorted(map(str, found))),
            where=f"site {site.name}",
            hint="publish the tables at two sites, or end the period of all but one ledger by deleting its files: "
            "ledger, ledger.key and ledger.lock",
        )
    return found.pop() if found else None


def register_home() -> Path:
    """The folder of the user's register."""
    given = os.environ.get("BLOSSOM_HOME")
    if given:
        return Path(given).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state").absolute() / "blossom"


# ---- sources


def _keys(site: SiteConfig, table: TableConfig) -> Iterable[str]:
    """The names of a table's sources; none where the ledger keeps nothing of it."""
    if table.policy.privacy_unit is None or table.policy.min_group <= 1:
        return
    platform = site.platforms[table.platform]
    whole = list(_databases(platform))
    yield from whole
    source = table.source.source
    if source is None:
        if not whole:
            yield f"query {_hashed(' '.join((table.source.query or '').split()))}"
    elif "url" in platform.options:
        pass
    elif "catalog" in table.source.options:
        yield f"catalog {_named(str(table.source.options['catalog']))} {source}"
    elif URL.match(source) and not source.startswith("file://"):
        yield f"url {_named(source)}"
    else:
        path = source.removeprefix("file://")
        if Path(path).is_absolute():  # else it names a table
            yield from _files(path)


def _databases(platform: PlatformConfig) -> Iterable[str]:
    database, url = platform.options.get("database"), platform.options.get("url")
    if database is not None and database != ":memory:":
        yield f"file {os.path.realpath(database)}"
    if url is not None:
        yield f"server {platform.kind} {_named(str(url))}"


def _named(url: str) -> str:
    """A URL or connection text without what tells who connects; a text of neither kind by its hash.

    >>> _named("postgresql://me:pw@db.example.org/clinic?sslmode=require")
    'db.example.org/clinic'
    >>> _named("host=db dbname=clinic user=me password='p w'")
    'dbname=clinic host=db'
    """
    if URL.match(url):
        parts = urlsplit(url)
        return f"{parts.netloc.rpartition('@')[2].lower()}{parts.path}"
    if "=" in url:
        return " ".join(sorted(_CREDENTIALS.sub("", url).split()))
    return _hashed(url)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(source: str) -> Iterable[str]:
    pattern = Path(source)
    if not glob.has_magic(source) or pattern.exists():
        yield f"file {os.path.realpath(source)}"
        return
    folder = pattern
    while glob.has_magic(str(folder)):
        folder = folder.parent
    found = list(islice(folder.glob(str(pattern.relative_to(folder))), _MOST_FILES + 1))
    if found and len(found) <= _MOST_FILES:
        yield from (f"file {os.path.realpath(path)}" for path in found)
    else:
        yield f"file {os.path.realpath(folder)}"


def _overlapping(key: str, known: Mapping[str, str]) -> Iterable[str]:
    """The folders registered for a source, for a folder that holds it, and for what lies in it."""
    if not key.startswith("file "):
        if key in known:
            yield known[key]
        return
    for other, folder in known.items():
        if other == key or other.startswith(key + os.sep) or key.startswith(other + os.sep):
            yield folder


# ---- the file


@contextlib.contextmanager
def _locked(home: Path) -> Generator[None]:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(home / "ledgers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        document: Any = json.loads(path.read_bytes())
        ledgers = cast("dict[str, Any]", document["ledgers"])
        return {str(key): str(folder) for key, folder in ledgers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "the register of ledgers is damaged, so nothing may leave",
            where=str(path),
            hint="restore it; without it the ledgers of this user's sources are not found again",
        ) from error


def _write(path: Path, ledgers: Mapping[str, str]) -> None:
    """Replace the register: whole on disk, or as it was."""
    part = path.with_name(f"ledgers.{os.getpid()}.part")
    with open(part, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump({"ledgers": dict(sorted(ledgers.items()))}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
