"""Planning over a small invented federation: compliance, fragments, subqueries, guards, errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from blossom.optimizer.cardinality import Rows, Sizes
from blossom.optimizer.physical import Location, PhysicalPlan
from blossom.optimizer.planning import plan
from blossom.plan.errors import PlanError, PolicyError, Refusal
from blossom.plan.expressions import Call, Column, Literal, Outer, Subquery
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Filter,
    Function,
    Join,
    Limit,
    Link,
    MapBatches,
    Model,
    Parts,
    Predict,
    Project,
    Received,
    Relation,
    Scan,
    SetOperation,
    Sort,
    SortKey,
    Train,
)
from blossom.plan.schema import Schema
from blossom.plan.text import plan_text
from blossom.policy.model import TablePolicy

HUB = Location("hub", "duckdb")
NORTH = Location("north", "duckdb")
SOUTH = Location("south", "duckdb")
NORTH_LITE = Location("north", "lite")
SOUTH_POLARS = Location("south", "polars")
COLUMNS = Schema([("id", "int64"), ("age", "int64"), ("city", "string")])
NOTHING = frozenset[str]()


@dataclass(frozen=True)
class World:
    """`release[site/table]`: "rows" (to everyone named in `to`, default everyone), "aggregates" (to the hub) or "none"."""

    release: Mapping[str, str] = field(default_factory=dict)
    to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    homes: Mapping[str, Location] = field(default_factory=dict)
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    cannot: Callable[[Location, Relation], str | None] = lambda _location, _node: None
    locations: tuple[Location, ...] = (HUB, NORTH, NORTH_LITE, SOUTH, SOUTH_POLARS)
    judged: list[tuple[Relation, str, str]] = field(default_factory=list)

    def home(self, site: str, table: str) -> Location:
        return self.homes.get(f"{site}/{table}") or Location(site, "duckdb")

    def kind(self, location: Location) -> str:
        return {"lite": "sqlite"}.get(location.platform, location.platform)

    def unsupported(self, location: Location, node: Relation) -> str | None:
        assert not isinstance(node, Parts | Copies)
        return self.cannot(location, node)

    def rows(self, site: str, table: str) -> int | None:
        return self.sizes.get(f"{site}/{table}", 10_000)

    def policy(self, site: str, table: str) -> TablePolicy:
        release = self.release.get(f"{site}/{table}", "rows")
        return TablePolicy(release=release, min_group=10, privacy_unit="id")

    def may_ship(self, relation: Relation, site: str, recipient: str) -> tuple[Refusal, ...]:
        self.judged.append((relation, site, recipient))
        refused = []
        for table in scans(relation):
            assert table.site == site
            name = f"{site}/{table.table}"
            release = self.release.get(name, "rows")
            if recipient not in self.to.get(name, (recipient,)):
                refused.append(
                    Refusal(site, table.table, None, "recipient", f"not to {recipient}", "another recipient")
                )
            elif release == "none" or (release == "aggregates" and not guarded(relation)):
                refused.append(Refusal(site, table.table, None, "release", "rows stay", "aggregate it"))
        return tuple(refused)


def scans(relation: Relation) -> list[Scan]:
    found = []
    for node in relation.walk():
        if isinstance(node, Scan):
            found.append(node)
        for expression in node.expressions():
            if isinstance(expression, Subquery):
                found += scans(expression.plan)
    return found


def guarded(relation: Relation) -> bool:
    """Whether every way from the root to a table goes through an aggregate."""
    if isinstance(relation, Aggregate):
        return True
    if isinstance(relation, Scan):
        return False
    return all(guarded(child) for child in relation.inputs)


def scan(site: str, table: str = "people") -> Scan:
    return Scan(table, COLUMNS, site)


def adults(relation: Relation) -> Filter:
    return Filter(relation, (Call("GreaterEqual", (Column("age", "int64"), Literal(18, "int8")), "boolean"),))


def count(relation: Relation) -> Aggregate:
    return Aggregate(
        relation, (("city", relation.column("city")),), (("n", Call("CountStar", (None,), "int64")),)
    )


def merge(relation: Relation) -> Aggregate:
    total = Call("Sum", (relation.column("n"), None), "int64")
    return Aggregate(relation, (("city", relation.column("city")),), (("n", total),))


def join(left: Relation, right: Relation) -> Join:
    on = Call("Equals", (left.column("id", 0), right.column("id", 1)), "boolean")
    values = (("id", left.column("id", 0)), ("age", left.column("age", 0)), ("city", right.column("city", 1)))
    return Join((left, right), (Link("inner", (on,)),), values)


def where(physical: PhysicalPlan) -> list[str]:
    return [
        f"{one.key} {one.location} <- {','.join(one.inputs)} -> {','.join(one.recipients)}"
        for one in physical.fragments
    ]


def test_one_platform_gives_one_fragment_that_is_the_root_itself() -> None:
    root = Sort(count(adults(scan("north"))), (SortKey(Column("city", "string")),))
    physical = plan(root, World())
    assert where(physical) == ["f0 duckdb@north <-  -> hub"]
    assert physical.result.root is root
    assert physical.result.estimate.seconds == pytest.approx(physical.seconds)
    assert physical.result.estimate.rows > 0


def test_parts_are_aggregated_at_their_sites_and_merged_at_the_hub() -> None:
    world = World(release={"north/people": "aggregates", "south/people": "aggregates"})
    north, south = count(adults(scan("north"))), count(adults(scan("south")))
    physical = plan(merge(Parts((north, south), ("north", "south"))), world)
    assert where(physical) == [
        "f0 duckdb@north <-  -> hub",
        "f1 duckdb@south <-  -> hub",
        "f2 duckdb@hub <- f0,f1 -> hub",
    ]
    assert physical.fragments[0].root is north
    assert plan_text(physical.result.root) == (
        "Aggregate [city] n=sum(n)\n  Union all\n    Received f0 (city, n)\n    Received f1 (city, n)"
    )
    assert any("policy of people: rows stay" in reason for reason in physical.fragments[0].reasons)
    assert physical.fragments[0].reasons[0] == "people lives here"


def test_rows_that_must_stay_are_an_error_that_says_what_would_be_allowed() -> None:
    world = World(release={"north/people": "aggregates"})
    with pytest.raises(PolicyError) as caught:
        plan(adults(Parts((scan("north"), scan("south")), ("north", "south"))), world)
    assert [refusal.site for refusal in caught.value.refusals] == ["north"]
    assert "aggregate it" in str(caught.value)
    with pytest.raises(PolicyError, match=r"the result \(Filter\) may not reach hub from north"):
        plan(adults(scan("north")), world)


def test_a_refusal_is_about_the_parts_nearest_to_the_result() -> None:
    """No refusal for a table that would not leave on its own, nor for a place that nobody asked for."""
    world = World(
        release={"north/people": "aggregates", "south/people": "aggregates"},
        to={"north/people": ("hub",), "south/people": ("hub",)},
    )
    wide = Parts((adults(scan("north")), adults(scan("south"))), ("north", "south"))
    with pytest.raises(PolicyError) as caught:
        plan(Limit(Sort(wide, (SortKey(Column("age", "int64")),)), 10), world)
    assert {(one.site, one.rule) for one in caught.value.refusals} == {
        ("north", "release"),
        ("south", "release"),
    }
    assert str(caught.value).splitlines() == [
        "Sort: what it needs of people may not leave north and south",
        "  - [release] {north, south}/people: rows stay; allowed: aggregate it",
        "  hint: would be answered: group by city and aggregate, in groups of at least 10 distinct id: "
        '.group_by("city").agg(n=_.count(), id=_.id.mean(), age=_.age.mean())',
    ]


def test_a_refused_join_says_that_a_partition_would_help() -> None:
    world = World(release={"north/people": "aggregates", "south/people": "aggregates"})
    with pytest.raises(PolicyError, match="declare it: partition"):
        plan(count(join(scan("north"), scan("south"))), world)


def test_a_join_runs_at_the_site_that_the_other_one_trusts() -> None:
    world = World(
        release={"north/people": "aggregates"},
        to={"south/people": ("north", "hub")},
    )
    root = count(join(scan("north"), scan("south")))
    physical = plan(root, world)
    assert where(physical) == ["f0 duckdb@south <-  -> north", "f1 duckdb@north <- f0 -> hub"]
    judged = [
        relation
        for relation, site, recipient in world.judged
        if site == "north" and isinstance(relation, Aggregate)
    ]
    assert [type(one) for one in judged[0].walk()] == [Scan, Received, Join, Aggregate]


def test_data_lent_to_a_site_may_not_reach_the_consumer_through_it() -> None:
    world = World(release={"north/people": "aggregates"}, to={"south/people": ("north",)})
    with pytest.raises(PolicyError) as caught:
        plan(count(join(scan("north"), scan("south"))), world)
    assert ("south", "recipient") in {(refusal.site, refusal.rule) for refusal in caught.value.refusals}


def test_a_third_site_needs_the_consent_of_every_owner() -> None:
    """North and south rows may go to the hub only; the east's aggregate of the join needs them at the east."""
    east = Location("east", "duckdb")
    locations = (HUB, NORTH, SOUTH, east)
    to = {"north/people": ("hub", "south"), "south/people": ("hub", "east")}
    root = count(join(join(scan("north"), scan("south")), scan("east")))
    release = {"east/people": "aggregates"}
    with pytest.raises(PolicyError) as caught:
        plan(root, World(release=release, to=to, locations=locations))
    assert ("north", "not to east") in {(refusal.site, refusal.reason) for refusal in caught.value.refusals}
    to["north/people"] = ("hub", "south", "east")
    physical = plan(root, World(release=release, to=to, locations=locations))
    assert physical.result.location == east


