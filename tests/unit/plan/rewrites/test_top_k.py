"""A limit cuts each part, where the parts' first rows hold the whole's."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.top_k import top_k
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
    "a sorted limit": (
        notes.order_by(ibis.desc("v")).limit(3),
        """
Limit 3
  Sort v desc
    Parts
      one: Limit 3
        Sort v desc
          Scan one/notes (o, v)
      two: Limit 3
        Sort v desc
          Scan two/notes (o, v)
""",
    ),
    "an offset is added": (
        notes.order_by("v").limit(3, offset=2),
        """
Limit 3 offset 2
  Sort v
    Parts
      one: Limit 5
        Sort v
          Scan one/notes (o, v)
      two: Limit 5
        Sort v
          Scan two/notes (o, v)
""",
    ),
    "no order": (
        notes.limit(3),
        """
Limit 3
  Parts
    one: Limit 3
      Scan one/notes (o, v)
    two: Limit 3
      Scan two/notes (o, v)
""",
    ),
    "through a projection": (
        notes.order_by("v").select(w=notes.v + 1).limit(3),
        """
Project w=v + 1
  Limit 3
    Sort v
      Parts
        one: Limit 3
          Sort v
            Scan one/notes (o, v)
        two: Limit 3
          Sort v
            Scan two/notes (o, v)
""",
    ),
}
KEPT = {
    "no number": notes.order_by("v").limit(None, offset=2),
    "a sort alone": notes.order_by("v"),
    "a filter between": notes.filter(notes.v > 1).limit(3),
    "an order by a window": notes.order_by(notes.v.rank().over(order_by="o")).limit(3),
    "a random order": notes.order_by(ibis.random()).limit(3),
    "an unnest between": orders.select("o", one=orders.many.unnest()).limit(3),
    "a window between": notes.select(r=ibis.row_number().over(order_by="v")).limit(3),
    "copies": names.limit(3),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(rewrite(lowered(made), top_k)) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(rewrite(plan, top_k)) == plan_text(plan)
