"""Plans survive the trip exactly; documents that lie, dangle, overflow or do not type-check are refused in one sentence."""

from __future__ import annotations

import contextlib
import copy
import datetime
import ipaddress
import json
import math
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibis.common.collections import FrozenDict

from blossom.plan import from_ibis, wire
from blossom.plan import relations as rel
from blossom.plan.errors import PlanError
from blossom.plan.expressions import Call, Column, EnumArgument, Expression, Literal, Outer, Subquery
from blossom.plan.schema import Schema

PEOPLE = rel.Scan(
    "people", Schema([("id", "int64"), ("age", "int32"), ("name", "string"), ("tags", "array<string>")])
)
VISITS = rel.Scan("visits", Schema([("id", "int64"), ("cost", "decimal(10, 2)"), ("day", "date")]), "north")

ID, AGE, NAME, TAGS = (PEOPLE.column(name) for name in PEOPLE.schema)
ADULT = Call("GreaterEqual", (AGE, Literal(18, "int8")), "boolean")
COUNT = Call("CountStar", (None,), "int64")


def same(plan: rel.Relation) -> rel.Relation:
    text = wire.dumps(plan)
    back = wire.loads(text)
    assert wire.dumps(back) == text
    assert wire.fingerprint(back) == wire.fingerprint(plan)
    assert [type(node) for node in back.walk()] == [type(node) for node in plan.walk()]
    assert back.schema == plan.schema
    return back


def constant(value: object, kind: str) -> Any:
    (back,) = same(rel.Constant((("x", Literal(value, kind)),))).expressions()
    assert isinstance(back, Literal)
    assert back.dtype == kind
    return back.value


