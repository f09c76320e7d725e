"""SQLite's lists and texts: timestamps that order as text, and what is refused with its reason."""

from __future__ import annotations

from datetime import datetime

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.plan import from_ibis
from blossom.platforms.sqlite_dialect import canonical_timestamp
from blossom.platforms.sqlite_rules import DIFFERS, refusal
from blossom.platforms.sqlite_storage import declared_type

MOMENTS = st.datetimes(min_value=datetime.fromisoformat("0001-01-01"))


@given(MOMENTS, MOMENTS)
def test_canonical_texts_order_as_their_times(one: datetime, other: datetime) -> None:
    texts = [canonical_timestamp(moment.isoformat()) for moment in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)  # type: ignore[operator]
    assert (texts[0] == texts[1]) == (one == other)
    assert datetime.fromisoformat(str(texts[0])) == one


@pytest.mark.parametrize("value", [5, "soon", b"2020-01-01"])
def test_what_is_no_time_has_no_canonical_text(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_timestamp(value)


@pytest.mark.parametrize(
    ("declaration", "found"),
    [
        ("int", "int64"), ("UNSIGNED BIG INT", "int64"), ("Timestamp", "timestamp(6)"), ("DATE", "date"),
        ("nvarchar(10)", "string"), ("double precision", "float64"), ("boolean", "boolean"), ("blob", "binary"),
        ("decimal(5)", "decimal(5, 0)"), ("NUMERIC", None), ("", None),
    ],
)  # fmt: skip
def test_declarations(declaration: str, found: str | None) -> None:
    assert declared_type(declaration) == found


T = ibis.table(
    {
        "i": "int64", "j": "int64", "x": "float64", "f": "float32", "s": "string", "d": "date", "at": "timestamp", "n": "decimal(9, 2)",
        "wide": "decimal(20, 2)", "a": "array<int64>",
    },
    name="t",
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (T.s.upper(), DIFFERS["Uppercase"]),
        (T.i / T.j, "constant other than zero"),
        (T.i / 0, "constant other than zero"),
        (T.x % 2, "Modulus of floats"),
        (T.n + T.n, "inexact"),
        (T.wide == T.wide, "type that SQLite does not have"),
        (T.f + 1, "type that SQLite does not have"),
        (T.a.length(), "not supported"),
        (T.d == T["at"], "compares otherwise"),
        (T.x.cast("int64"), "cast from float"),
        (T.i.cast("int8"), "smaller integer"),
        (T.s.startswith(T.s), "computed text"),
        (T.s.substr(T.i, 2), "constants from 0"),
        (T["at"].truncate("ms"), "TimestampTruncate to millisecond"),
        (T.d + ibis.interval(months=1), "days or weeks"),
        (ibis.literal(float("nan")), "NaN as NULL"),
        (T.i.var().over(group_by=T.s), "outside of windows"),
    ],
)
def test_what_differs_is_refused_with_the_reason(value: ibis.Value, reason: str) -> None:
    assert reason in str(refusal(from_ibis.relation(T.select(v=value).op())))
