"""Where a user asked: the line of their own code that an error belongs to."""

from __future__ import annotations

import contextlib
import inspect
import os
import sysconfig
from collections.abc import Generator
from pathlib import Path

import ibis

from blossom.plan.errors import BudgetError, PlanError, PolicyError

_NOT_THEIRS = tuple(
    f"{folder}{os.sep}"
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")),
        str(Path(__file__).parents[1]),
        str(Path(ibis.__file__).parent),
    }
)
"""Folders of the interpreter, of installed packages and the commands that start them, and of Blossom itself."""


def users_line() -> str | None:
    """The nearest caller that is the user's own code, as "file:line"; None where there is none."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((*_NOT_THEIRS, "<frozen")):
        frame = frame.f_back
    if frame is None:
        return None
    file, line = frame.f_code.co_filename, frame.f_lineno
    if "ipykernel_" in file or file.startswith("<ipython-input"):
        return f"line {line} of the cell"
    path = Path(file)
    with contextlib.suppress(ValueError):  # elsewhere: its name will do
        return f"{path.relative_to(Path.cwd())}:{line}"
    return f"{path.name}:{line}"


@contextlib.contextmanager
def located() -> Generator[None]:
    """Tell a refusal, or a pipeline that cannot be planned, the user's line."""
    try:
        yield
    except (BudgetError, PlanError, PolicyError) as error:
        if error.at is None:
            error.at = users_line()
        raise
