"""The Polars translation gives DuckDB's answers, value by value, where it does not refuse."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Call, Column, Literal, walk
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Aggregate, Project, Received, Relation, Scan, SetOperation, call
from blossom.plan.schema import Schema
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource
from blossom.platforms.polars import Polars
from blossom.platforms.polars_expressions import OPERATIONS
from blossom.platforms.polars_text import like_regex, lower, upper

SCHEMA = {
    "i": "int64", "j": "int64", "k": "int32", "x": "float64", "y": "float64", "p": "boolean", "s": "string", "t": "string",
    "d": "date", "m": "timestamp(6)", "n": "decimal(15, 2)", "o": "decimal(18, 4)",
}  # fmt: skip
ARROW = Schema(SCHEMA.items()).to_pyarrow()
TABLE = ibis.table(SCHEMA, name="rows")

small = st.integers(-1_000_000, 1_000_000) | st.sampled_from([0, 1, -1, 7, -7])
floats = st.sampled_from(
    [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 2.675, 1.005, math.nan, math.inf, -math.inf, 1e15]
) | st.floats(-1e6, 1e6)
texts = st.text(st.sampled_from("abAB %_ßéÉΣσςİıǅﬁ東\n\t\\'.*"), max_size=6)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - local times are meant


def decimals(places: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**7), 10**7).map(lambda number: Decimal(number).scaleb(-places))


rows = st.lists(
    st.tuples(
        *(
            st.none() | kind
            for kind in (
                small, small, st.integers(-1000, 1000), floats, floats, st.booleans(), texts, texts,
                st.dates(date(1900, 1, 1), date(2100, 1, 1)), moments, decimals(2), decimals(4),
            )
        )
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[DuckDB, Polars]]:
    reference = DuckDB("reference", threads=1)
    yield reference, Polars("own")
    reference.close()


_plans: dict[Any, Relation] = {}


def plan(expression: Any) -> Relation:
    """A plan over the rows, delivered as another fragment's output; equal expressions give one plan, compiled once."""
    key = expression.op()
    if key not in _plans:
        _plans[key] = _planned(expression)
    return _plans[key]


def _planned(expression: Any) -> Relation:
    built = from_ibis.relation(expression.op())
    return rewrite(built, lambda node: node if node.inputs else Received("rows", node.schema))


def answer(platform: Any, fragment: Relation, data: pa.Table) -> list[tuple[Any, ...]]:
    for node in fragment.walk():
        assert platform.unsupported(node) is None
    table = platform.run(fragment, {"rows": data.to_reader()}, Cancellation()).read_all()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def same(got: Any, expected: Any) -> bool:
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    numbers = (int, float, Decimal)
    if isinstance(got, numbers) and isinstance(expected, numbers):
        if isinstance(got, float) or isinstance(expected, float):
            one, other = float(got), float(expected)
            return (math.isnan(one) and math.isnan(other)) or math.isclose(
                one, other, rel_tol=1e-12, abs_tol=1e-300
            )
        return got == expected
    return got == expected


def agree(
    engines: tuple[DuckDB, Polars], expression: Any, values: list[tuple[Any, ...]], *, ordered: bool = True
) -> None:
    data = pa.Table.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(zip(*values, strict=True), ARROW, strict=True)
        ],
        schema=ARROW,
    )
    fragment = plan(expression)
    expected, got = (answer(engine, fragment, data) for engine in engines)
    if not ordered:
        expected, got = sorted(expected, key=repr), sorted(got, key=repr)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert all(map(same, mine, theirs)), f"got {mine}, expected {theirs}"


