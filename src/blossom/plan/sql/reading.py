"""SQL text -> sqlglot's tree, with nothing lost: arguments that sqlglot or we do not know are refused, never dropped."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlglot.expressions as x
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError

from blossom.plan.errors import PlanError

MAX_TEXT = 1_000_000
"""Longest statement in characters."""

MAX_NODES = 200_000
"""Most nodes of one statement's tree."""


class _Parser(DuckDB.Parser):
    """DuckDB's parser, but a function call whose builder loses an argument is an error.

    Many of sqlglot's builders take the arguments they know and forget the rest, and its own check only counts them.
    """

    def validate_expression(self, expression: Any, args: list[Any] | None = None) -> Any:
        checked = super().validate_expression(expression, args)
        if args:
            kept = {id(node) for node in expression.walk()}
            texts = {
                node.name.casefold() for node in expression.walk() if isinstance(node, x.Var | x.Literal)
            }
            for arg in args:
                # builders turn literals into units and the like, so those are compared by text
                known = isinstance(arg, x.Literal | x.Column) and arg.name.casefold() in texts
                if id(arg) not in kept and not known:
                    self.raise_error(f"{expression.sql_name()} does not take the argument {text(arg)}")
        return checked


def read(sql: str) -> x.Expr:
    """Parse one SELECT-like statement.

    Raises:
        PlanError: Not SQL, more than one statement, or a statement that is no query.
    """
    if len(sql) > MAX_TEXT:
        raise PlanError(f"the SQL text is longer than {MAX_TEXT:,} characters", where="SQL")
    dialect = DuckDB()
    try:
        tokens = dialect.tokenize(sql)
        parser = _Parser(dialect=dialect, error_level=ErrorLevel.IMMEDIATE, max_nodes=MAX_NODES)
        statements = [tree for tree in parser.parse(tokens, sql) if tree is not None]
    except ParseError as error:
        raise PlanError(_explain(error), where="SQL", hint="the dialect is DuckDB's") from error
    except SqlglotError as error:
        raise PlanError(f"the text is not SQL: {error}", where="SQL") from error
    except RecursionError as error:
        raise PlanError("the statement is nested too deeply", where="SQL") from error
    if len(statements) != 1:
        raise PlanError(f"expected one statement, got {len(statements)}", where="SQL")
    (tree,) = statements
    if not isinstance(tree, x.Query | x.Values):
        raise PlanError(
            f"only queries run here, not {tree.key.upper()}: {text(tree)}",
            where="SQL",
            hint="write results with fed.write(table, table=..., site=...)",
        )
    return tree


def _explain(error: ParseError) -> str:
    if not error.errors:
        return f"the text is not SQL: {error}"
    first = error.errors[0]
    place = f"line {first['line']}, column {first['col']}"
    return f"the text is not SQL: {first['description']} at {place}: {first['highlight']!r}"


def text(node: Any, limit: int = 100) -> str:
    """A node as SQL, shortened, for messages."""
    shown = node.transform(_plain).sql(dialect="duckdb") if isinstance(node, x.Expr) else str(node)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _plain(node: x.Expr) -> x.Expr:
    """An exact column (see `Scope`) as a reader would write it."""
    if isinstance(node, x.Column) and node.args.get("db") is not None and node.args["db"].name.isdigit():
        return x.column(node.name, table=node.table)
    return node


def refused(node: x.Expr, what: str | None = None, hint: str | None = None) -> PlanError:
    """The error for a construct that has no place in a plan."""
    name = what or f"{node.key.upper()}"
    return PlanError(f"{name} is not supported: {text(node)}", where="SQL", hint=hint)


def arguments(node: x.Expr, *names: str, flags: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """The named arguments of a node, in order; any other argument that is set refuses the node.

    Args:
        node: A node of the tree.
        names: The arguments that the caller reads (missing ones come back as None).
        flags: Arguments that may have exactly the given value, or be unset.
    """
    for key, value in node.args.items():
        if key in names or value is None or value is False or value == []:
            continue
        if flags is not None and key in flags and value == flags[key]:
            continue
        raise refused(node, f"{node.key.upper()} with {key.strip('_').replace('_', ' ').upper()}")
    return tuple(node.args.get(name) for name in names)
