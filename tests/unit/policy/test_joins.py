"""The join rule: keys, predicates, fan-out, whose units a joined row carries."""

from __future__ import annotations

from dataclasses import replace

import ibis
import pyarrow as pa
import pytest
from ibis import _

from blossom.policy.model import ColumnPolicy, TablePolicy


def test_two_private_tables_on_their_keys(clinic):
    t, v = clinic.patients, clinic.visits
    plan = clinic.allowed(t.join(v, "pid").group_by("sex").agg(c=_.cost.mean(), s=_.salary.mean()))
    assert plan.stages[0].tables == ("patients", "visits")
    assert [unit.min_group for unit in plan.stages[0].units] == [3, 3]


def test_a_key_must_be_one(clinic):
    v = TablePolicy("aggregates", privacy_unit="vid", min_group=3, columns={"pid": ColumnPolicy(key=False)})
    clinic.policies["visits"] = v
    clinic.refused(clinic.patients.join(clinic.visits, "pid").agg(n=_.count()), "key", "pid")


def test_every_table_must_admit(clinic):
    clinic.policies["visits"] = replace(clinic.policies["visits"], to=("site:east",))
    clinic.refused(clinic.patients.join(clinic.visits, "pid").agg(n=_.count()), "to")


@pytest.mark.parametrize("how", ["left", "right", "outer", "inner", "semi"])
def test_kinds_that_can_be_guarded(clinic, how):
    clinic.allowed(clinic.patients.join(clinic.visits, "pid", how=how).agg(n=_.count()))


@pytest.mark.parametrize("how", ["anti", "any_left", "any_inner"])
def test_kinds_that_cannot(clinic, how):
    t = clinic.patients.join(clinic.visits, "pid", how=how)
    clinic.refused(t.agg(n=_.count()), "join")


def test_a_semi_join_must_match_the_units(clinic):
    clinic.policies["visits"] = replace(clinic.policies["visits"], privacy_unit="vid")
    clinic.refused(clinic.patients.semi_join(clinic.visits, "pid").agg(n=_.count()), "join")


def test_cross_joins_fan_out(clinic):
    t = clinic.patients
    clinic.refused(t.cross_join(clinic.visits.select("vid", "cost")).agg(n=_.count()), "join")
    clinic.refused(t.cross_join(t.view()).agg(s=_.salary.sum()), "join")
    clinic.refused(t.cross_join(clinic.lookup.select("w")).agg(s=_.salary.sum()), "join")
    clinic.refused(t.cross_join(clinic.countries.select("gdp")).agg(s=_.salary.sum()), "join")
    clinic.refused(t.join(clinic.visits, t.age < clinic.visits.vid).agg(n=_.count()), "join")


def test_one_row_of_public_data_may_stand_beside_every_row(clinic):
    t, one = clinic.patients, clinic.lookup.agg(top=_.k.max())
    clinic.allowed(t.cross_join(one).filter(_.age > _.top).group_by("sex").agg(s=_.salary.sum()))
    clinic.refused(
        t.cross_join(one).filter(_.pid == _.top).group_by("sex").agg(n=_.count()), "transform", "pid"
    )
    clinic.refused(t.cross_join(one).group_by("sex").agg(s=(_.salary * _.top).sum()), "transform", "salary")


def test_a_join_with_received_rows_is_a_predicate(clinic):
    t, r = clinic.patients, clinic.lookup
    clinic.refused(t.join(r, t.pid == r.k).agg(n=_.count()), "transform", "pid")
    clinic.refused(t.join(r, t.secret == r.k).agg(n=_.count()), "filter", "secret")
    clinic.refused(t.semi_join(r, t.pid == r.k).agg(n=_.count()), "transform", "pid")
    clinic.refused(t.anti_join(r, t.pid == r.k).agg(n=_.count()), "transform", "pid")
    clinic.refused(r.semi_join(t, t.age == r.k).agg(n=_.count()), "join")
    clinic.allowed(t.semi_join(r, "city").group_by("sex").agg(s=_.salary.sum()))
    clinic.allowed(t.anti_join(r, "city").group_by("sex").agg(s=_.salary.sum()))


