"""GROUP BY: keys by expression, position, alias or ALL; aggregates become columns that later clauses read."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Iterable, Mapping

import ibis.expr.operations as ops
import sqlglot.expressions as x
from ibis.common.collections import FrozenOrderedDict

from blossom.plan.errors import PlanError
from blossom.plan.sql.aggregates import calls
from blossom.plan.sql.reading import arguments, refused, text
from blossom.plan.sql.scope import Scope
from blossom.plan.sql.sources import unique
from blossom.plan.sql.stars import Item
from blossom.plan.sql.types import whole
from blossom.plan.sql.values import fold, value


def has_aggregate(tree: x.Expr) -> bool:
    """Whether a tree holds an aggregate call of its own scope."""
    return any(True for _ in calls(tree))


def without(trees: Iterable[x.Expr], kind: type[x.Expr], clause: str, hint: str) -> None:
    """Refuse trees that hold a node of a kind (outside nested queries)."""
    for tree in trees:
        for node in tree.walk(prune=lambda n: isinstance(n, x.Query)):
            if isinstance(node, kind):
                raise PlanError(f"{text(node)} may not stand in {clause}", where="SQL", hint=hint)


def at(items: list[Item], position: int, clause: str) -> Item:
    """The output column at a position, counted from 1."""
    if not 1 <= position <= len(items):
        raise PlanError(f"{clause} {position}: there are {len(items)} output columns", where="SQL")
    return items[position - 1]


def aggregate(
    scope: Scope,
    group: x.Group | None,
    items: list[Item],
    used: list[x.Expr],
    aliases: Mapping[str, x.Expr],
) -> None:
    """Fold the scope's rows; afterwards its trees read the keys and the aggregates.

    Args:
        scope: The scope; `relation` and `computed` are set.
        group: The clause, None for one group of all rows.
        items: The select list.
        used: Every exact tree of the select list and of the later clauses.
        aliases: Names of the select list.
    """
    keys = [] if group is None else _keys(scope, group, items, aliases)
    folds = list(dict.fromkeys(call for tree in used for call in calls(tree)))
    without(keys, x.Window, "GROUP BY", "compute it in a subquery first")
    for key in keys:
        if has_aggregate(key):
            raise PlanError(f"the aggregate {text(key)} may not stand in GROUP BY", where="SQL")
    for call in folds:
        if any(has_aggregate(part) for part in call.iter_expressions() if part is not call.this) or _nested(
            call
        ):
            raise PlanError(
                f"an aggregate inside an aggregate: {text(call)}", where="SQL", hint="use a subquery"
            )
    wanted = {item.tree: item.name for item in reversed(items)}
    computed: dict[x.Expr, str] = {}
    groups: dict[str, ops.Value] = {}
    metrics: dict[str, ops.Value] = {}

    def name(tree: x.Expr, default: str) -> str:
        free = unique(wanted.get(tree, default), {*groups, *metrics})
        computed[tree] = free
        return free

    for key in keys:
        built = value(key, scope)
        groups[name(key, key.name or "key")] = built
    for call in folds:
        built = fold(call, scope)
        metrics[name(call, "metric")] = built
    if not groups and not metrics:
        metrics["metric"] = ops.CountStar(scope.relation)  # one row of no columns is no relation
    scope.relation = ops.Aggregate(scope.relation, FrozenOrderedDict(groups), FrozenOrderedDict(metrics))
    scope.computed = computed


def _nested(call: x.Expr) -> bool:
    inner = call
    while isinstance(inner, x.Filter | x.WithinGroup | x.IgnoreNulls):
        inner = inner.this
    return any(has_aggregate(part) for part in inner.iter_expressions())


def _keys(scope: Scope, group: x.Group, items: list[Item], aliases: Mapping[str, x.Expr]) -> list[x.Expr]:
    expressions, everything = arguments(group, "expressions", "all")
    keys: list[x.Expr] = []
    if everything:
        keys = [item.tree for item in items if not has_aggregate(item.tree)]
    for node in expressions or ():
        if isinstance(node, x.Literal) and not node.is_string:
            keys.append(at(items, whole(node, "a position in GROUP BY"), "GROUP BY").tree)
        elif isinstance(node, x.Tuple):
            raise refused(group, "GROUP BY over a row")
        else:
            tree = scope.resolve(node, aliases)
            while isinstance(tree, x.Paren):
                tree = tree.this
            keys.append(tree)
    return list(dict.fromkeys(keys))
