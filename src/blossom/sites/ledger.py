"""A site's ledger on disk: one file of frames, each a release or a refusal, on disk before anything leaves.

Every process that uses the ledger reads what the others wrote and decides under one lock, so that two sessions at once are
as one. A frame that a crash cut short was never answered for, and is cut off; any other damage refuses. The ledger is bounded:
when it is full, nothing more that it would have to know is released.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from blossom.plan.errors import PolicyError, Refusal, SiteError
from blossom.policy.ledger import Book, Figure
from blossom.policy.sketch import Hashing, width_for

MOST_SKETCHES = 500_000
"""Sketches that a ledger holds, of about three kilobytes each."""

ERROR = "error"
"""What a grant says was the rule where an engine failed on private rows."""

_START = b"blossom ledger v3\n\n\n"  # a multiple of four bytes, as all that follows
_HEAD = struct.Struct(
    "<4sIQ16sI"
)  # mark, bytes of the JSON, bytes of the arrays, their digest, checksum of these four
_MARK = b"LGR1"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What was given to whom, or refused because of what the data say.

    Attributes:
        run: The run that asked.
        plan: Content hash of the fragment's plan.
        recipients: "hub" or sites' names.
        user: Who asked; None where the session has no user.
        role: The user's role.
        purpose: The stated purpose.
        tables: Published tables whose rows were described.
        columns: The columns behind the figures.
        cells: Cells that left; for a refusal those held back.
        figures: Figures that the ledger had not known before.
        refused: The rule that held everything back; None for a release.
        time: UTC, ISO 8601.
    """

    run: str
    plan: str
    recipients: tuple[str, ...]
    user: str | None = None
    role: str | None = None
    purpose: str | None = None
    tables: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cells: int = 0
    figures: int = 0
    refused: str | None = None
    time: str = field(default_factory=_now)


