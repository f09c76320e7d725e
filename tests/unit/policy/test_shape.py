"""The shape rule: what an aggregate's argument may look like, and the disguises of a predicate."""

from __future__ import annotations

from decimal import Decimal

import ibis
import ibis.expr.operations as ops
import pytest
from ibis import _

from blossom.plan.lineage import ELEMENTWISE
from blossom.policy.aggregates import METRICS, PER_UNIT, PER_UNIT_OPAQUE

HONEST = {
    "bare": _.salary.sum(),
    "mean": _.salary.mean(),
    "affine": (_.salary * 2 + 1).sum(),
    "negated": (-_.salary).mean(),
    "divided": (_.bonus / 12).sum(),
    "kelvin": (_.bonus - 273.15).mean(),
    "sum of columns": (_.salary + _.bonus).sum(),
    "product": (_.salary * _.bonus).sum(),
    "product of affine forms": ((1 - _.bonus) * (_.salary + 100)).sum(),
    "square": (_.salary * _.salary).sum(),
    "widened": _.salary.cast("float64").mean(),
    "count": _.salary.count(),
    "distinct": _.salary.nunique(),
    "variance": _.salary.var(how="pop"),
    "deviation": _.salary.std(),
    "correlation": _.salary.corr(_.bonus),
    "covariance": _.salary.cov(_.bonus),
    "condition on a free column": _.salary.sum(where=_.age >= 40),
    "counted condition": _.count(where=(_.age >= 40) & (_.sex == "f")),
    "CASE over free columns": ibis.cases((_.age > 60, 1), else_=0).sum(),
    "a ratio of metrics": _.salary.sum() / _.count(),
    "rounded metrics": _.salary.mean().round(2),
    "hidden when small": ibis.ifelse(_.count() > 5, _.salary.sum(), ibis.null("int64")),
}

