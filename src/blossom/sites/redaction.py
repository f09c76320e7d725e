"""An engine's errors before they leave a site: of private rows their text stays, since it may print values (a failed cast does)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pyarrow as pa

from blossom.plan.errors import BlossomError, PlatformError
from blossom.sites.streams import CANCELLED

_log = logging.getLogger(__name__)

KINDS = (
    "Conversion Error",
    "Out of Range Error",
    "Out of Memory Error",
    "INTERRUPT Error",
    "integer overflow",
    "database or disk is full",
    "does not fit",
)
"""Words of engines that tell what kind of fault it is, and nothing of the data."""


def redacted(make: Callable[[], pa.RecordBatchReader], where: str) -> pa.RecordBatchReader:
    """The reader that `make` gives; an engine's error, then or while it is read, loses its text, which goes to the site's own log.

    Args:
        make: Starts the query.
        where: The site and the engine, for the error.
    """
    try:
        reader = make()
    except Exception as error:  # noqa: BLE001 - whatever an engine raises, its text stays
        raise _told(error, where) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except Exception as error:  # noqa: BLE001 - as above
            raise _told(error, where) from None

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def logged(where: str) -> Callable[[str], None]:
    """Takes what functions print over private rows: it may hold them, so it goes to the site's own log."""
    return lambda text: _log.info("%s: %s", where, text)


def _told(error: Exception, where: str) -> Exception:
    if isinstance(error, BlossomError) and (not isinstance(error, PlatformError) or error.what == CANCELLED):
        return error
    _log.info("%s: %s", where, error)
    text = str(error)
    kind = next((kind for kind in KINDS if kind in text), None)
    return PlatformError(
        "the query failed"
        + (f" ({kind})" if kind else "")
        + "; the engine's words may hold private values and stay at the site",
        where=where,
        hint="guard what may fail on some rows (try_cast, nullif, a filter), or ask the owner for the site's log",
    )
