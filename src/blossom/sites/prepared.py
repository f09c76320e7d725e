"""A fit's rows at a site: stored once as an Arrow file, memory-mapped, and read once for each statistic.

Data larger than memory stays on disk; each pass streams it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa

from blossom.learning.site import answer
from blossom.learning.statistics.base import State, Statistic
from blossom.plan.errors import SiteError
from blossom.sites.streams import CANCELLED


class Prepared:
    """Rows to fit on; `close` removes them."""

    def __init__(self, file: Path, units: Sequence[str], min_group: int, site: str, table: str) -> None:
        self._file = file
        self._units = tuple(units)
        self._min_group = min_group
        self._site, self._table = site, table
        self._passed: set[str] = set()
        self._closed = False
        self._pass = threading.Lock()
        self._map = pa.memory_map(str(file))
        self._reader = pa.ipc.open_file(self._map)

    @classmethod
    def of(
        cls,
        reader: pa.RecordBatchReader,
        columns: Sequence[str],
        units: Sequence[str],
        *,
        min_group: int = 1,
        site: str = "",
        table: str = "",
        folder: Path | None = None,
    ) -> Self:
        """Store the columns and unit columns of a stream.

        Raises:
            SiteError: The disk does not take them; nothing is left behind.
        """
        handle, name = tempfile.mkstemp(prefix="fit-", suffix=".arrow", dir=folder)
        file = Path(name)
        try:
            schema = pa.schema([reader.schema.field(c) for c in (*columns, *units)])
            with open(handle, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:  # noqa: PTH123 - a descriptor
                for batch in reader:
                    writer.write_batch(batch.select(schema.names))
            return cls(file, units, min_group, site, table)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise SiteError(
                f"the rows of a fit cannot be stored: {error.strerror or error}",
                where=f"site {site}",
                hint="free some disk",
            ) from error
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, from the start.

        Raises:
            SiteError: They were removed meanwhile: the fit was cancelled.
        """
        for number in range(self._reader.num_record_batches):
            if self._closed:
                raise SiteError(CANCELLED, where=f"site {self._site}")
            yield self._reader.get_batch(number)

    def answer(self, statistic: Statistic, withheld: frozenset[str] = frozenset()) -> State:
        """One pass over the rows.

        Args:
            statistic: The question.
            withheld: Names of groupings of which nothing may be told.

        Raises:
            PolicyError: The answer may not leave.
            TrainingError: A value cannot be used.
        """
        with self._pass:
            return answer(
                statistic, self.batches(), self._units, self._min_group,
                site=self._site, table=self._table, passed=self._passed, withheld=withheld,
            )  # fmt: skip

    def close(self) -> None:
        """Remove the rows, and stop the pass that reads them at its next batch; idempotent."""
        self._closed = True
        self._file.unlink(missing_ok=True)
        with self._pass:
            self._map.close()
