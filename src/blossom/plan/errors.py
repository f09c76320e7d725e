"""The one family of errors that Blossom raises, each saying what, where and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LISTED = 6
"""Most names that a sentence lists."""


class BlossomError(Exception):
    """Base of every error that Blossom raises on purpose.

    Args:
        what: The fault, in one sentence.
        where: The place: a site, an operator, a configuration key, a source line.
        hint: What the reader can do about it.

    Attributes:
        at: The line of the user's own code that asked, as "file:line", where known.
    """

    at: str | None = None

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return self._told()

    def _told(self, reasons: Iterable[str] = ()) -> str:
        lines = [self.what if self.where is None else f"{self.where}: {self.what}"]
        lines.extend(f"  - {line}" for line in reasons)
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.at:
            lines.append(f"  at {self.at}")
        return "\n".join(lines)


class ConfigError(BlossomError):
    """A configuration that cannot be used; names the key and the nearest right one."""


class PlanError(BlossomError):
    """A pipeline that cannot be expressed or does not type-check."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one plan of a pipeline takes, and where it runs.

    Attributes:
        seconds: Expected.
        usd: Expected.
        seconds_high: The 90 % upper estimate, which a budget limits.
        usd_high: The same of the money.
        places: The platforms, as "duckdb@north".
    """

    seconds: float
    usd: float
    seconds_high: float
    usd_high: float
    places: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2g} s (at most {self.seconds_high:.2g} s) and {self.usd:.2g} usd "
            f"(at most {self.usd_high:.2g} usd) on {listed(self.places)}"
        )


class BudgetError(BlossomError):
    """No plan fits the budget, a run was stopped because it would exceed it, or the budget itself is none.

    Attributes:
        cheapest: The plan that costs least; None where the fault is not that no plan fits.
        fastest: The plan that takes least time.
        spent: Seconds and usd spent when the run was stopped.
        left: Seconds and usd that were left; None of what had no limit.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        cheapest: Offer | None = None,
        fastest: Offer | None = None,
        spent: tuple[float, float] | None = None,
        left: tuple[float | None, float | None] | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.cheapest = cheapest
        self.fastest = fastest
        self.spent = spent
        self.left = left


class SiteError(BlossomError):
    """A site cannot be reached or failed at a task."""


class PlatformError(BlossomError):
    """An engine refused or failed; the message is the engine's, redacted where policy demands."""


class TrainingError(BlossomError):
    """A model cannot be fitted on this data."""


class LoopError(BlossomError):
    """A loop did not come to its end."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a policy refuses a plan."""

    site: str
    table: str
    column: str | None
    rule: str
    reason: str
    allowed: str

    def __str__(self) -> str:
        column = f".{self.column}" if self.column else ""
        return f"[{self.rule}] {self.site}/{self.table}{column}: {self.reason}; allowed: {self.allowed}"


class PolicyError(BlossomError):
    """A site's policy refuses; `refusals` holds every reason, and the text those that differ only by column or site as one."""

    def __init__(
        self,
        what: str,
        refusals: Sequence[Refusal] = (),
        *,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.refusals = tuple(refusals)

    def __str__(self) -> str:
        return self._told(grouped(self.refusals))


def grouped(refusals: Iterable[Refusal]) -> list[str]:
    """Refusals in words, one line for all that differ only by column or by site.

    >>> one = Refusal("north", "people", "age", "rows", "its rows may not leave", "aggregate it")
    >>> two = Refusal("north", "people", "sex", "rows", "its rows may not leave", "aggregate it")
    >>> grouped([one, two])
    ['[rows] north/people (age and sex): their rows may not leave; allowed: aggregate them']
    """
    columns: dict[tuple[str, str, str, str, str], list[str]] = {}
    for one in refusals:
        found = columns.setdefault((one.site, one.table, one.rule, one.reason, one.allowed), [])
        if one.column is not None and one.column not in found:
            found.append(one.column)
    sites: dict[tuple[str, str, str, str, tuple[str, ...]], list[str]] = {}
    for (site, table, rule, reason, allowed), names in columns.items():
        sites.setdefault((table, rule, reason, allowed, tuple(sorted(names))), []).append(site)
    lines: list[str] = []
    for (table, rule, reason, allowed, names), where in sites.items():
        if len(names) > 1:
            reason, allowed = _of_several(reason), _of_several(allowed)
        places = where[0] if len(where) == 1 else f"{{{', '.join(where)}}}"
        of = f"{places}/{table}" + (
            f".{names[0]}" if len(names) == 1 else f" ({listed(names)})" if names else ""
        )
        lines.append(f"[{rule}] {of}: {reason}; allowed: {allowed}")
    return lines


_SEVERAL = {"its": "their", "it": "them", "the column": "these columns"}


def _of_several(sentence: str) -> str:
    """A sentence about one column, said of several."""
    said = re.sub(r"^it may", "they may", sentence)
    return re.sub(r"\b(its|it|the column)\b", lambda found: _SEVERAL[found[0]], said)


def listed(names: Sequence[str]) -> str:
    """Names as a person lists them, cut after a few.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed([str(i) for i in range(9)])
    ('a', 'a, b and c', '0, 1, 2, 3, 4, 5 and 3 more')
    """
    shown = [*names[:LISTED], f"{len(names) - LISTED} more"] if len(names) > LISTED else list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name`, or None when nothing is close.

    >>> nearest("carier", ["carrier", "dest"])
    'carrier'
    """
    candidates = list(names)
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.55)
    return folded[found[0]] if found else None


def unknown(kind: str, name: str, names: Iterable[str]) -> tuple[str, str]:
    """The sentence and the hint for a name that does not exist.

    >>> unknown("column", "carier", ["carrier", "dest"])
    ("unknown column 'carier'", "did you mean 'carrier'? known: carrier, dest")
    """
    known = sorted(names)
    close = nearest(name, known)
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"unknown {kind} {name!r}", (
        f"did you mean {close!r}? " if close else ""
    ) + f"known: {shown or 'none'}"
