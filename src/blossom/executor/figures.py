"""What a run's fragments really took and what left its sites: filled in while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blossom.executor.measuring import Stopwatch


@dataclass(frozen=True, slots=True)
class Release:
    """Data that left a site in a run."""

    site: str
    fragment: str
    kind: str
    recipient: str
    rows: int
    bytes: int
    withheld: int


@dataclass(slots=True)
class Actual:
    """What a fragment really took."""

    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    state: str = "waiting"
    watch: Stopwatch = field(default_factory=Stopwatch)


def withheld(releases: Sequence[Release]) -> Mapping[str, bool]:
    """For each site that released aggregates: were cells held back?"""
    sites: dict[str, bool] = {}
    for release in releases:
        if release.kind == "aggregates":
            sites[release.site] = sites.get(release.site, False) or release.withheld > 0
    return sites
