"""A user's Python file: imported from its path, its pipeline function called, its own faults told with their line."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from blossom.plan.errors import BlossomError, ConfigError, PlanError, nearest


def load_module(path: Path) -> ModuleType:
    """Import a Python file. As with `python FILE`, it may import modules that lie beside it.

    Raises:
        ConfigError: There is no such file.
        PlanError: Its own code fails; names the line.
    """
    if not path.is_file():
        raise ConfigError("there is no such file", where=str(path))
    name = f"blossom_pipeline_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("is not a Python file", where=str(path), hint="its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    with own_faults(path):
        spec.loader.exec_module(module)
    return module


def load_function(path: Path, name: str) -> Callable[[Any], Any]:
    """A function of a Python file.

    Raises:
        ConfigError: The file is missing, or has no such function; names the nearest.
        PlanError: The file's own code fails; names the line.
    """
    module = load_module(path)
    found = getattr(module, name, None)
    if callable(found):
        return found
    own = [key for key, value in vars(module).items() if _is_own(value, module)]
    close = nearest(name, own)
    guess = f"did you mean --function {close}? " if close else ""
    raise ConfigError(
        f"there is no function {name!r}",
        where=str(path),
        hint=f"{guess}the file defines: {', '.join(own) or 'none'}",
    )


def built(function: Callable[[Any], Any], path: Path, fed: Any) -> Any:
    """What a pipeline function gives for a session.

    Raises:
        PlanError: The function's own code fails (names the line), or it gives no pipeline.
    """
    with own_faults(path):
        found = function(fed)
    if isinstance(found, type) or not (hasattr(found, "as_table") or hasattr(found, "fit")):
        raise PlanError(
            f"{function.__name__}(fed) gives {type(found).__name__}, which is no pipeline",
            where=str(path),
            hint="return an Ibis table or value, or what bl.train gives",
        )
    return found


@contextmanager
def own_faults(path: Path) -> Generator[None]:
    """Errors of the body, with the line of the user's file that led to them.

    Raises:
        PlanError: For whatever is not of Blossom's own family.
    """
    try:
        yield
    except BlossomError as error:
        if error.where is None:
            error.where = _place(path, error)
        raise
    except SyntaxError as error:
        line = "" if error.lineno is None or error.filename != str(path) else f":{error.lineno}"
        raise PlanError(f"SyntaxError: {error.msg}", where=f"{path}{line}") from error
    except Exception as error:
        raise PlanError(f"{type(error).__name__}: {error}", where=_place(path, error)) from error


def _place(path: Path, error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
