"""What a run's fragments took, each apart from waiting for others, and what the cost model learns from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from blossom.optimizer.cardinality import Cardinality, Rows, Sizes, width
from blossom.optimizer.costs.belief import Part
from blossom.optimizer.costs.whole import fragment as fragment_part
from blossom.optimizer.costs.whole import transfer
from blossom.optimizer.physical import Fragment, PhysicalPlan
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.sites.config.model import HUB

Span = tuple[float, float]

MOST_SPANS = 20_000
"""Spans that a stopwatch keeps; a fragment of more batches is not measured."""


@dataclass(slots=True)
class Stopwatch:
    """When a fragment produced, and when it waited for its inputs; both are told by whichever thread does it."""

    produced: list[Span] = field(default_factory=list)
    waited: list[Span] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def producing(self) -> Generator[None]:
        """The body is work of the fragment's engine."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.produced.append((began, time.perf_counter()))

    def output(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The batches; the time that each takes to come is work, the time until the next is asked for is not."""
        batches = iter(reader)
        while True:
            with self.producing():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def input(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """The same stream; the time that its batches take to come is waiting."""

        def batches() -> Iterator[pa.RecordBatch]:
            source = iter(reader)
            while True:
                began = time.perf_counter()
                batch = next(source, None)
                with self._lock:
                    self.waited.append((began, time.perf_counter()))
                if batch is None:
                    return
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    @property
    def seconds(self) -> float:
        """Seconds of work."""
        return working((self,))


def working(watches: Iterable[Stopwatch]) -> float:
    """Seconds in which any of them produced while none waited.

    >>> working([Stopwatch([(0.0, 5.0)], [(1.0, 2.0), (1.5, 3.0), (8.0, 9.0)])])
    3.0
    """
    chosen = tuple(watches)
    produced = _merged(span for one in chosen for span in one.produced)
    waited = _merged(span for one in chosen for span in one.waited)
    total = sum(end - begin for begin, end in produced)
    i = 0
    for begin, end in produced:
        while i < len(waited) and waited[i][1] <= begin:
            i += 1
        j = i
        while j < len(waited) and waited[j][0] < end:
            total -= min(end, waited[j][1]) - max(begin, waited[j][0])
            j += 1
    return total


def _merged(spans: Iterable[Span]) -> list[Span]:
    out: list[Span] = []
    for begin, end in sorted(spans):
        if out and begin <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((begin, end))
    return out


@dataclass(frozen=True, slots=True)
class Output:
    """What a fragment gave.

    Attributes:
        rows: As many as its site tells.
        whole: Whether it was read to its end.
        kept: Whether it stayed at its site: its work may have been done when it was read there.
        watch: Its times.
    """

    rows: int
    whole: bool
    kept: bool
    watch: Stopwatch

    @property
    def counted(self) -> Rows:
        """Its size; what stayed may be told rounded up to a power of two."""
        rounded = self.kept and self.rows & (self.rows - 1) == 0
        return Rows.rounded(self.rows) if rounded else Rows.exactly(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Parts that ran as one stream, and the seconds they took in all."""

    parts: Sequence[Part]
    seconds: float


def measurements(
    plan: PhysicalPlan, outputs: Mapping[str, Output], rows: Callable[[str, str], int | None]
) -> list[Measurement]:
    """What a run tells of costs.

    Outputs that stay at a site are read there as streams, so the fragment that sends the result on does their work too: they
    are one measurement. Fragments of which anything was not read to its end tell nothing.
    """
    by_key = {one.key: one for one in plan.fragments}
    taken: set[str] = set()
    found: list[Measurement] = []
    for top in plan.fragments:
        if outputs[top.key].kept:
            continue
        members = _stream(top, by_key, outputs, taken)
        taken.update(one.key for one in members)
        told = [outputs[key] for one in members for key in (one.key, *one.inputs)]
        if not all(one.whole for one in told):
            continue
        watches = [outputs[one.key].watch for one in members]
        if any(len(one.produced) + len(one.waited) > MOST_SPANS for one in watches):
            continue
        parts = [part for one in members for part in _parts(one, by_key, outputs, rows)]
        if top.location.site != HUB and any(to != top.location.site for to in top.recipients):
            parts += transfer(top.location.site, HUB, outputs[top.key].rows * width(top.root.schema))
        found.append(Measurement(parts, working(watches)))
    return found


def _stream(
    top: Fragment, by_key: Mapping[str, Fragment], outputs: Mapping[str, Output], taken: set[str]
) -> list[Fragment]:
    """The fragment and those that stayed at its site for it, and for them."""
    members, stack = [top], [top]
    while stack:
        for key in stack.pop().inputs:
            if outputs[key].kept and key not in taken and by_key[key] not in members:
                members.append(by_key[key])
                stack.append(by_key[key])
    return members


def _parts(
    one: Fragment,
    by_key: Mapping[str, Fragment],
    outputs: Mapping[str, Output],
    rows: Callable[[str, str], int | None],
) -> list[Part]:
    known: dict[Relation, Cardinality] = {}
    for node in one.root.walk():
        if isinstance(node, Received) and node.key in outputs:
            known[node] = _size(outputs[node.key].counted, node.columns)
    if not isinstance(one.root, Scan):
        known[one.root] = _size(outputs[one.key].counted, one.root.schema)
    sizes = Sizes(rows, known=known)
    parts = [fragment_part(one.root, one.location, sizes, gives=True)]
    for key in one.inputs:
        source, into = by_key[key].location.site, one.location.site
        if into == HUB != source:
            continue  # the way to the hub is the sender's
        size = outputs[key].rows * width(by_key[key].root.schema)
        parts += transfer(source if source == into else HUB, into, size)
    return parts


def _size(rows: Rows, schema: Schema) -> Cardinality:
    return Cardinality(rows.low, rows.expected, rows.high, width(schema))


def true_sizes(plan: PhysicalPlan, outputs: Mapping[str, Output]) -> Iterator[tuple[Relation, Rows]]:
    """The parts of the whole plan that ran to their end, with their sizes as far as they were told."""
    for one in plan.fragments:
        output = outputs[one.key]
        if one.computes is not None and output.whole and not isinstance(one.computes, Scan):
            yield one.computes, output.counted
