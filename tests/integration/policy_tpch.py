"""TPC-H under a policy: orders and lineitem over three sites that release aggregates only, and what each query must answer."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

import blossom as bl
from blossom.fedpy.session import Session


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tpch_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


reference = _beside("guard_reference")
Rows, Release = reference.Rows, reference.Release

SITES = ("one", "two", "three")
PARTITIONED = {"orders": "o_orderkey", "lineitem": "l_orderkey"}
REPLICATED = ("customer", "nation", "part", "partsupp", "region", "supplier")
LEAST = 10

_FREE, _ROWS = {"transform": True}, {"release": "rows"}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "orders": {"o_custkey": _FREE, "o_orderdate": _ROWS, "o_orderpriority": _ROWS},
    "lineitem": {
        **dict.fromkeys(("l_partkey", "l_suppkey", "l_quantity", "l_extendedprice", "l_discount", "l_tax"), _FREE),
        **dict.fromkeys(("l_shipdate", "l_commitdate", "l_receiptdate"), _ROWS),
        **dict.fromkeys(("l_returnflag", "l_linestatus", "l_shipmode", "l_shipinstruct"), _ROWS),
    },
}  # fmt: skip
"""What the queries need beyond `release = "aggregates"`: columns to choose and compute by, dates and flags as rows."""


def generate(folder: Path, scale: float) -> None:
    """Write the tables as Parquet."""
    generator = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    command = [generator, "parquet", "--scale-factor", str(scale), "--output-dir", folder]
    subprocess.run(command, check=True, capture_output=True)


def oracle(folder: Path, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """All rows in one place; those of the partitioned tables say at which site they are."""
    connection = duckdb.connect(config={"threads": threads})
    for name in REPLICATED:
        connection.sql(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder / name}.parquet')")
    for name, key in PARTITIONED.items():
        site = (
            f"(CASE least(({key} >> 1) & 3, 2) WHEN 0 THEN 'one' WHEN 1 THEN 'two' ELSE 'three' END) AS site"
        )
        connection.sql(f"CREATE VIEW {name} AS SELECT *, {site} FROM read_parquet('{folder / name}.parquet')")
    return connection


def split(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Write each site's part of the partitioned tables."""
    for site in SITES:
        for name in PARTITIONED:
            rows = f"SELECT * EXCLUDE (site) FROM {name} WHERE site = '{site}'"
            connection.sql(f"COPY ({rows}) TO '{folder / f'{site}-{name}.parquet'}' (FORMAT parquet)")


def federation(folder: Path, unit: str = "o_orderkey", threads: int = 1) -> Session:
    """Three DuckDB sites with a fresh ledger; orders describe their `unit`."""
    sites: dict[str, Any] = {}
    for site in SITES:
        tables: dict[str, Any] = {
            name: {
                "source": str(folder / f"{name}.parquet"),
                "replicated": True,
                "policy": {"release": "rows"},
            }
            for name in REPLICATED
        }
        for name, key in PARTITIONED.items():
            tables[name] = {
                "source": str(folder / f"{site}-{name}.parquet"),
                "partition": {"by": [key], "scheme": "orders"},
                "policy": {
                    "release": "aggregates",
                    "min_group": LEAST,
                    "privacy_unit": unit if name == "orders" else key,
                    "columns": POLICIES[name],
                },
            }
        sites[site] = {
            "platforms": {"duckdb": {"kind": "duckdb", "threads": threads}},
            "tables": tables,
        }
    return bl.connect({"sites": sites})


class _NoMarks:
    """Stands for `pytest.mark`: every mark leaves its function as it is."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: lambda function: function


def _expressions() -> Mapping[int, Callable[..., Any]]:
    """Ibis's own test functions, undecorated: each takes the tables that it reads and gives an expression."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        decorators = importlib.import_module("ibis.backends.tests.tpc.conftest")
        patch.setattr(
            decorators,
            "tpc_test",
            lambda *args, **options: args[0] if callable(args[0]) else (lambda made: made),
        )
        patch.setattr(pytest, "mark", _NoMarks())  # its marks are not ours
        module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    return {number: getattr(module, f"test_{number:02}") for number in range(1, 23)}


EXPRESSIONS = _expressions()


def expression(session: Session, number: int) -> Any:
    """A query over a session's tables."""
    function = EXPRESSIONS[number]
    return function(**{name: session.table(name) for name in inspect.signature(function).parameters})


