"""Lineage: what reaches an output and what steers its rows."""

from __future__ import annotations

import ibis
import pytest
from ibis import _

from blossom.plan import from_ibis
from blossom.plan.errors import PlanError
from blossom.plan.expressions import Call
from blossom.plan.lineage import lineage
from blossom.plan.relations import Function, MapBatches, Model, Parts, Predict, Project, Relation, Scan, Train
from blossom.plan.schema import Schema

T = ibis.table({"a": "int64", "b": "int64", "c": "string"}, name="t")
U = ibis.table({"a": "int64", "d": "int64"}, name="u")


def told(table: ibis.Table) -> tuple[dict[str, str], str]:
    """Per column its sources, and those of the rows, as short texts ('t.a', 'a mean' as '~t.a')."""
    flow = lineage(from_ibis.relation(table.op()))

    def text(sources):
        return " ".join(
            sorted(("~" if s.state == "mixed" else "") + f"{s.table}.{s.column}" for s in sources)
        )

    return {name: text(sources) for name, sources in flow.columns.items()}, text(flow.rows)


@pytest.mark.parametrize(
    ("table", "columns", "rows"),
    [
        (T, {"a": "t.a", "b": "t.b", "c": "t.c"}, ""),
        (T.select(x=_.a + _.b, y=ibis.literal(1)), {"x": "t.a t.b", "y": ""}, ""),
        (T.filter(_.b > 1).select("a"), {"a": "t.a"}, "t.b"),
        (T.select(x=ibis.ifelse(_.b > 1, _.a, 0)), {"x": "t.a t.b"}, ""),
        (T.order_by("b").limit(1).select("a"), {"a": "t.a"}, "t.b"),
        (T.group_by("c").agg(s=_.a.sum(), m=_.b.max()), {"c": "t.c", "s": "~t.a", "m": "t.b"}, "t.c"),
        (T.agg(n=_.count(where=_.b > 1)), {"n": "~t.b"}, ""),
        (T.filter(_.b > 1).agg(n=_.count()), {"n": ""}, "t.b"),
        (T.select("a", "b").distinct(), {"a": "t.a", "b": "t.b"}, "t.a t.b"),
        (T.join(U, "a").select("c", "d"), {"c": "t.c", "d": "u.d"}, "t.a u.a"),
        (T.select("a").union(U.select(a="d")), {"a": "t.a u.d"}, ""),
        (T.select("a").intersect(U.select(a="d")), {"a": "t.a u.d"}, "t.a u.d"),
        (T.mutate(r=ibis.row_number().over(group_by="c", order_by="b")).select("r"), {"r": "t.b t.c"}, ""),
        (T.filter(_.a.isin(U.d)).select("c"), {"c": "t.c"}, "t.a u.d"),
        (T.filter(_.a > U.d.mean().as_scalar()).select("c"), {"c": "t.c"}, "t.a ~u.d"),
        (T.select(x=U.filter(U.a == T.b).d.sum().as_scalar()), {"x": "t.b u.a ~u.d"}, ""),
    ],
)  # fmt: skip
def test_sources(table, columns, rows):
    found, steering = told(table)
    assert found == columns
    assert set(steering.split()) == set(rows.split())


SCAN = Scan("t", Schema([("a", "int64"), ("b", "int64")]), "north")
OTHER = Scan("t", Schema([("a", "int64"), ("b", "int64")]), "south")


def test_parts_tell_their_sites():
    flow = lineage(Parts((SCAN, OTHER), ("north", "south")))
    assert {source.site for source in flow.columns["a"]} == {"north", "south"}
    assert flow.tables == {("t", "north"), ("t", "south")}


def test_a_function_may_do_anything():
    flow = lineage(MapBatches(SCAN, Function("f", "0"), Schema([("x", "int64")])))
    assert (
        {source.column for source in flow.columns["x"]}
        == {"a", "b"}
        == {source.column for source in flow.rows}
    )


def test_models_hold_what_they_were_fitted_on():
    train = Train(SCAN, "{}", "b", ("a",))
    flow = lineage(Predict(OTHER, train, ("a",), (("prediction", "float64"),)))
    assert {(s.site, s.column, s.state) for s in flow.columns["prediction"]} == {
        ("south", "a", "raw"), ("north", "a", "raw"), ("north", "b", "raw"),
    }  # fmt: skip
    flow = lineage(Predict(OTHER, Model("{}"), ("a",), (("prediction", "float64"),)))
    assert {(s.site, s.column) for s in flow.columns["prediction"]} == {("south", "a")}


def test_what_has_no_rule_is_refused():
    with pytest.raises(PlanError, match="no lineage rule"):
        lineage(Relation())
    with pytest.raises(PlanError, match="Teleport"):
        lineage(Project(SCAN, (("x", Call("Teleport", (SCAN.column("a"),), "int64")),)))
