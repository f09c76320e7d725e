"""Constants and types in plan documents: exact JSON forms of the Python values that literals may hold."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import datetime
import enum
import ipaddress
import math
import re
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from typing import Any, TypeAlias

import ibis.common.temporal as temporal
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from ibis.common.collections import FrozenDict, FrozenOrderedDict

from blossom.plan.errors import PlanError
from blossom.plan.schema import datatype

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

MAX_DEPTH = 20
"""Deepest nesting of a literal's value."""

MAX_INTEGER = 2**128
"""No engine has wider integers."""

MAX_EXPONENT = 1_000
"""Largest exponent of a decimal: a short text may not stand for a number of a million digits."""

_TYPE_TEXT = 20_000
_NESTING = re.compile(r"[<(]")


def _datetime(value: datetime.datetime) -> Json:
    zone = value.tzinfo
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key is not None:
        return [value.replace(tzinfo=None, fold=0).isoformat(), zone.key, value.fold]
    return value.isoformat()


def _read_datetime(form: Json) -> datetime.datetime:
    if isinstance(form, list):
        shown, key, fold = form
        if type(fold) is not int or not isinstance(shown, str) or not isinstance(key, str):
            raise ValueError("a date and time of a named zone is [text, zone, fold]")
        return datetime.datetime.fromisoformat(shown).replace(tzinfo=zoneinfo.ZoneInfo(key), fold=fold)
    return datetime.datetime.fromisoformat(_text(form))


def _text(form: Json) -> str:
    if not isinstance(form, str):
        raise ValueError("expected a text")
    return form


def _read_decimal(form: Json) -> Decimal:
    value = Decimal(_text(form))
    if value.is_finite() and value and abs(value.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a decimal's exponent may not pass {MAX_EXPONENT}")
    return value


def _read_float(form: Json) -> float:
    if form not in ("nan", "inf", "-inf"):
        raise ValueError("only nan, inf and -inf are written as text")
    return float(form)


def _read_timedelta(form: Json) -> datetime.timedelta:
    if not isinstance(form, list) or len(form) != 3 or any(type(part) is not int for part in form):
        raise ValueError("a time span is [days, seconds, microseconds]")
    return datetime.timedelta(*form)


_TAGS: Mapping[type, tuple[str, Callable[[Any], Json]]] = {
    Decimal: ("decimal", str),
    datetime.datetime: ("datetime", _datetime),
    datetime.date: ("date", lambda value: value.isoformat()),
    datetime.time: ("time", lambda value: value.isoformat()),
    datetime.timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    uuid.UUID: ("uuid", str),
    bytes: ("bytes", lambda value: value.hex()),
    ipaddress.IPv4Address: ("ip", str),
    ipaddress.IPv6Address: ("ip", str),
}

_READERS: Mapping[str, Callable[[Json], Any]] = {
    "float": _read_float,
    "decimal": _read_decimal,
    "datetime": _read_datetime,
    "date": lambda form: datetime.date.fromisoformat(_text(form)),
    "time": lambda form: datetime.time.fromisoformat(_text(form)),
    "timedelta": _read_timedelta,
    "uuid": lambda form: uuid.UUID(_text(form)),
    "bytes": lambda form: bytes.fromhex(_text(form)),
    "ip": lambda form: ipaddress.ip_address(_text(form)),
}

_FOLDERS = {"dict": FrozenDict, "ordered": FrozenOrderedDict}


def encode(value: Any) -> Json:
    """A literal's value as JSON. Types must match exactly: a subclass may know more than we would write.

    >>> encode(Decimal("1.50"))
    {'decimal': '1.50'}
    """
    kind: type[Any] = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in _TAGS:
        tag, write = _TAGS[kind]
        return {tag: write(value)}
    if kind is tuple:
        return [encode(item) for item in value]
    if kind in (FrozenDict, FrozenOrderedDict):
        tag = "dict" if kind is FrozenDict else "ordered"
        return {tag: [[encode(key), encode(item)] for key, item in value.items()]}
    raise PlanError(
        f"a constant of type {kind.__qualname__} cannot travel in a plan",
        hint="use plain Python values: numbers, texts, dates, Decimal, UUID, bytes, tuples",
    )


def decode(form: Json, depth: int = 0) -> Any:
    """The value of a JSON form.

    Raises:
        PlanError: No form that `encode` writes.
    """
    if depth > MAX_DEPTH:
        raise PlanError(f"a constant is nested deeper than {MAX_DEPTH}")
    if isinstance(form, list):
        return tuple(decode(item, depth + 1) for item in form)
    if not isinstance(form, dict):
        if type(form) is int and abs(form) >= MAX_INTEGER:
            raise PlanError("an integer constant is wider than 128 bits")
        if type(form) is float and not math.isfinite(form):
            raise PlanError("a constant that is no finite number must be written as text")
        return form
    if len(form) != 1:
        raise PlanError(f"a tagged constant has one key, not {len(form)}")
    ((tag, inner),) = form.items()
    if tag in _FOLDERS:
        return _folded(tag, inner, depth)
    reader = _READERS.get(tag)
    if reader is None:
        raise PlanError(f"unknown kind of constant {tag!r}", hint=f"known: {', '.join(sorted(_READERS))}")
    try:
        return reader(inner)
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        InvalidOperation,
        zoneinfo.ZoneInfoNotFoundError,
        OSError,
    ) as error:
        raise PlanError(f"{str(inner)[:80]!r} is no {tag} constant") from error


