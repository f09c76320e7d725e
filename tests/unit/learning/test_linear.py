"""The federated fit is the pooled fit: against scikit-learn on the pooled rows."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression as PooledLinear
from sklearn.linear_model import LogisticRegression as PooledLogistic
from sklearn.linear_model import Ridge as PooledRidge

from blossom.learning import LinearRegression, LogisticRegression, Ridge
from blossom.plan.errors import PlanError, TrainingError


def pooled_logistic(x, y, c=1.0, fit_intercept=True):
    model = PooledLogistic(
        C=c, fit_intercept=fit_intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000
    )
    return model.fit(x, y)


@pytest.mark.parametrize("sizes", [[], [300], [5, 560], [0, 100, 1, 0, 200]])
@pytest.mark.parametrize("c", [1.0, 1e-4, 100.0])
def test_logistic_regression_is_the_pooled_one(lab, cancer, sizes, c):
    features = [name for name in cancer.column_names if name != "malignant"]
    fitted = lab.run(LogisticRegression(C=c), lab.parted(cancer, sizes), "malignant")
    pooled = pooled_logistic(lab.matrix(cancer, features), cancer["malignant"].to_numpy(), c)
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fitted.intercept_, pooled.intercept_, rtol=1e-6)
    assert fitted.coef_.shape == (1, 10)
    assert fitted.classes_ == (False, True)
    assert fitted.feature_names_in_ == tuple(features)
    assert fitted.rows == cancer.num_rows


def test_logistic_regression_without_penalty_and_without_intercept(lab, mixed):
    x, y = lab.matrix(mixed, ["a", "b"]), mixed["late"].to_numpy()
    free = lab.run(LogisticRegression(C=math.inf), lab.parted(mixed, [500]), "late", ["a", "b"])
    np.testing.assert_allclose(free.coef_, pooled_logistic(x, y, np.inf).coef_, rtol=1e-7)
    through = lab.run(LogisticRegression(fit_intercept=False), lab.parted(mixed, [500]), "late", ["a", "b"])
    np.testing.assert_allclose(through.coef_, pooled_logistic(x, y, fit_intercept=False).coef_, rtol=1e-7)
    assert through.intercept_[0] == 0.0


def test_a_site_with_one_class_is_normal(lab, mixed):
    ordered = mixed.sort_by("late")
    fitted = lab.run(LogisticRegression(), lab.parted(ordered, [200, 900]), "late", ["a", "b"])
    pooled = pooled_logistic(lab.matrix(mixed, ["a", "b"]), mixed["late"].to_numpy())
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-8)


@pytest.mark.parametrize(("values", "classes"), [(["no", "já"], ("já", "no")), ([3, -1], (-1, 3))])
def test_classes_may_be_texts_and_integers(lab, mixed, values, classes):
    truth = [values[late] for late in mixed["late"].to_pylist()]
    table = mixed.select(["a", "b"]).append_column("y", pa.array(truth))
    fitted = lab.run(LogisticRegression(), lab.parted(table, [700]), "y")
    pooled = pooled_logistic(lab.matrix(table, ["a", "b"]), truth)
    assert fitted.classes_ == classes == tuple(pooled.classes_.tolist())
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-8)


def test_ill_scaled_columns(lab, mixed):
    random = np.random.default_rng(1)
    a = mixed["a"].to_numpy()
    table = pa.table(
        {
            "far": a * 100 + 1e8,
            "small": random.normal(size=len(a)) * 1e-6,
            "late": mixed["late"],
            "y": mixed["delay"],
        }
    )
    near = np.column_stack([table["far"].to_numpy() - 1e8, table["small"].to_numpy()])
    parts = lab.parted(table, [1000, 20])
    logistic = lab.run(LogisticRegression(C=math.inf), parts, "late", ["far", "small"])
    reference = pooled_logistic(near * [1e-2, 1e6], mixed["late"].to_numpy(), np.inf)
    np.testing.assert_allclose(logistic.coef_ * [1e2, 1e-6], reference.coef_, rtol=1e-5)
    linear = lab.run(LinearRegression(), parts, "y", ["far", "small"])
    pooled = PooledLinear().fit(near * [1e-2, 1e6], table["y"].to_numpy())
    coef = pooled.coef_ * [1e-2, 1e6]
    np.testing.assert_allclose(linear.coef_, coef, rtol=1e-7)
    assert linear.intercept_ == pytest.approx(pooled.intercept_ - 1e8 * coef[0], rel=1e-7)


def test_constant_and_collinear_features(lab, mixed):
    a, b = mixed["a"].to_numpy(), mixed["b"].to_numpy()
    table = pa.table(
        {
            "a": a,
            "b": b,
            "both": a - 2 * b,
            "one": np.full(len(a), 1e8 / 3),
            "late": mixed["late"],
            "y": mixed["delay"],
        }
    )
    features = ["a", "b", "both", "one"]
    x = lab.matrix(table, features)
    logistic = lab.run(LogisticRegression(), lab.parted(table, [400]), "late", features)
    np.testing.assert_allclose(
        logistic.coef_[0, :3], pooled_logistic(x[:, :3], table["late"].to_numpy()).coef_[0], atol=1e-6
    )
    assert logistic.coef_[0, 3] == 0.0
    linear = lab.run(LinearRegression(), lab.parted(table, [400]), "y", features)
    pooled = PooledLinear().fit(x[:, :3], table["y"].to_numpy())
    np.testing.assert_allclose(linear.coef_[:3], pooled.coef_, atol=1e-9)
    assert linear.coef_[3] == 0.0
    unpenalised = lab.run(LogisticRegression(C=math.inf), lab.parted(table, [400]), "late", features)
    np.testing.assert_allclose(
        lab.matrix(table, features) @ unpenalised.coef_[0] + unpenalised.intercept_,
        pooled_logistic(x[:, :2], table["late"].to_numpy(), np.inf).decision_function(x[:, :2]),
        atol=1e-5,
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0, 1e6])
def test_least_squares_is_the_pooled_one(lab, cancer, alpha, fit_intercept):
    features = [name for name in cancer.column_names if name not in ("malignant", "mean_area")]
    x, y = lab.matrix(cancer, features), cancer["mean_area"].to_numpy()
    parts = lab.parted(cancer, [9, 0, 300])
    ridge = lab.run(Ridge(alpha=alpha, fit_intercept=fit_intercept), parts, "mean_area", features)
    pooled = PooledRidge(alpha=alpha, fit_intercept=fit_intercept, solver="svd").fit(x, y)
    np.testing.assert_allclose(ridge.coef_, pooled.coef_, rtol=1e-7, atol=1e-9)
    assert ridge.intercept_ == pytest.approx(pooled.intercept_, rel=1e-7)
    if not alpha:
        linear = lab.run(LinearRegression(fit_intercept=fit_intercept), parts, "mean_area", features)
        np.testing.assert_allclose(linear.coef_, ridge.coef_, rtol=1e-9)


def test_well_conditioned_least_squares_to_1e9(lab):
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 6)) * [1, 10, 0.1, 3, 1, 1] + [0, 5, 1, -2, 0, 100]
    y = x @ random.normal(size=6) + random.normal(size=2000)
    table = pa.table({**{f"x{i}": x[:, i] for i in range(6)}, "y": y})
    fitted = lab.run(LinearRegression(), lab.parted(table, [3, 700]), "y")
    pooled = PooledLinear().fit(x, y)
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-9)
    assert fitted.intercept_ == pytest.approx(pooled.intercept_, rel=1e-9)


def test_fewer_rows_than_features_gives_the_minimum_norm(lab):
    random = np.random.default_rng(3)
    x, y = random.normal(size=(5, 9)), random.normal(size=5)
    table = pa.table({**{f"x{i}": x[:, i] for i in range(9)}, "y": y})
    fitted = lab.run(LinearRegression(), lab.parted(table, [2]), "y")
    np.testing.assert_allclose(fitted.coef_, PooledLinear().fit(x, y).coef_, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 300), batch=st.integers(1, 80))
def test_any_cut_into_batches_and_sites_gives_the_same_model(lab, seed, cut, batch):
    random = np.random.default_rng(seed)
    x = random.normal(size=(300, 3)) * 10 ** random.uniform(-3, 3, size=3)
    late = random.random(300) < 0.4
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "late": pa.array(late)})
    whole = lab.run(LogisticRegression(), {"s": table}, "late")
    batched = lab.run(LogisticRegression(), {"s": table}, "late", batch_rows=batch)
    np.testing.assert_allclose(batched.coef_, whole.coef_, rtol=1e-12)
    cut_up = lab.run(LogisticRegression(), lab.parted(table, [cut]), "late", batch_rows=batch)
    np.testing.assert_allclose(cut_up.coef_, whole.coef_, rtol=1e-8, atol=1e-12)


def test_separable_classes_need_a_penalty(lab):
    table = pa.table({"x": np.arange(40.0), "late": pa.array([i >= 20 for i in range(40)])})
    with pytest.raises(TrainingError, match="separated") as caught:
        lab.run(LogisticRegression(C=math.inf), lab.parted(table, [11]), "late")
    assert "C" in caught.value.hint
    lab.run(LogisticRegression(C=1e6), lab.parted(table, [11]), "late")
    overlap = pa.table({"x": [0.0] * 20 + [1.0] * 20, "late": pa.array([False] * 30 + [True] * 10)})
    with pytest.raises(TrainingError, match="separated"):
        lab.run(LogisticRegression(C=math.inf), {"s": overlap}, "late")


@pytest.mark.parametrize("truth", [[True] * 6, []])
def test_fewer_than_two_classes_is_an_error(lab, truth):
    table = pa.table(
        {"x": np.arange(float(len(truth))), "y": pa.array(truth, pa.string() if not truth else None)}
    )
    with pytest.raises(TrainingError, match="no rows" if not truth else "classes over all sites"):
        lab.run(LogisticRegression(), lab.parted(table, [len(truth) // 2]), "y")


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
@pytest.mark.parametrize("column", ["x", "y"])
def test_unusable_values_name_their_column_and_number(lab, column, bad):
    data = {"x": [1.0, 2.0, 3.0, 5.0], "y": [0.0, 1.0, 4.0, 1.0]}
    data[column][2] = bad
    with pytest.raises(
        TrainingError, match=f"'{column}' holds null, NaN or infinite values in up to 1 rows"
    ) as caught:
        lab.run(LinearRegression(), lab.parted(pa.table(data), [2]), "y")
    assert "filter" in caught.value.hint


def test_columns_of_unfit_types_and_names_are_plan_errors(lab, mixed):
    parts = lab.parted(mixed, [10])
    for target, features, words in [
        ("late", ["city"], "OneHotEncoder"),
        ("city2", ["a"], "city"),
        ("late", ["aa"], "'a'"),
        ("late", ["late"], "target"),
        ("delay", ["a"], "classes"),
        ("late", [], "no feature"),
    ]:
        with pytest.raises(PlanError, match=words):
            lab.run(LogisticRegression(), parts, target, features)
    with pytest.raises(PlanError, match="not a number"):
        lab.run(Ridge(), parts, "city", ["a"])


def test_too_few_newton_steps_is_an_error(lab, mixed):
    with pytest.raises(TrainingError, match="not converged after 2"):
        lab.run(LogisticRegression(max_iter=2), lab.parted(mixed, [10]), "late", ["a", "b"])


def test_integers_booleans_and_decimals_are_numbers(lab, mixed):
    table = pa.table(
        {
            "month": mixed["month"].cast(pa.int16()),
            "flag": mixed["flag"],
            "cents": mixed["b"].cast(pa.decimal128(12, 2), safe=False),
            "delay": mixed["delay"].cast(pa.float32()),
        }
    )
    fitted = lab.run(LinearRegression(), lab.parted(table, [600]), "delay")
    pooled = PooledLinear().fit(
        lab.matrix(table, ["month", "flag", "cents"]), table["delay"].to_numpy().astype(float)
    )
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-9)
