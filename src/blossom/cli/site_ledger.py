"""`blossom site ledger`: what a site's ledger says was given to whom."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, print_json
from blossom.plan.errors import ConfigError, unknown
from blossom.sites.config import ledger_folder, load
from blossom.sites.ledger import Grant, history


def run(arguments: argparse.Namespace) -> Exit:
    """Print. No engine is opened."""
    federation = load(arguments.file)
    if arguments.site is not None and arguments.site not in federation.sites:
        what, hint = unknown("site", arguments.site, federation.sites)
        raise ConfigError(what, where=arguments.file, hint=hint)
    documents: dict[str, Any] = {}
    for name, site in federation.sites.items():
        if arguments.site not in (None, name):
            continue
        grants = history(ledger_folder(site, begin=False))
        documents[name] = [asdict(grant) for grant in grants]
        if arguments.format == "text":
            _print(name, grants)
    if arguments.format == "json":
        print_json(documents)
    return Exit.FINE


def _print(site: str, grants: tuple[Grant, ...]) -> None:
    if not grants:
        print(f"site {site}: the ledger is empty; nothing about private rows was given to anyone")
        return
    print(f"site {site}: {len(grants)} answers about private rows")
    rows = [
        (
            grant.time[:19].replace("T", " "),
            grant.run[:8],
            grant.user or "-",
            ", ".join(grant.recipients),
            ", ".join(grant.tables),
            f"{grant.cells:,}",
            f"{grant.figures:,}",
            grant.refused or "",
        )
        for grant in grants
    ]
    headings = ("time (UTC)", "run", "user", "to", "tables", "cells", "new figures", "held back by")
    print(columns(headings, rows, right=("cells", "new figures"), indent="  "))