# -- what must be answered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """A query with one guarded aggregate.

    Attributes:
        rows: The rows that it folds, with their site.
        keys: Its group keys.
        units: Who is counted: the unit of the orders, and that of the lines.
        figures: What it answers on the rows of the cells that pass, as a SELECT list.
        sets: What each of its figures ranges over and folds.
        rest: What follows its GROUP BY.
    """

    rows: str
    keys: tuple[str, ...]
    units: tuple[str, ...]
    figures: str
    sets: tuple[Any, ...] = ()
    rest: str = ""

    def release(self, unit: str) -> Any:
        """The release, with orders that describe `unit`."""
        units = tuple(unit if name == "o_orderkey" else name for name in self.units)
        return Release(self.rows, self.keys, units, LEAST, self.sets)

    def answer(self, kept: str) -> str:
        """The query on some of the rows."""
        keys = ", ".join(self.keys)
        grouped = f"GROUP BY {keys}" if keys else ""
        return f"SELECT {', '.join(filter(None, (keys, self.figures)))} FROM {kept} {grouped} {self.rest}"


LINES = ("l_orderkey",)
BOTH = ("o_orderkey", "l_orderkey")
_PRICE = "l_extendedprice * (1 - l_discount)"
_PRICED = (_PRICE, "l_extendedprice", "l_extendedprice * l_discount")
"""A discounted price, and the terms that it is made of."""

ANSWERED: Mapping[int, Answered] = {
    1: Answered(
        "SELECT * FROM lineitem WHERE l_shipdate <= DATE '1998-09-02'",
        ("l_returnflag", "l_linestatus"),
        LINES,
        f"sum(l_quantity), sum(l_extendedprice), sum({_PRICE}), sum({_PRICE} * (1 + l_tax)), avg(l_quantity), "
        "avg(l_extendedprice), avg(l_discount), count(*)",
        (
            Rows(sizes=(*_PRICED, "l_quantity", "l_discount", f"{_PRICE} * (1 + l_tax)", "l_extendedprice * l_tax",
                        "l_extendedprice * l_discount * l_tax")),
        ),
        "ORDER BY ALL",
    ),
    4: Answered(
        """SELECT * FROM orders SEMI JOIN (SELECT l_orderkey FROM lineitem WHERE l_commitdate < l_receiptdate) l
           ON o_orderkey = l_orderkey WHERE o_orderdate >= DATE '1993-07-01' AND o_orderdate < DATE '1993-10-01'""",
        ("o_orderpriority",), ("o_orderkey",), "count(*)", rest="ORDER BY 1",
    ),
    5: Answered(
        """SELECT l.*, o_orderkey, o_custkey, n_name FROM customer, orders o, lineitem l, supplier, nation, region
           WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey
           AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'ASIA'
           AND o_orderdate >= DATE '1994-01-01' AND o_orderdate < DATE '1995-01-01'""",
        ("n_name",), BOTH, f"sum({_PRICE}) AS revenue", (Rows(sizes=_PRICED),), "ORDER BY revenue DESC",
    ),
    6: Answered(
        """SELECT * FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
           AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
        (), LINES, "sum(l_extendedprice * l_discount)", (Rows(sizes=("l_extendedprice * l_discount",)),),
    ),
    7: Answered(
        """SELECT l.*, o_orderkey, o_custkey, n1.n_name AS supp_nation, n2.n_name AS cust_nation,
           extract(year FROM l_shipdate) AS l_year
           FROM supplier, lineitem l, orders o, customer, nation n1, nation n2
           WHERE s_suppkey = l_suppkey AND o_orderkey = l_orderkey AND c_custkey = o_custkey AND s_nationkey = n1.n_nationkey
           AND c_nationkey = n2.n_nationkey AND ((n1.n_name = 'FRANCE' AND n2.n_name = 'GERMANY')
           OR (n1.n_name = 'GERMANY' AND n2.n_name = 'FRANCE')) AND l_shipdate BETWEEN DATE '1995-01-01' AND DATE '1996-12-31'""",
        ("supp_nation", "cust_nation", "l_year"), BOTH, f"sum({_PRICE})", (Rows(sizes=_PRICED),), "ORDER BY ALL",
    ),
    8: Answered(
        f"""SELECT l.*, o_orderkey, o_custkey, extract(year FROM o_orderdate) AS o_year,
           CASE WHEN n2.n_name = 'BRAZIL' THEN {_PRICE} ELSE 0 END AS here
           FROM part, supplier, lineitem l, orders o, customer, nation n1, nation n2, region
           WHERE p_partkey = l_partkey AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey AND o_custkey = c_custkey
           AND c_nationkey = n1.n_nationkey AND n1.n_regionkey = r_regionkey AND r_name = 'AMERICA'
           AND s_nationkey = n2.n_nationkey AND o_orderdate BETWEEN DATE '1995-01-01' AND DATE '1996-12-31'
           AND p_type = 'ECONOMY ANODIZED STEEL'""",
        ("o_year",), BOTH, f"sum(here) / sum({_PRICE})", (Rows(sizes=("here", *_PRICED)),), "ORDER BY 1",
    ),
    9: Answered(
        """SELECT l.*, o_orderkey, o_custkey, ps_supplycost, n_name AS nation, extract(year FROM o_orderdate) AS o_year
           FROM part, supplier, lineitem l, partsupp, orders o, nation
           WHERE s_suppkey = l_suppkey AND ps_suppkey = l_suppkey AND ps_partkey = l_partkey AND p_partkey = l_partkey
           AND o_orderkey = l_orderkey AND s_nationkey = n_nationkey AND p_name LIKE '%green%'""",
        ("nation", "o_year"), BOTH, f"sum({_PRICE} - ps_supplycost * l_quantity)",
        (Rows(sizes=(f"{_PRICE} - ps_supplycost * l_quantity", *_PRICED[1:], "ps_supplycost * l_quantity")),),
        "ORDER BY 1, 2 DESC",
    ),
    12: Answered(
        """SELECT o.*, l_shipmode, l_orderkey, (o_orderpriority IN ('1-URGENT', '2-HIGH'))::INT AS high
           FROM orders o, lineitem l WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP')
           AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
           AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01'""",
        ("l_shipmode",), BOTH, "sum(high), sum(1 - high)", (Rows(sizes=("high", "1 - high")),), "ORDER BY 1",
    ),
    14: Answered(
        f"""SELECT l.*, CASE WHEN p_type LIKE 'PROMO%' THEN {_PRICE} ELSE 0 END AS promo FROM lineitem l, part
           WHERE l_partkey = p_partkey AND l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'""",
        (), LINES, f"100.00 * sum(promo) / sum({_PRICE})", (Rows(sizes=("promo", *_PRICED)),),
    ),
    19: Answered(
        """SELECT l.* FROM lineitem l, part WHERE p_partkey = l_partkey AND l_shipmode IN ('AIR', 'AIR REG')
           AND l_shipinstruct = 'DELIVER IN PERSON' AND (
           (p_brand = 'Brand#12' AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG')
            AND l_quantity BETWEEN 1 AND 11 AND p_size BETWEEN 1 AND 5)
           OR (p_brand = 'Brand#23' AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK')
            AND l_quantity BETWEEN 10 AND 20 AND p_size BETWEEN 1 AND 10)
           OR (p_brand = 'Brand#34' AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG')
            AND l_quantity BETWEEN 20 AND 30 AND p_size BETWEEN 1 AND 15))""",
        (), LINES, f"sum({_PRICE})", (Rows(sizes=_PRICED),),
    ),
}  # fmt: skip
"""Queries that are answered, as DuckDB answers them on the cells that pass."""

PUBLIC = (2, 11, 16)
"""Queries over replicated tables, which leave as rows: answered as on all rows."""

RARE = (8, 19)
"""Answered, but about fewer orders than ten a site below scale 1."""

NOBODY = 20
"""Its groups (a part of a supplier) describe too few orders: allowed, and answered by nothing, which `withheld` tells."""

WIDE = 10
"""Its seven group keys, a customer's address and comment among them, have more combinations than the guards tell apart."""

REFUSED: Mapping[int, tuple[str, str, str | None]] = {
    3: ("rows", "lineitem", "l_orderkey"),
    13: ("rows", "orders", "o_custkey"),
    17: ("rows", "lineitem", "l_quantity"),
    18: ("rows", "lineitem", "l_orderkey"),
    21: ("join", "lineitem", None),
    22: ("rows", "orders", "o_custkey"),
}
"""Queries about single orders, or about who has none: a rule, a table and a column of the refusal."""

SUPPLIERS = 15
"""The best supplier among those whose revenue passes, at most one a site's cell: see the test."""
