"""How typed columns are held in SQLite, whose tables take any value in any column: what is checked, stored and read back."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from blossom.plan.errors import PlatformError
from blossom.plan.schema import Schema, datatype
from blossom.platforms.sqlite_rules import EXACT_DIGITS, family

_DECLARED: Sequence[tuple[str, str]] = (
    (r"BOOL", "boolean"),
    (r"DATETIME|TIMESTAMP", "timestamp(6)"),
    (r"^DATE$", "date"),
    (r"INT", "int64"),
    (r"CHAR|CLOB|TEXT", "string"),
    (r"BLOB", "binary"),
    (r"REAL|FLOA|DOUB", "float64"),
)
_DECIMAL = re.compile(r"^(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)$")
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
# "+0 days" makes SQLite compute: without it, 30 February is printed as it was read
_SECONDS = "strftime('%Y-%m-%d %H:%M:%S', substr({c}, 1, 19), '+0 days') = substr({c}, 1, 19)"

# digits with at most one point after at most one sign, as decimals are often kept to be exact
_NUMERAL = (
    "typeof({c}) = 'text' AND length({c}) - length(replace({c}, '.', '')) <= 1 AND {c} GLOB '*[0-9]*'"
    " AND substr({c}, 1 + (substr({c}, 1, 1) IN ('-', '+'))) NOT GLOB '*[^0-9.]*'"
)


def declared_type(text: str) -> str | None:
    """The type that a column's declaration means; None where it means none.

    >>> declared_type("VARCHAR(20)"), declared_type("DECIMAL(9, 2)"), declared_type("")
    ('string', 'decimal(9, 2)', None)
    """
    folded = text.strip().upper()
    decimal = _DECIMAL.match(folded)
    if decimal:
        return f"decimal({decimal[1]}, {decimal[2] or 0})"
    return next((found for pattern, found in _DECLARED if re.search(pattern, folded)), None)


@dataclass(frozen=True, slots=True)
class Form:
    """How values of a type must be held; `{c}` is the column.

    Attributes:
        canonical: Condition for a value that stands for itself, also in comparisons.
        convertible: Condition for one that `convert` brings into that form; None: there is no such form.
        convert: The expression that does.
    """

    canonical: str
    convertible: str | None = None
    convert: str = "{c}"


def form(text: str) -> Form | None:
    """How SQLite must hold a type; None where it cannot."""
    dtype = datatype(text)
    match family(dtype):
        case "boolean":
            return Form("{c} IN (0, 1)")
        case "integer":
            low, high = dtype.bounds  # pyright: ignore[reportAttributeAccessIssue]
            return Form(f"(typeof({{c}}) = 'integer' AND {{c}} BETWEEN {low} AND {high})")
        case "float":
            return Form("typeof({c}) = 'real'", "typeof({c}) = 'integer'", "CAST({c} AS REAL)")
        case "decimal":
            precision, scale = dtype.precision or EXACT_DIGITS, dtype.scale or 0  # pyright: ignore[reportAttributeAccessIssue]
            fits = f"round({{v}}, {scale}) = {{v}} AND abs({{v}}) < 1e{precision - scale}"
            return Form(
                f"(typeof({{c}}) IN ('integer', 'real') AND {fits.format(v='{c}')})",
                f"({_NUMERAL} AND {fits.format(v='CAST({c} AS REAL)')})",
                "CAST({c} AS REAL)",
            )
        case "string":
            return Form("typeof({c}) = 'text'")
        case "binary":
            return Form("typeof({c}) = 'blob'")
        case "date":
            return Form(
                "(typeof({c}) = 'text' AND date({c}, '+0 days') = {c})",
                f"(typeof({{c}}) = 'text' AND {{c}} GLOB '{_DAY}*' AND time({{c}}) = '00:00:00'"
                " AND date({c}, '+0 days') = substr({c}, 1, 10))",
                "date({c})",
            )
        case "timestamp":
            return Form(
                f"(typeof({{c}}) = 'text' AND {_SECONDS} AND (length({{c}}) = 19 OR (length({{c}}) = 26"
                " AND {c} GLOB '*.[0-9][0-9][0-9][0-9][0-9][0-9]' AND substr({c}, 21) <> '000000')))",
                "_blossom_is_timestamp({c})",
                "_blossom_timestamp({c})",
            )
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pass over a table found: its rows, and the expression under which each column is read."""

    rows: int
    values: tuple[str, ...]


