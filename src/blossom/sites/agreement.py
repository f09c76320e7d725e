"""What several sites say about one table, brought to one: a common schema, or a list of where they disagree.

Pure functions over the sites' published schemas and declarations; used by the embedded federation, the hub and `site check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, TypeAlias

import ibis.expr.datatypes as dt

from blossom.plan.errors import ConfigError, nearest
from blossom.plan.relations import Partition
from blossom.plan.schema import Schema, datatype
from blossom.sites.config import TableConfig

Part = tuple[Schema, TableConfig]
"""What one site publishes under a table's name, and what it declares about it."""

Maybe: TypeAlias = Optional[dt.DataType]  # noqa: UP045 - Ibis's metaclass gives DataType an operator | of its own

_WIDTHS = {
    f"{sign}{bits}": bits
    for sign, widths in (("Int", (8, 16, 32, 64)), ("UInt", (8, 16, 32, 64)), ("Float", (16, 32, 64)))
    for bits in widths
}
"""A number type's class name -> its bits."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing about a table that two sites say differently.

    Attributes:
        table: The table.
        sites: The two sites, the one listed earlier first.
        column: The column, where it is about one.
        what: Both sides, in a sentence.
        hint: What to declare.
    """

    table: str
    sites: tuple[str, ...]
    column: str | None
    what: str
    hint: str

    def __str__(self) -> str:
        return f"table {self.table}: {self.what}\n  hint: {self.hint}"


@dataclass(frozen=True, slots=True)
class Agreed:
    """The federated table, as far as the sites agree.

    Attributes:
        name: The table.
        schema: Columns in the order of the first site. A column on which they disagree has the first site's type.
        sites: The publishing sites, in the order given.
        partition: Common declaration, or None.
        replicated: Whether every site holds the same rows.
        steward: The site that alone answers for a replicated table, if named.
        disagreements: Empty when the table can be used.
    """

    name: str
    schema: Schema
    sites: tuple[str, ...]
    partition: Partition | None
    replicated: bool
    steward: str | None
    disagreements: tuple[Disagreement, ...] = ()


def agree(name: str, parts: Mapping[str, Part]) -> Agreed:
    """The federated table that `parts` make up.

    Args:
        name: The table.
        parts: Site -> its published schema and its declarations; at least one.

    Raises:
        ConfigError: The sites disagree; names both sites, the column, both types and what to declare.
    """
    agreed = compare(name, parts)
    if len(agreed.disagreements) == 1:
        (one,) = agreed.disagreements
        raise ConfigError(one.what, where=f"table {name}", hint=one.hint)
    if agreed.disagreements:
        lines = [f"its sites disagree on {len(agreed.disagreements)} points"]
        for one in agreed.disagreements:
            lines += [f"  - {one.what}", f"    hint: {one.hint}"]
        raise ConfigError("\n".join(lines), where=f"table {name}")
    return agreed


def compare(name: str, parts: Mapping[str, Part]) -> Agreed:
    """As `agree`, with the disagreements listed instead of raised."""
    if not parts:
        raise ValueError(f"table {name!r} has no parts")
    first, (schema, declared) = next(iter(parts.items()))
    found: list[Disagreement] = []
    types = {column: datatype(text) for column, text in schema.items()}
    # The site whose type a column has by now, so that an error names the one that really differs.
    origin = dict.fromkeys(types, first)
    for site, (other, config) in list(parts.items())[1:]:
        found += _columns(name, first, schema, site, other)
        for column in schema:
            if column not in other:
                continue
            joined = promote(types[column], datatype(other[column]))
            if joined is None:
                found.append(
                    _types(name, column, origin[column], types[column], site, datatype(other[column]))
                )
                continue
            if not joined.copy(nullable=True).equals(types[column].copy(nullable=True)):
                origin[column] = site
            types[column] = joined
        found += _declarations(name, first, declared, site, config)
    found += _steward(name, parts)
    return Agreed(
        name,
        Schema((column, str(dtype)) for column, dtype in types.items()),
        tuple(parts),
        declared.partition,
        declared.replicated,
        declared.steward,
        tuple(found),
    )


