"""A fit, or the measuring of a model, at a site: its rows, and what is asked of them, one statistic after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn

import pyarrow as pa

from blossom.learning import coarseness, leverage
from blossom.learning.statistics import Part, State, Statistic
from blossom.learning.statistics.base import Guard, Measured
from blossom.learning.statistics.spans import Span, of_score
from blossom.plan.errors import PolicyError, Refusal, SiteError
from blossom.plan.origins import Origins
from blossom.policy.model import Recipient
from blossom.policy.training import TrainingUnit, TrainingVerdict
from blossom.sites.audit import Entry
from blossom.sites.groups import Groups
from blossom.sites.guarding import Guarding
from blossom.sites.ledger import Grant, Ledger
from blossom.sites.models import Models
from blossom.sites.prepared import Prepared
from blossom.sites.tasks import FitTask


@dataclass(slots=True)
class Fit:
    """What a site holds for one fit, or for one model that is measured.

    Attributes:
        site: The site's name.
        task: What was asked for.
        verdict: The judgement of it.
        tables: The tables behind its rows.
        origins: The formulas of its columns.
        ledger: The site's ledger.
        models: The models that it helped to fit.
    """

    site: str
    task: FitTask
    verdict: TrainingVerdict
    tables: tuple[str, ...]
    origins: Origins
    ledger: Ledger
    models: Models
    _prepared: Prepared | None = None
    _measured: str | None = None
    _entered: set[tuple[str, str]] = field(default_factory=set)

    @property
    def _units(self) -> tuple[TrainingUnit, ...]:
        """The units that are protected."""
        return tuple(unit for unit in self.verdict.units if unit.min_group > 1)

    def admit(self) -> None:
        """May the model that is to be measured be measured on these rows?

        Raises:
            PolicyError: It was not fitted here on the same columns.
        """
        if not self.task.score or not self._units or not self.verdict.protected:
            return
        names = (*self.task.features, *filter(None, (self.task.target,)))
        columns = self.origins.of(names)
        if columns is None or not self.models.knows(self.task.score, columns):
            self._refuse(
                "model",
                "this site did not help to fit this model, or the columns are computed in another way than then",
                "a model that was fitted and measured on this site's rows (bl.train(...).fit()), on columns of the same names and "
                "formulas; any model where the owner says transform = true of each of its columns",
            )

    def store(self, stream: pa.RecordBatchReader, folder: Path) -> None:
        """Store the rows for many passes, and enter them in the ledger.

        Raises:
            PolicyError: They may not be described.
            SiteError: The disk does not take them.
        """
        names = (*self.task.features, *filter(None, (self.task.target,)))
        self._prepared = Prepared.of(
            stream,
            names,
            tuple(unit.column for unit in self.verdict.units),
            min_group=self._least,
            site=self.site,
            table=self._described,
            folder=folder,
        )

    def enter(self) -> None:
        """Enter the rows in the ledger.

        Raises:
            PolicyError: They may not be described.
        """
        Guarding(self.site, self.ledger).fit(
            self._rows.batches, self.verdict.units, self.verdict.contents, self._grant(self.task.recipient)
        )

    def answer(self, statistic: Statistic, recipient: Recipient) -> State:
        """Answer one statistic; what the ledger must know is on disk before this returns.

        Raises:
            PolicyError: The answer may not leave.
            TrainingError: A value cannot be used.
        """
        part = statistic if isinstance(statistic, Part) else None
        asked = statistic if part is None else part.whole
        measured = asked.measures()
        self._in_order(measured)
        withheld: frozenset[str] = frozenset()
        if self._units:
            if measured is not None and self._measured is None and not self.task.score:
                fitted = None if part is None else replace(part, held_out=False)
                self._bound(of_score(measured.score), fitted)
            self._coarse(asked)
            self._bound(asked.spans(), part)
            withheld = self._entering(asked, part, recipient)
        state = self._rows.answer(statistic, withheld)
        if measured is not None:
            self._remember(measured)
        return state

    def _in_order(self, measured: Measured | None) -> None:
        """A model is measured after it is fitted, and then nothing is fitted any more."""
        if self.task.score:
            if measured is None or measured.digest != self.task.score:
                self._refuse(
                    "model",
                    "these rows were prepared to measure another model",
                    "the statistics of that model",
                )
        elif self._measured is not None and (measured is None or measured.digest != self._measured):
            self._refuse(
                "model", "a model was measured, so its fit has ended", "a fit of its own for each model"
            )

    def _remember(self, measured: Measured) -> None:
        if self.task.score or self._measured is not None:
            return
        self._measured = measured.digest
        columns = self.origins.of((*self.task.features, *filter(None, (self.task.target,))))
        if columns is not None:
            self.models.remember(measured.digest, columns)

    def _coarse(self, asked: Statistic) -> None:
        """Freely computed columns beside protected ones have values of many units each."""
        guard = Guard(self.site, self._described, self._protected_units, self._least)
        beside = " and ".join(map(repr, self.verdict.protected))
        for amount in asked.amounts() if beside else ():
            key = ("computed", repr(amount))
            if amount.column in self.verdict.computed and key not in self._entered:
                coarseness.check(amount, self._rows.batches(), guard, beside)
                self._entered.add(key)

    def _bound(self, spans: Sequence[Span], part: Part | None) -> None:
        scope = "" if part is None else part.scope
        guard = Guard(self.site, self._described, self._protected_units)
        for span in spans:
            if (span.key, scope) not in self._entered:
                leverage.check(span, lambda: self._chosen(part), guard)
                self._entered.add((span.key, scope))

    def _entering(self, asked: Statistic, part: Part | None, recipient: Recipient) -> frozenset[str]:
        scope = "" if part is None else part.scope
        groups = Groups(
            self.site, self.ledger, self._units, {one.factors[0]: one for one in self.verdict.contents}
        )
        grant = self._grant(recipient)
        if part is not None and ("part", scope) not in self._entered:
            groups.enter(part.sides(self._columns, self._unit_names), self._rows.batches, grant)
            self._entered.add(("part", scope))
        fresh = [one for one in asked.groupings() if not one.key or (one.key, scope) not in self._entered]
        withheld = groups.enter(fresh, lambda: self._chosen(part), grant) if fresh else frozenset[str]()
        self._entered |= {(one.key, scope) for one in fresh if one.key}
        return withheld

    def _chosen(self, part: Part | None) -> Iterable[pa.RecordBatch]:
        return self._rows.batches() if part is None else self._split(part)

    def _split(self, part: Part) -> Iterator[pa.RecordBatch]:
        for batch in self._rows.batches():
            rows = batch.filter(pa.array(part.chosen(batch, self._unit_names)))
            if rows.num_rows:
                yield rows

    @property
    def _unit_names(self) -> tuple[str, ...]:
        return tuple(unit.column for unit in self.verdict.units)

    @property
    def _protected_units(self) -> tuple[str, ...]:
        return tuple(unit.column for unit in self._units)

    @property
    def _least(self) -> int:
        return max((unit.min_group for unit in self.verdict.units), default=1)

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(one.factors[0] for one in self.verdict.contents)

    @property
    def _described(self) -> str:
        return ", ".join(dict.fromkeys(unit.table for unit in self.verdict.units)) or ", ".join(self.tables)

    @property
    def _rows(self) -> Prepared:
        if self._prepared is None:
            raise SiteError(f"the fit {self.task.run[:8]} was not prepared", where=f"site {self.site}")
        return self._prepared

    def _grant(self, to: Recipient) -> Grant:
        return Grant(
            run=self.task.run, plan=self.task.plan, recipients=(to.site,), user=to.user, role=to.role,
            purpose=to.purpose, tables=self.tables,
            columns=tuple(f"{use.table}.{use.column}" for use in self.verdict.uses),
        )  # fmt: skip

    def _refuse(self, rule: str, reason: str, allowed: str) -> NoReturn:
        refusal = Refusal(self.site, self._described, None, rule, reason, allowed)
        what = "this model to be measured" if self.task.score else "this fit"
        raise PolicyError(f"the policy of {self.site} refuses {what}", [refusal], where=self.site)

    def entry(
        self,
        decision: Literal["released", "refused"],
        recipient: Recipient,
        rule: str | None,
        size: int | None,
    ) -> Entry:
        """What the audit log says of an answer."""
        return Entry(
            run=self.task.run, plan=self.task.plan, recipient=recipient.site, kind="updates", decision=decision,
            rule=rule, user=recipient.user, role=recipient.role, purpose=recipient.purpose, tables=self.tables,
            columns={f"{use.table}.{use.column}": use.state for use in self.verdict.uses}, bytes=size,
        )  # fmt: skip

    def close(self) -> None:
        """Remove the rows; idempotent."""
        if self._prepared is not None:
            self._prepared.close()
