"""What a plan does and why, for people: text for a terminal, a picture for a notebook, Mermaid, JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from blossom.fedpy.explain_money import money_dict, money_lines
from blossom.fedpy.explain_operators import operators_text
from blossom.fedpy.explain_svg import Arrow, Box, Lane, draw
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.plan.errors import listed
from blossom.plan.relations import Relation
from blossom.plan.text import plan_text, printable

WIDTH = 100
"""Longest line of the text."""

LINES = 3
"""Lines of operators a fragment."""


@dataclass(frozen=True, slots=True)
class Actual:
    """What a fragment really took and gave."""

    seconds: float
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FitNote:
    """Where a model is fitted, as part of a plan.

    Attributes:
        target: The column that it learns.
        mode: "horizontal" (each site answers for its own rows), "site" (all rows are at one), "central" (rows move to the hub).
        sites: Where the rows are.
        reason: Why it is fitted there.
        statistics: What leaves those sites, in words.
        rounds: What was asked in each phase, in words; empty before the fit.
        bytes: Site -> bytes of its answers; empty before the fit.
    """

    target: str
    mode: str
    sites: tuple[str, ...]
    reason: str
    statistics: tuple[str, ...]
    rounds: tuple[str, ...] = ()
    bytes: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The note for a terminal."""
        state = "fitted" if self.rounds else "to be fitted"
        yield from _wrapped(
            f"model of {self.target}, {state} at {listed(self.sites)} ({self.mode})", "", "    "
        )
        yield from _wrapped(f"why: {self.reason}", "    ", "         ")
        yield from _wrapped(f"leaves: {'; '.join(self.statistics)}", "    ", "            ")
        if self.rounds:
            yield from _wrapped(f"rounds: {'; '.join(self.rounds)}", "    ", "            ")
        if self.bytes:
            sizes = ", ".join(f"{bytes_text(size)} from {site}" for site, size in self.bytes.items())
            yield from _wrapped(f"left: {sizes}", "    ", "          ")


