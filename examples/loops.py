"""Loops and Python functions over federated tables: PageRank, k-means, gradient descent, word count.

Each function takes tables of a session and gives a lazy table; nothing runs before it is collected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir
from ibis import _

import blossom as bl


def pagerank(links: ir.Table, *, damping: float = 0.85, times: int = 20) -> ir.Table:
    """The rank of every page of `links` (source, target); pages without links of their own keep their rank to themselves."""
    pages = links.select(page=_.source).union(links.select(page=_.target)).distinct()
    count = pages.count().as_scalar()
    degrees = links.group_by("source").agg(degree=_.count())
    weighted = links.join(degrees, "source").select("source", "target", share=1 / _.degree)

    def step(ranks: ir.Table) -> ir.Table:
        given = (
            weighted.join(ranks, weighted.source == ranks.page)
            .group_by(page=_.target)
            .agg(given=(_.rank * _.share).sum())
        )
        return pages.left_join(given, "page").select(
            page=pages.page, rank=(1 - damping) / count + damping * given.given.fill_null(0.0)
        )

    return bl.repeat(pages.mutate(rank=1 / count), step, times=times)


def kmeans(points: ir.Table, start: ir.Table, *, tolerance: float, max_times: int) -> ir.Table:
    """Centres (cluster, x, y) of `points` (id, x, y), from those in `start` on (Lloyd, 1982)."""

    def step(centres: ir.Table) -> ir.Table:
        pairs = points.cross_join(centres.select("cluster", cx=_.x, cy=_.y))
        distance = (pairs.x - pairs.cx) ** 2 + (pairs.y - pairs.cy) ** 2
        nearest = pairs.mutate(
            order=ibis.row_number().over(group_by=pairs.id, order_by=[distance, pairs.cluster])
        )
        return nearest.filter(_.order == 0).group_by("cluster").agg(x=_.x.mean(), y=_.y.mean())

    def settled(before: ir.Table, after: ir.Table) -> ir.BooleanScalar:
        pairs = after.join(before.select("cluster", bx=_.x, by=_.y), "cluster")
        return ((pairs.x - pairs.bx).abs() + (pairs.y - pairs.by).abs()).max() < tolerance

    return bl.repeat(start, step, until=settled, max_times=max_times)


def descent(points: ir.Table, start: ir.Table, *, rate: float, times: int) -> ir.Table:
    """Slope and intercept of y = slope * x + intercept by gradient descent; only sums leave the sites, once a turn."""

    def step(model: ir.Table) -> ir.Table:
        one = model.agg(
            slope=_.slope.max(), intercept=_.intercept.max()
        )  # a policy wants to see that it is one row
        rows = points.cross_join(one)
        error = rows.slope * rows.x + rows.intercept - rows.y
        gradient = rows.agg(slope_sum=(error * rows.x).sum(), intercept_sum=error.sum(), n=rows.count())
        return model.cross_join(gradient).select(
            slope=_.slope - rate * _.slope_sum / _.n, intercept=_.intercept - rate * _.intercept_sum / _.n
        )

    return bl.repeat(start, step, times=times)


def split(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each word of a line."""
    for word in (row["line"] or "").lower().split():
        yield {"word": word}


def words(lines: ir.Table) -> ir.Table:
    """How often each word occurs in `lines` (line)."""
    return lines.pipe(bl.flat_map, split, schema={"word": "string"}).group_by("word").agg(n=_.count())
