"""A site's answer to a statistic: one pass over its prepared rows, checked before it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from blossom.learning.statistics.base import Guard, State, Statistic

BLOCK_NUMBERS = 1 << 20
"""Float64 numbers that a block's measurement may hold at once, about (8 MiB)."""


def answer(
    statistic: Statistic,
    batches: Iterable[pa.RecordBatch],
    units: Sequence[str] = (),
    min_group: int = 1,
    *,
    site: str = "",
    table: str = "",
    passed: set[str] | None = None,
    withheld: frozenset[str] = frozenset(),
) -> State:
    """Answer a statistic over a site's rows.

    Rows are measured in blocks of a fixed size, whatever the sizes of the batches, so that the answer's bits do not depend on
    how an engine cuts its result. Memory: O(features^2 + block).

    Args:
        statistic: The question.
        batches: The site's prepared rows; none, or empty ones, for an empty site, which answers `statistic.empty()`.
        units: The batches' unit columns; none: each row is a unit. With several, the minimum must hold for every one.
        min_group: The owner's smallest group.
        site: The site's name, for refusals.
        table: The table's name, for refusals.
        passed: What release checks these rows passed before. Give one set to all questions about the same rows in one run and
            each check is made once; never keep it when the rows change.
        withheld: Names of groupings of which nothing may be told.

    Raises:
        PolicyError: The answer may not leave; carries the refusal.
        TrainingError: A value cannot be used, or a column is missing; names the column.
    """
    guard = Guard(site, table, tuple(units), min_group, passed, withheld=withheld)
    collector = statistic.collect(guard)
    empty = True
    for block in blocks(batches, max(256, min(1 << 16, BLOCK_NUMBERS // max(statistic.width, 1)))):
        empty = False
        collector.add(block)
    return statistic.empty() if empty else collector.finish()


def blocks(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in blocks of exactly `rows` rows, the last one smaller."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        start = 0
        while batch.num_rows - start >= rows - count:
            taken = rows - count
            yield _joined([*waiting, batch.slice(start, taken)])
            start += taken
            waiting, count = [], 0
        if batch.num_rows > start:
            waiting.append(batch.slice(start))
            count += batch.num_rows - start
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    columns = [
        pa.concat_arrays(_alike([part.column(i) for part in parts])) for i in range(parts[0].num_columns)
    ]
    return pa.RecordBatch.from_arrays(columns, names=parts[0].schema.names)


def _alike(arrays: list[pa.Array]) -> list[pa.Array]:
    """Dictionary encoding undone: each batch may have a dictionary of its own."""
    return [array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in arrays]
