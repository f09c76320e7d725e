"""Delta, Iceberg, whole files and URLs, on every engine that reads them: the same rows as the same table in Parquet."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis import _

import blossom as bl
from blossom.plan import from_ibis
from blossom.plan.errors import ConfigError, PlatformError
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.registry import PLATFORMS, open_platform

OPTIONS: Mapping[str, Mapping[str, Any]] = {"duckdb": {"threads": 1}, "datafusion": {"threads": 1}}
KINDS = [
    pytest.param(kind, marks=pytest.mark.clickhouse) if kind == "clickhouse" else kind
    for kind, entry in PLATFORMS.items()
    if entry.files
]

ROWS = pa.table(
    {
        "id": pa.array(range(8), pa.int64()),
        "small": pa.array([1, -1, 127, None, 5, 6, 7, 8], pa.int32()),
        "name": ["a", "b", None, "Žofie", "", "o'hara", "a", "z"],
        "x": pa.array([0.5, math.nan, math.inf, None, -0.0, -math.inf, 2.5, 1e9], pa.float64()),
        "on": pa.array([dt.date(2020, 1, day) for day in range(1, 8)] + [None], pa.date32()),
        "at": pa.array([dt.datetime.fromisoformat(f"2020-01-0{day} 23:59:59.999999") for day in range(1, 8)] + [None], pa.timestamp("us")),
        "owed": pa.array([Decimal("1.25"), None, *[Decimal(n) for n in range(6)]], pa.decimal128(9, 2)),
        "ok": pa.array([True, False, None, True, False, None, True, True], pa.bool_()),
    }
)  # fmt: skip

QUESTIONS: Mapping[str, Callable[[Any], Any]] = {
    "all": lambda t: t,
    "some columns": lambda t: t.select("name", "id"),
    "count": lambda t: t.agg(n=_.count()),
    "comparisons": lambda t: t.filter(_.id >= 1, _.id < 7, _.small != 5).select("id"),
    "nan is kept above": lambda t: t.filter(_.x > 1.0).select("id"),
    "nan is not below": lambda t: t.filter(_.x <= 2.5).select("id"),
    "nan between": lambda t: t.filter(_.x.between(0.0, math.inf)).select("id"),
    "infinity": lambda t: t.filter(_.x == math.inf).select("id"),
    "text": lambda t: t.filter((_.name == "o'hara") | (_.name > "b")).select("id", "name"),
    "list": lambda t: t.filter(_.name.isin(["a", "z"]) & _.small.isin([1, 8, 300])).select("id"),
    "nulls": lambda t: t.filter(_.name.isnull() | _.x.isnull()).select("id"),
    "no nulls": lambda t: t.filter(_.on.notnull(), _.ok).select("id"),
    "moments": lambda t: t.filter(
        _.at > dt.datetime.fromisoformat("2020-01-02 23:59:59.999998"), _.on <= dt.date(2020, 1, 5)
    ).select("id", "at", "on"),
    "decimals": lambda t: t.filter(_.owed >= Decimal("1.25")).select("id", "owed"),
    "flags": lambda t: t.filter(_.ok == False).select("id"),  # noqa: E712 - an expression
    "with itself": lambda t: t.filter(_.id > 2).join(t.view(), "id").agg(n=_.count()),
    "twice": lambda t: t.filter(_.id > 5).select("id").union(t.filter(_.id < 2).select("id")),
    "grouped": lambda t: t.filter(_.id < 7).group_by("name").agg(n=_.count(), s=_.id.sum()),
    "filter above a projection": lambda t: t.select("name", k=_.id, y=_.x + 1).filter(_.k >= 5, _.y > 0).select("k"),
    "filter below a projection": lambda t: t.filter(_.name == "a").select("id").filter(_.id < 3),
    "filter beside a window": lambda t: t.filter(_.id > 2, ibis.row_number().over(order_by="id") > 1).select("id"),
    "filter above a window": lambda t: t.select("id", r=ibis.row_number().over(order_by=_.id)).filter(_.id > 2),
    "filter above a limit": lambda t: t.order_by("id").limit(4).filter(_.id > 2).select("id"),
    "subquery": lambda t: t.filter(_.id.isin(t.filter(_.id > 3).select("id").id)).select("id"),
}  # fmt: skip


def delta(folder: Path) -> TableSource:
    deltalake = pytest.importorskip("deltalake")
    deltalake.write_deltalake(folder / "delta", ROWS.slice(0, 5), partition_by=["ok"])
    deltalake.write_deltalake(folder / "delta", ROWS.slice(5), mode="append")
    return TableSource(source=str(folder / "delta"), options={"format": "delta"})


def catalogue(folder: Path) -> Any:
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    made = sql.SqlCatalog("clinic", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=f"file://{folder}")
    made.create_namespace_if_not_exists("main")
    return made


def iceberg(folder: Path) -> TableSource:
    made = catalogue(folder)
    table = made.create_table("main.t", schema=ROWS.schema)
    table.append(ROWS.slice(0, 5))
    table.append(ROWS.slice(5))
    made.close()
    return TableSource(source="main.t", options={"format": "iceberg", "catalog": str(folder / "catalog.db")})


def iceberg_folder(folder: Path) -> TableSource:
    iceberg(folder)
    return TableSource(source=str(folder / "main/t"), options={"format": "iceberg"})


def memory(folder: Path) -> TableSource:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    place = f"/{folder.name}/parts"
    for number, part in enumerate((ROWS.slice(0, 5), ROWS.slice(5))):
        with store.open(f"{place}/{number}.parquet", "wb") as file:
            pq.write_table(part, file)
    return TableSource(source=f"memory:/{place}")


SOURCES: Mapping[str, Callable[[Path], TableSource]] = {
    "delta": delta,
    "iceberg": iceberg,
    "iceberg folder": iceberg_folder,
    "memory": memory,
}


def engine(kind: str) -> Platform:
    if kind == "clickhouse":
        pytest.importorskip("chdb")
    return open_platform(kind, kind, OPTIONS.get(kind, {}))


@pytest.fixture(scope="module", params=KINDS)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Platform, Platform, Mapping[str, Schema]]]:
    """An engine with the rows in every source, and DuckDB with the same in Parquet."""
    folder = tmp_path_factory.mktemp("files")
    pq.write_table(ROWS, folder / "rows.parquet")
    platform, reference = engine(request.param), engine("duckdb")
    schemas: dict[str, Schema] = {}
    for name, write in SOURCES.items():
        (folder / name).mkdir()
        schemas[name] = platform.publish(name, write(folder / name))
        reference.publish(name, TableSource(source=str(folder / "rows.parquet")))
    yield platform, reference, schemas
    platform.close()
    reference.close()


def ask(platform: Platform, name: str, schema: Schema, question: Callable[[Any], Any]) -> list[str] | None:
    """The rows of the answer, in some order; None where the engine says that it cannot answer."""
    plan = from_ibis.relation(question(ibis.table(schema.to_ibis(), name=name)).op())
    if any(platform.unsupported(node) is not None for node in plan.walk()):
        return None
    found = platform.run(plan, {}, Cancellation()).read_all()
    return sorted(repr({key: _plain(value) for key, value in row.items()}) for row in found.to_pylist())


def _plain(value: Any) -> Any:
    return value + 0.0 if isinstance(value, float) else value  # both zeros are one


@pytest.mark.parametrize("name", SOURCES)
def test_the_rows_and_types_are_those_of_parquet(published: Any, name: str) -> None:
    platform, reference, schemas = published
    assert platform.row_count(name) == ROWS.num_rows
    assert dict(schemas[name]) == dict(Schema.from_pyarrow(ROWS.schema))
    answered = 0
    for question, build in QUESTIONS.items():
        got = ask(platform, name, schemas[name], build)
        if got is None:
            continue
        answered += 1
        assert got == ask(reference, name, schemas[name], build), question
    assert answered >= len(QUESTIONS) - 3  # Polars has no subqueries and no windows


COLUMNS = st.sampled_from(ROWS.column_names)
OPERATORS = st.sampled_from(["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"])


@st.composite
def predicates(draw: Any) -> Callable[[Any], Any]:
    """A comparison with one of the column's own values, or two of them."""

    def one() -> Callable[[Any], Any]:
        column, operator = draw(COLUMNS), draw(OPERATORS)
        value = draw(st.sampled_from([v for v in ROWS[column].to_pylist() if v is not None]))
        if isinstance(value, bool):
            operator = "__eq__"
        return lambda t: getattr(t[column], operator)(value)

    left, right, both = one(), one(), draw(st.sampled_from(["__and__", "__or__"]))
    return lambda t: getattr(left(t), both)(right(t))


