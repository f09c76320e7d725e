"""Distributed logical plan + catalogue -> physical plan: compliance, sizes, costs, placement, fragments, reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blossom.optimizer import cost
from blossom.optimizer.cardinality import Cardinality, Sizes
from blossom.optimizer.catalogue import Catalogue
from blossom.optimizer.compliance import Compliance
from blossom.optimizer.fragments import Piece, cut
from blossom.optimizer.nodes import Node, flatten, rebuilt
from blossom.optimizer.physical import Estimate, Fragment, Location, PhysicalPlan
from blossom.optimizer.placement import (
    Assignment,
    Bools,
    Floats,
    Infeasible,
    Problem,
    alternatives,
    place,
)
from blossom.optimizer.refusing import refused
from blossom.optimizer.subqueries import spine
from blossom.plan.errors import PlanError, PolicyError, Refusal, listed
from blossom.plan.relations import Copies, Model, Parts, Received, Relation, Scan
from blossom.plan.schema import Schema

ALTERNATIVES = 5
"""How many of the cheapest alternatives are looked at for a fragment's reasons."""


def plan(
    root: Relation,
    catalogue: Catalogue,
    *,
    consumer: str = cost.HUB,
    sizes: Mapping[str, int] | None = None,
    fingerprint: Callable[[Relation], str] | None = None,
) -> PhysicalPlan:
    """Choose a place for every part of a distributed plan and cut it into fragments.

    Args:
        root: The plan after the rewrites; its leaves are `Scan` of a site, `Constant` and `Model`.
        catalogue: What is known of the federation.
        consumer: The site that gets the result.
        sizes: True rows of sub-plans seen before, by fingerprint.
        fingerprint: Gives a sub-plan's fingerprint; needed with `sizes`.

    Raises:
        PolicyError: No placement obeys the policies; carries the refusals.
        PlanError: No platform where the data may be can run an operator, or the plan is not ready to be placed.
    """
    started = time.perf_counter()
    task = _Task(root, catalogue, consumer, Sizes(catalogue.rows, sizes, fingerprint))
    found = task.solve()
    return task.physical(found, started)


@dataclass(frozen=True, eq=False)
class _Chosen:
    assignment: Assignment
    problem: Problem
    note: str | None


