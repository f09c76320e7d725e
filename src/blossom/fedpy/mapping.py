"""Python functions over a table's rows, batches and groups: what `table.pipe(bl.map, ...)` and its like stand for."""
# pyright: basic, reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from blossom.fedpy.operators import session_of
from blossom.plan import operators as own
from blossom.plan.errors import PlanError, unknown

Format = Literal["arrow", "pandas"]


def map(  # noqa: A001 - the word for it, under `bl.`
    table: ir.Table,
    function: Callable[..., Mapping[str, Any]],
    /,
    *,
    schema: Mapping[str, Any] | Any,
    **parameters: Any,
) -> ir.Table:
    """Apply a function to each row; it gives one row.

    Args:
        table: The input.
        function: A row as a mapping -> a mapping (keyword `parameters` are passed on).
        schema: The output's columns and types.
        parameters: JSON values given to the function.

    Example:
        >>> def doubled(row):
        ...     return {"a": 2 * row["a"]}
    """
    return _mapped(table, function, ibis.schema(schema), parameters, "each")


def flat_map(
    table: ir.Table,
    function: Callable[..., Iterable[Mapping[str, Any]]],
    /,
    *,
    schema: Mapping[str, Any] | Any,
    **parameters: Any,
) -> ir.Table:
    """Apply a function to each row; it gives any number of rows.

    Args:
        table: The input.
        function: A row as a mapping -> an iterable of mappings (keyword `parameters` are passed on).
        schema: The output's columns and types.
        parameters: JSON values given to the function.
    """
    return _mapped(table, function, ibis.schema(schema), parameters, "row")


def filter(  # noqa: A001 - as above
    table: ir.Table,
    function: Callable[..., Any],
    /,
    *,
    per: Literal["row", "batch"] = "row",
    format: Format = "arrow",  # noqa: A002 - the word for it
    **parameters: Any,
) -> ir.Table:
    """Keep the rows for which a function says so. What Ibis can say (`table.filter(...)`) runs in the engines, and faster.

    Args:
        table: The input.
        function: A row as a mapping -> True or False; with `per="batch"` a batch -> one truth value a row.
        per: What the function is given.
        format: With `per="batch"`: "arrow" gives a record batch, "pandas" a DataFrame.
        parameters: JSON values given to the function.
    """
    kinds = {"row": "keep", "batch": "mask"}
    _one_of(per, kinds, "way to filter")
    if per == "row" and format != "arrow":
        raise PlanError(
            "rows are given as mappings, whatever the format", hint='format="pandas" needs per="batch"'
        )
    return _mapped(table, function, table.schema(), parameters, kinds[per], format)


def map_batches(
    table: ir.Table,
    function: Callable[..., Any],
    /,
    *,
    schema: Mapping[str, Any] | Any,
    format: Format = "arrow",  # noqa: A002 - the word for it
    **parameters: Any,
) -> ir.Table:
    """Apply a function to the table's batches.

    Args:
        table: The input.
        function: `RecordBatch -> RecordBatch`, or `DataFrame -> DataFrame` (keyword `parameters` are passed on). Batches may be
            split in any way, and the function may be called again for the same rows.
        schema: The output's columns and types.
        format: "arrow" or "pandas". In a DataFrame a null is a NaN, and a NaN that comes back is a null.
        parameters: JSON values given to the function.

    Example:
        >>> import pyarrow.compute as pc
        >>> def doubled(batch):
        ...     return batch.set_column(0, "a", pc.multiply(batch["a"], 2))
    """
    return _mapped(table, function, ibis.schema(schema), parameters, "batch", format)


def map_groups(
    table: ir.Table,
    function: Callable[..., Any],
    /,
    *,
    by: str | Sequence[str],
    schema: Mapping[str, Any] | Any,
    format: Format = "arrow",  # noqa: A002 - the word for it
    **parameters: Any,
) -> ir.Table:
    """Apply a function to all rows of each group at once.

    The rows of a group are brought together, unless the table is partitioned by some of the columns: then each site applies the
    function to its own. Use `reduce` where the function is associative.

    Args:
        table: The input.
        function: All rows of one group, as a batch or a DataFrame -> rows.
        by: The columns whose equal values make a group; nulls are equal.
        schema: The output's columns and types.
        format: "arrow" or "pandas".
        parameters: JSON values given to the function.
    """
    return _mapped(table, function, ibis.schema(schema), parameters, "group", format, _names(table, by))


def reduce(
    table: ir.Table,
    function: Callable[..., Any],
    /,
    *,
    by: str | Sequence[str] = (),
    schema: Mapping[str, Any] | Any = None,
    format: Format = "arrow",  # noqa: A002 - the word for it
    **parameters: Any,
) -> ir.Table:
    """Fold the rows of each group with an associative function: at each site first, then what the sites gave.

    Args:
        table: The input, already in the shape of the result (`table.select(...)`, or `bl.map`).
        function: Some rows of one group -> fewer rows (often one) of the same columns. It is called again with what it gave, so
            f(f(a) + f(b)) must be f(a + b); in which order rows come is open.
        by: The columns whose equal values make a group; none: all rows are one group.
        schema: The output's columns and types, if you like to say them: they are the table's.
        format: "arrow" or "pandas".
        parameters: JSON values given to the function.

    Example:
        >>> def total(rows):
        ...     return rows.slice(0, 1).set_column(1, "n", [[sum(rows["n"].to_pylist())]])
    """
    own_schema = table.schema()
    if schema is not None and ibis.schema(schema) != own_schema:
        raise PlanError(
            f"a reduction keeps its columns: the table has {_columns(own_schema)}, the schema says {_columns(ibis.schema(schema))}",
            where="reduce",
            hint="bring the rows into the result's shape first: table.select(...) or bl.map",
        )
    return _mapped(table, function, own_schema, parameters, "fold", format, _names(table, by))


def _mapped(
    table: ir.Table,
    function: Callable[..., Any],
    schema: ibis.Schema,
    parameters: Mapping[str, Any],
    per: str,
    format: str = "arrow",  # noqa: A002 - the word for it
    by: tuple[str, ...] = (),
) -> ir.Table:
    _one_of(format, ("arrow", "pandas"), "format")
    known = session_of(table).federation.functions.register(function, parameters)
    return own.MapBatches(
        table, known.name, known.digest, known.parameters, per, schema, format, by
    ).to_expr()


def _names(table: ir.Table, by: str | Sequence[str]) -> tuple[str, ...]:
    names = (by,) if isinstance(by, str) else tuple(by)
    for name in names:
        if name not in table.columns:
            what, hint = unknown("column", name, table.columns)
            raise PlanError(what, where="by", hint=hint)
    return names


def _one_of(value: str, known: Iterable[str], what: str) -> None:
    if value not in known:
        said, hint = unknown(what, value, known)
        raise PlanError(said, hint=hint)


def _columns(schema: ibis.Schema) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in schema.items())
