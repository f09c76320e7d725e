"""Random pipelines over random tables in random places give what DuckDB gives on the pooled rows."""

from __future__ import annotations

import datetime as dt
import importlib.util
import itertools
import math
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ibis.backends.sql.compilers.duckdb import compiler
from ibis.common.exceptions import IbisError

import blossom as bl
from blossom.sites.guarding import Guarding, Passed


def _beside(name: str) -> ModuleType:
    # test folders are no packages (import-mode is importlib), so a module beside this one is loaded by its path
    spec = importlib.util.spec_from_file_location(f"properties_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


reference = _beside("guard_reference")

EXAMPLES = int(os.environ.get("BLOSSOM_PROPERTY_EXAMPLES", "100"))
FIXED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="BLOSSOM_PROPERTY_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]


# -- values ------------------------------------------------------------------------------------------------------------

TYPES: Mapping[str, pa.DataType] = {
    "int": pa.int64(),
    "big": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "stamp": pa.timestamp("us"),
    "dec": pa.decimal128(9, 2),
}
"""Kind -> how a table holds it. A `big` int is near the ends of int64: it is compared and summed, and no more."""

VALUES: Mapping[str, Sequence[Any]] = {
    "int": [0, 1, 2, 3, -1, -7, 40, None],
    "big": [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, None],
    "float": [0.0, -0.0, 0.5, -0.25, 3.0, 1e6, -2.75, None],  # sums of these are exact in any order
    "text": ["", "a", "A", "ab", "Žofie", "žofie", "straße", "日本", "a%b", "a_b", " a ", "O'Hara", None],
    "bool": [True, False, None],
    "date": [dt.date(1969, 7, 20), dt.date(2000, 2, 29), dt.date(2024, 12, 31), None],
    "stamp": [
        dt.datetime.fromisoformat("1999-12-31 23:59:59.999999"),
        dt.datetime.fromisoformat("2000-02-29"),
        dt.datetime.fromisoformat("2021-03-01 01:02:03.5"),
        None,
    ],
    "dec": [Decimal("0.00"), Decimal("1.25"), Decimal("-3.50"), Decimal("99999.99"), None],
}
SPECIAL = [math.nan, math.inf, -math.inf]

COLUMNS: Mapping[str, str] = {
    "größe": "int",
    "n": "int",
    "big": "big",
    "x y": "float",
    "z": "float",
    "Name": "text",
    "städt'chen": "text",
    "flag": "bool",
    "day": "date",
    "seen": "stamp",
    "owed": "dec",
}
HOLLOW = 0.1


# -- tables and places -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """One federated table.

    Attributes:
        kinds: Column -> kind; the first is `k`, a small key that is never null.
        rows: All of them.
        sites: The site of each row; of a replicated table, None.
        mode: "bag", "partitioned" or "replicated".
        homes: Site -> kind of platform.
    """

    name: str
    kinds: Mapping[str, str]
    rows: tuple[tuple[Any, ...], ...]
    sites: tuple[str, ...] | None
    mode: str
    homes: Mapping[str, str]

    def arrow(self, site: str | None = None) -> pa.Table:
        kept = [
            row
            for number, row in enumerate(self.rows)
            if site is None or self.sites is None or self.sites[number] == site
        ]
        columns = list(zip(*kept, strict=True)) if kept else [()] * len(self.kinds)
        arrays = [pa.array(c, TYPES[kind]) for c, kind in zip(columns, self.kinds.values(), strict=True)]
        return pa.table(arrays, names=list(self.kinds))

    def ibis(self) -> ir.Table:
        return ibis.table(ibis.Schema.from_pyarrow(self.arrow().schema), name=self.name)


def _rows(
    draw: Draw, kinds: Mapping[str, str], special: bool, sizes: Sequence[int]
) -> tuple[tuple[Any, ...], ...]:
    values: list[st.SearchStrategy[Any]] = [st.integers(0, 4)]
    for kind in list(kinds.values())[1:]:
        if draw(st.integers(0, 9)) == 0:
            values.append(st.none())  # a column of nulls
            continue
        pool = [*VALUES[kind], *(SPECIAL if special and kind == "float" else [])]
        values.append(st.sampled_from(pool))
    size = draw(st.sampled_from(sizes))  # lists of any size would mostly be short
    return tuple(draw(st.lists(st.tuples(*values), min_size=size, max_size=size)))


SIZES = (0, 1, 3, 6, 10, 14)


def _table(
    draw: Draw, name: str, sites: Sequence[str], modes: Sequence[str], sizes: Sequence[int] = SIZES
) -> Data:
    chosen = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=2, max_size=5, unique=True))
    kinds = {"k": "int", **{column: COLUMNS[column] for column in chosen}}
    special = draw(st.booleans())
    rows = _rows(draw, kinds, special, sizes)
    mode = draw(st.sampled_from(modes))
    if mode == "replicated":
        where = None
    elif mode == "partitioned":
        of_key = [sites[(key + len(sites)) % len(sites)] for key in range(5)]  # one placement for the scheme
        where = tuple(of_key[row[0]] for row in rows)
    else:
        where = tuple(draw(st.sampled_from(sites)) for _ in rows)
    nan = any(isinstance(v, float) and math.isnan(v) for row in rows for v in row)
    engines = ["duckdb", "polars", *([] if nan else ["sqlite"])]  # SQLite cannot hold NaN
    homes = {site: draw(st.sampled_from(engines)) for site in sites}
    return Data(name, kinds, rows, where, mode, homes)


@dataclass(frozen=True)
class Case:
    tables: tuple[Data, ...]
    sites: tuple[str, ...]
    pipeline: ir.Table
    ordered: bool

    def __repr__(self) -> str:
        parts = [f"sites {self.sites}, ordered {self.ordered}"]
        for table in self.tables:
            parts.append(f"{table.name} {table.mode} {dict(table.homes)} {dict(table.kinds)}")
            parts.extend(f"    {row} {table.sites and table.sites[i]}" for i, row in enumerate(table.rows))
        return "\n".join([*parts, repr(self.pipeline)])


SQLITE_TYPES = {
    "int": "INTEGER", "big": "INTEGER", "float": "REAL", "text": "TEXT", "bool": "BOOLEAN", "date": "DATE",
    "stamp": "TIMESTAMP", "dec": "DECIMAL(9, 2)",
}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _store(table: Data, site: str, folder: Path) -> dict[str, Any]:
    """Write a site's part for its engine and give its configuration."""
    engine, part = table.homes[site], table.arrow(site)
    config: dict[str, Any] = {"platform": engine}
    if table.mode == "replicated":
        config["replicated"] = True
    elif table.mode == "partitioned":
        config["partition"] = {"by": ["k"], "scheme": "keys"}
    if engine != "sqlite":
        path = folder / f"{site}-{table.name}.parquet"
        pq.write_table(part, path)
        return config | {"source": str(path)}
    with closing(sqlite3.connect(folder / f"{site}.db")) as connection:
        columns = ", ".join(f'"{name}" {SQLITE_TYPES[kind]}' for name, kind in table.kinds.items())
        connection.execute(f'CREATE TABLE "{table.name}" ({columns})')
        rows = [[_plain(v) for v in row.values()] for row in part.to_pylist()]
        marks = ", ".join("?" * len(table.kinds))
        connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)
        connection.commit()
    return config | {"source": table.name}


