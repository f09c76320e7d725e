"""From a planned pipeline to its explanation: policies as short phrases, training in words, actual figures where known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from blossom.executor.federation import Federation
from blossom.executor.planner import Planned
from blossom.executor.training import Training, TrainingPlan
from blossom.fedpy.explain import Actual, Explanation, FitNote
from blossom.learning.estimator import Estimator, estimator_from_document
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Received, Relation, Scan, Train
from blossom.policy.model import TablePolicy
from blossom.sites.config.model import HUB

STATISTICS: Mapping[str, str] = {
    "StandardScaler": "count, mean and variance of each scaled column",
    "OneHotEncoder": "how often each category occurs",
    "LogisticRegression": "loss, gradient and Hessian, summed over rows, once a step",
    "LinearRegression": "the features' and the target's cross products, summed over rows",
    "Ridge": "the features' and the target's cross products, summed over rows",
}
"""What an estimator's fit asks of each site, by its class."""

ALWAYS = "how many rows and units there are"
METRICS = "sums and histograms for the metrics"


def explained(
    planned: Planned,
    federation: Federation,
    actuals: Mapping[str, Actual] | None = None,
    notes: Sequence[str] = (),
    trainings: Sequence[FitNote] = (),
) -> Explanation:
    """The explanation of a plan."""
    policies = _policies(planned.stages[-1][1].walk(), federation)
    return Explanation(
        planned.physical,
        planned.stages,
        dict(actuals or {}),
        policies,
        (*notes, *federation.experience.warnings),
        tuple(trainings),
        prices=federation.prices.note,
        priced=federation.prices.any,
    )


def explained_fit(
    train: Train, plan: TrainingPlan, known: Training | None, federation: Federation
) -> Explanation:
    """The explanation of a fit: how each place makes its rows, and what it answers about them."""
    fragments: list[Fragment] = []
    for physical in plan.physical.values():
        fragments += _renumbered(physical.fragments, len(fragments))
    seconds = max(physical.seconds for physical in plan.physical.values())
    planning = sum(physical.planning_seconds for physical in plan.physical.values())
    stages = tuple((f"rows at {site}", root) for site, root in plan.parts.items())
    policies = _policies((node for part in plan.parts.values() for node in part.walk()), federation)
    return Explanation(
        PhysicalPlan(tuple(fragments), seconds, planning),
        stages,
        policies=policies,
        trainings=(fit_note(train, plan, known),),
        answer="model",
        receiver=HUB,
    )


def fit_note(train: Train, plan: TrainingPlan, known: Training | None) -> FitNote:
    """Where a model is fitted and why; after the fit, in how many rounds."""
    sites = tuple(plan.parts)
    if plan.mode == "central":
        statistics: tuple[str, ...] = ("nothing: the fit reads the rows at the hub",)
    else:
        steps = _classes(estimator_from_document(train.estimator))
        asked = (STATISTICS[name] for name in steps if name in STATISTICS)
        statistics = tuple(dict.fromkeys((ALWAYS, *asked, METRICS)))
    if known is None:
        return FitNote(train.target, plan.mode, sites, plan.reason, statistics)
    left: dict[str, int] = {}
    for release in known.releases:
        left[release.site] = left.get(release.site, 0) + release.bytes
    return FitNote(
        train.target,
        plan.mode,
        sites,
        plan.reason,
        statistics,
        tuple(_rounds(known)),
        dict(sorted(left.items())),
    )


def _rounds(known: Training) -> Iterator[str]:
    """The rounds of a fit by phase: how many, and what the loss came to."""
    phases: dict[str, list[float]] = {}
    rows = known.fitted.rounds.to_pylist()
    for row in rows:
        losses = phases.setdefault(row["step"], [])
        if row["loss"] is not None:
            losses.append(row["loss"])
    for step, losses in phases.items():
        times = sum(row["step"] == step for row in rows)
        text = step if times == 1 else f"{step} {times} times"
        yield text if not losses else f"{text}, loss a row {losses[0]:.6g} to {losses[-1]:.6g}"


def _classes(estimator: Estimator) -> Iterator[str]:
    parts = estimator.named_parts()
    if not parts:
        yield type(estimator).__name__
    for _, part in parts:
        yield from _classes(part)


def _renumbered(fragments: Iterable[Fragment], start: int) -> Iterator[Fragment]:
    """Fragments of one site's plan under keys that are unique among all sites'."""
    keys: dict[str, str] = {}

    def rule(node: Relation) -> Relation:
        return replace(node, key=keys[node.key]) if isinstance(node, Received) and node.key in keys else node

    for number, one in enumerate(fragments, start):
        keys[one.key] = f"f{number}"
        yield replace(
            one,
            key=keys[one.key],
            root=rewrite(one.root, rule),
            inputs=tuple(keys[key] for key in one.inputs),
        )


def _policies(nodes: Iterable[Relation], federation: Federation) -> dict[str, str]:
    read: dict[str, dict[str, TablePolicy]] = {}
    for node in nodes:
        if isinstance(node, Scan) and node.site in federation.descriptions:
            read.setdefault(node.site, {})[node.table] = federation.sites[node.site].policy(node.table)
    return {
        site: "; ".join(f"{table}: {phrase(policy)}" for table, policy in sorted(tables.items()))
        for site, tables in read.items()
    }


def phrase(policy: TablePolicy) -> str:
    """A table's policy in a few words.

    >>> phrase(TablePolicy(release="aggregates", min_group=10, privacy_unit="patient"))
    'aggregates of at least 10 patient'
    """
    match policy.release:
        case "rows":
            return "rows may leave"
        case "aggregates":
            return f"aggregates of at least {policy.min_group} {policy.privacy_unit}"
        case "none":
            return "nothing may leave"
