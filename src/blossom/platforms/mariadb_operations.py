"""What MariaDB runs with DuckDB's semantics. Its doubles know neither NaN nor infinity, and casts clip in silence."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import ibis.expr.datatypes as dt

from blossom.plan import relations as rel
from blossom.plan.expressions import Argument, Call, Column, Literal, Subquery, TypeArgument, walk
from blossom.plan.schema import datatype
from blossom.platforms.allowed import JOINS, AllowList, correlated
from blossom.platforms.families import EXACT, NUMBER, WHOLE, Family, family
from blossom.platforms.rules import COMMON, Rule, casts

IDENTIFIER_LETTERS = 64
"""MariaDB refuses longer names."""

_INFINITE = "MariaDB has no NaN and no infinity: it gives null or an error"

DIFFERS: Mapping[str, str] = {
    "Sqrt": _INFINITE,
    "Ln": _INFINITE,
    "Log": _INFINITE,
    "Log2": _INFINITE,
    "Log10": _INFINITE,
    "Power": _INFINITE,
    "Exp": _INFINITE,
    "IsNan": _INFINITE,
    "IsInf": _INFINITE,
    "Uppercase": "letters follow the collation; DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "letters follow the collation; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "letters follow the collation; DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters follow the collation; DuckDB folds each letter by Unicode's simple rules",
    "Reverse": "MariaDB reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "MariaDB's regular expressions are PCRE's, DuckDB's are RE2's",
    "RegexExtract": "MariaDB's regular expressions are PCRE's, DuckDB's are RE2's",
    "RegexReplace": "MariaDB's regular expressions are PCRE's, DuckDB's are RE2's",
    "Greatest": "one null makes the result null",
    "Least": "one null makes the result null",
    "Clip": "one null makes the result null",
    "BitAnd": "without values MariaDB gives a number, DuckDB null",
    "BitOr": "without values MariaDB gives a number, DuckDB null",
    "BitXor": "without values MariaDB gives a number, DuckDB null",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "DateFromYMD": "a day that does not exist gives null",
    "BitwiseLeftShift": "MariaDB shifts unsigned numbers",
    "BitwiseRightShift": "MariaDB shifts unsigned numbers",
    "ExtractEpochSeconds": "MariaDB has no seconds before 1970",
    "Mode": "ties are broken differently",
}


def _nonzero(call: Call) -> str | None:
    divisor = call.args[1]
    if isinstance(divisor, Literal) and isinstance(divisor.value, int | float | Decimal) and divisor.value:
        return None
    return f"{call.op} by a number that may be zero gives null on MariaDB"


def _replace(call: Call) -> str | None:
    return None if all(isinstance(arg, Literal) for arg in call.args[1:]) else "StringReplace needs literals"


_CASTS = frozenset(
    {
        (Family.INTEGER, Family.INTEGER), (Family.INTEGER, Family.FLOAT64), (Family.INTEGER, Family.DECIMAL),
        (Family.INTEGER, Family.STRING), (Family.BOOLEAN, Family.INTEGER), (Family.DECIMAL, Family.FLOAT64),
        (Family.DECIMAL, Family.INTEGER), (Family.DECIMAL, Family.DECIMAL), (Family.FLOAT32, Family.FLOAT64),
        (Family.FLOAT64, Family.FLOAT64), (Family.DATE, Family.TIMESTAMP), (Family.TIMESTAMP, Family.DATE),
        (Family.DATE, Family.STRING), (Family.STRING, Family.STRING), (Family.DATE, Family.DATE),
        (Family.TIMESTAMP, Family.TIMESTAMP), (Family.BOOLEAN, Family.BOOLEAN),
    }
)  # fmt: skip
_LONG = 18
"""Digits that always fit into 64 bits."""


def _cast(call: Call) -> str | None:
    reason = casts(_CASTS)(call)
    arg, to = call.args
    if (
        reason is not None
        or not isinstance(arg, Column | Literal | Call | Subquery)
        or not isinstance(to, TypeArgument)
    ):
        return reason
    have, want = _digits(arg.dtype), _digits(to.dtype)
    if have is None or want is None:
        return None
    # what does not fit is clipped to the nearest number in silence
    before, after = have
    room, places = want
    fits = before <= room and (after <= places or isinstance(datatype(to.dtype), dt.Integer))
    return None if fits else f"Cast of {arg.dtype} to {to.dtype} may not fit, which MariaDB does not say"


def _digits(text: str) -> tuple[int, int] | None:
    """The digits before and after the point that a type may need, or has room for."""
    dtype = datatype(text)
    if isinstance(dtype, dt.Decimal):
        scale = dtype.scale or 0
        return (dtype.precision or 38) - scale, scale
    if isinstance(dtype, dt.Integer):
        return (_LONG + 1, 0) if dtype.nbytes == 8 else (len(str(2 ** (8 * dtype.nbytes - 1))) - 1, 0)
    return None


def _identifier(name: str) -> str | None:
    fits = (
        0 < len(name) <= IDENTIFIER_LETTERS
        and "\0" not in name
        and not name.endswith(" ")
        and name.isprintable()
    )
    return None if fits and max(name) <= "\uffff" else f"MariaDB has no column names like {name!r}"


def _literal(literal: Literal) -> str | None:
    if isinstance(literal.value, float) and (
        literal.value != literal.value or abs(literal.value) == float("inf")
    ):
        return _INFINITE
    return None


def _node(node: rel.Relation) -> str | None:
    folded = [name.casefold() for name in node.schema]
    if len(set(folded)) < len(folded):
        return "MariaDB does not tell apart column names that differ in upper and lower case"
    if isinstance(node, rel.Received):
        floats = [
            name for name, text in node.schema.items() if family(text) in (Family.FLOAT64, Family.FLOAT32)
        ]
        if floats:
            return f"column {floats[0]!r} may hold a NaN or an infinity, which MariaDB cannot"
    parts = (part for value in node.expressions() for part in walk(value) if isinstance(part, Subquery))
    return next(filter(None, map(_subquery, parts)), None)


def _subquery(subquery: Subquery) -> str | None:
    if subquery.kind == "in" and any(isinstance(node, rel.Limit) for node in subquery.plan.walk()):
        return "MariaDB has no limit in an `in` subquery"
    if correlated(subquery.plan):
        # over derived tables: an error in some places, once a row in the others
        return "MariaDB runs correlated subqueries once a row, if at all"
    return None


def _window(call: Call) -> str | None:
    fold: Argument = call.args[0]
    if isinstance(fold, Call) and fold.op in ("CountDistinct", "Median", "Quantile"):
        return f"MariaDB has no {fold.op} over a window"
    return None


OPERATIONS: Mapping[str, Rule] = {
    **{name: rule for name, rule in COMMON.items() if name not in DIFFERS},
    "Divide": Rule((NUMBER, NUMBER), _nonzero),
    "FloorDivide": Rule((NUMBER, NUMBER), _nonzero),
    "Modulus": Rule((EXACT, WHOLE), _nonzero),
    "StringReplace": Rule(COMMON["StringReplace"].takes, _replace),
    "Cast": Rule(COMMON["Cast"].takes, _cast),
    "WindowFunction": Rule((None,) * 6, _window),
}

ALLOWED = AllowList(
    "MariaDB",
    OPERATIONS,
    DIFFERS,
    joins=JOINS - {"outer"},
    identifier=_identifier,
    literal=_literal,
    node=_node,
)
