"""The judge: may a fragment's output leave a site, in what form, and behind which guards?

Every relation is *public* (no private data in it, or let out by a guard) or *row-like private*; it then carries, for each
private table in it, the unit whose distinct values are counted. See `judging` for the rule of each node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from blossom.plan.errors import PolicyError, Refusal
from blossom.plan.lineage import Flow
from blossom.plan.relations import Relation
from blossom.policy.guards import Guarded, guard
from blossom.policy.judging import Judging, Use, references, tables_of
from blossom.policy.kept import NOTHING_KEPT, Kept
from blossom.policy.model import Recipient, TablePolicy
from blossom.policy.rules import Rules
from blossom.policy.shape import held
from blossom.policy.states import State


@dataclass(frozen=True, eq=False)
class Verdict:
    """The judgement of one fragment.

    Attributes:
        site: The site that judged.
        refusals: Why not; empty when the fragment may leave.
        release: In what form it leaves; None when refused.
        uses: The columns behind it.
        tables: The site's tables in it.
        plan: The guarded plan, the only one that may be run for this recipient; None when refused.
    """

    site: str
    refusals: tuple[Refusal, ...]
    release: OneOf["rows", "aggregates", "public"] | None
    uses: tuple[Use, ...]
    tables: tuple[str, ...]
    plan: Guarded | None

    @property
    def allowed(self) -> bool:
        """Whether the fragment may leave (as `plan` says)."""
        return not self.refusals

    def allow(self) -> Guarded:
        """The guarded plan.

        Raises:
            PolicyError: The fragment is refused.
        """
        if self.plan is None:
            raise PolicyError(
                f"the policy of {self.site} refuses this fragment", self.refusals, where=self.site
            )
        return self.plan


def judge(
    fragment: Relation,
    policies: Mapping[str, TablePolicy],
    recipient: Recipient,
    site: str,
    kept: Mapping[str, Kept] = NOTHING_KEPT,
) -> Verdict:
    """Judge a fragment that a recipient asks of a site.

    Args:
        fragment: Its plan. `Scan` leaves are tables of this site; `Received` leaves hold data from elsewhere, which is no secret
            of this site but was chosen by the user; but for the keys of `kept`, which are outputs of this very site.
        policies: The site's tables by name.
        recipient: Who would get the output.
        site: The site's name.
        kept: Outputs of earlier fragments that stayed here, by key.
    """
    judging = Judging(Rules(policies, recipient, site), kept)
    state = judging.state(fragment)
    flow = judging.flow(fragment)
    if state.private and flow is not None:
        judging.refusals += judging.rules.rows(references(flow), tables_of(flow))
    if flow is not None:
        judging.note(flow)
    refusals = tuple(dict.fromkeys(judging.refusals))
    tables = tuple(sorted(judging.tables.union(*(kept[key].tables for key in judging.received))))
    if refusals:
        return Verdict(site, refusals, None, judging.uses(), tables, None)
    plan = guard(fragment, judging.states, judging.guarded, free=judging.free)
    guarded_before = any(kept[key].guarded for key in judging.received)
    aggregates = bool(plan.stages) or guarded_before
    release = "rows" if flow is not None and flow.tables else "aggregates" if aggregates else "public"
    return Verdict(site, (), release, judging.uses(), tables, plan)


def _useless(judging: Judging, state: State, flow: Flow) -> Iterator[Refusal]:
    """Why nothing made of an output could ever leave: computing it could only tell something by failing, or to a function."""
    if not state.private or not list(judging.rules.rows(references(flow), tables_of(flow))):
        return
    yield from state.pending
    for name, value in state.columns.items():
        if not held(value):
            yield from judging.rules.transforms(value.sources, f"column {name!r} of what is kept at the site")


ADMISSION: frozenset[str] = frozenset({"to", "purpose", "release"})
"""Rules of whole tables that ask who gets the output; they do not stand against one that stays at its site."""


def keep(
    fragment: Relation,
    policies: Mapping[str, TablePolicy],
    site: str,
    kept: Mapping[str, Kept] = NOTHING_KEPT,
) -> tuple[Guarded, Kept]:
    """The plan of a fragment whose output stays at the site, and what to remember of it.

    Coarse aggregates are guarded here already; row-like output gets hidden columns for its units, so that a later fragment can
    count them.

    Raises:
        PolicyError: It cannot be guarded; nothing made of it could ever leave.
    """
    judging = Judging(Rules(policies, Recipient(site), site), kept)
    state = judging.state(fragment)
    flow = judging.flow(fragment)
    # A column that may reach no output may not be aggregated here either: the aggregate would count as released.
    refusals = tuple(
        dict.fromkeys(
            refusal
            for refusal in judging.refusals
            if refusal.rule not in ADMISSION or refusal.column is not None
        )
    )
    if not refusals and flow is not None:
        refusals = tuple(dict.fromkeys(_useless(judging, state, flow)))
    if refusals or flow is None:
        raise PolicyError(f"the policy of {site} refuses this fragment", refusals, where=site)
    # with something pending no guard can stand above, so nobody will ask for the units
    carry = state.private and not state.pending
    plan = guard(fragment, judging.states, judging.guarded, carry=carry, free=judging.free)
    behind = frozenset(judging.tables).union(*(kept[key].tables for key in judging.received))
    guarded = bool(plan.stages) or any(kept[key].guarded for key in judging.received)
    return plan, Kept(replace(state, carriers=None), flow, behind, guarded)
