"""What every platform promises: publish tables, say what it cannot do, run a fragment as one query, stream Arrow."""

from __future__ import annotations

import copy
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from blossom.plan.relations import Relation
from blossom.plan.schema import Schema


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where a published table comes from, in the terms of its platform.

    Args:
        source: A table or view ("clinic.patients"), or a path, glob or URL of files. None when `query` is given.
        query: A SELECT in the platform's own dialect.
        rename: Published column name -> the source's own column name. Columns not named keep their name.
        schema: Published column name -> type text, where the source does not say, or says wrongly.
        options: Reader options: `null_values` (list of texts), `delimiter`, `header`, `format` ("parquet", "csv", "json").
        columns: Published columns to keep, in order; None keeps all.
    """

    source: str | None = None
    query: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    schema: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None


class Cancellation:
    """Lets one thread stop the work of others; platforms register how their engine is interrupted.

    Args:
        listener: Takes what platforms have to tell while they work, a line at a time, from any thread (what functions print).
    """

    def __init__(self, listener: Callable[[str], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._cancelled = threading.Event()
        self._numbers = itertools.count()
        self._listener = listener

    def tell(self, text: str) -> None:
        """Pass a line on to whoever listens."""
        if self._listener is not None:
            self._listener(text)

    def telling(self, listener: Callable[[str], None]) -> Cancellation:
        """The same cancellation, with another listener."""
        other = copy.copy(self)
        other._listener = listener
        return other

    def child(self) -> Cancellation:
        """One that is cancelled with this one, and can be cancelled alone: a step of a longer work."""
        made = Cancellation(self._listener)
        self.register(made.cancel)
        return made

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop everything registered; idempotent."""
        with self._lock:
            self._cancelled.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def register(self, interrupt: Callable[[], None]) -> Callable[[], None]:
        """Call `interrupt` when cancelled (at once if already so). Returns a function that takes the registration back."""
        with self._lock:
            if not self._cancelled.is_set():
                key = next(self._numbers)
                self._callbacks[key] = interrupt
                return lambda: self._forget(key)
        interrupt()
        return lambda: None

    def _forget(self, key: int) -> None:
        with self._lock:
            self._callbacks.pop(key, None)


class Platform(ABC):
    """An engine at a site. One instance serves many threads; `run` may be called concurrently.

    Attributes:
        kind: The name in the configuration ("duckdb").
        dialect: The SQL dialect it is compiled to, or None where it is not driven by SQL.
        differs: Operation -> why the engine's answer differs from the reference semantics (DuckDB's on the pooled bag). The
            planner never places such an operation here.
    """

    kind: ClassVar[str]
    dialect: ClassVar[str | None] = None
    differs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def publish(self, table: str, source: TableSource) -> Schema:
        """Make `table` readable under that name and give its schema.

        Raises:
            PlatformError: The source cannot be read, or a declared column or type does not fit; names the table.
        """

    @abstractmethod
    def row_count(self, table: str) -> int | None:
        """The engine's own, cheap estimate of a published table's rows; None when it has none."""

    @abstractmethod
    def unsupported(self, node: Relation) -> str | None:
        """Why this node (its own work, not its inputs') cannot run here with the reference semantics; None when it can."""

    @abstractmethod
    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        """Run a fragment as one query.

        Args:
            fragment: A plan whose leaves are `Scan` (published here), `Received` (a key of `inputs`), `Constant` or `Model`.
            inputs: The rows of each `Received` leaf.
            cancellation: Stops the engine's work.

        Returns:
            Record batches of roughly 1 MiB or more, streamed where the engine can, with the fragment's column names in order
            and types conformed by `platforms.arrow.conform`.

        Raises:
            PlatformError: The engine failed, with its message.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the engine; idempotent."""
