"""DataFusion: an embedded engine over files that shares Arrow's memory with Blossom."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext
from datafusion.catalog import Table
from datafusion.options import CsvReadOptions
from datafusion.record_batch import RecordBatchStream
from ibis.backends.sql.datatypes import DataFusionType

from blossom.plan.errors import PlatformError, unknown
from blossom.plan.relations import Relation
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import BATCH_BYTES, arrow_type, conform, gathered, plain_layout
from blossom.platforms.datafusion_dialect import Compiler
from blossom.platforms.datafusion_operations import ALLOWED, DIFFERS
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.sources import FORMATS, file_format, selected
from blossom.platforms.sql import Compiled, SqlCompiler, WatchedInputs, missing_inputs, received_name

_SAMPLE = 20_480
"""Rows that are read to guess the types of a text file."""

_CANCELLED = "the run was cancelled"
_UNITS: Mapping[str, int] = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class DataFusion(Platform):
    """An embedded DataFusion over Parquet, CSV and JSON files.

    Each run has a session of its own with the tables that it reads. Received rows are held in memory while it runs.

    A cancelled run gives its error at once; the engine's threads stop at its next yield, which is soon for all that is allowed
    here (joins that compare every pair of rows, which do not yield, are not).

    Args:
        name: The platform's name at its site.
        threads: Partitions that a run works on at once; None: one a core.
        memory_limit: Of each run ("2GB"), beyond which sorts, aggregations and joins spill; None: none.
        temp_directory: Where it spills; None: a private folder, removed by `close`.
    """

    kind: ClassVar[str] = "datafusion"
    dialect: ClassVar[str | None] = "datafusion"
    differs: ClassVar[Mapping[str, str]] = DIFFERS

    def __init__(
        self,
        name: str,
        *,
        threads: int | None = None,
        memory_limit: str | None = None,
        temp_directory: str | None = None,
    ) -> None:
        super().__init__(name)
        self._where = f"datafusion {name!r}"
        self._threads = threads
        self._memory = None if memory_limit is None else _size(memory_limit, self._where)
        self._own_spill = None if temp_directory else tempfile.mkdtemp(prefix="blossom-datafusion-")
        self._spill = temp_directory or self._own_spill
        self._compiler = SqlCompiler("datafusion", compiler=Compiler())
        self._base = self._session()
        self._lock = threading.Lock()
        self._tables: dict[str, _Published] = {}
        self._loop = _Loop()

    def _session(self) -> SessionContext:
        config = SessionConfig().set("datafusion.execution.time_zone", "+00:00")
        config = config.set("datafusion.sql_parser.map_string_types_to_utf8view", "false")
        config = config.set("datafusion.execution.batch_size", str(_ROWS))
        if self._threads is not None:
            config = config.with_target_partitions(self._threads)
        runtime = RuntimeEnvBuilder().with_disk_manager_specified(str(self._spill))
        if self._memory is not None:
            runtime = runtime.with_fair_spill_pool(self._memory)
        return SessionContext(config, runtime)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        if source.source is None or source.query is not None:
            raise PlatformError("DataFusion publishes files only: give a `source`, not a query", where=where)
        kind = file_format(source.source, source.options, where)
        raw = f"raw {table}"
        try:
            with self._lock:
                self._read(kind, _name(raw), source)
                arrived = {field.name: field.type for field in self._base.table(_name(raw)).schema()}
                values, schema = _columns(arrived, source, where)
                frame = self._base.sql(f"SELECT {', '.join(values)} FROM {_name(raw)}")  # noqa: S608
                self._tables[table] = _Published(frame.into_view(), _files(kind, source.source))
        except PlatformError:
            raise
        except Exception as error:  # the driver raises plain Exceptions
            raise PlatformError(_told(error), where=where) from error
        return schema

    def _read(self, kind: str, name: str, source: TableSource) -> None:
        assert source.source is not None
        path = source.source
        folder = Path(path).is_dir()
        if not folder and "*" not in path and "://" not in path and not Path(path).exists():
            raise PlatformError(f"there is no file {path!r}", where=self._where)
        suffix = FORMATS[kind][0] if folder else "".join(Path(path).suffixes[-1:]) or FORMATS[kind][0]
        self._base.deregister_table(name)
        if kind == "parquet":
            self._base.register_parquet(name, path, file_extension=suffix)
            return
        if kind == "csv":
            self._read_csv(name, path, suffix, source)
        else:
            self._base.register_json(name, path, schema_infer_max_records=_SAMPLE, file_extension=suffix)

    def _read_csv(self, name: str, path: str, suffix: str, source: TableSource) -> None:
        options = source.options
        nulls = dict.fromkeys(["", *map(str, options.get("null_values", ()))])

        def register(table: str, schema: pa.Schema | None) -> pa.Schema:
            read = CsvReadOptions(
                has_header=bool(options.get("header", True)),
                delimiter=str(options.get("delimiter", "\t" if ".tsv" in path.casefold() else ",")),
                null_regex=f"^(?:{'|'.join(map(re.escape, nulls))})$",
                newlines_in_values=True,
                schema=schema,
                schema_infer_max_records=_SAMPLE,
                file_extension=suffix,
            )
            self._base.deregister_table(table)
            self._base.register_csv(table, path, options=read)
            return self._base.table(table).schema()

        guessed = register(name, None)
        if not source.schema and len(nulls) == 1:
            return
        # all as text: the engine finds texts that mean null when it guesses types only, and a declared type must not be
        # reached through a guessed one ("007" through a number)
        text = f'"text of {name[1:-1]}"'
        register(text, pa.schema([pa.field(field.name, pa.string()) for field in guessed]))
        listed = ", ".join(_text(null) for null in nulls)
        declared = {source.rename.get(column, column) for column in source.schema}
        values = [
            f"{value} AS {_name(field.name)}"
            for field in guessed
            for value in [
                f"CASE WHEN {_name(field.name)} IN ({listed}) THEN NULL ELSE {_name(field.name)} END"
            ]
        ]
        known = ", ".join(
            _name(field.name)
            if field.name in declared
            else f"arrow_cast({_name(field.name)}, {_text(_arrow_name(field.type))}) AS {_name(field.name)}"
            for field in guessed
        )
        query = f"SELECT {known} FROM (SELECT {', '.join(values)} FROM {text}) AS t"  # noqa: S608 - names are quoted
        view = self._base.sql(query).into_view()
        self._base.deregister_table(name)
        self._base.register_table(name, view)

    def _table(self, table: str) -> _Published:
        found = self._tables.get(table)
        if found is None:
            what, hint = unknown("table", table, self._tables)
            raise PlatformError(what, where=self._where, hint=hint)
        return found

    def row_count(self, table: str) -> int | None:
        files = self._table(table).files
        return None if files is None else sum(pq.read_metadata(file).num_rows for file in files)

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: Relation) -> str | None:
        return ALLOWED.node_refusal(node) or self._compiler.refusal(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        compiled = self._compiler.compile(fragment)
        missing_inputs(compiled.received, inputs, self._where)
        watched = WatchedInputs({key: inputs[key] for key in compiled.received})
        work = _Work(self._loop)
        forget = cancellation.register(work.cancel)

        def finished() -> None:
            forget()
            work.cancel()

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            if cancellation.cancelled or isinstance(error, CancelledError):
                return PlatformError(_CANCELLED, where=self._where)
            return PlatformError(_told(error), where=self._where)

        try:
            session = self._prepared(compiled, watched, cancellation)
            frame = session.sql(compiled.text)
            if cancellation.cancelled:
                raise PlatformError(_CANCELLED, where=self._where)
            work.start(frame.execute_stream())
            reader = pa.RecordBatchReader.from_batches(frame.schema(), work.batches())
        except PlatformError:
            finished()
            raise
        except Exception as error:  # noqa: BLE001 - the driver raises plain Exceptions
            finished()
            raise failure(error) from (None if watched.error is not None else error)
        except BaseException:
            finished()
            raise
        return gathered(
            conform(
                reader,
                compiled.schema,
                where=self._where,
                finished=finished,
                failure=failure,
                cancelled=lambda: cancellation.cancelled,
            )
        )

    def _prepared(
        self, compiled: Compiled, watched: WatchedInputs, cancellation: Cancellation
    ) -> SessionContext:
        session = self._session()
        for table in compiled.tables:
            session.register_table(_name(table), self._table(table).view)
        for key in compiled.received:
            reader = watched.readers[key]
            batches: list[pa.RecordBatch] = []
            for batch in reader:
                if cancellation.cancelled:
                    raise PlatformError(_CANCELLED, where=self._where)
                batches.append(batch)
            empty = pa.RecordBatch.from_pylist([], schema=reader.schema)
            session.register_record_batches(_name(received_name(key)), [batches or [empty]])
        return session

    def close(self) -> None:
        self._loop.close()
        if self._own_spill is not None:
            shutil.rmtree(self._own_spill, ignore_errors=True)


_ROWS = 32_768
"""Rows of the engine's batches: each is a step through the loop's thread, and with the usual 8,192 half of a scan's time is steps."""


