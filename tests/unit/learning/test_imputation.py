"""Filling missing values and scaling to bounds, alone and in pipelines, against scikit-learn on the pooled rows."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn import decomposition, impute, linear_model, pipeline, preprocessing

from blossom.learning import (
    PCA,
    ColumnTransformer,
    LinearRegression,
    LogisticRegression,
    MinMaxScaler,
    OneHotEncoder,
    SimpleImputer,
    StandardScaler,
    make_pipeline,
    predictor,
)
from blossom.plan.errors import ConfigError, PlanError, PolicyError, TrainingError


@pytest.fixture(scope="module")
def holes(mixed):
    """The mixed rows with nulls and NaNs in a number, a text and a whole number."""
    random = np.random.default_rng(9)
    rows = mixed.num_rows
    a = np.where(random.random(rows) < 0.2, np.nan, mixed["a"].to_numpy())
    b = pa.array(mixed["b"].to_numpy(), mask=random.random(rows) < 0.1)
    city = pa.array(mixed["city"].to_pylist(), mask=random.random(rows) < 0.15)
    month = pa.array(mixed["month"].to_numpy(), mask=random.random(rows) < 0.15)
    return pa.table(
        {"a": a, "b": b, "city": city, "month": month, "late": mixed["late"], "delay": mixed["delay"]}
    )


def test_means_are_those_of_all_sites(lab, holes):
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LinearRegression())
    fitted = lab.run(estimator, lab.parted(holes, [400, 0, 11]), "delay", ["a", "b"], min_group=1)
    x, y = holes.select(["a", "b"]).to_pandas().to_numpy(float), holes["delay"].to_numpy()
    pooled = pipeline.make_pipeline(
        impute.SimpleImputer(), preprocessing.StandardScaler(), linear_model.LinearRegression()
    ).fit(x, y)
    np.testing.assert_allclose(fitted.coef_, pooled[-1].coef_, rtol=1e-9)
    assert fitted.intercept_ == pytest.approx(pooled[-1].intercept_, rel=1e-9)
    found = predictor(fitted.document())(holes.to_batches()[0])[0]
    assert not found.null_count
    np.testing.assert_allclose(found.to_numpy(), pooled.predict(x), rtol=1e-9, atol=1e-9)


def test_constants_and_frequent_categories(lab, holes):
    estimator = make_pipeline(
        ColumnTransformer(
            [
                ("n", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.5), PCA()), ["a", "b"]),
                (
                    "m",
                    make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")),
                    ["city"],
                ),
                ("w", SimpleImputer(strategy="most_frequent"), ["month"]),
            ]
        ),
        LogisticRegression(),
    )
    fitted = lab.run(estimator, lab.parted(holes, [500]), "late", None, min_group=10)
    frame = holes.to_pandas()
    numbers = decomposition.PCA(svd_solver="full").fit_transform(frame[["a", "b"]].fillna(-1.5))
    cities = preprocessing.OneHotEncoder(drop="first", sparse_output=False).fit_transform(
        frame[["city"]].fillna(frame["city"].mode()[0])
    )
    months = frame[["month"]].fillna(frame["month"].mode()[0]).to_numpy(float)
    x = np.column_stack([numbers, cities, months])
    pooled = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(
        x, holes["late"].to_numpy()
    )
    order = np.argsort(sorted(set(frame["city"].dropna())))
    assert order.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-6, atol=1e-9)
    assert fitted.feature_names_out[-1] == "month"


def test_a_text_may_be_its_own_category(lab, holes):
    estimator = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(), LinearRegression()
    )
    fitted = lab.run(estimator, lab.parted(holes, [700]), "delay", ["city"], min_group=10)
    assert "city_?" in fitted.feature_names_out


def test_what_cannot_be_filled(lab, holes, mixed):
    with pytest.raises(ConfigError, match="median"):
        SimpleImputer(strategy="median")
    with pytest.raises(ConfigError, match="fill_value"):
        SimpleImputer(strategy="constant")
    with pytest.raises(PlanError, match="not a number"):
        lab.run(make_pipeline(SimpleImputer(), LinearRegression()), {"s": holes}, "delay", ["city"])
    with pytest.raises(PlanError, match="not the output"):
        lab.run(
            make_pipeline(StandardScaler(), SimpleImputer(), LinearRegression()), {"s": mixed}, "delay", ["a"]
        )
    empty = pa.table({"x": pa.array([None] * 20, pa.float64()), "y": np.arange(20.0)})
    with pytest.raises(TrainingError, match="no value"):
        lab.run(make_pipeline(SimpleImputer(), LinearRegression()), {"s": empty}, "y")
    infinite = pa.table({"x": [np.inf, *range(19)], "y": np.arange(20.0)})
    with pytest.raises(TrainingError, match="'x' holds"):
        lab.run(make_pipeline(SimpleImputer(), LinearRegression()), {"s": infinite}, "y")
    with pytest.raises(TrainingError, match="'a' holds null"):
        lab.run(LinearRegression(), {"s": holes}, "delay", ["a"])


@pytest.mark.parametrize(("missing", "refused"), [(0, False), (3, True), (10, False)])
def test_a_gap_of_few_units_is_refused(lab, missing, refused):
    x = np.arange(1.0, 101.0)
    x[:missing] = np.nan
    table = pa.table({"x": x, "y": np.arange(1.0, 101.0) % 17 + 1})
    estimator = make_pipeline(SimpleImputer(), LinearRegression())
    if not refused:
        lab.run(estimator, {"s": table}, "y", min_group=10)
        return
    with pytest.raises(PolicyError) as caught:
        lab.run(estimator, {"s": table}, "y", min_group=10)
    assert (caught.value.refusals[0].column, caught.value.refusals[0].rule) == ("x", "feature cells")


def test_scaling_to_bounds(lab, mixed):
    x, y = lab.matrix(mixed, ["a", "b"]), mixed["delay"].to_numpy()
    bounds = list(zip(x.min(axis=0).tolist(), x.max(axis=0).tolist(), strict=True))
    pooled = preprocessing.MinMaxScaler(feature_range=(-1, 2)).fit_transform(x)
    reference = linear_model.LinearRegression().fit(pooled, y)
    given = make_pipeline(MinMaxScaler(feature_range=(-1, 2), bounds=bounds), LinearRegression())
    fitted = lab.run(given, lab.parted(mixed, [500]), "delay", ["a", "b"], min_group=10)
    np.testing.assert_allclose(fitted.coef_, reference.coef_, rtol=1e-9)
    asked = make_pipeline(MinMaxScaler(feature_range=(-1, 2)), LinearRegression())
    fitted = lab.run(asked, lab.parted(mixed, [500, 0]), "delay", ["a", "b"], min_group=1)
    np.testing.assert_allclose(fitted.coef_, reference.coef_, rtol=1e-9)
    with pytest.raises(PolicyError, match=r"(?s)extremes|single rows") as caught:
        lab.run(asked, lab.parted(mixed, [500]), "delay", ["a", "b"], min_group=10)
    assert caught.value.refusals[0].rule == "extremes"
    assert "bounds" in caught.value.refusals[0].allowed
    for bad in ([(1.0, 0.0)], [1.0, 2.0], [(1.0,)]):
        with pytest.raises(ConfigError):
            MinMaxScaler(bounds=bad)
    with pytest.raises(ConfigError, match="pairs for"):
        lab.run(make_pipeline(MinMaxScaler(bounds=bounds), LinearRegression()), {"s": mixed}, "delay", ["a"])
