"""Every exact model beside scikit-learn's on the pooled rows, over sites that are skewed, tiny, empty and of one class."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import cluster, decomposition, linear_model, naive_bayes
from sklearn.datasets import load_diabetes, load_digits, load_wine

from blossom.learning import (
    PCA,
    FitOptions,
    GaussianNB,
    KMeans,
    LogisticRegression,
    PoissonRegressor,
    StandardScaler,
    load_model,
    make_pipeline,
    outputs,
    predictor,
    transformed,
)
from blossom.plan.errors import ConfigError, PlanError, PolicyError, TrainingError


def table_of(x, names, **more):
    return pa.table({**{name: x[:, i] for i, name in enumerate(names)}, **more})


@pytest.fixture(scope="module")
def wine():
    data = load_wine()
    names = [name.replace("/", "_") for name in data.feature_names]
    return table_of(data.data, names, kind=pa.array([f"w{value}" for value in data.target]))


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    columns = [10, 20, 21, 26, 28, 36, 42, 43]
    return table_of(data.data[:, columns], [f"p{i}" for i in columns], digit=pa.array(data.target))


@pytest.fixture(scope="module")
def counts():
    """Skewed counts; the sites are sorted by size, so that one has only zeros."""
    random = np.random.default_rng(8)
    x = np.column_stack(
        [random.normal(size=2000), random.exponential(3.0, size=2000), random.random(2000) < 0.2]
    )
    rate = np.exp(0.4 * x[:, 0] + 0.15 * x[:, 1] - 0.8 * x[:, 2] - 0.7)
    table = table_of(x, ["a", "b", "c"], visits=random.poisson(rate))
    return table.sort_by("visits")


def split_up(lab, table, by):
    """Sites sorted by a column: one of one class, one tiny, one empty, the rest."""
    return lab.parted(table.sort_by(by), [40, 3, 0, 60])


def features_of(table, target):
    return [name for name in table.column_names if name != target]


def predicted(fitted, table):
    return [
        part.to_numpy(zero_copy_only=False) for part in predictor(fitted.document())(table.to_batches()[0])
    ]


@pytest.mark.parametrize("c", [1.0, 1e-3, 50.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_multinomial_probabilities_are_the_pooled_ones(lab, wine, c, fit_intercept):
    names = features_of(wine, "kind")
    fitted = lab.run(
        LogisticRegression(C=c, fit_intercept=fit_intercept), split_up(lab, wine, "kind"), "kind"
    )
    x, y = lab.matrix(wine, names), wine["kind"].to_numpy(zero_copy_only=False)
    pooled = linear_model.LogisticRegression(
        C=c, fit_intercept=fit_intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(x, y)
    label, *shares = predicted(fitted, wine)
    np.testing.assert_allclose(np.column_stack(shares), pooled.predict_proba(x), atol=1e-6)
    assert (label == pooled.predict(x)).all()
    assert fitted.coef_.shape == pooled.coef_.shape
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, atol=1e-5)
    assert fitted.classes_ == ("w0", "w1", "w2")
    assert outputs(fitted.document())[1:] == tuple((f"probability_w{i}", "float64") for i in range(3))


def test_ten_classes(lab, digits):
    x, y = lab.matrix(digits, features_of(digits, "digit")), digits["digit"].to_numpy()
    for c in (1.0, 1e4):
        fitted = lab.run(LogisticRegression(C=c), split_up(lab, digits, "digit"), "digit")
        pooled = linear_model.LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(
            x, y
        )
        shares = np.column_stack(predicted(fitted, digits)[1:])
        np.testing.assert_allclose(shares, pooled.predict_proba(x), atol=1e-6)


def test_several_classes_without_penalty(lab):
    random = np.random.default_rng(1)
    x = random.normal(size=(600, 2))
    z = np.column_stack([x @ [1.0, 0.0], x @ [-0.5, 1.0], np.zeros(600)]) + random.gumbel(size=(600, 3))
    table = table_of(x, ["a", "b"], y=pa.array(z.argmax(axis=1)))
    fitted = lab.run(LogisticRegression(C=math.inf), split_up(lab, table, "y"), "y")
    pooled = linear_model.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    shares = np.column_stack(predicted(fitted, table)[1:])
    np.testing.assert_allclose(shares, pooled.fit(x, table["y"].to_numpy()).predict_proba(x), atol=1e-6)


def test_separable_classes_without_penalty(lab):
    table = pa.table({"x": np.arange(60.0), "y": np.repeat([0, 1, 2], 20)})
    with pytest.raises(TrainingError, match="separated"):
        lab.run(LogisticRegression(C=math.inf), {"s": table}, "y")


@pytest.mark.parametrize("alpha", [1.0, 1e-3, 0.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_poisson_regression_is_the_pooled_one(lab, counts, alpha, fit_intercept):
    fitted = lab.run(
        PoissonRegressor(alpha=alpha, fit_intercept=fit_intercept),
        lab.parted(counts, [300, 2, 0, 900]),
        "visits",
        options=FitOptions(),
    )
    x, y = lab.matrix(counts, ["a", "b", "c"]), counts["visits"].to_numpy()
    pooled = linear_model.PoissonRegressor(
        alpha=alpha, fit_intercept=fit_intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(x, y)
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, rtol=1e-6, atol=1e-9)
    assert fitted.intercept_ == pytest.approx(pooled.intercept_, rel=1e-6, abs=1e-9)
    expected = pooled.predict(x)
    np.testing.assert_allclose(predicted(fitted, counts)[0], expected, rtol=1e-6)
    from sklearn.metrics import mean_poisson_deviance

    assert fitted.metrics["mean_poisson_deviance"] == pytest.approx(
        mean_poisson_deviance(y, expected), rel=1e-9
    )


def test_poisson_targets_that_are_none(lab):
    for values, words in ([1, -1, 2] * 5, "negative"), ([0] * 15, "0 in every row"):
        table = pa.table({"x": np.arange(15.0), "y": pa.array(values)})
        with pytest.raises(TrainingError, match=words):
            lab.run(PoissonRegressor(), {"s": table}, "y")
    apart = pa.table({"x": [0.0] * 10 + [1.0] * 10, "y": [0] * 10 + [1, 2] * 5})
    with pytest.raises(TrainingError, match="alpha"):
        lab.run(PoissonRegressor(alpha=0.0), {"s": apart}, "y")


@pytest.mark.parametrize("priors", [None, [0.5, 0.25, 0.25]])
@pytest.mark.parametrize("smoothing", [1e-9, 1e-2])
def test_naive_bayes_is_the_pooled_one(lab, wine, priors, smoothing):
    names = features_of(wine, "kind")
    fitted = lab.run(GaussianNB(priors=priors, var_smoothing=smoothing), split_up(lab, wine, "kind"), "kind")
    x, y = lab.matrix(wine, names), wine["kind"].to_numpy(zero_copy_only=False)
    pooled = naive_bayes.GaussianNB(priors=priors, var_smoothing=smoothing).fit(x, y)
    np.testing.assert_allclose(fitted.theta_, pooled.theta_, rtol=1e-12)
    np.testing.assert_allclose(fitted.var_, pooled.var_, rtol=1e-10)
    np.testing.assert_allclose(fitted.class_prior_, pooled.class_prior_, rtol=1e-12)
    assert fitted.epsilon_ == pytest.approx(pooled.epsilon_, rel=1e-10)
    label, *shares = predicted(fitted, wine)
    np.testing.assert_allclose(np.column_stack(shares), pooled.predict_proba(x), atol=1e-9)
    assert (label == pooled.predict(x)).all()


def test_naive_bayes_of_two_classes_has_one_probability(lab, cancer):
    fitted = lab.run(
        GaussianNB(), split_up(lab, cancer, "malignant"), "malignant", options=FitOptions(), min_group=1
    )
    x, y = lab.matrix(cancer, features_of(cancer, "malignant")), cancer["malignant"].to_numpy()
    pooled = naive_bayes.GaussianNB().fit(x, y)
    _, probability = predicted(fitted, cancer)
    np.testing.assert_allclose(probability, pooled.predict_proba(x)[:, 1], atol=1e-9)
    assert outputs(fitted.document()) == (("prediction", "boolean"), ("probability", "float64"))
    assert fitted.metrics["accuracy"] == pytest.approx(pooled.score(x, y))


def test_naive_bayes_refuses_what_has_no_variance(lab):
    table = pa.table({"x": [0.0] * 10 + [1.0] * 10, "y": [False] * 10 + [True] * 10})
    with pytest.raises(TrainingError, match="constant within a class"):
        lab.run(GaussianNB(var_smoothing=0.0), {"s": table}, "y")
    with pytest.raises(ConfigError, match="add up"):
        GaussianNB(priors=[0.5, 0.6])
    with pytest.raises(ConfigError, match="2"):
        lab.run(GaussianNB(priors=[0.2, 0.2, 0.6]), {"s": table}, "y")


@pytest.mark.parametrize("tol", [0.0, 1e-4])
def test_kmeans_from_given_centres_is_the_pooled_one(lab, wine, tol):
    names = features_of(wine, "kind")
    x = lab.matrix(wine, names)
    init = x[[3, 80, 170]] + 0.25
    fitted = lab.run(
        KMeans(n_clusters=3, init=init, tol=tol), split_up(lab, wine, "kind"), None, names, FitOptions()
    )
    pooled = cluster.KMeans(3, init=init, n_init=1, tol=tol).fit(x)
    np.testing.assert_allclose(fitted.cluster_centers_, pooled.cluster_centers_, rtol=1e-10)
    assert (predicted(fitted, wine)[0] == pooled.labels_).all()
    assert fitted.inertia_ == pytest.approx(pooled.inertia_, rel=1e-10)
    assert fitted.metrics["inertia"] == pytest.approx(pooled.inertia_, rel=1e-10)
    assert fitted.n_iter_ == pooled.n_iter_
    assert fitted.cluster_sizes_.tolist() == np.bincount(pooled.labels_).tolist()
    assert outputs(fitted.document()) == (("prediction", "int64"),)


def test_own_initial_centres_are_seeded_good_and_no_rows(lab):
    random = np.random.default_rng(2)
    means = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    x = np.concatenate([mean + random.normal(size=(100, 2)) for mean in means])
    table = table_of(x, ["a", "b"])
    parts = lab.parted(table, [130, 1, 200])
    fitted = lab.run(KMeans(n_clusters=4, n_init=3), parts, None)
    again = lab.run(KMeans(n_clusters=4, n_init=3), lab.parted(table, [399]), None)
    np.testing.assert_allclose(again.cluster_centers_, fitted.cluster_centers_, rtol=1e-9)
    pooled = cluster.KMeans(4, n_init=10, random_state=0).fit(x)
    assert fitted.inertia_ == pytest.approx(pooled.inertia_, rel=1e-6)
    sites = lab.Sites(parts)
    from blossom.learning import fit

    fit(KMeans(n_clusters=4), None, None, sites.schema, sites.ask)
    first = next(asked for asked in sites.asked if asked.kind == "clusters")
    start = first.centres + x.mean(axis=0)
    assert np.abs(start[:, None] - x[None]).max(axis=2).min() > 1e-6


def test_a_small_cluster_contributes_nothing_and_cannot_be_subtracted(lab):
    random = np.random.default_rng(0)
    x = np.concatenate(
        [random.normal(size=(100, 1)), 50 + random.normal(size=(4, 1)), 100 + random.normal(size=(30, 1))]
    )
    table = table_of(x, ["a"])
    init = [[0.0], [50.0], [100.0]]
    sites = lab.Sites({"s": table}, min_group=10)
    from blossom.learning import fit

    fitted = fit(KMeans(n_clusters=3, init=init), None, None, sites.schema, sites.ask)
    asked = next(asked for asked in sites.asked if asked.kind == "clusters")
    told = sites.ask(asked)
    assert told["n"].tolist() == [100, 0, 0], (
        "the smallest of the others is left out too: 134 - 100 - 30 would be 4"
    )
    assert told["silent"].tolist() == [0, 1, 1]
    assert fitted.cluster_centers_[1, 0] == 50.0
    with pytest.raises(PolicyError):
        lab.run(KMeans(n_clusters=3, init=init), {"s": table.slice(0, 9)}, None, min_group=10)


def test_kmeans_that_has_not_settled_is_not_given_out(lab, wine):
    names = features_of(wine, "kind")
    with pytest.raises(TrainingError, match="not settled"):
        lab.run(KMeans(n_clusters=3, max_iter=1), {"s": wine}, None, names)
    with pytest.raises(ConfigError, match="tol"):
        KMeans(tol=1.0)
    with pytest.raises(ConfigError, match="numbers a centre"):
        lab.run(KMeans(n_clusters=1, init=[[1.0]]), {"s": wine}, None, names)


@pytest.mark.parametrize("components", [None, 4, 0.9999])
@pytest.mark.parametrize("whiten", [False, True])
def test_pca_is_the_pooled_one(lab, wine, components, whiten):
    names = features_of(wine, "kind")
    x = lab.matrix(wine, names)
    fitted = lab.run(PCA(n_components=components, whiten=whiten), split_up(lab, wine, "kind"), None, names)
    pooled = decomposition.PCA(n_components=components, whiten=whiten, svd_solver="full").fit(x)
    assert fitted.components_.shape == pooled.components_.shape
    np.testing.assert_allclose(fitted.components_, pooled.components_, atol=1e-9)
    np.testing.assert_allclose(fitted.explained_variance_, pooled.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(fitted.explained_variance_ratio_, pooled.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(fitted.singular_values_, pooled.singular_values_, rtol=1e-9)
    np.testing.assert_allclose(fitted.mean_, pooled.mean_, rtol=1e-12)
    assert fitted.noise_variance_ == pytest.approx(pooled.noise_variance_, rel=1e-8)
    np.testing.assert_allclose(np.column_stack(predicted(fitted, wine)), pooled.transform(x), atol=1e-7)


def test_tied_components_span_the_same_space(lab):
    random = np.random.default_rng(3)
    half = random.normal(size=(200, 4))
    half -= half.mean(axis=0)
    values, vectors = np.linalg.eigh(half.T @ half)
    x = half @ vectors / np.sqrt(values) * [3.0, 3.0, 1.0, 1.0]  # two pairs of equal variances
    table = table_of(x, list("abcd"))
    fitted = lab.run(PCA(n_components=2), lab.parted(table, [7, 90]), None)
    pooled = decomposition.PCA(2, svd_solver="full").fit(x)
    np.testing.assert_allclose(
        fitted.components_.T @ fitted.components_, pooled.components_.T @ pooled.components_, atol=1e-9
    )


def test_components_feed_a_predictor(lab, wine, tmp_path):
    names = features_of(wine, "kind")
    estimator = make_pipeline(StandardScaler(), PCA(n_components=4), LogisticRegression())
    fitted = lab.run(estimator, split_up(lab, wine, "kind"), "kind", names)
    x = lab.matrix(wine, names)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    shrunk = decomposition.PCA(4, svd_solver="full").fit_transform(z)
    y = wine["kind"].to_numpy(zero_copy_only=False)
    pooled = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(shrunk, y)
    np.testing.assert_allclose(
        np.column_stack(predicted(fitted, wine)[1:]), pooled.predict_proba(shrunk), atol=1e-6
    )
    assert fitted.feature_names_out == ("pca0", "pca1", "pca2", "pca3")
    fitted.save(tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert again.document() == fitted.document()
    assert np.array_equal(predicted(again, wine)[1], predicted(fitted, wine)[1])


def test_transformers_transform_and_do_not_predict(lab, wine):
    names = features_of(wine, "kind")
    fitted = lab.run(make_pipeline(StandardScaler(), PCA(n_components=2)), {"s": wine}, None, names)
    assert transformed(fitted.document(), "x_") == (("x_pca0", "float64"), ("x_pca1", "float64"))
    with pytest.raises(TrainingError, match="transform"):
        outputs(fitted.document())
    model = lab.run(KMeans(n_clusters=2), {"s": wine}, None, names)
    with pytest.raises(TrainingError, match="predicts and does not"):
        transformed(model.document())
    for estimator, target in ((LogisticRegression(), None), (KMeans(), "kind"), (PCA(), "kind")):
        with pytest.raises(PlanError, match="target"):
            lab.run(estimator, {"s": wine}, target)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 240), batch=st.integers(1, 70))
def test_any_cut_gives_the_same_models(lab, seed, cut, batch):
    random = np.random.default_rng(seed)
    x = random.normal(size=(240, 3)) * 10 ** random.uniform(-2, 2, size=3) + random.normal(size=3)
    table = table_of(x, ["a", "b", "c"], k=pa.array(random.integers(0, 3, size=240)))
    for estimator, target, shown in (
        (GaussianNB(), "k", "theta_"),
        (PCA(), None, "explained_variance_"),
        (LogisticRegression(), "k", "coef_"),
    ):
        whole = lab.run(estimator, {"s": table}, target, ["a", "b", "c"])
        cut_up = lab.run(estimator, lab.parted(table, [cut]), target, ["a", "b", "c"], batch_rows=batch)
        np.testing.assert_allclose(getattr(cut_up, shown), getattr(whole, shown), rtol=1e-7, atol=1e-10)


def test_least_squares_on_diabetes(lab):
    from blossom.learning import LinearRegression, Ridge

    data = load_diabetes()
    table = table_of(data.data, data.feature_names, y=data.target)
    for own, pooled in (
        (LinearRegression(), linear_model.LinearRegression()),
        (Ridge(), linear_model.Ridge()),
    ):
        fitted = lab.run(own, lab.parted(table.sort_by("y"), [2, 0, 300]), "y")
        reference = pooled.fit(data.data, data.target)
        np.testing.assert_allclose(fitted.coef_, reference.coef_, rtol=1e-9)
        assert fitted.intercept_ == pytest.approx(reference.intercept_, rel=1e-9)


def test_every_model_has_a_report(lab, wine):
    names = features_of(wine, "kind")
    for estimator, target, words in (
        (LogisticRegression(), "kind", "3 classes"),
        (GaussianNB(), "kind", "mean w1"),
        (KMeans(n_clusters=2), None, "centre 1"),
        (PCA(n_components=2), None, "share"),
        (StandardScaler(), None, "alcohol"),
    ):
        fitted = lab.run(estimator, {"s": wine}, target, names, FitOptions())
        assert words in fitted.report()
        with pytest.raises(AttributeError, match="has no"):
            _ = fitted.support_vectors_
