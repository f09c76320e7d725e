"""Where a filter goes, and what it must not pass."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.expressions import Literal, facts
from blossom.plan.relations import Filter, Project, Relation, Scan, call, identity
from blossom.plan.rewrites.push_filters import LARGEST, push_filters
from blossom.plan.text import expression_text, plan_text

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
    "through a projection": (
        "SELECT s FROM (SELECT a + b AS s FROM t) WHERE s > 1",
        """
Project s=a + b
  Filter a + b > 1
    Scan */t (a, b, c, many)
""",
    ),
    "below a group by": (
        "SELECT a, count(*) AS n FROM t GROUP BY a HAVING count(*) > 1 AND a > 2",
        """
Filter n > 1
  Aggregate [a] n=count()
    Filter a > 2
      Scan */t (a, b, c, many)
""",
    ),
    "to both tables of a join, and across it": (
        "SELECT a, x FROM t JOIN u ON t.a = u.k WHERE x > 1 AND a < 5 AND b < y",
        """
Project a, x
  Join inner t1 on t0.a = t1.k and t0.b < t1.y -> t0.a, t0.b, t0.c, t0.many, t1.k, t1.x, t1.y
    Filter a < 5
      Scan */t (a, b, c, many)
    Filter x > 1
      Scan */u (k, x, y)
""",
    ),
    "to the kept side of a left join only": (
        "SELECT a, x FROM t LEFT JOIN u ON t.a = u.k WHERE a < 5 AND x > 1",
        """
Project a, x
  Filter x > 1
    Join left t1 on t0.a = t1.k -> t0.a, t0.b, t0.c, t0.many, t1.k, t1.x, t1.y
      Filter a < 5
        Scan */t (a, b, c, many)
      Scan */u (k, x, y)
""",
    ),
    "below a semi join": (
        t.semi_join(u, t.a == u.k).filter(ibis._.b > 1),
        """
Join semi t1 on t0.a = t1.k -> t0.a, t0.b, t0.c, t0.many
  Filter b > 1
    Scan */t (a, b, c, many)
  Scan */u (k, x, y)
""",
    ),
    "into each branch of a union": (
        "SELECT * FROM (SELECT a FROM t UNION ALL SELECT k FROM u) WHERE a > 1",
        """
Union all
  Project a
    Filter a > 1
      Scan */t (a, b, c, many)
  Project a=k
    Project k
      Filter k > 1
        Scan */u (k, x, y)
""",
    ),
    "below a distinct and a sort": (
        t.distinct().order_by("a").filter(ibis._.b > 1),
        """
Sort a
  Distinct
    Filter b > 1
      Scan */t (a, b, c, many)
""",
    ),
    "merges filters": (
        t.filter(t.a > 1).filter(ibis._.b > 2),
        """
Filter a > 1 and b > 2
  Scan */t (a, b, c, many)
""",
    ),
}
KEPT = {
    "the unkept side of a left join": "SELECT a, x FROM t LEFT JOIN u ON t.a = u.k WHERE x > 1 OR x IS NULL",
    "both sides of a full join": "SELECT a, x FROM t FULL JOIN u ON t.a = u.k WHERE a > 1 AND x > 1",
    "below a limit": t.limit(3).filter(ibis._.a > 1),
    "below a sample": t.sample(0.5, seed=1).filter(ibis._.a > 1),
    "a metric": "SELECT a, sum(b) AS s FROM t GROUP BY a HAVING sum(b) > 1",
    "below a window": t.select("a", r=ibis.row_number().over(order_by=t.b)).filter(ibis._.a > 1),
    "below a window that a join makes": t.join(u, t.a == u.k)
    .select("a", r=ibis.row_number().over(order_by=u.x))
    .filter(ibis._.a > 1),
    "an unnested value": t.select("a", one=t.many.unnest()).filter(ibis._.one > 1),
    "with a subquery": "SELECT * FROM (SELECT a + 1 AS s FROM t) WHERE s > (SELECT max(x) FROM u)",
    "with a random value": t.select(s=t.a + 1).filter(ibis._.s > ibis.random()),
    "on a random value": t.select(s=ibis.random()).filter(ibis._.s > 0.5),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(push_filters(lowered(made))) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(push_filters(plan)) == plan_text(plan)


def test_two_filters_that_stick_are_one() -> None:
    table = t.select(s=t.a + 1).filter(ibis._.s > ibis.random()).limit(3)
    plan = push_filters(lowered(table.filter(ibis._.s > ibis.random()).filter(ibis._.s > 2)))
    assert plan_text(plan).count("Filter") == 2  # one above the limit, one below it


def test_a_conjunct_stays_above_columns_that_would_make_it_large() -> None:
    table = t
    for _ in range(LARGEST):
        table = table.mutate(a=table.a + table.b)
    made = push_filters(lowered(table.filter(table.a > 1, table.c > 2)))
    (low,) = [node for node in made.walk() if isinstance(node, Filter) and isinstance(node.input, Scan)]
    assert expression_text(low.predicates[0]) == "c > 2"  # a bare column goes all the way
    assert len(low.predicates) == 1
    (high,) = [node for node in made.walk() if isinstance(node, Filter) and node is not low]
    assert 3 < facts(high.predicates[0]).size <= LARGEST


def test_a_node_without_filters_above_it_stays_shared() -> None:
    shared = t.mutate(s=t.a + t.b)
    right = shared.filter(shared.s > 1).select(k="a")
    plan = push_filters(lowered(shared.join(right, shared.a == right.k)))
    assert len([node for node in plan.walk() if isinstance(node, Scan)]) == 1


def test_a_long_pipeline_meets_no_recursion_limit() -> None:
    relation: Relation = lowered(t)
    for i in range(3_000):
        if i % 2:
            predicate = call("Greater", relation.column("c"), Literal(i, "int16"), dtype="boolean")
            relation = Filter(relation, (predicate,))
        else:
            more = call("Add", relation.column("a"), relation.column("b"), dtype="int64")
            relation = Project(relation, tuple((n, more if n == "a" else v) for n, v in identity(relation)))
        _ = relation.schema
    made = push_filters(relation)
    (low,) = [node for node in made.walk() if isinstance(node, Filter)]
    assert isinstance(low.input, Scan)
    assert len(low.predicates) == 1_500
