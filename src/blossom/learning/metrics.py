"""How well a fitted model does over all sites: which statistics to ask, and the figures they make."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.area import auc
from blossom.learning.calibration import binary_figures
from blossom.learning.columns import Ints, Scalar
from blossom.learning.preparation import spread
from blossom.learning.score import Score
from blossom.learning.statistics import (
    ClassErrors,
    ClusterSums,
    Confusion,
    RegressionErrors,
    ScoreCells,
    State,
    Statistic,
)
from blossom.learning.statistics.base import floats, ints, number
from blossom.learning.target import Target

TOO_FEW = "fewer than min_group units"
NEAR = (
    "its groups of rows are too small, or differ from those of a known figure by fewer than min_group units"
)

BINARY = ("accuracy", "accuracy_bound", "log_loss", "auc", "auc_bound")
SEVERAL = ("accuracy", "accuracy_bound", "log_loss")


@dataclass(frozen=True)
class Metrics:
    """Figures by name; a withheld one is None, with its reason in `withheld`.

    Attributes:
        values: The figures. `accuracy` and `auc` lie within their `_bound` of the pooled ones.
        withheld: Why a figure is withheld.
        confusion: Of a classifier: one row for each class and predicted class: `actual`, `predicted`, `rows`; null where a
            site withholds its part.
        calibration: Of a classifier with two classes: one row a bin of the probability of the second: `low`, `high` (included),
            `rows`, `predicted` (mean probability), `observed` (share of the second class). Bins that a site cannot tell apart
            are one bin; None where a site tells none.
    """

    values: Mapping[str, float | None]
    withheld: Mapping[str, str]
    confusion: pa.Table | None = None
    calibration: pa.Table | None = None


def evaluation(kind: str, score: Score, target: Target | None) -> Generator[Statistic, State, Metrics]:
    """Yields the statistics that evaluate a fitted score, is sent their merged states, returns the figures.

    Args:
        kind: "classifier": rows, accuracy, accuracy_bound, log_loss, and with two classes auc, auc_bound.
            "regressor": rows, r2, mse, mean_absolute_error, and with a log link mean_poisson_deviance.
            "clusterer": rows, inertia.
        score: What predicts.
        target: What is predicted; None for a clusterer.

    A site with fewer than `min_group` units contributes nothing; `rows` says how many rows the figures describe.
    """
    if kind == "clusterer" or target is None:
        assert score.centres is not None, "a clusterer has centres"
        return cluster_metrics((yield ClusterSums(score.design, score.centres, verify=False)))
    if kind == "regressor":
        return regression_metrics((yield RegressionErrors(score, target)), score)
    errors = yield ClassErrors(score, target)
    rows = number(errors, "n")
    classes = target.classes or ()
    if not rows:
        return _nothing(BINARY if len(classes) == 2 else SEVERAL)
    if len(classes) > 2:
        return several_metrics(errors, (yield Confusion(score, target)), classes)
    centre = float(floats(errors, "mean")[0])
    deviation = np.sqrt(floats(errors, "m2") / rows)
    width = float(spread(deviation, np.asarray([centre]))[0])
    question = ScoreCells(score, target, centre, width)
    return classification_metrics(errors, (yield question), question)


def classification_metrics(errors: State, cells: State, question: ScoreCells) -> Metrics:
    """The figures of two classes, of the merged `ClassErrors` and `ScoreCells`."""
    rows = number(errors, "n")
    wrong, doubt, confused, calibration = binary_figures(cells, question)
    values: dict[str, float | None] = {
        "rows": rows,
        "accuracy": 1.0 - wrong / rows,
        "accuracy_bound": doubt / rows,
        "log_loss": number(errors, "loss") / rows,
        "auc": None,
        "auc_bound": None,
    }
    reason: str | None = None
    if number(cells, "withheld"):
        reason = f"a site has {TOO_FEW} of a class, or {NEAR}"
    else:
        found = auc(cells)
        if found is None:
            reason = "only one class among the rows"
        else:
            values["auc"], values["auc_bound"] = found
    withheld = {} if reason is None else {"auc": reason, "auc_bound": reason}
    return Metrics(values, withheld, confusion_table(question.target.classes or (), *confused), calibration)


def several_metrics(errors: State, confused: State, classes: tuple[Scalar, ...]) -> Metrics:
    """The figures of more than two classes, of the merged `ClassErrors` and `Confusion`."""
    rows = number(errors, "n")
    least, most = ints(confused, "errors").tolist()
    values: dict[str, float | None] = {
        "rows": rows,
        "accuracy": 1.0 - (least + most) / 2 / rows,
        "accuracy_bound": (most - least) / 2 / rows,
        "log_loss": number(errors, "loss") / rows,
    }
    table = confusion_table(classes, ints(confused, "rows"), ints(confused, "withheld"))
    return Metrics(values, {}, table)


def confusion_table(classes: tuple[Scalar, ...], rows: Ints, withheld: Ints) -> pa.Table:
    """A confusion matrix as a table.

    Args:
        classes: In order.
        rows: Shape (classes, classes).
        withheld: The same; above 0 where a site withholds its part.
    """
    names = pa.array(list(classes))
    count = len(classes)
    return pa.table(
        {
            "actual": names.take(pa.array(np.repeat(np.arange(count), count))),
            "predicted": names.take(pa.array(np.tile(np.arange(count), count))),
            "rows": pa.array(rows.ravel(), pa.int64(), mask=withheld.ravel() > 0),
        }
    )


def regression_metrics(errors: State, score: Score) -> Metrics:
    """r2, mse, mean_absolute_error, and with a log link mean_poisson_deviance, of the merged `RegressionErrors`."""
    rows = number(errors, "n")
    counts = score.link == "log"
    if not rows:
        return _nothing(("r2", "mse", "mean_absolute_error", *(("mean_poisson_deviance",) if counts else ())))
    squared, total = number(errors, "squared"), number(errors, "m2")
    constant, silent = total <= 0.0, bool(number(errors, "silent"))
    values: dict[str, float | None] = {
        "rows": rows,
        "r2": None if constant else 1.0 - squared / total,
        "mse": squared / rows,
        "mean_absolute_error": None if silent else number(errors, "absolute") / rows,
    }
    if counts:
        values["mean_poisson_deviance"] = 2.0 * number(errors, "deviance") / rows
    withheld = {"r2": "the target is constant"} if constant else {}
    if silent:
        withheld["mean_absolute_error"] = NEAR
    return Metrics(values, withheld)


def cluster_metrics(sums: State) -> Metrics:
    """rows and inertia of the merged `ClusterSums`; rows of clusters with too few units at their site do not count."""
    rows = float(ints(sums, "n").sum())
    if not rows:
        return _nothing(("inertia",))
    return Metrics({"rows": rows, "inertia": float(floats(sums, "squares").sum())}, {})


def _nothing(names: tuple[str, ...]) -> Metrics:
    values: dict[str, float | None] = {"rows": 0.0, **dict.fromkeys(names)}
    return Metrics(values, dict.fromkeys(names, TOO_FEW))
