"""Which rows are held out for validation: a keyed hash decides, so that the split is the same in every run and place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, column
from blossom.learning.units import Hashes, hashes, mixed
from blossom.plan.errors import ConfigError


def split(batch: pa.RecordBatch, keys: Sequence[str], fraction: float, seed: int) -> Bools:
    """The mask of rows that are held out.

    Args:
        batch: The rows.
        keys: The columns that name the unit; none: the whole row is its key. Rows with equal keys fall on one side.
        fraction: The expected share held out, between 0 and 1.
        seed: Chooses the split.

    Raises:
        ConfigError: The fraction is not between 0 and 1.

    >>> rows = pa.RecordBatch.from_pydict({"id": [1, 2, 3, 1]})
    >>> mask = split(rows, ["id"], 0.5, seed=3)
    >>> bool(mask[0]) == bool(mask[3])
    True
    """
    if not 0.0 < fraction < 1.0:
        raise ConfigError(
            f"validate={fraction!r} is not between 0 and 1", hint="for example validate=0.2 holds out a fifth"
        )
    key = f"blossom split {seed}".encode()
    spread: Hashes = np.zeros(batch.num_rows, np.uint64)
    for name in keys or batch.schema.names:
        spread = mixed(spread) ^ hashes(column(batch, name), key)
    return mixed(spread) < np.uint64(min(round(fraction * 2**63) * 2, 2**64 - 1))
