"""Blossom's own table operators that need no Python at the sites: local data, samples, dense ids."""
# pyright: basic, reportArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np

from blossom.fedpy.session import Session
from blossom.plan.errors import PlanError, unknown


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


def from_arrow(session: Session, data: Any, *, name: str | None = None) -> ir.Table:
    """Local data (Arrow, pandas, Polars) as a table of a session; the same as `fed.from_arrow(data)`.

    Example:
        >>> import blossom as bl, pyarrow as pa
        >>> fed = bl.connect({"sites": {"north": {}}})
        >>> bl.from_arrow(fed, pa.table({"a": [1, 2]})).a.sum().execute()
        3
    """
    return session.from_arrow(data, name=name)


PRIME = 2**31 - 1
"""What keys are hashed modulo: products of two such numbers stay within 64 bits in every engine."""


def sample(table: ir.Table, fraction: float, /, *, by: str | Sequence[str], seed: int = 0) -> ir.Table:
    """A part of the rows, the same one every time: a row is in it if the hash of its whole-number keys is small.

    The same rows are chosen on every engine, at every site and in any order; tables sampled by the same key keep matching rows. Of
    Ibis's own `table.sample(fraction, seed=...)` each engine chooses its own rows, by its own means.

    Args:
        table: The input.
        fraction: The share of the keys that stays, 0 to 1. Rows with equal keys stay or go together; rows without a key go.
        by: One or more columns of whole numbers.
        seed: Another seed chooses other rows.

    Raises:
        PlanError: A fraction beyond 0 and 1, or a key that is no whole number.

    Example:
        >>> import blossom as bl, pyarrow as pa
        >>> fed = bl.connect({"sites": {"north": {}}})
        >>> t = fed.from_arrow(pa.table({"id": range(10_000)}))
        >>> t.pipe(bl.sample, 0.1, by="id", seed=1).count().execute()
        1005
    """
    if not 0 <= fraction <= 1 or math.isnan(fraction):
        raise PlanError(f"a sample's fraction lies between 0 and 1, not {fraction}", where="sample")
    keys = _columns_of(table, by)
    for key in keys:
        if not table[key].type().is_integer():
            raise PlanError(
                f"the key {key!r} of a sample is {table[key].type()}, not a whole number",
                where="sample",
                hint="take an id; or table.sample(fraction, seed=...), of which each engine chooses its own rows",
            )
    rng = np.random.default_rng(seed)
    mixed: Any = ibis.literal(int(rng.integers(PRIME)), type="int64")
    for key in keys:
        reduced = (table[key].cast("int64") % PRIME + PRIME) % PRIME  # of a negative number as well
        for value in (reduced, None):
            # a quadratic polynomial over a prime field, once for the key and once more to mix: pairwise independent and cheap
            one, two = (int(number) for number in rng.integers(1, PRIME, 2))
            step = mixed if value is None else (mixed + value) % PRIME
            mixed = ((step * step) % PRIME + (step * one) % PRIME + two) % PRIME
    return table.filter(mixed < math.ceil(fraction * PRIME))


def zip_with_id(table: ir.Table, /, *, order_by: str | Sequence[str], name: str = "id") -> ir.Table:
    """Append dense ids 0, 1, 2, ... in the order of some columns.

    Args:
        table: The input; over several sites all of it is numbered, so the order's columns must be free to leave them.
        order_by: What the ids count along; rows that agree in all of it are numbered in any order.
        name: The new column.

    Raises:
        PlanError: No order, no such column, or the new name is taken.
    """
    keys = _columns_of(table, order_by)
    if name in table.columns:
        raise PlanError(f"there is already a column {name!r}", where="zip_with_id", hint="give another name=")
    return table.mutate(**{name: ibis.row_number().over(order_by=[table[key] for key in keys])})


def _columns_of(table: ir.Table, names: str | Sequence[str]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found:
        raise PlanError("one column at least is needed")
    for name in found:
        if name not in table.columns:
            what, hint = unknown("column", name, table.columns)
            raise PlanError(what, hint=hint)
    return found