def _folded(tag: str, inner: Json, depth: int) -> Any:
    if not isinstance(inner, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in inner):
        raise PlanError("a mapping constant is a list of pairs")
    pairs = [(decode(key, depth + 1), decode(item, depth + 1)) for key, item in inner]
    built = dict(pairs)
    if len(built) != len(pairs):
        raise PlanError("a mapping constant names a key twice")
    return _FOLDERS[tag](built)


@lru_cache(maxsize=4096)
def known_type(text: str) -> dt.DataType:
    """The type of a text that is written as Ibis writes it.

    Raises:
        PlanError: No type, or another spelling of one.
    """
    if len(text) > _TYPE_TEXT or len(_NESTING.findall(text)) > 500:
        raise PlanError("a type's text is too long")
    try:
        kind = datatype(text)
    except Exception as error:
        raise PlanError(f"unknown type {text[:80]!r}") from error
    if str(kind) != text:
        raise PlanError(f"the type {text[:80]!r} must be written {str(kind)[:80]!r}")
    return kind


def same_type(left: dt.DataType, right: dt.DataType) -> bool:
    """Equal types, nullability aside at every level."""
    return left == right or _nullable(left) == _nullable(right)


def _nullable(kind: dt.DataType) -> dt.DataType:
    if isinstance(kind, dt.Array):
        return kind.copy(value_type=_nullable(kind.value_type), nullable=True)
    if isinstance(kind, dt.Map):
        return kind.copy(
            key_type=_nullable(kind.key_type), value_type=_nullable(kind.value_type), nullable=True
        )
    if isinstance(kind, dt.Struct):
        return dt.Struct({name: _nullable(inner) for name, inner in kind.items()}, nullable=True)
    return kind.copy(nullable=True)


_HOLDS: tuple[tuple[type[dt.DataType], tuple[type, ...]], ...] = (
    (dt.Boolean, (bool,)),
    (dt.Integer, (int,)),
    (dt.Floating, (float, int)),
    (dt.Decimal, (Decimal, int)),
    (dt.INET, (str, ipaddress.IPv4Address, ipaddress.IPv6Address)),
    (dt.String, (str,)),
    (dt.JSON, (str,)),
    (dt.MACADDR, (str,)),
    (dt.Binary, (bytes,)),
    (dt.UUID, (uuid.UUID,)),
    (dt.Timestamp, (datetime.datetime,)),
    (dt.Date, (datetime.date,)),
    (dt.Time, (datetime.time,)),
    (dt.Interval, (int, datetime.timedelta)),
    (dt.Array, (tuple,)),
    (dt.Map, (FrozenDict, FrozenOrderedDict)),
    (dt.Struct, (FrozenDict, FrozenOrderedDict)),
)
"""Python types that a literal of a type may hold, so that nothing is parsed or converted on the way to an engine."""


def literal(value: Any, kind: dt.DataType) -> ops.Literal:
    """Ibis's literal, if the value is one of the type.

    Raises:
        PlanError: It is not.
    """
    _must_hold(value, kind)
    try:
        return ops.Literal(value, dtype=kind)
    except Exception as error:
        raise PlanError(f"the constant {str(value)[:80]!r} is no {kind}") from error


def _must_hold(value: Any, kind: dt.DataType) -> None:
    if value is None:
        if not kind.nullable:
            raise PlanError(f"a null constant cannot have the type {kind}")
        return
    allowed = next((types for base, types in _HOLDS if isinstance(kind, base)), ())
    if type(value) not in allowed:
        raise PlanError(f"a {type(value).__name__} constant cannot have the type {kind}")
    if isinstance(kind, dt.Array):
        for item in value:
            _must_hold(item, kind.value_type)
    elif isinstance(kind, dt.Map):
        for key, item in value.items():
            _must_hold(key, kind.key_type)
            _must_hold(item, kind.value_type)
    elif isinstance(kind, dt.Struct):
        if value.keys() != set(kind.names):
            raise PlanError(f"a struct constant has other fields than its type {str(kind)[:80]}")
        for name, item in value.items():
            _must_hold(item, kind[name])


@cache
def enumerations() -> Mapping[str, type[enum.Enum]]:
    """Ibis's unit enumerations by name."""
    found = (
        item for item in vars(temporal).values() if isinstance(item, type) and issubclass(item, enum.Enum)
    )
    return {cls.__name__: cls for cls in found if cls.__members__}
