"""PostgreSQL: tables, views and queries of a server; fragments as one statement each, over ADBC."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import adbc_driver_manager
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.datatypes import PostgresType

from blossom.plan import relations as rel
from blossom.plan.errors import PlatformError, unknown
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import BATCH_BYTES, conform
from blossom.platforms.families import Family, family
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.postgresql_dialect import Compiler
from blossom.platforms.postgresql_operations import ALLOWED, DIFFERS, Digits, digits
from blossom.platforms.postgresql_session import Session, told
from blossom.platforms.server import CANCELLED, Pool, cancelling, until_cancelled, with_tables
from blossom.platforms.sql import (
    Compiled,
    SqlCompiler,
    WatchedInputs,
    missing_inputs,
    received_name,
    table_leaf,
)

_SESSIONS = 4

_TYPES: Mapping[str, str] = {
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double precision": "float64",
    "boolean": "boolean",
    "text": "string",
    "bytea": "binary",
    "date": "date",
    "timestamp without time zone": "timestamp(6)",
    "timestamp with time zone": "timestamp('UTC', 6)",
}
_AS_TEXT = (
    "character varying",
    "character",
    "name",
    "uuid",
    "json",
    "jsonb",
    "inet",
    "cidr",
    "macaddr",
    "xml",
)
_COLUMNS = """
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typtype::text, COALESCE(c.collisdeterministic, true)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_ROWS = "SELECT reltuples::bigint FROM pg_catalog.pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'm', 'p', 'f')"


@dataclass(frozen=True, slots=True)
class _Found:
    """A column as the catalogue has it."""

    name: str
    engine_type: str
    kind: str
    deterministic: bool


@dataclass(frozen=True, slots=True)
class _Published:
    """A published table: the sub-select that reads it, and its quoted name where it is one table."""

    text: str
    schema: Schema
    name: str | None


