"""How Polars says each value operation so that it answers as DuckDB does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from blossom.plan.expressions import (
    Call,
    Literal,
)
from blossom.platforms.polars_casts import (
    CASTS,
)
from blossom.platforms.polars_checks import dtype_of, interval_unit
from blossom.platforms.polars_text import like_regex, lower
from blossom.platforms.polars_types import (
    F,
    Term,
    alike,
    decimals,
    family,
    literal,
    narrow,
    polars_type,
    scale,
)

Build: TypeAlias = Callable[[Call, "list[Any]"], Term]
"""Makes the term of a call from its translated arguments."""


def arithmetic(apply: Callable[[pl.Expr, pl.Expr], pl.Expr], product: bool = False) -> Build:
    """Whole numbers with an error on overflow, doubles, and exact decimals (`product`: digits add up)."""

    def build(call: Call, args: list[Any]) -> Term:
        left, right = map(narrow, args)
        if left.dtype == pl.Null or right.dtype == pl.Null:
            return literal(None, polars_type(call.dtype))
        if left.dtype.is_integer() and right.dtype.is_integer():
            # Polars wraps in silence, DuckDB raises: compute wide, then narrow strictly
            target = polars_type(call.dtype)
            narrowest = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
            wide = pl.Int64 if left.dtype in narrowest and right.dtype in narrowest else pl.Int128
            return Term(apply(left.cast(wide).expr, right.cast(wide).expr), wide).cast(target)
        if left.dtype.is_float() or right.dtype.is_float():
            exact = [term for term in (left, right) if isinstance(term.dtype, pl.Decimal)]
            if not exact or alike((left, right))[0].dtype == pl.Float64:
                return Term(apply(left.cast(pl.Float64).expr, right.cast(pl.Float64).expr), pl.Float64)
        # Polars keeps the larger scale of two factors and rounds; the exact product has the sum of their scales
        digits = scale(left) + scale(right) if product else max(scale(left), scale(right))
        one, other = decimals((left, right), digits)
        target = pl.Decimal(38, digits)
        return Term(apply(one.expr, other.expr).cast(target), target)

    return build


def negate(call: Call, args: list[Any]) -> Term:
    """The negative, an error where it does not fit."""
    term = narrow(args[0])
    if term.dtype == pl.Null:
        return literal(None, polars_type(call.dtype))
    if term.dtype.is_integer():
        zero = pl.lit(0, dtype=pl.Int128)
        return Term(zero - term.cast(pl.Int128).expr, pl.Int128).cast(polars_type(call.dtype))
    return Term(-term.expr, term.dtype)


def absolute(call: Call, args: list[Any]) -> Term:
    """The absolute value, an error where it does not fit."""
    term = narrow(args[0])
    if term.dtype == pl.Null:
        return literal(None, polars_type(call.dtype))
    if term.dtype.is_integer():
        return Term(term.cast(pl.Int128).expr.abs(), pl.Int128).cast(term.dtype)
    return Term(term.expr.abs(), term.dtype)


def float64(*terms: Term) -> list[pl.Expr]:
    """The terms as doubles."""
    return [term.cast(pl.Float64).expr for term in terms]


def of_floats(apply: Callable[..., pl.Expr]) -> Build:
    """A function over doubles."""
    return lambda call, args: Term(apply(*float64(*args)).cast(pl.Float64), pl.Float64)


def power(call: Call, args: list[Any]) -> Term:
    """A power of doubles."""
    base, exponent = float64(*args)
    raised = base.pow(exponent)
    if args[1].value is not None and float(args[1].value) == _HALF:
        # Polars takes a square root, whose domain is smaller
        raised = pl.when(base == -math.inf).then(math.inf).otherwise(raised)
    return Term(raised.cast(pl.Float64), pl.Float64)


_HALF = 0.5


def floor_divide(call: Call, args: list[Any]) -> Term:
    """The floor of the quotient of doubles."""
    left, right = float64(*args)
    return Term((left / right).floor(), pl.Float64).cast(polars_type(call.dtype))


def remainder(call: Call, args: list[Any]) -> Term:
    """The remainder with the dividend's sign."""
    # Polars' remainder has the divisor's sign, DuckDB's the dividend's
    left, right = (narrow(term).cast(pl.Int64).expr for term in args)
    floored = left % right
    signs = (floored != 0) & ((left < 0) != (right < 0))
    return Term(pl.when(signs).then(floored - right).otherwise(floored), pl.Int64).cast(
        polars_type(call.dtype)
    )


