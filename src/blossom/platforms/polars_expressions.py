"""The table of value operations that Polars runs with DuckDB's semantics: what each takes, and how it is said.

An operation stands in `OPERATIONS` only where tests compare it with DuckDB; everything else is refused. Where Polars' own
operation differs (integer overflow, rounding, modulo, letters whose upper case is two letters), the table says a corrected
form; where no cheap one exists, the operation is absent and `DIFFERS` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import polars as pl

from blossom.plan.errors import PlanError
from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Subquery,
    TypeArgument,
)
from blossom.platforms.polars_text import like_regex, lower, upper
from blossom.platforms.polars_types import (
    F,
    Family,
    Term,
    alike,
    decimals,
    family,
    is_iso,
    literal,
    narrow,
    polars_type,
    scale,
)

Columns: TypeAlias = Callable[[Column], Term]
"""Gives the term of an input column."""

Build: TypeAlias = Callable[[Call, "list[Any]"], Term]
Check: TypeAlias = Callable[[Call], "str | None"]

DIFFERS: Mapping[str, str] = {
    "Log10": "Polars divides natural logarithms: log10(1000) is 2.9999999999999996",
    "Log2": "Polars divides natural logarithms: powers of two may miss by one unit in the last place",
    "Log": "Polars divides natural logarithms: powers of the base may miss by one unit in the last place",
    "TryCast": "Polars reads numbers from text by other rules than DuckDB (spaces, exponents, fractions)",
    "StringFind": "Polars gives positions in bytes, not in characters",
    "RegexSearch": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "RegexReplace": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "RegexExtract": "Polars' regular expressions are Rust's, DuckDB's are RE2's",
    "ExtractEpochSeconds": "DuckDB gives fractions of seconds, Polars whole ones",
    "First": "which row comes first is not defined over a stream",
    "Last": "which row comes last is not defined over a stream",
    "Median": "Polars leaves NaN out of order statistics",
    "Quantile": "Polars leaves NaN out of order statistics",
    "Mode": "ties are broken differently",
    "Hash": "hash functions differ from engine to engine",
}

ANY: frozenset[Family] = frozenset(set(Family) - {F.OTHER})
NUMBER = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.NULL})
EXACT = frozenset({F.INTEGER, F.DECIMAL, F.NULL})
REAL = frozenset({F.INTEGER, F.FLOAT64, F.DECIMAL, F.FLOAT32, F.NULL})
WHOLE = frozenset({F.INTEGER, F.NULL})
TRUTH = frozenset({F.BOOLEAN, F.NULL})
TEXT = frozenset({F.STRING, F.NULL})
DAY = frozenset({F.DATE, F.NULL})
STAMP = frozenset({F.TIMESTAMP, F.NULL})
MOMENT = DAY | STAMP
FLOATING = frozenset({F.FLOAT64, F.FLOAT32, F.NULL})


@dataclass(frozen=True, slots=True)
class Operation:
    """How one value operation is said.

    Attributes:
        takes: The families that each argument may have; a tuple argument's members all obey its entry. None: not a value.
        build: Makes the term from the call and its translated arguments.
        check: A further condition on the call; gives the reason against it.
    """

    takes: tuple[frozenset[Family] | None, ...]
    build: Build
    check: Check | None = None


def dtype_of(expression: Argument) -> str:
    """The type's text of an expression argument."""
    assert isinstance(expression, Column | Literal | Call | Subquery)
    return expression.dtype


def refusal(expression: Expression) -> str | None:
    """Why an expression cannot be translated, judged by its declared types alone; None when it can."""
    if isinstance(expression, Column):
        return None
    if isinstance(expression, Literal):
        if family(expression.dtype) is F.OTHER:
            return f"a literal of type {expression.dtype} is not translated"
        return None
    if not isinstance(expression, Call):
        return f"{type(expression).__name__} is not translated"
    operation = OPERATIONS.get(expression.op)
    if operation is None:
        return DIFFERS.get(expression.op, f"{expression.op} is not translated")
    if len(expression.args) != len(operation.takes):
        return f"{expression.op} takes {len(operation.takes)} arguments"
    for takes, arg in zip(operation.takes, expression.args, strict=True):
        if takes is None:
            continue
        for item in arg if isinstance(arg, tuple) else (arg,):
            if item is None:
                continue
            if not isinstance(item, Column | Literal | Call):
                return f"{expression.op} of {type(item).__name__} is not translated"
            if family(item.dtype) not in takes:
                return f"{expression.op} of {item.dtype} is not translated"
            reason = refusal(item)
            if reason is not None:
                return reason
    return operation.check(expression) if operation.check else None


