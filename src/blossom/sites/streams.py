"""Record-batch streams between threads: bounded, cancellable, and carrying the producer's own error.

A producer thread runs ahead of its consumer by a few batches only (back-pressure), so that sites work in parallel and memory
stays bounded. Errors cross as they are: engines that consume a stream would flatten them to text.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa

from blossom.plan.errors import BlossomError, SiteError
from blossom.platforms.interface import Cancellation

DEPTH = 8
"""Batches of about 1 MiB that a producer may be ahead."""


CANCELLED = "the run was cancelled"
"""What whoever is stopped says, engines included."""


class Stream:
    """One producer, one consumer. The producer runs `make` in a thread of its own, started at once."""

    def __init__(
        self,
        name: str,
        make: Callable[[], pa.RecordBatchReader],
        cancellation: Cancellation,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._queue: queue.Queue[pa.Schema | pa.RecordBatch | BaseException | None] = queue.Queue(DEPTH)
        self._cancellation = cancellation
        self._failed = failed
        self._make = make
        self.thread = threading.Thread(target=self._produce, name=f"blossom-{name}", daemon=True)
        self.thread.start()

    def _produce(self) -> None:
        try:
            reader = self._make()
            try:
                self._put(reader.schema)
                for batch in reader:
                    if batch.num_rows:
                        self._put(batch)
            finally:
                with contextlib.suppress(pa.ArrowInvalid):
                    reader.close()
            self._put(None)
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, whatever it is
            self._failed(error)
            with contextlib.suppress(Abandoned):
                self._put(error)

    def _put(self, item: pa.Schema | pa.RecordBatch | BaseException | None) -> None:
        while not self._cancellation.cancelled:
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return
        raise Abandoned

    def _get(self) -> pa.Schema | pa.RecordBatch | None:
        while True:
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._cancellation.cancelled:
                    raise SiteError(CANCELLED) from None
                continue
            if isinstance(item, BaseException):
                raise item
            return item

    def reader(self) -> pa.RecordBatchReader:
        """The consumer's end; waits for the schema.

        Raises:
            BlossomError: The producer's error, as it was raised.
        """
        schema = self._get()
        assert isinstance(schema, pa.Schema)

        def batches() -> Iterator[pa.RecordBatch]:
            while (item := self._get()) is not None:
                assert isinstance(item, pa.RecordBatch)
                yield item

        return pa.RecordBatchReader.from_batches(schema, batches())


class Abandoned(Exception):
    """The consumer is gone, or nobody wants the rows any more: nothing is left to do."""


class FirstError:
    """Keeps the error that started a failure, and stops everything else."""

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self.error: BaseException | None = None
        self._stopped = False

    def __call__(self, error: BaseException) -> None:
        with self._lock:
            first = self.error is None
            # an engine that reads a failed stream reports it in words of its own: the family's error says more; but what
            # engines say of being stopped never hides that the user stopped them
            engine = isinstance(self.error, Exception) and not isinstance(self.error, BlossomError)
            if first:
                self._stopped = self._cancellation.cancelled
            # others that are stopped because of the first error say only that
            told = isinstance(error, BlossomError) and (self._stopped or error.what != CANCELLED)
            if first or (told and engine):
                self.error = error
        if first:
            self._cancellation.cancel()
