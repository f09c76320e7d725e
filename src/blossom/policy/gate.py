"""The gate: drops what describes too few units, before anything leaves a guarded stage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from blossom.policy.guards import Stage


def gate(batches: Iterable[pa.RecordBatch], stage: Stage) -> tuple[list[pa.RecordBatch], int]:
    """Keep the rows of which every guard reaches its minimum, without the guard columns.

    Args:
        batches: The rows of `stage.query`.
        stage: The stage that was run.

    Returns:
        The rows that may leave (at least one batch, so that their types are known; a global aggregate that fails gives no row),
        and how many rows were withheld. The number is for the site's own log: even whether it is 0 tells something.
    """
    if not stage.guards:
        raise ValueError(f"stage {stage.key} has no guard")
    kept: list[pa.RecordBatch] = []
    withheld = 0
    for batch in batches:
        passed = np.ones(batch.num_rows, dtype=bool)
        for name, least in zip(stage.guards, stage.min_groups, strict=True):
            # A null count is a count of nothing.
            counts = batch.column(name).fill_null(0).to_numpy(zero_copy_only=False)
            passed &= counts >= max(least, 1)
        shown = batch.select(list(stage.columns)).filter(pa.array(passed))
        withheld += batch.num_rows - shown.num_rows
        kept.append(shown)
    if not kept:
        kept.append(pa.RecordBatch.from_pylist([], schema=stage.columns.to_pyarrow()))
    return kept, withheld
