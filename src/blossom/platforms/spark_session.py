"""Sessions with a Spark Connect server: made, kept for reuse, interrupted on the server; no secret in any error."""

from __future__ import annotations

import contextlib
import queue
import re
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, cast

import grpc
import pyarrow as pa

from blossom.plan.errors import PlatformError


@contextlib.contextmanager
def _as_a_program() -> Generator[None]:
    """PySpark takes a main module without a file (`python -c`, a test worker) for its own doctests, and exits the process."""
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = "<string>"
    try:
        yield
    finally:
        del main.__file__


with warnings.catch_warnings(), _as_a_program():
    # it warns of pandas 3, which is not used here: rows come and go as Arrow
    warnings.simplefilter("ignore")
    from pyspark.errors import PySparkException
    from pyspark.logger import PySparkLogger
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

# it writes every failed statement out, whose constants may be private; what failed is told by the error
PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True

FAILURES = (PySparkException, grpc.RpcError, OSError, ValueError)
"""What the client raises when the server, or the way to it, fails."""

_SETTINGS: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}
_RETRIES = DefaultPolicy(
    max_retries=4, initial_backoff=50, max_backoff=500, jitter=0, max_server_retry_delay=2000
)
_AHEAD = 8
"""Batches that are fetched before they are asked for."""

_QUOTES = re.compile(r"\n\s*(?:==|JVM stacktrace|'|;)|SQLSTATE: ")


def told(error: BaseException) -> str:
    """What the server said, without the statement and the plan that it quotes, whose constants may be private.

    >>> told(Exception("[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012\\n== SQL ==\\nselect 1 / 0"))
    '[DIVIDE_BY_ZERO] Division by zero.'
    """
    if isinstance(error, grpc.RpcError) or "StatusCode.UNAVAILABLE" in str(error):
        return "the server cannot be reached"
    return _QUOTES.split(str(error), maxsplit=1)[0].strip()


def spark_schema(schema: pa.Schema) -> Any:
    """Spark's columns for Arrow's; moments without zone stay so."""
    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


class Session:
    """One session of the server; used by one run at a time.

    Attributes:
        views: What was made readable in it: name -> a mark of what it was made from.
    """

    def __init__(self, url: str, where: str) -> None:
        self._where = where
        self.views: dict[str, object] = {}
        builder = cast("Any", SparkSession.builder)
        try:
            self.spark: Any = builder.remote(url).create()
            self._client.set_retry_policies([_RETRIES])
            for key, value in _SETTINGS.items():
                self.spark.conf.set(key, value)
        except FAILURES as error:
            raise PlatformError(
                told(error),
                where=where,
                hint="check the platform's url, and that the server runs and lets this user in",
            ) from None

    @property
    def _client(self) -> Any:
        return self.spark.client

    def sql(self, text: str) -> pa.Table:
        """Run a statement and give its rows.

        Raises:
            PlatformError: The server refused it.
        """
        try:
            return self.spark.sql(text).toArrow()
        except FAILURES as error:
            raise PlatformError(told(error), where=self._where) from None

    def schema(self, text: str) -> pa.Schema:
        """The columns of a query, without running it.

        Raises:
            PlatformError: The server refused it.
        """
        try:
            return to_arrow_schema(self.spark.sql(text).schema, timezone="UTC")
        except FAILURES as error:
            raise PlatformError(told(error), where=self._where) from None

    def view(self, name: str, rows: pa.Table) -> None:
        """Make rows readable under a name."""
        schema = spark_schema(rows.schema)  # an empty table's is not inferred
        self.spark.createDataFrame(rows, schema=schema).createOrReplaceTempView(name)
        self.views[name] = rows.schema

    def mapped(self, name: str, text: str, make: Callable[[Any], Any]) -> None:
        """Make what `make` gives for a query's frame readable under a name."""
        found = make(self.spark.sql(text))
        found.createOrReplaceTempView(name)
        self.views[name] = text

    def drop(self, name: str) -> None:
        """Take a view back."""
        self.spark.catalog.dropTempView(name)
        self.views.pop(name, None)

    def stream(self, text: str) -> Iterator[pa.RecordBatch]:
        """Run a query; its batches as they arrive."""
        plan = self.spark.sql(text)._plan.to_proto(self._client)  # the public ways give whole tables only
        for part in self._client.to_table_as_iterator(plan, {}):
            if isinstance(part, pa.Table):
                yield from part.to_batches()
            elif isinstance(part, pa.RecordBatch):
                yield part

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self.sql("SELECT 1")

    def clean(self) -> None:
        """Nothing: what a run leaves is taken back by it, one by one."""

    def interrupt(self) -> None:
        """Stop everything that runs in it, on the server; may take as long as the server likes."""
        with contextlib.suppress(*FAILURES):
            self._client.interrupt_all()

    def close(self) -> None:
        """End it, here and on the server; idempotent."""
        with contextlib.suppress(*FAILURES, UserWarning):  # it warns when the server is gone
            self._client.release_session()
        with contextlib.suppress(*FAILURES):
            self._client.close()


class Reading:
    """Batches fetched by a thread of their own: a call that waits for the server cannot be interrupted, this queue can.

    Args:
        fetch: Gives the batches.
        ended: Called in that thread when nothing more will be fetched; told whether all was.
    """

    def __init__(self, fetch: Callable[[], Iterator[pa.RecordBatch]], ended: Callable[[bool], None]) -> None:
        self._parts: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(_AHEAD)
        self._given_up = threading.Event()
        self._thread = threading.Thread(
            target=self._fetch, args=(fetch, ended), name="blossom-spark", daemon=True
        )
        self._thread.start()

    def _fetch(self, fetch: Callable[[], Iterator[pa.RecordBatch]], ended: Callable[[bool], None]) -> None:
        last: BaseException | None = None
        try:
            for batch in fetch():
                if not self._put(batch):
                    break
        except BaseException as error:  # noqa: BLE001 - told to the thread that reads
            last = error
        ended(last is None and not self._given_up.is_set())
        self._put(last)

    def _put(self, part: pa.RecordBatch | BaseException | None) -> bool:
        while not self._given_up.is_set():
            with contextlib.suppress(queue.Full):
                self._parts.put(part, timeout=0.1)
                return True
        return False

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, in order.

        Raises:
            InterruptedError: `give_up` was called.
        """
        while not self._given_up.is_set():
            try:
                part = self._parts.get(timeout=0.05)
            except queue.Empty:
                continue
            if part is None:
                return
            if isinstance(part, BaseException):
                raise part
            yield part
        raise InterruptedError("the run was cancelled")

    def give_up(self) -> None:
        """Wait no longer for the server; idempotent."""
        self._given_up.set()
