"""What an estimator is: named parameters, as in scikit-learn, that can be read, set, cloned and written as JSON."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any, ClassVar, Self, TypeVar, cast

from blossom.plan.errors import ConfigError, unknown

FORMAT = "blossom-estimator"
VERSION = 1

E = TypeVar("E", bound="Estimator")

ESTIMATORS: dict[str, type[Estimator]] = {}
"""Every estimator by its class name."""


class _Checked(type):
    """Turns an unknown parameter into a ConfigError that names the nearest right one."""

    def __call__(cls, *args: Any, **params: Any) -> Any:
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        _refuse_unknown(cls.__name__, params, known)
        try:
            return super().__call__(*args, **params)
        except TypeError as error:
            raise ConfigError(
                f"{cls.__name__}: {error}", hint=f"parameters, by keyword: {', '.join(known) or 'none'}"
            ) from error


def _refuse_unknown(owner: str, params: dict[str, Any], known: list[str]) -> None:
    for name in params:
        if name not in known:
            what, hint = unknown("parameter", name, known)
            raise ConfigError(what, where=owner, hint=hint)


class Estimator(metaclass=_Checked):
    """Base of all estimators. A subclass stores each parameter of `__init__` under its own name and checks it in `validate`."""

    kind: ClassVar[str] = "transformer"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            ESTIMATORS[cls.__name__] = cls

    @classmethod
    def _param_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def validate(self) -> None:
        """Check the parameters.

        Raises:
            ConfigError: One of them cannot be used.
        """

    def named_parts(self) -> list[tuple[str, Estimator]]:
        """The estimators inside this one, by name."""
        return []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with `deep` those of the parts too, as "part__parameter"."""
        params: dict[str, Any] = {name: getattr(self, name) for name in self._param_names()}
        if deep:
            for part, estimator in self.named_parts():
                params[part] = estimator
                params.update((f"{part}__{name}", value) for name, value in estimator.get_params().items())
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters in place and return the estimator.

        Raises:
            ConfigError: A parameter is unknown or cannot be used; then nothing is set.
        """
        parts = dict(self.named_parts())
        nested: dict[str, dict[str, Any]] = {}
        own: dict[str, Any] = {}
        for name, value in params.items():
            part, _, inner = name.partition("__")
            if inner and part in parts:
                nested.setdefault(part, {})[inner] = value
            else:
                own[name] = value
        _refuse_unknown(type(self).__name__, own, self._param_names())
        trial = clone(self)
        trial._assign(own, nested)
        self._assign(own, nested)
        return self

    def _assign(self, own: dict[str, Any], nested: dict[str, dict[str, Any]]) -> None:
        for name, value in own.items():
            setattr(self, name, value)
        parts = dict(self.named_parts())
        for part, inner in nested.items():
            parts[part].set_params(**inner)
        self.validate()

    def to_document(self) -> str:
        """The estimator as JSON text.

        >>> from blossom.learning import Ridge
        >>> estimator_from_document(Ridge(alpha=2.0).to_document())
        Ridge(alpha=2.0)
        """
        return json.dumps({"format": FORMAT, "version": VERSION, "estimator": encode(self)}, allow_nan=False)

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if defaults[name].default is inspect.Parameter.empty or value != defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, Estimator)
            and self.get_params(deep=False) == other.get_params(deep=False)
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType] - parameters can be set


def clone(estimator: E) -> E:
    """A new estimator with the same parameters."""
    return cast("E", decode(encode(estimator)))


def estimator_from_document(document: str) -> Estimator:
    """Read what `Estimator.to_document` wrote.

    Raises:
        ConfigError: The text is no estimator of this version.
    """
    outer = read_json(document, FORMAT, VERSION)
    estimator = decode(outer.get("estimator"))
    if not isinstance(estimator, Estimator):
        raise ConfigError("the document holds no estimator")
    return estimator


def read_json(text: str, form: str, version: int) -> dict[str, Any]:
    """A JSON object of a given format and version.

    Raises:
        ConfigError: The text is something else.
    """
    try:
        outer = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not a {form} document: {error!s:.100}") from error
    if not isinstance(outer, dict) or outer.get("format") != form:
        raise ConfigError(f"not a {form} document", hint="write it with Blossom's own save or to_document")
    if outer.get("version") != version:
        raise ConfigError(
            f"{form} version {outer.get('version')!r:.20} is not supported",
            hint=f"this version of Blossom reads version {version}",
        )
    return cast("dict[str, Any]", outer)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def encode(value: object) -> Any:
    """A parameter's value as JSON values.

    Raises:
        ConfigError: The value is no plain data.
    """
    match value:
        case Estimator():
            params = value.get_params(deep=False)
            return {"kind": type(value).__name__, "params": {k: encode(v) for k, v in params.items()}}
        case float() if not math.isfinite(value):
            return {"float": repr(float(value))}
        case None | bool() | int() | str():
            return value
        case float():
            return float(value)
        case list() | tuple():
            return [encode(item) for item in cast("list[object]", value)]
        case _:
            raise ConfigError(f"a parameter is plain data or an estimator, not {type(value).__name__}")


def decode(value: object) -> Any:
    """Read what `encode` wrote.

    Raises:
        ConfigError: It holds an unknown estimator or parameter.
    """
    match value:
        case {"kind": str(kind), "params": dict(params)} if len(cast("dict[str, object]", value)) == 2:
            if kind not in ESTIMATORS:
                what, hint = unknown("estimator", kind, ESTIMATORS)
                raise ConfigError(what, hint=hint)
            return ESTIMATORS[kind](
                **{str(name): decode(own) for name, own in cast("dict[str, object]", params).items()}
            )
        case {"float": "inf" | "-inf" | "nan" as text} if len(cast("dict[str, object]", value)) == 1:
            return float(text)
        case list():
            return [decode(item) for item in cast("list[object]", value)]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise ConfigError("a parameter's document is plain data or an estimator")


def require_number(
    owner: str, name: str, value: object, *, above: float, inclusive: bool = False, infinite: bool = False
) -> None:
    """Check that a parameter is a number above a bound.

    Raises:
        ConfigError: It is not.
    """
    bound = f"{'at least' if inclusive else 'above'} {above:g}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = value > above or (inclusive and value == above)  # NaN is neither
        if inside and (infinite or math.isfinite(value)):
            return
    raise ConfigError(f"{name}={value!r} is not a number {bound}", where=owner)


def require_flag(owner: str, name: str, value: object) -> None:
    """Check that a parameter is a boolean.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r} is not True or False", where=owner)


def require_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check that a parameter is one of several values.

    Raises:
        ConfigError: It is not.
    """
    if value not in choices:
        raise ConfigError(
            f"{name}={value!r} is not supported", where=owner, hint=f"one of {', '.join(map(repr, choices))}"
        )
