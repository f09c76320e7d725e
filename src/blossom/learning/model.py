"""A fitted model: its figures, its JSON document, its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, Scalar, finite
from blossom.learning.design import Design
from blossom.learning.estimator import Estimator, decode, encode, read_json
from blossom.learning.metrics import confusion_table
from blossom.learning.report import report
from blossom.learning.score import Score, vector
from blossom.learning.target import Target
from blossom.plan.errors import BlossomError, ConfigError, unknown

FORMAT = "blossom-model"
VERSION = 2
LARGEST_FILE = 256 << 20
"""Bytes of the largest model file that is read."""

_ROUNDS = {
    "round": pa.int64(),
    "step": pa.string(),
    "iteration": pa.int64(),
    "loss": pa.float64(),
    "gradient_norm": pa.float64(),
}
_HISTORY = {"round": pa.int64(), "site": pa.string(), "step": pa.string()}
_CALIBRATION = {
    "low": pa.float64(),
    "high": pa.float64(),
    "rows": pa.int64(),
    "predicted": pa.float64(),
    "observed": pa.float64(),
}
_KINDS = ("classifier", "regressor", "clusterer", "transformer")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted model.

    What scikit-learn's estimator would show is an attribute too: `theta_`, `var_`, `class_prior_`, `class_count_`, `epsilon_`
    (GaussianNB), `cluster_centers_`, `inertia_`, `cluster_sizes_` (KMeans), `components_`, `explained_variance_`,
    `explained_variance_ratio_`, `singular_values_`, `mean_`, `noise_variance_` (PCA).

    Attributes:
        estimator: What was fitted.
        kind: "classifier", "regressor", "clusterer" or "transformer".
        target: The target column and its classes; None where none is learned.
        target_type: The target column's type text, or "".
        feature_names_in_: The feature columns that prediction reads.
        feature_names_out: A name a coefficient, or a transformer's output.
        design: The features of the score, or a transformer's outputs.
        score: What predicts; None for a transformer.
        attributes: The attributes with scikit-learn's names, by name.
        n_iter_: Steps.
        rows: Rows fitted on, over all sites.
        metrics: Figures by name; None where one is withheld.
        withheld: Why a figure is withheld.
        measured_on: The rows that `metrics` describe, in words.
        confusion: See `metrics.Metrics`.
        calibration: See `metrics.Metrics`.
        history: One row a round and site: round, site, step.
        rounds: One row a round: round, step, iteration, loss (a row), gradient_norm (a row).
    """

    estimator: Estimator
    kind: str
    target: Target | None
    target_type: str
    feature_names_in_: tuple[str, ...]
    feature_names_out: tuple[str, ...]
    design: Design
    score: Score | None
    attributes: Mapping[str, Floats]
    n_iter_: int
    rows: int
    metrics: Mapping[str, float | None]
    withheld: Mapping[str, str]
    measured_on: str
    confusion: pa.Table | None
    calibration: pa.Table | None
    history: pa.Table
    rounds: pa.Table

    @property
    def classes_(self) -> tuple[Scalar, ...]:
        """The classes, in order; of two, `probability` is that of the second. Empty without classes."""
        return () if self.target is None else self.target.classes or ()

    @property
    def coef_(self) -> Floats:
        """Coefficients of a linear model over the pipeline's features; (1 or classes, features) for a classifier."""
        return self._attribute("coef_")

    @property
    def intercept_(self) -> Floats | float:
        """The intercept of a linear model; one a row of `coef_` for a classifier, else a number."""
        found = self._attribute("intercept_")
        return found if found.ndim else float(found)

    def _attribute(self, name: str) -> Floats:
        if name not in self.attributes:
            known = ", ".join(self.attributes) or "none"
            raise AttributeError(f"a fitted {type(self.estimator).__name__} has no {name!r}; it has {known}")
        return self.attributes[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not name.endswith("_"):
            raise AttributeError(name)
        found = self._attribute(name)
        return found if found.ndim else float(found)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.attributes})

    def report(self) -> str:
        """The coefficients and the metrics as text."""
        return report(self)

    def document(self) -> str:
        """The model as JSON text; floats are exact (the shortest text that reads back as the same float)."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "estimator": encode(self.estimator),
                "kind": self.kind,
                "target": None if self.target is None else self.target.to_document(),
                "target_type": self.target_type,
                "features": list(self.feature_names_in_),
                "names": list(self.feature_names_out),
                "design": self.design.to_document() if self.score is None else None,
                "score": None if self.score is None else self.score.to_document(),
                "attributes": {name: _written(value) for name, value in self.attributes.items()},
                "iterations": self.n_iter_,
                "rows": self.rows,
                "metrics": dict(self.metrics),
                "withheld": dict(self.withheld),
                "measured_on": self.measured_on,
                "confusion": None if self.confusion is None else self.confusion["rows"].to_pylist(),
                "calibration": None if self.calibration is None else self.calibration.to_pydict(),
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
    "format", "version", "estimator", "kind", "target", "target_type", "features", "names", "design", "score",
    "attributes", "iterations", "rows", "metrics", "withheld", "measured_on", "confusion", "calibration", "history", "rounds",
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
    if doc["kind"] not in _KINDS:
        raise ConfigError(f"a model is one of {', '.join(_KINDS)}")
    target = None if doc["target"] is None else Target.from_document(doc["target"])
    score = None if doc["score"] is None else Score.from_document(doc["score"])
    _fit_together(doc["kind"], target, score)
    if (score is None) != (doc["design"] is not None):
        raise ConfigError("a model has a score or a design")
    design = Design.from_document(doc["design"]) if score is None else score.design
    features, names = _texts(doc["features"]), _texts(doc["names"])
    if not len(names) == design.width:
        raise ConfigError("the model's names and features differ in number")
    if not set(design.columns) <= set(features):
        raise ConfigError("the model reads columns that it does not name")
    target_type = _text(doc["target_type"])
    classes = None if target is None else target.classes
    if classes is not None:
        pa.array(list(classes)).cast(class_type(target_type))
    confusion = None
    if doc["confusion"] is not None:
        confusion = _confusion(_list(doc["confusion"]), classes or ())
    return Fitted(
        estimator=estimator,
        kind=doc["kind"],
        target=target,
        target_type=target_type,
        feature_names_in_=features,
        feature_names_out=names,
        design=design,
        score=score,
        attributes={_text(name): _read_array(value) for name, value in _object(doc["attributes"]).items()},
        n_iter_=_count(doc["iterations"]),
        rows=_count(doc["rows"]),
        metrics={_text(k): None if v is None else finite(v) for k, v in _object(doc["metrics"]).items()},
        withheld={_text(k): _text(v) for k, v in _object(doc["withheld"]).items()},
        measured_on=_text(doc["measured_on"]),
        confusion=confusion,
        calibration=None if doc["calibration"] is None else _table(doc["calibration"], _CALIBRATION),
        history=_table(doc["history"], _HISTORY),
        rounds=_table(doc["rounds"], _ROUNDS),
    )


_LINKS = {
    "classifier": ("logistic", "softmax"),
    "regressor": ("identity", "log"),
    "clusterer": ("nearest",),
}


def _fit_together(kind: str, target: Target | None, score: Score | None) -> None:
    classes = None if target is None else target.classes
    supervised = kind in ("classifier", "regressor")
    if supervised != (target is not None) or (kind == "classifier") != (classes is not None):
        raise ConfigError(f"a {kind} has another target than its document says")
    if (None if score is None else score.link) not in _LINKS.get(kind, (None,)):
        raise ConfigError(f"a {kind} has another score than its document says")
    if score is not None and classes is not None:
        several = score.outputs if score.link == "softmax" else 2
        if several < 2 or len(classes) != several:
            raise ConfigError("the model's classes and scores differ in number")


def _confusion(rows: list[object], classes: tuple[Scalar, ...]) -> pa.Table:
    shape = (len(classes), len(classes))
    counts = [0 if value is None else _count(value) for value in rows]
    unknown_cells = [value is None for value in rows]
    return confusion_table(
        classes,
        np.asarray(counts, np.int64).reshape(shape),
        np.asarray(unknown_cells, np.int64).reshape(shape),
    )


def _written(value: Floats) -> dict[str, Any]:
    return {"shape": list(value.shape), "values": np.ravel(value).tolist()}


def _read_array(value: object) -> Floats:
    parts = _object(value)
    if parts.keys() != {"shape", "values"}:
        raise ConfigError("an attribute of a model is a shape and values")
    return vector(parts["values"]).reshape([_count(size) for size in _list(parts["shape"])])


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ConfigError("expected a list in the model document")
    return cast("list[object]", value)


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


def class_type(text: str) -> pa.DataType:
    """The Arrow type of a class column's type text.

    Raises:
        ConfigError: It is no type that has classes.
    """
    if text not in CLASS_TYPES:
        what, hint = unknown("class type", text, CLASS_TYPES)
        raise ConfigError(what, hint=hint)
    return CLASS_TYPES[text]
