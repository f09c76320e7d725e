"""The models that a site helped to fit: each one's digest, and the formulas of the columns that it reads.

To measure a model of chosen coefficients is to ask a predicate of one's choice (docs: decision 5). So only these are measured on
protected columns, and on columns of the very same formulas. The file outlives sessions: a saved model is still known when it is
loaded again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blossom.plan.errors import SiteError


class Models:
    """The models of one state folder; several processes may use it at once.

    Args:
        folder: The state folder; it exists.
        site: The site's name, for errors.
    """

    def __init__(self, folder: Path, site: str = "") -> None:
        self._file = folder / "models.jsonl"
        self._site = site
        self._known: set[tuple[str, str]] = set()
        self._read = 0
        self._lock = threading.Lock()

    def knows(self, digest: str, columns: Mapping[str, str]) -> bool:
        """Whether a model was fitted here on columns of these formulas.

        Args:
            digest: The model's (`Measured.digest`).
            columns: Column -> digest of its formula (`Origins.of`).
        """
        with self._lock:
            try:
                self._refresh()
            except OSError as error:
                raise self._error("read", error) from error
            return (digest, _text(columns)) in self._known

    def remember(self, digest: str, columns: Mapping[str, str]) -> None:
        """Note that a model was fitted here.

        Raises:
            SiteError: The disk does not take it.
        """
        if self.knows(digest, columns):
            return
        # a line that a crash cut short ends before this one begins; empty lines are passed over
        line = "\n" + json.dumps({"model": digest, "columns": _text(columns)}) + "\n"
        try:
            # one write to a file opened for appending: lines of several processes do not mix
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error("written", error) from error

    def _refresh(self) -> None:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written, or cut short by a crash: that model is not known
                self._read += len(line)
                entry = _parsed(line)
                if entry is not None:
                    self._known.add(entry)

    def _error(self, done: str, error: OSError) -> SiteError:
        return SiteError(
            f"the list of models cannot be {done}: {error.strerror or error}",
            where=f"site {self._site}",
            hint=f"check the disk's free space and the rights of {self._file.name} in the state folder",
        )


def _parsed(line: bytes) -> tuple[str, str] | None:
    """A model and its columns; None for a line that a crash cut short: that model is not known."""
    try:
        entry: Any = json.loads(line)
        return str(entry["model"]), str(entry["columns"])
    except (ValueError, KeyError, TypeError):
        return None


def _text(columns: Mapping[str, str]) -> str:
    return json.dumps(dict(columns), sort_keys=True)
