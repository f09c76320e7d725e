"""A site: checks every fragment against its owner's policy, guards it, logs it, then runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa

from blossom.learning.statistics.base import State, Statistic
from blossom.plan.errors import BlossomError, PlanError, PlatformError, PolicyError, Refusal, SiteError
from blossom.plan.expressions import Subquery, walk
from blossom.plan.origins import Origins, origins
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.schema import Schema
from blossom.plan.wire import fingerprint
from blossom.platforms.interface import Cancellation
from blossom.policy.guards import Guarded, Stage
from blossom.policy.judge import Kept, Verdict, judge, keep
from blossom.policy.model import Recipient, TablePolicy
from blossom.policy.training import judge_training
from blossom.sites.audit import AuditLog, Entry
from blossom.sites.config import SiteConfig, check_columns, ledger_folder, state_folder
from blossom.sites.fitting import Fit
from blossom.sites.functions import Functions
from blossom.sites.guarding import Guarding
from blossom.sites.ledger import Grant, Ledger
from blossom.sites.looks import Looks, tables
from blossom.sites.models import Models
from blossom.sites.place import Place, Predictor
from blossom.sites.redaction import logged, redacted
from blossom.sites.spool import ROOM, Room, Spool
from blossom.sites.streams import CANCELLED
from blossom.sites.tasks import (
    Answer,
    Delivery,
    Description,
    FitTask,
    PlatformInfo,
    Published,
    Task,
    WriteTask,
)
from blossom.sites.versions import version
from blossom.sites.written import Written, inherited

_KINDS: Mapping[str, Literal["rows", "aggregates"]] = {
    "rows": "rows",
    "aggregates": "aggregates",
    "public": "aggregates",
}


_FRESH = 60.0
"""Seconds for which a count of rows is good enough to plan with."""

_JUDGED = 512
"""Judgements that a site remembers."""


@dataclass(slots=True)
class _Output:
    """What stayed of a fragment: its rows and what the policy must remember of them."""

    kept: Kept
    origins: Origins
    reads: int
    spool: Spool | None = None
    reader: pa.RecordBatchReader | None = None


@dataclass(slots=True)
class _Run:
    """What a site holds for one run."""

    outputs: dict[str, _Output] = field(default_factory=dict)
    fit: Fit | None = None
    staged: tuple[str, TablePolicy] | None = None
    committed: str | None = None


class Site:
    """One site in this process; the same code serves a site agent.

    Args:
        config: Its configuration.
        functions: The Python functions its owner approves.
        predictor: Model document -> a function of record batches.
    """

    def __init__(self, config: SiteConfig, functions: Functions, predictor: Predictor) -> None:
        self.config = config
        self.name = config.name
        self._place = Place(config.name, config.platforms, functions, predictor)
        self._tables = dict(config.tables)
        self._written = Written(state_folder(config), config.name)
        for table in self._written.tables():
            self._tables.setdefault(table.name, table)
        self._own = set(self._tables) - set(config.tables)
        self._models = Models(state_folder(config), config.name)
        self._policies = {
            name: replace(table.policy, steward=table.steward) if table.replicated else table.policy
            for name, table in self._tables.items()
        }
        self._audit: AuditLog | None = None
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._published: dict[str, Published] | None = None
        self._counts: dict[str, tuple[float, int | None]] = {}
        self._judged: dict[tuple[int, Recipient], tuple[Relation, Verdict]] = {}
        self._looks = Looks()
        self._room = Room(config.memory_limit or ROOM, lambda: state_folder(config), f"site {config.name}")

    # -- what others may know ------------------------------------------------------------------------------------------

    def describe(self) -> Description:
        """Connect to every table and say what there is.

        Raises:
            PlatformError: An engine or a table cannot be reached; names it.
            ConfigError: The configuration names columns that the table has not.
        """
        with self._lock:
            if self._published is None:
                self._published = {name: self._publish(name) for name in self._tables}
            tables = dict(self._published)
        platforms = tuple(PlatformInfo(name, p.kind) for name, p in self.config.platforms.items())
        return Description(self.name, self.config.title, tables, platforms)

    def _publish(self, name: str) -> Published:
        table = self._tables[name]
        try:
            schema = self._place.publish(name, table.platform, table.source)
        except BlossomError as error:
            if error.where is None or self.name not in error.where:
                error.where = f"site {self.name}, table {name}" + (f", {error.where}" if error.where else "")
            if error.hint is None:
                error.hint = "check the table's source and platform in the configuration"
            raise
        check_columns(table, schema, site=self.name)
        return Published(table, schema)

    def policy(self, table: str) -> TablePolicy:
        """The rules in force for a table."""
        return self._policies[table]

    def rows(self, table: str) -> int | None:
        """A table's size, a minute old at most; of a private one rounded to a power of two, and never less than its smallest group."""
        config = self._tables[table]
        known = self._counts.get(table)
        if known is None or time.monotonic() - known[0] > _FRESH:
            known = (time.monotonic(), self._place.platform(config.platform).row_count(table))
            self._counts[table] = known
        count = known[1]
        if count is None or config.policy.release == "rows":
            return count
        return _rounded(count, config.policy.min_group)

    def unsupported(self, platform: str, node: Relation) -> str | None:
        """Why a node cannot run on a platform here."""
        return self._place.unsupported(platform, node)

    def rehearse(
        self,
        platform: str,
        root: Relation,
        inputs: Mapping[str, pa.RecordBatchReader],
        cancellation: Cancellation,
    ) -> pa.RecordBatchReader:
        """Run a plan over rows that the caller brings, to measure an engine; it may read no table of the site.

        Raises:
            PlanError: It reads one.
            PlatformError: The engine failed.
        """
        if next(_leaves(root, Scan), None) is not None:
            raise PlanError("a rehearsal reads no table", where=f"site {self.name}", hint="bring the rows")
        return self._place.run(platform, root, inputs, cancellation)

    def may_release(self, root: Relation, recipient: Recipient) -> tuple[Refusal, ...]:
        """Why this site would refuse to release a plan's output; empty when it would not."""
        return judge(root, self._policies, recipient, self.name).refusals

    # -- fragments -----------------------------------------------------------------------------------------------------

    def run(self, task: Task) -> Delivery:
        """Check, guard, log and run a fragment.

        Raises:
            PolicyError: The policy refuses; logged.
            PlatformError: The engine failed.
        """
        began = time.perf_counter()
        kept = self._kept(task.run)
        if not task.recipients:
            plan, known = keep(task.root, self._policies, self.name, kept)
            reader, withheld = self._execute(task, plan)
            delivery = Delivery(None, "local", withheld=min(withheld, 1))
            self._store(task, known, _sized(reader, delivery, known))
            delivery.seconds = time.perf_counter() - began
            return delivery
        verdicts = [self._judge(task, recipient, kept) for recipient in task.recipients]
        plan = verdicts[0].allow()
        shared = {key: reader.read_all() for key, reader in task.inputs.items()} if task.keep else {}
        if task.keep:
            task = replace(task, inputs={key: table.to_reader() for key, table in shared.items()})
        reader, withheld = self._execute(task, plan, verdicts[0])
        kind = verdicts[0].release or "public"
        delivery = Delivery(None, kind, withheld=min(withheld, 1))  # how many is the owner's to know
        if task.keep:
            # what stays may need hidden columns that must not leave, so it is a run of its own
            plan, known = keep(task.root, self._policies, self.name, kept)
            own = replace(task, inputs={key: table.to_reader() for key, table in shared.items()})
            staying, _ = self._execute(own, plan)
            self._store(task, known, staying)
        streamed = kind == "rows"
        batches: list[pa.RecordBatch] | pa.RecordBatchReader = reader if streamed else list(reader)
        for recipient, verdict in zip(task.recipients, verdicts, strict=True):
            figures = (None, None) if isinstance(batches, pa.RecordBatchReader) else _figures(batches)
            self._log(task, recipient, verdict, "withheld" if withheld else "released", *figures)
        delivery.reader = pa.RecordBatchReader.from_batches(
            reader.schema, self._leaving(task, delivery, batches, verdicts, began)
        )
        return delivery

    def _judge(self, task: Task, recipient: Recipient, kept: Mapping[str, Kept]) -> Verdict:
        verdict = self._verdict(task.root, recipient, kept)
        if verdict.refusals:
            self._log(task, recipient, verdict, "refused", None, None)
        verdict.allow()
        return verdict

    def _verdict(self, root: Relation, recipient: Recipient, kept: Mapping[str, Kept]) -> Verdict:
        """The judgement of a plan; the very same plan for the same recipient is judged once (plans are immutable)."""
        if kept:
            return judge(root, self._policies, recipient, self.name, kept)
        key = (id(root), recipient)
        with self._lock:
            known = self._judged.get(key)
        if known is None or known[0] is not root:
            known = (root, judge(root, self._policies, recipient, self.name))
            with self._lock:
                if len(self._judged) >= _JUDGED:
                    self._judged.clear()
                self._judged[key] = known
        return known[1]

    def _leaving(
        self,
        task: Task,
        delivery: Delivery,
        batches: list[pa.RecordBatch] | pa.RecordBatchReader,
        verdicts: list[Verdict],
        began: float,
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            delivery.rows += batch.num_rows
            delivery.bytes += batch.nbytes
            yield batch
        delivery.seconds = time.perf_counter() - began
        if isinstance(
            batches, pa.RecordBatchReader
        ):  # streamed: the entry before said that rows leave, this one how many
            for recipient, verdict in zip(task.recipients, verdicts, strict=True):
                self._log(task, recipient, verdict, "released", delivery.rows, delivery.bytes)

    def _execute(
        self, task: Task, plan: Guarded, verdict: Verdict | None = None
    ) -> tuple[pa.RecordBatchReader, int]:
        """Run the guarded stages through the gate, then what remains."""
        passed: dict[str, pa.Table] = {}
        withheld = 0
        several = bool(plan.stages)
        inputs = {key: reader.read_all() if several else reader for key, reader in task.inputs.items()}
        guarding, grant = Guarding(self.name, self.ledger, self._looks), _grant(task, verdict)
        if several:
            # read once and again: by a query, by the look at its rows, by what remains
            inputs |= {
                key: self._read(task.run, key).read_all()
                for key in self._local_keys(task, plan, inputs)
                if not self._again(task.run, key)
            }
        for stage in plan.stages:
            query = partial(self._engine, task, stage.query, inputs, passed)
            detail = partial(self._engine, task, stage.detail, inputs, passed)
            try:
                through = guarding.stage(stage, query, detail, grant, partial(self._version, stage))
            except PolicyError as error:
                for recipient in task.recipients if verdict is not None else ():
                    assert verdict is not None
                    self._log(
                        task, recipient, replace(verdict, refusals=error.refusals), "refused", None, None
                    )
                raise
            except PlatformError:
                if not task.cancellation.cancelled:
                    guarding.failed(grant)
                raise
            withheld += through.withheld
            passed[stage.key] = through.table
        root = plan.root
        if isinstance(root, Received) and root.key in passed:
            return passed[root.key].to_reader(), withheld
        return self._engine(task, root, inputs, passed), withheld

    def _version(self, stage: Stage) -> Hashable | None:
        """The versions of all that a stage reads; None where one has none."""
        names = tables(stage)
        if names is None or any(self._place.kept(name) is not None for name in names):
            return None
        found: list[Hashable] = []
        for name in sorted(names):
            config = self._tables[name]
            known = version(self.config.platforms[config.platform].kind, config.source)
            if known is None:
                return None
            found.append((name, known))
        return tuple(found)

    def _local_keys(self, task: Task, plan: Guarded, inputs: Mapping[str, object]) -> set[str]:
        """Outputs that stayed here and that a plan with stages reads."""
        roots = (*(root for stage in plan.stages for root in (stage.query, stage.detail)), plan.root)
        own = {stage.key for stage in plan.stages}
        return {leaf.key for root in roots for leaf in _leaves(root, Received)} - own - inputs.keys()

    def _engine(
        self,
        task: Task,
        root: Relation,
        inputs: Mapping[str, pa.Table | pa.RecordBatchReader],
        passed: Mapping[str, pa.Table],
    ) -> pa.RecordBatchReader:
        """Give an engine what its plan receives: rows from elsewhere, gated stages, outputs that stayed here."""
        received: dict[str, pa.RecordBatchReader] = {}
        for leaf in _leaves(root, Received):
            if leaf.key in received:
                continue
            source = passed.get(leaf.key)
            if source is None:
                source = inputs.get(leaf.key)
            if source is None:
                source = self._read(task.run, leaf.key)
            reader = (
                source if isinstance(source, pa.RecordBatchReader) else source.to_reader(max_chunksize=65_536)
            )
            received[leaf.key] = _exactly(reader, leaf)

        where = f"site {self.name}, {task.platform}"
        if self._all_open(task):
            return self._place.run(task.platform, root, received, task.cancellation)
        quiet = task.cancellation.telling(logged(where))
        return redacted(lambda: self._place.run(task.platform, root, received, quiet), where)

    def _all_open(self, task: Task) -> bool:
        """Whether every row that a task reads here may be shown."""
        kept = self._kept(task.run)
        if any(kept[leaf.key].state.private for leaf in _leaves(task.root, Received) if leaf.key in kept):
            return False
        policies = (self._policies[scan.table] for scan in _leaves(task.root, Scan))
        return all(
            policy.release == "rows" and all(policy.column(name).release == "rows" for name in policy.columns)
            for policy in policies
        )

    # -- what stays ----------------------------------------------------------------------------------------------------

    def _kept(self, run: str) -> Mapping[str, Kept]:
        with self._lock:
            held = self._runs.get(run)
            return {} if held is None else {key: output.kept for key, output in held.outputs.items()}

    def _store(self, task: Task, known: Kept, reader: pa.RecordBatchReader) -> None:
        # private rows may be read twice by one fragment (its guard, its rest), and so may what several fragments read
        once = task.keep <= 1 and not known.state.private and not task.hold
        with self._lock:
            held = self._runs.get(task.run)
            received = {key: one.origins for key, one in held.outputs.items()} if held is not None else {}
        formulas = origins(task.root, self._named, received)
        spool = None if once else Spool.of(reader.schema, reader, self._room)
        output = _Output(known, formulas, task.keep, spool, reader if once else None)
        with self._lock:
            self._runs.setdefault(task.run, _Run()).outputs[task.key] = output

    def _named(self, table: str, column: str) -> str:
        """What a stored column is called across tables; a user may have written anything under any name."""
        return f"{self.name}.{table}.{column}" if table in self._own else column

    def _read(self, run: str, key: str) -> pa.RecordBatchReader:
        with self._lock:
            held = self._runs.get(run)
            output = None if held is None else held.outputs.get(key)
            if output is None:
                raise SiteError(f"the output {key!r} of run {run[:8]} is not here", where=f"site {self.name}")
            if output.spool is not None:
                return output.spool.reader()
            if output.reader is None:
                raise SiteError(
                    f"the output {key!r} of run {run[:8]} was read already", where=f"site {self.name}"
                )
            reader, output.reader = output.reader, None
            return reader

    def _again(self, run: str, key: str) -> bool:
        """Whether an output that stayed can be read more than once."""
        with self._lock:
            held = self._runs.get(run)
            return held is not None and key in held.outputs and held.outputs[key].spool is not None

    def forget(self, run: str) -> None:
        """Drop what the site kept for a run."""
        with self._lock:
            held = self._runs.pop(run, None)
        for output in held.outputs.values() if held is not None else ():
            if output.spool is not None:
                output.spool.close()
        if held is not None and held.fit is not None:
            held.fit.close()
        if held is not None and held.staged is not None:
            self._written.discard(held.staged[0], run)

    # -- written tables ------------------------------------------------------------------------------------------------

    def stage(self, task: WriteTask) -> None:
        """Store an output that stayed as a table, with the policy that it inherits; `commit` publishes it.

        Raises:
            SiteError: The disk does not take it.
        """
        if task.table in self._tables:
            raise PlanError(
                f"site {self.name} has a table {task.table!r} already", hint="choose another name"
            )
        policy, hidden = inherited(self._kept(task.run)[task.key], self._policies)
        reader = self._read(task.run, task.key)
        self._written.stage(task.table, task.run, reader, hidden, policy)
        with self._lock:
            self._runs[task.run].staged = (task.table, policy)

    def commit(self, run: str) -> None:
        """Publish the table that a run has staged."""
        with self._lock:
            held = self._runs[run]
            if held.staged is None:
                raise SiteError(f"run {run[:8]} has staged no table", where=f"site {self.name}")
            (name, policy), held.staged = held.staged, None
            self._tables[name] = self._written.commit(name, run, policy)
            self._own.add(name)
            held.committed = name
            self._policies[name] = policy
            self._judged.clear()
            if self._published is not None:
                self._published[name] = self._publish(name)

    def retract(self, run: str) -> None:
        """Take back the table that a run has just published: another site could not publish its part."""
        with self._lock:
            held = self._runs.get(run)
            if held is None or held.committed is None:
                return
            name, held.committed = held.committed, None
            self._written.remove(name)
            for known in (self._tables, self._policies, self._published or {}):
                known.pop(name, None)
            self._judged.clear()

    # -- fits ----------------------------------------------------------------------------------------------------------

    def prepare(self, task: FitTask) -> None:
        """Check that a fit, or the measuring of a model, may use an output that stayed, and store its rows for many passes.

        Raises:
            PolicyError: The policy refuses; logged.
        """
        with self._lock:
            held = self._runs[task.run]
        output = held.outputs[task.key]
        source = self._read(task.run, task.key)
        seen = Schema((n, t) for n, t in Schema.from_pyarrow(source.schema).items() if not n.startswith("__"))
        verdict = judge_training(
            Received(task.key, seen), self._policies, task.recipient, self.name, task.features,
            task.target or None, self._kept(task.run),
        )  # fmt: skip
        tables = verdict.tables or tuple(sorted(output.kept.tables))
        fit = Fit(self.name, task, verdict, tables, output.origins, self.ledger, self._models)
        try:
            root = verdict.allow().root
            fit.admit()
            wanted = next(node for node in root.walk() if isinstance(node, Received))
            stream = self._place.run("duckdb", root, {wanted.key: _exactly(source, wanted)}, Cancellation())
            fit.store(stream, state_folder(self.config))
            held.fit = fit
            with self._lock:
                forgotten = self._runs.get(task.run) is not held
            if forgotten:
                fit.close()
                raise SiteError(CANCELLED, where=f"site {self.name}")
            fit.enter()
        except PolicyError as error:
            self._log_fit(fit, task.recipient, error)
            raise

    def answer(self, run: str, statistic: Statistic, recipient: Recipient) -> Answer:
        """Answer one statistic of a fit, logged before it leaves.

        Raises:
            PolicyError: The answer may not leave.
            TrainingError: A value cannot be used.
        """
        began = time.perf_counter()
        with self._lock:
            held = self._runs.get(run)
        if held is None or held.fit is None:
            raise SiteError(f"the fit {run[:8]} was not prepared", where=f"site {self.name}")
        try:
            state = held.fit.answer(statistic, recipient)
        except PolicyError as error:
            self._log_fit(held.fit, recipient, error)
            raise
        size = _size(state)
        self.audit.append(held.fit.entry("released", recipient, None, size))
        return Answer(state, size, time.perf_counter() - began)

    @property
    def ledger(self) -> Ledger:
        """The site's ledger of what was released."""
        with self._lock:
            if self._ledger is None:
                least = max((policy.min_group for policy in self._policies.values()), default=1)
                self._ledger = Ledger(ledger_folder(self.config), self.name, least)
            return self._ledger

    # -- the log -------------------------------------------------------------------------------------------------------

    @property
    def audit(self) -> AuditLog:
        """The site's audit log."""
        with self._lock:
            if self._audit is None:
                self._audit = AuditLog(state_folder(self.config) / "audit.jsonl")
            return self._audit

    def _log(
        self,
        task: Task,
        recipient: Recipient,
        verdict: Verdict,
        decision: Literal["released", "refused", "withheld"],
        rows: int | None,
        size: int | None,
    ) -> None:
        self.audit.append(
            Entry(
                run=task.run, plan=fingerprint(task.root), recipient=recipient.site, kind=_KINDS[verdict.release or "public"],
                decision=decision, rule=verdict.refusals[0].rule if verdict.refusals else None, user=recipient.user,
                role=recipient.role, purpose=recipient.purpose, tables=verdict.tables,
                columns={f"{use.table}.{use.column}": use.state for use in verdict.uses}, rows=rows, bytes=size,
            )
        )  # fmt: skip

    def _log_fit(self, fit: Fit, recipient: Recipient, error: PolicyError) -> None:
        rule = error.refusals[0].rule if error.refusals else "training"
        self.audit.append(fit.entry("refused", recipient, rule, None))

    def close(self) -> None:
        """Close every engine and the log; idempotent."""
        for run in list(self._runs):
            self.forget(run)
        self._place.close()
        with self._lock:
            if self._audit is not None:
                self._audit.close()
                self._audit = None
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None


_Leaf = TypeVar("_Leaf", Received, Scan)


def _leaves(root: Relation, kind: type[_Leaf]) -> Iterator[_Leaf]:
    """The leaves of a kind, those of subqueries included."""
    for node in root.walk():
        if isinstance(node, kind):
            yield node
        for expression in node.expressions():
            for item in walk(expression):
                if isinstance(item, Subquery):
                    yield from _leaves(item.plan, kind)


def _exactly(reader: pa.RecordBatchReader, leaf: Received) -> pa.RecordBatchReader:
    """The leaf's columns only: engines would show the hidden ones as well."""
    names = list(leaf.schema)
    if reader.schema.names == names:
        return reader
    schema = pa.schema([reader.schema.field(name) for name in names])
    return pa.RecordBatchReader.from_batches(schema, (batch.select(names) for batch in reader))


def _grant(task: Task, verdict: Verdict | None) -> Grant:
    """Who gets what, for the ledger; a task without recipients gives to the site itself."""
    first = task.recipients[0] if task.recipients else None
    return Grant(
        run=task.run,
        plan=fingerprint(task.root),
        recipients=tuple(recipient.site for recipient in task.recipients),
        user=first.user if first else None,
        role=first.role if first else None,
        purpose=first.purpose if first else None,
        columns=tuple(f"{use.table}.{use.column}" for use in verdict.uses) if verdict else (),
    )


def _sized(reader: pa.RecordBatchReader, delivery: Delivery, known: Kept) -> pa.RecordBatchReader:
    """Count what stays; of private rows others learn a power of two only, and never less than the smallest group."""

    def batches() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            yield batch
        least = max((unit.min_group for unit in known.state.units), default=1)
        delivery.rows = _rounded(rows, least) if known.state.private else rows

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _rounded(count: int, least: int) -> int:
    """The next power of two; counts below the smallest group all read as that group."""
    return 1 << max(count - 1, least - 1, 0).bit_length()


def _figures(batches: list[pa.RecordBatch]) -> tuple[int, int]:
    return sum(batch.num_rows for batch in batches), sum(batch.nbytes for batch in batches)


def _size(state: State) -> int:
    """Bytes of an answer: its arrays, and its texts as UTF-8."""
    total = 0
    for value in state.values():
        if isinstance(value, np.ndarray):
            total += int(value.nbytes)
        else:
            total += sum(len(str(item).encode()) for item in value)
    return total
