"""Two clouds hold the same rows, one fast and dear, one slow and cheap: the budget decides which of them answers.

Run it: python examples/budget.py
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

import blossom as bl

ROWS = 200_000


def readings() -> Iterator[tuple[int, float]]:
    """What two hundred sensors measured."""
    for number in range(ROWS):
        yield number % 200, (number * 7919 % 1000) / 10


def configuration(folder: Path) -> dict[str, Any]:
    """Writes the rows for DuckDB at one site and for SQLite at another, and says what the sites charge."""
    rows = list(readings())
    columns = {"sensor": [sensor for sensor, _ in rows], "value": [value for _, value in rows]}
    pq.write_table(pa.table(columns), folder / "readings.parquet")
    with closing(sqlite3.connect(folder / "readings.db")) as connection, connection:
        connection.execute("CREATE TABLE readings (sensor INTEGER, value REAL)")
        connection.executemany("INSERT INTO readings VALUES (?, ?)", rows)
    table = {
        "replicated": True,
        "policy": {"release": "rows"},
        "schema": {"sensor": "int64", "value": "float64"},
    }
    return {
        "sites": {
            "aws": {
                "provider": "aws",
                "price": {"usd_per_hour": 32.0},  # a large machine
                "tables": {"readings": {**table, "source": str(folder / "readings.parquet")}},
            },
            "gcp": {
                "provider": "gcp",
                "platforms": {"lite": {"kind": "sqlite", "database": str(folder / "readings.db")}},
                "tables": {"readings": {**table, "platform": "lite", "source": "readings"}},
            },
        }
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name, bl.connect(configuration(Path(name))) as fed:
        means = fed.table("readings").group_by("sensor").agg(mean=_.value.mean())
        print(fed.explain(means, budget=bl.Budget(seconds=30, usd=1)), end="\n\n")
        for budget in (bl.Budget(usd=1), bl.Budget(seconds=30)):
            run = fed.run(means, budget=budget)
            (site,) = {release.site for release in run.releases}
            print(f"a budget of {budget}: {site} answered, {run.spent}")
        try:
            fed.run(means, budget=bl.Budget(seconds=0.001))
        except bl.BudgetError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()
