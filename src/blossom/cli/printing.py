"""How commands print: columns for people, JSON for machines."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 40
"""Rows of a result that are printed for people."""

_NARROWEST, _WIDEST, _CELL = 60, 100, 40


def width() -> int:
    """Columns to print in: the terminal's, neither too few nor too many to read."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def print_json(document: object) -> None:
    """Print one JSON document. Values without a JSON form of their own are written as `plain` says."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(plain(document), indent=2, ensure_ascii=not utf8, allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON has it.

    Decimals, dates, times and durations become text, bytes base64, NaN and the infinities the texts "NaN", "Infinity" and
    "-Infinity".

    >>> plain({"at": datetime.date(2013, 1, 1), "x": [1.5, float("inf")]})
    {'at': '2013-01-01', 'x': [1.5, 'Infinity']}
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if math.isnan(value):
                return "NaN"
            return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal() | datetime.timedelta():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def columns(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = (), indent: str = ""
) -> str:
    """Cells in aligned columns.

    Args:
        headings: One a column.
        rows: As many cells each.
        right: Headings of the columns that are aligned to the right: numbers.
        indent: What every line starts with.

    >>> print(columns(("site", "bytes"), [("newark", "1,024"), ("kennedy", "96")], right=["bytes"]))
    site     bytes
    newark   1,024
    kennedy     96
    """
    lines = [tuple(headings), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_right = [heading in set(right) for heading in headings]
    return "\n".join(
        (indent + "  ".join(
            cell.rjust(wide) if number else cell.ljust(wide)
            for cell, wide, number in zip(line, widths, to_right, strict=True)
        )).rstrip()
        for line in lines
    )  # fmt: skip


def paragraph(text: str, *, indent: str = "", first: str | None = None) -> str:
    """Text wrapped to the terminal; lines after the first start with `indent`, the first with `first` where given."""
    return textwrap.fill(
        text,
        width(),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table_text(table: pa.Table, total: int | None = None) -> str:
    """A result for people: its first rows, as many columns as fit, and how much is not shown.

    Args:
        table: The result, or its first rows.
        total: How many rows the result has; None: those of `table`.

    >>> import pyarrow as pa
    >>> print(table_text(pa.table({"carrier": ["OO", None], "delay": [11.93, float("nan")]})))
    carrier  delay
    OO       11.93
    null       NaN
    (2 rows)
    """
    import pyarrow as pa

    total = table.num_rows if total is None else total
    head = table.slice(0, SHOWN)
    cells = [[cell_text(value) for value in column.to_pylist()] for column in head.columns]
    numbers = [_is_number(field.type, pa) for field in table.schema]
    fitting, used = 0, -2
    for name, column in zip(table.column_names, cells, strict=True):
        used += 2 + max([len(name), *map(len, column)])
        if fitting and used > width():
            break
        fitting += 1
    names = table.column_names[:fitting]
    rows = zip(*cells[:fitting], strict=True) if fitting else ()
    right = [name for name, number in zip(names, numbers, strict=False) if number]
    lines = [columns(names, rows, right=right)] if names else []
    note = f"{total:,} row{'' if total == 1 else 's'}"
    if total > head.num_rows:
        note += f", the first {head.num_rows} shown"
    hidden = table.column_names[fitting:]
    lines.append(f"({note})")
    if hidden:
        lines.append(paragraph(f"({len(hidden)} more columns: {', '.join(hidden)})", indent=" ", first=""))
    return "\n".join(lines)


def cell_text(value: Any) -> str:
    """One value for people: figures to six significant digits, long text cut, no control characters.

    >>> cell_text(1234567), cell_text(0.123456789), cell_text("a\\nb"), cell_text(None)
    ('1234567', '0.123457', 'a\\\\nb', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.6g}"
    text = value if isinstance(value, str) else str(plain(value))
    # A value must not move the cursor, or hide what stands before it.
    text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _is_number(kind: pa.DataType, pa: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
