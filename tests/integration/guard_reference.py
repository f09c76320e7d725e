"""What the guards of one release must let out, computed by DuckDB from the rules' own definitions, without Blossom.

The reference semantics of `release = "aggregates"`: a query is answered as DuckDB answers it on the rows of those (site, group)
cells in which every set of rows that a figure ranges over holds `least` units, in which no unit dominates a value, in which no
two of these sets differ by a few units, and which secondary suppression does not need. A fresh ledger holds nothing else back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import duckdb

Cell = tuple[Any, ...]
"""The site and the group keys."""

_SURE = 1e-9
"""Closer to the p-percent rule's bound than this, rounding decides."""


@dataclass(frozen=True)
class Rows:
    """A set of rows of a cell that some figures range over, in SQL over the release's rows.

    Attributes:
        where: Which rows.
        sizes: Values that are summed or averaged there.
        spreads: Values whose variance, covariance or correlation is taken there.
        perhaps: Values that are averaged too where the sites' figures are merged: their sizes may or may not dominate.
    """

    where: str = "true"
    sizes: tuple[str, ...] = ()
    spreads: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """One guarded aggregate of every site.

    Attributes:
        rows: A SELECT of the rows that are folded: `site`, the keys, the units, and what the sets of rows need.
        keys: The group keys.
        units: Unit columns; rows without a unit are one unit together.
        least: The smallest group.
        sets: The sets of rows that figures range over; all rows of a cell are always one.
    """

    rows: str
    keys: tuple[str, ...]
    units: tuple[str, ...]
    least: int
    sets: tuple[Rows, ...] = ()


@dataclass
class Expected:
    """What each rule says of the cells."""

    release: Release
    passing: set[Cell] = field(default_factory=set)
    unclear: set[Cell] = field(default_factory=set)
    hidden: set[Cell] = field(default_factory=set)
    few: dict[str, dict[Cell, frozenset[Any]]] = field(default_factory=dict)
    """For each unit column the cells that hold too few units, with these."""

    def check(self, shown: Iterable[Cell]) -> None:
        """The cells that left are those that had to.

        Of cells that hide others the rules leave open which are taken (the next smallest, as counted by the site's sketches): each
        must stand in a total with too few hidden units, and there be the only one.
        """
        shown = {_same(cell) for cell in shown}
        assert shown <= self.passing | self.unclear, f"shown: {shown - self.passing - self.unclear}"
        everything = self.passing | self.unclear | self.hidden
        for unit in self.release.units:
            for total in self._totals(everything):
                hidden = total - shown
                if total & shown and not (hidden - self.few[unit].keys()):
                    units = frozenset[Any]().union(*(self.few[unit][cell] for cell in hidden))
                    assert not 0 < len(units) < self.release.least, f"{units} can be told from a total"
        extra = self.passing - shown
        reasons = [reason for unit in self.release.units for reason in self._reasons(everything, unit)]
        unexplained = extra - frozenset[Cell]().union(*reasons)
        assert not unexplained, f"wrongly withheld: {unexplained}"
        by_site = {cell[0] for cell in extra}
        for site in by_site:
            here = sum(any(cell[0] == site for cell in reason) for reason in reasons)
            assert sum(cell[0] == site for cell in extra) <= here, f"more withheld at {site} than needed"

    def _totals(self, cells: set[Cell]) -> Iterator[frozenset[Cell]]:
        keys = range(1, len(self.release.keys) + 1)
        for size in range(len(self.release.keys)):
            for chosen in combinations(keys, size):
                groups: dict[Cell, set[Cell]] = {}
                for cell in cells:
                    groups.setdefault((cell[0], *(cell[i] for i in chosen)), set()).add(cell)
                yield from map(frozenset, groups.values())

    def _reasons(self, cells: set[Cell], unit: str) -> Iterator[frozenset[Cell]]:
        """The cells of each total whose small cells together hold too few units."""
        small = self.few[unit]
        for total in self._totals(cells):
            units = frozenset[Any]().union(*(small[cell] for cell in total & small.keys()))
            if 0 < len(units) < self.release.least:
                yield total


def _same(cell: Iterable[Any]) -> Cell:
    """A cell as a value: NaN is itself, and -0.0 is 0.0."""
    return tuple(
        "NaN" if isinstance(v, float) and v != v else v + 0.0 if isinstance(v, float) else v for v in cell
    )


