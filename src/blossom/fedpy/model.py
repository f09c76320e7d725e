"""Models in a pipeline: `train` makes a lazy node, `fit` runs it, `predict` appends columns to a table."""
# pyright: basic, reportArgumentType=false

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from blossom.fedpy.operators import session_of
from blossom.learning import Estimator, FitOptions, Fitted, Metrics, outputs, resolve, transformed
from blossom.learning import load_model as read_model
from blossom.plan import from_ibis
from blossom.plan import operators as own
from blossom.plan.errors import PlanError, unknown
from blossom.plan.relations import Train


def train(
    estimator: Estimator,
    table: ir.Table,
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
    validate: float | None = None,
    seed: int = 0,
) -> Model:
    """A model to be fitted on a table: a node of the plan, fitted when it is first needed, once per session.

    Args:
        estimator: A predictor, a transformer, or a pipeline of them.
        table: The rows to learn from.
        target: The column to learn; None for KMeans, PCA and other estimators that learn none.
        features: The columns to learn from; None: all others.
        validate: The share of units held out for the metrics; None: all rows are fitted, and measured on.
        seed: Chooses the held-out units.

    Raises:
        PlanError: A column is missing or has a type that its use does not fit; the target is missing, or given in vain.
        ConfigError: The estimator neither predicts nor transforms.
    """
    session_of(table)
    schema = {name: str(kind) for name, kind in table.schema().items()}
    problem = resolve(estimator, target, features, schema)
    FitOptions(validate=validate, seed=seed)
    options = json.dumps({"validate": validate, "seed": seed})
    op = own.Train(table, estimator.to_document(), target or "", tuple(problem.features), options)
    return Model(op, estimator, None if target is None else schema[target])


class Model:
    """A model that is part of a pipeline and not fitted yet (or fitted already: the session remembers)."""

    def __init__(self, op: own.Train, estimator: Estimator, target_type: str | None) -> None:
        self.op = op
        self.estimator = estimator
        self._target_type = target_type

    def predict(self, table: ir.Table, *, name: str = "prediction") -> ir.Table:
        """The table with the model's outputs appended: `prediction`, and for classifiers `probability`.

        How many classes there are is known once the model is fitted: with more than two, use `fit().predict(table)`, which has
        one `probability_{class}` a class (the fit is remembered, not repeated).

        Args:
            table: Rows with the model's feature columns.
            name: Renames the prediction (its probability becomes `{name}_probability`).

        Raises:
            TrainingError: The estimator transforms and does not predict.
        """
        made = outputs(self.estimator, name, target_type=self._target_type)
        return _predicted(table, self.op, tuple(self.op.features), made)

    def fit(self) -> FittedModel:
        """Fit now, if the session has not done so already.

        Raises:
            TrainingError: The data cannot be fitted.
            PolicyError: A site refuses.
        """
        session = session_of(self.op.parent.to_expr())
        return FittedModel(session, session.fit(_node(session, self.op)).fitted)

    def explain(self) -> Any:
        """Where the model would be fitted and why; trains nothing."""
        return session_of(self.op.parent.to_expr()).explain(self.op.to_expr())

    def __repr__(self) -> str:
        target = f"target={self.op.target!r}, " if self.op.target else ""
        return f"Model({self.estimator!r}, {target}features={list(self.op.features)})"


class FittedModel:
    """A fitted model, bound to no data: predicts on any table of a session, evaluates where the rows are.

    Attributes are those of `learning.Fitted`: `coef_`, `intercept_`, `classes_`, `feature_names_in_`, `metrics`, `confusion`,
    `calibration`, `history`, `rounds`, `report()`, `save(path)`, and what scikit-learn's estimator has (`cluster_centers_`,
    `components_`, ...).
    """

    def __init__(self, session: Any, fitted: Fitted) -> None:
        self._session = session
        self.fitted = fitted

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "fitted":
            raise AttributeError(name)
        return getattr(self.fitted, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.fitted)})

    def predict(self, table: ir.Table, *, name: str = "prediction") -> ir.Table:
        """The table with the model's outputs appended; see `Model.predict`."""
        document = self.fitted.document()
        return _predicted(table, own.Model(document), self.fitted.feature_names_in_, outputs(document, name))

    def transform(self, table: ir.Table, *, prefix: str = "") -> ir.Table:
        """The table with a fitted transformer's outputs appended, such as `pca0`, `pca1`.

        Args:
            table: Rows with the model's feature columns.
            prefix: Stands before each output's name; a scaler's outputs are named like their columns and need one.

        Raises:
            TrainingError: The model predicts and does not transform.
        """
        document = self.fitted.document()
        made = transformed(document, prefix)
        return _predicted(
            table, own.Model(document), self.fitted.feature_names_in_, made, "transform", "prefix"
        )

    def evaluate(self, table: ir.Table) -> Evaluation:
        """Metrics on another table that has the features and the target, as guarded aggregates of each site.

        Returns:
            A mapping: for classifiers rows, accuracy, log_loss, with two classes auc (`accuracy` and `auc` are within
            `accuracy_bound` and `auc_bound` of the pooled ones); for regressors rows, r2, mse and mean_absolute_error; for KMeans
            rows and inertia. A withheld figure is None. Its attributes `confusion` and `calibration` are tables.
        """
        return Evaluation(session_of(table).evaluate(self.fitted, table))

    def __repr__(self) -> str:
        target = self.fitted.target
        learned = "" if target is None else f"target={target.column!r}, "
        return f"FittedModel({self.fitted.estimator!r}, {learned}rows={self.fitted.rows})"


class Evaluation(dict[str, float | None]):
    """Figures by name; `withheld` says why one is None, `confusion` and `calibration` are Arrow tables (see `learning.Metrics`)."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics.values)
        self.withheld = dict(metrics.withheld)
        self.confusion = metrics.confusion
        self.calibration = metrics.calibration


def predict(model: Model | FittedModel, table: ir.Table, *, name: str = "prediction") -> ir.Table:
    """The table with the model's outputs appended; the same as `model.predict(table)`."""
    return model.predict(table, name=name)


def load_model(path: str | Path) -> FittedModel:
    """Read a model that `save` wrote; nothing in the file is run.

    Raises:
        ConfigError: The file is missing, or no model of this version.
    """
    return FittedModel(None, read_model(path))


def _predicted(
    table: ir.Table,
    model: Any,
    features: tuple[str, ...],
    made: tuple[tuple[str, str], ...],
    verb: str = "predict",
    rename: str = "name",
) -> ir.Table:
    columns = table.columns
    for name in features:
        if name not in columns:
            what, hint = unknown("column", name, columns)
            raise PlanError(f"{what}, which the model reads", where=verb, hint=hint)
    for name, _ in made:
        if name in columns:
            raise PlanError(
                f"there is already a column {name!r}",
                where=verb,
                hint=f"rename it: {verb}(table, {rename}=...)",
            )
    return own.Predict(table, model, features, ibis.schema(dict(made))).to_expr()


def _node(session: Any, op: own.Train) -> Train:
    node = from_ibis.relation(op, in_memory=session._keep)
    assert isinstance(node, Train)
    return node
