"""The demo's data: made once, whole or not at all; each site's engine finds the same rows as the package's files."""

from __future__ import annotations

import csv
import importlib.util
import random
import sqlite3
import tomllib
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from blossom.cli import demo_data
from blossom.plan.errors import ConfigError
from blossom.plan.relations import Partition
from blossom.sites import config as site_config

SQL_TYPES = {"int64": "BIGINT", "float64": "DOUBLE", "string": "VARCHAR", "timestamp(6)": "TIMESTAMP"}
EXAMPLE = Path(__file__).parents[3] / "examples" / "flights.py"


def _value(name: str, dtype: str, draw: random.Random) -> object:
    if name == "origin":
        return draw.choice(["EWR", "JFK", "LGA"])
    if draw.random() < 0.1:
        return "NA"
    return {
        "int64": draw.randrange(-50, 2400),
        "float64": draw.uniform(0, 100),
        "string": draw.choice(["UA", "Ä\"'", "9E"]),
    }[dtype]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package's data folder of the same shape with a few made-up rows."""
    folder = tmp_path_factory.mktemp("package")
    draw = random.Random(7)
    for table, schema in demo_data.SCHEMAS.items():
        path = folder / f"{table}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(schema)
            for n in range(90):
                hour = datetime(2013, 1, 1) + timedelta(hours=n)  # noqa: DTZ001 - written with a Z below
                rows.writerow(
                    f"{hour:%Y-%m-%dT%H:%M:%S}Z" if name == "time_hour" else _value(name, dtype, draw)
                    for name, dtype in schema.items()
                )
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.write(folder / "flights.csv", "flights.csv")
    (folder / "flights.csv").unlink()
    return folder


def pool(config: Path) -> duckdb.DuckDBPyConnection:
    """Both tables pooled over the three sites, each read as its configuration says."""
    sites: dict[str, Any] = tomllib.loads(config.read_text(encoding="utf-8"))["sites"]
    con = duckdb.connect(config={"threads": 1})
    database = sqlite3.connect(config.parent / sites["laguardia"]["platforms"]["sqlite"]["database"])
    for table, schema in demo_data.SCHEMAS.items():
        declared = sites["kennedy"]["tables"][table]
        types = {declared["rename"][name]: SQL_TYPES[dtype] for name, dtype in declared["schema"].items()}
        nulls = declared["options"]["null_values"]
        kennedy = con.read_csv(str(config.parent / declared["source"]), dtype=types, na_values=nulls)
        own = ", ".join(f'"{declared["rename"][name]}" AS "{name}"' for name in schema)
        newark = str(config.parent / sites["newark"]["tables"][table]["source"])
        columns = ", ".join(f'"{name}" {SQL_TYPES[dtype]}' for name, dtype in schema.items())
        con.execute(f"CREATE TABLE {table} ({columns})")
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet('{newark}')")
        con.sql(f"INSERT INTO {table} BY NAME SELECT {own} FROM kennedy")
        rows = database.execute(f"SELECT * FROM {sites['laguardia']['tables'][table]['source']}").fetchall()
        laguardia = con.from_arrow(
            pa.table([pa.array(column) for column in zip(*rows, strict=True)], list(schema))
        )
        con.sql(f"INSERT INTO {table} BY NAME SELECT * FROM laguardia")
        assert kennedy.columns == [declared["rename"][name] for name in schema]
        assert laguardia.shape[0] > 0
    database.close()
    return con


