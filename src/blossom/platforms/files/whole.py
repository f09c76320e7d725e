"""Whole files as rows: path, bytes, size and time of change; for images, text and whatever a function can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as pads

from blossom.platforms.arrow import BATCH_BYTES
from blossom.platforms.files.filters import Comparison, Condition, as_arrow
from blossom.platforms.files.storage import Place, told

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("bytes", pa.binary()),
        ("size", pa.int64()),
        ("modified", pa.timestamp("us")),
    ]
)


class Whole:
    """One row a file, in the order of their paths.

    `path` is relative to the folder, or to what stands before a glob's first wildcard; `modified` is in UTC. Contents are read
    only where `bytes` is asked for, of the files that pass the conditions, a batch of about 1 MiB at a time. The folder is listed
    at each read.

    Raises:
        PlatformError: No file fits.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        place.files()

    @property
    def schema(self) -> pa.Schema:
        return _SCHEMA

    def _listed(self) -> pa.Table:
        files = self._place.files()
        cut = len(self._place.base)
        return pa.table(
            {
                "path": pa.array([file.path[cut:].lstrip("/") for file in files], pa.string()),
                "own": pa.array([file.path for file in files], pa.string()),
                "size": pa.array([file.size for file in files], pa.int64()),
                "modified": pa.array(
                    [None if file.modified is None else file.modified.replace(tzinfo=None) for file in files],
                    pa.timestamp("us"),
                ),
            }
        )

    def read(self, columns: Sequence[str], conditions: Sequence[Condition]) -> pa.RecordBatchReader:
        usable = [each for each in conditions if isinstance(each, Comparison) and each.column != "bytes"]
        listed = self._listed()
        chosen = as_arrow(usable, _SCHEMA)
        if chosen is not None:
            listed = pads.dataset(listed).to_table(filter=chosen)
        schema = pa.schema([_SCHEMA.field(name) for name in columns])
        if "bytes" not in columns:
            return listed.select(list(columns)).to_reader(max_chunksize=65_536)
        return pa.RecordBatchReader.from_batches(schema, self._contents(listed, schema))

    def _contents(self, listed: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        contents: list[bytes] = []
        start = size = 0
        for own in listed.column("own").to_pylist():
            with told(self._place.where), self._place.filesystem.open_input_stream(own) as stream:
                contents.append(stream.read())
            size += len(contents[-1])
            if size >= BATCH_BYTES:
                yield _batch(listed, start, contents, schema)
                start, contents, size = start + len(contents), [], 0
        if contents:
            yield _batch(listed, start, contents, schema)

    def count(self) -> int | None:
        return len(self._place.files())


def _batch(listed: pa.Table, start: int, contents: list[bytes], schema: pa.Schema) -> pa.RecordBatch:
    part = listed.slice(start, len(contents)).combine_chunks()
    arrays = [
        pa.array(contents, pa.binary()) if name == "bytes" else part.column(name).combine_chunks()
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
