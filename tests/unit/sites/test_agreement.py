"""One table of several sites: the schema they agree on, and how a disagreement is told."""

from __future__ import annotations

import ibis.expr.datatypes as dt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.plan.errors import ConfigError
from blossom.plan.relations import Partition
from blossom.plan.schema import Schema
from blossom.platforms.interface import TableSource
from blossom.sites.agreement import Part, agree, compare, promote
from blossom.sites.config import TableConfig


def part(
    columns: dict[str, str],
    partition: Partition | None = None,
    *,
    replicated: bool = False,
    steward: str | None = None,
) -> Part:
    config = TableConfig("t", "duckdb", TableSource("t.csv"), partition, replicated, steward)
    return Schema(columns.items()), config


NUMBERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)] + ["float32", "float64"]
TYPES = st.sampled_from(
    [*NUMBERS, "string", "date", "timestamp(6)", "decimal(15, 2)", "array<int64>", "boolean"]
)
DTYPES = st.builds(lambda text, nullable: dt.dtype(text).copy(nullable=nullable), TYPES, st.booleans())


@settings(deadline=None)
@given(DTYPES, DTYPES)
def test_promotion_does_not_depend_on_the_order(left: dt.DataType, right: dt.DataType) -> None:
    assert promote(left, right) == promote(right, left)


@settings(deadline=None)
@given(DTYPES)
def test_a_type_agrees_with_itself(dtype: dt.DataType) -> None:
    assert promote(dtype, dtype) == dtype


@settings(deadline=None)
@given(DTYPES, DTYPES, DTYPES)
def test_promotion_does_not_depend_on_grouping_where_all_agree(
    a: dt.DataType, b: dt.DataType, c: dt.DataType
) -> None:
    ab, bc = promote(a, b), promote(b, c)
    if ab is None or bc is None:
        return
    first, second = promote(ab, c), promote(a, bc)
    if first is not None and second is not None:
        assert first == second


@settings(deadline=None)
@given(
    st.sampled_from([n for n in NUMBERS if "int" in n]), st.sampled_from([n for n in NUMBERS if "int" in n])
)
def test_an_integer_type_holds_the_extremes_of_both(left: str, right: str) -> None:
    joined = promote(dt.dtype(left), dt.dtype(right))
    if joined is None:
        assert {left.startswith("u"), right.startswith("u")} == {True, False}
        assert "uint64" in (left, right)
        return
    target = joined.to_pyarrow()
    for text in (left, right):
        bits = int(text.removeprefix("u").removeprefix("int"))
        low, high = (0, 2**bits - 1) if text.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert pa.array([low, high], target).to_pylist() == [low, high]


def test_the_schema_has_the_order_of_the_first_site_and_the_wider_types() -> None:
    agreed = agree(
        "t",
        {
            "north": part({"id": "!int32", "x": "int64", "name": "!string"}),
            "south": part({"name": "string", "x": "float32", "id": "!int64"}),
            "west": part({"id": "!int16", "name": "!string", "x": "int8"}),
        },
    )
    assert agreed.schema == Schema([("id", "!int64"), ("x", "float64"), ("name", "string")])
    assert agreed.sites == ("north", "south", "west")


def test_one_site_agrees_with_itself() -> None:
    agreed = agree("t", {"north": part({"a": "int8"}, Partition("s", ("a",)))})
    assert (agreed.schema, agreed.partition) == (Schema([("a", "int8")]), Partition("s", ("a",)))


def test_a_missing_column_names_both_sites_and_the_likely_name() -> None:
    parts = {"north": part({"age": "int64"}), "south": part({"age": "int64", "ages": "int64"})}
    with pytest.raises(ConfigError) as caught:
        agree("t", parts)
    assert "table t: site south publishes column 'ages', site north does not" in str(caught.value)
    parts = {"north": part({"carrier": "string"}), "south": part({"carier": "string"})}
    told = [str(one) for one in compare("t", parts).disagreements]
    assert len(told) == 2
    assert "rename = { carrier = 'carier' }" in told[0]


def test_a_difference_of_type_names_both_sites_types_and_what_to_declare() -> None:
    parts = {"north": part({"when": "date"}), "south": part({"when": "string"})}
    with pytest.raises(ConfigError) as caught:
        agree("t", parts)
    assert caught.value.what == "column 'when' is date at site north and string at site south"
    assert caught.value.hint == "declare one type at both, for example schema = { when = 'date' } at south"


def test_the_site_that_widened_a_type_is_the_one_named() -> None:
    parts = {"a": part({"x": "int8"}), "b": part({"x": "float64"}), "c": part({"x": "string"})}
    (one,) = compare("t", parts).disagreements
    assert one.sites == ("b", "c")
    assert one.what == "column 'x' is float64 at site b and string at site c"


def test_nullability_alone_is_no_difference_and_names_nobody() -> None:
    parts = {"a": part({"x": "!int8"}), "b": part({"x": "int8"}), "c": part({"x": "string"})}
    (one,) = compare("t", parts).disagreements
    assert one.sites == ("a", "c")


def test_declarations_must_be_equal() -> None:
    keys = Partition("s", ("a", "b"))
    for other in (None, Partition("s2", ("a", "b")), Partition("s", ("b", "a")), Partition("s", ("a",))):
        parts = {"n": part({"a": "int8", "b": "int8"}, keys), "s": part({"a": "int8", "b": "int8"}, other)}
        (one,) = compare("t", parts).disagreements
        assert one.what.startswith("partition is { by = ['a', 'b'], scheme = 's' } at site n and ")
    parts = {"n": part({"a": "int8"}, replicated=True), "s": part({"a": "int8"})}
    (one,) = compare("t", parts).disagreements
    assert one.what == "replicated is true at site n and false at site s"
    parts = {
        "n": part({"a": "int8"}, replicated=True, steward="n"),
        "s": part({"a": "int8"}, replicated=True),
    }
    (one,) = compare("t", parts).disagreements
    assert one.what == "steward is n at site n and not declared at site s"


def test_a_steward_publishes_the_table() -> None:
    parts = {
        "north": part({"a": "int8"}, replicated=True, steward="nroth"),
        "south": part({"a": "int8"}, replicated=True, steward="nroth"),
    }
    (one,) = compare("t", parts).disagreements
    assert "names 'nroth' as steward, which does not publish the table" in one.what
    assert one.hint == "name one of north, south"


def test_all_disagreements_are_told_at_once() -> None:
    parts = {
        "n": part({"a": "date", "b": "int8"}, Partition("s", ("b",))),
        "s": part({"a": "string", "c": "int8"}),
    }
    with pytest.raises(ConfigError, match="its sites disagree on 4 points") as caught:
        agree("t", parts)
    for word in ("'a' is date", "'b'", "'c'", "partition"):
        assert word in str(caught.value)
