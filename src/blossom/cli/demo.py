"""`blossom demo`: prepares three airports, tells the story, and prints it or its figures."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path

from blossom.cli import demo_data
from blossom.cli.demo_story import STEPS, Story
from blossom.cli.demo_text import demo_text
from blossom.cli.exits import Exit
from blossom.cli.printing import print_json
from blossom.cli.progress import progress

URL = "BLOSSOM_DEMO_PG_URL"
"""Names a PostgreSQL server; then the third airport is on it, instead of SQLite."""


def run(arguments: argparse.Namespace) -> Exit:
    """Run the demo; it fails when a promise does not hold."""
    began = time.perf_counter()
    with progress(STEPS) as reporter:
        reporter.step("preparing three airports")
        config = demo_data.prepare(
            Path(arguments.folder), pg_url=os.environ.get(URL) or None, progress=reporter.note
        )
        figures = Story(config, reporter, began).tell()
    if arguments.format == "json":
        document = asdict(figures)
        document["promises"] = [{**asdict(one), "kept": one.kept} for one in figures.promises]
        print_json({**document, "kept": figures.kept})
    else:
        print(demo_text(figures, parts=arguments.seconds))
    return Exit.FINE if figures.kept else Exit.FAILED
