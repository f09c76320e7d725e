"""Judging a plan node by node: each relation's state, the refusals met, and which aggregates need a guard.

An abstract interpretation of the typed plan, bottom-up. A node or operation without a rule is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from blossom.plan.errors import PlanError, Refusal
from blossom.plan.expressions import Call, Column, Subquery, conjuncts
from blossom.plan.lineage import Flow, Tracer, correlated, subqueries
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
    Sample,
    Scan,
    SetOperation,
    Sort,
    Train,
    Unnest,
)
from blossom.policy.aggregates import guarded, per_unit, row_like
from blossom.policy.joins import JoinRule
from blossom.policy.kept import NOTHING_KEPT, Kept
from blossom.policy.rules import Rules
from blossom.policy.shape import Shapes, predicate, present
from blossom.policy.states import PUBLIC, RESERVED, State, Value, stored
from blossom.policy.units import scanned

UseState = OneOf["raw", "mixed", "guarded", "steers"]
_STRENGTH: dict[str, int] = {"raw": 3, "mixed": 2, "guarded": 1, "steers": 0}


@dataclass(frozen=True, slots=True)
class Use:
    """How a release uses a column, for the audit log: the most revealing way.

    Attributes:
        state: "raw" (rows), "mixed" (aggregates that needed no guard), "guarded", or "steers" (only decides which rows count).
    """

    table: str
    column: str
    state: UseState


def references(flow: Flow) -> set[tuple[str, str]]:
    """The tables' columns that reach or steer a relation."""
    return {(source.table, source.column) for source in flow.rows.union(*flow.columns.values())}


def tables_of(flow: Flow) -> set[str]:
    """The tables that a relation reads."""
    return {table for table, _ in flow.tables}


