"""One attempt at a plan: a thread a fragment, bounded streams between them, the rest planned anew where a size surprises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from blossom.executor import adapting
from blossom.executor.federation import Federation
from blossom.executor.figures import Actual, Release
from blossom.executor.outputs import FragmentOutput, Way
from blossom.executor.spending import Spending
from blossom.optimizer.cardinality import Rows
from blossom.optimizer.finished import Finished
from blossom.optimizer.physical import Fragment, Location, PhysicalPlan
from blossom.plan.errors import BudgetError, PlanError, PolicyError, SiteError, listed
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.streams import CANCELLED, Abandoned, FirstError
from blossom.sites.tasks import Delivery, Task

Rest = Callable[[Sequence[Finished], Iterable[Location], int], PhysicalPlan]
"""Plans what is left: outputs that are there, platforms that may run nothing more, the number of the first new fragment."""


@dataclass(slots=True)
class Figures:
    """What all attempts of a run did, by fragment."""

    actuals: dict[str, Actual] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    stayed: dict[str, Delivery] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Attempt:
    """Runs one plan.

    Args:
        federation: The sites and the hub.
        plan: What to run.
        run: The run's id.
        plan_hash: The logical plan's, for the sites' audit logs.
        cancellation: Stops it.
        figures: Where it tells what it did.
        rest: Plans the rest anew; None: the plan stands.
        keep_result: The result stays at its site.
        outputs: Complete outputs of an attempt before, which the plan reads.
        past: Keys of fragments that ran in an attempt before.
        spending: Counts what the fragments spend, and refuses those that would spend too much.
    """

    federation: Federation
    plan: PhysicalPlan
    run: str
    plan_hash: str
    cancellation: Cancellation
    figures: Figures
    rest: Rest | None = None
    keep_result: bool = False
    outputs: dict[str, FragmentOutput] = field(default_factory=dict)
    past: frozenset[str] = frozenset()
    spending: Spending | None = None
    culprit: FragmentOutput | None = None
    error: FirstError = field(init=False)
    _ready: dict[str, threading.Event] = field(init=False, default_factory=dict)
    _discarded: list[FragmentOutput] = field(init=False, default_factory=list)
    _times: int = field(init=False, default=0)
    _lock: threading.RLock = field(init=False, default_factory=threading.RLock)
    _changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.error = FirstError(self.cancellation)
        self._changed = threading.Condition(self._lock)

    def launch(self) -> None:
        """Start every fragment that need not wait."""
        with self._lock:
            for key in self.outputs:
                self._ready[key] = threading.Event()
                self._ready[key].set()
            self._add([one for one in self.plan.fragments if one.key not in self.past])

    def result(self) -> pa.RecordBatchReader:
        """The result's stream; waits until its fragment runs and for its schema.

        Raises:
            BlossomError: The first error of any fragment.
        """
        with self._changed:
            while not (output := self.outputs[self.plan.result.key]).claimed:
                if self.cancellation.cancelled:
                    raise SiteError(CANCELLED)
                self._changed.wait(0.1)
        return output.reader()

    def wait(self, key: str) -> None:
        """Wait until an output stands at its site."""
        while not self._ready[key].wait(0.1):
            if self.cancellation.cancelled:
                raise SiteError(CANCELLED)

    def failed(self, output: FragmentOutput, error: BaseException) -> None:
        """Note the first error and stop everything."""
        if self.culprit is None:
            self.culprit = output
        self.error(error)

    def stop(self) -> None:
        """Stop what still runs and wait for it; idempotent."""
        running = [*self.outputs.values(), *self._discarded]
        if any(output.alive() for output in running):
            self.cancellation.cancel()
        for output in running:
            output.join()

    def close(self) -> None:
        """Let all kept rows go."""
        for output in self.outputs.values():
            output.close()

    # -- starting ------------------------------------------------------------------------------------------------------

    def _add(self, fragments: Sequence[Fragment]) -> None:
        users = adapting.consumers(fragments)
        waits = adapting.held(fragments, self.plan.seconds) if self.rest is not None else frozenset[str]()
        ways: dict[str, Way] = {}
        for fragment in fragments:
            site = fragment.location.site
            foreign = [one for one in users[fragment.key] if site == HUB or one.location.site != site]
            local = len(users[fragment.key]) - len(foreign)
            root = fragment is fragments[-1]
            readers = len(foreign) + (root and not self.keep_result)
            retain = self.rest is not None and not root and readers == 1
            keep = local + (root and self.keep_result)
            ways[fragment.key] = Way(readers, keep, fragment.key in waits, retain=retain)
        if waits or self.outputs:
            alone = frozenset(key for key, way in ways.items() if not way.readers and way.keep == 1)
            unfinished = waits | {
                key for key, one in self.outputs.items() if one.way.held and not one.complete
            }
            gates = adapting.gates(fragments, unfinished, alone)
            ways = {key: replace(way, gates=gates[key]) for key, way in ways.items()}
        for fragment in fragments:
            self.figures.actuals[fragment.key] = Actual()
            self._ready[fragment.key] = threading.Event()
        for fragment in fragments:
            self.outputs[fragment.key] = FragmentOutput(
                fragment,
                ways[fragment.key],
                f"{self.run[:8]}-{fragment.key}",
                admitted=self._admitted,
                start=self._start,
                completed=self._completed,
                room=self.federation.room,
                cancellation=self.cancellation,
                failed=self.failed,
            )

    def _admitted(self, output: FragmentOutput) -> None:
        """Wait until the outputs that the fragment waits for are complete, and claim it."""
        with self._changed:
            while not output.discarded and not all(self.outputs[key].complete for key in output.way.gates):
                if self.cancellation.cancelled:
                    raise Abandoned
                self._changed.wait(0.1)
            if output.discarded:
                raise Abandoned
            output.claimed = True
            self._changed.notify_all()

    # -- one fragment --------------------------------------------------------------------------------------------------

    def _start(self, output: FragmentOutput) -> pa.RecordBatchReader:
        """Run one fragment, in its own thread; gives what leaves its place (nothing, as an empty stream, if all stays)."""
        fragment, way = output.fragment, output.way
        actual = self.figures.actuals[fragment.key]
        began = time.perf_counter()
        inputs: dict[str, pa.RecordBatchReader] = {}
        site = fragment.location.site
        for key in fragment.inputs:
            source = self.outputs[key]
            if source.fragment.location.site == site != HUB:
                self.wait(key)
            else:
                inputs[key] = actual.watch.input(source.reader())
        if self.spending is not None:
            self.spending.begin(fragment, actual)
        actual.state = "running"
        if site == HUB:
            with actual.watch.producing():
                reader = self.federation.hub.run(
                    fragment.location.platform, fragment.root, inputs, self.cancellation
                )
            self._ready[fragment.key].set()
            return self._counted(reader, output, None, began)
        recipients = tuple(self.federation.user.at(to) for to in fragment.recipients if to != site)
        task = Task(
            self.run,
            fragment.key,
            fragment.root,
            fragment.location.platform,
            recipients,
            inputs,
            self.cancellation,
            way.keep,
            self.plan_hash,
            # what is planned anew may read it otherwise
            hold=way.held or (self.rest is not None and way.keep > 0 and way.readers > 0),
        )
        with actual.watch.producing():
            delivery = self.federation.sites[site].run(task)
        if delivery.reader is None:
            actual.state = "kept"
            self.figures.stayed[fragment.key] = delivery
            actual.seconds = time.perf_counter() - began
            if way.held:
                actual.rows = delivery.rows
            elif way.keep > 1:
                output.complete = True
            self._ready[fragment.key].set()
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        self._ready[fragment.key].set()
        # a stream that is given up before its first batch knows its delivery: it must not be known by it, or neither ever ends
        reader, delivery.reader = delivery.reader, None
        return self._counted(reader, output, delivery, began)

    def _counted(
        self, reader: pa.RecordBatchReader, output: FragmentOutput, delivery: Delivery | None, began: float
    ) -> pa.RecordBatchReader:
        actual = self.figures.actuals[output.fragment.key]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in actual.watch.output(reader):
                actual.rows += batch.num_rows
                actual.bytes += batch.nbytes
                yield batch
            actual.seconds = time.perf_counter() - began
            actual.state = "done"
            if delivery is not None:
                self._released(output.fragment, delivery)

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def _released(self, fragment: Fragment, delivery: Delivery) -> None:
        site = fragment.location.site
        with self._lock:
            for to in fragment.recipients:
                if to != site:
                    self.figures.releases.append(
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

    # -- planning anew -------------------------------------------------------------------------------------------------

    def _completed(self, output: FragmentOutput) -> None:
        """An output has all its rows. Where they are not as many as was thought, the rest is planned anew before it goes on."""
        key = output.fragment.key
        kept = key in self.figures.stayed
        count = self.figures.actuals[key].rows
        rounded = kept and count & (count - 1) == 0
        output.counted = Rows.rounded(count) if rounded else Rows.exactly(count)
        with self._changed:
            surprising = adapting.surprising(output.counted, output.fragment.estimate)
            if output.way.held and surprising and self._times < adapting.MOST:
                self._plan_anew(output)
            output.complete = True
            self._changed.notify_all()

    def _plan_anew(self, surprise: FragmentOutput) -> None:
        waiting = [one for one in self.outputs.values() if not one.claimed]
        if self.rest is None or not waiting or self.cancellation.cancelled:
            return
        self._times += 1
        estimate = surprise.fragment.estimate
        assert surprise.counted is not None
        why = (
            f"{surprise.fragment.key} at {surprise.fragment.location} gave {adapting.size_text(surprise.counted)}, "
            f"where {estimate.low:,.0f} to {estimate.high:,.0f} were expected"
        )
        finished = self.finished({key for one in waiting for key in one.fragment.inputs})
        if finished is None:
            self._say(f"not planned anew although {why}: what ran is no part of a larger plan")
            return
        began = time.perf_counter()
        try:
            plan = self.rest(finished, (), self.next_number())
        except (PlanError, PolicyError, BudgetError) as error:
            self._say(
                f"planned anew, as {why}: no other plan is possible, so it goes on as it was ({error.what})"
            )
            return
        took = time.perf_counter() - began
        before = {(id(one.fragment.computes), one.fragment.location) for one in waiting}
        if before == {(id(one.computes), one.location) for one in plan.fragments}:
            self._say(f"planned anew, as {why}: the places stay the best ({took * 1e3:.0f} ms)")
            return
        self._swap(waiting, plan)
        places = listed([f"{one.key} at {one.location}" for one in plan.fragments])
        self._say(f"planned anew, as {why}: {places} instead ({took * 1e3:.0f} ms)")

    def _swap(self, waiting: Sequence[FragmentOutput], plan: PhysicalPlan) -> None:
        """Put new fragments in the place of those that have not started."""
        for one in waiting:
            one.discarded = True
            self._discarded.append(self.outputs.pop(one.fragment.key))
            self.figures.actuals.pop(one.fragment.key, None)
        begun = [one for one in self.plan.fragments if one.key in self.outputs or one.key in self.past]
        users = adapting.consumers((*begun, *plan.fragments))
        for fragment in begun:
            if fragment.key in self.past:
                continue
            site = fragment.location.site
            self.outputs[fragment.key].readers = sum(
                1 for one in users[fragment.key] if site == HUB or one.location.site != site
            )
        self.plan = replace(plan, fragments=(*begun, *plan.fragments))
        self._add(plan.fragments)

    def finished(self, keys: Iterable[str]) -> list[Finished] | None:
        """Outputs as the planner knows them; None where one is no part of the whole plan."""
        found: list[Finished] = []
        for key in sorted(keys):
            output = self.outputs.get(key)
            if output is None or not output.claimed:
                continue
            fragment = output.fragment
            if fragment.computes is None:
                return None
            sites = frozenset(fragment.recipients)
            if fragment.location.site == HUB:
                sites |= {HUB}
            found.append(Finished(key, fragment.computes, fragment.location, sites, output.counted))
        return found

    def next_number(self) -> int:
        """The number of the next new fragment."""
        return 1 + max(
            int(key[1:]) for key in (*self._ready, *self.outputs) if key[:1] == "f" and key[1:].isdigit()
        )

    def _say(self, text: str) -> None:
        self.figures.notes.append(text)
        self.cancellation.tell(text)

    @property
    def survivors(self) -> Mapping[str, FragmentOutput]:
        """The outputs that another attempt can read."""
        return {key: one for key, one in self.outputs.items() if one.complete}
