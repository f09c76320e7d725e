"""Calibration: generated work for every platform of every site, so that the cost model knows each before anyone uses it.

Work is done on rows that are brought along, never on an owner's tables: an engine takes them in as it takes in any transfer, in
temporary tables where it needs tables. What was measured is learned from and kept at once, and what is done is noted, so that a
calibration that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa

from blossom.executor.experience import Experience
from blossom.executor.federation import Federation
from blossom.executor.measuring import Measurement
from blossom.optimizer.cardinality import Cardinality, Sizes, width
from blossom.optimizer.costs.belief import predict
from blossom.optimizer.costs.learned import platform_belief
from blossom.optimizer.costs.whole import fragment, platform_name, transfer
from blossom.optimizer.physical import Location
from blossom.plan.errors import PlatformError
from blossom.plan.expressions import Call, Column, Literal
from blossom.plan.relations import (
    Aggregate,
    Filter,
    Function,
    Join,
    Link,
    MapBatches,
    Project,
    Received,
    Relation,
    SetOperation,
    Sort,
    SortKey,
)
from blossom.plan.schema import Schema
from blossom.plan.wire import fingerprint
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.tasks import Task

SIZES = (1_000, 20_000, 200_000)
"""Rows of the generated tables."""

REPEATS = 2
"""How often each piece of work is measured at each size, after once that is not."""

SLOW = 0.3
"""Seconds of one piece of work from which on it is not tried on more rows."""

OFTEN = 5
"""How many times over an engine works on rows that it took in once."""

PAIRS_MOST = 1_000
"""Rows of joins that compare every pair."""

MOST_X = 1_000_000

ROWS = Schema([("id", "int64"), ("few", "int64"), ("many", "int64"), ("x", "int64"), ("name", "string")])
OTHER = Schema([("key", "int64"), ("y", "int64")])

LEAF = Received("rows", ROWS)

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A piece of generated work.

    Attributes:
        name: What it is, for people.
        root: Builds the plan over `rows` and `other`.
        most: Rows that are enough.
    """

    name: str
    root: Callable[[Received, Received], Relation]
    most: int = 10**9


def _often(build: Callable[[Relation, Received], Relation]) -> Callable[[Received, Received], Relation]:
    """The same work on the rows taken several times over, so that taking them in is not all that is measured."""

    def built(rows: Received, other: Received) -> Relation:
        return build(SetOperation("union", (rows,) * OFTEN, False), other)

    return built


