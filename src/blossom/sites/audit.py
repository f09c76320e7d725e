"""A site's audit log: one hash-chained line of JSON for each release or refusal, on disk before anything leaves.

Each line holds the SHA-256 of the line before it, so a change, a removal or a swap anywhere breaks the chain. A small head
file beside the log holds the count and the last hash, so that lines missing at the end are seen too. Whoever can write both files can
also rewrite both: to hold the site's own administrator to the log, keep a hash that `append` returned somewhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

from blossom.plan.errors import SiteError

GENESIS = "0" * 64
"""What the first line names as the hash before it."""

# The entry is hashed as the bytes that stand in the line, never as parsed and written again: there is one reading of them.
_LINE = re.compile(rb'\{"hash":"([0-9a-f]{64})","previous":"([0-9a-f]{64})","entry":(\{.*\})\}\n', re.DOTALL)

_UNFINISHED = "is unfinished"
_HEAD_BYTES = 160


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One decision about data that would leave the site.

    Attributes:
        run: The run that asked.
        plan: Content hash of the fragment's plan.
        recipient: "hub" or a site's name.
        kind: What would leave: rows, aggregates, model updates, or counts of rows.
        decision: What happened.
        rule: The policy's rule that decided; None when nothing stood against it.
        user: Who asked; None where the session has no user.
        role: The user's role.
        purpose: The purpose that the session stated.
        tables: Published tables that were read.
        columns: Column -> its state ("raw", "mixed", "guarded") in what would leave.
        rows: Rows that left; None when nothing did.
        bytes: Bytes that left, as Arrow.
        time: UTC, ISO 8601.
    """

    run: str
    plan: str
    recipient: str
    kind: Literal["rows", "aggregates", "updates", "counts"]
    decision: Literal["released", "refused", "withheld"]
    rule: str | None = None
    user: str | None = None
    role: str | None = None
    purpose: str | None = None
    tables: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    bytes: int | None = None
    time: str = field(default_factory=_now)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reading of the whole log found.

    Attributes:
        ok: Every acknowledged entry is there, unchanged and in order.
        count: Good entries before the first fault.
        first_bad: The line (from 1) of the first fault, or the first missing one; None when `ok`.
        reason: The fault; also tells of an unfinished last line, which is no fault, as its writer never got an answer.
    """

    ok: bool
    count: int
    first_bad: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    """The end of the log as it was after the last acknowledged append."""

    count: int
    hash: str
    size: int


class AuditLog:
    """An append-only log in one file; several processes, threads and objects may write to it at once.

    Args:
        path: The log; its folder exists. The head file is `<path>.head`.

    Raises:
        SiteError: The file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._head_path = self.path.with_name(self.path.name + ".head")
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._log: int | None = None
        self._head: int | None = None
        self._lock: int | None = None
        self._mutex = threading.Lock()
        self._tail: _Head | None = None
        try:
            # The lock file outlives both others, and one that is locked is never replaced.
            self._lock = lock = self._descriptor(self.path.with_name(self.path.name + ".lock"))
            with _locked(lock, fcntl.LOCK_EX):
                head = self._read_head() if self._head_path.exists() else _Head(0, GENESIS, 0)
                if not self.path.exists() and isinstance(head, _Head) and head.count == 0:
                    # Head before log: from here on a log without a head is one that somebody touched.
                    self._write_head(head)
                    os.close(self._descriptor(self.path))
                    self._sync_folder()
        except OSError as error:
            raise self._error(f"the audit log cannot be opened: {error.strerror}") from error

    def close(self) -> None:
        """Free the files; idempotent. A later `append` opens them again."""
        with self._mutex:
            self._release_files()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _release_files(self) -> None:
        for descriptor in (self._log, self._head):
            if descriptor is not None:
                os.close(descriptor)
        self._log = self._head = self._tail = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, entry: Entry) -> str:
        """Write an entry and wait until it is on disk.

        Returns:
            The entry's hash, which stands for the whole log up to it.

        Raises:
            SiteError: It could not be written (a full disk), or the log's end is not as it was left; the log is unchanged and
                what the entry is about must not leave.
        """
        if os.getpid() != self._pid:
            self._open()  # a forked child would share its parent's lock instead of waiting for it
        body = json.dumps(asdict(entry), separators=(",", ":")).encode()
        with self._mutex:
            try:
                if self._lock is None:
                    self._lock = self._descriptor(self.path.with_name(self.path.name + ".lock"))
                with _locked(self._lock, fcntl.LOCK_EX):
                    return self._append(body)
            except OSError as error:
                self._tail = None
                raise self._error(
                    f"the audit log cannot be written, so nothing may leave: {error.strerror}",
                    hint="free space on the disk of the state folder, or give the site the right to write there",
                ) from error

    def _append(self, body: bytes) -> str:
        log = self._writable()
        tail = self._end(log)
        digest = _digest(tail.hash, body)
        line = b'{"hash":"%b","previous":"%b","entry":%b}\n' % (digest.encode(), tail.hash.encode(), body)
        self._tail = None
        head = _Head(tail.count + 1, digest, tail.size + len(line))
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(log, rest) :]
            os.fsync(log)
            self._write_head(head)
        except BaseException:
            # No answer is given, so no trace may stay. Should this fail too, the next append cuts off an unfinished line; a
            # whole one stays as the record of a release that did not happen.
            with contextlib.suppress(OSError):
                self._write_head(tail)
                os.ftruncate(log, tail.size)
            raise
        self._tail = head
        return digest

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first, as of now. Says nothing of the chain: see `verify`.

        Raises:
            SiteError: A line cannot be read as an entry; names the line.
        """
        known = {one.name for one in fields(Entry)}
        for number, line in enumerate(self._lines(self._snapshot()[0]), 1):
            match = _LINE.fullmatch(line)
            values: dict[str, Any] | None = None
            if match is not None:
                with contextlib.suppress(ValueError):
                    values = json.loads(match[3])
            elif not line.endswith(b"\n"):
                return  # an unfinished append: nobody was told that it is there
            if values is None or values.keys() != known:
                raise self._error(
                    f"line {number} is no entry that this version can read",
                    hint="run `blossom site audit` to verify the log",
                )
            values["tables"] = tuple(values["tables"])
            yield Entry(**values)

    def verify(self) -> Verification:
        """Read the whole log and check the chain against the head. Writers go on meanwhile; their later entries do not count.

        Raises:
            SiteError: The log cannot be read at all.
        """
        size, head = self._snapshot()
        if isinstance(head, str):
            return Verification(False, 0, 1, head)
        count, previous, seen = 0, GENESIS, head.count == 0
        unfinished = None
        for line in self._lines(size):
            fault = _fault(line, previous)
            if fault == _UNFINISHED and count >= head.count:
                unfinished = f"line {count + 1} is unfinished: its writer was stopped before it had an answer"
                break
            if fault is not None:
                return Verification(False, count, count + 1, f"line {count + 1} {fault}")
            count += 1
            previous = line[9:73].decode()
            if count == head.count:
                if previous != head.hash:
                    return Verification(
                        False, count - 1, count, f"line {count} is not the one that the head file names"
                    )
                seen = True
        if not seen:
            missing = head.count - count
            return Verification(
                False,
                count,
                count + 1,
                f"{missing} {'entry is' if missing == 1 else 'entries are'} missing at the end",
            )
        return Verification(True, count, None, unfinished)

    def _end(self, log: int) -> _Head:
        """The end to append to: from memory while no other writer was here, else from disk; checked, unfinished lines cut off."""
        size = os.fstat(log).st_size
        if self._tail is not None and self._tail.size == size:
            return self._tail
        known = self._tail or self._checked_head(size)
        if size < known.size:
            raise self._refused("it is shorter than it was after the last entry")
        count, previous, at = known.count, known.hash, known.size
        with self.path.open("rb") as file:
            file.seek(at)
            for line in file:
                fault = _fault(line, previous)
                if fault == _UNFINISHED:
                    os.ftruncate(log, at)
                    break
                if fault is not None:
                    raise self._refused(f"line {count + 1} {fault}")
                count, previous, at = count + 1, line[9:73].decode(), at + len(line)
        return _Head(count, previous, at)

    def _checked_head(self, size: int) -> _Head:
        """The head file's word, once the last line that it speaks of bears it out."""
        head = self._read_head()
        if isinstance(head, str):
            raise self._refused(head)
        if size < head.size:
            raise self._refused(f"entries are missing at its end ({head.size - size} bytes)")
        if head.count == 0:
            return head
        with self.path.open("rb") as file:
            line = _last_line(file, head.size)
        match = _LINE.fullmatch(line)
        if match is None or match[1].decode() != head.hash or _fault(line, match[2].decode()) is not None:
            raise self._refused(f"line {head.count} was changed")
        return head

    def _writable(self) -> int:
        """The log's descriptor, opened again after `close`; never a file that was moved away meanwhile."""
        for descriptor, path in ((self._log, self.path), (self._head, self._head_path)):
            if descriptor is not None and not _same_file(descriptor, path):
                self._release_files()
                raise self._refused(f"{path.name!r} was moved or replaced while in use")
        if self._log is None:
            if not self.path.exists():
                raise self._refused("the file is gone")
            self._log = self._descriptor(self.path)
        return self._log

    def _snapshot(self) -> tuple[int, _Head | str]:
        """Size and head of one moment."""
        try:
            lock = self._descriptor(self.path.with_name(self.path.name + ".lock"))
            try:
                with _locked(lock, fcntl.LOCK_SH):
                    if not self.path.exists():
                        return 0, self._read_head()
                    return self.path.stat().st_size, self._read_head()
            finally:
                os.close(lock)
        except OSError as error:
            raise self._error(f"the audit log cannot be read: {error.strerror}") from error

    def _lines(self, size: int) -> Iterator[bytes]:
        if size == 0:
            return
        with self.path.open("rb") as file:
            while size > 0 and (line := file.readline(size)):
                size -= len(line)
                yield line

    def _read_head(self) -> _Head | str:
        """The head, or what is wrong with it."""
        try:
            values = json.loads(self._head_path.read_bytes())
            return _Head(int(values["count"]), str(values["hash"]), int(values["size"]))
        except FileNotFoundError:
            return f"its head file {self._head_path.name!r} is missing"
        except (ValueError, KeyError, TypeError):
            return f"its head file {self._head_path.name!r} is damaged"

    def _write_head(self, head: _Head) -> None:
        # One write of a fixed length inside one disk sector, over the old one: it happens whole or not at all, and needs no new
        # space. Not synced: after a power cut an older head is a true word about a longer log, while a head newer than the log
        # cannot be, as the log is synced first.
        if self._head is None:
            self._head = os.open(self._head_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._head, json.dumps(asdict(head)).encode().ljust(_HEAD_BYTES - 1) + b"\n", 0)

    def _descriptor(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _refused(self, reason: str) -> SiteError:
        return self._error(
            f"the audit log is not as it was left, so nothing is appended and nothing may leave: {reason}",
            hint="run `blossom site audit`; then move the log and its .head file aside together to begin a new one",
        )

    def _error(self, what: str, *, hint: str | None = None) -> SiteError:
        return SiteError(what, where=str(self.path), hint=hint)


def _fault(line: bytes, previous: str) -> str | None:
    """What is wrong with a line that should follow one with hash `previous`."""
    if not line.endswith(b"\n"):
        return _UNFINISHED
    match = _LINE.fullmatch(line)
    if match is None:
        return "was changed: it is no entry"
    if _digest(match[2].decode(), match[3]) != match[1].decode():
        return "was changed: its hash does not fit"
    if match[2].decode() != previous:
        return "does not follow the line before it: a line was removed, added or moved"
    return None


def _digest(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + b"\n" + body).hexdigest()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _last_line(file: BinaryIO, end: int) -> bytes:
    """The line that ends at byte `end`."""
    step = 4096
    while True:
        start = max(0, end - step)
        file.seek(start)
        block = file.read(end - start)
        cut = block.rfind(b"\n", 0, len(block) - 1)
        if cut >= 0 or start == 0:
            return block[cut + 1 :]
        step *= 4


@contextlib.contextmanager
def _locked(descriptor: int, how: int) -> Generator[None]:
    # flock, not lockf: a lockf lock is lost as soon as anything in the process closes any descriptor of the file.
    fcntl.flock(descriptor, how)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
