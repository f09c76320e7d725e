"""The entry point through which `ibis.blossom.connect(...)` finds us."""

from __future__ import annotations

from blossom.fedpy.session import Session as Backend

__all__ = ["Backend"]