def configuration(
    tables: Sequence[Data], sites: Sequence[str], folder: Path, policy: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    everybody = {"release": "rows", "to": ["hub", *(f"site:{site}" for site in sites)]}
    found: dict[str, Any] = {}
    for site in sites:
        own = {t.name: _store(t, site, folder) | {"policy": policy or everybody} for t in tables}
        platforms: dict[str, Any] = {"duckdb": {"kind": "duckdb", "threads": 1}}
        engines = {t.homes[site] for t in tables}
        if "polars" in engines:
            platforms["polars"] = {"kind": "polars"}
        if "sqlite" in engines:
            platforms["sqlite"] = {"kind": "sqlite", "database": str(folder / f"{site}.db")}
        found[site] = {"platforms": platforms, "tables": own}
    return {"sites": found}


def pooled(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    for name, table in tables.items():
        connection.register(f"arrow_{name}", table)
        connection.sql(f'CREATE TABLE "{name}" AS SELECT * FROM "arrow_{name}"')
    return connection


def answer(connection: duckdb.DuckDBPyConnection, pipeline: ir.Table) -> list[tuple[Any, ...]] | None:
    """DuckDB's own; None where it fails (an overflow, a subquery with two rows)."""
    text = compiler.to_sqlglot(pipeline.unbind()).sql(dialect="duckdb")
    try:
        return connection.sql(text).fetchall()
    except duckdb.Error:
        return None


# -- random pipelines --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """A pipeline so far; columns that are not in `kinds` (inexact floats) are carried along and never looked at."""

    table: ir.Table
    kinds: Mapping[str, str]
    ordered: bool = False

    def of(self, *kinds: str) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds]

    @property
    def exact(self) -> bool:
        return len(self.kinds) == len(self.table.columns)


class Gen:
    """Draws operators; each method takes flows and gives one."""

    def __init__(self, draw: Draw, tables: Sequence[Data]) -> None:
        self.draw = draw
        self.tables = tables
        self.counter = itertools.count()

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def name(self, stem: str) -> str:
        return f"{stem}{next(self.counter)}"

    def source(self) -> Flow:
        data = self.pick(self.tables)
        return Flow(data.ibis().view(), data.kinds)

    def fresh(self) -> Flow:
        """Another source whose columns share no name with anything else."""
        flow = self.source()
        names = {self.name("r"): name for name in flow.table.columns}
        return Flow(flow.table.rename(names), {new: flow.kinds[old] for new, old in names.items()})

    # values

    def literal(self, kind: str) -> Any:
        return self.pick([v for v in VALUES[kind] if v is not None])

    def predicate(self, flow: Flow, depth: int = 0) -> Any:
        t = flow.table
        column = self.pick(list(flow.kinds))
        kind = flow.kinds[column]
        shape = self.pick(["compare", "compare", "null", "in", "column", "kind", "not", "and", "or"])
        if shape in ("and", "or", "not") and depth < 2:
            left = self.predicate(flow, depth + 1)
            if shape == "not":
                return ~left
            right = self.predicate(flow, depth + 1)
            return left & right if shape == "and" else left | right
        if shape == "null":
            return self.pick([t[column].isnull(), t[column].notnull()])
        if shape == "in":
            values = [self.literal(kind) for _ in range(2)]
            return self.pick([t[column].isin(values), t[column].notin(values)])
        if shape == "column":
            other = self.pick(flow.of(kind))
            return self.compare(t[column], t[other])
        if kind == "bool":
            return t[column]
        if kind == "text" and shape == "kind":
            return self.pick(
                [
                    t[column].like("a%"),
                    t[column].like("%_b"),
                    t[column].contains("a"),
                    t[column].startswith("a"),
                    t[column].endswith("ie"),
                    t[column].ilike("%A%"),
                    t[column].length() > 1,
                ]
            )
        if kind == "float" and shape == "kind":
            return t[column].isnan()
        return self.compare(t[column], self.literal(kind))

    def compare(self, left: Any, right: Any) -> Any:
        return self.pick(
            [left == right, left != right, left < right, left <= right, left > right, left >= right]
        )

    def value(self, flow: Flow) -> tuple[Any, str]:
        """An expression over a flow's columns, and its kind."""
        t = flow.table
        column = self.pick(list(flow.kinds))
        kind = flow.kinds[column]
        c = t[column]
        other = t[self.pick(flow.of(kind))]
        common = [
            (lambda: ibis.coalesce(c, other), kind),
            (lambda: c.nullif(self.literal(kind)), kind),
            (lambda: self.predicate(flow).ifelse(c, other), kind),
            (lambda: c.fill_null(self.literal(kind)), kind),
            (lambda: ibis.cases((self.predicate(flow), c), (self.predicate(flow), other)), kind),
            (lambda: self.predicate(flow), "bool"),
            (lambda: c.isnull(), "bool"),
            (lambda: c.identical_to(other), "bool"),
            (lambda: c, kind),
        ]
        own: dict[str, list[tuple[Callable[[], Any], str]]] = {
            "int": [
                (lambda: c + other, "int"),
                (lambda: c - 3, "int"),
                (lambda: c * 2, "int"),
                (lambda: -c, "int"),
                (lambda: c.abs(), "int"),
                (lambda: c.sign(), "int"),
                (lambda: c // 4, "int"),
                (lambda: c % 3, "int"),
                (lambda: c / 4, "float"),
                (lambda: c.cast("float64"), "float"),
                (lambda: c.cast("string"), "text"),
                (lambda: ibis.greatest(c, other), "int"),
                (lambda: ibis.least(c, 2), "int"),
                (lambda: c.clip(0, 2), "int"),
                (lambda: c & 3, "int"),
                (lambda: c.between(0, 2), "bool"),
            ],
            "float": [
                (lambda: c + 0.5, "float"),
                (lambda: c * 2.0, "float"),
                (lambda: -c, "float"),
                (lambda: c.abs(), "float"),
                (lambda: c.isnan(), "bool"),
                (lambda: c.isinf(), "bool"),
                (lambda: ibis.greatest(c, other), "float"),
            ],
            "text": [
                (lambda: c.upper(), "text"),
                (lambda: c.lower(), "text"),
                (lambda: c.length(), "int"),
                (lambda: c + "-" + other, "text"),
                (lambda: c.substr(1, 2), "text"),
                (lambda: c.replace("a", "<é>"), "text"),
                (lambda: c.strip(), "text"),
                (lambda: c.left(1), "text"),
                (lambda: c.right(2), "text"),
                (lambda: c.find("b"), "int"),
                (lambda: c.reverse(), "text"),
                (lambda: c.contains(other), "bool"),
            ],
            "bool": [
                (lambda: ~c, "bool"),
                (lambda: c & other, "bool"),
                (lambda: c | other, "bool"),
                (lambda: c.cast("int64"), "int"),
                (lambda: c.ifelse("ja", "nein"), "text"),
            ],
            "date": [
                (lambda: c.year(), "int"),
                (lambda: c.month(), "int"),
                (lambda: c.day_of_week.index(), "int"),
                (lambda: c.truncate("M"), "date"),
                (lambda: c.cast("timestamp"), "stamp"),
                (lambda: c.between(dt.date(2000, 1, 1), dt.date(2024, 12, 31)), "bool"),
            ],
            "stamp": [
                (lambda: c.hour(), "int"),
                (lambda: c.date(), "date"),
                (lambda: c.truncate("D"), "stamp"),
                (lambda: c.year(), "int"),
            ],
            "dec": [
                (lambda: c.cast("float64"), "float"),
                (lambda: c < Decimal("1.25"), "bool"),
            ],
            "big": [],
        }
        make, found = self.pick([*common, *own[kind], *own[kind]])
        return make(), found

    def metric(self, flow: Flow) -> tuple[Any, str | None]:
        """A reduction, and its kind; None where its digits depend on the order of the rows."""
        t = flow.table
        column = self.pick(list(flow.kinds))
        kind = flow.kinds[column]
        c = t[column]
        where = self.predicate(flow) if self.draw(st.booleans()) else None
        options: list[tuple[Callable[[], Any], str | None]] = [
            (lambda: t.count(where=where), "int"),
            (lambda: c.count(where=where), "int"),
            (lambda: c.nunique(where=where), "int"),
        ]
        if kind != "bool":
            options += [(lambda: c.min(where=where), kind), (lambda: c.max(where=where), kind)]
        else:
            options += [(lambda: c.any(where=where), "bool"), (lambda: c.all(where=where), "bool")]
            options += [(lambda: c.sum(where=where), "int"), (lambda: c.mean(where=where), None)]
        if kind == "big":
            options += [(lambda: c.sum(where=where), None)] * 2
        if kind in ("int", "float", "dec"):
            options += [
                (lambda: c.sum(where=where), {"int": "int", "float": "float", "dec": None}[kind]),
                (lambda: c.mean(where=where), None),
            ]
        finite = [n for n in flow.of("int", "float") if not self.endless(n)]
        if finite:
            a, b = t[self.pick(finite)], t[self.pick(finite)]
            how = self.pick(["pop", "sample"])
            options += [
                (lambda: a.var(how=how, where=where), None),
                (lambda: a.std(how=how, where=where), None),
                (lambda: a.cov(b, how=how, where=where), None),
                (lambda: a.corr(b, how="pop", where=where), None),
            ]
        make, found = self.pick(options)
        return make(), found

    def endless(self, column: str) -> bool:
        """Whether a column may hold an infinity, of which DuckDB takes no variance."""
        return any(
            isinstance(v, float) and not math.isfinite(v) for t in self.tables for r in t.rows for v in r
        )

    # operators

    def filter(self, flow: Flow) -> Flow:
        return Flow(flow.table.filter(self.predicate(flow)), flow.kinds)

    def mutate(self, flow: Flow) -> Flow:
        made: dict[str, Any] = {}
        kinds = dict(flow.kinds)
        for _ in range(self.draw(st.integers(1, 2))):
            name = self.name("m")
            made[name], kinds[name] = self.value(flow)
        return Flow(flow.table.mutate(**made), kinds)

    def select(self, flow: Flow) -> Flow:
        kept = self.draw(st.lists(st.sampled_from(list(flow.kinds)), min_size=1, max_size=4, unique=True))
        return Flow(flow.table.select(kept), {name: flow.kinds[name] for name in kept})

    def aggregate(self, flow: Flow) -> Flow:
        keys = self.draw(st.lists(st.sampled_from(list(flow.kinds)), max_size=2, unique=True))
        metrics: dict[str, Any] = {}
        kinds = {key: flow.kinds[key] for key in keys}
        for _ in range(self.draw(st.integers(1, 3))):
            name = self.name("a")
            metrics[name], kind = self.metric(flow)
            if kind is not None:
                kinds[name] = kind
        table = flow.table.group_by(keys).agg(**metrics) if keys else flow.table.agg(**metrics)
        return Flow(table, kinds) if kinds else flow

    def having(self, flow: Flow) -> Flow:
        return self.filter(self.aggregate(flow))

    def distinct(self, flow: Flow) -> Flow:
        flow = self.select(flow)
        return Flow(flow.table.distinct(), flow.kinds)

    def order(self, flow: Flow) -> list[Any]:
        names = self.draw(st.permutations(list(flow.kinds)))
        return [
            (ibis.desc if self.draw(st.booleans()) else ibis.asc)(
                flow.table[name], nulls_first=self.draw(st.booleans())
            )
            for name in names
        ]

    def top(self, flow: Flow) -> Flow:
        if not flow.exact:
            flow = self.select(flow)
        table = flow.table.order_by(self.order(flow))
        if self.draw(st.booleans()):
            table = table.limit(self.draw(st.integers(0, 5)), offset=self.draw(st.integers(0, 2)))
        return Flow(table, flow.kinds, ordered=True)

    def window(self, flow: Flow) -> Flow:
        if not flow.exact:
            flow = self.select(flow)
        name, t = self.name("w"), flow.table
        keys = self.draw(st.lists(st.sampled_from(list(flow.kinds)), max_size=2, unique=True))
        column = self.pick(list(flow.kinds))
        kind = flow.kinds[column]
        whole = ibis.window(group_by=keys)
        ordered = ibis.window(group_by=keys, order_by=self.order(flow))
        running = ibis.cumulative_window(group_by=keys, order_by=self.order(flow))
        options: list[tuple[Callable[[], Any], str]] = [
            (lambda: ibis.row_number().over(ordered), "int"),
            (lambda: t.count().over(whole), "int"),
            (lambda: t[column].count().over(running), "int"),
            (lambda: ibis.rank().over(ordered), "int"),
        ]
        if kind != "bool":
            options += [
                (lambda: t[column].max().over(whole), kind),
                (lambda: t[column].min().over(running), kind),
            ]
        if kind in ("int", "float"):
            options += [(lambda: t[column].sum().over(whole), kind)]
        if kind in ("int", "text", "date"):
            options += [
                (lambda: t[column].lag().over(ordered), kind),
                (lambda: t[column].lead().over(ordered), kind),
            ]
        make, found = self.pick(options)
        return Flow(t.mutate(**{name: make()}), {**flow.kinds, name: found})

    def drop_null(self, flow: Flow) -> Flow:
        names = self.draw(st.lists(st.sampled_from(list(flow.kinds)), min_size=1, max_size=2, unique=True))
        return Flow(flow.table.drop_null(names, how=self.pick(["any", "all"])), flow.kinds)

    def fill_null(self, flow: Flow) -> Flow:
        name = self.pick(list(flow.kinds))
        return Flow(flow.table.fill_null({name: self.literal(flow.kinds[name])}), flow.kinds)

    # two tables

    def pair(self, flow: Flow, other: Flow) -> tuple[str, str] | None:
        kinds = [k for k in ("int", "text", "date", "big", "dec") if flow.of(k) and other.of(k)]
        if not kinds:
            return None
        kind = self.pick(kinds)
        return self.pick(flow.of(kind)), self.pick(other.of(kind))

    def join(self, flow: Flow) -> Flow:
        other = self.fresh()
        if self.draw(st.integers(0, 3)) == 0:
            other = self.filter(other)
        pairs = [self.pair(flow, other)]
        if "k" in flow.kinds and self.draw(st.booleans()):
            pairs.append(("k", next(iter(other.kinds))))
        predicates = [flow.table[a] == other.table[b] for a, b in filter(None, pairs)]
        if self.draw(st.integers(0, 4)) == 0 and flow.of("int") and other.of("int"):
            a, b = self.pick(flow.of("int")), self.pick(other.of("int"))
            predicates.append(flow.table[a] < other.table[b])
        how = self.pick(["inner", "inner", "left", "right", "outer", "semi", "anti", "cross"])
        if how == "cross" or not predicates:
            return Flow(flow.table.cross_join(other.table), {**flow.kinds, **other.kinds})
        table = flow.table.join(other.table, predicates, how=how)
        return Flow(table, flow.kinds if how in ("semi", "anti") else {**flow.kinds, **other.kinds})

    def set_operation(self, flow: Flow) -> Flow:
        if self.draw(st.booleans()):
            flow = self.select(flow)
            other = Flow(flow.table.filter(self.predicate(flow)), flow.kinds)
        else:
            other = self.fresh()
            pairs = [
                (name, self.pick(other.of(kind))) for name, kind in flow.kinds.items() if other.of(kind)
            ][:3]
            if not pairs:
                return flow
            flow = Flow(flow.table.select([a for a, _ in pairs]), {a: flow.kinds[a] for a, _ in pairs})
            other = Flow(other.table.select(**{a: other.table[b] for a, b in pairs}), flow.kinds)
            casts = {name: flow.table.schema()[name] for name in flow.kinds}
            other = Flow(other.table.cast(casts), flow.kinds)
        kind = self.pick(["union", "union", "intersect", "difference"])
        distinct = self.draw(st.booleans())
        return Flow(getattr(ibis, kind)(flow.table, other.table, distinct=distinct), flow.kinds)

    def subquery(self, flow: Flow) -> Flow:
        other = self.fresh()
        if self.draw(st.booleans()):
            other = self.filter(other)
        pair = self.pair(flow, other)
        if pair is None:
            return flow
        t, u = flow.table, other.table
        a, b = t[pair[0]], u[pair[1]]
        same = [(p, q) for p in flow.kinds for q in other.kinds if flow.kinds[p] == other.kinds[q]]
        p, q = self.pick(same)
        ints = other.of("int")
        n = u[self.pick(ints)]
        correlated = u.filter(u[q] == t[p])
        options: list[Callable[[], Any]] = [
            lambda: a.isin(b),
            lambda: a.notin(b),
            lambda: (a == b).any(),
            lambda: ~(a == b).any(),
            lambda: ((a == b) & (u[q] == t[p])).any(),
            lambda: ((a == b) & (u[q] != t[p])).any(),
            lambda: a.isin(b) | self.predicate(flow),
        ]
        if flow.of("int"):
            i = t[self.pick(flow.of("int"))]
            options += [
                lambda: i > n.max(),
                lambda: i <= correlated.filter(u[q].notnull())[n.get_name()].max(),
                lambda: i == correlated.count(),
                lambda: i < correlated[n.get_name()].sum().fill_null(0),
                lambda: i <= correlated[n.get_name()].mean() * 0.5 + 1,
            ]
        found = self.pick(options)()
        return Flow(t.filter(found), flow.kinds)

    STEPS = (
        "filter", "filter", "mutate", "mutate", "select", "aggregate", "aggregate", "having", "distinct", "top", "window",
        "drop_null", "fill_null", "join", "join", "join", "set_operation", "subquery", "subquery",
    )  # fmt: skip

    def pipeline(self, most: int = 8) -> Flow:
        flow = self.source()
        for _ in range(self.pick(range(1, most + 1))):
            step = getattr(self, self.pick(self.STEPS))
            with suppress(IbisError):  # what Ibis does not take is no pipeline
                flow = step(flow)
        return flow


@st.composite
def cases(draw: Draw, modes: Sequence[str] = ("bag", "partitioned", "replicated")) -> Case:
    sites = ("eins", "zwei", "drei")[: draw(st.sampled_from([1, 2, 3, 3]))]
    count = draw(st.sampled_from([1, 2, 2, 3, 4]))
    tables = tuple(_table(draw, f"täble{i}", sites, modes) for i in range(count))
    flow = Gen(draw, tables).pipeline()
    return Case(tables, sites, flow.table, flow.ordered)


# -- comparison --------------------------------------------------------------------------------------------------------


def equal(got: Any, want: Any) -> bool:
    if (isinstance(got, float) and isinstance(want, int | float | Decimal)) or isinstance(want, float):
        if got is None or want is None:
            return False
        if math.isnan(got) or math.isnan(want):
            return math.isnan(got) and math.isnan(want)
        return math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9)
    return bool(got == want) and (got is None) == (want is None)


def check(got: pa.Table, want: list[tuple[Any, ...]], *, ordered: bool) -> None:
    rows = list(zip(*(column.to_pylist() for column in got.columns), strict=True))
    assert len(rows) == len(want), f"{len(rows)} rows, not {len(want)}: {rows} {want}"
    if ordered:
        for number, (a, b) in enumerate(zip(rows, want, strict=True)):
            assert all(map(equal, a, b)), f"row {number}: {a}, not {b}"
        return
    left = list(want)
    for row in rows:
        found = next((i for i, w in enumerate(left) if all(map(equal, row, w))), None)
        assert found is not None, f"{row} is not among {left}"
        del left[found]


# -- the properties ----------------------------------------------------------------------------------------------------


@FIXED
@given(case=cases())
def test_rows_that_may_leave(case: Case) -> None:
    with closing(pooled({t.name: t.arrow() for t in case.tables})) as connection:
        want = answer(connection, case.pipeline)
    assume(want is not None)
    assert want is not None
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(case.tables, case.sites, Path(folder))
        with bl.connect(config) as session:
            run = session.run(case.pipeline)
    check(run.result, want, ordered=case.ordered)


# -- aggregates only ---------------------------------------------------------------------------------------------------


WEIGHTS: Mapping[str, str] = {
    "n": "none", "count": "none", "sum": "size", "mean": "size", "var": "spread", "std": "spread", "cov": "spread",
    "corr": "spread",
}  # fmt: skip
"""What a unit contributes to each fold; variances and the like are merged by means, which have sizes too."""


@dataclass(frozen=True)
class Metric:
    """One reduction: what makes it of a table, the columns it folds, and its condition."""

    fold: str
    make: Callable[[ir.Table], Any]
    values: tuple[str, ...]
    where: Callable[[ir.Table], Any] | None


@dataclass(frozen=True)
class Guarded:
    """An aggregate over one private table.

    Attributes:
        rows: From the table (with its site in column `site`) to the rows that are grouped.
        keys: The group keys.
        metrics: The metrics by name.
    """

    table: Data
    sites: tuple[str, ...]
    least: int
    rows: Callable[[ir.Table], ir.Table]
    keys: tuple[str, ...]
    metrics: Mapping[str, Metric]

    def __repr__(self) -> str:
        case = Case((self.table,), self.sites, self.pipeline(self.table.ibis()), ordered=False)
        return f"min_group {self.least}, {case!r}"

    def pipeline(self, table: ir.Table) -> ir.Table:
        rows = self.rows(table)
        metrics = {name: metric.make(rows) for name, metric in self.metrics.items()}
        return rows.group_by(self.keys).agg(**metrics) if self.keys else rows.agg(**metrics)

    def with_sites(self) -> tuple[pa.Table, ir.Table]:
        whole = self.table.arrow()
        assert self.table.sites is not None
        tagged = whole.append_column("site", pa.array(self.table.sites, pa.string()))
        return tagged, ibis.table(ibis.Schema.from_pyarrow(tagged.schema), name=self.table.name)

    def release(self, table: ir.Table) -> Any:
        """The rows that are folded, with the condition and the values of each metric beside them."""
        rows = self.rows(table)
        columns = {name: rows[name] for name in ("site", *self.keys, "pid")}
        sets: list[Any] = []
        for number, metric in enumerate(self.metrics.values()):
            there = ibis.literal(True) if metric.where is None else metric.where(rows).fill_null(False)
            for value in metric.values:
                there &= rows[value].notnull()
            columns[f"w{number}"] = there
            names = [f"v{number}_{i}" for i in range(len(metric.values))]
            columns |= {name: rows[value] for name, value in zip(names, metric.values, strict=True)}
            sizes, spreads, perhaps = {
                "size": (names, [], []), "spread": ([], names, names), "none": ([], [], []),
            }[WEIGHTS[metric.fold]]  # fmt: skip
            sets.append(reference.Rows(f"w{number}", tuple(sizes), tuple(spreads), tuple(perhaps)))
        text = compiler.to_sqlglot(rows.select(**columns).unbind()).sql(dialect="duckdb")
        return reference.Release(text, self.keys, ("pid",), self.least, tuple(sets))

    def among(self, table: ir.Table, cells: ir.Table) -> ir.Table:
        """The rows that are grouped, of these cells."""
        rows = self.rows(table)
        cells = cells.rename({f"cell_{name}": name for name in ("site", *self.keys)})
        same = [rows[name].identical_to(cells[f"cell_{name}"]) for name in ("site", *self.keys)]
        return rows.semi_join(cells, same)


@st.composite
def guarded_cases(draw: Draw) -> Guarded:
    sites = ("eins", "zwei", "drei")[: draw(st.sampled_from([1, 2, 3, 3]))]
    drawn = _table(draw, "täble", sites, ("bag", "partitioned"), (0, 6, 14, 40, 40, 80))
    assert drawn.sites is not None
    units = [draw(st.sampled_from([*range(1, 9), None])) for _ in drawn.rows]
    rows = tuple((*row, unit) for row, unit in zip(drawn.rows, units, strict=True))
    table = Data(drawn.name, {**drawn.kinds, "pid": "int"}, rows, drawn.sites, drawn.mode, drawn.homes)
    gen = Gen(draw, (table,))
    base = table.ibis()
    flow = Flow(base, drawn.kinds)

    def deferred(make: Callable[[Flow], Any]) -> Callable[[ir.Table], Any]:
        """An expression drawn over the table, to be put over another with the same columns."""
        drawn_value = make(flow)
        return lambda t: t.bind(_over(drawn_value, base, t))[0]

    condition = deferred(gen.predicate) if draw(st.integers(0, 3)) == 0 else None
    # most groups of two columns are too small to be interesting
    most = draw(st.sampled_from([0, 1, 1, 1, 2]))
    keys = tuple(draw(st.lists(st.sampled_from(["k", *drawn.kinds]), max_size=most, unique=True)))
    numbers = [n for n in flow.of("int", "float") if not gen.endless(n)]
    metrics: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 3))):
        where = deferred(gen.predicate) if draw(st.integers(0, 4)) == 0 else None
        folds = list(WEIGHTS)
        fold = draw(st.sampled_from(folds))
        a, b = (draw(st.sampled_from(["k", "k", *numbers])) for _ in range(2))
        how = draw(st.sampled_from(["pop", "sample"]))
        metrics[f"m{number}"] = _metric(fold, a, b, how, where)
    return Guarded(
        table,
        sites,
        draw(st.integers(1, 3)),
        (lambda t: t) if condition is None else (lambda t: t.filter(condition(t))),
        keys,
        metrics,
    )


