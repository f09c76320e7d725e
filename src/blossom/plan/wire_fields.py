"""The fields of every relation and expression of a plan document: how each is written, and how it is read with distrust."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from blossom.plan import expressions as ex
from blossom.plan import relations as rel
from blossom.plan.errors import PlanError
from blossom.plan.schema import Schema
from blossom.plan.wire_checks import member
from blossom.plan.wire_values import MAX_INTEGER, Json, decode, encode, known_type

_EXPRESSIONS = (ex.Column, ex.Outer, ex.Literal, ex.Call, ex.Subquery)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a document may hold.

    Attributes:
        bytes: Length of its text.
        nodes: Entries of its table.
        depth: Nesting of an expression.
        work: Visits that a walk over all expressions takes, shared parts counted each time they are met.
        subqueries: Nesting of subqueries.
        columns: Columns of one relation.
        name: Characters of a name.
        literal: Characters of one constant.
        text: Characters of a model's or an estimator's document.
    """

    bytes: int = 64 * 2**20
    nodes: int = 100_000
    depth: int = 200
    work: int = 500_000
    subqueries: int = 10
    columns: int = 10_000
    name: int = 1_000
    literal: int = 2**20
    text: int = 32 * 2**20


class Writer(Protocol):
    """Numbers the entries of a document."""

    def relation(self, root: rel.Relation) -> int:
        """The number of a relation's entry."""
        ...

    def expression(self, value: ex.Expression) -> int:
        """The number of an expression's entry."""
        ...


class Reader(Protocol):
    """Knows the entries that were read before."""

    limits: Limits

    def reference(self, form: Json, kinds: type | tuple[type, ...], what: str) -> Any:
        """The earlier entry of a number, if it is one of these kinds."""
        ...


Write: TypeAlias = Callable[[Writer, Any], Json]
Read: TypeAlias = Callable[[Reader, Any], Any]


@dataclass(frozen=True, slots=True)
class _Part:
    """How one field is written and read."""

    write: Write
    read: Read


def shown(form: object) -> str:
    """A wrong value for a message, whatever it is and however long."""
    if isinstance(form, str):
        return repr(form[:40])
    small = form is None or isinstance(form, float) or (isinstance(form, int) and abs(form) < MAX_INTEGER)
    return repr(form) if small else f"a {type(form).__name__}"


def _plain(kind: type, what: str) -> _Part:
    def read(reader: Reader, form: Json) -> Any:
        if type(form) is not kind:
            raise PlanError(f"expected {what}, got {shown(form)}")
        return form

    return _Part(lambda writer, value: value, read)


def _bounded(limit: Callable[[Limits], int], what: str) -> _Part:
    def read(reader: Reader, form: Json) -> str:
        if not isinstance(form, str):
            raise PlanError(f"expected {what}, got {shown(form)}")
        if len(form) > limit(reader.limits):
            raise PlanError(f"{what} is longer than {limit(reader.limits):,} characters")
        if not form.isprintable():
            try:
                form.encode()
            except UnicodeEncodeError as error:
                raise PlanError(f"{what} is no Unicode") from error
        return form

    return _Part(lambda writer, value: value, read)


def _optional(part: _Part) -> _Part:
    return _Part(
        lambda writer, value: None if value is None else part.write(writer, value),
        lambda reader, form: None if form is None else part.read(reader, form),
    )


def _many(part: _Part) -> _Part:
    def read(reader: Reader, form: Json) -> tuple[Any, ...]:
        if not isinstance(form, list):
            raise PlanError(f"expected a list, got {shown(form)}")
        return tuple(part.read(reader, item) for item in form)

    return _Part(lambda writer, value: [part.write(writer, item) for item in value], read)


def _row(
    *parts: _Part, make: Callable[..., Any] = lambda *items: items, split: Callable[[Any], Any] = tuple
) -> _Part:
    """A fixed number of parts, written as a list."""

    def read(reader: Reader, form: Json) -> Any:
        if not isinstance(form, list) or len(form) != len(parts):
            raise PlanError(f"expected a list of {len(parts)}, got {shown(form)}")
        return make(*(part.read(reader, item) for part, item in zip(parts, form, strict=True)))

    def write(writer: Writer, value: Any) -> Json:
        return [part.write(writer, item) for part, item in zip(parts, split(value), strict=True)]

    return _Part(write, read)


