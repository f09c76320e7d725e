"""What the SQL platforms share: compiling once, counting reads, refusing what a dialect lacks."""

from __future__ import annotations

import gc
import weakref

import ibis
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Column, Literal, Subquery
from blossom.plan.relations import Filter, MapBatches, Project, Received, Relation, Scan, SetOperation, call
from blossom.plan.relations import Function as PlanFunction
from blossom.plan.schema import Schema
from blossom.platforms.sql import Interruption, SqlCompiler, reads

SCHEMA = Schema([("a", "int64"), ("s", "string")])
ROWS = Received("f0", SCHEMA)


def plan(expression: ibis.Table) -> Relation:
    return from_ibis.relation(expression.op())


def test_the_text_of_a_plan_is_kept_with_the_plan() -> None:
    compiler = SqlCompiler("duckdb")
    root = Filter(
        Scan("t", SCHEMA), (call("Greater", Column("a", "int64"), Literal(1, "int8"), dtype="boolean"),)
    )
    first = compiler.compile(root)
    assert compiler.compile(root) is first
    assert first.tables == {"t"}
    gone = weakref.ref(root)
    del root
    gc.collect()
    assert gone() is None


def test_an_equal_plan_is_not_compiled_again() -> None:
    compiler = SqlCompiler("duckdb")
    first, again = (Filter(Scan("t", SCHEMA), (Literal(True, "boolean"),)) for _turn in range(2))
    other = Filter(Scan("u", SCHEMA), (Literal(True, "boolean"),))
    assert compiler.compile(first) is compiler.compile(again)
    assert compiler.compile(first) is not compiler.compile(other)


def test_equal_plans_give_equal_text() -> None:
    def build() -> Relation:
        t = ibis.table(SCHEMA.to_ibis(), name="t")
        return plan(t.join(t.view(), "a").select("a"))

    assert SqlCompiler("duckdb").compile(build()).text == SqlCompiler("duckdb").compile(build()).text


def test_reads_count_each_use() -> None:
    assert reads(ROWS) == {"f0": 1}
    shared = Filter(ROWS, (Column("a", "int64"),))
    assert reads(SetOperation("union", (shared, shared), distinct=False)) == {"f0": 2}
    inside = Subquery("scalar", Project(ROWS, (("a", Column("a", "int64")),)), "int64")
    assert reads(Project(Scan("t", SCHEMA), (("v", inside),)))["f0"] > 1


def test_operations_look_into_subqueries() -> None:
    inner = Filter(ROWS, (call("IsNull", Column("a", "int64"), dtype="boolean"),))
    node = Filter(Scan("t", SCHEMA), (call("Not", Subquery("exists", inner, "boolean"), dtype="boolean"),))
    assert node.operations == {"Not", "IsNull"}


def test_a_missing_operation_is_named() -> None:
    t = ibis.table(SCHEMA.to_ibis(), name="t")
    assert SqlCompiler("sqlite").refusal(plan(t.agg(v=t.a.median()))) == "Median has no form in sqlite"
    assert SqlCompiler("duckdb").refusal(plan(t.agg(v=t.a.median()))) is None


def test_an_operation_with_some_arguments_only_is_tried() -> None:
    t = ibis.table({"at": "timestamp"}, name="t")
    compiler = SqlCompiler("sqlite")
    assert compiler.refusal(plan(t.select(v=_["at"].truncate("D")))) is None
    assert "HOUR" in str(compiler.refusal(plan(t.select(v=_["at"].truncate("h")))))


def test_a_node_without_sql_is_named() -> None:
    node = MapBatches(ROWS, PlanFunction("f", "00"), SCHEMA)
    assert SqlCompiler("duckdb").refusal(node) == "MapBatches has no SQL form"


def test_compiling_what_the_dialect_cannot_say_is_an_error() -> None:
    t = ibis.table(SCHEMA.to_ibis(), name="t")
    with pytest.raises(PlatformError, match="sqlite cannot express"):
        SqlCompiler("sqlite").compile(plan(t.agg(v=t.a.median())))


def test_an_interruption_that_has_ended_does_nothing() -> None:
    made: list[int] = []
    interruption = Interruption(lambda: made.append(1))
    interruption()
    interruption.end()
    interruption()
    assert made == [1]
