"""`blossom cost`: what the cost model believes of each platform and link, and how wrong it has been."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, paragraph, print_json
from blossom.executor.experience import Experience, put_aside
from blossom.optimizer.costs.account import Account, Rate, accounts
from blossom.sites.config import find, load

UNITS = {
    "start": "s", "worker": "s", "latency": "s", "compare": "pairs/s", "lookup": "pairs/s", "bytes": "B/s", "read_bytes": "B/s",
    "write_bytes": "B/s", "read_values": "values/s", "write_values": "values/s",
}  # fmt: skip
"""What a rate is counted in; rows a second where nothing is said."""


def run(arguments: argparse.Namespace) -> Exit:
    """Read the model and print it. No engine is opened."""
    config = find() if arguments.config is None else Path(arguments.config)
    folder = load(config).hub.state
    known = Experience() if folder is None or not folder.is_dir() else Experience.open(folder)
    aside = [] if folder is None else put_aside(folder)
    found = accounts(known.costs)
    if arguments.format == "json":
        print_json(
            {
                "platforms": [asdict(one) | {"drifted": one.drifted} for one in found],
                "warnings": known.warnings,
                "put_aside": aside,
                "sizes": len(known.seen),
            }
        )
        return Exit.FINE
    for warning in known.warnings:
        print(paragraph(f"warning: {warning}"))
    if aside:
        print(paragraph(f"put aside, as they could not be read: {', '.join(aside)}"))
    if not found:
        print(f"nothing was measured yet with {config}: costs are the prior's; `blossom calibrate` measures")
        return Exit.FINE
    _print(found)
    print(f"\ntrue sizes of {len(known.seen):,} sub-plans are remembered")
    return Exit.FINE


def _print(found: Sequence[Account]) -> None:
    head = ("platform or link", "kind", "measured", "off by", "90 %", "prior off by", "90 % ", "noise")
    rows = [
        (
            one.name,
            one.kind or "link",
            str(one.observations),
            _factor(one.median),
            _factor(one.high),
            _factor(one.prior_median),
            _factor(one.prior_high),
            _factor(one.noise),
        )
        for one in found
    ]
    print(columns(head, rows, right=head[2:]))
    for one in found:
        print(f"\n{one.name}")
        if one.drifted:
            print(
                paragraph(
                    f"it changed {one.since_drift} measurements ago, and is learned anew",
                    indent="  ",
                    first="  ",
                )
            )
        learned = [(term, *_figures(term, rate)) for term, rate in one.rates.items() if rate.learned]
        print(
            columns(("", "", "90 % interval"), learned, right=("",), indent="  ")
            if learned
            else "  as the prior says"
        )
        rest = [term for term, rate in one.rates.items() if not rate.learned]
        if learned and rest:
            print(paragraph(f"by the prior: {', '.join(rest)}", indent="    ", first="  "))


def _figures(term: str, rate: Rate) -> tuple[str, str]:
    unit = UNITS.get(term, "rows/s")
    if unit == "s":
        return f"{_short(1 / rate.per_second)} s", f"{_short(1 / rate.high)} to {_short(1 / rate.low)} s"
    return f"{_short(rate.per_second)} {unit}", f"{_short(rate.low)} to {_short(rate.high)}"


def _short(value: float) -> str:
    """Three significant digits.

    >>> _short(60e6), _short(0.0041), _short(1234.0)
    ('60 M', '0.0041', '1.23 k')
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _factor(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"
