"""What a node asks of an engine, as a value: apart from where its inputs come from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields
from typing import Any

from blossom.plan.relations import Relation


class WorkKey:
    """A node's own work as a value; its hash is remembered, for it is looked up at every place of a federation."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, parts: Hashable) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, WorkKey) and self._hash == other._hash and self._parts == other._parts
        )


def work_key(node: Relation) -> Hashable:
    """A node's own work, apart from where its inputs come from: equal keys ask the same of an engine.

    Subqueries are compared by identity of their plans. Remembered for each node.
    """
    found = node.__dict__.get("_work_key")
    if found is None:
        own = tuple(
            value for field in fields(node) if not _holds_relations(value := node.__dict__[field.name])
        )
        found = WorkKey((type(node).__name__, own, tuple(child.schema for child in node.inputs)))
        if not node.holds_subquery:
            # one object for equal keys: those who look it up at many places compare it once
            if len(_KEYS) >= _MOST_KEYS:
                _KEYS.clear()
            found = _KEYS.setdefault(found, found)
        node.__dict__["_work_key"] = found
    return found


_KEYS: dict[WorkKey, WorkKey] = {}
_MOST_KEYS = 10_000


def _holds_relations(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and isinstance(value[0], Relation)
    return isinstance(value, Relation)
