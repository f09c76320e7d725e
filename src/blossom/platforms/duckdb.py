"""DuckDB, the reference engine: whatever another platform answers must be what DuckDB answers on the pooled rows."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import ibis.expr.datatypes as dt
import pyarrow as pa
import sqlglot
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.duckdb import DuckDBCompiler
from ibis.backends.sql.datatypes import DuckDBType
from sqlglot.errors import SqlglotError

from blossom.plan.errors import PlatformError, unknown
from blossom.plan.relations import Relation
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import batch_rows, conform
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.sql import Interruption, SqlCompiler, WatchedInputs, missing_inputs, received_name

_ATTACHED = "source"
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz"),
    "json": (".json", ".ndjson", ".jsonl", ".json.gz"),
}
_READER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "parquet": ("format",),
    "csv": ("format", "null_values", "delimiter", "header"),
    "json": ("format",),
}


class _Compiler(DuckDBCompiler):
    """Ibis's compiler, put right where its text does not give the type that it declares."""

    def visit_ExtractEpochSeconds(self, op: Any, *, arg: Any) -> Any:  # noqa: N802 - Ibis's naming
        # epoch() keeps the fraction of a second, which no integer can hold
        return self.cast(self.f.floor(self.f.epoch(self.cast(arg, dt.timestamp))), dt.int64)


