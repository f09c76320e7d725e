"""Whether each value of a column is that of enough units.

A column that a user computes freely may be 1 for one unit and large round numbers for all others: the sum of its products with whole
numbers then tells the one's in its last digits. Where every value is that of many units, such a sum is made of sums over these.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from blossom.learning.columns import numbers
from blossom.learning.design import Numeric
from blossom.learning.statistics.base import Guard
from blossom.learning.units import Tally

MOST_VALUES = 1 << 12
"""A column with more values counts as one whose values are single units'."""


def check(amount: Numeric, batches: Iterable[pa.RecordBatch], guard: Guard, protected: str) -> None:
    """Refuse a column with a value that fewer than `min_group` units have.

    Args:
        amount: The column, with what fills its gaps.
        batches: The rows.
        guard: The owner's side.
        protected: The protected columns beside it, in words.

    Raises:
        PolicyError: There is such a value.
    """
    tally = Tally(guard.units, guard.min_group)
    numbered: dict[float, int] = {}
    for batch in batches:
        found, inverse = np.unique(numbers(batch, amount.column, amount.fill)[0], return_inverse=True)
        if len(found) > MOST_VALUES:
            break
        codes = np.asarray([numbered.setdefault(value, len(numbered)) for value in found.tolist()], np.int64)
        if len(numbered) > MOST_VALUES:
            break
        tally.add(codes[inverse], np.arange(batch.num_rows), batch)
    else:
        counts = tally.counts(len(numbered))
        if not ((counts > 0) & (counts < guard.min_group)).any():
            return
    guard.refuse(
        "computed",
        amount.column,
        f"it is computed freely, and fewer than {guard.min_group} units have one of its values: sums of its products with {protected} "
        "would tell theirs",
        f"stored columns, affine forms (a * x + b) and products of two; or a column of few values, each that of at least "
        f"{guard.min_group} units: round or bin it; or ask the owner for transform = true on {protected}",
    )
