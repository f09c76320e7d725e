"""Prediction by a model's document alone: from a batch's feature columns to output columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, Floats, Scalar
from blossom.learning.estimator import FORMAT as ESTIMATOR
from blossom.learning.estimator import VERSION as ESTIMATOR_VERSION
from blossom.learning.estimator import Estimator, decode, read_json
from blossom.learning.model import FORMAT, Fitted, class_type, fitted_from_document
from blossom.learning.score import Score
from blossom.plan.errors import ConfigError, TrainingError

Predict = Callable[[pa.RecordBatch], list[pa.Array]]


def predictor(document: str) -> Predict:
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
    score = model.score
    if score is None:
        return lambda batch: _columns(*model.design.lenient_matrix(batch))
    return lambda batch: _predicted(model, score, batch)


def _predicted(model: Fitted, score: Score, batch: pa.RecordBatch) -> list[pa.Array]:
    values, good = score.design.lenient_matrix(batch)
    bad = None if good.all() else ~good
    if model.kind == "regressor":
        return [pa.array(score.value(values), pa.float64(), mask=bad)]
    best = pa.array(score.best(values), pa.int64(), mask=bad)
    classes = model.classes_
    if not classes:
        return [best]
    labels = pa.array(list(classes)).cast(class_type(model.target_type))
    shares = score.probabilities(values)
    shown = shares[1:] if len(classes) == 2 else shares
    return [labels.take(best), *_columns(shown, good)]


def _columns(values: Floats, good: Bools) -> list[pa.Array]:
    bad = None if good.all() else ~good
    return [pa.array(np.ascontiguousarray(row), pa.float64(), mask=bad) for row in values]


def outputs(
    model: str | Estimator, name: str = "prediction", *, target_type: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Names and types of the columns that prediction adds.

    Args:
        model: A fitted model's document, an estimator, or an estimator's document. An estimator does not know its classes yet:
            two are taken for granted.
        name: Renames: `name` for the prediction, and `{name}_probability` for its probability; by default "prediction" and
            "probability". With more than two classes there is one probability a class, with `_{class}` appended.
        target_type: The target column's type, needed for a classifier that is not fitted yet.

    Raises:
        ConfigError: The model is neither, or a classifier's target type is missing.
        TrainingError: It transforms and does not predict.

    >>> from blossom.learning import LogisticRegression
    >>> outputs(LogisticRegression(), target_type="boolean")
    (('prediction', 'boolean'), ('probability', 'float64'))
    """
    estimator = model if isinstance(model, Estimator) else None
    classes: Sequence[Scalar] = ()
    if isinstance(model, str):
        if f'"{FORMAT}"' in model[:100]:
            fitted = fitted_from_document(model)
            estimator, target_type, classes = fitted.estimator, fitted.target_type, fitted.classes_
        else:
            read = decode(read_json(model, ESTIMATOR, ESTIMATOR_VERSION).get("estimator"))
            estimator = read if isinstance(read, Estimator) else None
    if estimator is None:
        raise ConfigError("this is no model and no estimator that predicts")
    match estimator.kind:
        case "regressor":
            return ((name, "float64"),)
        case "clusterer":
            return ((name, "int64"),)
        case "classifier":
            return _class_outputs(name, target_type, classes)
        case _:
            raise TrainingError(
                f"{type(estimator).__name__} is no model that predicts",
                where="predict",
                hint="it transforms: fit it, then use transform(table)",
            )


def _class_outputs(
    name: str, target_type: str | None, classes: Sequence[Scalar]
) -> tuple[tuple[str, str], ...]:
    if target_type is None:
        raise ConfigError("the output types of a classifier need its target's type", hint="give target_type")
    probability = "probability" if name == "prediction" else f"{name}_probability"
    own = target_type.removeprefix("!")
    class_type(own)
    if len(classes) > 2:
        return ((name, own), *((f"{probability}_{value}", "float64") for value in classes))
    return ((name, own), (probability, "float64"))


def transformed(model: str, prefix: str = "") -> tuple[tuple[str, str], ...]:
    """Names and types of the columns that a fitted transformer's document gives.

    Raises:
        ConfigError: The document is no model.
        TrainingError: The model predicts and does not transform.
    """
    fitted = fitted_from_document(model)
    if fitted.score is not None:
        raise TrainingError(
            f"{type(fitted.estimator).__name__} predicts and does not transform",
            where="transform",
            hint="use predict(table)",
        )
    return tuple((f"{prefix}{name}", "float64") for name in fitted.feature_names_out)