class DuckDB(Platform):
    """An embedded DuckDB, fed from files or from a DuckDB database file (opened for reading only).

    Each run has a cursor of its own, so that runs do not wait for each other and a half-read result blocks nobody.

    Args:
        name: The platform's name at its site.
        database: A DuckDB file whose tables may be published; None or ":memory:" for files only.
        threads: Threads of the engine; None: one a core.
        memory_limit: In DuckDB's terms ("2GB"); None: its default.
        temp_directory: Where it spills; None: a private folder, removed by `close`.

    Raises:
        PlatformError: The database cannot be opened or an option is not understood.
    """

    kind: ClassVar[str] = "duckdb"
    dialect: ClassVar[str | None] = "duckdb"

    def __init__(
        self,
        name: str,
        *,
        database: str | None = None,
        threads: int | None = None,
        memory_limit: str | None = None,
        temp_directory: str | None = None,
    ) -> None:
        super().__init__(name)
        self._where = f"duckdb {name!r}"
        self._own_spill = None if temp_directory else tempfile.mkdtemp(prefix="blossom-duckdb-")
        config: dict[str, Any] = {"temp_directory": temp_directory or self._own_spill}
        if threads is not None:
            config["threads"] = threads
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        self._attached = database not in (None, ":memory:")
        self._lock = threading.Lock()
        self._compiler = SqlCompiler("duckdb", compiler=_Compiler())
        self._rows: dict[str, Callable[[], int | None]] = {}
        self._closed = False
        try:
            self._connection = duckdb.connect(":memory:", config=config)
            self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
            # a table's name must never mean a Python variable that happens to be in reach
            self._connection.execute("SET GLOBAL python_enable_replacements = false")
            if self._attached:
                self._connection.execute(f"ATTACH {_text(str(database))} AS {_ATTACHED} (READ_ONLY)")
        except duckdb.Error as error:
            self._remove_spill()
            raise PlatformError(str(error), where=self._where) from error

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        try:
            with contextlib.closing(self._connection.cursor()) as cursor:
                relation, rows = self._source(source, where)
                found = cursor.sql(f"SELECT * FROM {relation}")  # noqa: S608 - the site's owner wrote it
                arrived = dict(zip(found.columns, found.types, strict=True))
                values, schema = _columns(arrived, source, where)
                view = f"CREATE OR REPLACE VIEW {_name(table)} AS SELECT {', '.join(values)} FROM {relation}"  # noqa: S608
                with self._lock:
                    cursor.execute(view)
                    self._rows[table] = rows
        except duckdb.Error as error:
            raise PlatformError(str(error).strip(), where=where) from error
        return schema

    def _source(self, source: TableSource, where: str) -> tuple[str, Callable[[], int | None]]:
        """What stands after FROM, and how its rows are counted."""
        if (source.source is None) == (source.query is None):
            raise PlatformError("give a source or a query", where=where)
        if source.query is not None:
            return f"({self._qualified(source.query, where)})", lambda: None
        assert source.source is not None
        kind = _format(source.source, source.options, where)
        if kind is not None:
            return _reader(kind, source, where), self._file_rows(kind, source.source)
        if source.options:
            raise PlatformError("reader options need a file", where=where)
        if not self._attached:
            raise PlatformError(
                f"{source.source!r} is neither a Parquet, CSV or JSON path nor in a database",
                where=where,
                hint="give the platform a `database`, or say the file's `format`",
            )
        schema, _, name = source.source.rpartition(".")
        schema = schema or "main"
        return f"{_ATTACHED}.{_name(schema)}.{_name(name)}", lambda: self._table_rows(schema, name)

    def _qualified(self, query: str, where: str) -> str:
        """The query with its tables named as those of the attached database.

        A view resolves unqualified names in its own catalogue, which is the in-memory one.
        """
        text = query.strip().rstrip(";")
        if not self._attached:
            return text
        try:
            tree = sqlglot.parse_one(text, dialect="duckdb")
        except SqlglotError as error:
            raise PlatformError(f"the query cannot be parsed: {error}", where=where) from error
        defined = {cte.alias for cte in tree.find_all(sge.CTE)}
        for found in tree.find_all(sge.Table):
            own = isinstance(found.this, sge.Identifier) and not found.catalog
            if own and (found.db or found.name not in defined):
                found.set("db", sge.to_identifier(found.db or "main", quoted=True))
                found.set("catalog", sge.to_identifier(_ATTACHED))
        return tree.sql(dialect="duckdb")

    def _file_rows(self, kind: str, path: str) -> Callable[[], int | None]:
        if kind != "parquet":
            return lambda: None
        return lambda: self._number(f"SELECT sum(num_rows) FROM parquet_file_metadata({_text(path)})")  # noqa: S608

    def _table_rows(self, schema: str, name: str) -> int | None:
        wanted = f"({_text(_ATTACHED)}, {_text(schema)}, {_text(name)})"
        return self._number(
            f"SELECT estimated_size FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = {wanted}"  # noqa: S608
        )

    def _number(self, query: str) -> int | None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            rows = cursor.sql(query).fetchall()
        return int(rows[0][0]) if rows and rows[0][0] is not None else None

    def row_count(self, table: str) -> int | None:
        rows = self._rows.get(table)
        if rows is None:
            what, hint = unknown("table", table, self._rows)
            raise PlatformError(what, where=self._where, hint=hint)
        try:
            return rows()
        except duckdb.Error as error:
            raise PlatformError(str(error).strip(), where=f"{self._where}, table {table!r}") from error

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: Relation) -> str | None:
        return self._compiler.refusal(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        compiled = self._compiler.compile(fragment)
        missing_inputs(compiled.received, inputs, self._where)
        watched = WatchedInputs({key: inputs[key] for key in compiled.received})
        try:
            cursor = self._connection.cursor()
        except duckdb.Error as error:
            raise PlatformError(str(error), where=self._where) from error
        interruption = Interruption(cursor.interrupt)
        forget = cancellation.register(interruption)

        def finished() -> None:
            forget()
            interruption.end()
            cursor.close()

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            what = "the run was cancelled" if cancellation.cancelled else str(error).strip()
            return PlatformError(what, where=self._where)

        try:
            for key, times in compiled.received.items():
                _deliver(cursor, received_name(key), watched.readers[key], once=times == 1)
            reader = cursor.sql(compiled.text).to_arrow_reader(batch_rows(compiled.schema))
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where)
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            finished()
            raise failure(error) from error
        except BaseException:
            finished()
            raise
        return conform(
            reader,
            compiled.schema,
            where=self._where,
            finished=finished,
            failure=failure,
            cancelled=lambda: cancellation.cancelled,
        )

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._connection.close()
        self._remove_spill()

    def _remove_spill(self) -> None:
        if self._own_spill is not None:
            shutil.rmtree(self._own_spill, ignore_errors=True)


