"""`blossom run`: run the pipeline of a Python file and print its result and figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from blossom.cli.exits import Exit
from blossom.cli.figures import held_back, run_figures, run_text
from blossom.cli.pipeline_file import built, load_function
from blossom.cli.printing import SHOWN, print_json, table_text
from blossom.cli.progress import progress
from blossom.fedpy.connect import connect
from blossom.fedpy.model import FittedModel, Model
from blossom.fedpy.results import Run
from blossom.fedpy.session import Session
from blossom.plan.errors import PolicyError


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
                outcome = pipeline.fit() if isinstance(pipeline, Model) else pipeline
            elif arguments.format == "json":
                outcome = fed.run(pipeline).result
            else:
                outcome = _head(fed, pipeline)
        done = fed.last_run
        if arguments.strict and done is not None and (held := held_back(done)):
            raise PolicyError(
                f"cells were withheld at {', '.join(held)}",
                hint="they describe too few units for their owner's policy; use larger groups, or leave out --strict",
            )
        if arguments.format == "json":
            print_json(_document(fed, done, outcome))
        else:
            _print(fed, done, outcome)
    return Exit.FINE


@dataclass(frozen=True, slots=True)
class Head:
    """The first rows of a result, and how many it has."""

    rows: pa.Table
    total: int


def _head(fed: Session, pipeline: Any) -> Head:
    """Run to the end, but keep only what is shown: the result may be larger than memory."""
    total = 0
    first: list[pa.RecordBatch] = []
    with fed.to_pyarrow_batches(pipeline, chunk_size=65_536) as reader:
        for batch in reader:
            if total < SHOWN:
                first.append(batch.slice(0, SHOWN - total))
            total += batch.num_rows
        return Head(pa.Table.from_batches(first, reader.schema), total)


def _document(fed: Session, done: Run | None, outcome: FittedModel | pa.Table) -> dict[str, Any]:
    figures = {} if done is None else run_figures(fed, done)
    if isinstance(outcome, FittedModel):
        return {"model": json.loads(outcome.fitted.document()), **figures}
    return {
        "columns": {field.name: str(field.type) for field in outcome.schema},
        "rows": outcome.to_pylist(),
        **figures,
    }


def _print(fed: Session, done: Run | None, outcome: FittedModel | Head) -> None:
    if isinstance(outcome, FittedModel):
        print(outcome.report())
    else:
        print(table_text(outcome.rows, outcome.total))
    if done is not None:
        print()
        print(run_text(fed, done))
