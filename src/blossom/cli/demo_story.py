"""What the demo does, step by step: every figure it shows is measured here."""

from __future__ import annotations

import inspect
import resource
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

import blossom
from blossom.cli.demo_figures import (
    AGGREGATE,
    AUC_BOUND,
    EXACT,
    Coefficient,
    Figures,
    HeldBack,
    Promise,
    Quality,
    Question,
    Refused,
    Round,
    SiteFigures,
    Training,
)
from blossom.cli.demo_pooled import Cell, Pooled, columns_of, quality, witness
from blossom.cli.figures import left
from blossom.cli.pipeline_file import load_module
from blossom.cli.progress import Reporter
from blossom.fedpy.connect import connect
from blossom.fedpy.model import FittedModel
from blossom.fedpy.outline import phrase
from blossom.fedpy.results import Run
from blossom.fedpy.session import Session
from blossom.plan.errors import BlossomError, PolicyError
from blossom.policy.model import TablePolicy

STEPS = 8
"""Steps that are reported."""


HOW = "training: "
"""What the event begins with that tells how a model is fitted."""


def example() -> Path:
    """The pipeline that the demo runs: the checkout's own file, or the copy that the wheel carries."""
    package = Path(blossom.__file__).parent
    checkout = package.parents[1] / "examples" / "flights.py"
    return checkout if checkout.is_file() else package / "cli" / "example_flights.py"


