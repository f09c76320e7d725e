"""How far the planner's plan is from the best one that anybody finds, on TPC-H over split engines, WordCount, K-means, SGD and PageRank.

    python tests/integration/postgres_server.py python benchmarks/regret.py [--scale 0.1] [--seconds 360] [--only q1 q3 wordcount-1]

Regret is the time of the chosen plan over the time of the best one found among all single engines, the planner's own next best
(`--near`) and random placements (`--random`). Plans are forced by pins. All plans are chosen right after calibration, before any
is run; then a case gets an equal share of the time that is left. Each placement runs twice; the fastest four, the best single
engine and the chosen plan, twice, then run `--repeat` times by turns, and only those medians count. "noise" is how far
the two medians of the chosen plan differ. Every run teaches the planner; at the end all cases are planned again, and what it
chooses then is measured beside what was best ("after").

The loops (K-means, SGD, PageRank) take no pins: their singles are forced in every planning, and they have no random placements.
PostgreSQL is used when BLOSSOM_TEST_PG_URL is set, Spark when BLOSSOM_TEST_SPARK_URL is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from overhead import TABLES, built, generate, queries
from placements import Placement, anyhow, near, placed, singles

import blossom as bl
from blossom.executor.calibrating import Calibration
from blossom.executor.statistics import gather_all
from blossom.optimizer import planning
from blossom.plan.errors import BlossomError
from blossom.plan.relations import Scan

HOMES = {
    "customer": "postgresql", "lineitem": "duckdb", "nation": "spark", "orders": "polars",
    "part": "spark", "partsupp": "postgresql", "region": "polars", "supplier": "duckdb",
}  # fmt: skip
"""Every second query of TPC-H meets all four; without an engine its tables go to the next of `INSTEAD`."""

INSTEAD = {"spark": "polars", "postgresql": "duckdb"}

SIZES = {
    "wordcount": (1_000, 10_000, 100_000),
    "kmeans": (1_000, 10_000, 100_000),
    "sgd": (1_000, 10_000, 100_000),
    "pagerank": (1_000, 10_000, 100_000),
}
"""Lines, points, points and edges."""

TURNS = 5

FINALISTS = 4

Timed = list[float]


@dataclass
class Case:
    """A pipeline with what is known of its placements.

    Attributes:
        name: "q1" to "q22", "kmeans-1" to "kmeans-3", ...
        expression: The pipeline.
        loop: It has a loop, so that it takes no pins.
        chosen: The plan that was chosen after calibration.
        times: Seconds by placement, of the final turns.
        first: Seconds of its first run, by placement.
        found: How many placements came to an end.
        runs: How many runs they had.
    """

    name: str
    expression: Any
    loop: bool = False
    chosen: Placement | None = None
    times: dict[Any, Timed] = field(default_factory=dict)
    first: dict[Any, float] = field(default_factory=dict)
    by_key: dict[Any, Placement] = field(default_factory=dict)
    found: int = 0
    runs: int = 0


# -- the federation ------------------------------------------------------------------------------------------------------


def platforms(urls: Mapping[str, str]) -> dict[str, Any]:
    """One thread an engine."""
    found: dict[str, Any] = {
        "duckdb": {"kind": "duckdb", "threads": 1},
        "polars": {"kind": "polars"},
    }
    return found | {kind: {"kind": kind, "url": url} for kind, url in urls.items()}


def home(table: str, engines: Mapping[str, Any]) -> str:
    """Where a table of TPC-H lives."""
    kind = HOMES[table]
    return kind if kind in engines else INSTEAD[kind]


def load_postgresql(url: str, tables: Mapping[str, pa.Table]) -> None:
    """Tables as a user declares them: numeric columns with their precision, and analysed."""
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS regret CASCADE")
        cursor.execute("CREATE SCHEMA regret")
        for name, table in tables.items():
            cursor.adbc_ingest(name, table, mode="create", db_schema_name="regret")
            for column in table.schema:
                if pa.types.is_decimal(column.type):
                    kind = f"numeric({column.type.precision}, {column.type.scale})"
                    cursor.execute(
                        f"ALTER TABLE regret.{name} ALTER COLUMN {column.name} TYPE {kind} USING {column.name}::{kind}"
                    )
            cursor.execute(f"ANALYZE regret.{name}")
        connection.commit()


def plain(path: Path) -> pa.Table:
    """A table whose texts are no views, which drivers do not take."""
    table = pq.read_table(path)
    return table.cast(
        pa.schema(
            pa.field(c.name, pa.string() if pa.types.is_string_view(c.type) else c.type) for c in table.schema
        )
    )


def generated(folder: Path) -> dict[str, tuple[str, Path]]:
    """Tables of the other tasks: name -> engine that they live on, file."""
    random = np.random.default_rng(1)
    found: dict[str, tuple[str, Path]] = {}

    def keep(name: str, engine: str, columns: dict[str, Any]) -> None:
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        found[name] = engine, path

    words = np.array([f"word{i}" for i in range(5_000)])
    for number, (lines, points, rows, edges) in enumerate(zip(*SIZES.values(), strict=True), 1):
        drawn = words[np.minimum(random.zipf(1.3, (lines, 8)) - 1, len(words) - 1)]
        keep(f"lines{number}", "duckdb", {"line": [" ".join(line) for line in drawn]})
        centre = random.integers(0, 4, points)
        x = random.normal(centre * 10.0, 1.0)
        keep(
            f"points{number}",
            "postgresql",
            {"id": np.arange(points), "x": x, "y": random.normal(centre, 1.0)},
        )
        a, b = random.normal(size=rows), random.normal(size=rows)
        keep(
            f"samples{number}",
            "polars",
            {"a": a, "b": b, "y": 1 + 2 * a - b + random.normal(0, 0.1, rows)},
        )
        nodes = max(edges // 10, 10)
        keep(
            f"edges{number}",
            "postgresql",
            {"source": np.arange(edges) % nodes, "target": random.integers(0, nodes, edges)},
        )
    return found


def configuration(scale: float, folder: Path, urls: Mapping[str, str]) -> dict[str, Any]:
    """One site, four engines."""
    engines = platforms(urls)
    data = generate(scale, folder / f"tpch-{scale:g}")
    files = {name: (home(name, engines), data / f"{name}.parquet") for name in TABLES}
    files |= {
        name: (engine if engine in engines else INSTEAD[engine], path)
        for name, (engine, path) in generated(folder).items()
    }
    if "postgresql" in urls:
        there = {name: plain(path) for name, (engine, path) in files.items() if engine == "postgresql"}
        load_postgresql(urls["postgresql"], there)
    tables = {
        name: {
            "platform": engine,
            "source": f"regret.{name}" if engine == "postgresql" else str(path),
            "policy": {"release": "rows"},
        }
        for name, (engine, path) in files.items()
    }
    return {
        "hub": {"state": str(folder / "state")},
        "sites": {"one": {"platforms": engines, "tables": tables, "state": str(folder / "site")}},
    }


# -- the cases -----------------------------------------------------------------------------------------------------------


def split_words(row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A line's words."""
    for word in row["line"].split():
        yield {"word": word}


