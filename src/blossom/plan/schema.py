"""Names and types of a relation's columns; a type is Ibis's text for it ("int64", "decimal(15, 2)")."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import lru_cache

import ibis.expr.datatypes as dt
import ibis.expr.schema as sch
import pyarrow as pa


@lru_cache(maxsize=4096)
def datatype(text: str) -> dt.DataType:
    """The Ibis type that a type's text names.

    >>> datatype("int64")
    Int64(nullable=True)
    """
    return dt.dtype(text)


@lru_cache(maxsize=4096)
def type_text(dtype: dt.DataType) -> str:
    """The text of an Ibis type; making it takes longer than looking it up."""
    return str(dtype)


@lru_cache(maxsize=4096)
def nullable(text: str) -> str:
    """The same type, with null among its values.

    >>> nullable("!int64")
    'int64'
    """
    return str(datatype(text).copy(nullable=True))


class Schema(Mapping[str, str]):
    """An ordered, immutable mapping of column name to type text.

    >>> Schema([("a", "int64")])["a"]
    'int64'
    """

    __slots__ = ("_fields", "_hash")

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = dict(fields)
        self._hash = hash(tuple(self._fields.items()))

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def items(self) -> ItemsView[str, str]:
        """Names with their types."""
        return self._fields.items()

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._fields.keys()

    def values(self) -> ValuesView[str]:
        """The types."""
        return self._fields.values()

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Schema)
            and self._hash == other._hash
            and tuple(self._fields.items()) == tuple(other._fields.items())
        )

    def __repr__(self) -> str:
        return "Schema(" + ", ".join(f"{name}: {dtype}" for name, dtype in self._fields.items()) + ")"

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(self._fields)

    def to_ibis(self) -> sch.Schema:
        """The same schema as Ibis's object."""
        return sch.schema({name: datatype(text) for name, text in self._fields.items()})

    def to_pyarrow(self) -> pa.Schema:
        """The same schema in Arrow's types."""
        return self.to_ibis().to_pyarrow()

    @classmethod
    def from_ibis(cls, schema: sch.Schema) -> Schema:
        """Take over an Ibis schema."""
        return cls((name, type_text(dtype)) for name, dtype in schema.items())  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_pyarrow(cls, schema: pa.Schema) -> Schema:
        """Take over an Arrow schema."""
        return cls.from_ibis(sch.Schema.from_pyarrow(schema))
