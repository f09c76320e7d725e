"""The demo's reference: all rows in one place, as nobody but the demo may have them, and what a pooled model makes of them.

The federated figures are compared with these. The model is fitted by the same estimators in a federation of one site that
releases rows; AUC and log loss are then computed from the single predictions, by their definitions. Where scikit-learn is
installed it fits the model once more, as a witness that shares no code with Blossom.
"""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa

from blossom.cli import demo_data
from blossom.cli.demo_figures import Quality
from blossom.fedpy.connect import connect
from blossom.fedpy.session import Session
from blossom.policy.model import ROW_UNIT

Floats = np.ndarray[Any, np.dtype[np.float64]]

RARE = "infrequent"
"""What the encoder calls the carriers that are too rare to be named."""

_TYPES = {"int64": "BIGINT", "float64": "DOUBLE", "string": "VARCHAR", "timestamp(6)": "TIMESTAMP"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A carrier at one airport, from the raw rows: flights that arrived, their summed delay, and how many aircraft they are."""

    flights: int
    delay: int
    aircraft: int


class Pooled:
    """All rows of the three airports in one place; a context manager."""

    def __init__(self, source: Path | None = None) -> None:
        self._source = source or demo_data.find_data()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self._folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="blossom-pooled-")))
            self._read()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def _read(self) -> None:
        with zipfile.ZipFile(self._source / "flights.csv.zip") as archive:
            archive.extract("flights.csv", self._folder)
        files = {"flights": self._folder / "flights.csv", "weather": self._source / "weather.csv"}
        with duckdb.connect() as con:
            for table, path in files.items():
                columns = {name: _TYPES[kind] for name, kind in demo_data.SCHEMAS[table].items()}
                rows = con.read_csv(
                    str(path),
                    header=True,
                    columns=columns,
                    na_values="NA",
                    timestamp_format="%Y-%m-%dT%H:%M:%SZ",
                )
                rows.write_parquet(str(self._folder / f"{table}.parquet"), compression="snappy")
        files["flights"].unlink()

    def federation(self, carriers: Iterable[str]) -> Session:
        """A federation of one site that holds all rows and releases them; closed when this is.

        Args:
            carriers: The carriers that have a name of their own. The airports join those that are too rare to be named; the
                same join here makes the fitted model the same model.
        """
        policy = {"release": "rows", "training": "updates", "min_group": 1, "privacy_unit": ROW_UNIT}
        named = ", ".join(_text(carrier) for carrier in carriers)
        joined = f"CASE WHEN carrier IN ({named}) THEN carrier ELSE '{RARE}' END"
        queries = {
            "flights": f"SELECT * REPLACE ({joined} AS carrier) FROM {self._rows('flights')}",  # noqa: S608 - quoted
            "weather": f"SELECT * FROM {self._rows('weather')}",  # noqa: S608 - quoted
        }
        tables = {name: {"query": query, "policy": policy} for name, query in queries.items()}
        return self._open.enter_context(connect({"sites": {"pooled": {"tables": tables}}}))

    def _rows(self, table: str) -> str:
        return f"read_parquet({_text(str(self._folder / f'{table}.parquet'))})"

    def _query(self, text: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as con:
            con.read_parquet(str(self._folder / "flights.parquet")).create_view("flights")
            return con.sql(text).fetchall()

    def count(self) -> int:
        """How many flights there are."""
        return self._query("SELECT count(*) FROM flights")[0][0]

    def cells(self) -> Mapping[tuple[str, str], Cell]:
        """(site, carrier) -> what is there. Flights whose aircraft is unknown count as one aircraft together."""
        rows = self._query(
            "SELECT origin, carrier, count(*), CAST(sum(arr_delay) AS BIGINT), "
            "count(DISTINCT tailnum) + CAST(bool_or(tailnum IS NULL) AS INT) "
            "FROM flights WHERE arr_delay IS NOT NULL GROUP BY ALL ORDER BY ALL"
        )
        sites = {origin: site for site, origin in demo_data.AIRPORTS.items()}
        return {(sites[origin], carrier): Cell(*figures) for origin, carrier, *figures in rows}


def _text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def quality(name: str, late: Floats, probability: Floats) -> Quality:
    """AUC and log loss of predictions by their definitions, tied probabilities counting a half.

    >>> one = quality("coin", np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9]))
    >>> one.auc, round(one.log_loss, 6)
    (0.75, 0.645981)
    """
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    events = float(late.sum())
    others = len(late) - events
    auc = (float(ranks[late > 0].sum()) - events * (events + 1) / 2) / (events * others)
    loss = -float(np.where(late > 0, np.log(probability), np.log1p(-probability)).mean())
    return Quality(name, len(late), auc, 0.0, loss)


def columns_of(table: pa.Table, *names: str) -> list[Floats]:
    """Columns as float arrays."""
    return [table.column(name).cast(pa.float64()).to_numpy() for name in names]


Witness = Callable[[pa.Table, pa.Table], tuple[Mapping[str, float], Quality]]


def witness() -> Witness | None:
    """The model by scikit-learn, where it is installed: (training rows, held-out rows) -> (coefficients, quality)."""
    if importlib.util.find_spec("sklearn") is None:
        return None
    return _scikit_learn


def _scikit_learn(training: pa.Table, held_out: pa.Table) -> tuple[Mapping[str, float], Quality]:
    from sklearn.linear_model import LogisticRegression

    numbers = [name for name in training.column_names if name not in ("carrier", "late")]
    carriers = sorted(set(training.column("carrier").to_pylist()))
    means = {
        name: float(values.mean())
        for name, values in zip(numbers, columns_of(training, *numbers), strict=True)
    }
    spreads = {
        name: float(values.std())
        for name, values in zip(numbers, columns_of(training, *numbers), strict=True)
    }

    def features(table: pa.Table) -> Floats:
        names = np.asarray(table.column("carrier").to_pylist())
        scaled = [
            (values - means[n]) / spreads[n]
            for n, values in zip(numbers, columns_of(table, *numbers), strict=True)
        ]
        return np.column_stack([*scaled, *((names == carrier).astype(np.float64) for carrier in carriers)])

    model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=100)
    model.fit(features(training), columns_of(training, "late")[0])
    outputs = [*numbers, *(f"carrier_{carrier}" for carrier in carriers)]
    coefficients = dict(
        zip(
            ("(intercept)", *outputs),
            [*np.ravel(model.intercept_).tolist(), *np.ravel(model.coef_).tolist()],
            strict=True,
        )
    )
    probability = model.predict_proba(features(held_out))[:, 1]
    return coefficients, quality("scikit-learn, pooled rows", columns_of(held_out, "late")[0], probability)
