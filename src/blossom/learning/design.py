"""How a batch of rows becomes a design matrix: blocks of numbers, category levels and projections, each output affine.

Every composition of scalers, encoders, imputers, projections and column choices that Blossom offers has this one normal form,
so that a fitted preparation is a short list of plain values: it travels in a statistic, is saved in a model, and is composed
without loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa

from blossom.learning.columns import (
    Bools,
    Floats,
    Ints,
    Scalar,
    bad_values,
    category_values,
    finite,
    level_codes,
    nonzero,
    numbers,
    scalars,
    valid,
)
from blossom.plan.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Numeric:
    """One output: `(column - shift) / scale`, where `fill`, if given, stands in for a null or NaN."""

    column: str
    shift: float = 0.0
    scale: float = 1.0
    fill: Scalar | float | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns."""
        return (self.column,)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return (self.column,)

    def rescaled(self, shift: Floats, scale: Floats) -> Numeric:
        """The output z replaced by `(z - shift) / scale`."""
        moved = self.shift + float(shift[0]) * self.scale
        return replace(self, shift=moved, scale=self.scale * float(scale[0]))

    def write(self, batch: pa.RecordBatch, out: Floats) -> Bools:
        """Write the outputs of a batch, shape (1, rows); the mask of usable rows."""
        source, fine = numbers(batch, self.column, self.fill)
        np.subtract(source, self.shift, out=out[0])
        if self.scale != 1.0:
            out[0] /= self.scale
        return fine

    def to_document(self) -> dict[str, Any]:
        """The block as JSON values."""
        return {"numeric": self.column, "shift": self.shift, "scale": self.scale, "fill": self.fill}


@dataclass(frozen=True, slots=True)
class Levels:
    """One output a level of a category column, each `(indicator - shift) / scale`.

    Attributes:
        column: The source column.
        categories: The known values, all of one type.
        rest: Whether a last level stands for every other value ("infrequent").
        drop: Whether the first level has no output.
        shift: One number an output.
        scale: One number an output.
        fill: The value that stands in for null, if any.
    """

    column: str
    categories: tuple[Scalar, ...]
    rest: bool = False
    drop: bool = False
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    fill: Scalar | None = None

    @classmethod
    def plain(
        cls, column: str, categories: Sequence[Scalar], *, rest: bool, drop: bool, fill: Scalar | None = None
    ) -> Levels:
        """Bare indicators.

        >>> Levels.plain("carrier", ["AA", "UA"], rest=True, drop=False).names
        ('carrier_AA', 'carrier_UA', 'carrier_infrequent')
        """
        width = max(len(categories) + rest - drop, 0)
        return cls(column, tuple(categories), rest, drop, (0.0,) * width, (1.0,) * width, fill)

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns."""
        return (self.column,)

    @property
    def level_names(self) -> tuple[str, ...]:
        """A name a level, a dropped one included."""
        names = [f"{self.column}_{category}" for category in self.categories]
        return (*names, f"{self.column}_infrequent") if self.rest else tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.level_names[1:] if self.drop else self.level_names

    def rescaled(self, shift: Floats, scale: Floats) -> Levels:
        """Each output z replaced by `(z - shift) / scale`."""
        new_shift, new_scale = _composed(self.shift, self.scale, shift, scale)
        return replace(self, shift=new_shift, scale=new_scale)

    def codes(self, batch: pa.RecordBatch) -> tuple[Ints, Bools]:
        """The level of each row (`len(level_names)` where none fits) and the mask of rows that are not null."""
        values = category_values(batch, self.column, self.fill)
        codes = level_codes(values, self.categories, self.column)
        codes[codes < 0] = len(self.categories)  # the rest's level, or one past the last
        return codes, valid(values)

    def write(self, batch: pa.RecordBatch, out: Floats) -> Bools:
        """Write the outputs of a batch, shape (outputs, rows); the mask of usable rows."""
        codes, fine = self.codes(batch)
        for output, (shift, scale) in enumerate(zip(self.shift, self.scale, strict=True)):
            hit = codes == output + self.drop
            out[output] = np.where(hit, (1.0 - shift) / scale, (0.0 - shift) / scale)
        return fine

    def to_document(self) -> dict[str, Any]:
        """The block as JSON values."""
        return {
            "levels": self.column,
            "categories": list(self.categories),
            "rest": self.rest,
            "drop": self.drop,
            "shift": list(self.shift),
            "scale": list(self.scale),
            "fill": self.fill,
        }


@dataclass(frozen=True, slots=True)
class Projection:
    """Outputs that mix those of other blocks: `(weights @ inner - shift) / scale`.

    Attributes:
        inner: The blocks that are mixed.
        weights: One row an output, one number an inner output.
        shift: One number an output.
        scale: One number an output.
        prefix: The outputs are named by it and their number.
    """

    inner: tuple[Block, ...]
    weights: tuple[tuple[float, ...], ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    prefix: str = "pca"

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns."""
        return Design(self.inner).columns

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(f"{self.prefix}{index}" for index in range(len(self.weights)))

    def rescaled(self, shift: Floats, scale: Floats) -> Projection:
        """Each output z replaced by `(z - shift) / scale`."""
        new_shift, new_scale = _composed(self.shift, self.scale, shift, scale)
        return replace(self, shift=new_shift, scale=new_scale)

    def write(self, batch: pa.RecordBatch, out: Floats) -> Bools:
        """Write the outputs of a batch, shape (outputs, rows); the mask of usable rows."""
        values, fine = Design(self.inner).lenient_matrix(batch)
        mixed = mix(values, np.asarray(self.weights), np.zeros(len(self.weights)))
        out[:] = (mixed - np.asarray(self.shift)[:, None]) / np.asarray(self.scale)[:, None]
        return fine

    def to_document(self) -> dict[str, Any]:
        """The block as JSON values."""
        return {
            "inner": Design(self.inner).to_document(),
            "weights": [list(row) for row in self.weights],
            "shift": list(self.shift),
            "scale": list(self.scale),
            "prefix": self.prefix,
        }


