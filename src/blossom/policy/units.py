"""Units of a table: whom its rows describe, and how a scan tells them apart."""

from __future__ import annotations

from blossom.plan.errors import Refusal
from blossom.plan.expressions import Call, Column, Expression, Literal, TypeArgument
from blossom.plan.relations import Scan
from blossom.policy.model import ROW_UNIT, TablePolicy
from blossom.policy.rules import Rules
from blossom.policy.states import AFFINE, Carrier, State, Unit, Value

_AS_TEXT = ("int", "uint", "float", "decimal", "string", "boolean", "date", "timestamp", "time", "uuid")
_NEVER_AS_TEXT = ("interval",)
NO_NULL = Literal(0, "int8")


def scanned(node: Scan, rules: Rules) -> tuple[State, list[Refusal]]:
    """The state of a table as its site stores it, and what is refused of the scan itself."""
    policy = rules.policies[node.table]
    names = node.schema.names
    refusals = list(_misspelt(node, policy, rules))
    values = {
        name: Value(
            frozenset({(node.table, name)}),
            AFFINE,
            (node.table, name),
            # Single precision holds seven digits: literals may lie less far apart.
            low=1e-6 if dtype.lstrip("!") in ("float32", "float16") else 1.0,
        )
        for name, dtype in node.schema.items()
    }
    if rules.open(node.table, names):
        return (State() if policy.chosen else State(columns=values, natural=True)), refusals
    for name in names:
        if policy.column(name).computed:
            values[name] = Value(values[name].sources)
    missing, carrier, dtype = _unit(node, policy, rules)
    column = policy.privacy_unit
    if missing is None and column is not None and column != ROW_UNIT:
        own = values[column]
        first = frozenset({0})
        values[column] = Value(own.sources, own.form, own.bare, first, first, own.low, own.high)
    unit = Unit(node.table, policy.min_group, dtype, missing)
    return State(units=(unit,), columns=values, carriers=(carrier,)), refusals


def _misspelt(node: Scan, policy: TablePolicy, rules: Rules) -> list[Refusal]:
    """An engine that ignores case would read a column whose rules were written under another spelling."""
    ruled = {name.casefold(): name for name in policy.columns}
    return [
        rules.refuse(
            node.table, name, "names", f"the column is called {ruled[name.casefold()]!r}", "that name"
        )
        for name in node.schema.names
        if ruled.get(name.casefold(), name) != name
    ]


def _unit(node: Scan, policy: TablePolicy, rules: Rules) -> tuple[Refusal | None, Carrier, str]:
    none = Carrier(Literal(None, "string"), NO_NULL)
    unit = policy.privacy_unit
    if unit is None:
        return (
            rules.refuse(
                node.table, None, "privacy_unit", "nothing says whom to count", "ask the owner to name a privacy_unit"
            ), none, "string",
        )  # fmt: skip
    if unit == ROW_UNIT:
        return _row_unit(node, rules)
    if unit not in node.schema:
        return (
            rules.refuse(
                node.table, unit, "privacy_unit", "the scan leaves out the column whose distinct values are counted",
                "a scan that holds it",
            ), none, "string",
        )  # fmt: skip
    dtype = node.schema[unit]
    own = Column(unit, dtype)
    return None, Carrier(own, _mark(own)), dtype


def _mark(own: Column) -> Expression:
    return Call("IfElse", (Call("IsNull", (own,), "boolean"), Literal(1, "int8"), Literal(0, "int8")), "int8")


def _row_unit(node: Scan, rules: Rules) -> tuple[Refusal | None, Carrier, str]:
    """The whole row as one text. Rows that read alike count once, which can only lower a count."""
    parts: list[Expression] = []
    for name, dtype in node.schema.items():
        plain = dtype.lstrip("!")
        if not plain.startswith(_AS_TEXT) or plain.startswith(_NEVER_AS_TEXT) or "<" in plain:
            refusal = rules.refuse(
                node.table, name, "privacy_unit", f"rows with a column of type {plain} cannot be told apart as text",
                "ask the owner to name a column as privacy_unit",
            )  # fmt: skip
            return refusal, Carrier(Literal(None, "string"), NO_NULL), "string"
        column = Column(name, dtype)
        text: Expression = (
            column if plain == "string" else Call("Cast", (column, TypeArgument("string")), "string")
        )
        marked = Call("StringConcat", ((Literal("v", "string"), text),), "string")
        parts.append(
            Call(
                "IfElse",
                (Call("IsNull", (column,), "boolean"), Literal("n", "string"), marked),
                "string",
            )
        )
        parts.append(Literal("|", "string"))
    return None, Carrier(Call("StringConcat", (tuple(parts),), "string"), NO_NULL), "string"
