"""Golden texts of plans and expressions."""

from __future__ import annotations

import pytest

from blossom.plan.expressions import (
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Outer,
    Subquery,
    TypeArgument,
)
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Function,
    Join,
    Limit,
    Link,
    MapBatches,
    Model,
    Partition,
    Parts,
    Predict,
    Project,
    Received,
    Relation,
    Repeat,
    Sample,
    Scan,
    SetOperation,
    Sort,
    SortKey,
    State,
    Train,
    Unnest,
)
from blossom.plan.schema import Schema
from blossom.plan.text import _NODES, expression_text, node_text, plan_text

COLUMNS = Schema([("a", "int64"), ("b", "int64")])
NORTH = Scan("t", COLUMNS, "north")
A, B = Column("a", "int64"), Column("b", "int64")
ONE, TWO = Literal(1, "int8"), Literal(2, "int8")


def op(name: str, *args) -> Call:
    return Call(name, args, "int64")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (op("GreaterEqual", A, Literal(18, "int8")), "a >= 18"),
        (op("Multiply", op("Add", A, ONE), B), "(a + 1) * b"),
        (op("Add", op("Multiply", A, ONE), B), "a * 1 + b"),
        (op("Subtract", A, op("Subtract", B, ONE)), "a - (b - 1)"),
        (op("And", op("Or", A, B), op("Not", op("And", A, B))), "(a or b) and not (a and b)"),
        (op("Not", op("Equals", A, B)), "not a = b"),
        (op("Negate", op("Add", A, B)), "-(a + b)"),
        (op("Sum", A, None), "sum(a)"),
        (op("Sum", A, op("Less", B, ONE)), "sum(a, b < 1)"),
        (op("CountStar", None), "count()"),
        (op("CountDistinct", A, None), "count_distinct(a)"),
        (op("StandardDev", A, "sample", None), "stddev(a, 'sample')"),
        (op("InValues", A, (ONE, TWO)), "a in [1, 2]"),
        (op("Between", A, ONE, TWO), "a between 1 and 2"),
        (op("IsNull", A), "a is null"),
        (op("NotNull", op("Add", A, B)), "a + b is not null"),
        (op("Cast", A, TypeArgument("float64")), "cast(a, float64)"),
        (op("ExtractYear", A), "extract_year(a)"),
        (op("TimestampTruncate", A, EnumArgument("TimestampUnit", "DAY")), "timestamp_truncate(a, DAY)"),
        (op("SearchedCase", (op("Less", A, ONE),), (TWO,), ONE), "case when a < 1 then 2 else 1 end"),
        (Literal("it's", "string"), "'it''s'"),
        (Literal(None, "int64"), "null"),
        (Literal(True, "boolean"), "true"),
        (Literal(b"\x01", "binary"), "x'01'"),
        (Literal((1, "a"), "array<int64>"), "[1, 'a']"),
        (Outer("x", "int64"), "outer.x"),
        (Outer("x", "int64", depth=2), "outer2.x"),
        (Subquery("in", NORTH, "boolean", A), "a in(subquery)"),
        (op("WindowFunction", op("RowNumber"), "rows", None, None, (A,), (op("SortKey", B, False, True),)),
         "window_function(row_number(), 'rows', null, null, [a], [b desc nulls first])"),
    ],
)  # fmt: skip
def test_expressions(expression: Expression, text: str) -> None:
    assert expression_text(expression) == text


def test_columns_of_several_inputs_name_theirs() -> None:
    assert expression_text(op("Equals", A, Column("a", "int64", 1)), inputs=2) == "t0.a = t1.a"


def test_a_plan_is_a_tree_with_shared_nodes_once() -> None:
    adults = Filter(NORTH, (op("GreaterEqual", A, Literal(18, "int8")), op("Or", B, A)))
    on = op("Equals", Column("a", "int64", 0), Column("a", "int64", 1))
    joined = Join(
        (adults, Limit(adults, 5, 2)),
        (Link("left", (on,)),),
        (("a", Column("a", "int64", 0)), ("c", Column("b", "int64", 1))),
    )
    root = Sort(
        Aggregate(joined, (("a", A),), (("n", op("CountStar", None)),)),
        (SortKey(A, ascending=False, nulls_first=True),),
    )
    assert plan_text(root).splitlines() == [
        "Sort a desc nulls first",
        "  Aggregate [a] n=count()",
        "    Join left t1 on t0.a = t1.a -> t0.a, c=t1.b",
        "      #1 Filter a >= 18 and (b or a)",
        "        Scan north/t (a, b)",
        "      Limit 5 offset 2",
        "        ^1 (Filter)",
    ]


