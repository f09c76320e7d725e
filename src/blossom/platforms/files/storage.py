"""Where files are: a path or URL as a filesystem that Arrow reads from, and the files that a glob or folder means.

Local paths and S3 are read by Arrow itself; every other URL through fsspec, whose filesystems the extra `urls` and packages of
their own (adlfs, gcsfs) bring.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from blossom.plan.errors import BlossomError, PlatformError, unknown

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_WILD = re.compile(r"[*?\[]")

S3_KEYS: Mapping[str, str] = {
    "endpoint": "endpoint_override",
    "region": "region",
    "access_key": "access_key",
    "secret_key": "secret_key",
    "session_token": "session_token",
    "anonymous": "anonymous",
}
"""Key of `storage` for S3 -> the argument of Arrow's filesystem."""


def scheme(path: str) -> str | None:
    """The scheme of a URL, in lower case; None for a path.

    >>> scheme("s3://bucket/key"), scheme("data/t.parquet")
    ('s3', None)
    """
    found = _SCHEME.match(path)
    return None if found is None else found[1].lower()


def required(module: str, extra: str, what: str, where: str) -> ModuleType:
    """Import what an extra brings.

    Raises:
        PlatformError: It is not installed; the hint names the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.partition(".")[0]):
            raise
        raise PlatformError(
            f"{what} needs a package that is not installed ({error.name} is missing)",
            where=where,
            hint=f"pip install 'blossom-sky[{extra}]'",
        ) from None


@contextlib.contextmanager
def told(where: str, *families: type[Exception]) -> Generator[None]:
    """Errors of filesystems, and of readers' own families, as a `PlatformError`."""
    try:
        yield
    except BlossomError:
        raise
    except FileNotFoundError as error:
        raise PlatformError(f"there is no such file: {first_line(error)}", where=where) from None
    except (OSError, ValueError, TypeError, pa.ArrowException, *families) as error:
        raise PlatformError(first_line(error), where=where) from None


def first_line(error: BaseException) -> str:
    """What an error says, without what follows (statements, traces)."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


class _Handler(pafs.FSSpecHandler):
    """Files over HTTP whose server gives no parts of them are fetched whole when they are opened."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        if scheme(path) in ("http", "https"):
            # asked for one byte, such a server gives all of them
            content = self.fs.cat_file(path, start=0, end=1)
            if len(content) > 1:
                return pa.BufferReader(content)
        return super().open_input_file(path)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)


@dataclass(frozen=True, slots=True)
class File:
    """A file as its filesystem lists it; `modified` is a moment in UTC, None where the filesystem does not say."""

    path: str
    size: int | None
    modified: Any