ATTACKS = {
    "conditional sum": ibis.ifelse(_.pid == 777, _.salary, 50000).sum(),
    "conditional sum on a free column": ibis.ifelse(_.age == 77, _.salary, 50000).sum(),
    "where": _.salary.sum(where=_.pid == 777),
    "searched case": ibis.cases((_.salary > 100, 1), else_=0).sum(),
    "flag arithmetic": ((_.pid == 777).cast("int64") * _.salary).sum(),
    "flag of a free column": ((_.age == 77).cast("int64") * _.salary).sum(),
    "greatest": ibis.greatest(_.salary, 50000).sum(),
    "least": ibis.least(_.salary, 50000).sum(),
    "clip": _.salary.clip(lower=50000).sum(),
    "absolute": (_.pid - 777).abs().sum(),
    "power": ((_.pid - 777) ** 2).sum(),
    "sign": (_.pid - 777).sign().sum(),
    "modulo": (_.salary % 1000).sum(),
    "whole division": (_.salary // 100000).sum(),
    "inverse": (1 / (_.pid - 777)).sum(),
    "ratio of columns": (_.salary / _.bonus).sum(),
    "narrowed": (_.bonus.cast("int64")).sum(),
    "text": _.salary.cast("string").length().sum(),
    "null marks": _.salary.isnull().sum(),
    "coalesce": _.bonus.fill_null(0).sum(),
    "nullif": _.pid.nullif(777).count(),
    "degree three": (_.salary * _.salary * _.bonus).sum(),
    "bits": (_.salary & 1).sum(),
    "floating point as a threshold": (_.bonus + 1e17 - 1e17).sum(),
    "a threshold by small steps": (_.bonus * 1e-9 + 1e9 - 1e9).sum(),
    "a threshold by many factors": (_.bonus * 1e6 * 1e6 * 1e-6 * 1e-6 + 1e5 - 1e5 + 1e11 - 1e11).sum(),
    "a comparison as a boolean": (_.salary > 77).mean(),
    "any": (_.pid == 777).any(),
    "min": _.salary.min(),
    "max": _.salary.max(),
    "first": _.salary.first(),
    "arbitrary": _.salary.arbitrary(),
    "mode": _.salary.mode(),
    "median": _.salary.median(),
    "quantile": _.salary.quantile(0.999),
    "collect": _.salary.collect(),
    "group_concat": _.sex.group_concat(),
    "argmax": _.sex.argmax(_.salary),
    "a released min of a free column": _.age.min(),
    "kurtosis": _.salary.kurtosis(),
    "bit or": _.salary.bit_or(),
    "a minimum inside arithmetic": _.salary.min() + _.count(),
    "a condition inside arithmetic": _.count() - _.count(where=_.pid == 777),
    "covariance with a flag": _.salary.cov((_.pid == 777).cast("float64")),
    "nothing released": _.name.count(),
    "distinct of nothing released": _.name.nunique(),
    "CASE on nothing released": ibis.ifelse(_.name == "Ann", 1, 0).sum(),
}


@pytest.mark.parametrize("metric", HONEST.values(), ids=HONEST)
def test_honest_metrics_are_allowed(clinic, metric):
    t = clinic.patients
    clinic.allowed(t.group_by("sex").agg(m=metric))
    clinic.allowed(t.agg(m=metric))


@pytest.mark.parametrize("metric", ATTACKS.values(), ids=ATTACKS)
def test_attacks_are_refused(clinic, metric):
    t = clinic.patients
    for attack in (t.group_by("sex").agg(m=metric), t.agg(m=metric)):
        verdict = clinic.judge(attack)
        assert not verdict.allowed
        assert {refusal.rule for refusal in verdict.refusals} <= {"transform", "metric", "release", "filter"}


@pytest.mark.parametrize(
    "prepare",
    [
        lambda t: t.mutate(flag=_.pid == 777),
        lambda t: t.mutate(flag=_.pid).mutate(flag=_.flag == 777),
        lambda t: (
            t.mutate(p=_.pid).select("p", "salary", "sex", "pid").mutate(flag=_.p == 777).filter(_.sex == "f")
        ),
    ],
)
def test_a_predicate_keeps_its_nature_through_projections(clinic, prepare):
    t = prepare(clinic.patients)
    clinic.refused(t.group_by("sex").agg(s=(_.flag.cast("int64") * _.salary).sum()), "transform", "salary")
    clinic.refused(t.group_by("sex").agg(s=_.flag.sum()), "transform", "pid")
    clinic.refused(t.filter("flag").group_by("sex").agg(s=_.salary.sum()), "transform", "pid")


def test_predicates_need_filter_and_transform(clinic):
    t = clinic.patients
    clinic.allowed(t.filter(_.age > 3, _.sex == "f").agg(n=_.count()))
    clinic.refused(t.filter(_.secret == 1).agg(n=_.count()), "filter", "secret")
    clinic.refused(t.filter(_.salary > 1).agg(n=_.count()), "transform", "salary")
    clinic.refused(t.filter(_.name == "Ann").agg(n=_.count()), "filter", "name")
    clinic.refused(t.agg(n=_.count(where=_.secret == 1)), "filter", "secret")
    clinic.refused(t.mutate(s=_.secret + 1).filter(_.s == 1).agg(n=_.count()), "filter", "secret")


def test_group_keys(clinic):
    t = clinic.patients
    clinic.allowed(t.group_by("country").agg(n=_.count()))
    clinic.allowed(t.group_by(decade=_.age // 10).agg(n=_.count()))
    clinic.allowed(t.group_by(one=ibis.literal(1)).agg(n=_.count()))
    clinic.refused(t.group_by("name").agg(n=_.count()), "key", "name")
    clinic.refused(t.group_by("name").agg(n=_.count()).select("n"), "release", "name")
    clinic.refused(t.group_by(g=_.name.length()).agg(n=_.count()), "transform", "name")
    clinic.refused(t.group_by(g=ibis.ifelse(_.pid == 777, "v", _.sex)).agg(n=_.count()), "transform", "pid")
    clinic.refused(t.group_by(g=_.salary > 9).agg(n=_.count()), "transform", "salary")
    clinic.refused(t.group_by(g=_.secret * 2).agg(n=_.count()), "filter", "secret")


def test_having_is_free_above_the_guard_and_a_predicate_below(clinic):
    t = clinic.patients
    clinic.allowed(t.group_by("sex").having(_.salary.sum() > 9).agg(n=_.count()))
    per_patient = t.group_by("pid", "sex").having(_.salary.sum() > 9).agg(n=_.count())
    clinic.refused(per_patient.group_by("sex").agg(n=_.count()), "transform", "salary")


def test_single_precision_holds_fewer_digits(clinic):
    clinic.policies["sensors"] = type(clinic.policies["visits"])(
        "aggregates", privacy_unit="pid", min_group=3
    )
    t = ibis.table({"pid": "int64", "x": "float32", "y": "float64"}, name="sensors")
    clinic.allowed(t.agg(s=(_.x - 273.15).mean(), r=(_.y + 1e9).mean()))
    clinic.refused(t.agg(s=(_.x + 1e9).mean()), "transform", "x")


def test_decimals_have_room_for_what_is_made_of_them(clinic):
    clinic.policies["accounts"] = type(clinic.policies["visits"])(
        "aggregates", privacy_unit="pid", min_group=3
    )
    t = ibis.table({"pid": "int64", "x": "decimal(15, 2)", "y": "decimal(38, 10)"}, name="accounts")
    clinic.allowed(t.agg(s=(_.x * 100).sum(), p=(_.x * (1 - _.x)).sum(), y=(_.y * 1000).sum()))
    # an engine fails beyond 38 digits: whether it does would tell of the largest value
    clinic.refused(t.agg(s=(_.y * Decimal(10**9)).sum()), "transform", "y")
    clinic.refused(t.agg(s=(_.y * _.y).sum()), "transform", "y")


def test_the_tables_of_operations_name_what_ibis_has():
    for name in ELEMENTWISE:
        cls = getattr(ops, name)
        assert issubclass(cls, ops.Value)
        assert not issubclass(cls, ops.Reduction | ops.Analytic | ops.Impure | ops.Subquery)
    for name in {*METRICS, *PER_UNIT, *PER_UNIT_OPAQUE}:
        assert issubclass(getattr(ops, name), ops.Reduction)
    for name, metric in METRICS.items():
        names = [arg for arg in getattr(ops, name).__argnames__ if name != "CountStar" or arg != "arg"]
        assert names[metric.where] == "where"
        assert {names[at] for at in metric.values} <= {"arg", "left", "right"}