def test_every_site_holds_its_airport_and_together_they_hold_the_package(tiny: Path, tmp_path: Path) -> None:
    con = pool(demo_data.prepare(tmp_path / "demo", source=tiny))
    with zipfile.ZipFile(tiny / "flights.csv.zip") as archive:
        flights = archive.read("flights.csv").decode()
    texts = {"flights": flights, "weather": (tiny / "weather.csv").read_text(encoding="utf-8")}
    parse = {
        "int64": int,
        "float64": float,
        "string": str,
        "timestamp(6)": lambda text: datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ"),  # noqa: DTZ007
    }
    for table, schema in demo_data.SCHEMAS.items():
        header, *rows = csv.reader(texts[table].splitlines())
        assert header == list(schema)
        expected = [
            tuple(
                None if text == "NA" else parse[dtype](text)
                for text, dtype in zip(row, schema.values(), strict=True)
            )
            for row in rows
        ]
        found = con.sql(f"SELECT * FROM {table}").fetchall()
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_the_second_call_is_instant_and_keeps_an_edited_configuration(tiny: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = demo_data.prepare(tmp_path / "demo", source=tiny, progress=lines.append)
    assert len(lines) == 4
    edited = config.read_text(encoding="utf-8").replace("min_group = 10 ", "min_group = 25 ")
    config.write_text(edited, encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in config.parent.rglob("*")}
    assert demo_data.prepare(tmp_path / "demo", source=tiny, progress=lines.append) == config
    assert {path: path.stat().st_mtime_ns for path in config.parent.rglob("*")} == before
    assert config.read_text(encoding="utf-8") == edited
    assert len(lines) == 4


def test_other_data_replace_the_old_ones(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "package"
    other.mkdir()
    (other / "flights.csv.zip").write_bytes((tiny / "flights.csv.zip").read_bytes())
    (other / "weather.csv").write_text(
        "".join((tiny / "weather.csv").read_text(encoding="utf-8").splitlines(True)[:60]), encoding="utf-8"
    )
    first = demo_data.prepare(tmp_path / "demo", source=tiny).read_text(encoding="utf-8")
    config = demo_data.prepare(tmp_path / "demo", source=other)
    assert config.read_text(encoding="utf-8") != first
    assert len(list(config.parent.glob("data-*"))) == 1
    assert pool(config).sql("SELECT count(*) FROM weather").fetchall() == [(59,)]


def test_a_broken_off_attempt_leaves_nothing_and_the_next_one_succeeds(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(demo_data, "_to_sqlite", full_disk)
        with pytest.raises(OSError, match="No space left"):
            demo_data.prepare(tmp_path / "demo", source=tiny)
    assert list((tmp_path / "demo").iterdir()) == []
    assert demo_data.prepare(tmp_path / "demo", source=tiny).is_file()


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"blossom-sky\[demo\]"):
        demo_data.find_data()


def test_the_configuration_is_one_that_blossom_accepts(tiny: Path, tmp_path: Path) -> None:
    federation = site_config.load(demo_data.prepare(tmp_path / "demo", source=tiny))
    assert list(federation.sites) == list(demo_data.AIRPORTS)
    readers = {}
    for name, site in federation.sites.items():
        for table, declared in site.tables.items():
            readers[name] = site.platforms[declared.platform].kind
            assert declared.partition == Partition("airport", ("origin",))
            if readers[name] != "sqlite":
                assert Path(declared.source.source or "").is_file()
            if readers[name] == "polars":
                assert dict(declared.source.schema) == demo_data.SCHEMAS[table]
    assert readers == {"newark": "duckdb", "kennedy": "polars", "laguardia": "sqlite"}


@pytest.mark.parametrize("table", ["flights", "weather"])
@pytest.mark.parametrize("site", ["newark", "kennedy", "laguardia"])
def test_the_policy_is_the_same_at_every_site(tiny: Path, tmp_path: Path, site: str, table: str) -> None:
    config = demo_data.prepare(tmp_path / "demo", source=tiny)
    declared = tomllib.loads(config.read_text(encoding="utf-8"))["sites"][site]["tables"][table]
    assert declared["partition"] == {"by": ["origin"], "scheme": "airport"}
    if table == "weather":
        assert declared["policy"] == {"release": "rows"}
        return
    columns = declared["policy"].pop("columns")
    assert declared["policy"] == {
        "release": "aggregates", "min_group": 10, "privacy_unit": "tailnum", "training": "updates",
    }  # fmt: skip
    assert columns.pop("tailnum") == {"release": "none", "filter": False, "key": False}
    assert (
        {"origin", "time_hour", "month", "carrier", "arr_delay"} <= columns.keys() <= demo_data.FLIGHTS.keys()
    )
    assert all(rule == {"transform": True} for rule in columns.values())


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PlainIbis:
    """As much of a session as the example's table functions ask for: unbound Ibis tables."""

    def table(self, name: str) -> ibis.Table:
        return ibis.table(dict(demo_data.SCHEMAS[name]), name=name)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """The real year, pooled."""
    return pool(demo_data.prepare(tmp_path_factory.mktemp("real") / "demo"))


def test_the_example_answers_on_the_pooled_year(example: ModuleType, year: duckdb.DuckDBPyConnection) -> None:
    def run(expression: ibis.Table) -> list[tuple[Any, ...]]:
        return year.sql(ibis.to_sql(expression, dialect="duckdb")).fetchall()

    carriers = run(example.delay_by_carrier(PlainIbis()))
    assert sum(flights for _, flights, _ in carriers) == 327_346
    assert carriers[0][0] == "F9"
    assert carriers[0][2] == pytest.approx(21.9207, abs=1e-3)
    assert [row[3] for row in run(example.refused(PlainIbis()))][:2] == [1272, 1127]


def test_the_features_tell_late_flights_from_others(
    example: ModuleType, year: duckdb.DuckDBPyConnection
) -> None:
    frame = year.sql(ibis.to_sql(example.features(PlainIbis()), dialect="duckdb")).df()
    assert len(frame) == 325_724
    assert not frame.isna().to_numpy().any()
    seen, unseen = frame[frame.month <= 6], frame[frame.month > 6]
    columns = [
        ("n", StandardScaler(), example.NUMBERS),
        ("c", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
    ]
    pooled = make_pipeline(ColumnTransformer(columns), LogisticRegression(solver="newton-cholesky")).fit(
        seen, seen.late
    )
    assert roc_auc_score(unseen.late, pooled.predict_proba(unseen)[:, 1]) > 0.68


def test_the_model_is_a_lazy_line_of_the_same_pipeline(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def train(estimator: object, table: ibis.Table, *, target: str, features: list[str]) -> SimpleNamespace:
        calls.append((estimator, table, target, features))
        return SimpleNamespace(predict=lambda rows: rows.mutate(probability=ibis.literal(0.5)))

    def record(name: str) -> Any:
        return lambda *arguments: (name, *arguments)

    parts = ["StandardScaler", "OneHotEncoder", "ColumnTransformer", "LogisticRegression", "make_pipeline"]
    monkeypatch.setattr(example, "bl", SimpleNamespace(train=train, **{part: record(part) for part in parts}))
    late = example.model(PlainIbis())
    ((estimator, table, target, features),) = calls
    assert estimator[0] == "make_pipeline"
    assert table.schema()[target].is_boolean()
    assert set(features) == set(table.columns) - {"month", target}
    assert example.by_month(PlainIbis(), late).columns == ("month", "flights", "expected", "late")
