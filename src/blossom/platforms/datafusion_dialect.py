"""Ibis's DataFusion compiler, corrected where the engine's answers would differ from DuckDB's."""
# pyright: basic
# ruff: noqa: N802 - the names of Ibis's visitor methods

from __future__ import annotations

from typing import Any

from ibis.backends.sql.compilers.datafusion import DataFusionCompiler


class Compiler(DataFusionCompiler):
    """"""

    __slots__ = ()
