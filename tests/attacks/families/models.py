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


def deviation(model: Any, table: Any) -> float | None:
    """The mean absolute error of a model on a table."""
    found = model.evaluate(table)["mean_absolute_error"]
    return None if found is None else float(found)


def above(measured: Any) -> float | None:
    """Her salary, by a bisection over a model whose prediction is x for her and far below everybody else's salary."""
    low, high = 60_000.0, 130_000.0
    rest = measured(low)
    if rest is None:
        return None
    while high - low > 0.5:
        x, step = (low + high) / 2, (high - low) / 4
        a, b = measured(x), measured(x + step)
        if a is None or b is None:
            return None
        # one of 260 errors shrinks by the step while the prediction is still below her salary
        low, high = (x, high) if b < a else (low, x + step)
    return (low + high) / 2


@attack(FAMILY, "metrics", "fits a constant to a target that she made up, and measures it on the true one")
def own_target(door: Door) -> Guess:
    t = door.table("people", NORTH)

    def error(x: float) -> float | None:
        made_up = t.mutate(salary=t.age * 0.0 + x)
        fitted = bl.train(bl.Ridge(alpha=1.0), made_up, target="salary", features=["age"]).fit()
        return deviation(fitted, t)

    def high(x: float) -> bool:
        a, b = error(x), error(x + 0.5)
        return a is not None and b is not None and b - a < 0.5 * (1 - 0.5 / 260)

    if error(0.0) is None:
        return None
    return bisected(high, 60_000, 130_000, 0.8) + 0.25


@attack(
    FAMILY, "metrics", "fits honestly, and measures on a table whose age is chosen so that she is predicted x"
)
def moved_feature(door: Door) -> Guess:
    import ibis

    t = door.table("people", NORTH)
    fitted = bl.train(bl.LinearRegression(), t, target="salary", features=["age"]).fit()
    slope, intercept = float(fitted.coef_[0]), float(fitted.intercept_)

    def measured(x: float) -> float | None:
        age = ibis.ifelse(t.age == VICTIM_AGE, (x - intercept) / slope, -intercept / slope)
        return deviation(fitted, t.mutate(age=age))

    return above(measured)


@attack(FAMILY, "metrics", "keeps such a table at the site first, where its age looks stored")
def moved_stored_feature(door: Door) -> Guess:
    import ibis

    t = door.table("people", NORTH)
    fitted = bl.train(bl.LinearRegression(), t, target="salary", features=["age"]).fit()
    slope, intercept = float(fitted.coef_[0]), float(fitted.intercept_)

    def measured(x: float) -> float | None:
        age = ibis.ifelse(t.age == VICTIM_AGE, (x - intercept) / slope, -intercept / slope)
        return deviation(fitted, door.write(t.mutate(age=age).select("age", "salary"), site=NORTH))

    return above(measured)


@attack(FAMILY, "metrics", "joins a feature of her own by age, when fitting and, another one, when measuring")
def joined_feature(door: Door) -> Guess:
    t = door.table("people", NORTH).select("age", "salary")

    def joined(values: dict[int, float]) -> Any:
        own = door.local({"age": list(values), "x": list(values.values())})
        return t.join(own, "age").select("x", "salary")

    honest_ = {age: float(age) for age in range(20, 98)}
    fitted = bl.train(bl.LinearRegression(), joined(honest_), target="salary", features=["x"]).fit()
    slope, intercept = float(fitted.coef_[0]), float(fitted.intercept_)

    def measured(x: float) -> float | None:
        low = dict.fromkeys(honest_, -intercept / slope)
        return deviation(fitted, joined({**low, VICTIM_AGE: (x - intercept) / slope}))

    return above(measured)


@attack(
    FAMILY, "metrics", "evaluates a large multiple of her indicator: the mean square error holds her salary"
)
def squared_error_of_an_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    x = (t.age % 2).cast("float64")
    both = x + (t.age == VICTIM_AGE).cast("float64")
    model = line(door, "x", "salary", 1e5, 0.0)
    a, b = model.evaluate(t.mutate(x=both))["mse"], model.evaluate(t.mutate(x=x))["mse"]
    if a is None or b is None:
        return None
    # she is odd: (s - 2K)^2 - (s - K)^2 = 3K^2 - 2Ks
    return float(3e10 - (a - b) * 260) / 2e5


FEW = (20, 22, 24, 25, 26)
"""Ages of one to four people each, all predicted 1 by the honest model of `flags_of_few`."""

OTHERS = tuple(range(60, 67))
"""Ages of more than ten people together, all predicted 0."""


def flags_of_few(door: Door, told: Any) -> Guess:
    """Are the numbers of flags at five rare ages found by measuring with and without these people, others left out along?"""
    t = door.table("people", NORTH)
    fitted = bl.train(bl.LogisticRegression(), t, target="flag", features=["age"]).fit()
    frame = people(NORTH).to_pandas()
    whole = told(fitted.evaluate(t))
    for age in FEW:
        rest = told(fitted.evaluate(t.filter(t.age != age, ~t.age.isin(OTHERS))))
        if whole is None or rest is None or whole - rest != frame[frame.age == age].flag.sum():
            return None
    return 1.0


@attack(
    FAMILY,
    "metrics",
    "measures with and without a few people of one prediction, others left out along: the confusion tells the few's flags",
    secret="flag",
)
def confusion_of_a_few(door: Door) -> Guess:
    def told(found: Any) -> int | None:
        cells = {(row["actual"], row["predicted"]): row["rows"] for row in found.confusion.to_pylist()}
        return cells[1, 1]

    return flags_of_few(door, told)


@attack(
    FAMILY,
    "metrics",
    "the same with the table of calibration, whose bins are finer",
    secret="flag",
)
def calibration_of_a_few(door: Door) -> Guess:
    def told(found: Any) -> int | None:
        if found.calibration is None:
            return None
        bins = [row for row in found.calibration.to_pylist() if row["low"] >= 0.5]
        return round(sum(row["rows"] * row["observed"] for row in bins))

    return flags_of_few(door, told)


@attack(
    FAMILY,
    "metrics",
    "measures two orders of the same people within one bin of the probability: the area tells the flags of those who moved",
    secret="flag",
)
def area_of_an_order(door: Door) -> Guess:
    import ibis

    t = door.table("people", NORTH)
    frame = people(NORTH).to_pandas()
    ones, zeros = int(frame.flag.sum()), int((1 - frame.flag).sum())
    model = step(door, "x", "flag", 0.0, 1.0)
    for age in FEW:
        last, first = (
            model.evaluate(t.mutate(x=ibis.ifelse(t.age == age, at, 20.0 + t.age / 100.0)))["auc"]
            for at in (25.0, 15.0)
        )
        if last is None or first is None:
            return None
        # of m people who move over all others, k flagged: the pairs won change by k (zeros - m + k) - (m - k) (ones - k)
        own = frame[frame.age == age]
        k, m = own.flag.sum(), len(own)
        guesses = {n * (zeros - m + n) - (m - n) * (ones - n): n for n in range(m + 1)}
        found = min(guesses, key=lambda pairs: abs(pairs - (last - first) * ones * zeros))
        if guesses[found] != k:
            return None
    return 1.0


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