def survey(
    connection: sqlite3.Connection, source: str, columns: Sequence[tuple[str, str, str]], where: str
) -> Survey:
    """Check that each value of a table fits its column's type; see which columns must be converted to compare rightly.

    Args:
        connection: With the functions of `sqlite_dialect.prepare`.
        source: What stands after FROM.
        columns: Published name, the source's own name, type text.
        where: Names the platform and the table in errors.

    Raises:
        PlatformError: A value does not fit; names the column and the row's ordinal (from 1), not the value.
    """
    tests: list[str] = []
    forms: list[tuple[str, str, Form]] = []
    for name, own, text in columns:
        found = form(text)
        if found is None:
            raise PlatformError(f"column {name!r}: SQLite cannot hold {text}", where=where)
        column = quoted(own)
        canonical = f"{column} IS NULL OR {found.canonical.format(c=column)}"
        fits = (
            canonical if found.convertible is None else f"{canonical} OR {found.convertible.format(c=column)}"
        )
        tests += [f"total(NOT ({canonical}))", f"total(NOT ({fits}))"]
        forms.append((column, fits, found))
    selected = ", ".join(["count(*)", *tests])
    rows, *counts = connection.execute(f"SELECT {selected} FROM {source}").fetchone()  # noqa: S608 - names are quoted
    collated = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE upper(sql) LIKE '%COLLATE%'"
    ).fetchone()[0]
    values: list[str] = []
    for (name, _, text), (column, fits, found), other, bad in zip(
        columns, forms, counts[::2], counts[1::2], strict=True
    ):
        if bad:
            ordinal = _first_unfit(connection, source, fits)
            raise PlatformError(
                f"column {name!r}: the value in row {ordinal} is no {text}",
                where=where,
                hint="mend the row, or declare another type for the column in the table's schema",
            )
        value = found.convert.format(c=column) if other else column
        if collated and family(datatype(text)) == "string":
            value += " COLLATE BINARY"  # a column's own collation would follow it into every comparison
        values.append(value)
    return Survey(int(rows), tuple(values))


def _first_unfit(connection: sqlite3.Connection, source: str, fits: str) -> int:
    flags = connection.execute(f"SELECT {fits} FROM {source}")  # noqa: S608 - names are quoted
    return next(ordinal for ordinal, (fit,) in enumerate(flags, 1) if not fit)


def inferred_type(connection: sqlite3.Connection, source: str, own: str, name: str, where: str) -> str:
    """The type of a column without a declared one, from how its values are held.

    Raises:
        PlatformError: They are of several kinds, or there are none.
    """
    query = f"SELECT DISTINCT typeof({quoted(own)}) FROM {source}"  # noqa: S608 - names are quoted
    kinds = frozenset(kind for (kind,) in connection.execute(query)) - {"null"}
    found = _INFERRED.get(kinds)
    if found is None:
        mixed = f"holds {' and '.join(sorted(kinds))} values" if kinds else "holds no values"
        raise PlatformError(
            f"column {name!r} has no declared type and {mixed}",
            where=where,
            hint="declare its type in the table's schema",
        )
    return found


_INFERRED = {
    frozenset({"integer"}): "int64",
    frozenset({"real"}): "float64",
    frozenset({"integer", "real"}): "float64",
    frozenset({"text"}): "string",
    frozenset({"blob"}): "binary",
}


def quoted(identifier: str) -> str:
    """An identifier in SQLite's quotes."""
    return '"' + identifier.replace('"', '""') + '"'


# -- out of SQLite ----------------------------------------------------------------------------------------------------


