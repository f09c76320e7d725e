"""`blossom runs`: the latest runs of a federation, or one of them in full."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, print_json
from blossom.executor.records import RunRecords
from blossom.plan.errors import ConfigError
from blossom.sites.config import find, load, state_folder

FILE = "runs.db"
_ALL = 1_000_000_000


def run(arguments: argparse.Namespace) -> Exit:
    """List the latest runs, or show one. No engine is opened."""
    config = find() if arguments.config is None else Path(arguments.config)
    hub = load(config).hub
    path = None if hub.state is None else hub.state / FILE
    if path is None or not path.is_file():  # a reader leaves no trace
        if arguments.run is not None:
            raise ConfigError(f"there is no run {arguments.run!r}: nothing was run yet", where=str(config))
        print("[]" if arguments.format == "json" else f"nothing was run yet with {config}")
        return Exit.FINE
    with RunRecords(state_folder(hub) / FILE) as records:
        if arguments.run is None:
            _list(records, arguments)
        else:
            _show(records, arguments)
    return Exit.FINE


def _list(records: RunRecords, arguments: argparse.Namespace) -> None:
    found = records.runs(arguments.limit)
    if arguments.format == "json":
        print_json([dataclasses.asdict(one) for one in found])
        return
    rows = [
        (
            one.id[:8],
            one.started[:19].replace("T", " "),
            one.kind,
            one.outcome,
            "-" if one.seconds is None else f"{one.seconds:.3f}",
            next(iter(one.pipeline.splitlines()), ""),
        )
        for one in found
    ]
    print(
        columns(("run", "started (UTC)", "kind", "outcome", "seconds", "pipeline"), rows, right=["seconds"])
    )


def _show(records: RunRecords, arguments: argparse.Namespace) -> None:
    record = records.run(_full_id(records, arguments.run))
    if arguments.format == "json":
        document = dataclasses.asdict(record)
        document["plan"] = json.loads(record.plan)
        print_json(document)
    else:
        print(record.text())


def _full_id(records: RunRecords, start: str) -> str:
    """The id that starts so.

    Raises:
        ConfigError: None does, or several do.
    """
    # audit logs name the part of a fit at a site <run>-<site>
    found = [one.id for one in records.runs(_ALL) if one.id.startswith(start.partition("-")[0])]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"there is no run {start!r}", where=str(records.path), hint="`blossom runs` lists them"
        )
    raise ConfigError(
        f"{len(found)} runs start with {start!r}",
        where=str(records.path),
        hint=f"give more letters: {', '.join(one[:12] for one in found[:5])}",
    )
