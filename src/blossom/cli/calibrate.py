"""`blossom calibrate`: measure every platform of every site with generated work, and look at the tables' columns."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, paragraph, print_json
from blossom.cli.progress import progress
from blossom.executor.calibrating import SIZES, WORK, Calibrated, Calibration
from blossom.executor.statistics import gather_all
from blossom.fedpy.connect import connect
from blossom.plan.errors import ConfigError, unknown
from blossom.sites.config.model import HUB


def run(arguments: argparse.Namespace) -> Exit:
    """Measure, learn, and print a table."""
    found: list[Calibrated] = []
    with connect(arguments.config) as fed:
        sites = [*fed.federation.sites, HUB]
        if arguments.site is not None and arguments.site not in sites:
            what, hint = unknown("site", arguments.site, sites)
            raise ConfigError(what, hint=hint)
        calibration = Calibration(fed.federation, arguments.minutes * 60, arguments.site)
        if arguments.afresh:
            calibration.restart()
        with progress(len(calibration.platforms) * len(SIZES) * (len(WORK) + 1)) as reporter:
            found.extend(calibration.run(reporter.step))
            if arguments.site is None:
                gather_all(fed.federation, lambda table: reporter.step(f"columns of {table}"))
        fed.federation.experience.save()
    if arguments.format == "json":
        print_json([_document(one) for one in found])
    else:
        _print(found)
    return Exit.FINE


def _document(one: Calibrated) -> Mapping[str, object]:
    figures = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(one).items()
    }
    return figures | {"location": str(one.location)}


def _print(found: list[Calibrated]) -> None:
    rows = [
        (
            str(one.location),
            one.kind,
            str(one.measured),
            f"{one.seconds:.1f}",
            _factor(one.before),
            _factor(one.after),
            _factor(one.after_high),
        )
        for one in found
    ]
    head = ("platform", "kind", "measured", "seconds", "before", "after", "90 %")
    print(columns(head, rows, right=head[2:]))
    print()
    print(
        paragraph(
            "before, after: the factor by which half of the predictions were off, of the prior and of what was learned"
        )
    )
    for one in found:
        if one.left:
            print(
                paragraph(
                    f"{one.location}: {one.left} pieces of work are left; run it again, or with more --minutes"
                )
            )


def _factor(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}x"
