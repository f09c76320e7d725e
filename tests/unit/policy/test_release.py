"""Whole releases in DuckDB, decided by every rule, against brute force over the rows."""

from __future__ import annotations

from collections import defaultdict

import ibis
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis import _

from blossom.policy.ledger import Book
from blossom.policy.model import ColumnPolicy, TablePolicy

LEAST = 3
SCHEMA = pa.schema([("u", pa.int64()), ("g", pa.string()), ("h", pa.string()), ("x", pa.int64())])
FACTS = ibis.table({"u": "int64", "g": "string", "h": "string", "x": "int64"}, name="facts")
POLICY = TablePolicy(
    "aggregates",
    min_group=LEAST,
    privacy_unit="u",
    columns={name: ColumnPolicy(transform=True) for name in "ugh"},
)

rows = st.lists(
    st.fixed_dictionaries(
        {
            "u": st.integers(0, 12),
            "g": st.none() | st.sampled_from("ab"),
            "h": st.sampled_from("xy"),
            "x": st.none() | st.integers(-9, 9) | st.just(1000),
        }
    ),
    max_size=60,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def share(chosen: list[dict]) -> bool:
    """Whether one unit dominates the sum of x."""
    sums: dict[int, int] = defaultdict(int)
    for row in chosen:
        sums[row["u"]] += abs(row["x"])
    ordered = [*sorted(sums.values(), reverse=True), 0, 0]
    return 10 * sum(ordered[2:]) < ordered[0]


def units(chosen: list[dict]) -> set[int]:
    return {row["u"] for row in chosen}


@quick
@given(rows=rows)
def test_what_is_shown_holds_under_every_rule(clinic, run, rows):
    clinic.policies["facts"] = POLICY
    plan = clinic.allowed(FACTS.group_by("g", "h").agg(n=_.count(), s=_.x.sum()))
    result, withheld = run(plan, Book(256), facts=pa.Table.from_pylist(rows, SCHEMA))
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["g"], row["h"]].append(row)
    shown = {(row["g"], row["h"]) for row in result.to_pylist()}
    assert len(shown) + withheld == len(groups)
    for key in shown:
        with_x = [row for row in groups[key] if row["x"] is not None]
        assert len(units(with_x)) >= LEAST
        assert not share(with_x)
        nulls = [row for row in groups[key] if row["x"] is None]
        assert not nulls or len(units(nulls)) >= LEAST
    for part in ((), (0,), (1,)):
        slices: dict[tuple, list[tuple]] = defaultdict(list)
        for key in groups:
            slices[tuple(key[i] for i in part)].append(key)
        for keys in slices.values():
            hidden = set().union(*(units(groups[key]) for key in keys if key not in shown))
            assert not shown & set(keys) or not hidden or len(hidden) >= LEAST


@quick
@given(rows=rows, victim=st.integers(0, 12))
def test_no_two_answers_differ_by_a_few_units(clinic, run, rows, victim):
    """Every pair of shown figures, in one long session, differs in no unit or in enough of them."""
    clinic.policies["facts"] = POLICY
    facts = pa.Table.from_pylist([{**row, "x": 5} for row in rows], SCHEMA)
    book = Book(256)
    seen: list[dict[int, int]] = []
    for query, chosen in (
        (FACTS.agg(n=_.count(), s=_.x.sum()), lambda row: True),
        (FACTS.filter(_.u != victim).agg(n=_.count(), s=_.x.sum()), lambda row: row["u"] != victim),
        (FACTS.filter(_.g == "a").agg(n=_.count(), s=_.x.sum()), lambda row: row["g"] == "a"),
        (FACTS.filter((_.g == "a") | (_.u == victim)).agg(n=_.count(), s=_.x.sum()), lambda row: row["g"] == "a" or row["u"] == victim),
        (FACTS.filter((_.u != victim) | (_.h == "x")).agg(n=_.count(), s=_.x.sum()), lambda row: row["u"] != victim or row["h"] == "x"),
    ):  # fmt: skip
        result, _withheld = run(clinic.allowed(query), book, facts=facts)
        if result.num_rows:
            counts: dict[int, int] = defaultdict(int)
            for row in rows:
                counts[row["u"]] += bool(chosen(row))
            seen.append(counts)
        known = len(book)
        again, _withheld = run(clinic.allowed(query), book, facts=facts)
        assert again.num_rows == result.num_rows
        assert len(book) == known
    for i, one in enumerate(seen):
        for other in seen[:i]:
            apart = sum(one.get(unit, 0) != other.get(unit, 0) for unit in one.keys() | other.keys())
            assert apart == 0 or apart >= LEAST


def test_two_values_of_one_column_in_a_facet_are_both_told_apart(clinic, run):
    clinic.policies["facts"] = TablePolicy(
        "aggregates",
        min_group=LEAST,
        privacy_unit="u",
        columns={name: ColumnPolicy(transform=True) for name in "uhx"},
    )
    rows = [{"u": i, "g": "a", "h": "x", "x": i % 7} for i in range(30)]
    facts = pa.Table.from_pylist(rows, SCHEMA)
    book = Book(256)
    one = FACTS.agg(a=(_.x * 2).sum(), b=(_.x * 3).sum())
    assert run(clinic.allowed(one), book, facts=facts)[0].num_rows == 1
    weighted = FACTS.agg(a=(_.x * (_.u == 5).ifelse(7, 1)).sum())
    assert run(clinic.allowed(weighted), book, facts=facts)[0].num_rows == 0


def test_a_flag_that_a_few_lack_does_not_tell_them_by_a_product(clinic, run):
    """Products of two columns need no leave to transform; scaled by literals, they are none the safer."""
    clinic.policies["facts"] = TablePolicy("aggregates", min_group=LEAST, privacy_unit="u")
    table = ibis.table({"u": "int64", "x": "int64", "flag": "int64"}, name="facts")
    facts = pa.table(
        {"u": list(range(30)), "x": [50 + i for i in range(30)], "flag": [int(i != 7) for i in range(30)]}
    )
    for second in (
        _.x * _.flag,
        2 * _.x * _.flag,
        (3 * _.x + 1) * (_.flag + 4),
        _.flag * _.x.cast("float64") / 3,
    ):
        book = Book(256)
        assert run(clinic.allowed(table.agg(s=_.x.sum())), book, facts=facts)[0].num_rows == 1
        assert run(clinic.allowed(table.agg(s=second.sum())), book, facts=facts)[0].num_rows == 0
