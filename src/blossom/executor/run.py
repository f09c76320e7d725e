"""Runs a physical plan: a thread a fragment, bounded streams between them, one error, one clean end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from blossom.executor.federation import Federation
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.plan.errors import BlossomError, PlatformError, SiteError
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.streams import FirstError, Stream
from blossom.sites.tasks import Delivery, Task

BORDER_KINDS = ("rows", "aggregates", "public")


@dataclass(frozen=True, slots=True)
class Release:
    """Data that left a site in a run."""

    site: str
    fragment: str
    kind: str
    recipient: str
    rows: int
    bytes: int
    withheld: int


@dataclass(slots=True)
class Actual:
    """What a fragment really took."""

    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    state: str = "waiting"


@dataclass(slots=True)
class Execution:
    """One execution of a plan. Start it with `reader`; figures are complete when that is exhausted or `close` was called."""

    federation: Federation
    plan: PhysicalPlan
    run: str
    plan_hash: str
    keep_result: bool = False  # the result stays at its site, for a fit there
    cancellation: Cancellation = field(default_factory=Cancellation)
    actuals: dict[str, Actual] = field(init=False)
    releases: list[Release] = field(init=False, default_factory=list)
    _outputs: dict[str, _Output] = field(init=False, default_factory=dict)
    _stayed: dict[str, Delivery] = field(init=False, default_factory=dict)
    _ready: dict[str, threading.Event] = field(init=False)
    _error: FirstError = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.actuals = {fragment.key: Actual() for fragment in self.plan.fragments}
        self._ready = {fragment.key: threading.Event() for fragment in self.plan.fragments}
        self._error = FirstError(self.cancellation)

    def reader(self) -> pa.RecordBatchReader:
        """Start every fragment and stream the result.

        Raises:
            BlossomError: The first error of any fragment, here or while the stream is read.
        """
        root = self.plan.result
        try:
            self._launch()
            stream = self._outputs[root.key].reader()
        except BaseException as error:  # noqa: BLE001 - told as the first cause
            self._error(error)
            self.close()
            raise self._cause(error) from None
        return pa.RecordBatchReader.from_batches(stream.schema, self._watched(stream))

    def keep(self, then: Callable[[], None]) -> None:
        """Start every fragment, and call `then` once the result's stream stands at its site.

        Raises:
            BlossomError: The first error of any fragment or of `then`.
        """
        try:
            self._launch()
            self._await(self.plan.result.key)
            then()
        except BaseException as error:  # noqa: BLE001 - told as the first cause
            self._error(error)
            raise self._cause(error) from None

    def _launch(self) -> None:
        root = self.plan.result
        consumers = _consumers(self.plan)
        for fragment in self.plan.fragments:
            foreign = [c for c in consumers[fragment.key] if c.location.site != fragment.location.site]
            local = len(consumers[fragment.key]) - len(foreign)
            if fragment.location.site == HUB:
                foreign, local = consumers[fragment.key], 0
            kept = fragment is root and self.keep_result
            readers = len(foreign) + (fragment is root and not kept)
            self._outputs[fragment.key] = _Output(self, fragment, readers, local + kept)

    def _watched(self, stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from stream
        except BaseException as error:  # noqa: BLE001 - told as the first cause
            self._error(error)
            raise self._cause(error) from None
        finally:
            self.close()

    def _cause(self, error: BaseException) -> BaseException:
        first = self._error.error or error
        if isinstance(first, BlossomError | KeyboardInterrupt | GeneratorExit | MemoryError):
            return first
        return SiteError(
            f"the run failed: {type(first).__name__}: {first}",
            hint="this is a fault in Blossom, please report it",
        )

    def close(self, *, forget: bool = True) -> None:
        """Stop what still runs, wait for it, and let the sites forget the run; idempotent."""
        unfinished = [output for output in self._outputs.values() if output.alive()]
        if unfinished:
            self.cancellation.cancel()
        for output in self._outputs.values():
            output.join()
        for key, delivery in self._stayed.items():
            self.actuals[key].rows = delivery.rows
        if not forget:
            return
        for site in {fragment.location.site for fragment in self.plan.fragments} - {HUB}:
            self.federation.sites[site].forget(self.run)

    # -- one fragment --------------------------------------------------------------------------------------------------

    def start(self, fragment: Fragment, keep: int) -> pa.RecordBatchReader:
        """Run one fragment, in its own thread; gives what leaves its place (nothing, as an empty stream, if all stays)."""
        actual = self.actuals[fragment.key]
        began = time.perf_counter()
        inputs: dict[str, pa.RecordBatchReader] = {}
        for key in fragment.inputs:
            source = self._outputs[key]
            if source.fragment.location.site == fragment.location.site != HUB:
                self._await(key)
            else:
                inputs[key] = source.reader()
        actual.state = "running"
        site = fragment.location.site
        if site == HUB:
            reader = self.federation.hub.run(
                fragment.location.platform, fragment.root, inputs, self.cancellation
            )
            self._ready[fragment.key].set()
            return self._counted(reader, fragment, None, began)
        recipients = tuple(self.federation.user.at(to) for to in fragment.recipients if to != site)
        task = Task(
            self.run,
            fragment.key,
            fragment.root,
            fragment.location.platform,
            recipients,
            inputs,
            self.cancellation,
            keep,
            self.plan_hash,
        )
        delivery = self.federation.sites[site].run(task)
        self._ready[fragment.key].set()
        if delivery.reader is None:
            actual.state = "kept"
            self._stayed[fragment.key] = delivery
            actual.seconds = time.perf_counter() - began
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        return self._counted(delivery.reader, fragment, delivery, began)

    def _await(self, key: str) -> None:
        while not self._ready[key].wait(0.1):
            if self.cancellation.cancelled:
                raise SiteError("the run was cancelled")

    def _counted(
        self, reader: pa.RecordBatchReader, fragment: Fragment, delivery: Delivery | None, began: float
    ) -> pa.RecordBatchReader:
        actual = self.actuals[fragment.key]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                actual.rows += batch.num_rows
                actual.bytes += batch.nbytes
                yield batch
            actual.seconds = time.perf_counter() - began
            actual.state = "done"
            if delivery is not None:
                self._released(fragment, delivery)

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def _released(self, fragment: Fragment, delivery: Delivery) -> None:
        site = fragment.location.site
        with self._lock:
            for to in fragment.recipients:
                if to != site:
                    self.releases.append(
                        Release(
                            site,
                            fragment.key,
                            delivery.kind,
                            to,
                            delivery.rows,
                            delivery.bytes,
                            delivery.withheld,
                        )
                    )

    def failed(self, error: BaseException) -> None:
        """Note the first error and stop everything."""
        self._error(error)

    @property
    def withheld(self) -> Mapping[str, bool]:
        """For each site that released aggregates: were cells held back?"""
        sites: dict[str, bool] = {}
        for release in self.releases:
            if release.kind == "aggregates":
                sites[release.site] = sites.get(release.site, False) or release.withheld > 0
        return sites


class _Output:
    """A fragment's output for its readers elsewhere: a stream for one, a table for several."""

    def __init__(self, execution: Execution, fragment: Fragment, readers: int, keep: int) -> None:
        self.fragment = fragment
        self._readers = readers
        self._lock = threading.Lock()
        self._table: pa.Table | None = None
        self._stream = Stream(
            f"{execution.run[:8]}-{fragment.key}",
            lambda: execution.start(fragment, keep),
            execution.cancellation,
            execution.failed,
        )

    def reader(self) -> pa.RecordBatchReader:
        """One reader's stream; waits for its schema."""
        if self._readers <= 1:
            return self._stream.reader()
        with self._lock:
            table = self._table
            if table is None:
                table = self._table = self._stream.reader().read_all()
        return table.to_reader()

    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self._stream.thread.is_alive()

    def join(self) -> None:
        """Wait for its thread; engines that cannot be interrupted get ten seconds."""
        self._stream.thread.join(10.0)
        if self._stream.thread.is_alive():
            raise PlatformError(
                f"{self.fragment.location} does not stop",
                hint="its query goes on in the background until it ends",
            )


def _consumers(plan: PhysicalPlan) -> Mapping[str, list[Fragment]]:
    found: dict[str, list[Fragment]] = {fragment.key: [] for fragment in plan.fragments}
    for fragment in plan.fragments:
        for key in fragment.inputs:
            found[key].append(fragment)
    return found