PLANS: dict[str, rel.Relation] = {
    "scan": VISITS,
    "received": rel.Received("left", PEOPLE.columns),
    "constant": rel.Constant((("one", Literal(1, "int8")), ("none", Literal(None, "null")))),
    "project": rel.Project(PEOPLE, (("years", AGE), ("up", Call("Uppercase", (NAME,), "string")))),
    "filter": rel.Filter(PEOPLE, (ADULT, Call("NotNull", (NAME,), "boolean"))),
    "join": rel.Join(
        (PEOPLE, VISITS, VISITS),
        (
            rel.Link("left", (Call("Equals", (ID, VISITS.column("id", 1)), "boolean"),)),
            rel.Link("semi", (Call("Equals", (ID, VISITS.column("id", 2)), "boolean"),)),
        ),
        (("id", ID), ("cost", VISITS.column("cost", 1))),
    ),
    "cross": rel.Join((PEOPLE, VISITS), (rel.Link("cross", ()),), (("id", ID),)),
    "aggregate": rel.Aggregate(
        PEOPLE, (("name", NAME),), (("n", COUNT), ("total", Call("Sum", (AGE, ADULT), "int64")))
    ),
    "sort": rel.Sort(PEOPLE, (rel.SortKey(AGE, False, True), rel.SortKey(NAME))),
    "limit": rel.Limit(PEOPLE, 10, 5),
    "offset": rel.Limit(PEOPLE, None, 5),
    "distinct": rel.Distinct(PEOPLE),
    "union": rel.SetOperation("union", (PEOPLE, rel.Distinct(PEOPLE), PEOPLE), True),
    "difference": rel.SetOperation("difference", (PEOPLE, rel.Distinct(PEOPLE)), False),
    "sample": rel.Sample(PEOPLE, 0.25, "row", 7),
    "unnest": rel.Unnest(PEOPLE, TAGS, "tag", "at", True),
    "map": rel.MapBatches(PEOPLE, rel.Function("f", "ab12", '{"k": 1}'), Schema([("y", "float64")]), "row"),
    "fold": rel.MapBatches(PEOPLE, rel.Function("f", "ab12"), PEOPLE.schema, "fold", "pandas", ("id", "age")),
    "state": rel.State("state 0", PEOPLE.schema),
    "repeat": rel.Repeat(
        PEOPLE,
        rel.Filter(
            rel.State("state 0", PEOPLE.schema), (Call("Greater", (ID, Literal(1, "int8")), "boolean"),)
        ),
        rel.Project(rel.Constant((("a", Literal(1, "int8")),)), (("met", Literal(True, "boolean")),)),
        5,
        "state 0",
    ),
    "repeat times": rel.Repeat(PEOPLE, rel.State("state 0", PEOPLE.schema), None, 0, "state 0"),
    "train": rel.Train(PEOPLE, '{"kind": "LinearRegression"}', "age", ("id",), '{"rounds": 3}'),
    "cluster": rel.Train(PEOPLE, '{"kind": "KMeans"}', "", ("id", "age")),
    "model": rel.Model('{"weights": [1, 2]}'),
    "predict": rel.Predict(PEOPLE, rel.Model("{}"), ("id",), (("prediction", "float64"),)),
    "parts": rel.Parts((PEOPLE, PEOPLE), ("north", "south"), rel.Partition("by person", ("id",))),
    "copies": rel.Copies((PEOPLE, PEOPLE), ("north", "south"), "south"),
    "window": rel.Project(
        PEOPLE,
        (
            (
                "rank",
                Call(
                    "WindowFunction",
                    (
                        Call("Sum", (AGE, None), "int64"),
                        "rows",
                        None,
                        Call("WindowBoundary", (Literal(0, "int8"), False), "int8"),
                        (NAME,),
                        (Call("SortKey", (AGE, True, False), "int32"),),
                    ),
                    "int64",
                ),
            ),
        ),
    ),
    "units": rel.Project(
        VISITS,
        (("m", Call("DateTruncate", (VISITS.column("day"), EnumArgument("DateUnit", "MONTH")), "date")),),
    ),
    "exists": rel.Filter(
        PEOPLE,
        (
            Subquery(
                "exists",
                rel.Filter(VISITS, (Call("Equals", (VISITS.column("id"), Outer("id", "int64")), "boolean"),)),
                "boolean",
            ),
        ),
    ),
    "in": rel.Filter(
        PEOPLE, (Subquery("in", rel.Project(VISITS, (("id", VISITS.column("id")),)), "boolean", ID),)
    ),
    "scalar": rel.Project(
        PEOPLE,
        (
            (
                "share",
                Subquery(
                    "scalar",
                    rel.Aggregate(VISITS, (), (("m", Call("Max", (VISITS.column("id"), None), "int64")),)),
                    "int64",
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_every_kind_of_node_travels(name: str) -> None:
    back = same(PLANS[name])
    assert list(back.expressions()) != [] or list(PLANS[name].expressions()) == []


def test_the_table_covers_every_relation() -> None:
    classes = {cls.__name__ for cls in rel.Relation.__subclasses__() + rel._Unary.__subclasses__()} - {
        "_Unary"
    }
    assert {type(plan).__name__ for plan in PLANS.values()} == classes


UTC = datetime.UTC
PARIS = zoneinfo.ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "int64"),
        (True, "boolean"),
        (2**63 - 1, "int64"),
        (-0.0, "float64"),
        (0.1, "float64"),
        (5e-324, "float64"),
        (math.inf, "float64"),
        (-math.inf, "float64"),
        ("", "string"),
        ("a\0\n\u2028\U0001f33a", "string"),
        (Decimal("1.50"), "decimal(10, 2)"),
        (Decimal("0.0001000000"), "decimal(10, 10)"),
        (datetime.date(1, 1, 1), "date"),
        (datetime.time(23, 59, 59, 999999), "time"),
        (datetime.datetime(2026, 11, 24, 7, 30, 1, 5), "timestamp(6)"),  # noqa: DTZ001
        (datetime.datetime(2026, 11, 24, 7, 30, tzinfo=UTC), "timestamp('UTC')"),
        (
            datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=45))),
            "timestamp('UTC')",
        ),
        (datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PARIS), "timestamp('Europe/Paris')"),
        (datetime.timedelta(days=-3, microseconds=1), "interval('us')"),
        (3, "interval('M')"),
        (uuid.UUID(int=7), "uuid"),
        (b"\x00\xff", "binary"),
        (ipaddress.ip_address("10.0.0.1"), "inet"),
        (ipaddress.ip_address("::1"), "inet"),
        (("a", None, "b"), "array<string>"),
        (((1, 2), ()), "array<array<int64>>"),
        (FrozenDict({"a": 1, "b": ("x",)}), "struct<a: int64, b: array<string>>"),
        (FrozenDict({"k": 2.5}), "map<string, float64>"),
        ('{"a": 1}', "json"),
    ],
)
def test_constants_travel_exactly(value: object, kind: str) -> None:
    back = constant(value, kind)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_travels() -> None:
    assert math.isnan(constant(math.nan, "float64"))


def test_a_named_zone_stays_named() -> None:
    back = constant(datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PARIS), "timestamp('Europe/Paris')")
    assert back.tzinfo is PARIS
    assert back.fold == 1


def test_shared_nodes_stay_shared() -> None:
    plan: rel.Relation = PEOPLE
    for _ in range(18):
        plan = rel.SetOperation("union", (plan, plan), False)
    back = same(plan)
    assert len(wire.dumps(plan)) < 3_000
    assert sum(1 for _ in back.walk()) == 19