def rounding(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    """Ceiling and floor, whole numbers untouched."""

    def build(call: Call, args: list[Any]) -> Term:
        term = narrow(args[0])
        if term.dtype.is_integer():
            return term.cast(polars_type(call.dtype))
        if term.dtype.is_float():
            return Term(apply(term.expr), term.dtype).cast(polars_type(call.dtype))
        return Term(apply(term.expr).cast(term.dtype), term.dtype)

    return build


def round_half_away(call: Call, args: list[Any]) -> Term:
    """Rounding with halves away from zero."""
    term, digits = narrow(args[0]), args[1]
    places = 0 if digits is None else int(digits.value)
    if term.dtype.is_integer():
        return term.cast(polars_type(call.dtype))
    rounded = term.expr.round(places, mode="half_away_from_zero")
    if term.dtype.is_float():
        return Term(rounded, term.dtype).cast(polars_type(call.dtype))
    target = pl.Decimal(38, min(places, term.dtype.scale))
    return Term(rounded.cast(target), target)


def bits(apply: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    """A bitwise operation on whole numbers."""

    def build(call: Call, args: list[Any]) -> Term:
        target = polars_type(call.dtype)
        left, right = (narrow(term).cast(target) for term in args)
        return Term(apply(left.expr, right.expr), target)

    return build


def clip(call: Call, args: list[Any]) -> Term:
    """A number held between two bounds."""
    made = iter(alike([term for term in args if term is not None]))
    value, low, high = (None if term is None else next(made) for term in args)
    assert value is not None
    found = value.expr
    for bound, beyond in ((high, pl.Expr.gt), (low, pl.Expr.lt)):
        if bound is not None:
            found = pl.when(beyond(found, bound.expr)).then(bound.expr).otherwise(found)
    return Term(found, value.dtype)


def days_between(call: Call, args: list[Any]) -> Term:
    """Whole days from one date to another."""
    left, right = (term.cast(pl.Date).expr for term in args[1:])
    return Term((left - right).dt.total_days(), pl.Int64).cast(polars_type(call.dtype))


_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def weekday_name(call: Call, args: list[Any]) -> Term:
    """The English name of the day."""
    number = args[0].expr.dt.weekday().cast(pl.Int64)
    return Term(number.replace_strict(range(1, 8), _WEEKDAYS, return_dtype=pl.String), pl.String)


def sign(call: Call, args: list[Any]) -> Term:
    """-1, 0 or 1; NaN counts as 0."""
    term = narrow(args[0])
    sign = term.expr.sign()
    if term.dtype.is_float():
        sign = pl.when(term.expr.is_nan()).then(0.0).otherwise(sign)
    return Term(sign.cast(pl.Float64), pl.Float64).cast(polars_type(call.dtype))


def compare(apply: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    """A comparison; Polars orders NaN last and equal to itself, as DuckDB does."""

    def build(call: Call, args: list[Any]) -> Term:
        left, right = alike(args)
        if left.dtype == pl.Null and apply is not pl.Expr.eq_missing:
            return literal(None, pl.Boolean)
        return Term(apply(left.expr, right.expr), pl.Boolean)

    return build


def logic(apply: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    """A connective of SQL's three-valued logic."""
    return lambda call, args: Term(
        apply(args[0].cast(pl.Boolean).expr, args[1].cast(pl.Boolean).expr), pl.Boolean
    )


def null_test(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    """A test that is never null (but for NaN tests of null)."""
    return lambda call, args: Term(apply(args[0].expr), pl.Boolean)


def between(call: Call, args: list[Any]) -> Term:
    """Between two bounds, both included."""
    value, low, high = args
    above, floor = alike((value, low))
    below, ceiling = alike((value, high))
    return Term((above.expr >= floor.expr) & (below.expr <= ceiling.expr), pl.Boolean)


_MANY = 8


def in_values(call: Call, args: list[Any]) -> Term:
    """Membership in a list, null where only null could decide."""
    value, options = args
    written = [option for option in options if option.value is not None]
    if len(written) == len(options) > _MANY:
        needle, *rest = alike((value, *options))
        values = pl.Series([term.value for term in rest], dtype=needle.dtype, strict=True)
        return Term(needle.expr.is_in(values.implode()), pl.Boolean)
    tests: list[pl.Expr] = []
    for option in options:
        left, right = alike((value, option))
        tests.append(left.cast(pl.Boolean).expr if left.dtype == pl.Null else left.expr == right.expr)
    found = tests[0]
    for test in tests[1:]:
        found = found | test
    return Term(found, pl.Boolean)


def branches_alike(call: Call, terms: Sequence[Term]) -> list[Term]:
    """Branches in one type; whole numbers in the declared one where it is wider."""
    made = alike(terms)
    if made and made[0].dtype == pl.Null and family(call.dtype) is not F.NULL:
        return [term.cast(polars_type(call.dtype)) for term in made]
    return made


def coalesce(call: Call, args: list[Any]) -> Term:
    """The first that is not null."""
    terms = branches_alike(call, args[0])
    return Term(pl.coalesce([term.expr for term in terms]), terms[0].dtype)


def if_else(call: Call, args: list[Any]) -> Term:
    """One of two, the second where the condition is null."""
    condition, *branches = args
    yes, no = branches_alike(call, branches)
    return Term(pl.when(condition.cast(pl.Boolean).expr).then(yes.expr).otherwise(no.expr), yes.dtype)


def null_if(call: Call, args: list[Any]) -> Term:
    """Null where two are equal."""
    left, right = alike(args)
    return Term(pl.when(left.expr == right.expr).then(None).otherwise(args[0].expr), args[0].dtype)


def case_of(call: Call, conditions: Sequence[pl.Expr], results: Sequence[Term], default: Term) -> Term:
    """The first branch whose condition is true."""
    *branches, last = branches_alike(call, (*results, default))
    built = last.expr
    for condition, branch in zip(reversed(conditions), reversed(branches), strict=True):
        built = pl.when(condition).then(branch.expr).otherwise(built)
    return Term(built, last.dtype)


def searched_case(call: Call, args: list[Any]) -> Term:
    """A CASE with conditions."""
    cases, results, default = args
    return case_of(call, [case.cast(pl.Boolean).expr for case in cases], results, default)


def simple(call: Call, args: list[Any]) -> Term:
    """A CASE over one value."""
    base, cases, results, default = args
    pairs = [alike((base, case)) for case in cases]
    return case_of(call, [left.expr == right.expr for left, right in pairs], results, default)


def extreme(greatest: bool) -> Build:
    """The greatest or least that is not null, NaN the greatest."""

    def build(call: Call, args: list[Any]) -> Term:
        terms = branches_alike(call, args[0])
        found = terms[0].expr
        for term in terms[1:]:
            # the horizontal functions leave NaN out, comparisons order it last
            wins = found >= term.expr if greatest else found <= term.expr
            found = (
                pl.when(found.is_null())
                .then(term.expr)
                .when(term.expr.is_null() | wins)
                .then(found)
                .otherwise(term.expr)
            )
        return Term(found, terms[0].dtype)

    return build


def of_text(apply: Callable[..., pl.Expr], dtype: PolarsResult | None = None) -> Build:
    """A function over text."""

    def build(call: Call, args: list[Any]) -> Term:
        exprs = [term.cast(pl.String).expr for term in args if term is not None]
        result = pl.String if dtype is None else dtype
        return Term(apply(*exprs), result)

    return build


PolarsResult: TypeAlias = Any


def length(call: Call, args: list[Any]) -> Term:
    """Letters as code points."""
    return Term(args[0].cast(pl.String).expr.str.len_chars().cast(pl.Int64), pl.Int64).cast(
        polars_type(call.dtype)
    )


def substring(call: Call, args: list[Any]) -> Term:
    """A slice by code points."""
    text, start, length = args
    size = None if length is None else int(length.value)
    return Term(text.cast(pl.String).expr.str.slice(int(start.value), size), pl.String)


def tail(call: Call, args: list[Any]) -> Term:
    """The last letters."""
    return Term(args[0].cast(pl.String).expr.str.tail(int(args[1].value)), pl.String)


def concat(call: Call, args: list[Any]) -> Term:
    """All joined, null where one is."""
    return Term(pl.concat_str([term.cast(pl.String).expr for term in args[0]]), pl.String)


def like_build(fold: bool) -> Build:
    """LIKE, and ILIKE with `fold`."""

    def build(call: Call, args: list[Any]) -> Term:
        text, pattern, _ = args
        subject = text.cast(pl.String).expr
        written = str(pattern.value)
        if fold:
            subject = lower(subject)
            written = str(pl.select(lower(pl.lit(written))).item())
        return Term(subject.str.contains(like_regex(written)), pl.Boolean)

    return build


def part(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    """A part of a date or time as a whole number."""

    def build(call: Call, args: list[Any]) -> Term:
        moment = args[0].cast(pl.Datetime("us")) if args[0].dtype == pl.Null else args[0]
        return Term(apply(moment.expr).cast(pl.Int64), pl.Int64).cast(polars_type(call.dtype))

    return build


def truncate(units: Mapping[str, str]) -> Build:
    """The start of the unit that a moment lies in."""

    def build(call: Call, args: list[Any]) -> Term:
        moment, unit = args
        return Term(moment.expr.dt.truncate(units[unit.member]), moment.dtype)

    return build


def shift(sign: int, units: Mapping[str, str]) -> Build:
    """A moment moved by a literal interval, kept inside its month."""

    def build(call: Call, args: list[Any]) -> Term:
        moment, amount = args
        assert isinstance(amount, Literal)
        by = f"{sign * amount.value}{units[interval_unit(amount)]}"
        return Term(moment.expr.dt.offset_by(by), moment.dtype)

    return build


def to_date(call: Call, args: list[Any]) -> Term:
    """The day of a timestamp."""
    return Term(args[0].expr.dt.date(), pl.Date)


def cast(call: Call, args: list[Any]) -> Term:
    """A cast by the table of casts."""
    term, to = narrow(args[0]), args[1]
    target = polars_type(to.dtype)
    source = family(dtype_of(call.args[0]))
    if isinstance(term.dtype, pl.Decimal) and source in (F.INTEGER, F.FLOAT64):
        source = F.DECIMAL  # arithmetic with a literal like 1.2 is exact, whatever the plan declares
    if source is F.NULL or term.dtype == pl.Null:
        return literal(None, target)
    if source is F.DECIMAL and term.dtype.is_float():
        source = F.FLOAT64
        if family(to.dtype) is F.DECIMAL:
            return term
    return CASTS[source, family(to.dtype)](term, target)