def translate(expression: Argument, columns: Columns) -> Term:
    """An expression as a term.

    Raises:
        PlanError: It holds what `refusal` refuses.
    """
    match expression:
        case Column():
            return columns(expression)
        case Literal(value=value, dtype=text):
            return literal(value, polars_type(text) if value is not None else _null_type(text))
        case Call():
            operation = OPERATIONS.get(expression.op)
            if operation is None:
                raise PlanError(f"the Polars translation has no {expression.op}")
            args = [
                arg if takes is None else _argument(arg, columns)
                for takes, arg in zip(operation.takes, expression.args, strict=True)
            ]
            return operation.build(expression, args)
        case _:
            raise PlanError(f"the Polars translation has no {type(expression).__name__}")


def _null_type(text: str) -> Any:
    return pl.Null if family(text) is F.NULL else polars_type(text)


def _argument(arg: Argument, columns: Columns) -> Any:
    if isinstance(arg, tuple):
        return [translate(item, columns) for item in arg]
    return None if arg is None else translate(arg, columns)


# --- checks: conditions on declared types that families alone do not say ---------------------------------------------------


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


def _all_comparable(call: Call) -> str | None:
    flat = [
        item for arg in call.args for item in (arg if isinstance(arg, tuple) else (arg,)) if item is not None
    ]
    reason = comparable(flat)
    return None if reason is None else f"{call.op}: {reason}"


def _results_comparable(*positions: int) -> Check:
    def check(call: Call) -> str | None:
        flat: list[Argument] = []
        for position in positions:
            arg = call.args[position]
            flat.extend(arg if isinstance(arg, tuple) else (arg,))
        reason = comparable([item for item in flat if item is not None])
        return None if reason is None else f"{call.op}: {reason}"

    return check


def _simple_case(call: Call) -> str | None:
    base, cases, *_ = call.args
    assert isinstance(cases, tuple)
    reason = comparable((base, *cases))
    return reason or _results_comparable(2, 3)(call)


def _whole_multiply(call: Call) -> str | None:
    kinds = {family(dtype_of(arg)) for arg in call.args}
    if "uint64" in {dtype_of(arg).lstrip("!") for arg in call.args} and kinds <= {F.INTEGER}:
        return "Multiply of uint64 may overflow 128 bits unseen"
    return None


def _literal_number(
    position: int, least: int, what: str, *, optional: bool = False, excluded: int | None = None
) -> Check:
    def check(call: Call) -> str | None:
        arg = call.args[position]
        if arg is None and optional:
            return None
        value = arg.value if isinstance(arg, Literal) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= least and value != excluded:
            return None
        return f"{call.op} is translated only with {what}"

    return check


def _literal_divisor(call: Call) -> str | None:
    # DuckDB raises on zero where it evaluates it, Polars evaluates every branch of a CASE and gives null or raises: only a
    # divisor that is seen not to be zero is sure to agree
    divisor = call.args[1]
    if isinstance(divisor, Literal) and isinstance(divisor.value, int | float | Decimal) and divisor.value:
        return None
    return f"{call.op} is translated only with a literal divisor that is not zero"


def _in_check(call: Call) -> str | None:
    return _all_comparable(call) if call.args[1] else "InValues of no values is not translated"


def _day_part(call: Call) -> str | None:
    part = call.args[2]
    member = part.member if isinstance(part, EnumArgument) else part
    return None if str(member).casefold() in ("day", "d") else f"{call.op} in {member} is not translated"


def _substring(call: Call) -> str | None:
    start = _literal_number(1, 0, "a literal start that is not negative")(call)
    return start or _literal_number(2, 0, "a literal length", optional=True)(call)


def _like(call: Call) -> str | None:
    _, pattern, escape = call.args
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        return f"{call.op} is translated only with a literal pattern"
    if escape is not None:
        return f"{call.op} with an escape is not translated"
    return None


def _replace(call: Call) -> str | None:
    pattern = call.args[1]
    if isinstance(pattern, Literal) and isinstance(pattern.value, str) and pattern.value:
        return None
    return "StringReplace is translated only with a literal pattern that is not empty"