def test_a_shared_node_is_computed_once() -> None:
    slow = Function("slow", "0" * 64)
    shared = MapBatches(scan("north"), slow, COLUMNS)
    root = Parts(
        (adults(shared), Limit(MapBatches(shared, Function("other", "1" * 64), COLUMNS), 3)),
        ("north", "north"),
    )

    def cannot(location: Location, node: Relation) -> str | None:
        if isinstance(node, MapBatches) and (location.platform == "lite") != (node.function.name == "other"):
            return "no such function"
        return None

    physical = plan(root, World(cannot=cannot, locations=(HUB, NORTH, NORTH_LITE)))
    shared_key = next(one.key for one in physical.fragments if one.root is shared)
    readers = [one for one in physical.fragments if shared_key in one.inputs]
    assert len(readers) == 2
    assert sum(isinstance(node, Scan) for one in physical.fragments for node in one.root.walk()) == 1
    assert any("no such function, so " in reason for one in physical.fragments for reason in one.reasons)


def test_sharing_within_a_fragment_stays_sharing() -> None:
    shared = adults(scan("north"))
    root = count(join(shared, Limit(shared, 5)))
    physical = plan(root, World())
    assert len(physical.fragments) == 1
    assert physical.result.root is root


def test_the_nearest_copy_is_used() -> None:
    codes = Copies((scan("south", "codes"), scan("north", "codes")), ("south", "north"))
    world = World(release={"north/people": "aggregates"})
    physical = plan(count(join(scan("north"), codes)), world)
    assert where(physical) == ["f0 duckdb@north <-  -> hub"]
    assert plan_text(physical.result.root).count("Scan north/codes") == 1


