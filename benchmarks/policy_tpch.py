"""TPC-H under a policy: which queries three sites that release aggregates only answer, how exactly, and in what time.

    python benchmarks/policy_tpch.py [--scale 1] [--unit o_orderkey] [--threads 2] [--folder PATH]

Orders and lineitem are partitioned by order key over three DuckDB sites; `min_group` is 10 and every query meets a fresh ledger.
Beside each answer stands the reference: DuckDB on all rows of the (site, group) cells that the rules let out, which it finds by itself
(`tests/integration/guard_reference.py`). "floor" is DuckDB alone on all rows in one place, without any rule.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb

import blossom as bl
from blossom.sites.guarding import Guarding, Passed

TEXTS = files("ibis") / "backends" / "tests" / "tpc" / "queries" / "duckdb" / "h"


def _cases() -> ModuleType:
    path = Path(__file__).parents[1] / "tests" / "integration" / "policy_tpch.py"
    spec = importlib.util.spec_from_file_location("policy_tpch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["policy_tpch"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


tpch = _cases()


@contextmanager
def watched() -> Iterator[list[tuple[Any, ...]]]:
    """Records the cells that the guards of every site let on."""
    found: list[tuple[Any, ...]] = []
    stage = Guarding.stage

    def watching(self: Guarding, *args: Any) -> Passed:
        passed = stage(self, *args)
        keys = passed.table.select(list(args[0].keys)).to_pylist()
        found.extend((self.site, *row.values()) for row in keys or [{}] * passed.table.num_rows)
        return passed

    Guarding.stage = watching  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Guarding.stage = stage  # type: ignore[method-assign]


def same(got: Sequence[Any], want: Sequence[Any]) -> bool:
    """Whether two rows are equal, numbers to nine digits."""
    return len(got) == len(want) and all(
        math.isclose(float(a), float(b), rel_tol=1e-9)
        if isinstance(a, float | Decimal) and isinstance(b, float | Decimal)
        else a == b
        for a, b in zip(got, want, strict=True)
    )


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long a piece of work takes, and what it gives."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def answered(number: int, unit: str, folder: Path, oracle: duckdb.DuckDBPyConnection, threads: int) -> str:
    """One line of the table, for a query with one guarded aggregate."""
    case = tpch.ANSWERED[number]
    text = (TEXTS / f"{number:02}.sql").read_text()
    with tpch.federation(folder, unit, threads) as session, watched() as cells:
        taken, run = seconds(lambda: session.run(session.sql(text)))
    floor, _ = seconds(lambda: oracle.sql(text).fetchall())
    expected = tpch.reference.expected(oracle, case.release(unit))
    expected.check(cells)
    kept = tpch.reference.on_cells(case.rows, case.keys, cells, oracle)
    want = oracle.sql(case.answer(kept)).fetchall()
    got = list(zip(*(column.to_pylist() for column in run.result.columns), strict=True))
    exact = len(got) == len(want) and all(map(same, got, want))
    everything = len(expected.passing | expected.unclear | expected.hidden)
    return f"| {number} | {'answered, as the reference' if exact else 'WRONG'} | {len(cells)} of {everything} | {taken:.2f} | {floor:.2f} |"


def other(number: int, folder: Path, threads: int) -> str:
    """One line of the table, for any other query."""
    text = (TEXTS / f"{number:02}.sql").read_text()
    with tpch.federation(folder, threads=threads) as session:
        try:
            taken, run = seconds(lambda: session.run(session.sql(text)))
        except bl.PolicyError as error:
            rules = sorted({refusal.rule for refusal in error.refusals}) or ["groups"]
            return f"| {number} | refused ({', '.join(rules)}) | | | |"
    held = any(run.withheld.values())
    kind = (
        "answered; small groups held back"
        if held and run.result.num_rows
        else "all groups too small"
        if held
        else "answered from open tables"
    )
    return f"| {number} | {kind} | | {taken:.2f} | |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="TPC-H under a policy")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--unit", default="o_orderkey", choices=("o_orderkey", "o_custkey"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where the tables are, or are written to (default: a temporary folder)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "lineitem.parquet").exists():
            tpch.generate(folder, options.scale)
        oracle = tpch.oracle(folder, options.threads)
        tpch.split(folder, oracle)
        print(f"scale {options.scale:g}, orders describe {options.unit}, {options.threads} threads")
        print("| query | what came | cells shown | seconds | floor |\n| --- | --- | --- | --- | --- |")
        for number in range(1, 23):
            line = (
                answered(number, options.unit, folder, oracle, options.threads)
                if number in tpch.ANSWERED
                else other(number, folder, options.threads)
            )
            print(line, flush=True)
        oracle.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
