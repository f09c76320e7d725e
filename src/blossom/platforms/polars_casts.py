"""How Polars casts types and moves moments as DuckDB does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from blossom.platforms.polars_types import (
    F,
    Family,
    Term,
)

DATE_UNITS: Mapping[str, str] = {"YEAR": "1y", "QUARTER": "1q", "MONTH": "1mo", "WEEK": "1w", "DAY": "1d"}
TIMESTAMP_UNITS: Mapping[str, str] = {
    **DATE_UNITS, "HOUR": "1h", "MINUTE": "1m", "SECOND": "1s", "MILLISECOND": "1ms", "MICROSECOND": "1us",
}  # fmt: skip
DATE_INTERVALS: Mapping[str, str] = {"Y": "y", "Q": "q", "M": "mo", "W": "w", "D": "d"}
TIMESTAMP_INTERVALS: Mapping[str, str] = {
    **DATE_INTERVALS,
    "h": "h",
    "m": "m",
    "s": "s",
    "ms": "ms",
    "us": "us",
}


def half_even(term: Term, target: Any) -> Term:
    """Doubles to whole numbers, halves to even."""
    return Term(term.expr.round(0, mode="half_to_even"), term.dtype).cast(target)


def half_away(term: Term, target: Any) -> Term:
    """Decimals to whole numbers, halves away from zero."""
    whole = pl.Decimal(38, 0)
    return Term(term.expr.round(0, mode="half_away_from_zero").cast(whole), whole).cast(target)


def rescale(term: Term, target: Any) -> Term:
    """Decimals with other digits, halves away from zero."""
    if target.scale >= term.dtype.scale:
        return term.cast(target)
    return Term(term.expr.round(target.scale, mode="half_away_from_zero"), term.dtype).cast(target)


def as_is(term: Term, target: Any) -> Term:
    """Polars' own cast, strict."""
    # a literal keeps its value only where its text is written anew; casting the expression is always right
    return Term(term.expr.cast(target, strict=True), target)


def zero_test(term: Term, target: Any) -> Term:
    """Whether a number is not zero."""
    return Term(term.expr != 0, pl.Boolean)


CASTS: Mapping[tuple[Family, Family], Callable[[Term, Any], Term]] = {
    **{
        (kind, kind): as_is
        for kind in (F.BOOLEAN, F.STRING, F.DATE, F.TIMESTAMP, F.FLOAT64, F.FLOAT32, F.INTEGER)
    },
    (F.INTEGER, F.FLOAT64): as_is,
    (F.INTEGER, F.DECIMAL): as_is,
    (F.INTEGER, F.STRING): as_is,
    (F.INTEGER, F.BOOLEAN): zero_test,
    (F.BOOLEAN, F.INTEGER): as_is,
    (F.BOOLEAN, F.STRING): as_is,
    (F.FLOAT32, F.FLOAT64): as_is,
    (F.FLOAT64, F.INTEGER): half_even,
    (F.DECIMAL, F.INTEGER): half_away,
    (F.DECIMAL, F.FLOAT64): as_is,
    (F.DECIMAL, F.DECIMAL): rescale,
    (F.DECIMAL, F.STRING): as_is,
    (F.DATE, F.TIMESTAMP): as_is,
    (F.TIMESTAMP, F.DATE): lambda term, target: Term(term.expr.dt.date(), pl.Date),
    (F.DATE, F.STRING): as_is,
}
"""How a type becomes another. Absent: text to numbers and moments, and floats to text, where the engines' rules differ."""
