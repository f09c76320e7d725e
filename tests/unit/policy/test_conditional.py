"""A sum of CASE is a sum with a condition; a filter by presence asks no more; what a free key looks up is free."""

from __future__ import annotations

from dataclasses import replace

import ibis
import pyarrow as pa
import pytest
from ibis import _

from blossom.policy.model import ColumnPolicy

OLD = _.age > 60

LIKE_WHERE = {
    "if else 0": ibis.ifelse(OLD, _.salary, 0).sum(),
    "if else null": ibis.ifelse(OLD, _.salary, ibis.null("int64")).sum(),
    "case": ibis.cases((OLD, _.salary), else_=0).sum(),
    "case without else": ibis.cases((OLD, _.salary)).sum(),
    "affine": ibis.ifelse(OLD, 2 * _.salary + 1, 0).sum(),
    "mean without else": ibis.cases((OLD, _.salary)).mean(),
    "with a where": ibis.ifelse(OLD, _.salary, 0).sum(where=_.sex == "f"),
}

OTHERS = {
    "another rest": ibis.ifelse(OLD, _.salary, 1).sum(),
    "two branches": ibis.cases((OLD, _.salary), (_.age > 50, 2 * _.salary), else_=0).sum(),
    "a mean with zeros": ibis.ifelse(OLD, _.salary, 0).mean(),
    "a variance with zeros": ibis.ifelse(OLD, _.salary, 0).var(),
    "a protected condition": ibis.ifelse(_.salary > 60, _.bonus, 0).sum(),
    "a predicate as the value": ibis.ifelse(OLD, (_.salary > 77).cast("int64"), 0).sum(),
    "a protected condition counted": ibis.ifelse(_.salary > 60, 1, 0).sum(),
}


@pytest.mark.parametrize("metric", LIKE_WHERE.values(), ids=LIKE_WHERE)
def test_a_conditional_sum_of_a_protected_column(clinic, metric):
    plan = clinic.allowed(clinic.patients.group_by("city").agg(m=metric))
    assert len(plan.stages[0].facets) == 2  # all rows, and those that meet the condition and have the value


@pytest.mark.parametrize("metric", OTHERS.values(), ids=OTHERS)
def test_other_cases_are_free_functions(clinic, metric):
    clinic.refused(clinic.patients.group_by("city").agg(m=metric), "transform")


def test_its_condition_may_be_forbidden(clinic):
    clinic.refused(clinic.patients.agg(m=ibis.ifelse(_.secret > 3, _.salary, 0).sum()), "filter", "secret")


def test_the_rows_that_meet_the_condition_are_guarded(clinic, run):
    rows = people(age=[70, 70, *[30] * 8])
    for metric in (LIKE_WHERE["if else 0"], _.salary.sum(where=OLD)):
        plan = clinic.allowed(clinic.patients.agg(m=metric))
        assert run(plan, patients=rows)[0].num_rows == 0
    plan = clinic.allowed(clinic.patients.agg(m=LIKE_WHERE["if else 0"]))
    assert run(plan, patients=people(age=[70] * 4 + [30] * 6))[0]["m"].to_pylist() == [1000]


def test_where_the_value_is_free_so_is_the_case(clinic, run):
    clinic.policies["patients"] = replace(
        clinic.policies["patients"],
        columns={**clinic.policies["patients"].columns, "salary": ColumnPolicy(transform=True)},
    )
    plan = clinic.allowed(clinic.patients.agg(m=LIKE_WHERE["if else 0"]))
    assert len(plan.stages[0].facets) == 2  # its values are there on all rows
    assert run(plan, patients=people(age=[30] * 10))[0]["m"].to_pylist() == [0]


def test_the_same_metric_of_another_table_is_judged_by_itself(clinic):
    """The one of a free column is no licence for the one of a protected column of the same name."""
    policy = clinic.policies["patients"]
    columns = {**policy.columns, "salary": ColumnPolicy(transform=True)}
    clinic.policies["staff"] = replace(policy, columns=columns)
    staff = ibis.table(clinic.patients.schema(), name="staff")
    metric = LIKE_WHERE["if else 0"]
    both = staff.agg(a=metric).cross_join(clinic.patients.agg(b=metric))
    stages = clinic.allowed(both).stages
    where = {stage.tables[0]: {name for facet in stage.facets for name in facet.where} for stage in stages}
    assert not where["staff"]
    assert where["patients"]


def test_a_filter_by_presence_needs_no_transform(clinic):
    t = clinic.patients
    for kept in (
        t.filter(_.salary.notnull()),
        t.drop_null("salary"),
        t.filter(_.salary.notnull() & (_.age > 3)),
    ):
        clinic.allowed(kept.group_by("sex").agg(n=_.count(), s=_.salary.mean(), b=_.bonus.sum()))
    clinic.refused(t.filter(_.salary.isnull()).agg(n=_.count()), "transform", "salary")
    clinic.refused(t.filter((_.salary > 3).notnull()).agg(n=_.count()), "transform", "salary")
    clinic.refused(t.filter(_.name.notnull()).agg(n=_.count()), "filter", "name")
    clinic.refused(t.filter(_.secret.notnull()).agg(n=_.count()), "filter", "secret")
    clinic.refused(t.filter(_.salary.notnull()).select("sex"), "rows")


def test_what_an_open_table_tells_of_a_free_key_is_free(clinic):
    t, c = clinic.patients, clinic.countries
    flag = (_.gdp > 3).cast("int64").max() + (_.gdp > 3).cast("int64").sum()
    clinic.refused(t.join(c, "country").agg(s=(_.gdp > 3).cast("int64").sum()), "transform")
    free = {**clinic.policies["patients"].columns, "country": ColumnPolicy(transform=True)}
    clinic.policies["patients"] = replace(clinic.policies["patients"], columns=free)
    clinic.allowed(t.join(c, "country").agg(s=(_.gdp > 3).cast("int64").sum()))
    clinic.refused(t.join(c, "country").agg(s=flag), "metric")
    clinic.refused(
        t.join(c, "country").agg(s=((_.gdp > 3).cast("int64") * _.salary).sum()), "transform", "salary"
    )


def people(age: list[int]) -> pa.Table:
    """Patients 1 to n, with salaries of 100, 200 and so on."""
    n = len(age)
    columns = {
        "pid": range(1, n + 1), "name": ["x"] * n, "sex": ["f", "m"] * (n // 2), "age": age, "city": ["a"] * n,
        "country": ["c"] * n, "salary": [100 * (p + 1) for p in range(n)], "bonus": [1.0] * n,
        "admitted": pa.nulls(n, pa.date32()), "secret": range(n),
    }  # fmt: skip
    return pa.table(columns)
