"""Whether the process that wrote an unfinished run still lives: it holds a lock that the operating system frees when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path

_YOUNG = 60.0
"""Seconds for which a lock file without a lock is left alone: it may be just being made."""


class Owner:
    """One user of a database, known to the others by a token and a locked file `<database>.owner-<token>`.

    Args:
        database: The shared file; lock files of users that are gone are removed beside it.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None
        self.token = secrets.token_hex(8)
        self._sweep()

    def hold(self) -> None:
        """Take the lock; to be called before anything unfinished is written under the token. Idempotent."""
        if self._descriptor is None:
            descriptor = os.open(self._path(self.token), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._descriptor = descriptor

    def release(self) -> None:
        """Free the lock and remove its file; idempotent."""
        if self._descriptor is not None:
            self._path(self.token).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def forget(self) -> None:
        """In a forked child: let go of the parent's lock without freeing it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holds(self, token: str) -> bool:
        """Whether the user with that token still holds its lock."""
        try:
            descriptor = os.open(self._path(token), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _path(self, token: str) -> Path:
        return self._database.with_name(f"{self._database.name}.owner-{token}")

    def _sweep(self) -> None:
        prefix = self._path("").name
        for path in self._database.parent.iterdir():
            if path.name.startswith(prefix) and not self.holds(path.name.removeprefix(prefix)):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _YOUNG:
                        path.unlink()
