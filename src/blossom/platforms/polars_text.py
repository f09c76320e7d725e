"""Text in Polars as DuckDB has it: one letter to one letter case mapping, and LIKE as a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl

# Letters that Polars maps by Unicode's full or newer rules and DuckDB by simple, older ones (found by comparing every code point).
_NEWER_LOWER = "\u019b\u0264\u1c8a\ua7cd\ua7cf\ua7d3\ua7d5\ua7db\U00010d70-\U00010d85\U00016ebb-\U00016ed3"
_NEWER_UPPER = "\u1c89\ua7cb\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\ua7dc\U00010d50-\U00010d65\U00016ea0-\U00016eb8"
_EXPANDING = (
    "\u00df\u0149\u01f0\u0390\u03b0\u0587\u1e96-\u1e9a\u1f50\u1f52\u1f54\u1f56\u1f80-\u1faf\u1fb2-\u1fb4\u1fb6\u1fb7\u1fbc"
    "\u1fc2-\u1fc4\u1fc6\u1fc7\u1fcc\u1fd2\u1fd3\u1fd6\u1fd7\u1fe2-\u1fe4\u1fe6\u1fe7\u1ff2-\u1ff4\u1ff6\u1ff7\u1ffc"
    "\ufb00-\ufb06\ufb13-\ufb17"
)
_ODD_UPPER = f"[{_EXPANDING}{_NEWER_LOWER}]"
_ODD_LOWER = f"[\u0130\u03a3{_NEWER_UPPER}]"
_NEWER = re.compile(f"[{_NEWER_LOWER}{_NEWER_UPPER}]")
_SHARP_S = {"\u00df": "\u1e9e"}
_DOTTED_I = {"\u0130": "i"}


def _upper_letter(letter: str) -> str:
    if _NEWER.match(letter):
        return letter
    for mapped in (_SHARP_S.get(letter, ""), letter.upper(), letter.title()):
        if len(mapped) == 1:
            return mapped
    return letter


def _lower_letter(letter: str) -> str:
    if _NEWER.match(letter):
        return letter
    return _DOTTED_I.get(letter, letter.lower())


def _mapped(series: pl.Series, plain: pl.Series, odd: str, letter: Callable[[str], str]) -> pl.Series:
    """`plain`, with the rows that hold an odd letter mapped letter by letter."""
    rows = series.str.contains(odd).fill_null(value=False)
    if not rows.any():
        return plain
    fixed = ["".join(map(letter, text)) for text in series.filter(rows)]
    return plain.scatter(rows.arg_true(), pl.Series(fixed, dtype=pl.String))


def upper(text: pl.Expr) -> pl.Expr:
    """Upper case, letter by letter.

    >>> pl.select(upper(pl.lit("straße"))).item()
    'STRAẞE'
    """
    return text.map_batches(
        lambda series: _mapped(series, series.str.to_uppercase(), _ODD_UPPER, _upper_letter),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def lower(text: pl.Expr) -> pl.Expr:
    """Lower case, letter by letter: a final sigma is a sigma."""
    return text.map_batches(
        lambda series: _mapped(series, series.str.to_lowercase(), _ODD_LOWER, _lower_letter),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def like_regex(pattern: str) -> str:
    """A LIKE pattern (no escape character) as an anchored regular expression.

    >>> like_regex("a%_")
    '(?s)^a.*.$'
    """
    wild = {"%": ".*", "_": "."}
    return "(?s)^" + "".join(wild.get(letter) or _quoted(letter) for letter in pattern) + "$"


def _quoted(letter: str) -> str:
    # Rust refuses escapes of letters that need none, so only ASCII punctuation is escaped
    return f"\\{letter}" if letter in r"\.+*?()|[]{}^$#&-~" else letter
