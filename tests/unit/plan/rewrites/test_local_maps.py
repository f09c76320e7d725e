"""What works row by row runs at each part; what needs all rows does not."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan import operators as own
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.local_maps import local_maps
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


def folded(table: str, per: str, *by: str) -> ibis.Table:
    made = own.MapBatches(TABLES[table], "f", "00", "{}", per, TABLES[table].schema(), "arrow", by)
    return made.to_expr()


def lowered(made: str | ibis.Table) -> Relation:
    table = (
        sql.parse(made, lambda name, _: TABLES[name], lambda: list(TABLES)) if isinstance(made, str) else made
    )
    return rewrite(
        from_ibis.relation(table.op()),
        lambda node: expand(node, FEDERATED) if isinstance(node, Scan) else node,
    )


MOVED = {
    "a filter and a projection, which keeps the partition": (
        "SELECT o AS k, c + 1 AS e FROM orders WHERE c > 1",
        """
Parts by k (k)
  one: Project k=o, e=c + 1
    Filter c > 1
      Scan one/orders (o, c, d, many)
  two: Project k=o, e=c + 1
    Filter c > 1
      Scan two/orders (o, c, d, many)
""",
    ),
    "a projection that drops the partition's column": (
        "SELECT c FROM orders",
        """
Parts
  one: Project c
    Scan one/orders (o, c, d, many)
  two: Project c
    Scan two/orders (o, c, d, many)
""",
    ),
    "a distinct with a partition needs no second": (
        "SELECT DISTINCT o, c FROM orders",
        """
Parts by o (k)
  one: Distinct
    Project o, c
      Scan one/orders (o, c, d, many)
  two: Distinct
    Project o, c
      Scan two/orders (o, c, d, many)
""",
    ),
    "a distinct without one does": (
        "SELECT DISTINCT c FROM orders",
        """
Distinct
  Parts
    one: Distinct
      Project c
        Scan one/orders (o, c, d, many)
    two: Distinct
      Project c
        Scan two/orders (o, c, d, many)
""",
    ),
    "a window over the partition": (
        orders.select("o", r=ibis.row_number().over(group_by="o", order_by="c")),
        """
Parts by o (k)
  one: Project o, r=window_function(row_number(), 'rows', null, null, [o], [c])
    Scan one/orders (o, c, d, many)
  two: Project o, r=window_function(row_number(), 'rows', null, null, [o], [c])
    Scan two/orders (o, c, d, many)
""",
    ),
    "an unnest": (
        orders.unnest("many"),
        """
Parts by o (k)
  one: Unnest many=many
    Scan one/orders (o, c, d, many)
  two: Unnest many=many
    Scan two/orders (o, c, d, many)
""",
    ),
    "anything over copies": (
        "SELECT n, sum(r) AS s FROM names WHERE r > 1 GROUP BY n ORDER BY s LIMIT 2",
        """
Copies
  one: Limit 2
    Sort s
      Aggregate [n] s=sum(r)
        Filter r > 1
          Scan one/names (n, r)
  two: Limit 2
    Sort s
      Aggregate [n] s=sum(r)
        Filter r > 1
          Scan two/names (n, r)
""",
    ),
    "a fold, and again what the parts gave": (
        folded("notes", "fold", "v"),
        """
MapBatches f per fold by v -> o, v
  Parts
    one: MapBatches f per fold by v -> o, v
      Scan one/notes (o, v)
    two: MapBatches f per fold by v -> o, v
      Scan two/notes (o, v)
""",
    ),
    "a function of groups that are whole at a site": (
        folded("late", "group", "v", "o"),
        """
Parts
  two: MapBatches f per group by v, o -> o, v
    Scan two/late (o, v)
  three: MapBatches f per group by v, o -> o, v
    Scan three/late (o, v)
""",
    ),
    "a fold of such groups": (
        folded("late", "fold", "o"),
        """
Parts
  two: MapBatches f per fold by o -> o, v
    Scan two/late (o, v)
  three: MapBatches f per fold by o -> o, v
    Scan three/late (o, v)
""",
    ),
    "a filter by a function, which keeps the partition": (
        folded("late", "keep"),
        """
Parts by o (k)
  two: MapBatches f per keep -> o, v
    Scan two/late (o, v)
  three: MapBatches f per keep -> o, v
    Scan three/late (o, v)
""",
    ),
    "a bag union, a copy read once": (
        "SELECT o AS x FROM orders UNION ALL SELECT n FROM names",
        """
Parts
  one: Union all
    Project x=o
      Scan one/orders (o, c, d, many)
    Project x=n
      Project n
        Scan one/names (n, r)
  two: Project x=o
    Scan two/orders (o, c, d, many)
""",
    ),
}
KEPT = {
    "a window over all rows": notes.mutate(r=ibis.row_number().over(order_by="o")),
    "a window over another column": orders.mutate(r=ibis.row_number().over(group_by="c", order_by="o")),
    "a filter with a subquery": "SELECT * FROM notes WHERE v > (SELECT max(v) FROM bills)",
    "a function of groups that are not": folded("notes", "group", "o"),
    "a function of all rows": folded("late", "group"),
    "a sort": notes.order_by("v"),
    "a limit": notes.limit(3),
    "a set union": notes.union(TABLES["bills"], distinct=True),
    "a difference": notes.difference(TABLES["bills"]),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(rewrite(lowered(made), local_maps)) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(rewrite(plan, local_maps)) == plan_text(plan)
