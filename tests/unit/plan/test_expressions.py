"""What is remembered of expressions is what a walk over them finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    Expression,
    Literal,
    Outer,
    Subquery,
    columns,
    facts,
    has,
    has_subquery,
    has_window,
    transform,
    walk,
)
from blossom.plan.relations import Filter, Scan
from blossom.plan.schema import Schema

PEOPLE = Scan("people", Schema([("a", "int64")]), "north")
NAMES = st.sampled_from("abc")
LEAVES = st.one_of(
    st.builds(Column, NAMES, st.just("int64"), st.integers(0, 2)),
    st.builds(Literal, st.integers(0, 3), st.just("int8")),
    st.builds(Outer, NAMES, st.just("int64")),
)


def correlated(name: str, needle: Expression) -> Subquery:
    """A subquery that reads a column of the node around it."""
    same = Call("Equals", (Column("a", "int64"), Outer(name, "int64")), "boolean")
    return Subquery("in", Filter(PEOPLE, (same,)), "boolean", needle)


def grown(below: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    args = st.lists(st.one_of(below, st.none(), st.tuples(below, below), st.just("pop")), max_size=3)
    ops = st.sampled_from(["Add", "Equals", "Sum", "WindowFunction", "RandomScalar"])
    return st.one_of(
        st.builds(lambda op, given: Call(op, tuple(given), "int64"), ops, args),
        st.builds(correlated, NAMES, below),
    )


EXPRESSIONS = st.recursive(LEAVES, grown, max_leaves=12)


def read(expression: Expression) -> set[Column]:
    found = {one for one in walk(expression) if isinstance(one, Column)}
    for one in walk(expression):
        if isinstance(one, Subquery):
            assert isinstance(one.plan, Filter)
            (same,) = one.plan.predicates
            found |= {Column(o.name, o.dtype, o.input) for o in walk(same) if isinstance(o, Outer)}
    return found


@given(EXPRESSIONS)
def test_facts_are_what_a_walk_finds(expression: Expression) -> None:
    found = list(walk(expression))
    ops = {one.op for one in found if isinstance(one, Call)}
    for _ in range(2):  # the second answer is the remembered one
        told = facts(expression)
        assert told.ops == ops
        assert told.size == len(found)
        assert told.columns == columns(expression) == read(expression)
        assert has_subquery(expression) == any(isinstance(one, Subquery) for one in found)
        assert has_window(expression) == ("WindowFunction" in ops)
        assert has(expression, frozenset({"Sum", "RandomScalar"})) == bool(ops & {"Sum", "RandomScalar"})


@given(EXPRESSIONS)
def test_a_rebuilt_expression_is_equal_and_has_its_hash(expression: Expression) -> None:
    hash(expression)

    def anew(part: Expression) -> Expression | None:
        return Column(part.name, part.dtype, part.input) if isinstance(part, Column) else None

    rebuilt = transform(expression, anew)
    assert rebuilt == expression
    assert hash(rebuilt) == hash(expression)


def test_depth_counts_levels() -> None:
    deep: Argument = Column("a", "int64")
    for _ in range(5):
        deep = Call("Negate", (deep,), "int64")
    assert isinstance(deep, Call)
    assert facts(deep).depth == 6
    assert facts(Call("Pi", (), "float64")).depth == 1
