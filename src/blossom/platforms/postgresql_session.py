"""Sessions with a PostgreSQL server: made, kept for reuse, cancelled on the server; no secret in any error."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc

from blossom.plan.errors import PlatformError

_SETTINGS = (
    "SET timezone = 'UTC'",
    "SET datestyle = 'ISO'",
    "SET intervalstyle = 'iso_8601'",
    "SET default_transaction_read_only = on",
)

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

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self.execute("SELECT 1")

    def stop(self) -> None:
        """Cancel the statement that runs in it, on the server."""
        with contextlib.suppress(adbc_driver_manager.Error, OSError):
            self.connection.adbc_cancel()

    def clean(self) -> None:
        """Drop what a run left, so that another may use the session."""
        if self.temporary:
            self.execute("DISCARD TEMP")
            self.temporary = False

    def close(self) -> None:
        """End the session; idempotent."""
        with contextlib.suppress(adbc_driver_manager.Error, OSError):
            self.connection.close()
