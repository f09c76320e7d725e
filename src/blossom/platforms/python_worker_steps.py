"""The steps of a Python worker: how each kind of function is applied to batches, and what is said of its faults."""

from __future__ import annotations

import functools
import json
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms.python_worker_columns import checked, from_frame, from_rows

Apply: TypeAlias = Callable[[Any], Any]

ROWS = 65_536
"""Most rows of a batch that row functions give."""

FOLDED = 1 << 24
"""Bytes of rows that a reduction gathers before it folds them: fewer calls, and still a bounded memory."""


class Step:
    """One function over a stream of batches.

    Args:
        name: The function's name, for its faults.
        function: The user's, parameters bound.
        taken: The columns of the batches that come.
        out: The columns of those that it gives.
        by: Columns whose equal values make a group.
        pandas: Whether the function takes and gives DataFrames instead of record batches.
    """

    def __init__(
        self, name: str, function: Apply, taken: pa.Schema, out: pa.Schema, by: Sequence[str], *, pandas: bool
    ) -> None:
        self.name = name
        self.function = function
        self.taken = taken
        self.out = out
        self.by = tuple(by)
        self.pandas = pandas
        self.rows = 0
        """Rows that came before the batch at hand."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """What the step gives for one batch."""
        raise NotImplementedError

    def flush(self) -> Iterator[pa.RecordBatch]:
        """What it gives when no more batches come."""
        return iter(())

    def call(self, argument: Any, where: Callable[[], str]) -> Any:
        """Call the function; `where` says at which rows, if asked."""
        try:
            return self.function(argument)
        except BaseException as error:
            raise self._raised(error, where()) from error

    def _raised(self, error: BaseException, where: str) -> PlatformError:
        if isinstance(error, MemoryError):
            return self.fault(
                f"the function ran out of its memory{where}",
                _line(error) + "; it gets memory_limit of the site's Python platform",
            )
        return self.fault(f"the function raised {type(error).__name__}{where}: {error}", _line(error))

    def fault(self, what: str, hint: str | None = None) -> PlatformError:
        """A fault of this function."""
        return PlatformError(what, where=self.name, hint=hint)

    def on(self, batch: pa.RecordBatch, where: Callable[[], str]) -> Iterator[pa.RecordBatch]:
        """Call the function with a batch, and check the batch that it gives."""
        made = self.call(batch.to_pandas() if self.pandas else batch, where)
        wanted = "a pandas.DataFrame" if self.pandas else "a pyarrow.RecordBatch"
        if self.pandas and type(made).__module__.startswith("pandas") and hasattr(made, "columns"):
            yield self._blamed(lambda: from_frame(_series(made), self.out))
        elif not self.pandas and isinstance(made, pa.Table):
            for part in made.to_batches():
                yield self._blamed(lambda part=part: checked(part, self.out))
        elif not self.pandas and isinstance(made, pa.RecordBatch):
            yield self._blamed(lambda: checked(made, self.out))
        else:
            raise self.fault(f"the function gave a {type(made).__name__}; expected {wanted}")

    def _blamed(self, make: Callable[[], pa.RecordBatch]) -> pa.RecordBatch:
        try:
            return make()
        except PlatformError as error:
            raise self.fault(error.what, error.hint) from error

    def _span(self, count: int) -> str:
        return f" on rows {self.rows} to {self.rows + count - 1}"


class Batches(Step):
    """Batch -> batch."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        yield from self.on(batch, lambda: self._span(batch.num_rows))
        self.rows += batch.num_rows