class Judging:
    """The judgement of one fragment under way: each node's state, once, and the refusals met."""

    def __init__(self, rules: Rules, kept: Mapping[str, Kept] = NOTHING_KEPT) -> None:
        self.rules = rules
        self.kept = kept
        self.received: set[str] = set()
        self.states: dict[int, State] = {}
        self.refusals: list[Refusal] = []
        self.guarded: list[Aggregate] = []
        self.free: dict[int, set[Call]] = {}
        self.tables: set[str] = set()
        self._depth = 0
        self._tracer = Tracer(kept={key: one.flow for key, one in kept.items()})
        self._uses: dict[tuple[str, str], UseState] = {}

    def state(self, root: Relation) -> State:
        """The state of a relation; everything below is judged first."""
        for node in root.walk():
            if id(node) in self.states:
                continue
            for subquery in subqueries(node):
                self._subquery(subquery)
            rule = _RULES.get(type(node))
            if rule is None:
                self._refuse_node(node, f"no rule knows a {type(node).__name__}")
                state = State()
            else:
                state = rule(self, node)
            if state.private:
                self._names(node, state.units[0].table)
            self.states[id(node)] = state
        return self.states[id(root)]

    def flow(self, node: Relation) -> Flow | None:
        """The lineage of a node, guarded aggregates left out; None (and a refusal) where there is no rule."""
        try:
            return self._tracer.relation(node)
        except PlanError as error:
            self.refusals.append(
                self.rules.refuse(
                    self._any_table(), None, "operation", error.what, "operations that the policy knows"
                )
            )
            return None

    def note(self, flow: Flow, state: UseState | None = None) -> None:
        """Keep for the audit log how the columns of a flow are used."""
        for source in flow.rows:
            self._note((source.table, source.column), "steers")
        for sources in flow.columns.values():
            for source in sources:
                self._note((source.table, source.column), state or source.state)

    def uses(self) -> tuple[Use, ...]:
        """The columns met so far, by table and name."""
        return tuple(Use(*reference, state) for reference, state in sorted(self._uses.items()))

    def _note(self, reference: tuple[str, str], state: UseState) -> None:
        known = self._uses.get(reference)
        if known is None or _STRENGTH[state] > _STRENGTH[known]:
            self._uses[reference] = state

    def _any_table(self) -> str:
        return min(self.tables, default="(no table)")

    def _refuse_node(self, node: Relation, reason: str) -> None:
        self.refusals.append(
            self.rules.refuse(self._any_table(), None, "operation", reason, "operators that the policy knows")
        )

    def _names(self, node: Relation, table: str) -> None:
        """Names must mean one column in every engine, and not those of the guards."""
        match node:
            case Scan():
                declared = node.schema.names
            case Project() | Join():
                declared = tuple(name for name, _ in node.values)
            case Aggregate():
                declared = tuple(name for name, _ in (*node.groups, *node.metrics))
            case Predict():
                declared = (*node.input.schema.names, *(name for name, _ in node.outputs))
            case _:
                return
        folded = {name.casefold() for name in declared}
        if len(folded) != len(declared) or any(name.startswith(RESERVED) for name in folded):
            self.refusals.append(
                self.rules.refuse(
                    table, None, "names",
                    "column names repeat (apart from case) or use the prefix of a hidden column",
                    "other column names",
                )
            )  # fmt: skip

    def _subquery(self, expression: Subquery) -> None:
        self._depth += 1
        state = self.state(expression.plan)
        self._depth -= 1
        if state.private:
            self.refusals.append(
                self.rules.refuse(
                    state.units[0].table, None, "subquery", "rows of a private table in a subquery",
                    "a subquery that aggregates them",
                )
            )  # fmt: skip

    def _shapes(self, below: State) -> Shapes:
        return Shapes(self.rules, lambda _, name: below.value(name), [])

    # ---- one rule a node

    def scan(self, node: Scan) -> State:
        """A table of this site."""
        rules = self.rules
        if node.table not in self.tables:
            self.tables.add(node.table)
            self.refusals += rules.admission(node.table)
        if node.site is not None and node.site != rules.site:
            self.refusals.append(
                rules.refuse(node.table, None, "table", f"this is a table of site {node.site}", "tables of this site")
            )  # fmt: skip
        if node.table not in rules.policies:
            return State()
        state, refusals = scanned(node, rules)
        self.refusals += refusals
        return state

    def leaf(self, node: Received | Model) -> State:
        """Data from elsewhere, or what an earlier fragment left here."""
        if isinstance(node, Received) and node.key in self.kept:
            known = self.kept[node.key]
            if node.key not in self.received:
                self.received.add(node.key)
                for table in sorted(known.tables):
                    self.refusals += self.rules.admission(table)
            return known.state
        return State(keys=(frozenset(),) if isinstance(node, Model) else ())

    def constant(self, node: Constant) -> State:
        """One row."""
        return State(keys=(frozenset(),))

    def project(self, node: Project) -> State:
        """Columns computed row by row."""
        below = self.states[id(node.input)]
        if not below.private:
            picked = {name: value.name for name, value in node.values if isinstance(value, Column)}
            if below.natural and len(picked) == len(node.values):
                return State(columns={new: below.value(old) for new, old in picked.items()}, natural=True)
            renamed = {old: new for new, old in picked.items()}
            keys = (frozenset(renamed[old] for old in key) for key in below.keys if key <= renamed.keys())
            return State(keys=tuple(keys))
        shapes = self._shapes(below)
        known = below.columns
        columns = {
            name: known.get(value.name, PUBLIC) if isinstance(value, Column) else shapes.value(value)
            for name, value in node.values
        }
        return replace(
            below, columns=columns, pending=(*below.pending, *dict.fromkeys(shapes.problems)), carriers=None
        )

    def filter(self, node: Filter) -> State:
        """Some of the rows."""
        below = self.states[id(node.input)]
        if not below.private:
            return State(keys=below.keys)
        shapes = self._shapes(below)
        for conjunct in (part for expression in node.predicates for part in conjuncts(expression)):
            known = present(shapes, conjunct)
            if known is None:
                self.refusals += predicate(shapes, conjunct, "filter")
            else:
                self.refusals += self.rules.predicates(stored(known.sources), "filter")
                shapes.problems.extend(self.rules.reaches(known.sources))
        return replace(below, pending=(*below.pending, *dict.fromkeys(shapes.problems)), carriers=None)

    def join(self, node: Join) -> State:
        """Rows of several tables."""
        states = [self.states[id(table)] for table in node.tables]
        if not any(state.private for state in states):
            return State()
        rule = JoinRule(node, states, self.rules)
        state = rule.judge()
        self.refusals += rule.refusals
        return state

    def aggregate(self, node: Aggregate) -> State:
        """Groups: of one unit each, or coarse and then guarded."""
        below = self.states[id(node.input)]
        public = State(keys=(frozenset(name for name, _ in node.groups),))
        if not below.private:
            return public
        shapes = self._shapes(below)
        if row_like(node, below):
            state, refusals = per_unit(node, below, self.rules, shapes)
            self.refusals += refusals
            return state
        self.refusals += guarded(node, below, self.rules, shapes, self.free.setdefault(id(node), set()))
        problems = tuple(dict.fromkeys(shapes.problems))
        if self._depth and correlated(node):
            # Its value differs from row to row of the query around it: no stage of its own, and one release a row.
            self.refusals.append(
                self.rules.refuse(
                    below.units[0].table, None, "subquery", "an aggregate refers to the query around its subquery",
                    "a join with an aggregate",
                )
            )  # fmt: skip
            return public
        flow = self.flow(node)
        if flow is None:
            return public
        if problems:
            if not list(self.rules.rows(references(flow), tables_of(flow))):
                # What may leave as rows may leave as any function of rows, unguarded.
                columns = {
                    name: Value(frozenset((source.table, source.column) for source in sources))
                    for name, sources in flow.columns.items()
                }
                return replace(below, columns=columns, pending=problems, carriers=None)
            self.refusals += problems
        self._names(node, below.units[0].table)
        self.note(flow, "guarded")
        self._tracer.release(node)
        self.guarded.append(node)
        return public

    def blocked(self, node: Sort | Limit | Distinct | Sample | SetOperation | Unnest | MapBatches) -> State:
        """Nodes that rows may pass on their way out, but under no guard."""
        states = [self.states[id(table)] for table in node.inputs]
        if not any(state.private for state in states):
            return _public(node, states)
        private = [state for state in states if state.private]
        what = _BLOCKED[type(node)]
        refusal = self.rules.refuse(
            private[0].units[0].table, None, "operation",
            f"{what} of a private table's rows cannot be guarded below an aggregate",
            f"{what} of the aggregate's result",
        )  # fmt: skip
        flow = self.flow(node)
        columns = {
            name: Value(frozenset((source.table, source.column) for source in sources))
            for name, sources in (flow.columns if flow else {}).items()
        }
        return State(
            units=tuple(unit for state in states for unit in state.units),
            columns=columns,
            pending=(*(problem for state in states for problem in state.pending), refusal),
        )

    def train(self, node: Train) -> State:
        """Training is judged on its own."""
        below = self.states[id(node.input)]
        if below.private:
            self.refusals.append(
                self.rules.refuse(
                    below.units[0].table, None, "training", "a model fitted inside a query would leave with its rows in it",
                    "training by updates (training = \"updates\"), which is judged as training",
                )
            )  # fmt: skip
        return State(keys=(frozenset(),))

    def predict(self, node: Predict) -> State:
        """A model's outputs are free functions of its features."""
        below, _ = (self.states[id(table)] for table in node.inputs)
        if not below.private:
            return State(keys=below.keys)
        sources = frozenset(
            source for name in node.features for source in below.value(name).sources
        )  # fmt: skip
        columns = {**below.columns, **{name: Value(sources) for name, _ in node.outputs}}
        return replace(below, columns=columns, carriers=None)

    def federated(self, node: Parts | Copies) -> State:
        """Not a fragment of one site."""
        self._refuse_node(node, f"a fragment of one site holds no {type(node).__name__}")
        return State()