def test_received_rows_that_may_repeat_weigh_the_private_ones(clinic):
    t, r = clinic.patients, clinic.lookup
    clinic.allowed(t.join(r, "city").agg(n=_.count(), a=_.age.mean()))
    clinic.refused(t.join(r, "city").agg(s=_.salary.sum()), "transform", "salary")
    clinic.refused(r.join(t, "city").agg(s=_.salary.sum()), "transform", "salary")
    clinic.refused(r.left_join(t, "city").agg(s=_.salary.sum()), "transform", "salary")


@pytest.mark.parametrize(
    "unique",
    [
        lambda r: r.group_by("city").agg(w=_.w.max()),
        lambda r: r.select("city").distinct().mutate(w=ibis.literal(1.0)),
    ],
)
def test_received_rows_that_are_unique_do_not(clinic, unique):
    t = clinic.patients.join(unique(clinic.lookup), "city")
    clinic.allowed(t.agg(s=_.salary.sum()))
    clinic.allowed(t.group_by("w").agg(s=_.salary.sum()))
    clinic.refused(t.agg(s=(_.salary * _.w).sum()), "transform", "salary")


def test_an_open_table_joins_by_key_as_long_as_it_is_as_stored(clinic):
    t, c = clinic.patients, clinic.countries
    clinic.allowed(t.join(c, "country").agg(s=_.salary.sum(), p=(_.salary * _.gdp).sum()))
    clinic.allowed(t.left_join(c, "country").group_by(rich=_.gdp > 3).agg(s=_.salary.sum()))
    clinic.refused(t.join(c.filter(_.gdp > 3), "country").agg(s=_.salary.sum()), "transform", "country")
    clinic.refused(
        t.join(c, [t.country == c.country, c.gdp > 3]).agg(s=_.salary.sum()), "transform", "country"
    )
    twice = c.union(c)
    clinic.refused(t.join(twice, "country").agg(s=_.salary.sum()), "transform", "country")


def test_per_patient_values_of_a_join(clinic):
    t, v = clinic.patients, clinic.visits
    each = t.join(v, "pid").group_by("pid", "sex").agg(cost=_.cost.sum(), n=_.count())
    plan = clinic.allowed(each.group_by("sex").agg(mean=_.cost.mean(), n=_.n.mean()))
    assert len(plan.stages) == 1
    each = t.left_join(v.group_by("pid").agg(cost=_.cost.sum()), "pid")
    clinic.allowed(each.group_by("sex").agg(mean=_.cost.mean()))


def test_per_patient_conditions_are_predicates(clinic):
    t = clinic.patients
    each = t.group_by("pid", "sex").agg(v=_.count(where=_.pid == 777), s=_.salary.sum())
    clinic.refused(each.group_by("sex").agg(s=(_.v * _.s).sum()), "transform")
    each = t.group_by("pid", "sex").agg(top=_.salary.max())
    clinic.refused(each.group_by("sex").agg(s=_.top.sum()), "transform", "salary")
    each = t.group_by("pid", "sex").agg(top=_.age.max(), v=_.count(where=_.age > 3))
    clinic.allowed(each.group_by("sex").agg(s=_.top.mean(), v=_.v.sum()))
    clinic.refused(each, "rows")


def test_a_group_by_the_units_of_one_table_only_is_refused(clinic):
    clinic.policies["visits"] = replace(clinic.policies["visits"], privacy_unit="vid")
    clinic.refused(clinic.patients.join(clinic.visits, "pid").group_by("pid").agg(n=_.count()), "min_group")


