"""SQLite, for what its own tables can be asked with DuckDB's answers: small data that already lies in a SQLite file.

Known limits, beyond `differs`: it holds NaN as NULL, so a stream with a NaN is refused; a sum of integers beyond 64 bits is an
error, where DuckDB's grows; decimals are 8-byte floats, so they are compared and passed on, up to 15 digits, but not added.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import ibis.expr.operations as ops
import pyarrow as pa

from blossom.plan.errors import PlatformError, unknown
from blossom.plan.relations import Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms import sqlite_dialect, sqlite_rules
from blossom.platforms.arrow import batch_rows, conform
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.sql import (
    Compiled,
    Interruption,
    SqlCompiler,
    WatchedInputs,
    missing_inputs,
    received_name,
    table_leaf,
)
from blossom.platforms.sqlite_storage import (
    Survey,
    arrow_schema,
    declared_type,
    inferred_type,
    load,
    quoted,
    survey,
    to_batches,
)

Stamp = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Published:
    """A table as published; `stamp` tells the state of the file in which `survey` was made."""

    origin: str
    columns: Sequence[tuple[str, str, str]]
    survey: Survey
    stamp: Stamp


@dataclass(slots=True)
class _Session:
    """A connection and the surveys by which its views were made."""

    connection: sqlite3.Connection
    views: dict[str, Survey] = field(default_factory=dict)


class SQLite(Platform):
    """A SQLite file, opened for reading only; each run has a connection of its own.

    Args:
        name: The platform's name at its site.
        database: The file, which must exist; None or ":memory:" for none (then only received rows can be read).

    Raises:
        PlatformError: The file does not exist or is no SQLite database.
    """

    kind: ClassVar[str] = "sqlite"
    dialect: ClassVar[str | None] = "sqlite"
    differs: ClassVar[Mapping[str, str]] = sqlite_rules.DIFFERS

    def __init__(self, name: str, *, database: str | None = None) -> None:
        super().__init__(name)
        self._where = f"sqlite {name!r}"
        self._path = None if database in (None, ":memory:") else Path(str(database))
        self._compiler = SqlCompiler("sqlite", compiler=sqlite_dialect.Compiler(), leaf=_leaf)
        self._lock = threading.Lock()
        self._published: dict[str, _Published] = {}
        self._idle: list[_Session] = []
        self._closed = False
        if self._path is not None and not self._path.is_file():
            raise PlatformError(f"there is no database {str(self._path)!r}", where=self._where)
        try:
            self._idle.append(self._connect())
        except sqlite3.Error as error:
            raise PlatformError(str(error), where=self._where) from error

    def _connect(self) -> _Session:
        name = ":memory:" if self._path is None else f"{self._path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            sqlite_dialect.prepare(connection)
        except BaseException:
            connection.close()
            raise
        return _Session(connection)

    def _acquire(self) -> _Session:
        with self._lock:
            if self._closed:
                raise PlatformError("the platform is closed", where=self._where)
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _release(self, session: _Session) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(session)
                return
        session.connection.close()

    def _stamp(self) -> Stamp:
        """Changes when another process writes to the database."""
        if self._path is None:
            return ()
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        stats = [file.stat() for file in files if file.exists()]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        if source.options:
            raise PlatformError("SQLite tables take no reader options", where=where)
        if (source.source is None) == (source.query is None):
            raise PlatformError("give a source or a query", where=where)
        session = self._acquire()
        try:
            stamp = self._stamp()
            origin = _origin(source)
            columns = _columns(session.connection, origin, source, where)
            found = survey(session.connection, origin, columns, where)
        except sqlite3.Error as error:
            raise PlatformError(str(error), where=where) from error
        finally:
            self._release(session)
        with self._lock:
            self._published[table] = _Published(origin, columns, found, stamp)
        return Schema((name, text) for name, _, text in columns)

    def row_count(self, table: str) -> int | None:
        return self._table(table).survey.rows

    def _table(self, table: str) -> _Published:
        with self._lock:
            found = self._published.get(table)
            if found is not None:
                return found
            what, hint = unknown("table", table, self._published)
        raise PlatformError(what, where=self._where, hint=hint)

    def _view(self, session: _Session, table: str) -> None:
        """Make a published table readable in a connection, surveyed anew when the file has changed."""
        published = self._table(table)
        stamp = self._stamp()
        if stamp != published.stamp:
            where = f"{self._where}, table {table!r}"
            found = survey(session.connection, published.origin, published.columns, where)
            with self._lock:
                published.survey, published.stamp = found, stamp
        if session.views.get(table) is published.survey:
            return
        values = ", ".join(
            f"{value} AS {quoted(name)}"
            for value, (name, _, _) in zip(published.survey.values, published.columns, strict=True)
        )
        view = f"temp.{quoted(_published_name(table))}"
        session.connection.execute(f"DROP VIEW IF EXISTS {view}")
        session.connection.execute(f"CREATE VIEW {view} AS SELECT {values} FROM {published.origin}")  # noqa: S608
        session.views[table] = published.survey

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: Relation) -> str | None:
        return sqlite_rules.refusal(node) or self._compiler.refusal(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        compiled = self._compiler.compile(fragment)
        missing_inputs(compiled.received, inputs, self._where)
        watched = WatchedInputs({key: inputs[key] for key in compiled.received})
        session = self._acquire()
        interruption = Interruption(session.connection.interrupt)
        forget = cancellation.register(interruption)
        cursors: list[sqlite3.Cursor] = []

        def finished() -> None:
            forget()
            interruption.end()
            for cursor in cursors:
                cursor.close()
            if inputs:
                session.connection.close()  # and with it the temporary tables
            else:
                self._release(session)

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            return PlatformError(
                "the run was cancelled" if cancellation.cancelled else str(error), where=self._where
            )

        try:
            self._prepare(session, compiled, watched)
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where)
            cursor = session.connection.execute(compiled.text)
            cursors.append(cursor)
        except sqlite3.Error as error:
            finished()
            raise failure(error) from error
        except BaseException:
            finished()
            raise
        batches = to_batches(cursor, compiled.schema, min(batch_rows(compiled.schema), 16_384), self._where)
        reader = pa.RecordBatchReader.from_batches(arrow_schema(compiled.schema), batches)
        return conform(
            reader,
            compiled.schema,
            where=self._where,
            finished=finished,
            failure=failure,
            cancelled=lambda: cancellation.cancelled,
        )

    def _prepare(self, session: _Session, compiled: Compiled, watched: WatchedInputs) -> None:
        for table in compiled.tables:
            self._view(session, table)
        for key in compiled.received:
            schema = compiled.inputs[key]
            load(
                session.connection,
                received_name(key),
                schema,
                watched.readers[key],
                f"{self._where}, input {key!r}",
            )

    def close(self) -> None:
        with self._lock:
            self._closed = True
            sessions, self._idle = self._idle, []
        for session in sessions:
            session.connection.close()


def _published_name(table: str) -> str:
    return f"_published_{table}"


def _leaf(node: Relation) -> ops.Relation:
    # not under the table's own name: a temporary view of that name would hide the table from its own definition
    if isinstance(node, Scan):
        return ops.UnboundTable(name=_published_name(node.table), schema=node.schema.to_ibis())
    return table_leaf(node)


def _origin(source: TableSource) -> str:
    if source.query is not None:
        return f"({source.query.strip().rstrip(';')})"
    assert source.source is not None
    schema, _, name = source.source.rpartition(".")
    return f"{quoted(schema or 'main')}.{quoted(name)}"


def _columns(
    connection: sqlite3.Connection, origin: str, source: TableSource, where: str
) -> Sequence[tuple[str, str, str]]:
    """Published name, own name and type of each published column."""
    probe = quoted("_blossom_probe")
    connection.execute(f"CREATE TEMP VIEW {probe} AS SELECT * FROM {origin}")  # noqa: S608 - the site's owner wrote it
    try:
        rows = connection.execute(f"PRAGMA temp.table_info({probe})").fetchall()
    finally:
        connection.execute(f"DROP VIEW temp.{probe}")
    declared: dict[str, str] = {str(row[1]): str(row[2] or "") for row in rows}
    published = {own: name for name, own in source.rename.items()}
    owns = {published.get(own, own): own for own in declared}
    for name in (*source.rename.values(), *source.schema, *(source.columns or ())):
        if name not in owns and name not in declared:
            what, hint = unknown("column", name, owns)
            raise PlatformError(what, where=where, hint=hint)
    found: list[tuple[str, str, str]] = []
    for name in source.columns if source.columns is not None else owns:
        if name not in owns:
            what, hint = unknown("column", name, owns)
            raise PlatformError(what, where=where, hint=hint)
        own = owns[name]
        text = source.schema.get(name) or declared_type(declared[own])
        found.append((name, own, text or inferred_type(connection, origin, own, name, where)))
    return found
