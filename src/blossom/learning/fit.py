"""Fitting an estimator over sites: what to ask, in which order, until the model is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, bad_values
from blossom.learning.compose import Pipeline
from blossom.learning.design import Design, Levels
from blossom.learning.estimator import Estimator
from blossom.learning.metrics import Metrics, evaluation
from blossom.learning.model import Fitted
from blossom.learning.predicting import Predictor, Solution, Step, Steps, T, Task
from blossom.learning.preparation import (
    Asking,
    ColumnMoments,
    Knowledge,
    Role,
    Transformer,
    design_of,
    missing_column,
    output_moments,
    raw,
)
from blossom.learning.statistics import Categories, Classes, Moments, Part, State, Statistic, Together
from blossom.learning.statistics.base import floats, ints, number, scalar_list
from blossom.learning.target import Target
from blossom.plan.errors import ConfigError, PlanError, TrainingError
from blossom.plan.schema import datatype

Ask = Callable[[Statistic], State]
"""Puts a statistic to every site and gives the merged state (`statistics.fold`)."""

Progress = Callable[[str, int, float | None, float | None], None]
"""Told of each step: its name, iteration, loss a row, and the gradient's largest entry a row; None where it has none."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit.

    Attributes:
        validate: The share of units held out for the metrics; None: fit on all rows, and measure on the same.
        seed: Chooses the held-out units.
        evaluate: Whether to measure the fitted model at all.
        sites: The names of the sites that are asked, for the model's history.
    """

    validate: float | None = None
    seed: int = 0
    evaluate: bool = True
    sites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.validate is not None and not 0.0 < self.validate < 1.0:
            raise ConfigError(f"validate={self.validate!r} is not between 0 and 1")


@dataclass(frozen=True)
class Problem:
    """An estimator, resolved against a schema.

    Attributes:
        estimator: The whole estimator.
        predictor: Its last step, if that predicts; None where the last step is a transformer.
        transformers: The steps before (or all steps).
        target: The target column; None for an estimator that learns none.
        target_type: Its type's text, or "".
        features: The feature columns that are used, in the order given.
        roles: What each is used as; a column used in two ways stands twice.
        automatic: The columns whose categories are found in the data.
    """

    estimator: Estimator
    predictor: Predictor | None
    transformers: Pipeline | None
    target: str | None
    target_type: str
    features: tuple[str, ...]
    roles: tuple[tuple[str, Role], ...]
    automatic: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What the last step is."""
        return "transformer" if self.predictor is None else self.predictor.kind


def resolve(
    estimator: Estimator, target: str | None, features: Sequence[str] | None, schema: Mapping[str, str]
) -> Problem:
    """Check an estimator against the columns that it would be fitted on.

    Args:
        estimator: A predictor, a transformer, or a pipeline of them.
        target: The target column; None for KMeans and transformers, which learn none.
        features: The feature columns; None: all but the target. The problem keeps those that the estimator uses.
        schema: Column name -> type text.

    Raises:
        PlanError: A column is missing or has a type that its use does not fit; a target is missing, or given in vain.
        ConfigError: The estimator neither predicts nor transforms.
    """
    predictor, transformers = _parted(estimator)
    kind = "transformer" if predictor is None else predictor.kind
    supervised = kind in ("classifier", "regressor")
    last = type(transformers.steps[-1][1] if transformers is not None and predictor is None else predictor)
    if supervised != (target is not None):
        what = "learns a target" if supervised else "learns no target"
        hint = (
            'target="..."'
            if supervised
            else "leave target out, or end the pipeline in a classifier or regressor"
        )
        raise PlanError(f"{last.__name__} {what}", where="train", hint=hint)
    if target is not None and target not in schema:
        raise missing_column(target, list(schema), "target")
    given = list(features) if features is not None else [name for name in schema if name != target]
    for name in given:
        if name not in schema:
            raise missing_column(name, list(schema), "features")
    if target in given or len(set(given)) != len(given):
        raise PlanError("a feature is named twice, or is the target", where="features")
    roles: list[tuple[str, Role]] = (
        transformers.roles(given) if transformers else [(name, "numeric") for name in given]
    )
    automatic = transformers.automatic(given) if transformers else []
    for name, role in roles:
        _check_type(name, schema[name], role)
    if target is not None:
        _check_type(target, schema[target], "category" if kind == "classifier" else "numeric")
    used = {name for name, _ in roles}
    if not used:
        raise PlanError("no feature is left to fit on", hint="name features")
    return Problem(
        estimator,
        predictor,
        transformers,
        target,
        "" if target is None else schema[target],
        tuple(name for name in given if name in used),
        tuple(dict.fromkeys(roles)),
        tuple(dict.fromkeys(automatic)),
    )


