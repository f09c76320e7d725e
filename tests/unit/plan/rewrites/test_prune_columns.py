"""Every node keeps the columns that something above it reads."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.relations import Relation
from blossom.plan.rewrites.prune_columns import prune_columns
from blossom.plan.text import plan_text

TABLES = {
    "t": ibis.table({"a": "int64", "b": "int64", "c": "int64", "many": "array<int64>"}, name="t"),
    "u": ibis.table({"k": "int64", "x": "int64", "y": "int64"}, name="u"),
}


def lowered(made: str | ibis.Table) -> Relation:
    table = (
        sql.parse(made, lambda name, _: TABLES[name], lambda: list(TABLES)) if isinstance(made, str) else made
    )
    return from_ibis.relation(table.op())


t, u = TABLES.values()

MOVED = {
    "of a scan": (
        "SELECT a FROM t WHERE b > 1",
        """
Project a
  Filter b > 1
    Project a, b
      Scan */t (a, b, c, many)
""",
    ),
    "of a join's tables": (
        "SELECT a FROM t JOIN u ON t.a = u.k",
        """
Project a
  Join inner t1 on t0.a = t1.k -> t0.a
    Project a
      Scan */t (a, b, c, many)
    Project k
      Scan */u (k, x, y)
""",
    ),
    "a metric": (
        "SELECT a FROM (SELECT a, sum(b) AS s, max(c) AS m FROM t GROUP BY a)",
        """
Project a
  Aggregate [a]
    Project a
      Scan */t (a, b, c, many)
""",
    ),
    "a window": (
        t.select("a", r=ibis.row_number().over(order_by=t.b)).select("a"),
        """
Project a
  Project a
    Project a
      Scan */t (a, b, c, many)
""",
    ),
    "of a count, which needs a row's narrowest column": (
        "SELECT count(*) AS n FROM t",
        """
Aggregate n=count()
  Project a
    Scan */t (a, b, c, many)
""",
    ),
    "of each branch of a bag union": (
        "SELECT a FROM (SELECT a, b FROM t UNION ALL SELECT k, x FROM u)",
        """
Project a
  Union all
    Project a
      Project a
        Scan */t (a, b, c, many)
    Project a=k
      Project k
        Project k
          Scan */u (k, x, y)
""",
    ),
    "an unnested value makes the rows, read or not": (
        t.select("a", one=t.many.unnest()).aggregate(n=ibis._.count()),
        """
Aggregate n=count()
  Project a, one=unnest(many)
    Project a, many
      Scan */t (a, b, c, many)
""",
    ),
    "the sort key stays below": (
        t.order_by("b").select("a"),
        """
Project a
  Sort b
    Project a, b
      Scan */t (a, b, c, many)
""",
    ),
}
KEPT = {
    "a distinct compares whole rows": t.distinct().select("a"),
    "a set union too": u.union(u.filter(u.x > 1), distinct=True).select("k"),
    "an intersection too": u.intersect(u.filter(u.x > 1)).select("k"),
    "the root": t.filter(t.a > 1),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(prune_columns(lowered(made))) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(prune_columns(plan)) == plan_text(plan)