def expected(connection: duckdb.DuckDBPyConnection, release: Release) -> Expected:
    """Every cell of a release, judged."""
    found = Expected(release)
    sets = (Rows(), *release.sets)
    rows = f"({release.rows})"
    cell = ["site", *map(_name, release.keys)]
    all_cells = {
        _same(row) for row in connection.sql(f"SELECT DISTINCT {', '.join(cell)} FROM {rows}").fetchall()
    }
    hidden: set[Cell] = set()
    for unit in release.units:
        hidden |= _too_few(connection, rows, cell, unit, sets, release, found)
        if release.least <= 1:
            continue  # the owner lets figures about single units leave
        for number, one in enumerate(sets):
            for value, kind in _weighed(one):
                for row in connection.sql(_dominance(rows, cell, unit, sets[number], value, kind)).fetchall():
                    key, (*figures, some) = row[: len(cell)], row[len(cell) :]
                    _dominated(_same(key), figures, kind, hidden, found.unclear)
                    if (
                        kind != "spread" and 0 < some < release.least
                    ):  # only of those few does the figure tell
                        (found.unclear if kind == "perhaps" else hidden).add(_same(key))
    found.hidden = hidden
    found.unclear -= hidden
    found.passing = all_cells - hidden - found.unclear
    return found


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _too_few(
    connection: duckdb.DuckDBPyConnection, rows: str, cell: Sequence[str], unit: str, sets: Sequence[Rows],
    release: Release, found: Expected,
) -> set[Cell]:  # fmt: skip
    """Cells where a set of rows holds too few units, or two sets differ by too few."""
    counts = ", ".join(f"count(*) FILTER (WHERE {one.where}) AS n{i}" for i, one in enumerate(sets))
    per_unit = f"SELECT {', '.join(cell)}, {_name(unit)} AS unit, {counts} FROM {rows} GROUP BY ALL"
    tests = [f"count(*) FILTER (WHERE n{i} > 0) < {release.least}" for i in range(len(sets))]
    for i, j in combinations(range(len(sets)), 2):
        apart = f"count(*) FILTER (WHERE n{i} <> n{j})"
        tests.append(f"({apart} > 0 AND {apart} < {release.least})")
    query = f"SELECT {', '.join(cell)}, {tests[0]} AS few, {' OR '.join(tests)} AS held FROM ({per_unit}) GROUP BY ALL"
    answered = connection.sql(query).fetchall()
    small = [row[:-2] for row in answered if row[-2]]
    found.few[unit] = dict.fromkeys(map(_same, small), frozenset())
    if small:
        units = f"SELECT {', '.join(cell)}, list(DISTINCT coalesce(unit::VARCHAR, 'no unit')) FROM ({per_unit}) GROUP BY ALL"
        for *key, members in connection.sql(f"{units} HAVING count(*) < {release.least}").fetchall():
            found.few[unit][_same(key)] = frozenset(members)
    return {_same(row[:-2]) for row in answered if row[-1]}


def _weighed(one: Rows) -> Iterator[tuple[str, str]]:
    yield from ((value, "size") for value in one.sizes)
    yield from ((value, "spread") for value in one.spreads)
    yield from ((value, "perhaps") for value in one.perhaps)


def _dominance(rows: str, cell: Sequence[str], unit: str, one: Rows, value: str, kind: str) -> str:
    """For each cell what all units contribute, the largest, the second, a scale of the values, and how many contribute at all."""
    by = ", ".join(cell)
    finite = f"CASE WHEN isfinite(({value})::DOUBLE) THEN ({value})::DOUBLE ELSE 0 END"
    inner = f"SELECT {by}, {_name(unit)} AS unit, {finite} AS v FROM {rows} WHERE ({one.where}) AND ({value}) IS NOT NULL"
    part = "sum(abs(v))"
    if kind == "spread":
        inner = f"SELECT *, v - avg(v) OVER (PARTITION BY {by}) AS d FROM ({inner})"
        part = "sum(d * d)"
    per_unit = f"SELECT {by}, unit, {part} AS c, sum(v * v) AS q FROM ({inner}) GROUP BY ALL"
    return (
        f"SELECT {by}, sum(c), max(c, 2)[1], coalesce(max(c, 2)[2], 0), sum(q), "
        f"count(*) FILTER (c > 0) FROM ({per_unit}) GROUP BY ALL"
    )


def _dominated(
    cell: Cell, figures: Sequence[float], kind: str, hidden: set[Cell], unclear: set[Cell]
) -> None:
    total, top, second, scale = figures
    if kind == "spread" and total <= 1e-20 * scale:
        if total > 1e-28 * scale:
            unclear.add(cell)
        return
    rest = total - top - second
    if abs(rest - 0.1 * top) <= _SURE * top and top > 0:
        unclear.add(cell)
    elif rest < 0.1 * top:
        (unclear if kind == "perhaps" else hidden).add(cell)


def on_cells(
    rows: str, keys: Sequence[str], cells: Iterable[Cell], connection: duckdb.DuckDBPyConnection
) -> str:
    """A FROM clause: the rows of some cells only (whose keys must be comparable values, no NaN)."""
    cells = list(cells)
    names = ["site", *keys]
    wanted: Mapping[str, list[Any]] = {name: [cell[i] for cell in cells] for i, name in enumerate(names)}
    import pyarrow as pa

    connection.register("shown_cells", pa.table({f"s{i}": wanted[name] for i, name in enumerate(names)}))
    same = " AND ".join(f"r.{_name(name)} IS NOT DISTINCT FROM s.s{i}" for i, name in enumerate(names))
    return f"(SELECT * FROM ({rows}) r WHERE EXISTS (SELECT 1 FROM shown_cells s WHERE {same}))"
