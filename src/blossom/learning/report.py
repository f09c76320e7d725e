"""A fitted model as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from blossom.learning.model import Fitted

MOST_SHOWN = 60
"""Lines of coefficients that a report shows."""

MOST_WIDE = 8
"""Columns of numbers that a report shows."""


def report(model: Fitted) -> str:
    """The model's figures and its metrics as text."""
    heads, names, values = _figures(model)
    shown = list(zip(names, values, strict=True))[:MOST_SHOWN]
    wide = max((len(name) for name, _ in shown), default=0)
    columns = [head[:12] for head in heads[:MOST_WIDE]]
    about = "" if model.target is None else f"target: {_target(model)}; "
    lines = [
        f"{model.estimator!r}",
        f"{about}fitted on {model.rows:,} rows in {model.n_iter_} steps",
        "",
        "  ".join(
            [f"{'' if not shown else _what(model):<{wide}}", *(f"{head:>12}" for head in columns)]
        ).rstrip(),
        *(
            "  ".join([f"{name:<{wide}}", *(f"{value:>12.6g}" for value in row[:MOST_WIDE])])
            for name, row in shown
        ),
        *([f"... and {len(names) - len(shown)} more, see attributes"] if len(shown) < len(names) else []),
        *(
            [f"... and {len(heads) - MOST_WIDE} more columns, see attributes"]
            if len(heads) > MOST_WIDE
            else []
        ),
    ]
    if model.metrics:
        lines += ["", f"metrics on {model.measured_on}"]
    for name, value in model.metrics.items():
        told = f"withheld: {model.withheld.get(name, '')}" if value is None else f"{value:.6g}"
        lines.append(f"  {name:<18}  {told}")
    return "\n".join(lines)


def _target(model: Fitted) -> str:
    name = "" if model.target is None else model.target.column
    match model.classes_:
        case (first, second):
            return f"{name} = {second!r} (against {first!r})"
        case ():
            return name
        case classes:
            return f"{name}, {len(classes)} classes"


def _what(model: Fitted) -> str:
    return "coefficient" if "coef_" in model.attributes else "feature"


def _figures(model: Fitted) -> tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]]]:
    """Names of the columns, names of the lines, and the numbers."""
    shown = model.attributes
    features = list(model.feature_names_out)
    if "coef_" in shown:
        coef, intercept = np.atleast_2d(shown["coef_"]), np.atleast_1d(shown["intercept_"])
        heads = ["value"] if len(coef) == 1 else [str(value) for value in model.classes_]
        return heads, ["(intercept)", *features], [intercept.tolist(), *coef.T.tolist()]
    if "theta_" in shown:
        heads = [f"mean {value}" for value in model.classes_]
        return heads, features, shown["theta_"].T.tolist()
    if "cluster_centers_" in shown:
        centres = shown["cluster_centers_"]
        return [f"centre {index}" for index in range(len(centres))], features, centres.T.tolist()
    if "explained_variance_" in shown:
        parts = [shown["explained_variance_"], shown["explained_variance_ratio_"]]
        return ["variance", "share"], features, np.stack(parts, axis=1).tolist()
    return [], features, [[] for _ in features]
