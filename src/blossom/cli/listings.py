"""`blossom sites` and `blossom tables`: what the federation is made of."""

from __future__ import annotations

import argparse
from typing import Any

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, paragraph, print_json
from blossom.executor.federation import Federation
from blossom.fedpy.connect import connect


def run(arguments: argparse.Namespace) -> Exit:
    """Connect and list."""
    sites = arguments.command.name == "sites"
    with connect(arguments.config) as fed:
        if arguments.format == "json":
            print_json(_sites(fed.federation) if sites else _tables(fed.federation))
            return Exit.FINE
        listing = fed.sites() if sites else fed.catalog()
        # A table's columns need a paragraph of their own.
        short = [heading for heading in listing.headings if heading != "columns"]
        print(columns(short, ([row[heading] for heading in short] for row in listing)))
        if "columns" in listing.headings:
            for row in listing:
                print()
                print(paragraph(row["columns"], indent="  ", first=f"{row['table']} at {row['site']}: "))
    return Exit.FINE


def _sites(federation: Federation) -> list[dict[str, Any]]:
    return [
        {
            "site": description.name,
            "title": description.title,
            "platforms": {platform.name: platform.kind for platform in description.platforms},
            "tables": list(description.tables),
        }
        for description in federation.descriptions.values()
    ]


def _tables(federation: Federation) -> list[dict[str, Any]]:
    """A part of a table each; `rows` is what the site lets others know of its size, None when nothing."""
    return [
        {
            "table": name,
            "site": site,
            "platform": published.config.platform,
            "rows": federation.sites[site].rows(name),
            "partition": None if table.partition is None else list(table.partition.columns),
            "scheme": None if table.partition is None else table.partition.scheme,
            "replicated": table.replicated,
            "release": published.config.policy.release,
            "min_group": published.config.policy.min_group,
            "columns": dict(schema.items()),
        }
        for name, table in federation.tables.items()
        for site, schema in table.parts.items()
        for published in [federation.descriptions[site].tables[name]]
    ]