class Story:
    """One telling of the demo.

    Args:
        config: The federation that `demo_data.prepare` made.
        reporter: Told of each step.
        began: When the demo began, by `time.perf_counter`.
    """

    def __init__(self, config: Path, reporter: Reporter, began: float) -> None:
        self._config = config
        self._reporter = reporter
        self._began = began
        self._parts: dict[str, float] = {"preparing the data": time.perf_counter() - began}
        self._runs: dict[str, Run] = {}
        self._path = example()

    def tell(self) -> Figures:
        """Run everything and measure it."""
        module = load_module(self._path)
        with connect(self._config) as fed, Pooled() as pooled:
            self._part("opening three sites")
            question = self._question(module, fed, pooled)
            refused = self._refused(module, fed)
            return self._model(module, fed, pooled, question, refused)

    def _part(self, name: str) -> None:
        """The time since the last part went into this one."""
        self._parts[name] = time.perf_counter() - self._began - sum(self._parts.values())

    def _ran(self, name: str, fed: Session) -> None:
        if fed.last_run is None:
            raise AssertionError("something ran")
        self._runs[name] = fed.last_run

    def _question(self, module: ModuleType, fed: Session, pooled: Pooled) -> Question:
        self._reporter.step("asking: which carriers arrive late?")
        carriers = module.delay_by_carrier(fed)
        plan = fed.explain(carriers)
        run = fed.run(carriers)
        self._ran("delay by carrier", fed)
        passed: set[tuple[str, str]] = set()
        for site in fed.federation.sites:
            # A site asked alone gives the same cells, and so shows which it let out.
            alone = fed.run(module.delay_by_carrier(_At(fed, site)))
            self._ran(f"delay by carrier at {site}", fed)
            passed |= {(site, carrier) for carrier in alone.result.column("carrier").to_pylist()}
        cells = pooled.cells()
        answer = run.result.to_pylist()
        self._part("delay by carrier")
        return Question(
            _source(module.delay_by_carrier),
            plan.text(),
            plan.to_dict(),
            answer,
            dict(run.withheld),
            [HeldBack(*key, cell.flights, cell.aircraft) for key, cell in cells.items() if key not in passed],
            _difference(answer, {key: cell for key, cell in cells.items() if key in passed}),
        )

    def _refused(self, module: ModuleType, fed: Session) -> Refused:
        self._reporter.step("asking for rows, which the sites refuse")
        source = _source(module.refused)
        try:
            fed.run(module.refused(fed))
        except PolicyError as error:
            self._ran("the ten latest flights", fed)
            self._part("the refused query")
            told = [{key: getattr(refusal, key) for key in refusal.__slots__} for refusal in error.refusals]
            return Refused(source, str(error), told)
        raise BlossomError(
            "a site gave rows of flights",
            where="the ten latest flights",
            hint=f"the demo's policies release aggregates; see `release` in {self._config}",
        )

    def _model(
        self, module: ModuleType, fed: Session, pooled: Pooled, question: Question, refused: Refused
    ) -> Figures:
        self._reporter.step("fitting a model at the three sites")
        fed.progress = self._reporter.note
        began = time.perf_counter()
        late = module.model(fed)
        fitted = late.fit()
        seconds = time.perf_counter() - began
        self._ran("the fit", fed)
        told = (event.text for event in self._runs["the fit"].events)
        how = next(text.removeprefix(HOW) for text in told if text.startswith(HOW))
        self._part("the fit")

        self._reporter.step("measuring it on July to December, where the rows are")
        measured = _quality("federated", fitted.evaluate(_months(module, fed, first=False)))
        self._ran("the measuring", fed)
        months = fed.run(module.by_month(fed, late)).result.to_pylist()
        self._ran("predictions by month", fed)
        fed.progress = None
        self._part("measuring and predicting")

        self._reporter.step("for comparison: the same model of the pooled rows")
        known = _named(fitted)
        reference, exact, training, held_out = self._reference(module, pooled, known)
        self._part("the pooled model")
        compared = [measured, exact]
        promises = self._promises(question, known, reference, measured, exact)
        by_library = witness()
        self._reporter.step("for comparison: scikit-learn" if by_library else "scikit-learn is not installed")
        if by_library is not None:
            coefficients, theirs = by_library(training, held_out)
            compared.append(theirs)
            promises.append(
                Promise(
                    "coefficients: largest difference from scikit-learn's",
                    _furthest(known, coefficients),
                    EXACT,
                )
            )
            self._part("scikit-learn")

        self._reporter.step("adding up what left")
        total = left(self._runs.values(), fed.federation.sites)
        rows = sum(size for own in total.values() for kind, size in own.items() if kind not in ("aggregates", "updates"))  # fmt: skip
        promises.append(Promise("rows: bytes that left a site", float(rows), 0.0))
        rounds = [
            Round(row["round"], row["step"], row["loss"], row["gradient_norm"])
            for row in fitted.rounds.to_pylist()
        ]
        coefficients = [Coefficient(name, value, reference[name]) for name, value in known.items()]
        return Figures(
            config=str(self._config),
            example=str(self._path),
            flights=pooled.count(),
            sites=_sites(fed),
            question=question,
            refused=refused,
            training=Training(_source(module.model), how, fitted.rows, seconds, rounds, coefficients),
            quality=compared,
            months=months,
            left=total,
            promises=promises,
            records=str(fed.records.path),
            runs={name: run.id for name, run in self._runs.items()},
            parts=self._parts,
            seconds=time.perf_counter() - self._began,
            peak_bytes=_peak_bytes(),
        )

    def _reference(
        self, module: ModuleType, pooled: Pooled, known: Iterable[str]
    ) -> tuple[Mapping[str, float], Quality, pa.Table, pa.Table]:
        """The pooled model's coefficients, its quality by definition, and the rows it was fitted and measured on."""
        fed = pooled.federation(
            name.removeprefix("carrier_") for name in known if name.startswith("carrier_")
        )
        fitted = module.model(fed).fit()
        rest = fed.run(fitted.predict(_months(module, fed, first=False))).result
        first = fed.run(_months(module, fed, first=True)).result
        late, probability = columns_of(rest, "late", "probability")
        kept = [*module.NUMBERS, "carrier", "late"]
        return (
            _named(fitted),
            quality("pooled rows", late, probability),
            first.select(kept),
            rest.select(kept),
        )

    def _promises(
        self,
        question: Question,
        known: Mapping[str, float],
        reference: Mapping[str, float],
        measured: Quality,
        exact: Quality,
    ) -> list[Promise]:
        return [
            Promise(
                "delay by carrier: relative difference from the pooled rows", question.difference, AGGREGATE
            ),
            Promise("AUC: difference from the pooled model's", abs(measured.auc - exact.auc), AUC_BOUND),
            Promise("AUC: the bound that is stated with it", measured.auc_bound, AUC_BOUND),
            Promise(
                "log loss: difference from the pooled model's", abs(measured.log_loss - exact.log_loss), EXACT
            ),
            Promise(
                "coefficients: largest difference from the pooled model's", _furthest(known, reference), EXACT
            ),
        ]