t = TABLE
VALUES: Mapping[str, Any] = {
    "whole arithmetic": [t.i + t.j, t.i - t.k, t.i * t.k, -t.i, t.i.abs(), t.i % 7, t.i % -7, t.i // 7, t.i // -4, t.k + 1],
    "division": [t.i / t.j, t.x / t.y, t.n / t.o, t.x / 0.0, t.i / 3],
    "doubles": [t.x + t.y, t.x * t.y, t.x - t.i, -t.x, t.x.abs(), t.x.sqrt(), (t.x.abs() + 1).ln(), t.i**2, t.x**0.5],
    "decimals": [t.n + t.o, t.n - t.o, t.n * t.o, t.n * (1 - t.o), t.n * t.k, t.n * 0.5, t.n + t.i, -t.n, t.n.abs()],
    "rounding": [t.x.round(2), t.x.round(1), t.n.round(1), t.n.round(), t.i.round(), t.n.ceil(), t.n.floor(), t.x.sign(), t.i.sign()],
    "comparison": [
        t.i < t.j,
        t.x <= t.y, t.x < t.y, t.x == t.y, t.x >= t.y, t.x != t.y, t.i < t.x, t.n > t.o, t.n == t.i, t.n > 1.25, t.s < t.t,
        t.s == t.t, t.d < t.m, t.d > "2000-01-01", t.x > float("inf"), t.p == t.p, t.i.identical_to(t.j), t.x.identical_to(t.y),
    ],
    "ranges": [
        t.i.between(t.j, 10), t.x.between(-1.5, t.y), t.s.between("A", "b"), t.i.isin([1, 7, 0]), t.i.isin(list(range(-9, 9))),
        t.s.isin(["a", "b", "é"]), t.x.isin([0.5, math.nan]), t.i.notin([1, 2]), t.n.isin([Decimal("0.01"), Decimal(0)]),
    ],
    "logic": [t.p & (t.i > 0), t.p | (t.i > 0), ~t.p, t.p ^ (t.x > 0), t.i.isnull(), t.x.notnull(), t.x.isnan(), t.x.isinf()],
    "conditional": [
        ibis.coalesce(t.i, t.j, 3), ibis.coalesce(t.x, t.i), t.p.ifelse(t.i, t.j), t.p.ifelse(t.n, t.o), t.i.nullif(t.j),
        t.x.nullif(t.y), ibis.cases((t.i > 0, "up"), (t.i < 0, "down")), t.k.cases((1, "one"), (7, "seven"), else_="other"),
        ibis.greatest(t.i, t.j), ibis.least(t.x, t.y), ibis.greatest(t.x, t.y, 1.0), ibis.greatest(t.s, t.t), t.i.clip(-5, 5),
        t.i.fill_null(0),
    ],
    "text": [
        t.s.length(), t.s.upper(), t.s.lower(), t.s.strip(), t.s.lstrip(), t.s.rstrip(), t.s + t.t, t.s.contains(t.t),
        t.s.startswith(t.t), t.s.endswith(t.t), t.s.contains("%"), t.s.replace("a", "<%>"), t.s.substr(1, 2), t.s.substr(2),
        t.s.left(3), t.s.right(2), t.s.like("a%"), t.s.like("%_b%"), t.s.like("_%\\%"), t.s.ilike("%é_"), t.s.ilike("%Σ%"),
        t.s.like("%.*%"),
    ],
    "dates": [
        t.d.year(), t.d.quarter(), t.d.month(), t.d.day(), t.d.day_of_year(), t.d.week_of_year(), t.d.day_of_week.index(),
        t.d.day_of_week.full_name(), t.d.truncate("Y"), t.d.truncate("Q"), t.d.truncate("M"), t.d.truncate("W"),
        t.d + ibis.interval(days=40), t.d + ibis.interval(months=1), t.d - ibis.interval(years=1), t.d - ibis.interval(weeks=2),
        t.d.delta(date(2000, 1, 1), unit="day"),
    ],
    "timestamps": [
        t.m.year(), t.m.hour(), t.m.minute(), t.m.second(), t.m.millisecond(), t.m.microsecond(), t.m.date(), t.m.truncate("D"),
        t.m.truncate("h"), t.m.truncate("m"), t.m.truncate("s"), t.m.truncate("ms"), t.m.truncate("W"),
        t.m + ibis.interval(hours=30), t.m - ibis.interval(months=1), t.m + ibis.interval(microseconds=7),
    ],
    "casts": [
        t.i.cast("float64"), t.i.cast("string"), t.i.cast("decimal(18, 3)"), t.k.cast("int64"), t.p.cast("int64"),
        t.p.cast("string"), t.n.cast("int64"), t.n.cast("float64"), t.n.cast("decimal(15, 1)"), t.o.cast("decimal(18, 2)"),
        t.n.cast("string"), t.d.cast("timestamp(6)"), t.m.cast("date"), t.d.cast("string"), t.i.cast("boolean"),
        (t.i / 4).cast("int64"),
    ],
}  # fmt: skip

REDUCED = [
    t.i.sum(), t.k.sum(), t.x.sum(), t.n.sum(), t.p.sum(), t.i.mean(), t.x.mean(), t.n.mean(), t.p.mean(), t.count(), t.i.count(),
    t.i.nunique(), t.x.nunique(), t.s.nunique(), t.i.min(), t.x.min(), t.x.max(), t.s.min(), t.s.max(), t.n.max(), t.d.min(),
    t.m.max(), t.p.any(), t.p.all(), t.i.var(), t.i.std(), t.n.var(how="pop"), t.i.cov(t.k), t.i.sum(where=t.p),
    t.count(where=t.p), t.x.max(where=t.i > 0), t.i.sum() / t.i.count(), (t.i.max() - t.i.min()).abs(), t.n.sum() * 2,
]  # fmt: skip

common = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.mark.parametrize("name", VALUES)
@common
@given(values=rows)
def test_values(engines: tuple[DuckDB, Polars], name: str, values: list[tuple[Any, ...]]) -> None:
    agree(engines, t.select(**{f"c{i}": value for i, value in enumerate(VALUES[name])}), values)


def test_every_operation_of_the_table_is_compared() -> None:
    met = {
        part.op
        for values in VALUES.values()
        for value in values
        for expression in plan(t.select(v=value)).expressions()
        for part in walk(expression)
        if isinstance(part, Call)
    }
    # these are compared by the conformance suite
    elsewhere = {"Exp", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Ceil", "Floor"}
    assert set(OPERATIONS) - met <= elsewhere


def finite(values: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows without infinities, whose sums depend on the order."""
    return [tuple(None if isinstance(v, float) and math.isinf(v) else v for v in row) for row in values]


METRICS = {f"c{i}": value for i, value in enumerate(REDUCED)}


@common
@given(values=rows)
def test_metrics_of_all_rows(engines: tuple[DuckDB, Polars], values: list[tuple[Any, ...]]) -> None:
    agree(engines, t.agg(**METRICS), finite(values))


@common
@given(values=rows)
def test_metrics_of_groups(engines: tuple[DuckDB, Polars], values: list[tuple[Any, ...]]) -> None:
    kept = finite(values)
    for key in (t.p, t.x.round(), t.k % 3):
        known = t.filter(t.x.notnull() & ~t.x.isnan())
        agree(engines, known.group_by(g=key).agg(n=_.count(), s=_.i.sum()), kept, ordered=False)
    agree(engines, t.group_by(g=t.p).agg(**METRICS), kept, ordered=False)


@common
@given(values=rows)
def test_groups_sorts_and_distinct_treat_nan_and_null_as_duckdb(
    engines: tuple[DuckDB, Polars], values: list[tuple[Any, ...]]
) -> None:
    whole = [row for row in values if row[3] != 0]  # 0.0 and -0.0 are one key that may be shown either way
    if not whole:
        return
    agree(engines, t.group_by("x").agg(n=_.count()), whole, ordered=False)
    agree(engines, t.select("x", "s").distinct(), whole, ordered=False)
    # Ibis has no other order of nulls than last, unless told
    agree(engines, t.order_by(t.x.desc(), t.s, t.i).select("x", "s", "i"), values)
    agree(engines, t.order_by(t.s.desc(nulls_first=True), t.i).select("s", "i"), values)


@common
@given(values=rows)
def test_joins(engines: tuple[DuckDB, Polars], values: list[tuple[Any, ...]]) -> None:
    other = t.select(k2=t.k % 5, x2=t.x, j2=t.j).view()
    mine = t.select("i", "x", k=t.k % 5)
    for how in ("inner", "left", "right", "outer", "semi", "anti"):
        joined = mine.join(other, [mine.k == other.k2], how=how)
        agree(
            engines,
            joined,
            [tuple(0.5 if v == 0 and isinstance(v, float) else v for v in r) for r in values],
            ordered=False,
        )
    ranged = mine.join(other, [mine.k == other.k2, mine.i < other.j2])
    agree(engines, ranged.select("i", "j2"), values, ordered=False)
    narrowed = mine.left_join(other, [mine.k == other.k2, other.j2 > 0])
    agree(engines, narrowed.select("i", "j2"), values, ordered=False)


@common
@given(values=rows)
def test_set_operations(engines: tuple[DuckDB, Polars], values: list[tuple[Any, ...]]) -> None:
    one, other = t.select(v=t.i % 4, s=t.s), t.select(v=t.j % 4, s=t.t)
    agree(engines, one.union(other), values, ordered=False)
    agree(engines, one.union(other, distinct=True), values, ordered=False)
    agree(engines, one.intersect(other), values, ordered=False)
    agree(engines, one.difference(other), values, ordered=False)


def _run(expression: Any, data: pa.Table) -> pa.Table:
    fragment = plan(expression)
    assert all(Polars("own").unsupported(node) is None for node in fragment.walk())
    return Polars("own").run(fragment, {"rows": data.to_reader()}, Cancellation()).read_all()


def numbers(**columns: list[int]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})


def test_sums_do_not_wrap() -> None:
    table = ibis.table({"i": "int64"}, name="rows")
    got = _run(table.agg(s=table.i.sum(), m=table.i.mean()), numbers(i=[2**63 - 1, 2**63 - 1, 2]))
    assert got.to_pylist() == [{"s": Decimal(2**64), "m": pytest.approx(2**64 / 3)}]


@pytest.mark.parametrize(
    "value", [lambda t: t.i + 1, lambda t: t.i * 2, lambda t: -(-t.i - 1) + 1, lambda t: t.i - -5]
)
def test_overflow_is_an_error(value: Any) -> None:
    table = ibis.table({"i": "int64"}, name="rows")
    with pytest.raises(PlatformError, match="polars 'own'"):
        _run(table.select(v=value(table)), numbers(i=[2**63 - 1]))


def test_case_mapping_is_duckdbs_for_every_letter() -> None:
    import polars as pl

    letters = pa.table({"c": [chr(point) for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]})
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("letters", letters)
        expected = connection.sql("SELECT upper(c) AS u, lower(c) AS l FROM letters").to_arrow_table()
    frame = pl.DataFrame(letters).select(u=upper(pl.col.c), l=lower(pl.col.c))
    assert frame["u"].to_list() == expected["u"].to_pylist()
    assert frame["l"].to_list() == expected["l"].to_pylist()


@given(st.text(st.sampled_from("ab%_.*[]()^$\\#&-~é\n"), max_size=5), texts)
@settings(max_examples=200, deadline=None)
def test_like_patterns(pattern: str, subject: str) -> None:
    import polars as pl

    got = pl.select(pl.lit(subject).str.contains(like_regex(pattern))).item()
    with duckdb.connect(config={"threads": 1}) as connection:
        assert got == connection.execute("SELECT ? LIKE ?", [subject, pattern]).fetchone()[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (t.x.log10(), "Polars divides natural logarithms"),
        (t.i % t.j, "literal divisor"),
        (t.i // t.j, "literal divisor"),
        (t.s.cast("int64"), "Cast of string to int64"),
        (t.x.cast("string"), "Cast of float64 to string"),
        (t.s.like(t.t), "literal pattern"),
        (t.s.re_search("a"), "regular expressions"),
        (t.i.sum().over(group_by=t.p), "WindowFunction"),
        (t.x % 2.0, "Modulus of float64"),
        (t.s.substr(-2), "literal start"),
    ],
)
def test_refusals(value: Any, reason: str) -> None:
    found = [Polars("own").unsupported(node) for node in plan(t.select(v=value)).walk()]
    assert any(text and reason in text for text in found)


# --- sources -----------------------------------------------------------------------------------------------------------------


def read(platform: Polars, table: str) -> pa.Table:
    schema = platform._tables[table].schema
    fragment = from_ibis.relation(ibis.table(schema.to_ibis(), name=table).op())
    return platform.run(fragment, {}, Cancellation()).read_all()


CSV = """id,when,day,ok,price,name,code
1,2020-01-01T10:00:00.25,2020-02-29,true,1.50,ada,007
2,2020-01-02 11:00:00,NA,false,-2.25,,010
3,2020-01-03,2021-01-01,NA,NA,"é, b",NA
"""
DECLARED = {
    "at": "timestamp(6)",
    "day": "date",
    "ok": "boolean",
    "price": "decimal(10, 2)",
    "code": "string",
    "id": "int64",
}
PARSED = {
    "id": [1, 2, 3],
    "at": [datetime(2020, 1, 1, 10, 0, 0, 250000), datetime(2020, 1, 2, 11), datetime(2020, 1, 3)],  # noqa: DTZ001
    "day": [date(2020, 2, 29), None, date(2021, 1, 1)],
    "ok": [True, False, None],
    "price": [Decimal("1.50"), Decimal("-2.25"), None],
    "name": ["ada", None, "é, b"],
    "code": ["007", "010", None],
}


def test_declared_csv_columns_are_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")
    source = TableSource(
        source=str(tmp_path / "*.csv"),
        rename={"at": "when"},
        schema=DECLARED,
        options={"null_values": ["NA"]},
    )
    own, reference = Polars("own"), DuckDB("reference", threads=1)
    schema = own.publish("t", source)
    assert schema == reference.publish("t", source)
    assert dict(schema) == {**DECLARED, "name": "string"}
    got = read(own, "t")
    assert got.to_pydict() == PARSED
    assert got.schema.field("price").type == pa.decimal128(10, 2)
    assert own.row_count("t") is None
    reference.close()


def test_guessed_csv_types_are_duckdbs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("i,x,s,d,b,m\n1,1.5,a,2020-01-01,true,2020-01-01 10:00:00\n,,,,,\n", encoding="utf-8")
    own, reference = Polars("own"), DuckDB("reference", threads=1)
    source = TableSource(source=str(path))
    assert own.publish("t", source).to_pyarrow() == reference.publish("t", source).to_pyarrow()
    reference.close()


def test_files_without_header_and_with_other_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1|x\n2|y\n", encoding="utf-8")
    options = {"format": "csv", "header": False, "delimiter": "|"}
    own, reference = Polars("own"), DuckDB("reference", threads=1)
    source = TableSource(source=str(path), rename={"n": "column0"}, schema={"n": "string"}, options=options)
    assert own.publish("t", source) == reference.publish("t", source)
    assert read(own, "t").to_pydict() == {"n": ["1", "2"], "column1": ["x", "y"]}
    reference.close()


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(
        '{"a": 1, "d": "2020-01-01"}\n{"a": null, "d": null}\n', encoding="utf-8"
    )
    own = Polars("own")
    schema = own.publish("j", TableSource(source=str(tmp_path / "a.ndjson"), schema={"d": "date"}))
    assert dict(schema) == {"a": "int64", "d": "date"}
    assert read(own, "j").to_pydict() == {"a": [1, None], "d": [date(2020, 1, 1), None]}
    for part in ("1", "2"):
        pq.write_table(
            pa.table({"A": [1, 2], "b": pa.array(["x", "y"]).dictionary_encode()}),
            tmp_path / f"{part}.parquet",
        )
    source = TableSource(
        source=str(tmp_path / "*.parquet"), rename={"a": "A"}, columns=("b", "a"), schema={"a": "float64"}
    )
    assert dict(own.publish("p", source)) == {"b": "string", "a": "float64"}
    assert read(own, "p").to_pydict() == {"b": ["x", "y"] * 2, "a": [1.0, 2.0] * 2}
    assert own.row_count("p") == 4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TableSource(source="missing.parquet"), "table 't'"),
        (TableSource(source="a.xyz"), "no Parquet, CSV or JSON path"),
        (TableSource(query="SELECT 1"), "files only"),
        (TableSource(source="{path}", columns=("idd",)), "did you mean 'id'"),
        (TableSource(source="{path}", rename={"a": "idd"}), "unknown column 'idd'"),
        (TableSource(source="{path}", options={"delimeter": ";"}), "did you mean 'delimiter'"),
        (TableSource(source="{path}", options={"format": "csvv"}), "did you mean 'csv'"),
        (TableSource(source="{path}", schema={"id": "array<int64>"}), "column 'id'"),
    ],
)
def test_sources_that_do_not_fit(tmp_path: Path, source: TableSource, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV, encoding="utf-8")
    given = TableSource(
        source=source.source and source.source.format(path=path),
        query=source.query, rename=source.rename, schema=source.schema, options=source.options, columns=source.columns,
    )  # fmt: skip
    with pytest.raises(PlatformError, match="polars 'own', table 't'") as caught:
        Polars("own").publish("t", given)
    assert message in str(caught.value)


def test_a_value_that_does_not_parse_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("d\n2020-01-01\nnever\n", encoding="utf-8")
    own = Polars("own")
    own.publish("t", TableSource(source=str(tmp_path / "a.csv"), schema={"d": "date"}))
    with pytest.raises(PlatformError, match="polars 'own'"):
        read(own, "t")


# --- running -----------------------------------------------------------------------------------------------------------------


def _endless(tmp_path: Path) -> tuple[Polars, Relation]:
    """A grouping that reads far more than a test would wait for, in little memory."""
    pq.write_table(pa.table({"a": pa.array(range(200_000), pa.int64())}), tmp_path / "a.parquet")
    own = Polars("own")
    own.publish("t", TableSource(source=str(tmp_path / "a.parquet")))
    scan = Scan("t", Schema([("a", "int64")]))
    a = Column("a", "int64")
    parts = tuple(
        Project(scan, (("v", call("Add", a, Literal(n, "int64"), dtype="int64")),)) for n in range(3000)
    )
    v = Column("v", "int64")
    last = call("Modulus", v, Literal(10, "int64"), dtype="int64")
    total = call("Sum", v, None, dtype="int64")
    return own, Aggregate(SetOperation("union", parts, False), (("g", last),), (("s", total),))


def test_cancelling_stops_a_grouping(tmp_path: Path) -> None:
    own, fragment = _endless(tmp_path)
    cancellation = Cancellation()
    timer = threading.Timer(0.5, cancellation.cancel)
    timer.start()
    start = time.monotonic()
    with pytest.raises(PlatformError, match="the run was cancelled"):
        own.run(fragment, {}, cancellation).read_all()
    assert time.monotonic() - start < 5
    timer.join()


def test_cancelled_before_it_began(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    fragment = Received("rows", Schema([("i", "int64")]))
    with pytest.raises(PlatformError, match="the run was cancelled"):
        Polars("own").run(fragment, {"rows": numbers(i=[1]).to_reader()}, cancellation).read_all()


def test_missing_inputs_and_tables() -> None:
    with pytest.raises(PlatformError, match="no rows were given for rows"):
        Polars("own").run(Received("rows", Schema([("i", "int64")])), {}, Cancellation())
    fragment = from_ibis.relation(ibis.table({"a": "int64"}, name="nowhere").op())
    with pytest.raises(PlatformError, match="unknown table 'nowhere'"):
        Polars("own").run(fragment, {}, Cancellation())
