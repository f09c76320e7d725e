"""Outputs that stay at a site, and what a later fragment may make of them."""

from __future__ import annotations

from dataclasses import replace

import ibis
import pyarrow as pa
import pytest
from ibis import _

from blossom.plan.errors import PolicyError
from blossom.policy.judge import judge, keep
from blossom.policy.model import Recipient


@pytest.fixture
def later(clinic):
    """Keeps a fragment under the key "received_kept" and judges another over it."""

    def judging(first: ibis.Table, second, recipient=None):
        plan, known = keep(clinic.plan(first), clinic.policies, "north")
        table = ibis.table(first.schema(), name="received_kept")
        verdict = judge(
            clinic.plan(second(table)),
            clinic.policies,
            recipient or Recipient("hub"),
            "north",
            {"received_kept": known},
        )
        return plan, verdict

    return judging


def rules(verdict) -> set[str]:
    return {refusal.rule for refusal in verdict.refusals}


def visits() -> pa.Table:
    owners = [1, 1, 1, 2, 3, 4]
    diagnosis = ["d", "d", "d", "e", "e", "e"]
    return pa.table({"vid": list(range(6)), "pid": owners, "diagnosis": diagnosis, "cost": [1.0] * 6})


def test_kept_rows_are_guarded_by_their_units_later(clinic, run, later):
    first = clinic.visits.mutate(twice=_.cost * 2).select("diagnosis", "twice")
    plan, verdict = later(first, lambda t: t.group_by("diagnosis").agg(s=_.twice.sum()))
    kept = run(plan, visits=visits())[0]
    assert kept.schema.names == ["diagnosis", "twice", "__unit_0", "__null_0"]
    assert verdict.release == "aggregates"
    assert verdict.tables == ("visits",)
    assert run(verdict.allow(), received_kept=kept)[0].to_pylist() == [{"diagnosis": "e", "s": 6.0}]


def test_kept_rows_are_no_public_data(clinic, later):
    assert rules(later(clinic.visits, lambda t: t)[1]) == {"rows"}
    assert rules(later(clinic.visits, lambda t: t.filter(_.pid == 7).agg(n=_.count()))[1]) == {"transform"}
    assert rules(later(clinic.visits, lambda t: t.agg(m=_.cost.max()))[1]) == {"metric"}
    flag = clinic.visits.mutate(flag=(_.pid == 7).cast("int64") * _.cost)
    with pytest.raises(PolicyError, match="may not be computed with freely"):
        later(flag, lambda t: t.agg(s=_.flag.sum()))


def test_a_kept_aggregate_is_guarded_before_it_is_kept(clinic, run, later):
    first = clinic.visits.group_by("diagnosis").agg(s=_.cost.sum())
    plan, verdict = later(first, lambda t: t)
    assert verdict.release == "aggregates"
    assert run(plan, visits=visits())[0].to_pylist() == [{"diagnosis": "e", "s": 3.0}]


def test_who_gets_it_is_asked_when_it_leaves(clinic, later):
    clinic.policies["visits"] = replace(clinic.policies["visits"], to=("site:east",), purposes=("research",))
    first = clinic.visits.group_by("diagnosis").agg(s=_.cost.sum())
    assert rules(later(first, lambda t: t)[1]) == {"to", "purpose"}
    assert later(first, lambda t: t, Recipient("east", purpose="research"))[1].allowed


def test_what_may_reach_no_output_is_not_laundered_by_keeping_it(clinic, later):
    names = clinic.patients.group_by("sex").agg(n=_.name.nunique())
    with pytest.raises(PolicyError, match="may not leave in any form"):
        keep(clinic.plan(names), clinic.policies, "north")
    assert "release" in rules(later(clinic.patients, lambda t: t.agg(n=_.name.nunique()))[1])


def test_columns_that_hide_a_predicate_are_told(clinic):
    t = clinic.patients.select(
        "salary",
        free=_.age > 3,
        plain=_.salary * 2 + 1,
        shifted=_.salary + 1000,
        product=_.salary * _.bonus,
    )
    known = keep(clinic.plan(t), clinic.policies, "north")[1]
    assert known.disguised(clinic.policies) == {"plain", "shifted", "product"}
    weighted = clinic.patients.join(clinic.lookup, "city").select("salary", "age")
    known = keep(clinic.plan(weighted), clinic.policies, "north")[1]
    assert known.disguised(clinic.policies) == {"salary"}
