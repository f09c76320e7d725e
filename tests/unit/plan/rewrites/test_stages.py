"""The rewrites in order: which stages there are, and what the last one is."""

from __future__ import annotations

import ibis
import pytest

from blossom.plan import from_ibis, sql
from blossom.plan.errors import PlanError
from blossom.plan.relations import Partition, Relation, Scan
from blossom.plan.rewrites.expand import FederatedTable
from blossom.plan.rewrites.stages import check_resolved, distribute, is_distributed
from blossom.plan.schema import Schema
from blossom.plan.text import plan_text

ROWS = Schema([("k", "int64"), ("v", "int64")])
FEDERATED = {
    "split": FederatedTable(ROWS, {"one": ROWS, "two": ROWS}, Partition("keys", ("k",))),
    "single": FederatedTable(ROWS, {"one": ROWS}),
}
TABLES = {name: ibis.table({"k": "int64", "v": "int64"}, name=name) for name in FEDERATED}
NAMES = ["logical", "decorrelated", "filters pushed", "columns pruned", "distributed", "joins split"]


def lowered(text: str) -> Relation:
    return from_ibis.relation(sql.parse(text, lambda name, _: TABLES[name], lambda: list(TABLES)).op())


def place(node: Relation) -> str | None:
    sites = {below.site for below in node.walk() if isinstance(below, Scan)}
    return sites.pop() if len(sites) == 1 else None


def test_stages_in_order() -> None:
    stages = dict(
        distribute(lowered("SELECT v, count(*) AS n FROM split WHERE k > 1 GROUP BY v"), FEDERATED, place)
    )
    assert list(stages) == NAMES
    assert not is_distributed(stages["columns pruned"])
    with pytest.raises(PlanError, match="split"):
        check_resolved(stages["columns pruned"])
    check_resolved(stages["joins split"])
    assert plan_text(stages["joins split"]) == (
        "Project v, n=cast(__m0, int64)\n"
        "  Aggregate [v] __m0=sum(__p0)\n"
        "    Parts\n"
        "      one: Aggregate [v] __p0=count()\n"
        "        Filter k > 1\n"
        "          Scan one/split (k, v)\n"
        "      two: Aggregate [v] __p0=count()\n"
        "        Filter k > 1\n"
        "          Scan two/split (k, v)"
    )


def test_a_plan_of_one_place_is_left_as_it_is() -> None:
    plan = lowered("SELECT v FROM (SELECT v, k FROM single) WHERE v > (SELECT max(v) FROM single)")
    stages = distribute(plan, FEDERATED, place)
    assert [name for name, _ in stages] == ["logical", "whole"]
    assert plan_text(stages[-1][1]) == plan_text(plan).replace("*/single", "one/single")


def test_subqueries_left_to_the_hub_are_expanded_too() -> None:
    stages = distribute(
        lowered("SELECT v FROM split WHERE EXISTS (SELECT 1 FROM split LIMIT 0)"), FEDERATED, place
    )
    text = plan_text(stages[-1][1])
    assert "*/split" not in text
    assert text.count("one/split") == 2


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("SELECT a.v FROM split a JOIN single b ON a.k = b.k", True),
        ("SELECT v FROM single ORDER BY v LIMIT 2", False),
    ],
)
def test_is_distributed(text: str, last: bool) -> None:
    assert is_distributed(distribute(lowered(text), FEDERATED, place)[-1][1]) is last