def _parted(estimator: Estimator) -> tuple[Predictor | None, Pipeline | None]:
    """The last step, where it predicts, and the steps before."""
    steps: list[tuple[str, Estimator]] = (
        estimator.steps if isinstance(estimator, Pipeline) else [("only", estimator)]
    )
    last = steps[-1][1]
    if isinstance(last, Pipeline):
        predictor, inner = _parted(last)
        before = [*steps[:-1], *([] if inner is None else [("last", inner)])]
        return predictor, Pipeline(before) if before else None
    if isinstance(last, Predictor):
        return last, Pipeline(steps[:-1]) if len(steps) > 1 else None
    if isinstance(last, Transformer):
        return None, Pipeline(steps)
    raise ConfigError(
        f"{type(last).__name__} neither predicts nor transforms",
        hint="end the pipeline in a predictor, such as LogisticRegression, or in a transformer, such as PCA",
    )


def _check_type(name: str, text: str, role: Role) -> None:
    kind = datatype(text)
    numeric = role in ("numeric", "gaps")
    if numeric and not (kind.is_numeric() or kind.is_boolean()):
        raise PlanError(
            f"column {name!r} is {text}, not a number",
            hint="encode it: ColumnTransformer([('encode', OneHotEncoder(), [...])], remainder='passthrough')",
        )
    if not numeric and not (kind.is_string() or kind.is_integer() or kind.is_boolean()):
        raise PlanError(
            f"column {name!r} is {text}, which has no classes", hint="cast it to string or integer"
        )


def fit(
    estimator: Estimator,
    target: str | None,
    features: Sequence[str] | None,
    schema: Mapping[str, str],
    ask: Ask,
    *,
    progress: Progress | None = None,
    options: FitOptions | None = None,
    resume: Sequence[State] = (),
    keep: Callable[[State], None] | None = None,
) -> Fitted:
    """Fit an estimator by asking sites for statistics.

    Args:
        estimator: A predictor, a transformer, or a pipeline of them.
        target: The target column; None for KMeans and transformers, which learn none.
        features: The feature columns; None: all but the target.
        schema: Column name -> type text.
        ask: Puts a statistic to every site and gives the merged state.
        progress: Told of each step.
        options: Validation and history.
        resume: The states of a run that was cut off, in order; they are not asked for again.
        keep: Told each new state, so that the run can be resumed.

    Raises:
        PlanError: See `resolve`.
        TrainingError: The data cannot be fitted: no rows, unusable values, one class, separable classes.
        PolicyError: A site refuses.
    """
    run = steps(resolve(estimator, target, features, schema), options or FitOptions(), progress)
    known = iter(resume)
    step = next(run)
    while True:
        state = next(known, None)
        if state is None:
            state = ask(step.statistic)
            if keep is not None:
                keep(state)
        try:
            step = run.send(state)
        except StopIteration as stop:
            return stop.value


def steps(problem: Problem, options: FitOptions, progress: Progress | None = None) -> Steps[Fitted]:
    """The steps of a fit: yields each question, is sent its merged state, returns the fitted model."""
    log = _Log(progress)
    trained = _Rows(options, held_out=False)
    knowledge, rows = yield from _inspect(problem, trained, log)
    blocks = raw(problem.features)
    if problem.predictor is None:
        assert problem.transformers is not None, "an estimator without a predictor has transformers"
        finishing = problem.transformers.finish(blocks, knowledge)
        blocks, shown = yield from _asked("prepare", finishing, trained, log)
        nothing = Metrics({}, {})
        return _fitted(problem, options, None, design_of(blocks), shown, nothing, log, rows)
    if problem.transformers is not None:
        preparing = problem.transformers.prepare(blocks, knowledge)
        blocks = yield from _asked("prepare", preparing, trained, log)
    design = design_of(blocks)
    mean, deviation = yield from _asked("moments", output_moments(design, knowledge), trained, log)
    target_mean, shares = knowledge.learned
    task = Task(design, knowledge.target, mean, deviation, target_mean, shares, rows, log.record)
    solution = yield from _wrapped(problem.predictor.solve(task), trained)
    metrics = Metrics({}, {})
    if options.evaluate:
        metrics = yield from _evaluated(problem, knowledge.target, solution, options, log)
    return _fitted(
        problem, options, solution, design, solution.attributes, metrics, log, rows, knowledge.target
    )