def test_a_steward_alone_answers() -> None:
    codes = Copies((scan("south", "codes"), scan("north", "codes")), ("south", "north"), steward="south")
    physical = plan(count(codes), World())
    assert where(physical) == ["f0 duckdb@south <-  -> hub"]
    assert isinstance(physical.result.root.inputs[0], Scan)


def test_one_part_is_no_union() -> None:
    inner = scan("north")
    physical = plan(count(Parts((inner,), ("north",))), World())
    assert physical.result.root.inputs == (inner,)


def test_constants_and_models_are_written_where_they_are_used() -> None:
    model = Model("{}")
    one = Constant(
        (("id", Literal(1, "int64")), ("age", Literal(30, "int64")), ("city", Literal("a", "string")))
    )
    parts = tuple(
        count(
            Predict(
                SetOperation("union", (scan(site), one), False), model, ("age",), (("prediction", "float64"),)
            )
        )
        for site in ("north", "south")
    )
    physical = plan(Parts(parts, ("north", "south")), World())
    assert len(physical.fragments) == 3
    for fragment in physical.fragments[:2]:
        assert {type(node) for node in fragment.root.walk()} == {
            Scan,
            Constant,
            SetOperation,
            Model,
            Predict,
            Aggregate,
        }
    assert where(plan(one, World())) == ["f0 duckdb@hub <-  -> hub"]


