"""Filters that readers of files understand: comparisons of a column with constants, taken from a plan's predicates.

They leave out rows early, and the engine applies the whole predicate again, so a condition may let through too many rows but
never leave out one that the engine would keep. That is why NaN decides what is taken over: DuckDB, the reference, has it above
every number; readers do not.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.expressions import Call, Column, Expression, Literal, conjuncts
from blossom.platforms.families import Family, family

Value = bool | int | float | Decimal | str | dt.date | dt.datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column beside constants.

    Attributes:
        column: Its name in the source.
        op: One of `OPERATORS`, "in", "null" or "not null".
        values: One value; several for "in", none for the null tests.
    """

    column: str
    op: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of several conditions."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Either

OPERATORS: Mapping[str, str] = {
    "Equals": "=",
    "NotEquals": "<>",
    "Less": "<",
    "LessEqual": "<=",
    "Greater": ">",
    "GreaterEqual": ">=",
}
"""Operation of plans -> how it is written."""

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_FLOAT_SAFE = frozenset({"=", "<", "<=", "in"})
"""What is false for NaN in DuckDB too."""

_PYTHON: Mapping[Family, tuple[type, ...]] = {
    Family.BOOLEAN: (bool,),
    Family.INTEGER: (int,),
    Family.FLOAT64: (int, float),
    Family.FLOAT32: (int, float),
    Family.DECIMAL: (int, Decimal),
    Family.STRING: (str,),
    Family.DATE: (dt.date,),
    Family.TIMESTAMP: (dt.datetime,),
}
"""The constants with which a column of each family is compared in all readers alike."""


def taken(predicates: Iterable[Expression], names: Mapping[str, str]) -> tuple[Condition, ...]:
    """What readers can use of a node's predicates.

    Args:
        predicates: All of them hold for a row that is kept.
        names: Column of the plan -> column of the source, of those columns that are handed over unchanged.

    >>> age = Column("age", "int64")
    >>> taken([Call("Less", (age, Literal(18, "int8")), "boolean")], {"age": "AGE"})
    (Comparison(column='AGE', op='<', values=(18,)),)
    """
    parts = (part for predicate in predicates for part in conjuncts(predicate))
    found = (_condition(part, names) for part in parts)
    return tuple(condition for several in found if several is not None for condition in several)


def _condition(part: Expression, names: Mapping[str, str]) -> tuple[Condition, ...] | None:
    """The conditions, all of which a predicate implies; None where it is of another kind."""
    if not isinstance(part, Call):
        return None
    match part.op, part.args:
        case "Or", (one, other):
            left, right = (_condition(side, names) for side in _expressions(one, other))
            if left is None or right is None or len(left) != 1 or len(right) != 1:
                return None
            return (Either((left[0], right[0])),)
        case (("IsNull" | "NotNull"), (Column(name=name),)) if name in names:
            return (Comparison(names[name], "null" if part.op == "IsNull" else "not null"),)
        case "Between", (Column() as column, low, high):
            bounds = (_comparison(column, ">=", (low,), names), _comparison(column, "<=", (high,), names))
            found = tuple(bound for bound in bounds if bound is not None)
            return found or None
        case "InValues", (Column() as column, tuple(values)):
            return _one(_comparison(column, "in", values, names))
        case op, (Column() as column, Literal() as value) if op in OPERATORS:
            return _one(_comparison(column, OPERATORS[op], (value,), names))
        case op, (Literal() as value, Column() as column) if op in OPERATORS:
            return _one(_comparison(column, _TURNED[OPERATORS[op]], (value,), names))
        case _:
            return None


def _expressions(*args: Any) -> Iterator[Expression]:
    yield from args


def _one(found: Comparison | None) -> tuple[Condition, ...] | None:
    return None if found is None else (found,)


def _comparison(
    column: Column, op: str, args: tuple[Any, ...], names: Mapping[str, str]
) -> Comparison | None:
    kind = family(column.dtype)
    if column.name not in names or column.input != 0 or kind not in _PYTHON or not args:
        return None
    if kind in (Family.FLOAT32, Family.FLOAT64) and op not in _FLOAT_SAFE:
        return None
    values: list[Value] = []
    for arg in args:
        value: Any = arg.value if isinstance(arg, Literal) else None
        if not isinstance(value, _PYTHON[kind]) or not _plain(value, kind):
            return None
        values.append(value)
    return Comparison(names[column.name], op, tuple(values))


def _plain(value: Value, kind: Family) -> bool:
    """Whether a constant means the same to every reader."""
    if isinstance(value, bool):
        return kind is Family.BOOLEAN
    if isinstance(value, dt.datetime):
        return kind is Family.TIMESTAMP and value.tzinfo is None
    if isinstance(value, int):
        return abs(value) < 2**53 if kind in (Family.FLOAT32, Family.FLOAT64) else -(2**63) <= value < 2**63
    return not isinstance(value, float) or math.isfinite(value)


# -- as the readers have them -------------------------------------------------------------------------------------------------

_ARROW: Mapping[str, Callable[[pc.Expression, Any], pc.Expression]] = {
    "=": lambda field, value: field == value,
    "<>": lambda field, value: field != value,
    "<": lambda field, value: field < value,
    "<=": lambda field, value: field <= value,
    ">": lambda field, value: field > value,
    ">=": lambda field, value: field >= value,
}


def as_arrow(conditions: Iterable[Condition], schema: pa.Schema) -> pc.Expression | None:
    """Conditions as an expression of Arrow's datasets; None for none.

    A constant that the column's own type cannot hold (300 beside an int8) is compared by the engine alone.
    """
    parts = [part for condition in conditions if (part := _arrow(condition, schema)) is not None]
    return reduce(lambda one, other: one & other, parts) if parts else None


def _arrow(condition: Condition, schema: pa.Schema) -> pc.Expression | None:
    if isinstance(condition, Either):
        parts = [_arrow(each, schema) for each in condition.conditions]
        known = [part for part in parts if part is not None]
        return reduce(lambda one, other: one | other, known) if len(known) == len(parts) else None
    field = pc.field(condition.column)
    if condition.op == "null":
        return field.is_null()
    if condition.op == "not null":
        return field.is_valid()
    dtype = schema.field(condition.column).type
    try:
        values = [pa.scalar(value, dtype) for value in condition.values]
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    if condition.op == "in":
        return field.isin(pa.array([value.as_py() for value in values], dtype))
    return _ARROW[condition.op](field, values[0])


def as_sql(conditions: Iterable[Condition]) -> str | None:
    """Conditions as SQL of DataFusion, which Delta's reader takes; None for none.

    >>> as_sql([Comparison("k", "in", ("a", "b's"))])
    '"k" IN (\\'a\\', \\'b\\'\\'s\\')'
    """
    parts = [_sql(condition) for condition in conditions]
    return " AND ".join(parts) if parts else None


def _sql(condition: Condition) -> str:
    if isinstance(condition, Either):
        return f"({' OR '.join(map(_sql, condition.conditions))})"
    name = '"' + condition.column.replace('"', '""') + '"'
    if condition.op in ("null", "not null"):
        return f"{name} IS {condition.op.upper()}"
    values = [_constant(value) for value in condition.values]
    return (
        f"{name} IN ({', '.join(values)})" if condition.op == "in" else f"{name} {condition.op} {values[0]}"
    )


def _constant(value: Value) -> str:
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case dt.datetime():
            return f"TIMESTAMP '{value.isoformat(' ', 'microseconds')}'"
        case dt.date():
            return f"DATE '{value.isoformat()}'"
        case float():
            return f"CAST({value!r} AS DOUBLE)"
        case _:
            return str(value)