class _Log:
    """The rounds of a fit as they happen."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.rows: list[tuple[str, int, float | None, float | None]] = []

    def record(self, name: str, iteration: int, loss: float | None, gradient: float | None) -> None:
        self.rows.append((name, iteration, loss, gradient))
        if self._progress is not None:
            self._progress(name, iteration, loss, gradient)


class _Rows:
    """Which rows a question is about: all, or one side of the validation split."""

    def __init__(self, options: FitOptions, *, held_out: bool) -> None:
        self._options = options
        self._held_out = held_out

    def of(self, statistic: Statistic) -> Statistic:
        if self._options.validate is None:
            return statistic
        return Part(statistic, float(self._options.validate), self._options.seed, self._held_out)


def _asked(name: str, asking: Asking[T], rows: _Rows, log: _Log) -> Steps[T]:
    """Ask for lists of statistics, each list in one pass."""
    iteration = 0
    try:
        wanted = next(asking)
        while True:
            together = Together(tuple(wanted))
            state = yield Step(name, iteration, rows.of(together))
            log.record(name, iteration, None, None)
            iteration += 1
            wanted = asking.send(together.separate(state))
    except StopIteration as stop:
        return stop.value


def _wrapped(solving: Steps[Solution], rows: _Rows) -> Steps[Solution]:
    try:
        step = next(solving)
        while True:
            state = yield Step(step.name, step.iteration, rows.of(step.statistic))
            step = solving.send(state)
    except StopIteration as stop:
        return stop.value


def _evaluated(
    problem: Problem, target: Target | None, solution: Solution, options: FitOptions, log: _Log
) -> Steps[Metrics]:
    rows = _Rows(options, held_out=options.validate is not None)
    evaluating = evaluation(problem.kind, solution.score, target)
    iteration = 0
    try:
        statistic = next(evaluating)
        while True:
            state = yield Step("evaluate", iteration, rows.of(statistic))
            log.record("evaluate", iteration, None, None)
            iteration += 1
            statistic = evaluating.send(state)
    except StopIteration as stop:
        return stop.value


def _inspect(problem: Problem, rows: _Rows, log: _Log) -> Steps[tuple[Knowledge, int]]:
    """The first pass: unusable values, moments of numeric columns, categories, classes."""
    numeric = [name for name, role in problem.roles if role == "numeric"]
    categorical = [name for name, role in problem.roles if role == "category"]
    # columns with gaps are described by the imputer that fills them
    design = Design(
        (
            *raw(numeric),
            *(Levels.plain(name, (), rest=False, drop=False) for name in categorical if name not in numeric),
        )
    )
    target = None if problem.target is None else Target(problem.target)
    classifier = problem.kind == "classifier"
    moments = Moments(design, None if classifier else target)
    together = Together(
        (
            moments,
            *(Categories(name) for name in problem.automatic),
            *((Classes(problem.target),) if classifier and problem.target is not None else ()),
        )
    )
    state = yield Step("inspect", 0, rows.of(together))
    log.record("inspect", 0, None, None)
    first, *rest = together.separate(state)
    for name, count in zip(moments.columns, ints(first, "bad").tolist(), strict=True):
        if count:
            raise bad_values(name, count)
    n = int(number(first, "n"))
    if not n:
        raise TrainingError("there are no rows to fit on", hint="check the filters and joins before training")
    mean, deviation = floats(first, "mean"), np.sqrt(floats(first, "m2") / n)
    known = {name: ColumnMoments(n, float(mean[i]), float(deviation[i])) for i, name in enumerate(numeric)}
    learned, shares = 0.0, np.zeros(0)
    if classifier and problem.target is not None:
        target, shares = _classes(problem.target, rest[-1])
    elif target is not None:
        learned = float(mean[-1])
    categories = {
        name: (scalar_list(own, "values"), ints(own, "rows").tolist())
        for name, own in zip(problem.automatic, rest, strict=False)
    }
    return Knowledge(target, known, categories, (learned, shares)), n


def _classes(name: str, state: State) -> tuple[Target, Floats]:
    classes, rows = scalar_list(state, "values"), ints(state, "rows")
    if len(classes) < 2:
        shown = ", ".join(map(repr, classes))
        raise TrainingError(
            f"target {name!r} has {len(classes)} classes over all sites ({shown or 'none'})",
            hint="a classifier needs at least 2 classes",
        )
    return Target(name, tuple(classes)), rows / rows.sum()


def _fitted(
    problem: Problem,
    options: FitOptions,
    solution: Solution | None,
    design: Design,
    shown: Mapping[str, Floats],
    metrics: Metrics,
    log: _Log,
    rows: int,
    target: Target | None = None,
) -> Fitted:
    names, iterations, losses, gradients = zip(*log.rows, strict=True)
    count = range(len(log.rows))
    rounds = pa.table(
        {
            "round": pa.array(count, pa.int64()),
            "step": pa.array(names, pa.string()),
            "iteration": pa.array(iterations, pa.int64()),
            "loss": pa.array(losses, pa.float64()),
            "gradient_norm": pa.array(gradients, pa.float64()),
        }
    )
    sites = sorted(options.sites)
    history = pa.table(
        {
            "round": pa.array([index for index in count for _ in sites], pa.int64()),
            "site": pa.array([site for _ in count for site in sites], pa.string()),
            "step": pa.array([name for name in names for _ in sites], pa.string()),
        }
    )
    on = "no rows"
    if metrics.values:
        on = "the fitted rows" if options.validate is None else f"held-out rows ({options.validate:.0%})"
    return Fitted(
        estimator=problem.estimator,
        kind=problem.kind,
        target=target,
        target_type=problem.target_type.removeprefix("!"),
        feature_names_in_=problem.features,
        feature_names_out=design.names,
        design=design if solution is None else solution.score.design,
        score=None if solution is None else solution.score,
        attributes=shown,
        n_iter_=1 if solution is None else solution.iterations,
        rows=rows,
        metrics=metrics.values,
        withheld=metrics.withheld,
        measured_on=on,
        confusion=metrics.confusion,
        calibration=metrics.calibration,
        history=history,
        rounds=rounds,
    )


__all__ = ["Ask", "FitOptions", "Problem", "Progress", "fit", "resolve", "steps"]
