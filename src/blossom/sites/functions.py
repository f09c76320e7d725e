"""Python functions that fragments may call, by content hash. Embedded, any function of the process goes."""

from __future__ import annotations

import functools
import hashlib
import json
import marshal
import threading
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from blossom.plan.errors import PlanError
from blossom.plan.relations import Function


class Functions:
    """The functions known to this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Callable[..., Any]] = {}

    def register(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Function:
        """Take in a function and give its name, content hash and parameters.

        Raises:
            PlanError: It is not a function, or a parameter is not JSON.
        """
        if not callable(function):
            raise PlanError(f"a function is needed, not {type(function).__name__}")
        try:
            text = json.dumps(dict(parameters), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PlanError(f"a function's parameters must be JSON: {error}") from error
        digest = _digest(function)
        with self._lock:
            self._known[digest] = function
        return Function(getattr(function, "__qualname__", type(function).__name__), digest, text)

    def resolve(self, function: Function) -> Callable[..., Any]:
        """The function of that hash, its parameters bound.

        Raises:
            PlanError: It is not known here.
        """
        with self._lock:
            found = self._known.get(function.digest)
        if found is None:
            raise PlanError(
                f"the function {function.name!r} ({function.digest[:12]}) is not known here",
                hint="define it in the process that runs the pipeline",
            )
        parameters = json.loads(function.parameters)
        return functools.partial(found, **parameters) if parameters else found


def _digest(function: Callable[..., Any]) -> str:
    digest = hashlib.sha256()
    if isinstance(function, FunctionType):
        digest.update(marshal.dumps(function.__code__))
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        # what a function closes over or reads from its module has no content hash of its own: identity keeps two apart
        names = [
            function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__
        ]
        outside = [(type(v).__name__, id(v)) for v in (*cells, *names)]
        digest.update(
            repr((function.__module__, function.__qualname__, function.__defaults__, outside)).encode()
        )
    else:
        digest.update(repr((type(function).__module__, type(function).__qualname__, id(function))).encode())
    return digest.hexdigest()
