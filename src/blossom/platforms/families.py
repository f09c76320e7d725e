"""Families of plan types: what engines treat alike, so that rules on operations can be told in a word."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

import ibis.expr.datatypes as dt

from blossom.plan.schema import datatype


class Family(Enum):
    """Plan types that engines treat alike."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    STRING = "string"
    BINARY = "binary"
    DATE = "date"
    TIMESTAMP = "timestamp"
    ZONED = "timestamp with time zone"
    OTHER = "other"

    __hash__ = (
        object.__hash__
    )  # members are one object each; Enum's own hash is a slow call, and rules ask all the time


F = Family


@lru_cache(maxsize=4096)
def family(text: str) -> Family:
    """The family of a type's text; what few engines have (unsigned integers, nanoseconds, nested types) is OTHER."""
    match datatype(text):
        case dt.Timestamp(timezone=zone, scale=scale) if scale is None or scale <= 6:
            return F.TIMESTAMP if zone is None else F.ZONED
        case dt.Null():
            return F.NULL
        case dt.Boolean():
            return F.BOOLEAN
        case dt.SignedInteger():
            return F.INTEGER
        case dt.Float32():
            return F.FLOAT32
        case dt.Float64():
            return F.FLOAT64
        case dt.Decimal():
            return F.DECIMAL
        case dt.String():
            return F.STRING
        case dt.Binary():
            return F.BINARY
        case dt.Date():
            return F.DATE
        case _:
            return F.OTHER


Families = frozenset[Family]
ANY: Families = frozenset(set(Family) - {F.OTHER})
NUMBER: Families = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.NULL})
EXACT: Families = frozenset({F.INTEGER, F.DECIMAL, F.NULL})
WHOLE: Families = frozenset({F.INTEGER, F.NULL})
ORDERABLE: Families = ANY - {F.BINARY}
TRUTH: Families = frozenset({F.BOOLEAN, F.NULL})
TEXT: Families = frozenset({F.STRING, F.NULL})
DAY: Families = frozenset({F.DATE})
STAMP: Families = frozenset({F.TIMESTAMP})
MOMENT: Families = DAY | STAMP
