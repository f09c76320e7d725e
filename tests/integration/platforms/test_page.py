"""docs/platforms.md says what the platforms declare and the suite proves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from blossom.platforms.registry import PLATFORMS

_spec = importlib.util.spec_from_file_location("platforms_page", Path(__file__).parent / "page.py")
assert _spec is not None
assert _spec.loader is not None
page = importlib.util.module_from_spec(_spec)
sys.modules["platforms_page"] = page  # its dataclasses look themselves up there
_spec.loader.exec_module(page)


def test_the_page_is_current() -> None:
    hint = "run: python tests/integration/platforms/page.py"
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), hint


def test_every_kind_is_told() -> None:
    assert set(page.TESTED) == set(PLATFORMS) - {"python"} == set(page.suite.setup.FACTORIES)
