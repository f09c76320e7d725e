"""A plan as stable text, one line a node: for tests, errors and explanations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from blossom.plan.expressions import (
    Argument,
    Call,
    Column,
    EnumArgument,
    Expression,
    Literal,
    Named,
    Outer,
    Subquery,
    TypeArgument,
    walk,
)
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    MapBatches,
    Model,
    Parts,
    Predict,
    Project,
    Received,
    Relation,
    Repeat,
    Sample,
    Scan,
    SetOperation,
    Sort,
    State,
    Train,
    Unnest,
)

INFIX: Mapping[str, tuple[str, int]] = {
    "Or": ("or", 1),
    "Xor": ("xor", 1),
    "And": ("and", 2),
    "Equals": ("=", 4),
    "NotEquals": ("!=", 4),
    "IdenticalTo": ("is", 4),
    "Less": ("<", 4),
    "LessEqual": ("<=", 4),
    "Greater": (">", 4),
    "GreaterEqual": (">=", 4),
    "StringSQLLike": ("like", 4),
    "StringSQLILike": ("ilike", 4),
    "Add": ("+", 5),
    "Subtract": ("-", 5),
    "StringConcat": ("||", 5),
    "Multiply": ("*", 6),
    "Divide": ("/", 6),
    "FloorDivide": ("//", 6),
    "Modulus": ("%", 6),
    "Power": ("^", 7),
}
"""Calls of two arguments that are written between them, and how tightly they bind."""

NAMES: Mapping[str, str] = {
    "CountStar": "count",
    "StandardDev": "stddev",
    "TimestampNow": "now",
    "StringLength": "length",
}
"""Calls whose text is not their class name in lower case."""

UNARY = 8
NOT = 3
ALONE = 9


def plan_text(root: Relation, *, width: int | None = None) -> str:
    """The plan as an indented tree, the root first; a node met again is named by its number, `^1`.

    Args:
        root: The plan.
        width: Cut longer lines, with an ellipsis.

    >>> from blossom.plan.schema import Schema
    >>> scan = Scan("people", Schema([("age", "int64"), ("name", "string")]), "north")
    >>> print(plan_text(Filter(scan, (Call("GreaterEqual", (Column("age", "int64"), Literal(18, "int8")), "boolean"),))))
    Filter age >= 18
      Scan north/people (age, name)
    """
    shared = _shared(root)
    printed: dict[int, int] = {}
    lines: list[str] = []
    stack: list[tuple[Relation, int, str]] = [(root, 0, "")]
    while stack:
        node, depth, prefix = stack.pop()
        start = "  " * depth + prefix
        if id(node) in printed:
            lines.append(f"{start}^{printed[id(node)]} ({type(node).__name__})")
            continue
        mark = ""
        if id(node) in shared:
            printed[id(node)] = len(printed) + 1
            mark = f"#{printed[id(node)]} "
        lines.append(start + mark + node_text(node))
        below = [(child, depth + 1, tag) for child, tag in _below(node)]
        stack.extend(reversed(below))
    if width is not None:
        lines = [line if len(line) <= width else line[: width - 1].rstrip() + "…" for line in lines]
    return "\n".join(lines)


def node_text(node: Relation) -> str:
    """A node's own work in one line, without its inputs.

    >>> from blossom.plan.schema import Schema
    >>> node_text(Limit(Scan("t", Schema([("a", "int64")])), 5))
    'Limit 5'
    """
    return f"{_title(node)} {_NODES[type(node)](node)}".rstrip()


def expression_text(expression: Expression, inputs: int = 1) -> str:
    """An expression in compact infix; with several inputs, columns name theirs (`t0.a`).

    >>> expression_text(Call("Sum", (Column("delay", "float64"), None), "float64"))
    'sum(delay)'
    """
    return _text(expression, inputs)[0]


def printable(text: str) -> str:
    """A text with everything that could move a terminal's cursor written out.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _below(node: Relation) -> Iterator[tuple[Relation, str]]:
    names: tuple[str, ...] = ()
    if isinstance(node, Parts | Copies):
        names = node.sites
    for number, child in enumerate(node.inputs):
        yield child, f"{names[number]}: " if names else ""
    if isinstance(node, Repeat):
        yield node.body, "body: "
        if node.until is not None:
            yield node.until, "until: "
    for number, plan in enumerate(_subplans(node)):
        yield plan, f"subquery {number + 1}: "


def _subplans(node: Relation) -> Iterator[Relation]:
    for expression in node.expressions():
        for part in walk(expression):
            if isinstance(part, Subquery):
                yield part.plan


def _shared(root: Relation) -> set[int]:
    seen: set[int] = set()
    shared: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        stack.extend(child for child, _ in _below(node))
    return shared


# -- expressions


def _text(argument: Argument, inputs: int) -> tuple[str, int]:
    """Text, and how tightly it binds."""
    match argument:
        case Column():
            return (f"t{argument.input}.{argument.name}" if inputs > 1 else argument.name), ALONE
        case Outer():
            return f"outer{'' if argument.depth == 1 else argument.depth}.{argument.name}", ALONE
        case Literal():
            return _literal(argument.value), ALONE
        case TypeArgument():
            return argument.dtype, ALONE
        case EnumArgument():
            return argument.member, ALONE
        case Subquery():
            needle = "" if argument.needle is None else _text(argument.needle, inputs)[0] + " "
            return f"{needle}{argument.kind}(subquery)", 4
        case Call():
            return _call(argument, inputs)
        case tuple():
            return "[" + ", ".join(_text(one, inputs)[0] for one in argument) + "]", ALONE
        case _:
            return _literal(argument), ALONE


