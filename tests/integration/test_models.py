"""The exact family through a session: private sites and rows that may move, without a target, several classes, transforms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import MinMaxScaler

import blossom as bl

FEATURES = ["alcohol", "ash", "hue"]
POLICY = {
    "private": {"release": "aggregates", "min_group": 5, "privacy_unit": "id", "training": "updates"},
    "public": {"release": "rows"},
}


def wine() -> pa.Table:
    data = load_wine(as_frame=True).frame
    order = np.random.default_rng(0).permutation(len(data))
    table = pa.Table.from_pandas(data.iloc[order][[*FEATURES, "target"]], preserve_index=False)
    return table.append_column("id", pa.array([f"p{i}" for i in range(len(data))]))


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bl.Session]:
    folder = tmp_path_factory.mktemp("wine")
    sites = {}
    for name, start, stop in (("a", 0, 70), ("b", 70, 178)):
        pq.write_table(wine().slice(start, stop - start), folder / f"{name}.parquet")
        sites[name] = {
            "platforms": {"duckdb": {"kind": "duckdb", "threads": 1}},
            "tables": {
                table: {"platform": "duckdb", "source": str(folder / f"{name}.parquet"), "policy": policy}
                for table, policy in POLICY.items()
            },
        }
    with bl.connect({"hub": {"state": str(folder / "hub")}, "sites": sites}) as session:
        yield session


def matrix() -> np.ndarray:
    return wine().select(FEATURES).to_pandas().to_numpy()


@pytest.mark.parametrize("table", ["private", "public"])
def test_clusters_have_no_target(fed: bl.Session, table: str, tmp_path: Path) -> None:
    init = [[12.0, 2.3, 1.0], [13.5, 2.4, 0.8], [14.0, 2.5, 1.1]]
    model = bl.train(bl.KMeans(n_clusters=3, init=init), fed.table(table), features=FEATURES)
    pooled = KMeans(3, init=np.array(init), n_init=1).fit(matrix())
    assert ("horizontal" if table == "private" else "central") in model.explain().text()
    fitted = model.fit()
    np.testing.assert_allclose(fitted.cluster_centers_, pooled.cluster_centers_, rtol=1e-9)
    scored = fitted.predict(fed.table("public")).order_by("id").to_pyarrow()
    by_id = dict(zip(wine()["id"].to_pylist(), pooled.labels_.tolist(), strict=True))
    assert scored["prediction"].to_pylist() == [by_id[one] for one in scored["id"].to_pylist()]
    lazy = model.predict(fed.table("public"), name="cluster").group_by("cluster").agg(n=lambda t: t.count())
    assert sum(lazy.to_pyarrow()["n"].to_pylist()) == 178
    assert fitted.evaluate(fed.table(table))["inertia"] == pytest.approx(pooled.inertia_, rel=1e-9)
    fitted.save(tmp_path / "k.json")
    assert bl.load_model(tmp_path / "k.json").inertia_ == fitted.inertia_
    assert "target" not in repr(model)


def test_components_are_transformed(fed: bl.Session) -> None:
    model = bl.train(bl.PCA(n_components=2), fed.table("private"), features=FEATURES)
    fitted = model.fit()
    pooled = PCA(2, svd_solver="full").fit(matrix())
    np.testing.assert_allclose(fitted.components_, pooled.components_, atol=1e-9)
    moved = fitted.transform(fed.table("public"), prefix="x_").order_by("id").to_pyarrow()
    rows = dict(zip(wine()["id"].to_pylist(), pooled.transform(matrix())[:, 1].tolist(), strict=True))
    np.testing.assert_allclose(moved["x_pca1"], [rows[one] for one in moved["id"].to_pylist()], atol=1e-9)
    for predict in (model.predict, fitted.predict):
        with pytest.raises(bl.TrainingError, match="transform"):
            predict(fed.table("public"))
    with pytest.raises(bl.TrainingError, match="nothing to evaluate"):
        fitted.evaluate(fed.table("private"))
    scaler = bl.train(bl.StandardScaler(), fed.table("private"), features=FEATURES).fit()
    with pytest.raises(bl.PlanError, match="prefix"):
        scaler.transform(fed.table("public"))


def test_several_classes(fed: bl.Session) -> None:
    model = bl.train(bl.GaussianNB(), fed.table("private"), target="target", features=FEATURES)
    fitted = model.fit()
    pooled = GaussianNB().fit(matrix(), wine()["target"].to_numpy())
    scored = fitted.predict(fed.table("public")).order_by("id").to_pyarrow()
    shares = np.column_stack([scored[f"probability_{i}"] for i in range(3)])
    rows = dict(zip(wine()["id"].to_pylist(), pooled.predict_proba(matrix()), strict=True))
    np.testing.assert_allclose(shares, [rows[one] for one in scored["id"].to_pylist()], atol=1e-9)
    with pytest.raises(bl.TrainingError, match="3 classes"):
        model.predict(fed.table("public")).to_pyarrow()
    measured = fitted.evaluate(fed.table("private"))
    assert measured.confusion.num_rows == 9
    assert measured["log_loss"] > 0
    with pytest.raises(bl.PlanError, match="target"):
        bl.train(bl.GaussianNB(), fed.table("private"))


def test_extremes_need_rows_that_may_move(fed: bl.Session) -> None:
    estimator = bl.MinMaxScaler()
    fitted = bl.train(estimator, fed.table("public"), features=FEATURES).fit()
    moved = fitted.transform(fed.table("public"), prefix="s_").order_by("id").to_pyarrow()
    rows = dict(zip(wine()["id"].to_pylist(), MinMaxScaler().fit_transform(matrix())[:, 0], strict=True))
    np.testing.assert_allclose(moved["s_alcohol"], [rows[one] for one in moved["id"].to_pylist()], atol=1e-12)
    with pytest.raises(bl.PolicyError, match="bounds"):
        bl.train(estimator, fed.table("private"), features=FEATURES).fit()


def test_a_model_is_measured_where_it_was_fitted_and_on_the_same_columns(
    fed: bl.Session, tmp_path: Path
) -> None:
    private = fed.table("private")
    fitted = bl.train(bl.LinearRegression(), private, target="ash", features=["alcohol", "hue"]).fit()
    fitted.save(tmp_path / "m.json")
    loaded = bl.load_model(tmp_path / "m.json")
    assert loaded.evaluate(private)["mse"] == pytest.approx(fitted.metrics["mse"])
    assert loaded.evaluate(private)["mean_absolute_error"] == pytest.approx(
        fitted.metrics["mean_absolute_error"]
    )
    moved = private.mutate(alcohol=private.alcohol * 1.01)
    with pytest.raises(bl.PolicyError, match="computed in another way"):
        loaded.evaluate(moved)
    elsewhere = bl.train(
        bl.LinearRegression(), fed.table("public"), target="ash", features=["alcohol", "hue"]
    ).fit()
    assert elsewhere.evaluate(fed.table("public"))["r2"] > 0
    with pytest.raises(bl.PolicyError, match="did not help to fit"):
        elsewhere.evaluate(private)
    alone = bl.train(
        bl.LinearRegression(), fed.table("private", site="a"), target="ash", features=["alcohol", "hue"]
    ).fit()
    assert alone.evaluate(fed.table("private", site="a"))["rows"] == 70
    with pytest.raises(bl.PolicyError, match="b: the policy of b refuses this model to be measured"):
        alone.evaluate(private)


def test_what_differs_by_a_few_is_withheld_and_the_rest_told(fed: bl.Session) -> None:
    """Two models whose errors have the same signs but for a few rows: the second keeps its absolute error to itself."""
    private = fed.table("private")
    found = [
        bl.train(bl.Ridge(alpha=alpha), private, target="hue", features=["alcohol", "ash"]).fit()
        for alpha in (0.0, 2.0)
    ]
    assert found[0].metrics["mean_absolute_error"] is not None
    assert found[1].metrics["mean_absolute_error"] is None
    assert "known figure" in found[1].fitted.withheld["mean_absolute_error"]
    assert found[1].metrics["mse"] > found[0].metrics["mse"]


def test_fits_and_measurements_are_runs(fed: bl.Session) -> None:
    private = fed.table("private")
    fitted = bl.train(bl.LinearRegression(), private, target="ash", features=["hue"]).fit()
    fit = fed.last_run
    fitted.evaluate(private)
    measured = fed.last_run
    for run, kind in ((fit, "fit"), (measured, "evaluate")):
        record = fed.records.run(run.id)
        assert (record.kind, record.outcome) == (kind, "done")
        assert {one.location.site for one in record.fragments} == {"a", "b"}
        assert {one.state for one in record.fragments} == {"kept"}
        assert {(one.site, one.kind) for one in record.releases} == {("a", "updates"), ("b", "updates")}
        for site in fed.federation.sites.values():
            logged = [entry for entry in site.audit.entries() if entry.run == f"{run.id}-{site.name}"]
            updates = [one for one in record.releases if one.site == site.name]
            assert [entry.bytes for entry in logged] == [one.bytes for one in updates]


def test_a_refused_fit_is_recorded_with_what_it_released_before(fed: bl.Session) -> None:
    with pytest.raises(bl.PolicyError):
        bl.train(bl.MinMaxScaler(), fed.table("private"), features=["hue"]).fit()
    record = fed.records.run(fed.last_run.id)
    assert record.outcome == "refused"
    assert {one.location.site for one in record.fragments} == {"a", "b"}
    assert {one.kind for one in record.releases} == {"updates"}