class _At:
    """A session as a pipeline sees it, with every table at one site only."""

    def __init__(self, fed: Session, site: str) -> None:
        self._fed, self._site = fed, site

    def table(self, name: str) -> Any:
        """This site's part."""
        return self._fed.table(name, site=self._site)


def _months(module: ModuleType, fed: Session, *, first: bool) -> Any:
    """The features of the first or the second half of the year."""
    table = module.features(fed)
    return table.filter(table.month <= 6 if first else table.month > 6)


def _source(function: Callable[..., Any]) -> str:
    """A function's body as it stands in its file, without its docstring."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()[1:]
    body = textwrap.dedent("\n".join(lines))
    closing = body.find('"""', 3)
    return body[closing + 3 :].strip("\n") if body.startswith('"""') else body


def _sites(fed: Session) -> list[SiteFigures]:
    found: list[SiteFigures] = []
    for site, description in fed.federation.descriptions.items():
        kinds = {platform.name: platform.kind for platform in description.platforms}
        tables = description.tables
        engines = dict.fromkeys(kinds[table.config.platform] for table in tables.values())
        found.append(
            SiteFigures(
                site,
                description.title,
                ", ".join(engines),
                {name: Path(table.config.source.source or "").name for name, table in tables.items()},
                {name: _may_leave(table.config.policy) for name, table in tables.items()},
            )
        )
    return found


def _may_leave(policy: TablePolicy) -> str:
    if policy.release == "aggregates":
        return f"aggregates over {policy.min_group}+ {policy.privacy_unit}"
    return phrase(policy)


def _named(fitted: FittedModel) -> dict[str, float]:
    names = ("(intercept)", *fitted.feature_names_out)
    values = [*np.ravel(fitted.intercept_).tolist(), *np.ravel(fitted.coef_).tolist()]
    return dict(zip(names, values, strict=True))


def _furthest(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """The largest difference of two models' coefficients; infinite where they do not have the same ones."""
    if ours.keys() != theirs.keys():
        return float("inf")
    return max(abs(value - theirs[name]) for name, value in ours.items())


def _quality(name: str, metrics: Mapping[str, float | None]) -> Quality:
    figures = {key: float("nan") if value is None else value for key, value in metrics.items()}
    return Quality(name, int(figures["rows"]), figures["auc"], figures["auc_bound"], figures["log_loss"])


def _difference(answer: list[dict[str, Any]], cells: Mapping[tuple[str, str], Cell]) -> float:
    """The largest relative difference of counts and means from the cells; infinite where a carrier is missing or too many."""
    if {row["carrier"] for row in answer} != {carrier for _, carrier in cells}:
        return float("inf")
    furthest = 0.0
    for row in answer:
        own = [cell for (_, carrier), cell in cells.items() if carrier == row["carrier"]]
        flights = sum(cell.flights for cell in own)
        mean = sum(cell.delay for cell in own) / flights
        furthest = max(
            furthest,
            abs(row["flights"] - flights) / flights,
            abs(row["delay"] - mean) / max(abs(mean), 1e-300),
        )
    return furthest


def _peak_bytes() -> int:
    """The most memory that this process held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
