"""Statistics merge like bags of rows, travel as plain data, and reject what is malformed."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.learning import answer, fold
from blossom.learning.design import Design, Levels, Numeric, Projection
from blossom.learning.score import Score
from blossom.learning.statistics import (
    REGISTRY,
    Categories,
    ClassErrors,
    Classes,
    ClassMoments,
    ClusterSums,
    Confusion,
    Extremes,
    Gram,
    LogisticSums,
    Moments,
    MultinomialSums,
    Part,
    PoissonSums,
    PresentMeans,
    RareCategories,
    RegressionErrors,
    ScoreCells,
    Together,
    from_message,
    to_message,
)
from blossom.learning.target import Target
from blossom.plan.errors import ConfigError, SiteError, TrainingError

DESIGN = Design((Numeric("x", 0.3, 2.0), Levels.plain("k", ["a", "é"], rest=True, drop=True)))
CLASS, VALUE = Target("late", (False, True)), Target("y", None, 0.25)
WEIGHTS = np.array([0.1, -0.2, 0.3])
KINDS = Target("k", ("a", "z", "é"))
COUNT = Target("count")
SCORE = Score.linear(DESIGN, "logistic", WEIGHTS, 0.5)
SEVERAL = Score(
    DESIGN, "softmax", np.arange(9.0).reshape(3, 3) / 9, np.array([0.1, 0.0, -0.1]), np.ones((3, 3))
)
PROJECTED = Design((Projection(DESIGN.blocks, ((0.5, 0.1, 0.0), (0.2, -1.0, 1.0)), (0.1, 0.0), (1.0, 2.0)),))
EVERY = [
    Moments(DESIGN, VALUE),
    Moments(DESIGN),
    Classes("late"),
    Categories("k"),
    RareCategories("k", ("a", "é"), CLASS),
    Gram(DESIGN, VALUE),
    LogisticSums(DESIGN, CLASS, WEIGHTS, 0.5),
    MultinomialSums(DESIGN, KINDS, np.arange(12.0).reshape(3, 4) / 12),
    PoissonSums(DESIGN, COUNT, WEIGHTS, 0.5),
    ClassMoments(DESIGN, KINDS),
    ClusterSums(DESIGN, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])),
    PresentMeans(("holes", "x")),
    Extremes(DESIGN),
    Moments(PROJECTED),
    ClassErrors(SCORE, CLASS),
    ClassErrors(SEVERAL, KINDS),
    Confusion(SEVERAL, KINDS),
    RegressionErrors(Score.linear(DESIGN, "identity", WEIGHTS, 0.5), VALUE),
    RegressionErrors(Score.linear(DESIGN, "log", WEIGHTS, 0.5), COUNT),
    ScoreCells(SCORE, CLASS, 0.1, 2.0),
    Together((Classes("late"), Moments(DESIGN))),
    Part(Gram(DESIGN, VALUE), 0.3, 4, held_out=True),
]


def rows(seed, count):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": random.normal(size=count) * 5 + 3,
            "k": pa.array(random.choice(np.array(["a", "é", "z"]), size=count).tolist(), pa.string()),
            "late": pa.array(random.random(count) < 0.4, pa.bool_()),
            "y": random.normal(size=count),
            "count": random.poisson(2.0, size=count),
            "holes": pa.array(np.where(random.random(count) < 0.3, np.nan, 1.0), from_pandas=True),
        }
    )


def test_every_statistic_is_tried():
    assert {type(statistic) for statistic in EVERY} == set(REGISTRY.values())


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, list):
            assert value == b[key]
        else:
            np.testing.assert_allclose(value, b[key], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("statistic", EVERY, ids=lambda s: s.kind)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_parts_fold_to_the_whole(statistic, seed, sizes):
    tables = {f"s{i}": rows(seed + i, size) for i, size in enumerate(sizes)}
    states = {name: answer(statistic, table.to_batches()) for name, table in tables.items()}
    whole = fold(statistic, states)
    if not isinstance(statistic, ScoreCells):  # cells keep their sites apart
        assert_equal(whole, answer(statistic, pa.concat_tables(tables.values()).to_batches()))
    assert_equal(statistic.merge(statistic.empty(), whole), whole)
    assert_equal(statistic.merge(whole, statistic.empty()), whole)
    backwards = fold(statistic, dict(reversed(states.items())))
    for key, value in whole.items():
        assert np.array_equal(value, backwards[key]), "the order of answers must not matter, to the bit"


@pytest.mark.parametrize("statistic", EVERY, ids=lambda s: s.kind)
def test_statistics_travel_as_json_and_arrays(statistic):
    document, arrays = to_message(statistic)
    again = from_message(json.loads(json.dumps(document, allow_nan=False)), arrays)
    assert to_message(again)[0] == document
    table = rows(1, 60)
    assert_equal(answer(again, table.to_batches()), answer(statistic, table.to_batches()))
    assert statistic.releases()


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"kind": "os"},
        {"kind": "classes"},
        {"kind": "classes", "column": 3},
        {"kind": "classes", "column": "x", "more": 1},
        {"kind": "gram", "design": "x", "target": None},
        {
            "kind": "gram",
            "design": [{"levels": "k"}],
            "target": {"column": "y", "classes": None, "shift": 0.0},
        },
        {
            "kind": "part",
            "whole": {"kind": "classes", "column": "x"},
            "fraction": "1",
            "seed": 1,
            "held_out": True,
        },
        {
            "kind": "part",
            "whole": {"kind": "classes", "column": "x"},
            "fraction": 0.5,
            "seed": True,
            "held_out": 1,
        },
        {"kind": "together", "parts": [1]},
        {"kind": "rare categories", "column": "k", "categories": [1, "a"], "target": None},
        {"kind": "rare categories", "column": "k", "categories": [2**70], "target": None},
        {**to_message(EVERY[6])[0], "weights": {"array": "missing"}},
    ],
)
def test_malformed_statistics(document):
    with pytest.raises(ConfigError):
        from_message(document, {})
    with pytest.raises(ConfigError):
        from_message(to_message(EVERY[6])[0], {"a0": np.array([np.nan])})


def test_malformed_answers_name_their_site():
    statistic = Gram(DESIGN, VALUE)
    good = dict(answer(statistic, rows(1, 40).to_batches()))
    for change in [
        {"n": [1]},
        {"sums": np.zeros(9)},
        {"products": np.full((4, 4), np.nan)},
        {"products": np.array([["a"]])},
    ]:
        with pytest.raises(SiteError) as caught:
            fold(statistic, {"a": good, "b": {**good, **change}})
        assert caught.value.where == "b"
    with pytest.raises(SiteError):
        fold(statistic, {"b": {"n": good["n"]}})
    mixed = {"values": ["a"], "rows": np.array([1, 2])}
    with pytest.raises(SiteError):
        fold(Classes("k"), {"b": mixed})


def test_moments_of_far_and_constant_columns_are_exact():
    x = np.random.default_rng(0).normal(size=3000)
    table = pa.table({"far": x + 1e8, "one": np.full(3000, 1e8 / 3)})
    statistic = Moments(Design((Numeric("far"), Numeric("one"))))
    states = {
        f"s{i}": answer(statistic, table.slice(i * 1000, 1000).to_batches(max_chunksize=77)) for i in range(3)
    }
    state = fold(statistic, states)
    assert state["m2"][0] == pytest.approx(((table["far"].to_numpy() - 1e8).var()) * 3000, rel=1e-9)
    assert state["m2"][1] == 0.0
    assert state["mean"][1] == 1e8 / 3


def test_a_null_class_and_an_unknown_class():
    with pytest.raises(TrainingError, match="'late'"):
        answer(Classes("late"), pa.table({"late": pa.array([True, None])}).to_batches())
    table = pa.table({"late": ["x", "y", "z"], "k": ["a", "a", "a"]})
    with pytest.raises(TrainingError, match="not fitted on"):
        answer(RareCategories("k", ("a",), Target("late", ("x", "y"))), table.to_batches())
