"""Replicated tables: one site alone answers aggregates over them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ibis import _

from blossom.policy.judge import judge
from blossom.policy.model import Recipient
from blossom.policy.training import judge_training


@pytest.fixture
def copied(clinic):
    clinic.policies["patients"] = replace(clinic.policies["patients"], steward="south")
    return clinic


def test_another_site_answers_no_aggregate_of_the_copy(copied):
    t = copied.patients
    copied.refused(t.agg(n=_.count()), "steward")
    copied.refused(t.group_by("sex").agg(s=_.salary.sum()), "steward")
    copied.refused(t.join(copied.countries, "country").agg(n=_.count()), "steward")
    verdict = judge(copied.plan(t.agg(n=_.count())), copied.policies, Recipient("hub"), "south")
    assert verdict.allowed


def test_the_copy_may_be_a_join_partner_whose_columns_are_not_folded(copied):
    both = copied.visits.join(copied.patients, "pid")
    copied.allowed(both.group_by("sex").agg(c=_.cost.sum(), n=_.count()))
    copied.refused(both.group_by("diagnosis").agg(s=_.salary.sum()), "steward")


def test_another_site_fits_nothing_on_the_copy(copied):
    verdict = judge_training(
        copied.plan(copied.patients), copied.policies, Recipient("hub"), "north", ["age"], None
    )
    assert "steward" in {refusal.rule for refusal in verdict.refusals}
