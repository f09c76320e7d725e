"""What readers of files take over from a plan's predicates, and where files are found."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
import sqlglot
import sqlglot.expressions as sge
from hypothesis import given
from hypothesis import strategies as st
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Call, Column, Expression, Literal
from blossom.plan.relations import Scan
from blossom.platforms.files.filters import Comparison, Either, as_arrow, as_sql, taken
from blossom.platforms.files.platform import wanted
from blossom.platforms.files.published import outside
from blossom.platforms.files.storage import Place
from blossom.platforms.interface import TableSource

AGE, NAME, X, DAY = (
    Column("age", "int64"), Column("name", "string"), Column("x", "float64"), Column("day", "date"),
)  # fmt: skip
NAMES = {"age": "AGE", "name": "name", "x": "x", "day": "day"}


def call(op: str, *args: object) -> Call:
    return Call(op, args, "boolean")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("predicate", "conditions"),
    [
        (call("Greater", Literal(3, "int8"), AGE), (Comparison("AGE", "<", (3,)),)),
        (call("And", call("IsNull", NAME), call("Equals", AGE, Literal(1, "int8"))), (Comparison("name", "null"), Comparison("AGE", "=", (1,)))),
        (
            call("Or", call("IsNull", NAME), call("Less", AGE, Literal(1, "int8"))),
            (Either((Comparison("name", "null"), Comparison("AGE", "<", (1,)))),),
        ),
        (call("Between", DAY, Literal(date(2020, 1, 1), "date"), AGE), (Comparison("day", ">=", (date(2020, 1, 1),)),)),
        (call("InValues", NAME, (Literal("a", "string"), Literal("b", "string"))), (Comparison("name", "in", ("a", "b")),)),
    ],
)  # fmt: skip
def test_what_is_taken_over(predicate: Expression, conditions: tuple[object, ...]) -> None:
    assert taken([predicate], NAMES) == conditions


@pytest.mark.parametrize(
    "predicate",
    [
        call("Greater", X, Literal(1.0, "float64")),  # NaN is above
        call("NotEquals", X, Literal(1.0, "float64")),
        call("Equals", X, Literal(math.nan, "float64")),
        call("Equals", AGE, Literal(1.5, "float64")),
        call("Equals", AGE, Literal(True, "boolean")),
        call("Equals", NAME, AGE),
        call("Equals", Column("cast", "int64"), Literal(1, "int8")),
        call("Equals", DAY, Literal("2020-01-01", "string")),
        call("Not", call("IsNull", NAME)),
        call("Or", call("IsNull", NAME), call("Greater", X, Literal(1.0, "float64"))),
        call("InValues", NAME, (Literal("a", "string"), Literal(None, "string"))),
    ],
)
def test_what_is_left_to_the_engine(predicate: Expression) -> None:
    assert taken([predicate], NAMES) == ()


def test_a_constant_that_the_column_cannot_hold_is_left_to_the_engine() -> None:
    schema = pa.schema([("small", pa.int8())])
    assert as_arrow([Comparison("small", "=", (300,))], schema) is None
    both = Either((Comparison("small", "=", (300,)), Comparison("small", "=", (3,))))
    assert as_arrow([both], schema) is None


@given(st.text(min_size=1), st.text())
def test_text_is_quoted(column: str, value: str) -> None:
    tree = sqlglot.parse_one(as_sql([Comparison(column, "=", (value,))]) or "", dialect="postgres")
    assert isinstance(tree, sge.EQ)
    assert tree.this.name == column
    assert tree.expression.this == value


def test_globs_and_folders(tmp_path: Path) -> None:
    for path in ("a/x.png", "a/b/y.png", "a/b/.hidden.png", "a/_tmp/z.png", "a/t[1].png", "a/w.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")

    def found(pattern: str, *suffixes: str) -> list[str]:
        files = Place(f"{tmp_path}/{pattern}", "here").files(suffixes)
        return [file.path.removeprefix(f"{tmp_path}/a/") for file in files]

    assert found("a/*.png") == ["t[1].png", "x.png"]
    assert found("a/**/?.png") == ["_tmp/z.png", "b/y.png", "x.png"]
    assert found("a/[!t]*.png") == ["x.png"]
    assert found("a", ".png") == ["b/y.png", "t[1].png", "x.png"]
    with pytest.raises(PlatformError, match=r"no file fits .*\*\.gif"):
        found("a/*.gif")


def test_a_place_does_not_show_its_secrets() -> None:
    assert "hunter2" not in repr(Place("s3://b/k", "here", {"secret_key": "hunter2"}))


def test_what_no_engine_reads_itself() -> None:
    assert outside(TableSource(source="t.csv"), frozenset({"parquet"}))
    assert not outside(TableSource(source="t.csv"))
    assert not outside(TableSource(source="file:///t.parquet"))
    assert outside(TableSource(source="t", options={"format": "delta"}))
    assert not outside(TableSource(query="SELECT 1"))


def asked(build: Callable[[Any], Any]) -> list[tuple[list[str], int]]:
    """Per scan of t: the columns that are read, and how many predicates are known."""
    table = ibis.table({"id": "int64", "name": "string", "x": "float64"}, name="t")
    plan = from_ibis.relation(build(table).op())
    scans = [node for node in plan.walk() if isinstance(node, Scan)]
    found = wanted(plan)
    return [(list(found[id(scan)].columns), len(found[id(scan)].predicates)) for scan in scans]


@pytest.mark.parametrize(
    ("build", "columns", "predicates"),
    [
        (lambda t: t, ["id", "name", "x"], 0),
        (lambda t: t.select(k=_.id).filter(_.k > 1), ["id"], 1),
        (lambda t: t.filter(_.id > 1, _.name == "a").select("x").filter(_.x < 1), ["id", "name", "x"], 3),
        (
            lambda t: t.select("id", r=ibis.row_number().over(order_by=_.x)).filter(_.id > 2),
            ["id", "name", "x"],
            0,
        ),
        (lambda t: t.limit(3).filter(_.id > 2), ["id", "name", "x"], 0),
        (lambda t: t.select("id", y=_.x + 1).filter(_.y > 2), ["id", "x"], 0),
        (lambda t: t.agg(n=_.count()), ["id", "name", "x"], 0),
    ],
)
def test_what_is_read_of_a_scan(build: Callable[[Any], Any], columns: list[str], predicates: int) -> None:
    assert asked(build) == [(columns, predicates)]


def test_a_scan_that_two_read_is_read_whole() -> None:
    assert asked(lambda t: t.filter(_.id > 1).union(t.filter(_.id < 0))) == [(["id", "name", "x"], 0)]