def _deliver(
    cursor: duckdb.DuckDBPyConnection, name: str, reader: pa.RecordBatchReader, *, once: bool
) -> None:
    if once:
        cursor.register(name, reader)
        return
    # a stream can be read once only; a temporary table can be read again, and spills where a list of batches would not
    stream = f"{name}_stream"
    cursor.register(stream, reader)
    cursor.execute(f"CREATE TEMP TABLE {_name(name)} AS SELECT * FROM {_name(stream)}")  # noqa: S608
    cursor.unregister(stream)


def _format(path: str, options: Mapping[str, Any], where: str) -> str | None:
    given = options.get("format")
    if given is not None:
        if given not in _FORMATS:
            what, hint = unknown("format", str(given), _FORMATS)
            raise PlatformError(what, where=where, hint=hint)
        return str(given)
    folded = path.casefold()
    for kind, suffixes in _FORMATS.items():
        if folded.endswith(suffixes):
            return kind
    # a folder of Parquet files is the one path that carries no suffix
    return "parquet" if Path(path).is_dir() else None


def _reader(kind: str, source: TableSource, where: str) -> str:
    assert source.source is not None
    for option in source.options:
        if option not in _READER_OPTIONS[kind]:
            what, hint = unknown(f"{kind} reader option", option, _READER_OPTIONS[kind])
            raise PlatformError(what, where=where, hint=hint)
    path = source.source
    if Path(path).is_dir():
        path = str(Path(path) / f"**/*{_FORMATS[kind][0]}")
    arguments = [_text(path)]
    options = source.options
    if "null_values" in options:
        nulls = dict.fromkeys(["", *map(str, options["null_values"])])
        arguments.append(f"nullstr = [{', '.join(map(_text, nulls))}]")
    if "delimiter" in options:
        arguments.append(f"delim = {_text(str(options['delimiter']))}")
    if "header" in options:
        arguments.append(f"header = {'true' if options['header'] else 'false'}")
    if kind == "csv" and source.schema:
        # declared types go to the parser itself: text such as "007" must not pass through a guessed number
        types = (
            f"{_text(source.rename.get(name, name))}: {_text(DuckDBType.to_string(datatype(text)))}"
            for name, text in source.schema.items()
        )
        arguments.append(f"types = {{{', '.join(types)}}}")
    return f"read_{kind}({', '.join(arguments)})"


def _columns(arrived: Mapping[str, Any], source: TableSource, where: str) -> tuple[list[str], Schema]:
    """The view's select list and the published schema."""
    published = {own: name for name, own in source.rename.items()}
    own = {published.get(column, column): column for column in arrived}
    for name in (*source.rename.values(), *source.schema, *(source.columns or ())):
        if name not in own and name not in arrived:
            what, hint = unknown("column", name, own)
            raise PlatformError(what, where=where, hint=hint)
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    for name in source.columns if source.columns is not None else own:
        if name not in own:
            what, hint = unknown("column", name, own)
            raise PlatformError(what, where=where, hint=hint)
        engine_type = str(arrived[own[name]])
        value = _name(own[name])
        if name in source.schema:
            dtype = datatype(source.schema[name])
            wanted = DuckDBType.to_string(dtype)
            value = value if wanted == engine_type else f"CAST({value} AS {wanted})"
        else:
            dtype = DuckDBType.from_string(engine_type)
            if dtype.is_unknown():
                raise PlatformError(
                    f"column {name!r} has the type {engine_type}, which pipelines do not know",
                    where=where,
                    hint="declare another type for it in the table's schema, or leave it out with `columns`",
                )
            if engine_type.startswith("ENUM"):
                value = f"CAST({value} AS VARCHAR)"
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, str(dtype)))
    return values, Schema(fields)


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
