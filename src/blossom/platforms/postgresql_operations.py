"""What PostgreSQL runs with DuckDB's semantics: an explicit list of operations, with the types and forms that were shown right."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import ibis.expr.datatypes as dt

from blossom.plan import relations as rel
from blossom.plan.expressions import Argument, Call, Column, Literal, Subquery, TypeArgument
from blossom.plan.schema import datatype
from blossom.platforms.allowed import AllowList
from blossom.platforms.rules import COMMON

DIFFERS: Mapping[str, str] = {
    "Uppercase": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters follow the database's language; DuckDB maps each letter by Unicode's simple rules",
    "Reverse": "PostgreSQL reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "RegexReplace": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "RegexExtract": "PostgreSQL's regular expressions are its own, DuckDB's are RE2's",
    "TryCast": "PostgreSQL has no cast that gives null instead of an error",
    "Log2": "PostgreSQL computes logarithms of other bases in decimals",
    "Log": "PostgreSQL computes logarithms of other bases in decimals",
    "ExtractEpochSeconds": "PostgreSQL gives decimals",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Correlation": "PostgreSQL gives null where DuckDB gives NaN, for values without variation",
    "Mode": "ties are broken differently",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "BitwiseLeftShift": "PostgreSQL wraps where DuckDB raises",
    "BitwiseRightShift": "PostgreSQL wraps where DuckDB raises",
}

IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer names."""


def _identifier(name: str) -> str | None:
    fits = name and len(name.encode()) <= IDENTIFIER_BYTES and "\0" not in name
    return None if fits else f"PostgreSQL has no column names like {name!r}"


def _literal(literal: Literal) -> str | None:
    if isinstance(literal.value, str) and "\0" in literal.value:
        return "PostgreSQL's text cannot hold the letter NUL"
    return None


ALLOWED = AllowList("PostgreSQL", COMMON, DIFFERS, equal_outer=True, identifier=_identifier, literal=_literal)
"""Everything common: this is the engine that the common list was written for."""


# --- digits ----------------------------------------------------------------------------------------------------------------------

Digits = tuple[int, int]
"""Digits in all, and after the point."""

_MOST = 38


def digits(root: rel.Relation) -> Mapping[str, Digits]:
    """The digits of each decimal or integer column, by DuckDB's rules; Ibis declares fewer for products."""
    found: dict[int, dict[str, Digits]] = {}
    for node in root.walk():
        inputs = [found[id(child)] for child in node.inputs]
        match node:
            case rel.Project(values=values) | rel.Constant(values=values) | rel.Join(values=values):
                found[id(node)] = {name: _digits(value, inputs) for name, value in values}
            case rel.Aggregate():
                named = (*node.groups, *node.metrics)
                found[id(node)] = {name: _digits(value, inputs) for name, value in named}
            case rel.SetOperation():
                sides = {name: [one[name] for one in inputs] for name in node.schema}
                found[id(node)] = {
                    name: (max(p for p, _ in all_), max(s for _, s in all_)) for name, all_ in sides.items()
                }
            case _ if inputs:
                found[id(node)] = inputs[0]
            case _:
                found[id(node)] = {name: _declared(text) for name, text in node.schema.items()}
    return found[id(root)]


def _declared(text: str) -> Digits:
    dtype = datatype(text)
    return (dtype.precision or _MOST, dtype.scale or 0) if isinstance(dtype, dt.Decimal) else (_MOST, 0)


def _digits(value: Argument, inputs: list[dict[str, Digits]]) -> Digits:
    match value:
        case Column(name=name, input=position):
            # a column of an enclosing query counts as whole: subqueries that give decimals so were not met
            return inputs[position][name] if position < len(inputs) else (_MOST, 0)
        case Subquery(kind="scalar", plan=plan):
            return next(iter(digits(plan).values()))
        case Call(op="Cast", args=(_, TypeArgument(dtype=text))):
            return _declared(text)
        case _:
            return _MOST, _scale(value, inputs)


def _scale(value: Argument, inputs: list[dict[str, Digits]]) -> int:
    match value:
        case Literal(value=float() | Decimal() as number):
            exponent = Decimal(repr(number) if isinstance(number, float) else number).as_tuple().exponent
            return max(-exponent, 0) if isinstance(exponent, int) else 0
        case Call(op="Round"):
            return _declared(value.dtype)[1]
        case Call(op=op, args=args):
            below = [
                _digits(item, inputs)[1]
                for arg in args
                for item in (arg if isinstance(arg, tuple) else (arg,))
            ]
            return sum(below) if op == "Multiply" else max(below, default=0)
        case _:
            return 0
