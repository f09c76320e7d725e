"""Distributed logical plan + catalogue -> physical plan: compliance, sizes, costs, placement, fragments, reasons."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blossom.optimizer.abilities import incapable, untakeable
from blossom.optimizer.budget import Budget
from blossom.optimizer.cardinality import Cardinality, Sizes
from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.compliance import Compliance
from blossom.optimizer.costs import HUB, CostModel, Pricing, Prior, Work, Workload
from blossom.optimizer.finished import Finished, located, remaining, settled
from blossom.optimizer.fragments import cut
from blossom.optimizer.graph import Bools, Floats, Ints, Problem
from blossom.optimizer.impossible import impossible
from blossom.optimizer.nodes import flatten
from blossom.optimizer.offers import Scored, Scorer, cheapest, chosen, fastest, fits
from blossom.optimizer.physical import Estimate, Fragment, Location, PhysicalPlan
from blossom.optimizer.pins import Operator, Pins, allowed, unfeasible
from blossom.optimizer.placement import MOST_STARTUPS, Assignment, Infeasible, place
from blossom.optimizer.placement_pareto import front
from blossom.optimizer.prices import Prices, Tariff
from blossom.optimizer.reasons import Reasons, seconds_text
from blossom.plan.errors import Offer, PlanError
from blossom.plan.relations import Copies, Model, Relation


def plan(
    root: Relation,
    catalogue: Catalogue,
    *,
    consumer: str = HUB,
    sizes: Sizes | None = None,
    costs: CostModel | None = None,
    prices: Prices | None = None,
    budget: Budget | None = None,
    warm: Collection[Location] = (),
    finished: Sequence[Finished] = (),
    without: Collection[Location] = (),
    first: int = 0,
    pins: Pins | None = None,
) -> PhysicalPlan:
    """Choose a place for every part of a distributed plan and cut it into fragments.

    Args:
        root: The plan after the rewrites; its leaves are `Scan` of a site, `Constant` and `Model`.
        catalogue: What is known of the federation.
        consumer: The site that gets the result.
        sizes: What is known of sizes; None: the catalogue's rows of tables.
        costs: What work and moves take; None: the prior.
        prices: What places charge; None: nothing.
        budget: Limits the upper estimates of time and money; None: the fastest plan is chosen, whatever it costs.
        warm: Platforms that run already, and need no start.
        finished: Outputs of fragments that are not to run again; `sizes` knows theirs. The plan holds what is left to do.
        without: Platforms that may run nothing more.
        first: The number of the first fragment, in its key.
        pins: Operators that the user has placed; the guard and the budget choose among plans that obey them.

    Raises:
        PolicyError: No placement obeys the policies; carries the refusals.
        BudgetError: No plan fits the budget; carries the cheapest and the fastest.
        PlanError: No platform where the data may be can run an operator, or the plan is not ready to be placed.
    """
    started = time.perf_counter()
    task = _Task(
        root, catalogue, consumer, sizes or Sizes(catalogue.rows), costs or Prior(), prices or Prices(), warm,
        finished, without, pins or {},
    )  # fmt: skip
    found = task.solve()
    found = found if budget is None else task.within(budget, found)
    return task.physical(found, budget, started, first)


@dataclass(frozen=True, eq=False)
class _Chosen:
    assignment: Assignment
    problem: Problem
    note: str | None


class _Task:
    """The arrays of one planning, by node and location number."""

    def __init__(
        self,
        root: Relation,
        catalogue: Catalogue,
        consumer: str,
        sizes: Sizes,
        costs: CostModel,
        prices: Prices,
        warm: Collection[Location],
        finished: Sequence[Finished],
        without: Collection[Location],
        pins: Pins,
    ) -> None:
        self.table = flatten(root)
        self.finished = located(self.table, finished)
        self.settled = settled(self.table, self.finished)
        self.without = frozenset(without)
        self.consumer = consumer
        self.catalogue = catalogue
        owners = self.table[-1].owners
        sites = {*owners, consumer, HUB}
        self.locations = tuple(one for one in catalogue.locations if one.site in sites)
        self.kinds = tuple(catalogue.kind(one) for one in self.locations)
        missing = sorted({*owners, consumer} - {one.site for one in self.locations})
        if missing:
            raise PlanError(
                f"the federation has no platform at {', '.join(missing)}",
                where="placement",
                hint="enrol the site, or give it a platform",
            )
        self.sizes: list[Cardinality] = [sizes.of(node.relation) for node in self.table]
        self.costs = costs
        names = [one.site for one in self.locations]
        self.site_of = np.array([names.index(name) for name in names], dtype=np.int64)
        self.compliance = Compliance(self.table, catalogue, consumer)
        self.incapable = incapable(self.table, self.locations, catalogue)
        self.pins = pins
        self.pinned = allowed(self.table, self.locations, self.incapable, pins)
        self.tariff = Tariff(prices, self.locations, consumer, warm)
        if np.count_nonzero(self.tariff.startup) > MOST_STARTUPS:
            raise PlanError(
                f"{np.count_nonzero(self.tariff.startup)} platforms of the plan's sites have a start-up time",
                where="placement",
                hint=f"give at most {MOST_STARTUPS} of them startup_seconds",
            )

    # -- the arrays

    def _operators(self, pricing: Pricing) -> Floats:
        """(n, k) seconds, inf where a node cannot run; the root's hold the delivery to the consumer."""
        seconds: Floats = pricing.operators.copy()
        for node, why_not in zip(self.table, self.incapable, strict=True):
            seconds[node.number, list(why_not)] = np.inf
        seconds[:, [i for i, one in enumerate(self.locations) if one in self.without]] = np.inf
        for number, at in self.pinned.items():
            seconds[number, np.arange(len(self.locations)) != at] = np.inf
        for number, one in self.finished.items():
            seconds[number] = np.where([location == one.location for location in self.locations], 0.0, np.inf)
        seconds[self.settled] = 0.0
        seconds[-1] += pricing.delivery
        root = self.table[-1]
        for i, location in enumerate(self.locations):
            leaves = location.site != self.consumer and np.isfinite(seconds[-1, i])
            if leaves and self.compliance.refusals(root, location.site, self.consumer):
                seconds[-1, i] = np.inf
        return seconds

    def problem(self) -> Problem:
        """The arrays for `place`."""
        child: list[int] = []
        parent: list[int] = []
        for node in self.table:
            for number in node.below:
                child.append(number)
                parent.append(node.number)
        work = [
            Work(node.relation, [self.sizes[i] for i in node.below], self.sizes[node.number])
            for node in self.table
        ]
        self.pricing = self.costs.price(
            Workload(work, child, parent, self.locations, self.kinds, self.consumer)
        )
        operator = self._operators(self.pricing)
        k = len(self.locations)
        self.masks: Bools = np.ones((len(self.table) + 1, k, k), dtype=np.bool_)
        self.masks[-1] = np.eye(k, dtype=np.bool_)
        for number, targets in untakeable(self.table, self.locations, self.catalogue):
            for target in targets:
                self.masks[number, np.arange(k) != target, target] = False
        # A copy is taken where it lies, and a model is written into the fragment that predicts with it.
        stays = [
            isinstance(self.table[v].relation, Copies) or isinstance(self.table[u].relation, Model)
            for u, v in zip(child, parent, strict=True)
        ]
        mask = [len(self.table) if fixed else u for u, fixed in zip(child, stays, strict=True)]
        for number, one in self.finished.items():
            away = [i for i, location in enumerate(self.locations) if location.site not in one.sites]
            self.masks[number][:, away] = False
        for node in self.table:
            if self.settled[node.number] or node.number in self.finished:
                continue
            if isinstance(node.relation, Copies) and node.relation.steward is not None:
                steward = node.relation.steward
                away = [i for i, one in enumerate(self.locations) if one.site != steward]
                operator[node.number, away] = np.inf
        inputs, users = np.array(child, dtype=np.int64), np.array(parent, dtype=np.int64)
        left = remaining(inputs, users, self.finished, self.settled)
        idle = self.settled[inputs[left]]  # moves of what is settled cost nothing and break no rule
        volumes = np.array([self.sizes[u].bytes for u in child], dtype=np.float64)
        return Problem(
            operator=operator,
            child=inputs[left],
            parent=users[left],
            bytes=np.where(idle, 0.0, volumes[left]),
            latency=self.pricing.latency,
            per_byte=self.pricing.per_byte,
            masks=self.masks,
            mask=np.where(idle, -1, np.array(mask, dtype=np.int64)[left]),
            any_of=np.array([isinstance(node.relation, Copies) for node in self.table]),
            startup=self.tariff.startup if self.tariff.startup.any() else None,
        )

    def _place(self, problem: Problem) -> Assignment | Infeasible:
        """The cheapest assignment that obeys the policies.

        Policies are asked only about moves that a cheapest assignment makes; a refused move is masked, and the search goes
        on. As every assignment passed over was cheaper than the one that stands, none that is allowed is missed.
        """
        while True:
            found = place(problem)
            if isinstance(found, Infeasible):
                return found
            if not self._refused(problem, found.choice):
                return replace(found, choice=np.where(self.settled, -1, found.choice))

    def _refused(self, problem: Problem, choice: Ints) -> bool:
        """Mask the moves of an assignment that a policy refuses. True when there were any."""
        source, target = choice[problem.child], choice[problem.parent]
        used = (source >= 0) & (target >= 0) & ~self.settled[problem.child]
        crossing = np.flatnonzero(used & (self.site_of[source] != self.site_of[target])).tolist()
        found = [self._mask(int(problem.child[e]), int(source[e]), int(target[e])) for e in crossing]
        return any(found)

    def _mask(self, number: int, source: int, target: int) -> bool:
        """Ask whether a move is allowed, and mask it if it is not. True when it was just found refused."""
        sites = self.locations[source].site, self.locations[target].site
        if not self.masks[number, source, target] or not self.compliance.refusals(self.table[number], *sites):
            return False
        at_source = [i for i, one in enumerate(self.locations) if one.site == sites[0]]
        at_target = [i for i, one in enumerate(self.locations) if one.site == sites[1]]
        self.masks[np.ix_([number], at_source, at_target)] = False
        return True

    def _mask_all(self, problem: Problem) -> None:
        for number in np.flatnonzero(~self.settled[:-1]).tolist():
            for source in np.flatnonzero(np.isfinite(problem.operator[number])).tolist():
                for target in range(len(self.locations)):
                    self._mask(number, source, target)

    # -- the choice

    def solve(self) -> _Chosen:
        """The cheapest assignment, or a simpler one that is not dearer by more than the prior's margin."""
        problem = self.whole = self.problem()
        best = self._place(problem)
        if isinstance(best, Infeasible):
            self._mask_all(problem)
            blocked = place(problem)
            found = blocked if isinstance(blocked, Infeasible) else best
            if self.pins and self._possible_without_pins():
                raise unfeasible(self.table, self.pins, found.blocked[0])
            raise impossible(
                self.table,
                self.locations,
                self.incapable,
                problem,
                found.blocked[0],
                catalogue=self.catalogue,
                compliance=self.compliance,
                consumer=self.consumer,
            )
        optimum, note = best, None
        for options in self._simpler(optimum):
            possible = [(words, allowed) for words, allowed in options if self._holds(problem, allowed)]
            trials = [(words, self._only(problem, allowed)) for words, allowed in possible]
            placed = [(words, trial, self._place(trial)) for words, trial in trials]
            found = [(words, trial, one) for words, trial, one in placed if isinstance(one, Assignment)]
            if not found:
                continue
            words, trial, one = min(found, key=lambda each: each[2].total)
            margin = self.pricing.margin(optimum.choice, one.choice)
            took, best_took = self._took(one), self._took(optimum)
            if took * (1 - margin) <= best_took and len(_places_of(one)) < len(_places_of(best)):
                saved = seconds_text(max(took - best_took, 0.0))
                note = f"{words}: one more platform promises to save only {saved} of {seconds_text(took)} (margin {margin:.0%})"
                best, problem = one, trial
        return _Chosen(best, problem, note)

    def _possible_without_pins(self) -> bool:
        self.pinned = {}
        return isinstance(self._place(self.problem()), Assignment)

    def _took(self, assignment: Assignment) -> float:
        """Seconds of a placed plan, scored whole, with its starts."""
        used = sorted(_places_of(assignment))
        return self.pricing.total(assignment.choice) + float(self.tariff.startup[used].sum())

    # -- the budget

    def _scorer(self, problem: Problem) -> Scorer:
        below = [node.below for node in self.table]
        sent = [size.bytes for size in self.sizes]
        return Scorer(problem, self.pricing, self.tariff, below=below, sent=sent, sites=self.site_of.tolist())

    def within(self, budget: Budget, usual: _Chosen) -> _Chosen:
        """The plan that a budget chooses.

        Raises:
            BudgetError: No plan fits it.
        """
        scorer = self._scorer(self.whole)
        scored = scorer.score(usual.assignment.choice)
        quick = self.tariff.free and fits(budget, scored)  # no other plan is cheaper
        best = scored if quick else chosen(budget, scored, self._front(scorer))
        if best is scored:
            return usual
        total = self.whole.total(best.choice)
        return _Chosen(Assignment(best.choice, total, total), self.whole, None)

    def _front(self, scorer: Scorer) -> list[Scored]:
        """The plans that no other one beats in both time and money by their sums, counted whole."""
        problem = self.whole
        while True:
            found = front(problem, scorer.money(problem, problem.transfers()))
            refused = [self._refused(problem, label.choice) for label in found.labels]
            if not any(refused):
                return [scorer.score(label.choice) for label in found.labels]

    def _offers(self, usual: Scored) -> tuple[Offer, Offer]:
        """The cheapest and the fastest plan."""
        plans = [usual, *self._front(self._scorer(self.whole))]
        return cheapest(plans).offer, fastest(plans).offer

    def _only(self, problem: Problem, allowed: frozenset[int]) -> Problem:
        operator = problem.operator.copy()
        operator[:, [i for i in range(len(self.locations)) if i not in allowed]] = np.inf
        return problem.costing(operator)

    def _holds(self, problem: Problem, allowed: frozenset[int]) -> bool:
        """Whether each node that must run has a place among the allowed ones: most simpler plans fail for lack of one."""
        able: Bools = np.isfinite(problem.operator[:, sorted(allowed)])
        return bool(np.any(able, axis=1)[problem.graph.required].all())

    def _simpler(self, best: Assignment) -> list[list[tuple[str, frozenset[int]]]]:
        """Groups of simpler plans, by the locations that they may use: any single one, then one platform for each site."""
        places = _places_of(best)
        if len(places) == 1:
            return []
        every = frozenset(range(len(self.locations)))
        groups = [[(f"all on {self.locations[i]}", frozenset({i})) for i in sorted(every)]]
        for site in dict.fromkeys(self.locations[i].site for i in sorted(places)):
            at_site = [i for i in sorted(every) if self.locations[i].site == site]
            if len(places.intersection(at_site)) > 1:
                groups.append(
                    [
                        (f"{site} stays on {self.locations[i]}", every - frozenset(at_site) | {i})
                        for i in at_site
                    ]
                )
        return groups

    # -- the plan

    def physical(self, found: _Chosen, budget: Budget | None, started: float, first: int) -> PhysicalPlan:
        """Cut, estimate and explain."""
        placed = np.where(self.settled, -1, found.assignment.choice)
        found = replace(found, assignment=replace(found.assignment, choice=placed))
        choice: list[int] = found.assignment.choice.tolist()
        pieces = cut(self.table, choice, {number: one.key for number, one in self.finished.items()}, first)
        reasons = Reasons(
            self.table,
            self.locations,
            self.incapable,
            compliance=self.compliance,
            consumer=self.consumer,
            problem=found.problem,
            assignment=found.assignment,
            note=found.note,
        )
        scorer = self._scorer(found.problem)
        scored = scorer.score(found.assignment.choice)
        times = scored.times
        fragments: list[Fragment] = []
        for piece in pieces:
            if piece.top in self.finished:
                continue
            location = self.locations[piece.place]
            users = [one for one in pieces if piece.key in one.inputs]
            recipients = dict.fromkeys(self.locations[one.place].site for one in users)
            if piece is pieces[-1]:
                recipients[self.consumer] = None
            seconds = times.own[piece.top] + times.longest[piece.top]
            size = self.sizes[piece.top]
            usd = scorer.usd(scored, piece.top)
            fragments.append(
                Fragment(
                    key=piece.key,
                    location=location,
                    root=piece.root,
                    inputs=piece.inputs,
                    recipients=tuple(recipients),
                    estimate=Estimate(seconds, size.expected, size.bytes, size.low, size.high, usd),
                    reasons=reasons.of(piece),
                    computes=self.table[piece.top].relation,
                )
            )
        offer = scored.offer
        return PhysicalPlan(
            tuple(fragments),
            offer.seconds,
            time.perf_counter() - started,
            offer.seconds_high,
            offer.usd,
            offer.usd_high,
            lambda: self._offers(scored),
            budget,
            self.pins,
            lambda: self._listed(choice),
        )

    def _listed(self, choice: Sequence[int]) -> tuple[Operator, ...]:
        return tuple(
            Operator(
                node.number,
                node.relation,
                tuple(one for i, one in enumerate(self.locations) if i not in self.incapable[node.number]),
                None if choice[node.number] < 0 else self.locations[choice[node.number]],
                node.below,
            )
            for node in self.table
        )


def _places_of(assignment: Assignment) -> set[int]:
    return {place for place in assignment.choice.tolist() if place >= 0}
