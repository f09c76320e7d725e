"""Conditions on a call, beyond the families of its arguments, under which Polars agrees with DuckDB."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import polars as pl

from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Literal,
    Subquery,
    TypeArgument,
)
from blossom.platforms.polars_casts import (
    CASTS,
)
from blossom.platforms.polars_types import (
    F,
    family,
    is_iso,
    polars_type,
)

Check: TypeAlias = Callable[[Call], "str | None"]
"""Gives the reason against a call; None when there is none."""


def dtype_of(expression: Argument) -> str:
    """The type's text of an expression argument."""
    assert isinstance(expression, Column | Literal | Call | Subquery)
    return expression.dtype


def comparable(items: Sequence[Argument]) -> str | None:
    """Why expressions have no common type in which Polars and DuckDB compare alike; None when they have."""
    texts = [dtype_of(item) for item in items]
    kinds = {family(text) for text in texts} - {F.NULL}
    if len(kinds) <= 1:
        stamps = {text for text in texts if family(text) in (F.TIMESTAMP, F.ZONED)}
        units = {str(polars_type(text)) for text in stamps}
        return "timestamps of different precision are not compared" if len(units) > 1 else None
    if kinds <= {F.INTEGER, F.FLOAT64, F.DECIMAL}:
        return None
    if kinds == {F.DATE, F.TIMESTAMP}:
        nanos = any(polars_type(text) == pl.Datetime("ns") for text in texts if family(text) is F.TIMESTAMP)
        return "timestamps in nanoseconds do not compare with dates" if nanos else None
    if F.STRING in kinds and len(kinds) == 2 and kinds <= {F.STRING, F.DATE, F.TIMESTAMP}:
        (kind,) = kinds - {F.STRING}
        written = [item for item in items if family(dtype_of(item)) is F.STRING]
        if all(isinstance(item, Literal) and is_iso(str(item.value), kind) for item in written):
            return None
    return "no common type of " + ", ".join(sorted(kind.value for kind in kinds))


def all_comparable(call: Call) -> str | None:
    """All arguments need a common type."""
    flat = [
        item for arg in call.args for item in (arg if isinstance(arg, tuple) else (arg,)) if item is not None
    ]
    reason = comparable(flat)
    return None if reason is None else f"{call.op}: {reason}"


def results_comparable(*positions: int) -> Check:
    """The arguments at some positions need a common type."""

    def check(call: Call) -> str | None:
        flat: list[Argument] = []
        for position in positions:
            arg = call.args[position]
            flat.extend(arg if isinstance(arg, tuple) else (arg,))
        reason = comparable([item for item in flat if item is not None])
        return None if reason is None else f"{call.op}: {reason}"

    return check


def simple_case(call: Call) -> str | None:
    """Base and cases need a common type, and so do the results."""
    base, cases, *_ = call.args
    assert isinstance(cases, tuple)
    reason = comparable((base, *cases))
    return reason or results_comparable(2, 3)(call)


def whole_multiply(call: Call) -> str | None:
    """Products of unsigned 64-bit integers need more than 128 bits."""
    kinds = {family(dtype_of(arg)) for arg in call.args}
    if "uint64" in {dtype_of(arg).lstrip("!") for arg in call.args} and kinds <= {F.INTEGER}:
        return "Multiply of uint64 may overflow 128 bits unseen"
    return None


def literal_number(
    position: int, least: int, what: str, *, optional: bool = False, excluded: int | None = None
) -> Check:
    """An argument must be a literal whole number of at least `least`."""

    def check(call: Call) -> str | None:
        arg = call.args[position]
        if arg is None and optional:
            return None
        value = arg.value if isinstance(arg, Literal) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= least and value != excluded:
            return None
        return f"{call.op} is translated only with {what}"

    return check


def literal_divisor(call: Call) -> str | None:
    """The divisor must be a literal that is not zero."""
    # DuckDB raises on zero where it evaluates it, Polars evaluates every branch of a CASE and gives null or raises: only a
    # divisor that is seen not to be zero is sure to agree
    divisor = call.args[1]
    if isinstance(divisor, Literal) and isinstance(divisor.value, int | float | Decimal) and divisor.value:
        return None
    return f"{call.op} is translated only with a literal divisor that is not zero"


def in_check(call: Call) -> str | None:
    """Some options, all comparable."""
    return all_comparable(call) if call.args[1] else "InValues of no values is not translated"


def day_part(call: Call) -> str | None:
    """Only days are counted."""
    part = call.args[0]
    written = part.value if isinstance(part, Literal) else part
    return None if written == "day" else f"{call.op} in {written} is not translated"


def substring(call: Call) -> str | None:
    """Start and length must be literals that are not negative."""
    start = literal_number(1, 0, "a literal start that is not negative")(call)
    return start or literal_number(2, 0, "a literal length", optional=True)(call)


def like(call: Call) -> str | None:
    """The pattern must be a literal without an escape."""
    _, pattern, escape = call.args
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        return f"{call.op} is translated only with a literal pattern"
    if escape is not None:
        return f"{call.op} with an escape is not translated"
    return None


def replace(call: Call) -> str | None:
    """Pattern and replacement must be literals, the pattern not empty (Polars would put the replacement everywhere)."""
    _, pattern, replacement = (arg.value if isinstance(arg, Literal) else None for arg in call.args)
    if isinstance(pattern, str) and pattern and isinstance(replacement, str):
        return None
    return (
        "StringReplace is translated only with a literal pattern that is not empty and a literal replacement"
    )


def unit(allowed: Mapping[str, Any]) -> Check:
    """The unit must be one of `allowed`."""

    def check(call: Call) -> str | None:
        unit = call.args[1]
        assert isinstance(unit, EnumArgument)
        return None if unit.member in allowed else f"{call.op} to {unit.member} is not translated"

    return check


def interval(allowed: Mapping[str, str]) -> Check:
    """The interval must be a literal in one of the `allowed` units."""

    def check(call: Call) -> str | None:
        amount = call.args[1]
        if not isinstance(amount, Literal) or not isinstance(amount.value, int):
            return f"{call.op} is translated only with a literal interval"
        return None if interval_unit(amount) in allowed else f"{call.op} of {amount.dtype} is not translated"

    return check


def interval_unit(amount: Literal) -> str:
    """The unit of an interval literal ("D", "M", "us")."""
    found = re.fullmatch(r"!?interval\('(\w+)'\)", amount.dtype)
    return found[1] if found else ""


def cast_check(call: Call) -> str | None:
    """The pair of types must stand in the table of casts."""
    arg, to = call.args
    assert isinstance(to, TypeArgument)
    source, target = family(dtype_of(arg)), family(to.dtype)
    if source is F.NULL and target is not F.OTHER:
        return None
    if (source, target) not in CASTS:
        return f"Cast of {dtype_of(arg)} to {to.dtype} is not translated"
    if target is F.DECIMAL and ("(" not in to.dtype or (source is F.INTEGER and digits(to.dtype) > 19)):
        return f"Cast to {to.dtype} is not translated"
    if F.TIMESTAMP in (source, target):
        units = {polars_type(t) for t in (dtype_of(arg), to.dtype) if family(t) is F.TIMESTAMP}
        if units - {pl.Datetime("us")} and (len(units) > 1 or F.DATE in (source, target)):
            return f"Cast of {dtype_of(arg)} to {to.dtype} is not translated"
    return None


def digits(text: str) -> int:
    """Digits after the point of a decimal type."""
    return polars_type(text).scale
