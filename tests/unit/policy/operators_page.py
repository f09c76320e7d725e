"""Writes docs/reference/policy-operators.md: every node and operation of the plan language, and what the judge makes of it.

`python tests/unit/policy/operators_page.py` writes it; `test_operators_page.py` says when it is out of date. Nothing here is copied
from the rules' tables: each operation is put into small plans, and the judge is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blossom.plan import relations as rel
from blossom.plan.errors import Refusal
from blossom.plan.expressions import REDUCTIONS, Argument, Call, Column, Expression, Literal, TypeArgument
from blossom.plan.schema import Schema
from blossom.plan.wire_checks import allowed_operations
from blossom.plan.wire_fields import RELATIONS
from blossom.policy.judge import judge
from blossom.policy.model import ColumnPolicy, Recipient, TablePolicy

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "policy-operators.md"

SCHEMA = Schema([("pid", "int64"), ("x", "float64"), ("f", "float64")])
PRIVATE, OPEN = rel.Scan("people", SCHEMA), rel.Scan("open", SCHEMA)
POLICIES = {
    "people": TablePolicy("aggregates", privacy_unit="pid", columns={"f": ColumnPolicy(transform=True)}),
    "open": TablePolicy("rows"),
}
X, F = Column("x", "float64"), Column("f", "float64")


def verdict(plan: rel.Relation) -> tuple[Refusal, ...]:
    """Why a plan is refused; empty where it may leave."""
    return judge(plan, POLICIES, Recipient("hub"), "north").refusals


_LONGER: Mapping[str, tuple[Argument, ...]] = {
    "Variance": ("pop", None),
    "StandardDev": ("pop", None),
    "Covariance": (F, "pop", None),
    "Correlation": (F, "pop", None),
}
"""Arguments of reductions after the first."""


def called(op: str, column: Expression) -> Call:
    """An operation on a column. The judge looks at whose columns are read; that types fit was checked before."""
    if op in ("CountStar", "CountDistinctStar"):
        return Call(op, (None,), "int64")
    if op in REDUCTIONS:
        return Call(op, (column, *_LONGER.get(op, (None,))), "float64")
    if op == "Cast":
        return Call(op, (column, TypeArgument("string")), "string")
    if op in ("Add", "Subtract", "Multiply", "Divide"):
        return Call(op, (column, Literal(2.0, "float64")), "float64")
    return Call(op, (column,), "float64")


def _total(value: Expression) -> tuple[tuple[str, Expression], ...]:
    return (("s", Call("Sum", (value, None), "float64")),)


@dataclass(frozen=True)
class Standing:
    """Whether the judge lets an operation stand in five places; the answers tell operations of a kind from others."""

    protected: bool
    free: bool
    condition: bool
    figure: bool
    unit: bool
    rows: bool


@cache
def standing(op: str) -> Standing:
    """Ask the judge."""
    each = rel.Aggregate(PRIVATE, (("pid", Column("pid", "int64")),), (("v", called(op, F)),))
    wholly = op not in REDUCTIONS
    return Standing(
        protected=wholly and not verdict(rel.Aggregate(PRIVATE, (), _total(called(op, X)))),
        free=wholly and not verdict(rel.Aggregate(PRIVATE, (), _total(called(op, F)))),
        condition=wholly and not verdict(rel.Aggregate(rel.Filter(PRIVATE, (called(op, F),)), (), _total(X))),
        figure=not wholly and not verdict(rel.Aggregate(PRIVATE, (), (("v", called(op, X)),))),
        unit=not wholly and not verdict(rel.Aggregate(each, (), _total(Column("v", "float64")))),
        rows=not verdict(
            rel.Project(OPEN, (("v", called(op, X)),))
            if wholly
            else rel.Aggregate(OPEN, (), (("v", called(op, X)),))
        ),
    )


KINDS: Mapping[Standing, tuple[str, str]] = {
    Standing(True, True, True, False, False, True): (
        "keep the form",
        "Of a protected column they stay what an aggregate may fold: affine forms with literals, and products of two (as told below).",
    ),
    Standing(False, True, True, False, False, True): (
        "free functions of a row",
        "Below an aggregate, in conditions, keys and CASE only of columns with `transform = true` (or whose rows may leave). A cast "
        "that widens a number keeps the form.",
    ),
    Standing(False, False, False, True, True, True): (
        "figures",
        "May leave over groups, behind the guards. Over the rows of one unit they give a value of that unit, to be folded again.",
    ),
    Standing(False, False, False, False, True, True): (
        "values of one unit",
        "May show a single row's value: refused as figures. Over the rows of one unit (a group-by with the `privacy_unit` among "
        "its keys) a free function of them.",
    ),
    Standing(False, False, False, False, False, True): (
        "only on what may leave",
        "They look at other rows, their order or a single row: refused on a private table's rows, by name; allowed on released "
        "aggregates and on tables whose rows may leave.",
    ),
    Standing(False, False, False, False, False, False): (
        "refused everywhere",
        "No rule knows them: a plan with one is refused by name, even on tables whose rows may leave.",
    ),
}  # fmt: skip

NODES: Mapping[str, str] = {
    "Scan": "a table of this site: its `to`, `purposes` and `release` are asked; its unit is carried along",
    "Received": "the user's own data, no secret of the site; or an earlier output that stayed, judged as what it was",
    "Constant": "public, one row",
    "Project": "each value is judged by the operations in it",
    "Filter": "columns in it need `filter`; to let an aggregate stand above, also `transform`",
    "Join": "equal bare columns are keys (`key`); anything else in it is a condition; see the kinds of joins below",
    "Aggregate": "guarded; where the `privacy_unit` is among the keys, still rows of one unit each",
    "Sort": "passes rows that may leave; refused below an aggregate of private rows",
    "Limit": "passes rows that may leave; refused below an aggregate of private rows",
    "Distinct": "passes rows that may leave; refused below an aggregate of private rows",
    "Sample": "passes rows that may leave; refused below an aggregate of private rows",
    "SetOperation": "passes rows that may leave; refused below an aggregate of private rows",
    "Unnest": "passes rows that may leave; refused below an aggregate of private rows",
    "MapBatches": "a Python function may do anything: passes rows that may leave; refused below an aggregate of private rows",
    "Train": "refused inside a query over private rows: training is judged as training",
    "Model": "public",
    "Predict": "its outputs are free functions of the features",
    "Parts": "no fragment of one site: refused",
    "Copies": "no fragment of one site: refused",
}
"""Nodes that a rule knows."""

_HOW = (
    "inner",
    "left",
    "right",
    "outer",
    "semi",
    "anti",
    "cross",
    "asof",
    "any_inner",
    "any_left",
    "positional",
)


def _joined(how: str, right: rel.Relation, left: rel.Relation = PRIVATE) -> bool:
    same = Call("Equals", (Column("pid", "int64"), Column("pid", "int64", 1)), "boolean")
    predicates = () if how in ("cross", "positional") else (same,)
    values = (("f", F if left is PRIVATE else Column("f", "float64", 1)),)
    join = rel.Join((left, right), (rel.Link(how, predicates),), values)
    return not verdict(rel.Aggregate(join, (), (("n", Call("CountStar", (None,), "int64")),)))


def groups() -> Mapping[Standing, Sequence[str]]:
    """The operations by where they may stand."""
    found: dict[Standing, list[str]] = {}
    for op in sorted(allowed_operations()):
        found.setdefault(standing(op), []).append(op)
    return found


def page() -> str:
    """The page's text."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What the policy makes of each operator"
    yield ""
    yield "Written by `tests/unit/policy/operators_page.py`, which puts each one into small plans and asks the judge: do not edit. What no rule"
    yield "knows is refused by name; a test asks for every node and operation that a plan document can hold."
    yield ""
    yield "## Nodes"
    yield ""
    yield "| node | over rows of a table that releases aggregates |"
    yield "| --- | --- |"
    for name in RELATIONS:
        yield f"| `{name}` | {NODES.get(name, 'no rule knows it: refused by name')} |"
    yield ""
    yield "## Kinds of joins"
    yield ""
    yield "May a count be made of a private table joined on equal keys, with ..."
    yield ""
    yield "| kind | another private table | an open table of the site, on its right | an open table on its left |"
    yield "| --- | --- | --- | --- |"
    for how in _HOW:
        answers = (_joined(how, rel.Scan("people", SCHEMA)), _joined(how, OPEN), _joined(how, PRIVATE, OPEN))
        yield f"| `{how}` | {' | '.join('yes' if answer else 'no' for answer in answers)} |"
    yield ""
    yield "A semi join of two private tables must match the column that tells the units apart. Rows that the user chose (received, or filtered)"
    yield "make the join a condition on its keys, and weigh the private rows unless they are unique."
    yield ""
    yield "## Operations"
    found = groups()
    for kind, (title, words) in KINDS.items():
        ops = found.get(kind, ())
        yield ""
        yield f"### {title.capitalize()}"
        yield ""
        yield words
        yield ""
        yield f"{len(ops)}: {', '.join(f'`{op}`' for op in ops) or 'none'}."
    yield ""
    yield "### Forms"
    yield ""
    yield "What of a protected column `x` (and `y`) an aggregate may fold:"
    yield ""
    yield "| form | may be folded |"
    yield "| --- | --- |"
    for text, allowed in forms():
        yield f"| `{text}` | {'yes' if allowed else 'no'} |"
    yield ""
    yield "A sum of `CASE WHEN c THEN v ELSE 0 END` is judged as the sum of v where c: c needs `filter` and `transform`, v need not, and the rows"
    yield "where c holds are guarded by themselves. Where v has `transform` too, the CASE is a free function, without a guard of its own."


