"""Training as part of a plan: decides where a model is fitted, asks the sites for statistics, remembers what is fitted."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar

from threadpoolctl import threadpool_limits

from blossom.executor.federation import Federation, FederationCatalogue
from blossom.executor.planner import Planner, ending_at
from blossom.executor.recording import Recording
from blossom.executor.run import Execution, Release
from blossom.executor.spending import current_spending
from blossom.learning.estimator import estimator_from_document
from blossom.learning.fit import FitOptions, fit
from blossom.learning.metrics import Metrics, evaluation
from blossom.learning.model import Fitted, fitted_from_document
from blossom.learning.prediction import outputs
from blossom.learning.statistics import State, Statistic, fold
from blossom.learning.statistics.base import Measured
from blossom.optimizer.physical import PhysicalPlan
from blossom.optimizer.planning import plan as place_plan
from blossom.plan.errors import PlanError, PolicyError, TrainingError
from blossom.plan.loops import one_turn
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Model, Parts, Predict, Relation, Scan, Train
from blossom.plan.rewrites.stages import distribute
from blossom.plan.wire import fingerprint
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.prepared import Prepared
from blossom.sites.tasks import FitTask

_T = TypeVar("_T")

UNFITTED = ""
"""The document of a model that is not fitted yet, in a plan that is only explained."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Where a model is fitted and why.

    Attributes:
        mode: "horizontal" (each site answers for its own rows), "site" (all rows are at one site), "central" (rows move to the hub).
        parts: Site -> the plan of its rows, as that site computes them.
        physical: Site -> the same, placed on its platforms.
        reason: In words.
    """

    mode: str
    parts: Mapping[str, Relation]
    physical: Mapping[str, PhysicalPlan]
    reason: str


@dataclass(slots=True)
class Training:
    """A fitted model and what its fit released."""

    fitted: Fitted
    plan: TrainingPlan
    releases: list[Release] = field(default_factory=list)
    seconds: float = 0.0
    rounds: int = 0


class Trainer:
    """Fits the models of one session; each once."""

    def __init__(self, federation: Federation, planner: Planner) -> None:
        self._federation = federation
        self._planner = planner
        self._fitted: dict[str, Training] = {}
        self._lock = threading.RLock()
        self._watch: Callable[[str], None] | None = None
        self._unroll: Callable[[Relation], Relation] = one_turn
        self._recording: Recording | None = None

    @contextlib.contextmanager
    def watched(
        self,
        watch: Callable[[str], None],
        recording: Recording,
        unroll: Callable[[Relation], Relation] = one_turn,
    ) -> Generator[None]:
        """One thread at a time fits, so that no model is fitted twice.

        Args:
            watch: Told each step.
            recording: Takes down what the fits and measurements in the body do.
            unroll: Gives the plan of a fit's rows with the loops in it run.
        """
        with self._lock:
            before = self._watch, self._recording, self._unroll
            self._watch, self._recording, self._unroll = watch, recording, unroll
            try:
                yield
            finally:
                self._watch, self._recording, self._unroll = before

    def resolve(self, logical: Relation) -> Relation:
        """The plan with every model fitted."""

        def rule(node: Relation) -> Relation:
            if isinstance(node, Predict) and isinstance(node.model, Model):
                _check_outputs(node, node.model.document)
            return Model(self.fit(node).fitted.document()) if isinstance(node, Train) else node

        return rewrite(logical, rule) if _trains(logical) else logical

    def outline(self, logical: Relation) -> Relation:
        """The plan as it would be, with unfitted models left blank: for explaining only."""
        if isinstance(logical, Train):
            return logical.input

        def rule(node: Relation) -> Relation:
            if not isinstance(node, Train):
                return node
            known = self._fitted.get(fingerprint(node))
            return Model(UNFITTED if known is None else known.fitted.document())

        return rewrite(logical, rule) if _trains(logical) else logical

    def training_plan(self, train: Train) -> TrainingPlan:
        """Decide where the model is fitted.

        Raises:
            PlanError: The rows join across sites and may not move: that needs vertical training.
            PolicyError: A site's policy refuses.
        """
        planned_input = self._resolved_input(train)
        catalogue = FederationCatalogue(self._federation)
        root = distribute(planned_input, self._federation.tables, catalogue.place)[-1][1]
        if isinstance(root, Parts):
            if all(
                not catalogue.may_ship(part, site, HUB)
                for site, part in zip(root.sites, root.tables, strict=True)
            ):
                return self._central(planned_input, "the rows of every site may move to the hub")
            parts = dict(zip(root.sites, root.tables, strict=True))
            reason = (
                f"the rows of {', '.join(parts)} may not leave: each site answers statistics of its own rows"
            )
            return self._local("horizontal", parts, catalogue, reason)
        sites = {node.site for node in root.walk() if isinstance(node, Scan) and node.site is not None}
        if len(sites) == 1 and HUB not in sites:
            (site,) = sites
            return self._local("site", {site: root}, catalogue, f"all rows are at {site}")
        try:
            return self._central(planned_input, "the rows may move to the hub")
        except PolicyError as error:
            if len(sites) < 2:
                raise
            raise PlanError(
                f"training over rows joined across {', '.join(sorted(sites))} needs vertical federated learning, "
                "which this version does not have",
                hint="declare a common partition scheme if equal keys live at one site; never is such data trained centrally "
                f"against a policy ({error.what})",
            ) from error

    def _resolved_input(self, train: Train) -> Relation:
        return self.resolve(self._unroll(train.input))

    def _local(
        self, mode: str, parts: Mapping[str, Relation], catalogue: FederationCatalogue, reason: str
    ) -> TrainingPlan:
        physical = {
            site: ending_at(
                place_plan(
                    part,
                    catalogue,
                    consumer=site,
                    prices=self._federation.prices,
                    warm=frozenset(self._federation.warm),
                ),
                site,
            )
            for site, part in parts.items()
        }
        return TrainingPlan(mode, parts, physical, reason)

    def _central(self, root: Relation, reason: str) -> TrainingPlan:
        planned = self._planner.plan(root)
        return TrainingPlan("central", {HUB: planned.stages[-1][1]}, {HUB: planned.physical}, reason)

    def fit(self, train: Train) -> Training:
        """The fitted model of a `Train` node; known ones are not fitted again.

        Raises:
            TrainingError: The data cannot be fitted.
            PolicyError: A site refuses.
        """
        key = fingerprint(train)
        with self._lock:
            if key not in self._fitted:
                self._fitted[key] = self._fit(train)
            return self._fitted[key]

    def known(self, train: Train) -> Training | None:
        """The training of a node that is already fitted."""
        return self._fitted.get(fingerprint(train))

    def _fit(self, train: Train) -> Training:
        began = time.perf_counter()
        plan = self.training_plan(train)
        self._say(f"training: {plan.mode}, {plan.reason}")
        with Cohort(
            self._federation, plan, train.features, train.target, fingerprint(train), self._recorded()
        ) as cohort:
            estimator = estimator_from_document(train.estimator)
            used = (*train.features, *filter(None, (train.target,)))
            schema = {name: train.input.schema[name] for name in used}
            fitted = fit(
                estimator, train.target or None, train.features, schema, cohort.ask,
                progress=self._progress, options=FitOptions(**json.loads(train.options), sites=tuple(sorted(plan.parts))),
            )  # fmt: skip
            return Training(fitted, plan, cohort.releases, time.perf_counter() - began, cohort.rounds)

    def _recorded(self) -> Recording:
        return self._recording or Recording(uuid.uuid4().hex)

    def evaluate(self, fitted: Fitted, table: Relation) -> Metrics:
        """Metrics of a fitted model over a table's rows, asked of the sites that hold them."""
        if fitted.score is None:
            raise TrainingError(
                "a transformer has nothing to evaluate",
                where="evaluate",
                hint="evaluate a model that predicts",
            )
        features, target = fitted.feature_names_in_, "" if fitted.target is None else fitted.target.column
        train = Train(table, "{}", target, features)
        plan = self.training_plan(train)
        generator = evaluation(fitted.kind, fitted.score, fitted.target)
        score = Measured(fitted.score, fitted.target).digest
        with Cohort(
            self._federation, plan, features, target, fingerprint(train), self._recorded(), score
        ) as cohort:
            statistic = next(generator)
            while True:
                try:
                    statistic = generator.send(cohort.ask(statistic))
                except StopIteration as stop:
                    return stop.value

    def _progress(self, step: str, iteration: int, loss: float | None, gradient: float | None) -> None:
        figures = ("" if loss is None else f", loss {loss:.6f}") + (
            "" if gradient is None else f", gradient {gradient:.2e}"
        )
        self._say(f"{step}, round {iteration}{figures}")

    def _say(self, text: str) -> None:
        if self._watch is not None:
            self._watch(text)