def test_bare_columns_of_a_join_name_their_table() -> None:
    joined = Join((NORTH, NORTH), (Link("cross", ()),), (("b", Column("b", "int64", 1)),))
    assert node_text(joined) == "Join cross t1 -> t1.b"


def test_parts_name_their_sites_and_subqueries_are_shown() -> None:
    inner = Filter(NORTH, (op("Equals", A, Outer("a", "int64")),))
    parts = Parts((NORTH, Scan("t", COLUMNS, "south")), ("north", "south"), Partition("people", ("a",)))
    root = Filter(parts, (Subquery("exists", inner, "boolean"),))
    assert plan_text(root).splitlines() == [
        "Filter exists(subquery)",
        "  Parts by a (people)",
        "    north: #1 Scan north/t (a, b)",
        "    south: Scan south/t (a, b)",
        "  subquery 1: Filter a = outer.a",
        "    ^1 (Scan)",
    ]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Scan("t", COLUMNS), "Scan */t (a, b)"),
        (Received("f0", COLUMNS), "Received f0 (a, b)"),
        (Constant((("x", ONE),)), "Constant x=1"),
        (Project(NORTH, (("a", A), ("c", op("Add", A, B)))), "Project a, c=a + b"),
        (Aggregate(NORTH, (), (("n", op("Sum", A, None)),)), "Aggregate n=sum(a)"),
        (Limit(NORTH, None, 3), "Limit all offset 3"),
        (Distinct(NORTH), "Distinct"),
        (SetOperation("difference", (NORTH, NORTH), True), "Difference distinct"),
        (Sample(NORTH, 0.1, "row", 3), "Sample 0.1 row seed 3"),
        (Unnest(NORTH, Column("l", "array<int64>"), "x", None, True), "Unnest x=l keep empty"),
        (MapBatches(NORTH, Function("score", "0"), COLUMNS), "MapBatches score per batch -> a, b"),
        (
            MapBatches(NORTH, Function("top", "0"), COLUMNS, "fold", by=("a",)),
            "MapBatches top per fold by a -> a, b",
        ),
        (State("state 0", COLUMNS), "State state 0 (a, b)"),
        (Repeat(NORTH, State("state 0", COLUMNS), None, 3, "state 0"), "Repeat 3 times"),
        (
            Repeat(NORTH, NORTH, NORTH, 3, "state 0"),
            "Repeat until met, at most 3 times",
        ),
        (Train(NORTH, "{}", "a", ("b",)), "Train a from b"),
        (Model("{}"), "Model"),
        (
            Predict(NORTH, Model("{}"), ("a", "b"), (("prediction", "float64"),)),
            "Predict prediction from a, b",
        ),
        (Copies((NORTH,), ("north",), "north"), "Copies steward north"),
    ],
)
def test_nodes(node: Relation, text: str) -> None:
    assert node_text(node) == text


def test_every_node_class_has_a_text() -> None:
    found: set[str] = set()
    stack: list[type] = [Relation]
    while stack:
        kind = stack.pop()
        stack += kind.__subclasses__()
        if (
            kind.__module__ == Relation.__module__
            and not kind.__name__.startswith("_")
            and kind is not Relation
        ):
            found.add(kind.__name__)
    assert {kind.__name__ for kind in _NODES} == found


def test_long_lines_can_be_cut() -> None:
    text = plan_text(Project(NORTH, tuple((f"column{i}", A) for i in range(40))), width=60)
    assert max(map(len, text.splitlines())) == 60
    assert text.splitlines()[0].endswith("…")


def test_a_deep_plan_is_no_problem() -> None:
    root: Relation = NORTH
    for _ in range(3000):
        root = Limit(root, 1)
    assert len(plan_text(root).splitlines()) == 3001