class _Task:
    """The arrays of one planning, by node and location number."""

    def __init__(self, root: Relation, catalogue: Catalogue, consumer: str, sizes: Sizes) -> None:
        self.table = flatten(root)
        self.consumer = consumer
        self.catalogue = catalogue
        owners = self.table[-1].owners
        sites = {*owners, consumer, cost.HUB}
        self.locations = tuple(one for one in catalogue.locations if one.site in sites)
        self.kinds = tuple(catalogue.kind(one) for one in self.locations)
        missing = sorted({*owners, consumer} - {one.site for one in self.locations})
        if missing:
            raise PlanError(
                f"the federation has no platform at {', '.join(missing)}",
                where="placement",
                hint="enrol the site, or give it a platform",
            )
        self.sizes: list[Cardinality] = [sizes.of(node.relation) for node in self.table]
        self.compliance = Compliance(self.table, catalogue, consumer)
        self.incapable: list[dict[int, str]] = [self._incapable(node) for node in self.table]

    # -- what may run where

    def _incapable(self, node: Node) -> dict[int, str]:
        """Why the node cannot run at a location, by the location's number; without those that it can run at."""
        if isinstance(node.relation, Scan):
            home = self.catalogue.home(node.relation.site or "", node.relation.table)
            if home not in self.locations:
                raise PlanError(
                    f"{home} is not a platform of the federation", where=f"Scan {node.relation.table}"
                )
            here = f"{node.relation.site}/{node.relation.table} lives on {home}"
            return {i: here for i, one in enumerate(self.locations) if one != home}
        work: list[Relation] = []
        if not isinstance(node.relation, Copies):  # closed parts of subqueries are nodes of their own
            leaves = [Received(f"attached{i}", one.schema) for i, one in enumerate(node.attached_plans)]
            own = rebuilt(node, node.relation.inputs, leaves)
            if own not in node.relation.inputs:  # `Parts` of one table: nothing to do
                work = [own, *spine(own)]
        reasons: dict[int, str] = {}
        for i, location in enumerate(self.locations):
            why = next(filter(None, (self.catalogue.unsupported(location, one) for one in work)), None)
            if why is not None:
                reasons[i] = why
        return reasons

    def _operators(self) -> Floats:
        """(n, k) seconds, inf where a node cannot run; the root's hold the delivery to the consumer."""
        seconds: Floats = np.full((len(self.table), len(self.locations)), np.inf)
        for node, why_not in zip(self.table, self.incapable, strict=True):
            below = [self.sizes[i] for i in node.below]
            own = self.sizes[node.number]
            for i, kind in enumerate(self.kinds):
                if i not in why_not:
                    seconds[node.number, i] = cost.operator_seconds(kind, node.relation, below, own)
        root = self.table[-1]
        for i, location in enumerate(self.locations):
            facts = cost.facts(self.kinds[i])
            seconds[-1, i] += facts.start + self.sizes[-1].bytes / facts.write
            if location.site != self.consumer:
                way = cost.link(location.site, self.consumer)
                seconds[-1, i] += way.seconds + self.sizes[-1].bytes / way.bytes_per_second
                if np.isfinite(seconds[-1, i]) and self.compliance.refusals(
                    root, location.site, self.consumer
                ):
                    seconds[-1, i] = np.inf
        return seconds

    def problem(self) -> Problem:
        """The arrays for `place`."""
        latency, per_byte = cost.moves(self.locations, self.kinds)
        operator = self._operators()
        child: list[int] = []
        parent: list[int] = []
        for node in self.table:
            for number in node.below:
                child.append(number)
                parent.append(node.number)
        k = len(self.locations)
        self.masks: Bools = np.ones((len(self.table) + 1, k, k), dtype=np.bool_)
        self.masks[-1] = np.eye(k, dtype=np.bool_)
        for number, target in self._untakeable():
            self.masks[number, np.arange(k) != target, target] = False
        # A copy is taken where it lies, and a model is written into the fragment that predicts with it.
        stays = [
            isinstance(self.table[v].relation, Copies) or isinstance(self.table[u].relation, Model)
            for u, v in zip(child, parent, strict=True)
        ]
        mask = [len(self.table) if fixed else u for u, fixed in zip(child, stays, strict=True)]
        for node in self.table:
            if isinstance(node.relation, Copies) and node.relation.steward is not None:
                steward = node.relation.steward
                away = [i for i, one in enumerate(self.locations) if one.site != steward]
                operator[node.number, away] = np.inf
        return Problem(
            operator=operator,
            child=np.array(child, dtype=np.int64),
            parent=np.array(parent, dtype=np.int64),
            bytes=np.array([self.sizes[u].bytes for u in child], dtype=np.float64),
            latency=np.array(latency),
            per_byte=np.array(per_byte),
            masks=self.masks,
            mask=np.array(mask, dtype=np.int64),
            any_of=np.array([isinstance(node.relation, Copies) for node in self.table]),
        )

    def _untakeable(self) -> Iterator[tuple[int, int]]:
        """Node and location numbers, where the node's rows have a type that the platform cannot take in."""
        known: dict[tuple[int, Schema], bool] = {}
        for node in self.table:
            schema = node.relation.schema
            for i, location in enumerate(self.locations):
                if (i, schema) not in known:
                    known[i, schema] = (
                        self.catalogue.unsupported(location, Received("input", schema)) is not None
                    )
                if known[i, schema]:
                    yield node.number, i

    def _place(self, problem: Problem) -> Assignment | Infeasible:
        """The cheapest assignment that obeys the policies.

        Policies are asked only about moves that a cheapest assignment makes; a refused move is masked, and the search goes
        on. As every assignment passed over was cheaper than the one that stands, none that is allowed is missed.
        """
        while True:
            found = place(problem)
            if isinstance(found, Infeasible):
                return found
            refused = False
            choice = found.choice.tolist()
            for node in self.table:
                for number in node.below:
                    if choice[number] >= 0 and choice[node.number] >= 0:
                        refused |= self._mask(number, choice[number], choice[node.number])
            if not refused:
                return found

    def _mask(self, number: int, source: int, target: int) -> bool:
        """Ask whether a move is allowed, and mask it if it is not. True when it was just found refused."""
        sites = self.locations[source].site, self.locations[target].site
        if not self.masks[number, source, target] or not self.compliance.refusals(self.table[number], *sites):
            return False
        at_source = [i for i, one in enumerate(self.locations) if one.site == sites[0]]
        at_target = [i for i, one in enumerate(self.locations) if one.site == sites[1]]
        self.masks[np.ix_([number], at_source, at_target)] = False
        return True

    def _mask_all(self, problem: Problem) -> None:
        for number in range(len(self.table) - 1):
            for source in np.flatnonzero(np.isfinite(problem.operator[number])).tolist():
                for target in range(len(self.locations)):
                    self._mask(number, source, target)

    # -- the choice

    def solve(self) -> _Chosen:
        """The cheapest assignment, or a simpler one that is not dearer by more than the prior's margin."""
        problem = self.problem()
        best = self._place(problem)
        if isinstance(best, Infeasible):
            self._mask_all(problem)
            blocked = place(problem)
            raise self._infeasible(problem, blocked if isinstance(blocked, Infeasible) else best)
        optimum, note = best, None
        for options in self._simpler(optimum):
            trials = [(words, self._only(problem, allowed)) for words, allowed in options]
            placed = [(words, trial, self._place(trial)) for words, trial in trials]
            found = [(words, trial, one) for words, trial, one in placed if isinstance(one, Assignment)]
            if not found:
                continue
            words, trial, one = min(found, key=lambda each: each[2].total)
            if one.total * (1 - cost.MARGIN) <= optimum.total and len(_places_of(one)) < len(
                _places_of(best)
            ):
                saved = _seconds(one.total - optimum.total)
                note = f"{words}: one more platform promises to save only {saved} of {_seconds(one.total)} (margin {cost.MARGIN:.0%})"
                best, problem = one, trial
        return _Chosen(best, problem, note)

    def _only(self, problem: Problem, allowed: frozenset[int]) -> Problem:
        operator = problem.operator.copy()
        operator[:, [i for i in range(len(self.locations)) if i not in allowed]] = np.inf
        return replace(problem, operator=operator)

    def _simpler(self, best: Assignment) -> list[list[tuple[str, frozenset[int]]]]:
        """Groups of simpler plans, by the locations that they may use: any single one, then one platform for each site."""
        places = _places_of(best)
        if len(places) == 1:
            return []
        every = frozenset(range(len(self.locations)))
        groups = [[(f"all on {self.locations[i]}", frozenset({i})) for i in sorted(every)]]
        for site in dict.fromkeys(self.locations[i].site for i in sorted(places)):
            at_site = [i for i in sorted(every) if self.locations[i].site == site]
            if len(places.intersection(at_site)) > 1:
                groups.append(
                    [
                        (f"{site} stays on {self.locations[i]}", every - frozenset(at_site) | {i})
                        for i in at_site
                    ]
                )
        return groups

    # -- what is wrong when nothing goes

    def _infeasible(self, problem: Problem, found: Infeasible) -> PlanError | PolicyError:
        node = self.table[found.blocked[0]]
        able = [i for i in range(len(self.locations)) if i not in self.incapable[node.number]]
        where = _name(node.relation)
        if not able:
            reasons = dict.fromkeys(
                f"{self.locations[i]}: {why}" for i, why in self.incapable[node.number].items()
            )
            return PlanError(
                f"no platform can run {where} with the reference semantics",
                where=where,
                hint="; ".join(reasons),
            )
        return (
            refused(self.table, self.catalogue, self.compliance, self.consumer)
            or self._unable(problem, node, able)
            or PlanError(
                f"no place can run {where}: {self._cannot(node)}",
                where=where,
                hint="give one of the sites a platform that can run it",
            )
        )

    def _unable(self, problem: Problem, node: Node, able: Sequence[int]) -> PolicyError | None:
        """The error where every result may leave, but an operator can run only where its inputs may not go."""
        refusals: dict[Refusal, None] = {}
        for i in able:
            for number in node.below:
                for j in np.flatnonzero(np.isfinite(problem.operator[number])).tolist():
                    sites = self.locations[j].site, self.locations[i].site
                    refusals.update(dict.fromkeys(self.compliance.refusals(self.table[number], *sites)))
        if not refusals:
            return None
        where, sites = _name(node.relation), sorted({one.site for one in refusals})
        return PolicyError(
            f"only {', '.join(str(self.locations[i]) for i in able)} can run it, and what it needs may not leave {listed(sites)}",
            tuple(refusals),
            where=where,
            hint=self._cannot(node) or None,
        )

    def _cannot(self, node: Node) -> str:
        return "; ".join(
            f"{self.locations[i]} cannot: {why}" for i, why in self.incapable[node.number].items()
        )

    # -- the plan

    def physical(self, found: _Chosen, started: float) -> PhysicalPlan:
        """Cut, estimate and explain."""
        choice: list[int] = found.assignment.choice.tolist()
        pieces = cut(self.table, choice)
        other, forced = alternatives(found.problem, found.assignment)
        moves = found.problem.latency, found.problem.per_byte
        finish: dict[str, float] = {}
        by_key = {piece.key: piece for piece in pieces}
        fragments: list[Fragment] = []
        for piece in pieces:
            location = self.locations[piece.place]
            users = [one for one in pieces if piece.key in one.inputs]
            recipients = dict.fromkeys(self.locations[one.place].site for one in users)
            if piece is pieces[-1]:
                recipients[self.consumer] = None
            own = sum(found.problem.operator[number, piece.place] for number in piece.members)
            begins, longest = 0.0, 0.0
            for key in piece.inputs:  # from different sites side by side
                source = by_key[key]
                move = float(moves[0][source.place, piece.place])
                move += float(moves[1][source.place, piece.place]) * self.sizes[source.top].bytes
                begins = max(begins, finish[key] + move)
                longest = max(longest, move)
            seconds = float(own) + longest
            finish[piece.key] = begins + float(own)
            size = self.sizes[piece.top]
            fragments.append(
                Fragment(
                    key=piece.key,
                    location=location,
                    root=piece.root,
                    inputs=piece.inputs,
                    recipients=tuple(recipients),
                    estimate=Estimate(seconds, size.expected, size.bytes),
                    reasons=self._reasons(piece, found, other.tolist(), forced.tolist()),
                )
            )
        return PhysicalPlan(tuple(fragments), finish[pieces[-1].key], time.perf_counter() - started)

    def _reasons(
        self, piece: Piece, found: _Chosen, other: Sequence[int], forced: Sequence[float]
    ) -> tuple[str, ...]:
        """Why a piece is where it is, in words: what lies there, what may not leave, what an engine cannot do, what else would cost."""
        here = self.locations[piece.place]
        members = [self.table[number] for number in piece.members]
        reasons = [*self._home(members), *self._bound(piece, here), *self._forced(piece, found, members)]
        sources = self._sources(piece, found)
        if len({one.site for one in sources}) > 1:
            reasons.append(f"here comes together what {listed(_sites(sources))} send")
        nearest = self._nearest(piece, found.assignment, other, forced)
        if nearest is not None:
            more = forced[nearest] - found.assignment.total
            there = self.locations[other[nearest]]
            reasons.append(f"{there} was considered: {_seconds(more)} more")
        if found.note is not None and found.note.startswith(("all on ", f"{here.site} stays on ")):
            reasons.append(found.note)
        return tuple(dict.fromkeys(reasons))

    def _home(self, members: Sequence[Node]) -> list[str]:
        """The tables that a piece reads, which lie where it runs."""
        tables = list(dict.fromkeys(one.relation.table for one in members if isinstance(one.relation, Scan)))
        return [f"{listed(tables)} {'lives' if len(tables) == 1 else 'live'} here"] if tables else []

    def _bound(self, piece: Piece, here: Location) -> list[str]:
        """What policies forbid of taking the piece's input elsewhere."""
        kept: dict[tuple[str, str], list[str]] = {}
        for number in self.table[piece.top].below:
            for refusal in self.compliance.refusals(self.table[number], here.site, self.consumer):
                tables = kept.setdefault((refusal.rule, refusal.reason), [])
                if refusal.table not in tables:
                    tables.append(refusal.table)
        rows = [table for (rule, _), tables in kept.items() if rule == "rows" for table in tables]
        reasons = [f"rows of {listed(list(dict.fromkeys(rows)))} may not leave {here.site}"] if rows else []
        others = {words: tables for (rule, words), tables in kept.items() if rule != "rows"}
        return reasons + [f"policy of {listed(tables)}: {words}" for words, tables in others.items()]

    def _forced(self, piece: Piece, found: _Chosen, members: Sequence[Node]) -> list[str]:
        """What the engine that holds the input cannot do, where this is why the work goes on elsewhere."""
        here = self.locations[piece.place]
        # A model is written into the fragment that predicts with it: the prediction is what an engine can or cannot do.
        work = [node for node in members if not isinstance(node.relation, Model)]
        unable: dict[Location, str] = {}
        for source in self._sources(piece, found):
            number = self.locations.index(source)
            why = next(
                (self.incapable[one.number][number] for one in work if number in self.incapable[one.number]),
                None,
            )
            if why is None:
                return []
            unable[source] = why
        return [f"{source}: {why}, so {here} takes it" for source, why in sorted(unable.items())[:1]]

    def _sources(self, piece: Piece, found: _Chosen) -> list[Location]:
        """Where the piece's inputs come from."""
        inside = set(piece.members)
        below = {number for member in piece.members for number in self.table[member].below} - inside
        places = {int(found.assignment.choice[number]) for number in below}
        return [self.locations[place] for place in sorted(places) if place >= 0]

    def _nearest(
        self, piece: Piece, assignment: Assignment, other: Sequence[int], forced: Sequence[float]
    ) -> int | None:
        """The member whose move elsewhere would cost least, of the moves that policies allow; few are looked at."""
        able = sorted(
            (number for number in piece.members if other[number] >= 0), key=lambda number: forced[number]
        )
        for number in able[:ALTERNATIVES]:
            there = self.locations[other[number]].site
            below = [i for i in self.table[number].below if assignment.choice[i] >= 0]
            sources = [self.locations[int(assignment.choice[i])].site for i in below]
            if not any(
                self.compliance.refusals(self.table[i], source, there)
                for i, source in zip(below, sources, strict=True)
            ):
                return number
        return None


def _name(relation: Relation) -> str:
    return "Union" if isinstance(relation, Parts) else type(relation).__name__


def _places_of(assignment: Assignment) -> set[int]:
    return {place for place in assignment.choice.tolist() if place >= 0}


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value >= 0.1 else f"{value * 1e3:.2g} ms"


def _sites(locations: Sequence[Location]) -> list[str]:
    return list(dict.fromkeys(one.site for one in locations))