Block = Numeric | Levels | Projection


def _composed(
    old_shift: tuple[float, ...], old_scale: tuple[float, ...], shift: Floats, scale: Floats
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    own_scale = np.asarray(old_scale)
    new_shift = cast("list[float]", (np.asarray(old_shift) + shift * own_scale).tolist())
    new_scale = cast("list[float]", (own_scale * scale).tolist())
    return tuple(new_shift), tuple(new_scale)


def mix(values: Floats, weights: Floats, bias: Floats) -> Floats:
    """`bias + weights @ values`, summed in one fixed order.

    A matrix product's rounding depends on the block's shape, so that equal rows would get scores that differ in the last bit
    and no longer tie.

    Args:
        values: Shape (features, rows).
        weights: Shape (outputs, features).
        bias: Shape (outputs,).

    Returns:
        Shape (outputs, rows).
    """
    scores = np.repeat(bias[:, None], values.shape[1], axis=1)
    for output, own in enumerate(weights.tolist()):
        for row, weight in zip(values, own, strict=True):
            scores[output] += row * weight
    return scores


@dataclass(frozen=True)
class Design:
    """An ordered list of blocks.

    >>> design = Design((Numeric("x", 1.0, 2.0), Levels.plain("k", ["a", "b"], rest=False, drop=False)))
    >>> batch = pa.RecordBatch.from_pydict({"x": [1.0, 5.0], "k": ["b", "c"]})
    >>> design.matrix(batch).T.tolist()
    [[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]]
    """

    blocks: tuple[Block, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(name for block in self.blocks for name in block.names)

    @property
    def width(self) -> int:
        """The number of outputs."""
        return len(self.names)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The source columns, each once, in order of first use."""
        return tuple(dict.fromkeys(name for block in self.blocks for name in block.columns))

    def leaves(self) -> Iterator[Numeric | Levels]:
        """The blocks that read columns, those inside projections included."""
        for block in self.blocks:
            if isinstance(block, Projection):
                yield from Design(block.inner).leaves()
            else:
                yield block

    def rescaled(self, shift: Floats, scale: Floats) -> Design:
        """Each output z replaced by `(z - shift) / scale`."""
        blocks: list[Block] = []
        at = 0
        for block in self.blocks:
            stop = at + len(block.names)
            blocks.append(block.rescaled(shift[at:stop], scale[at:stop]))
            at = stop
        return Design(tuple(blocks))

    def matrix(self, batch: pa.RecordBatch) -> Floats:
        """The design matrix, features first: shape (width, rows), float64.

        Raises:
            TrainingError: A source column holds null, NaN or an infinite value.
        """
        values, good = self.lenient_matrix(batch)
        if not good.all():
            for block in self.leaves():
                if not usable(batch, block).all():
                    raise bad_values(block.column)
        return values

    def lenient_matrix(self, batch: pa.RecordBatch) -> tuple[Floats, Bools]:
        """The design matrix, and a mask of the rows in which every source value is usable (others hold 0 there)."""
        values = np.empty((self.width, batch.num_rows))
        good = np.ones(batch.num_rows, np.bool_)
        at = 0
        for block in self.blocks:
            stop = at + len(block.names)
            good &= block.write(batch, values[at:stop])
            at = stop
        return values, good

    def to_document(self) -> list[dict[str, Any]]:
        """The blocks as JSON values."""
        return [block.to_document() for block in self.blocks]

    @classmethod
    def from_document(cls, document: object) -> Design:
        """Read what `to_document` wrote.

        Raises:
            ConfigError: The document is not of that shape.
        """
        if not isinstance(document, list):
            raise ConfigError("a design is a list of blocks")
        return cls(tuple(_block(item) for item in cast("list[object]", document)))


_NUMERIC_KEYS = {"numeric", "shift", "scale", "fill"}
_LEVELS_KEYS = {"levels", "categories", "rest", "drop", "shift", "scale", "fill"}
_PROJECTION_KEYS = {"inner", "weights", "shift", "scale", "prefix"}


def _block(item: object) -> Block:
    doc = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    match doc:
        case {"numeric": str(column), "shift": shift, "scale": scale, "fill": fill} if (
            doc.keys() == _NUMERIC_KEYS
        ):
            return Numeric(column, finite(shift), nonzero(scale), _fill(fill))
        case {
            "levels": str(column),
            "categories": list(categories),
            "rest": bool(rest),
            "drop": bool(drop),
            "shift": list(shift),
            "scale": list(scale),
            "fill": None | bool() | int() | str() as fill,
        } if doc.keys() == _LEVELS_KEYS:
            plain = Levels.plain(column, scalars(categories), rest=rest, drop=drop, fill=fill)
            return replace(plain, **_affine(shift, scale, len(plain.names), column))
        case {
            "inner": inner,
            "weights": list(weights),
            "shift": list(shift),
            "scale": list(scale),
            "prefix": str(prefix),
        } if doc.keys() == _PROJECTION_KEYS:
            blocks = Design.from_document(inner)
            rows = tuple(_row(row, blocks.width) for row in cast("list[object]", weights))
            return Projection(blocks.blocks, rows, **_affine(shift, scale, len(rows), prefix), prefix=prefix)
        case _:
            raise ConfigError(
                "a block of a design is numeric, levels or a projection, with its own keys only"
            )


def _affine(shift: list[object], scale: list[object], width: int, name: str) -> dict[str, Any]:
    if not len(shift) == len(scale) == width:
        raise ConfigError(f"the block of {name!r} needs one shift and one scale an output")
    return {"shift": tuple(map(finite, shift)), "scale": tuple(map(nonzero, scale))}


def _row(row: object, width: int) -> tuple[float, ...]:
    values = cast("list[object]", row) if isinstance(row, list) else []
    if len(values) != width:
        raise ConfigError("a projection needs one weight an inner output")
    return tuple(map(finite, values))


def _fill(value: object) -> Scalar | float | None:
    if value is None or isinstance(value, bool | str):
        return value
    return value if isinstance(value, int) else finite(value)


def usable(batch: pa.RecordBatch, block: Numeric | Levels) -> Bools:
    """The mask of rows that hold a usable value for a block."""
    if isinstance(block, Numeric):
        return numbers(batch, block.column, block.fill)[1]
    return block.codes(batch)[1]
