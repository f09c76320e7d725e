"""The picture of a plan: lanes, boxes and arrows as SVG text, right on light and dark pages, without a script or a font.

All ink is `currentColor`, so it takes the page's own; only the bar that tells the platform has a colour.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

BOX_WIDTH, BOX_HEIGHT = 190, 58
GAP_X, GAP_Y = 92, 12
PADDING, HEAD = 12, 26
LANE_GAP = 14
TURN = 24
POLICY_CHARACTERS = 0.155  # of a character a pixel at 12 pixels a line: what fits beside a lane's name

COLOURS: Mapping[str, str] = {
    "duckdb": "#b8890f",
    "polars": "#2f74c0",
    "postgresql": "#5d7f9e",
    "pg": "#5d7f9e",
    "sqlite": "#3d8f6b",
    "python": "#b2418a",
}
OTHERS = ("#d0602a", "#77707f", "#7a5cc2", "#2b8c94")
"""Colours of platforms that are not named above; by a checksum of the name, so that it stays the same."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A site: its name, and what its policy says in a few words."""

    site: str
    policy: str


@dataclass(frozen=True, slots=True)
class Box:
    """A fragment (or, with no platform, the result)."""

    key: str
    site: str
    title: str
    platform: str
    figures: str
    detail: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A move from one box to another; the label tells its size."""

    source: str
    target: str
    label: str


def draw(lanes: Sequence[Lane], boxes: Sequence[Box], arrows: Sequence[Arrow], *, label: str) -> str:
    """The SVG element. `boxes` come inputs first; `label` is what a screen reader says."""
    column = _columns(boxes, arrows)
    by_key = {box.key: box for box in boxes}
    place: dict[str, tuple[int, int]] = {}
    frames: list[tuple[Lane, int, int]] = []
    width = PADDING * 2 + (max(column.values()) + 1) * (BOX_WIDTH + GAP_X) - GAP_X
    y = 1
    for lane in lanes:
        here = [box for box in boxes if box.site == lane.site]
        filled: dict[int, int] = {}
        for box in here:
            row = filled.get(column[box.key], 0)
            filled[column[box.key]] = row + 1
            x = PADDING + column[box.key] * (BOX_WIDTH + GAP_X)
            place[box.key] = x, y + HEAD + row * (BOX_HEIGHT + GAP_Y)
        height = HEAD + max(filled.values(), default=0) * (BOX_HEIGHT + GAP_Y)
        frames.append((lane, y, height))
        y += height + LANE_GAP
    parts = [_frame(lane, top, height, width) for lane, top, height in frames]
    parts += [
        _arrow(arrow, place, by_key[arrow.source].site != by_key[arrow.target].site) for arrow in arrows
    ]
    parts += [_box(box, *place[box.key]) for box in boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'style="max-width:100%;height:auto" role="img" aria-label="{escape(label)}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="currentColor">{"".join(parts)}</svg>'
    )


def _columns(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> dict[str, int]:
    """A box stands right of everything it reads."""
    column: dict[str, int] = {}
    for box in boxes:
        column[box.key] = max(
            (column[arrow.source] + 1 for arrow in arrows if arrow.target == box.key), default=0
        )
    return column


def _frame(lane: Lane, y: int, height: int, width: int) -> str:
    room = max(0, int((width - 60) * POLICY_CHARACTERS) - len(lane.site))
    policy = lane.policy if len(lane.policy) <= room else lane.policy[: max(0, room - 1)] + "…"
    return (
        f'<rect x="1" y="{y}" width="{width - 2}" height="{height}" rx="9" fill="currentColor" fill-opacity=".05" '
        f'stroke="currentColor" stroke-opacity=".35"/>'
        f'<text x="{PADDING}" y="{y + 17}" font-weight="600">{escape(lane.site)}</text>'
        f'<text x="{width - PADDING}" y="{y + 17}" text-anchor="end" fill-opacity=".65">{escape(policy)}'
        f"<title>{escape(lane.policy)}</title></text>"
    )


def _arrow(arrow: Arrow, place: Mapping[str, tuple[int, int]], crosses: bool) -> str:
    (ax, ay), (bx, by) = place[arrow.source], place[arrow.target]
    x0, y0, x1, y1 = ax + BOX_WIDTH, ay + BOX_HEIGHT // 2, bx - 6, by + BOX_HEIGHT // 2
    turn = x1 - TURN  # flat under the label, then down or up to the target
    style = (
        'stroke-opacity=".9" stroke-dasharray="5 3" stroke-width="1.6"' if crosses else 'stroke-opacity=".5"'
    )
    head = f'<path d="M{x1} {y1 - 4}l6 4l-6 4z" fill-opacity="{".9" if crosses else ".5"}"/>'
    return (
        f'<path d="M{x0} {y0}H{turn}C{x1 - 4} {y0} {turn + 4} {y1} {x1} {y1}" fill="none" '
        f'stroke="currentColor" {style}/>{head}'
        f'<text x="{x0 + 6}" y="{y0 - 5}" font-size="11" fill-opacity=".8">{escape(arrow.label)}</text>'
    )


def _box(box: Box, x: int, y: int) -> str:
    if not box.platform:
        return (
            f'<g><title>{escape(box.detail)}</title><rect x="{x}" y="{y + 14}" width="70" height="30" rx="15" '
            f'fill="currentColor" fill-opacity=".1" stroke="currentColor" stroke-opacity=".6"/>'
            f'<text x="{x + 35}" y="{y + 33}" text-anchor="middle" font-weight="600">{escape(box.title)}</text></g>'
        )
    colour = COLOURS.get(box.platform) or OTHERS[zlib.crc32(box.platform.encode()) % len(OTHERS)]
    return (
        f'<g><title>{escape(box.detail)}</title><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="currentColor" fill-opacity=".04" stroke="currentColor" stroke-opacity=".45"/>'
        f'<rect x="{x}" y="{y}" width="5" height="{BOX_HEIGHT}" rx="2" fill="{colour}"/>'
        f'<text x="{x + 13}" y="{y + 18}" font-weight="600">{escape(_short(box.title))}</text>'
        f'<text x="{x + 13}" y="{y + 34}">{escape(_short(box.platform))}</text>'
        f'<text x="{x + 13}" y="{y + 50}" fill-opacity=".7">{escape(_short(box.figures))}</text></g>'
    )


def _short(text: str, most: int = 27) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