def wordcount(fed: Any, number: int) -> Any:
    """The ten words that occur most."""
    words = fed.table(f"lines{number}").pipe(bl.flat_map, split_words, schema={"word": "string"})
    return words.group_by("word").agg(n=words.count()).order_by(ibis.desc("n"), "word").limit(10)


def kmeans(fed: Any, number: int) -> Any:
    """Lloyd's turns from four given centres."""
    points = fed.table(f"points{number}")
    start = fed.from_arrow(
        pa.table({"c": [0, 1, 2, 3], "cx": [1.0, 8.0, 22.0, 28.0], "cy": [0.0, 1.0, 2.0, 3.0]}),
        name=f"centres{number}",
    )

    def turn(centres: Any) -> Any:
        pairs = points.cross_join(centres)
        far = pairs.mutate(d=(pairs.x - pairs.cx) ** 2 + (pairs.y - pairs.cy) ** 2)
        least = far.group_by("id").agg(c=far.c.argmin(far.d), x=far.x.max(), y=far.y.max())
        return least.group_by("c").agg(cx=least.x.mean(), cy=least.y.mean())

    return bl.repeat(start, turn, times=TURNS)


def sgd(fed: Any, number: int) -> Any:
    """Gradient descent on a line of two features."""
    rows = fed.table(f"samples{number}")
    start = fed.from_arrow(pa.table({"w0": [0.0], "w1": [0.0], "w2": [0.0]}), name=f"weights{number}")

    def turn(weights: Any) -> Any:
        both = rows.cross_join(weights)
        off = both.mutate(e=both.w0 + both.w1 * both.a + both.w2 * both.b - both.y)
        means = off.agg(
            w0=off.w0.max() - off.e.mean() * 0.5,
            w1=off.w1.max() - (off.e * off.a).mean() * 0.5,
            w2=off.w2.max() - (off.e * off.b).mean() * 0.5,
        )
        return means

    return bl.repeat(start, turn, times=TURNS)


