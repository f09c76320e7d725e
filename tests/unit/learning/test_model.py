"""Fitted models: exact documents, hostile documents, prediction, the record of a fit, and going on with one."""

import json
import math
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from blossom.learning import (
    ColumnTransformer,
    FitOptions,
    LinearRegression,
    LogisticRegression,
    OneHotEncoder,
    Ridge,
    StandardScaler,
    fit,
    load_model,
    make_pipeline,
    outputs,
    predictor,
)
from blossom.plan.errors import ConfigError, TrainingError

PIPELINE = make_pipeline(
    ColumnTransformer([("e", OneHotEncoder(), ["city"]), ("s", StandardScaler(), ["a", "b"])]),
    LogisticRegression(),
)


@pytest.fixture(scope="module")
def fitted(lab, mixed):
    sites = lab.Sites(lab.parted(mixed, [600]), min_group=10)
    options = FitOptions(sites=("s1", "s0"))
    return fit(PIPELINE, "late", None, sites.schema, sites.ask, options=options)


def test_a_saved_model_is_the_same_model(fitted, mixed, tmp_path):
    path = tmp_path / "modèle.json"
    fitted.save(path)
    again = load_model(path)
    assert again.document() == fitted.document()
    assert again.estimator == PIPELINE
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    assert again.metrics == fitted.metrics
    assert again.rounds.equals(fitted.rounds)
    assert again.history.equals(fitted.history)
    assert again.report() == fitted.report()
    batch = mixed.to_batches()[0]
    assert predictor(path.read_text(encoding="utf-8"))(batch) == predictor(fitted.document())(batch)
    assert [p.name for p in tmp_path.iterdir()] == ["modèle.json"]


def test_the_record_of_a_fit(fitted):
    assert set(fitted.history["site"].to_pylist()) == {"s0", "s1"}
    assert fitted.history.num_rows == 2 * fitted.rounds.num_rows
    newton = fitted.rounds.filter(pc.equal(fitted.rounds["step"], "newton"))
    losses = newton["loss"].to_pylist()
    assert losses[0] > losses[-1]
    assert newton["gradient_norm"].to_pylist()[-1] <= 1e-12
    assert fitted.n_iter_ == newton["iteration"].to_pylist()[-1]
    report = fitted.report()
    assert "city_京都" in report
    assert "late = True" in report