class _Published:
    """A published table: its view, and its files where their footers tell their rows."""

    def __init__(self, view: Table, files: Sequence[Path] | None) -> None:
        self.view = view
        self.files = files


class _Loop:
    """A thread with an event loop: the driver's blocking calls cannot be interrupted, its awaitables can."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="blossom-datafusion", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, list[pa.RecordBatch]]) -> Future[list[pa.RecordBatch]]:
        """Run a coroutine; its future can be cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the thread; idempotent."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class _Work:
    """A result that is being read."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._stream: RecordBatchStream | None = None
        self._step: Future[list[pa.RecordBatch]] | None = None
        self._cancelled = False

    def start(self, stream: RecordBatchStream) -> None:
        """Take the stream to read."""
        self._stream = stream

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rest of the stream."""
        while True:
            with self._lock:
                stream = self._stream
                if self._cancelled or stream is None:
                    raise CancelledError
                self._step = step = self._loop.submit(_next(stream))
            found = step.result()
            if not found:
                return
            yield from found

    def cancel(self) -> None:
        """Stop reading and let go of the stream, which ends the engine's work; idempotent."""
        with self._lock:
            self._cancelled = True
            self._stream = None
            step, self._step = self._step, None
        if step is not None:
            step.cancel()


async def _next(stream: RecordBatchStream) -> list[pa.RecordBatch]:
    """The next batches, about 1 MiB of them: a step through the loop's thread costs more than one of the engine's batches."""
    found: list[pa.RecordBatch] = []
    size = 0
    while size < BATCH_BYTES:
        try:
            batch = (await stream.__anext__()).to_pyarrow()
        except StopAsyncIteration:
            break
        found.append(batch)
        size += max(batch.nbytes, 1)
    return found


