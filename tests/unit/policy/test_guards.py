"""Guarded stages run in DuckDB, against brute force."""

from __future__ import annotations

from collections import defaultdict

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis import _

from blossom.policy.gate import gate
from blossom.policy.model import ColumnPolicy, TablePolicy
from blossom.policy.release import Decision

SCHEMA = pa.schema(
    [("u", pa.int64()), ("g", pa.string()), ("x", pa.int64()), ("y", pa.float64()), ("f", pa.int64())]
)
FACTS = ibis.table({"u": "int64", "g": "string", "x": "int64", "y": "float64", "f": "int64"}, name="facts")
FREE = {"f": ColumnPolicy(transform=True)}

rows = st.lists(
    st.fixed_dictionaries(
        {
            "u": st.none() | st.integers(0, 5),
            "g": st.none() | st.sampled_from("ab"),
            "x": st.none() | st.integers(-9, 9),
            "y": st.none() | st.integers(-9, 9).map(float),
            "f": st.none() | st.integers(0, 2),
        }
    ),
    max_size=25,
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def units(chosen, key=lambda row: row["u"]) -> int:
    """Distinct units; null ones are one together."""
    return len({key(row) for row in chosen})


@quick
@given(rows=rows, least=st.integers(1, 4), grouped=st.booleans())
def test_each_cell_describes_enough_units_on_exactly_its_rows(clinic, run, rows, least, grouped):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=least, privacy_unit="u", columns=FREE)
    metrics = {
        "n": _.count(),
        "s": _.x.sum(),
        "w": _.x.sum(where=_.f > 0),
        "p": (_.x * _.y).sum(),
    }
    table = FACTS.group_by("g").agg(**metrics) if grouped else FACTS.agg(**metrics)
    result, withheld = run(clinic.allowed(table), facts=pa.Table.from_pylist(rows, SCHEMA))

    groups = defaultdict(list)
    if not grouped:
        groups[None] = []
    for row in rows:
        groups[row["g"] if grouped else None].append(row)
    expected, dropped = {}, 0
    for key, members in groups.items():
        with_x = [row for row in members if row["x"] is not None]
        where = [row for row in with_x if row["f"] is not None and row["f"] > 0]
        both = [row for row in with_x if row["y"] is not None]
        if min(map(units, (members, with_x, where, both))) < least:
            dropped += 1
            continue
        expected[key] = (
            len(members),
            sum(row["x"] for row in with_x),
            sum(row["x"] for row in where),
            sum(row["x"] * row["y"] for row in both),
        )
    shown = {row.get("g"): (row["n"], row["s"], row["w"], row["p"]) for row in result.to_pylist()}
    assert shown == expected
    assert withheld == dropped


@quick
@given(rows=rows, least=st.integers(1, 4))
def test_rows_as_units_count_once_however_often_they_stand(clinic, run, rows, least):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=least, privacy_unit="row")
    plan = clinic.allowed(FACTS.group_by("g").agg(n=_.count()))
    result, _withheld = run(plan, facts=pa.Table.from_pylist(rows, SCHEMA))
    groups = defaultdict(list)
    for row in rows:
        groups[row["g"]].append(row)
    expected = {
        key: len(members)
        for key, members in groups.items()
        if units(members, lambda row: tuple(row[name] for name in SCHEMA.names)) >= least
    }
    assert {row["g"]: row["n"] for row in result.to_pylist()} == expected


@quick
@given(rows=rows, least=st.integers(1, 4))
def test_means_of_units(clinic, run, rows, least):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=least, privacy_unit="u", columns=FREE)
    each = FACTS.filter(_.f < 2).group_by("u", "g").agg(s=_.x.sum(), n=_.count())
    plan = clinic.allowed(each.group_by("g").agg(s=_.s.sum(), n=_.n.sum()))
    result, _withheld = run(plan, facts=pa.Table.from_pylist(rows, SCHEMA))
    groups = defaultdict(list)
    for row in rows:
        if row["f"] is not None and row["f"] < 2:
            groups[row["g"]].append(row)
    expected = {}
    for key, members in groups.items():
        with_x = [row for row in members if row["x"] is not None]
        if min(units(members), units(with_x)) >= least:
            expected[key] = (sum(row["x"] for row in with_x), len(members))
    assert {row["g"]: (row["s"], row["n"]) for row in result.to_pylist()} == expected


