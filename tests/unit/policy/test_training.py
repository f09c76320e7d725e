"""The judge of training."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from ibis import _

from blossom.plan.errors import PolicyError
from blossom.policy.model import Recipient, TablePolicy
from blossom.policy.training import TrainingUnit, judge_training


@pytest.fixture
def fit(clinic):
    def judging(table, features, target="salary", recipient=Recipient("hub")):  # noqa: B008 - a constant
        return judge_training(clinic.plan(table), clinic.policies, recipient, "north", features, target)

    return judging


def rules(verdict) -> set[str]:
    return {refusal.rule for refusal in verdict.refusals}


def test_a_fit_carries_units(clinic, fit):
    verdict = fit(clinic.patients.filter(_.age > 3), ("age", "bonus"))
    assert verdict.allowed
    assert verdict.allow().root.schema.names == ("age", "bonus", "salary", "__unit_patients")
    assert verdict.units == (TrainingUnit("__unit_patients", "patients", 3),)
    assert {use.column: use.state for use in verdict.uses} == {
        "age": "mixed",
        "bonus": "mixed",
        "salary": "mixed",
    }


def test_training_must_be_allowed_on_every_table(clinic, fit):
    joined = clinic.patients.join(clinic.visits, "pid")
    verdict = fit(joined, ("cost",))
    assert rules(verdict) == {"training"}
    assert verdict.plan is None
    with pytest.raises(PolicyError, match="no model may be fitted"):
        verdict.allow()
    clinic.policies["visits"] = replace(clinic.policies["visits"], training="updates")
    assert fit(joined, ("cost",)).allow().root.schema.names[-2:] == ("__unit_patients", "__unit_visits")


def test_the_same_table_twice(clinic, fit):
    t = clinic.patients
    joined = t.join(t.view().select("pid", other=_.age), "pid")
    assert [unit.column for unit in fit(joined, ("other",)).units] == ["__unit_patients", "__unit_patients_2"]


def test_attacks(clinic, fit):
    t = clinic.patients
    assert rules(fit(t, ("name",))) == {"release"}
    assert rules(fit(t.mutate(flag=_.pid == 777), ("flag",))) == {"transform"}
    assert rules(fit(t.filter(_.pid == 777), ("age",))) == {"transform"}
    assert "filter" in rules(fit(t.filter(_.secret == 1), ("age",)))
    assert "operation" in rules(fit(t.limit(20), ("age",)))
    assert rules(fit(t.join(clinic.lookup, "city"), ("bonus",))) == {"transform"}
    assert "to" in rules(fit(t, ("age",), recipient=Recipient("south")))


def test_open_tables_need_no_units(clinic, fit):
    verdict = fit(clinic.countries, ("gdp",), target="country")
    assert verdict.allowed
    assert verdict.units == ()


def test_units_are_refused_where_they_cannot_be_counted(clinic, fit):
    clinic.policies["patients"] = TablePolicy("aggregates", training="updates")
    assert rules(fit(clinic.patients, ("age",))) == {"privacy_unit"}


def test_rows_to_fit_on_run(clinic, run, fit):
    visits = pa.table(
        {"vid": [1, 2, 3], "pid": [7, 7, None], "diagnosis": ["d"] * 3, "cost": [1.0, 2.0, 3.0]}
    )
    clinic.policies["visits"] = replace(clinic.policies["visits"], training="updates")
    means = clinic.visits.group_by("diagnosis").agg(mean=_.cost.mean())
    verdict = fit(clinic.visits.join(means, "diagnosis").mutate(c=_.cost + 1), ("c",), target="mean")
    assert rules(verdict) == set()
    clinic.policies["visits"] = replace(clinic.policies["visits"], min_group=2)
    verdict = fit(clinic.visits.join(means, "diagnosis").mutate(c=_.cost + 1), ("c",), target="mean")
    rows = run(verdict.allow(), visits=visits)[0].to_pylist()
    assert sorted(rows, key=lambda row: row["c"]) == [
        {"c": 2.0, "mean": 2.0, "__unit_visits": 7},
        {"c": 3.0, "mean": 2.0, "__unit_visits": 7},
        {"c": 4.0, "mean": 2.0, "__unit_visits": None},
    ]


def test_what_is_computed_and_what_is_protected_is_told(clinic, fit):
    t = clinic.patients
    verdict = fit(t.mutate(twice=_.bonus * 2.0, old=(_.age > 60)), ("twice", "old"))
    assert verdict.computed == {"old"}
    assert verdict.protected == ("twice", "salary")
    free = fit(t.mutate(old=(_.age > 60)), ("old",), target="age")
    assert free.protected == ()
