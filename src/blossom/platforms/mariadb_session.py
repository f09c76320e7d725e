"""Sessions with a MariaDB server: made, kept for reuse, killed on the server; no secret and no value in any error."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
import pymysql.converters
import pymysql.cursors

from blossom.plan.errors import PlatformError

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

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self.execute("SELECT 1")

    def stop(self) -> None:
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
