"""Column statistics of published tables: one aggregate a table, asked of its site as a release like any other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence

from blossom.executor.federation import Federation, FederationCatalogue
from blossom.optimizer.cardinality import Sizes, width
from blossom.optimizer.costs.prior import facts
from blossom.optimizer.costs.whole import fragment, transfer
from blossom.optimizer.statistics import ColumnStatistics, number
from blossom.plan.expressions import Call, Named
from blossom.plan.relations import Aggregate, Limit, Project, Relation, Scan
from blossom.plan.schema import datatype
from blossom.plan.wire import fingerprint
from blossom.platforms.interface import Cancellation
from blossom.sites.config.model import HUB
from blossom.sites.tasks import Task

SECONDS = 0.5
"""What looking at one column may take by the prior; of a larger table its first rows are looked at."""

FEW = 0.1
"""Values that are fewer than this share of the rows looked at are taken to be all there are."""


def gather(federation: Federation, site: str, table: str) -> dict[str, ColumnStatistics]:
    """Ask a site for the statistics of a table's columns, as far as rows of them may come to the hub.

    The site judges and logs the question as a release to the user. Columns of types without an order or an equality are left out.
    How long the answers take is learned from: they are the first that is known of how fast the engine reads this table.

    Raises:
        SiteError, PlatformError: The site or its engine cannot be reached.
    """
    catalogue = FederationCatalogue(federation)
    schema = federation.descriptions[site].tables[table].schema
    scan = Scan(table, schema, site)
    names = [name for name in schema if _countable(schema[name])]
    names = [name for name in names if not catalogue.may_ship(_only(scan, [name]), site, HUB)]
    home = catalogue.home(site, table)
    rows = catalogue.rows(site, table)
    most = int(facts(catalogue.kind(home)).rows["aggregate"] * SECONDS)
    part = rows is None or rows > most
    found: dict[str, ColumnStatistics] = {}
    for name in names:
        source = _only(scan, [name])
        query = _question(Limit(source, most) if part else source, name)
        if any(catalogue.unsupported(home, node) is not None for node in query.walk()):
            continue
        if catalogue.may_ship(query, site, HUB):
            continue
        recipient = federation.user.at(HUB)
        task = Task(
            f"statistics-{uuid.uuid4().hex}", "f0", query, home.platform, (recipient,), {}, Cancellation(), 0, fingerprint(query)
        )  # fmt: skip
        began = time.perf_counter()
        answer = federation.sites[site].run(task).reader
        if answer is None:
            continue
        (values,) = answer.read_all().to_pylist()
        seconds = time.perf_counter() - began
        part = fragment(query, home, Sizes(catalogue.rows), gives=True)
        costs = federation.experience.costs
        costs.know(part.name, catalogue.kind(home))
        costs.learn([part, *transfer(site, HUB, width(query.schema))], seconds, drift=False)
        found[name] = _statistics(values, rows if part else None)
    return found


def _only(scan: Scan, names: Sequence[str]) -> Relation:
    return Project(scan, tuple((name, scan.column(name)) for name in names))


def _question(source: Relation, name: str) -> Relation:
    column, dtype = source.column(name), source.schema[name]
    metrics: list[Named] = [
        ("rows", Call("CountStar", (None,), "int64")),
        ("filled", Call("Count", (column, None), "int64")),
        ("distinct", Call("CountDistinct", (column, None), "int64")),
    ]
    if _ordered(dtype):
        metrics += [("low", Call("Min", (column, None), dtype)), ("high", Call("Max", (column, None), dtype))]
    return Aggregate(source, (), tuple(metrics))


def _statistics(values: dict[str, object], rows: int | None) -> ColumnStatistics:
    """From one answer; `rows` is the table's size where only its first rows were looked at."""
    looked, filled, distinct = (float(str(values[key])) for key in ("rows", "filled", "distinct"))
    nulls = 1 - filled / looked if looked else 0.0
    if rows is None or looked >= rows:
        return ColumnStatistics(distinct, number(values.get("low")), number(values.get("high")), nulls)
    if filled and distinct > FEW * filled:  # the rest of the table brings new ones at the same pace
        distinct *= rows / looked
    return ColumnStatistics(distinct, None, None, nulls)


def _countable(text: str) -> bool:
    kind = datatype(text)
    return bool(
        kind.is_integer() or kind.is_string() or kind.is_boolean() or kind.is_temporal() or kind.is_numeric()
    )


def _ordered(text: str) -> bool:
    kind = datatype(text)
    return bool(kind.is_numeric() or kind.is_date() or kind.is_timestamp())


def tables(federation: Federation) -> Iterator[tuple[str, str]]:
    """Every (site, table)."""
    for site, description in federation.descriptions.items():
        for table in description.tables:
            yield site, table


def gather_all(federation: Federation, told: Callable[[str], None] | None = None) -> None:
    """Look at every table of which nothing is known as it is now, and keep the answers with the federation's experience.

    Args:
        federation: Whose tables.
        told: Called with "site/table" before each.
    """
    known = federation.experience.columns
    for site, table in tables(federation):
        rows = federation.sites[site].rows(table)
        if not known.has(site, table, rows):
            if told is not None:
                told(f"{site}/{table}")
            known.keep(site, table, rows, gather(federation, site, table))
            federation.experience.changed()
