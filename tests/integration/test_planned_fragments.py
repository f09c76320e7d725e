"""Fragments of randomly constrained plans, run one after the other on DuckDB, give what the whole plan gives."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blossom.optimizer.physical import Location, PhysicalPlan
from blossom.optimizer.planning import plan
from blossom.plan.errors import PlanError, Refusal
from blossom.plan.expressions import Call, Column, Literal, Outer, Subquery
from blossom.plan.relations import (
    Aggregate,
    Copies,
    Distinct,
    Filter,
    Join,
    Link,
    Parts,
    Project,
    Relation,
    Scan,
)
from blossom.plan.schema import Schema
from blossom.platforms.duckdb import DuckDB
from blossom.platforms.interface import Cancellation, TableSource
from blossom.policy.model import TablePolicy

COLUMNS = Schema([("id", "int64"), ("age", "int64"), ("city", "string")])
PLACES = tuple(Location(site, name) for site in ("hub", "north", "south") for name in ("duckdb", "polars"))


@dataclass(frozen=True)
class Federation:
    """Everything may move; `salt` decides which node may run where, None: all of it at one place."""

    salt: int | None
    locations: tuple[Location, ...] = PLACES

    def home(self, site: str, table: str) -> Location:
        return Location(site, "duckdb") if self.salt is not None else PLACES[0]

    def kind(self, location: Location) -> str:
        return location.platform

    def unsupported(self, location: Location, node: Relation) -> str | None:
        if self.salt is None:
            return None
        key = f"{self.salt} {location} {type(node).__name__} {list(node.schema)}"
        return "drawn by chance" if zlib.crc32(key.encode()) % 3 else None

    def rows(self, site: str, table: str) -> int | None:
        return 20

    def policy(self, site: str, table: str) -> TablePolicy:
        return TablePolicy(release="rows")

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        return ()


def scan(site: str, table: str) -> Scan:
    return Scan(f"{table}_{site}", COLUMNS, site)


def both(table: str) -> Parts:
    return Parts((scan("north", table), scan("south", table)), ("north", "south"))


def op(name: str, *args, dtype: str = "boolean") -> Call:
    return Call(name, args, dtype)


ID, AGE, CITY = Column("id", "int64"), Column("age", "int64"), Column("city", "string")
SAME_ID = op("Equals", ID, Outer("id", "int64"))
OLDER = op("Greater", AGE, Outer("age", "int64"))


def adults(relation: Relation) -> Filter:
    return Filter(relation, (op("GreaterEqual", AGE, Literal(18, "int8")),))


def count(relation: Relation) -> Aggregate:
    return Aggregate(relation, (("city", CITY),), (("n", op("CountStar", None, dtype="int64")),))


def join(left: Relation, right: Relation, how: str = "inner") -> Join:
    on = op("Equals", Column("id", "int64", 0), Column("id", "int64", 1))
    values = (("id", ID), ("age", Column("age", "int64", 0 if how == "semi" else 1)), ("city", CITY))
    return Join((left, right), (Link(how, (on,)),), values)


def scalar(relation: Relation, metric: str) -> Subquery:
    aggregate = Aggregate(relation, (), (("m", op(metric, AGE, None, dtype="int64")),))
    return Subquery("scalar", aggregate, "int64")


def plans() -> Iterator[Relation]:
    people, visits = both("people"), both("visits")
    yield count(adults(people))
    yield join(adults(people), visits)
    yield join(people, adults(visits), "semi")
    shared = adults(people)
    yield join(shared, Distinct(shared), "left")
    yield count(join(people, Copies((scan("south", "codes"), scan("north", "codes")), ("south", "north"))))
    yield Filter(people, (op("Less", AGE, scalar(scan("south", "visits"), "Max")),))
    yield Filter(scan("north", "people"), (Subquery("exists", Filter(visits, (SAME_ID,)), "boolean"),))
    yield Filter(people, (op("GreaterEqual", AGE, scalar(Filter(adults(visits), (SAME_ID,)), "Max")),))
    cities = Project(adults(visits), (("city", CITY),))
    yield Filter(people, (Subquery("in", cities, "boolean", CITY),))
    nested = Filter(
        scan("north", "visits"), (SAME_ID, Subquery("exists", Filter(people, (SAME_ID, OLDER)), "boolean"))
    )
    yield count(Filter(scan("south", "people"), (Subquery("exists", nested, "boolean"),)))
    twice = Filter(
        visits,
        (
            Subquery(
                "exists",
                Filter(scan("south", "codes"), (op("Equals", ID, Outer("id", "int64", depth=2)),)),
                "boolean",
            ),
        ),
    )
    yield Filter(scan("north", "people"), (Subquery("exists", twice, "boolean"),))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDB]:
    folder: Path = tmp_path_factory.mktemp("tables")
    engine = DuckDB("duckdb", threads=1)
    for number, (table, site) in enumerate(
        itertools.product(("people", "visits", "codes"), ("north", "south"))
    ):
        shift = 0 if table == "codes" else number
        rows = [
            {"id": (i * 7 + shift) % 23, "age": (i * 5 + shift * 3) % 60, "city": "abc"[(i + shift) % 3]}
            for i in range(20)
        ]
        path = folder / f"{table}_{site}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, COLUMNS.to_pyarrow()), path)
        engine.publish(f"{table}_{site}", TableSource(str(path)))
    yield engine
    engine.close()


def run(physical: PhysicalPlan, engine: DuckDB) -> list[tuple]:
    results: dict[str, pa.Table] = {}
    for fragment in physical.fragments:
        inputs = {key: results[key].to_reader() for key in fragment.inputs}
        results[fragment.key] = engine.run(fragment.root, inputs, Cancellation()).read_all()
    return sorted(tuple(row.values()) for row in results[physical.result.key].to_pylist())


@pytest.mark.parametrize("number", range(len(list(plans()))))
def test_cut_plans_give_what_the_whole_gives(number: int, engine: DuckDB) -> None:
    root = list(plans())[number]
    whole = plan(root, Federation(None))
    assert len(whole.fragments) == 1
    want = run(whole, engine)
    assert want
    shapes = set()
    for salt in range(60):
        try:
            cut = plan(root, Federation(salt))
        except PlanError:
            continue
        shapes.add(tuple((one.location, one.inputs) for one in cut.fragments))
        assert run(cut, engine) == want, salt
        if len(shapes) >= 8:
            break
    assert len(shapes) >= 3
    assert max(map(len, shapes)) >= 3
