"""Guards: the rows that a site looks at beside an aggregate, and the cut of a fragment at each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from blossom.plan.expressions import Call, Column, Expression, Named, Subquery, transform
from blossom.plan.lineage import subqueries
from blossom.plan.relations import (
    Aggregate,
    Filter,
    Join,
    Predict,
    Project,
    Received,
    Relation,
    Scan,
    identity,
)
from blossom.plan.schema import Schema
from blossom.policy.aggregates import reductions
from blossom.policy.facets import Facet, Facets
from blossom.policy.states import Carrier, State, Unit, null_column, unit_column


@dataclass(frozen=True, eq=False)
class Stage:
    """One guarded aggregate, to be run at the site and passed through `gate.gate` before anything else sees it.

    Attributes:
        key: The key of the `Received` leaf that stands for its gated rows in later stages and in the remaining plan.
        query: The aggregate, with a count of rows for each facet; leaves may be `Received` of earlier stages.
        detail: The rows that it folds: its keys, their units and the values folded; never leaves the site.
        units: The private tables whose rows it folds, one entry an occurrence.
        keys: Names of the group keys; in `detail` they are `__key_0`, `__key_1` and so on.
        facets: The sets of rows that its reductions range over; the first is all rows of a cell.
        columns: The columns that stay once the counts are taken off, with their types.
        tables: The private tables that it describes.
    """

    key: str
    query: Relation
    detail: Relation
    units: tuple[Unit, ...]
    keys: tuple[str, ...]
    facets: tuple[Facet, ...]
    columns: Schema
    tables: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Guarded:
    """A fragment cut at its guards: `stages` run in order, then `root` over their gated rows."""

    stages: tuple[Stage, ...]
    root: Relation


NOTHING_FREE: Mapping[int, Collection[Call]] = {}


def guard(
    root: Relation,
    states: Mapping[int, State],
    aggregates: Sequence[Aggregate],
    prefix: str = "guarded_",
    *,
    carry: bool = False,
    free: Mapping[int, Collection[Call]] = NOTHING_FREE,
) -> Guarded:
    """Cut a judged fragment at its guarded aggregates.

    Args:
        root: The fragment.
        states: The judge's state of every node, by id.
        aggregates: The nodes to guard, inner ones first.
        prefix: Of the keys of stages.
        carry: Give the remaining plan hidden columns for its units.
        free: By the id of an aggregate, conditional reductions whose condition needs no guard.
    """
    cutter = Cutter(states)
    stages: list[Stage] = []
    for number, node in enumerate(aggregates):
        stage = _stage(f"{prefix}{number}", node, cutter, free.get(id(node), ()))
        stages.append(stage)
        cutter.received(node, stage)
    if carry:
        return Guarded(tuple(stages), cutter.carry(root))
    return Guarded(tuple(stages), cutter.cut(root) if stages else root)


class Cutter:
    """Rewrites plans below and above guards; each node once."""

    def __init__(self, states: Mapping[int, State]) -> None:
        self.states = states
        self._done: dict[int, Relation] = {}
        self._carried: dict[int, Relation] = {}

    def received(self, node: Aggregate, stage: Stage) -> None:
        """From now on `node` is what is received from its stage."""
        self._done[id(node)] = Received(stage.key, stage.columns)

    def cut(self, root: Relation) -> Relation:
        """The plan with guarded aggregates replaced by what is received from them, in subqueries too."""
        done = self._done
        if not done:
            return root
        stack: list[tuple[Relation, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in done:
                continue
            if not ready:
                stack.append((node, True))
                stack.extend((child, False) for child in node.inputs)
                continue
            done[id(node)] = self.rebuilt(node, tuple(done[id(child)] for child in node.inputs))
        return done[id(root)]

    def carry(self, root: Relation) -> Relation:
        """The plan with hidden columns for the units of each private relation in it."""
        done = self._carried
        stack: list[tuple[Relation, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in done:
                continue
            if not self.states[id(node)].private:
                done[id(node)] = self.cut(node)
            elif not ready:
                stack.append((node, True))
                stack.extend((child, False) for child in node.inputs)
            else:
                inputs = tuple(done[id(child)] for child in node.inputs)
                done[id(node)] = self._hide(node, self.rebuilt(node, inputs))
        return done[id(root)]

    def rebuilt(self, node: Relation, inputs: tuple[Relation, ...]) -> Relation:
        """A node over new inputs, the plans of its subqueries cut."""
        if any(new is not old for new, old in zip(inputs, node.inputs, strict=True)):
            node = node.with_inputs(inputs)
        if self._done and subqueries(node):
            node = node.map_expressions(self._cut_subqueries)
        return node

    def _cut_subqueries(self, expression: Expression) -> Expression:
        def one(node: Expression) -> Expression | None:
            if not isinstance(node, Subquery):
                return None
            needle = None if node.needle is None else self._cut_subqueries(node.needle)
            return replace(node, plan=self.cut(node.plan), needle=needle)

        return transform(expression, one)

    def _hide(self, node: Relation, rebuilt: Relation) -> Relation:
        state = self.states[id(node)]
        match rebuilt:
            case Scan():
                return Project(rebuilt, (*identity(rebuilt), *hidden(state)))
            case Project() | Join():
                return replace(rebuilt, values=(*rebuilt.values, *hidden(state)))
            case Aggregate():
                return replace(rebuilt, metrics=(*rebuilt.metrics, *hidden(state)))
            case Filter() | Predict():
                return rebuilt
            case Received():  # an output that stayed at the site has its hidden columns already
                added = [
                    (name, dtype)
                    for i, unit in enumerate(state.units)
                    for name, dtype in ((unit_column(i), unit.dtype), (null_column(i), "int8"))
                ]
                return Received(rebuilt.key, Schema([*rebuilt.columns.items(), *added]))
            case _:
                raise AssertionError(f"a {type(rebuilt).__name__} below a guard")


def hidden(state: State) -> tuple[Named, ...]:
    """The hidden columns of a relation's units, as its node computes them."""
    carriers = state.carriers
    if carriers is None:
        carriers = tuple(carried(unit, index) for index, unit in enumerate(state.units))
    return tuple(
        named
        for index, carrier in enumerate(carriers)
        for named in ((unit_column(index), carrier.unit), (null_column(index), carrier.null))
    )


