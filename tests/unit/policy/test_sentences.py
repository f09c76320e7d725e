"""Policies in plain English."""

from __future__ import annotations

import pytest

from blossom.policy.model import ColumnPolicy, TablePolicy
from blossom.policy.sentences import describe


def test_a_policy_is_told():
    policy = TablePolicy(
        "aggregates",
        to=("hub", "site:south", "role:analyst"),
        privacy_unit="pid",
        columns={
            "name": ColumnPolicy("none", filter=False, key=False),
            "day": ColumnPolicy("rows"),
            "age": ColumnPolicy(transform=True),
            "salary": ColumnPolicy(key=False),
        },
        training="updates",
        purposes=("research",),
    )
    told = describe("patients", policy, ["pid", "name", "day", "age", "salary"])
    assert told.sentences == (
        "The hub (any user of the federation), site south and users with role analyst, for research, may ask for what follows; "
        "nobody else gets anything of patients.",
        "They can obtain every single row of day.",
        "They can obtain sums, means, counts, variances and correlations of pid, age and salary, over groups of at least "
        "10 distinct values of pid, but no row, minimum, maximum or list of values.",
        "They can obtain nothing of name.",
        "They cannot group or join by salary.",
        "They can choose which rows count by conditions on day and age.",
        "They cannot choose rows by conditions on pid and salary.",
        "Models may be fitted on patients; updates leave, and updates are not anonymous.",
    )
    assert len(told.warnings) == 1
    assert "transform = true on age" in told.warnings[0]


@pytest.mark.parametrize(
    ("policy", "warning"),
    [
        (TablePolicy("aggregates"), "names no privacy_unit"),
        (TablePolicy("aggregates", privacy_unit="row"), "counts rows, not people"),
        (TablePolicy("aggregates", privacy_unit="nobody"), "none of its columns"),
        (TablePolicy("aggregates", privacy_unit="a", min_group=2), "min_group = 2 is small"),
        (TablePolicy("aggregates", privacy_unit="a", min_group=1), "a group may be one person"),
        (TablePolicy("rows", privacy_unit="a"), "leaves as rows"),
        (TablePolicy("rows", columns={"z": ColumnPolicy()}), "does not publish"),
        (TablePolicy("rows", to=()), "no recipients"),
        (TablePolicy("rows", columns={"b": ColumnPolicy("none", transform=True)}), "may steer"),
    ],
)
def test_weak_settings_are_warned_of(policy, warning):
    assert any(warning in text for text in describe("t", policy, ["a", "b"]).warnings)


def test_a_sound_policy_has_no_warning():
    assert describe("t", TablePolicy("aggregates", privacy_unit="a"), ["a", "b"]).warnings == ()
    assert describe("t", TablePolicy(), ["a", "b"]).warnings == ()