def test_equal_plans_give_equal_bytes_whoever_shares() -> None:
    def scan() -> rel.Scan:
        return rel.Scan("people", Schema(PEOPLE.columns.items()))

    one = scan()
    shared = rel.SetOperation("union", (rel.Filter(one, (ADULT,)), rel.Filter(one, (ADULT,))), False)
    copied = rel.SetOperation(
        "union",
        (rel.Filter(scan(), (copy.deepcopy(ADULT),)), rel.Filter(scan(), (copy.deepcopy(ADULT),))),
        False,
    )
    assert wire.dumps(shared) == wire.dumps(copied)
    assert wire.fingerprint(shared) == wire.fingerprint(copied)
    assert wire.fingerprint(shared) != wire.fingerprint(one)


def test_two_unseeded_samples_are_two_draws() -> None:
    two = rel.SetOperation(
        "union", (rel.Sample(PEOPLE, 0.5, "row", None), rel.Sample(PEOPLE, 0.5, "row", None)), False
    )
    assert sum(isinstance(node, rel.Sample) for node in wire.loads(wire.dumps(two)).walk()) == 2
    seeded = rel.SetOperation(
        "union", (rel.Sample(PEOPLE, 0.5, "row", 1), rel.Sample(PEOPLE, 0.5, "row", 1)), False
    )
    assert sum(isinstance(node, rel.Sample) for node in wire.loads(wire.dumps(seeded)).walk()) == 1


def test_long_plans_and_deep_expressions_travel() -> None:
    plan: rel.Relation = PEOPLE
    for _ in range(1_500):
        plan = rel.Filter(plan, (ADULT,))
        assert plan.schema  # as a pipeline's builder reads it; first read at the end, it would recurse
    assert sum(1 for _ in same(plan).walk()) == 1_501
    deep: Expression = ADULT
    for _ in range(190):
        deep = Call("Not", (deep,), "boolean")
    same(rel.Filter(PEOPLE, (deep,)))


def test_ibis_pipelines_travel() -> None:
    t = ibis.table({"a": "int64", "b": "string", "ts": "timestamp"}, name="t")
    expression = (
        t.filter(t.ts > ibis.timestamp("2026-01-01 10:00:00"), t.b.like("x%"))
        .mutate(c=t.a * 2.5, r=ibis.row_number().over(group_by=t.b, order_by=t.ts.desc()))
        .group_by("b", m=lambda s: s.ts.truncate("M"))
        .agg(n=lambda s: s.count(), q=lambda s: s.c.quantile(0.9), l=lambda s: s.a.collect())
        .order_by(ibis.desc("n"))
        .limit(3)
    )
    same(from_ibis.relation(expression.op()))


SCALARS = st.one_of(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.just("int64")),
    st.tuples(st.floats(allow_nan=False), st.just("float64")),
    st.tuples(st.text(), st.just("string")),
    st.tuples(st.binary(), st.just("binary")),
    st.tuples(st.booleans(), st.just("boolean")),
    st.tuples(st.dates(), st.just("date")),
    st.tuples(st.times(), st.just("time")),
    st.tuples(st.datetimes(), st.just("timestamp(6)")),
    st.tuples(st.datetimes(timezones=st.just(UTC)), st.just("timestamp('UTC')")),
    st.tuples(st.decimals(-(10**10), 10**10, places=4), st.just("decimal(38, 4)")),
    st.tuples(st.uuids(), st.just("uuid")),
    st.tuples(st.ip_addresses(), st.just("inet")),
    st.tuples(st.lists(st.text(), max_size=3).map(tuple), st.just("array<string>")),
)


@settings(deadline=None, max_examples=80)
@given(SCALARS)
def test_any_constant_travels(pair: tuple[object, str]) -> None:
    back = constant(*pair)
    assert back == pair[0]
    assert type(back) is type(pair[0])


INTEGERS = st.recursive(
    st.one_of(
        st.just(ID),
        st.integers(-100, 100).map(lambda n: Literal(n, "int64")),
    ),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["BitwiseAnd", "BitwiseOr"]), inner, inner).map(
            lambda parts: Call("Coalesce", ((parts[1], parts[2]),), "int64")
        ),
        inner.map(lambda value: Call("Negate", (value,), "int64")),
        inner.map(lambda value: Call("Abs", (value,), "int64")),
    ),
    max_leaves=8,
)
TESTS = st.recursive(
    st.tuples(st.sampled_from(["Less", "Equals", "GreaterEqual", "IdenticalTo"]), INTEGERS, INTEGERS).map(
        lambda parts: Call(parts[0], parts[1:], "boolean")
    ),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["And", "Or"]), inner, inner).map(
            lambda parts: Call(parts[0], parts[1:], "boolean")
        ),
        inner.map(lambda value: Call("Not", (value,), "boolean")),
    ),
    max_leaves=5,
)


