"""The owner's rules per column, each as one question with a refusal for its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from blossom.plan.errors import Refusal, unknown
from blossom.policy.model import ROW_UNIT, ColumnPolicy, Recipient, TablePolicy
from blossom.policy.states import ROWS, Reference


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies of one site's tables, as seen by one recipient."""

    policies: Mapping[str, TablePolicy]
    recipient: Recipient
    site: str

    def refuse(self, table: str, column: str | None, rule: str, reason: str, allowed: str) -> Refusal:
        """A refusal at this site."""
        return Refusal(self.site, table, column, rule, reason, allowed)

    def column(self, reference: Reference) -> ColumnPolicy:
        """The rules in force for a column."""
        return self.policies[reference[0]].column(reference[1])

    def open(self, table: str, columns: Iterable[str]) -> bool:
        """Whether the whole table may leave as rows (so that nothing of it needs a guard)."""
        policy = self.policies[table]
        return policy.release == "rows" and all(
            policy.column(name).release == "rows" for name in {*columns, *policy.columns}
        )

    def admission(self, table: str) -> Iterator[Refusal]:
        """Is the table known, may anything of it leave, and may it go to this recipient for this purpose?"""
        policy = self.policies.get(table)
        if policy is None:
            what, hint = unknown("table", table, self.policies)
            yield self.refuse(table, None, "table", what, hint)
            return
        if policy.release == "none" and all(policy.column(name).release == "none" for name in policy.columns):
            yield self.refuse(table, None, "release", "nothing of this table may leave", "ask its owner")
        if not self.recipient.admitted_by(policy.to):
            role = f" with role {self.recipient.role}" if self.recipient.role else ""
            yield self.refuse(
                table, None, "to", f"{self.recipient.site}{role} is no recipient of this table",
                f"recipients are {', '.join(policy.to) or 'nobody'}",
            )  # fmt: skip
        if policy.purposes and self.recipient.purpose not in policy.purposes:
            stated = f"the purpose {self.recipient.purpose!r}" if self.recipient.purpose else "no purpose"
            yield self.refuse(
                table, None, "purpose", f"the session states {stated}",
                f"a session with purpose {' or '.join(policy.purposes)}",
            )  # fmt: skip

    def foreign(self, table: str) -> bool:
        """Whether another site answers for this table."""
        policy = self.policies.get(table)
        return policy is not None and policy.steward not in (None, self.site)

    def stewards(self, tables: Iterable[str], what: str) -> Iterator[Refusal]:
        """May this site answer for these tables?"""
        for table in sorted(tables):
            if self.foreign(table):
                steward = self.policies[table].steward
                yield self.refuse(
                    table, None, "steward", f"of this replicated table only {steward} answers {what}",
                    f"the same question of {steward}, or this table as a join partner whose columns are keys only",
                )  # fmt: skip

    def predicates(self, sources: Iterable[Reference], where: str) -> Iterator[Refusal]:
        """May these columns decide which rows count? `filter` must not be false."""
        for reference in sorted(sources):
            if not self.column(reference).filter:
                yield self.refuse(
                    *reference, "filter", f"it may not stand in a predicate ({where})", "leave it out of the predicate"
                )  # fmt: skip

    def transforms(self, sources: Iterable[Reference], where: str) -> Iterator[Refusal]:
        """May these columns stand in predicates, CASE and non-affine arithmetic below an aggregate?"""
        for reference in sorted(sources):
            if not self.column(reference).transform:
                yield self.refuse(
                    *reference, "transform", f"it may not be computed with freely below an aggregate ({where})",
                    "the bare column, affine forms with literals (a * x + b) and products of two of these; "
                    "or ask the owner for transform = true",
                )  # fmt: skip

    def key(self, reference: Reference, where: str) -> Iterator[Refusal]:
        """May this column be a group key or the key of an equality join?"""
        if not self.column(reference).key:
            yield self.refuse(*reference, "key", f"it may not be a key ({where})", "another key")

    def reaches(self, sources: Iterable[Reference]) -> Iterator[Refusal]:
        """May these columns reach an output in aggregated form?"""
        for reference in sorted(source for source in sources if source[1] != ROWS):
            if self.column(reference).release == "none":
                yield self.refuse(
                    *reference, "release", "it may not leave in any form", "leave the column out"
                )

    def rows(self, sources: Iterable[Reference], tables: Iterable[str]) -> Iterator[Refusal]:
        """May these columns, and the rows of these tables, leave as rows?"""
        # Unknown tables are refused as such.
        named = {reference for reference in sources if reference[0] in self.policies}
        tables = {table for table in tables if table in self.policies}
        for reference in sorted(named):
            policy = self.policies[reference[0]]
            if policy.column(reference[1]).release != "rows":
                yield self.refuse(*reference, "rows", "its rows may not leave", self.nearest(*reference))
        for table in sorted(tables - {table for table, _ in named}):
            policy = self.policies[table]
            levels = {policy.release, *(policy.column(name).release for name in policy.columns)}
            if "rows" not in levels:
                yield self.refuse(
                    table, None, "rows", "which rows it has may not leave", self.nearest(table, None)
                )

    def nearest(self, table: str, column: str | None) -> str:
        """The nearest thing to rows that is allowed."""
        policy = self.policies[table]
        release = policy.release if column is None else policy.column(column).release
        if release == "none" and column is not None:
            return "leave the column out"
        if release == "none":
            return "nothing"
        whom = "rows" if policy.privacy_unit == ROW_UNIT else policy.privacy_unit
        return f"aggregate it over groups of at least {policy.min_group} distinct {whom or 'units'}"
