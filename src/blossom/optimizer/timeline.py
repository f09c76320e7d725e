"""A placed plan in time: when each fragment begins and ends, and how long each place is busy.

Fragments at different sites run side by side; those of one site share its cores and run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blossom.optimizer.costs.whole import tops
from blossom.optimizer.graph import Floats, Problem


@dataclass(slots=True)
class Timeline:
    """Figures of a placed plan. A fragment is named by the number of its top node.

    Attributes:
        seconds: When the result is there.
        own: By fragment, seconds of its own work.
        longest: By fragment, seconds of the longest move of an input to it.
        busy: By place number, seconds that it works and moves data, its start left out.
        crossing: Bytes by the places at both ends of a move.
        spent: By fragment, seconds of each place that its work and the moves of its inputs keep busy.
        taken: By fragment, the same as `crossing` of its inputs.
    """

    seconds: float = 0.0
    own: dict[int, float] = field(default_factory=dict)
    longest: dict[int, float] = field(default_factory=dict)
    busy: dict[int, float] = field(default_factory=dict)
    crossing: dict[tuple[int, int], float] = field(default_factory=dict)
    spent: dict[int, dict[int, float]] = field(default_factory=dict)
    taken: dict[int, dict[tuple[int, int], float]] = field(default_factory=dict)


def timeline(
    below: Sequence[Sequence[int]],
    choice: Sequence[int],
    problem: Problem,
    sent: Sequence[float],
    *,
    sites: Sequence[int],
    startup: Floats,
) -> Timeline:
    """The timeline of an assignment.

    Args:
        below: (n) numbers of the nodes that each node reads.
        choice: (n) places, -1 for nodes that are not used.
        problem: Seconds of work and moves.
        sent: (n) bytes of each node's output.
        sites: (k) a number for the site of each place.
        startup: (k,) seconds until a place can begin its first fragment.
    """
    top = tops(below, choice)
    members: dict[int, list[int]] = {}
    for number, own in enumerate(top):
        if own >= 0:
            members.setdefault(own, []).append(number)
    found = Timeline()
    finish: dict[int, float] = {}
    free: dict[int, float] = {}
    for fragment, nodes in sorted(members.items()):
        place = choice[fragment]
        own = sum(float(problem.operator[number, place]) for number in nodes)
        inputs = {
            top[child]
            for number in nodes
            for child in below[number]
            if choice[child] >= 0 and top[child] != fragment
        }
        spent, taken = {place: own}, dict[tuple[int, int], float]()
        begins, longest = 0.0, 0.0
        for source in sorted(inputs):
            away = choice[source]
            size = sent[source]
            move = float(problem.latency[away, place]) + float(problem.per_byte[away, place]) * size
            begins, longest = max(begins, finish[source] + move), max(longest, move)
            for end in {away, place}:
                spent[end] = spent.get(end, 0.0) + move
            taken[away, place] = taken.get((away, place), 0.0) + size
        if place not in found.busy:
            begins += float(startup[place])
        begins = max(begins, free.get(sites[place], 0.0))
        finish[fragment] = free[sites[place]] = begins + own
        found.own[fragment], found.longest[fragment] = own, longest
        found.spent[fragment], found.taken[fragment] = spent, taken
        for at, seconds in spent.items():
            found.busy[at] = found.busy.get(at, 0.0) + seconds
        for ends, size in taken.items():
            found.crossing[ends] = found.crossing.get(ends, 0.0) + size
    found.seconds = finish[len(below) - 1]
    return found
