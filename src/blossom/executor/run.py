"""Runs a physical plan and gives its result: one stream, one error, one clean end; once more without an engine that was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from blossom.executor import failover
from blossom.executor.attempt import Attempt, Figures, Rest
from blossom.executor.federation import Federation, FederationCatalogue
from blossom.executor.figures import Actual, Release, withheld
from blossom.executor.measuring import Output
from blossom.executor.outputs import FragmentOutput
from blossom.executor.spending import Spending, current_spending
from blossom.optimizer.costs.whole import platform_name
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.plan.errors import (
    BlossomError,
    BudgetError,
    PlanError,
    PlatformError,
    PolicyError,
    SiteError,
    listed,
)
from blossom.plan.everywhere import scans
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB

__all__ = ["Actual", "Execution", "Release"]

BORDER_KINDS = ("rows", "aggregates", "public")


@dataclass(slots=True)
class Execution:
    """One execution of a plan. Start it with `reader`; figures are complete when that is exhausted or `close` was called.

    Attributes:
        plan: What is run: what was planned first, or what took its place.
        keep_result: The result stays at its site, for a fit there.
        rest: Plans anew what is left; None: the plan stands, and an engine that is lost is the run's end.
        whole: Whoever reads the result reads all of it at once, so nothing is given before all is there.
    """

    federation: Federation
    plan: PhysicalPlan
    run: str
    plan_hash: str
    keep_result: bool = False
    cancellation: Cancellation = field(default_factory=Cancellation)
    rest: Rest | None = None
    whole: bool = False
    _spending: Spending | None = field(init=False, default_factory=current_spending)
    _figures: Figures = field(init=False, default_factory=Figures)
    _attempts: list[Attempt] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for fragment in self.plan.fragments:
            self._figures.actuals[fragment.key] = Actual()
        self._attempt(self.plan, {}, frozenset())

    def _attempt(
        self, plan: PhysicalPlan, outputs: Mapping[str, FragmentOutput], past: frozenset[str]
    ) -> Attempt:
        made = Attempt(
            self.federation,
            plan,
            self.run,
            self.plan_hash,
            self.cancellation.child(),
            self._figures,
            self.rest,
            self.keep_result,
            dict(outputs),
            past,
            self._spending,
        )
        if self._spending is not None:
            self._spending.stops(made.error)
        self._attempts.append(made)
        return made

    # -- what it did ---------------------------------------------------------------------------------------------------

    @property
    def actuals(self) -> Mapping[str, Actual]:
        """What the plan's fragments really took."""
        return self._figures.actuals

    @property
    def releases(self) -> list[Release]:
        """What left the sites."""
        return self._figures.releases

    @property
    def notes(self) -> list[str]:
        """When and why the rest was planned anew, in words."""
        return self._figures.notes

    @property
    def withheld(self) -> Mapping[str, bool]:
        """For each site that released aggregates: were cells held back?"""
        return withheld(self.releases)

    # -- running -------------------------------------------------------------------------------------------------------

    def reader(self) -> pa.RecordBatchReader:
        """Start every fragment and stream the result.

        Raises:
            BlossomError: The first error of any fragment, here or while the stream is read.
        """
        stream = self._stream()
        return pa.RecordBatchReader.from_batches(stream.schema, self._watched(stream))

    def keep(self, then: Callable[[], None]) -> None:
        """Start every fragment, and call `then` once the result's stream stands at its site.

        Raises:
            BlossomError: The first error of any fragment or of `then`.
        """
        attempt = self._attempts[-1]
        try:
            attempt.launch()
            attempt.wait(self.plan.result.key)
            then()
        except BaseException as error:  # noqa: BLE001 - told as the first cause
            attempt.error(error)
            raise self._cause(error) from None

    def _stream(self) -> pa.RecordBatchReader:
        """The result's stream, of the first attempt that gets so far."""
        while True:
            attempt = self._attempts[-1]
            try:
                attempt.launch()
                stream = attempt.result()
            except BaseException as error:  # noqa: BLE001 - told as the first cause
                self._once_more(error, given=0)
            else:
                self.plan = attempt.plan
                return stream

    def _watched(self, stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        schema, given = stream.schema, 0
        while True:
            try:
                for batch in list(stream) if self.whole else stream:
                    given += batch.num_rows
                    yield batch if batch.schema.equals(schema) else batch.cast(schema)
                break
            except BaseException as error:  # noqa: BLE001 - told as the first cause
                self._once_more(error, given)
                stream = self._stream()
        self.close()
        self._learn()

    def close(self, *, forget: bool = True) -> None:
        """Stop what still runs, wait for it, and let the sites forget the run; idempotent."""
        self.plan = self._attempts[-1].plan
        try:
            for attempt in self._attempts:
                attempt.stop()
        finally:
            for attempt in self._attempts:
                attempt.close()
        for key, delivery in self._figures.stayed.items():
            if key in self.actuals:
                self.actuals[key].rows = delivery.rows
        if not forget:
            return
        sites = {one.location.site for attempt in self._attempts for one in attempt.plan.fragments}
        for site in sites - {HUB}:
            self.federation.sites[site].forget(self.run)

    # -- errors --------------------------------------------------------------------------------------------------------

    def _once_more(self, error: BaseException, given: int) -> None:
        """Begin another attempt without the engine that was lost.

        Raises:
            BlossomError: The first error, where that is not why, or where nothing can take the engine's work.
        """
        attempt = self._attempts[-1]
        attempt.error(error)
        lost = self._lost(attempt)
        if lost is None:
            try:
                self.close()
            finally:
                cause = self._cause(error)
            raise cause from None
        engine = f"{lost.location} {lost.why}"
        try:
            if given:
                raise PlatformError(
                    f"{engine} when {given:,} rows of the result had been given",
                    where=str(lost.location),
                    hint="run it again, or collect the result whole: then another engine takes over",
                )
            self._without(attempt, lost)
        except BlossomError as refused:
            self.close()
            raise refused from attempt.error.error

    def _lost(self, attempt: Attempt) -> failover.Lost | None:
        first = attempt.error.error
        if self.rest is None or len(self._attempts) > 1 or self.cancellation.cancelled or first is None:
            return None
        if not isinstance(first, PlatformError | MemoryError):
            return None
        attempt.stop()
        culprit = None if attempt.culprit is None else attempt.culprit.fragment.location
        running = [one.fragment.location for one in attempt.outputs.values() if not one.complete]
        return failover.lost(self.federation, first, culprit, running)

    def _without(self, attempt: Attempt, lost: failover.Lost) -> None:
        """Plan what is left without an engine.

        Raises:
            PlatformError: Nothing can take its place.
        """
        assert self.rest is not None
        engine = f"{lost.location} {lost.why}"
        survivors = attempt.survivors
        finished = attempt.finished(survivors) or []
        # what a site keeps for the run is in its own memory, whatever became of the engine that made it
        try:
            plan = self.rest(finished, (lost.location,), attempt.next_number())
        except (PlanError, PolicyError, BudgetError) as error:
            homes = self._tables_at(lost, attempt.plan)
            what = f"the tables {listed(homes)} live there" if homes else "nothing else can do its work"
            hint = "start the engine again, and run once more" if homes else error.what
            first = attempt.error.error
            said = f" ({first.what.strip()})" if isinstance(first, BlossomError) else ""
            raise PlatformError(f"{engine}, and {what}{said}", where=str(lost.location), hint=hint) from error
        used = {key for one in plan.fragments for key in one.inputs}
        before = _with_inputs([one for one in attempt.plan.fragments if one.key in used], attempt.plan)
        outputs = {key: one for key, one in survivors.items() if any(each.key == key for each in before)}
        for fragment in attempt.plan.fragments:
            if fragment not in before:
                self._figures.actuals.pop(fragment.key, None)
                self._figures.stayed.pop(fragment.key, None)
        again = [r for r in self.releases if r.fragment not in {one.key for one in before}]
        places = listed([f"{one.key} at {one.location}" for one in plan.fragments])
        text = f"{engine}; planned anew without it: {places}"
        if again:
            text += f"; {listed(sorted({r.fragment for r in again}))} is read again where it is still needed"
        self.notes.append(text)
        self.cancellation.tell(text)
        past = frozenset(one.key for one in before)
        self._attempt(replace(plan, fragments=(*before, *plan.fragments)), outputs, past)

    def _tables_at(self, lost: failover.Lost, plan: PhysicalPlan) -> list[str]:
        catalogue = FederationCatalogue(self.federation)
        found: dict[str, None] = {}
        for fragment in plan.fragments:
            for scan in scans(fragment.root):
                if scan.site and catalogue.home(scan.site, scan.table) == lost.location:
                    found[scan.table] = None
        return list(found)

    def _cause(self, error: BaseException) -> BaseException:
        first = self._attempts[-1].error.error or error
        if isinstance(first, BlossomError | KeyboardInterrupt | GeneratorExit | MemoryError):
            return first
        return SiteError(
            f"the run failed: {type(first).__name__}: {first}",
            hint="this is a fault in Blossom, please report it",
        )

    # -- learning ------------------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        """Let the federation learn from a run that came to its end."""
        catalogue = FederationCatalogue(self.federation)
        kinds = {platform_name(f.location): catalogue.kind(f.location) for f in self.plan.fragments}
        outputs: dict[str, Output] = {}
        for key, actual in self.actuals.items():
            kept = key in self._figures.stayed
            whole = (
                actual.rows > 0 if kept else actual.state == "done"
            )  # of what stays, only a full count is told
            outputs[key] = Output(actual.rows, whole, kept, actual.watch)
        self.federation.experience.ran(self.plan, outputs, catalogue.rows, kinds)


def _with_inputs(fragments: list[Fragment], plan: PhysicalPlan) -> list[Fragment]:
    """Fragments and all that their rows were made from, in the plan's order."""
    by_key = {one.key: one for one in plan.fragments}
    keys = {one.key for one in fragments}
    for fragment in reversed(plan.fragments):
        if fragment.key in keys:
            keys.update(fragment.inputs)
    return [by_key[one.key] for one in plan.fragments if one.key in keys]
