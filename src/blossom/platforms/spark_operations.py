"""What Spark, and servers that speak its protocol, run with DuckDB's semantics."""

from __future__ import annotations

from collections.abc import Mapping

from blossom.plan import relations as rel
from blossom.platforms.allowed import AllowList, subqueries_in_filters
from blossom.platforms.families import MOMENT, NUMBER
from blossom.platforms.rules import COMMON, Rule, floats_over_windows

DIFFERS: Mapping[str, str] = {
    "Uppercase": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "a letter may become several; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters are folded by Unicode's full rules, DuckDB's by its simple ones",
    "Reverse": "Spark reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "Spark's regular expressions are Java's, DuckDB's are RE2's",
    "RegexReplace": "Spark's regular expressions are Java's, DuckDB's are RE2's",
    "RegexExtract": "Spark's regular expressions are Java's, DuckDB's are RE2's",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Correlation": "Spark gives null where DuckDB gives NaN, for values without variation",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "BitwiseLeftShift": "Spark wraps where DuckDB raises",
    "BitwiseRightShift": "Spark wraps where DuckDB raises",
    "Mode": "ties are broken differently",
}


def _identifier(name: str) -> str | None:
    return "Spark has no columns without a name" if not name else None


def _node(node: rel.Relation) -> str | None:
    folded = [name.casefold() for name in node.schema]
    if len(set(folded)) < len(folded):
        return "Spark may not tell apart column names that differ in upper and lower case"
    return subqueries_in_filters("Spark", node)


ALLOWED = AllowList(
    "Spark",
    {
        **{name: rule for name, rule in COMMON.items() if name not in DIFFERS},
        "WindowFunction": Rule((None,) * 6, floats_over_windows("Spark")),
        "ExtractEpochSeconds": Rule((MOMENT,)),
        "Log2": Rule((NUMBER,)),
    },
    DIFFERS,
    identifier=_identifier,
    node=_node,
)
