"""What DataFusion runs with DuckDB's semantics."""

from __future__ import annotations

from collections.abc import Mapping

from blossom.plan import relations as rel
from blossom.plan.expressions import Call, Literal, conjuncts
from blossom.platforms.allowed import AllowList, subqueries_in_filters
from blossom.platforms.families import MOMENT, NUMBER, TEXT
from blossom.platforms.rules import COMMON, Rule, floats_over_windows

DIFFERS: Mapping[str, str] = {
    "Uppercase": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "a letter may become several; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters are folded by Unicode's full rules, DuckDB's by its simple ones",
    "Reverse": "DataFusion reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "DataFusion's regular expressions are Rust's, DuckDB's are RE2's",
    "RegexReplace": "DataFusion's regular expressions are Rust's, DuckDB's are RE2's",
    "RegexExtract": "DataFusion's regular expressions are Rust's, DuckDB's are RE2's",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Correlation": "DataFusion gives null where DuckDB gives NaN, for values without variation",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "BitwiseLeftShift": "DataFusion wraps where DuckDB raises",
    "BitwiseRightShift": "DataFusion wraps where DuckDB raises",
    "Quantile": "DataFusion interpolates with six digits",
    "Mode": "ties are broken differently",
}


def _replace(call: Call) -> str | None:
    pattern = call.args[1]
    found = isinstance(pattern, Literal) and bool(pattern.value)
    return None if found else "StringReplace was shown to agree only with a literal pattern that is not empty"


def _node(node: rel.Relation) -> str | None:
    match node:
        case rel.Join():
            unequal = (link for link in node.links if not _looks_up(link))
            return (
                "DataFusion cannot be stopped while it compares every pair of rows: its joins need an equality"
                if next(unequal, None)
                else subqueries_in_filters("DataFusion", node)
            )
        case rel.SetOperation(kind="difference" | "intersection", distinct=False):
            return f"DataFusion's {node.kind} does not count equal rows"
        case _:
            return subqueries_in_filters("DataFusion", node)


def _looks_up(link: rel.Link) -> bool:
    parts = (part for predicate in link.predicates for part in conjuncts(predicate))
    return any(isinstance(part, Call) and part.op == "Equals" for part in parts)


OPERATIONS: Mapping[str, Rule] = {
    **{name: rule for name, rule in COMMON.items() if name not in DIFFERS},
    "WindowFunction": Rule((None,) * 6, floats_over_windows("DataFusion")),
    "ExtractEpochSeconds": Rule((MOMENT,)),
    "Log2": Rule((NUMBER,)),
    "StringReplace": Rule((TEXT, TEXT, TEXT), _replace),
}

ALLOWED = AllowList("DataFusion", OPERATIONS, DIFFERS, node=_node)