def test_a_small_gain_does_not_justify_a_second_platform() -> None:
    homes = {"north/people": NORTH_LITE}
    root = count(adults(scan("north")))
    small = plan(root, World(homes=homes, sizes={"north/people": 1_000}))
    assert where(small) == ["f0 lite@north <-  -> hub"]

    def slow_join(rows: int) -> PhysicalPlan:
        wide = Sort(join(scan("north"), scan("north")), (SortKey(Column("age", "int64")),))
        return plan(
            count(wide), World(homes=homes, sizes={"north/people": rows}, locations=(NORTH_LITE, NORTH, HUB))
        )

    assert len({one.location for one in slow_join(100).fragments}) == 1


def test_a_large_gain_does() -> None:
    """PostgreSQL-like: reading out once is cheaper than three sorts inside."""
    pg = Location("north", "postgresql")
    root: Relation = Project(scan("north"), (("id", Column("id", "int64")),))
    for _ in range(8):
        root = Sort(root, (SortKey(Column("id", "int64")),))
    root = Limit(root, 3)
    world = World(homes={"north/people": pg}, sizes={"north/people": 5_000_000}, locations=(HUB, NORTH, pg))
    physical = plan(root, world)
    assert where(physical) == ["f0 postgresql@north <-  -> north", "f1 duckdb@north <- f0 -> hub"]
    assert any("was considered: " in reason for reason in physical.result.reasons)


def exists(outer: Relation, plan_: Relation) -> Filter:
    return Filter(outer, (Subquery("exists", plan_, "boolean"),))


def test_an_uncorrelated_subquery_elsewhere_is_an_input() -> None:
    average = Aggregate(scan("south"), (), (("m", Call("Mean", (Column("age", "int64"), None), "float64")),))
    predicate = Call("Greater", (Column("age", "int64"), Subquery("scalar", average, "float64")), "boolean")
    root = count(Filter(scan("north"), (predicate,)))
    world = World(release={"north/people": "aggregates", "south/people": "aggregates"})
    physical = plan(root, world)
    assert where(physical) == ["f0 duckdb@south <-  -> north", "f1 duckdb@north <- f0 -> hub"]
    assert physical.fragments[0].root is average
    (new,) = physical.result.root.inputs[0].expressions()
    subquery = new.args[1]
    assert isinstance(subquery.plan, Received)
    assert subquery.plan.schema == average.schema


def test_a_local_subquery_is_left_alone() -> None:
    inner = Filter(
        scan("north", "visits"), (Call("Equals", (Column("id", "int64"), Outer("id", "int64")), "boolean"),)
    )
    root = count(exists(scan("north"), inner))
    physical = plan(root, World(release={"north/people": "aggregates", "north/visits": "aggregates"}))
    assert physical.result.root is root