def tables() -> dict[str, pa.Table]:
    """Ten patients; five of them with visits, patient 7 with three."""
    pid = list(range(1, 11))
    n = len(pid)
    patients = {
        "pid": pid, "name": ["x"] * n, "sex": ["f", "m"] * 5, "age": pid, "city": ["a"] * 5 + ["b"] * 5, "country": ["c"] * n,
        "salary": [100 * p for p in pid], "bonus": [1.0] * n, "admitted": [None] * n, "secret": pid,
    }  # fmt: skip
    schema = pa.schema(
        [("pid", pa.int64()), ("name", pa.string()), ("sex", pa.string()), ("age", pa.int64()), ("city", pa.string()),
         ("country", pa.string()), ("salary", pa.int64()), ("bonus", pa.float64()), ("admitted", pa.date32()),
         ("secret", pa.int64())]
    )  # fmt: skip
    owner = [7, 7, 7, 1, 2, 3, 4]
    visits = {
        "vid": list(range(len(owner))),
        "pid": owner,
        "diagnosis": ["d"] * 3 + ["e"] * 4,
        "cost": [5.0] * 7,
    }
    return {"patients": pa.table(patients, schema), "visits": pa.table(visits)}


@pytest.mark.parametrize("how", ["left", "right", "outer", "inner", "semi"])
def test_whatever_the_join_the_victims_rows_alone_give_nothing(clinic, run, how):
    v = clinic.visits.filter(_.diagnosis == "d")  # patient 7 alone
    t = clinic.patients.join(v, "pid", how=how)
    plan = clinic.allowed(t.agg(n=_.count()))
    assert run(plan, **tables())[0].num_rows == 0
    each = t.group_by("pid").agg(n=_.count())
    if how in ("right", "outer"):  # then pid is null where a visit has no patient: no unit of the visits
        clinic.refused(each.agg(n=_.n.sum()), "min_group")
    else:
        assert run(clinic.allowed(each.agg(n=_.n.sum())), **tables())[0].num_rows == 0


@pytest.mark.parametrize("least", [2, 3])
def test_rows_made_up_by_an_outer_join_count_as_no_unit(clinic, run, least):
    for name in ("patients", "visits"):
        clinic.policies[name] = replace(clinic.policies[name], min_group=least)
    v = clinic.visits.filter(_.diagnosis == "d")
    for t in (clinic.patients.left_join(v, "pid"), clinic.patients.outer_join(v, "pid")):
        plan = clinic.allowed(t.agg(n=_.count()))
        assert run(plan, **tables()) == (pa.table({"n": pa.array([], pa.int64())}), 1)


def test_enough_units_of_every_table_give_the_answer(clinic, run):
    t = clinic.patients.left_join(clinic.visits, "pid").group_by("city").agg(n=_.count(), c=_.cost.sum())
    result, withheld = run(clinic.allowed(t), **tables())
    assert result.to_pylist() == [{"city": "a", "n": 5, "c": 20.0}]
    assert withheld == 1  # city b: one patient with visits


def test_a_self_join_counts_both_sides(clinic, run):
    t, one = clinic.patients, clinic.patients.view().filter(_.age == 7).select("city", "sex")
    plan = clinic.allowed(t.join(one, "city").agg(s=_.salary.sum()))
    assert run(plan, **tables())[0].num_rows == 0


def test_the_same_table_twice_by_one_node_counts_as_two(clinic):
    from blossom.plan.relations import Aggregate, Join, Link, call
    from blossom.policy.judge import judge
    from blossom.policy.model import Recipient

    scan = clinic.plan(clinic.patients)
    same = call("Equals", scan.column("city"), scan.column("city", 1), dtype="boolean")
    join = Join((scan, scan), (Link("inner", (same,)),), (("s", scan.column("salary")),))
    root = Aggregate(join, (), (("n", call("CountStar", None, dtype="int64")),))
    stage = judge(root, clinic.policies, Recipient("hub"), "north").allow().stages[0]
    assert len(stage.units) == 2
