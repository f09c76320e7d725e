"""What Blossom adds to a query: the whole call against the same SQL given to DuckDB directly, on the 22 TPC-H queries.

    python benchmarks/overhead.py [--scale 1] [--repeat 7] [--threads 1] [--data DIR]

The call is `expr.to_pyarrow()`: planned, checked against the policy, run, logged and recorded by Blossom, on one DuckDB site that
releases rows. Beside it the SQL that Ibis compiles from the same expression is given to `duckdb.sql(...).to_arrow_table()`. The
expression, like the SQL text, is made before the clock starts. Both are warm, the runs alternate, and the medians are compared;
"cold" is the first call. Also prints what `import blossom` costs in a new process.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def queries() -> dict[int, Any]:
    """The 22 queries of Ibis's own test suite as functions of tables."""
    warnings.simplefilter("ignore")
    suite = importlib.import_module("ibis.backends.tests.tpc.conftest")
    suite.tpc_test = lambda given, **_: given if callable(given) else (lambda function: function)
    module = importlib.import_module("ibis.backends.tests.tpc.h.test_queries")
    return {number: getattr(module, f"test_{number:02d}") for number in range(1, 23)}


def generate(scale: float, folder: Path) -> Path:
    """TPC-H as Parquet files, made once."""
    if not (folder / "lineitem.parquet").exists():
        tool = Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run([str(tool), "parquet", "-s", str(scale), "-o", str(folder)], check=True)
    return folder


def built(query: Any, tables: dict[str, Any]) -> Any:
    """The query's expression over these tables."""
    return query(**{name: tables[name] for name in inspect.signature(query).parameters})


def import_seconds(repeat: int) -> float:
    """The median time of a new process that imports blossom, less one that imports nothing."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(run("import blossom; blossom.connect") - run("pass") for _ in range(repeat))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", type=int, nargs="*", help="these queries only")
    args = parser.parse_args()

    import duckdb
    import ibis

    import blossom as bl

    folder = generate(args.scale, args.data or Path(tempfile.gettempdir()) / f"tpch-{args.scale:g}")
    config = {
        "sites": {
            "one": {
                "platforms": {"duckdb": {"kind": "duckdb", "threads": args.threads}},
                "tables": {
                    name: {"source": str(folder / f"{name}.parquet"), "policy": {"release": "rows"}}
                    for name in TABLES
                },
            }
        }
    }
    from ibis.backends.sql.compilers.duckdb import compiler

    fed = bl.connect(config)
    direct = duckdb.connect()
    direct.execute(f"set threads = {args.threads}; set timezone = 'UTC'")
    for name in TABLES:
        direct.execute(f"create view {name} as from '{folder / name}.parquet'")
    tables = {name: fed.table(name) for name in TABLES}
    plain = {name: ibis.table(fed.table(name).schema(), name=name) for name in TABLES}

    print(f"TPC-H scale {args.scale:g}, {args.threads} thread(s), median of {args.repeat} warm runs")
    print(f"{'query':>5} {'DuckDB ms':>10} {'Blossom ms':>11} {'added ms':>9} {'ratio':>6} {'cold ms':>8}")
    ratios: list[float] = []
    added: list[float] = []
    for number, query in queries().items():
        if args.only and number not in args.only:
            continue
        expression = built(query, tables)
        text = compiler.to_sqlglot(built(query, plain)).sql(dialect="duckdb")
        began = time.perf_counter()
        ours = expression.to_pyarrow()
        cold = time.perf_counter() - began
        theirs = direct.sql(text).to_arrow_table()
        if ours.num_rows != theirs.num_rows:
            raise SystemExit(f"query {number} gives {ours.num_rows} rows, DuckDB {theirs.num_rows}")
        with_us: list[float] = []
        without: list[float] = []
        for _ in range(args.repeat):
            began = time.perf_counter()
            direct.sql(text).to_arrow_table()
            middle = time.perf_counter()
            expression.to_pyarrow()
            ended = time.perf_counter()
            without.append(middle - began)
            with_us.append(ended - middle)
        a, b = statistics.median(without), statistics.median(with_us)
        ratios.append(b / a)
        added.append(b - a)
        print(
            f"{number:>5} {a * 1e3:>10.1f} {b * 1e3:>11.1f} {(b - a) * 1e3:>9.1f} {b / a:>6.2f} {cold * 1e3:>8.0f}",
            flush=True,
        )
    print(f"geometric mean of ratios: {statistics.geometric_mean(ratios):.3f}")
    print(f"added at most: {max(added) * 1e3:.1f} ms; median {statistics.median(added) * 1e3:.1f} ms")
    print(f"import blossom (with connect): {import_seconds(args.repeat):.2f} s")


if __name__ == "__main__":
    main()