def forms() -> Iterator[tuple[str, bool]]:
    """Forms of a protected column, and whether they may be folded."""

    def two(op: str, left: Expression, right: Expression) -> Call:
        return Call(op, (left, right), "float64")

    def number(value: float) -> Literal:
        return Literal(value, "float64")

    y = Column("pid", "int64")
    case = Call("IfElse", (two("Greater", F, number(3)), X, number(0)), "float64")
    other = Call("IfElse", (two("Greater", F, number(3)), X, number(9)), "float64")
    hidden = Call("IfElse", (two("Greater", X, number(3)), number(1), number(0)), "float64")
    told: Mapping[str, Expression] = {
        "x": X,
        "2 * x + 1": two("Add", two("Multiply", number(2), X), number(1)),
        "x / 12": two("Divide", X, number(12)),
        "x + y": two("Add", X, y),
        "x * y": two("Multiply", X, y),
        "(x - 3) * (y + 5)": two("Multiply", two("Subtract", X, number(3)), two("Add", y, number(5))),
        "x * x * y": two("Multiply", two("Multiply", X, X), y),
        "x / y": two("Divide", X, y),
        "x + 1e17 - 1e17": two("Subtract", two("Add", X, number(1e17)), number(1e17)),
        "CASE WHEN f > 3 THEN x ELSE 0 END": case,
        "CASE WHEN f > 3 THEN x ELSE 9 END": other,
        "CASE WHEN x > 3 THEN 1 ELSE 0 END": hidden,
        "abs(x)": Call("Abs", (X,), "float64"),
    }
    for text, value in told.items():
        yield text, not verdict(rel.Aggregate(PRIVATE, (), _total(value)))


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
