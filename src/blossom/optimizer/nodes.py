"""The plan as a flat table of nodes, inputs first: what the planner's steps number their arrays by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from blossom.optimizer.subqueries import Attached, attached, replace_attached
from blossom.plan.errors import PlanError
from blossom.plan.relations import (
    Copies,
    Parts,
    Project,
    Received,
    Relation,
    Scan,
    SetOperation,
    Train,
)


@dataclass(frozen=True, eq=False)
class Node:
    """One row of the table.

    Attributes:
        number: Its place in the table.
        relation: The plan's node (its inputs included, as ever).
        inputs: Numbers of the nodes that stand for `relation.inputs`, in their order.
        attached: Numbers of the nodes that stand for closed sub-plans of its subqueries.
        attached_plans: Those sub-plans, in the same order.
        owners: Sites whose tables lie below.
        narrowing: A projection that the planner put above a subquery's sub-plan; it counts only where a cut is made.
    """

    number: int
    relation: Relation
    inputs: tuple[int, ...]
    attached: tuple[int, ...] = ()
    attached_plans: tuple[Relation, ...] = ()
    owners: frozenset[str] = frozenset()
    narrowing: bool = False

    @cached_property
    def below(self) -> tuple[int, ...]:
        """Every node it reads, each once."""
        return tuple(dict.fromkeys((*self.inputs, *self.attached)))


def engine_form(relation: Relation) -> Relation:
    """The node as an engine knows it: `Parts` are a union, `Copies` any one of them; its only input where nothing is left."""
    if isinstance(relation, Copies):
        return _steward(relation)
    if isinstance(relation, Parts):
        return (
            relation.tables[0] if len(relation.tables) == 1 else SetOperation("union", relation.tables, False)
        )
    return relation


def rebuilt(node: Node, inputs: Sequence[Relation], inside: Sequence[Relation]) -> Relation:
    """The node's relation in engine form over other inputs and, in its subqueries, other closed sub-plans.

    The relation itself when nothing changed, so that caches by identity hold. Not for `Copies` in the main plan, of which
    placement chooses one.
    """
    relation = node.relation
    if any(new is not old for new, old in zip(inputs, relation.inputs, strict=True)):
        relation = relation.with_inputs(tuple(inputs))
    if node.attached:
        stands = {id(plan): new for plan, new in zip(node.attached_plans, inside, strict=True)}
        relation = replace_attached(relation, lambda plan: stands[id(plan)], engine_form)
    return engine_form(relation)


def _steward(copies: Copies) -> Relation:
    """The copy that may answer: the steward's if one is named, else the first."""
    return copies.tables[0 if copies.steward is None else copies.sites.index(copies.steward)]


def flatten(root: Relation) -> tuple[Node, ...]:
    """The table of a distributed plan; the root is last.

    A sub-plan without tables (constants, models) belongs to no site: each of its users gets its own copy, so that nothing
    is shipped that can be written down where it is needed.

    Raises:
        PlanError: The plan holds a node that placement does not know: a federated scan, `Train`, `Received`.
    """
    order: list[Relation] = []
    below: dict[int, tuple[tuple[Relation, ...], tuple[Attached, ...]]] = {}
    owners: dict[int, frozenset[str]] = {}
    stack: list[tuple[Relation, bool]] = [(root, False)]
    while stack:
        relation, done = stack.pop()
        if done:
            inputs, extra = below[id(relation)]
            sites = [owners[id(child)] for child in (*inputs, *(a.plan for a in extra))]
            own = (
                frozenset({relation.site})
                if isinstance(relation, Scan) and relation.site
                else frozenset[str]()
            )
            owners[id(relation)] = own.union(*sites)
            order.append(relation)
        elif id(relation) not in below:
            _check(relation)
            below[id(relation)] = relation.inputs, attached(relation)
            stack.append((relation, True))
            children = [*relation.inputs, *(a.plan for a in below[id(relation)][1])]
            stack.extend((child, False) for child in reversed(children))

    table: list[Node] = []
    number: dict[int, int] = {}

    def add(relation: Relation) -> int:
        if id(relation) in number:
            return number[id(relation)]
        inputs, extra = below[id(relation)]
        into = tuple(add(child) for child in inputs)
        beside = tuple(narrow(a) for a in extra)
        plans = tuple(a.plan for a in extra)
        table.append(Node(len(table), relation, into, beside, plans, owners[id(relation)]))
        if owners[id(relation)]:
            number[id(relation)] = table[-1].number
        return table[-1].number

    def narrow(extra: Attached) -> int:
        inner = add(extra.plan)
        if extra.needed is None or len(extra.needed) == len(extra.plan.schema) or not owners[id(extra.plan)]:
            return inner
        values = tuple((name, extra.plan.column(name)) for name in extra.needed)
        narrowed = Project(extra.plan, values)
        table.append(
            Node(len(table), narrowed, (inner,), owners=owners[id(extra.plan)], narrowing=True),
        )
        return table[-1].number

    for relation in order:  # inputs first, so `add` never goes deep
        if owners[id(relation)] or relation is root:
            add(relation)
    return tuple(table)


def _check(relation: Relation) -> None:
    if isinstance(relation, Scan) and relation.site is None:
        raise PlanError(
            f"table {relation.table!r} is still federated when places are chosen",
            where=f"Scan {relation.table}",
            hint="expand it into the parts of its sites before planning",
        )
    if isinstance(relation, Train):
        raise PlanError(
            "a model is still to be trained when places are chosen",
            where="Train",
            hint="fit the model first; the executor puts the fitted model in its place",
        )
    if isinstance(relation, Received):
        raise PlanError(
            f"the plan already receives {relation.key!r} from another fragment",
            where=f"Received {relation.key}",
            hint="plan the whole pipeline, not a fragment of it",
        )
