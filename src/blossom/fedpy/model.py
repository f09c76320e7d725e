"""Models in a pipeline: `train` makes a lazy node, `fit` runs it, `predict` appends columns to a table."""
# pyright: basic, reportArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from blossom.fedpy.operators import session_of
from blossom.learning import Estimator, FitOptions, Fitted, outputs, resolve
from blossom.learning import load_model as read_model
from blossom.plan import from_ibis
from blossom.plan import operators as own
from blossom.plan.errors import PlanError, unknown
from blossom.plan.relations import Train


def train(
    estimator: Estimator,
    table: ir.Table,
    *,
    target: str,
    features: Sequence[str] | None = None,
    validate: float | None = None,
    seed: int = 0,
) -> Model:
    """A model to be fitted on a table: a node of the plan, fitted when it is first needed, once per session.

    Args:
        estimator: A predictor, or a pipeline that ends in one.
        table: The rows to learn from.
        target: The column to learn.
        features: The columns to learn from; None: all others.
        validate: The share of units held out for the metrics; None: all rows are fitted, and measured on.
        seed: Chooses the held-out units.

    Raises:
        PlanError: A column is missing or has a type that its use does not fit.
        ConfigError: The estimator does not end in a predictor.
    """
    session_of(table)
    schema = {name: str(kind) for name, kind in table.schema().items()}
    problem = resolve(estimator, target, features, schema)
    FitOptions(validate=validate, seed=seed)
    options = json.dumps({"validate": validate, "seed": seed})
    op = own.Train(table, estimator.to_document(), target, tuple(problem.features), options)
    return Model(op, estimator, schema[target])


class Model:
    """A model that is part of a pipeline and not fitted yet (or fitted already: the session remembers)."""

    def __init__(self, op: own.Train, estimator: Estimator, target_type: str) -> None:
        self.op = op
        self.estimator = estimator
        self._target_type = target_type

    def predict(self, table: ir.Table, *, name: str = "prediction") -> ir.Table:
        """The table with the model's outputs appended: `prediction`, and for classifiers `probability`.

        Args:
            table: Rows with the model's feature columns.
            name: Renames the prediction (its probability becomes `{name}_probability`).
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
        return f"Model({self.estimator!r}, target={self.op.target!r}, features={list(self.op.features)})"


class FittedModel:
    """A fitted model, bound to no data: predicts on any table of a session, evaluates where the rows are.

    Attributes are those of `learning.Fitted`: `coef_`, `intercept_`, `classes_`, `feature_names_in_`, `metrics`, `history`,
    `rounds`, `report()`, `save(path)`.
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

    def evaluate(self, table: ir.Table) -> Mapping[str, float | None]:
        """Metrics on another table that has the features and the target, as guarded aggregates of each site.

        Returns:
            For classifiers rows, accuracy, log_loss, auc and auc_bound (`auc` is within `auc_bound` of the pooled one); for
            regressors rows, r2, mse and mean_absolute_error. A withheld figure is None.
        """
        return session_of(table).evaluate(self.fitted, table).values

    def __repr__(self) -> str:
        return f"FittedModel({self.fitted.estimator!r}, target={self.fitted.target.column!r}, rows={self.fitted.rows})"


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
) -> ir.Table:
    columns = table.columns
    for name in features:
        if name not in columns:
            what, hint = unknown("column", name, columns)
            raise PlanError(f"{what}, which the model reads", where="predict", hint=hint)
    for name, _ in made:
        if name in columns:
            raise PlanError(
                f"there is already a column {name!r}",
                where="predict",
                hint="rename it: predict(table, name=...)",
            )
    return own.Predict(table, model, features, ibis.schema(dict(made))).to_expr()


def _node(session: Any, op: own.Train) -> Train:
    node = from_ibis.relation(op, in_memory=session._keep)
    assert isinstance(node, Train)
    return node
