"""Fits: a feature that is a predicate, leverage, tiny classes and categories, and two fits that differ by one person."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.attacks.attack import Guess, attack, honest, number, numbers
from tests.attacks.world import VICTIM, VICTIM_AGE, Door, people

import blossom as bl

FAMILY = "fits"
NORTH = "north"


def linear(table: Any, features: list[str], target: str = "salary", **options: Any) -> Any:
    """A fitted linear regression."""
    return bl.train(bl.LinearRegression(), table, target=target, features=features, **options).fit()


def total(fitted: Any, ages: np.ndarray[Any, Any]) -> float:
    """The sum of the target over the fitted rows, whose ages are known: n times the line at the mean."""
    return float(fitted.intercept_ + fitted.coef_[0] * ages.mean()) * len(ages)


@attack(FAMILY, "cells", "fits a feature that is 1 for her alone")
def indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(me=(t.pid == VICTIM).cast("float64")), ["me"])
    return float(fitted.intercept_ + fitted.coef_[0])


@attack(FAMILY, "cells", "the same by her age, on which conditions are allowed")
def allowed_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(me=(t.age == VICTIM_AGE).cast("float64")), ["me"])
    return float(fitted.intercept_ + fitted.coef_[0])


@attack(FAMILY, "cells", "turns that feature round: it is 0 for her alone, and 1 for all others")
def complement_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(other=(t.age != VICTIM_AGE).cast("float64")), ["other"])
    return float(fitted.intercept_)


@attack(FAMILY, "cells", "adds 1 to it, so that it is zero for nobody")
def shifted_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(me=1.0 + (t.age == VICTIM_AGE).cast("float64")), ["me"])
    return float(fitted.intercept_ + 2 * fitted.coef_[0])


@attack(FAMILY, "cells", "uses minus 1 for all others and plus 1 for her")
def signed_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(me=2.0 * (t.age == VICTIM_AGE).cast("float64") - 1.0), ["me"])
    return float(fitted.intercept_ + fitted.coef_[0])


@attack(FAMILY, "cells", "adds noise by another column, so that no two values are alike", tolerance=60.0)
def noisy_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(me=1e6 * (t.age == VICTIM_AGE).cast("float64") + t.age), ["me"])
    return float(fitted.intercept_ + fitted.coef_[0] * (1e6 + VICTIM_AGE))


@attack(
    FAMILY,
    "dominance",
    "takes a high power of her age, the highest of all: the line goes through her",
    tolerance=60.0,
)
def leverage(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(x=(t.age / float(VICTIM_AGE)) ** 60.0), ["x"])
    return float(fitted.intercept_ + fitted.coef_[0])


@attack(FAMILY, "dominance", "adds 1 to that power, so that she has no great part of its sum", tolerance=60.0)
def shifted_leverage(door: Door) -> Guess:
    t = door.table("people", NORTH)
    fitted = linear(t.mutate(x=1.0 + (t.age / float(VICTIM_AGE)) ** 60.0), ["x"])
    return float(fitted.intercept_ + 2 * fitted.coef_[0])


@attack(
    FAMILY,
    "cells",
    "makes two features, each harmless, whose difference is her indicator",
)
def split_indicator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    half = (t.age % 2).cast("float64")
    fitted = linear(t.mutate(a=half, b=half + (t.age == VICTIM_AGE).cast("float64")), ["a", "b"])
    # she is odd: a = 1, b = 2
    return float(fitted.intercept_ + fitted.coef_[0] + 2 * fitted.coef_[1])


@attack(FAMILY, "cells", "uses bits of the age that single her out only together")
def bits(door: Door) -> Guess:
    t = door.table("people", NORTH)
    named = {f"b{i}": ((t.age // 2**i) % 2).cast("float64") for i in range(7)}
    named["b56"] = named["b5"] * named["b6"]
    features = list(named)
    fitted = linear(t.mutate(**named), features)
    bit = [(VICTIM_AGE >> i) & 1 for i in range(7)]
    return float(fitted.intercept_ + fitted.coef_ @ np.asarray([*bit, bit[5] * bit[6]], float))


@attack(FAMILY, "columns", "one-hot encodes names")
def one_hot_name(door: Door) -> Guess:
    t = door.table("people", NORTH)
    pipe = bl.make_pipeline(bl.ColumnTransformer([("n", bl.OneHotEncoder(), ["name"])]), bl.Ridge(alpha=1e-9))
    fitted = bl.train(pipe, t, target="salary", features=["name"]).fit()
    names = list(fitted.feature_names_out)
    return float(fitted.intercept_ + fitted.coef_[names.index("name_Ada Lovelace")])


@attack(FAMILY, "categories", "one-hot encodes cities: she is alone in hers")
def one_hot_city(door: Door) -> Guess:
    t = door.table("people", NORTH)
    pipe = bl.make_pipeline(bl.ColumnTransformer([("c", bl.OneHotEncoder(), ["city"])]), bl.Ridge(alpha=1e-9))
    fitted = bl.train(pipe, t, target="salary", features=["city"]).fit()
    names = list(fitted.feature_names_out)
    return float(fitted.intercept_ + fitted.coef_[names.index("city_Zed")])


@attack(FAMILY, "cells", "names the categories itself, hers among them")
def named_category(door: Door) -> Guess:
    t = door.table("people", NORTH)
    encoder = bl.OneHotEncoder(categories=[["Ayr", "Bex", "Cul", "Zed"]])
    pipe = bl.make_pipeline(bl.ColumnTransformer([("c", encoder, ["city"])]), bl.Ridge(alpha=1e-9))
    fitted = bl.train(pipe, t, target="salary", features=["city"]).fit()
    names = list(fitted.feature_names_out)
    return float(fitted.intercept_ + fitted.coef_[names.index("city_Zed")])


@attack(FAMILY, "cells", "names all categories but hers, so that the rest is she")
def unnamed_category(door: Door) -> Guess:
    t = door.table("people", NORTH)
    encoder = bl.OneHotEncoder(categories=[["Ayr", "Bex", "Cul"]], handle_unknown="ignore")
    pipe = bl.make_pipeline(bl.ColumnTransformer([("c", encoder, ["city"])]), bl.LinearRegression())
    fitted = bl.train(pipe, t, target="salary", features=["city"]).fit()
    return float(fitted.intercept_)


@attack(FAMILY, "cells", "takes the means of each class, one class being she")
def class_of_one(door: Door) -> Guess:
    t = door.table("people", NORTH).select("city", "salary", "income")
    fitted = bl.train(bl.GaussianNB(), t, target="city", features=["salary", "income"]).fit()
    return float(fitted.theta_[list(fitted.classes_).index("Zed")][0])


@attack(FAMILY, "statistics", "asks a scaler for the bounds of a column")
def bounds(door: Door) -> Guess:
    t = door.table("people", NORTH)
    pipe = bl.make_pipeline(bl.MinMaxScaler(), bl.LinearRegression())
    fitted = bl.train(pipe, t, target="age", features=["salary"]).fit()
    block = fitted.document()
    import json

    part = json.loads(block)["score"]["design"][0]
    values = people(NORTH).to_pandas()
    scaled = (values.salary - values.salary.min()) / (float(values.salary.max()) - values.salary.min())
    del part, scaled
    # the fitted line at 1 is the line at the highest salary: solve for it from known mean and slope
    plain = linear(t, ["salary"], target="age")
    return float(fitted.intercept_ + fitted.coef_[0] - plain.intercept_) / float(plain.coef_[0])


@attack(FAMILY, "cells", "looks for a cluster of one")
def cluster_of_one(door: Door) -> Guess:
    t = door.table("people", NORTH)
    wide = t.mutate(far=t.age * 1e7).select("far", "salary")
    init = [[age * 1e7, 6e4] for age in (30, 45, 60, 75, VICTIM_AGE)]
    fitted = bl.train(bl.KMeans(n_clusters=5, init=init), wide, features=["far", "salary"]).fit()
    return [float(centre[1]) for centre in fitted.cluster_centers_]


@attack(
    FAMILY,
    "dominance",
    "looks for a principal component that is one person",
    secret="revenue",
    tolerance=900_000,
)
def component_of_one(door: Door) -> Guess:
    t = door.table("people", NORTH).select("revenue", "income")
    fitted = bl.train(bl.PCA(n_components=1), t, features=["revenue", "income"]).fit()
    return float(fitted.explained_variance_[0] * 260) ** 0.5


@attack(
    FAMILY,
    "dominance",
    "lets an imputer tell the mean of a column that she dominates",
    secret="revenue",
    tolerance=900_000,
)
def imputed_mean(door: Door) -> Guess:
    import json

    t = door.table("people", NORTH)
    pipe = bl.make_pipeline(bl.SimpleImputer(), bl.LinearRegression())
    fitted = bl.train(pipe, t, target="age", features=["revenue"]).fit()
    return float(json.loads(fitted.document())["score"]["design"][0]["fill"]) * 260


@attack(FAMILY, "fit", "uses two counting models, with and without her", secret="income")
def poisson_totals(door: Door) -> Guess:
    t = door.table("people", NORTH)

    def whole(table: Any, n: int) -> float:
        model = bl.train(
            bl.PoissonRegressor(alpha=0.0),
            table.mutate(one=table.flag * 1.0),
            target="income",
            features=["one"],
        ).fit()
        flags = np.asarray(
            [
                f
                for f, a in zip(
                    people(NORTH)["flag"].to_pylist(), people(NORTH)["age"].to_pylist(), strict=True
                )
                if n == 260 or a != VICTIM_AGE
            ]
        )
        return float(np.exp(model.intercept_ + model.coef_[0] * flags).sum())

    return whole(t, 260) - whole(t.filter(t.age != VICTIM_AGE), 259)


@attack(FAMILY, "fit", "fits twice, with and without her, on people whose ages are known")
def refit(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    a = linear(t, ["age"])
    b = linear(t.filter(t.age != VICTIM_AGE), ["age"])
    return total(a, ages) - total(b, ages[ages != VICTIM_AGE])


@attack(FAMILY, "fit", "fits with her and asks for the sum without her")
def fit_against_sum(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    a = linear(t, ["age"])
    b = number(t.filter(t.age != VICTIM_AGE).salary.sum())
    return None if b is None else total(a, ages) - b


@attack(FAMILY, "fit", "asks for the sum without her and fits with her")
def sum_against_fit(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    b = number(t.filter(t.age != VICTIM_AGE).salary.sum())
    return None if b is None else total(linear(t, ["age"]), ages) - b


@attack(FAMILY, "fit", "fits other models the second time")
def another_estimator(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    a = linear(t, ["age"])
    few = t.filter(t.age != VICTIM_AGE)
    b = bl.train(bl.Ridge(alpha=1e-9), few, target="salary", features=["age"]).fit()
    return total(a, ages) - total(b, ages[ages != VICTIM_AGE])


@attack(FAMILY, "fit", "swaps target and features the second time")
def swapped_roles(door: Door) -> Guess:
    t = door.table("people", NORTH)
    frame = people(NORTH).to_pandas()
    few = frame[frame.age != VICTIM_AGE]
    a = linear(t, ["age"])
    b = linear(t.filter(t.age != VICTIM_AGE), ["salary"], target="age")
    # the mean age without her is known: the line gives the mean salary
    mean = (few.age.mean() - float(b.intercept_)) / float(b.coef_[0])
    return total(a, frame.age.to_numpy(float)) - mean * len(few)


@attack(FAMILY, "fit", "fits a scaler with and without her and compares means")
def scalers(door: Door) -> Guess:
    import json

    t = door.table("people", NORTH)

    def mean(table: Any) -> float:
        pipe = bl.make_pipeline(bl.StandardScaler(), bl.LinearRegression())
        fitted = bl.train(pipe, table, target="age", features=["salary"]).fit()
        return float(json.loads(fitted.document())["score"]["design"][0]["shift"])

    return mean(t) * 260 - mean(t.filter(t.age != VICTIM_AGE)) * 259


@attack(
    FAMILY,
    "fit",
    "uses the intercept of a fit on a column that she dominates",
    secret="revenue",
    tolerance=900_000,
)
def dominated_target(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    return total(linear(t, ["age"], target="revenue"), ages)


@attack(FAMILY, "fit", "the same with the column shifted by a million", secret="revenue", tolerance=900_000)
def dominated_shifted_target(door: Door) -> Guess:
    t = door.table("people", NORTH)
    ages = np.asarray(people(NORTH)["age"].to_pylist(), float)
    return total(linear(t.mutate(y=t.revenue + 1e6), ["age"], target="y"), ages) - 1e6 * len(ages)


@attack(FAMILY, "fit", "fits on nobody but her and few others")
def few_rows(door: Door) -> Guess:
    t = door.table("people", NORTH)
    few = t.filter(t.age == VICTIM_AGE)
    return float(bl.train(bl.Ridge(alpha=1e9), few, target="salary", features=["age"]).fit().intercept_)


@attack(FAMILY, "fit", "takes as many parameters as there are people in a dozen")
def many_parameters(door: Door) -> Guess:
    t = door.table("people", NORTH)
    top = t.filter(t.age >= 79)
    powers = {f"p{i}": (t.age / 100.0) ** float(i) for i in range(1, 2)}
    ages = np.asarray([a for a in people(NORTH)["age"].to_pylist() if a >= 79], float)
    fitted = linear(top.mutate(**powers), ["p1"])
    del ages
    return float(
        fitted.intercept_ + fitted.coef_[0] * VICTIM_AGE / 100.0
    )  # two ages only: the line goes through both


@attack(
    FAMILY,
    "fit",
    "lets the validation hold out one person, by a seed found by trying (154), and fits with and without",
)
def held_out_alone(door: Door) -> Guess:
    t = door.table("people", NORTH)
    old = t.filter(t.age >= 76)
    ages = np.asarray([age for age in people(NORTH)["age"].to_pylist() if age >= 76], float)
    whole, without = total(linear(old, ["age"]), ages), ages[ages != VICTIM_AGE]
    return [whole - total(linear(old, ["age"], validate=0.1, seed=seed), without) for seed in range(150, 160)]


def split(t: Any, size: float = 1.0) -> Any:
    """Two features, each harmless, whose difference is her indicator; she is odd."""
    half = (t.age % 2).cast("float64")
    return t.mutate(a=half, b=half + size * (t.age == VICTIM_AGE).cast("float64"))


@attack(FAMILY, "leverage", "makes that difference a millionth", tolerance=100.0)
def split_indicator_scaled(door: Door) -> Guess:
    fitted = linear(split(door.table("people", NORTH), 1e-5), ["a", "b"])
    return float(fitted.intercept_ + fitted.coef_[0] + (1 + 1e-5) * fitted.coef_[1])


@attack(FAMILY, "leverage", "leaves the intercept out")
def split_without_intercept(door: Door) -> Guess:
    t = split(door.table("people", NORTH)).mutate(one=1.0)
    fitted = linear(t.mutate(c=1.0 - t.a), ["a", "b", "c"])
    plain = bl.train(
        bl.LinearRegression(fit_intercept=False),
        t.mutate(c=1.0 - t.a),
        target="salary",
        features=["a", "b", "c"],
    ).fit()
    del fitted
    return float(plain.coef_[0] + 2 * plain.coef_[1])


@attack(FAMILY, "leverage", "gives the difference to a ridge with a tiny alpha")
def split_ridge(door: Door) -> Guess:
    t = split(door.table("people", NORTH))
    fitted = bl.train(bl.Ridge(alpha=1e-9), t, target="salary", features=["a", "b"]).fit()
    return float(fitted.intercept_ + fitted.coef_[0] + 2 * fitted.coef_[1])


@attack(FAMILY, "leverage", "lets principal components make the difference")
def split_by_components(door: Door) -> Guess:
    pipe = bl.make_pipeline(bl.PCA(), bl.LinearRegression())
    t = split(door.table("people", NORTH))
    fitted = bl.train(pipe, t, target="salary", features=["a", "b"]).fit()
    import json

    block = json.loads(fitted.document())["score"]["design"][0]
    inner = block["inner"]
    centred = [(value - part["shift"]) / part["scale"] for part, value in zip(inner, (1.0, 2.0), strict=True)]
    outputs = np.asarray(block["weights"]) @ np.asarray(centred)
    return float(fitted.intercept_ + fitted.coef_ @ outputs)


@attack(FAMILY, "leverage", "counts with the difference in the exponent", secret="income")
def split_counts(door: Door) -> Guess:
    t = split(door.table("people", NORTH))
    fitted = bl.train(bl.PoissonRegressor(alpha=0.0), t, target="income", features=["a", "b"]).fit()
    return float(np.exp(fitted.intercept_ + fitted.coef_[0] + 2 * fitted.coef_[1]))


@attack(FAMILY, "leverage", "asks for all components of the two features and the salaries: their covariance")
def covariance_of_a_split(door: Door) -> Guess:
    t = split(door.table("people", NORTH))
    fitted = bl.train(bl.PCA(), t, features=["a", "b", "salary"]).fit()
    parts, sizes = fitted.components_, fitted.explained_variance_
    covariance = parts.T @ np.diag(sizes) @ parts
    # of her indicator and the salaries: (s - mean) / n, times n / (n - 1)
    return float((covariance[1, 2] - covariance[0, 2]) * 259 + fitted.mean_[2])


@attack(FAMILY, "cells", "makes a column of the product of two conditions, each of which holds for many")
def interaction(door: Door) -> Guess:
    t = door.table("people", NORTH)
    old, odd = (t.age >= 79).cast("float64"), (t.age % 97 == 0).cast("float64")
    fitted = linear(t.mutate(old=old, both=old * odd), ["old", "both"])
    return float(fitted.intercept_ + fitted.coef_.sum())


@attack(FAMILY, "fit", "fits the mean of each department, and asks for the sum of hers without her")
def level_against_sum(door: Door) -> Guess:
    t = door.table("people", NORTH)
    pipe = bl.make_pipeline(bl.ColumnTransformer([("d", bl.OneHotEncoder(), ["dept"])]), bl.Ridge(alpha=1e-9))
    fitted = bl.train(pipe, t, target="salary", features=["dept"]).fit()
    audit = float(fitted.intercept_) + float(fitted.coef_[list(fitted.feature_names_out).index("dept_audit")])
    size = people(NORTH)["dept"].to_pylist().count("audit")
    found = numbers(t.filter(t.age != VICTIM_AGE).group_by("dept").agg(s=t.salary.sum()))
    rest = {row["dept"]: row["s"] for row in found}.get("audit")
    return None if rest is None else audit * size - rest


@attack(FAMILY, "fit", "asks for that sum first, and fits then")
def sum_against_level(door: Door) -> Guess:
    t = door.table("people", NORTH)
    found = numbers(t.filter(t.age != VICTIM_AGE).group_by("dept").agg(s=t.salary.sum()))
    rest = {row["dept"]: row["s"] for row in found}.get("audit")
    pipe = bl.make_pipeline(bl.ColumnTransformer([("d", bl.OneHotEncoder(), ["dept"])]), bl.Ridge(alpha=1e-9))
    fitted = bl.train(pipe, t, target="salary", features=["dept"]).fit()
    audit = float(fitted.intercept_) + float(fitted.coef_[list(fitted.feature_names_out).index("dept_audit")])
    size = people(NORTH)["dept"].to_pylist().count("audit")
    return None if rest is None else audit * size - rest


def without_her(t: Any) -> Any:
    """Neither she nor eleven people of 23."""
    return t.filter(t.age != VICTIM_AGE, t.age != 23)


OLD = sum(age >= 75 for age in people(NORTH)["age"].to_pylist())


@attack(
    FAMILY,
    "fit",
    "fits the mean of the old twice: she is left out the second time, and with her ten of the young",
)
def indicator_of_the_old(door: Door) -> Guess:
    t = door.table("people", NORTH)
    t = t.mutate(old=(t.age >= 75).cast("float64"))
    a, b = (linear(rows, ["old"]) for rows in (t, without_her(t)))
    return float(a.intercept_ + a.coef_[0]) * OLD - float(b.intercept_ + b.coef_[0]) * (OLD - 1)


@attack(FAMILY, "fit", "does so with the means that naive Bayes has of a class of the old")
def class_of_the_old(door: Door) -> Guess:
    t = door.table("people", NORTH)
    t = t.mutate(old=t.age >= 75)
    a, b = (
        bl.train(bl.GaussianNB(), rows, target="old", features=["salary"]).fit()
        for rows in (t, without_her(t))
    )
    return float(a.theta_[1][0]) * OLD - float(b.theta_[1][0]) * (OLD - 1)


@attack(FAMILY, "fit", "does so with the centre of a cluster of the old, where the centres begin by choice")
def cluster_of_the_old(door: Door) -> Guess:
    t = door.table("people", NORTH)
    t = t.mutate(far=(t.age >= 75).cast("float64") * 1e7)

    def centre(rows: Any) -> float:
        start = [[0.0, 6e4], [1e7, 7e4]]
        return float(
            bl.train(bl.KMeans(n_clusters=2, init=start), rows, features=["far", "salary"])
            .fit()
            .cluster_centers_[1][1]
        )

    return centre(t) * OLD - centre(without_her(t)) * (OLD - 1)


@attack(
    FAMILY,
    "computed",
    "hides her income in the last digits: a feature that is her indicator plus a large multiple of the others' ages",
    secret="income",
)
def last_digits(door: Door) -> Guess:
    t = door.table("people", NORTH)
    large = 100_000
    t = t.mutate(x=(t.age == VICTIM_AGE).cast("float64") + large * ((t.age // 40) % 2).cast("float64"))
    fitted = linear(t, ["x"], target="income")
    ages = np.asarray(people(NORTH)["age"].to_pylist())
    x = (ages == VICTIM_AGE) + large * ((ages // 40) % 2).astype(float)
    # the normal equations: the sum of x y is what the line makes of x x and x
    both = float(fitted.coef_[0]) * float((x * x).sum()) + float(fitted.intercept_) * float(x.sum())
    return float(round(both) % large)


@honest(FAMILY)
def line(door: Door) -> Any:
    return linear(door.people, ["age", "income"]).coef_


@honest(FAMILY)
def ridge(door: Door) -> Any:
    return bl.train(bl.Ridge(alpha=1.0), door.people, target="income", features=["age", "flag"]).fit().coef_


@honest(FAMILY)
def logistic(door: Door) -> Any:
    t = door.people
    return bl.train(bl.LogisticRegression(), t, target="flag", features=["age", "income"]).fit().coef_


@honest(FAMILY)
def one_hot_department(door: Door) -> Any:
    pipe = bl.make_pipeline(
        bl.ColumnTransformer([("s", bl.StandardScaler(), ["age"]), ("d", bl.OneHotEncoder(), ["dept"])]),
        bl.LinearRegression(),
    )
    return bl.train(pipe, door.people, target="income").fit().coef_


@honest(FAMILY)
def fit_of_an_age_band(door: Door) -> Any:
    t = door.people
    return linear(t.filter(t.age < 50), ["age"], target="income").coef_


@honest(FAMILY)
def validated(door: Door) -> Any:
    return linear(door.people, ["age"], target="income", validate=0.25).metrics["r2"]
