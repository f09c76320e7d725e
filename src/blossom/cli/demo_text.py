"""The demo told to a person: what is done, what came out, and what it proves, in at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from blossom.cli.demo_figures import Figures, Promise, Quality
from blossom.cli.figures import left_text
from blossom.cli.printing import cell_text, columns, paragraph, width
from blossom.fedpy.explain import bytes_text

COEFFICIENTS, HELD = 8, 6
"""How many of each are shown."""

DECIMALS: Mapping[str, int] = {"delay": 1, "expected": 4, "late": 4}
"""Column of a small table -> decimals."""


def demo_text(figures: Figures, *, parts: bool = False) -> str:
    """The whole story.

    Args:
        figures: What was measured.
        parts: Also tell how long each part took.
    """
    sections = (_opening, _sites, _question, _refused, _training, _quality, _left, _promises)
    lines: list[str] = []
    for section in sections:
        lines += [*section(figures), ""]
    lines += _closing(figures)
    if parts:
        rows = [(name, f"{seconds:.2f}") for name, seconds in figures.parts.items()]
        lines += ["", columns(("part", "seconds"), rows, right=["seconds"], indent="  ")]
    return "\n".join(lines)


def _heading(number: int, text: str) -> str:
    start = f"── {number}  {text} "
    return start + "─" * (width() - len(start))


def _opening(figures: Figures) -> Iterator[str]:
    yield "BLOSSOM DEMO"
    yield paragraph(
        f"New York's three airports in 2013: {figures.flights:,} real flights and the weather. Each airport keeps its own rows, "
        "on an engine of its own, and may not show the others a single flight. One pipeline still asks questions of all of them, "
        f"and trains a model on all of them. It stands in {figures.example}."
    )


def _sites(figures: Figures) -> Iterator[str]:
    yield _heading(1, "Who takes part, and what each owner lets out")
    rows: list[tuple[str, ...]] = []
    for site in figures.sites:
        for number, (table, source) in enumerate(site.sources.items()):
            first = number == 0
            rows.append(
                (
                    site.name if first else "",
                    site.title if first else "",
                    site.engine if first else "",
                    table if source.rpartition(".")[2] in (table, "") else f"{table} ({source})",
                    site.may_leave[table],
                )
            )
    yield columns(("site", "airport", "engine", "table", "what may leave"), rows, indent="  ")
    yield paragraph(
        "Aggregates over N+ tailnum: a figure leaves only if it describes at least N aircraft (tailnum is an aircraft's "
        "registration); the site holds others back. The rules are the owners'; each site applies its own, and logs what leaves.",
        indent="  ",
    )


def _question(figures: Figures) -> Iterator[str]:
    question = figures.question
    yield _heading(2, "A question to all three: which carriers arrive late?")
    yield _code(question.source)
    yield ""
    yield "  How it runs: who does what, on which engine, and why"
    yield _beside(question.plan, ("  │ ", "│ ", ""))
    yield ""
    yield "  The answer"
    yield textwrap.indent(_records(question.answer), "  ")
    yield ""
    if not question.held_back:
        yield "  No site held anything back."
        return
    yield paragraph(
        "Held back: a site keeps figures that describe too few aircraft, and others with them where the rest would give them "
        "away. The demo has all rows, so it can say which:",
        indent="  ",
    )
    for site in dict.fromkeys(cell.site for cell in question.held_back):
        own = [cell for cell in question.held_back if cell.site == site]
        told = [
            f"{cell.carrier} ({_times(cell.flights, 'flight')}, {cell.aircraft:,} aircraft)"
            for cell in own[:HELD]
        ]
        yield paragraph(
            f"at {site}: {_list([*told, *_more(len(own) - HELD)])}", indent="      ", first="    "
        )


def _refused(figures: Figures) -> Iterator[str]:
    refused = figures.refused
    yield _heading(3, "A question that is refused: the ten latest flights")
    yield _code(refused.source)
    yield ""
    yield "  The answer"
    for line in refused.message.splitlines():
        text = line.lstrip()
        indent = "  " + " " * (len(line) - len(text))
        yield paragraph(text, indent=f"{indent}  ", first=indent)


def _training(figures: Figures) -> Iterator[str]:
    training = figures.training
    yield _heading(4, "A model of rows that nobody sees: will a flight be 15 minutes late?")
    yield _code(training.source)
    yield ""
    yield paragraph(f"How it is fitted: {training.how}.", indent="  ")
    yield paragraph(
        f"Fitted on {training.rows:,} flights, January to June, in {training.seconds:.1f} s. In every round each site answers with "
        "sums over its own flights; the hub adds them up and takes the next step:",
        indent="  ",
    )
    rows = [
        (
            str(one.round),
            one.step,
            "" if one.loss is None else f"{one.loss:.9f}",
            "" if one.gradient_norm is None else f"{one.gradient_norm:.1e}",
        )
        for one in training.rounds
    ]
    yield columns(
        ("round", "step", "loss", "gradient"), rows, right=("round", "loss", "gradient"), indent="    "
    )
    yield ""
    largest = sorted(training.coefficients, key=lambda one: -abs(one.federated))[:COEFFICIENTS]
    yield f"  The {len(largest)} largest of {len(training.coefficients)} coefficients, beside those of the pooled model (section 5)"
    rows = [
        (one.name, f"{one.federated:+.9f}", f"{one.pooled:+.9f}", f"{abs(one.federated - one.pooled):.1e}")
        for one in largest
    ]
    headings = ("coefficient", "federated", "pooled", "difference")
    yield columns(headings, rows, right=headings[1:], indent="    ")


def _quality(figures: Figures) -> Iterator[str]:
    yield _heading(5, "Is it as good as a model of all rows in one place?")
    yield paragraph(
        "July to December, which the model has not seen. The federated figures come from sums at the sites; for comparison the "
        "demo, and only the demo, puts all rows into one place and does the same there.",
        indent="  ",
    )
    rows = [
        (
            one.model,
            f"{one.rows:,}",
            f"{one.auc:.6f}",
            f"± {one.auc_bound:.1e}" if one.auc_bound else "exact",
            f"{one.log_loss:.9f}",
        )
        for one in figures.quality
    ]
    headings = ("model", "flights", "AUC", "stated bound", "log loss")
    yield columns(headings, rows, right=headings[1:], indent="    ")
    yield paragraph(_told(figures.quality), indent="  ")
    yield ""
    yield "  And month by month, predicted at the sites: the share of late flights it expects, and the true one"
    yield textwrap.indent(_records(figures.months), "    ")


def _told(quality: Sequence[Quality]) -> str:
    federated, pooled, *_ = quality
    return (
        f"The AUCs differ by {abs(federated.auc - pooled.auc):.1e}, the log losses by "
        f"{abs(federated.log_loss - pooled.log_loss):.1e}."
    )


def _left(figures: Figures) -> Iterator[str]:
    yield _heading(6, "What left the sites, in all of this")
    yield left_text(figures.left, indent="  ")
    total = sum(size for own in figures.left.values() for size in own.values())
    yield paragraph(
        f"Together {bytes_text(total)}, for {figures.flights:,} flights. Aggregates answer queries; updates are the sums that a "
        "model is fitted and measured with; rows would be single flights.",
        indent="  ",
    )


def _promises(figures: Figures) -> Iterator[str]:
    yield _heading(7, "What was promised, and what was measured")
    rows = [
        (one.what, f"{one.measured:.1e}", f"≤ {one.bound:g}", "kept" if one.kept else "BROKEN")
        for one in figures.promises
    ]
    headings = ("figure", "measured", "promised", "")
    yield columns(headings, rows, right=headings[1:3], indent="  ")


def _closing(figures: Figures) -> Iterator[str]:
    verdict = "Every promise holds" if figures.kept else f"BROKEN: {_broken(figures.promises)}"
    yield paragraph(f"{verdict}. {figures.seconds:.1f} s, {bytes_text(figures.peak_bytes)} of memory.")
    folder = figures.config
    yield f"  records of the runs   {figures.records}"
    yield f"  read them             blossom runs --config {folder}"
    yield f"  the sites' audit logs blossom site audit {folder}"
    yield f"  change a policy       edit {folder}, then run the demo again"


def _broken(promises: Iterable[Promise]) -> str:
    return _list([one.what for one in promises if not one.kept])


def _code(source: str) -> str:
    return _beside(source, ("    ", "  ", ""))


def _beside(text: str, prefixes: Sequence[str]) -> str:
    """The text, every line after the first prefix that leaves it room in the terminal."""
    lines = text.splitlines()
    longest = max(map(len, lines), default=0)
    prefix = next((one for one in prefixes if len(one) + longest <= width()), "")
    return "\n".join(f"{prefix}{line}".rstrip() for line in lines)


def _records(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return "(no rows)"
    names = list(rows[0])
    numbers = [name for name in names if isinstance(rows[0][name], int | float)]
    cells = [[_cell(name, row[name]) for name in names] for row in rows]
    return columns(names, cells, right=numbers)


def _cell(name: str, value: object) -> str:
    if name in DECIMALS and isinstance(value, float):
        return f"{value:.{DECIMALS[name]}f}"
    return f"{value:,}" if isinstance(value, int) else cell_text(value)


def _times(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _more(number: int) -> list[str]:
    return [f"{number} more"] if number > 0 else []


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