def pagerank(fed: Any, number: int) -> Any:
    """PageRank with damping 0.85; every node has an edge."""
    edges = fed.table(f"edges{number}")
    degree = edges.group_by("source").agg(n=edges.count())
    start = degree.select(node=degree.source, rank=1.0)

    def turn(ranks: Any) -> Any:
        sent = edges.join(degree, "source")
        sent = sent.join(ranks, sent.source == ranks.node)
        got = sent.group_by(node=sent.target).agg(got=(sent["rank"] / sent.n).sum())
        return got.select(node=got.node, rank=0.15 + 0.85 * got.got)

    return bl.repeat(start, turn, times=TURNS)


TASKS: Mapping[str, tuple[Callable[[Any, int], Any], bool]] = {
    "wordcount": (wordcount, False),
    "kmeans": (kmeans, True),
    "sgd": (sgd, True),
    "pagerank": (pagerank, True),
}


def cases(fed: Any, only: Sequence[str]) -> list[Case]:
    """All 34, or those that are named."""
    tables = {name: fed.table(name) for name in TABLES}
    found = [Case(f"q{number}", built(query, tables)) for number, query in queries().items()]
    for name, (make, loop) in TASKS.items():
        found += [Case(f"{name}-{size}", make(fed, size), loop) for size in (1, 2, 3)]
    return [one for one in found if not only or one.name in only]


# -- measuring -----------------------------------------------------------------------------------------------------------


@contextmanager
def all_on(place: str) -> Iterator[None]:
    """Every planning inside puts all that it can on one place: what a loop's parts are forced by."""
    usual = planning.allowed

    def forced(table: Any, locations: Any, incapable: Any, pins: Any) -> Mapping[int, int]:
        names = [str(one) for one in locations]
        if place not in names:
            return usual(table, locations, incapable, pins)
        at = names.index(place)
        return {
            node.number: at
            for node in table
            if not isinstance(node.relation, Scan) and at not in incapable[node.number]
        }

    planning.allowed = forced  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield
    finally:
        planning.allowed = usual  # pyright: ignore[reportPrivateImportUsage]


def seconds(fed: Any, case: Case, one: Placement, cap: float) -> float:
    """What one run takes; inf when it fails or is stopped at the cap."""
    timer = threading.Timer(cap, lambda: fed.last_run.cancel())
    case.runs += 1
    with ExitStack() as stack:
        if case.loop and one.kind == "single":
            stack.enter_context(all_on(one.label))
        timer.start()
        began = time.perf_counter()
        try:
            fed.run(case.expression, pins=None if case.loop else one.pins)
        except BlossomError:
            return float("inf")
        finally:
            timer.cancel()
    return time.perf_counter() - began


def choose(fed: Any, case: Case) -> Placement:
    """What the planner chooses now."""
    words = "each part as planned"
    return Placement({}, 0.0, "planner", words) if case.loop else placed(fed, case.expression, "planner")


