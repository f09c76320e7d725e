"""Models as tools: chosen coefficients that make of a prediction, or of a metric, a predicate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.attacks.attack import Guess, attack, bisected, honest, number
from tests.attacks.families.groups import hers, rows
from tests.attacks.world import VICTIM, VICTIM_AGE, Door, people

import blossom as bl

FAMILY = "models"
NORTH = "north"


def line(door: Door, feature: str, target: str, slope: float, intercept: float) -> Any:
    """A linear model of chosen coefficients: fitted on two made-up rows, then loaded from a file."""
    own = door.local(
        {feature: [0.0, 1.0, 2.0], target: [intercept, intercept + slope, intercept + 2 * slope]}
    )
    fitted = bl.train(bl.LinearRegression(), own, target=target, features=[feature]).fit()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        fitted.save(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        document["score"]["design"] = [{**document["score"]["design"][0], "shift": 0.0, "scale": 1.0}]
        document["score"]["weights"], document["score"]["bias"] = [[slope]], [intercept]
        document["attributes"]["coef_"]["values"] = [slope]
        document["attributes"]["intercept_"]["values"] = [intercept]
        path.write_text(json.dumps(document), encoding="utf-8")
        return bl.load_model(path)


def step(door: Door, feature: str, target: str, at: float, steepness: float = 50.0) -> Any:
    """A logistic model that says 1 exactly where the feature is above `at`."""
    own = door.local({feature: [0.0, 1.0, 2.0, 3.0], target: [0, 1, 0, 1]})
    fitted = bl.train(bl.LogisticRegression(), own, target=target, features=[feature]).fit()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        fitted.save(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        document["score"]["design"] = [{**document["score"]["design"][0], "shift": 0.0, "scale": 1.0}]
        document["score"]["weights"], document["score"]["bias"] = [[steepness]], [-steepness * at]
        document["attributes"]["coef_"]["values"] = [steepness]
        document["attributes"]["intercept_"]["values"] = [-steepness * at]
        path.write_text(json.dumps(document), encoding="utf-8")
        return bl.load_model(path)


@attack(FAMILY, "metrics", "asks for predictions row by row; the model is the identity of the salary")
def predicted_rows(door: Door) -> Guess:
    model = line(door, "salary", "y", 1.0, 0.0)
    scored = model.predict(door.table("people", NORTH)).select("pid", "prediction")
    return hers(rows(scored), "pid", VICTIM, "prediction")


@attack(FAMILY, "rows", "asks for the largest prediction")
def largest_prediction(door: Door) -> Guess:
    scored = line(door, "salary", "y", 1.0, 0.0).predict(door.table("people", NORTH))
    return number(scored.prediction.max())


@attack(
    FAMILY,
    "shape",
    "multiplies salaries with a prediction that is 1 for her identifier and above, and for above only",
)
def prediction_as_weight(door: Door) -> Guess:
    t = door.table("people", NORTH)

    def above(x: float) -> float | None:
        scored = step(door, "pid", "y", x).predict(t)
        return number((scored.salary * scored.prediction).sum())

    a, b = above(VICTIM - 0.5), above(VICTIM + 0.5)
    return None if a is None or b is None else a - b


@attack(FAMILY, "shape", "the same with her age, on which conditions are allowed")
def prediction_by_age_as_weight(door: Door) -> Guess:
    scored = step(door, "age", "y", VICTIM_AGE - 0.5).predict(door.table("people", NORTH))
    return number((scored.salary * scored.prediction).sum())


@attack(FAMILY, "filter", "filters by a prediction")
def prediction_as_filter(door: Door) -> Guess:
    scored = step(door, "salary", "y", 97_000.0, 1.0).predict(door.table("people", NORTH))
    return number(scored.filter(scored.prediction == 1).salary.sum())


@attack(FAMILY, "filter", "groups by a prediction")
def prediction_as_key(door: Door) -> Guess:
    scored = step(door, "pid", "y", VICTIM - 0.5).predict(door.table("people", NORTH))
    return hers(rows(scored.group_by("prediction").agg(s=scored.salary.sum())), "prediction", 1)


@attack(
    FAMILY,
    "metrics",
    "evaluates a constant as a prediction: the mean absolute error has a kink at each salary",
    tolerance=50.0,
    expects="a ledger of metrics",
)
def absolute_error(door: Door) -> Guess:
    t = door.table("people", NORTH)

    def error(x: float) -> float | None:
        return line(door, "age", "salary", 0.0, x).evaluate(t)["mean_absolute_error"]

    def high(x: float) -> bool:
        # beyond the highest salary the error grows by exactly the step
        a, b = error(x), error(x + 0.5)
        return a is not None and b is not None and b - a < 0.5 * (1 - 0.5 / 260)

    if error(0.0) is None:
        return None
    return bisected(high, 60_000, 130_000, 0.8) + 0.25


@attack(
    FAMILY,
    "metrics",
    "evaluates a step of the identifier: accuracies on both sides of hers tell her flag",
    secret="flag",
    expects="a ledger of metrics",
)
def accuracy_of_a_step(door: Door) -> Guess:
    t = door.table("people", NORTH)
    frame = people(NORTH).to_pandas().sort_values("pid")
    asked = frame.iloc[20:28]
    right = 0
    for pid, flag in zip(asked.pid, asked.flag, strict=True):
        a = step(door, "pid", "flag", pid - 0.5).evaluate(t)["accuracy"]
        b = step(door, "pid", "flag", pid + 0.5).evaluate(t)["accuracy"]
        if a is None or b is None:
            return None
        # with the step before her she is predicted 1, after her 0
        right += (a > b) == (flag == 1)
    return 1.0 if right == len(asked) else None


@attack(
    FAMILY,
    "metrics",
    "evaluates a steep logistic step: the log loss is the distance of the wrong ones, summed",
    secret="flag",
    expects="a ledger of metrics",
)
def log_loss_of_a_step(door: Door) -> Guess:
    t = door.table("people", NORTH)
    frame = people(NORTH).to_pandas().sort_values("pid")
    asked = frame.iloc[40:44]
    right = 0
    for pid, flag in zip(asked.pid, asked.flag, strict=True):
        losses = [step(door, "pid", "flag", pid + d, 1e3).evaluate(t)["log_loss"] for d in (-0.5, 0.0, 0.5)]
        if any(loss is None for loss in losses):
            return None
        kink = (losses[2] - losses[1]) - (losses[1] - losses[0])
        # of the loss max(0, ±1000 (pid - x)): the kink at her is 1000 * 0.5 upward in both cases; the slope's side tells
        right += kink > 0 and flag in (0, 1)
    return 1.0 if right == len(asked) else None


@attack(FAMILY, "metrics", "evaluates on her alone")
def metric_of_one(door: Door) -> Guess:
    t = door.table("people", NORTH)
    only = t.filter(t.age == VICTIM_AGE)
    error = line(door, "age", "salary", 0.0, 0.0).evaluate(only)["mean_absolute_error"]
    return None if error is None else float(error)


@attack(FAMILY, "metrics", "evaluates with and without her")
def metrics_differenced(door: Door) -> Guess:
    t = door.table("people", NORTH)
    model = line(door, "age", "salary", 0.0, 0.0)
    a = model.evaluate(t)
    b = model.evaluate(t.filter(t.age != VICTIM_AGE))
    if a["mean_absolute_error"] is None or b["mean_absolute_error"] is None:
        return None
    return float(a["mean_absolute_error"]) * 260 - float(b["mean_absolute_error"]) * 259


@attack(
    FAMILY,
    "dominance",
    "evaluates the mean square of a column that she dominates",
    secret="revenue",
    tolerance=10_000,
)
def dominated_metric(door: Door) -> Guess:
    t = door.table("people", NORTH)
    found = line(door, "age", "revenue", 0.0, 0.0).evaluate(t)["mse"]
    return None if found is None else float(found * 260) ** 0.5


@honest(FAMILY)
def predictions_by_group(door: Door) -> Any:
    t = door.people
    fitted = bl.train(bl.LinearRegression(), t, target="income", features=["age"]).fit()
    scored = fitted.predict(t)
    return rows(scored.group_by("dept").agg(p=scored.prediction.mean()))


@honest(FAMILY)
def evaluated(door: Door) -> Any:
    t = door.people
    fitted = bl.train(bl.LinearRegression(), t, target="income", features=["age"]).fit()
    return fitted.evaluate(t)["r2"]


@honest(FAMILY)
def classifier_evaluated(door: Door) -> Any:
    t = door.people
    fitted = bl.train(bl.LogisticRegression(), t, target="flag", features=["age"]).fit()
    return fitted.metrics["accuracy"]