def test_what_stands_above_runs_on_gated_rows_only(clinic, run):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=2, privacy_unit="u", columns=FREE)
    rows = [{"u": i, "g": "a" if i < 3 else "b", "x": 10 * i, "y": 1.0, "f": 1} for i in range(4)]
    by_group = FACTS.group_by("g").agg(s=_.x.sum())
    total = clinic.allowed(by_group.agg(total=_.s.sum(), cells=_.count()))
    result, withheld = run(total, facts=pa.Table.from_pylist(rows, SCHEMA))
    assert result.to_pylist() == [{"total": 30, "cells": 1}]
    assert withheld == 1


def test_a_guarded_scalar_is_used_by_a_later_stage(clinic, run):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=2, privacy_unit="u", columns=FREE)
    rows = [{"u": i, "g": "a", "x": i, "y": 1.0, "f": i} for i in range(6)]
    table = FACTS.filter(_.f > FACTS.f.mean().as_scalar()).agg(n=_.count())
    plan = clinic.allowed(table)
    assert len(plan.stages) == 2
    assert run(plan, facts=pa.Table.from_pylist(rows, SCHEMA))[0].to_pylist() == [{"n": 3}]


def test_guards_see_gated_scalars_too(clinic, run):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=2, privacy_unit="u", columns=FREE)
    rows = [{"u": i, "g": "a", "x": i, "y": 1.0, "f": i} for i in range(6)]
    alone = FACTS.view().filter(_.f == 5).f.sum().as_scalar()  # one unit: withheld, so null
    plan = clinic.allowed(FACTS.agg(n=_.count(where=_.f < alone)))
    assert run(plan, facts=pa.Table.from_pylist(rows, SCHEMA))[0].num_rows == 0
    most = FACTS.view().filter(_.f > 3).f.mean().as_scalar()
    plan = clinic.allowed(FACTS.agg(n=_.count(where=_.f < most)))
    assert run(plan, facts=pa.Table.from_pylist(rows, SCHEMA))[0].to_pylist() == [{"n": 5}]


def test_equal_guards_are_counted_once(clinic):
    t = clinic.patients
    one = clinic.allowed(t.agg(n=_.count(), m=_.count())).stages[0]
    assert len(one.facets) == 1
    two = clinic.allowed(t.agg(a=_.salary.sum(), b=_.salary.mean(), c=_.salary.count())).stages[0]
    assert len(two.facets) == 2
    assert two.columns.names == ("a", "b", "c")


def test_rows_that_cannot_be_told_apart_are_refused(clinic):
    clinic.policies["facts"] = TablePolicy("aggregates", privacy_unit="row")
    t = ibis.table({"a": "int64", "tags": "array<string>"}, name="facts")
    clinic.refused(t.agg(n=_.count()), "privacy_unit", "tags")


def test_the_gate_lets_on_what_is_shown_without_the_counts(clinic):
    stage = clinic.allowed(clinic.patients.agg(n=_.count())).stages[0]
    table = pa.table({"n": [5, 7], "__guard_0": [5, 7]})
    assert gate(table, stage, Decision(np.array([False, True]), {}, ())).to_pylist() == [{"n": 7}]
    with pytest.raises(ValueError, match="1 cells"):
        gate(table, stage, Decision(np.array([True]), {}, ()))


def test_a_minimum_of_zero_still_shows_no_empty_group(clinic, run):
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=0, privacy_unit="u")
    plan = clinic.allowed(FACTS.agg(n=_.count()))
    assert run(plan, facts=pa.Table.from_pylist([], SCHEMA))[0].num_rows == 0