class PostgreSQL(Platform):
    """A PostgreSQL server's tables.

    Each run has a session of its own, whose transactions are read-only; rows of other fragments are copied into temporary
    tables before. Cancelling and giving up a result cancel the statement on the server.

    Args:
        name: The platform's name at its site.
        url: The server's address ("postgresql://user:password@host:5432/database"); in no error and no log.
        sessions: Idle sessions that are kept open.

    Raises:
        PlatformError: The server cannot be reached or refuses the user.
    """

    kind: ClassVar[str] = "postgresql"
    dialect: ClassVar[str | None] = "postgres"
    differs: ClassVar[Mapping[str, str]] = DIFFERS

    def __init__(self, name: str, *, url: str, sessions: int = _SESSIONS) -> None:
        super().__init__(name)
        self._where = f"postgresql {name!r}"
        self._pool = Pool(partial(Session, url, self._where), self._where, sessions)
        self._lock = threading.Lock()
        self._tables: dict[str, _Published] = {}
        # published tables are put before the compiled text under names that mean nothing else on the server
        self._token = f"published_{secrets.token_hex(8)}"
        self._compiler = SqlCompiler("postgres", compiler=Compiler(), leaf=self._leaf)
        with self._pool.session():
            pass

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        if (source.source is None) == (source.query is None):
            raise PlatformError("give a source (a table or view) or a query", where=where)
        if source.options:
            raise PlatformError("reader options are for files", where=where)
        try:
            with self._pool.session() as session:
                if source.query is not None:
                    relation = f"({source.query.strip().rstrip(';')}) AS q"
                    name, found = None, _query_columns(session, source.query.strip().rstrip(";"))
                else:
                    assert source.source is not None
                    relation = name = _qualified(source.source)
                    found = _table_columns(session, name)
                values, schema = _columns(found, source, where)
                text = f"(SELECT {', '.join(values)} FROM {relation})"  # noqa: S608 - the site's owner wrote it
                session.execute(f"SELECT * FROM {text} AS q LIMIT 0")  # noqa: S608 - a declared type may not fit
        except PlatformError as error:
            raise PlatformError(error.what, where=where, hint=error.hint) from None
        with self._lock:
            self._tables[table] = _Published(text, schema, name)
        return schema

    def _table(self, table: str) -> _Published:
        found = self._tables.get(table)
        if found is None:
            what, hint = unknown("table", table, self._tables)
            raise PlatformError(what, where=self._where, hint=hint)
        return found

    def row_count(self, table: str) -> int | None:
        name = self._table(table).name
        if name is None:
            return None
        with self._pool.session() as session:
            rows = session.execute(_ROWS, (name,))
        # -1: never analysed
        return int(rows[0][0]) if rows and rows[0][0] is not None and rows[0][0] >= 0 else None

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: rel.Relation) -> str | None:
        return ALLOWED.node_refusal(node) or self._compiler.refusal(node)

    def _leaf(self, node: rel.Relation) -> ops.Relation:
        if isinstance(node, rel.Scan):
            return ops.UnboundTable(name=f"{self._token}_{node.table}", schema=node.schema.to_ibis())
        return table_leaf(node)

    def _statement(self, compiled: Compiled) -> str:
        """The compiled text, with each published table it reads as a common table expression (which the server inlines)."""
        found = [
            f"{quoted} AS NOT MATERIALIZED {published.text}"
            for table, published in list(self._tables.items())
            if (quoted := _name(f"{self._token}_{table}")) in compiled.text
        ]
        return with_tables(compiled.text, found)

    def run(
        self, fragment: rel.Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        compiled = self._compiler.compile(fragment)
        missing_inputs(compiled.received, inputs, self._where)
        watched = WatchedInputs({key: inputs[key] for key in compiled.received})
        statement = self._statement(compiled)
        session = self._pool.take()
        finish_cancelling = cancelling(session, cancellation)
        run = _Run(session, self._pool, finish_cancelling)

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            what = CANCELLED if cancellation.cancelled else told(error)
            return PlatformError(what, where=self._where)

        try:
            _deliver(session, watched.readers, cancellation, self._where)
            if cancellation.cancelled:
                raise PlatformError(CANCELLED, where=self._where)
            reader = run.execute(statement, compiled.schema, digits(fragment))
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            run.finish()
            raise failure(error) from None
        except BaseException:
            run.finish()
            if watched.error is not None:
                raise watched.error from None
            raise
        return conform(reader, compiled.schema, where=self._where, finished=run.finish, failure=failure)

    def close(self) -> None:
        self._pool.close()


class _Run:
    """A statement that runs: its session goes back to the pool when its rows have all been read, else it is cancelled."""

    def __init__(self, session: Session, pool: Pool[Session], finish_cancelling: Callable[[], None]) -> None:
        self._session = session
        self._pool = pool
        self._finish_cancelling = finish_cancelling
        self._cursor: Any = None
        self._exhausted = False

    def execute(self, statement: str, declared: Schema, places: Mapping[str, Digits]) -> pa.RecordBatchReader:
        """Start the statement, its columns cast so that they arrive in Arrow's types."""
        self._cursor = cursor = self._session.connection.cursor()
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
        arrived = cursor.adbc_execute_schema(statement)
        casts = {field.name: _arrival(field, declared.get(field.name), places) for field in arrived}
        if any(cast.sql for cast in casts.values()):
            values = ", ".join(cast.value(name) for name, cast in casts.items())
            statement = f"SELECT {values} FROM ({statement}) AS q"  # noqa: S608 - compiled, not user text
        cursor.execute(statement)
        return self._read(cursor.fetch_record_batch(), [cast.arrow for cast in casts.values()])

    def _read(
        self, reader: pa.RecordBatchReader, targets: Sequence[pa.DataType | None]
    ) -> pa.RecordBatchReader:
        schema = pa.schema(
            pa.field(field.name, target or field.type)
            for field, target in zip(reader.schema, targets, strict=True)
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                arrays = [
                    array if target is None else _decimal(array, target)
                    for array, target in zip(batch.columns, targets, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            self._exhausted = True

        return pa.RecordBatchReader.from_batches(schema, batches())

    def finish(self) -> None:
        """End the statement, on the server too."""
        self._finish_cancelling()
        if self._cursor is not None:
            if not self._exhausted:
                self._session.stop()
            with contextlib.suppress(adbc_driver_manager.Error, OSError):
                self._cursor.close()
        self._pool.give_back(self._session, usable=self._exhausted)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """How a column is brought to Arrow: a type to cast it to in SQL, and a decimal type to read its text as."""

    sql: str | None = None
    arrow: pa.DataType | None = None

    def value(self, name: str) -> str:
        column = _name(name)
        return f"CAST({column} AS {self.sql}) AS {column}" if self.sql else column


def _arrival(field: pa.Field, declared: str | None, places: Mapping[str, Digits]) -> _Arrival:
    numeric = isinstance(field.type, pa.OpaqueType) and field.type.type_name == "numeric"
    if not numeric or declared is None:
        return _Arrival()
    # PostgreSQL's decimals have digits without limit and arrive as text
    match family(declared):
        case Family.FLOAT64 | Family.FLOAT32:
            return _Arrival(sql="double precision")
        case Family.INTEGER if declared.lstrip("!") != "int64":
            return _Arrival(sql="integer")  # parts of dates; sums are 64 bits wide
        case Family.INTEGER:
            return _Arrival(arrow=pa.decimal128(38, 0))
        case _:
            return _Arrival(arrow=pa.decimal128(*places[field.name]))


def _decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    text = array.storage if isinstance(array, pa.ExtensionArray) else array
    return text.cast(target)


def _deliver(
    session: Session, readers: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation, where: str
) -> None:
    """Copy the rows of other fragments into temporary tables."""
    if not readers:
        return
    with session.writing(), session.connection.cursor() as cursor:
        for key, reader in readers.items():
            cursor.adbc_ingest(
                received_name(key), _given(reader, cancellation, where), mode="create", temporary=True
            )
            cursor.execute(f"ANALYZE {_name(received_name(key))}")


def _given(reader: pa.RecordBatchReader, cancellation: Cancellation, where: str) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(reader.schema, until_cancelled(reader, cancellation, where))


# -- the catalogue ------------------------------------------------------------------------------------------------------------


def _table_columns(session: Session, name: str) -> list[_Found]:
    if session.execute("SELECT to_regclass($1)::text", (name,))[0][0] is None:
        raise PlatformError(
            f"there is no table or view {name}", hint="name it as schema.table, in its own letters"
        )
    return [_Found(*row) for row in session.execute(_COLUMNS, (name,))]


def _query_columns(session: Session, query: str) -> list[_Found]:
    """The columns of a query: a temporary view has them in the catalogue, digits of decimals included."""
    view = "_blossom_query"
    with session.writing():
        session.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {query}")
        return [_Found(*row) for row in session.execute(_COLUMNS, (f"pg_temp.{view}",))]


def _columns(found: Sequence[_Found], source: TableSource, where: str) -> tuple[list[str], Schema]:
    """The select list that publishes a source, and its schema."""
    by_name = {column.name: column for column in found}
    published = {own: name for name, own in source.rename.items()}
    own = {published.get(column.name, column.name): column for column in found}
    for name in source.rename.values():
        if name not in by_name:
            what, hint = unknown("column", name, by_name)
            raise PlatformError(what, where=where, hint=hint)
    for name in (*source.schema, *(source.columns or ())):
        if name not in own:
            what, hint = unknown("column", name, own)
            raise PlatformError(what, where=where, hint=hint)
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    for name in source.columns if source.columns is not None else own:
        value, dtype = _column(own[name], source.schema.get(name), name, where)
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, dtype))
    return values, Schema(fields)


def _column(column: _Found, declared: str | None, name: str, where: str) -> tuple[str, str]:
    value = _name(column.name)
    plain = _TYPES.get(column.engine_type)
    if column.engine_type.startswith("numeric("):
        plain = column.engine_type.replace("numeric(", "decimal(").replace(",", ", ")
    if plain is None and (column.kind == "e" or column.engine_type.partition("(")[0] in _AS_TEXT):
        value, plain = f"CAST({value} AS text)", "string"
    if not column.deterministic:
        # equal text could be other text: compare bytes
        value = f'{value} COLLATE "C"'
    if declared is not None:
        if family(declared) is Family.OTHER:
            raise PlatformError(
                f"column {name!r}: the type {declared} is not read from PostgreSQL", where=where
            )
        if plain is None or datatype(plain) != datatype(declared):
            value = f"CAST({value} AS {PostgresType.to_string(datatype(declared))})"
        return value, declared
    if plain is None:
        raise PlatformError(
            f"column {name!r} has the type {column.engine_type}, which pipelines do not know",
            where=where,
            hint="declare a type for it in the table's schema (as decimal(18, 4)), or leave it out with `columns`",
        )
    return value, plain


def _qualified(source: str) -> str:
    schema, _, name = source.rpartition(".")
    return f"{_name(schema)}.{_name(name)}" if schema else _name(name)


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
