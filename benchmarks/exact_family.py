"""Every exact model beside scikit-learn's on the pooled rows: the largest differences, over skewed, tiny and one-class sites.

Run it with `python benchmarks/exact_family.py`. Each data set is sorted by its target and cut into four sites: one of a single
class (or of the smallest targets), one of three rows, an empty one, and the rest; each site answers statistics of its own rows.
The sites' minimum is 1 here, so that three rows may answer; what larger minima refuse, the tests show.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn import cluster, decomposition, linear_model, naive_bayes, preprocessing
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from blossom import learning
from blossom.learning import Estimator, FitOptions, Fitted, State, Statistic, answer, fit, fold, predictor
from blossom.plan.schema import Schema

TARGET = "target"


@dataclass(frozen=True)
class Data:
    """A data set: features, target, and whether the target is a class."""

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: bool

    @property
    def table(self) -> pa.Table:
        """The rows, sorted by the target."""
        columns = {f"x{i}": column for i, column in enumerate(self.x.T)}
        return pa.table({**columns, TARGET: self.y})

    @property
    def sites(self) -> dict[str, pa.Table]:
        """Four sites: the first eighth (one class), three rows, none, the rest."""
        table, first = self.table, len(self.y) // 20
        cuts = {
            "alike": (0, first),
            "tiny": (first, 3),
            "empty": (first + 3, 0),
            "rest": (first + 3, len(self.y)),
        }
        return {name: table.slice(start, count) for name, (start, count) in cuts.items()}


def data_sets() -> list[Data]:
    """Five data sets; the last is generated."""
    digits = load_digits()
    random = np.random.default_rng(8)
    x = np.column_stack(
        [random.normal(size=3000), random.exponential(3.0, size=3000), random.random(3000) < 0.2]
    )
    counts = random.poisson(np.exp(0.4 * x[:, 0] + 0.15 * x[:, 1] - 0.8 * x[:, 2] - 0.7)).astype(float)
    cancer, wine, diabetes = load_breast_cancer(), load_wine(), load_diabetes()
    found = [
        Data("breast cancer", cancer.data[:, :10], cancer.target, True),
        Data("digits", digits.data[:, [10, 20, 21, 26, 28, 36, 42, 43]], digits.target, True),
        Data("wine", wine.data, wine.target, True),
        Data("diabetes", diabetes.data, diabetes.target, False),
        Data("skewed counts", x, counts, False),
    ]
    ordered: list[Data] = []
    for data in found:
        order = np.argsort(data.y, kind="stable")
        ordered.append(Data(data.name, data.x[order], data.y[order], data.classes))
    return ordered


def federated(estimator: Estimator, data: Data, supervised: bool) -> Fitted:
    """The model of the sites."""
    sites = data.sites

    def ask(statistic: Statistic) -> State:
        return fold(statistic, {name: answer(statistic, table.to_batches()) for name, table in sites.items()})

    features = [f"x{i}" for i in range(data.x.shape[1])]
    schema = Schema.from_pyarrow(data.table.schema)
    target = TARGET if supervised else None
    return fit(estimator, target, features, schema, ask, options=FitOptions(evaluate=False))


def outputs(fitted: Fitted, data: Data) -> list[np.ndarray]:
    """What the model's document makes of the pooled rows."""
    batch = data.table.combine_chunks().to_batches()[0]
    return [part.to_numpy(zero_copy_only=False) for part in predictor(fitted.document())(batch)]


