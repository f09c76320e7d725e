"""A run: its result, its events and figures, and its record."""

from __future__ import annotations

import contextlib
import json
import math
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import pyarrow as pa

from blossom.executor.federation import Federation
from blossom.executor.planner import Planned
from blossom.executor.recording import Recording
from blossom.executor.records import Outcome, RunRecords
from blossom.executor.run import Execution, Release
from blossom.executor.spending import Spending, Spent
from blossom.fedpy.asking import located
from blossom.fedpy.explain import Actual, Explanation
from blossom.fedpy.outline import explained
from blossom.optimizer.budget import usd_text
from blossom.optimizer.physical import Estimate, Location
from blossom.plan.errors import PlanError, PolicyError
from blossom.platforms.interface import Cancellation
from blossom.policy.advice import uneven


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run; `seconds` from its start."""

    seconds: float
    text: str


@dataclass(slots=True, eq=False, weakref_slot=True)
class Run:
    """One execution of a pipeline.

    Attributes:
        id: Names the run in records and audit logs.
        events: What happened, in order.
        fits: What its fits and measurements did.
        cancellation: Stops it.
        at_end: What is done when it has ended, however it did.
        spending: Counts its time and money.
    """

    federation: Federation
    records: RunRecords
    text: str
    progress: Callable[[str], None] | None = None
    kind: str = "query"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    events: list[Event] = field(default_factory=list)
    extra_releases: list[Release] = field(default_factory=list)
    fits: Recording = field(init=False)
    cancellation: Cancellation = field(init=False)
    at_end: list[Callable[[], None]] = field(default_factory=list)
    spending: Spending | None = None
    outcome: Outcome | None = None
    seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)
    _planned: Planned | None = None
    _execution: Execution | None = None
    _result: pa.Table | None = None
    _recorded: bool = False

    def __post_init__(self) -> None:
        self.cancellation = Cancellation(self.event)
        self.fits = Recording(self.id, self.extra_releases)

    @property
    def result(self) -> pa.Table:
        """The result as an Arrow table.

        Raises:
            PlanError: The run has none: it failed, or its rows were streamed.
        """
        if self._result is None:
            raise PlanError(f"run {self.id[:8]} has no result", hint="it failed, or its rows were streamed")
        return self._result

    def to_pandas(self) -> object:
        """The result as a pandas DataFrame."""
        return self.result.to_pandas()

    @property
    def releases(self) -> tuple[Release, ...]:
        """What left each site."""
        own = () if self._execution is None else tuple(self._execution.releases)
        return (*own, *self.extra_releases)

    @property
    def spent(self) -> Spent:
        """Seconds that passed, and usd by the prices of the configuration."""
        return Spent(self.seconds, 0.0) if self.spending is None else self.spending.spent

    @property
    def withheld(self) -> Mapping[str, bool]:
        """For each site that released aggregates: did it hold cells back?"""
        return {} if self._execution is None else self._execution.withheld

    def advice(self) -> str | None:
        """What to ask instead where cells are withheld because some values are missing; told from the plan alone."""
        if self._planned is None or not any(self.withheld.values()):
            return None
        return uneven(self._planned.logical)

    def bytes_by_kind(self) -> Mapping[str, Mapping[str, int]]:
        """Site -> kind of release -> bytes that left (Arrow in memory; at least rows, aggregates and updates are listed)."""
        out: dict[str, dict[str, int]] = {}
        for release in self.releases:
            kinds = out.setdefault(release.site, {"aggregates": 0, "updates": 0, "rows": 0})
            kind = "rows" if release.kind == "public" else release.kind
            kinds[kind] = kinds.get(kind, 0) + release.bytes
        return out

    def explain(self) -> Explanation:
        """The plan with what each fragment really took beside the estimate."""
        if self._planned is None or self._execution is None:
            raise PlanError(f"run {self.id[:8]} was never planned")
        actuals = {key: Actual(a.seconds, a.rows, a.bytes) for key, a in self._execution.actuals.items()}
        held = sorted(site for site, withheld in self.withheld.items() if withheld)
        notes = [f"cells were withheld at {', '.join(held)}"] if held else []
        if self.federation.prices.any:
            notes.append(f"spent: {self.spent}")
        notes.extend(self._execution.notes)
        ran = replace(self._planned, physical=self._execution.plan)
        return explained(ran, self.federation, actuals, notes)

    def report(self) -> str:
        """The run in words and figures, for a terminal."""
        lines = [f"run {self.id[:8]}: {self.text}, {self.outcome or 'running'} in {self.seconds:.2f} s"]
        lines.extend(f"  {event.seconds:7.2f} s  {event.text}" for event in self.events)
        if self.federation.prices.any:
            lines.append(f"  cost {usd_text(self.spent.usd)}")
        for site, kinds in self.bytes_by_kind().items():
            lines.append(f"  left {site}: " + ", ".join(f"{kind} {size:,} B" for kind, size in kinds.items()))
        held = sorted(site for site, withheld in self.withheld.items() if withheld)
        if held:
            lines.append(f"  cells withheld at: {', '.join(held)}")
            if advice := self.advice():
                lines.append(f"    {advice}")
        return "\n".join(lines)

    # -- its life ------------------------------------------------------------------------------------------------------

    def event(self, text: str) -> None:
        """Note that something happened."""
        self.events.append(Event(time.perf_counter() - self._began, text))
        if self._recorded:
            self.records.event(self.id, "info", text)
        if self.progress is not None:
            self.progress(text)

    def hold(self, planned: Planned) -> None:
        """Set aside what its plan may take, where the session has a budget."""
        physical = planned.physical
        if self.spending is not None and math.isfinite(physical.seconds_high):
            self.spending.hold(physical.seconds_high, physical.usd_high)

    def begin(self, planned: Planned, execution: Execution) -> None:
        """The plan is made; the run starts."""
        self._planned, self._execution = planned, execution
        self.record(json.dumps([_outline(f.key, f.location, f.estimate) for f in planned.physical.fragments]))

    def record(self, plan: str) -> None:
        """Open the run's record."""
        if not self._recorded:
            self.records.begin(self.id, self.kind, self.text, plan)
            self._recorded = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.end(_outcome(error), error)

    @contextlib.contextmanager
    def failing(self) -> Generator[None]:
        """End the run when the body fails."""
        try:
            with located():
                yield
        except BaseException as error:
            self.end(_outcome(error), error)
            raise

    def finish(self, table: pa.Table | None) -> None:
        """The run ended well."""
        if table is not None and any(self.withheld.values()):
            note = json.dumps(self.withheld).encode()
            table = table.replace_schema_metadata(
                {**(table.schema.metadata or {}), b"blossom.withheld": note}
            )
        self._result = table
        self.end("done", None)

    def end(self, outcome: Outcome, error: BaseException | None) -> None:
        """Close the record; idempotent."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        for step in self.at_end:
            step()
        self.seconds = time.perf_counter() - self._began
        self.record("[]")
        if self._planned is not None and self._execution is not None:
            for fragment in self._execution.plan.fragments:
                actual = self._execution.actuals[fragment.key]
                self.records.fragment(
                    self.id, fragment.key, fragment.location, fragment.estimate,
                    state=actual.state, seconds=actual.seconds, rows=actual.rows, bytes=actual.bytes,
                )  # fmt: skip
        for one in self.fits.fragments:
            self.records.fragment(
                self.id, one.key, one.fragment.location, one.fragment.estimate,
                state=one.actual.state, seconds=one.actual.seconds, rows=one.actual.rows, bytes=one.actual.bytes,
            )  # fmt: skip
        for release in self.releases:
            self.records.release(
                self.id, release.site, release.kind, release.recipient,
                rows=release.rows, bytes=release.bytes, withheld=release.withheld > 0,
            )  # fmt: skip
        self.records.finish(
            self.id, outcome, self.seconds, None if error is None else f"{type(error).__name__}: {error}"
        )

    def cancel(self) -> None:
        """Stop the run if it still goes on; whoever reads its stream gets an error."""
        if self.outcome is None:
            self.cancellation.cancel()
            if self._execution is not None:
                self._execution.close()
            self.end("cancelled", None)

    def stream(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """The reader, with the run ended when it is exhausted, fails or is given up."""

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from reader
            except BaseException as error:
                if self._execution is not None:
                    self._execution.close()
                self.end(_outcome(error), error)
                raise
            self.finish(None)

        return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _outline(key: str, location: Location, estimate: Estimate) -> dict[str, object]:
    return {"key": key, "at": str(location), "seconds": estimate.seconds, "rows": estimate.rows}


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, PolicyError):
        return "refused"
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return "cancelled"
    return "failed"
