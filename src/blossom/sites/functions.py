"""Python functions that fragments may call, by content hash. Embedded, any function of the process goes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from blossom.plan.errors import PlanError
from blossom.plan.relations import Function
from blossom.platforms.python_functions import Packed, pack


class Functions:
    """The functions known to this process, each as it was when it was registered, with the values that it refers to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Packed] = {}

    def register(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Function:
        """Take in a function and give its name, content hash and parameters.

        Raises:
            PlanError: It is not a function, it cannot leave this process, or a parameter is not JSON.
        """
        if not callable(function):
            raise PlanError(f"a function is needed, not {type(function).__name__}")
        try:
            text = json.dumps(dict(parameters), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PlanError(f"a function's parameters must be JSON: {error}") from error
        packed = pack(function)
        digest = hashlib.sha256(packed.code).hexdigest()
        with self._lock:
            self._known[digest] = packed
        return Function(packed.name, digest, text)

    def resolve(self, function: Function) -> Packed:
        """The function of that hash.

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
        return found
