"""Rows kept for several readings: in memory as far as there is room, beyond it in a file without a name.

The file is removed from its folder as soon as it is open, so neither a crash nor a forgotten `close` leaves it behind.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from blossom.plan.errors import SiteError

ROOM = 512 << 20
"""Bytes of Arrow data that a place holds in memory for its runs, unless its configuration says otherwise."""

ROWS = 65_536
"""Most rows of a batch that is read."""


class Room:
    """The memory that a place has for rows that wait to be read; shared by all its runs.

    Args:
        size: Bytes.
        folder: Gives the folder of what does not fit.
        where: Names the place in errors.

    >>> room = Room(100, Path, "site north")
    >>> room.take(60), room.take(60), room.free
    (True, False, 40)
    """

    def __init__(self, size: int, folder: Callable[[], Path], where: str) -> None:
        self.size = size
        self.folder = folder
        self.where = where
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Bytes left."""
        return self.size - self._taken

    def take(self, count: int) -> bool:
        """Take bytes if there are as many."""
        with self._lock:
            if self._taken + count > self.size:
                return False
            self._taken += count
            return True

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._taken -= count


class Spool:
    """One stream of rows, read to its end by `of`, then given to any number of readers, also at once.

    Attributes:
        schema: Its columns.
        rows: How many there are.
        bytes: Their size as Arrow in memory.
        spilled: Bytes of them that went into the file.
    """

    def __init__(self, schema: pa.Schema, room: Room) -> None:
        self.schema = schema
        self.rows = 0
        self.bytes = 0
        self.spilled = 0
        self._room = room
        self._held = 0
        self._batches: list[pa.RecordBatch] = []
        self._file: _File | None = None

    @classmethod
    def of(cls, schema: pa.Schema, batches: Iterable[pa.RecordBatch], room: Room) -> Spool:
        """Read a stream to its end.

        Raises:
            SiteError: The disk does not take what memory has no room for; nothing is left behind.
        """
        made = cls(schema, room)
        try:
            made._read(batches)
        except BaseException:
            made.close()
            raise
        return made

    def _read(self, batches: Iterable[pa.RecordBatch]) -> None:
        writer: pa.ipc.RecordBatchStreamWriter | None = None
        try:
            for batch in batches:
                self.rows += batch.num_rows
                self.bytes += batch.nbytes
                if writer is None and self._room.take(batch.nbytes):
                    self._held += batch.nbytes
                    self._batches.append(batch)
                    continue
                if writer is None:
                    self._file = _File(self._room.folder())
                    options = pa.ipc.IpcWriteOptions(compression="lz4")
                    writer = pa.ipc.new_stream(_Appending(self._file), self.schema, options=options)
                self.spilled += batch.nbytes
                for piece in _pieces(batch):
                    writer.write_batch(piece)
            if writer is not None:
                writer.close()
        except OSError as error:
            raise SiteError(
                f"an intermediate result of {self.bytes >> 20:,} MiB cannot be kept: {error.strerror or error}",
                where=self._room.where,
                hint="free some disk, give the place more memory (`memory_limit`), or ask for less at once",
            ) from error

    def reader(self) -> pa.RecordBatchReader:
        """The rows from the start, in batches of at most `ROWS`."""
        return pa.RecordBatchReader.from_batches(self.schema, self._pieces(list(self._batches), self._file))

    def _pieces(self, batches: list[pa.RecordBatch], file: _File | None) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _pieces(batch)
        if file is not None:
            with pa.PythonFile(_Reading(file), mode="r") as source, pa.ipc.open_stream(source) as stream:
                yield from stream

    def close(self) -> None:
        """Give the memory back, and the disk when the last reader is gone; idempotent."""
        self._room.give(self._held)
        self._held = 0
        self._batches = []
        self._file = None


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, ROWS):
        yield batch.slice(start, ROWS)


class _File:
    """An open file without a name; it ends with the last reference to it."""

    def __init__(self, folder: Path) -> None:
        self.number, name = tempfile.mkstemp(prefix="spill-", suffix=".arrow", dir=folder)
        self._end = weakref.finalize(self, os.close, self.number)
        Path(name).unlink()


class _Appending(io.RawIOBase):
    """Writes to the end of a file."""

    def __init__(self, file: _File) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        view = memoryview(data).cast("B")  # pyright: ignore[reportArgumentType]
        done = 0
        while done < len(view):
            done += os.write(self._file.number, view[done:])
        return done


class _Reading(io.RawIOBase):
    """Reads a file from its start, at a place of its own: other readers have theirs."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object, /) -> int:
        count = os.preadv(self._file.number, [buffer], self._at)  # pyright: ignore[reportArgumentType]
        self._at += count
        return count
