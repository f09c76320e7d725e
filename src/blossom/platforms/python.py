"""Python at a site: the user's functions, in processes of their own, and fitted models applied to Arrow streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa

from blossom.plan.errors import BlossomError, ConfigError, PlatformError
from blossom.plan.relations import MapBatches, Model, Predict, Received, Relation
from blossom.plan.schema import Schema
from blossom.platforms.arrow import conform
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.python_functions import FunctionRegistry
from blossom.platforms.python_worker import Limits, Task, Worker
from blossom.platforms.python_worker_columns import column

Scorer: TypeAlias = Callable[[pa.RecordBatch], Sequence[pa.Array]]
"""The features of some rows -> one array an output, each with one value a row."""

MEMORY_LIMIT = "2GB"
TIMEOUT = 60.0


class Python(Platform):
    """Runs fragments that are a chain of `MapBatches` and `Predict` over one received stream.

    Functions run in a worker process, one for each run of neighbouring `MapBatches`; the site's own process never runs them.

    Args:
        name: The platform's name at its site.
        functions: Resolves the functions of `MapBatches`; None: there are none.
        predictor: Gives the scorer of a model's document; None: there are no models.
        memory_limit: Memory that a worker may use besides what it starts with ("2GB"); "0GB": no limit.
        timeout: Seconds that a function may take for one batch, or for one group; 0: no limit.

    Raises:
        ConfigError: `memory_limit` is no size.
    """

    kind: ClassVar[str] = "python"

    def __init__(
        self,
        name: str,
        *,
        functions: FunctionRegistry | None = None,
        predictor: Callable[[str], Scorer] | None = None,
        memory_limit: str = MEMORY_LIMIT,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(name)
        self._where = f"python {name!r}"
        self._functions = functions
        self._predictor = predictor
        self._limits = Limits(_size(memory_limit, self._where) or None, timeout or None)

    def publish(self, table: str, source: TableSource) -> Schema:
        raise PlatformError(
            "the Python platform holds no tables",
            where=f"{self._where}, table {table!r}",
            hint="publish the table on DuckDB, Polars, SQLite or PostgreSQL",
        )

    def row_count(self, table: str) -> int | None:
        raise PlatformError("the Python platform holds no tables", where=f"{self._where}, table {table!r}")

    def unsupported(self, node: Relation) -> str | None:
        match node:
            case Received() | Model():
                return None
            case MapBatches():
                return "this site runs no Python functions" if self._functions is None else None
            case Predict():
                return "this site runs no models" if self._predictor is None else None
            case _:
                return f"{type(node).__name__} does not run in Python"

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        steps: list[MapBatches | Predict] = []
        node = fragment
        while isinstance(node, MapBatches | Predict):
            steps.insert(0, node)
            node = node.input
        for step in steps:
            reason = self.unsupported(step)
            if reason is not None:
                raise PlatformError(reason, where=self._where)
        reader: pa.RecordBatchReader = conform(self._received(node, inputs), node.schema, where=self._where)
        batches = self._until_cancelled(reader, cancellation)
        types = reader.schema
        for _, neighbours in groupby(steps, key=type):
            several = list(neighbours)
            if isinstance(several[0], MapBatches):
                batches, types = self._mapped(several, batches, types, cancellation)
                continue
            for step in several:
                assert isinstance(step, Predict)
                batches, types = self._predicted(step, batches, types, inputs)
        return conform(pa.RecordBatchReader.from_batches(types, batches), fragment.schema, where=self._where)

    def close(self) -> None:
        """Nothing is held: a worker ends with the stream that it serves."""

    def _received(self, node: Relation, inputs: Mapping[str, pa.RecordBatchReader]) -> pa.RecordBatchReader:
        if not isinstance(node, Received):
            raise PlatformError(f"{type(node).__name__} does not run in Python", where=self._where)
        if node.key not in inputs:
            raise PlatformError(f"no rows were given for {node.key}", where=self._where)
        return inputs[node.key]

    def _until_cancelled(
        self, batches: Iterable[pa.RecordBatch], cancellation: Cancellation
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where)
            yield batch

    def _mapped(
        self,
        steps: Sequence[Relation],
        batches: Iterator[pa.RecordBatch],
        types: pa.Schema,
        cancellation: Cancellation,
    ) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
        assert self._functions is not None
        tasks: list[Task] = []
        for step in steps:
            assert isinstance(step, MapBatches)
            function, out = step.function, step.columns.to_pyarrow()
            packed = self._functions.resolve(function)
            tasks.append(
                Task(function.name, packed, function.parameters, step.per, step.format, step.by, out)
            )

        def made() -> Iterator[pa.RecordBatch]:
            worker = Worker(tasks, types, self._limits, self._where, cancellation.tell)
            yield from worker.apply(batches, cancellation)

        return made(), tasks[-1].out

    def _predicted(
        self,
        step: Predict,
        batches: Iterator[pa.RecordBatch],
        types: pa.Schema,
        inputs: Mapping[str, pa.RecordBatchReader],
    ) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
        assert self._predictor is not None
        scorer = self._predictor(self._document(step.model, inputs))
        outputs = Schema(step.outputs).to_pyarrow()
        scored = pa.schema([*types, *outputs])
        return _predict(scorer, step, batches, outputs, scored, f"{self._where}, prediction"), scored

    def _document(self, model: Relation, inputs: Mapping[str, pa.RecordBatchReader]) -> str:
        if isinstance(model, Model):
            return model.document
        found = self._received(model, inputs).read_all()
        if found.num_rows != 1 or found.column_names != ["model"]:
            raise PlatformError(
                f"a model is one row with the column 'model'; got {found.num_rows} rows with {', '.join(found.column_names)}",
                where=self._where,
            )
        return str(found.column(0)[0].as_py())


def _predict(
    scorer: Scorer,
    step: Predict,
    batches: Iterator[pa.RecordBatch],
    outputs: pa.Schema,
    scored: pa.Schema,
    where: str,
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        made = _scores(scorer, batch.select(list(step.features)), where)
        if len(made) != len(outputs):
            raise PlatformError(
                f"the model gave {len(made)} columns; expected {len(outputs)} ({', '.join(outputs.names)})",
                where=where,
            )
        for array, field in zip(made, outputs, strict=True):
            if len(array) != batch.num_rows:
                raise PlatformError(
                    f"the model gave {len(array)} values of {field.name!r} for {batch.num_rows} rows",
                    where=where,
                )
        columns = [column(array, field) for array, field in zip(made, outputs, strict=True)]
        yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=scored)


def _scores(scorer: Scorer, features: pa.RecordBatch, where: str) -> list[Any]:
    try:
        return list(scorer(features))
    except BlossomError:
        raise
    except Exception as error:
        raise PlatformError(f"the model raised {type(error).__name__}: {error}", where=where) from error


_UNITS = {unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))} | {
    unit: 1024**power for power, unit in enumerate(("B", "KIB", "MIB", "GIB", "TIB"))
}


def _size(text: str, where: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", text.strip().upper())
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"{text!r} is no size", where=where, hint='say "512MB" or "2GiB"')
    return int(float(found[1]) * _UNITS[found[2]])
