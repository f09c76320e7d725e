"""A fragment's output for its readers elsewhere: a stream for one, kept rows for several or where it is held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from blossom.optimizer.cardinality import Rows
from blossom.optimizer.physical import Fragment
from blossom.plan.errors import PlatformError, SiteError
from blossom.platforms.interface import Cancellation
from blossom.sites.spool import Room, Spool
from blossom.sites.streams import CANCELLED, Abandoned, Stream

RETAINED = 16 << 20
"""Bytes of a stream that are remembered while it is read: should its reader's engine die, its site need not release them again."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an output is given.

    Attributes:
        readers: Readers elsewhere, who get it from here.
        keep: Readers at its own site, who find it there.
        held: It is complete before any reader starts.
        gates: Keys of the held outputs that its fragment waits for.
        retain: Remember a small stream.
    """

    readers: int
    keep: int
    held: bool = False
    gates: frozenset[str] = frozenset()
    retain: bool = False


class FragmentOutput:
    """One fragment and its thread, started at once.

    Args:
        fragment: The fragment.
        way: How its output is given.
        name: Its thread's.
        admitted: Called first, in its thread; waits until the fragment may start, and raises `Abandoned` where it is not to.
        start: Runs the fragment; gives what leaves its place.
        completed: Called when an output that is kept has all its rows, before its readers may go on.
        room: Memory for rows that are kept.
        cancellation: Stops it.
        failed: Told its error.

    Attributes:
        claimed: It runs, or ran: it cannot be planned anew.
        discarded: It is not to start any more: something else was planned in its place.
        complete: All its rows are here, or at its site, for whoever reads them.
        readers: Readers elsewhere.
        counted: How many rows there are, when it is complete.
    """

    def __init__(
        self,
        fragment: Fragment,
        way: Way,
        name: str,
        *,
        admitted: Callable[[FragmentOutput], None],
        start: Callable[[FragmentOutput], pa.RecordBatchReader],
        completed: Callable[[FragmentOutput], None],
        room: Room,
        cancellation: Cancellation,
        failed: Callable[[FragmentOutput, BaseException], None],
    ) -> None:
        self.fragment = fragment
        self.way = way
        self.readers = way.readers
        self.claimed = not way.gates
        self.discarded = False
        self.complete = False
        self.counted: Rows | None = None
        self._admitted, self._start, self._completed = admitted, start, completed
        self._room = room
        self._cancellation = cancellation
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._retained: list[pa.RecordBatch] | None = [] if way.retain else None
        self._schema: pa.Schema | None = None
        self._stream = Stream(name, self._make, cancellation, lambda error: failed(self, error))

    # -- its own thread ------------------------------------------------------------------------------------------------

    def _make(self) -> pa.RecordBatchReader:
        if not self.claimed:
            self._admitted(self)
        if self.discarded:
            raise Abandoned
        reader = self._start(self)
        self._schema = reader.schema
        if self.way.held or self.readers > 1:
            self._spool = Spool.of(reader.schema, reader, self._room)
            self._completed(self)
            self._ended.set()
            return pa.RecordBatchReader.from_batches(reader.schema, [])
        return pa.RecordBatchReader.from_batches(reader.schema, self._remembered(reader))

    def _remembered(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        size = 0
        for batch in reader:
            if self._retained is not None:
                size += batch.nbytes
                if size > RETAINED:
                    self._retained = None
                else:
                    self._retained.append(batch)
            yield batch
        if self.way.readers and self._retained is not None:
            self.complete = True

    # -- readers -------------------------------------------------------------------------------------------------------

    def reader(self) -> pa.RecordBatchReader:
        """One reader's stream; waits for its schema, and for all of it where it is kept.

        Raises:
            BlossomError: The producer's error, as it was raised.
        """
        if self.way.held or self.way.readers > 1:
            self._wait()
            assert self._spool is not None
            return self._spool.reader()
        if self.complete and self._retained is not None and self._schema is not None:
            return pa.RecordBatchReader.from_batches(self._schema, list(self._retained))
        if self.readers <= 1:
            return self._stream.reader()
        with self._lock:  # it became shared when the plan was made anew
            if self._spool is None:
                stream = self._stream.reader()
                self._spool = Spool.of(stream.schema, stream, self._room)
        return self._spool.reader()

    def _wait(self) -> None:
        while not self._ended.wait(0.1):
            if self._cancellation.cancelled:
                raise SiteError(CANCELLED)

    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self._stream.thread.is_alive()

    def join(self) -> None:
        """Wait for its thread; engines that cannot be interrupted get ten seconds."""
        self._stream.thread.join(10.0)
        if self._stream.thread.is_alive():
            raise PlatformError(
                f"{self.fragment.location} does not stop",
                hint="its query goes on in the background until it ends",
            )

    def close(self) -> None:
        """Let the kept rows go; whoever reads them still may go on."""
        if self._spool is not None:
            self._spool.close()
        self._retained = None