class Mask(Step):
    """Batch -> one truth value a row; rows stay where it is true."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        seen = batch.to_pandas() if self.pandas else batch
        made = self.call(seen, lambda: self._span(batch.num_rows))
        self.rows += batch.num_rows
        yield batch.filter(self._mask(made, batch.num_rows))

    def _mask(self, made: Any, count: int) -> pa.Array:
        try:
            mask = made if isinstance(made, pa.Array | pa.ChunkedArray) else pa.Array.from_pandas(made)
        except (pa.ArrowException, TypeError, ValueError):
            raise self.fault(
                f"the function gave a {type(made).__name__}; expected one truth value a row"
            ) from None
        if len(mask) != count or not (pa.types.is_boolean(mask.type) or pa.types.is_null(mask.type)):
            raise self.fault(
                f"the function gave {len(mask)} values of {mask.type} for {count} rows; expected one bool a row"
            )
        return mask.cast(pa.bool_())


class Rows(Step):
    """Row -> any number of rows."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        made: list[Mapping[str, Any]] = []
        for row in batch.to_pylist():
            for item in self.made(row):
                made.append(item)
                if len(made) == ROWS:
                    yield self._batch(made)
                    made = []
            self.rows += 1
        if made:
            yield self._batch(made)

    def made(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The rows of one row."""
        result = self.call(row, self._at)
        if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
            raise self.fault(
                f"the function gave a {type(result).__name__}{self._at()}; expected an iterable of rows (mappings)"
            )
        items = iter(result)
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except BaseException as error:
                raise self._raised(error, self._at()) from error
            yield self.row(item)

    def row(self, item: Any) -> Mapping[str, Any]:
        """One row that the function gave, checked."""
        if type(item) is not dict and not isinstance(item, Mapping):
            raise self.fault(
                f"the function gave a row of type {type(item).__name__}{self._at()}; expected a mapping"
            )
        return item

    def _at(self) -> str:
        return f" on row {self.rows}"

    def _batch(self, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        return self._blamed(lambda: from_rows(rows, self.out))


class Each(Rows):
    """Row -> row."""

    def made(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield self.row(self.call(row, self._at))


class Keep(Rows):
    """Row -> truth; rows stay where it is true."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        mask: list[bool] = []
        for row in batch.to_pylist():
            answer = self.call(row, self._at)
            if answer is not None and not isinstance(answer, bool | np.bool_):
                raise self.fault(
                    f"the function gave a {type(answer).__name__}{self._at()}; expected True or False"
                )
            mask.append(bool(answer))
            self.rows += 1
        yield batch.filter(pa.array(mask, pa.bool_()))


class Groups(Step):
    """All rows of a group -> rows; the rows are gathered first."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.waiting: list[pa.RecordBatch] = []

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        self.waiting.append(batch)
        self.rows += batch.num_rows
        return iter(())

    def flush(self) -> Iterator[pa.RecordBatch]:
        if self.waiting:
            rows, self.waiting = pa.concat_batches(self.waiting), []
            for group in grouped(rows, self.by):
                yield from self.on(group, lambda group=group: self._group(group))

    def _group(self, group: pa.RecordBatch) -> str:
        if not self.by:
            return ""
        return " on the group " + ", ".join(f"{name}={group.column(name)[0].as_py()!r}" for name in self.by)


class Fold(Groups):
    """Rows of a group -> fewer rows of the same columns, associative: what it gave is folded again with what comes later."""

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        self.waiting.append(batch)
        self.rows += batch.num_rows
        if sum(one.nbytes for one in self.waiting) >= FOLDED:
            self.waiting = list(super().flush())
        return iter(())


KINDS: Mapping[str, type[Step]] = {
    "batch": Batches,
    "mask": Mask,
    "row": Rows,
    "each": Each,
    "keep": Keep,
    "group": Groups,
    "fold": Fold,
}
"""By `MapBatches.per`."""


def step_of(described: Mapping[str, Any], code: pa.Buffer, taken: pa.Schema, out: pa.Schema) -> Step:
    """The step that a job describes.

    Args:
        described: `name`, `per`, `format`, `by` and the function's `parameters` (JSON text).
        code: The packed function.
        taken: Its input's columns.
        out: Its output's.

    Raises:
        PlatformError: The function cannot be loaded here.
    """
    name = described["name"]
    try:
        # packed by this site's own registry, which gives approved functions only; it is loaded in this limited process alone
        function = pickle.loads(code)  # noqa: S301
        parameters = json.loads(described["parameters"])
    except BaseException as error:
        raise PlatformError(
            f"the function cannot be loaded in its process: {type(error).__name__}: {error}",
            where=name,
            hint="it may use installed packages and what stands beside it; a module that only this program knows is not there",
        ) from error
    bound = functools.partial(function, **parameters) if parameters else function
    return KINDS[described["per"]](
        name, bound, taken, out, described["by"], pandas=described["format"] == "pandas"
    )


def grouped(rows: pa.RecordBatch, by: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of each group of equal `by` (null is equal to null), in the order in which the groups first come."""
    if rows.num_rows == 0:
        return
    if not by:
        yield rows
        return
    codes = np.zeros(rows.num_rows, dtype=np.int64)
    for name in by:
        encoded = rows.column(name).dictionary_encode(null_encoding="encode")
        own: npt.NDArray[np.int64] = np.asarray(encoded.indices).astype(np.int64)
        _, codes = np.unique(codes * (len(encoded.dictionary) + 1) + own, return_inverse=True)
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    sorted_rows = rows.take(pa.array(order))
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for number in np.argsort(first, kind="stable").tolist():
        yield sorted_rows.slice(int(starts[number]), int(sizes[number]))


def _series(frame: Any) -> Mapping[str, Any]:
    return {str(name): frame[name] for name in frame.columns} if frame.columns.is_unique else {}


def _line(error: BaseException) -> str:
    """The line of the user's function that raised: it may call libraries, whose own lines its author cannot mend."""
    ours = sys.modules[__name__].__file__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != ours]
    last = next((frame for frame in reversed(frames) if frame.filename == frames[0].filename), None)
    if last is None:
        return "no line of the function is known"
    return f"line {last.lineno} of {last.name}: {last.line or '(no source)'}"
