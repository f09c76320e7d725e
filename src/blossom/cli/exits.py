"""Exit codes: what a shell or a scheduler learns from how `blossom` ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from blossom.plan.errors import ConfigError, PolicyError


class Exit(IntEnum):
    """How a command ended."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    FOUND = 4
    INTERRUPTED = 130
    CLOSED = 141
    TERMINATED = 143


MEANINGS: Mapping[Exit, str] = {
    Exit.FINE: "fine",
    Exit.FAILED: "it failed: a run, an engine, a site, a promise of the demo",
    Exit.USAGE: "the command or the configuration cannot be used",
    Exit.REFUSED: "a site's policy refused",
    Exit.FOUND: "`site check` or `site audit` found something wrong",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); nothing half-written is left",
    Exit.CLOSED: "the reader of the output went away (`blossom runs | head`)",
    Exit.TERMINATED: "terminated (`kill`), in order like Ctrl-C",
}
"""What `--help` says of each code."""


def exit_of(error: BaseException) -> Exit:
    """The code for an error that ended a command.

    >>> exit_of(PolicyError("refused")), exit_of(ConfigError("no such key")), exit_of(ValueError())
    (<Exit.REFUSED: 3>, <Exit.USAGE: 2>, <Exit.FAILED: 1>)
    """
    if isinstance(error, PolicyError):
        return Exit.REFUSED
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return Exit.CLOSED
    return Exit.FAILED