@dataclass(frozen=True)
class Place:
    """A path or URL, and how it is reached.

    Args:
        text: The path, glob or URL.
        where: Names the table in errors.
        storage: How the store is reached (`S3_KEYS`; for other URLs, the arguments of their fsspec filesystem); hidden in `repr`.
    """

    text: str
    where: str
    storage: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def _found(self) -> tuple[pafs.FileSystem, str]:
        kind = scheme(self.text)
        with told(self.where):
            if kind is None or kind == "file":
                self._no_storage()
                return pafs.LocalFileSystem(), self.text.removeprefix("file://")
            if kind in ("s3", "s3a"):
                return self._s3(), self.text.partition("://")[2]
            return self._fsspec(kind)

    def _no_storage(self) -> None:
        if self.storage:
            raise PlatformError(
                "a path on this machine needs no `storage`", where=self.where, hint="leave the key out"
            )

    def _s3(self) -> pafs.FileSystem:
        arguments: dict[str, Any] = {}
        for key, value in self.storage.items():
            if key not in S3_KEYS:
                what, hint = unknown("key of `storage` for S3", key, S3_KEYS)
                raise PlatformError(what, where=self.where, hint=hint)
            arguments[S3_KEYS[key]] = value
        return pafs.S3FileSystem(connect_timeout=10, request_timeout=60, **arguments)

    def _fsspec(self, kind: str) -> tuple[pafs.FileSystem, str]:
        core = required("fsspec.core", "urls", f"reading {kind}:// URLs", self.where)
        try:
            found, path = core.url_to_fs(self.text, **self.storage)
        except ImportError as error:
            raise PlatformError(
                f"reading {kind}:// URLs needs a package that is not installed: {error}",
                where=self.where,
                hint="install the fsspec filesystem of that name (abfs: adlfs, gs: gcsfs, http: blossom-sky[urls])",
            ) from None
        except ValueError as error:
            raise PlatformError(
                f"{kind}:// is no kind of URL that is known: {error}", where=self.where
            ) from None
        return pafs.PyFileSystem(_Handler(found)), path

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The filesystem."""
        return self._found[0]

    @property
    def path(self) -> str:
        """The path within the filesystem."""
        return self._found[1]

    @property
    def base(self) -> str:
        """The folder from which files are named: a folder itself, what stands before a glob's first wildcard, a file's parent."""
        folders = self.path.split("/")
        wild = next((i for i, part in enumerate(folders) if _WILD.search(part)), None)
        if wild is not None:
            return "/".join(folders[:wild])
        return self.path.rstrip("/") if self.is_folder else "/".join(folders[:-1])

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        with told(self.where):
            return self.filesystem.get_file_info(self.path.rstrip("/")).type == pafs.FileType.Directory

    @property
    def is_glob(self) -> bool:
        """Whether it has wildcards."""
        return _WILD.search(self.path) is not None

    def files(self, suffixes: tuple[str, ...] = ()) -> list[File]:
        """The files, in the order of their paths; of a folder, those with one of the suffixes, hidden ones left out.

        Raises:
            PlatformError: There is none.
        """
        with told(self.where):
            found = list(self._files(suffixes))
        if not found:
            what = (
                "no file fits"
                if self.is_glob
                else "there is no file"
                if not self.is_folder
                else "there are no files in"
            )
            ends = f" (*{', *'.join(suffixes)})" if suffixes and self.is_folder else ""
            raise PlatformError(f"{what} {self.text!r}{ends}", where=self.where)
        return sorted(found, key=lambda file: file.path)

    def _files(self, suffixes: tuple[str, ...]) -> Iterator[File]:
        if not self.is_glob and not self.is_folder:
            info = self.filesystem.get_file_info(self.path)
            if info.type == pafs.FileType.File:
                yield _file(info)
            return
        deep = not self.is_glob or "**" in self.path or "/" in self.path[len(self.base) + 1 :]
        selector = pafs.FileSelector(self.base or ".", recursive=deep, allow_not_found=True)
        pattern = _pattern(self.path) if self.is_glob else None
        for info in self.filesystem.get_file_info(selector):
            if info.type != pafs.FileType.File:
                continue
            if pattern is not None:
                fits = pattern.fullmatch(info.path.removeprefix("./")) is not None
            else:
                inner = Path(info.path[len(self.base) :]).parts
                hidden = any(part[0] in "._" for part in inner if part != "/")
                fits = not hidden and (not suffixes or info.path.casefold().endswith(suffixes))
            if fits:
                yield _file(info)


def _file(info: pafs.FileInfo) -> File:
    return File(info.path, info.size, info.mtime)


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob as an expression: `**/` is any number of folders, `*` and `?` stay within a name.

    >>> bool(_pattern("a/**/*.png").fullmatch("a/b/c/d.png")), bool(_pattern("a/*.png").fullmatch("a/b/d.png"))
    (True, False)
    """
    out: list[str] = []
    rest = glob
    while rest:
        if rest.startswith("**/"):
            out.append("(?:[^/]+/)*")
            rest = rest[3:]
        elif rest.startswith("**"):
            out.append(".*")
            rest = rest[2:]
        elif rest[0] == "*":
            out.append("[^/]*")
            rest = rest[1:]
        elif rest[0] == "?":
            out.append("[^/]")
            rest = rest[1:]
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            inside = rest[1:end].replace("\\", "\\\\")
            out.append(f"[{'^' + inside[1:] if inside[0] == '!' else inside}]")
            rest = rest[end + 1 :]
        else:
            out.append(re.escape(rest[0]))
            rest = rest[1:]
    return re.compile("".join(out))
