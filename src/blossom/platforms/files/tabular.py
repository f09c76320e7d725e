"""Parquet, CSV and JSON files at a URL: one Arrow dataset, whose files must have the same columns."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads

from blossom.plan.errors import PlatformError
from blossom.platforms.arrow import arrow_type
from blossom.platforms.files.filters import Condition, as_arrow
from blossom.platforms.files.storage import Place, told
from blossom.platforms.interface import TableSource
from blossom.platforms.sources import FORMATS

_ROWS = 65_536


class Tabular:
    """Rows of files of one format.

    Raises:
        PlatformError: A file is missing or of another format, or two files do not have the same columns.
    """

    def __init__(self, place: Place, kind: str, source: TableSource) -> None:
        self._where = place.where
        self._counted = kind == "parquet"
        files = [file.path for file in place.files(FORMATS[kind])]
        form = _format(kind, source)
        if kind == "csv" and not source.options.get("header", True):
            with told(self._where):
                form = _format(kind, source, _names(place, form, files[0]))
        partitioning = pads.partitioning(flavor="hive") if place.is_folder else None
        with told(self._where):
            open_with: Any = functools.partial(
                pads.dataset,
                files,
                filesystem=place.filesystem,
                format=form,
                partitioning=partitioning,
                partition_base_dir=None if partitioning is None else place.base,
            )
            self._dataset: pads.Dataset = open_with(schema=_agreed(open_with(), source, self._where))

    @property
    def schema(self) -> pa.Schema:
        return self._dataset.schema

    def read(self, columns: Sequence[str], conditions: Sequence[Condition]) -> pa.RecordBatchReader:
        chosen = as_arrow(conditions, self.schema)
        with told(self._where):
            # not `to_reader`: it holds Python's lock while it opens text files, which filesystems written in Python need
            scanner = self._dataset.scanner(columns=list(columns), filter=chosen, batch_size=_ROWS)
            return pa.RecordBatchReader.from_batches(scanner.projected_schema, scanner.to_batches())

    def count(self) -> int | None:
        with told(self._where):
            return self._dataset.count_rows() if self._counted else None


def _names(place: Place, form: pads.FileFormat, first: str) -> list[str]:
    """DuckDB's names for columns without any, so that a file has the same columns everywhere."""
    count = len(form.inspect(first, filesystem=place.filesystem))
    digits = len(str(count - 1))
    return [f"column{i:0{digits}d}" for i in range(count)]


def _format(kind: str, source: TableSource, names: list[str] | None = None) -> pads.FileFormat:
    options = source.options
    if kind == "parquet":
        return pads.ParquetFileFormat()
    if kind == "json":
        return pads.JsonFileFormat()
    assert source.source is not None
    delimiter = str(options.get("delimiter", "\t" if ".tsv" in source.source.casefold() else ","))
    nulls = list(dict.fromkeys(["", *map(str, options.get("null_values", ()))]))
    types = {source.rename.get(name, name): arrow_type(text) for name, text in source.schema.items()}
    return pads.CsvFileFormat(
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        read_options=pacsv.ReadOptions(
            column_names=names, autogenerate_column_names=names is None and not options.get("header", True)
        ),
        convert_options=pacsv.ConvertOptions(null_values=nulls, strings_can_be_null=True, column_types=types),
    )


def _agreed(dataset: pads.Dataset, source: TableSource, where: str) -> pa.Schema:
    """The columns of the first file, if all files have them, but for those whose types are declared or that are left out."""
    declared = {source.rename.get(name, name): arrow_type(text) for name, text in source.schema.items()}
    kept = None if source.columns is None else {source.rename.get(name, name) for name in source.columns}
    first: Mapping[str, pa.DataType] | None = None
    told_of = ""
    for fragment in dataset.get_fragments():
        own = {
            field.name: field.type for field in fragment.physical_schema if kept is None or field.name in kept
        }
        if first is None:
            first, told_of = own, fragment.path
            continue
        fault = _drift(first, own, declared)
        if fault is not None:
            raise PlatformError(
                f"{fault} in {fragment.path!r}, unlike in {told_of!r}",
                where=where,
                hint="publish such files as tables of their own, declare the column's type in `schema`, or keep the others with `columns`",
            )
    fields = [
        pa.field(field.name, declared[field.name]) if field.name in declared else field
        for field in dataset.schema
    ]
    return pa.schema(fields)


def _drift(first: Mapping[str, Any], own: Mapping[str, Any], declared: Mapping[str, Any]) -> str | None:
    for name in first:
        if name not in own:
            return f"the column {name!r} is missing"
        if own[name] != first[name] and name not in declared:
            return f"the column {name!r} is {own[name]} (not {first[name]})"
    extra = next((name for name in own if name not in first), None)
    return None if extra is None else f"there is a column {extra!r} more"