def _read_type(reader: Reader, form: Json) -> str:
    if not isinstance(form, str):
        raise PlanError(f"expected a type, got {shown(form)}")
    known_type(form)
    return form


def _write_type(writer: Writer, value: str) -> Json:
    known_type(value)
    return value


def _read_number(reader: Reader, form: Any) -> float:
    if type(form) not in (int, float) or not math.isfinite(form):
        raise PlanError(f"expected a number, got {shown(form)}")
    return form


def _read_literal(reader: Reader, form: Json) -> Any:
    try:
        length = len(str(form))
    except ValueError as error:
        raise PlanError("an integer constant is wider than 128 bits") from error
    if length > reader.limits.literal:
        raise PlanError(f"a constant is longer than {reader.limits.literal:,} characters")
    return decode(form)


def _write_argument(writer: Writer, arg: ex.Argument) -> Json:
    match arg:
        case ex.Column() | ex.Outer() | ex.Literal() | ex.Call() | ex.Subquery():
            return {"node": writer.expression(arg)}
        case ex.TypeArgument():
            return {"type": _write_type(writer, arg.dtype)}
        case ex.EnumArgument():
            member(arg)
            return {"unit": [arg.enum, arg.member]}
        case tuple():
            return [_write_argument(writer, item) for item in arg]
        case float() if not math.isfinite(arg):
            return {"float": repr(arg)}
        case None | bool() | int() | float() | str():
            return arg
    raise PlanError(f"an argument of type {type(arg).__name__} cannot travel in a plan")


def _read_argument(reader: Reader, form: Json, nesting: int = 0) -> ex.Argument:
    if nesting > 20:
        raise PlanError("an argument is nested too deeply")
    if isinstance(form, list):
        return tuple(_read_argument(reader, item, nesting + 1) for item in form)
    if not isinstance(form, dict):
        return _read_literal(reader, form)
    if len(form) != 1:
        raise PlanError("a tagged argument has one key")
    ((tag, inner),) = form.items()
    match tag:
        case "node":
            return reader.reference(inner, _EXPRESSIONS, "an expression")
        case "type":
            return ex.TypeArgument(_read_type(reader, inner))
        case "unit":
            unit = ex.EnumArgument(*_row(_NAME, _NAME).read(reader, inner))
            member(unit)
            return unit
        case "float":
            return _read_literal(reader, form)
        case _:
            raise PlanError(f"unknown kind of argument {tag[:40]!r}")


def _read_kind(reader: Reader, form: Json) -> str:
    if form not in ("scalar", "exists", "in"):
        raise PlanError(f"unknown kind of subquery {shown(form)}")
    return form


def _read_schema(reader: Reader, form: Json) -> Schema:
    pairs = _OUTPUTS.read(reader, form)
    if len({name for name, _ in pairs}) != len(pairs):
        raise PlanError("a schema names a column twice")
    return Schema(pairs)


_NAME = _bounded(lambda limits: limits.name, "a name")
_DOCUMENT = _bounded(lambda limits: limits.text, "a text")
_BOOLEAN = _plain(bool, "true or false")
_INTEGER = _plain(int, "a whole number")
_NUMBER = _Part(lambda writer, value: value, _read_number)
_TYPE = _Part(_write_type, _read_type)
_OUTPUTS = _many(_row(_NAME, _TYPE))
_SCHEMA = _Part(lambda writer, value: _OUTPUTS.write(writer, value.items()), _read_schema)
_RELATION = _Part(
    lambda writer, value: writer.relation(value),
    lambda reader, form: reader.reference(form, rel.Relation, "a relation"),
)
_EXPRESSION = _Part(
    lambda writer, value: writer.expression(value),
    lambda reader, form: reader.reference(form, _EXPRESSIONS, "an expression"),
)
_VALUE = _Part(lambda writer, value: encode(value), _read_literal)
_ARGUMENTS = _many(_Part(_write_argument, _read_argument))
_NAMED = _many(_row(_NAME, _EXPRESSION))
_LINK = _row(_NAME, _many(_EXPRESSION), make=rel.Link, split=lambda link: (link.how, link.predicates))
_KEY = _row(
    _EXPRESSION,
    _BOOLEAN,
    _BOOLEAN,
    make=rel.SortKey,
    split=lambda key: (key.value, key.ascending, key.nulls_first),
)
_FUNCTION = _row(
    _NAME, _NAME, _DOCUMENT, make=rel.Function, split=lambda item: (item.name, item.digest, item.parameters)
)
_PARTITION = _row(_NAME, _many(_NAME), make=rel.Partition, split=lambda item: (item.scheme, item.columns))
_INPUT = {"input": _RELATION}
_TABLES = {"tables": _many(_RELATION)}

