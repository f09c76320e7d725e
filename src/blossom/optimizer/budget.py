"""A budget: how much time and money a run, or a session, may take; and what two plans of one pipeline are compared by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from blossom.plan.errors import BudgetError, Offer

Preference = Literal["fastest", "cheapest"]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the 90 % upper estimate of what a plan takes, and on what its run takes.

    Attributes:
        seconds: Most seconds from the call to its result; None: as long as it takes.
        usd: Most US dollars; None: whatever it costs.
        prefer: Which of the plans that fit is chosen. None: the cheapest where only time is limited, else the fastest.

    Raises:
        BudgetError: A limit is negative or no number, or there is none.

    >>> Budget(seconds=60, usd=0.5)
    Budget(seconds=60, usd=0.5, prefer=None)
    >>> Budget(seconds=60).preference, Budget(usd=1).preference
    ('cheapest', 'fastest')
    """

    seconds: float | None = None
    usd: float | None = None
    prefer: Preference | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("usd", self.usd)):
            _check(name, value)
        if self.seconds is None and self.usd is None:
            raise BudgetError(
                "a budget without a limit", where="Budget", hint="give seconds=..., usd=... or both"
            )
        if self.prefer not in (None, "fastest", "cheapest"):
            raise BudgetError(
                f"prefer is {self.prefer!r}",
                where="Budget.prefer",
                hint='"fastest" or "cheapest"; or leave it out',
            )

    @property
    def preference(self) -> Preference:
        """Which of the plans that fit is chosen."""
        if self.prefer is not None:
            return self.prefer
        return "cheapest" if self.usd is None else "fastest"

    def holds(self, seconds: float, usd: float) -> bool:
        """Whether so much fits.

        >>> Budget(usd=1).holds(1e9, 1.0), Budget(usd=1).holds(0, 1.01)
        (True, False)
        """
        in_time = self.seconds is None or seconds <= self.seconds
        return in_time and (self.usd is None or usd <= self.usd)

    def __str__(self) -> str:
        parts = [f"{self.seconds:.4g} s"] if self.seconds is not None else []
        parts += [usd_text(self.usd)] if self.usd is not None else []
        return " and ".join(parts)


def _check(name: str, value: object) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # pyright: ignore[reportArgumentType, reportOperatorIssue]
        raise BudgetError(
            f"{value!r} is no limit", where=f"Budget.{name}", hint="give a number that is 0 or more"
        )


def tighter(first: Budget | None, second: Budget | None) -> Budget | None:
    """The budget that both hold; the first one's preference counts.

    >>> tighter(Budget(seconds=5, prefer="fastest"), Budget(seconds=9, usd=1))
    Budget(seconds=5, usd=1, prefer='fastest')
    """
    if first is None or second is None:
        return first or second
    return Budget(
        _least((first.seconds, second.seconds)),
        _least((first.usd, second.usd)),
        first.prefer or first.preference,
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def unaffordable(budget: Budget, cheapest: Offer, fastest: Offer) -> BudgetError:
    """What to raise where no plan fits."""
    one = cheapest == fastest
    hint = (
        f"the cheapest and fastest plan: {cheapest}" if one else f"cheapest: {cheapest}; fastest: {fastest}"
    )
    return BudgetError(
        f"no plan fits the budget of {budget}, which limits the upper estimates (90 %)",
        where="placement",
        hint=hint,
        cheapest=cheapest,
        fastest=fastest,
    )


def usd_text(usd: float) -> str:
    """An amount of money for people, in two figures or more.

    >>> usd_text(0), usd_text(0.00001234), usd_text(0.5), usd_text(12.345)
    ('0 usd', '0.000012 usd', '0.50 usd', '12.35 usd')
    """
    if usd == 0:
        return "0 usd"
    if usd >= 0.1:
        return f"{usd:.2f} usd"
    return f"{usd:.{1 - math.floor(math.log10(usd))}f} usd"