def to_batches(cursor: sqlite3.Cursor, schema: Schema, rows: int, where: str) -> Iterator[pa.RecordBatch]:
    """Fetch a result in batches of so many rows.

    Raises:
        PlatformError: A value does not fit its column; names the column and the row's ordinal in the result.
    """
    target = arrow_schema(schema)
    done = 0
    while found := cursor.fetchmany(rows):
        columns = zip(*found, strict=True)
        arrays = [
            _array(values, name, text, done, where)
            for (name, text), values in zip(schema.items(), columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=target)
        done += len(found)


def arrow_schema(schema: Schema) -> pa.Schema:
    """The types of `to_batches`."""
    return pa.schema([pa.field(name, _target(text)) for name, text in schema.items()])


def _target(text: str) -> pa.DataType:
    dtype = datatype(text)
    if dtype.is_timestamp():
        return pa.timestamp("us")
    return dtype.to_pyarrow()


def _array(values: tuple[object, ...], name: str, text: str, done: int, where: str) -> pa.Array:
    try:
        return _converted(values, text)
    except (pa.ArrowException, TypeError, OverflowError):
        ordinal = next(i for i, value in enumerate(values) if not _fits(value, text))
    # Arrow's messages quote the value, which may be private
    raise PlatformError(
        f"column {name!r}: the value in row {done + ordinal + 1} of the result is no {text}", where=where
    )


def _fits(value: object, text: str) -> bool:
    try:
        _converted((value,), text)
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return True


def _converted(values: tuple[object, ...], text: str) -> pa.Array:
    target = _target(text)
    match family(datatype(text)):
        case "integer":
            # told the type, Arrow would cut fractions off; left to find it, it keeps them, and the cast refuses them
            return pa.array(values).cast(target)
        case "boolean":
            return pa.array(values, pa.int8()).cast(target)
        case "decimal":
            return pa.array(values, pa.float64()).cast(target)
        case "float":
            try:
                return pa.array(values, target)
            except pa.ArrowInvalid:  # an integer beyond 2**53, which Arrow would not round
                return pa.array([None if value is None else float(value) for value in values], target)  # pyright: ignore[reportArgumentType]
        case "date" | "timestamp":
            return pa.array(values, pa.string()).cast(target)
        case _:
            return pa.array(values, target)


# -- into SQLite ------------------------------------------------------------------------------------------------------

_AFFINITY = {
    "boolean": "INTEGER",
    "integer": "INTEGER",
    "float": "REAL",
    "decimal": "NUMERIC",
    "binary": "BLOB",
}


def load(
    connection: sqlite3.Connection, table: str, schema: Schema, reader: pa.RecordBatchReader, where: str
) -> None:
    """Make a temporary table of a stream, in the forms of `form`.

    Raises:
        PlatformError: The stream lacks a column, or holds a NaN, which SQLite would turn into NULL.
    """
    columns = ", ".join(
        f"{quoted(name)} {_AFFINITY.get(family(datatype(text)) or '', 'TEXT')}"
        for name, text in schema.items()
    )
    connection.execute(f"CREATE TEMP TABLE {quoted(table)} ({columns})")
    marks = ", ".join("?" * len(schema))
    insert = f"INSERT INTO {quoted(table)} VALUES ({marks})"  # noqa: S608 - names are quoted
    connection.execute("BEGIN")
    for batch in reader:
        lists = [_plain_values(batch.column(name), name, where) for name in schema]
        connection.executemany(insert, zip(*lists, strict=True))
    connection.execute("COMMIT")


def _plain_values(array: pa.Array, name: str, where: str) -> list[object]:
    dtype = array.type
    if pa.types.is_floating(dtype):
        if pc.call_function("any", [pc.call_function("is_nan", [array])]).as_py():
            raise PlatformError(
                f"column {name!r} holds a NaN, which SQLite would turn into NULL", where=where
            )
        array = array.cast(pa.float64())
    elif pa.types.is_decimal(dtype):
        array = array.cast(pa.float64())
    elif pa.types.is_boolean(dtype):
        array = array.cast(pa.int8())
    elif pa.types.is_date(dtype):
        array = array.cast(pa.date32()).cast(pa.string())
    elif pa.types.is_timestamp(dtype):
        text = array.cast(pa.timestamp("us", dtype.tz)).cast(pa.timestamp("us")).cast(pa.string())
        zeros = pc.ReplaceSubstringOptions(r"\.000000$", "")
        array = pc.call_function("replace_substring_regex", [text], zeros)
    return array.to_pylist()
