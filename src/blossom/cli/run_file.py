"""`blossom run`: run the pipeline of a Python file and print its result and figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from blossom.cli.exits import Exit
from blossom.cli.figures import run_figures, run_text
from blossom.cli.pipeline_file import built, load_function
from blossom.cli.printing import print_json, table_text
from blossom.cli.progress import progress
from blossom.fedpy.connect import connect
from blossom.fedpy.model import FittedModel, Model
from blossom.fedpy.results import Run
from blossom.fedpy.session import Session


def run(arguments: argparse.Namespace) -> Exit:
    """Run it to the end, then print."""
    path = Path(arguments.file)
    function = load_function(path, arguments.function)
    with connect(arguments.config) as fed:
        with progress() as reporter:
            reporter.step(f"running {path.name}")
            fed.progress = reporter.note
            pipeline = built(function, path, fed)
            if isinstance(pipeline, Model | FittedModel):
                fitted = pipeline.fit() if isinstance(pipeline, Model) else pipeline
                done, outcome = fed.last_run, fitted
            else:
                done = fed.run(pipeline, strict=arguments.strict)
                outcome = done.result
        if arguments.format == "json":
            print_json(_document(fed, done, outcome))
        else:
            _print(fed, done, outcome)
    return Exit.FINE


def _document(fed: Session, done: Run | None, outcome: Any) -> dict[str, Any]:
    figures = {} if done is None else run_figures(fed, done)
    if isinstance(outcome, FittedModel):
        import json

        return {"model": json.loads(outcome.fitted.document()), **figures}
    return {
        "columns": {field.name: str(field.type) for field in outcome.schema},
        "rows": outcome.to_pylist(),
        **figures,
    }


def _print(fed: Session, done: Run | None, outcome: Any) -> None:
    print(outcome.report() if isinstance(outcome, FittedModel) else table_text(outcome))
    if done is not None:
        print()
        print(run_text(fed, done))