def pipelines(below: st.SearchStrategy[rel.Relation]) -> st.SearchStrategy[rel.Relation]:
    return st.one_of(
        st.tuples(below, st.lists(TESTS, max_size=2)).map(lambda t: rel.Filter(t[0], tuple(t[1]))),
        st.tuples(below, INTEGERS).map(lambda t: rel.Project(t[0], (("id", t[1]), *rel.identity(t[0])[1:]))),
        st.tuples(below, st.integers(0, 9), st.integers(0, 9)).map(lambda t: rel.Limit(*t)),
        st.tuples(below, INTEGERS, st.booleans(), st.booleans()).map(
            lambda t: rel.Sort(t[0], (rel.SortKey(t[1], t[2], t[3]),))
        ),
        below.map(rel.Distinct),
        below.map(lambda plan: rel.SetOperation("union", (plan, plan), False)),
        st.tuples(below, below).map(lambda t: rel.Parts(t, ("north", "south"))),
    )


@settings(deadline=None, max_examples=80)
@given(st.recursive(st.just(PEOPLE), pipelines, max_leaves=6))
def test_any_pipeline_travels(plan: rel.Relation) -> None:
    text = wire.dumps(plan)
    back = wire.loads(text)
    assert wire.dumps(back) == text
    assert back.schema == plan.schema


def test_refuses_to_write_what_may_not_travel() -> None:
    with pytest.raises(PlanError, match="a constant of type complex cannot travel"):
        wire.dumps(rel.Constant((("x", Literal(1j, "float64")),)))
    with pytest.raises(PlanError, match="its answer changes from call to call"):
        wire.dumps(rel.Project(PEOPLE, (("now", Call("TimestampNow", (), "timestamp")),)))
    with pytest.raises(PlanError, match="unknown operation 'ScalarUDF'"):
        wire.dumps(rel.Project(PEOPLE, (("x", Call("ScalarUDF", (), "int64")),)))
    with pytest.raises(PlanError, match="no Unicode"):
        wire.dumps(rel.Constant((("x", Literal("\ud800", "string")),)))


# --- hostile documents: a good one, changed in one place ------------------------------------------------------------

GOOD = wire.dump(
    rel.Filter(
        rel.Aggregate(
            rel.Join(
                (PEOPLE, VISITS),
                (rel.Link("inner", (Call("Equals", (ID, VISITS.column("id", 1)), "boolean"),)),),
                (("id", ID), ("cost", VISITS.column("cost", 1))),
            ),
            (("id", Column("id", "int64")),),
            (("n", COUNT), ("most", Call("Max", (Column("cost", "decimal(10, 2)"), None), "decimal(10, 2)"))),
        ),
        (Call("Greater", (Column("n", "int64"), Literal(1, "int8")), "boolean"),),
    )
)


def find(document: dict[str, Any], kind: str, **fields: Any) -> dict[str, Any]:
    """The first node of a class with these fields."""
    return next(
        node
        for node in document["nodes"]
        if node["class"] == kind and all(node[k] == v for k, v in fields.items())
    )


def alone(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "nodes": list(nodes)}


SCAN = {"class": "Scan", "table": "t", "columns": [["a", "int64"], ["s", "string"]], "site": None}
A = {"class": "Column", "name": "a", "dtype": "int64", "input": 0}
S = {"class": "Column", "name": "s", "dtype": "string", "input": 0}
YES = {"class": "Literal", "value": True, "dtype": "boolean"}


def call(op: str, args: list[Any], dtype: str) -> dict[str, Any]:
    return {"class": "Call", "op": op, "args": args, "dtype": dtype}


def over(*expressions: dict[str, Any]) -> dict[str, Any]:
    """A projection of the last of some expressions over the scan."""
    return alone(
        SCAN,
        *expressions,
        {"class": "Project", "input": 0, "values": [["x", len(expressions)]]},
    )


def number(value: Any, dtype: str = "int64") -> dict[str, Any]:
    return {"class": "Literal", "value": value, "dtype": dtype}


def nested_subqueries(depth: int) -> dict[str, Any]:
    nodes: list[Any] = [SCAN]
    for _ in range(depth):
        nodes.append(
            {
                "class": "Subquery",
                "kind": "exists",
                "plan": len(nodes) - 1,
                "dtype": "boolean",
                "needle": None,
            }
        )
        nodes.append({"class": "Filter", "input": 0, "predicates": [len(nodes) - 1]})
    return alone(*nodes)


