"""Subqueries as joins give what DuckDB gives for the subqueries, above all where they find no row, or a null."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import ibis
import ibis.expr.operations as ops
import pytest
from ibis.backends.sql.compilers.duckdb import compiler

from blossom.plan import from_ibis, sql, to_ibis
from blossom.plan.expressions import has_subquery
from blossom.plan.relations import Relation
from blossom.plan.rewrites.decorrelate import decorrelate
from blossom.plan.rewrites.prune_columns import prune_columns
from blossom.plan.rewrites.push_filters import push_filters
from blossom.plan.text import plan_text

TABLES = {
    "t": ibis.table({"a": "int64", "b": "int64", "c": "int64"}, name="t"),
    "u": ibis.table({"k": "int64", "x": "int64", "y": "int64"}, name="u"),
}

JOINED = [
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.a AND u.x <> t.b)",
    "SELECT * FROM t WHERE NOT EXISTS (SELECT DISTINCT k FROM u WHERE u.k = t.a ORDER BY k)",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u JOIN u v ON u.k = v.k WHERE u.k = t.a AND v.x > t.b)",
    "SELECT * FROM t WHERE EXISTS (SELECT sum(x) FROM u WHERE u.k = t.a)",
    "SELECT * FROM t WHERE NOT EXISTS (SELECT sum(x) FROM u WHERE u.k = t.a)",
    "SELECT * FROM t WHERE a IN (SELECT k FROM u WHERE u.x = t.b)",
    "SELECT * FROM t WHERE a IN (SELECT k FROM u LIMIT 0)",
    "SELECT * FROM t WHERE c IN (SELECT sum(y) FROM u WHERE u.k = t.a)",
    "SELECT * FROM t WHERE a NOT IN (SELECT k FROM u)",
    "SELECT * FROM t WHERE a NOT IN (SELECT k FROM u WHERE k IS NOT NULL)",
    "SELECT * FROM t WHERE a NOT IN (SELECT k FROM u WHERE FALSE)",
    "SELECT a, (SELECT max(x) FROM u) s FROM t",
    "SELECT a, (SELECT count(*) FROM u WHERE u.k = t.a) s FROM t",
    "SELECT a, (SELECT count(*) + 1 FROM u WHERE u.k = t.a) s FROM t",
    "SELECT a, (SELECT sum(x) + 1 FROM u WHERE u.k = t.a) s FROM t",
    "SELECT a, (SELECT coalesce(sum(x), 0) FROM u WHERE u.k = t.a) s FROM t",
    "SELECT a, (SELECT CASE WHEN sum(x) IS NULL THEN -1 ELSE 1 END FROM u WHERE u.k = t.a) s FROM t",
    "SELECT * FROM t WHERE c > (SELECT coalesce(avg(y), 0) FROM u WHERE u.k = t.a)",
    "SELECT * FROM t WHERE c = (SELECT max(y) FROM u WHERE u.k = t.a AND u.x = t.b) OR a = 5",
]
KEPT = [
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u)",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.a LIMIT 0)",
    "SELECT * FROM t WHERE EXISTS (SELECT count(*) FROM u WHERE u.k = t.a HAVING count(*) > 1)",
    "SELECT * FROM t WHERE EXISTS (SELECT k, count(*) FROM u WHERE u.k = t.a GROUP BY k)",
    "SELECT * FROM t WHERE 0 IN (SELECT count(*) FROM u WHERE u.k = t.a)",
    "SELECT * FROM t WHERE a IN (SELECT max(k) FROM u WHERE u.x = t.b GROUP BY k)",
    "SELECT * FROM t WHERE a = (SELECT min(k) FROM u WHERE u.x < t.b)",
    "SELECT a, (SELECT sum(x) FROM u WHERE u.k = t.a OR t.a IS NULL) q FROM t",
]
"""Shapes that an engine with subqueries must answer."""


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as made:
        made.sql(
            "CREATE TABLE t AS FROM (VALUES (1, 1, 10), (2, NULL, 5), (3, 2, 0), (NULL, 3, 7), (5, 9, NULL)) v(a, b, c)"
        )
        made.sql(
            "CREATE TABLE u AS FROM (VALUES (1, 1, 10), (1, 2, 5), (2, NULL, 1), (3, 7, NULL), (NULL, 3, 8)) v(k, x, y)"
        )
        yield made


def lowered(text: str) -> Relation:
    return from_ibis.relation(sql.parse(text, lambda name, _: TABLES[name], lambda: list(TABLES)).op())


def leaf(node: Relation) -> ops.Relation:
    return TABLES[node.table].op()  # type: ignore[attr-defined]


def answers(connection: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    return sorted(map(repr, connection.sql(text).fetchall()))


def whole(plan: Relation) -> Relation:
    return prune_columns(push_filters(decorrelate(plan)))


@pytest.mark.parametrize(
    "steps", [lambda plan: plan, decorrelate, whole], ids=["none", "alone", "with others"]
)
@pytest.mark.parametrize("text", [*JOINED, *KEPT])
def test_meaning_stays(
    connection: duckdb.DuckDBPyConnection, text: str, steps: Callable[[Relation], Relation]
) -> None:
    expression = to_ibis.relation(steps(lowered(text)), leaf).to_expr()
    compiled = compiler.to_sqlglot(expression).sql(dialect="duckdb")
    assert answers(connection, compiled) == answers(connection, text)


@pytest.mark.parametrize("text", JOINED)
def test_becomes_a_join(text: str) -> None:
    plan = decorrelate(lowered(text))
    assert not any(has_subquery(e) for node in plan.walk() for e in node.expressions())


@pytest.mark.parametrize("text", KEPT)
def test_is_left_to_an_engine(text: str) -> None:
    plan = decorrelate(lowered(text))
    assert any(has_subquery(e) for node in plan.walk() for e in node.expressions())


def test_text_of_a_scalar_subquery() -> None:
    plan = decorrelate(lowered("SELECT a, (SELECT sum(x) FROM u WHERE u.k = t.a) s FROM t"))
    text = plan_text(plan)
    assert "Join left" in text
    assert "Aggregate [__k0=k]" in text
