"""A fitted model: its figures, its report, its JSON document, and prediction from that document alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from blossom.learning.design import Design, Floats, Scalar, Target, finite
from blossom.learning.estimator import Estimator, decode, encode, read_json
from blossom.learning.statistics.logistic import expit
from blossom.learning.statistics.scores import linear_scores
from blossom.plan.errors import BlossomError, ConfigError, unknown

FORMAT = "blossom-model"
VERSION = 1
LARGEST_FILE = 256 << 20
"""Bytes of the largest model file that is read."""

MOST_SHOWN = 60
"""Coefficients that a report shows."""

_ROUNDS = {
    "round": pa.int64(),
    "step": pa.string(),
    "iteration": pa.int64(),
    "loss": pa.float64(),
    "gradient_norm": pa.float64(),
}
_HISTORY = {"round": pa.int64(), "site": pa.string(), "step": pa.string()}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted linear model.

    Attributes:
        estimator: What was fitted.
        kind: "classifier" or "regressor".
        target: The target column and its classes.
        target_type: The target column's type text.
        feature_names_in_: The feature columns that prediction reads.
        feature_names_out: A name a coefficient.
        design: The centred and scaled features of the score.
        weights: The score's weights over `design`.
        bias: The score's constant over `design`.
        coef_: Coefficients over the pipeline's features; shape (1, features) for a classifier, else (features,).
        intercept_: Shape (1,) for a classifier, else a number.
        n_iter_: Newton steps.
        rows: Rows fitted on, over all sites.
        metrics: Figures by name; None where one is withheld.
        withheld: Why a figure is withheld.
        measured_on: The rows that `metrics` describe, in words.
        history: One row a round and site: round, site, step.
        rounds: One row a round: round, step, iteration, loss (a row), gradient_norm (a row).
    """

    estimator: Estimator
    kind: str
    target: Target
    target_type: str
    feature_names_in_: tuple[str, ...]
    feature_names_out: tuple[str, ...]
    design: Design
    weights: Floats
    bias: float
    coef_: Floats
    intercept_: Floats | float
    n_iter_: int
    rows: int
    metrics: Mapping[str, float | None]
    withheld: Mapping[str, str]
    measured_on: str
    history: pa.Table
    rounds: pa.Table

    @property
    def classes_(self) -> tuple[Scalar, ...]:
        """The classes, in order; `probability` is that of the second. Empty for a regressor."""
        return self.target.classes or ()

    def report(self) -> str:
        """The coefficients and the metrics as text."""
        names = ["(intercept)", *self.feature_names_out]
        values = [*np.ravel(self.intercept_).tolist(), *np.ravel(self.coef_).tolist()]
        shown = list(zip(names, values, strict=True))[:MOST_SHOWN]
        wide = max(len(name) for name, _ in shown)
        what = self.target.column
        if self.classes_:
            what += f" = {self.classes_[1]!r} (against {self.classes_[0]!r})"
        lines = [
            f"{self.estimator!r}",
            f"target: {what}; fitted on {self.rows:,} rows in {self.n_iter_} steps",
            "",
            f"{'coefficient':<{wide}}  value",
            *(f"{name:<{wide}}  {value: .6g}" for name, value in shown),
            *([f"... and {len(names) - len(shown)} more, see coef_"] if len(shown) < len(names) else []),
            "",
            f"metrics on {self.measured_on}",
        ]
        for name, value in self.metrics.items():
            told = f"withheld: {self.withheld.get(name, '')}" if value is None else f"{value:.6g}"
            lines.append(f"  {name:<18}  {told}")
        return "\n".join(lines)

    def document(self) -> str:
        """The model as JSON text; floats are exact (the shortest text that reads back as the same float)."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "estimator": encode(self.estimator),
                "kind": self.kind,
                "target": self.target.to_document(),
                "target_type": self.target_type,
                "features": list(self.feature_names_in_),
                "names": list(self.feature_names_out),
                "design": self.design.to_document(),
                "weights": self.weights.tolist(),
                "bias": self.bias,
                "coef": np.ravel(self.coef_).tolist(),
                "intercept": float(np.ravel(self.intercept_)[0]),
                "iterations": self.n_iter_,
                "rows": self.rows,
                "metrics": dict(self.metrics),
                "withheld": dict(self.withheld),
                "measured_on": self.measured_on,
                "history": self.history.to_pydict(),
                "rounds": self.rounds.to_pydict(),
            },
            allow_nan=False,
        )

    def save(self, path: str | Path) -> None:
        """Write the document to a file (UTF-8 JSON), replacing it at once or not at all."""
        target = Path(path)
        beside = target.with_name(target.name + ".part")
        beside.write_text(self.document(), encoding="utf-8")
        beside.replace(target)


_KEYS = {
    "format", "version", "estimator", "kind", "target", "target_type", "features", "names", "design", "weights", "bias",
    "coef", "intercept", "iterations", "rows", "metrics", "withheld", "measured_on", "history", "rounds",
}  # fmt: skip


def load_model(path: str | Path) -> Fitted:
    """Read a model that `Fitted.save` wrote. The file is parsed as JSON and checked; nothing in it is run.

    Raises:
        ConfigError: The file is missing, too large, or no model of this version.
    """
    source = Path(path)
    try:
        if source.stat().st_size > LARGEST_FILE:
            raise ConfigError("the file is too large for a model", where=str(path))
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read a model: {error}", where=str(path)) from error
    try:
        return fitted_from_document(text)
    except ConfigError as error:
        raise ConfigError(error.what, where=str(path), hint=error.hint) from error


def fitted_from_document(document: str) -> Fitted:
    """Read what `Fitted.document` wrote.

    Raises:
        ConfigError: The text is no model of this version.
    """
    doc = read_json(document, FORMAT, VERSION)
    if doc.keys() != _KEYS:
        odd = sorted(doc.keys() ^ _KEYS)
        raise ConfigError(f"a model document lacks or adds {', '.join(map(repr, odd[:5]))}")
    try:
        return _read(doc)
    except ConfigError:
        raise
    except (
        BlossomError,
        TypeError,
        ValueError,
        KeyError,
        OverflowError,
        RecursionError,
        pa.ArrowException,
    ) as error:
        raise ConfigError(f"not a valid model document: {error!s:.200}") from error


def _read(doc: dict[str, Any]) -> Fitted:
    estimator = decode(doc["estimator"])
    if not isinstance(estimator, Estimator) or doc["kind"] != estimator.kind:
        raise ConfigError("the model's estimator and kind do not fit")
    classifier = doc["kind"] == "classifier"
    if not classifier and doc["kind"] != "regressor":
        raise ConfigError("a model is a classifier or a regressor")
    target = Target.from_document(doc["target"])
    if classifier != (target.classes is not None) or (target.classes and len(target.classes) != 2):
        raise ConfigError("a classifier has two classes, a regressor none")
    design = Design.from_document(doc["design"])
    features, names = _texts(doc["features"]), _texts(doc["names"])
    weights, coef = _vector(doc["weights"]), _vector(doc["coef"])
    if not len(weights) == len(coef) == len(names) == design.width:
        raise ConfigError("the model's weights, names and features differ in number")
    if not set(design.columns) <= set(features):
        raise ConfigError("the model reads columns that it does not name")
    intercept = finite(doc["intercept"])
    target_type = _text(doc["target_type"])
    if target.classes is not None:
        pa.array(list(target.classes)).cast(_arrow(target_type))
    return Fitted(
        estimator=estimator,
        kind=doc["kind"],
        target=target,
        target_type=target_type,
        feature_names_in_=features,
        feature_names_out=names,
        design=design,
        weights=weights,
        bias=finite(doc["bias"]),
        coef_=coef[None, :] if classifier else coef,
        intercept_=np.asarray([intercept]) if classifier else intercept,
        n_iter_=_count(doc["iterations"]),
        rows=_count(doc["rows"]),
        metrics={_text(k): None if v is None else finite(v) for k, v in _object(doc["metrics"]).items()},
        withheld={_text(k): _text(v) for k, v in _object(doc["withheld"]).items()},
        measured_on=_text(doc["measured_on"]),
        history=_table(doc["history"], _HISTORY),
        rounds=_table(doc["rounds"], _ROUNDS),
    )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError("expected an object in the model document")
    return cast("dict[str, object]", value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"expected a text in the model document, got {value!r:.40}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError("expected a list of texts in the model document")
    return tuple(map(_text, cast("list[object]", value)))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ConfigError(f"expected a count in the model document, got {value!r:.40}")
    return value


def _vector(value: object) -> Floats:
    if not isinstance(value, list):
        raise ConfigError("expected a list of numbers in the model document")
    return np.asarray([finite(item) for item in cast("list[object]", value)], np.float64)


def _table(value: object, columns: Mapping[str, pa.DataType]) -> pa.Table:
    parts = _object(value)
    if parts.keys() != columns.keys():
        raise ConfigError("a model's table has other columns than expected")
    return pa.table({name: pa.array(parts[name], kind) for name, kind in columns.items()})


CLASS_TYPES = {
    "boolean": pa.bool_(),
    "string": pa.string(),
    **{
        f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")()
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
"""The Arrow type of each type of column that has classes."""


def _arrow(text: str) -> pa.DataType:
    if text not in CLASS_TYPES:
        what, hint = unknown("class type", text, CLASS_TYPES)
        raise ConfigError(what, hint=hint)
    return CLASS_TYPES[text]


def predictor(document: str) -> Callable[[pa.RecordBatch], list[pa.Array]]:
    """Prediction by a model's document.

    Args:
        document: What `Fitted.document` wrote.

    Returns:
        A function from a batch that holds the model's feature columns to its output columns, in the order and of the types of
        `outputs`. A row with a null, NaN or infinite feature has null outputs, as in SQL.

    Raises:
        ConfigError: The document is no model.
        TrainingError: (of the function) A feature column is missing or of a wrong type.
    """
    model = fitted_from_document(document)
    classes = model.target.classes
    labels = None if classes is None else pa.array(list(classes)).cast(_arrow(model.target_type))

    def predict(batch: pa.RecordBatch) -> list[pa.Array]:
        values, good = model.design.lenient_matrix(batch)
        scores = linear_scores(values, model.weights, model.bias)
        bad = None if good.all() else ~good
        if labels is None:
            return [pa.array(scores, pa.float64(), mask=bad)]
        codes = pa.array((scores > 0).astype(np.int64), pa.int64(), mask=bad)
        return [labels.take(codes), pa.array(expit(scores), pa.float64(), mask=bad)]

    return predict


def outputs(
    model: str | Estimator, name: str = "prediction", *, target_type: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Names and types of the columns that prediction adds.

    Args:
        model: A fitted model's document, an estimator, or an estimator's document.
        name: Renames: `name` for the prediction, and `{name}_probability` for its probability; by default "prediction" and
            "probability".
        target_type: The target column's type, needed for a classifier that is not fitted yet.

    Raises:
        ConfigError: The model is neither, or a classifier's target type is missing.

    >>> from blossom.learning import LogisticRegression
    >>> outputs(LogisticRegression(), target_type="boolean")
    (('prediction', 'boolean'), ('probability', 'float64'))
    """
    estimator = model if isinstance(model, Estimator) else None
    if isinstance(model, str):
        if f'"{FORMAT}"' in model[:100]:
            fitted = fitted_from_document(model)
            estimator, target_type = fitted.estimator, fitted.target_type
        else:
            read = decode(read_json(model, "blossom-estimator", VERSION).get("estimator"))
            estimator = read if isinstance(read, Estimator) else None
    if estimator is None or estimator.kind not in ("classifier", "regressor"):
        raise ConfigError("this is no model and no estimator that predicts")
    if estimator.kind == "regressor":
        return ((name, "float64"),)
    if target_type is None:
        raise ConfigError("the output types of a classifier need its target's type", hint="give target_type")
    probability = "probability" if name == "prediction" else f"{name}_probability"
    own = target_type.removeprefix("!")
    _arrow(own)
    return ((name, own), (probability, "float64"))