def _unit(allowed: Mapping[str, Any]) -> Check:
    def check(call: Call) -> str | None:
        unit = call.args[1]
        assert isinstance(unit, EnumArgument)
        return None if unit.member in allowed else f"{call.op} to {unit.member} is not translated"

    return check


def _interval(allowed: Mapping[str, str]) -> Check:
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


def _cast_check(call: Call) -> str | None:
    arg, to = call.args
    assert isinstance(to, TypeArgument)
    source, target = family(dtype_of(arg)), family(to.dtype)
    if source is F.NULL and target is not F.OTHER:
        return None
    if (source, target) not in CASTS:
        return f"Cast of {dtype_of(arg)} to {to.dtype} is not translated"
    if target is F.DECIMAL and ("(" not in to.dtype or (source is F.INTEGER and _digits(to.dtype) > 19)):
        return f"Cast to {to.dtype} is not translated"
    if F.TIMESTAMP in (source, target):
        units = {polars_type(t) for t in (dtype_of(arg), to.dtype) if family(t) is F.TIMESTAMP}
        if units - {pl.Datetime("us")} and (len(units) > 1 or F.DATE in (source, target)):
            return f"Cast of {dtype_of(arg)} to {to.dtype} is not translated"
    return None


def _digits(text: str) -> int:
    return polars_type(text).scale


# --- builds -------------------------------------------------------------------------------------------------------------------


def _arithmetic(apply: Callable[[pl.Expr, pl.Expr], pl.Expr], product: bool = False) -> Build:
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


def _negate(call: Call, args: list[Any]) -> Term:
    term = narrow(args[0])
    if term.dtype == pl.Null:
        return literal(None, polars_type(call.dtype))
    if term.dtype.is_integer():
        zero = pl.lit(0, dtype=pl.Int128)
        return Term(zero - term.cast(pl.Int128).expr, pl.Int128).cast(polars_type(call.dtype))
    return Term(-term.expr, term.dtype)


def _absolute(call: Call, args: list[Any]) -> Term:
    term = narrow(args[0])
    if term.dtype == pl.Null:
        return literal(None, polars_type(call.dtype))
    if term.dtype.is_integer():
        return Term(term.cast(pl.Int128).expr.abs(), pl.Int128).cast(term.dtype)
    return Term(term.expr.abs(), term.dtype)


def _float64(*terms: Term) -> list[pl.Expr]:
    return [term.cast(pl.Float64).expr for term in terms]


def _of_floats(apply: Callable[..., pl.Expr]) -> Build:
    return lambda call, args: Term(apply(*_float64(*args)).cast(pl.Float64), pl.Float64)


def _floor_divide(call: Call, args: list[Any]) -> Term:
    left, right = _float64(*args)
    return Term((left / right).floor(), pl.Float64).cast(polars_type(call.dtype))


def _remainder(call: Call, args: list[Any]) -> Term:
    # Polars' remainder has the divisor's sign, DuckDB's the dividend's
    left, right = (narrow(term).cast(pl.Int64).expr for term in args)
    floored = left % right
    signs = (floored != 0) & ((left < 0) != (right < 0))
    return Term(pl.when(signs).then(floored - right).otherwise(floored), pl.Int64).cast(
        polars_type(call.dtype)
    )