def _over(value: ir.Value, old: ir.Table, new: ir.Table) -> ir.Value:
    return value.op().replace({old.op(): new.op()}).to_expr()


def _metric(fold: str, a: str, b: str, how: str, where: Callable[[ir.Table], Any] | None) -> Metric:
    def on(t: ir.Table) -> Any:
        return None if where is None else where(t)

    folds: Mapping[str, tuple[Callable[[ir.Table], Any], tuple[str, ...]]] = {
        "n": (lambda t: t.count(where=on(t)), ()),
        "count": (lambda t: t[a].count(where=on(t)), (a,)),
        "sum": (lambda t: t[a].sum(where=on(t)), (a,)),
        "mean": (lambda t: t[a].mean(where=on(t)), (a,)),
        "var": (lambda t: t[a].var(how=how, where=on(t)), (a,)),
        "std": (lambda t: t[a].std(how=how, where=on(t)), (a,)),
        "cov": (lambda t: t[a].cov(t[b], how=how, where=on(t)), (a, b)),
        "corr": (lambda t: t[a].corr(t[b], how="pop", where=on(t)), (a, b)),
    }
    make, values = folds[fold]
    return Metric(fold, make, values, where)


@contextmanager
def released() -> Iterator[list[tuple[str, pa.Table, int]]]:
    """Records what the guards of every site let on: the site, the cells, and how many cells there were."""
    found: list[tuple[str, pa.Table, int]] = []
    stage = Guarding.stage

    def watched(self: Guarding, *args: Any) -> Passed:
        passed = stage(self, *args)
        found.append((self.site, passed.table, passed.withheld))
        return passed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guarding, "stage", watched)
        yield found


