"""`blossom explain`: who would run what of a Python file's pipeline, on which engine, and why. Nothing runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from blossom.cli.exits import Exit
from blossom.cli.pipeline_file import built, load_function
from blossom.cli.printing import print_json
from blossom.fedpy.connect import connect
from blossom.fedpy.model import FittedModel, Model
from blossom.plan.errors import PlanError


def run(arguments: argparse.Namespace) -> Exit:
    """Plan, and print the plan."""
    path = Path(arguments.file)
    function = load_function(path, arguments.function)
    with connect(arguments.config) as fed:
        pipeline = built(function, path, fed)
        if isinstance(pipeline, FittedModel):
            raise PlanError(
                "a fitted model has no plan",
                where=str(path),
                hint="return what bl.train gives, not its fit()",
            )
        explained = pipeline.explain() if isinstance(pipeline, Model) else fed.explain(pipeline)
        match arguments.format:
            case "json":
                document = explained.to_dict()
                if not arguments.stages:
                    del document["stages"]
                print_json(document)
            case "mermaid":
                print(explained.mermaid())
            case "svg":
                print(explained.svg())
            case _:
                print(explained.text(stages=arguments.stages))
    return Exit.FINE