def _rounding(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        term = narrow(args[0])
        if term.dtype.is_integer():
            return term.cast(polars_type(call.dtype))
        if term.dtype.is_float():
            return Term(apply(term.expr), term.dtype).cast(polars_type(call.dtype))
        return Term(apply(term.expr).cast(term.dtype), term.dtype)

    return build


def _round(call: Call, args: list[Any]) -> Term:
    term, digits = narrow(args[0]), args[1]
    places = 0 if digits is None else int(digits.value)
    if term.dtype.is_integer():
        return term.cast(polars_type(call.dtype))
    rounded = term.expr.round(places, mode="half_away_from_zero")
    if term.dtype.is_float():
        return Term(rounded, term.dtype).cast(polars_type(call.dtype))
    target = pl.Decimal(38, min(places, term.dtype.scale))
    return Term(rounded.cast(target), target)


def _bits(apply: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        target = polars_type(call.dtype)
        left, right = (narrow(term).cast(target) for term in args)
        return Term(apply(left.expr, right.expr), target)

    return build


def _clip(call: Call, args: list[Any]) -> Term:
    made = iter(alike([term for term in args if term is not None]))
    value, low, high = (None if term is None else next(made) for term in args)
    assert value is not None
    found = value.expr
    for bound, beyond in ((high, pl.Expr.gt), (low, pl.Expr.lt)):
        if bound is not None:
            found = pl.when(beyond(found, bound.expr)).then(bound.expr).otherwise(found)
    return Term(found, value.dtype)


def _days_between(call: Call, args: list[Any]) -> Term:
    left, right = (term.cast(pl.Date).expr for term in args[:2])
    return Term((left - right).dt.total_days(), pl.Int64).cast(polars_type(call.dtype))


_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _weekday_name(call: Call, args: list[Any]) -> Term:
    number = args[0].expr.dt.weekday().cast(pl.Int64)
    return Term(number.replace_strict(range(1, 8), _WEEKDAYS, return_dtype=pl.String), pl.String)


def _sign(call: Call, args: list[Any]) -> Term:
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


def _logic(apply: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    return lambda call, args: Term(
        apply(args[0].cast(pl.Boolean).expr, args[1].cast(pl.Boolean).expr), pl.Boolean
    )


def _test(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    return lambda call, args: Term(apply(args[0].expr), pl.Boolean)


def _between(call: Call, args: list[Any]) -> Term:
    value, low, high = args
    above, floor = alike((value, low))
    below, ceiling = alike((value, high))
    return Term((above.expr >= floor.expr) & (below.expr <= ceiling.expr), pl.Boolean)


_MANY = 8


def _in_values(call: Call, args: list[Any]) -> Term:
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


def _same(call: Call, terms: Sequence[Term]) -> list[Term]:
    """Branches in one type; whole numbers in the declared one where it is wider."""
    made = alike(terms)
    if made and made[0].dtype == pl.Null and family(call.dtype) is not F.NULL:
        return [term.cast(polars_type(call.dtype)) for term in made]
    return made


def _coalesce(call: Call, args: list[Any]) -> Term:
    terms = _same(call, args[0])
    return Term(pl.coalesce([term.expr for term in terms]), terms[0].dtype)


def _if_else(call: Call, args: list[Any]) -> Term:
    condition, *branches = args
    yes, no = _same(call, branches)
    return Term(pl.when(condition.cast(pl.Boolean).expr).then(yes.expr).otherwise(no.expr), yes.dtype)


def _null_if(call: Call, args: list[Any]) -> Term:
    left, right = alike(args)
    return Term(pl.when(left.expr == right.expr).then(None).otherwise(args[0].expr), args[0].dtype)


def _cases(call: Call, conditions: Sequence[pl.Expr], results: Sequence[Term], default: Term) -> Term:
    *branches, last = _same(call, (*results, default))
    built = last.expr
    for condition, branch in zip(reversed(conditions), reversed(branches), strict=True):
        built = pl.when(condition).then(branch.expr).otherwise(built)
    return Term(built, last.dtype)


def _searched_case(call: Call, args: list[Any]) -> Term:
    cases, results, default = args
    return _cases(call, [case.cast(pl.Boolean).expr for case in cases], results, default)


def _simple(call: Call, args: list[Any]) -> Term:
    base, cases, results, default = args
    pairs = [alike((base, case)) for case in cases]
    return _cases(call, [left.expr == right.expr for left, right in pairs], results, default)


def _extreme(greatest: bool) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        terms = _same(call, args[0])
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


def _text(apply: Callable[..., pl.Expr], dtype: PolarsResult | None = None) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        exprs = [term.cast(pl.String).expr for term in args if term is not None]
        result = pl.String if dtype is None else dtype
        return Term(apply(*exprs), result)

    return build


PolarsResult: TypeAlias = Any


def _length(call: Call, args: list[Any]) -> Term:
    return Term(args[0].cast(pl.String).expr.str.len_chars().cast(pl.Int64), pl.Int64).cast(
        polars_type(call.dtype)
    )


def _slice(call: Call, args: list[Any]) -> Term:
    text, start, length = args
    size = None if length is None else int(length.value)
    return Term(text.cast(pl.String).expr.str.slice(int(start.value), size), pl.String)


def _tail(call: Call, args: list[Any]) -> Term:
    return Term(args[0].cast(pl.String).expr.str.tail(int(args[1].value)), pl.String)


def _concat(call: Call, args: list[Any]) -> Term:
    return Term(pl.concat_str([term.cast(pl.String).expr for term in args[0]]), pl.String)


def _like_build(fold: bool) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        text, pattern, _ = args
        subject = text.cast(pl.String).expr
        written = str(pattern.value)
        if fold:
            subject = lower(subject)
            written = str(pl.select(lower(pl.lit(written))).item())
        return Term(subject.str.contains(like_regex(written)), pl.Boolean)

    return build


def _part(apply: Callable[[pl.Expr], pl.Expr]) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        moment = args[0].cast(pl.Datetime("us")) if args[0].dtype == pl.Null else args[0]
        return Term(apply(moment.expr).cast(pl.Int64), pl.Int64).cast(polars_type(call.dtype))

    return build


DATE_UNITS: Mapping[str, str] = {"YEAR": "1y", "QUARTER": "1q", "MONTH": "1mo", "WEEK": "1w", "DAY": "1d"}
TIMESTAMP_UNITS: Mapping[str, str] = {
    **DATE_UNITS, "HOUR": "1h", "MINUTE": "1m", "SECOND": "1s", "MILLISECOND": "1ms", "MICROSECOND": "1us",
}  # fmt: skip
DATE_INTERVALS: Mapping[str, str] = {"Y": "y", "Q": "q", "M": "mo", "W": "w", "D": "d"}
TIMESTAMP_INTERVALS: Mapping[str, str] = {
    **DATE_INTERVALS,
    "h": "h",
    "m": "m",
    "s": "s",
    "ms": "ms",
    "us": "us",
}


def _truncate(units: Mapping[str, str]) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        moment, unit = args
        return Term(moment.expr.dt.truncate(units[unit.member]), moment.dtype)

    return build


def _shift(sign: int, units: Mapping[str, str]) -> Build:
    def build(call: Call, args: list[Any]) -> Term:
        moment, amount = args
        assert isinstance(amount, Literal)
        by = f"{sign * amount.value}{units[interval_unit(amount)]}"
        return Term(moment.expr.dt.offset_by(by), moment.dtype)

    return build


def _to_date(call: Call, args: list[Any]) -> Term:
    return Term(args[0].expr.dt.date(), pl.Date)


def _half_even(term: Term, target: Any) -> Term:
    return Term(term.expr.round(0, mode="half_to_even"), term.dtype).cast(target)


def _half_away(term: Term, target: Any) -> Term:
    whole = pl.Decimal(38, 0)
    return Term(term.expr.round(0, mode="half_away_from_zero").cast(whole), whole).cast(target)


def _rescale(term: Term, target: Any) -> Term:
    if target.scale >= term.dtype.scale:
        return term.cast(target)
    return Term(term.expr.round(target.scale, mode="half_away_from_zero"), term.dtype).cast(target)


def _plain(term: Term, target: Any) -> Term:
    # a literal keeps its value only where its text is written anew; casting the expression is always right
    return Term(term.expr.cast(target, strict=True), target)


def _zero_test(term: Term, target: Any) -> Term:
    return Term(term.expr != 0, pl.Boolean)


CASTS: Mapping[tuple[Family, Family], Callable[[Term, Any], Term]] = {
    **{
        (kind, kind): _plain
        for kind in (F.BOOLEAN, F.STRING, F.DATE, F.TIMESTAMP, F.FLOAT64, F.FLOAT32, F.INTEGER)
    },
    (F.INTEGER, F.FLOAT64): _plain,
    (F.INTEGER, F.DECIMAL): _plain,
    (F.INTEGER, F.STRING): _plain,
    (F.INTEGER, F.BOOLEAN): _zero_test,
    (F.BOOLEAN, F.INTEGER): _plain,
    (F.BOOLEAN, F.STRING): _plain,
    (F.FLOAT32, F.FLOAT64): _plain,
    (F.FLOAT64, F.INTEGER): _half_even,
    (F.DECIMAL, F.INTEGER): _half_away,
    (F.DECIMAL, F.FLOAT64): _plain,
    (F.DECIMAL, F.DECIMAL): _rescale,
    (F.DECIMAL, F.STRING): _plain,
    (F.DATE, F.TIMESTAMP): _plain,
    (F.TIMESTAMP, F.DATE): lambda term, target: Term(term.expr.dt.date(), pl.Date),
    (F.DATE, F.STRING): _plain,
}
"""How a type becomes another. Absent: text to numbers and moments, and floats to text, where the engines' rules differ."""


def _cast(call: Call, args: list[Any]) -> Term:
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


_TWO_NUMBERS = (NUMBER, NUMBER)
_TWO_ANY = (ANY, ANY)
_COMPARISONS: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "Equals": pl.Expr.eq,
    "NotEquals": pl.Expr.ne,
    "Less": pl.Expr.lt,
    "LessEqual": pl.Expr.le,
    "Greater": pl.Expr.gt,
    "GreaterEqual": pl.Expr.ge,
    "IdenticalTo": pl.Expr.eq_missing,
}
_PARTS: Mapping[str, tuple[frozenset[Family], Callable[[pl.Expr], pl.Expr]]] = {
    "ExtractYear": (MOMENT, lambda e: e.dt.year()),
    "ExtractQuarter": (MOMENT, lambda e: e.dt.quarter()),
    "ExtractMonth": (MOMENT, lambda e: e.dt.month()),
    "ExtractDay": (MOMENT, lambda e: e.dt.day()),
    "ExtractDayOfYear": (MOMENT, lambda e: e.dt.ordinal_day()),
    "ExtractWeekOfYear": (MOMENT, lambda e: e.dt.week()),
    "DayOfWeekIndex": (MOMENT, lambda e: e.dt.weekday().cast(pl.Int64) - 1),
    "ExtractHour": (STAMP, lambda e: e.dt.hour()),
    "ExtractMinute": (STAMP, lambda e: e.dt.minute()),
    "ExtractSecond": (STAMP, lambda e: e.dt.second()),
    "ExtractMillisecond": (STAMP, lambda e: e.dt.millisecond()),
    "ExtractMicrosecond": (STAMP, lambda e: e.dt.microsecond()),
}
_SPACES = " \t\n\r\v\f"

OPERATIONS: Mapping[str, Operation] = {
    "Add": Operation(_TWO_NUMBERS, _arithmetic(lambda a, b: a + b)),
    "Subtract": Operation(_TWO_NUMBERS, _arithmetic(lambda a, b: a - b)),
    "Multiply": Operation(_TWO_NUMBERS, _arithmetic(lambda a, b: a * b, product=True), _whole_multiply),
    "Divide": Operation(_TWO_NUMBERS, _of_floats(lambda a, b: a / b)),
    "FloorDivide": Operation(_TWO_NUMBERS, _floor_divide, _literal_divisor),
    "Modulus": Operation((WHOLE, WHOLE), _remainder, _literal_divisor),
    "Power": Operation(_TWO_NUMBERS, _of_floats(lambda a, b: a.pow(b))),
    "Negate": Operation((NUMBER,), _negate),
    "Abs": Operation((NUMBER,), _absolute),
    "Ceil": Operation((NUMBER,), _rounding(pl.Expr.ceil)),
    "Floor": Operation((NUMBER,), _rounding(pl.Expr.floor)),
    "Round": Operation((NUMBER, WHOLE), _round, _literal_number(1, 0, "literal digits", optional=True)),
    "Sqrt": Operation((NUMBER,), _of_floats(pl.Expr.sqrt)),
    "Exp": Operation((NUMBER,), _of_floats(pl.Expr.exp)),
    "Ln": Operation((NUMBER,), _of_floats(lambda a: a.log())),
    "Clip": Operation((NUMBER, NUMBER, NUMBER), _clip, _all_comparable),
    "BitwiseAnd": Operation((WHOLE, WHOLE), _bits(lambda a, b: a & b)),
    "BitwiseOr": Operation((WHOLE, WHOLE), _bits(lambda a, b: a | b)),
    "BitwiseXor": Operation((WHOLE, WHOLE), _bits(lambda a, b: a ^ b)),
    "Sign": Operation((NUMBER,), _sign),
    **{
        name: Operation(_TWO_ANY, compare(apply), _all_comparable) for name, apply in _COMPARISONS.items()
    },
    "Between": Operation((ANY, ANY, ANY), _between, _all_comparable),
    "InValues": Operation((ANY, ANY), _in_values, _in_check),
    "And": Operation((TRUTH, TRUTH), _logic(lambda a, b: a & b)),
    "Or": Operation((TRUTH, TRUTH), _logic(lambda a, b: a | b)),
    "Xor": Operation((TRUTH, TRUTH), _logic(lambda a, b: a ^ b)),
    "Not": Operation((TRUTH,), lambda call, args: Term(~args[0].cast(pl.Boolean).expr, pl.Boolean)),
    "IsNull": Operation((ANY,), _test(pl.Expr.is_null)),
    "NotNull": Operation((ANY,), _test(pl.Expr.is_not_null)),
    "IsNan": Operation((FLOATING - {F.NULL},), _test(pl.Expr.is_nan)),
    "IsInf": Operation((FLOATING - {F.NULL},), _test(pl.Expr.is_infinite)),
    "Coalesce": Operation((ANY,), _coalesce, _all_comparable),
    "IfElse": Operation((TRUTH, ANY, ANY), _if_else, _results_comparable(1, 2)),
    "NullIf": Operation(_TWO_ANY, _null_if, _all_comparable),
    "SearchedCase": Operation((TRUTH, ANY, ANY), _searched_case, _results_comparable(1, 2)),
    "SimpleCase": Operation((ANY, ANY, ANY, ANY), _simple, _simple_case),
    "Greatest": Operation((ANY,), _extreme(greatest=True), _all_comparable),
    "Least": Operation((ANY,), _extreme(greatest=False), _all_comparable),
    "Cast": Operation((ANY, None), _cast, _cast_check),
    "StringLength": Operation((TEXT,), _length),
    "Uppercase": Operation((TEXT,), _text(upper)),
    "Lowercase": Operation((TEXT,), _text(lower)),
    "Strip": Operation((TEXT,), _text(lambda s: s.str.strip_chars(_SPACES))),
    "LStrip": Operation((TEXT,), _text(lambda s: s.str.strip_chars_start(_SPACES))),
    "RStrip": Operation((TEXT,), _text(lambda s: s.str.strip_chars_end(_SPACES))),
    "Substring": Operation((TEXT, WHOLE, WHOLE), _slice, _substring),
    "StrRight": Operation((TEXT, WHOLE), _tail, _literal_number(1, 1, "a literal count")),
    "StringContains": Operation(
        (TEXT, TEXT), _text(lambda s, n: s.str.contains(n, literal=True), pl.Boolean)
    ),
    "StartsWith": Operation((TEXT, TEXT), _text(lambda s, n: s.str.starts_with(n), pl.Boolean)),
    "EndsWith": Operation((TEXT, TEXT), _text(lambda s, n: s.str.ends_with(n), pl.Boolean)),
    "StringConcat": Operation((TEXT,), _concat),
    "StringReplace": Operation(
        (TEXT, TEXT, TEXT), _text(lambda s, p, r: s.str.replace_all(p, r, literal=True)), _replace
    ),
    "StringSQLLike": Operation((TEXT, TEXT, None), _like_build(fold=False), _like),
    "StringSQLILike": Operation((TEXT, TEXT, None), _like_build(fold=True), _like),
    **{name: Operation((takes,), _part(apply)) for name, (takes, apply) in _PARTS.items()},
    "Date": Operation((STAMP - {F.NULL},), _to_date),
    "DateTruncate": Operation((DAY - {F.NULL}, None), _truncate(DATE_UNITS), _unit(DATE_UNITS)),
    "TimestampTruncate": Operation((STAMP - {F.NULL}, None), _truncate(TIMESTAMP_UNITS), _unit(TIMESTAMP_UNITS)),
    "DateDelta": Operation((DAY, DAY, None), _days_between, _day_part),
    "DayOfWeekName": Operation((MOMENT - {F.NULL},), _weekday_name),
    "DateAdd": Operation((DAY - {F.NULL}, None), _shift(1, DATE_INTERVALS), _interval(DATE_INTERVALS)),
    "DateSub": Operation((DAY - {F.NULL}, None), _shift(-1, DATE_INTERVALS), _interval(DATE_INTERVALS)),
    "TimestampAdd": Operation(
        (STAMP - {F.NULL}, None), _shift(1, TIMESTAMP_INTERVALS), _interval(TIMESTAMP_INTERVALS)
    ),
    "TimestampSub": Operation(
        (STAMP - {F.NULL}, None), _shift(-1, TIMESTAMP_INTERVALS), _interval(TIMESTAMP_INTERVALS)
    ),
}  # fmt: skip
"""Operation name -> what it takes and how Polars says it."""
