"""Beliefs: measurements take the prior's place in the measure in which they say something, and survive as a document."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.optimizer.costs.account import accounts
from blossom.optimizer.costs.belief import Part, learn, predict
from blossom.optimizer.costs.document import dump, load
from blossom.optimizer.costs.learned import Learned, link_belief, platform_belief
from blossom.optimizer.costs.terms import NUMBER, ROWS, TERMS
from blossom.optimizer.costs.whole import TRAITS, link_name
from blossom.plan.errors import ConfigError

NO_TRAITS = np.zeros(len(TRAITS))


def part(name: str = "north/duckdb", **amounts: float) -> Part:
    counted = np.zeros(len(TERMS))
    counted[NUMBER["start"]] = 1.0
    for term, amount in amounts.items():
        counted[NUMBER[term]] = amount
    return Part(name, counted, NO_TRAITS)


def work(random: np.random.Generator) -> Part:
    """A fragment with a few kinds of work, from small to large."""
    kinds = random.choice(["scan", "map", "join", "aggregate", "sort"], size=2, replace=False)
    return part(**{str(kind): float(10 ** random.uniform(3, 7)) for kind in kinds})


def test_nothing_measured_is_the_prior() -> None:
    belief = platform_belief("duckdb")
    one = part(scan=6e6)
    assert predict({"north/duckdb": belief}, [one]).seconds == pytest.approx(0.004 + 0.1)


def test_one_slow_measurement_makes_what_ran_dearer_and_the_rest_a_little() -> None:
    beliefs = {"north/duckdb": platform_belief("duckdb")}
    before = beliefs["north/duckdb"].units()
    error = learn(beliefs, [part(sort=6e6)], 4.0)
    assert error == pytest.approx(math.log(4.0 / 1.004))
    ratio = beliefs["north/duckdb"].units() / before
    assert 2 < ratio[NUMBER["sort"]] < 4.5
    assert 1.1 < ratio[NUMBER["join"]] < ratio[NUMBER["sort"]]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_true_rates_are_found_and_intervals_hold_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = platform_belief("duckdb")
    truth.mean[: len(TERMS)] = random.normal(0, 0.9, len(TERMS))
    true, beliefs = {"north/duckdb": truth}, {"north/duckdb": platform_belief("duckdb")}
    inside = count = 0
    for turn in range(150):
        one = work(random)
        seconds = predict(true, [one]).seconds * math.exp(random.normal(0, 0.1))
        if turn >= 75:
            guess = predict(beliefs, [one])
            reach = 1.6449 * math.sqrt(guess.variance + guess.noise)
            inside += abs(math.log(seconds / guess.seconds)) < reach
            count += 1
        learn(beliefs, [one], seconds)
    errors = np.exp(np.abs(list(beliefs["north/duckdb"].errors)))
    priors = np.exp(np.abs(list(beliefs["north/duckdb"].prior_errors)))
    assert np.median(errors[-50:]) < 1.35
    assert np.median(errors[-50:]) < np.median(priors)
    assert inside / count > 0.75


def test_a_measurement_of_several_platforms_goes_to_where_the_time_was() -> None:
    beliefs = {"north/duckdb": platform_belief("duckdb"), "north/polars": platform_belief("polars")}
    before = {name: one.units() for name, one in beliefs.items()}
    parts = [part("north/duckdb", aggregate=5e7), part("north/polars", map=1e3)]
    for _ in range(5):
        learn(beliefs, parts, 8.0)
    assert (beliefs["north/duckdb"].units() / before["north/duckdb"])[NUMBER["aggregate"]] > 2.5
    assert (beliefs["north/polars"].units() / before["north/polars"]).max() < 1.1


def test_a_link_is_learned_and_its_platform_is_not_blamed() -> None:
    name = link_name("north", "hub")
    beliefs = {"north/duckdb": platform_belief("duckdb"), name: link_belief("north", "hub")}
    for _ in range(8):
        learn(beliefs, [part(scan=6e4)], 0.005)
    before = beliefs["north/duckdb"].units()
    for _ in range(12):  # in fact the hub is in the same process
        learn(beliefs, [part(scan=6e4), Part(name, np.array([1.0, 1e3]), np.zeros(0))], 0.0052)
    assert beliefs[name].units()[0] < 0.002
    assert np.abs(np.log(beliefs["north/duckdb"].units() / before)).max() < 0.5


def test_one_outlier_among_many_changes_little() -> None:
    beliefs = {"north/duckdb": platform_belief("duckdb")}
    one = part(aggregate=2.5e6)
    for _ in range(30):
        learn(beliefs, [one], 0.1)
    learn(beliefs, [one], 10.0)
    assert predict(beliefs, [one]).seconds < 0.14


@pytest.mark.parametrize("seconds", [1e-9, 1e6, math.nan, math.inf, 0.0, -1.0])
def test_what_cannot_be_is_not_learned(seconds: float) -> None:
    beliefs = {"north/duckdb": platform_belief("duckdb")}
    learn(beliefs, [part(scan=6e6)], seconds)
    assert beliefs["north/duckdb"].observations == 0
    assert (beliefs["north/duckdb"].mean == 0).all()


def test_a_platform_that_changes_is_noticed_and_learned_anew() -> None:
    random = np.random.default_rng(1)
    beliefs = {"north/duckdb": platform_belief("duckdb")}
    belief = beliefs["north/duckdb"]
    one = part(aggregate=2.5e6)
    for _ in range(60):
        learn(beliefs, [one], 0.1 * math.exp(random.normal(0, 0.15)))
    assert belief.drifts == 0
    for _ in range(15):
        learn(beliefs, [one], 0.5 * math.exp(random.normal(0, 0.15)))
    assert belief.drifts >= 1
    assert belief.since_drift is not None
    assert predict(beliefs, [one]).seconds == pytest.approx(0.5, rel=0.3)


def test_steady_noise_is_no_drift() -> None:
    random = np.random.default_rng(2)
    beliefs = {"north/duckdb": platform_belief("duckdb")}
    for _ in range(400):
        learn(beliefs, [part(aggregate=2.5e6)], 0.1 * math.exp(random.normal(0, 0.3)))
    assert beliefs["north/duckdb"].drifts == 0


def known() -> Learned:
    model = Learned()
    model.know("north/duckdb", "duckdb")
    random = np.random.default_rng(3)
    for _ in range(20):
        model.learn([work(random), Part("north>hub", np.array([1.0, 1e5]), np.zeros(0))], 0.3)
    return model


def test_a_model_survives_as_a_document() -> None:
    model = known()
    back = load(json.loads(json.dumps(dump(model))))
    assert back.kinds == {"north/duckdb": "duckdb"}
    assert set(back.beliefs) == {"north/duckdb", "north>hub"}
    one = [part(join=1e6)]
    assert back.predict(one).seconds == pytest.approx(model.predict(one).seconds, rel=1e-4)
    assert back.predict(one).variance == pytest.approx(model.predict(one).variance, rel=1e-3)


def test_a_document_with_other_terms_keeps_what_is_common() -> None:
    document = dump(known())
    one = document["beliefs"]["north/duckdb"]
    one["terms"][NUMBER["sort"]] = "shuffle"  # a term of another version
    back = load(document).beliefs["north/duckdb"]
    assert back.mean[NUMBER["sort"]] == 0
    assert back.mean[NUMBER["aggregate"]] == pytest.approx(one["mean"][NUMBER["aggregate"]])
    assert np.linalg.eigvalsh(back.covariance).min() > -1e-6


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(version=99),
        lambda d: d.pop("beliefs"),
        lambda d: d["beliefs"]["north/duckdb"].update(mean=["x"]),
        lambda d: d["beliefs"]["north/duckdb"]["mean"].pop(),
        lambda d: d["beliefs"]["north/duckdb"].update(noise=-1.0),
        lambda d: d["beliefs"]["north/duckdb"]["covariance"].__setitem__(0, -5.0),
        lambda d: d["beliefs"]["north/duckdb"]["covariance"].__setitem__(0, math.nan),
        lambda d: d.update(beliefs=[1, 2]),
    ],
)
def test_a_document_that_is_none_is_refused(spoil: object) -> None:
    document = dump(known())
    spoil(document)  # type: ignore[operator]
    with pytest.raises(ConfigError):
        load(document)


@pytest.mark.parametrize("document", [None, 3, [], "text", {}])
def test_anything_else_is_refused(document: object) -> None:
    with pytest.raises(ConfigError):
        load(document)


def test_a_platform_of_another_kind_is_a_new_one() -> None:
    model = known()
    model.know("north/duckdb", "polars")
    assert model.beliefs["north/duckdb"].observations == 0


def test_the_better_known_belief_is_taken_over() -> None:
    mine, theirs = Learned(), known()
    mine.know("north/duckdb", "duckdb")
    mine.adopt(theirs)
    assert mine.beliefs["north/duckdb"].observations == 20
    mine.learn([part(scan=1e6)], 0.02)
    mine.adopt(known())
    assert mine.beliefs["north/duckdb"].observations == 21


def test_accounts_tell_rates_with_intervals_and_errors() -> None:
    model = Learned()
    model.know("north/duckdb", "duckdb")
    for _ in range(30):
        model.learn([part(aggregate=2.5e6)], 0.5)
    (one,) = accounts(model)
    rate = one.rates["aggregate"]
    assert rate.low < rate.per_second < rate.high
    assert rate.per_second == pytest.approx(5e6, rel=0.1)
    assert rate.learned
    assert not one.rates["window"].learned
    assert one.observations == 30
    assert one.median is not None
    assert one.prior_median is not None
    assert one.median < 1.3 < 4 < one.prior_median
    assert not one.drifted
    assert set(ROWS) < set(one.rates)
