"""Tables kept for a run: taken away when the process of that run is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from blossom.policy.model import TablePolicy
from blossom.sites.written import KEPT, Written


def write(written: Written, name: str) -> None:
    rows = pa.table({"a": [1]})
    policy = TablePolicy(release="rows")
    written.stage(name, "r", rows.to_reader(), {}, policy)
    written.commit(name, "r", policy)


def test_what_a_gone_process_kept_is_taken_away(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    written = Written(tmp_path, "north")
    names = ["mine", f"{KEPT}{os.getpid()}_r_1", f"{KEPT}{gone.pid}_r_1", f"{KEPT}of_a_user"]
    for name in names:
        write(written, name)
    assert sorted(table.name for table in written.tables()) == sorted(set(names) - {names[2]})
    assert len(list((tmp_path / "tables").iterdir())) == 3
