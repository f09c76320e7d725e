"""The world that is attacked: people of two sites, one of whom is the victim, and the owners' rules for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import blossom as bl

MIN_GROUP = 10
VICTIM = 54_321
VICTIM_AGE = 97
VICTIM_NAME = "Ada Lovelace"
VICTIM_DAY = dt.date(2025, 2, 3)

SECRETS: Mapping[str, float | str] = {
    "salary": 97_531.24,
    "income": 95_123.0,
    "revenue": 8_765_432.1,
    "cost": 777.77,
    "visits": 25.0,
    "flag": 1.0,
    "pay": 43_210.98,
    "level": 31_415.93,
    "city": "Zed",
    "wage": 61_234.5,
    "raise": 4_321.25,
    "cents": 12_345_678.0,
    "ill": 5_077.0,
}
"""What an attacker is after. `flag` alone could be guessed: its attacks recover the flags of many people at once."""

DEPARTMENTS = ("audit", "bank", "care", "depot", "estate")
CITIES = ("Ayr", "Bex", "Cul")
SIZES = {"north": 260, "south": 180}


def people(site: str) -> pa.Table:
    """One row a person. The victim lives in the north, alone of her age and of her city, has the highest salary and income,
    nearly all of the revenue, and neither bonus nor team."""
    rng = np.random.default_rng(["north", "south"].index(site) + 1)
    n = SIZES[site]
    pid = rng.choice(
        np.arange(10_000 if site == "north" else 60_000, 54_000 if site == "north" else 99_000),
        n,
        replace=False,
    )
    age = rng.integers(20, 80, n)
    rows: dict[str, list[Any]] = {
        "pid": pid.tolist(),
        "name": [f"person {site} {i}" for i in range(n)],
        "sex": rng.choice(["f", "m"], n).tolist(),
        "age": age.tolist(),
        "city": rng.choice(CITIES, n).tolist(),
        "dept": rng.choice(DEPARTMENTS, n).tolist(),
        "team": rng.choice(["blue", "red"], n).tolist(),
        "salary": np.round(30_000 + 500 * age + rng.uniform(-4_000, 19_000, n), 2).tolist(),
        "income": rng.integers(20_000, 90_000, n).tolist(),
        "bonus": np.round(rng.uniform(100, 900, n), 2).tolist(),
        "revenue": np.round(rng.uniform(1_000, 5_000, n), 2).tolist(),
        "flag": rng.integers(0, 2, n).tolist(),
    }
    if site == "north":
        victim = {
            "pid": VICTIM, "name": VICTIM_NAME, "sex": "f", "age": VICTIM_AGE, "city": SECRETS["city"], "dept": "audit",
            "team": None, "salary": SECRETS["salary"], "income": int(SECRETS["income"]), "bonus": None,
            "revenue": SECRETS["revenue"], "flag": 1,
        }  # fmt: skip
        for name, value in victim.items():
            rows[name][0] = value
    return pa.table(rows)


def visits(site: str) -> pa.Table:
    """One to four visits a person; the victim has 25, one of them on a day of its own."""
    rng = np.random.default_rng(["north", "south"].index(site) + 11)
    pid: list[int] = []
    day: list[dt.date] = []
    cost: list[float] = []
    for person in people(site)["pid"].to_pylist():
        count = int(SECRETS["visits"]) if person == VICTIM else int(rng.integers(1, 5))
        pid += [person] * count
        day += [dt.date(2024, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 180, count)]
        cost += np.round(rng.uniform(50, 150, count), 2).tolist()
    if site == "north":
        first = pid.index(VICTIM)
        day[first], cost[first] = VICTIM_DAY, float(SECRETS["cost"])
    vid = [len(SIZES) * i + (site == "south") for i in range(len(pid))]
    return pa.table(
        {"vid": vid, "pid": pid, "day": day, "cost": cost, "kind": rng.choice(["a", "b", "c"], len(pid))}
    )


def staff() -> pa.Table:
    """A table that both sites hold whole; the north answers for it."""
    rng = np.random.default_rng(21)
    age, pay = rng.integers(20, 80, 120), np.round(rng.uniform(20_000, 40_000, 120), 2)
    age[7], pay[7] = VICTIM_AGE, SECRETS["pay"]
    return pa.table({"sid": np.arange(120), "age": age, "pay": pay, "grade": rng.choice(["x", "y"], 120)})


def samples() -> pa.Table:
    """Rows with and without a donor: those without are one unit together, however many."""
    rng = np.random.default_rng(31)
    lot = ["common"] * 60 + ["rare"] * 15
    donor = [*range(60), *[None] * 15]
    level = [*rng.uniform(1, 9, 60).tolist(), *[SECRETS["level"]] * 15]
    return pa.table({"donor": pa.array(donor, pa.int64()), "lot": lot, "level": level})


def crew() -> pa.Table:
    """One row a person. The victim is the sixth: her wage alone was raised, she alone is of another year and on no shift, and
    earns most cents; she and two others are ill; and she is one of twelve in a wide table's smallest port."""
    rng = np.random.default_rng(51)
    n, she = 120, 5
    wage = np.round(rng.uniform(30_000, 50_000, n), 2)
    wage[she] = SECRETS["wage"]
    raised = wage.copy()
    raised[she] += SECRETS["raise"]
    shift, ill, year = rng.integers(0, 3, n), np.zeros(n, np.int64), np.full(n, 2023)
    shift[she], ill[[she, 40, 77]], year[she] = 3, 1, 1999
    cents = rng.integers(3_000_000, 7_000_000, n)
    cents[she] = int(SECRETS["cents"])
    return pa.table(
        {
            "pid": [*range(5_000, 5_000 + she), int(SECRETS["ill"]), *range(5_100, 5_100 + n - she - 1)],
            "port": ["Ems"] * 12 + ["Rhone"] * (n - 12),
            "wage": wage, "raised": raised, "year": year, "cents": cents, "ill": ill,
            **{f"on_{i}": (shift == i).astype(np.int64) for i in range(3)},
            "early": (np.arange(n) != she).astype(np.int64),
            **{f"test_{i}": rng.integers(1, 100, n) for i in range(12)},
        }
    )  # fmt: skip


