"""Parameters of estimators: read, set, cloned, written and refused."""

import json
import math

import pytest

from blossom.learning import (
    ColumnTransformer,
    LinearRegression,
    LogisticRegression,
    OneHotEncoder,
    Ridge,
    StandardScaler,
    clone,
    estimator_from_document,
    make_pipeline,
)
from blossom.plan.errors import ConfigError

EVERY = [
    LogisticRegression(C=math.inf, tol=1e-9),
    LinearRegression(fit_intercept=False),
    Ridge(alpha=0.1 + 0.2),
    make_pipeline(
        ColumnTransformer(
            [
                ("a", StandardScaler(with_std=False), ["é"]),
                ("b", "drop", "x"),
                ("c", OneHotEncoder(drop="first"), ["k"]),
            ],
            remainder="passthrough",
        ),
        StandardScaler(),
        LogisticRegression(),
    ),
    OneHotEncoder(categories=[["a", "b"], [True, False]]),
]


@pytest.mark.parametrize("estimator", EVERY, ids=lambda e: type(e).__name__)
def test_documents_and_clones_are_equal_and_apart(estimator):
    document = estimator.to_document()
    again = estimator_from_document(document)
    assert again == estimator
    assert again.to_document() == document
    assert clone(estimator) == estimator
    assert clone(estimator) is not estimator
    assert json.loads(document)["format"] == "blossom-estimator"


def test_parameters_as_in_scikit_learn():
    model = LogisticRegression()
    assert model.set_params(C=3.0) is model
    assert model.get_params() == {
        "C": 3.0,
        "fit_intercept": True,
        "max_iter": 100,
        "tol": 1e-12,
        "class_weight": None,
    }
    pipeline = make_pipeline(StandardScaler(), model)
    pipeline.set_params(logisticregression__C=0.5, standardscaler__with_mean=False)
    assert pipeline.get_params()["logisticregression__C"] == 0.5
    assert pipeline.get_params(deep=False) == {"steps": pipeline.steps}
    assert repr(pipeline.steps[0][1]) == "StandardScaler(with_mean=False)"


def test_an_unknown_parameter_names_the_nearest():
    for call in (lambda: Ridge(alfa=1), lambda: Ridge().set_params(alfa=1)):
        with pytest.raises(ConfigError, match="unknown parameter 'alfa'") as caught:
            call()
        assert "did you mean 'alpha'" in caught.value.hint
    with pytest.raises(ConfigError, match="positional"):
        Ridge(1.0)


def test_a_refused_value_sets_nothing():
    model = LogisticRegression()
    with pytest.raises(ConfigError, match="tol"):
        model.set_params(C=2.0, tol=-1.0)
    assert model.C == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogisticRegression(C=0),
        lambda: LogisticRegression(C=math.nan),
        lambda: LogisticRegression(C="1"),
        lambda: LogisticRegression(class_weight="balanced"),
        lambda: LogisticRegression(fit_intercept=1),
        lambda: Ridge(alpha=math.inf),
        lambda: Ridge(alpha=-1),
        lambda: StandardScaler(with_mean=None),
    ],
)
def test_values_that_cannot_be_used(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": "blossom-estimator", "version": 2, "estimator": null}',
        '{"format": "blossom-estimator", "version": 1, "estimator": 3}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "os.system", "params": {}}}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "Ridge", "params": {"alpha": NaN}}}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "Ridge", "params": {"self": 1}}}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "Pipeline", "params": {}}}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "Pipeline", "params": {"steps": 4}}}',
        '{"format": "blossom-estimator", "version": 1, "estimator": {"kind": "ColumnTransformer", "params": '
        '{"transformers": [["a", {"evil": 1}, ["x"]]]}}}',
    ],
)
def test_hostile_documents(text):
    with pytest.raises(ConfigError):
        estimator_from_document(text)
