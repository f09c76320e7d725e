"""Scalers and encoders fitted over sites are those of the pooled rows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.compose import ColumnTransformer as PooledColumns
from sklearn.linear_model import LinearRegression as PooledLinear
from sklearn.linear_model import LogisticRegression as PooledLogistic
from sklearn.linear_model import Ridge as PooledRidge
from sklearn.pipeline import make_pipeline as pooled_pipeline
from sklearn.preprocessing import OneHotEncoder as PooledOneHot
from sklearn.preprocessing import StandardScaler as PooledScaler

from blossom.learning import (
    ColumnTransformer,
    LinearRegression,
    LogisticRegression,
    OneHotEncoder,
    Pipeline,
    Ridge,
    StandardScaler,
    make_pipeline,
    predictor,
)
from blossom.plan.errors import ConfigError, PlanError, PolicyError

NUMBERS, CATEGORIES = ["a", "b"], ["city", "month"]
PENALISED = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}


def columns(scaler, encoder):
    return ColumnTransformer(
        [("scale", scaler, NUMBERS), ("encode", encoder, CATEGORIES)], remainder="passthrough"
    )


@pytest.mark.parametrize("drop", [None, "first"])
@pytest.mark.parametrize("sizes", [[500], [7, 0, 900]])
def test_a_mixed_pipeline_is_the_pooled_one(lab, mixed, drop, sizes):
    table = mixed.select([*NUMBERS, *CATEGORIES, "flag", "late"])
    estimator = make_pipeline(columns(StandardScaler(), OneHotEncoder(drop=drop)), LogisticRegression())
    fitted = lab.run(estimator, lab.parted(table, sizes), "late")
    pooled = pooled_pipeline(
        PooledColumns(
            [("s", PooledScaler(), NUMBERS), ("e", PooledOneHot(drop=drop), CATEGORIES)],
            remainder="passthrough",
        ),
        PooledLogistic(**PENALISED),
    ).fit(table.drop_columns("late").to_pandas(), table["late"].to_numpy())
    np.testing.assert_allclose(fitted.coef_, pooled[-1].coef_, atol=1e-8)
    assert [name.replace("infrequent", "?") for name in fitted.feature_names_out] == [
        name.split("__")[1] for name in pooled[0].get_feature_names_out()
    ]
    probability = predictor(fitted.document())(table.to_batches()[0])[1]
    np.testing.assert_allclose(
        probability.to_numpy(), pooled.predict_proba(table.drop_columns("late").to_pandas())[:, 1], atol=1e-9
    )


def test_scaling_after_encoding(lab, mixed):
    estimator = make_pipeline(
        columns("passthrough", OneHotEncoder(drop="first")), StandardScaler(), Ridge(alpha=5.0)
    )
    table = mixed.select([*NUMBERS, *CATEGORIES, "flag", "delay"])
    fitted = lab.run(estimator, lab.parted(table, [20, 800]), "delay")
    pooled = pooled_pipeline(
        PooledColumns(
            [("e", PooledOneHot(drop="first", sparse_output=False), CATEGORIES)], remainder="passthrough"
        ),
        PooledScaler(),
        PooledRidge(alpha=5.0, solver="cholesky"),
    ).fit(table.drop_columns("delay").to_pandas(), table["delay"].to_numpy())
    np.testing.assert_allclose(np.sort(fitted.coef_), np.sort(pooled[-1].coef_), rtol=1e-9)


@pytest.mark.parametrize(("with_mean", "with_std"), [(True, False), (False, True)])
def test_half_scalers_and_nested_pipelines(lab, mixed, with_mean, with_std):
    scaler = StandardScaler(with_mean=with_mean, with_std=with_std)
    estimator = Pipeline(
        [("all", make_pipeline(scaler, StandardScaler(with_mean=False))), ("model", Ridge())]
    )
    fitted = lab.run(estimator, lab.parted(mixed, [700]), "delay", NUMBERS)
    x = PooledScaler(with_mean=with_mean).fit_transform(lab.matrix(mixed, NUMBERS))
    np.testing.assert_allclose(fitted.coef_, PooledRidge().fit(x, mixed["delay"].to_numpy()).coef_, rtol=1e-9)


def test_a_category_unseen_at_one_site(lab, mixed):
    here = pc.is_in(mixed["city"], value_set=pa.array(["Athína", "京都"]))
    parts = {"far": mixed.filter(pc.invert(here)), "near": mixed.filter(here)}
    estimator = make_pipeline(ColumnTransformer([("e", OneHotEncoder(), ["city"])]), LogisticRegression())
    fitted = lab.run(estimator, parts, "late", min_group=10)
    encoded = PooledOneHot().fit_transform(mixed.select(["city"]).to_pandas())
    pooled = PooledLogistic(**PENALISED).fit(encoded.toarray(), mixed["late"].to_numpy())
    np.testing.assert_allclose(fitted.coef_, pooled.coef_, atol=1e-8)
    assert fitted.feature_names_in_ == ("city",)
    assert fitted.feature_names_out == ("city_Athína", "city_Århus", "city_Łódź", "city_京都")


def rare_sites(rare):
    """Two sites of 400 rows; at the second, `rare` rows of k are "c", which the first has 100 of."""
    first = ["a"] * 200 + ["b"] * 100 + ["c"] * 100
    second = ["a"] * (250 - rare) + ["b"] * 150 + ["c"] * rare
    return {
        "s1": pa.table({"k": first, "y": [float(i % 7 == 0) + (k == "b") for i, k in enumerate(first)]}),
        "s2": pa.table({"k": second, "y": [float(i % 5 == 0) - (k == "a") for i, k in enumerate(second)]}),
    }


def encoded(**parameters):
    return make_pipeline(ColumnTransformer([("e", OneHotEncoder(**parameters), ["k"])]), LinearRegression())


@pytest.mark.parametrize(("rare", "names"), [(0, "abc"), (10, "abc"), (1, "a"), (9, "a")])
def test_a_category_rare_at_one_site_joins_infrequent_with_enough_others(lab, rare, names):
    sites = lab.Sites(rare_sites(rare), min_group=10)
    fitted = lab.run(encoded(), sites.tables, "y", min_group=10)
    rest = () if names == "abc" else ("k_infrequent",)
    # 1 to 9 "c" would stand alone in the rest, so the next smallest category ("b") keeps them company.
    assert fitted.feature_names_out == (*(f"k_{name}" for name in names), *rest)
    k = np.array(sites.pooled["k"].to_pylist())
    x = np.column_stack([(k == name).astype(float) for name in names])
    x = np.column_stack([x, 1 - x.sum(axis=1)]) if rest else x
    np.testing.assert_allclose(
        fitted.coef_, PooledLinear().fit(x, sites.pooled["y"].to_numpy()).coef_, atol=1e-9
    )
    unknown = predictor(fitted.document())(pa.RecordBatch.from_pydict({"k": ["new", "c"]}))[0].to_pylist()
    assert (unknown[0] == unknown[1]) == bool(rest)


def test_given_categories(lab):
    tables = rare_sites(0)
    fitted = lab.run(encoded(categories=[["c", "a"]]), tables, "y", min_group=10)
    assert fitted.feature_names_out == ("k_c", "k_a")
    sites = lab.Sites(tables)
    k = np.array(sites.pooled["k"].to_pylist())
    predicted = predictor(fitted.document())(sites.pooled.to_batches()[0])[0].to_pylist()
    y = sites.pooled["y"].to_numpy()
    assert predicted[0] == pytest.approx(y[k == "a"].mean())
    assert predicted[200] == pytest.approx(y[k == "b"].mean())  # outside the list: zeros, the intercept alone
    joined = lab.run(encoded(categories=[["a", "b", "c"]]), rare_sites(3), "y", min_group=10)
    assert joined.feature_names_out == ("k_a", "k_infrequent")


def test_min_frequency_counts_pooled_rows(lab):
    fitted = lab.run(encoded(min_frequency=150), rare_sites(0), "y")
    assert fitted.feature_names_out == ("k_a", "k_b", "k_infrequent")


def test_identifiers_have_no_categories(lab):
    table = pa.table({"k": [f"patient {i}" for i in range(40)], "y": np.arange(40.0)})
    sites = lab.Sites({"s": table}, min_group=10)
    fitted = lab.run(encoded(), sites.tables, "y", min_group=10)
    assert fitted.feature_names_out == ("k_infrequent",)
    assert "patient" not in fitted.document()
    with pytest.raises(PolicyError):
        lab.run(encoded(), {"s": table.slice(0, 9)}, "y", min_group=10)


def test_dictionary_columns_and_integer_categories(lab, mixed):
    table = mixed.select(["city", "month", "late"])
    estimator = make_pipeline(OneHotEncoder(), LogisticRegression())
    plain = lab.run(estimator, lab.parted(table, [700]), "late")
    city = table["city"].combine_chunks()
    coded = table.set_column(0, "city", pa.chunked_array([city.dictionary_encode()]))
    coded = coded.set_column(1, "month", table["month"].cast(pa.uint8()))
    again = lab.run(estimator, lab.parted(coded, [700]), "late", batch_rows=50)
    np.testing.assert_allclose(again.coef_, plain.coef_, rtol=1e-12)


def test_misuse_is_told(lab, mixed):
    parts = lab.parted(mixed, [700])
    for estimator, kind, words in [
        (make_pipeline(StandardScaler(), OneHotEncoder(), Ridge()), PlanError, "not the output of another"),
        (make_pipeline(columns("drop", OneHotEncoder())), PlanError, "learns no target"),
        (make_pipeline(ColumnTransformer([("x", "passthrough", ["aa"])]), Ridge()), PlanError, "'a'"),
        (make_pipeline(ColumnTransformer([("x", "drop", ["a"])]), Ridge()), PlanError, "no feature"),
        (make_pipeline(OneHotEncoder(categories=[["x"]]), Ridge()), ConfigError, "lists 1 columns"),
        (make_pipeline(OneHotEncoder(), Ridge()), PlanError, "float64, which has no classes"),
    ]:
        with pytest.raises(kind, match=words):
            lab.run(estimator, parts, "delay", ["a", "b", "month"])
    for make, words in [
        (lambda: OneHotEncoder(handle_unknown="error"), "infrequent_if_exist"),
        (lambda: OneHotEncoder(categories=[["a", 1]]), "all booleans"),
        (lambda: OneHotEncoder(categories=["ab"]), "one list"),
        (lambda: OneHotEncoder(categories=[["a"]], min_frequency=3), "automatic"),
        (lambda: ColumnTransformer([("m", Ridge(), ["a"])]), "not \\(name"),
        (lambda: ColumnTransformer([("m", make_pipeline(Ridge()), ["a"])]), "predictor"),
        (lambda: make_pipeline(Ridge(), StandardScaler()), "not a transformer"),
        (lambda: Pipeline([]), "at least one"),
        (lambda: Pipeline([("a__b", Ridge())]), "__"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()
