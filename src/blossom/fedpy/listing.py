"""Small printable tables: what `fed.catalog()` and `fed.sites()` give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Self

from blossom.executor.federation import Federation


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of text under headings; iterates as dictionaries.

    >>> print(Listing(("a", "b"), (("1", "2"),)))
    a  b
    1  2
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(h)}</th>" for h in self.headings)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __iter__(self) -> Iterator[dict[str, str]]:
        return (dict(zip(self.headings, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of_tables(cls, federation: Federation) -> Self:
        """One row a table and site."""
        rows: list[tuple[str, ...]] = []
        for name, table in federation.tables.items():
            for site, schema in table.parts.items():
                published = federation.descriptions[site].tables[name]
                policy = published.config.policy
                rows.append(
                    (
                        name,
                        site,
                        published.config.platform,
                        _size(federation.sites[site].rows(name)),
                        _shape(table.replicated, table.partition.columns if table.partition else ()),
                        policy.release
                        if policy.release != "aggregates"
                        else f"aggregates of {policy.min_group}+",
                        ", ".join(f"{c}: {t}" for c, t in schema.items()),
                    )
                )
        return cls(("table", "site", "platform", "rows", "layout", "may leave", "columns"), tuple(rows))

    @classmethod
    def of_sites(cls, federation: Federation) -> Self:
        """One row a site."""
        rows = [
            (d.name, d.title, ", ".join(p.name for p in d.platforms), ", ".join(d.tables) or "none")
            for d in federation.descriptions.values()
        ]
        return cls(("site", "title", "platforms", "tables"), tuple(rows))


def _size(rows: int | None) -> str:
    return "?" if rows is None else f"≈ {rows:,}"


def _shape(replicated: bool, partition: Sequence[str]) -> str:
    if replicated:
        return "replicated"
    return f"by {', '.join(partition)}" if partition else "rows"