@dataclass(frozen=True, eq=False)
class Explanation:
    """A plan with its reasons, ready to be printed.

    Attributes:
        plan: What runs, and where.
        stages: The plan after each step of the way, by the step's name ("logical", "distributed", ...).
        actuals: What each fragment really took, by its key; empty before a run.
        policies: What may leave a site, in words, by the site.
        notes: Whatever else the reader should know (what was withheld).
        trainings: Where its models are fitted.
        answer: What comes out, and where: "result", or the model that is fitted on all that no other fragment reads.
        receiver: The site that gets it; None: the last recipient of the last fragment.
        prices: Where the money of the estimates comes from, in words; None: nothing is said of money.
        priced: Whether anything costs money.
    """

    plan: PhysicalPlan
    stages: tuple[tuple[str, Relation], ...] = ()
    actuals: Mapping[str, Actual] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trainings: tuple[FitNote, ...] = ()
    answer: str = "result"
    receiver: str | None = None
    prices: str | None = None
    priced: bool = False

    @property
    def consumer(self) -> str:
        """The site that gets the result."""
        return self.receiver or self.plan.result.recipients[-1]

    @property
    def _ends(self) -> list[Fragment]:
        """The fragments that no other one reads: the result's, or every site's rows of a fit."""
        read = {key for one in self.plan.fragments for key in one.inputs}
        return [one for one in self.plan.fragments if one.key not in read]

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def text(self, *, stages: bool = False) -> str:
        """The plan for a terminal, in lines of at most 100 characters.

        Args:
            stages: Also print the plan after each step of the way.
        """
        lines = [self._headline(), ""]
        for fragment in self.plan.fragments:
            lines += self._fragment(fragment)
        for line in money_lines(self.plan, self.prices, priced=self.priced):
            lines += _wrapped(line, "", "  ")
        for training in self.trainings:
            lines += [*training.lines(), ""]
        alike: dict[str, list[str]] = {}
        for site, policy in sorted(self.policies.items()):
            alike.setdefault(policy, []).append(site)
        for policy, sites in alike.items():
            lines += _wrapped(f"policy of {listed(sites)}: {policy}", "", "  ")
        for note in self.notes:
            lines += _wrapped(f"note: {note}", "", "  ")
        if stages:
            for name, root in self.stages:
                lines += ["", f"{name}:", textwrap.indent(plan_text(root, width=WIDTH - 2), "  ")]
        return "\n".join(lines).rstrip()

    def _headline(self) -> str:
        sites = {fragment.location.site for fragment in self.plan.fragments}
        count = len(self.plan.fragments)
        parts = [
            f"{count} fragment{'s' * (count > 1)} at {len(sites)} site{'s' * (len(sites) > 1)}",
            f"about {seconds_text(self.plan.seconds)}",
            f"planned in {seconds_text(self.plan.planning_seconds)}",
        ]
        crossing = sum(self._bytes(fragment) for fragment, _ in self._crossings())
        crosses = f"{self._sign()}{bytes_text(crossing)} cross" if crossing else "no rows cross"
        parts.append(f"{crosses} a site's border")
        return "Plan: " + ", ".join(parts)

    def _fragment(self, fragment: Fragment) -> Iterator[str]:
        estimate = fragment.estimate
        expected = figures_text(estimate.seconds, estimate.rows, estimate.bytes)
        yield _cut(f"{fragment.key:<4}{fragment.location!s:<24} expected  {expected}")
        actual = self.actuals.get(fragment.key)
        if actual is not None:
            stays = not actual.bytes and fragment.recipients == (fragment.location.site,)
            figures = (
                f"{seconds_text(actual.seconds)}, at most {rows_text(actual.rows)}"
                if stays
                else figures_text(actual.seconds, actual.rows, actual.bytes)
            )
            yield f"{'':<28} actual    {figures}"
        yield from _wrapped(operators_text(fragment.root), "    ", "    ", most=LINES)
        for recipient in fragment.recipients:
            what = ", ".join(self._readers(fragment, recipient)) or f"the {self.answer}"
            if recipient == fragment.location.site:
                yield f"    stays at {recipient}, for {what}"
            else:
                size = f"{self._sign(fragment)}{bytes_text(self._bytes(fragment))}"
                yield f"    leaves {fragment.location.site} for {recipient} ({what}): {size}"
        for number, reason in enumerate(fragment.reasons):
            yield from _wrapped(reason, "    why: " if number == 0 else "         ", "         ")
        yield ""

    def _readers(self, fragment: Fragment, site: str) -> list[str]:
        return [
            one.key for one in self.plan.fragments if fragment.key in one.inputs and one.location.site == site
        ]

    def _crossings(self) -> Iterator[tuple[Fragment, str]]:
        for fragment in self.plan.fragments:
            for recipient in fragment.recipients:
                if recipient != fragment.location.site:
                    yield fragment, recipient

    def _bytes(self, fragment: Fragment) -> float:
        actual = self.actuals.get(fragment.key)
        return fragment.estimate.bytes if actual is None else actual.bytes

    def _sign(self, fragment: Fragment | None = None) -> str:
        """Whether a size is known or guessed."""
        keys = [one.key for one in self.plan.fragments] if fragment is None else [fragment.key]
        return "" if all(key in self.actuals for key in keys) else "≈ "

    # -- pictures

    def svg(self) -> str:
        """The plan as a picture: a lane a site, a box a fragment; dashed arrows cross a site's border."""
        order = dict.fromkeys(
            one.location.site for one in self.plan.fragments if one.location.site != self.consumer
        )
        lanes = [Lane(site, self.policies.get(site, "")) for site in (*order, self.consumer)]
        boxes: list[Box] = []
        arrows: list[Arrow] = []
        for fragment in self.plan.fragments:
            actual, estimate = self.actuals.get(fragment.key), fragment.estimate
            figures = (
                f"≈ {seconds_text(estimate.seconds)}, {rows_text(estimate.rows)}"
                if actual is None
                else f"{seconds_text(actual.seconds)}, {rows_text(actual.rows)}"
            )
            detail = "\n".join((str(fragment.location), plan_text(fragment.root), *fragment.reasons))
            title = f"{fragment.key} {type(fragment.root).__name__}"
            boxes.append(
                Box(fragment.key, fragment.location.site, title, fragment.location.platform, figures, detail)
            )
            arrows += [Arrow(key, fragment.key, self._label(key)) for key in fragment.inputs]
        boxes.append(Box("result", self.consumer, self.answer, "", "", "what you get"))
        arrows += [Arrow(one.key, "result", self._end_label(one)) for one in self._ends]
        return draw(lanes, boxes, arrows, label=self._headline())

    def _end_label(self, fragment: Fragment) -> str:
        """What goes to the answer: the result itself, or of rows that stay the statistics of a fit."""
        return self._label(fragment.key) if self.consumer in fragment.recipients else "statistics"

    def _label(self, key: str) -> str:
        fragment = next(one for one in self.plan.fragments if one.key == key)
        return f"{self._sign(fragment)}{bytes_text(self._bytes(fragment))}"

    def _repr_html_(self) -> str:
        """The picture, and the text to fold out, for notebooks."""
        return f"<div>{self.svg()}<details><summary>text</summary><pre>{escape(self.text())}</pre></details></div>"

    def mermaid(self) -> str:
        """The plan as a Mermaid flowchart."""
        lines = ["flowchart LR"]
        sites = dict.fromkeys([*(one.location.site for one in self.plan.fragments), self.consumer])
        for number, site in enumerate(sites):
            lines.append(f'  subgraph s{number}["{_mermaid(site)}"]')
            for fragment in self.plan.fragments:
                if fragment.location.site == site:
                    what = textwrap.shorten(operators_text(fragment.root), 80, placeholder="…")
                    lines.append(
                        f'    {fragment.key}["{_mermaid(fragment.location.platform)}: {_mermaid(what)}"]'
                    )
            if site == self.consumer:
                lines.append(f'    result(["{_mermaid(self.answer)}"])')
            lines.append("  end")
        by_key = {one.key: one for one in self.plan.fragments}
        for target in self.plan.fragments:
            site = target.location.site
            lines += [self._mermaid_arrow(by_key[key], target.key, site) for key in target.inputs]
        lines += [self._mermaid_arrow(one, "result", self.consumer) for one in self._ends]
        return "\n".join(lines)

    def _mermaid_arrow(self, source: Fragment, target: str, site: str) -> str:
        line = "-->" if source.location.site == site else "-.->"
        return f'  {source.key} {line}|"{self._label(source.key)}"| {target}'

    # -- data

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values: fragments, stages (as plan text), policies, notes."""
        return {
            "seconds": self.plan.seconds,
            "planning_seconds": self.plan.planning_seconds,
            "money": money_dict(self.plan, self.prices, priced=self.priced),
            "consumer": self.consumer,
            "fragments": [self._fragment_dict(fragment) for fragment in self.plan.fragments],
            "stages": [{"name": name, "plan": plan_text(root)} for name, root in self.stages],
            "policies": dict(self.policies),
            "notes": list(self.notes),
            "trainings": [asdict(one) for one in self.trainings],
        }

    def _fragment_dict(self, fragment: Fragment) -> dict[str, Any]:
        actual, estimate = self.actuals.get(fragment.key), fragment.estimate
        return {
            "key": fragment.key,
            "site": fragment.location.site,
            "platform": fragment.location.platform,
            "plan": plan_text(fragment.root),
            "columns": dict(fragment.root.schema),
            "inputs": list(fragment.inputs),
            "recipients": list(fragment.recipients),
            "estimate": {"seconds": estimate.seconds, "rows": estimate.rows, "bytes": estimate.bytes},
            "actual": None
            if actual is None
            else {"seconds": actual.seconds, "rows": actual.rows, "bytes": actual.bytes},
            "reasons": list(fragment.reasons),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def explanation(
    plan: PhysicalPlan,
    *,
    stages: Sequence[tuple[str, Relation]] = (),
    actuals: Mapping[str, tuple[float, int, int]] | None = None,
    policies: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Explanation:
    """Put an explanation together; `actuals` are (seconds, rows, bytes) by fragment key."""
    figures = {key: Actual(*each) for key, each in (actuals or {}).items()}
    return Explanation(plan, tuple(stages), figures, dict(policies or {}), tuple(notes))


def seconds_text(seconds: float) -> str:
    """A time in two or three figures.

    >>> seconds_text(0.00123), seconds_text(0.25), seconds_text(12.3), seconds_text(200)
    ('1.2 ms', '250 ms', '12 s', '3.3 min')
    """
    if seconds < 1:
        return f"{_figures(seconds * 1e3)} ms"
    return f"{_figures(seconds)} s" if seconds < 120 else f"{_figures(seconds / 60)} min"


def bytes_text(count: float) -> str:
    """A size in two or three figures.

    >>> bytes_text(12), bytes_text(1847), bytes_text(3.2e9)
    ('12 B', '1.8 KB', '3.2 GB')
    """
    return _scaled(count, ("B", "KB", "MB", "GB", "TB"))


def rows_text(count: float) -> str:
    """A number of rows in two or three figures.

    >>> rows_text(1), rows_text(57.7), rows_text(1_250_000)
    ('1 row', '58 rows', '1.2 M rows')
    """
    if round(count) == 1:
        return "1 row"
    text = _scaled(count, ("", "k", "M", "G", "T"))
    return f"{text.strip()} rows"


def figures_text(seconds: float, rows: float, size: float) -> str:
    """Time, rows and size in one line."""
    return f"{seconds_text(seconds)}, {rows_text(rows)}, {bytes_text(size)}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    power = 0
    while value >= 999.5 and power < len(units) - 1:
        value /= 1000
        power += 1
    return f"{value:.0f} {units[0]}" if power == 0 else f"{_figures(value)} {units[power]}"


def _figures(value: float) -> str:
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _wrapped(text: str, first: str, rest: str, *, most: int | None = None) -> list[str]:
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
    )


def _mermaid(text: str) -> str:
    """Text that Mermaid prints as it is."""
    return "".join(
        one if one.isalnum() or one in " .,_-:()[]*/+%=" or ord(one) > 127 else f"#{ord(one)};"
        for one in text
    )
