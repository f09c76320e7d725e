"""Polars: files as lazy frames, fragments as one lazy query on its streaming engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, cast

import polars as pl
import pyarrow as pa

from blossom.plan.errors import BlossomError, PlatformError, unknown
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.platforms.arrow import batch_rows, conform
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.polars_expressions import DIFFERS
from blossom.platforms.polars_relations import Frame, Watch, frame, node_refusal
from blossom.platforms.polars_sources import Published, plain, publish
from blossom.platforms.polars_types import Term

_CANCELLED = "the run was cancelled"


class Polars(Platform):
    """An embedded Polars over Parquet, CSV and JSON-lines files.

    A fragment is translated node by node into one lazy query (`polars_relations`), by tables of what agrees with DuckDB.

    Cancellation: Polars 2.1 has no interrupt (`InProcessQuery.cancel` leaves a running streaming query running, measured), so
    every operator that holds rows back reads its input through a check, which fails the query at the next morsel; results are
    pulled batch by batch and stop when no longer pulled. A query that is past its inputs, as in the last phase of a large sort,
    first ends that phase. The thread pool is the process's (POLARS_MAX_THREADS), shared by all queries.

    Args:
        name: The platform's name at its site.
    """

    kind: ClassVar[str] = "polars"
    differs: ClassVar[Mapping[str, str]] = DIFFERS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._where = f"polars {name!r}"
        self._lock = threading.Lock()
        self._tables: dict[str, Published] = {}

    def publish(self, table: str, source: TableSource) -> Schema:
        published = publish(source, f"{self._where}, table {table!r}")
        with self._lock:
            self._tables[table] = published
        return published.schema

    def _table(self, table: str) -> Published:
        found = self._tables.get(table)
        if found is None:
            what, hint = unknown("table", table, self._tables)
            raise PlatformError(what, where=self._where, hint=hint)
        return found

    def row_count(self, table: str) -> int | None:
        found = self._table(table)
        if not found.counted:
            return None
        try:
            return int(found.lazy.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise PlatformError(str(error).strip(), where=f"{self._where}, table {table!r}") from error

    def unsupported(self, node: Relation) -> str | None:
        return node_refusal(node)

    def run(
        self, fragment: Relation, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        keys = dict.fromkeys(node.key for node in fragment.walk() if isinstance(node, Received))
        # once a key: several leaves may read the same rows, and a stream gives them once
        received = {key: self._received(key, inputs, cancellation) for key in keys}

        def leaf(node: Relation) -> Frame:
            if isinstance(node, Scan):
                found = self._table(node.table)
                return _chosen(Frame(found.lazy, found.types), node)
            assert isinstance(node, Received)
            return _chosen(received[node.key], node)

        def failure(error: Exception) -> Exception:
            what = _CANCELLED if cancellation.cancelled else str(error).strip()
            return PlatformError(what, where=self._where)

        try:
            built = frame(fragment, leaf, _watch(cancellation))
            batches = _output(built).collect_batches(
                chunk_size=batch_rows(fragment.schema), maintain_order=True, engine="streaming"
            )
            reader = pa.RecordBatchReader.from_stream(batches)
        except BlossomError as error:
            if isinstance(error, PlatformError):
                raise
            raise PlatformError(error.what, where=self._where, hint=error.hint) from error
        except (pl.exceptions.PolarsError, OSError, pa.ArrowException) as error:
            raise failure(error) from error
        return conform(
            _until_cancelled(reader, cancellation, self._where),
            fragment.schema,
            where=self._where,
            failure=failure,
        )

    def _received(
        self, key: str, inputs: Mapping[str, pa.RecordBatchReader], cancellation: Cancellation
    ) -> Frame:
        reader = inputs.get(key)
        if reader is None:
            raise PlatformError(f"no rows were given for {key}", where=self._where)
        table = pa.Table.from_batches(
            list(_until_cancelled(reader, cancellation, self._where)), schema=reader.schema
        )
        found = cast(pl.DataFrame, pl.from_arrow(table))
        terms = {name: plain(Term(pl.col(name), dtype)) for name, dtype in found.schema.items()}
        lazy = found.lazy().select(**{name: term.expr for name, term in terms.items()})
        return Frame(lazy, {name: term.dtype for name, term in terms.items()})

    def close(self) -> None:
        with self._lock:
            self._tables.clear()


def _chosen(source: Frame, node: Relation) -> Frame:
    missing = [name for name in node.schema if name not in source.types]
    if missing:
        what, hint = unknown("column", missing[0], source.types)
        raise PlatformError(what, hint=hint)
    types = {name: source.types[name] for name in node.schema}
    return Frame(source.lazy.select(list(types)), types)


def _output(built: Frame) -> pl.LazyFrame:
    """The frame in types that Arrow has: 128-bit integers leave as decimals, as DuckDB's do."""
    wide = pl.Decimal(38, 0)
    return built.lazy.select(
        **{
            name: pl.col(name).cast(wide) if dtype == pl.Int128 else pl.col(name)
            for name, dtype in built.types.items()
        }
    )


def _watch(cancellation: Cancellation) -> Watch:
    def check(rows: pl.DataFrame) -> pl.DataFrame:
        if cancellation.cancelled:
            raise RuntimeError(_CANCELLED)
        return rows

    step: Callable[[pl.DataFrame], pl.DataFrame] = check
    return lambda lazy: lazy.map_batches(step, streamable=True, validate_output_schema=False)


def _until_cancelled(
    reader: pa.RecordBatchReader, cancellation: Cancellation, where: str
) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            if cancellation.cancelled:
                raise PlatformError(_CANCELLED, where=where)
            yield batch

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
