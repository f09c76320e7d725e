"""Python functions inside Spark's own tasks (`mapInArrow`), so that they run beside the rows and as many at once as there are parts.

They run on a Spark that this site started itself only (`local = true`): its tasks are processes of this machine, with this
installation's Python and packages. To a server elsewhere no code is sent. The steps are those of `python_worker_steps`; limits of
memory and time of the site's Python platform do not reach into Spark's tasks.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import MapBatches, Received, Relation
from blossom.platforms.arrow import arrow_type
from blossom.platforms.python_functions import FunctionRegistry, Packed
from blossom.platforms.python_worker_steps import step_of

GATHERED = ("group", "fold")
"""What must see all rows of a group: they are brought to one task first."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A function over a query of the engine's, and the key under which the plan around it receives its rows."""

    key: str
    below: Relation
    step: MapBatches


@dataclass(frozen=True, slots=True)
class Job:
    """A function, as it travels to the tasks."""

    described: Mapping[str, Any]
    packed: Packed
    taken: pa.Schema
    out: pa.Schema


def taken_apart(fragment: Relation) -> tuple[Relation, tuple[Mapped, ...]]:
    """The plan with received rows in place of functions, and the functions, lowest first; a plan without any is given back."""
    found: list[Mapped] = []

    def rule(node: Relation) -> Relation:
        if not isinstance(node, MapBatches):
            return node
        found.append(Mapped(f"mapped_{len(found)}", node.input, node))
        return Received(found[-1].key, node.columns)

    return rewrite(fragment, rule), tuple(found)


def frame(
    rows: Any, mapped: Mapped, functions: FunctionRegistry, to_spark: Callable[[pa.Schema], Any]
) -> Any:
    """Spark's frame of the function's rows, over its frame of the query's.

    Raises:
        BlossomError: The function is not approved here.
    """
    step = mapped.step
    described = {
        "name": step.function.name,
        "per": step.per,
        "format": step.format,
        "by": step.by,
        "parameters": step.function.parameters,
    }
    out = _arrow(step.columns)
    job = Job(described, functions.resolve(step.function), _arrow(mapped.below.schema), out)
    if step.per in GATHERED:
        rows = rows.repartition(*step.by) if step.by else rows.coalesce(1)
    return rows.mapInArrow(functools.partial(apply, job), to_spark(out))


def _arrow(columns: Mapping[str, str]) -> pa.Schema:
    return pa.schema([(name, arrow_type(text)) for name, text in columns.items()])


# -- in a task ----------------------------------------------------------------------------------------------------------------


def apply(job: Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Apply a function to a task's part of the rows."""
    sys.path.extend(path for path in job.packed.path if path not in sys.path)
    step = step_of(job.described, pa.py_buffer(job.packed.code), job.taken, job.out)
    for batch in batches:
        if batch.num_rows:
            yield from step.push(_as(batch, job.taken))
    yield from step.flush()


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        array if array.type == field.type else array.cast(field.type)
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


_FAULT = re.compile(r"PlatformError: (?P<where>[^:\n]+): (?P<what>[^\n]+)(?:\n\s*hint: (?P<hint>[^\n]+))?")


def fault(text: str) -> tuple[str, str, str | None] | None:
    """Where, what and the hint of a function's fault, from what Spark says of a failed task; None where it is none.

    >>> fault("...Python worker: \\n blossom.plan.errors.PlatformError: f: the function raised ValueError on row 3: no\\n  hint: line 2")
    ('f', 'the function raised ValueError on row 3: no', 'line 2')
    """
    found = _FAULT.search(text)
    return None if found is None else (found["where"], found["what"], found["hint"])
