"""A table of files as it is published: columns chosen, renamed and cast to their declared types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.errors import BlossomError, PlatformError, unknown
from blossom.plan.expressions import Expression
from blossom.plan.schema import Schema
from blossom.platforms.arrow import arrow_type, plain_layout
from blossom.platforms.files.delta import Delta
from blossom.platforms.files.filters import taken
from blossom.platforms.files.iceberg import Iceberg
from blossom.platforms.files.rows import Rows
from blossom.platforms.files.storage import Place, first_line, scheme
from blossom.platforms.files.tabular import Tabular
from blossom.platforms.files.whole import Whole
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.sources import FORMATS, file_format, selected

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "delta": ("format", "storage", "version"),
    "iceberg": ("format", "storage", "catalog", "catalog_name", "snapshot"),
    "files": ("format", "storage"),
}
"""Format that no engine reads itself -> the options it takes."""


_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def outside(source: TableSource, formats: frozenset[str] = frozenset(FORMATS)) -> bool:
    """Whether a source is read here rather than by an engine: a format of `OPTIONS`, a URL, or none of the engine's `formats`.

    >>> outside(TableSource(source="s3://b/t.parquet")), outside(TableSource(source="t.parquet"))
    (True, False)
    """
    if source.source is None:
        return False
    if source.options.get("format") in OPTIONS or scheme(source.source) not in (None, "file"):
        return True
    folded = source.source.casefold()
    named = source.options.get("format") or next(
        (kind for kind, suffixes in FORMATS.items() if folded.endswith(suffixes)), None
    )
    return named in FORMATS and named not in formats


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a published column comes from; `cast` is its declared type where the source has another."""

    name: str
    own: str
    cast: pa.DataType | None


class Published:
    """A source of files under its published names and types.

    Raises:
        PlatformError: It cannot be read, or a declared column, type or option does not fit; says `where`.
    """

    def __init__(self, source: TableSource, where: str) -> None:
        self._where = where
        self._rows = _rows(source, where)
        arrived = {field.name: plain_layout(field.type) for field in self._rows.schema}
        self._columns: dict[str, _Column] = {}
        fields: list[tuple[str, str]] = []
        for name, own in selected(arrived, source, where):
            text = source.schema.get(name)
            cast = None
            if text is None:
                text = _text(name, arrived[own], where)
            elif arrow_type(text) != arrived[own]:
                cast = arrow_type(text)
                _castable(name, arrived[own], cast, where)
            self._columns[name] = _Column(name, own, cast)
            fields.append((name, text))
        self.schema = Schema(fields)

    def count(self) -> int | None:
        """How many rows, where that is cheap to say."""
        return self._rows.count()

    def read(
        self, columns: Sequence[str], predicates: Iterable[Expression], cancellation: Cancellation
    ) -> pa.RecordBatchReader:
        """Some columns of the rows that may pass all of the predicates."""
        for name in columns:
            if name not in self._columns:
                what, hint = unknown("column", name, self._columns)
                raise PlatformError(what, where=self._where, hint=hint)
        chosen = [self._columns[name] for name in columns]
        same = {column.name: column.own for column in self._columns.values() if column.cast is None}
        reader = self._rows.read(
            list(dict.fromkeys(column.own for column in chosen)), taken(predicates, same)
        )
        schema = pa.schema(
            [
                (column.name, column.cast or plain_layout(reader.schema.field(column.own).type))
                for column in chosen
            ]
        )
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader, chosen, schema, cancellation))

    def _batches(
        self,
        reader: pa.RecordBatchReader,
        chosen: Sequence[_Column],
        schema: pa.Schema,
        cancellation: Cancellation,
    ) -> Iterator[pa.RecordBatch]:
        while True:
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where)
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except BlossomError:
                raise
            except Exception as error:  # noqa: BLE001 - of whatever library stands behind the stream
                raise PlatformError(first_line(error), where=self._where) from None
            arrays = [
                self._array(batch.column(column.own), column, field.type)
                for column, field in zip(chosen, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _array(self, array: pa.Array, column: _Column, target: pa.DataType) -> pa.Array:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if array.type == target:
            return array
        try:
            return array.cast(target)
        except pa.ArrowInvalid:
            # Arrow's message quotes the value, which may be private
            raise PlatformError(
                f"column {column.name!r}: a value of type {array.type} does not fit {target}",
                where=self._where,
                hint="declare another type for it in the table's schema",
            ) from None


def _text(name: str, dtype: pa.DataType, where: str) -> str:
    try:
        return next(iter(Schema.from_pyarrow(pa.schema([(name, dtype)])).values()))
    except Exception as error:  # Ibis's several families, all meaning "no such type"
        raise PlatformError(
            f"column {name!r} has the type {dtype}, which pipelines do not know",
            where=where,
            hint="declare another type for it in the table's schema, or leave it out with `columns`",
        ) from error


def _castable(name: str, arrived: pa.DataType, target: pa.DataType, where: str) -> None:
    try:
        pc.cast(pa.nulls(0, arrived), target)
    except pa.ArrowNotImplementedError:
        raise PlatformError(f"column {name!r}: {arrived} cannot become {target}", where=where) from None


def _rows(source: TableSource, where: str) -> Rows:
    assert source.source is not None
    if source.query is not None:
        raise PlatformError("give a source or a query, not both", where=where)
    kind = str(source.options.get("format", ""))
    storage: Mapping[str, Any] = source.options.get("storage", {})
    if kind in OPTIONS:
        for option in source.options:
            if option not in OPTIONS[kind]:
                what, hint = unknown(f"{kind} option", option, OPTIONS[kind])
                raise PlatformError(what, where=where, hint=hint)
        return _READERS[kind](source.source, source.options, storage, where)
    plain = {option: value for option, value in source.options.items() if option != "storage"}
    place = Place(source.source, where, storage)
    named = "format" in plain or place.is_glob or source.source.casefold().endswith(_SUFFIXES)
    kind = file_format(source.source, plain, where, folder=not named and place.is_folder)
    return Tabular(place, kind, source)


_READERS: Mapping[str, Callable[[str, Mapping[str, Any], Mapping[str, Any], str], Rows]] = {
    "delta": lambda source, options, storage, where: Delta(source, storage, options.get("version"), where),
    "iceberg": lambda source, options, storage, where: Iceberg(
        source,
        storage,
        where,
        catalog=options.get("catalog"),
        catalog_name=options.get("catalog_name"),
        snapshot=options.get("snapshot"),
    ),
    "files": lambda source, options, storage, where: Whole(Place(source, where, storage)),
}
