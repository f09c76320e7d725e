"""A fragment's operators in one line, in the order in which they work."""

from __future__ import annotations

from collections.abc import Sequence

from blossom.plan.expressions import Column, Subquery, walk
from blossom.plan.relations import Model, Project, Received, Relation, Scan, SetOperation
from blossom.plan.text import node_text, printable

COLUMNS = 4
"""Most columns that are named of a table."""


def operators_text(root: Relation) -> str:
    """The operators of a fragment in the order in which they work; several inputs in parentheses, tables by name only."""
    texts: dict[int, str] = {}
    for node in root.walk():
        inside = [
            f"({operators_text(part.plan)})"
            for expression in node.expressions()
            for part in walk(expression)
            if isinstance(part, Subquery)
        ]
        inputs = [child for child in node.inputs if not isinstance(child, Model)]
        if isinstance(node, SetOperation) and node.kind == "union" and not node.distinct:
            texts[id(node)] = "merge of " + ", ".join(_branch(texts, child) for child in inputs)
            continue
        before = _inputs(texts, inputs, inside)
        own = _own(node)
        if isinstance(node, Project) and _narrows(node):
            before, own = ([], _narrowed(node)) if isinstance(node.input, Scan) else (before, "")
        texts[id(node)] = " > ".join([*before, own] if own else before)
    return texts[id(root)]


def _narrows(node: Project) -> bool:
    """Whether a projection only leaves columns out: of no interest, unless it tells what is read of a table."""
    return all(isinstance(value, Column) and value.name == name for name, value in node.values)


def _narrowed(node: Project) -> str:
    names = list(node.schema)
    shown = ", ".join(names[:COLUMNS]) + (f" and {len(names) - COLUMNS} more" if len(names) > COLUMNS else "")
    return printable(f"{_own(node.input)} ({shown})")


def _inputs(texts: dict[int, str], inputs: Sequence[Relation], inside: Sequence[str]) -> list[str]:
    if len(inputs) == 1 and not inside:
        return [_once(texts, inputs[0])]
    branches = [*(_branch(texts, child) for child in inputs), *inside]
    return [", ".join(branches)] if branches else []


def _branch(texts: dict[int, str], child: Relation) -> str:
    text = _once(texts, child)
    return f"({text})" if " > " in text else text


def _once(texts: dict[int, str], child: Relation) -> str:
    """A sub-plan's text, the first time; what is read again is named by its last operator."""
    text = texts[id(child)]
    texts[id(child)] = text if isinstance(child, Received) else f"the same {type(child).__name__}"
    return text


def _own(node: Relation) -> str:
    match node:
        case Received():
            return printable(node.key)
        case Scan():
            return printable(f"Scan {node.table}")
        case _:
            return printable(node_text(node))