def cities() -> pa.Table:
    """An open code list."""
    return pa.table(
        {
            "city": [*CITIES, "Zed", "Ulm"],
            "region": ["low", "low", "high", "high", "high"],
            "size": [5, 7, 3, 2, 4],
        }
    )


def roll() -> pa.Table:
    """An open electoral roll: every second person of the north, and as many who are not in `people`."""
    rng = np.random.default_rng(41)
    inside = people("north")["pid"].to_pylist()[::2]
    outside = rng.choice(np.arange(100_000, 140_000), len(inside), replace=False).tolist()
    return pa.table({"pid": [*inside, *outside], "party": rng.choice(["sun", "moon"], 2 * len(inside))})


TABLES: Mapping[str, Mapping[str, Any]] = {
    "people": {"north": people, "south": people},
    "visits": {"north": visits, "south": visits},
    "staff": {"north": lambda _: staff(), "south": lambda _: staff()},
    "samples": {"north": lambda _: samples()},
    "crew": {"north": lambda _: crew()},
    "cities": {"north": lambda _: cities(), "south": lambda _: cities()},
    "roll": {"north": lambda _: roll()},
    "ledgers": {"north": people},
    "letters": {"north": people},
    "research": {"north": people},
    "untrained": {"north": people},
}

LAYOUT: Mapping[str, Mapping[str, Any]] = {
    "people": {"partition": {"by": ["pid"], "scheme": "people"}},
    "visits": {"partition": {"by": ["pid"], "scheme": "people"}},
    "staff": {"replicated": True, "steward": "north"},
    "cities": {"replicated": True},
}

