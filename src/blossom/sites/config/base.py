"""Where a configuration stands, the faults found so far, and the checks that every part of it shares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from blossom.sites.config.faults import Fault, Key

URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Base:
    """Where a configuration stands.

    Attributes:
        folder: Absolute; relative paths resolve from here.
        path: The file; None for a mapping.
        faults: Collects what is wrong.
    """

    folder: Path
    path: Path | None
    faults: list[Fault] = field(default_factory=list)

    def fault(self, key: Key, what: str, hint: str | None = None) -> None:
        """Add a fault."""
        self.faults.append(Fault(key, what, hint))

    def resolve(self, path: str) -> str:
        """A path made absolute; URLs stay as they are."""
        return path if URL.match(path) else str(self.folder / Path(path).expanduser())


def check_name(name: str, what: str, key: Key, base: Base) -> None:
    """A name is visible text, short enough to name a folder."""
    if not name.strip() or not name.isprintable() or len(name.encode()) > 120:
        base.fault(key, f"a {what}'s name is 1 to 120 bytes of visible text, got {name!r}")


def check_list(values: tuple[str, ...], what: str, key: Key, base: Base) -> None:
    """A list of names holds no empty and no equal ones."""
    for number, value in enumerate(values):
        if not value.strip():
            base.fault((*key, number), f"an empty text is no {what}")
        if value in values[:number]:
            base.fault((*key, number), f"{value!r} stands there twice")
