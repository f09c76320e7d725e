"""The SQL that Ibis's compilers make of plans, letter by letter, so that an upgrade of Ibis or SQLGlot shows what it changes.

`BLOSSOM_UPDATE_GOLDEN=1` rewrites the files `golden/<dialect>_<name>.sql`.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import ibis
import ibis.expr.operations as ops
import pytest

from blossom.plan import from_ibis, sql, to_ibis
from blossom.plan.relations import Relation, Scan

GOLDEN = Path(__file__).parent / "golden"
DIALECTS = ("duckdb", "sqlite", "postgres")

TABLES = {
    "visits": ibis.table(
        {
            "id": "int64",
            "person": "int64",
            "ward": "string",
            "day": "date",
            "cost": "decimal(12, 2)",
            "score": "float64",
        },
        name="visits",
    ),
    "people": ibis.table(
        {"person": "int64", "name": "string", "born": "date", "alive": "boolean"}, name="people"
    ),
}
PLANS: Mapping[str, str] = {
    "filter": "SELECT id, score FROM visits WHERE ward = 'it''s' AND (score > 1.5 OR score IS NULL)",
    "expressions": "SELECT id, upper(ward) AS w, coalesce(score, 0.0) / 2 AS h, CASE WHEN score > 1 THEN 'high' ELSE 'low' END AS k FROM visits",
    "dates": "SELECT id, extract(YEAR FROM day) AS y, date_trunc('month', day) AS m FROM visits WHERE day >= DATE '2024-01-31'",
    "aggregate": "SELECT ward, count(*) AS n, sum(cost) AS c, avg(score) AS s, count(DISTINCT person) AS p FROM visits GROUP BY ward HAVING count(*) > 2",
    "moments": "SELECT ward, var_pop(score) AS v, stddev_samp(score) AS d FROM visits GROUP BY ward",
    "joins": "SELECT v.id, p.name FROM visits v LEFT JOIN people p ON v.person = p.person JOIN people q ON q.person = v.id",
    "top": "SELECT id, score FROM visits ORDER BY score DESC, id LIMIT 5 OFFSET 2",
    "window": "SELECT id, row_number() OVER (PARTITION BY ward ORDER BY day) AS r, sum(score) OVER (PARTITION BY ward) AS s FROM visits",
    "sets": "SELECT person FROM visits UNION ALL SELECT person FROM people EXCEPT SELECT id FROM visits",
    "subqueries": "SELECT id FROM visits v WHERE score > (SELECT avg(score) FROM visits) AND EXISTS (SELECT 1 FROM people p WHERE p.person = v.person AND p.alive)",
}


def lowered(text: str) -> Relation:
    return from_ibis.relation(sql.parse(text, lambda name, _: TABLES[name], lambda: list(TABLES)).op())


def leaf(node: Relation) -> ops.Relation:
    assert isinstance(node, Scan)
    return ops.UnboundTable(node.table, node.columns.to_ibis())


def compiled(text: str, dialect: str) -> str:
    compiler = importlib.import_module(f"ibis.backends.sql.compilers.{dialect}").compiler
    expression = to_ibis.relation(lowered(text), leaf).to_expr()
    return compiler.to_sqlglot(expression).sql(dialect=compiler.dialect, pretty=True) + "\n"


@pytest.mark.parametrize(("dialect", "name"), [*itertools.product(DIALECTS, PLANS)])
def test_sql(dialect: str, name: str) -> None:
    found = compiled(PLANS[name], dialect)
    path = GOLDEN / f"{dialect}_{name}.sql"
    if os.environ.get("BLOSSOM_UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_every_file_has_its_plan() -> None:
    wanted = {f"{dialect}_{name}.sql" for dialect, name in itertools.product(DIALECTS, PLANS)}
    assert {path.name for path in GOLDEN.iterdir()} == wanted