def candidates(fed: Any, case: Case, options: argparse.Namespace) -> Iterator[Placement]:
    """All others, the likelier first."""
    if case.loop:
        for kind in ("duckdb@one", "polars@one", "postgresql@one", "spark@one", "duckdb@hub"):
            if kind.split("@")[0] in {"duckdb", "polars", *options.urls}:
                yield Placement({-1: kind}, 0.0, "single", kind)
        return
    yield from singles(fed, case.expression)
    yield from near(fed, case.expression, options.near, options.tries, options.seed)
    yield from anyhow(fed, case.expression, options.random, options.seed)


def measure(fed: Any, case: Case, options: argparse.Namespace, share: float) -> None:
    """Find the case's best placement in a share of the time, and time the finalists by turns."""
    chosen = case.chosen
    assert chosen is not None
    began = time.perf_counter()
    quick: dict[Any, float] = {}
    best = options.cap
    stream = iter([chosen])
    for source in (stream, candidates(fed, case, options)):
        for one in source:
            known = case.by_key.get(one.key)
            if known is not None:
                if one.kind == "single" and known.kind == "near":
                    case.by_key[one.key] = one
                continue
            if one.kind != "single" and quick and time.perf_counter() - began > 0.6 * share:
                break
            case.by_key[one.key] = one
            cap = max(3 * best, best + 0.5)
            case.first[one.key] = seconds(fed, case, one, min(cap, options.cap))
            again = seconds(fed, case, one, cap) if case.first[one.key] < 1.7 * best else float("inf")
            quick[one.key] = min(case.first[one.key], again)
            best = min(best, quick[one.key])
    case.found = sum(value < float("inf") for value in quick.values())
    ranked = sorted(quick, key=lambda key: quick[key])
    single = [key for key in ranked if is_single(case, case.by_key[key])][:1]
    finals = list(dict.fromkeys([chosen.key, *ranked[:FINALISTS], *single]))
    turns: dict[Any, Timed] = {key: [] for key in [*finals, "again"]}
    for _ in range(options.repeat):
        for key in turns:
            placement = chosen if key == "again" else case.by_key[key]
            turns[key].append(seconds(fed, case, placement, options.cap))
        if len(turns["again"]) >= 3 and time.perf_counter() - began > 1.2 * share:
            break
    case.times = turns


def is_single(case: Case, one: Placement) -> bool:
    """Whether one engine does all the work: as forced, or as the planner found."""
    return one.kind == "single" or (not case.loop and " + " not in one.label)


@dataclass(frozen=True)
class Figures:
    """A case in figures; seconds are medians."""

    chosen: float
    best: float
    single: float
    regret: float
    noise: float
    label: str
    best_label: str


def figures(case: Case) -> Figures:
    """The chosen plan beside the best."""
    chosen = case.chosen
    assert chosen is not None
    medians = {key: statistics.median(values) for key, values in case.times.items()}
    again = medians.pop("again")
    own = medians[chosen.key]
    best_key = min(medians, key=lambda key: medians[key])
    alone = [value for key, value in medians.items() if is_single(case, case.by_key[key])]
    return Figures(
        own,
        medians[best_key],
        min(alone, default=float("nan")),
        own / medians[best_key],
        abs(own / again - 1),
        chosen.label,
        case.by_key[best_key].label,
    )


def after(fed: Any, case: Case, options: argparse.Namespace) -> float:
    """The regret of what the planner chooses now, beside the best of before, by turns."""
    chosen = choose(fed, case)
    medians = {key: statistics.median(values) for key, values in case.times.items() if key != "again"}
    best = min(medians, key=lambda key: medians[key])
    if chosen.key == best:
        return 1.0
    ours: Timed = []
    theirs: Timed = []
    for _ in range(options.repeat):
        ours.append(seconds(fed, case, chosen, options.cap))
        theirs.append(seconds(fed, case, case.by_key[best], options.cap))
    return max(1.0, statistics.median(ours) / statistics.median(theirs))


