"""What a reader of files promises: its columns, and streams of some of them for the rows that may pass a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from blossom.platforms.files.filters import Condition


class Rows(Protocol):
    """Rows outside any engine, which can be read again and again."""

    @property
    def schema(self) -> pa.Schema:
        """All columns, as they stand in the source."""
        ...

    def read(self, columns: Sequence[str], conditions: Sequence[Condition]) -> pa.RecordBatchReader:
        """A stream of some columns.

        Args:
            columns: At least one, each of `schema`.
            conditions: Rows for which one of them is not true may be left out, and need not be.
        """
        ...

    def count(self) -> int | None:
        """How many rows there are, where that is cheap to say."""
        ...
