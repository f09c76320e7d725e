"""What every run is told by: bytes that left each site by kind, who held cells back, where the record lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blossom.cli.printing import columns
from blossom.fedpy.explain import bytes_text
from blossom.fedpy.results import Run
from blossom.fedpy.session import Session

KINDS = ("aggregates", "updates", "rows")
"""Kinds of release that are always told, even where nothing of the kind left."""

Left = Mapping[str, Mapping[str, int]]
"""Site -> kind -> bytes."""


def left(runs: Iterable[Run], sites: Iterable[str]) -> Left:
    """What left every site in all of the runs together."""
    total: dict[str, dict[str, int]] = {site: dict.fromkeys(KINDS, 0) for site in sites}
    for run in runs:
        for site, kinds in run.bytes_by_kind().items():
            own = total.setdefault(site, dict.fromkeys(KINDS, 0))
            for kind, size in kinds.items():
                own[kind] = own.get(kind, 0) + size
    return total


def left_text(total: Left, *, indent: str = "") -> str:
    """A table of it: a line a site, a column a kind."""
    kinds = [*KINDS, *sorted({kind for own in total.values() for kind in own} - set(KINDS))]
    headings = ("left the site", *kinds)
    rows = [(site, *(bytes_text(own.get(kind, 0)) for kind in kinds)) for site, own in total.items()]
    return columns(headings, rows, right=kinds, indent=indent)


def run_figures(fed: Session, run: Run) -> dict[str, Any]:
    """The figures of one run, for machines."""
    return {
        "run": run.id,
        "seconds": run.seconds,
        "left": left([run], fed.federation.sites),
        "withheld": dict(run.withheld),
        "record": str(fed.records.path),
    }


def run_text(fed: Session, run: Run) -> str:
    """The figures of one run, for people."""
    lines = [left_text(left([run], fed.federation.sites))]
    held = held_back(run)
    if held:
        lines.append(
            f"held back: cells that describe too few, at {', '.join(held)}; the result is without them"
        )
    lines.append(f"{run.seconds:.2f} s; run {run.id[:8]} in {fed.records.path}")
    return "\n".join(lines)


def held_back(run: Run) -> Sequence[str]:
    """The sites that held cells back."""
    return [site for site, withheld in run.withheld.items() if withheld]
