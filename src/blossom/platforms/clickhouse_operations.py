"""What ClickHouse runs with DuckDB's semantics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from blossom.plan import relations as rel
from blossom.plan.expressions import Call, Expression, Literal, Subquery, columns, conjuncts, walk
from blossom.platforms.allowed import AllowList, correlated
from blossom.platforms.families import MOMENT, NUMBER, ORDERABLE, TEXT, WHOLE, Family, family
from blossom.platforms.rules import COMMON, Rule

F = Family
_FLOATS = frozenset({F.FLOAT32, F.FLOAT64})
_WINDOWED = frozenset(
    {
        "RowNumber", "MinRank", "DenseRank", "PercentRank", "CumeDist", "NTile", "Lag", "Lead", "FirstValue", "LastValue", "Sum",
        "Mean", "Count", "CountStar", "Min", "Max", "Any", "All",
    }
)  # fmt: skip

DIFFERS: Mapping[str, str] = {
    "Uppercase": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "Lowercase": "a letter may become several; DuckDB maps each letter by Unicode's simple rules",
    "Capitalize": "a letter may become several (ß: SS); DuckDB maps each letter by Unicode's simple rules",
    "StringSQLILike": "letters are folded by Unicode's full rules, DuckDB's by its simple ones",
    "Reverse": "ClickHouse reverses code points, DuckDB what a reader sees as letters",
    "RegexSearch": "both have RE2, but of other versions and flags",
    "RegexReplace": "both have RE2, but of other versions and flags",
    "RegexExtract": "both have RE2, but of other versions and flags",
    "First": "which row comes first is not defined",
    "Last": "which row comes last is not defined",
    "Arbitrary": "which row is taken is not defined",
    "Correlation": "ClickHouse gives NaN where DuckDB gives null",
    "Hash": "hash functions differ from engine to engine",
    "Strftime": "the two engines' formats differ",
    "BitwiseLeftShift": "ClickHouse wraps where DuckDB raises",
    "BitwiseRightShift": "ClickHouse wraps where DuckDB raises",
    "DateFromYMD": "a day that does not exist gives another one",
    "Mode": "ties are broken differently",
}


def _window(call: Call) -> str | None:
    fold = call.args[0]
    if not isinstance(fold, Call) or fold.op not in _WINDOWED:
        return f"{getattr(fold, 'op', 'this')} over a window was not shown to agree"
    if fold.op in ("Min", "Max") and family(fold.dtype) in _FLOATS:
        return f"ClickHouse's {fold.op} of floats over a window passes NaN over"
    keys = call.args[3]
    floats = isinstance(keys, tuple) and any(_float(key) for key in keys)
    return "ClickHouse has two zeros among the keys of windows" if floats else None


def _float(value: object) -> bool:
    return family(getattr(value, "dtype", None) or "null") in _FLOATS


def _node(node: rel.Relation) -> str | None:
    for value in node.expressions():
        for part in walk(value):
            if isinstance(part, Subquery) and (part.kind != "scalar" or correlated(part.plan)):
                return f"{'correlated ' if part.kind == 'scalar' else ''}`{part.kind}` subqueries were not shown to agree on ClickHouse"
    match node:
        case rel.Aggregate() if any(_float(value) for _, value in node.groups):
            return "ClickHouse has two zeros among the keys of groups"
        case rel.Distinct() if any(family(text) in _FLOATS for text in node.schema.values()):
            return "ClickHouse has two zeros among distinct rows"
        case rel.SetOperation() if node.kind != "union" or node.distinct:
            if any(family(text) in _FLOATS for table in node.tables for text in table.schema.values()):
                return "ClickHouse has two zeros among distinct rows"
            if node.kind != "union" and not node.distinct:
                return f"ClickHouse's {node.kind} does not count equal rows"
            return None
        case rel.Join():
            return next(filter(None, map(_link, node.links, count(1))), None)
        case _:
            return None


def _link(link: rel.Link, position: int) -> str | None:
    parts = [part for predicate in link.predicates for part in conjuncts(predicate)]
    if any(_float_equality(part) for part in parts):
        return "ClickHouse's joins have NaN equal to nothing"
    if link.how in ("cross", "inner"):
        return None
    equal = [part for part in parts if isinstance(part, Call) and part.op == "Equals"]
    other = [part for part in parts if part not in equal]
    own = link.how == "left" and all(column.input == position for part in other for column in columns(part))
    if not equal or (other and not own):
        return f"ClickHouse's {link.how} joins were shown to agree only on equalities"
    return None


def _float_equality(part: Expression) -> bool:
    return isinstance(part, Call) and part.op == "Equals" and any(map(_float, part.args))


def _replace(call: Call) -> str | None:
    pattern = call.args[1]
    found = isinstance(pattern, Literal) and bool(pattern.value)
    return None if found else "StringReplace was shown to agree only with a literal pattern that is not empty"


def _literal_parts(call: Call) -> str | None:
    parts = call.args[0]
    return (
        None
        if isinstance(parts, Literal) and isinstance(parts.value, int)
        else "NTile needs a literal number"
    )


OPERATIONS: Mapping[str, Rule] = {
    **{name: rule for name, rule in COMMON.items() if name not in DIFFERS},
    "WindowFunction": Rule((None,) * 6, _window),
    "ExtractEpochSeconds": Rule((MOMENT,)),
    "Log2": Rule((NUMBER,)),
    "StringReplace": Rule((TEXT, TEXT, TEXT), _replace),
    **{
        name: Rule((ORDERABLE - _FLOATS,), COMMON[name].check) for name in ("Greatest", "Least")
    },  # NaN is the greatest
    "NTile": Rule((WHOLE,), _literal_parts),
}

ALLOWED = AllowList("ClickHouse", OPERATIONS, DIFFERS, node=_node)
