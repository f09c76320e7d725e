"""Blossom's own table operators: functions for `table.pipe(...)`."""
# pyright: basic, reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from blossom.fedpy.session import Session
from blossom.plan import operators as own
from blossom.plan.errors import PlanError


def session_of(table: ir.Table) -> Session:
    """The session that a table belongs to.

    Raises:
        PlanError: None, or several.
    """
    backends, _ = table._find_backends()
    sessions = [backend for backend in backends if isinstance(backend, Session)]
    if len(sessions) != 1 or len(backends) != 1:
        raise PlanError(
            "a table of exactly one Blossom session is needed",
            hint="start from fed.table(...); bring local data in with fed.from_arrow(...)",
        )
    return sessions[0]


def map_batches(
    table: ir.Table,
    function: Callable[..., pa.RecordBatch],
    /,
    *,
    schema: Mapping[str, Any] | Any,
    **parameters: Any,
) -> ir.Table:
    """Apply a function to the table's record batches.

    Args:
        table: The input.
        function: `RecordBatch -> RecordBatch` (keyword `parameters` are passed on). Batches may be split in any way, and the
            function may be called again for the same rows.
        schema: The output's columns and types.
        parameters: JSON values given to the function.

    Example:
        >>> import pyarrow.compute as pc
        >>> def doubled(batch):
        ...     return batch.set_column(0, "a", pc.multiply(batch["a"], 2))
    """
    return _mapped(table, function, schema, parameters, "batch")


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
    return _mapped(table, function, schema, parameters, "row")


def _mapped(
    table: ir.Table, function: Callable[..., Any], schema: Any, parameters: Mapping[str, Any], per: str
) -> ir.Table:
    session = session_of(table)
    known = session.federation.functions.register(function, parameters)
    return own.MapBatches(
        table, known.name, known.digest, known.parameters, per, ibis.schema(schema)
    ).to_expr()


def from_arrow(session: Session, data: Any, *, name: str | None = None) -> ir.Table:
    """Local data (Arrow, pandas, Polars) as a table of a session; the same as `fed.from_arrow(data)`.

    Example:
        >>> import blossom as bl
        >>> fed = bl.connect({"sites": {"north": {}}})
        >>> bl.from_arrow(fed, pa.table({"a": [1, 2]})).a.sum().execute()
        3
    """
    return session.from_arrow(data, name=name)
