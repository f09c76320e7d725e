"""True sizes of sub-plans that ran, remembered under what they compute, and used the next time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from blossom.optimizer.cardinality import Rows
from blossom.plan.errors import ConfigError
from blossom.plan.expressions import IMPURE, has, has_subquery
from blossom.plan.relations import Relation, Sample, Scan, node_fields
from blossom.plan.wire import fingerprint

VERSION = 1

MOST = 20_000
"""Sub-plans whose sizes are remembered; the oldest give way."""


class Fingerprints:
    """Fingerprints of the nodes of plans: equal where they compute the same of tables that have about as many rows.

    A node's is a hash of its own work and of its inputs' fingerprints, so that a whole plan costs one pass. A table's holds its
    number of rows to the power of two: when it has grown a lot, what was seen of it counts no more.

    Args:
        rows: Rows of each table by (site, table).
    """

    def __init__(self, rows: Callable[[str, str], int | None]) -> None:
        self._rows = rows
        self._known: dict[int, tuple[Relation, str]] = {}

    def __call__(self, root: Relation) -> str:
        """The fingerprint of a sub-plan; "" where its size may differ from run to run."""
        known = self._known.get(id(root))
        if known is not None:
            return known[1]
        ready = all(id(child) in self._known for child in root.inputs)
        for node in (root,) if ready else root.walk():
            if id(node) not in self._known:
                self._known[id(node)] = node, self._one(node)
        return self._known[id(root)][1]

    def _one(self, node: Relation) -> str:
        below = [self._known[id(child)][1] for child in node.inputs]
        if "" in below:
            return ""
        if isinstance(node, Sample) and node.seed is None:
            return ""
        own: list[str] = [type(node).__name__, *below]
        if isinstance(node, Scan):
            own += [node.table, node.site or "", str(self._size(node))]
        else:
            if any(has(value, IMPURE) for value in node.expressions()):
                return ""
            if any(has_subquery(value) for value in node.expressions()):
                own.append(fingerprint(node))  # with every plan inside
            else:
                fields = node_fields(node)
                own += [f"{name}={fields[name]!r}" for name in fields if not _holds_plans(fields[name])]
        return hashlib.blake2b("\x00".join(own).encode(errors="surrogatepass"), digest_size=12).hexdigest()

    def _size(self, scan: Scan) -> int | None:
        rows = self._rows(scan.site or "", scan.table)
        return None if rows is None else int(rows).bit_length()


def _holds_plans(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and isinstance(value[0], Relation)
    return isinstance(value, Relation)


class Seen:
    """True sizes by fingerprint; safe for many threads."""

    def __init__(self, rows: Mapping[str, Rows] | None = None) -> None:
        self._rows: dict[str, Rows] = dict(rows or {})
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def remember(self, key: str, rows: Rows) -> None:
        """Note a size; it replaces what was known."""
        if not key:
            return
        with self._lock:
            self._rows.pop(key, None)
            if len(self._rows) >= MOST:
                self._rows.pop(next(iter(self._rows)))
            self._rows[key] = rows

    def adopt(self, other: Seen) -> None:
        """Take over what another one remembers and this one does not."""
        for key, rows in other.sizes().items():
            if key not in self._rows:
                self.remember(key, rows)

    def sizes(self) -> Mapping[str, Rows]:
        """Everything that is remembered, as it is now."""
        return self._rows

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        with self._lock:
            return {
                "version": VERSION,
                "rows": {key: [one.low, one.expected, one.high] for key, one in self._rows.items()},
            }

    @classmethod
    def load(cls, document: Any) -> Seen:
        """From JSON values.

        Raises:
            ConfigError: They are of another version, or no sizes.
        """
        try:
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']}, this Blossom reads {VERSION}")
            return cls({str(key): _rows(*values) for key, values in document["rows"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"these are no sizes: {error}", where="remembered sizes") from error


def _rows(low: float, expected: float, high: float) -> Rows:
    if not 0 <= low <= expected <= high < float("inf"):
        raise ValueError(f"{low}, {expected}, {high} is no interval")
    return Rows(float(low), float(expected), float(high))