PEOPLE: Mapping[str, Any] = {
    "release": "aggregates",
    "min_group": MIN_GROUP,
    "privacy_unit": "pid",
    "training": "updates",
    "columns": {"age": {"transform": True}, "name": {"release": "none", "filter": False, "key": False}},
}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "people": PEOPLE,
    "visits": {
        "release": "aggregates",
        "min_group": MIN_GROUP,
        "privacy_unit": "pid",
        "columns": {"day": {"transform": True}},
    },
    "staff": {
        "release": "aggregates",
        "min_group": MIN_GROUP,
        "privacy_unit": "sid",
        "columns": {"age": {"transform": True}},
    },
    "samples": {"release": "aggregates", "min_group": MIN_GROUP, "privacy_unit": "donor"},
    "crew": {"release": "aggregates", "min_group": MIN_GROUP, "privacy_unit": "pid"},
    "cities": {"release": "rows"},
    "roll": {"release": "rows"},
    "ledgers": {**PEOPLE, "to": ["role:auditor"]},
    "letters": {**PEOPLE, "release": "rows", "columns": {}, "to": ["site:south"]},
    "research": {**PEOPLE, "purposes": ["research"]},
    "untrained": {**PEOPLE, "training": "none"},
}
"""What each owner allows. `ledgers`, `letters` and `research` hold the people again, under other rules of admission."""

OPEN: Mapping[str, Any] = {
    "release": "rows",
    "to": ["hub", "site:north", "site:south"],
    "training": "updates",
}


@cache
def stored(folder: Path) -> Mapping[tuple[str, str], Path]:
    """Every table as a file, written once a folder: (table, site) -> path."""
    found: dict[tuple[str, str], Path] = {}
    for table, sites in TABLES.items():
        for site, rows in sites.items():
            found[table, site] = folder / f"{table}-{site}.parquet"
            pq.write_table(rows(site), found[table, site])
    return found


def configuration(
    data: Path, state: Path, *, protected: bool, tables: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The federation as a mapping; without protection every row of every table may leave."""
    files = stored(data)
    sites: dict[str, Any] = {
        site: {
            "state": str(state / site),
            "platforms": {"duckdb": {"kind": "duckdb", "threads": 1}, "python": {"kind": "python"}},
            "tables": {},
        }
        for site in SIZES
    }
    for (table, site), path in files.items():
        if tables and table not in tables:
            continue
        policy = POLICIES[table] if protected else OPEN
        sites[site]["tables"][table] = {
            "platform": "duckdb",
            "source": str(path),
            "policy": dict(policy),
            **LAYOUT.get(table, {}),
        }
    return {"sites": sites}


@dataclass
class Door:
    """What an attacker has: a session, and the means to open others on the same federation.

    Attributes:
        data: Folder of the tables' files.
        state: Folder of the sites' state.
        protected: Are the owners' rules in force?
        fed: The session.
    """

    data: Path
    state: Path
    protected: bool
    fed: bl.Session = field(init=False)
    _others: list[bl.Session] = field(init=False, default_factory=list)
    _written: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.fed = self.session()
        self._others.pop()

    def session(self, **who: Any) -> bl.Session:
        """Another session on the same federation, as somebody else if you like."""
        session = bl.connect(configuration(self.data, self.state, protected=self.protected), **who)
        self._others.append(session)
        return session

    def restart(self) -> bl.Session:
        """The federation closed and opened again."""
        self.fed.close()
        self.fed = self.session()
        self._others.pop()
        return self.fed

    def copied(self) -> bl.Session:
        """A session on a copy of the configuration that names another state folder."""
        elsewhere = Path(f"{self.state}-copy")
        session = bl.connect(configuration(self.data, elsewhere, protected=self.protected))
        self._others.append(session)
        return session

    def table(self, name: str, site: str | None = None) -> Any:
        """A federated table, or one site's part."""
        return self.fed.table(name, site=site)

    @property
    def people(self) -> Any:
        """The table of people, of both sites."""
        return self.fed.table("people")

    @property
    def visits(self) -> Any:
        """Their visits."""
        return self.fed.table("visits")

    def local(self, columns: Mapping[str, Any]) -> Any:
        """A table of the attacker's own."""
        return self.fed.from_arrow(pa.table(dict(columns)))

    def write(self, expr: Any, *, site: str | None = None) -> Any:
        """Keep a result as a table and give that table."""
        self._written += 1
        name = f"kept_{id(self) % 10**6}_{self._written}"
        self.fed.write(expr, table=name, site=site)
        return self.fed.table(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (*self._others, self.fed):
            session.close()


def known(site: str | None = "north") -> Any:
    """What an attacker may know beforehand: everybody's identifiers, ages, departments; no secret."""
    sites = list(SIZES) if site is None else [site]
    return pa.concat_tables([people(s) for s in sites]).select(["pid", "age", "dept", "sex"]).to_pandas()
