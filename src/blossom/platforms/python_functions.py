"""A Python function packed for its way into a worker process: its code by value, installed packages by name."""

from __future__ import annotations

import functools
import linecache
import sys
import sysconfig
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from blossom.plan.errors import PlanError
from blossom.plan.relations import Function

_lock = threading.Lock()
_INSTALLED = tuple(
    sorted({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
)


@dataclass(frozen=True, slots=True)
class Packed:
    """A function that can travel to another process of this machine.

    Attributes:
        name: Its qualified name, for messages.
        code: What rebuilds it there (a pickle by value: made and read by the same installation, never taken from elsewhere).
        path: Where modules beside it are imported from.
        source: File name and lines, where the function stands in no file (a notebook); tracebacks show them.
    """

    name: str
    code: bytes
    path: tuple[str, ...]
    source: tuple[str, tuple[str, ...]] | None = None


class FunctionRegistry(Protocol):
    """Where approved functions are found."""

    def resolve(self, function: Function) -> Packed:
        """The function with that digest.

        Raises:
            BlossomError: It is not approved here.
        """
        ...


def pack(function: Callable[..., Any]) -> Packed:
    """Pack a function with the values that it refers to, as they are now.

    Raises:
        PlanError: It refers to something that cannot leave this process (a connection, a lock, a session).

    Example:
        >>> pack(len).name
        'len'
    """
    import cloudpickle  # a moment's import that most sessions never need

    name = getattr(function, "__qualname__", type(function).__name__)
    with _by_value(_module(function)):
        try:
            code = cloudpickle.dumps(function)
        except Exception as error:
            raise PlanError(
                f"the function {name!r} cannot be sent to its process: {error}",
                where=name,
                hint="open connections, sessions and locks inside the function; give it plain values as parameters",
            ) from error
    return Packed(name, code, tuple(sys.path), _unfiled(function))


def _module(function: Callable[..., Any]) -> ModuleType | None:
    while isinstance(function, functools.partial):
        function = function.func
    found = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    return None if found is None or found.__name__ == "__main__" or _installed(found) else found


def _installed(module: ModuleType) -> bool:
    """Whether another process finds the very same module: built in, installed, or Blossom's own."""
    file = getattr(module, "__file__", None)
    return file is None or module.__name__.split(".")[0] == "blossom" or file.startswith(_INSTALLED)


@contextmanager
def _by_value(module: ModuleType | None) -> Generator[None]:
    """The functions of a module travel as they are in this process: its file may have changed since, or not be importable."""
    import cloudpickle

    with _lock:
        fresh = module is not None and module.__name__ not in cloudpickle.list_registry_pickle_by_value()
        if fresh:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            if fresh:
                cloudpickle.unregister_pickle_by_value(module)


def _unfiled(function: Callable[..., Any]) -> tuple[str, tuple[str, ...]] | None:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None or Path(code.co_filename).exists():
        return None
    lines = linecache.getlines(code.co_filename)
    return (code.co_filename, tuple(lines)) if lines else None
