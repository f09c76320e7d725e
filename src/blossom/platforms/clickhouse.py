"""ClickHouse in this process (`chdb`), over files; fragments as one query each."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.ipc as ipc
from ibis.backends.sql.datatypes import ClickHouseType

from blossom.plan.errors import PlatformError, unknown
from blossom.plan.relations import Relation, Scan
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import arrow_type, conform, gathered, plain_layout
from blossom.platforms.clickhouse_dialect import Compiler
from blossom.platforms.clickhouse_operations import ALLOWED, DIFFERS
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.server import CANCELLED, until_cancelled
from blossom.platforms.sources import file_format, selected
from blossom.platforms.sql import (
    Compiled,
    Interruption,
    SqlCompiler,
    WatchedInputs,
    missing_inputs,
    received_name,
    table_leaf,
)

chdb: Any = import_module("chdb")  # large, untyped, and not there where nobody asks for ClickHouse

_FAILURES: tuple[type[Exception], ...] = (chdb.ChdbError, RuntimeError, OSError, pa.ArrowException)

_SETTINGS: Mapping[str, int | str] = {
    "join_use_nulls": 1,  # a row without partner has nulls, not zeros
    "aggregate_functions_null_for_empty": 1,
    "union_default_mode": "ALL",
    "prefer_column_name_to_alias": 1,
    "date_time_overflow_behavior": "throw",
    "enable_extended_results_for_datetime_functions": 1,
    "session_timezone": "UTC",
    "schema_inference_make_columns_nullable": 1,
    "query_plan_remove_redundant_sorting": 0,
    "output_format_arrow_string_as_string": 0,  # bytes that are no text are found out here, not by whoever reads them
    "output_format_arrow_compression_method": "none",
}


class ClickHouse(Platform):
    """The engine of `chdb`, one for the whole process, over Parquet files; other files come through `platforms.files`.

    Tables of one platform are views in a database of its own. Each run has a connection of its own; rows of other fragments are
    written to files beside it, which the engine reads as it goes.

    Args:
        name: The platform's name at its site.
        threads: Of one query; None: one a core.
        memory_limit: Of one query ("2GB"); None: the engine's own.
        temp_directory: Where received rows are written; None: a private folder, removed by `close`.

    Raises:
        PlatformError: The engine does not start.
    """

    kind: ClassVar[str] = "clickhouse"
    dialect: ClassVar[str | None] = "clickhouse"
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
        self._where = f"clickhouse {name!r}"
        self._settings = dict(_SETTINGS)
        if threads is not None:
            self._settings["max_threads"] = threads
        if memory_limit is not None:
            self._settings["max_memory_usage"] = (
                memory_limit.replace(" ", "").upper().removesuffix("B").rstrip("I")
            )
        self._folder = tempfile.mkdtemp(prefix="blossom-clickhouse-", dir=temp_directory)
        self._database = f"blossom_{secrets.token_hex(8)}"
        self._compiler = SqlCompiler("clickhouse", compiler=Compiler(), leaf=self._leaf)
        self._lock = threading.Lock()
        self._counts: dict[str, Callable[[], int]] = {}
        self._closed = False
        try:
            self._connection = self._connect()
            self._connection.query(f"CREATE DATABASE {self._database} ENGINE = Memory")
        except _FAILURES as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise PlatformError(_told(error), where=self._where) from None

    def _connect(self) -> Any:
        connection: Any = chdb.connect(":memory:")
        listed = ", ".join(f"{key} = {_literal(value)}" for key, value in self._settings.items())
        connection.query(f"SET {listed}")
        return connection

    def _leaf(self, node: Relation) -> ops.Relation:
        if isinstance(node, Scan):
            place = ops.Namespace(database=self._database)
            return ops.UnboundTable(name=node.table, schema=node.schema.to_ibis(), namespace=place)
        return table_leaf(node)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        if source.source is None or source.query is not None:
            raise PlatformError("ClickHouse publishes files only: give a `source`, not a query", where=where)
        kind = file_format(source.source, source.options, where)
        if kind != "parquet":
            raise PlatformError(f"ClickHouse itself reads Parquet, not {kind}", where=where)
        try:
            dataset: Any = pads.dataset(_found(source.source), format="parquet")
        except (OSError, pa.ArrowException) as error:
            raise PlatformError(_told(error), where=where) from None
        values, schema = _columns(dataset.schema, source, where)
        path = f"{source.source}/**/*.parquet" if Path(source.source).is_dir() else source.source
        rows = f"file({_literal(path)}, 'Parquet')"
        view = f"CREATE OR REPLACE VIEW {self._database}.{_name(table)} AS SELECT {', '.join(values)} FROM {rows}"  # noqa: S608
        try:
            with self._lock:
                self._connection.query(view)
                self._connection.query(
                    f"DESCRIBE TABLE {self._database}.{_name(table)}"
                )  # a declared type may not fit
                self._counts[table] = dataset.count_rows
        except _FAILURES as error:
            raise PlatformError(_told(error), where=where) from None
        return schema

    def row_count(self, table: str) -> int | None:
        count = self._counts.get(table)
        if count is None:
            what, hint = unknown("table", table, self._counts)
            raise PlatformError(what, where=self._where, hint=hint)
        return count()

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: Relation) -> str | None:
        return ALLOWED.node_refusal(node) or self._compiler.refusal(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        compiled = self._compiler.compile(fragment)
        missing_inputs(compiled.received, inputs, self._where)
        for table in compiled.tables:
            if table not in self._counts:
                what, hint = unknown("table", table, self._counts)
                raise PlatformError(what, where=self._where, hint=hint)
        watched = WatchedInputs({key: inputs[key] for key in compiled.received})

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            return PlatformError(CANCELLED if cancellation.cancelled else _told(error), where=self._where)

        try:
            run = _Run(self._connect(), self._folder)
        except _FAILURES as error:
            raise failure(error) from None
        interruption = Interruption(lambda: self._kill(run.mark))
        forget = cancellation.register(interruption)

        def finished() -> None:
            forget()
            interruption.end()
            run.close()

        try:
            run.deliver(compiled, watched, cancellation, self._where)
            if cancellation.cancelled:
                raise PlatformError(CANCELLED, where=self._where)
            reader = run.execute(compiled)
        except _FAILURES as error:
            finished()
            raise failure(error) from None
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

    def _kill(self, mark: str) -> None:
        with contextlib.suppress(*_FAILURES), self._lock:
            self._connection.query(
                f"KILL QUERY WHERE position(query, '{mark}') > 0 AND query_id <> queryID() ASYNC"
            )

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(*_FAILURES):
                self._connection.query(f"DROP DATABASE IF EXISTS {self._database}")
            self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Run:
    """One query, with a connection and a database of its own for the rows that it receives."""

    def __init__(self, connection: Any, folder: str) -> None:
        self.mark = f"run_{secrets.token_hex(8)}"
        self._connection = connection
        self._folder = Path(folder) / self.mark
        self._received = False
        self._result: Any = None

    def deliver(
        self, compiled: Compiled, watched: WatchedInputs, cancellation: Cancellation, where: str
    ) -> None:
        """Write received rows down and make them readable."""
        if not compiled.received:
            return
        self._folder.mkdir()
        self._received = True
        self._connection.query(f"CREATE DATABASE {self.mark} ENGINE = Memory")
        self._connection.query(f"USE {self.mark}")
        for number, key in enumerate(compiled.received):
            path = self._folder / f"{number}.arrow"
            reader = watched.readers[key]
            schema = pa.schema([pa.field(field.name, _storable(field.type)) for field in reader.schema])
            with ipc.new_file(str(path), schema) as writer:
                for batch in until_cancelled(reader, cancellation, where):
                    writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            columns = ", ".join(f"{_name(field.name)} {_engine_type(field.type)}" for field in schema)
            rows = f"file({_literal(str(path))}, 'Arrow', {_literal(columns)})"
            rows = f"file({_literal(str(path))}, 'Arrow', {_literal(columns)})"
            view = f"{self.mark}.{_name(received_name(key))}"
            self._connection.query(f"CREATE VIEW {view} AS SELECT * FROM {rows}")  # noqa: S608 - names are quoted

    def execute(self, compiled: Compiled) -> pa.RecordBatchReader:
        """Start the query."""
        self._result = self._connection.send_query(f"/* {self.mark} */ {compiled.text}", "Arrow")
        batches = _batches(self._result)
        first = next(batches, None)
        if first is None:
            return pa.RecordBatchReader.from_batches(
                pa.schema([(name, arrow_type(text)) for name, text in compiled.schema.items()]), iter(())
            )
        schema = pa.schema(
            [pa.field(name, field.type) for name, field in zip(compiled.schema, first.schema, strict=True)]
        )

        def rest() -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_arrays(first.columns, schema=schema)
            for batch in batches:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, rest())

    def close(self) -> None:
        """End the query and remove what it received."""
        with contextlib.suppress(*_FAILURES):
            if self._result is not None:
                self._result.cancel()
        with contextlib.suppress(*_FAILURES):
            if self._received:
                self._connection.query(f"DROP DATABASE IF EXISTS {self.mark}")
        with contextlib.suppress(*_FAILURES):
            self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _batches(result: Any) -> Iterator[pa.RecordBatch]:
    while (chunk := result.fetch()) is not None:
        content = chunk.bytes()
        if content:
            for batch in ipc.open_file(content).read_all().to_batches():
                yield pa.RecordBatch.from_arrays(list(map(_whole, batch.columns)), names=batch.schema.names)


_INT128 = pa.binary(16)


def _whole(array: pa.Array) -> pa.Array:
    """128-bit integers, which come as 16 bytes, as the decimals that have the same bytes."""
    if array.type != _INT128:
        return array
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(array), array.buffers(), offset=array.offset)


def _storable(dtype: pa.DataType) -> pa.DataType:
    plain = plain_layout(dtype)
    return pa.string() if pa.types.is_null(plain) else plain


def _engine_type(dtype: pa.DataType) -> str:
    if pa.types.is_timestamp(dtype):
        return "Nullable(DateTime64(6, 'UTC'))"
    if pa.types.is_decimal(dtype):
        return f"Nullable(Decimal({dtype.precision}, {dtype.scale}))"
    return f"Nullable({_ENGINE_TYPES[str(dtype)]})" if str(dtype) in _ENGINE_TYPES else "Nullable(String)"


_ENGINE_TYPES: Mapping[str, str] = {
    "bool": "Bool", "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64", "uint8": "UInt8", "uint16": "UInt16",
    "uint32": "UInt32", "uint64": "UInt64", "float": "Float32", "double": "Float64", "date32[day]": "Date32",
    "string": "String", "binary": "String",
}  # fmt: skip
"""Arrow's type -> the engine's."""


def _found(path: str) -> Any:
    """What Arrow reads for a path or glob."""
    if "*" not in path and "?" not in path:
        return path
    found = sorted(str(file) for file in Path(path).parent.glob(Path(path).name))
    if not found:
        raise FileNotFoundError(f"no file fits {path!r}")
    return found


def _columns(arrived: pa.Schema, source: TableSource, where: str) -> tuple[list[str], Schema]:
    """The view's select list and the published schema."""
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    types = {field.name: plain_layout(field.type) for field in arrived}
    for name, own in selected(types, source, where):
        text = source.schema.get(name)
        value = _name(own)
        if text is None:
            text = next(iter(Schema.from_pyarrow(pa.schema([(name, types[own])])).values()))
        elif arrow_type(text) != types[own]:
            wanted = ClickHouseType.to_string(datatype(text).copy(nullable=True))
            value = f"accurateCast({value}, {_literal(wanted)})"
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, text))
    return values, Schema(fields)


def _told(error: BaseException) -> str:
    """What the engine said, without its codes and the query that it quotes, whose constants may be private."""
    text = str(error).strip().removeprefix("Streaming query failed: ")
    text = text.split("DB::Exception: ", 1)[-1]
    return (
        text.split(": In scope ", 1)[0].split(": While executing", 1)[0].splitlines()[0]
        if text
        else type(error).__name__
    )


def _literal(value: int | str) -> str:
    return (
        str(value) if isinstance(value, int) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    )


def _name(identifier: str) -> str:
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"