class Ledger:
    """A ledger; several processes, threads and objects may use it at once.

    Args:
        folder: The ledger's folder, from `ledger_folder`; it exists.
        site: The site's name, for errors.
        least: The largest `min_group` of the site's tables when the ledger is begun.
        most: Sketches that it may hold.

    Raises:
        SiteError: It cannot be opened, or is damaged.
    """

    def __init__(self, folder: Path, site: str = "", least: int = 10, most: int = MOST_SKETCHES) -> None:
        self.path = folder / "ledger"
        self._site, self._most = site, most
        self._mutex = threading.Lock()
        self._pid = -1
        self._lock: int | None = None
        self._file: int | None = None
        try:
            self._open()
            with self._locked():
                self.hashing = self._begin(least)
                self._reset()
        except OSError as error:
            raise self._error(f"the ledger cannot be opened: {error.strerror}") from error

    # ---- the file

    def _open(self) -> None:
        self._pid = os.getpid()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(self.path.with_name("ledger.lock"), flags, 0o600)
        self._file = os.open(self.path, flags, 0o600)

    def _begin(self, least: int) -> Hashing:
        """The key and the width, made with the ledger. One without the other is no ledger any more."""
        assert self._file is not None
        key = self.path.with_name("ledger.key")
        if not key.exists():
            if os.fstat(self._file).st_size:
                raise self._error(
                    "the ledger's key is missing, so nothing may leave", hint="restore ledger.key beside it"
                )
            part = key.with_name(f"ledger.key.{os.getpid()}")
            text = json.dumps({"secret": secrets.token_hex(32), "width": width_for(least)})
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(key)
            self._sync_folder()
        try:
            document = json.loads(key.read_bytes())
            return Hashing(bytes.fromhex(document["secret"]), int(document["width"]))
        except (ValueError, KeyError, TypeError) as error:
            raise self._error(
                "the ledger's key is damaged, so nothing may leave", hint="restore ledger.key"
            ) from error

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _reset(self) -> None:
        self.book = Book(self.hashing.width)
        self._grants: list[Grant] = []
        self._told: set[tuple[object, ...]] = set()
        self._sketches = 0
        self._read = 0
        self._refresh()

    def _refresh(self) -> None:
        """Read what was written since, by whomever."""
        assert self._file is not None
        size = os.fstat(self._file).st_size
        if size < self._read:
            raise self._damaged("it is shorter than it was")
        if not size:
            os.pwrite(self._file, _START, 0)
            os.fsync(self._file)
            self._sync_folder()
            size = len(_START)
        if not self._read:
            start = os.pread(self._file, len(_START), 0)
            if start != _START:
                if size < len(_START) and _START.startswith(start):
                    os.ftruncate(self._file, 0)
                    self._refresh()
                    return
                raise self._damaged("it does not begin as one")
            self._read = len(_START)
        if size > self._read:
            # mapped, not read: what was released long ago need not stay in memory
            data = np.memmap(self.path, np.uint8, "r")[:size]
            for grant, figures, stop in self._frames(data, self._read):
                self._take(grant, figures)
                self._read = stop
            if self._read < size:
                # a crash cut the last frame short: nobody was answered for it
                os.ftruncate(self._file, self._read)
                os.fsync(self._file)

    def _frames(self, data: Any, at: int) -> Iterator[tuple[Grant, list[Figure], int]]:
        size = len(data)
        while at + _HEAD.size <= size:
            head = bytes(data[at : at + _HEAD.size])
            mark, document, arrays, digest, check = _HEAD.unpack(head)
            body = at + _HEAD.size
            stop = body + document + arrays
            headed = mark == _MARK and check == zlib.crc32(head[:-4])
            whole = headed and stop <= size
            if whole and _digest(data[body:stop]) == digest:
                try:
                    decoded = _decoded(data, body, document, arrays, self.hashing.size)
                except (ValueError, TypeError, KeyError, IndexError) as error:
                    raise self._damaged(f"what stands at byte {at} was written by another version") from error
                yield (*decoded, stop)
                at = stop
            elif (stop < size) if headed else data[at:].any():
                raise self._damaged(f"what stands at byte {at} was changed")
            else:
                return

    def _take(self, grant: Grant, figures: Sequence[Figure]) -> None:
        self._grants.append(grant)
        self._told.add(_asker(grant))
        self.book.add(figures)
        self._sketches += _weight(figures)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        with self._mutex:
            if os.getpid() != self._pid:
                self._open()  # a forked child would share its parent's lock instead of waiting for it
            if self._lock is None:
                self._open()
            assert self._lock is not None
            # flock, not lockf: a lockf lock is lost as soon as anything in the process closes a descriptor of the file
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    # ---- use

    @contextlib.contextmanager
    def session(self) -> Generator[Session]:
        """Decide alone: what others wrote is known, and nobody writes until the block ends.

        Raises:
            SiteError: The ledger cannot be read or is damaged.
        """
        try:
            with self._locked():
                self._refresh()
                yield Session(self)
        except OSError as error:
            raise self._error(
                f"the ledger cannot be used, so nothing may leave: {error.strerror or error}"
            ) from error

    def history(self) -> tuple[Grant, ...]:
        """What was given to whom, oldest first."""
        with self.session():
            return tuple(self._grants)

    def __len__(self) -> int:
        return len(self.book)

    def close(self) -> None:
        """Free the files; idempotent."""
        with self._mutex:
            if os.getpid() == self._pid:
                for descriptor in (self._file, self._lock):
                    if descriptor is not None:
                        os.close(descriptor)
            self._file = self._lock = None
            self._pid = -1

    def append(self, grant: Grant, figures: Sequence[Figure]) -> None:
        """Write a frame and wait until it is on disk; only inside a session."""
        assert self._file is not None
        if self._sketches + _weight(figures) > self._most:
            refusal = Refusal(
                self._site, ", ".join(grant.tables), None, "ledger",
                f"the ledger holds {len(self.book)} figures and is full",
                "figures that were released before; the owner may end a period by deleting the ledger",
            )  # fmt: skip
            raise PolicyError(f"the ledger of {self._site} is full", [refusal], where=self._site)
        frame = _encoded(grant, figures)
        try:
            at = self._read
            rest = memoryview(frame)
            while rest:
                done = os.pwrite(self._file, rest, at)
                rest, at = rest[done:], at + done
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._read)
            raise
        self._read += len(frame)
        self._take(grant, figures)

    def new_to(self, grant: Grant) -> bool:
        """Whether nothing says yet that this asker was given this; only inside a session."""
        return _asker(grant) not in self._told

    def refused_since(self, hours: float) -> tuple[Grant, ...]:
        """The refusals of late that depended on the data; only inside a session."""
        since = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="microseconds")
        found: list[Grant] = []
        for grant in reversed(self._grants):
            if grant.time < since:
                break
            if grant.refused is not None:
                found.append(grant)
        return tuple(found)

    def _damaged(self, what: str) -> SiteError:
        return self._error(
            f"the ledger is damaged, so nothing may leave: {what}",
            hint="restore it from a backup; who deletes its files makes it forget what was released",
        )

    def _error(self, what: str, *, hint: str | None = None) -> SiteError:
        return SiteError(what, where=str(self.path), hint=hint)


