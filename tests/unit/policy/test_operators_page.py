"""Default deny: every node and operation that a plan document can hold is in a rule's table, or refused by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from blossom.plan import relations as rel
from blossom.plan.expressions import REDUCTIONS, Column
from blossom.plan.lineage import ELEMENTWISE, ROW_ORDER
from blossom.plan.schema import Schema
from blossom.plan.wire_checks import allowed_operations
from blossom.plan.wire_fields import RELATIONS
from blossom.policy.aggregates import METRICS, PER_UNIT, PER_UNIT_OPAQUE


def _page() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "operators_page", Path(__file__).parent / "operators_page.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["operators_page"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


page = _page()


def test_the_page_is_current() -> None:
    hint = "run: python tests/unit/policy/operators_page.py"
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), hint


def test_every_operation_stands_in_a_known_way() -> None:
    assert set(page.groups()) == set(page.KINDS)


@pytest.mark.parametrize("op", sorted(allowed_operations()))
def test_an_operation_is_known_or_refused_by_name(op: str) -> None:
    """The refusals hold on rows, below an aggregate, in a condition and as a figure."""
    known = op in ELEMENTWISE or op in REDUCTIONS or op in ROW_ORDER
    standing = page.standing(op)
    assert standing.rows == known
    assert standing.figure == (op in METRICS)
    assert standing.unit == (op in PER_UNIT | PER_UNIT_OPAQUE)
    assert standing.free == standing.condition == (op in ELEMENTWISE)
    if op in ELEMENTWISE:
        return
    call, column = page.called(op, page.F), Column("v", "float64")
    plans = [rel.Aggregate(page.PRIVATE, (), (("v", call),))]
    if op not in REDUCTIONS:
        plans += [
            rel.Aggregate(rel.Project(page.PRIVATE, (("v", call),)), (), page._total(column)),
            rel.Aggregate(rel.Filter(page.PRIVATE, (call,)), (), page._total(page.X)),
        ]
    if not known:
        plans.append(rel.Project(page.OPEN, (("v", call),)))
    for plan in plans:
        if op in METRICS:
            continue
        reasons = [refusal.reason for refusal in page.verdict(plan)]
        assert any(op in reason for reason in reasons), reasons


def test_every_node_has_a_rule_or_is_refused_by_name() -> None:
    from blossom.policy.judging import _RULES

    assert {cls.__name__ for cls in _RULES} == set(page.NODES) <= RELATIONS.keys() | {"Received"}


def test_a_node_without_a_rule_is_refused_by_name() -> None:
    class Strange(rel.Relation):
        schema = Schema([("v", "float64")])  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    for plan in (Strange(), rel.Aggregate(Strange(), (), page._total(Column("v", "float64")))):
        assert "no rule knows a Strange" in [refusal.reason for refusal in page.verdict(plan)]
