"""Plans in invented worlds: with every run they come nearer to the best, and statistics that lie do not spoil them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from blossom.executor.measuring import Measurement, Output, Stopwatch, measurements
from blossom.optimizer.cardinality import Sizes
from blossom.optimizer.costs import CostModel, Prior
from blossom.optimizer.costs.learned import Learned
from blossom.optimizer.costs.terms import TERMS
from blossom.optimizer.costs.whole import platform_name
from blossom.optimizer.physical import Location, PhysicalPlan
from blossom.optimizer.planning import plan
from blossom.optimizer.statistics import ColumnStatistics
from blossom.plan.errors import Refusal
from blossom.plan.expressions import Call, Column, Literal
from blossom.plan.relations import Aggregate, Filter, Join, Link, Project, Relation, Scan, Sort, SortKey
from blossom.plan.schema import Schema
from blossom.policy.model import TablePolicy

KINDS = {
    Location("north", "duckdb"): "duckdb",
    Location("north", "polars"): "polars",
    Location("north", "lite"): "sqlite",
    Location("north", "pg"): "postgresql",
    Location("hub", "duckdb"): "duckdb",
}
HOMES = ("duckdb", "polars", "lite", "pg")
COLUMNS = Schema([("id", "int64"), ("g", "int64"), ("x", "float64")])
A, G, X = (Column(name, dtype) for name, dtype in COLUMNS.items())


@dataclass(frozen=True)
class World:
    """Tables t0, t1, ... of sizes; table i lives on platform i modulo four."""

    sizes: Mapping[str, int]
    lies: float = 1.0
    judged: list[Relation] = field(default_factory=list)

    @property
    def locations(self) -> tuple[Location, ...]:
        return tuple(KINDS)

    def home(self, site: str, table: str) -> Location:
        return Location("north", HOMES[int(table[1:]) % 4])

    def kind(self, location: Location) -> str:
        return KINDS[location]

    def unsupported(self, location: Location, node: Relation) -> str | None:
        return None

    def rows(self, site: str, table: str) -> int:
        return max(1, int(self.sizes[table] * self.lies))

    def policy(self, site: str, table: str) -> TablePolicy:
        return TablePolicy(release="rows")

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        return ()


def pipeline(random: np.random.Generator) -> Relation:
    """A few joins of tables that live on different engines, with other work between them."""

    def step(relation: Relation) -> Relation:
        match random.integers(5):
            case 0:
                return Filter(relation, (Call("Less", (X, Literal(0.1, "float64")), "boolean"),))
            case 1:
                return Project(relation, (("id", A), ("g", G), ("x", Call("Add", (X, X), "float64"))))
            case 2:
                return Sort(relation, (SortKey(X),))
            case 3:
                total = Call("Sum", (X, None), "float64")
                return Aggregate(relation, (("id", A), ("g", G)), (("x", total),))
            case _:
                return relation

    def table() -> Relation:
        return step(Scan(f"t{random.integers(8)}", COLUMNS, "north"))

    root = table()
    for _ in range(random.integers(1, 4)):
        equal = Call("Equals", (A, Column("id", "int64", 1)), "boolean")
        root = step(Join((root, table()), (Link("inner", (equal,)),), (("id", A), ("g", G), ("x", X))))
    return Aggregate(root, (("g", G),), (("n", Call("CountStar", (None,), "int64")),))


def ran(
    physical: PhysicalPlan, truth: Learned, world: World, random: np.random.Generator
) -> list[Measurement]:
    """What the fragments take in truth: each reads and gives as many rows as the true sizes say."""
    sizes = Sizes(world.rows)
    outputs = {
        one.key: Output(round(sizes.of(one.computes).expected), True, False, Stopwatch())
        for one in physical.fragments
        if one.computes is not None
    }
    return [
        Measurement(one.parts, truth.predict(one.parts).seconds * math.exp(random.normal(0, 0.15)))
        for one in measurements(physical, outputs, world.rows)
    ]


def true_world(random: np.random.Generator) -> Learned:
    """Engines as far from the prior as a factor of three or so, in one of three kinds of work."""
    truth = Learned()
    for location, kind in KINDS.items():
        truth.know(platform_name(location), kind)
        belief = truth.beliefs[platform_name(location)]
        belief.mean[: len(TERMS)] = random.normal(0, 0.6) + random.normal(0, 1.0, len(TERMS))
    return truth


def regret(costs: CostModel, truth: Learned, world: World, seen: World, root: Relation, random: np.random.Generator, learns: Learned | None) -> float:  # fmt: skip
    """True seconds of the plan that is chosen over those of the plan that the truth would choose."""
    chosen = plan(root, seen, costs=costs)
    best = plan(root, world, costs=truth)

    def seconds(physical: PhysicalPlan) -> float:
        quiet = np.random.default_rng(0)
        return sum(truth.predict(one.parts).seconds for one in ran(physical, truth, world, quiet))

    if learns is not None:
        # what is learned from are the sizes that the federation believes in, and the seconds as they were
        for told, true in zip(
            ran(chosen, truth, seen, random), ran(chosen, truth, world, random), strict=True
        ):
            learns.learn(told.parts, true.seconds)
    return max(1.0, seconds(chosen) / seconds(best))


SIZES = {f"t{i}": int(10 ** (3.5 + 0.35 * i)) for i in range(8)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_regret_shrinks_with_runs(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, world, learned = true_world(random), World(SIZES), Learned()
    roots = [pipeline(random) for _ in range(60)]
    prior = [regret(Prior(), truth, world, world, root, random, None) for root in roots]
    found = [regret(learned, truth, world, world, root, random, learned) for root in roots]
    first, last = statistics.mean(found[:10]), statistics.mean(found[-20:])
    print(
        f"world {seed}: mean regret of the prior {statistics.mean(prior):.2f}, of the first ten runs {first:.2f}, of the last twenty {last:.2f}"
    )
    assert last < 1.25
    assert last < statistics.mean(prior[-20:])


@pytest.mark.parametrize("lies", [1e4, 1e-4])
def test_statistics_that_lie_ten_thousandfold_do_not_spoil_plans(lies: float) -> None:
    random = np.random.default_rng(7)
    truth, world, learned = true_world(random), World(SIZES), Learned()
    roots = [pipeline(random) for _ in range(30)]
    for root in roots:
        regret(learned, truth, world, world, root, random, learned)
    before = statistics.mean(regret(learned, truth, world, world, root, random, None) for root in roots)
    lying = World(SIZES, lies)
    worst = max(regret(learned, truth, world, lying, root, random, learned) for root in roots)
    after = statistics.mean(regret(learned, truth, world, world, root, random, None) for root in roots)
    print(
        f"lies of {lies:g}: regret at most {worst:.2f}; honest plans {before:.2f} before and {after:.2f} after"
    )
    assert worst < 60
    assert after < before + 0.35


def test_distinct_counts_that_lie_give_plans_with_finite_costs() -> None:
    random = np.random.default_rng(8)
    world = World(SIZES)
    for distinct in (1e-9, 1.0, 1e18):
        sizes = Sizes(world.rows, statistics=lambda *_, d=distinct: ColumnStatistics(d, 0.0, 1e-9))
        for _ in range(10):
            physical = plan(pipeline(random), world, sizes=sizes, costs=Learned())
            assert all(math.isfinite(one.estimate.seconds) for one in physical.fragments)
            assert physical.seconds <= physical.seconds_high < math.inf