def apart(a: Any, b: Any) -> float:
    """The largest absolute difference."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max(initial=0.0))


Compared = Mapping[str, float]


def logistic(data: Data) -> Compared:
    """Coefficients (two classes), probabilities and predictions of logistic regression."""
    fitted = federated(learning.LogisticRegression(), data, True)
    pooled = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(
        data.x, data.y
    )
    label, *shares = outputs(fitted, data)
    found = np.column_stack(shares) if len(shares) > 1 else np.column_stack([1 - shares[0], shares[0]])
    return {
        "coefficients": apart(fitted.coef_, pooled.coef_),
        "probabilities": apart(found, pooled.predict_proba(data.x)),
        "predictions": apart(label, pooled.predict(data.x)),
    }


def bayes(data: Data) -> Compared:
    """Means, variances and probabilities of naive Bayes."""
    fitted = federated(learning.GaussianNB(), data, True)
    pooled = naive_bayes.GaussianNB().fit(data.x, data.y)
    _, *shares = outputs(fitted, data)
    found = np.column_stack(shares) if len(shares) > 1 else np.column_stack([1 - shares[0], shares[0]])
    return {
        "means": apart(fitted.theta_, pooled.theta_),
        "variances": float((np.abs(fitted.var_ - pooled.var_) / pooled.var_).max()),
        "probabilities": apart(found, pooled.predict_proba(data.x)),
    }


def regression(own: Estimator, pooled: Any) -> Callable[[Data], Compared]:
    """Relative differences of coefficients and predictions."""

    def compare(data: Data) -> Compared:
        fitted = federated(own, data, True)
        reference = pooled.fit(data.x, data.y)
        expected = reference.predict(data.x)
        return {
            "coefficients": apart(fitted.coef_, reference.coef_) / float(np.abs(reference.coef_).max()),
            "predictions": apart(outputs(fitted, data)[0], expected) / float(np.abs(expected).max()),
        }

    return compare


def clusters(data: Data) -> Compared:
    """Centres and clusters of k-means from given centres."""
    init = data.x[:: len(data.x) // 3][:3] + 0.01 * data.x.std(axis=0)
    fitted = federated(learning.KMeans(n_clusters=3, init=init), data, False)
    pooled = cluster.KMeans(3, init=init, n_init=1).fit(data.x)
    centres = apart(fitted.cluster_centers_, pooled.cluster_centers_)
    return {"centres": centres, "predictions": apart(outputs(fitted, data)[0], pooled.labels_)}


def components(data: Data) -> Compared:
    """Components (as far as they do not tie), variances and outputs."""
    fitted = federated(learning.PCA(n_components=2), data, False)
    pooled = decomposition.PCA(2, svd_solver="full").fit(data.x)
    return {
        "components": apart(fitted.components_, pooled.components_),
        "variances": float(np.abs(fitted.explained_variance_ / pooled.explained_variance_ - 1).max()),
        "outputs": apart(np.column_stack(outputs(fitted, data)), pooled.transform(data.x)),
    }


def scaled(own: Estimator, pooled: Any) -> Callable[[Data], Compared]:
    """Outputs of a scaler."""

    def compare(data: Data) -> Compared:
        found = np.column_stack(outputs(federated(own, data, False), data))
        return {"outputs": apart(found, pooled.fit_transform(data.x))}

    return compare


EVERYWHERE: dict[str, Callable[[Data], Compared]] = {
    "KMeans": clusters,
    "PCA": components,
    "StandardScaler": scaled(learning.StandardScaler(), preprocessing.StandardScaler()),
    "MinMaxScaler": scaled(learning.MinMaxScaler(), preprocessing.MinMaxScaler()),
}
CLASSES: dict[str, Callable[[Data], Compared]] = {"LogisticRegression": logistic, "GaussianNB": bayes}
NUMBERS: dict[str, Callable[[Data], Compared]] = {
    "LinearRegression": regression(learning.LinearRegression(), linear_model.LinearRegression()),
    "Ridge": regression(learning.Ridge(), linear_model.Ridge(solver="svd")),
    "PoissonRegressor": regression(
        learning.PoissonRegressor(),
        linear_model.PoissonRegressor(solver="newton-cholesky", tol=1e-12, max_iter=1000),
    ),
}
BOUNDS = {"LogisticRegression": 1e-6, "PoissonRegressor": 1e-6, "GaussianNB": 1e-6}
"""Largest difference that counts as equal; 1e-9 for the others."""


def main() -> int:
    """Print the table; the number of comparisons beyond their bound."""
    beyond = 0
    print(f"{'model':<20}{'data':<16}{'s':>6}  largest differences")
    for data in data_sets():
        for name, compare in {**(CLASSES if data.classes else NUMBERS), **EVERYWHERE}.items():
            began = time.perf_counter()
            found = compare(data)
            seconds = time.perf_counter() - began
            judged = {
                part: value
                for part, value in found.items()
                if (name, part) != ("LogisticRegression", "coefficients")
            }
            bad = max(judged.values()) > BOUNDS.get(name, 1e-9)
            beyond += bad
            told = ", ".join(f"{part} {value:.1e}" for part, value in found.items())
            print(f"{name:<20}{data.name:<16}{seconds:>6.2f}  {told}{'  BEYOND' if bad else ''}")
    print(f"{beyond} beyond their bound")
    return beyond


if __name__ == "__main__":
    sys.exit(main())
