"""What is known of one column's values, and how it carries through expressions."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from blossom.plan.expressions import Call, Column, Expression, Literal, columns

PARTS = {
    "ExtractYear": 10.0, "ExtractQuarter": 4.0, "ExtractMonth": 12.0, "ExtractWeekOfYear": 53.0, "ExtractDay": 31.0,
    "ExtractDayOfYear": 366.0, "DayOfWeekIndex": 7.0, "DayOfWeekName": 7.0, "ExtractHour": 24.0, "ExtractMinute": 60.0,
    "ExtractSecond": 60.0,
}  # fmt: skip
"""How many values a part of a date or time has at most, of years as many as usually lie in a table."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """One column of a table.

    Attributes:
        distinct: How many values it has; None where nobody knows.
        low: Its least value as a number (dates in days, see `number`); None where it has none.
        high: Its greatest.
        nulls: The share of rows that are null.
    """

    distinct: float | None = None
    low: float | None = None
    high: float | None = None
    nulls: float = 0.0


NameStatistics = Callable[[Column], ColumnStatistics | None]
"""Statistics of a node's input columns."""


def of_expression(value: Expression, of: NameStatistics) -> ColumnStatistics | None:
    """The statistics of a value from those of the columns it is made of.

    >>> of_expression(Call("ExtractMonth", (Column("d", "date"),), "int32"), lambda _: None).distinct
    12.0
    """
    if isinstance(value, Column):
        return of(value)
    if isinstance(value, Literal):
        return ColumnStatistics(1.0, number(value.value), number(value.value))
    if not isinstance(value, Call):
        return None
    if value.op in ("Cast", "TryCast") and value.args and isinstance(value.args[0], Column):
        return of(value.args[0])
    bound = PARTS.get(value.op)
    known = [of(column) for column in columns(value)]
    if value.op == "ExtractYear" and len(known) == 1 and known[0] is not None:
        low, high = known[0].low, known[0].high
        if low is not None and high is not None:
            return ColumnStatistics(math.floor((high - low) / 365.25) + 1.0)
    counts = [one.distinct for one in known if one is not None and one.distinct is not None]
    if len(counts) == len(known) and known:
        made = math.prod(counts)
        return ColumnStatistics(made if bound is None else min(made, bound))
    return None if bound is None else ColumnStatistics(bound)


def number(value: object) -> float | None:
    """A value on a line, for shares of ranges: numbers as they are, dates and timestamps in days; None for others.

    >>> number(datetime.date(1970, 1, 2)) - number(datetime.date(1970, 1, 1))
    1.0
    """
    if isinstance(value, bool | int | float | Decimal):
        found = float(value)
        return found if math.isfinite(found) else None
    if isinstance(value, datetime.datetime):
        return value.toordinal() + (value.hour * 3600 + value.minute * 60 + value.second) / 86400
    if isinstance(value, datetime.date):
        return float(value.toordinal())
    return None


def spread(values: float, rows: float) -> float:
    """How many of so many values are found in rows that are drawn without regard to them (Cardenas, CACM 18, 1975).

    >>> round(spread(100.0, 100.0)), round(spread(7.0, 1e6)), spread(1e6, 0.0)
    (63, 7, 0.0)
    """
    return values * -math.expm1(-max(rows, 0.0) / values) if values > 0 else 0.0