@pytest.mark.parametrize("name", ["delta", "iceberg", "memory"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=predicates())
def test_a_filter_keeps_what_the_reference_keeps(published: Any, name: str, chosen: Any) -> None:
    platform, reference, schemas = published
    build = lambda t: t.filter(chosen(t)).select("id")  # noqa: E731
    got = ask(platform, name, schemas[name], build)
    assert got is None or got == ask(reference, name, schemas[name], build)


# -- what each format has of its own ------------------------------------------------------------------------------------------


@pytest.fixture
def duckdb() -> Iterator[Platform]:
    made = engine("duckdb")
    yield made
    made.close()


def rows(platform: Platform, name: str, schema: Schema) -> list[dict[str, Any]]:
    plan = from_ibis.relation(ibis.table(schema.to_ibis(), name=name).op())
    return platform.run(plan, {}, Cancellation()).read_all().to_pylist()


def test_delta_versions_and_deletions(duckdb: Platform, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    path = tmp_path / "t"
    deltalake.write_deltalake(path, pa.table({"a": [1, 2]}))
    newest = duckdb.publish("newest", TableSource(source=str(path), options={"format": "delta"}))
    first = duckdb.publish("first", TableSource(source=str(path), options={"format": "delta", "version": 0}))
    deltalake.write_deltalake(path, pa.table({"a": [3]}), mode="append")
    deltalake.DeltaTable(path).delete("a = 1")
    assert sorted(row["a"] for row in rows(duckdb, "newest", newest)) == [2, 3]
    assert sorted(row["a"] for row in rows(duckdb, "first", first)) == [1, 2]
    with pytest.raises(PlatformError, match=r"(?s)99.*no version 99"):
        duckdb.publish("t", TableSource(source=str(path), options={"format": "delta", "version": 99}))


def test_iceberg_columns_that_were_renamed_and_added_rows_that_were_deleted(
    duckdb: Platform, tmp_path: Path
) -> None:
    made = catalogue(tmp_path)
    table = made.create_table("main.t", schema=pa.schema([("a", pa.int64()), ("b", pa.string())]))
    table.append(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
    snapshot = table.current_snapshot().snapshot_id
    with table.update_schema() as update:
        update.rename_column("b", "c")
        update.add_column("d", __import__("pyiceberg.types").types.LongType())
    table.append(pa.table({"a": [4], "c": ["w"], "d": [7]}))
    table.delete("a = 2")
    made.close()
    options = {"format": "iceberg", "catalog": str(tmp_path / "catalog.db")}
    schema = duckdb.publish("t", TableSource(source="main.t", options=options))
    assert sorted(rows(duckdb, "t", schema), key=lambda row: row["a"]) == [
        {"a": 1, "c": "x", "d": None}, {"a": 3, "c": "z", "d": None}, {"a": 4, "c": "w", "d": 7},
    ]  # fmt: skip
    schema = duckdb.publish("old", TableSource(source="main.t", options={**options, "snapshot": snapshot}))
    assert [row["a"] for row in rows(duckdb, "old", schema)] == [1, 2, 3]
    with pytest.raises(PlatformError, match=r"(?s)main\.u.*namespace\.table"):
        duckdb.publish("u", TableSource(source="main.u", options=options))
    with pytest.raises(PlatformError, match="no Iceberg catalogue"):
        duckdb.publish(
            "u", TableSource(source="main.t", options={**options, "catalog": str(tmp_path / "x.db")})
        )


def test_two_catalogues_in_one_database_are_told_apart(duckdb: Platform, tmp_path: Path) -> None:
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    for name in ("one", "two"):
        made = sql.SqlCatalog(
            name, uri=f"sqlite:///{tmp_path / 'c.db'}", warehouse=f"file://{tmp_path}/{name}"
        )
        made.create_namespace("n")
        made.create_table("n.t", schema=pa.schema([("a", pa.int64())])).append(pa.table({"a": [len(name)]}))
        made.create_table(f"n.{name}", schema=pa.schema([("a", pa.int64())]))
        made.close()
    options = {"format": "iceberg", "catalog": str(tmp_path / "c.db")}
    with pytest.raises(PlatformError, match=r"(?s)one, two.*catalog_name"):
        duckdb.publish("t", TableSource(source="n.t", options=options))
    schema = duckdb.publish("t", TableSource(source="n.t", options={**options, "catalog_name": "two"}))
    assert rows(duckdb, "t", schema) == [{"a": 3}]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files(kind: str, tmp_path: Path) -> None:
    (tmp_path / "scans/deep").mkdir(parents=True)
    contents = {
        "scans/a.png": b"\x89PNG\x00",
        "scans/deep/b.png": b"\xff" * 3_000_000,
        "scans/c.txt": "grüße".encode(),
    }
    for path, content in contents.items():
        (tmp_path / path).write_bytes(content)
    platform = engine(kind)
    images = platform.publish(
        "images", TableSource(source=f"{tmp_path}/scans/**/*.png", options={"format": "files"})
    )
    assert dict(images) == {"path": "string", "bytes": "binary", "size": "int64", "modified": "timestamp(6)"}
    found = {row["path"]: row for row in rows(platform, "images", images)}
    assert {path: row["bytes"] for path, row in found.items()} == {
        "a.png": contents["scans/a.png"],
        "deep/b.png": b"\xff" * 3_000_000,
    }
    assert abs(found["a.png"]["modified"] - dt.datetime.now(dt.UTC).replace(tzinfo=None)) < dt.timedelta(
        minutes=5
    )
    assert platform.row_count("images") == 2
    small = ask(platform, "images", images, lambda t: t.filter(_.size < 1000).select("path", "bytes"))
    assert small == [repr({"path": "a.png", "bytes": contents["scans/a.png"]})]
    texts = platform.publish(
        "texts",
        TableSource(source=f"{tmp_path}/scans", options={"format": "files"}, schema={"bytes": "string"}, rename={"name": "path"}),
    )  # fmt: skip
    chosen = ask(platform, "texts", texts, lambda t: t.filter(_.name == "c.txt").select("name", "bytes"))
    assert chosen == [repr({"name": "c.txt", "bytes": "grüße"})]
    with pytest.raises(PlatformError, match="does not fit string"):
        rows(platform, "texts", texts)
    platform.close()


def test_files_that_appear_are_read(duckdb: Platform, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    schema = duckdb.publish("t", TableSource(source=str(tmp_path), options={"format": "files"}))
    (tmp_path / "b.txt").write_text("y")
    assert [row["bytes"] for row in rows(duckdb, "t", schema)] == [b"x", b"y"]


# -- faults -------------------------------------------------------------------------------------------------------------------


def _memory_files(name: str, **tables: pa.Table) -> str:
    fsspec = pytest.importorskip("fsspec")
    for part, table in tables.items():
        with fsspec.open(f"memory://{name}/{part}.parquet", "wb") as file:
            pq.write_table(table, file)
    return f"memory://{name}"


def test_files_with_other_columns_are_named(duckdb: Platform) -> None:
    one = pa.table({"a": [1], "b": ["x"]})
    missing = _memory_files("missing", one=one, two=pa.table({"a": [1]}))
    with pytest.raises(PlatformError, match=r"(?s)'b' is missing in .*two\.parquet.*one\.parquet"):
        duckdb.publish("t", TableSource(source=missing))
    more = _memory_files("more", one=pa.table({"a": [1]}), two=one)
    with pytest.raises(PlatformError, match="'b' more"):
        duckdb.publish("t", TableSource(source=more))
    assert rows(duckdb, "t", duckdb.publish("t", TableSource(source=more, columns=("a",)))) == [
        {"a": 1},
        {"a": 1},
    ]
    other = _memory_files("other", one=pa.table({"a": [1]}), two=pa.table({"a": [2.0]}))
    with pytest.raises(PlatformError, match=r"'a' is double \(not int64\)"):
        duckdb.publish("t", TableSource(source=other))
    schema = duckdb.publish("t", TableSource(source=other, schema={"a": "float64"}))
    assert rows(duckdb, "t", schema) == [{"a": 1.0}, {"a": 2.0}]


def test_what_is_no_such_table_is_said(duckdb: Platform, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(PlatformError, match=r"(?s)_delta_log"):
        duckdb.publish("t", TableSource(source=str(tmp_path), options={"format": "delta"}))
    with pytest.raises(PlatformError, match=r"no metadata"):
        duckdb.publish("t", TableSource(source=str(tmp_path), options={"format": "iceberg"}))
    with pytest.raises(PlatformError, match=r"no file fits .*\*\.png"):
        duckdb.publish("t", TableSource(source=f"{tmp_path}/*.png", options={"format": "files"}))
    with pytest.raises(PlatformError, match=r"(?s)versoin.*version"):
        duckdb.publish("t", TableSource(source=str(tmp_path), options={"format": "delta", "versoin": 1}))
    with pytest.raises(PlatformError, match="no kind of URL"):
        duckdb.publish("t", TableSource(source="nosuch://x/t.parquet"))
    broken = _memory_files("broken", one=pa.table({"a": [1]}))
    with __import__("fsspec").open("memory://broken/two.parquet", "wb") as file:
        file.write(b"no parquet at all")
    with pytest.raises(PlatformError, match=r"two\.parquet|[Pp]arquet magic"):
        duckdb.publish("t", TableSource(source=broken))


@pytest.mark.parametrize(
    ("module", "source", "extra"),
    [
        ("deltalake", TableSource(source="x", options={"format": "delta"}), "delta"),
        ("pyiceberg", TableSource(source="x", options={"format": "iceberg"}), "iceberg"),
        ("fsspec", TableSource(source="memory://x.parquet"), "urls"),
    ],
)
def test_a_missing_extra_is_named(
    duckdb: Platform, monkeypatch: pytest.MonkeyPatch, module: str, source: TableSource, extra: str
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PlatformError, match=rf"(?s){module}.*blossom-sky\[{extra}\]"):
        duckdb.publish("t", source)


# -- as a site has them -------------------------------------------------------------------------------------------------------


def test_a_secret_in_the_file_is_refused(tmp_path: Path) -> None:
    table = """
[sites.north.tables.t]
source = "s3://clinic/t.parquet"
options.storage = { secret_key = "hunter2" }
"""
    (tmp_path / "blossom.toml").write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)secret_key.*a secret stands in the file") as caught:
        bl.connect(str(tmp_path / "blossom.toml"))
    assert "hunter2" not in str(caught.value)


def test_an_engine_that_reads_no_such_format_is_said() -> None:
    table = {"platform": "db", "source": "/data/t", "options": {"format": "delta"}}
    site = {"platforms": {"db": {"kind": "sqlite"}}, "tables": {"t": table}}
    with pytest.raises(ConfigError, match=r"(?s)does not read delta.*duckdb, polars, datafusion, clickhouse"):
        bl.connect({"sites": {"north": site}})