@FIXED
@given(case=guarded_cases())
def test_aggregates_only(case: Guarded) -> None:
    """The answer is DuckDB's on the cells that the sites let out; those are the ones that the rules let out, and no fewer."""
    policy = {
        "release": "aggregates",
        "privacy_unit": "pid",
        "min_group": case.least,
        "columns": {name: {"transform": True} for name in case.table.kinds},
    }
    tagged, table = case.with_sites()
    with closing(pooled({case.table.name: tagged})) as connection:
        assume(answer(connection, case.pipeline(table)) is not None)
        expected = reference.expected(connection, case.release(table))
        with tempfile.TemporaryDirectory() as folder, released() as found:
            config = configuration((case.table,), case.sites, Path(folder), policy)
            with bl.connect(config) as session:
                run = session.run(case.pipeline(case.table.ibis()))
        keys = [
            part.select(case.keys).append_column("site", pa.array([site] * part.num_rows, pa.string()))
            for site, part, _ in found
        ]
        shown = pa.concat_tables(
            [pa.table({"site": pa.array([], pa.string())}), *keys], promote_options="default"
        )
        shown = shown.select(["site", *case.keys])
        cells = list(zip(*(column.to_pylist() for column in shown.columns), strict=True))
        expected.check(cells)
        connection.register("shown", shown)
        kept = case.among(table, ibis.table(ibis.Schema.from_pyarrow(shown.schema), name="shown"))
        metrics = {name: metric.make(kept) for name, metric in case.metrics.items()}
        want = answer(
            connection, kept.group_by(case.keys).agg(**metrics) if case.keys else kept.agg(**metrics)
        )
        assert want is not None
    if not case.keys and not shown.num_rows:  # nothing may be told, not even a zero
        want = [] if len(case.sites) == 1 else [(None,) * len(metrics)]
    check(run.result, want, ordered=False)
    assert run.withheld == {site: held > 0 for site, _, held in found}
    for site in case.sites:
        if any(cell[0] == site for cell in expected.hidden):
            assert run.withheld[site]
