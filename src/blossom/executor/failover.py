"""Whether an engine is lost, so that another may take its work: it answers no more, or its memory or disk ran out."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from blossom.executor.federation import Federation
from blossom.optimizer.physical import Location
from blossom.plan.errors import BlossomError, PlatformError
from blossom.plan.expressions import Literal
from blossom.plan.relations import Constant
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.streams import CANCELLED

PATIENCE = 5.0
"""Seconds that an engine gets to answer whether it is there."""

EXHAUSTED = {
    "out of memory": "ran out of memory",
    "memory limit": "ran out of memory",
    "resources exhausted": "ran out of memory",
    "memoryerror": "ran out of memory",
    "no space left": "ran out of disk",
    "disk is full": "ran out of disk",
    "file too large": "ran out of disk",
    "could not write to file": "ran out of disk",
    "temp_directory_size": "ran out of disk",
}
"""Words of engines, in lower case -> what has happened. Of private rows a site tells only some of them (`sites.redaction`)."""

CUT_OFF = (
    "server closed the connection",
    "terminating connection",
    "connection reset",
    "connection refused",
    "lost connection",
    "server has gone away",
    "connection to server",
    "broken pipe",
    "no connection",
    "failed to connect",
)
"""Words of an engine's driver, in lower case, when the engine went away under a query, though it may be back by now."""

_ALIVE = Constant((("alive", Literal(1, "int64")),))


@dataclass(frozen=True, slots=True)
class Lost:
    """An engine that does no more for a run, and why."""

    location: Location
    why: str


def lost(
    federation: Federation, error: BaseException, culprit: Location | None, running: Iterable[Location]
) -> Lost | None:
    """The engine that was lost; None where the error has another cause, such as the data or a policy.

    Args:
        federation: The sites and the hub.
        error: The run's first error.
        culprit: Where it was raised first.
        running: The engines that the run was using.
    """
    if isinstance(error, MemoryError) and culprit is not None:
        return Lost(culprit, "ran out of memory")
    if not isinstance(error, PlatformError) or error.what == CANCELLED:
        return None
    text = error.what.lower()
    if culprit is not None:
        for words, why in EXHAUSTED.items():
            if words in text:
                return Lost(culprit, why)
        if any(words in text for words in CUT_OFF):
            return Lost(culprit, "closed the connection")
    first = () if culprit is None else (culprit,)
    for location in dict.fromkeys((*first, *running)):
        if not answers(federation, location):
            return Lost(location, "does not answer")
    return None


def answers(federation: Federation, location: Location) -> bool:
    """Whether an engine runs the smallest of queries; one that cannot run it for want of the ability counts as there."""
    site = location.site
    place = federation.hub if site == HUB else federation.sites[site]
    if place.unsupported(location.platform, _ALIVE) is not None:
        return True
    found: list[bool] = []
    cancellation = Cancellation()

    def ask() -> None:
        try:
            if site == HUB:
                reader = federation.hub.run(location.platform, _ALIVE, {}, cancellation)
            else:
                reader = federation.sites[site].rehearse(location.platform, _ALIVE, {}, cancellation)
            found.append(reader.read_all().num_rows == 1)
        except (BlossomError, OSError):
            found.append(False)

    thread = threading.Thread(target=ask, name=f"blossom-probe-{location}", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        cancellation.cancel()
        thread.join(PATIENCE)
    return found == [True]
