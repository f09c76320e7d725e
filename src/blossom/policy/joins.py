"""The join rule: who may be linked with whom, and whose rows a joined row describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from blossom.plan.errors import Refusal
from blossom.plan.expressions import Call, Column, Expression, Literal, columns, conjuncts
from blossom.plan.relations import Join, Link
from blossom.policy.rules import Rules
from blossom.policy.shape import Shapes, predicate
from blossom.policy.states import Carrier, Reference, State, Unit, Value, null_column, rows_of, unit_column

NO_NULL = Literal(0, "int8")

_WITH_PUBLIC_RIGHT = frozenset({"inner", "left", "right", "outer", "semi", "anti", "cross"})
_WITH_PUBLIC_LEFT = frozenset({"inner", "left", "right", "outer", "cross"})
_BETWEEN_PRIVATE = frozenset({"inner", "left", "right", "outer", "semi"})
_DROPS_RIGHT = frozenset({"semi", "anti"})


@dataclass(slots=True)
class JoinRule:
    """One join with at least one private input, judged link by link."""

    node: Join
    states: Sequence[State]
    rules: Rules
    refusals: list[Refusal] = field(default_factory=list)
    problems: list[Refusal] = field(default_factory=list)
    weighted: bool = False
    _offsets: dict[int, int] = field(default_factory=dict)
    _units: list[Unit] = field(default_factory=list)
    _carriers: list[Carrier] = field(default_factory=list)
    _views: dict[tuple[int, str], Value] = field(default_factory=dict)
    _follows: dict[int, frozenset[Reference]] = field(default_factory=dict)
    _linked: dict[int, frozenset[Reference]] = field(default_factory=dict)

    def judge(self) -> State:
        """The state of the join; refusals and problems are left in the rule's own fields."""
        private = self._enter(0)
        for index, link in enumerate(self.node.links, start=1):
            private = self._link(index, link, private)
        shapes = self._shapes()
        out = {name: shapes.value(value) for name, value in self.node.values}
        return State(
            units=tuple(self._units),
            columns=out,
            pending=tuple(self.problems),
            weighted=self.weighted,
            carriers=tuple(self._carriers),
        )

    def _enter(self, index: int) -> bool:
        """Take in a table: its units get their place in the row of units."""
        state = self.states[index]
        self._offsets[index] = len(self._units)
        for number, unit in enumerate(state.units):
            self._units.append(unit)
            self._carriers.append(
                Carrier(Column(unit_column(number), unit.dtype, index), Column(null_column(number), "int8", index))
            )  # fmt: skip
        self.problems.extend(state.pending)
        self.weighted |= state.weighted
        return state.private

    def _shapes(self) -> Shapes:
        return Shapes(self.rules, self._view, self.problems)

    def _view(self, index: int, name: str) -> Value:
        known = self._views.get((index, name))
        if known is not None:
            return known
        value = self.states[index].value(name)
        offset = self._offsets.get(index, 0)
        if offset and (value.covers or value.exact):
            value = replace(
                value,
                exact=frozenset(unit + offset for unit in value.exact),
                covers=frozenset(unit + offset for unit in value.covers),
            )
        follows = self._follows.get(index)
        if follows:
            # A column of the user's own data, looked up by a private column, is a function of that column.
            value = Value(value.sources | follows)
        linked = self._linked.get(index)
        if linked and value.sources:
            # Which rows of an open table meet a private one is a secret, unless its key is free: a flag of it would count them.
            value = replace(value, sources=value.sources | linked)
        self._views[index, name] = value
        return value

    def _link(self, index: int, link: Link, private: bool) -> bool:
        state = self.states[index]
        if not private and not state.private:
            # The user's data and open tables among themselves: nothing to guard, but no longer a table as it is.
            self._enter(index)
            return False
        if private and state.private:
            self._between_private(index, link)
        else:
            self._with_public(index, link, private)
        return True

    # ---- a private side and a public one

    def _with_public(self, index: int, link: Link, private: bool) -> None:
        known = _WITH_PUBLIC_RIGHT if private else _WITH_PUBLIC_LEFT
        if link.how not in known:
            self._refuse_how(index, link, f"a {link.how} join of a private table with other data")
            self._enter(index)
            return
        self._enter(index)
        public = (index,) if private else tuple(range(index))
        pairs, rest = self._pairs(link, index)
        natural = len(public) == 1 and self.states[public[0]].natural and not rest
        looked_up = [self._lookup(pair, public[0]) if natural else None for pair in pairs]
        if pairs and all(reference is not None for reference in looked_up):
            # Two tables of this site on their own columns: nobody chose whom they bring together.
            for reference in looked_up:
                if reference is not None:
                    self.refusals += self.rules.key(reference, "key of a join")
            self._linked[public[0]] = self._meeting(frozenset(filter(None, looked_up)))
            self._views = {key: value for key, value in self._views.items() if key[0] != public[0]}
            return
        used: frozenset[Reference] = frozenset()
        for conjunct in (*(Call("Equals", pair, "boolean") for pair in pairs), *rest):
            for column in columns(conjunct):
                if column.input not in public:
                    used |= self._view(column.input, column.name).sources
            self._predicate(conjunct)
        if link.how in _DROPS_RIGHT:
            return
        single = len(public) == 1 and self._unique(public[0], pairs)
        if not single and not used:
            self._refuse_fan_out(index, link)
        self.weighted |= not single
        # From now on the public columns are seen as functions of the private ones that looked them up.
        for table in public:
            self._follows[table] = used | self._follows.get(table, frozenset())
        self._views = {key: value for key, value in self._views.items() if key[0] not in public}

    def _lookup(self, pair: tuple[Column, Column], public: int) -> Reference | None:
        """The private side's stored column, where both sides of an equality are stored columns of this site."""
        own, other = pair if pair[1].input == public else (pair[1], pair[0])
        if self.states[public].value(other.name).bare is None:
            return None
        return self._view(own.input, own.name).bare

    def _meeting(self, keys: frozenset[Reference]) -> frozenset[Reference]:
        """What it depends on which rows of an open table meet a private one: of free keys nothing that they do not tell."""
        return rows_of(self._units) if any(self.rules.transforms(keys, "")) else keys

    def _unique(self, public: int, pairs: Sequence[tuple[Column, Column]]) -> bool:
        """Whether every row meets at most one row of the public side."""
        matched = {column.name for pair in pairs for column in pair if column.input == public}
        return any(key <= matched for key in self.states[public].keys)

    # ---- two private sides

    def _between_private(self, index: int, link: Link) -> None:
        state = self.states[index]
        if link.how not in _BETWEEN_PRIVATE:
            self._refuse_how(index, link, f"a {link.how} join of two private tables")
            self._enter(index)
            return
        kept = len(self._units)
        self._enter(index)
        pairs, rest = self._pairs(link, index)
        linked: list[tuple[Column, Column]] = []
        for left, right in pairs:
            values = self._view(left.input, left.name), self._view(right.input, right.name)
            if all(value.bare is not None for value in values):
                for value in values:
                    if value.bare is not None:
                        self.refusals += self.rules.key(value.bare, "key of a join")
                linked.append((left, right))
            else:
                self._predicate(Call("Equals", (left, right), "boolean"))
        for conjunct in rest:
            self._predicate(conjunct)
        if not linked:
            self._refuse_fan_out(index, link)
        if link.how == "semi":
            self._semi(index, link, linked, kept, state)
            return
        for left, right in linked:
            self._equate(left, right, link.how)

    def _equate(self, left: Column, right: Column, how: str) -> None:
        """After the join, columns equal in every row stand for each other's units."""
        if not _same_values(left, right):
            return
        a, b = self._view(left.input, left.name), self._view(right.input, right.name)
        if how == "inner":
            exact, covers = a.exact | b.exact, a.covers | b.covers
            self._views[left.input, left.name] = replace(a, exact=exact, covers=covers)
            self._views[right.input, right.name] = replace(b, exact=exact, covers=covers)
        elif how == "left":
            self._views[left.input, left.name] = replace(a, covers=a.covers | b.covers)
        elif how == "right":
            self._views[right.input, right.name] = replace(b, covers=a.covers | b.covers)

    def _semi(
        self, index: int, link: Link, linked: Sequence[tuple[Column, Column]], kept: int, state: State
    ) -> None:
        """The right side's rows are gone; its units are known only where they were what was matched."""
        for unit in range(kept, len(self._units)):
            match = next(
                (
                    left
                    for left, right in linked
                    if _same_values(left, right) and unit in self._view(right.input, right.name).exact
                ),
                None,
            )
            if match is None:
                self._refuse_how(
                    index,
                    link,
                    f"a semi join with {self._units[unit].table}, not on the column that tells its units apart",
                )
                return
            self._carriers[unit] = Carrier(match, NO_NULL)
            value = self._view(match.input, match.name)
            self._views[match.input, match.name] = replace(
                value, exact=value.exact | {unit}, covers=value.covers | {unit}
            )

    # ---- parts

    def _pairs(self, link: Link, index: int) -> tuple[list[tuple[Column, Column]], list[Expression]]:
        """Equalities of a bare column before with one of table `index`, in that order, and the other conjuncts."""
        pairs: list[tuple[Column, Column]] = []
        rest: list[Expression] = []
        for predicate_ in link.predicates:
            for conjunct in conjuncts(predicate_):
                match conjunct:
                    case Call("Equals", (Column() as a, Column() as b)) if (a.input == index) != (
                        b.input == index
                    ):
                        pairs.append((b, a) if a.input == index else (a, b))
                    case Literal(value=True):
                        pass
                    case _:
                        rest.append(conjunct)
        return pairs, rest

    def _predicate(self, expression: Expression) -> None:
        self.refusals += predicate(self._shapes(), expression, "join condition")

    def _table(self, index: int) -> str:
        state = self.states[index]
        return state.units[0].table if state.units else self._units[0].table

    def _refuse_how(self, index: int, link: Link, what: str) -> None:
        self.problems.append(
            self.rules.refuse(
                self._table(index), None, "join", f"{what} cannot be guarded below an aggregate",
                "an inner, left, right or outer join on equal columns; a semi join on the column that tells units apart",
            )
        )  # fmt: skip

    def _refuse_fan_out(self, index: int, link: Link) -> None:
        self.problems.append(
            self.rules.refuse(
                self._table(index), None, "join",
                f"a {link.how} join without an equality of columns repeats rows as the user likes",
                "a join on equal columns, or with a relation of one row (an aggregate without groups)",
            )
        )  # fmt: skip


def _same_values(left: Column, right: Column) -> bool:
    """Whether equal means the same value: 2^53 and 2^53 + 1 are equal where an integer meets a float."""
    kinds = left.dtype.lstrip("!"), right.dtype.lstrip("!")
    return kinds[0] == kinds[1] or all("int" in kind and "<" not in kind for kind in kinds)