def carried(unit: Unit, index: int) -> Carrier:
    """How a node with one input passes on unit `index` of that input."""
    return Carrier(Column(unit_column(index), unit.dtype), Column(null_column(index), "int8"))


def _stage(key: str, node: Aggregate, cutter: Cutter, free: Collection[Call]) -> Stage:
    below = cutter.states[id(node.input)]
    carried_ = cutter.rebuilt(node, (cutter.carry(node.input),))
    plain = cutter.rebuilt(node, (cutter.cut(node.input),))
    assert isinstance(carried_, Aggregate)
    assert isinstance(plain, Aggregate)
    facets = Facets(below, free)
    facets.take_all(call for _, expression in carried_.metrics for call in reductions(expression))
    found = facets.found()
    controls = tuple((facet.control, _count(condition)) for facet, condition in found)
    keys: list[Named] = [(f"__key_{i}", value) for i, (_, value) in enumerate(carried_.groups)]
    units: list[Named] = [
        named
        for i, unit in enumerate(below.units)
        for named in (
            (unit_column(i), Column(unit_column(i), unit.dtype)),
            (null_column(i), Column(null_column(i), "int8")),
        )
    ]
    return Stage(
        key,
        replace(plain, metrics=(*plain.metrics, *controls)),
        Project(carried_.input, (*keys, *units, *facets.columns())),
        below.units,
        tuple(name for name, _ in node.groups),
        tuple(facet for facet, _ in found),
        node.schema,
        tuple(sorted({unit.table for unit in below.units})),
    )


def _count(condition: Expression | None) -> Call:
    """A count of the rows of a facet; engines count what is not null faster than what meets a condition."""
    match condition:
        case Call("NotNull", (Column() | Call() as value,)):
            return Call("Count", (value, None), "int64")
        case _:
            return Call("CountStar", (condition,), "int64")
