"""Iceberg tables, read by `pyiceberg`: of a catalogue, or by the file of their metadata."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms.arrow import plain_layout
from blossom.platforms.files.filters import Comparison, Condition, Either
from blossom.platforms.files.storage import required, scheme, told

_S3: Mapping[str, str] = {
    "endpoint": "s3.endpoint",
    "region": "s3.region",
    "access_key": "s3.access-key-id",
    "secret_key": "s3.secret-access-key",
    "session_token": "s3.session-token",
    "anonymous": "s3.anonymous",
}

_CLASSES: Mapping[str, str] = {
    "=": "EqualTo",
    "<>": "NotEqualTo",
    "<": "LessThan",
    "<=": "LessThanOrEqual",
    ">": "GreaterThan",
    ">=": "GreaterThanOrEqual",
}


class Iceberg:
    """Rows of one Iceberg table, deletes and columns that were renamed or added included.

    Args:
        source: Its name in the catalogue ("clinic.visits"); without a catalogue, its folder or metadata file.
        storage: How the store is reached: the keys of `S3_KEYS`, or pyiceberg's own properties.
        where: Names the table in errors.
        catalog: A SQL catalogue as a path or SQLAlchemy's URL ("sqlite:///catalog.db"), or a REST catalogue's http(s) URL.
        catalog_name: The name under which a SQL catalogue's tables stand in its database; None: the only one there.
        snapshot: The id of a snapshot; None: the newest at each read.

    Raises:
        PlatformError: `pyiceberg` is not installed, or there is no such catalogue, table or snapshot.
    """

    def __init__(
        self,
        source: str,
        storage: Mapping[str, Any],
        where: str,
        *,
        catalog: str | None = None,
        catalog_name: str | None = None,
        snapshot: int | None = None,
    ) -> None:
        self._where = where
        for module in (
            "pyiceberg.table",
            "pyiceberg.expressions",
            "pyiceberg.exceptions",
            "pyiceberg.io.pyarrow",
        ):
            required(module, "iceberg", "the format iceberg", where)
        self._source = source
        self._snapshot = snapshot
        self._properties = {_S3.get(key, key): str(value) for key, value in storage.items()}
        self._catalog = None if catalog is None else self._catalogue(catalog, catalog_name)
        table = self._open()
        with self._told():
            self._projection(table)

    def _told(self) -> Any:
        exceptions = required("pyiceberg.exceptions", "iceberg", "the format iceberg", self._where)
        families = tuple(
            found
            for found in vars(exceptions).values()
            if isinstance(found, type) and issubclass(found, Exception)
        )
        return told(self._where, *families)

    def _catalogue(self, catalog: str, name: str | None) -> Any:
        if catalog.startswith(("http://", "https://")):
            rest: Any = required("pyiceberg.catalog.rest", "iceberg", "an Iceberg catalogue", self._where)
            with self._told():
                return rest.RestCatalog("blossom", uri=catalog, **self._properties)
        if scheme(catalog) is None:
            if not Path(catalog).is_file():
                raise PlatformError(f"there is no Iceberg catalogue {catalog!r}", where=self._where)
            catalog = f"sqlite:///{catalog}"
        module: Any = required("pyiceberg.catalog.sql", "iceberg", "an Iceberg catalogue", self._where)
        with told(self._where, self._sql_error()):
            # it is only read: tables of its own that are missing are not made
            properties = {"uri": catalog, "init_catalog_tables": "false", **self._properties}
            found = module.SqlCatalog(name or "blossom", **properties)
            return (
                found if name is not None else module.SqlCatalog(self._only_name(found, module), **properties)
            )

    def _only_name(self, catalog: Any, module: Any) -> str:
        alchemy: Any = required("sqlalchemy", "iceberg", "an Iceberg catalogue", self._where)
        with catalog.engine.connect() as connection:
            column = module.IcebergTables.catalog_name
            names = [row[0] for row in connection.execute(alchemy.select(column).distinct().order_by(column))]
        if len(names) == 1:
            return str(names[0])
        raise PlatformError(
            f"the database holds {len(names)} Iceberg catalogues"
            + (f": {', '.join(names)}" if names else " with tables"),
            where=self._where,
            hint="name one in options.catalog_name"
            if names
            else "options.catalog names another database, or no table was made yet",
        )

    def _sql_error(self) -> Any:
        module: Any = required("sqlalchemy.exc", "iceberg", "an Iceberg catalogue", self._where)
        return module.SQLAlchemyError

    def _open(self) -> Any:
        families = () if self._catalog is None else (self._sql_error(),)
        try:
            with told(self._where, *families), self._told():
                if self._catalog is not None:
                    return self._catalog.load_table(self._source)
                module: Any = required("pyiceberg.table", "iceberg", "the format iceberg", self._where)
                return module.StaticTable.from_metadata(
                    _metadata(self._source, self._where), self._properties
                )
        except PlatformError as error:
            raise PlatformError(
                error.what, where=self._where, hint=error.hint or _hint(self._catalog)
            ) from None

    def _scan(self, table: Any, columns: Sequence[str], conditions: Sequence[Condition]) -> Any:
        expressions: Any = required("pyiceberg.expressions", "iceberg", "the format iceberg", self._where)
        return table.scan(
            row_filter=_filter(conditions, expressions),
            selected_fields=tuple(columns),
            snapshot_id=self._snapshot,
        )

    def _projection(self, table: Any) -> pa.Schema:
        module: Any = required("pyiceberg.io.pyarrow", "iceberg", "the format iceberg", self._where)
        found = module.schema_to_pyarrow(self._scan(table, ("*",), ()).projection(), include_field_ids=False)
        return pa.schema([pa.field(field.name, plain_layout(field.type)) for field in found])

    @property
    def schema(self) -> pa.Schema:
        table = self._open()
        with self._told():
            return self._projection(table)

    def read(self, columns: Sequence[str], conditions: Sequence[Condition]) -> pa.RecordBatchReader:
        table = self._open()
        with self._told():
            return self._scan(table, columns, conditions).to_arrow_batch_reader()

    def count(self) -> int | None:
        """From the manifests; with deletes, which would have to be read, an upper bound."""
        table = self._open()
        with self._told():
            return sum(int(task.file.record_count) for task in self._scan(table, ("*",), ()).plan_files())


def _hint(catalog: object) -> str:
    if catalog is None:
        return "source names the table's folder or its metadata file; for a name in a catalogue, give options.catalog"
    return "source is the table's name in the catalogue, as namespace.table"


def _metadata(source: str, where: str) -> str:
    """The metadata file of a table: itself, or the newest of a local folder."""
    if source.endswith(".json"):
        return source
    if scheme(source) is not None:
        raise PlatformError(
            f"{source!r} names no metadata file",
            where=where,
            hint="name the file itself (….metadata.json), or give options.catalog",
        )
    # by number: 00002-….metadata.json and v2.metadata.json are both written in the wild
    found = sorted(Path(source).glob("metadata/*.metadata.json"), key=lambda path: (_number(path), path.name))
    if not found:
        raise PlatformError(
            f"{source!r} is no Iceberg table: it has no metadata/*.metadata.json", where=where
        )
    return str(found[-1])


def _number(path: Path) -> int:
    digits = path.name.lstrip("v").split("-")[0].split(".")[0]
    return int(digits) if digits.isdigit() else -1


def _filter(conditions: Iterable[Condition], expressions: Any) -> Any:
    parts = [_expression(condition, expressions) for condition in conditions if not _decimal(condition)]
    return reduce(expressions.And, parts) if parts else expressions.AlwaysTrue()


def _decimal(condition: Condition) -> bool:
    """Whether decimals are compared, which pyiceberg does only with as many digits as the column has."""
    if isinstance(condition, Either):
        return any(map(_decimal, condition.conditions))
    return any(isinstance(value, Decimal) for value in condition.values)


def _expression(condition: Condition, expressions: Any) -> Any:
    if isinstance(condition, Either):
        return reduce(expressions.Or, [_expression(each, expressions) for each in condition.conditions])
    assert isinstance(condition, Comparison)
    if condition.op == "null":
        return expressions.IsNull(condition.column)
    if condition.op == "not null":
        return expressions.NotNull(condition.column)
    values = [_value(value) for value in condition.values]
    if condition.op == "in":
        return expressions.In(condition.column, values)
    return getattr(expressions, _CLASSES[condition.op])(condition.column, values[0])


def _value(value: Any) -> Any:
    # pyiceberg reads moments from text only in some versions, and dates always
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds")
    return value.isoformat() if isinstance(value, dt.date) else value
