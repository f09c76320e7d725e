"""Runs loops: turn by turn, the state kept where it is made, what no turn changes computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from blossom.executor.keeping import Keeper, Kept, or_inline
from blossom.plan.errors import LoopError, PolicyError
from blossom.plan.everywhere import everywhere
from blossom.plan.loops import bound, without_invariants
from blossom.plan.relations import Relation, Repeat, after, before


@dataclass(slots=True)
class Looping:
    """The loops of one run.

    Args:
        keeper: Keeps states and shared results.
        prepare: Makes a turn's plan ready to be placed, apart from its loops: fits the models in it.
        say: Told what happens.
    """

    keeper: Keeper
    prepare: Callable[[Relation], Relation]
    say: Callable[[str], None]
    _loops: int = field(default=0)

    def resolve(self, logical: Relation) -> Relation:
        """The plan with every loop run to its end and its last state in its place.

        Raises:
            LoopError: A loop's condition was not met in time.
            BlossomError: Any fault of a turn.
        """
        return everywhere(logical, lambda node: self._run(node) if isinstance(node, Repeat) else node)

    def _ready(self, logical: Relation) -> Relation:
        return self.resolve(self.prepare(logical))

    def _run(self, node: Repeat) -> Relation:
        self._loops += 1
        start = self.keeper.mark()
        name = f"loop {self._loops}"
        keys = frozenset({node.key, before(node.key), after(node.key)})
        body, shared = without_invariants(node.body, keys, f"{node.key} shared")
        until, also = (
            (None, {}) if node.until is None else without_invariants(node.until, keys, f"{node.key} until")
        )
        state = self.keeper.keep(self._ready(node.input))
        self.say(f"{name}: the state starts with {_rows(state)} at {state.place}")
        if not node.times:
            return state.rows
        inline = shared | also
        kept = {key: self._kept(part, name) for key, part in inline.items()}
        for turn in range(1, node.times + 1):
            began, before_turn = time.perf_counter(), self.keeper.mark()
            new = self._turn(body, {node.key: state.rows}, kept, inline)
            met = until is not None and self._met(
                until, {before(node.key): state.rows, after(node.key): new.rows}, kept
            )
            self.keeper.drop_since(before_turn, but=new)
            self.keeper.drop(state)
            state = new
            seconds = time.perf_counter() - began
            self.say(
                f"{name}: turn {turn} of {'at most ' * (until is not None)}{node.times}, {_rows(state)} at {state.place}, {seconds:.2f} s"
            )
            if met:
                self.say(f"{name}: the condition is met")
                break
        else:
            if until is not None:
                raise LoopError(
                    f"the loop's condition was not met within {node.times} turns",
                    where="repeat",
                    hint="raise max_times, or ask for less in until",
                )
        self.keeper.drop_since(start, but=state)
        return state.rows

    def _kept(self, part: Relation, name: str) -> Relation:
        ready = self._ready(part)
        kept = or_inline(lambda: self.keeper.keep(ready), ready)
        if kept is ready:
            self.say(
                f"{name}: a part that no turn changes is computed every turn: the policy lets nobody keep it"
            )
        return kept

    def _turn(
        self,
        body: Relation,
        states: Mapping[str, Relation],
        kept: dict[str, Relation],
        inline: Mapping[str, Relation],
    ) -> Kept:
        try:
            return self.keeper.keep(self._ready(bound(body, {**states, **kept})))
        except PolicyError:
            if not kept:
                raise
            # a policy may allow of a table what it does not allow of a result made from it: then nothing is kept
            kept.update({key: self._ready(part) for key, part in inline.items()})
            return self.keeper.keep(self._ready(bound(body, {**states, **kept})))

    def _met(self, until: Relation, states: Mapping[str, Relation], kept: Mapping[str, Relation]) -> bool:
        planned = self.keeper.planner.plan(self._ready(bound(until, {**states, **kept})))
        answer = self.keeper.compute(planned)
        if answer.num_rows != 1:
            raise LoopError(
                f"the loop's condition gave {answer.num_rows} values",
                where="repeat",
                hint="it is one boolean: aggregate what it compares; a site may also have withheld it",
            )
        return answer.column(0)[0].as_py() is True


def _rows(state: Kept) -> str:
    return "rows" if state.count is None else f"{state.count:,} row{'s' * (state.count != 1)}"
