"""Ctrl-C and `kill`: both end a command in order, with everything closed and nothing half-written."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from blossom.cli.exits import Exit

_EXITS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Interrupts:
    """Which of the two came first; None while none did.

    Engines that are stopped by a signal may raise an error of their own in place of KeyboardInterrupt, so what was raised
    does not tell.
    """

    def __init__(self) -> None:
        self.exit: Exit | None = None

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        if self.exit is None:
            self.exit = _EXITS[signal.Signals(number)]
        raise KeyboardInterrupt


@contextmanager
def interrupts() -> Generator[Interrupts]:
    """Turn both signals into KeyboardInterrupt for the body; to be used in the main thread.

    A signal that is ignored (a shell ignores Ctrl-C for what runs in the background) stays so.
    """
    found = Interrupts()
    before = {number: signal.getsignal(number) for number in _EXITS}
    taken = [number for number, old in before.items() if old is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, found)
    try:
        yield found
    finally:
        for number in taken:
            signal.signal(number, before[number])
