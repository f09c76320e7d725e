"""The gate: drops the cells that may not leave, before anything leaves a guarded stage."""

from __future__ import annotations

import pyarrow as pa

from blossom.policy.guards import Stage
from blossom.policy.release import Decision


def gate(result: pa.Table, stage: Stage, decision: Decision) -> pa.Table:
    """The rows of a stage's result that may leave, without the counts beside them; none where a global aggregate fails.

    Args:
        result: The rows of `stage.query`.
        stage: The stage that was run.
        decision: What may leave of it.
    """
    if len(decision.shown) != result.num_rows:
        raise ValueError(f"the decision is about {len(decision.shown)} cells, not {result.num_rows}")
    return result.select(list(stage.columns)).filter(pa.array(decision.shown))
