"""How a batch of rows becomes a design matrix: blocks of numeric columns and category levels, each output affine.

Every composition of scalers, encoders and column choices that Blossom offers has this one normal form, so that a fitted
preparation is a short list of plain values: it travels in a statistic, is saved in a model, and is composed without loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.plan.errors import ConfigError, TrainingError, unknown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Scalar = bool | int | str
"""A value of a category or of a class."""

FILTER_HINT = "filter these rows or fill the values before training"


@dataclass(frozen=True, slots=True)
class Numeric:
    """One output: `(column - shift) / scale`."""

    column: str
    shift: float = 0.0
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return (self.column,)


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
    """

    column: str
    categories: tuple[Scalar, ...]
    rest: bool = False
    drop: bool = False
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @classmethod
    def plain(cls, column: str, categories: Sequence[Scalar], *, rest: bool, drop: bool) -> Levels:
        """Bare indicators.

        >>> Levels.plain("carrier", ["AA", "UA"], rest=True, drop=False).names
        ('carrier_AA', 'carrier_UA', 'carrier_infrequent')
        """
        width = max(len(categories) + rest - drop, 0)
        return cls(column, tuple(categories), rest, drop, (0.0,) * width, (1.0,) * width)

    @property
    def level_names(self) -> tuple[str, ...]:
        """A name a level, a dropped one included."""
        names = [f"{self.column}_{category}" for category in self.categories]
        return (*names, f"{self.column}_infrequent") if self.rest else tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.level_names[1:] if self.drop else self.level_names


Block = Numeric | Levels


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
        return tuple(dict.fromkeys(block.column for block in self.blocks))

    def rescaled(self, shift: Floats, scale: Floats) -> Design:
        """Each output z replaced by `(z - shift) / scale`."""
        blocks: list[Block] = []
        at = 0
        for block in self.blocks:
            width = len(block.names)
            own_shift, own_scale = shift[at : at + width], scale[at : at + width]
            at += width
            if isinstance(block, Numeric):
                moved = block.shift + float(own_shift[0]) * block.scale
                blocks.append(Numeric(block.column, moved, block.scale * float(own_scale[0])))
                continue
            old_shift, old_scale = np.asarray(block.shift), np.asarray(block.scale)
            new_shift = cast("list[float]", (old_shift + own_shift * old_scale).tolist())
            new_scale = cast("list[float]", (old_scale * own_scale).tolist())
            blocks.append(replace(block, shift=tuple(new_shift), scale=tuple(new_scale)))
        return Design(tuple(blocks))

    def matrix(self, batch: pa.RecordBatch) -> Floats:
        """The design matrix, features first: shape (width, rows), float64.

        Raises:
            TrainingError: A source column holds null, NaN or an infinite value.
        """
        values, good = self.lenient_matrix(batch)
        if not good.all():
            for block in self.blocks:
                if not usable(batch, block).all():
                    raise bad_values(block.column)
        return values

    def lenient_matrix(self, batch: pa.RecordBatch) -> tuple[Floats, Bools]:
        """The design matrix, and a mask of the rows in which every source value is usable (others hold 0 there)."""
        rows = batch.num_rows
        values = np.empty((self.width, rows))
        good = np.ones(rows, np.bool_)
        at = 0
        for block in self.blocks:
            width = len(block.names)
            if isinstance(block, Numeric):
                source, fine = numbers(batch, block.column)
                np.subtract(source, block.shift, out=values[at])
                if block.scale != 1.0:
                    values[at] /= block.scale
            else:
                codes, fine = levels(batch, block)
                for output in range(width):
                    shift, scale = block.shift[output], block.scale[output]
                    hit = codes == output + block.drop
                    values[at + output] = np.where(hit, (1.0 - shift) / scale, (0.0 - shift) / scale)
            good &= fine
            at += width
        return values, good

    def to_document(self) -> list[dict[str, Any]]:
        """The blocks as JSON values."""
        return [
            {"numeric": block.column, "shift": block.shift, "scale": block.scale}
            if isinstance(block, Numeric)
            else {
                "levels": block.column,
                "categories": list(block.categories),
                "rest": block.rest,
                "drop": block.drop,
                "shift": list(block.shift),
                "scale": list(block.scale),
            }
            for block in self.blocks
        ]

    @classmethod
    def from_document(cls, document: object) -> Design:
        """Read what `to_document` wrote.

        Raises:
            ConfigError: The document is not of that shape.
        """
        if not isinstance(document, list):
            raise ConfigError("a design is a list of blocks")
        return cls(tuple(_block(item) for item in cast("list[object]", document)))


_NUMERIC_KEYS = {"numeric", "shift", "scale"}
_LEVELS_KEYS = {"levels", "categories", "rest", "drop", "shift", "scale"}


