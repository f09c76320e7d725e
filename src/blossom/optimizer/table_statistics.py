"""What is known of the columns of every table, with its JSON form."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from blossom.optimizer.statistics import ColumnStatistics
from blossom.plan.errors import ConfigError

VERSION = 1


class TableStatistics:
    """Column statistics of tables, each with the number of rows that its table had; safe for many threads."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[int | None, Mapping[str, ColumnStatistics]]] = {}
        self._lock = threading.Lock()

    def keep(self, site: str, table: str, rows: int | None, columns: Mapping[str, ColumnStatistics]) -> None:
        """Note what was found."""
        with self._lock:
            self._tables[f"{site}/{table}"] = rows, dict(columns)

    def has(self, site: str, table: str, rows: int | None) -> bool:
        """Whether something is known of the table as it is: with about as many rows."""
        known = self._tables.get(f"{site}/{table}")
        return known is not None and _about(known[0], rows)

    def of(self, site: str, table: str, column: str) -> ColumnStatistics | None:
        """What is known of a column."""
        known = self._tables.get(f"{site}/{table}")
        return None if known is None else known[1].get(column)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._tables.clear()

    def adopt(self, other: TableStatistics) -> None:
        """Take over tables that this one knows nothing of."""
        with self._lock:
            self._tables = {**other._tables, **self._tables}

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        with self._lock:
            return {
                "version": VERSION,
                "tables": {
                    name: {"rows": rows, "columns": {column: asdict(one) for column, one in columns.items()}}
                    for name, (rows, columns) in self._tables.items()
                },
            }

    @classmethod
    def load(cls, document: Any) -> TableStatistics:
        """From JSON values.

        Raises:
            ConfigError: They are of another version, or no statistics.
        """
        try:
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']}, this Blossom reads {VERSION}")
            found = cls()
            for name, table in document["tables"].items():
                columns = {
                    column: _checked(ColumnStatistics(**one)) for column, one in table["columns"].items()
                }
                found._tables[str(name)] = None if table["rows"] is None else int(table["rows"]), columns
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"these are no statistics: {error}", where="column statistics") from error
        return found


def _about(one: int | None, two: int | None) -> bool:
    if one is None or two is None:
        return one is two
    return one <= 2 * two + 1 and two <= 2 * one + 1


def _checked(one: ColumnStatistics) -> ColumnStatistics:
    figures = [value for value in (one.distinct, one.low, one.high, one.nulls) if value is not None]
    if not all(math.isfinite(float(value)) for value in figures):
        raise ValueError("a figure that is none")
    return one
