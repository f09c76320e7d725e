"""What DataFusion runs with DuckDB's semantics."""

from __future__ import annotations

from collections.abc import Mapping

from blossom.platforms.allowed import COMMON, AllowList

DIFFERS: Mapping[str, str] = {
}

ALLOWED = AllowList("DataFusion", {name: rule for name, rule in COMMON.items() if name not in DIFFERS}, DIFFERS)