def promote(left: dt.DataType, right: dt.DataType) -> Maybe:
    """The type that holds the values of both, or None when there is none.

    Signed integers go to the wider one, an unsigned one with a signed one to the next signed width that holds both; floats to
    the wider; an integer with a float is float64. Other types must be equal but for nullability, which is joined.

    >>> promote(dt.int32, dt.int64(nullable=False)), promote(dt.int8, dt.float32), promote(dt.string, dt.date)
    (Int64(nullable=True), Float64(nullable=True), None)
    """
    nullable = left.nullable or right.nullable
    if left.is_integer() and right.is_integer():
        return _integer(left, right, nullable)
    if left.is_floating() and right.is_floating():
        return (left if _bits(left) >= _bits(right) else right).copy(nullable=nullable)
    if (left.is_integer() and right.is_floating()) or (left.is_floating() and right.is_integer()):
        return dt.Float64(nullable=nullable)
    if left.copy(nullable=nullable).equals(right.copy(nullable=nullable)):
        return left.copy(nullable=nullable)
    return None


def _integer(left: dt.DataType, right: dt.DataType, nullable: bool) -> Maybe:
    if left.is_signed_integer() == right.is_signed_integer():
        return (left if _bits(left) >= _bits(right) else right).copy(nullable=nullable)
    signed, unsigned = (left, right) if left.is_signed_integer() else (right, left)
    # A signed type needs a bit to spare; above 64 bits there is none, and uint64 with a signed type stays a disagreement.
    needed = max(_bits(signed), 2 * _bits(unsigned))
    return None if needed > 64 else datatype(f"int{needed}").copy(nullable=nullable)


def _bits(dtype: dt.DataType) -> int:
    """The width that a number's type carries in its name."""
    return _WIDTHS[type(dtype).__name__]


def _columns(table: str, first: str, schema: Schema, site: str, other: Schema) -> list[Disagreement]:
    found: list[Disagreement] = []
    pairs = ((first, schema, site, other), (site, other, first, schema))
    for holder, own, lacking, theirs in pairs:
        extra = [column for column in theirs if column not in own]
        for column in own:
            if column in theirs:
                continue
            close = nearest(column, extra)
            hint = (
                f"at {lacking}, rename = {{ {column} = {close!r} }} if they mean the same"
                if close is not None
                else f"rename it at {lacking}, or leave it out at {holder} with columns = [...]"
            )
            what = f"site {holder} publishes column {column!r}, site {lacking} does not"
            found.append(Disagreement(table, (holder, lacking), column, what, hint))
    return found


def _types(
    table: str, column: str, one: str, its: dt.DataType, other: str, theirs: dt.DataType
) -> Disagreement:
    left, right = str(its.copy(nullable=True)), str(theirs.copy(nullable=True))
    return Disagreement(
        table,
        (one, other),
        column,
        f"column {column!r} is {left} at site {one} and {right} at site {other}",
        f"declare one type at both, for example schema = {{ {column} = {left!r} }} at {other}",
    )


def _declarations(
    table: str, first: str, one: TableConfig, site: str, other: TableConfig
) -> list[Disagreement]:
    found: list[Disagreement] = []
    for key, left, right, hint in (
        (
            "partition",
            _partition_text(one.partition),
            _partition_text(other.partition),
            "rows are found by one rule everywhere: declare the same columns and scheme, in the same order, at all sites",
        ),
        (
            "replicated",
            one.replicated,
            other.replicated,
            "a table is replicated at all of its sites or at none",
        ),
        ("steward", one.steward, other.steward, "name one steward at all sites"),
    ):
        if left != right:
            what = f"{key} is {_shown(left)} at site {first} and {_shown(right)} at site {site}"
            found.append(Disagreement(table, (first, site), None, what, hint))
    return found


def _partition_text(partition: Partition | None) -> str | None:
    if partition is None:
        return None
    columns = ", ".join(map(repr, partition.columns))
    return f"{{ by = [{columns}], scheme = {partition.scheme!r} }}"


def _shown(value: str | bool | None) -> str:
    return "not declared" if value is None else str(value).lower() if isinstance(value, bool) else value


def _steward(table: str, parts: Mapping[str, Part]) -> Sequence[Disagreement]:
    """Each named steward that does not publish the table, once."""
    absent: dict[str, str] = {}
    for site, (_, config) in parts.items():
        if config.steward is not None and config.steward not in parts:
            absent.setdefault(config.steward, site)
    return [
        Disagreement(
            table,
            (site, steward),
            None,
            f"site {site} names {steward!r} as steward, which does not publish the table",
            f"name one of {', '.join(parts)}",
        )
        for steward, site in absent.items()
    ]