def _filtered(rows: Relation, _: Received) -> Relation:
    few = Filter(rows, (Call("Less", (rows.column("x"), Literal(MOST_X // 100, "int64")), "boolean"),))
    return Project(few, (("id", few.column("id")),))


def _projected(rows: Relation, _: Received) -> Relation:
    double = Call("Multiply", (rows.column("x"), Literal(2, "int64")), "int64")
    made = Project(rows, (("z", Call("Add", (double, rows.column("x")), "int64")),))
    return Aggregate(made, (), (("z", Call("Max", (made.column("z"), None), "int64")),))


def _counted(rows: Received, _: Received) -> Relation:
    return Aggregate(rows, (), (("n", Call("CountStar", (None,), "int64")),))


def _grouped(key: str) -> Callable[[Relation, Received], Relation]:
    def build(rows: Relation, _: Received) -> Relation:
        total = Call("Sum", (rows.column("x"), None), "int64")
        return Aggregate(rows, ((key, rows.column(key)),), (("total", total),))

    return build


def _joined(how: str) -> Callable[[Received, Received], Relation]:
    def build(rows: Received, other: Received) -> Relation:
        equal = Call("Equals", (Column("many", "int64"), Column("key", "int64", 1)), "boolean")
        values = [("id", rows.column("id")), ("x", rows.column("x"))]
        if how == "inner":
            values.append(("y", other.column("y", 1)))
        return Join((rows, other), (Link(how, (equal,)),), tuple(values))

    return build


def _matched(rows: Relation, other: Received) -> Relation:
    equal = Call("Equals", (Column("many", "int64"), Column("key", "int64", 1)), "boolean")
    joined = Join((rows, other), (Link("inner", (equal,)),), (("id", rows.column("id")),))
    return Aggregate(joined, (), (("n", Call("CountStar", (None,), "int64")),))


def _compared(rows: Received, other: Received) -> Relation:
    less = Call("Less", (Column("x", "int64"), Column("y", "int64", 1)), "boolean")
    joined = Join((rows, other), (Link("inner", (less,)),), (("id", rows.column("id")),))
    return Aggregate(joined, (), (("n", Call("CountStar", (None,), "int64")),))


def _sorted(rows: Received, _: Received) -> Relation:
    return Sort(rows, (SortKey(rows.column("x")),))


def _windowed(rows: Received, _: Received) -> Relation:
    total = Call("Sum", (rows.column("x"), None), "int64")
    window = Call("WindowFunction", (total, "rows", None, None, (rows.column("few"),), ()), "int64")
    return Project(rows, (("id", rows.column("id")), ("w", window)))


def _whole(rows: Received, _: Received) -> Relation:
    return Project(rows, tuple((name, rows.column(name)) for name in ROWS))


def _narrow(rows: Received, _: Received) -> Relation:
    return Project(rows, (("id", rows.column("id")),))


WORK = (
    Work("hand over", _whole),
    Work("one column", _narrow),
    Work("count", _counted),
    Work("filter", _often(_filtered)),
    Work("project", _often(_projected)),
    Work("few groups", _often(_grouped("few"))),
    Work("many groups", _often(_grouped("many"))),
    Work("join", _joined("inner")),
    Work("count of a join", _often(_matched)),
    Work("semi join", _joined("semi"), PAIRS_MOST),
    Work("all pairs", _compared, PAIRS_MOST),
    Work("sort", _sorted),
    Work("window", _windowed),
)
"""Everything that is measured; what an engine cannot do it is not asked."""


def echo(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The generated Python function: gives back what it gets."""
    return batch


@cache
def generated(rows: int) -> tuple[pa.Table, pa.Table]:
    """The rows and the other table of a size; the same at every call."""
    random = np.random.default_rng(rows)
    keys = max(rows // 4, 1)
    many = random.integers(0, keys, rows)
    table = pa.table(
        {
            "id": np.arange(rows), "few": random.integers(0, 50, rows), "many": many, "x": random.integers(0, MOST_X, rows),
            "name": pa.array([f"name of {one % 1000:03d}" for one in many.tolist()]),
        }
    )  # fmt: skip
    return table, pa.table({"key": random.permutation(keys), "y": random.integers(0, MOST_X, keys)})


@dataclass(slots=True, eq=False)
class Calibrated:
    """What a calibration found of one platform.

    Attributes:
        location: Which.
        kind: Its kind.
        measured: How many measurements.
        seconds: What they took in all.
        left: Pieces of work that there was no time for.
        skipped: Pieces of work that it cannot do, with the reason.
        before: The median factor by which the prior is off.
        after: The same of the model, over the same measurements.
        after_high: The factor that 90 % of them are within.
    """

    location: Location
    kind: str
    measured: int = 0
    seconds: float = 0.0
    left: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    before: float = math.nan
    after: float = math.nan
    after_high: float = math.nan


class Calibration:
    """Measures the platforms of a federation, one after the other.

    Args:
        federation: Whose; its experience learns.
        seconds: What each platform may take.
        site: Only this site's platforms (the hub's with "hub"); None: all.
    """

    def __init__(self, federation: Federation, seconds: float, site: str | None = None) -> None:
        self._federation = federation
        self._seconds = seconds
        self._experience = federation.experience
        kinds = {Location(HUB, name): config.kind for name, config in federation.hub.configs.items()}
        for description in federation.descriptions.values():
            kinds |= {Location(description.name, info.name): info.kind for info in description.platforms}
        self.platforms = {at: kind for at, kind in kinds.items() if site in (None, at.site)}
        self._done = _Done(self._experience)

    def restart(self) -> None:
        """Forget everything that was learned, and what an earlier calibration has done."""
        self._experience.forget()
        self._done.clear()

    def run(self, told: Told) -> Iterator[Calibrated]:
        """Measure every platform; each is learned from and kept before the next one begins.

        Raises:
            BlossomError: A site or an engine cannot be reached; what was learned before is kept.
        """
        for location, kind in self.platforms.items():
            told(f"{location} ({kind})")
            yield self._platform(location, kind, told)
        for site in {at.site: None for at in self.platforms if at.site != HUB}:
            told(f"the way from {site} to the hub")
            self._link(site)
        self._done.clear()
        self._experience.save()

    def _link(self, site: str) -> None:
        """Send generated rows from a site to the hub, as any result is sent: the site judges it and logs it."""
        at = next(
            (one for one in self.platforms if one.site == site and self._unsupported(one, LEAF) is None), None
        )
        if at is None:
            return
        whole = _whole(LEAF, LEAF)
        for rows in (SIZES[0], SIZES[0], SIZES[-1], SIZES[-1]):
            table, _ = generated(rows)
            task = Task(
                f"calibration-{uuid.uuid4().hex}", "f0", whole, at.platform, (self._federation.user.at(HUB),),
                {"rows": table.to_reader(max_chunksize=65_536)}, Cancellation(), 0, fingerprint(whole),
            )  # fmt: skip
            began = time.perf_counter()
            reader = self._federation.sites[site].run(task).reader
            given = 0 if reader is None else sum(batch.num_rows for batch in reader)
            seconds = time.perf_counter() - began
            size = Cardinality.known(given, width(ROWS))
            part = fragment(whole, at, Sizes(lambda *_: None, known={LEAF: size, whole: size}), gives=True)
            self._experience.costs.learn([part, *transfer(site, HUB, size.bytes)], seconds, drift=False)
            self._experience.changed()

    def _platform(self, location: Location, kind: str, told: Told) -> Calibrated:
        found = Calibrated(location, kind)
        name = platform_name(location)
        self._experience.costs.know(name, kind)
        done, slow = self._done.of(name), set[str]()
        measured: list[Measurement] = []
        began = time.perf_counter()
        for step, size in enumerate(SIZES):
            for work in (*WORK, *self._functions()):
                rows = min(size, work.most)
                if step and rows == min(SIZES[step - 1], work.most):
                    continue
                key = f"{work.name} {rows}"
                if key in done or work.name in slow or work.name in found.skipped:
                    continue
                if time.perf_counter() - began > self._seconds:
                    found.left += 1
                    continue
                told(f"{work.name}, {rows:,} rows")
                one = self._measure(location, work, rows, found)
                measured += one
                for each in one:
                    self._experience.costs.learn(each.parts, each.seconds, drift=False)
                if one and max(each.seconds for each in one) > SLOW:
                    slow.add(work.name)
                done.add(key)
                self._experience.changed()
                self._done.save()
            self._experience.save()
        found.measured, found.seconds = len(measured), time.perf_counter() - began
        self._judge(found, measured)
        return found

    def _functions(self) -> tuple[Work, ...]:
        function: Function = self._federation.functions.register(echo, {})
        return (Work("function", lambda rows, _: MapBatches(rows, function, ROWS)),)

    def _measure(self, location: Location, work: Work, rows: int, found: Calibrated) -> list[Measurement]:
        table, other = generated(rows)
        root = work.root(Received("rows", ROWS), Received("other", OTHER))
        for node in root.walk():
            reason = self._unsupported(location, node)
            if reason is not None:
                found.skipped[work.name] = reason
                return []
        leaves = {node.key: node for node in root.walk() if isinstance(node, Received)}
        sources = {"rows": table, "other": other}
        measured: list[Measurement] = []
        for turn in range(REPEATS + 1):
            began = time.perf_counter()
            inputs = {key: sources[key].to_reader(max_chunksize=65_536) for key in leaves}
            try:
                given = sum(batch.num_rows for batch in self._run(location, root, inputs))
            except PlatformError as error:
                found.skipped[work.name] = str(error)
                return []
            seconds = time.perf_counter() - began
            if turn == 0 and seconds < SLOW:
                continue  # engines compile, and open files, the first time
            known: dict[Relation, Cardinality] = {
                leaf: Cardinality.known(sources[key].num_rows, width(leaf.columns))
                for key, leaf in leaves.items()
            }
            known[root] = Cardinality.known(given, width(root.schema))
            part = fragment(root, location, Sizes(lambda *_: None, known=known), gives=True)
            measured.append(Measurement((part,), seconds))
        return measured

    def _unsupported(self, location: Location, node: Relation) -> str | None:
        if location.site == HUB:
            return self._federation.hub.unsupported(location.platform, node)
        return self._federation.sites[location.site].unsupported(location.platform, node)

    def _run(
        self, location: Location, root: Relation, inputs: Mapping[str, pa.RecordBatchReader]
    ) -> pa.RecordBatchReader:
        if location.site == HUB:
            return self._federation.hub.run(location.platform, root, inputs, Cancellation())
        return self._federation.sites[location.site].rehearse(location.platform, root, inputs, Cancellation())

    def _judge(self, found: Calibrated, measured: Sequence[Measurement]) -> None:
        if not measured:
            return
        name = platform_name(found.location)
        prior = {name: platform_belief(found.kind)}
        before = [_factor(one.seconds, predict(prior, one.parts).seconds) for one in measured]
        after = [_factor(one.seconds, self._experience.costs.predict(one.parts).seconds) for one in measured]
        found.before, found.after = statistics.median(before), statistics.median(after)
        found.after_high = sorted(after)[min(len(after) - 1, int(0.9 * len(after)))]


def _factor(one: float, two: float) -> float:
    return max(one / two, two / one)


class _Done:
    """Which work was done, by platform, in the federation's state folder until everything is."""

    FILE = "calibration.json"

    def __init__(self, experience: Experience) -> None:
        self._path = None if experience.folder is None else experience.folder / self.FILE
        self._done: dict[str, set[str]] = {}
        if self._path is not None and self._path.is_file():
            try:
                document = json.loads(self._path.read_bytes())
                self._done = {str(name): set(map(str, keys)) for name, keys in document.items()}
            except (ValueError, AttributeError, TypeError):
                self._done = {}  # a note that cannot be read: everything is measured again

    def of(self, platform: str) -> set[str]:
        return self._done.setdefault(platform, set())

    def save(self) -> None:
        if self._path is not None:
            draft = self._path.with_name(f".{self._path.name}")
            draft.write_text(json.dumps({name: sorted(keys) for name, keys in self._done.items()}))
            draft.replace(self._path)

    def clear(self) -> None:
        self._done.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