Fields: TypeAlias = Mapping[str, _Part]

EXPRESSIONS: Mapping[str, tuple[Callable[..., Any], Fields]] = {
    "Column": (ex.Column, {"name": _NAME, "dtype": _TYPE, "input": _INTEGER}),
    "Outer": (ex.Outer, {"name": _NAME, "dtype": _TYPE, "input": _INTEGER, "depth": _INTEGER}),
    "Literal": (ex.Literal, {"value": _VALUE, "dtype": _TYPE}),
    "Call": (ex.Call, {"op": _NAME, "args": _ARGUMENTS, "dtype": _TYPE}),
    "Subquery": (
        ex.Subquery,
        {
            "kind": _Part(lambda writer, value: value, _read_kind),
            "plan": _RELATION,
            "dtype": _TYPE,
            "needle": _optional(_EXPRESSION),
        },
    ),
}
"""The expressions that may travel, with their fields."""

RELATIONS: Mapping[str, tuple[type[rel.Relation], Fields]] = {
    "Scan": (rel.Scan, {"table": _NAME, "columns": _SCHEMA, "site": _optional(_NAME)}),
    "Received": (rel.Received, {"key": _NAME, "columns": _SCHEMA}),
    "Constant": (rel.Constant, {"values": _NAMED}),
    "Project": (rel.Project, {**_INPUT, "values": _NAMED}),
    "Filter": (rel.Filter, {**_INPUT, "predicates": _many(_EXPRESSION)}),
    "Join": (rel.Join, {**_TABLES, "links": _many(_LINK), "values": _NAMED}),
    "Aggregate": (rel.Aggregate, {**_INPUT, "groups": _NAMED, "metrics": _NAMED}),
    "Sort": (rel.Sort, {**_INPUT, "keys": _many(_KEY)}),
    "Limit": (rel.Limit, {**_INPUT, "n": _optional(_INTEGER), "offset": _INTEGER}),
    "Distinct": (rel.Distinct, _INPUT),
    "SetOperation": (rel.SetOperation, {"kind": _NAME, **_TABLES, "distinct": _BOOLEAN}),
    "Sample": (
        rel.Sample,
        {**_INPUT, "fraction": _NUMBER, "method": _NAME, "seed": _optional(_INTEGER)},
    ),
    "Unnest": (
        rel.Unnest,
        {**_INPUT, "value": _EXPRESSION, "name": _NAME, "offset": _optional(_NAME), "keep_empty": _BOOLEAN},
    ),
    "MapBatches": (
        rel.MapBatches,
        {
            **_INPUT,
            "function": _FUNCTION,
            "columns": _SCHEMA,
            "per": _NAME,
            "format": _NAME,
            "by": _many(_NAME),
        },
    ),
    "State": (rel.State, {"key": _NAME, "columns": _SCHEMA}),
    "Repeat": (
        rel.Repeat,
        {**_INPUT, "body": _RELATION, "until": _optional(_RELATION), "times": _INTEGER, "key": _NAME},
    ),
    "Train": (
        rel.Train,
        {**_INPUT, "estimator": _DOCUMENT, "target": _NAME, "features": _many(_NAME), "options": _DOCUMENT},
    ),
    "Model": (rel.Model, {"document": _DOCUMENT}),
    "Predict": (rel.Predict, {**_INPUT, "model": _RELATION, "features": _many(_NAME), "outputs": _OUTPUTS}),
    "Parts": (rel.Parts, {**_TABLES, "sites": _many(_NAME), "partition": _optional(_PARTITION)}),
    "Copies": (rel.Copies, {**_TABLES, "sites": _many(_NAME), "steward": _optional(_NAME)}),
}
"""The relations that may travel, with their fields."""
