"""Typed columns in MariaDB's tables and text: what a declared column means, rows out as Arrow, Arrow in as statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.errors import PlatformError
from blossom.plan.schema import Schema, datatype
from blossom.platforms.arrow import arrow_type
from blossom.platforms.families import Family, family

F = Family
_STATEMENT_BYTES = 1 << 20
_INTEGERS: Mapping[str, tuple[str, str | None]] = {
    "tinyint": ("int8", "int16"), "smallint": ("int16", "int32"), "mediumint": ("int32", "int32"), "int": ("int32", "int64"),
    "bigint": ("int64", None),
}  # fmt: skip
"""Type -> the plan's type, and that of its unsigned form."""

_TEXTS = (
    "char",
    "varchar",
    "tinytext",
    "text",
    "mediumtext",
    "longtext",
    "enum",
    "set",
    "json",
    "uuid",
    "inet4",
    "inet6",
)
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_DECLARED = re.compile(r"(\w+)\s*(?:\((.*?)\))?\s*(.*)", re.DOTALL)


def meaning(declared: str, column: str, collation: str | None, binary: str) -> tuple[str, str] | None:
    """The plan's type of a declared column and the expression that reads it; None where there is none.

    >>> meaning("tinyint(1)", "`a`", None, "utf8mb4_nopad_bin")
    ('boolean', '`a` <> 0')
    >>> meaning("int(10) unsigned", "`a`", None, "utf8mb4_nopad_bin")
    ('int64', 'CAST(`a` AS SIGNED)')
    """
    found = _DECLARED.match(declared)
    assert found is not None
    name, inside, rest = found[1].casefold(), found[2], found[3].casefold()
    if name == "tinyint" and inside == "1":
        return "boolean", f"{column} <> 0"
    if name in _INTEGERS:
        plain, unsigned = _INTEGERS[name]
        if "unsigned" not in rest:
            return plain, column
        return None if unsigned is None else (unsigned, f"CAST({column} AS SIGNED)")
    if name == "bit" and inside == "1":
        return "boolean", f"{column} + 0 <> 0"
    if name == "decimal":
        precision, _, scale = str(inside).partition(",")
        return (f"decimal({precision}, {scale or 0})", column) if int(precision) <= 38 else None
    if name == "datetime":
        return "timestamp(6)", column
    if name == "timestamp":
        return "timestamp('UTC', 6)", column
    if name in _TEXTS:
        text = column if collation == binary else f"CONVERT({column} USING utf8mb4) COLLATE {binary}"
        return "string", text
    if name in _BYTES:
        return "binary", column
    other = _OTHERS.get(name)
    return None if other is None else (other[0], other[1].format(c=column))


_OTHERS: Mapping[str, tuple[str, str]] = {
    "float": ("float64", "CAST({c} AS DOUBLE)"),
    "double": ("float64", "{c}"),
    "date": ("date", "{c}"),
    "year": ("int32", "CAST({c} AS SIGNED)"),
}


# -- out of MariaDB -------------------------------------------------------------------------------------------------------


def arrow_schema(schema: Schema, description: Sequence[Sequence[Any]], decimals: frozenset[int]) -> pa.Schema:
    """The types in which a result leaves: the declared ones, decimals with the digits that the server says."""
    fields: list[pa.Field] = []
    for (name, text), column in zip(schema.items(), description, strict=True):
        kind, scale = column[1], column[5]
        target = _target(text)
        if kind in decimals and family(text) in (F.DECIMAL, F.INTEGER):
            target = pa.decimal128(_precision(column[3], scale, text), scale)
        elif kind in _FLOATING and family(text) in (F.DECIMAL, F.INTEGER):
            target = (
                pa.float64()
            )  # a whole double; `conform` makes it a whole number or says that it does not fit
        elif family(text) is F.DECIMAL:
            target = pa.decimal128(38, datatype(text).scale or 0)  # pyright: ignore[reportAttributeAccessIssue]
        fields.append(pa.field(name, target))
    return pa.schema(fields)


def _precision(letters: int, scale: int, text: str) -> int:
    """The digits of a decimal from the letters that it may take, a sign and a point among them."""
    digits = letters - 1 - (scale > 0)
    dtype: Any = datatype(text)
    # a column without sign takes a letter less; what was declared of it is right then
    declared = dtype.precision or 0 if dtype.is_decimal() and dtype.scale == scale else 0
    return max(1, scale, min(38, max(digits, declared)))


_FLOATING = frozenset({4, 5})  # the protocol's numbers for FLOAT and DOUBLE


def _target(text: str) -> pa.DataType:
    return pa.timestamp("us", arrow_type(text).tz) if datatype(text).is_timestamp() else arrow_type(text)


