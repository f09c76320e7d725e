"""The money of a plan for people: what it costs, what the cheapest and the fastest plan would take, and by which prices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from blossom.optimizer.budget import usd_text
from blossom.optimizer.physical import PhysicalPlan
from blossom.plan.errors import Offer, listed


def money_lines(plan: PhysicalPlan, prices: str | None, *, priced: bool) -> Iterator[str]:
    """Lines for a terminal; none where nothing is known of money.

    Args:
        plan: The plan.
        prices: Where the prices are from, in words.
        priced: Whether anything costs money. Where nothing does, the fastest plan is the cheapest.
    """
    if prices is None:
        return
    if priced or plan.budget is not None:
        yield f"chosen: {_figures(plan.seconds, plan.seconds_high, plan.usd, plan.usd_high)}"
    if plan.offers is not None and (priced or plan.budget is not None):
        cheapest, fastest = plan.offers()
        if priced:
            yield f"cheapest: {_offer(cheapest)}"
        yield f"fastest: {_offer(fastest)}"
    if plan.budget is not None:
        yield f"budget: {plan.budget}; of the plans that fit the {plan.budget.preference} is chosen"
    yield f"money: {prices}"
    yield ""


def money_dict(plan: PhysicalPlan, prices: str | None, *, priced: bool) -> dict[str, Any] | None:
    """The same as plain values; None where nothing is known of money."""
    if prices is None:
        return None
    offers = plan.offers() if plan.offers is not None and priced else None
    high = plan.seconds_high if math.isfinite(plan.seconds_high) else None
    return {
        "prices": prices,
        "seconds": plan.seconds,
        "seconds_high": high,
        "usd": plan.usd,
        "usd_high": plan.usd_high,
        "cheapest": None if offers is None else _plain(offers[0]),
        "fastest": None if offers is None else _plain(offers[1]),
        "budget": None if plan.budget is None else {"seconds": plan.budget.seconds, "usd": plan.budget.usd},
    }


def _offer(offer: Offer) -> str:
    figures = _figures(offer.seconds, offer.seconds_high, offer.usd, offer.usd_high)
    return f"{figures}, on {listed(offer.places)}"


def _figures(seconds: float, seconds_high: float, usd: float, usd_high: float) -> str:
    time = f"{seconds:.2g} s (at most {seconds_high:.2g} s)"
    return f"{time}, {usd_text(usd)}" + (f" (at most {usd_text(usd_high)})" if usd_high else "")


def _plain(offer: Offer) -> dict[str, Any]:
    return {
        "seconds": offer.seconds,
        "seconds_high": offer.seconds_high,
        "usd": offer.usd,
        "usd_high": offer.usd_high,
        "places": list(offer.places),
    }
