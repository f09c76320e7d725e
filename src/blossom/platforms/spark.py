"""Spark: any server that speaks Spark Connect (a cluster's, a local one, Databricks, Sail); fragments as one query each."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.datatypes import PySparkType

from blossom.plan import relations as rel
from blossom.plan.errors import PlatformError, unknown
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import arrow_type, conform, gathered, plain_layout
from blossom.platforms.families import Family, family
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.python_functions import FunctionRegistry
from blossom.platforms.server import CANCELLED, Pool, until_cancelled
from blossom.platforms.sources import FORMATS, file_format, selected
from blossom.platforms.spark_dialect import Compiler
from blossom.platforms.spark_functions import Mapped, fault, frame, taken_apart
from blossom.platforms.spark_local import LocalServer
from blossom.platforms.spark_operations import ALLOWED, DIFFERS
from blossom.platforms.spark_session import FAILURES, Reading, Session, spark_schema, told
from blossom.platforms.sql import (
    SqlCompiler,
    WatchedInputs,
    missing_inputs,
    received_name,
    table_leaf,
)

_SESSIONS = 4
_LOCAL = re.compile(r"local(?:\[(\*|[1-9]\d*)\])?")
"""The url of a server of one's own."""


@dataclass(frozen=True, slots=True)
class _Published:
    """A published table: the query that reads it, and the files that must be opened as `opened` before (path, format, options)."""

    text: str
    schema: Schema
    opened: tuple[str, str, tuple[tuple[str, str], ...]] | None = None


