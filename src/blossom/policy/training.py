"""The judge of training: may a site fit a model on this fragment, and which units must it count?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blossom.plan.errors import PolicyError, Refusal
from blossom.plan.expressions import Column, Named
from blossom.plan.relations import Project, Relation
from blossom.policy.facets import Content, column_content
from blossom.policy.guards import Cutter, Guarded, guard
from blossom.policy.judging import Judging, Use
from blossom.policy.kept import NOTHING_KEPT, Kept
from blossom.policy.model import Recipient, TablePolicy
from blossom.policy.rules import Rules
from blossom.policy.shape import held
from blossom.policy.states import State, unit_column


@dataclass(frozen=True, slots=True)
class TrainingUnit:
    """A column of the training rows that tells a table's units apart; null where the row describes none."""

    column: str
    table: str
    min_group: int


@dataclass(frozen=True, eq=False)
class TrainingVerdict:
    """The judgement of a fit at one site.

    Attributes:
        site: The site that judged.
        refusals: Why not; empty when it may be fitted.
        uses: The columns behind it.
        tables: The site's tables in it.
        plan: The rows to fit on: features, target, and a `__unit_<table>` column for each private table in them. They stay at the
            site. None when refused.
        contents: The columns that the model reads, as the ledger tells them apart.
        computed: Those of them that are computed in no affine form, nor as a product of two such.
        protected: Those that may not be computed with freely. Where there are none, any model may be measured on these rows.
        units: These unit columns. The site refuses the fit where one of them has fewer distinct non-null values than its minimum.
    """

    site: str
    refusals: tuple[Refusal, ...]
    uses: tuple[Use, ...]
    tables: tuple[str, ...]
    plan: Guarded | None
    units: tuple[TrainingUnit, ...]
    contents: tuple[Content, ...] = ()
    computed: frozenset[str] = frozenset()
    protected: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether it may be fitted (on `plan`)."""
        return not self.refusals

    def allow(self) -> Guarded:
        """The plan to fit on.

        Raises:
            PolicyError: The fit is refused.
        """
        if self.plan is None:
            raise PolicyError(f"the policy of {self.site} refuses this fit", self.refusals, where=self.site)
        return self.plan


def judge_training(
    fragment: Relation,
    policies: Mapping[str, TablePolicy],
    recipient: Recipient,
    site: str,
    features: Sequence[str],
    target: str | None,
    kept: Mapping[str, Kept] = NOTHING_KEPT,
) -> TrainingVerdict:
    """Judge a fit on the rows of a fragment, of which only updates leave.

    Args:
        fragment: Its plan, as for `judge`.
        policies: The site's tables by name.
        recipient: Who would get the updates.
        site: The site's name.
        features: The columns that the model reads.
        target: The column that it learns; None for models without one.
        kept: Outputs of earlier fragments that stayed here, by key.
    """
    judging = Judging(Rules(policies, recipient, site), kept)
    state = judging.state(fragment)
    used = [*features, *(() if target is None else (target,))]
    judging.refusals += _updates(state, judging.rules)
    judging.refusals += state.pending
    for name in dict.fromkeys(used):
        value = state.value(name)
        judging.refusals += judging.rules.reaches(value.sources)
        if not held(value) or state.weighted:
            # A feature `pid == 777` makes the model itself say the victim's value.
            judging.refusals += judging.rules.transforms(
                value.sources, f"column {name!r} of the training rows"
            )
    flow = judging.flow(fragment)
    if flow is not None:
        shown = {name: flow.columns[name] for name in used}
        judging.note(flow._replace(columns=shown), "mixed")
    refusals = tuple(dict.fromkeys(judging.refusals))
    tables = tuple(sorted(judging.tables.union(*(kept[key].tables for key in judging.received))))
    if refusals:
        return TrainingVerdict(site, refusals, judging.uses(), tables, None, ())
    cut = guard(fragment, judging.states, judging.guarded)
    units = _units(state)
    cutter = Cutter(judging.states)
    for node, stage in zip(judging.guarded, cut.stages, strict=True):
        cutter.received(node, stage)
    values: list[Named] = [(name, fragment.column(name)) for name in dict.fromkeys(used)]
    values += [
        (unit.column, Column(unit_column(index), state.units[index].dtype))
        for index, unit in enumerate(units)
    ]
    root = Project(cutter.carry(fragment), tuple(values))
    contents = tuple(column_content(fragment.column(name), state.value(name)) for name in dict.fromkeys(used))
    protected = tuple(
        name
        for name in dict.fromkeys(used)
        if list(judging.rules.transforms(state.value(name).sources, "a model of one's own"))
    )
    computed = frozenset(name for name in used if not held(state.value(name)))
    plan = Guarded(cut.stages, root)
    return TrainingVerdict(site, (), judging.uses(), tables, plan, units, contents, computed, protected)


def _updates(state: State, rules: Rules) -> list[Refusal]:
    found: list[Refusal] = []
    for unit in state.units:
        if rules.policies[unit.table].training != "updates":
            found.append(
                rules.refuse(
                    unit.table, None, "training", "no model may be fitted on this table",
                    "ask its owner for training = \"updates\"",
                )
            )  # fmt: skip
        found += rules.stewards({unit.table}, "fits")
        if unit.missing is not None:
            found.append(unit.missing)
    return found


def _units(state: State) -> tuple[TrainingUnit, ...]:
    """One column a table's occurrence; a table that occurs again gets a number."""
    found: list[TrainingUnit] = []
    for unit in state.units:
        again = sum(other.table == unit.table for other in found)
        name = f"__unit_{unit.table}" + (f"_{again + 1}" if again else "")
        found.append(TrainingUnit(name, unit.table, unit.min_group))
    return tuple(found)