def _call(call: Call, inputs: int) -> tuple[str, int]:
    def text(argument: Argument, least: int = 0) -> str:
        inner, binds = _text(argument, inputs)
        return f"({inner})" if binds < least else inner

    args = call.args
    if call.op in INFIX and len(args) >= 2 and all(arg is None for arg in args[2:]):
        sign, binds = INFIX[call.op]
        return f"{text(args[0], binds)} {sign} {text(args[1], binds + 1)}", binds
    match call.op, args:
        case "Not", (inner,):
            return f"not {text(inner, NOT)}", NOT
        case "Negate", (inner,):
            return f"-{text(inner, UNARY)}", UNARY
        case "IsNull", (inner,):
            return f"{text(inner, 5)} is null", 4
        case "NotNull", (inner,):
            return f"{text(inner, 5)} is not null", 4
        case "Between", (inner, low, high):
            return f"{text(inner, 5)} between {text(low, 5)} and {text(high, 5)}", 4
        case "InValues", (inner, options):
            return f"{text(inner, 5)} in {text(options)}", 4
        case "Alias", (inner, *_):
            return text(inner), ALONE
        case "SortKey", (inner, ascending, *rest):
            order = "" if ascending else " desc"
            return text(inner) + order + (" nulls first" if rest and rest[0] is True else ""), ALONE
        case "SearchedCase", (tuple() as cases, tuple() as results, default):
            whens = " ".join(f"when {text(c)} then {text(r)}" for c, r in zip(cases, results, strict=True))
            return f"case {whens} else {text(default)} end", ALONE
        case "IfElse", (condition, then, other):
            return f"case when {text(condition)} then {text(then)} else {text(other)} end", ALONE
        case _:
            while args and args[-1] is None:
                args = args[:-1]
            name = NAMES.get(call.op) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", call.op).lower()
            return f"{name}({', '.join(text(arg) for arg in args)})", ALONE


def _literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + printable(value).replace("'", "''") + "'"
        case int() | float():
            return repr(value)
        case tuple():
            return "[" + ", ".join(_literal(one) for one in value) + "]"
        case bytes():
            return f"x'{value.hex()}'"
        case _:
            return str(value)


# -- nodes


def _named(named: tuple[Named, ...], inputs: int = 1) -> str:
    """Columns kept by bare name, computed ones as `name=expression`."""
    parts: list[str] = []
    for name, value in named:
        text = expression_text(value, inputs)
        bare = isinstance(value, Column) and value.name == name
        parts.append(text if bare else f"{name}={text}")
    return ", ".join(parts)


def _join(node: Join) -> str:
    links: list[str] = []
    for number, link in enumerate(node.links):
        on = " and ".join(expression_text(part, len(node.tables)) for part in link.predicates)
        links.append(f"{link.how} t{number + 1}" + (f" on {on}" if on else ""))
    return "; ".join(links) + f" -> {_named(node.values, len(node.tables))}"


def _sort(node: Sort) -> str:
    return ", ".join(
        expression_text(key.value)
        + ("" if key.ascending else " desc")
        + (" nulls first" if key.nulls_first else "")
        for key in node.keys
    )


def _title(node: Relation) -> str:
    return node.kind.capitalize() if isinstance(node, SetOperation) else type(node).__name__


def _parts(node: Parts) -> str:
    if node.partition is None:
        return ""
    return f"by {', '.join(node.partition.columns)} ({node.partition.scheme})"


_NODES: Mapping[type[Relation], Callable[[Any], str]] = {
    Scan: lambda node: f"{node.site or '*'}/{node.table} ({', '.join(node.schema)})",
    Received: lambda node: f"{node.key} ({', '.join(node.schema)})",
    Constant: lambda node: _named(node.values),
    Project: lambda node: _named(node.values),
    Filter: lambda node: " and ".join(_bound(part) for part in node.predicates),
    Join: _join,
    Aggregate: lambda node: (f"[{_named(node.groups)}] " if node.groups else "") + _named(node.metrics),
    Sort: _sort,
    Limit: lambda node: (
        ("all" if node.n is None else str(node.n)) + (f" offset {node.offset}" if node.offset else "")
    ),
    Distinct: lambda node: "",
    SetOperation: lambda node: "distinct" if node.distinct else "all",
    Sample: lambda node: (
        f"{node.fraction:g} {node.method}" + ("" if node.seed is None else f" seed {node.seed}")
    ),
    Unnest: lambda node: (
        f"{node.name}={expression_text(node.value)}" + (" keep empty" if node.keep_empty else "")
    ),
    MapBatches: lambda node: (
        f"{node.function.name} per {node.per}"
        + (f" by {', '.join(node.by)}" if node.by else "")
        + f" -> {', '.join(node.schema)}"
    ),
    State: lambda node: f"{node.key} ({', '.join(node.schema)})",
    Repeat: lambda node: (
        f"{node.times} times" if node.until is None else f"until met, at most {node.times} times"
    ),
    Train: lambda node: f"{node.target} from {', '.join(node.features)}",
    Model: lambda node: "",
    Predict: lambda node: f"{', '.join(name for name, _ in node.outputs)} from {', '.join(node.features)}",
    Parts: _parts,
    Copies: lambda node: "" if node.steward is None else f"steward {node.steward}",
}


def _bound(predicate: Expression) -> str:
    text, binds = _text(predicate, 1)
    return f"({text})" if binds < INFIX["And"][1] else text
