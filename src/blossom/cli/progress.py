"""Progress of long work, on stderr: a bar on a terminal, a plain line a step elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_BESIDE = 2 + 25 + 6 + 8
"""Columns of spinner, bar, count and time."""


class Reporter(Protocol):
    """Told how far a piece of work is."""

    def step(self, text: str) -> None:
        """The next step begins."""
        ...

    def note(self, text: str) -> None:
        """Something happened within the step."""
        ...


@contextmanager
def progress(total: int | None = None) -> Generator[Reporter]:
    """A reporter for a piece of work.

    Args:
        total: How many steps there will be; None when nobody knows.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    bar = () if total is None else (BarColumn(24), MofNCompleteColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(
        SpinnerColumn(), *bar, TimeElapsedColumn(), text, console=Console(stderr=True), transient=True
    ) as live:
        yield _Bar(live, live.add_task("", total=total))


class _Lines:
    """A line a step, for logs."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def step(self, text: str) -> None:
        print(f"[{time.perf_counter() - self._began:6.2f} s] {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self.step(f"  {text}")


class _Bar:
    """A bar that grows when a step is over, that is when the next one begins."""

    def __init__(self, live: Progress, task: TaskID) -> None:
        self._live, self._task = live, task
        self._begun = False
        self._step = ""

    def step(self, text: str) -> None:
        self._step = text
        self._live.update(self._task, description=self._fitting(text), advance=1 if self._begun else 0)
        self._begun = True

    def note(self, text: str) -> None:
        self._live.update(self._task, description=self._fitting(f"{self._step}: {text}"))

    def _fitting(self, text: str) -> str:
        """What fits on one line beside the bar: a second line would make the bar jump."""
        room = max(self._live.console.width - _BESIDE, 10)
        return text if len(text) <= room else f"{text[: room - 1]}…"
