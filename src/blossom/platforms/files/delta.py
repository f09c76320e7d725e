"""Delta Lake tables, read by `deltalake`: at each read the newest version, or always the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms.arrow import plain_layout
from blossom.platforms.files.filters import Condition, as_sql
from blossom.platforms.files.storage import required, scheme, told

_S3: Mapping[str, str] = {
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "anonymous": "AWS_SKIP_SIGNATURE",
}


class Delta:
    """Rows of one Delta table, deletion vectors and mapped columns included.

    Args:
        path: Its folder, or URL.
        storage: How the store is reached: the keys of `S3_KEYS` for S3; for others, deltalake's own storage options.
        version: A version of the table; None: the newest at each read.
        where: Names the table in errors.

    Raises:
        PlatformError: `deltalake` is not installed, or it is no Delta table or has no such version.
    """

    def __init__(self, path: str, storage: Mapping[str, Any], version: int | None, where: str) -> None:
        self._where = where
        self._module: Any = required("deltalake", "delta", "the format delta", where)
        self._path = path
        self._version = version
        self._options = _options(path, storage)
        table = self._open()
        with self._told():
            arrived = pa.schema(table.schema().to_arrow())
        self._schema = pa.schema([pa.field(field.name, plain_layout(field.type)) for field in arrived])

    def _told(self) -> Any:
        return told(self._where, self._module.exceptions.DeltaError)

    def _open(self) -> Any:
        try:
            with self._told():
                return self._module.DeltaTable(
                    self._path, version=self._version, storage_options=self._options or None
                )
        except PlatformError as error:
            if self._version is None:
                hint = "source names the folder that holds `_delta_log`"
            else:
                hint = f"there may be no version {self._version} any more"
            raise PlatformError(error.what, where=self._where, hint=hint) from None

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    def read(self, columns: Sequence[str], conditions: Sequence[Condition]) -> pa.RecordBatchReader:
        table = self._open()
        with self._told():
            found = table.scan(columns=list(columns), predicate=as_sql(conditions))
            return pa.RecordBatchReader.from_stream(found)

    def count(self) -> int | None:
        with self._told():
            return int(self._open().count())


def _options(path: str, storage: Mapping[str, Any]) -> dict[str, str]:
    if scheme(path) not in ("s3", "s3a"):
        return {key: str(value) for key, value in storage.items()}
    options = {_S3.get(key, key): _text(value) for key, value in storage.items()}
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"  # the owner wrote it so
    return options


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
