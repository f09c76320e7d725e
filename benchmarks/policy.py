"""What the policy costs: judging a plan, guarding an aggregate, searching the ledger.

    python benchmarks/policy.py [--rows 10000000] [--groups 1000] [--units 1000000] [--figures 100000] [--threads 2] [--repeat 5]

- *Judging*: TPC-H queries over tables that release aggregates, judged at one site (allowed or refused alike); milliseconds a plan.
- *Guards and sketches*: count and sum by group in DuckDB, for a million units, for a unit a row, and for units that are texts. The
  floor is the same SQL given to DuckDB alone; beside it stand an exact `count(DISTINCT unit)` in the engine, and only handing over
  the columns that a guard outside the engine must see. "first look" is the whole of it as it stands in a site: the query, a second
  look at the rows with sketches, unit counts and dominance, the decision, and the ledger on disk. "remembered look" is the same
  question, or another one about the same rows and values, while the file has not changed.
- *Ledger*: one new figure, and a release of 1,000, against 100,000 known ones.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from blossom.plan import from_ibis
from blossom.plan.relations import Relation
from blossom.plan.schema import Schema
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource
from blossom.policy.judge import judge
from blossom.policy.ledger import Book, Figure
from blossom.policy.model import ColumnPolicy, Recipient, TablePolicy
from blossom.sites.guarding import Guarding
from blossom.sites.ledger import Grant, Ledger
from blossom.sites.looks import Looks
from blossom.sites.versions import version

HUB = Recipient("hub")
UNITS = {
    "customer": "c_custkey", "lineitem": "l_orderkey", "nation": None, "orders": "o_orderkey", "part": "p_partkey",
    "partsupp": "ps_partkey", "region": None, "supplier": "s_suppkey",
}  # fmt: skip


def median(repeat: int, work: Callable[[], object]) -> float:
    """Seconds of the middle run; the first, unmeasured one warms up."""
    work()
    seconds: list[float] = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def judging(repeat: int) -> None:
    """Milliseconds a plan."""
    import ibis

    warnings.simplefilter("ignore")
    suite = importlib.import_module("ibis.backends.tests.tpc.conftest")
    suite.tpc_test = lambda given, **_: given if callable(given) else (lambda function: function)
    module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    tables = {name: ibis.table(schema, name=name) for name, schema in TPCH.items()}
    policies = {
        name: TablePolicy("rows")
        if unit is None
        else TablePolicy(
            "aggregates", privacy_unit=unit, columns={c: ColumnPolicy(transform=True) for c in TPCH[name]}
        )
        for name, unit in UNITS.items()
    }
    seconds: list[float] = []
    allowed = 0
    for number in range(1, 23):
        query = getattr(module, f"test_{number:02d}")
        plan = from_ibis.relation(query(**{n: tables[n] for n in inspect.signature(query).parameters}).op())
        verdict = judge(plan, policies, HUB, "one")
        allowed += verdict.allowed
        seconds.append(median(repeat, lambda plan=plan: judge(plan, policies, HUB, "one")))
    print(f"judging, 22 TPC-H plans ({allowed} allowed): median {1e3 * statistics.median(seconds):.2f} ms, "
          f"slowest {1e3 * max(seconds):.2f} ms")  # fmt: skip


def guards(rows: int, groups: int, units: int, threads: int, repeat: int, folder: Path) -> None:
    """Seconds of an aggregate, and of what guards it."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, units, rows)
    facts = pa.table(
        {
            "unit": drawn,
            "id": rng.permutation(rows),
            "name": pc.binary_join_element_wise("patient", pa.array(drawn).cast(pa.string()), "-"),
            "g": rng.integers(0, groups, rows).astype(np.int32),
            "x": rng.normal(100, 15, rows),
        }
    )
    file = folder / "facts.parquet"
    pq.write_table(facts, file)
    del facts, drawn
    engine = DuckDB("duckdb", threads=threads)
    source = TableSource(source=str(file))
    schema = engine.publish("facts", source)
    con = duckdb.connect(config={"threads": threads})
    read = f"read_parquet('{file}')"
    floor = median(
        repeat, lambda: con.sql(f"SELECT g, count(*), sum(x) FROM {read} GROUP BY g").to_arrow_table()
    )
    print(f"aggregate of {rows:,} rows in {groups:,} groups, DuckDB with {threads} thread(s); "
          f"the floor, the same SQL: {floor:.3f} s")  # fmt: skip
    print(f"  {'unit':30} {'distinct':>9} {'handing over':>13} {'plain':>9} {'first look':>11} "
          f"{'remembered look':>16}")  # fmt: skip
    time.sleep(2.5)  # a file that has just changed is not trusted
    for unit, what in (
        ("unit", f"one of {units:,}"),
        ("id", "one a row"),
        ("name", f"text, one of {units:,}"),
    ):
        counted = median(
            repeat,
            lambda unit=unit: con.sql(
                f"SELECT g, count(*), sum(x), count(DISTINCT {unit}) FROM {read} GROUP BY g"
            ).to_arrow_table(),
        )
        handed = median(
            repeat,
            lambda unit=unit: sum(
                b.num_rows for b in con.sql(f"SELECT g, {unit}, x FROM {read}").to_arrow_reader(1 << 16)
            ),
        )
        plain, first, again = guarded(engine, schema, source, unit, repeat, folder)
        print(f"  {what:30} {counted:7.3f} s {handed:11.3f} s {plain:7.3f} s {first:9.3f} s {again:14.3f} s   "
              f"guards are {100 * (first - plain) / first:.0f} % and {100 * (again - plain) / again:.0f} % of the run")  # fmt: skip
    engine.close()
    con.close()