def test_of_a_correlated_subquery_only_the_needed_columns_travel() -> None:
    inner = Filter(
        scan("south", "visits"), (Call("Equals", (Column("id", "int64"), Outer("id", "int64")), "boolean"),)
    )
    root = count(exists(scan("north"), inner))
    physical = plan(root, World(release={"north/people": "aggregates"}))
    assert where(physical) == ["f0 duckdb@south <-  -> north", "f1 duckdb@north <- f0 -> hub"]
    assert physical.fragments[0].root.schema.names == ("id",)
    assert plan_text(physical.result.root) == (
        "Aggregate [city] n=count()\n"
        "  Filter exists(subquery)\n"
        "    Scan north/people (id, age, city)\n"
        "    subquery 1: Filter id = outer.id\n"
        "      Received f0 (id)"
    )


def test_a_correlated_subquery_over_parts_becomes_a_union() -> None:
    visits = Parts((scan("north", "visits"), scan("south", "visits")), ("north", "south"))
    inner = Filter(visits, (Call("Equals", (Column("id", "int64"), Outer("id", "int64")), "boolean"),))
    most = Aggregate(inner, (), (("m", Call("Max", (Column("age", "int64"), None), "int64")),))
    predicate = Call("Equals", (Column("age", "int64"), Subquery("scalar", most, "int64")), "boolean")
    physical = plan(Filter(scan("north"), (predicate,)), World())
    texts = "\n".join(plan_text(one.root) for one in physical.fragments)
    assert "Parts" not in texts
    assert "Union all" in texts
    assert "visits (id, age)" not in texts.replace("Scan south/visits (id, age, city)", "")


def test_a_subquery_that_may_not_travel_pulls_the_node_to_its_site() -> None:
    inner = Filter(
        scan("south", "visits"), (Call("Equals", (Column("id", "int64"), Outer("id", "int64")), "boolean"),)
    )
    root = count(exists(scan("north"), inner))
    physical = plan(root, World(release={"south/visits": "aggregates"}))
    assert physical.result.location == SOUTH


def test_what_no_platform_can_run_says_why() -> None:
    root = count(adults(scan("north")))

    def cannot(location: Location, node: Relation) -> str | None:
        return "no aggregates" if isinstance(node, Aggregate) else None

    with pytest.raises(PlanError, match="no platform can run Aggregate"):
        plan(root, World(cannot=cannot))

    def only_hub(location: Location, node: Relation) -> str | None:
        return "no aggregates" if isinstance(node, Aggregate) and location.site != "hub" else None

    with pytest.raises(PolicyError, match="rows stay") as caught:
        plan(root, World(cannot=only_hub, release={"north/people": "aggregates"}))
    assert "duckdb@north cannot: no aggregates" in str(caught.value)


@pytest.mark.parametrize(
    ("root", "says"),
    [
        (Scan("people", COLUMNS), "still federated"),
        (Train(scan("north"), "{}", "age", ("id",)), "still to be trained"),
        (Received("f0", COLUMNS), "already receives"),
        (scan("west"), "no platform at west"),
    ],
)
def test_plans_that_are_not_ready(root: Relation, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        plan(root, World())


def test_remembered_sizes_win() -> None:
    inner = adults(scan("north"))
    physical = plan(
        Limit(inner, None),
        World(),
        sizes=Sizes(
            World().rows, {"adults": Rows.exactly(7)}, lambda node: "adults" if node is inner else ""
        ),
    )
    assert physical.result.estimate.rows == 7


def test_a_long_chain_is_planned_quickly() -> None:
    root: Relation = scan("north")
    for _ in range(1500):
        root = adults(root)
        assert root.schema  # as the rewrites do: from the leaves up
    physical = plan(count(root), World(locations=(HUB, NORTH)))
    assert len(physical.fragments) == 1
    small: Relation = scan("north")
    for _ in range(80):
        small = adults(small)
    assert min(plan(small, World()).planning_seconds for _ in range(3)) < 0.2