class Spark(Platform):
    """A server of Spark Connect: its tables, queries, and files that it can read.

    Columns of text files are text, unless their types are declared, where types are declared or texts are named that mean null.
    Each run has a session of its own; rows of other fragments are sent to it as temporary views. Cancelling interrupts the
    session on the server and frees the caller at once.

    Args:
        name: The platform's name at its site.
        url: The server's address ("sc://host:15002/;token=..."); in no error and no log. "local[2]" is a server of this
            platform's own, with two tasks at once ("local[*]": one a core).
        local: The same as the url "local[*]".
        memory_limit: Of an own server's JVM ("2GB"); None: 1 GB.
        sessions: Idle sessions that are kept open.
        functions: Resolves the functions of `MapBatches`, which run in the tasks of an own server; None: there are none.

    Raises:
        PlatformError: The server cannot be reached or refuses the user; or an own one cannot be started.
    """

    kind: ClassVar[str] = "spark"
    dialect: ClassVar[str | None] = "pyspark"
    differs: ClassVar[Mapping[str, str]] = DIFFERS

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        local: bool = False,
        memory_limit: str | None = None,
        sessions: int = _SESSIONS,
        functions: FunctionRegistry | None = None,
    ) -> None:
        super().__init__(name)
        self._where = f"spark {name!r}"
        own = _LOCAL.fullmatch("local[*]" if local and url is None else url or "")
        if url is None and not local:
            raise PlatformError(
                "a Spark platform needs a url",
                where=self._where,
                hint='url = "sc://host:15002", or local = true for a server of its own',
            )
        if own is None and (local or memory_limit is not None):
            key = "local" if local else "memory_limit"
            raise PlatformError(
                f"{key} is for a server of its own, and the url names another", where=self._where
            )
        self._functions = functions
        self._server: LocalServer | None = None
        if own is not None:
            threads = None if own[1] in (None, "*") else int(own[1])
            self._server = LocalServer(self._where, threads=threads, memory=memory_limit)
            url = self._server.url
        try:
            self._open_pool(url or "", sessions)
        except BaseException:
            if self._server is not None:
                self._server.close()
            raise

    def _open_pool(self, url: str, sessions: int) -> None:
        self._pool = Pool(partial(Session, url, self._where), self._where, sessions)
        self._lock = threading.Lock()
        self._tables: dict[str, _Published] = {}
        # published tables are read under names that mean nothing else on the server
        self._token = f"published_{secrets.token_hex(8)}"
        with self._pool.session() as session:
            checked = _checks_integers(session)
        self._compiler = SqlCompiler("pyspark", compiler=Compiler(checked=checked), leaf=self._leaf)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, table: str, source: TableSource) -> Schema:
        where = f"{self._where}, table {table!r}"
        if (source.source is None) == (source.query is None):
            raise PlatformError("give a source (a table, view or path) or a query", where=where)
        opened = _opened(source, where)
        try:
            with self._pool.session() as session:
                relation = self._relation(session, table, source, opened)
                found = session.schema(f"SELECT * FROM {relation}")  # noqa: S608 - the site's owner wrote it
                values, schema = _columns(found, source, where)
                text = f"SELECT {', '.join(values)} FROM {relation}"  # noqa: S608
                session.schema(text)  # a declared type may not fit
        except PlatformError as error:
            raise PlatformError(error.what, where=where, hint=error.hint) from None
        with self._lock:
            self._tables[table] = _Published(text, schema, opened)
        return schema

    def _relation(self, session: Session, table: str, source: TableSource, opened: Any) -> str:
        if source.query is not None:
            return f"({source.query.strip().rstrip(';')}) AS q"
        assert source.source is not None
        if opened is None:
            return ".".join(_name(part) for part in source.source.split("."))
        self._open(session, table, opened)
        return _name(self._files(table))

    def _files(self, table: str) -> str:
        return f"{self._token}_files_{table}"

    def _open(
        self, session: Session, table: str, opened: tuple[str, str, tuple[tuple[str, str], ...]]
    ) -> None:
        if session.views.get(self._files(table)) == opened:
            return
        path, form, options = opened
        try:
            frame = session.spark.read.format(form).options(**dict(options)).load(path)
            frame.createOrReplaceTempView(self._files(table))
        except FAILURES as error:
            raise PlatformError(told(error), where=self._where) from None
        session.views[self._files(table)] = opened

    def _table(self, table: str) -> _Published:
        found = self._tables.get(table)
        if found is None:
            what, hint = unknown("table", table, self._tables)
            raise PlatformError(what, where=self._where, hint=hint)
        return found

    def row_count(self, table: str) -> int | None:
        published = self._table(table)
        if published.opened is None or published.opened[1] != "parquet":
            return None
        with self._pool.session() as session:  # the footers tell
            self._open(session, table, published.opened)
            return session.sql(f"SELECT count(*) FROM {_name(self._files(table))}")[0][0].as_py()  # noqa: S608

    # -- running ------------------------------------------------------------------------------------------------------

    def unsupported(self, node: rel.Relation) -> str | None:
        if isinstance(node, rel.MapBatches):
            return self._no_functions(node)
        return ALLOWED.node_refusal(node) or self._compiler.refusal(node)

    def _no_functions(self, node: rel.MapBatches) -> str | None:
        if self._functions is None:
            return "this site runs no Python functions"
        if self._server is None:
            return "Python functions are not sent to a Spark server elsewhere: they run in one of the site's own (local = true)"
        texts = (*node.input.schema.values(), *node.columns.values())
        odd = next((text for text in texts if family(text) is Family.OTHER), None)
        return None if odd is None else f"a column of type {odd} was not shown to agree"

    def _leaf(self, node: rel.Relation) -> ops.Relation:
        if isinstance(node, rel.Scan):
            return ops.UnboundTable(name=self._view(node.table), schema=node.schema.to_ibis())
        return table_leaf(node)

    def _view(self, table: str) -> str:
        return f"{self._token}_{table}"

    def run(
        self, fragment: rel.Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        plan, mapped = taken_apart(fragment)
        below = [self._compiler.compile(each.below) for each in mapped]
        compiled = self._compiler.compile(plan)
        made = {each.key for each in mapped}
        keys = dict.fromkeys(key for query in (*below, compiled) for key in query.received if key not in made)
        missing_inputs(keys, inputs, self._where)
        watched = WatchedInputs({key: inputs[key] for key in keys})
        session = self._pool.take()

        def failure(error: Exception) -> Exception:
            if watched.error is not None:
                return watched.error
            if cancellation.cancelled:
                return PlatformError(CANCELLED, where=self._where)
            raised = fault(str(error)) if mapped else None
            if raised is not None:
                where, what, hint = raised
                return PlatformError(what, where=where, hint=hint)
            return PlatformError(told(error), where=self._where)

        try:
            tables = frozenset[str]().union(*(query.tables for query in (*below, compiled)))
            self._prepare(session, tables, watched, cancellation)
            for each, query in zip(mapped, below, strict=True):
                assert self._functions is not None
                session.mapped(received_name(each.key), query.text, partial(self._frame, each))
            if cancellation.cancelled:
                raise PlatformError(CANCELLED, where=self._where)
            arrived = session.schema(compiled.text)
        except FAILURES as error:
            self._pool.give_back(session, usable=False)
            raise failure(error) from None
        except BaseException:
            self._pool.give_back(session, usable=False)
            if watched.error is not None:
                raise watched.error from None
            raise
        ended = threading.Event()

        def done(whole: bool) -> None:
            ended.set()
            try:
                for key in (*keys, *made) if whole else ():
                    session.drop(received_name(key))
            except FAILURES:
                whole = False
            self._pool.give_back(session, usable=whole)

        reading = Reading(lambda: session.stream(compiled.text), done)

        def interrupt() -> None:
            reading.give_up()
            if not ended.is_set():
                threading.Thread(target=session.interrupt, name="blossom-spark-cancel", daemon=True).start()

        forget = cancellation.register(interrupt)

        def finished() -> None:
            forget()
            interrupt()

        reader = pa.RecordBatchReader.from_batches(arrived, _retyped(reading.batches(), arrived))
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

    def _frame(self, mapped: Mapped, rows: Any) -> Any:
        assert self._functions is not None
        return frame(rows, mapped, self._functions, spark_schema)

    def _prepare(
        self, session: Session, tables: Iterable[str], watched: WatchedInputs, cancellation: Cancellation
    ) -> None:
        for table in tables:
            published = self._table(table)
            if published.opened is not None:
                self._open(session, table, published.opened)
            if session.views.get(self._view(table)) is not published:
                session.sql(
                    f"CREATE OR REPLACE TEMPORARY VIEW {_name(self._view(table))} AS {published.text}"
                )
                session.views[self._view(table)] = published
        for key in watched.readers:
            reader = watched.readers[key]
            batches = list(until_cancelled(reader, cancellation, self._where))
            session.view(received_name(key), pa.Table.from_batches(batches, reader.schema))

    def close(self) -> None:
        self._pool.close()
        if self._server is not None:
            self._server.close()


def _checks_integers(session: Session) -> bool:
    """Whether the server raises when integers overflow; asked of rows, as constants are often computed otherwise."""
    try:
        session.sql(f"SELECT id + {2**63 - 1} FROM (SELECT explode(array(1L, 2L)) AS id) AS t")  # noqa: S608
    except PlatformError:
        return True
    return False


def _opened(source: TableSource, where: str) -> tuple[str, str, tuple[tuple[str, str], ...]] | None:
    """How files are opened; None for a table."""
    path = source.source
    if path is None or not _is_path(path, source.options):
        if source.options:
            raise PlatformError("reader options are for files", where=where)
        return None
    form = file_format(path, source.options, where)
    options: dict[str, str] = {}
    if form == "csv":
        options = {
            "header": "true" if source.options.get("header", True) else "false",
            "sep": str(source.options.get("delimiter", "\t" if ".tsv" in path.casefold() else ",")),
            "inferSchema": "false" if source.schema or "null_values" in source.options else "true",
            "multiLine": "true",
        }
    return path, form, tuple(options.items())


def _is_path(text: str, options: Mapping[str, Any]) -> bool:
    ends = tuple(end for ends in FORMATS.values() for end in ends)
    return "format" in options or "/" in text or text.casefold().endswith(ends)


def _columns(found: pa.Schema, source: TableSource, where: str) -> tuple[list[str], Schema]:
    """The select list that publishes a source, and its schema."""
    arrived = {field.name: plain_layout(field.type) for field in found}
    nulls = dict.fromkeys(map(str, source.options.get("null_values", ())))
    values: list[str] = []
    fields: list[tuple[str, str]] = []
    for name, own in selected(arrived, source, where):
        text = source.schema.get(name)
        value = _name(own)
        if nulls and pa.types.is_string(arrived[own]):
            value = f"CASE WHEN {value} IN ({', '.join(map(_text, nulls))}) THEN NULL ELSE {value} END"
        if text is None:
            text = next(iter(Schema.from_pyarrow(pa.schema([(name, arrived[own])])).values()))
        elif family(text) is Family.OTHER:
            raise PlatformError(f"column {name!r}: the type {text} is not read from Spark", where=where)
        elif arrow_type(text) != arrived[own]:
            value = f"CAST({value} AS {_spark_type(text)})"
        values.append(f"{value} AS {_name(name)}")
        fields.append((name, text))
    return values, Schema(fields)


def _spark_type(text: str) -> str:
    return "TIMESTAMP_NTZ" if family(text) is Family.TIMESTAMP else PySparkType.to_string(datatype(text))


def _retyped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches under one schema: a server may flag some of them `not null`, or use views in some only."""
    for batch in batches:
        arrays = [
            array if array.type == field.type else array.cast(field.type)
            for array, field in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _name(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"
