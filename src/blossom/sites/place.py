"""The engines of one place and the tables published on them, without any policy: what a site guards and the hub merges with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence

import pyarrow as pa

from blossom.plan.errors import PlanError, unknown
from blossom.plan.everywhere import everywhere, scans
from blossom.plan.relations import Received, Relation, Scan
from blossom.plan.rewrites.widen_integers import widen_integers
from blossom.plan.schema import Schema
from blossom.plan.work import work_key
from blossom.platforms.interface import Cancellation, Platform, TableSource
from blossom.platforms.registry import open_platform
from blossom.sites.config.model import PlatformConfig
from blossom.sites.functions import Functions

Predictor = Callable[[str], Callable[[pa.RecordBatch], Sequence[pa.Array]]]


_ABILITIES = 20_000
"""Answers about what an engine can do that a place remembers."""


class Place:
    """Opens platforms when first used and runs fragments on them; safe to use from many threads."""

    def __init__(
        self, name: str, platforms: Mapping[str, PlatformConfig], functions: Functions, predictor: Predictor
    ) -> None:
        self.name = name
        self.configs = dict(platforms)
        self._functions = functions
        self._predictor = predictor
        self._lock = threading.RLock()
        self._open: dict[str, Platform] = {}
        self._local: dict[str, pa.Table] = {}
        self._abilities: dict[Hashable, str | None] = {}

    def platform(self, name: str) -> Platform:
        """The platform of that name, opened.

        Raises:
            PlanError: No such platform here.
            PlatformError: It cannot be opened.
        """
        with self._lock:
            if name not in self._open:
                config = self.configs.get(name)
                if config is None:
                    what, hint = unknown("platform", name, self.configs)
                    raise PlanError(what, where=f"site {self.name}", hint=hint)
                options = dict(config.options)
                if config.kind in ("python", "spark"):
                    options["functions"] = self._functions
                if config.kind == "python":
                    options["predictor"] = self._predictor
                self._open[name] = open_platform(config.kind, name, options)
            return self._open[name]

    def unsupported(self, platform: str, node: Relation) -> str | None:
        """Why a node cannot run on a platform here. Engines compile or try an expression to find out, so answers are kept."""
        key = (platform, work_key(node))
        if key not in self._abilities:
            if len(self._abilities) >= _ABILITIES:
                self._abilities.clear()
            self._abilities[key] = (self._open.get(platform) or self.platform(platform)).unsupported(node)
        return self._abilities[key]

    def publish(self, table: str, platform: str, source: TableSource) -> Schema:
        """Make a table readable on a platform of this place."""
        return self.platform(platform).publish(table, source)

    def keep(self, table: str, data: pa.Table) -> None:
        """Hold a table in memory; fragments here scan it by name."""
        with self._lock:
            self._local[table] = data

    def drop(self, table: str) -> None:
        """Forget a table held in memory; idempotent."""
        with self._lock:
            self._local.pop(table, None)

    def kept(self, table: str) -> pa.Table | None:
        """A table held in memory."""
        return self._local.get(table)

    def run(
        self,
        platform: str,
        root: Relation,
        inputs: Mapping[str, pa.RecordBatchReader],
        cancellation: Cancellation,
    ) -> pa.RecordBatchReader:
        """Run a fragment on one of the platforms."""
        if self._local and any(scan.table in self._local for scan in scans(root)):
            root, inputs = self._with_local(root, dict(inputs))
        return self.platform(platform).run(widen_integers(root), inputs, cancellation)

    def _with_local(
        self, root: Relation, inputs: dict[str, pa.RecordBatchReader]
    ) -> tuple[Relation, Mapping[str, pa.RecordBatchReader]]:
        def rule(node: Relation) -> Relation:
            if not isinstance(node, Scan) or node.table not in self._local:
                return node
            key = f"local_{len(inputs)}_{node.table}"
            inputs[key] = self._local[node.table].to_reader(max_chunksize=65_536)
            return Received(key, node.columns)

        return everywhere(root, rule), inputs

    def close(self) -> None:
        """Close every platform."""
        with self._lock:
            for platform in self._open.values():
                platform.close()
            self._open.clear()
            self._local.clear()
