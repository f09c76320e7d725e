"""What is predicted: a class column or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from blossom.learning.columns import (
    Floats,
    Ints,
    Scalar,
    bad_values,
    category_values,
    finite,
    level_codes,
    numbers,
    scalars,
)
from blossom.plan.errors import ConfigError, TrainingError


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: a class column (`classes` given, in order) or a number (less `shift`)."""

    column: str
    classes: tuple[Scalar, ...] | None = None
    shift: float = 0.0

    def codes(self, batch: pa.RecordBatch) -> Ints:
        """Each row's position in `classes`.

        Raises:
            TrainingError: A row has no target, or one that is no known class.
        """
        assert self.classes is not None, "only a class target has codes"
        values = category_values(batch, self.column)
        if values.null_count:
            raise bad_values(self.column)
        codes = level_codes(values, self.classes, self.column)
        if (codes < 0).any():
            raise TrainingError(f"target {self.column!r} holds classes that the model was not fitted on")
        return codes

    def values(self, batch: pa.RecordBatch) -> Floats:
        """The target as float64, less `shift`.

        Raises:
            TrainingError: A row has no finite target.
        """
        values, good = numbers(batch, self.column)
        if not good.all():
            raise bad_values(self.column)
        return values - self.shift if self.shift else values

    def to_document(self) -> dict[str, Any]:
        """The target as JSON values."""
        classes = None if self.classes is None else list(self.classes)
        return {"column": self.column, "classes": classes, "shift": self.shift}

    @classmethod
    def from_document(cls, document: object) -> Target:
        """Read what `to_document` wrote.

        Raises:
            ConfigError: The document is not of that shape.
        """
        doc = cast("dict[str, object]", document) if isinstance(document, dict) else {}
        match doc:
            case {"column": str(name), "classes": None, "shift": shift}:
                return cls(name, None, finite(shift))
            case {"column": str(name), "classes": list(classes), "shift": shift}:
                return cls(name, scalars(classes), finite(shift))
            case _:
                raise ConfigError("a target is a column, classes and a shift")
