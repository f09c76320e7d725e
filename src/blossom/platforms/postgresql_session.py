"""Sessions with a PostgreSQL server: made, kept for reuse, cancelled on the server; no secret in any error."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Generator
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc

from blossom.plan.errors import PlatformError
from blossom.platforms.interface import Cancellation

_SETTINGS = (
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO'",
    "SET intervalstyle = 'iso_8601'",
    "SET default_transaction_read_only = on",
)
_RETRY_SECONDS = 0.5

_SERVER = re.compile(r"(?:ERROR|FATAL|PANIC):\s*")
_QUOTES = re.compile(r"\n\s*(?:LINE \d+:|Query was:|QUERY:)|\.?\s*SQLSTATE: ")


def told(error: BaseException) -> str:
    """What the server said, without the statement.

    >>> told(Exception("INVALID_STATE: [libpq] Failed to execute query 'SELECT 1 / 0': ERROR:  division by zero"))
    'division by zero'
    """
    # what follows quotes the statement, whose literals may be private, and so does what stands before
    text = _QUOTES.split(str(error), maxsplit=1)[0]
    return _SERVER.split(text)[-1].strip()


def _refused(error: BaseException) -> str:
    """Why no connection was made: what the server said; what libpq says may quote parts of the address, the password's too."""
    return told(error) if _SERVER.search(str(error)) else "the server cannot be reached"


class Session:
    """One connection; used by one run at a time. Transactions are read-only, but in `writing`."""

    def __init__(self, url: str, where: str) -> None:
        self._where = where
        try:
            self.connection = adbc.connect(url, autocommit=True)
        except adbc_driver_manager.Error as error:
            raise PlatformError(
                _refused(error),
                where=where,
                hint="check the platform's url, and that the server runs and lets this user in",
            ) from None
        self.temporary = False
        try:
            for setting in _SETTINGS:
                self.execute(setting)
        except BaseException:
            self.close()
            raise

    def execute(self, text: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows.

        Raises:
            PlatformError: The server refused it.
        """
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(text, parameters or None)
                return cursor.fetchall() if cursor.description else []
            except (adbc_driver_manager.Error, OSError) as error:
                raise PlatformError(told(error), where=self._where) from None

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Lets statements create temporary tables, which a read-only transaction cannot."""
        self.execute("SET default_transaction_read_only = off")
        self.temporary = True
        try:
            yield
        finally:
            self.execute("SET default_transaction_read_only = on")

    def clean(self) -> None:
        """Drop what a run left, so that another may use the session."""
        if self.temporary:
            self.execute("DISCARD TEMP")
            self.temporary = False

    def close(self) -> None:
        """End the session; idempotent."""
        with contextlib.suppress(adbc_driver_manager.Error, OSError):
            self.connection.close()


class Pool:
    """Sessions that wait for their next run; more are opened when more runs go on at once.

    Args:
        url: The server's address.
        where: Names the platform in errors.
        size: Idle sessions that are kept.
    """

    def __init__(self, url: str, where: str, size: int) -> None:
        self._url = url
        self._where = where
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._closed = False

    def take(self) -> Session:
        """A session of one's own."""
        while True:
            with self._lock:
                if self._closed:
                    raise PlatformError("the platform is closed", where=self._where)
                session = self._idle.pop() if self._idle else None
            if session is None:
                return Session(self._url, self._where)
            try:
                session.execute("SELECT 1")
            except PlatformError:
                session.close()  # the server ended it while it waited
                continue
            return session

    def give_back(self, session: Session, *, usable: bool) -> None:
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
    def session(self) -> Generator[Session]:
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


def cancelling(session: Session, cancellation: Cancellation) -> Callable[[], None]:
    """Cancel the session's statement on the server when told to; the function that is returned ends that.

    PostgreSQL drops a cancellation that finds no statement running, so it is said again until the run has ended.
    """
    ended = threading.Event()
    busy = threading.Lock()

    def cancel() -> None:
        while not ended.is_set():
            with busy:
                if not ended.is_set():
                    with contextlib.suppress(adbc_driver_manager.Error, OSError):
                        session.connection.adbc_cancel()
            ended.wait(_RETRY_SECONDS)

    def interrupt() -> None:
        threading.Thread(target=cancel, name="blossom-postgresql-cancel", daemon=True).start()

    forget = cancellation.register(interrupt)

    def finish() -> None:
        forget()
        ended.set()
        with busy:  # a cancellation on its way must not meet the session's next statement
            pass

    return finish
