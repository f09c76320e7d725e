"""Interactive display: shows the plan of a table, or why it is refused; it never trains and never releases."""
# pyright: basic

from __future__ import annotations

from typing import Any

import ibis.expr.types.core as core

from blossom.plan.errors import BlossomError


def install(session_type: type) -> None:
    """Make Ibis's interactive representation of this backend's expressions print plans.

    Ibis fetches rows to show a table, through the same call that a user makes to collect it; the one place to tell the two
    apart is the function that renders an expression, so it is wrapped, for expressions of our sessions only.
    """
    original = core.to_rich
    if getattr(original, "__blossom__", False):
        return

    def to_rich(expr: Any, *args: Any, **kwargs: Any) -> Any:
        backends, _ = expr._find_backends()
        if len(backends) != 1 or not isinstance(backends[0], session_type):
            return original(expr, *args, **kwargs)
        from rich.text import Text

        try:
            shown = f"{backends[0].explain(expr).text()}\n\nto run it: .to_pandas() or fed.run(...)"
        except BlossomError as error:
            shown = f"{type(error).__name__}: {error}"
        fields = "\n".join(f"  {name}: {kind}" for name, kind in expr.as_table().schema().items())
        return Text(f"{type(expr).__name__} with columns\n{fields}\n\n{shown}")

    to_rich.__blossom__ = True  # type: ignore[attr-defined]
    core.to_rich = to_rich
