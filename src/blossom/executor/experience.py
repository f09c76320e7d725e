"""What a federation has learned from its runs: costs, true sizes and column statistics, kept in its state folder."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from blossom.executor.measuring import Output, measurements, true_sizes
from blossom.optimizer.costs.document import dump, load
from blossom.optimizer.costs.learned import Learned
from blossom.optimizer.physical import PhysicalPlan
from blossom.optimizer.seen import Fingerprints, Seen
from blossom.optimizer.table_statistics import TableStatistics
from blossom.plan.errors import ConfigError, SiteError

T = TypeVar("T")

COSTS, SIZES, COLUMNS, LOCK = "costs.json", "sizes.json", "columns.json", "learned.lock"

SAVE_EVERY = 30.0
"""Seconds between writes while runs go on; what was learned since the last one is written when the session is closed."""

MOST_WAITING = 64
"""Runs whose figures wait to be learned from; then it is done at once."""

SURPRISE = 0.4
"""From this error on (a factor of 1.5) plans made before may be wrong."""


@dataclass(slots=True, eq=False)
class Ran:
    """A run that came to its end: its plan, and what each fragment gave."""

    plan: PhysicalPlan
    outputs: Mapping[str, Output]


@dataclass(eq=False)
class Experience:
    """Learns from runs; safe for many threads. Processes that share a folder keep the better known of what each learned.

    A run is learned from when something is planned next, so that no run waits for it.

    Attributes:
        folder: Where it is kept; None: nowhere.
        costs: The cost model.
        seen: True sizes.
        columns: Column statistics of tables.
        warnings: What is wrong with the files, in words.
        surprises: How many measurements were far from what was expected; plans made before the last may be wrong.
    """

    folder: Path | None = None
    costs: Learned = field(default_factory=Learned)
    seen: Seen = field(default_factory=Seen)
    columns: TableStatistics = field(default_factory=TableStatistics)
    warnings: list[str] = field(default_factory=list)
    surprises: int = 0
    _waiting: deque[Ran] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stamps: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)
    _changed: bool = False

    @classmethod
    def open(cls, folder: Path) -> Experience:
        """What was learned before; a file that cannot be read is kept aside, and the prior takes its place."""
        found = cls(folder)
        costs = found._read(COSTS, load, "costs are those of the prior")
        sizes = found._read(SIZES, Seen.load, "true sizes are forgotten")
        columns = found._read(COLUMNS, TableStatistics.load, "column statistics are forgotten")
        found.costs = costs or found.costs
        found.seen = found.seen if sizes is None else sizes
        found.columns = columns or found.columns
        return found

    # -- learning ------------------------------------------------------------------------------------------------------

    def ran(
        self,
        plan: PhysicalPlan,
        outputs: Mapping[str, Output],
        rows: Callable[[str, str], int | None],
        kinds: Mapping[str, str],
    ) -> None:
        """A plan was run; it is learned from later."""
        with self._lock:
            for name, kind in kinds.items():
                self.costs.know(name, kind)
            self._waiting.append(Ran(plan, outputs))
        if len(self._waiting) >= MOST_WAITING:
            self.settle(rows)

    def take(self) -> list[Ran]:
        """The runs that wait, which are then not learned from."""
        with self._lock:
            found = list(self._waiting)
            self._waiting.clear()
            return found

    def settle(self, rows: Callable[[str, str], int | None]) -> None:
        """Learn from every run that waits, and write it down from time to time.

        Args:
            rows: Rows of each table by (site, table).
        """
        with self._lock:
            if not self._waiting:
                return
            prints = Fingerprints(rows)
            while self._waiting:
                one = self._waiting.popleft()
                for relation, size in true_sizes(one.plan, one.outputs):
                    self.seen.remember(prints(relation), size)
                for measured in measurements(one.plan, one.outputs, rows):
                    self.surprises += abs(self.costs.learn(measured.parts, measured.seconds)) > SURPRISE
            self._changed = True
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what is known, each file whole or not at all.

        Raises:
            SiteError: The folder cannot be written.
        """
        with self._lock:
            if self.folder is None or not self._changed:
                return
            try:
                with (self.folder / LOCK).open("a") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    self._merge()
                    self._write(COSTS, dump(self.costs))
                    self._write(SIZES, self.seen.dump())
                    self._write(COLUMNS, self.columns.dump())
            except OSError as error:
                raise SiteError(
                    f"what was learned cannot be written: {error.strerror}",
                    where=str(self.folder),
                    hint="check the disk's free space and the folder's rights",
                ) from error
            self._saved, self._changed = time.monotonic(), False

    def changed(self) -> None:
        """Something was learned that is to be written."""
        self._changed = True

    def forget(self) -> None:
        """Begin again from the prior."""
        with self._lock:
            self.costs.forget()
            self.seen = Seen()
            self.columns.clear()
            self._changed = True
            self._stamps = {name: self._stamp(name) for name in (COSTS, SIZES, COLUMNS)}

    def _merge(self) -> None:
        """Take over what other processes wrote in the meantime, where they know more."""
        if self._stamp(COSTS) != self._stamps.get(COSTS):
            theirs = self._read(COSTS, load, "costs are those of this process")
            if theirs is not None:
                self.costs.adopt(theirs)
        if self._stamp(SIZES) != self._stamps.get(SIZES):
            sizes = self._read(SIZES, Seen.load, "true sizes are those of this process")
            if sizes is not None:
                self.seen.adopt(sizes)
        if self._stamp(COLUMNS) != self._stamps.get(COLUMNS):
            columns = self._read(COLUMNS, TableStatistics.load, "column statistics are those of this process")
            if columns is not None:
                self.columns.adopt(columns)

    def _read(self, name: str, parse: Callable[[object], T], instead: str) -> T | None:
        assert self.folder is not None
        path = self.folder / name
        self._stamps[name] = self._stamp(name)
        try:
            return parse(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, ConfigError) as error:
            aside = self._aside(path)
            self.warnings.append(f"{path} cannot be read ({error}); {instead}{aside}")
            return None

    def _aside(self, path: Path) -> str:
        for number in range(1, 100):
            kept = path.with_name(f"{path.name}.corrupt-{number}")
            if not kept.exists():
                try:
                    path.rename(kept)
                except OSError as error:
                    return f"; and it cannot be put aside: {error.strerror}"
                return f"; it is kept as {kept.name}"
        return "; it stays where it is, as there are 99 such files already"

    def _stamp(self, name: str) -> tuple[int, int] | None:
        assert self.folder is not None
        try:
            found = (self.folder / name).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        assert self.folder is not None
        path = self.folder / name
        draft = path.with_name(f".{name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(document, file, separators=(",", ":"), allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._stamps[name] = self._stamp(name)


def put_aside(folder: Path) -> list[str]:
    """Names of files that could not be read once and were kept."""
    return sorted(path.name for path in folder.glob("*.corrupt-*"))