def _columns(arrived: Mapping[str, pa.DataType], source: TableSource, where: str) -> tuple[list[str], Schema]:
    """The view's select list and the published schema."""
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    for name, own in selected(arrived, source, where):
        found = plain_layout(arrived[own])
        text = source.schema.get(name)
        value = _name(own)
        if text is None:
            text = next(iter(Schema.from_pyarrow(pa.schema([(name, found)])).values()))
        elif arrow_type(text) != found:
            value = f"CAST({value} AS {DataFusionType.to_string(datatype(text))})"
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, text))
    return values, Schema(fields)


def _files(kind: str, path: str) -> Sequence[Path] | None:
    """The local Parquet files of a path."""
    if kind != "parquet" or "://" in path:
        return None
    place = Path(path)
    if place.is_dir():
        return sorted(place.rglob(f"*{FORMATS[kind][0]}"))
    return sorted(place.parent.glob(place.name)) if "*" in place.name else [place]


def _arrow_name(dtype: pa.DataType) -> str:
    """An inferred type as the engine writes it."""
    return _ARROW_NAMES.get(str(dtype), "Utf8")


_ARROW_NAMES: Mapping[str, str] = {
    "int64": "Int64", "double": "Float64", "bool": "Boolean", "date32[day]": "Date32", "timestamp[s]": "Timestamp(Second, None)",
    "timestamp[ms]": "Timestamp(Millisecond, None)", "timestamp[us]": "Timestamp(Microsecond, None)",
    "timestamp[ns]": "Timestamp(Nanosecond, None)",
}  # fmt: skip
"""What types of text files are guessed to be."""


def _size(text: str, where: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", text.strip(), re.IGNORECASE)
    if found is None:
        raise PlatformError(f"{text!r} is no size", where=where, hint='for example "4GB" or "512MiB"')
    number, unit, binary = found.groups()
    factor = _UNITS[unit.casefold()]
    return int(float(number) * (1024 ** (len(str(factor)) // 3) if binary else factor))


def _told(error: BaseException) -> str:
    """What the engine said, without the kinds of error that it stacks before."""
    return re.sub(r"^(?:\w+ ?[eE]rror: )+", "", str(error).strip())


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