def deep_expression(depth: int) -> dict[str, Any]:
    nodes: list[Any] = [SCAN, YES]
    for _ in range(depth):
        nodes.append(call("Not", [{"node": len(nodes) - 1}], "boolean"))
    nodes.append({"class": "Filter", "input": 0, "predicates": [len(nodes) - 1]})
    return alone(*nodes)


def exponential(depth: int) -> dict[str, Any]:
    """Few nodes, but a walk over them as a tree never ends."""
    nodes: list[Any] = [SCAN, YES]
    for _ in range(depth):
        nodes.append(call("And", [{"node": len(nodes) - 1}, {"node": len(nodes) - 1}], "boolean"))
    nodes.append({"class": "Filter", "input": 0, "predicates": [len(nodes) - 1]})
    return alone(*nodes)


def exponential_subqueries() -> dict[str, Any]:
    nodes: list[Any] = [SCAN]
    for _ in range(9):
        plan = len(nodes) - 1
        nodes.append(
            {"class": "Subquery", "kind": "exists", "plan": plan, "dtype": "boolean", "needle": None}
        )
        for _ in range(3):
            nodes.append(call("And", [{"node": len(nodes) - 1}, {"node": len(nodes) - 1}], "boolean"))
        nodes.append({"class": "Filter", "input": 0, "predicates": [len(nodes) - 1]})
    return alone(*nodes)


def loop(first: int, body: int, *, until: int | None = None, times: int = 3) -> dict[str, Any]:
    return {"class": "Repeat", "input": first, "body": body, "until": until, "times": times, "key": "state 0"}


def nested_loops(depth: int) -> dict[str, Any]:
    return alone(SCAN, *(loop(0, n) for n in range(depth)))


def mapped(**more: Any) -> dict[str, Any]:
    node = {
        "class": "MapBatches",
        "input": 0,
        "function": ["f", "00", "{}"],
        "columns": [["a", "int64"], ["s", "string"]],
    }
    return node | {"per": "batch", "format": "arrow", "by": []} | more


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    change(document)
    return document


