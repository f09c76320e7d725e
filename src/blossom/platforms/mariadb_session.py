"""Sessions with a MariaDB server: made, kept for reuse, killed on the server; no secret and no value in any error."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
import pymysql.converters
import pymysql.cursors

from blossom.plan.errors import PlatformError
from blossom.platforms.interface import Cancellation

COLLATION = "utf8mb4_nopad_bin"
"""Compares text by its code points, trailing spaces too: DuckDB's order of text."""

_SETTINGS = (
    f"SET NAMES utf8mb4 COLLATE {COLLATION}",
    "SET time_zone = '+00:00', lc_time_names = 'en_US', max_sort_length = 65536, sort_buffer_size = 16777216",
    "SET join_cache_level = 8, join_buffer_size = 8388608, join_buffer_space_limit = 67108864",
    "SET sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_UNSIGNED_SUBTRACTION'",
    "SET SESSION TRANSACTION READ ONLY",
)
_CONNECT_SECONDS = 10
_RETRY_SECONDS = 0.5
_NAMES_SOMETHING = frozenset({1049, 1054, 1142, 1146, 1356})
"""Errors that quote the names of databases, tables and columns; others may quote values."""

FAILURES = (pymysql.MySQLError, OSError)
"""What the driver raises when the server, or the way to it, fails."""


def told(error: BaseException) -> str:
    """What the server said, without the values and pieces of the statement that it quotes.

    >>> told(pymysql.err.DataError(1366, "Incorrect integer value: 'Ada' for column 'n' at row 1"))
    "Incorrect integer value: '...' for column '...' at row 1"
    """
    if len(error.args) < 2:
        return "the server cannot be reached"
    code, text = error.args[0], str(error.args[1])
    if code in (2003, 2013, 2006):
        return "the server cannot be reached" if code == 2003 else "the connection to the server was lost"
    return text if code in _NAMES_SOMETHING else re.sub(r"(['\"`]).*?\1", "'...'", text, flags=re.DOTALL)


class Session:
    """One connection; used by one run at a time.

    Args:
        url: The server's address.
        where: Names the platform in errors.
    """

    def __init__(self, url: str, where: str) -> None:
        self._url = url
        self._where = where
        try:
            self.connection = _connect(url)
        except (*FAILURES, ValueError) as error:
            raise PlatformError(
                told(error),
                where=where,
                hint="check the platform's url, and that the server runs and lets this user in",
            ) from None
        self.temporary: list[str] = []
        try:
            for setting in _SETTINGS:
                self.execute(setting)
        except BaseException:
            self.close()
            raise

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows, every value as text.

        Raises:
            PlatformError: The server refused it.
        """
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(text)
                return list(cursor.fetchall())
        except FAILURES as error:
            raise PlatformError(told(error), where=self._where) from None

    def stream(self, text: str) -> Any:
        """Start a query whose rows stay on the server until they are fetched."""
        cursor = self.connection.cursor(pymysql.cursors.SSCursor)
        cursor.execute(text)
        return cursor

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Lets statements make temporary tables, which a read-only transaction cannot."""
        self.execute("SET SESSION TRANSACTION READ WRITE")
        yield
        self.execute(
            "SET SESSION TRANSACTION READ ONLY"
        )  # a session whose statement failed is not used again

    def kill(self) -> None:
        """Stop the statement that runs in this session, through a connection of its own."""
        with (
            contextlib.suppress(*FAILURES),
            contextlib.closing(_connect(self._url)) as other,
            other.cursor() as cursor,
        ):
            cursor.execute(f"KILL QUERY {int(self.connection.thread_id())}")

    def clean(self) -> None:
        """Drop what a run left, so that another may use the session."""
        if self.temporary:
            with self.writing():
                while self.temporary:
                    self.execute(f"DROP TEMPORARY TABLE IF EXISTS {self.temporary.pop()}")

    def close(self) -> None:
        """End the session without reading what is left; idempotent."""
        # the driver's own ways to end read what is left of a result, be it the whole of it
        if self.connection._result is not None:
            self.connection._result.unbuffered_active = False
        self.connection._force_close()


def _connect(url: str) -> Any:
    parts = urlsplit(url)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = set(options) - {"ssl_ca"}
    if parts.scheme not in ("mariadb", "mysql") or unknown:
        raise ValueError
    encoders = {
        key: value for key, value in pymysql.converters.conversions.items() if not isinstance(key, int)
    }
    connect: Any = pymysql.connect  # its declared types are narrower than what it takes
    return connect(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.lstrip("/")) or None,
        charset="utf8mb4",
        autocommit=True,
        conv=encoders,  # no decoders: values come as text and are converted in columns
        connect_timeout=_CONNECT_SECONDS,
        ssl={"ca": options["ssl_ca"]} if "ssl_ca" in options else None,
        local_infile=False,  # the server could ask for any file
    )


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
    """Kill the session's statement when told to; the function that is returned ends that.

    The server drops a kill that finds no statement running, so it is said again until the run has ended.
    """
    ended = threading.Event()
    busy = threading.Lock()

    def cancel() -> None:
        while not ended.is_set():
            with busy:
                if not ended.is_set():
                    session.kill()
            ended.wait(_RETRY_SECONDS)

    def interrupt() -> None:
        threading.Thread(target=cancel, name="blossom-mariadb-cancel", daemon=True).start()

    forget = cancellation.register(interrupt)

    def finish() -> None:
        forget()
        ended.set()
        with busy:  # a kill on its way must not meet the session's next statement
            pass

    return finish
