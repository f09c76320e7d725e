"""Metrics over sites against scikit-learn on the pooled rows; AUC within its own bound."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_digits
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from blossom.learning import (
    ColumnTransformer,
    FitOptions,
    LinearRegression,
    LogisticRegression,
    OneHotEncoder,
    make_pipeline,
    predictor,
)
from blossom.learning.area import auc
from blossom.learning.design import Design, Numeric
from blossom.learning.metrics import evaluation
from blossom.learning.score import Score
from blossom.learning.statistics import Confusion, ScoreCells
from blossom.learning.target import Target
from blossom.plan.errors import ConfigError

SCORE = (Score.linear(Design((Numeric("z"),)), "logistic", np.ones(1), 0.0), Target("late", (False, True)))


def scored(z, late):
    return pa.table({"z": np.asarray(z, float), "late": pa.array(np.asarray(late, bool))})


def evaluate(sites):
    run = evaluation("classifier", *SCORE)
    statistic = next(run)
    while True:
        try:
            statistic = run.send(sites.ask(statistic))
        except StopIteration as stop:
            return stop.value


def test_three_large_sites_bound_auc_to_5e_4(lab):
    random = np.random.default_rng(11)
    late = random.random(150_000) < 0.25
    z = random.normal(size=150_000) + 0.9 * late
    table = scored(z, late)
    for sizes, units in ([50_000, 50_000], ()), ([20_000, 5_000], ()), ([50_000, 50_000], ("id",)):
        own = table.append_column("id", pa.array(np.arange(150_000))) if units else table
        metrics = evaluate(lab.Sites(lab.parted(own, sizes), min_group=10, units=units)).values
        assert 0 < metrics["auc_bound"] <= 5e-4
        assert abs(metrics["auc"] - roc_auc_score(late, z)) <= metrics["auc_bound"]
        assert (
            abs(metrics["auc"] - roc_auc_score(late, z)) <= 2e-5
        )  # the even spread is far better than its bound


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    values=st.sampled_from([2, 5, 40, 10**9]),
    min_group=st.integers(1, 12),
    shift=st.sampled_from([-1e8, 0.0, 3.0]),
)
def test_auc_lies_within_its_bound(lab, seed, sizes, values, min_group, shift):
    random = np.random.default_rng(seed)
    rows = sum(sizes) + 30
    late = random.random(rows) < 0.4
    z = shift + np.round(random.standard_cauchy(size=rows) + late, 3 if values > 5 else 0)
    metrics = evaluate(lab.Sites(lab.parted(scored(z, late), sizes), min_group=min_group))
    if metrics.values["auc"] is None:
        assert metrics.withheld["auc"]
        return
    exact = roc_auc_score(late, z)
    # A site with fewer rows than min_group is silent; only then may other rows be described.
    if metrics.values["rows"] == rows:
        assert abs(metrics.values["auc"] - exact) <= metrics.values["auc_bound"] + 1e-12


def test_discrete_scores_tie_exactly_across_sites(lab):
    random = np.random.default_rng(5)
    z = random.choice([-1.0, 0.1, 0.2, 1.5], size=4000)
    late = random.random(4000) < 1 / (1 + np.exp(-z))
    metrics = evaluate(lab.Sites(lab.parted(scored(z, late), [1000, 2000]), min_group=10)).values
    assert metrics["auc_bound"] <= 1e-12
    assert metrics["auc"] == pytest.approx(roc_auc_score(late, z), abs=1e-12)


def test_cells_hold_at_least_min_group_units(lab):
    random = np.random.default_rng(6)
    ids = random.integers(0, 90, size=3000)
    table = scored(random.normal(size=3000), random.random(3000) < 0.3).append_column("id", pa.array(ids))
    for units, least in ((), 10), (("id",), 10):
        sites = lab.Sites({"s": table}, min_group=least, units=units)
        statistic = ScoreCells(*SCORE, 0.0, 1.0)
        cells = sites.ask(statistic)["cells"]
        assert cells[:, 4].sum() == 3000
        grid = statistic.grid(table["z"].to_numpy())
        late = table["late"].to_numpy()
        for _, code, first, last, rows, _ in cells.tolist():
            inside = (grid >= first) & (grid <= last) & (late == bool(code))
            assert inside.sum() == rows
            assert (len(np.unique(ids[inside])) if units else rows) >= least


def test_classifier_metrics_are_the_pooled_ones(lab, mixed):
    options = FitOptions()
    fitted = lab.run(
        LogisticRegression(), lab.parted(mixed, [300, 0, 700]), "late", ["a", "b"], options, min_group=10
    )
    probability = predictor(fitted.document())(mixed.to_batches()[0])[1].to_numpy()
    late = mixed["late"].to_numpy()
    assert fitted.metrics["rows"] == 1500
    assert fitted.metrics["accuracy"] == accuracy_score(late, probability > 0.5)
    assert fitted.metrics["log_loss"] == pytest.approx(log_loss(late, probability), rel=1e-12)
    assert abs(fitted.metrics["auc"] - roc_auc_score(late, probability)) <= fitted.metrics["auc_bound"]
    assert fitted.measured_on == "the fitted rows"
    assert "auc_bound" in fitted.report()


def test_regression_metrics_are_the_pooled_ones(lab, mixed):
    fitted = lab.run(LinearRegression(), lab.parted(mixed, [300]), "delay", ["a", "b"], FitOptions())
    predicted = predictor(fitted.document())(mixed.to_batches()[0])[0].to_numpy()
    truth = mixed["delay"].to_numpy()
    assert fitted.metrics["r2"] == pytest.approx(r2_score(truth, predicted), rel=1e-12)
    assert fitted.metrics["mse"] == pytest.approx(mean_squared_error(truth, predicted), rel=1e-12)
    assert fitted.metrics["mean_absolute_error"] == pytest.approx(
        mean_absolute_error(truth, predicted), rel=1e-12
    )


def test_held_out_rows_are_measured_and_not_fitted(lab, mixed):
    options = FitOptions(validate=0.3, seed=5)
    features = ["a", "b", "city"]
    table = mixed.select([*features, "late"])
    estimator = make_pipeline(
        ColumnTransformer([("e", OneHotEncoder(), ["city"])], remainder="passthrough"), LogisticRegression()
    )
    fitted = lab.run(estimator, lab.parted(table, [500]), "late", None, options, min_group=10)
    again = lab.run(estimator, lab.parted(table, [1200]), "late", None, options, batch_rows=37)
    assert fitted.rows + fitted.metrics["rows"] == 1500
    assert 350 < fitted.metrics["rows"] < 550
    assert again.rows == fitted.rows  # the same split in another federation
    np.testing.assert_allclose(again.coef_, fitted.coef_, rtol=1e-7, atol=1e-10)
    assert "held-out" in fitted.report()
    with pytest.raises(ConfigError, match="between 0 and 1"):
        FitOptions(validate=1.0)


def test_metrics_of_few_units_are_withheld(lab):
    few = scored(np.arange(9.0), np.arange(9) % 2 == 0)
    nothing = evaluate(lab.Sites({"s": few}, min_group=10))
    assert nothing.values["accuracy"] is None
    assert nothing.values["rows"] == 0
    assert "fewer than min_group" in nothing.withheld["accuracy"]
    rare = scored(np.arange(100.0), np.arange(100) < 4)
    half = evaluate(lab.Sites({"s": rare}, min_group=10))
    assert half.values["accuracy"] is not None
    assert half.values["auc"] is None
    assert "class" in half.withheld["auc"]
    one = evaluate(lab.Sites({"s": scored(np.arange(50.0), np.ones(50))}, min_group=10))
    assert one.withheld["auc"] == "only one class among the rows"


def dense(table, classes):
    """A confusion table as a matrix; -1 where a cell is withheld."""
    assert table["actual"].to_pylist() == [value for value in classes for _ in classes]
    assert table["predicted"].to_pylist() == [*classes] * len(classes)
    rows = [-1 if value is None else value for value in table["rows"].to_pylist()]
    return np.array(rows).reshape(len(classes), len(classes))


def test_confusion_and_calibration_are_the_pooled_ones(lab):
    random = np.random.default_rng(12)
    z = random.normal(size=30_000) * 2
    late = random.random(30_000) < 1 / (1 + np.exp(-z))
    metrics = evaluate(lab.Sites(lab.parted(scored(z, late), [8000, 0, 12_000]), min_group=10))
    assert metrics.values["accuracy_bound"] == 0.0
    assert metrics.values["accuracy"] == pytest.approx(accuracy_score(late, z > 0), abs=1e-15)
    assert dense(metrics.confusion, [False, True]).tolist() == confusion_matrix(late, z > 0).tolist()
    observed, predicted = calibration_curve(late, 1 / (1 + np.exp(-z)), n_bins=10)
    assert metrics.calibration["low"].to_pylist() == [i / 10 for i in range(10)]
    np.testing.assert_allclose(metrics.calibration["observed"], observed, atol=1e-12)
    np.testing.assert_allclose(metrics.calibration["predicted"], predicted, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 80), min_size=1, max_size=4),
    skill=st.floats(0, 8),
)
def test_few_errors_are_hidden_and_accuracy_lies_within_its_bound(lab, seed, sizes, skill):
    random = np.random.default_rng(seed)
    rows = sum(sizes) + 40
    late = random.random(rows) < 0.5
    z = random.normal(size=rows) + skill * (late - 0.5)
    table = scored(z, late)
    metrics = evaluate(lab.Sites(lab.parted(table, sizes), min_group=10))
    told = metrics.values
    if told["accuracy"] is None or told["rows"] < rows:
        return
    assert abs(told["accuracy"] - accuracy_score(late, z > 0)) <= told["accuracy_bound"] + 1e-12
    exact = confusion_matrix(late, z > 0, labels=[False, True])
    shown = dense(metrics.confusion, [False, True])
    assert ((shown == exact) | (shown == -1)).all()
    if len(sizes) == 1 and not sizes[0]:
        assert all(cell <= 0 or cell >= 10 for cell in shown.ravel().tolist())
    if metrics.calibration is not None:
        for low, high, count, predicted, observed in zip(
            *metrics.calibration.to_pydict().values(), strict=True
        ):
            p = 1 / (1 + np.exp(-z))
            inside = (p > low) & (p <= high)
            assert inside.sum() == count
            assert predicted == pytest.approx(p[inside].mean(), rel=1e-9)
            assert observed == pytest.approx(late[inside].mean(), abs=1e-12)


def test_several_classes(lab):
    data = load_digits()
    table = pa.table({**{f"p{i}": data.data[:, i] + 1 for i in (10, 21, 36, 42, 43)}, "digit": data.target})
    for min_group in (1, 10):
        fitted = lab.run(
            LogisticRegression(), lab.parted(table, [800]), "digit", None, FitOptions(), min_group=min_group
        )
        label, *shares = predictor(fitted.document())(table.to_batches()[0])
        exact = confusion_matrix(data.target, label.to_numpy())
        shown = dense(fitted.confusion, list(range(10)))
        assert ((shown == exact) | (shown == -1)).all()
        assert (shown == exact).all() or min_group == 10
        told = fitted.metrics
        assert told["log_loss"] == pytest.approx(log_loss(data.target, np.column_stack(shares)), rel=1e-9)
        assert abs(told["accuracy"] - accuracy_score(data.target, label)) <= told["accuracy_bound"] + 1e-12
        assert told["accuracy_bound"] == 0.0
        assert "auc" not in told


def test_hidden_cells_cannot_be_subtracted(lab):
    score = Score(
        Design((Numeric("z"),)), "softmax", np.array([[-1.0], [0.0], [1.0]]), np.array([0.0, 1.0, 0.0])
    )
    target = Target("k", (0, 1, 2))
    z = np.repeat([-9.0, 0.0, 9.0], 100)
    kinds = np.repeat([0, 1, 2], 100)
    kinds[:4] = 1  # four rows of class 1 are taken for 0
    state = lab.Sites({"s": pa.table({"z": z, "k": kinds})}, min_group=10).ask(Confusion(score, target))
    assert state["withheld"].tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert state["rows"].tolist() == [[96, 0, 0], [0, 0, 0], [0, 0, 100]]
    assert state["errors"].tolist() == [1, 10]
    few = lab.Sites({"s": pa.table({"z": z[:9], "k": kinds[:9]})}, min_group=10).ask(Confusion(score, target))
    assert not few["rows"].any()


def test_auc_of_nothing():
    assert auc(ScoreCells(*SCORE, 0.0, 1.0).empty()) is None


def test_a_constant_target_has_no_r2(lab):
    table = pa.table({"x": np.arange(1.0, 9.0), "y": np.full(8, 2.0)})
    fitted = lab.run(LinearRegression(), {"s": table}, "y", options=FitOptions())
    assert fitted.metrics["r2"] is None
    assert fitted.metrics["mse"] == pytest.approx(0.0, abs=1e-20)
