"""Parts fold their own rows where a merge can fold the rest."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.partial_aggregation import partial_aggregation
from blossom.plan.schema import Schema
from blossom.plan.text import plan_text


def federated(
    columns: str, *sites: str, by: str = "", scheme: str = "k", copied: bool = False
) -> FederatedTable:
    schema = Schema((name, "array<int64>" if name == "many" else "int64") for name in columns.split())
    partition = Partition(scheme, tuple(by.split())) if by else None
    return FederatedTable(schema, dict.fromkeys(sites, schema), partition, copied)


FEDERATED = {
    "orders": federated("o c d many", "one", "two", by="o"),
    "items": federated("o n v", "one", "two", by="o"),
    "bills": federated("o v", "one", "two", by="o", scheme="other"),
    "notes": federated("o v", "one", "two"),
    "names": federated("n r", "one", "two", copied=True),
    "sorts": federated("r s", "two", "three", copied=True),
    "late": federated("o v", "two", "three", by="o"),
}
TABLES = {name: ibis.table(table.schema.to_ibis(), name=name) for name, table in FEDERATED.items()}
orders, items, names, notes = (TABLES[name] for name in ("orders", "items", "names", "notes"))


def lowered(made: str | ibis.Table) -> Relation:
    table = (
        sql.parse(made, lambda name, _: TABLES[name], lambda: list(TABLES)) if isinstance(made, str) else made
    )
    return rewrite(
        from_ibis.relation(table.op()),
        lambda node: expand(node, FEDERATED) if isinstance(node, Scan) else node,
    )


MOVED = {
    "by the partition: nothing to merge": (
        "SELECT o, sum(c) AS s, count(DISTINCT d) AS e FROM orders GROUP BY o",
        """
Parts by o (k)
  one: Aggregate [o] s=sum(c), e=count_distinct(d)
    Scan one/orders (o, c, d, many)
  two: Aggregate [o] s=sum(c), e=count_distinct(d)
    Scan two/orders (o, c, d, many)
""",
    ),
    "sums, counts, extremes and means": (
        "SELECT c, sum(d) AS s, count(*) AS n, max(d) AS m, avg(d) AS e FROM orders GROUP BY c",
        """
Project c, s=__m0, n=cast(__m1, int64), m=__m2, e=cast(__m0, float64) / cast(__m3, float64)
  Aggregate [c] __m0=sum(__p0), __m1=sum(__p1), __m2=max(__p2), __m3=sum(__p3)
    Parts
      one: Aggregate [c] __p0=sum(d), __p1=count(), __p2=max(d), __p3=count(d)
        Scan one/orders (o, c, d, many)
      two: Aggregate [c] __p0=sum(d), __p1=count(), __p2=max(d), __p3=count(d)
        Scan two/orders (o, c, d, many)
""",
    ),
    "without groups": (
        "SELECT count(d) AS n FROM orders",
        """
Project n=cast(__m0, int64)
  Aggregate __m0=sum(__p0)
    Parts
      one: Aggregate __p0=count(d)
        Scan one/orders (o, c, d, many)
      two: Aggregate __p0=count(d)
        Scan two/orders (o, c, d, many)
""",
    ),
    "a condition": (
        "SELECT sum(c) FILTER (WHERE d > 1) AS s FROM orders",
        """
Project s=__m0
  Aggregate __m0=sum(__p0)
    Parts
      one: Aggregate __p0=sum(c, d > 1)
        Scan one/orders (o, c, d, many)
      two: Aggregate __p0=sum(c, d > 1)
        Scan two/orders (o, c, d, many)
""",
    ),
    "an expression over metrics": (
        "SELECT sum(c) / count(*) AS q FROM orders",
        """
Project q=metric / metric_1
  Project metric=__m0, metric_1=cast(__m1, int64)
    Aggregate __m0=sum(__p0), __m1=sum(__p1)
      Parts
        one: Aggregate __p0=sum(c), __p1=count()
          Scan one/orders (o, c, d, many)
        two: Aggregate __p0=sum(c), __p1=count()
          Scan two/orders (o, c, d, many)
""",
    ),
    "distinct values of the partition's column add up": (
        "SELECT c, count(DISTINCT o) AS n FROM orders GROUP BY c",
        """
Project c, n=cast(__m0, int64)
  Aggregate [c] __m0=sum(__p0)
    Parts
      one: Aggregate [c] __p0=count_distinct(o)
        Scan one/orders (o, c, d, many)
      two: Aggregate [c] __p0=count_distinct(o)
        Scan two/orders (o, c, d, many)
""",
    ),
    "variances by their means": (
        "SELECT c, var_samp(d) AS s FROM orders GROUP BY c",
        """
Project c, s=__m1 / null_if(cast(__m0, float64) - 1.0, 0.0)
  Aggregate [c] __m0=sum(__p0), __m1=sum(__p2 * __p0 + __p0 * ((__p1 - __p1__joint) * (__p1 - __p1__joint)))
    Project c, __p0, __p1, __p2, __p1__joint=window_function(sum(__p1 * __p0), 'rows', null, null, [c], []) / cast(window_function(sum(__p0), 'rows', null, null, [c], []), float64)
      Parts
        one: Aggregate [c] __p0=count(d), __p1=mean(d), __p2=variance(d, 'pop')
          Scan one/orders (o, c, d, many)
        two: Aggregate [c] __p0=count(d), __p1=mean(d), __p2=variance(d, 'pop')
          Scan two/orders (o, c, d, many)
""",
    ),
}
KEPT = {
    "distinct values of another column": orders.aggregate(n=orders.c.nunique()),
    "distinct values without a partition": notes.aggregate(n=notes.o.nunique()),
    "a median beside a sum": orders.aggregate(m=orders.c.median(), s=orders.c.sum()),
    "a collection, whose order counts": orders.aggregate(m=orders.c.collect()),
    "the first": orders.aggregate(m=orders.c.first(order_by="d")),
    "over copies": names.aggregate(s=names.r.sum()),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(rewrite(lowered(made), partial_aggregation)) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(rewrite(plan, partial_aggregation)) == plan_text(plan)
