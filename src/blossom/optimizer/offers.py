"""What the plans of one pipeline take in time and money, and which of them a budget chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from blossom.optimizer.budget import Budget, unaffordable
from blossom.optimizer.costs import Pricing
from blossom.optimizer.graph import Floats, Ints, Problem
from blossom.optimizer.placement_pareto import Money
from blossom.optimizer.prices import Tariff
from blossom.optimizer.timeline import Timeline, timeline
from blossom.plan.errors import Offer

SAME = 1e-9
"""Plans whose seconds differ by this share of them or less are equally fast."""


@dataclass(frozen=True, eq=False)
class Scored:
    """An assignment with what it takes, counted whole.

    Attributes:
        choice: (n,) the places.
        times: Its timeline.
        offer: Its time and money.
    """

    choice: Ints
    times: Timeline
    offer: Offer


class Scorer:
    """Counts assignments of one planning whole: their timeline, and the bills of their platforms.

    Args:
        problem: Seconds of work and moves.
        pricing: Knows how sure they are.
        tariff: What the places charge.
        below: (n) numbers of the nodes that each node reads.
        sent: (n) bytes of each node's output.
        sites: (k) a number for the site of each place.
    """

    def __init__(
        self,
        problem: Problem,
        pricing: Pricing,
        tariff: Tariff,
        *,
        below: Sequence[Sequence[int]],
        sent: Sequence[float],
        sites: Sequence[int],
    ) -> None:
        self._problem, self._pricing, self.tariff = problem, pricing, tariff
        self._below, self._sent, self._sites = below, sent, sites

    def score(self, choice: Ints) -> Scored:
        """What an assignment takes."""
        places = choice.tolist()
        times = timeline(
            self._below, places, self._problem, self._sent, sites=self._sites, startup=self.tariff.startup
        )
        spread = self._pricing.spread(choice)
        moved = sum(float(self.tariff.per_byte[ends]) * size for ends, size in times.crossing.items())
        moved += float(self.tariff.delivery[places[-1]]) * self._sent[-1]
        tariff, used = self.tariff, sorted(times.busy)
        # how long a start takes is known, so only the rest is stretched
        started = min(times.seconds, float(tariff.startup[used].sum()))
        offer = Offer(
            times.seconds,
            tariff.bill(times.busy) + moved,
            started + (times.seconds - started) * spread,
            tariff.bill(times.busy, spread) + moved * spread,
            tuple(str(tariff.locations[place]) for place in used),
        )
        return Scored(choice, times, offer)

    def usd(self, scored: Scored, fragment: int) -> float:
        """The part of the bill that one fragment makes: its work, and the moves of its inputs; starts are left out."""
        tariff, times = self.tariff, scored.times
        usd = sum(float(tariff.per_second[at]) * seconds for at, seconds in times.spent[fragment].items())
        usd += sum(float(tariff.per_byte[ends]) * size for ends, size in times.taken[fragment].items())
        if fragment == len(self._below) - 1:
            usd += float(tariff.delivery[int(scored.choice[-1])]) * self._sent[-1]
        return usd

    def money(self, problem: Problem, moves: Floats) -> Money:
        """The problem's money as sums, for the search."""
        tariff = self.tariff
        rate = tariff.per_second
        operator = np.where(np.isfinite(problem.operator), problem.operator, 0.0) * rate
        operator[-1] += tariff.delivery * self._sent[-1]
        both = np.where(np.eye(len(rate), dtype=np.bool_), rate[:, None], rate[:, None] + rate[None, :])
        usd = np.where(np.isfinite(moves), moves, 0.0) * both
        usd += tariff.per_byte * problem.bytes[:, None, None]
        return Money(operator, usd, rate * tariff.startup)


def chosen(budget: Budget, usual: Scored, others: Iterable[Scored]) -> Scored:
    """The plan that a budget chooses.

    Args:
        budget: The limits.
        usual: The plan that would be chosen without one. Where it fits and the fastest is preferred, only a cheaper plan on no
            more platforms that is as fast is taken in its place: others promise less than is known.
        others: Further plans.

    Raises:
        BudgetError: No plan fits.
    """
    every = [usual, *others]
    if budget.preference == "fastest" and fits(budget, usual):
        most = usual.offer.seconds_high * (1 + SAME)
        simple = [one for one in every if len(one.offer.places) <= len(usual.offer.places)]
        return cheapest([one for one in simple if one.offer.seconds_high <= most])
    able = [one for one in every if fits(budget, one)]
    if not able:
        raise unaffordable(budget, cheapest(every).offer, fastest(every).offer)
    return (cheapest if budget.preference == "cheapest" else fastest)(able)


def fits(budget: Budget, one: Scored) -> bool:
    """Whether the upper estimates of a plan are within a budget."""
    return budget.holds(one.offer.seconds_high, one.offer.usd_high)


def cheapest(plans: Iterable[Scored]) -> Scored:
    """The plan that costs least; of equally cheap ones the fastest."""
    return min(plans, key=lambda one: (one.offer.usd_high, one.offer.seconds_high))


def fastest(plans: Iterable[Scored]) -> Scored:
    """The plan that takes least time; of equally fast ones the cheapest."""
    return min(plans, key=lambda one: (one.offer.seconds_high, one.offer.usd_high))
