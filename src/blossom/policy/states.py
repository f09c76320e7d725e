"""What the policy check knows of a relation and of a value: the abstract domain of the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blossom.plan.errors import Refusal
from blossom.plan.expressions import Expression

CONSTANT = 0
AFFINE = 1
PRODUCT = 2
OPAQUE = 3
"""Forms of a value: a literal; bare or affine with literals; a product of two such; anything else (a predicate in disguise)."""

Reference = tuple[str, str]
"""A table of this site and its column."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a column or expression of a row-like relation may hold.

    Attributes:
        sources: The site's columns that it depends on.
        form: How: CONSTANT, AFFINE, PRODUCT or OPAQUE.
        bare: The stored column that it is, unchanged; None for anything computed.
        exact: Indexes of the relation's units whose unit value it equals in every row.
        covers: Indexes of units whose unit value, in every row, equals it or is null.
        low: The smallest and ...
        high: ... the largest magnitude of the literals that a source was scaled with or shifted by. Where they lie far apart,
            floating-point arithmetic rounds small values away, and affine arithmetic becomes a threshold.
    """

    sources: frozenset[Reference] = frozenset()
    form: int = OPAQUE
    bare: Reference | None = None
    exact: frozenset[int] = frozenset()
    covers: frozenset[int] = frozenset()
    low: float = 1.0
    high: float = 1.0


PUBLIC = Value()
"""Data that is no secret, of unknown size: no source, yet no literal either."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One private table's occurrence in a relation: whom its rows describe.

    Attributes:
        table: The table.
        min_group: The smallest number of units that a released cell may describe.
        dtype: Type of the unit column.
        missing: Why units cannot be counted; None where they can.
    """

    table: str
    min_group: int
    dtype: str
    missing: Refusal | None = None


ROWS = "(rows)"
"""Stands for a column where a value tells which rows there are, or how many a unit has: it reads none, and is private all the same."""


def rows_of(units: Iterable[Unit]) -> frozenset[Reference]:
    """What the number of a unit's rows depends on."""
    return frozenset((unit.table, ROWS) for unit in units)


def stored(sources: frozenset[Reference]) -> frozenset[Reference]:
    """The stored columns among the sources. Numbers of rows may be keys and stand in predicates, whose groups are guarded."""
    return frozenset(source for source in sources if source[1] != ROWS)


@dataclass(frozen=True, slots=True)
class Carrier:
    """How a node passes a unit on: its value and its null mark (1 where the unit itself is null), over the node's inputs."""

    unit: Expression
    null: Expression


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a relation.

    Attributes:
        units: The private tables whose rows it holds, unguarded, one entry an occurrence; empty where it is public.
        columns: Values of the columns; of a public relation only those of a table itself (see `natural`), others are PUBLIC.
        pending: What forbids a guard above: refused when an aggregate asks for one, harmless where rows may leave anyway.
        weighted: Rows may have been repeated by data that the user chose.
        natural: A table of this site that may leave as rows, whole: nobody chose its rows.
        keys: Sets of columns that are unique in a public relation.
        carriers: How the node passes its units on; None where it hands its input's through.
    """

    units: tuple[Unit, ...] = ()
    columns: Mapping[str, Value] = field(default_factory=dict)
    pending: tuple[Refusal, ...] = ()
    weighted: bool = False
    natural: bool = False
    keys: tuple[frozenset[str], ...] = ()
    carriers: tuple[Carrier, ...] | None = None

    @property
    def private(self) -> bool:
        """Whether rows of a private table stand behind it unguarded."""
        return bool(self.units)

    def value(self, name: str) -> Value:
        """What is known of a column."""
        return self.columns.get(name, PUBLIC)


def unit_column(index: int) -> str:
    """Name of the hidden column that carries unit `index`."""
    return f"__unit_{index}"


def null_column(index: int) -> str:
    """Name of the hidden column that marks (with 1) where unit `index` itself is null; null where its table had no row."""
    return f"__null_{index}"


RESERVED = ("__unit_", "__null_", "__guard_", "__key_", "__value_", "__where_")
"""Prefixes of hidden columns; a plan may not use them."""
