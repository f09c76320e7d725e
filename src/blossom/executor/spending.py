"""What a run, and a session, has spent, and the watch that stops a run before it spends more than its budget.

Time is that which passes. Money is counted by the prices of the configuration: for the seconds that fragments work, for starts
and shortest bills of platforms that were cold, and for the bytes that left.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from blossom.executor.measuring import Stopwatch
from blossom.optimizer.budget import Budget, usd_text
from blossom.optimizer.physical import Fragment, Location
from blossom.optimizer.prices import Prices
from blossom.plan.errors import BudgetError

LOOK_EVERY = 0.05
"""Seconds between two looks at what running fragments have spent."""


class Spent(NamedTuple):
    """Time and money."""

    seconds: float
    usd: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s and {usd_text(self.usd)}"


class Figures(Protocol):
    """What is known of a fragment while it runs."""

    bytes: int
    state: str
    watch: Stopwatch


@dataclass(slots=True, eq=False)
class Account:
    """What a session may spend, and has; safe for many threads.

    Attributes:
        limit: None: as much as it takes.
    """

    limit: Budget | None = None
    _seconds: float = 0.0
    _usd: float = 0.0
    _held: dict[int, Spent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _deciding: threading.RLock = field(default_factory=threading.RLock)

    @contextlib.contextmanager
    def deciding(self) -> Generator[None]:
        """The body looks at what is left and sets some of it aside; where there is a limit, one thread at a time."""
        with contextlib.nullcontext() if self.limit is None else self._deciding:
            yield

    @property
    def spent(self) -> Spent:
        """By runs that have ended."""
        return Spent(self._seconds, self._usd)

    @property
    def remaining(self) -> Budget | None:
        """What is left, without what running ones may still take; None where there is no limit."""
        if self.limit is None:
            return None
        with self._lock:
            seconds = self._seconds + sum(one.seconds for one in self._held.values())
            usd = self._usd + sum(one.usd for one in self._held.values())
        return Budget(
            None if self.limit.seconds is None else max(0.0, self.limit.seconds - seconds),
            None if self.limit.usd is None else max(0.0, self.limit.usd - usd),
            self.limit.prefer,
        )

    def hold(self, spending: Spending, most: Spent) -> None:
        """Set aside what a run may take, until it has ended."""
        with self._lock:
            self._held[id(spending)] = most

    def book(self, spending: Spending, spent: Spent) -> None:
        """A run has ended."""
        with self._lock:
            self._held.pop(id(spending), None)
            self._seconds += spent.seconds
            self._usd += spent.usd


@dataclass(slots=True, eq=False)
class _Work:
    fragment: Fragment
    figures: Figures
    began: float

    def busy(self) -> float:
        """Seconds of work. A fragment that waits for no other is at work all the time that it runs."""
        known = self.figures.watch.seconds
        if self.figures.state == "running" and not self.fragment.inputs:
            return max(known, time.perf_counter() - self.began)
        return known


class Spending:
    """What one run spends.

    Args:
        prices: Of the federation.
        warm: Platforms that run already; those that this run starts are added.
        budget: The run's limit; None: it is only counted.
        account: The session's, which is booked at the end.
    """

    def __init__(
        self,
        prices: Prices,
        warm: set[Location],
        budget: Budget | None = None,
        account: Account | None = None,
    ) -> None:
        self._prices, self._warm, self._account = prices, warm, account
        self.budget = budget
        self.error: BudgetError | None = None
        self._began = time.perf_counter()
        self._work: list[_Work] = []
        self._cold: dict[Location, bool] = {}
        self._stops: list[Callable[[BaseException], None]] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._final: Spent | None = None
        self._watch: threading.Thread | None = None

    # -- its life

    def hold(self, seconds: float, usd: float) -> None:
        """Set aside in the session's account what a plan may take."""
        if self._account is not None:
            self._account.hold(self, Spent(seconds, usd))

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        """Whatever the body executes is spent here."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def close(self) -> None:
        """The run has ended: nothing more is counted; idempotent."""
        with self._lock:
            if self._final is not None:
                return
            self._final = self._spent()
        self._ended.set()
        if self._account is not None:
            self._account.book(self, self._final)

    # -- what it comes to

    @property
    def spent(self) -> Spent:
        """So far, or at the end."""
        return self._final or self._spent()

    def _spent(self) -> Spent:
        with self._lock:
            work = list(self._work)
        busy: dict[Location, float] = {}
        usd = 0.0
        for one in work:
            at = one.fragment.location
            busy[at] = busy.get(at, 0.0) + one.busy()
            usd += one.figures.bytes * sum(self._prices.deliver(at, to) for to in one.fragment.recipients)
        usd += sum(self._prices.of(at).bill(seconds, cold=self._cold[at]) for at, seconds in busy.items())
        return Spent(time.perf_counter() - self._began, usd)

    def _expected(self, works: list[_Work], further: Fragment) -> float:
        """Usd that the run will have spent when the running fragments and a further one are done as expected."""
        at = further.location
        more = sum(
            max(0.0, one.fragment.estimate.usd - self._alone(one))
            for one in works
            if one.figures.state == "running"
        )
        price, first = self._prices.of(at), at not in self._cold
        start = price.bill(0.0, cold=True) if first and at not in self._warm else 0.0
        return self._spent().usd + more + max(further.estimate.usd, start)

    def _alone(self, one: _Work) -> float:
        at = one.fragment.location
        moved = sum(self._prices.deliver(at, to) for to in one.fragment.recipients)
        return self._prices.of(at).usd_per_second * one.busy() + moved * one.figures.bytes

    # -- the watch

    def stops(self, stop: Callable[[BaseException], None]) -> None:
        """Call `stop` with the error when the budget is exceeded."""
        with self._lock:
            self._stops.append(stop)

    def check(self) -> None:
        """Refuse to go on when the budget is exceeded.

        Raises:
            BudgetError: It is.
        """
        if self.error is None and self.budget is not None and not self.budget.holds(*self.spent):
            self._exceeded()
        if self.error is not None:
            raise self.error

    def begin(self, fragment: Fragment, figures: Figures) -> None:
        """A fragment is about to start.

        Raises:
            BudgetError: With it, as it is expected to be, the run would exceed its budget.
        """
        self.check()
        with self._lock:
            if self.budget is not None:
                spent = self._spent()
                seconds = spent.seconds + fragment.estimate.seconds
                if not self.budget.holds(seconds, self._expected(self._work, fragment)):
                    own = Spent(fragment.estimate.seconds, fragment.estimate.usd)
                    self.error = self._told(
                        f"fragment {fragment.key} on {fragment.location} was not started: "
                        f"it is expected to take {own}, and the run would exceed its budget of {self.budget}",
                        spent,
                    )
                    raise self.error
            at = fragment.location
            if at not in self._cold:
                self._cold[at] = at not in self._warm
                if self._prices.of(at).costly:
                    self._warm.add(at)
            self._work.append(_Work(fragment, figures, time.perf_counter()))
            if self.budget is not None and self._watch is None:
                self._watch = threading.Thread(target=self._look, name="blossom-budget", daemon=True)
                self._watch.start()

    def _look(self) -> None:
        assert self.budget is not None
        while not self._ended.wait(LOOK_EVERY):
            if not self.budget.holds(*self._spent()):
                self._exceeded()
                return

    def _exceeded(self) -> None:
        with self._lock:
            if self._final is not None or self.error is not None:
                return
            self.error = self._told(
                f"the run was stopped: it exceeds its budget of {self.budget}", self._spent()
            )
            stops = list(self._stops)
        for stop in stops:
            stop(self.error)

    def _told(self, what: str, spent: Spent) -> BudgetError:
        assert self.budget is not None
        limits = self.budget.seconds, self.budget.usd
        left = tuple(
            None if limit is None else max(0.0, limit - one) for limit, one in zip(limits, spent, strict=True)
        )
        units = ("{:.2f} s".format, usd_text)
        remained = " and ".join(unit(one) for unit, one in zip(units, left, strict=True) if one is not None)
        return BudgetError(
            what,
            where="budget",
            hint=f"spent: {spent}; remained: {remained}; raise the budget, or ask for less",
            spent=(spent.seconds, spent.usd),
            left=(left[0], left[1]),
        )


_current: ContextVar[Spending | None] = ContextVar("blossom_spending", default=None)


def current_spending() -> Spending | None:
    """What the running code spends from; None where nobody counts."""
    return _current.get()
