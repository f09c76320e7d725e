"""Faults of a configuration: each names its dotted key; all of them are raised as one `ConfigError`."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from blossom.plan.errors import ConfigError, nearest, unknown

Key = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that is not endless",
    "date_type": "a date such as 2026-01-31",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table of keys",
    "model_type": "a table of keys",
}
"""Pydantic's error type -> what the key wants, in the words of TOML."""

_GIVEN: tuple[tuple[type, str], ...] = (
    (bool, "true or false"), (int, "a whole number"), (float, "a number with a fraction"), (str, "a text"),
    (list, "a list"), (dict, "a table of keys"), (type(None), "nothing"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the value at `key`."""

    key: Key
    what: str
    hint: str | None = None


def dotted(key: Iterable[str | int]) -> str:
    """A key as TOML writes it.

    >>> dotted(("sites", "old town", "tables", "t", "policy", "to", 0))
    'sites."old town".tables.t.policy.to[0]'
    """
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
        text += f".{shown}" if text else shown
    return text


def raise_faults(faults: Sequence[Fault], origin: str | None) -> None:
    """Raise all faults as one `ConfigError`; nothing happens when there are none. `origin` names the file."""
    if not faults:
        return
    if len(faults) == 1:
        (fault,) = faults
        where = dotted(fault.key)
        raise ConfigError(fault.what, where=f"{origin}: {where}" if origin else where, hint=fault.hint)
    lines = [f"{len(faults)} faults in the configuration"]
    for fault in faults:
        lines.append(f"  - {dotted(fault.key)}: {fault.what}")
        if fault.hint:
            lines.append(f"    hint: {fault.hint}")
    raise ConfigError("\n".join(lines), where=origin)


def given(value: object) -> str:
    """What kind of value was given. Never the value: it may be a secret."""
    return next((words for kind, words in _GIVEN if isinstance(value, kind)), f"a {type(value).__name__}")


def validate(model: type[Model], value: object, key: Key, faults: list[Fault]) -> Model | None:
    """The value as `model`, or None with its faults added."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # Only the structured parts are kept: pydantic's own message prints the input, which may hold a secret.
        found = error.errors(include_url=False)
    faults.extend(_fault(model, key, dict(one)) for one in found)
    return None


def _fault(model: type[BaseModel], prefix: Key, error: Mapping[str, Any]) -> Fault:
    loc: Key = tuple(error["loc"])
    key = (*prefix, *loc)
    kind, ctx = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return Fault(key, *_unknown_key(_model_at(model, loc[:-1]), str(loc[-1])))
    if kind == "missing":
        return Fault(key, "this key is required")
    if kind == "literal_error":
        options: list[str] = re.findall(r"'([^']*)'", ctx["expected"])
        value = error["input"]
        if not isinstance(value, str):
            return Fault(key, f"expected one of {_quoted(options)}, got {given(value)}")
        close = nearest(value, options)
        return Fault(
            key,
            f"expected one of {_quoted(options)}, got {value!r}",
            f"did you mean {close!r}?" if close else None,
        )
    if kind == "greater_than_equal":
        return Fault(key, f"expected {ctx['ge']} or more, got {error['input']}")
    if kind == "value_error":
        return Fault(key, str(ctx["error"]))
    if kind in _EXPECTED:
        return Fault(key, f"expected {_EXPECTED[kind]}, got {given(error['input'])}")
    raise AssertionError(f"no words for pydantic's {kind!r} at {dotted(key)}")


def _quoted(options: Iterable[str]) -> str:
    return ", ".join(f'"{option}"' for option in options)


def _unknown_key(model: type[BaseModel], name: str) -> tuple[str, str]:
    """Sentence and hint for a key that `model` does not have; says so where it belongs one level down."""
    for field, info in _keys(model).items():
        inner = _bare(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and name in _keys(inner):
            return f"unknown key {name!r}", f"{name!r} belongs under {field!r}: {field}.{name}"
    return unknown("key", name, _keys(model))


def _model_at(model: type[BaseModel], loc: Key) -> type[BaseModel]:
    """The model that checks the table of keys at `loc` below `model`."""
    annotation: Any = model
    for part in loc:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = _bare(_keys(annotation)[str(part)].annotation)
        else:
            annotation = _bare(typing.get_args(annotation)[-1])
    assert isinstance(annotation, type)  # only models forbid extra keys
    return annotation


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _bare(annotation: Any) -> Any:
    """An annotation without its `| None`."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(arg for arg in typing.get_args(annotation) if arg is not type(None))
    return annotation
