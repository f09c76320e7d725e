"""What is known of a run, as values and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from blossom.optimizer.physical import Estimate, Location

Outcome = Literal["done", "failed", "refused", "cancelled"]
"""How a run can end."""


@dataclass(frozen=True, slots=True)
class FragmentRecord:
    """One fragment of a run; figures are None while unknown.

    Attributes:
        key: Its key in the plan.
        location: Where it ran.
        estimate: What the planner expected.
        state: As the executor told it ("done", "failed", ...).
        seconds: Measured seconds of work.
        rows: Rows of output.
        bytes: Bytes of output, as Arrow.
    """

    key: str
    location: Location
    estimate: Estimate | None
    state: str
    seconds: float | None
    rows: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """What left a site for a run, in the site's own words (rows may be rounded or None); `withheld`: whether cells were held back."""

    site: str
    kind: str
    recipient: str
    rows: int | None
    bytes: int | None
    withheld: bool


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened in a run; `at` is UTC, ISO 8601."""

    at: str
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of the list of runs.

    Attributes:
        id: The run.
        kind: What it was ("query", "fit", ...).
        pipeline: The pipeline as text.
        started: UTC, ISO 8601.
        outcome: "done", "failed", "refused", "cancelled"; "running", or "interrupted" when its process is gone.
        seconds: From begin to finish; None until then.
        error: The error's text, where it failed.
    """

    id: str
    kind: str
    pipeline: str
    started: str
    outcome: str
    seconds: float | None
    error: str | None

    def line(self) -> str:
        """The run in one line, for lists."""
        took = "-" if self.seconds is None else f"{self.seconds:.3f} s"
        first = next(iter(self.pipeline.splitlines()), "")
        return f"{self.id}  {self.started[:19]}  {self.kind:<8}  {self.outcome:<11}  {took:>10}  {first[:60]}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(RunSummary):
    """A run with everything that is known of it; `plan` is the physical plan's JSON text."""

    plan: str
    fragments: tuple[FragmentRecord, ...]
    releases: tuple[ReleaseRecord, ...]
    events: tuple[EventRecord, ...]

    def text(self) -> str:
        """The run for a terminal: head, fragments (estimate against actual), releases, events, error."""
        took = "" if self.seconds is None else f" after {self.seconds:.3f} s"
        lines = [f"run {self.id} ({self.kind}) {self.outcome}{took}, started {self.started[:19]} UTC"]
        lines += [f"  {line}" for line in self.pipeline.splitlines()]
        if self.fragments:
            head = ("fragment", "where", "state", "seconds", "expected", "rows", "expected", "bytes")
            rows = [_fragment_cells(one) for one in self.fragments]
            lines += ["fragments", *(f"  {line}" for line in _columns((head, *rows)))]
        if self.releases:
            head = ("site", "to", "kind", "rows", "bytes", "withheld")
            cells = [
                (
                    one.site,
                    one.recipient,
                    one.kind,
                    _number(one.rows),
                    _number(one.bytes),
                    "yes" if one.withheld else "no",
                )
                for one in self.releases
            ]
            lines += ["releases", *(f"  {line}" for line in _columns((head, *cells)))]
        if self.events:
            lines += ["events", *(f"  {one.at[11:23]}  {one.level:<7}  {one.text}" for one in self.events)]
        if self.error is not None:
            lines += ["error", *(f"  {line}" for line in self.error.splitlines())]
        return "\n".join(lines)


def _fragment_cells(one: FragmentRecord) -> tuple[str, ...]:
    expected = one.estimate
    return (
        one.key,
        str(one.location),
        one.state,
        "-" if one.seconds is None else f"{one.seconds:.3f}",
        "-" if expected is None else f"{expected.seconds:.3f}",
        _number(one.rows),
        "-" if expected is None else f"{expected.rows:.0f}",
        _number(one.bytes),
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows of cells as aligned lines."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