HOSTILE: list[tuple[str, Any, str]] = [
    ("a list", [], "the keys version and nodes"),
    ("nothing", None, "the keys version and nodes"),
    ("another version", {"version": 2, "nodes": [SCAN]}, "has version 2"),
    ("version true", {"version": True, "nodes": [SCAN]}, "has version True"),
    ("an extra key", {**alone(SCAN), "code": "x"}, "the keys version and nodes"),
    ("no nodes", alone(), "needs a list of nodes"),
    ("a node of text", alone("Scan"), "a node is an object with a class"),  # type: ignore[arg-type]
    ("an unknown class", alone({**SCAN, "class": "SQLQueryResult"}), "unknown class of node 'SQLQueryResult'"),
    ("a base class", alone({"class": "Relation"}), "unknown class of node 'Relation'"),
    ("an unknown field", alone({**SCAN, "path": "/etc/passwd"}), "wrong or missing: path"),
    ("a missing field", alone({k: v for k, v in SCAN.items() if k != "site"}), "wrong or missing: site"),
    ("a forward reference", alone({"class": "Distinct", "input": 1}, SCAN), "names no earlier node"),
    ("a reference to itself", alone(SCAN, {"class": "Distinct", "input": 1}), "names no earlier node"),
    ("a negative reference", alone(SCAN, {"class": "Distinct", "input": -1}), "names no earlier node"),
    ("a reference of true", alone(SCAN, {"class": "Distinct", "input": False}), "names no earlier node"),
    ("a relation of an expression", alone(SCAN, A, {"class": "Distinct", "input": 1}), "is a Column, not a relation"),
    ("an expression of a relation", alone(SCAN, {"class": "Filter", "input": 0, "predicates": [0]}), "is a Scan, not an expression"),
    ("an expression as the plan", alone(SCAN, YES), "the last node of a plan document must be a relation"),
    ("a node without use", alone(SCAN, SCAN, {"class": "Distinct", "input": 0}), "node 1 of the plan document is used nowhere"),
    ("a column twice", alone({**SCAN, "columns": [["a", "int64"], ["a", "string"]]}), "names a column twice"),
    ("an unknown type", alone({**SCAN, "columns": [["a", "int65"]]}), "unknown type 'int65'"),
    ("another spelling of a type", alone({**SCAN, "columns": [["a", "decimal(10,2)"]]}), "must be written"),
    ("a type of code", alone({**SCAN, "columns": [["a", "__import__('os')"]]}), "unknown type"),
    ("a type nested deeply", alone({**SCAN, "columns": [["a", "array<" * 3000 + "int64" + ">" * 3000]]}), "a type's text is too long"),
    ("too many columns", alone({**SCAN, "columns": [[f"c{i}", "int64"] for i in range(10_001)]}), "more than 10,000 columns"),
    ("a long name", alone({**SCAN, "table": "x" * 1001}), "longer than 1,000 characters"),
    ("half a character", alone({**SCAN, "table": "\ud800"}), "no Unicode"),
    ("an unknown column", over({**A, "name": "b"}), "unknown column 'b' of input 0"),
    ("a column of another type", over({**A, "dtype": "int32"}), "a is declared int32 but is int64"),
    ("a column of no input", over({**A, "input": 1}), "read from input 1, which there is not"),
    ("an outer column outside", over({"class": "Outer", "name": "a", "dtype": "int64", "input": 0, "depth": 1}), "reaches 1 scopes up, too far"),
    ("an outer column of depth 0", over({"class": "Outer", "name": "a", "dtype": "int64", "input": 0, "depth": 0}), "too far"),
    ("a predicate of numbers", alone(SCAN, A, {"class": "Filter", "input": 0, "predicates": [1]}), "a predicate must be boolean, not int64"),
    ("a wrong result type", over(A, call("Negate", [{"node": 1}], "string")), "Negate is declared string but is int64"),
    ("too few arguments", over(A, call("Add", [{"node": 1}], "int64")), "Add takes 2 arguments, not 1"),
    ("too many arguments", over(A, call("Negate", [{"node": 1}, {"node": 1}], "int64")), "Negate takes 1 arguments, not 2"),
    ("arguments of wrong types", over(S, call("Negate", [{"node": 1}], "string")), "Negate does not take these arguments"),
    ("an unknown operation", over(A, call("System", [{"node": 1}], "int64")), "unknown operation 'System'"),
    ("a user function", over(A, call("ScalarUDF", [{"node": 1}], "int64")), "unknown operation 'ScalarUDF'"),
    ("an operation that holds a relation", over(A, call("RowID", [{"node": 1}], "int64")), "unknown operation 'RowID'"),
    ("a field as a call", over(A, call("Field", [{"node": 1}, "a"], "int64")), "unknown operation 'Field'"),
    ("a literal as a call", over(call("Literal", [1, {"type": "int64"}], "int64")), "unknown operation 'Literal'"),
    ("an impure operation", over(call("RandomScalar", [], "float64")), "its answer changes from call to call"),
    ("an unknown kind of argument", over(A, call("Negate", [{"pickle": "gAS="}], "int64")), "unknown kind of argument 'pickle'"),
    ("an unknown unit", over(A, call("DateTruncate", [{"node": 1}, {"unit": ["DateUnit", "AEON"]}], "date")), "unknown unit DateUnit.AEON"),
    ("a unit of no enumeration", over(A, call("DateTruncate", [{"node": 1}, {"unit": ["os", "system"]}], "date")), "unknown unit os.system"),
    ("a constant of another type", over(number("1")), "a str constant cannot have the type int64"),
    ("a truth as a number", over(number(True)), "a bool constant cannot have the type int64"),
    ("a number too large", over(number(2**63)), "is no int64"),
    ("a huge number", over(number(10**60)), "wider than 128 bits"),
    ("a null that may not be", over(number(None, "!int64")), "a null constant cannot have the type"),
    ("an unknown constant", over(number({"eval": "1"})), "unknown kind of constant 'eval'"),
    ("two tags", over(number({"date": "2026-01-01", "time": "10:00"}, "date")), "a tagged constant has one key"),
    ("a date that is none", over(number({"date": "yesterday"}, "date")), "is no date constant"),
    ("a zone from the disk", over(number({"datetime": ["2026-01-01T00:00:00", "../../etc/passwd", 0]}, "timestamp")), "is no datetime constant"),
    ("a decimal that explodes", over(number({"decimal": "1E+999999"}, "decimal(38, 0)")), "is no decimal constant"),
    ("a text as an infinite number", over(number({"float": "1e999"}, "float64")), "is no float constant"),
    ("bytes that are none", over(number({"bytes": "xyz"}, "binary")), "is no bytes constant"),
    ("a key twice", over(number({"dict": [["a", 1], ["a", 2]]}, "map<string, int64>")), "names a key twice"),
    ("a struct of other fields", over(number({"dict": [["b", 1]]}, "struct<a: int64>")), "has other fields than its type"),
    ("a constant nested deeply", over(number(json.loads("[" * 30 + "]" * 30), "array<int64>")), "is nested deeper than 20"),
    ("a long constant", over(number("x" * (2**20 + 1), "string")), "a constant is longer than"),
    ("a reduction in a projection", over(A, call("Sum", [{"node": 1}, None], "int64")), "Sum folds rows and may not stand in a projection"),
    ("a metric that folds nothing", alone(SCAN, A, {"class": "Aggregate", "input": 0, "groups": [], "metrics": [["m", 1]]}), "the metric 'm' does not fold"),
    ("an empty aggregation", alone(SCAN, {"class": "Aggregate", "input": 0, "groups": [], "metrics": []}), "needs a group or a metric"),
    ("an output twice", alone(SCAN, A, {"class": "Project", "input": 0, "values": [["x", 1], ["x", 1]]}), "the column 'x' stands twice"),
    ("an empty projection", alone(SCAN, {"class": "Project", "input": 0, "values": []}), "a projection needs a column"),
    ("a negative limit", alone(SCAN, {"class": "Limit", "input": 0, "n": -1, "offset": 0}), "must be 0 or more"),
    ("a limit of text", alone(SCAN, {"class": "Limit", "input": 0, "n": "1", "offset": 0}), "expected a whole number"),
    ("a sample of two", alone(SCAN, {"class": "Sample", "input": 0, "fraction": 2.0, "method": "row", "seed": None}), "between 0 and 1"),
    ("a sample by magic", alone(SCAN, {"class": "Sample", "input": 0, "fraction": 0.5, "method": "magic", "seed": None}), "unknown way to sample 'magic'"),
    ("an unnest of a number", alone(SCAN, A, {"class": "Unnest", "input": 0, "value": 1, "name": "x", "offset": None, "keep_empty": True}), "cannot be told"),
    ("a union of one", alone(SCAN, {"class": "SetOperation", "kind": "union", "tables": [0], "distinct": True}), "a union cannot have 1 inputs"),
    ("a union of none", alone(SCAN, {"class": "SetOperation", "kind": "union", "tables": [], "distinct": True}), "cannot be told"),
    ("a union of unlike tables", alone(SCAN, {**SCAN, "columns": [["a", "string"], ["s", "string"]]}, {"class": "SetOperation", "kind": "union", "tables": [0, 1], "distinct": True}), "the inputs have different columns"),
    ("an unknown set operation", alone(SCAN, {"class": "SetOperation", "kind": "xor", "tables": [0, 0], "distinct": True}), "unknown set operation 'xor'"),
    ("parts without sites", alone(SCAN, {"class": "Parts", "tables": [0, 0], "sites": ["n"], "partition": None}), "2 tables at 1 sites"),
    ("a site twice", alone(SCAN, {"class": "Parts", "tables": [0, 0], "sites": ["n", "n"], "partition": None}), "the site 'n' stands twice"),
    ("a partition by nothing", alone(SCAN, {"class": "Parts", "tables": [0], "sites": ["n"], "partition": ["h", ["zz"]]}), "unknown column 'zz'"),
    ("a steward elsewhere", alone(SCAN, {"class": "Copies", "tables": [0], "sites": ["n"], "steward": "x"}), "unknown steward 'x'"),
    ("an estimator of no JSON", alone(SCAN, {"class": "Train", "input": 0, "estimator": "import os", "target": "a", "features": [], "options": "{}"}), "the estimator is no JSON text"),
    ("a feature that is not there", alone(SCAN, {"class": "Train", "input": 0, "estimator": "{}", "target": "a", "features": ["z"], "options": "{}"}), "unknown feature 'z'"),
    ("a prediction by a table", alone(SCAN, {"class": "Predict", "input": 0, "model": 0, "features": [], "outputs": [["p", "int64"]]}), "a prediction needs a model, not a Scan"),
    ("a prediction over a column", alone(SCAN, {"class": "Model", "document": "{}"}, {"class": "Predict", "input": 0, "model": 1, "features": [], "outputs": [["a", "int64"]]}), "the column 'a' stands twice"),
    ("a scalar subquery of two columns", over({"class": "Subquery", "kind": "scalar", "plan": 0, "dtype": "int64", "needle": None}), "a subquery for one value has 2 columns"),
    ("a needle in no haystack", over(A, {"class": "Subquery", "kind": "exists", "plan": 0, "dtype": "boolean", "needle": 1}), "has a needle"),
    ("an unknown subquery", over({"class": "Subquery", "kind": "any", "plan": 0, "dtype": "boolean", "needle": None}), "unknown kind of subquery"),
    ("a subquery of another type", over({"class": "Subquery", "kind": "exists", "plan": 0, "dtype": "int64", "needle": None}), "is declared int64 but is boolean"),
    ("subqueries nested deeply", nested_subqueries(11), "subqueries or loops are nested deeper than 10"),
    ("loops nested deeply", nested_loops(11), "subqueries or loops are nested deeper than 10"),
    ("a loop of unlike tables", alone(SCAN, {**SCAN, "columns": [["a", "string"]]}, loop(0, 1)), "the inputs have different columns"),
    ("a loop until a number", alone(SCAN, loop(0, 0, until=0)), "the condition of a loop is one boolean column"),
    ("a loop backwards", alone(SCAN, loop(0, 0, times=-1)), "a loop cannot have -1 turns"),
    ("a function per hour", alone(SCAN, mapped(per="hour")), "unknown way to map 'hour'"),
    ("a function over pickles", alone(SCAN, mapped(format="pickle")), "unknown format of batches 'pickle'"),
    ("a fold of other columns", alone(SCAN, mapped(per="fold", columns=[["b", "int64"]])), "the inputs have different columns"),
    ("a group by nothing", alone(SCAN, mapped(per="group", by=["z"])), "unknown column 'z'"),
    ("batches by a column", alone(SCAN, mapped(by=["a"])), "a function per batch has no groups"),
    ("an expression nested deeply", deep_expression(201), "nested deeper than 200"),
    ("an exponential expression", exponential(60), "takes more than 500,000 visits"),
    ("exponential subqueries", exponential_subqueries(), "takes more than 500,000 visits"),
    ("too many nodes", alone(*[SCAN] * 100_001), "more than 100,000 nodes"),
    ("a join out of order", changed(lambda d: find(d, "Join")["links"][0].__setitem__(0, "sideways")), "unknown kind of join 'sideways'"),
    ("a join without a link", changed(lambda d: find(d, "Join")["links"].clear()), "is used nowhere"),
    ("a cross join on something", changed(lambda d: find(d, "Join")["links"][0].__setitem__(0, "cross")), "a cross join takes no predicates"),
    ("a column of a semi-joined table", changed(lambda d: find(d, "Join")["links"][0].__setitem__(0, "semi")), "is out of reach here"),
    ("a join with a link too many", changed(lambda d: find(d, "Join")["links"].append(["cross", []])), "needs 1 links, not 2"),
    ("a count in a join", alone(SCAN, call("CountStar", [None], "int64"), {"class": "Join", "tables": [0, 0], "links": [["cross", []]], "values": [["n", 1]]}), "CountStar needs a node of one input"),
    ("a table that changed", changed(lambda d: find(d, "Scan", table="visits")["columns"][1].__setitem__(1, "int64")), "is declared decimal(10, 2) but is int64"),
    ("a group that is a metric too", changed(lambda d: find(d, "Aggregate")["groups"][0].__setitem__(0, "n")), "the column 'n' stands twice"),
]  # fmt: skip