def to_batches(cursor: Any, schema: pa.Schema, rows: int, where: str) -> Iterator[pa.RecordBatch]:
    """Fetch a result in batches of so many rows.

    Raises:
        PlatformError: A value does not fit its column; names the column, not the value.
    """
    while found := cursor.fetchmany(rows):
        columns = zip(*found, strict=True)
        arrays = [_array(values, field, where) for field, values in zip(schema, columns, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], field: pa.Field, where: str) -> pa.Array:
    target = field.type
    try:
        if pa.types.is_binary(target):
            return pa.array(values, target)
        text = pa.array(values, pa.string())
        if pa.types.is_boolean(target):
            return text.cast(pa.int64()).cast(target)
        if pa.types.is_timestamp(target) and target.tz is not None:
            return text.cast(pa.timestamp("us")).cast(pa.timestamp("us", target.tz))
        return text.cast(target)
    except (pa.ArrowException, TypeError):
        pass
    # Arrow's messages quote the value, which may be private
    raise PlatformError(f"column {field.name!r}: a value is no {target}", where=where)


# -- into MariaDB -----------------------------------------------------------------------------------------------------------

_COLUMNS: Mapping[Family, str] = {
    F.NULL: "TINYINT", F.BOOLEAN: "TINYINT(1)", F.FLOAT32: "DOUBLE", F.FLOAT64: "DOUBLE", F.STRING: "LONGTEXT", F.BINARY: "LONGBLOB",
    F.DATE: "DATE", F.TIMESTAMP: "DATETIME(6)", F.ZONED: "DATETIME(6)", F.INTEGER: "BIGINT",
}  # fmt: skip


def column_type(text: str) -> str:
    """The type of a temporary table's column."""
    if family(text) is F.DECIMAL:
        dtype: Any = datatype(text)
        return f"DECIMAL({dtype.precision or 38}, {dtype.scale or 0})"
    return _COLUMNS[family(text)]


def insertions(table: str, batch: pa.RecordBatch, where: str) -> Iterator[str]:
    """The statements that insert a batch, each of about 1 MiB.

    Raises:
        PlatformError: It holds a NaN or an infinity.
    """
    if not batch.num_rows:
        return
    literals = [_literals(batch.column(i), batch.schema.names[i], where) for i in range(batch.num_columns)]
    rows = (
        _call("binary_join_element_wise", *literals, pa.scalar(","), options=_JOIN)
        if len(literals) > 1
        else literals[0]
    )
    size, part = 0, []
    for row in rows.to_pylist():
        if part and size + len(row) > _STATEMENT_BYTES:
            yield f"INSERT INTO {table} VALUES ({'),('.join(part)})"  # noqa: S608 - quoted here
            size, part = 0, []
        part.append(row)
        size += len(row) + 3
    yield f"INSERT INTO {table} VALUES ({'),('.join(part)})"  # noqa: S608 - quoted here


def _literals(array: pa.Array, name: str, where: str) -> pa.Array:
    """Each value as SQL writes it."""
    dtype = array.type
    if (
        pa.types.is_floating(dtype)
        and not _call(
            "all", _call("is_finite", array), options=pc.ScalarAggregateOptions(min_count=0)
        ).as_py()
    ):
        raise PlatformError(f"column {name!r} holds a NaN or an infinity, which MariaDB cannot", where=where)
    write = next((write for test, write in _WRITERS if test(dtype)), None)
    return _filled(array.cast(pa.string()) if write is None else write(array))


_JOIN = pc.JoinOptions("emit_null")


def _call(name: str, *values: Any, options: Any = None) -> Any:
    return pc.call_function(name, list(values), options)


def _filled(array: pa.Array) -> pa.Array:
    return _call("coalesce", array, pa.scalar("NULL"))


def _quoted(array: pa.Array) -> pa.Array:
    for letter in ("\\", "'"):
        array = _call("replace_substring", array, options=pc.ReplaceSubstringOptions(letter, "\\" + letter))
    quote = pa.scalar("'")
    return _call("binary_join_element_wise", quote, array, quote, pa.scalar(""), options=_JOIN)


def _moment(array: pa.Array) -> pa.Array:
    return _quoted(array.cast(pa.timestamp("us", array.type.tz)).cast(pa.timestamp("us")).cast(pa.string()))


def _bytes(array: pa.Array) -> pa.Array:
    return pa.array(
        [None if value is None else f"x'{value.hex()}'" for value in array.to_pylist()], pa.string()
    )


_WRITERS: Sequence[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]]] = (
    (pa.types.is_string, _quoted),
    (pa.types.is_large_string, lambda array: _quoted(array.cast(pa.string()))),
    (pa.types.is_string_view, lambda array: _quoted(array.cast(pa.string()))),
    (pa.types.is_date, lambda array: _quoted(array.cast(pa.date32()).cast(pa.string()))),
    (pa.types.is_timestamp, _moment),
    (pa.types.is_binary, _bytes),
)
