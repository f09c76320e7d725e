"""MariaDB: tables, views and queries of a server; fragments as one statement each."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.datatypes import MySQLType
from pymysql.constants import FIELD_TYPE

from blossom.plan import relations as rel
from blossom.plan.errors import PlatformError, unknown
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import batch_rows, conform
from blossom.platforms.families import Family, family
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.mariadb_dialect import Compiler
from blossom.platforms.mariadb_operations import ALLOWED, DIFFERS
from blossom.platforms.mariadb_session import COLLATION, FAILURES, Session, told
from blossom.platforms.mariadb_storage import arrow_schema, column_type, insertions, meaning, to_batches
from blossom.platforms.server import CANCELLED, Pool, cancelling, with_tables
from blossom.platforms.sources import selected, table_or_query
from blossom.platforms.sql import (
    Compiled,
    SqlCompiler,
    WatchedInputs,
    missing_inputs,
    received_name,
    table_leaf,
)

_SESSIONS = 4
_DECIMALS = frozenset({FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL})


@dataclass(frozen=True, slots=True)
class _Published:
    """A published table: the sub-select that reads it, and its database and name where it is one table."""

    text: str
    schema: Schema
    name: tuple[str, str] | None


class MariaDB(Platform):
    """A MariaDB server's tables.

    Each run has a session of its own, which reads only; rows of other fragments are put into temporary tables before.
    Cancelling and giving up a result kill the statement on the server. Texts are put in order by their first 64 KiB.

    Args:
        name: The platform's name at its site.
        url: The server's address ("mariadb://user:password@host:3306/database", with "?ssl_ca=path" for TLS); in no error
            and no log.
        sessions: Idle sessions that are kept open.

    Raises:
        PlatformError: The server cannot be reached or refuses the user.
    """

    kind: ClassVar[str] = "mariadb"
    dialect: ClassVar[str | None] = "mysql"
    differs: ClassVar[Mapping[str, str]] = DIFFERS

    def __init__(self, name: str, *, url: str, sessions: int = _SESSIONS) -> None:
        super().__init__(name)
        self._where = f"mariadb {name!r}"
        self._pool = Pool(partial(Session, url, self._where), self._where, sessions)
        self._lock = threading.Lock()
        self._tables: dict[str, _Published] = {}
        # published tables are put before the compiled text under names that mean nothing else on the server
        self._token = f"published_{secrets.token_hex(8)}"
        self._compiler = SqlCompiler("mysql", compiler=Compiler(), leaf=self._leaf)
        with self._pool.session():
            pass

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        table_or_query(source, where)
        try:
            with self._pool.session() as session:
                if source.query is not None:
                    query = source.query.strip().rstrip(";")
                    relation, place, found = f"({query}) AS q", None, _query_columns(session, query)
                else:
                    assert source.source is not None
                    relation = ".".join(_name(part) for part in source.source.split("."))
                    found = session.execute(f"SHOW FULL COLUMNS FROM {relation}")
                    place = _place(session, source.source)
                values, schema = _columns({row[0]: (row[1], row[2]) for row in found}, source, where)
                text = f"(SELECT {', '.join(values)} FROM {relation})"  # noqa: S608 - the site's owner wrote it
                session.execute(f"SELECT * FROM {text} AS q LIMIT 0")  # noqa: S608 - a declared type may not fit
        except PlatformError as error:
            raise PlatformError(error.what, where=where, hint=error.hint) from None
        with self._lock:
            self._tables[table] = _Published(text, schema, place)
        return schema

    def _table(self, table: str) -> _Published:
        found = self._tables.get(table)
        if found is None:
            what, hint = unknown("table", table, self._tables)
            raise PlatformError(what, where=self._where, hint=hint)
        return found

    def row_count(self, table: str) -> int | None:
        place = self._table(table).name
        if place is None:
            return None
        database, name = map(_text, place)
        with self._pool.session() as session:
            rows = session.execute(
                f"SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = {database} AND TABLE_NAME = {name}"  # noqa: S608
            )
        return int(rows[0][0]) if rows and rows[0][0] is not None else None

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: rel.Relation) -> str | None:
        return ALLOWED.node_refusal(node) or self._compiler.refusal(node)

    def _leaf(self, node: rel.Relation) -> ops.Relation:
        if isinstance(node, rel.Scan):
            return ops.UnboundTable(name=f"{self._token}_{node.table}", schema=node.schema.to_ibis())
        return table_leaf(node)

    def _statement(self, compiled: Compiled) -> str:
        """The compiled text, with each published table it reads as a common table expression (which the server merges)."""
        found = [
            f"{_name(f'{self._token}_{table}')} AS {self._table(table).text}"
            for table in sorted(compiled.tables)
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
        run = _Run(session, self._pool, cancelling(session, cancellation))

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            if cancellation.cancelled:
                return PlatformError(CANCELLED, where=self._where)
            return (
                error if isinstance(error, PlatformError) else PlatformError(told(error), where=self._where)
            )

        try:
            if compiled.received:
                with session.writing():
                    for key in compiled.received:
                        self._deliver(session, key, compiled.inputs[key], watched.readers[key], cancellation)
            if cancellation.cancelled:
                raise PlatformError(CANCELLED, where=self._where)
            reader = run.execute(statement, compiled.schema, self._where)
        except (*FAILURES, PlatformError, pa.ArrowException) as error:
            run.finish()
            raise failure(error) from None
        except BaseException:
            run.finish()
            if watched.error is not None:
                raise watched.error from None
            raise
        return conform(
            reader,
            compiled.schema,
            where=self._where,
            finished=run.finish,
            failure=failure,
            cancelled=lambda: cancellation.cancelled,
        )

    def _deliver(
        self,
        session: Session,
        key: str,
        schema: Schema,
        reader: pa.RecordBatchReader,
        cancellation: Cancellation,
    ) -> None:
        """Put the rows of another fragment into a temporary table."""
        table = _name(received_name(key))
        columns = ", ".join(f"{_name(name)} {column_type(text)}" for name, text in schema.items())
        session.temporary.append(table)
        session.execute(
            f"CREATE TEMPORARY TABLE {table} ({columns}) DEFAULT CHARSET utf8mb4 COLLATE {COLLATION}"
        )
        for batch in reader:
            for statement in insertions(table, batch.select(list(schema)), f"{self._where}, input {key!r}"):
                if cancellation.cancelled:
                    raise PlatformError(CANCELLED, where=self._where)
                session.execute(statement)

    def close(self) -> None:
        self._pool.close()


class _Run:
    """A statement that runs: its session goes back to the pool when its rows have all been read, else it is killed."""

    def __init__(self, session: Session, pool: Pool[Session], finish_cancelling: Callable[[], None]) -> None:
        self._session = session
        self._pool = pool
        self._finish_cancelling = finish_cancelling
        self._started = False
        self._exhausted = False

    def execute(self, statement: str, declared: Schema, where: str) -> pa.RecordBatchReader:
        """Start the statement."""
        self._started = True
        cursor = self._session.stream(statement)
        schema = arrow_schema(declared, cursor.description, _DECIMALS)

        def batches() -> Any:
            yield from to_batches(cursor, schema, min(batch_rows(declared), 16_384), where)
            cursor.close()
            self._exhausted = True

        return pa.RecordBatchReader.from_batches(schema, batches())

    def finish(self) -> None:
        """End the statement, on the server too."""
        self._finish_cancelling()
        if self._started and not self._exhausted:
            self._session.stop()
        self._pool.give_back(self._session, usable=self._exhausted)


# -- the catalogue ------------------------------------------------------------------------------------------------------------


def _query_columns(session: Session, query: str) -> list[tuple[Any, ...]]:
    """The columns of a query: a temporary table of its form has them in the catalogue."""
    table = "_blossom_query"
    session.temporary.append(table)
    with session.writing():
        session.execute(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM ({query}) AS q LIMIT 0")  # noqa: S608 - the owner's
    found = session.execute(f"SHOW FULL COLUMNS FROM {table}")
    session.clean()
    return found


def _place(session: Session, source: str) -> tuple[str, str]:
    database, _, name = source.rpartition(".")
    return database or str(session.execute("SELECT DATABASE()")[0][0]), name


def _columns(
    found: Mapping[str, tuple[str, str | None]], source: TableSource, where: str
) -> tuple[list[str], Schema]:
    """The select list that publishes a source, and its schema."""
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    for name, own in selected(found, source, where):
        declared, collation = found[own]
        means = meaning(declared, _name(own), collation, COLLATION)
        text = source.schema.get(name)
        if text is not None and family(text) is Family.OTHER:
            raise PlatformError(f"column {name!r}: the type {text} is not read from MariaDB", where=where)
        if means is None and text is None:
            raise PlatformError(
                f"column {name!r} has the type {declared}, which pipelines do not know",
                where=where,
                hint="declare a type for it in the table's schema (as decimal(20, 0)), or leave it out with `columns`",
            )
        plain, value = means or ("", _name(own))
        if text is not None and (not plain or datatype(plain) != datatype(text)):
            value = _converted(_name(own), text)
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, text or plain))
    return values, Schema(fields)


_CONVERSIONS: Mapping[Family, str] = {
    Family.BOOLEAN: "{c} <> 0", Family.INTEGER: "CAST({c} AS SIGNED)", Family.FLOAT64: "CAST({c} AS DOUBLE)",
    Family.FLOAT32: "CAST({c} AS DOUBLE)", Family.STRING: f"CAST({{c}} AS CHAR) COLLATE {COLLATION}",
    Family.BINARY: "CAST({c} AS BINARY)", Family.DATE: "CAST({c} AS DATE)", Family.TIMESTAMP: "CAST({c} AS DATETIME(6))",
    Family.ZONED: "CAST({c} AS DATETIME(6))",
}  # fmt: skip


def _converted(column: str, text: str) -> str:
    if family(text) is Family.DECIMAL:
        return f"CAST({column} AS {MySQLType.to_string(datatype(text))})"
    return _CONVERSIONS[family(text)].format(c=column)


def _name(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