class Cohort:
    """The places that hold a fit's rows, prepared once and asked many times, side by side."""

    def __init__(
        self,
        federation: Federation,
        plan: TrainingPlan,
        features: tuple[str, ...],
        target: str,
        plan_hash: str,
        recording: Recording,
        score: str = "",
    ) -> None:
        self._federation = federation
        self._plan = plan
        self._features, self._target = features, target
        self._hash, self._score = plan_hash, score
        self._recording, self._number = recording, recording.begin()
        self._central: Prepared | None = None
        self._cancellation = Cancellation()
        self._limits: threadpool_limits
        self.releases: list[Release] = []
        self.rounds = 0
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(plan.parts)), thread_name_prefix="blossom-fit")

    def __enter__(self) -> Cohort:
        # the sites are the threads: a second BLAS thread each only makes small products wait for a core
        self._limits = threadpool_limits(1, user_api="blas")
        try:
            self._side_by_side(self._prepare, list(self._plan.physical))
        except BaseException as error:
            self.__exit__(error)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if any(exc):  # what still runs would run to its end for nobody
            self._cancellation.cancel()
            self._forget()
        self._pool.shutdown(wait=True)
        self._limits.restore_original_limits()
        self._forget()

    def _forget(self) -> None:
        if self._central is not None:
            self._central.close()
        for site in self._plan.parts:
            if site != HUB:
                self._federation.sites[site].forget(self._fit_run(site))

    def _fit_run(self, site: str) -> str:
        return f"{self._recording.run}-{site}"

    def _prepare(self, site: str) -> None:
        physical = self._plan.physical[site]
        execution = Execution(
            self._federation,
            physical,
            self._fit_run(site),
            self._hash,
            keep_result=site != HUB,
            cancellation=self._cancellation,
        )
        if site == HUB:
            try:
                self._central = Prepared.of(
                    execution.reader(), (*self._features, *filter(None, (self._target,))), ()
                )
            finally:
                self._worked(site, execution)
            return
        task = FitTask(
            self._fit_run(site),
            physical.result.key,
            self._features,
            self._target,
            self._federation.user.at(HUB),
            self._hash,
            self._score,
        )
        try:
            execution.keep(lambda: self._federation.sites[site].prepare(task))
        finally:
            execution.close(forget=False)
            self._worked(site, execution)

    def _side_by_side(self, step: Callable[[str], _T], sites: Sequence[str]) -> list[_T]:
        """A step at every site; raises the first cause, not that another site was stopped because of it."""
        errors: list[BaseException] = []

        def tried(site: str) -> _T:
            try:
                return step(site)
            except BaseException as error:
                errors.append(error)
                raise

        waiting = [self._pool.submit(copy_context().run, tried, site) for site in sites]
        wait(waiting, return_when=FIRST_EXCEPTION)
        if errors:
            if self._cancellation.cancelled:
                wait(waiting)  # the first to fail may have been stopped by another that is about to
            raise next((error for error in errors if isinstance(error, PolicyError)), errors[0])
        return [done.result() for done in waiting]

    def _worked(self, site: str, execution: Execution) -> None:
        self._recording.worked(self._number, site, execution)
        for release in execution.releases:
            self._released(release)

    def _released(self, release: Release) -> None:
        self.releases.append(release)
        self._recording.released(release)

    def ask(self, statistic: Statistic) -> State:
        """Every place's answer, merged in the order of their names."""
        self.rounds += 1
        spending = current_spending()
        if spending is not None:
            spending.check()
        names = sorted(self._plan.parts)
        answers = self._side_by_side(lambda site: self._answer(site, statistic), names)
        return fold(statistic, dict(zip(names, answers, strict=True)))

    def _answer(self, site: str, statistic: Statistic) -> State:
        if site == HUB:
            if self._central is None:
                raise TrainingError("the rows were not prepared")
            return self._central.answer(statistic)
        answer = self._federation.sites[site].answer(
            self._fit_run(site), statistic, self._federation.user.at(HUB)
        )
        self._released(Release(site, "fit", "updates", HUB, 0, answer.bytes, 0))
        return answer.state


def _check_outputs(node: Predict, document: str) -> None:
    """A prediction was planned before its model was fitted, when its classes were not known.

    Raises:
        TrainingError: The model has more outputs than planned.
    """
    fitted = fitted_from_document(document)
    if fitted.kind == "classifier" and len(outputs(document)) != len(node.outputs):
        raise TrainingError(
            f"the model has {len(fitted.classes_)} classes, and the prediction was planned for two",
            where="predict",
            hint="model.fit().predict(table) has one probability a class; the fit is remembered",
        )


def _trains(logical: Relation) -> bool:
    return any(isinstance(node, Train) for node in logical.walk())