def _block(item: object) -> Block:
    doc = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    match doc:
        case {"numeric": str(column), "shift": shift, "scale": scale} if doc.keys() == _NUMERIC_KEYS:
            return Numeric(column, finite(shift), nonzero(scale))
        case {
            "levels": str(column),
            "categories": list(categories),
            "rest": bool(rest),
            "drop": bool(drop),
            "shift": list(shift),
            "scale": list(scale),
        } if doc.keys() == _LEVELS_KEYS:
            plain = Levels.plain(column, scalars(categories), rest=rest, drop=drop)
            if not len(shift) == len(scale) == len(plain.names):
                raise ConfigError(f"the levels of {column!r} need one shift and one scale an output")
            return replace(plain, shift=tuple(map(finite, shift)), scale=tuple(map(nonzero, scale)))
        case _:
            raise ConfigError("a block of a design is numeric or levels, with its own keys only")


def finite(value: object) -> float:
    """A document's number as a finite float.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ConfigError(f"expected a finite number, got {value!r:.60}")


def nonzero(value: object) -> float:
    """A document's number as a finite float other than 0."""
    number = finite(value)
    if number == 0.0:
        raise ConfigError("a scale cannot be 0")
    return number


def scalars(values: Iterable[object]) -> tuple[Scalar, ...]:
    """Categories or classes: all of one type (bool, integer or string), each once.

    Raises:
        ConfigError: They are something else.
    """
    out = tuple(values)
    kinds = {type(value) for value in out}
    if len(kinds) > 1 or not kinds <= {bool, int, str}:
        raise ConfigError("categories and classes are all booleans, all integers or all strings")
    if len(set(out)) != len(out):
        raise ConfigError("a category or class is named twice")
    checked = cast("tuple[Scalar, ...]", out)
    if kinds == {int} and not all(-(2**63) <= value < 2**63 for value in cast("tuple[int, ...]", out)):
        raise ConfigError("an integer category or class does not fit into 64 bits")
    return checked


def column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column by name, dictionary encoding undone."""
    index = batch.schema.get_field_index(name)
    if index < 0:
        what, hint = unknown("column", name, batch.schema.names)
        raise TrainingError(what, hint=hint)
    values = batch.column(index)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def numbers(batch: pa.RecordBatch, name: str) -> tuple[Floats, Bools]:
    """A numeric or boolean column as float64, 0 where unusable, and the mask of usable (finite, not null) rows.

    Raises:
        TrainingError: The column's type is not numeric.
    """
    values = column(batch, name)
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values)), np.zeros(len(values), np.bool_)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise TrainingError(
            f"column {name!r} holds {kind}, not numbers", hint="encode it with OneHotEncoder, or cast it"
        )
    values = values.cast(pa.float64(), safe=False)
    if values.null_count:
        values = pc.fill_null(values, math.nan)
    out = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    fine = np.isfinite(out)
    return (out if fine.all() else np.where(fine, out, 0.0)), fine


def category_values(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A category or class column in one of three types: bool, int64, string.

    Raises:
        TrainingError: The column's type has no categories.
    """
    values = column(batch, name)
    kind = values.type
    for test, common in _CATEGORY_TYPES:
        if test(kind):
            try:
                return values if kind == common else values.cast(common)
            except pa.ArrowInvalid as error:
                raise TrainingError(f"column {name!r} holds integers beyond 64 bits") from error
    raise TrainingError(
        f"column {name!r} holds {kind}, which has no categories",
        hint="cast it to string, integer or boolean first",
    )


_CATEGORY_TYPES: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_null, pa.string()),
)


def level_codes(values: pa.Array, categories: Sequence[Scalar], name: str) -> Ints:
    """The position of each value in `categories`; -1 for other values and null."""
    if not categories:
        return np.full(len(values), -1, np.int64)
    known: Mapping[type, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
    kind = known[type(categories[0])]
    if values.null_count < len(values) and values.type != kind:
        raise TrainingError(f"column {name!r} holds {values.type}, its categories are {kind}")
    codes = pc.call_function(
        "index_in",
        [values],
        pc.SetLookupOptions(value_set=pa.array(list(categories), kind).cast(values.type)),
    )
    return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)).astype(np.int64)


def levels(batch: pa.RecordBatch, block: Levels) -> tuple[Ints, Bools]:
    """The level of each row (`len(level_names)` where none fits) and the mask of rows that are not null."""
    values = category_values(batch, block.column)
    codes = level_codes(values, block.categories, block.column)
    codes[codes < 0] = len(block.categories)  # the rest's level, or one past the last
    return codes, _valid(values)


def usable(batch: pa.RecordBatch, block: Block) -> Bools:
    """The mask of rows that hold a usable value for a block."""
    if isinstance(block, Numeric):
        return numbers(batch, block.column)[1]
    return _valid(category_values(batch, block.column))


def _valid(values: pa.Array) -> Bools:
    if not values.null_count:
        return np.ones(len(values), np.bool_)
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def bad_values(name: str, count: int | None = None) -> TrainingError:
    """The error for a column with unusable values. Says how many at most, never which."""
    many = "" if count is None else f" in up to {count} rows"
    return TrainingError(f"column {name!r} holds null, NaN or infinite values{many}", hint=FILTER_HINT)


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
