"""Sites in memory for the learning tests (lists of batches that answer statistics), and two data sets."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer

from blossom.learning import FitOptions, answer, fit, fold
from blossom.plan.schema import Schema


class Sites:
    """Named tables that answer together."""

    def __init__(self, tables, *, units=(), min_group=1, batch_rows=None, check_twice=False):
        self.tables = tables
        self.units = units
        self.min_group = min_group
        self.batch_rows = batch_rows
        self.passed = {name: None if check_twice else set() for name in tables}
        self.asked = []

    def ask(self, statistic):
        self.asked.append(statistic)
        states = {
            name: answer(
                statistic,
                table.to_batches(max_chunksize=self.batch_rows),
                self.units,
                self.min_group,
                site=name,
                table="t",
                passed=self.passed[name],
            )
            for name, table in self.tables.items()
        }
        return fold(statistic, states)

    @property
    def schema(self):
        return Schema.from_pyarrow(next(iter(self.tables.values())).schema.remove_metadata())

    @property
    def pooled(self):
        return pa.concat_tables([self.tables[name] for name in sorted(self.tables)])


def parted(table, sizes):
    """A table cut into sites of the given sizes; the last takes the rest."""
    names = [f"s{index}" for index in range(len(sizes) + 1)]
    edges = [0, *np.cumsum(sizes).tolist(), table.num_rows]
    return {
        name: table.slice(start, stop - start)
        for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True)
    }


def matrix(table, columns):
    return np.column_stack([table[name].to_numpy().astype(float) for name in columns])


def run(estimator, tables, target, features=None, options=None, **site_options):
    """Fit over tables, each a site."""
    sites = Sites(tables, **site_options)
    return fit(
        estimator, target, features, sites.schema, sites.ask, options=options or FitOptions(evaluate=False)
    )


@pytest.fixture(scope="session")
def lab():
    """The helpers of these tests."""
    return SimpleNamespace(Sites=Sites, parted=parted, matrix=matrix, run=run)


@pytest.fixture(scope="session")
def cancer():
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, i] for i, name in enumerate(data.feature_names[:10])}
    return pa.table({**columns, "malignant": pa.array(data.target == 0)})


@pytest.fixture(scope="session")
def mixed():
    """1,500 rows with numbers, text, integers and booleans, a class and a number to predict."""
    random = np.random.default_rng(4)
    rows = 1500
    a, b = random.normal(size=rows), random.normal(3.0, 20.0, size=rows)
    city = random.choice(np.array(["Athína", "Århus", "Łódź", "京都"]), size=rows, p=[0.4, 0.3, 0.2, 0.1])
    month = random.integers(1, 5, size=rows)
    flag = random.random(rows) < 0.4
    z = 0.8 * a - 0.03 * b + 0.9 * (city == "Łódź") - 0.5 * (month == 2) + 0.4 * flag - 0.6
    late = random.random(rows) < 1 / (1 + np.exp(-z))
    return pa.table(
        {
            "a": a,
            "b": b,
            "city": pa.array(city.tolist()),
            "month": month,
            "flag": pa.array(flag),
            "late": pa.array(late),
            "delay": 10 * z + random.normal(size=rows),
        }
    )
