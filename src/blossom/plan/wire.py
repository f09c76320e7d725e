"""Plans as JSON and back: data only, canonical (equal plans give equal bytes), and checked node by node on arrival.

A document is `{"version": 1, "nodes": [...]}`: relations and expressions in one table, each naming earlier entries only by
their number, the last one being the plan. Shared entries stay shared. What a hostile document can say is at worst another
well-typed plan, which the site's policy then judges.
"""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from blossom.plan import expressions as ex
from blossom.plan import relations as rel
from blossom.plan.errors import PlanError, unknown
from blossom.plan.wire_checks import bottom_up, check, operation
from blossom.plan.wire_fields import EXPRESSIONS, RELATIONS, Limits, shown
from blossom.plan.wire_values import Json

__all__ = ["VERSION", "Limits", "dump", "dumps", "fingerprint", "load", "loads"]

VERSION = 1


def dumps(root: rel.Relation) -> bytes:
    """The plan's canonical JSON in UTF-8.

    Raises:
        PlanError: A constant that has no JSON form, or an operation that may not travel.
    """
    try:
        text = json.dumps(
            dump(root), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except UnicodeEncodeError as error:
        raise PlanError("a text of the plan is no Unicode") from error


def loads(text: bytes | str, *, limits: Limits | None = None) -> rel.Relation:
    """A plan from JSON text.

    Raises:
        PlanError: See `load`; or no JSON, or too much of it.
    """
    bounds = limits or Limits()
    if len(text) > bounds.bytes:
        raise PlanError(f"the plan document is longer than {bounds.bytes:,} bytes")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PlanError("the plan document is no JSON") from error
    return load(document, limits=bounds)


_PRINTS: WeakKeyDictionary[rel.Relation, str] = WeakKeyDictionary()


def fingerprint(root: rel.Relation) -> str:
    """SHA-256 of the plan's canonical JSON, in hex; remembered for each node.

    >>> from blossom.plan.relations import Scan
    >>> from blossom.plan.schema import Schema
    >>> columns = Schema([("a", "int64")])
    >>> fingerprint(Scan("t", columns)) == fingerprint(Scan("t", columns))
    True
    """
    known = _PRINTS.get(root)
    if known is None:
        known = _PRINTS[root] = hashlib.sha256(dumps(root)).hexdigest()
    return known


def dump(root: rel.Relation) -> dict[str, Any]:
    """The plan as plain JSON values.

    Raises:
        PlanError: A constant that has no JSON form, or an operation that may not travel.
    """
    writer = _Writer()
    try:
        writer.relation(root)
    except RecursionError as error:
        raise PlanError("an expression of the plan is nested too deeply") from error
    return {"version": VERSION, "nodes": writer.nodes}


def load(document: object, *, limits: Limits | None = None) -> rel.Relation:
    """The plan of a document that nobody vouches for.

    Raises:
        PlanError: Anything but a well-typed plan within the limits, each fault in one sentence.
    """
    reader = _Reader(limits or Limits())
    try:
        root = reader.read(document)
        check(root)
    except RecursionError as error:
        raise PlanError("the plan is nested too deeply") from error
    return root


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("a key stands twice")
    return built


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


@dataclass(slots=True)
class _Writer:
    """Numbers relations and expressions; equal entries share a number, whoever made them."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)

    def relation(self, root: rel.Relation) -> int:
        if id(root) in self._seen:
            return self._seen[id(root)]
        for node in root.walk():
            if id(node) in self._seen:
                continue
            kind = type(node).__name__
            if RELATIONS.get(kind, (None,))[0] is not type(node):
                raise PlanError(f"{kind} may not stand in a plan document")
            fields = RELATIONS[kind][1]
            entry = {
                "class": kind,
                **{name: part.write(self, getattr(node, name)) for name, part in fields.items()},
            }
            # two unseeded samples are two draws, so they never share a number
            self._add(node, entry, shared=not (isinstance(node, rel.Sample) and node.seed is None))
        return self._seen[id(root)]

    def expression(self, value: ex.Expression) -> int:
        for node in bottom_up(value, self._seen):
            kind = type(node).__name__
            if EXPRESSIONS.get(kind, (None,))[0] is not type(node):
                raise PlanError(f"{kind} is no expression")
            if isinstance(node, ex.Call):
                operation(node.op)
            fields = EXPRESSIONS[kind][1]
            entry = {
                "class": kind,
                **{name: part.write(self, getattr(node, name)) for name, part in fields.items()},
            }
            self._add(node, entry, shared=True)
        return self._seen[id(value)]

    def _add(self, item: Any, entry: dict[str, Any], *, shared: bool) -> None:
        key = json.dumps(entry, sort_keys=True)
        number = self._numbers.get(key) if shared else None
        if number is None:
            number = len(self.nodes)
            self.nodes.append(entry)
            self._numbers[key] = number
        self._seen[id(item)] = number
        self._kept.append(item)  # an id stays taken while its object lives


@dataclass(slots=True)
class _Reader:
    """Builds entry by entry, counting what a walk over the result would cost."""

    limits: Limits
    built: list[Any] = field(default_factory=list)
    _used: set[int] = field(default_factory=set)
    _costs: list[tuple[int, int, int]] = field(default_factory=list)
    _entry: list[int] = field(default_factory=list)
    _work: int = 0

    def read(self, document: object) -> rel.Relation:
        if not isinstance(document, dict) or document.keys() != {"version", "nodes"}:
            raise PlanError("a plan document has the keys version and nodes")
        if type(document["version"]) is not int or document["version"] != VERSION:
            raise PlanError(
                f"the plan document has version {document['version']!r}, this program reads {VERSION}"
            )
        nodes = document["nodes"]
        if not isinstance(nodes, list) or not nodes:
            raise PlanError("a plan document needs a list of nodes")
        if len(nodes) > self.limits.nodes:
            raise PlanError(f"the plan has more than {self.limits.nodes:,} nodes")
        for number, entry in enumerate(nodes):
            try:
                self._read_entry(entry)
            except PlanError as error:
                raise PlanError(error.what, where=f"node {number}", hint=error.hint) from error
        root = self.built[-1]
        if not isinstance(root, rel.Relation):
            raise PlanError("the last node of a plan document must be a relation")
        if len(self._used) != len(nodes) - 1:
            loose = next(n for n in range(len(nodes) - 1) if n not in self._used)
            raise PlanError(f"node {loose} of the plan document is used nowhere")
        return root

    def _read_entry(self, entry: Any) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("class"), str):
            raise PlanError("a node is an object with a class")
        kind = entry["class"]
        found = RELATIONS.get(kind) or EXPRESSIONS.get(kind)
        if found is None:
            what, hint = unknown("class of node", kind[:80], {**RELATIONS, **EXPRESSIONS})
            raise PlanError(what, hint=hint)
        cls, fields = found
        if entry.keys() != {"class", *fields}:
            odd = sorted(map(str, set(entry) ^ {"class", *fields}))
            raise PlanError(
                f"{kind} has the keys {', '.join(fields)}; wrong or missing: {', '.join(odd)[:200]}"
            )
        self._entry = []
        built = cls(**{name: part.read(self, entry[name]) for name, part in fields.items()})
        if isinstance(built, rel.Relation):
            self._must_be_narrow(built)
        self._cost(built)
        self.built.append(built)

    def _must_be_narrow(self, node: rel.Relation) -> None:
        try:
            schema = node.schema  # read here, bottom up, so that no later read recurses
        except PlanError:
            raise
        except Exception as error:
            raise PlanError(f"the columns of this {type(node).__name__} cannot be told") from error
        if len(schema) > self.limits.columns:
            raise PlanError(f"a relation has more than {self.limits.columns:,} columns")

    def _cost(self, built: Any) -> None:
        """(visits of a full walk, nesting, nesting of subqueries) from those of the entries named."""
        below = [self._costs[number] for number in self._entry]
        visits = 1 + sum(cost[0] for cost in below)
        nesting = max((cost[1] for cost in below), default=0)
        inner = max((cost[2] for cost in below), default=0)
        limits = self.limits
        if isinstance(built, rel.Relation):
            # a relation is walked once however often it is used, so only its own expressions count in the sum
            own = sum(cost[0] for n, cost in zip(self._entry, below, strict=True) if not self._is_relation(n))
            self._work += 1 + own
            nesting = 0
            if isinstance(
                built, rel.Repeat
            ):  # its body and condition are walked apart, once for every loop that has them
                self._work += visits
                inner += 1
        else:
            if isinstance(built, ex.Subquery):
                inner += 1
            nesting += 1
        if nesting > limits.depth:
            raise PlanError(f"an expression is nested deeper than {limits.depth}")
        if inner > limits.subqueries:
            raise PlanError(f"subqueries or loops are nested deeper than {limits.subqueries}")
        if self._work > limits.work or (not isinstance(built, rel.Relation) and visits > limits.work):
            raise PlanError(f"walking the plan's expressions takes more than {limits.work:,} visits")
        self._costs.append((min(visits, limits.work + 1), nesting, inner))

    def _is_relation(self, number: int) -> bool:
        return isinstance(self.built[number], rel.Relation)

    def reference(self, form: Json, kinds: type | tuple[type, ...], what: str) -> Any:
        """An earlier entry."""
        if type(form) is not int or not 0 <= form < len(self.built):
            raise PlanError(f"{shown(form)} names no earlier node")
        found = self.built[form]
        if not isinstance(found, kinds):
            raise PlanError(f"node {form} is a {type(found).__name__}, not {what}")
        self._used.add(form)
        self._entry.append(form)
        return found
