"""Run records: what each run was, did and cost, in one SQLite file that several processes share.

A small run must not pay for its record, so everything is kept in memory and written in one transaction when the run ends. A run that
lasts longer than `TICK` seconds is written then, as far as it got, and again at every tick by a thread of its own: another process sees
it while it runs, and after a crash it is known. (A run that dies within its first tick leaves no record.)

Whether an unfinished run still runs is a question about its process. That process holds a lock on a small file beside the
database (`<name>.owner-<token>`), which the operating system frees when the process ends in any way; a run whose owner's lock is free is
"interrupted". No clock and no process number is trusted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blossom.executor.records.model import (
    EventRecord,
    FragmentRecord,
    Outcome,
    ReleaseRecord,
    RunRecord,
    RunSummary,
)
from blossom.executor.records.owner import Owner
from blossom.optimizer.physical import Estimate, Location
from blossom.plan.errors import BlossomError, ConfigError, SiteError

TICK = 0.2
"""Seconds after which a run that is not finished is written, and between later writes."""

SCHEMA_VERSION = 1
_APPLICATION = 0x424C534D  # "BLSM": a file that is some other program's database is refused

_TABLES = """
CREATE TABLE run (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, pipeline TEXT NOT NULL, plan TEXT NOT NULL,
    started TEXT NOT NULL, outcome TEXT, seconds REAL, error TEXT
) STRICT;
CREATE INDEX run_started ON run (started);
CREATE TABLE fragment (
    run TEXT NOT NULL REFERENCES run (id), key TEXT NOT NULL, site TEXT NOT NULL, platform TEXT NOT NULL,
    estimated_seconds REAL, estimated_rows REAL, estimated_bytes REAL,
    state TEXT NOT NULL, seconds REAL, rows INTEGER, bytes INTEGER, PRIMARY KEY (run, key)
) STRICT;
CREATE TABLE release (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run (id), site TEXT NOT NULL, kind TEXT NOT NULL,
    recipient TEXT NOT NULL, rows INTEGER, bytes INTEGER, withheld INTEGER NOT NULL
) STRICT;
CREATE INDEX release_run ON release (run);
CREATE TABLE event (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run (id), at TEXT NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX event_run ON event (run);
"""

_RUN = "INSERT INTO run (id, owner, kind, pipeline, plan, started) VALUES (?, ?, ?, ?, ?, ?)"
_FINISH = "UPDATE run SET outcome = ?, seconds = ?, error = ? WHERE id = ?"
_FRAGMENT = "INSERT OR REPLACE INTO fragment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_RELEASE = (
    "INSERT INTO release (run, site, kind, recipient, rows, bytes, withheld) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_EVENT = "INSERT INTO event (run, at, level, text) VALUES (?, ?, ?, ?)"
_SUMMARY = "SELECT id, kind, pipeline, started, outcome, seconds, error, owner FROM run"

Statement = tuple[str, tuple[Any, ...]]


@dataclass(slots=True)
class _Open:
    """A run under way: what is not in the file yet."""

    began: float
    pending: list[Statement] = field(default_factory=list)


class RunRecords:
    """The records at one path. Safe for many threads; any number of objects and processes may share the file.

    Args:
        path: The SQLite file; made when missing. Its folder exists.

    Raises:
        ConfigError: The file is of a newer version, or some other program's.
        SiteError: It cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._runs: dict[str, _Open] = {}
        self._buffer = threading.Lock()
        self._database = threading.Lock()
        self._busy = threading.Event()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._connection = self._connect()
        self._owner = Owner(self.path)

    def close(self) -> None:
        """Write what is pending and free the file; idempotent. Runs that are not finished will show as interrupted."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._busy.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._database:
            try:
                self._flush(list(self._runs))
            finally:
                self._connection.close()
                self._owner.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, run_id: str, kind: str, pipeline: str, plan: str) -> None:
        """A run starts. `run_id` is new in this file; `plan` is JSON text."""
        if os.getpid() != self._pid:
            # A forked child: SQLite forbids it to use its parent's connection, and even to close it, so it is kept open unused.
            self._owner.forget()
            self._parents = self._connection
            self._start()
        row = (run_id, self._owner.token, kind, pipeline, plan, _now())
        with self._buffer:
            if run_id in self._runs:
                raise ValueError(f"run {run_id!r} has already begun")
            self._runs[run_id] = _Open(time.monotonic(), [(_RUN, row)])
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="blossom-run-records", daemon=True)
                self._watcher.start()
        self._busy.set()

    def fragment(
        self,
        run_id: str,
        key: str,
        location: Location,
        estimate: Estimate | None,
        *,
        state: str,
        seconds: float | None = None,
        rows: int | None = None,
        bytes: int | None = None,  # noqa: A002 - the figure's name everywhere
    ) -> None:
        """A fragment's state and figures; a later call with the same key replaces an earlier one."""
        expected = (
            (None, None, None) if estimate is None else (estimate.seconds, estimate.rows, estimate.bytes)
        )
        place = (location.site, location.platform)
        self._add(
            run_id, (_FRAGMENT, (run_id, key, *place, *expected, state, seconds, _whole(rows), _whole(bytes)))
        )

    def release(
        self,
        run_id: str,
        site: str,
        kind: str,
        recipient: str,
        *,
        rows: int | None = None,
        bytes: int | None = None,  # noqa: A002 - the figure's name everywhere
        withheld: bool = False,
    ) -> None:
        """Something left a site, or was held back there."""
        self._add(
            run_id, (_RELEASE, (run_id, site, kind, recipient, _whole(rows), _whole(bytes), int(withheld)))
        )

    def event(self, run_id: str, level: str, text: str) -> None:
        """Something worth telling happened."""
        self._add(run_id, (_EVENT, (run_id, _now(), level, text)))

    def finish(self, run_id: str, outcome: Outcome, seconds: float, error: str | None = None) -> None:
        """A run ends; everything known of it is in the file when this returns.

        Raises:
            SiteError: The file cannot be written; the run's record is lost, its result is not.
        """
        self._add(run_id, (_FINISH, (outcome, seconds, error, run_id)))
        try:
            with self._database:
                self._flush([run_id])
        finally:
            with self._buffer:
                self._runs.pop(run_id, None)

    def runs(self, limit: int = 50) -> tuple[RunSummary, ...]:
        """The latest runs, newest first."""
        query = f"{_SUMMARY} ORDER BY started DESC, rowid DESC LIMIT ?"
        return tuple(RunSummary(**self._summary(row)) for row in self._read(query, (limit,)))

    def run(self, run_id: str) -> RunRecord:
        """One run in full.

        Raises:
            ConfigError: There is no such run.
        """
        found = self._read(f"{_SUMMARY} WHERE id = ?", (run_id,))
        if not found:
            raise ConfigError(
                f"there is no run {run_id!r}", where=str(self.path), hint="`blossom runs` lists them"
            )
        ((plan,),) = self._read("SELECT plan FROM run WHERE id = ?", (run_id,))
        fragments = self._read("SELECT * FROM fragment WHERE run = ? ORDER BY rowid", (run_id,))
        releases = self._read(
            "SELECT site, kind, recipient, rows, bytes, withheld FROM release WHERE run = ? ORDER BY number",
            (run_id,),
        )
        events = self._read("SELECT at, level, text FROM event WHERE run = ? ORDER BY number", (run_id,))
        return RunRecord(
            **self._summary(found[0]),
            plan=plan,
            fragments=tuple(_fragment(row) for row in fragments),
            releases=tuple(ReleaseRecord(*row[:5], withheld=bool(row[5])) for row in releases),
            events=tuple(EventRecord(*row) for row in events),
        )

    def _add(self, run_id: str, statement: Statement) -> None:
        with self._buffer:
            if run_id not in self._runs:
                raise ValueError(f"run {run_id!r} has not begun, or is finished")
            self._runs[run_id].pending.append(statement)

    def _watch(self) -> None:
        """The thread that writes runs which last longer than a tick."""
        while True:
            self._busy.wait()
            if self._stop.wait(TICK):
                return
            with self._buffer:
                if not self._runs:
                    self._busy.clear()
                    if self._stop.is_set():  # `close` has set both since the tick; nobody would set it again
                        return
                    continue
                before = time.monotonic() - TICK
                old = [run_id for run_id, run in self._runs.items() if run.began < before]
            # What cannot be written stays in the buffer for the next tick; `finish` writes it too, and raises.
            with contextlib.suppress(SiteError, ValueError), self._database:
                self._flush(old)

    def _flush(self, run_ids: Iterable[str]) -> None:
        """Write what is pending of some runs in one transaction; the caller holds `_database`."""
        with self._buffer:
            taken = {run_id: self._runs[run_id].pending for run_id in run_ids if run_id in self._runs}
            for run_id in taken:
                self._runs[run_id].pending = []
            unfinished = any(not any(sql is _FINISH for sql, _ in pending) for pending in taken.values())
        if not any(taken.values()):
            return
        try:
            if unfinished:
                self._owner.hold()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for pending in taken.values():
                    for sql, values in pending:
                        self._connection.execute(sql, values)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except BaseException as error:
            with self._buffer:
                for run_id, pending in taken.items():
                    if run_id in self._runs:
                        self._runs[run_id].pending[:0] = pending
            if isinstance(error, sqlite3.IntegrityError):
                raise ValueError(f"a run of {sorted(taken)} is in the file already: {error}") from error
            if isinstance(error, sqlite3.Error | OSError):
                raise self._error("the run records cannot be written", error) from error
            raise

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._database:
            self._flush(list(self._runs))
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._error("the run records cannot be read", error) from error

    def _summary(self, row: tuple[Any, ...]) -> dict[str, Any]:
        *values, owner = row
        summary: dict[str, Any] = dict(
            zip(("id", "kind", "pipeline", "started", "outcome", "seconds", "error"), values, strict=True)
        )
        if summary["outcome"] is None:
            summary["outcome"] = "running" if self._owner.holds(owner) else "interrupted"
        return summary

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path, timeout=5.0, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection
        except sqlite3.Error as error:
            raise self._error("the run records cannot be opened", error) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if application == _APPLICATION and version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION and application == _APPLICATION:
            raise ConfigError(
                f"the run records are of version {version}, this Blossom reads version {SCHEMA_VERSION}",
                where=str(self.path),
                hint="use the newer Blossom that wrote them, or move the file away",
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have made the tables while this one waited.
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if application != _APPLICATION:
            if tables:
                connection.execute("ROLLBACK")
                raise ConfigError(
                    "this is some other program's database", where=str(self.path), hint="give another path"
                )
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _error(self, what: str, error: Exception) -> BlossomError:
        return SiteError(
            f"{what}: {error}", where=str(self.path), hint="check the disk's free space and the file's rights"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _whole(value: int | None) -> int | None:
    return (
        None if value is None else int(value)
    )  # engines count in NumPy's integers, which SQLite does not take


def _fragment(row: tuple[Any, ...]) -> FragmentRecord:
    _, key, site, platform, seconds, rows, size, state, *actual = row
    estimate = None if seconds is None else Estimate(seconds, rows, size)
    return FragmentRecord(key, Location(site, platform), estimate, state, *actual)
