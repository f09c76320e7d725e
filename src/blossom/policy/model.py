"""The owner's rules for one table, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Release = Literal["rows", "aggregates", "none"]
ROW_UNIT = "row"


@dataclass(frozen=True, slots=True)
class ColumnPolicy:
    """Rules for one column; None inherits from the table.

    Attributes:
        release: In what form values of the column may leave.
        filter: May the column stand in a predicate (filter, join condition, CASE condition)?
        key: May it be a group key or the key of an equality join?
        transform: May it stand inside predicates, CASE and non-affine arithmetic below an aggregate? Default: only where its
            release is "rows".
        computed: Of a written table: it was computed by a user in no affine form, and may hide a predicate. Set by the site.
    """

    release: Release | None = None
    filter: bool = True
    key: bool = True
    transform: bool | None = None
    computed: bool = False


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """Rules for one table at one site. The default lets nothing leave.

    Attributes:
        release: "rows", "aggregates" or "none".
        to: Recipients: "hub", "site:NAME", "role:NAME".
        min_group: The smallest number of distinct privacy units that a released aggregate may describe.
        privacy_unit: The column whose distinct values are counted, or "row"; needed for "aggregates".
        columns: Rules per column.
        training: "none" or "updates".
        purposes: When given, the session must state one of them.
        steward: Of a replicated table: the site that alone answers aggregates over it, since each site's ledger knows its own
            releases only. None where every site answers for its own rows.
        chosen: Of a written table: a user chose its rows, so that a join with it is a choice of rows too. Set by the site.
    """

    release: Release = "none"
    to: tuple[str, ...] = ("hub",)
    min_group: int = 10
    privacy_unit: str | None = None
    columns: Mapping[str, ColumnPolicy] = field(default_factory=dict)
    training: Literal["none", "updates"] = "none"
    purposes: tuple[str, ...] = ()
    steward: str | None = None
    chosen: bool = False

    def column(self, name: str) -> ColumnPolicy:
        """The rules in force for a column, with the table's filled in."""
        own = self.columns.get(name, ColumnPolicy())
        release = own.release if own.release is not None else self.release
        transform = own.transform if own.transform is not None else release == "rows"
        return ColumnPolicy(release, own.filter, own.key, transform, own.computed)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who would get a fragment's output.

    Attributes:
        site: "hub" or a site's name.
        role: The user's role, when the session has one.
        purpose: The purpose that the session states.
        user: The user's name, for the audit log.
    """

    site: str
    role: str | None = None
    purpose: str | None = None
    user: str | None = None

    def admitted_by(self, to: tuple[str, ...]) -> bool:
        """Whether a table's `to` names this recipient."""
        own = "hub" if self.site == "hub" else f"site:{self.site}"
        return own in to or (self.site == "hub" and self.role is not None and f"role:{self.role}" in to)
