"""What a scan of a federated table means, site by site."""

from __future__ import annotations

import pytest

from blossom.plan.errors import PlanError
from blossom.plan.relations import Partition, Scan
from blossom.plan.rewrites.expand import FederatedTable, expand
from blossom.plan.schema import Schema
from blossom.plan.text import plan_text

AGREED = Schema([("k", "int64"), ("v", "float64")])
OTHER_TYPE = Schema([("k", "int64"), ("v", "int32")])
OTHER_ORDER = Schema([("v", "float64"), ("k", "int64"), ("own", "string")])
NOT_NULL = Schema([("k", "!int64"), ("v", "float64")])

TABLES = {
    "split": FederatedTable(AGREED, {"one": AGREED, "two": AGREED}, Partition("keys", ("k",))),
    "copied": FederatedTable(AGREED, {"one": AGREED, "two": AGREED}, None, True, "two"),
    "single": FederatedTable(AGREED, {"one": AGREED}, Partition("keys", ("k",))),
    "differing": FederatedTable(AGREED, {"one": OTHER_TYPE, "two": OTHER_ORDER, "three": NOT_NULL}),
}


@pytest.mark.parametrize(
    ("table", "site", "wanted"),
    [
        ("split", None, "Parts by k (keys)\n  one: Scan one/split (k, v)\n  two: Scan two/split (k, v)"),
        ("split", "two", "Scan two/split (k, v)"),
        ("split", "hub", "Scan hub/split (k, v)"),
        ("copied", None, "Copies steward two\n  one: Scan one/copied (k, v)\n  two: Scan two/copied (k, v)"),
        ("single", None, "Scan one/single (k, v)"),
        (
            "differing",
            None,
            "Parts\n"
            "  one: Project k, v=cast(v, float64)\n"
            "    Scan one/differing (k, v)\n"
            "  two: Project k, v\n"
            "    Scan two/differing (v, k, own)\n"
            "  three: Scan three/differing (k, v)",
        ),
    ],
)
def test_plan_text(table: str, site: str | None, wanted: str) -> None:
    assert plan_text(expand(Scan(table, AGREED, site), TABLES)) == wanted


def test_a_site_named_by_the_user_keeps_its_own_schema() -> None:
    assert expand(Scan("differing", AGREED, "one"), TABLES).schema == OTHER_TYPE


@pytest.mark.parametrize(("table", "site", "said"), [("spilt", None, "split"), ("split", "tow", "two")])
def test_unknown_names_are_told_with_a_near_one(table: str, site: str | None, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        expand(Scan(table, AGREED, site), TABLES)
    assert said in f"{caught.value} {caught.value.hint}"