def test_hostile_and_broken_files(fitted, tmp_path):
    path = tmp_path / "model.json"
    good = json.loads(fitted.document())
    score = good["score"]

    def refused(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_model(path)
        assert caught.value.where == str(path)

    refused(pickle.dumps({"format": "blossom-model"}))
    refused("")
    refused("[" * 200_000)
    refused(fitted.document().replace('"version": 2', '"version": 7', 1))
    refused(PIPELINE.to_document())
    refused(json.dumps({**good, "extra": 1}))
    for key, value in [
        ("score", {**score, "weights": [[1.0]]}),
        ("score", {**score, "weights": "abc"}),
        ("score", {**score, "bias": ["nan"]}),
        ("score", {**score, "bias": [True]}),
        ("score", {**score, "bias": [10**400]}),
        ("score", {**score, "bias": [0.0, 0.0]}),
        ("score", {**score, "link": "softmax"}),
        ("score", {**score, "link": "os"}),
        ("score", {**score, "design": []}),
        ("score", None),
        ("attributes", {"coef_": {"shape": [1], "values": [math.inf]}}),
        ("attributes", {"coef_": {"shape": [3], "values": [1.0]}}),
        ("attributes", {"coef_": [1.0]}),
        ("confusion", [1]),
        ("calibration", {"low": [0.0]}),
        ("design", []),
        ("design", [{"numeric": "a", "shift": 0.0, "scale": 0.0, "fill": None}]),
        ("design", [{"numeric": "a", "shift": 0.0, "scale": 1.0, "fill": None, "x": 1}]),
        ("features", ["a"]),
        ("features", [1]),
        ("names", None),
        ("kind", "regressor"),
        ("kind", "os"),
        ("target", {"column": "late", "classes": None, "shift": 0.0}),
        ("target", {"column": "late", "classes": [False, True, 2], "shift": 0.0}),
        ("target", {"column": "late", "classes": ["x", "y"], "shift": 0.0}),
        ("target_type", "no such type"),
        ("target_type", 3),
        ("estimator", {"kind": "Ridge", "params": {}}),
        ("estimator", None),
        ("metrics", {"auc": "0.9"}),
        ("withheld", {"auc": 1}),
        ("rounds", {"round": [1]}),
        ("rounds", {**good["rounds"], "loss": ["x"] * len(good["rounds"]["loss"])}),
        ("iterations", -1),
        ("rows", 10**30),
    ]:
        refused(json.dumps({**good, key: value}))
        del good[key]
        refused(json.dumps(good))
        good = json.loads(fitted.document())
    with pytest.raises(ConfigError, match="cannot read"):
        load_model(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("truth", "kind"),
    [
        (pa.array(["no", "yes"] * 20), "string"),
        (pa.array([0, 1] * 20, pa.int16()), "int16"),
        (pa.array([False, True] * 20), "boolean"),
    ],
)
def test_predictions_have_the_target_s_type(lab, truth, kind):
    table = pa.table({"x": np.arange(40.0) % 7, "y": truth})
    fitted = lab.run(LogisticRegression(), {"s": table}, "y")
    document = fitted.document()
    assert outputs(document) == (("prediction", kind), ("probability", "float64"))
    assert outputs(document, "risk") == (("risk", kind), ("risk_probability", "float64"))
    label, probability = predictor(document)(table.select(["x"]).to_batches()[0])
    assert label.type == truth.type
    assert probability.type == pa.float64()
    expected = [fitted.classes_[int(p > 0.5)] for p in probability.to_pylist()]
    assert label.to_pylist() == expected
    none = table.select(["x"]).to_batches()[0].slice(0, 0)
    assert [len(part) for part in predictor(document)(none)] == [0, 0]


def test_outputs_before_fitting():
    assert outputs(Ridge(), "cost") == (("cost", "float64"),)
    assert outputs(PIPELINE, target_type="!string") == (("prediction", "string"), ("probability", "float64"))
    assert outputs(PIPELINE.to_document(), target_type="int64")[0] == ("prediction", "int64")
    with pytest.raises(ConfigError, match="target"):
        outputs(PIPELINE)
    with pytest.raises(TrainingError, match="transform"):
        outputs(StandardScaler())


def test_rows_with_unusable_features_have_no_prediction(fitted):
    batch = pa.RecordBatch.from_pydict(
        {
            "a": pa.array([0.1, None, math.nan, 0.3, 0.1], pa.float64()),
            "b": pa.array([1.0, 2.0, 3.0, math.inf, 1.0], pa.float64()),
            "city": pa.array(["Łódź", "Łódź", "Łódź", "Łódź", None]),
        }
    )
    label, probability = predictor(fitted.document())(batch)
    assert label.is_null().to_pylist() == [False, True, True, True, True]
    assert probability.is_null().to_pylist() == label.is_null().to_pylist()


def test_a_missing_or_mistyped_feature_is_an_error(fitted):
    predict = predictor(fitted.document())
    with pytest.raises(TrainingError, match="unknown column 'city'"):
        predict(pa.RecordBatch.from_pydict({"a": [1.0], "b": [1.0]}))
    with pytest.raises(TrainingError, match="not numbers"):
        predict(pa.RecordBatch.from_pydict({"a": ["x"], "b": [1.0], "city": ["x"]}))
    with pytest.raises(TrainingError, match="categories are"):
        predict(pa.RecordBatch.from_pydict({"a": [1.0], "b": [1.0], "city": [3]}))


def test_a_fit_goes_on_where_it_was_cut_off(lab, mixed):
    sites = lab.Sites(lab.parted(mixed, [600]))
    kept = []
    whole = fit(PIPELINE, "late", None, sites.schema, sites.ask, keep=kept.append)
    asked = len(sites.asked)
    assert len(kept) == asked
    again = fit(PIPELINE, "late", None, sites.schema, sites.ask, resume=kept[:4])
    assert len(sites.asked) == 2 * asked - 4
    assert again.document() == whole.document()


def test_progress_is_told(lab, mixed):
    sites = lab.Sites(lab.parted(mixed, [600]))
    told = []
    fit(LinearRegression(), "delay", ["a"], sites.schema, sites.ask, progress=lambda *step: told.append(step))
    assert [step[0] for step in told] == ["inspect", "gram", "evaluate"]
    gram = next(step for step in told if step[0] == "gram")
    assert gram[2] > 0
    assert gram[3] < 1e-12