def test_the_good_document_is_good() -> None:
    assert wire.dump(wire.load(copy.deepcopy(GOOD))) == GOOD


@pytest.mark.parametrize(
    ("document", "message"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_refuses_hostile_documents(document: object, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        wire.load(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"version": 1, "version": 1, "nodes": []}', "is no JSON"),
        ('{"version": 1, "nodes": [NaN]}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (b"\xff\xfe\xfa", "is no JSON"),
        ('{"version": 1, "nodes": [' + "9" * 5_000 + "]}", "is no JSON"),
    ],
)
def test_refuses_hostile_text(text: str | bytes, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        wire.loads(text)


def test_the_limits_are_the_callers() -> None:
    text = wire.dumps(PLANS["join"])
    for limits in (wire.Limits(bytes=100), wire.Limits(nodes=3), wire.Limits(columns=2), wire.Limits(name=3)):
        with pytest.raises(PlanError):
            wire.loads(text, limits=limits)
    assert wire.loads(text, limits=wire.Limits(bytes=10_000, nodes=20, columns=4))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_document_changed_anywhere_is_a_plan_or_a_plan_error(data: st.DataObject) -> None:
    document = copy.deepcopy(GOOD)
    node = data.draw(st.sampled_from(document["nodes"]))
    key = data.draw(st.sampled_from(sorted(node)))
    junk = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-2, 20), st.floats(), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2)
        ),
        max_leaves=4,
    )
    node[key] = data.draw(junk)
    with contextlib.suppress(PlanError):
        wire.dumps(wire.load(document))
