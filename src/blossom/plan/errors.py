"""The one family of errors that Blossom raises, each saying what, where and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class BlossomError(Exception):
    """Base of every error that Blossom raises on purpose.

    Args:
        what: The fault, in one sentence.
        where: The place: a site, an operator, a configuration key, a source line.
        hint: What the reader can do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ConfigError(BlossomError):
    """A configuration that cannot be used; names the key and the nearest right one."""


class PlanError(BlossomError):
    """A pipeline that cannot be expressed or does not type-check."""


class BudgetError(BlossomError):
    """No plan fits the budget."""


class SiteError(BlossomError):
    """A site cannot be reached or failed at a task."""


class PlatformError(BlossomError):
    """An engine refused or failed; the message is the engine's, redacted where policy demands."""


class TrainingError(BlossomError):
    """A model cannot be fitted on this data."""


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
    """A site's policy refuses; `refusals` holds every reason."""

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
        return "\n".join([super().__str__(), *(f"  - {refusal}" for refusal in self.refusals)])


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
