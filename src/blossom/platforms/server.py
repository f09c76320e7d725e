"""What platforms share that are servers: sessions kept for reuse, statements stopped on the server, received rows given up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms.interface import Cancellation

CANCELLED = "the run was cancelled"
_RETRY_SECONDS = 0.5


class Session(Protocol):
    """One connection with a server; used by one run at a time."""

    def check(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            PlatformError: It has ended the session.
        """
        ...

    def clean(self) -> None:
        """Drop what a run left, so that another may use the session.

        Raises:
            PlatformError: It cannot be used again.
        """
        ...

    def close(self) -> None:
        """End the session; idempotent."""
        ...


class Stoppable(Protocol):
    """A session whose statement can be stopped from another thread."""

    def stop(self) -> None:
        """Stop the statement that runs in it, on the server; nothing where none runs."""
        ...


S = TypeVar("S", bound=Session)


class Pool(Generic[S]):
    """Sessions that wait for their next run; more are opened when more runs go on at once.

    Args:
        open_one: Opens a session.
        where: Names the platform in errors.
        size: Idle sessions that are kept.
    """

    def __init__(self, open_one: Callable[[], S], where: str, size: int) -> None:
        self._open = open_one
        self._where = where
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[S] = []
        self._closed = False

    def take(self) -> S:
        """A session of one's own."""
        while True:
            with self._lock:
                if self._closed:
                    raise PlatformError("the platform is closed", where=self._where)
                session = self._idle.pop() if self._idle else None
            if session is None:
                return self._open()
            try:
                session.check()
            except PlatformError:
                session.close()  # the server ended it while it waited
                continue
            return session

    def give_back(self, session: S, *, usable: bool) -> None:
        """Keep a session for another run, or end it."""
        if usable:
            try:
                session.clean()
            except PlatformError:
                usable = False
        with self._lock:
            keep = usable and not self._closed and len(self._idle) < self._size
            if keep:
                self._idle.append(session)
        if not keep:
            session.close()

    @contextlib.contextmanager
    def session(self) -> Generator[S]:
        """A session for a few statements."""
        session = self.take()
        usable = False
        try:
            yield session
            usable = True
        finally:
            self.give_back(session, usable=usable)

    def close(self) -> None:
        """End the idle sessions; those in use end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()


def cancelling(session: Stoppable, cancellation: Cancellation) -> Callable[[], None]:
    """Stop the session's statement on the server when told to; the function that is returned ends that.

    Servers drop a cancellation that finds no statement running, so it is said again until the run has ended.
    """
    ended = threading.Event()
    busy = threading.Lock()

    def cancel() -> None:
        while not ended.is_set():
            with busy:
                if not ended.is_set():
                    session.stop()
            ended.wait(_RETRY_SECONDS)

    def interrupt() -> None:
        threading.Thread(target=cancel, name="blossom-cancel", daemon=True).start()

    forget = cancellation.register(interrupt)

    def finish() -> None:
        forget()
        ended.set()
        with busy:  # a cancellation on its way must not meet the session's next statement
            pass

    return finish


def until_cancelled(
    batches: Iterable[pa.RecordBatch], cancellation: Cancellation, where: str
) -> Iterator[pa.RecordBatch]:
    """Received rows, until the run is cancelled.

    Raises:
        PlatformError: It was.
    """
    for batch in batches:
        if cancellation.cancelled:
            raise PlatformError(CANCELLED, where=where)
        yield batch


def with_tables(text: str, tables: Iterable[str]) -> str:
    """A query with common table expressions before its own.

    >>> with_tables("WITH a AS (SELECT 1) SELECT * FROM a, t", ["t AS (SELECT 2)"])
    'WITH t AS (SELECT 2), a AS (SELECT 1) SELECT * FROM a, t'
    """
    found = list(tables)
    if not found:
        return text
    if text.startswith("WITH "):
        return f"WITH {', '.join([*found, text.removeprefix('WITH ')])}"
    return f"WITH {', '.join(found)} {text}"
