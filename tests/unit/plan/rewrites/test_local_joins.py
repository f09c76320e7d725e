"""Joins run at the sites where equal keys or whole copies meet, and nowhere else."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.local_joins import local_joins
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


MINE = ibis.table({"o": "int64", "w": "int64"}, name="mine", database="hub")

MOVED = {
    "the user's own data, which may go anywhere": (
        notes.join(MINE, "o").select("v", "w"),
        """
Parts
  one: Join inner t1 on t0.o = t1.o -> t0.v, t1.w
    Scan one/notes (o, v)
    #1 Scan hub/mine (o, w)
  two: Join inner t1 on t0.o = t1.o -> t0.v, t1.w
    Scan two/notes (o, v)
    ^1 (Scan)
""",
    ),
    "one row made of it": (
        notes.cross_join(MINE.agg(w=MINE.w.max())).select("v", "w"),
        """
Parts
  one: Join cross t1 -> t0.v, t1.w
    Scan one/notes (o, v)
    #1 Aggregate w=max(w)
      Scan hub/mine (o, w)
  two: Join cross t1 -> t0.v, t1.w
    Scan two/notes (o, v)
    ^1 (Aggregate)
""",
    ),
    "equal keys of one scheme": (
        "SELECT c, v FROM orders JOIN items ON orders.o = items.o",
        """
Project c, v
  Parts by o (k)
    one: Join inner t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.n, t1.v
      Scan one/orders (o, c, d, many)
      Scan one/items (o, n, v)
    two: Join inner t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.n, t1.v
      Scan two/orders (o, c, d, many)
      Scan two/items (o, n, v)
""",
    ),
    "a left join of one scheme": (
        "SELECT c, v FROM orders LEFT JOIN items ON orders.o = items.o",
        """
Project c, v
  Parts by o (k)
    one: Join left t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.n, t1.v
      Scan one/orders (o, c, d, many)
      Scan one/items (o, n, v)
    two: Join left t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.n, t1.v
      Scan two/orders (o, c, d, many)
      Scan two/items (o, n, v)
""",
    ),
    "a copy on the right of a left join": (
        "SELECT v, r FROM items LEFT JOIN names ON items.n = names.n",
        """
Project v, r
  Parts by o (k)
    one: Join left t1 on t0.n = t1.n -> t0.o, t0.n, t0.v, n_1=t1.n, t1.r
      Scan one/items (o, n, v)
      Scan one/names (n, r)
    two: Join left t1 on t0.n = t1.n -> t0.o, t0.n, t0.v, n_1=t1.n, t1.r
      Scan two/items (o, n, v)
      Scan two/names (n, r)
""",
    ),
    "a copy of an inner join, wherever it stands": (
        "SELECT v, r FROM names JOIN items ON items.n = names.n",
        """
Project v, r
  Parts by o (k)
    one: Join inner t1 on t0.n = t1.n -> t1.n, t1.r, t0.o, n_1=t0.n, t0.v
      Scan one/items (o, n, v)
      Scan one/names (n, r)
    two: Join inner t1 on t0.n = t1.n -> t1.n, t1.r, t0.o, n_1=t0.n, t0.v
      Scan two/items (o, n, v)
      Scan two/names (n, r)
""",
    ),
    "copies at the sites that have both": (
        "SELECT n, s FROM names JOIN sorts ON names.r = sorts.r",
        """
Project n, s
  Copies
    two: Join inner t1 on t0.r = t1.r -> t0.n, t0.r, r_1=t1.r, t1.s
      Scan two/names (n, r)
      Scan two/sorts (r, s)
""",
    ),
    "sites that only one side has: an inner join": (
        "SELECT c, v FROM orders JOIN late ON orders.o = late.o",
        """
Project c, v
  Join inner t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.v
    Scan two/orders (o, c, d, many)
    Scan two/late (o, v)
""",
    ),
    "sites that only one side has: a full join": (
        "SELECT c, v FROM orders FULL JOIN late ON orders.o = late.o",
        """
Project c, v
  Parts
    one: Join outer t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.v
      Scan one/orders (o, c, d, many)
      Filter false
        Project o, v
          Constant o=cast(null, int64), v=cast(null, int64)
    two: Join outer t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.v
      Scan two/orders (o, c, d, many)
      Scan two/late (o, v)
    three: Join outer t1 on t0.o = t1.o -> t0.o, t0.c, t0.d, t0.many, o_1=t1.o, t1.v
      Filter false
        Project o, c, d, many
          Constant o=cast(null, int64), c=cast(null, int64), d=cast(null, int64), many=cast(null, array<int64>)
      Scan three/late (o, v)
""",
    ),
    "the beginning of a chain": (
        "SELECT c, w FROM orders LEFT JOIN names ON c = n LEFT JOIN (SELECT v AS w FROM notes) ON w = c",
        """
Project c, w
  Join left t1 on t1.w = t0.j0_c -> o=t0.j0_o, c=t0.j0_c, d=t0.j0_d, many=t0.j0_many, n=t0.j1_n, r=t0.j1_r, t1.w
    Parts by j0_o (k)
      one: Join left t1 on t0.c = t1.n -> j0_c=t0.c, j0_o=t0.o, j0_d=t0.d, j0_many=t0.many, j1_n=t1.n, j1_r=t1.r
        Scan one/orders (o, c, d, many)
        Scan one/names (n, r)
      two: Join left t1 on t0.c = t1.n -> j0_c=t0.c, j0_o=t0.o, j0_d=t0.d, j0_many=t0.many, j1_n=t1.n, j1_r=t1.r
        Scan two/orders (o, c, d, many)
        Scan two/names (n, r)
    Project w=v
      Parts
        one: Scan one/notes (o, v)
        two: Scan two/notes (o, v)
""",
    ),
}
KEPT = {
    "another scheme": orders.join(TABLES["bills"], "o"),
    "no partition": orders.join(notes, "o"),
    "a key that is not the partition's": orders.join(items, orders.c == items.o),
    "an inequality": orders.join(items, orders.o < items.o),
    "a copy on the kept side of a left join": names.left_join(items, names.n == items.n),
    "a copy in a full join": items.outer_join(names, names.n == items.n),
    "a copy on the left of an anti join": names.anti_join(items, names.n == items.n),
    "a window over what is joined": orders.join(items, "o").select(
        "c", r=ibis.row_number().over(order_by=items.v)
    ),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(rewrite(lowered(made), local_joins)) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(rewrite(plan, local_joins)) == plan_text(plan)
