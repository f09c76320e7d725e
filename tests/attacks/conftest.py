"""Makes `tests.attacks` importable however pytest was started, and keeps the tables' files for the whole session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tables' files."""
    return tmp_path_factory.mktemp("attacked")
