"""The tables of one place join there first."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.rewrites.split_joins import split_joins
from blossom.plan.schema import Schema
from blossom.plan.text import plan_text


def federated(
    columns: str, *sites: str, by: str = "", scheme: str = "k", copied: bool = False
) -> FederatedTable:
    schema = Schema((name, "array<int64>" if name == "many" else "int64") for name in columns.split())
    partition = Partition(scheme, tuple(by.split())) if by else None
    return FederatedTable(schema, dict.fromkeys(sites, schema), partition, copied)


FEDERATED = {
    "a": federated("k x", "one"),
    "b": federated("k y", "two"),
    "c": federated("k z", "one"),
    "d": federated("m w", "one"),
}
TABLES = {name: ibis.table(table.schema.to_ibis(), name=name) for name, table in FEDERATED.items()}
a, b, c, d = TABLES.values()


def lowered(made: str | ibis.Table) -> Relation:
    table = (
        sql.parse(made, lambda name, _: TABLES[name], lambda: list(TABLES)) if isinstance(made, str) else made
    )
    return rewrite(
        from_ibis.relation(table.op()),
        lambda node: expand(node, FEDERATED) if isinstance(node, Scan) else node,
    )


def place(node: Relation) -> str | None:
    """The one site of all scans below."""
    sites = {below.site for below in node.walk() if isinstance(below, Scan)}
    return sites.pop() if len(sites) == 1 else None


MOVED = {
    "around a table elsewhere": (
        "SELECT x, y, z FROM a JOIN b ON a.k = b.k JOIN c ON a.k = c.k",
        """
Project x, y, z
  Join inner t1 on t0.j0_k = t1.k -> k=t0.j0_k, x=t0.j0_x, k_1=t1.k, t1.y, k_2=t0.j2_k, z=t0.j2_z
    Join inner t1 on t0.k = t1.k -> j0_k=t0.k, j2_k=t1.k, j0_x=t0.x, j2_z=t1.z
      Scan one/a (k, x)
      Scan one/c (k, z)
    Scan two/b (k, y)
""",
    ),
    "what links the rest stays outside": (
        "SELECT x FROM a JOIN c ON a.k = c.k AND x < z JOIN b ON z = y AND x > y",
        """
Project x
  Join inner t1 on t0.j1_z = t1.y and t0.j0_x > t1.y -> k=t0.j0_k, x=t0.j0_x, k_1=t0.j1_k, z=t0.j1_z, k_2=t1.k, t1.y
    Join inner t1 on t0.k = t1.k and t0.x < t1.z -> j0_k=t0.k, j1_k=t1.k, j0_x=t0.x, j1_z=t1.z
      Scan one/a (k, x)
      Scan one/c (k, z)
    Scan two/b (k, y)
""",
    ),
    "unlinked tables stay apart": (
        "SELECT x, w, z FROM a JOIN b ON a.k = b.k JOIN c ON a.k = c.k JOIN d ON w = y",
        """
Project x, w, z
  Join inner t1 on t0.j0_k = t1.k; inner t2 on t2.w = t1.y -> k=t0.j0_k, x=t0.j0_x, k_1=t1.k, t1.y, k_2=t0.j2_k, z=t0.j2_z, t2.m, t2.w
    Join inner t1 on t0.k = t1.k -> j0_k=t0.k, j2_k=t1.k, j0_x=t0.x, j2_z=t1.z
      Scan one/a (k, x)
      Scan one/c (k, z)
    Scan two/b (k, y)
    Scan one/d (m, w)
""",
    ),
    "a group of which nothing is read": (
        "SELECT count(*) AS n FROM a JOIN c ON a.k = c.k CROSS JOIN b",
        """
Aggregate n=count()
  Join cross t1 -> k=t0.j0_k, x=t0.j0_x, k_1=t0.j1_k, z=t0.j1_z, k_2=t1.k, t1.y
    Join inner t1 on t0.k = t1.k -> j0_k=t0.k, j1_k=t1.k, j0_x=t0.x, j1_z=t1.z
      Scan one/a (k, x)
      Scan one/c (k, z)
    Scan two/b (k, y)
""",
    ),
}
KEPT = {
    "one place": "SELECT x, z FROM a JOIN c ON a.k = c.k",
    "no pair at one place": "SELECT x, y FROM a JOIN b ON a.k = b.k",
    "a left join among the links": "SELECT x, y, z FROM a LEFT JOIN b ON a.k = b.k JOIN c ON a.k = c.k",
    "no link between the two of one place": "SELECT x, y, w FROM a JOIN b ON a.k = b.k JOIN d ON y = w",
    "a semi join": a.join(c, "k").semi_join(b, "k"),
}


@pytest.mark.parametrize(("made", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_moves(made: str | ibis.Table, wanted: str) -> None:
    assert plan_text(rewrite(lowered(made), lambda node: split_joins(node, place))) == wanted.strip()


@pytest.mark.parametrize("made", KEPT.values(), ids=KEPT.keys())
def test_stays(made: str | ibis.Table) -> None:
    plan = lowered(made)
    assert plan_text(rewrite(plan, lambda node: split_joins(node, place))) == plan_text(plan)