# -- the table -----------------------------------------------------------------------------------------------------------


def load() -> str:
    """The load of one and five minutes."""
    return "{:.1f} and {:.1f}".format(*os.getloadavg()[:2])


def calibrate(fed: Any, minutes: float) -> None:
    """As `blossom calibrate` does."""
    calibration = Calibration(fed.federation, minutes * 60)
    for one in calibration.run(lambda _: None):
        print(
            f"  {one.location}: {one.measured} measured in {one.seconds:.1f} s, off {one.before:.2f}x, then {one.after:.2f}x"
        )
    gather_all(fed.federation)


def summary(name: str, regrets: Sequence[float], near_best: int) -> str:
    """One line."""
    return f"{name}: mean {statistics.mean(regrets):.3f}, worst {max(regrets):.2f}, within 5 % or noise {near_best} of {len(regrets)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=360, help="for all of it")
    parser.add_argument("--minutes", type=float, default=0.1, help="of calibration, a platform")
    parser.add_argument("--near", type=int, default=20)
    parser.add_argument("--tries", type=int, default=60, help="plannings to find the near ones")
    parser.add_argument("--random", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cap", type=float, default=30.0, help="seconds of one run at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=())
    options = parser.parse_args()
    names = {"postgresql": "BLOSSOM_TEST_PG_URL", "spark": "BLOSSOM_TEST_SPARK_URL"}
    options.urls = {kind: os.environ[name] for kind, name in names.items() if os.environ.get(name)}
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        config = configuration(options.scale, Path(folder), options.urls)
        fed = stack.enter_context(bl.connect(config))
        print(f"TPC-H scale {options.scale:g} on {', '.join(platforms(options.urls))}; load {load()}")
        calibrate(fed, options.minutes)
        todo = cases(fed, options.only)
        runnable: list[Case] = []
        for case in todo:
            try:
                case.chosen = choose(fed, case)
            except BlossomError as error:
                print(f"{case.name}: no plan: {error}", flush=True)
                continue
            runnable.append(case)
        print(
            f"{'case':>12} {'plans':>5} {'chosen ms':>9} {'best ms':>8} {'single ms':>9} {'regret':>6} {'noise':>6}  chosen; best"
        )
        done: list[tuple[Case, Figures]] = []
        for number, case in enumerate(runnable):
            left = 0.85 * options.seconds - (time.perf_counter() - began)
            measure(fed, case, options, max(left, 0) / (len(runnable) - number))
            chosen = case.chosen
            assert chosen is not None
            if max(case.times[chosen.key]) == float("inf"):
                print(f"{case.name}: the chosen plan failed or took over {options.cap:g} s", flush=True)
                continue
            one = figures(case)
            done.append((case, one))
            print(
                f"{case.name:>12} {case.found:>5} {one.chosen * 1e3:>9.0f} {one.best * 1e3:>8.0f} {one.single * 1e3:>9.0f} "
                f"{one.regret:>6.2f} {one.noise:>6.0%}  {one.label}; {one.best_label}",
                flush=True,
            )
        regrets = [one.regret for _, one in done]
        near_best = sum(one.regret <= 1.05 + one.noise for _, one in done)
        print(summary("after calibration", regrets, near_best))
        beside = [one.chosen / one.single for _, one in done if one.single == one.single]
        print(
            f"beside the best single engine: {statistics.geometric_mean(beside):.3f} on average, {max(beside):.2f} at worst; slower by more than 5 % in {sum(x > 1.05 for x in beside)}"
        )
        later: list[float] = []
        runs = sum(case.runs for case, _ in done)
        for case, _ in done:
            if time.perf_counter() - began > options.seconds or case.loop:
                continue
            later.append(after(fed, case, options))
        if later:
            print(summary(f"planned again after these {runs} runs", later, sum(one <= 1.05 for one in later)))
        print(f"{time.perf_counter() - began:.0f} s in all; load {load()}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
