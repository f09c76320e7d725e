"""`blossom sites` and `blossom tables`: what the federation is made of."""

from __future__ import annotations

import argparse

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, paragraph, print_json
from blossom.fedpy.connect import connect


def run(arguments: argparse.Namespace) -> Exit:
    """Connect and list."""
    with connect(arguments.config) as fed:
        listing = fed.sites() if arguments.command.name == "sites" else fed.catalog()
        if arguments.format == "json":
            print_json(list(listing))
            return Exit.FINE
        # A table's columns need a paragraph of their own.
        short = [heading for heading in listing.headings if heading != "columns"]
        print(columns(short, ([row[heading] for heading in short] for row in listing)))
        if "columns" in listing.headings:
            for row in listing:
                print()
                print(paragraph(row["columns"], indent="  ", first=f"{row['table']} at {row['site']}: "))
    return Exit.FINE
