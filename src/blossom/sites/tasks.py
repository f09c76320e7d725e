"""What a site is asked and what it answers: the interface that is the same in process and over a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from blossom.learning.statistics.base import Statistic
from blossom.plan.errors import Refusal
from blossom.plan.relations import Relation
from blossom.plan.schema import Schema
from blossom.platforms.interface import Cancellation
from blossom.policy.model import Recipient, TablePolicy
from blossom.sites.config.model import TableConfig


@dataclass(frozen=True, eq=False)
class Task:
    """One fragment to run.

    Attributes:
        run: The run's id.
        key: The fragment's key in its run.
        root: Its plan; leaves are this site's `Scan`s and `Received` keys of `inputs`.
        platform: The site's platform that runs it.
        recipients: Who gets the output outside the site; empty when all of it stays.
        keep: How many later tasks of the run at this site read the output.
        inputs: Rows from elsewhere. Outputs that this site kept are not listed: it has them.
        plan: Content hash of the whole plan, for the audit log.
        hold: What stays is read to its end before `run` returns, and may be read again.
    """

    run: str
    key: str
    root: Relation
    platform: str
    recipients: tuple[Recipient, ...]
    inputs: Mapping[str, pa.RecordBatchReader]
    cancellation: Cancellation
    keep: int = 0
    plan: str = ""
    hold: bool = False


@dataclass(slots=True)
class Delivery:
    """A fragment's output as it leaves the site; figures are complete when the reader is exhausted.

    `reader` is None when nothing leaves; `rows` are then those that stayed, known once they are read, and rounded where they
    are private.
    """

    reader: pa.RecordBatchReader | None
    kind: str  # "rows" | "aggregates" | "public" | "local"
    rows: int = 0
    bytes: int = 0
    withheld: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FitTask:
    """Prepare a kept output for a fit.

    Attributes:
        run: The run that kept it.
        key: Its fragment.
        features: Feature columns.
        target: The target column; "" for none.
        recipient: Who will ask for statistics.
        plan: Content hash of the training plan, for the audit log.
        score: What the rows are for: digest of a fitted score that is to be measured on them (`Measured.digest`); "" to fit.
    """

    run: str
    key: str
    features: tuple[str, ...]
    target: str
    recipient: Recipient
    plan: str
    score: str = ""


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Store a kept output as a table of the site.

    Attributes:
        run: The run that kept it.
        key: Its fragment.
        table: The table's name.
    """

    run: str
    key: str
    table: str


@dataclass(frozen=True, slots=True)
class Published:
    """A table that a site publishes, with the schema its engine gave."""

    config: TableConfig
    schema: Schema


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """A platform of a site as others may know it."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A site's answer to one statistic of a fit."""

    state: Any
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Description:
    """What a site says of itself."""

    name: str
    title: str
    tables: Mapping[str, Published] = field(default_factory=dict)
    platforms: tuple[PlatformInfo, ...] = ()


class SiteInterface(Protocol):
    """A site as the executor sees it."""

    @property
    def name(self) -> str:
        """The site's name."""
        ...

    def describe(self) -> Description:
        """Tables and platforms."""
        ...

    def policy(self, table: str) -> TablePolicy:
        """The rules in force for a table."""
        ...

    def rows(self, table: str) -> int | None:
        """A table's size as the policy lets others know it."""
        ...

    def unsupported(self, platform: str, node: Relation) -> str | None:
        """Why a node cannot run on a platform here."""
        ...

    def rehearse(
        self,
        platform: str,
        root: Relation,
        inputs: Mapping[str, pa.RecordBatchReader],
        cancellation: Cancellation,
    ) -> pa.RecordBatchReader:
        """Run a plan over rows that the caller brings, to measure an engine; it may read no table of the site."""
        ...

    def may_release(self, root: Relation, recipient: Recipient) -> tuple[Refusal, ...]:
        """Why this site would refuse to release a plan's output; empty when it would not."""
        ...

    def run(self, task: Task) -> Delivery:
        """Check, guard, log and run a fragment."""
        ...

    def prepare(self, task: FitTask) -> None:
        """Check that a fit may use a kept output, and store it for many passes."""
        ...

    def answer(self, run: str, statistic: Statistic, recipient: Recipient) -> Answer:
        """Answer one statistic of a fit, logged before it leaves."""
        ...

    def stage(self, task: WriteTask) -> None:
        """Store a kept output as a table that is not published yet."""
        ...

    def commit(self, run: str) -> None:
        """Publish the table that a run has staged."""
        ...

    def retract(self, run: str) -> None:
        """Take back the table that a run has just published."""
        ...

    def forget(self, run: str) -> None:
        """Drop what the site kept for a run."""
        ...


def nbytes(batches: Iterable[pa.RecordBatch]) -> int:
    """Bytes of Arrow data, as they would travel uncompressed."""
    return sum(batch.nbytes for batch in batches)
