"""An engine counts as lost when it is gone or exhausted, never for an error in the data or a refusal."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa
import pytest

from blossom.executor import failover
from blossom.executor.failover import Lost, lost
from blossom.executor.federation import Federation
from blossom.optimizer.physical import Location
from blossom.plan.errors import PlatformError, PolicyError, SiteError
from blossom.platforms.interface import Cancellation
from blossom.sites.streams import CANCELLED

HERE, THERE = Location("north", "duckdb"), Location("north", "pg")


class Engines:
    """A site whose engines are up, down, or hang."""

    def __init__(self, state: Mapping[str, str]) -> None:
        self.state = state
        self.asked: list[str] = []

    def unsupported(self, platform: str, node: object) -> str | None:
        return None if platform in self.state else "it runs nothing of the kind"

    def rehearse(
        self, platform: str, root: Any, inputs: Any, cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        self.asked.append(platform)
        if self.state[platform] == "hangs":
            ended = threading.Event()
            cancellation.register(ended.set)
            ended.wait(30)
        if self.state[platform] != "up":
            raise PlatformError("no connection")
        return pa.table({"alive": [1]}).to_reader()


def found(error: BaseException, culprit: Location | None = HERE, **state: str) -> Lost | None:
    site = Engines({"duckdb": "up", "pg": "up"} | state)
    federation = type("F", (), {"sites": {"north": site}, "hub": site})()
    return lost(cast("Federation", federation), error, culprit, [HERE, THERE])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Out of Memory Error: could not allocate", "ran out of memory"),
        ("the query failed (Out of Memory Error); the engine's words stay at the site", "ran out of memory"),
        ("Resources exhausted: Failed to allocate", "ran out of memory"),
        ("IO Error: No space left on device", "ran out of disk"),
        ("terminating connection due to administrator command", "closed the connection"),
        ("Lost connection to server during query", "closed the connection"),
    ],
)
def test_engines_tell_what_has_happened(text: str, why: str) -> None:
    assert found(PlatformError(text)) == Lost(HERE, why)


def test_memory_that_python_has_not() -> None:
    assert found(MemoryError()) == Lost(HERE, "ran out of memory")


def test_what_does_not_answer_is_lost_whoever_told_first() -> None:
    assert found(PlatformError("could not read the input"), pg="down") == Lost(THERE, "does not answer")


def test_what_hangs_is_lost_and_its_question_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "PATIENCE", 0.2)
    assert found(PlatformError("odd"), pg="hangs") == Lost(THERE, "does not answer")
    assert not [one for one in threading.enumerate() if one.name.startswith("blossom-probe")]


@pytest.mark.parametrize(
    "error",
    [
        PlatformError("Conversion Error: could not convert 'x' to INT64"),
        PlatformError(CANCELLED),
        PolicyError("refused"),
        SiteError("the output is not here"),
        ValueError("a fault of ours"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_no_loss(error: BaseException) -> None:
    assert found(error) is None