def guarded(
    engine: DuckDB, schema: Schema, source: TableSource, unit: str, repeat: int, folder: Path
) -> tuple[float, float, float]:
    """Seconds of the plan without guards, at a first look, and at a remembered one; runs alternate."""
    import ibis
    from ibis import _

    facts = ibis.table(dict(schema), name="facts")
    plan = from_ibis.relation(facts.group_by("g").agg(n=_.count(), s=_.x.sum()).op())
    policies = {"facts": TablePolicy("aggregates", min_group=10, privacy_unit=unit)}
    (stage,) = judge(plan, policies, HUB, "one").allow().stages

    def run(root: Relation) -> pa.RecordBatchReader:
        return engine.run(root, {}, Cancellation())

    seconds: dict[str, list[float]] = {"plain": [], "first": [], "again": []}
    for number in range(repeat + 1):
        with tempfile.TemporaryDirectory(dir=folder) as state:
            ledger = Ledger(Path(state), "one")
            guarding = Guarding("one", ledger, Looks())
            grant = Grant(run=str(number), plan="", recipients=("hub",))

            def look(guarding: Guarding = guarding, grant: Grant = grant) -> int:
                return guarding.stage(
                    stage, lambda: run(stage.query), lambda: run(stage.detail), grant,
                    lambda: version("duckdb", source),
                ).table.num_rows  # fmt: skip

            for name, work in (
                ("plain", lambda: run(plan).read_all().num_rows),
                ("first", look),
                ("again", look),
            ):
                began = time.perf_counter()
                found = work()
                seconds[name].append(time.perf_counter() - began)
                assert found, name
            assert len(guarding.looks) == 1
            ledger.close()
    plain, first, again = (statistics.median(one[1:]) for one in seconds.values())
    return plain, first, again


def ledger(figures: int, repeat: int) -> None:
    """Milliseconds of a search."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1 << 32, (figures, 768), dtype=np.uint32)
    book = Book(256)
    book.add([Figure(10, one) for one in rows])
    began = time.perf_counter()
    near = rows[7].copy()
    near[:9] += 1
    assert book.judge([Figure(10, near)])[0][0]
    print(
        f"ledger of {figures:,} figures: index built in {time.perf_counter() - began:.2f} s, once a process"
    )
    fresh = [Figure(10, one) for one in rng.integers(0, 1 << 32, (1000, 768), dtype=np.uint32)]
    one = median(repeat, lambda: book.judge(fresh[:1]))
    again = [Figure(10, one) for one in rows[:1000]]
    many = median(repeat, lambda: book.judge(fresh))
    known = median(repeat, lambda: book.judge(again))
    print(
        f"  one figure {1e3 * one:.2f} ms; 1,000 new ones {1e3 * many:.1f} ms; 1,000 known ones {1e3 * known:.1f} ms"
    )


TPCH: dict[str, dict[str, str]] = {
    "customer": {"c_custkey": "int64", "c_name": "string", "c_address": "string", "c_nationkey": "int32", "c_phone": "string",
                 "c_acctbal": "decimal(15, 2)", "c_mktsegment": "string", "c_comment": "string"},
    "lineitem": {"l_orderkey": "int64", "l_partkey": "int64", "l_suppkey": "int64", "l_linenumber": "int64",
                 "l_quantity": "decimal(15, 2)", "l_extendedprice": "decimal(15, 2)", "l_discount": "decimal(15, 2)",
                 "l_tax": "decimal(15, 2)", "l_returnflag": "string", "l_linestatus": "string", "l_shipdate": "date",
                 "l_commitdate": "date", "l_receiptdate": "date", "l_shipinstruct": "string", "l_shipmode": "string",
                 "l_comment": "string"},
    "nation": {"n_nationkey": "int32", "n_name": "string", "n_regionkey": "int32", "n_comment": "string"},
    "orders": {"o_orderkey": "int64", "o_custkey": "int64", "o_orderstatus": "string", "o_totalprice": "decimal(15, 2)",
               "o_orderdate": "date", "o_orderpriority": "string", "o_clerk": "string", "o_shippriority": "int32",
               "o_comment": "string"},
    "part": {"p_partkey": "int64", "p_name": "string", "p_mfgr": "string", "p_brand": "string", "p_type": "string",
             "p_size": "int32", "p_container": "string", "p_retailprice": "decimal(15, 2)", "p_comment": "string"},
    "partsupp": {"ps_partkey": "int64", "ps_suppkey": "int64", "ps_availqty": "int64", "ps_supplycost": "decimal(15, 2)",
                 "ps_comment": "string"},
    "region": {"r_regionkey": "int32", "r_name": "string", "r_comment": "string"},
    "supplier": {"s_suppkey": "int64", "s_name": "string", "s_address": "string", "s_nationkey": "int32", "s_phone": "string",
                 "s_acctbal": "decimal(15, 2)", "s_comment": "string"},
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--figures", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    judging(args.repeat)
    with tempfile.TemporaryDirectory(prefix="blossom-policy-") as folder:
        guards(args.rows, args.groups, args.units, args.threads, args.repeat, Path(folder))
    ledger(args.figures, args.repeat)


if __name__ == "__main__":
    main()
