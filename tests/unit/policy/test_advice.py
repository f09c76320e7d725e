"""Advice on missing values: told of every plan alike, whatever the data."""

from __future__ import annotations

import pytest
from ibis import _

from blossom.policy.advice import uneven

EVEN = {
    "a count": {"n": _.count()},
    "one column": {"m": _.salary.mean(), "s": _.salary.std(), "n": _.salary.count()},
    "no figures of values": {"n": _.count(), "o": _.count(where=_.age > 3)},
}


@pytest.mark.parametrize("metrics", EVEN.values(), ids=EVEN)
def test_figures_of_the_same_rows(clinic, metrics):
    assert uneven(clinic.plan(clinic.patients.group_by("sex").agg(**metrics))) is None


def test_a_count_beside_a_mean(clinic):
    told = uneven(clinic.plan(clinic.patients.group_by("sex").agg(n=_.count(), m=_.salary.mean())))
    assert told is not None
    assert "ask for salary.count() instead of count(), or filter by salary.notnull() first" in told


def test_means_of_two_columns(clinic):
    told = uneven(clinic.plan(clinic.patients.agg(a=_.salary.mean(), b=_.bonus.mean())))
    assert told is not None
    assert "filter by bonus.notnull() & salary.notnull() first" in told


def test_what_it_advises_is_allowed(clinic):
    t = clinic.patients
    clinic.allowed(t.filter(_.salary.notnull()).group_by("sex").agg(n=_.count(), m=_.salary.mean()))
    clinic.allowed(t.group_by("sex").agg(n=_.salary.count(), m=_.salary.mean()))


def test_columns_that_are_never_null(clinic):
    t = clinic.patients.cast({"salary": "!int64"})
    assert uneven(clinic.plan(t.agg(n=_.count(), m=_.salary.mean()))) is None