def _public(node: Relation, states: Iterable[State]) -> State:
    below = next(iter(states))
    match node:
        case Distinct():
            return State(keys=(*below.keys, frozenset(node.schema.names)))
        case Limit(n=n) if n is not None and n <= 1:
            return State(keys=(frozenset(),))
        case Sort() | Limit() | Sample():
            return State(keys=below.keys)
        case _:
            return State()


_BLOCKED: dict[type[Relation], str] = {
    Sort: "a sort",
    Limit: "a limit",
    Distinct: "the distinct rows",
    Sample: "a sample",
    SetOperation: "a union, intersection or difference",
    Unnest: "an unnesting",
    MapBatches: "a Python function",
}

_RULES: dict[type[Relation], Callable[..., State]] = {
    Scan: Judging.scan,
    Received: Judging.leaf,
    Model: Judging.leaf,
    Constant: Judging.constant,
    Project: Judging.project,
    Filter: Judging.filter,
    Join: Judging.join,
    Aggregate: Judging.aggregate,
    Sort: Judging.blocked,
    Limit: Judging.blocked,
    Distinct: Judging.blocked,
    Sample: Judging.blocked,
    SetOperation: Judging.blocked,
    Unnest: Judging.blocked,
    MapBatches: Judging.blocked,
    Train: Judging.train,
    Predict: Judging.predict,
    Parts: Judging.federated,
    Copies: Judging.federated,
}