class Session:
    """The ledger while nobody else writes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def book(self) -> Book:
        """What is known."""
        return self._ledger.book

    def refused(self, hours: float = 1.0) -> tuple[Grant, ...]:
        """The refusals of the last hours that depended on the data."""
        return self._ledger.refused_since(hours)

    def record(self, grant: Grant, figures: Sequence[Figure]) -> None:
        """Write before a release; returns when it is on disk. What the same asker got before is not written again.

        Raises:
            PolicyError: The ledger is full.
            SiteError: The disk does not take it.
        """
        if figures or grant.refused is not None or self._ledger.new_to(grant):
            self._ledger.append(grant, figures)


def history(folder: Path) -> tuple[Grant, ...]:
    """What the ledger of a state folder says was given to whom; nothing where there is no ledger.

    Raises:
        SiteError: It cannot be read or is damaged.
    """
    if not (folder / "ledger").exists() or not (folder / "ledger").stat().st_size:
        return ()
    ledger = Ledger(folder)
    try:
        return ledger.history()
    finally:
        ledger.close()


def _asker(grant: Grant) -> tuple[object, ...]:
    return grant.plan, grant.recipients, grant.user, grant.role, grant.purpose, grant.tables


def _weight(figures: Sequence[Figure]) -> int:
    """Sketches of a frame; a frame without any counts as one."""
    return max(1, sum(1 + len(figure.contents) for figure in figures))


def _encoded(grant: Grant, figures: Sequence[Figure]) -> bytes:
    labels = sorted({label for figure in figures for label in figure.contents})
    number = {label: i for i, label in enumerate(labels)}
    owners = [i for i, figure in enumerate(figures) for _ in figure.contents]
    named = [number[label] for figure in figures for label in figure.contents]
    rows = [figure.rows for figure in figures]
    contents = [sketch for figure in figures for sketch in figure.contents.values()]
    arrays = b"".join(
        [
            np.array([figure.least for figure in figures], "<u4").tobytes(),
            np.array([owners, named], "<u4").tobytes(),
            np.array(rows, "<u4").tobytes(),
            np.array(contents, "<u4").tobytes(),
        ]
    )
    document = json.dumps(
        {"grant": asdict(grant), "labels": labels, "figures": len(figures), "contents": len(contents)}
    ).encode()
    document += b" " * (-(len(document) + _HEAD.size) % 4)
    body = document + arrays
    head = _HEAD.pack(_MARK, len(document), len(arrays), _digest(body), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head)) + body


def _decoded(data: Any, at: int, document: int, arrays: int, size: int) -> tuple[Grant, list[Figure]]:
    stated: Mapping[str, Any] = json.loads(bytes(data[at : at + document]))
    given: dict[str, Any] = dict(stated["grant"])
    for name in ("recipients", "tables", "columns"):
        given[name] = tuple(given[name])
    grant = Grant(**given)
    figures, contents = int(stated["figures"]), int(stated["contents"])
    words = np.frombuffer(data, "<u4", arrays // 4, at + document)
    least, rest = words[:figures], words[figures:]
    owners, named, rest = rest[:contents], rest[contents : 2 * contents], rest[2 * contents :]
    rows = rest[: figures * size].reshape(figures, size)
    sketches = rest[figures * size :].reshape(contents, size)
    held: list[dict[str, Any]] = [{} for _ in range(figures)]
    for owner, label, sketch in zip(owners, named, sketches, strict=True):
        held[owner][stated["labels"][label]] = sketch
    return grant, [Figure(int(least[i]), rows[i], held[i]) for i in range(figures)]


def _digest(body: Any) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
