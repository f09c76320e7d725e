"""Loops, Python functions, samples, ids and as-of joins over several sites, beside numpy and DuckDB on the pooled rows."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibis import _

import blossom as bl
from blossom.platforms.python_worker_forks import SERVER

OPEN = {"release": "rows"}
PRIVATE = {
    "release": "aggregates",
    "min_group": 5,
    "privacy_unit": "id",
    "columns": {name: {"transform": True} for name in ("x", "y")},
}
SITES = ("north", "east", "south")


def _example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "loops.py"
    spec = importlib.util.spec_from_file_location("example_loops", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


examples = _example()


def points(site: int, rows: int = 60) -> pa.Table:
    rng = np.random.default_rng(site)
    centre = rng.choice([-4.0, 0.0, 5.0], rows)
    x = centre + rng.normal(0, 0.5, rows)
    return pa.table(
        {"id": np.arange(rows) + 1000 * site, "x": x, "y": 2.0 * x + 1 + rng.normal(0, 0.3, rows)}
    )


def links(site: int) -> pa.Table:
    rng = np.random.default_rng(10 + site)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, 12, (20, 2)) if a != b and (int(a) % 3) == site}
    return pa.table({"source": [a for a, _b in sorted(pairs)], "target": [b for _a, b in sorted(pairs)]})


LINES = [["a rose is a rose", "", None], ["Rose is red"], ["is it red", "it is"]]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bl.Session]:
    folder = tmp_path_factory.mktemp("operators")
    sites: dict[str, Any] = {}
    for number, name in enumerate(SITES):
        tables = {
            "points": (points(number), OPEN),
            "people": (points(number), PRIVATE),
            "links": (links(number), OPEN),
            "lines": (pa.table({"line": pa.array(LINES[number], pa.string())}), OPEN),
        }
        published: dict[str, Any] = {}
        for table, (rows, policy) in tables.items():
            path = folder / f"{name}-{table}.parquet"
            pq.write_table(rows, path)
            published[table] = {"platform": "duckdb", "source": str(path), "policy": policy}
        sites[name] = {"platforms": {"duckdb": {"kind": "duckdb", "threads": 1}}, "tables": published}
    with bl.connect({"sites": sites}) as session:
        yield session


@pytest.fixture(scope="module")
def pooled() -> pd.DataFrame:
    return pa.concat_tables([points(0), points(1), points(2)]).to_pandas()


# -- loops ---------------------------------------------------------------------------------------------------------------


def test_pagerank_is_numpys(fed: bl.Session) -> None:
    got = fed.run(examples.pagerank(fed.table("links"), times=15)).result.to_pandas()
    edges = pa.concat_tables([links(0), links(1), links(2)]).to_pandas()
    pages = sorted({*edges.source, *edges.target})
    matrix = np.zeros((len(pages), len(pages)))
    for source, target in edges.itertuples(index=False):
        matrix[pages.index(target), pages.index(source)] += 1 / (edges.source == source).sum()
    rank = np.full(len(pages), 1 / len(pages))
    for _turn in range(15):
        rank = 0.15 / len(pages) + 0.85 * matrix @ rank
    got = got.sort_values("page")
    assert got.page.tolist() == pages
    np.testing.assert_allclose(got["rank"], rank, rtol=1e-12)


def lloyd(rows: np.ndarray, centres: np.ndarray, tolerance: float) -> np.ndarray:
    while True:
        nearest = ((rows[:, None] - centres) ** 2).sum(2).argmin(1)
        new = np.array([rows[nearest == k].mean(0) for k in range(len(centres))])
        if np.abs(new - centres).sum(1).max() < tolerance:
            return new
        centres = new


START = pa.table({"cluster": [0, 1, 2], "x": [-1.0, 0.0, 1.0], "y": [0.0, 0.0, 1.0]})


def test_kmeans_is_numpys(fed: bl.Session, pooled: pd.DataFrame) -> None:
    start = fed.from_arrow(START)
    run = fed.run(examples.kmeans(fed.table("points"), start, tolerance=1e-9, max_times=30))
    wanted = lloyd(pooled[["x", "y"]].to_numpy(), START.to_pandas()[["x", "y"]].to_numpy(), 1e-9)
    got = run.result.to_pandas().sort_values("cluster")
    np.testing.assert_allclose(got[["x", "y"]], wanted, rtol=1e-9)
    assert any("the condition is met" in event.text for event in run.events)


@pytest.mark.parametrize("table", ["points", "people"])
def test_gradient_descent_is_numpys_and_private_rows_stay(
    fed: bl.Session, pooled: pd.DataFrame, table: str
) -> None:
    start = fed.from_arrow({"slope": [0.0], "intercept": [0.0]})
    run = fed.run(examples.descent(fed.table(table), start, rate=0.05, times=10))
    slope = intercept = 0.0
    for _turn in range(10):
        error = slope * pooled.x + intercept - pooled.y
        slope, intercept = slope - 0.05 * (error * pooled.x).mean(), intercept - 0.05 * error.mean()
    got = run.result.to_pylist()
    assert got == [
        {"slope": pytest.approx(slope, rel=1e-12), "intercept": pytest.approx(intercept, rel=1e-12)}
    ]
    if table == "people":
        assert all(kinds["rows"] == 0 and kinds["aggregates"] > 0 for kinds in run.bytes_by_kind().values())


def test_words_are_counted(fed: bl.Session) -> None:
    got = fed.run(examples.words(fed.table("lines"))).result.to_pylist()
    wanted = Counter(word for part in LINES for line in part for word in (line or "").lower().split())
    assert {row["word"]: row["n"] for row in got} == wanted


def kept_tables(fed: bl.Session) -> list[str]:
    """What a run has kept and not taken back."""
    at_sites = [name for site in fed.federation.sites.values() for name in site.describe().tables]
    return [name for name in (*at_sites, *fed.federation.hub._local) if name.startswith("__kept")]


def test_a_private_state_stays_at_its_sites(fed: bl.Session, pooled: pd.DataFrame) -> None:
    people = fed.table("people").select("id", "x", "y")
    halved = bl.repeat(people, lambda t: t.mutate(x=_.x / 2, y=_.y + 1), times=3)
    run = fed.run(halved.agg(x=_.x.mean(), y=_.y.mean(), n=_.count()))
    (got,) = run.result.to_pylist()
    assert got == {
        "x": pytest.approx(pooled.x.mean() / 8),
        "y": pytest.approx(pooled.y.mean() + 3),
        "n": len(pooled),
    }
    assert any("at north, east, south" in event.text for event in run.events)
    assert all(kinds["rows"] == 0 for kinds in run.bytes_by_kind().values())
    assert kept_tables(fed) == []
    with pytest.raises(bl.PolicyError, match="people"):
        fed.run(halved)


def test_what_no_turn_changes_is_computed_once(fed: bl.Session) -> None:
    called = fed.table("points").pipe(bl.map_batches, _noted, schema={"id": "int64", "x": "float64"})
    total = called.agg(total=_.x.sum())
    start = fed.from_arrow({"s": [0.0]})
    run = fed.run(bl.repeat(start, lambda t: t.cross_join(total).select(s=_.s + _.total), times=4))
    printed = [event.text for event in run.events if "was called" in event.text]
    assert len(printed) == len(SITES)
    wanted = 4 * sum(points(n).column("x").to_numpy().sum() for n in range(3))
    assert run.result.to_pylist() == [{"s": pytest.approx(wanted)}]


def _noted(batch: pa.RecordBatch) -> pa.RecordBatch:
    print("was called")
    return batch.select(["id", "x"])


def test_a_loop_is_a_table_like_any_other(fed: bl.Session) -> None:
    start = fed.from_arrow({"a": [1, 2, 3]})

    def thrice(table: ir.Table) -> ir.Table:
        return bl.repeat(table, lambda t: t.mutate(a=_.a + 1), times=3)

    doubled = bl.repeat(start, lambda t: thrice(t).mutate(a=_.a * 10), times=2)
    assert sorted(fed.run(doubled).result["a"].to_pylist()) == [430, 530, 630]
    joined = doubled.join(start.select(k=_.a * 100 + 330), [("a", "k")])
    assert joined.count().execute() == 3
    above = start.filter(_.a * 200 > doubled.a.min().as_scalar())
    assert above.a.execute().tolist() == [3]
    with fed.to_pyarrow_batches(doubled.order_by("a")) as reader:
        assert reader.read_all()["a"].to_pylist() == [430, 530, 630]
    assert kept_tables(fed) == []


def test_a_loop_with_its_state_at_one_site(fed: bl.Session) -> None:
    north = fed.table("points", site="north").select("id", "x")
    run = fed.run(
        bl.repeat(
            north,
            lambda t: t.mutate(x=_.x * 0.5),
            until=lambda _before, after: after.x.abs().max() < 1.0,
            max_times=10,
        ).agg(m=_.x.abs().max())
    )
    largest = np.abs(points(0).column("x").to_numpy()).max()
    turns = next(n for n in range(1, 10) if largest * 0.5**n < 1.0)
    assert run.result["m"].to_pylist() == [pytest.approx(largest * 0.5**turns)]
    assert sum("turn" in event.text for event in run.events) == turns
    assert any("at north," in event.text for event in run.events)
    assert kept_tables(fed) == []


def test_a_condition_that_is_not_met_is_one_error(fed: bl.Session) -> None:
    start = fed.from_arrow({"a": [1]})
    loop = bl.repeat(start, lambda t: t.mutate(a=_.a + 1), until=lambda _b, a: a.a.max() < 0, max_times=3)
    with pytest.raises(bl.LoopError, match="not met within 3 turns"):
        fed.run(loop)
    assert kept_tables(fed) == []


def test_a_condition_may_compare_before_and_after(fed: bl.Session) -> None:
    start = fed.from_arrow({"a": [1.0]})
    loop = bl.repeat(
        start,
        lambda t: t.mutate(a=_.a / 2 + 1 / _.a),
        until=lambda before, after: (before.a.max() - after.a.max()).abs() < 1e-12,
        max_times=20,
    )
    assert fed.run(loop).result["a"].to_pylist() == [pytest.approx(2**0.5, rel=1e-12)]


def test_explaining_a_loop_runs_nothing(fed: bl.Session) -> None:
    start = fed.from_arrow({"slope": [0.0], "intercept": [0.0]})
    text = str(fed.explain(examples.descent(fed.table("people"), start, rate=0.1, times=7)))
    assert "a loop: one of 7 turns is shown" in text
    assert all(not line.startswith("loop") for line in text.splitlines())
    assert kept_tables(fed) == []


def test_a_loop_can_be_cancelled(fed: bl.Session) -> None:
    start = fed.from_arrow({"a": [1]})
    seen: list[str] = []

    def progress(text: str) -> None:
        seen.append(text)
        if "turn 3" in text:
            fed.last_run.cancel()

    with pytest.raises(bl.BlossomError, match="cancelled"):
        fed.run(bl.repeat(start, lambda t: t.mutate(a=_.a + 1), times=100_000), progress=progress)
    assert fed.last_run.outcome == "cancelled"
    assert 3 <= sum("turn" in text for text in seen) <= 4
    assert kept_tables(fed) == []


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (lambda t: bl.repeat(t, lambda s: s), "needs either times= or until="),
        (lambda t: bl.repeat(t, lambda s: s, times=1, until=lambda b, a: a.a.max() > 0), "needs either"),
        (lambda t: bl.repeat(t, lambda s: s, until=lambda b, a: a.a.max() > 0), "belong together"),
        (lambda t: bl.repeat(t, lambda s: s, times=-1), "cannot have -1 turns"),
        (lambda t: bl.repeat(t, lambda s: s.mutate(b=1), times=1), "the step gives the columns a, b"),
        (lambda t: bl.repeat(t, lambda s: s.a.max(), times=1), "a step gives a table"),
        (
            lambda t: bl.repeat(t, lambda s: s, until=lambda b, a: a.a > 0, max_times=1),
            "one boolean, not a BooleanColumn",
        ),
    ],
)
def test_what_is_no_loop_is_told_at_once(fed: bl.Session, loop: Any, message: str) -> None:
    with pytest.raises(bl.PlanError, match=message):
        loop(fed.from_arrow({"a": [1]}))


def test_a_model_can_be_fitted_on_what_a_loop_gives(fed: bl.Session) -> None:
    moved = bl.repeat(fed.table("points"), lambda t: t.mutate(x=_.x + 1), times=2)
    model = bl.train(bl.LinearRegression(), moved.select("x", "y"), target="y")
    fitted = model.fit()
    rows = pa.concat_tables([points(0), points(1), points(2)]).to_pandas()
    slope, intercept = np.polyfit(rows.x + 2, rows.y, 1)
    assert fitted.coef_ == pytest.approx([slope])
    assert fitted.intercept_ == pytest.approx(intercept)
    assert model.fit() is not None
    assert kept_tables(fed) == []


def test_a_loop_can_be_written(fed: bl.Session) -> None:
    loop = bl.repeat(fed.table("people").select("id", "x"), lambda t: t.mutate(x=_.x + 1), times=2)
    fed.write(loop, table="moved")
    got = fed.table("moved").agg(m=_.x.mean()).execute().m[0]
    rows = pa.concat_tables([points(0), points(1), points(2)]).to_pandas()
    assert got == pytest.approx(rows.x.mean() + 2)
    assert kept_tables(fed) == []


# -- Python functions ------------------------------------------------------------------------------------------------------


def _sign(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "sign": 1 if row["x"] > 0 else -1}


def test_functions_of_rows_and_batches(fed: bl.Session, pooled: pd.DataFrame) -> None:
    points = fed.table("points")
    signs = points.pipe(bl.map, _sign, schema={"id": "int64", "sign": "int64"})
    assert signs.sign.sum().execute() == np.where(pooled.x > 0, 1, -1).sum()
    for kept in (
        points.pipe(bl.filter, lambda row: row["x"] > 1.0),
        points.pipe(bl.filter, lambda frame, least: frame.x > least, per="batch", format="pandas", least=1.0),
    ):
        assert sorted(kept.id.execute()) == sorted(pooled.id[pooled.x > 1.0])
    shifted = points.pipe(
        bl.map_batches, lambda frame: frame.assign(x=frame.x + 1), schema=points.schema(), format="pandas"
    )
    assert shifted.x.mean().execute() == pytest.approx(pooled.x.mean() + 1)


def _sums(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("side", as_index=False, dropna=False).agg(n=("n", "sum"), x=("x", "sum"))


def test_a_reduction_folds_at_each_site_and_then_once_more(fed: bl.Session, pooled: pd.DataFrame) -> None:
    sides = (
        fed.table("points").select(side=(_.x > 0).ifelse("right", "left"), n=1, x=_.x).cast({"n": "int64"})
    )
    folded = sides.pipe(bl.reduce, _sums, by="side", format="pandas")
    run = fed.run(folded)
    wanted = pooled.groupby(np.where(pooled.x > 0, "right", "left")).x.agg(["size", "sum"])
    got = run.result.to_pandas().set_index("side").sort_index()
    assert got.n.tolist() == wanted["size"].tolist()
    np.testing.assert_allclose(got.x, wanted["sum"])
    assert all(release.rows == 2 for release in run.releases)
    with pytest.raises(bl.PlanError, match="a reduction keeps its columns"):
        sides.pipe(bl.reduce, _sums, by="side", schema={"n": "int64"})
    with pytest.raises(bl.PlanError, match="unknown column 'sides'"):
        sides.pipe(bl.reduce, _sums, by="sides")


def test_a_function_of_groups_sees_all_rows_of_each(fed: bl.Session, pooled: pd.DataFrame) -> None:
    sides = fed.table("points").select(side=_.x > 0, x=_.x)
    got = sides.pipe(
        bl.map_groups,
        lambda frame: frame.head(1).assign(x=frame.x.median()),
        by="side",
        schema=sides.schema(),
        format="pandas",
    ).execute()
    wanted = pooled.groupby(pooled.x > 0).x.median()
    assert dict(zip(got.side, got.x, strict=True)) == pytest.approx(wanted.to_dict())


def test_a_function_over_private_rows_is_refused(fed: bl.Session) -> None:
    noted = fed.table("people").pipe(bl.map_batches, _noted, schema={"id": "int64", "x": "float64"})
    with pytest.raises(bl.PolicyError, match="a Python function of a private table's rows"):
        fed.run(noted.agg(n=_.count()))


def test_what_a_function_prints_stays_where_a_column_is_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(points(0), path)
    policy = {"release": "rows", "columns": {"y": {"release": "none"}}}
    site = {
        "platforms": {"duckdb": {"kind": "duckdb", "threads": 1}},
        "tables": {"t": {"platform": "duckdb", "source": str(path), "policy": policy}},
    }
    with bl.connect({"sites": {"north": site}}) as session:
        noted = (
            session.table("t")
            .select("id", "x")
            .pipe(bl.map_batches, _noted, schema={"id": "int64", "x": "float64"})
        )
        with caplog.at_level("INFO", logger="blossom.sites.redaction"):
            run = session.run(noted.agg(n=_.count()))
    assert run.result["n"].to_pylist() == [60]
    said = [event.text for event in run.events]
    logged = [record.message for record in caplog.records]
    where = session.last_run is run and "python@north" in str(run.explain())
    assert any("was called" in text for text in (logged if where else said))
    assert not any("was called" in text for text in (said if where else logged))


def test_a_fault_in_a_pipeline_is_one_error_and_leaves_nothing(fed: bl.Session) -> None:
    seven = fed.table("points").pipe(bl.map, _on_seven, schema={"id": "int64"})
    with pytest.raises(bl.PlatformError, match=r"raised ZeroDivisionError on row \d+"):
        fed.run(seven)
    assert SERVER._process is not None  # what workers are forked from
    assert psutil.Process(SERVER._process.pid).children(recursive=True) == []


def _on_seven(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1 // (row["id"] - 1007)}


# -- samples, ids, joins ---------------------------------------------------------------------------------------------------


def test_a_sample_is_the_same_wherever_it_is_taken(fed: bl.Session, pooled: pd.DataFrame) -> None:
    points = fed.table("points")
    taken = points.pipe(bl.sample, 0.3, by="id", seed=5)
    federated = sorted(taken.id.execute())
    local = fed.from_arrow(pa.Table.from_pandas(pooled.sample(frac=1, random_state=0)))
    assert federated == sorted(local.pipe(bl.sample, 0.3, by="id", seed=5).id.execute())
    assert federated != sorted(points.pipe(bl.sample, 0.3, by="id", seed=6).id.execute())
    assert points.pipe(bl.sample, 1.0, by="id").count().execute() == len(pooled)
    assert points.pipe(bl.sample, 0.0, by="id").count().execute() == 0
    with pytest.raises(bl.PlanError, match="not a whole number"):
        points.pipe(bl.sample, 0.5, by="x")
    with pytest.raises(bl.PlanError, match="between 0 and 1"):
        points.pipe(bl.sample, 1.5, by="id")


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_a_sample_has_its_size_and_is_spread(fed: bl.Session, fraction: float) -> None:
    count = 40_000
    local = fed.from_arrow(pa.table({"id": np.arange(count) - count // 2, "k": np.arange(count) % 7}))
    deviation = (count * fraction * (1 - fraction)) ** 0.5
    for seed in range(4):
        ids = np.sort(local.pipe(bl.sample, fraction, by="id", seed=seed).id.execute())
        assert abs(len(ids) - count * fraction) < 6 * deviation
        halves = (ids < 0).sum()
        assert abs(halves - len(ids) / 2) < 6 * deviation
        gaps = np.diff(ids)
        assert abs(gaps.std() / gaps.mean() - (1 - fraction) ** 0.5) < 0.15  # those of independent draws
    both = local.pipe(bl.sample, fraction, by=["id", "k"], seed=0).count().execute()
    assert abs(both - count * fraction) < 6 * deviation


def test_ibis_own_sample_goes_too(fed: bl.Session, pooled: pd.DataFrame) -> None:
    taken = fed.table("points").sample(0.5, seed=3).id.execute()
    assert 0 < len(taken) < len(pooled)
    assert set(taken) <= set(pooled.id)


def test_ids_are_dense_and_in_order(fed: bl.Session, pooled: pd.DataFrame) -> None:
    numbered = fed.table("points").pipe(bl.zip_with_id, order_by="x", name="at").execute()
    assert sorted(numbered["at"]) == list(range(len(pooled)))
    assert numbered.sort_values("at").x.tolist() == sorted(pooled.x)
    with pytest.raises(bl.PlanError, match="already a column 'id'"):
        fed.table("points").pipe(bl.zip_with_id, order_by="x")
    with pytest.raises(bl.PlanError, match="one column at least"):
        fed.table("points").pipe(bl.zip_with_id, order_by=[], name="at")


def test_sorts_top_k_and_windows_over_sites(fed: bl.Session, pooled: pd.DataFrame) -> None:
    points = fed.table("points")
    assert (
        points.order_by(ibis.desc("x")).limit(5).id.execute().tolist() == pooled.nlargest(5, "x").id.tolist()
    )
    assert points.order_by("x").x.execute().tolist() == sorted(pooled.x)
    ranked = points.mutate(r=ibis.rank().over(group_by=(_.x > 0), order_by="x")).execute().set_index("id").r
    wanted = pooled.groupby(pooled.x > 0).x.rank(method="min") - 1
    assert ranked.sort_index().tolist() == wanted.set_axis(pooled.id).sort_index().astype(int).tolist()


def test_cross_joins_over_sites(fed: bl.Session, pooled: pd.DataFrame) -> None:
    few = fed.table("points").filter(_.x > 5).select("id")
    pairs = few.cross_join(few.view().select(other="id")).filter(_.id < _.other).count().execute()
    count = int((pooled.x > 5).sum())
    assert pairs == count * (count - 1) // 2


times = st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=12)


@given(left=times, right=times, by_group=st.booleans(), strict=st.booleans(), seed=st.integers(0, 10))
@settings(max_examples=25, deadline=None)
def test_an_as_of_join_is_duckdbs(
    tmp_path_factory: pytest.TempPathFactory,
    left: list[int | None],
    right: list[int | None],
    by_group: bool,
    strict: bool,
    seed: int,
) -> None:
    """Over parts at two sites; DuckDB on the pooled rows is the reference. Times on the right are unique in each group."""
    rng = np.random.default_rng(seed)
    a = pa.table(
        {
            "i": pa.array(range(len(left)), pa.int64()),
            "t": pa.array(left, pa.int64()),
            "g": pa.array(rng.integers(0, 2, len(left))),
        }
    )
    unique = dict.fromkeys(zip(right, rng.integers(0, 2, len(right)).tolist(), strict=True))
    b = pa.table(
        {
            "u": pa.array([u for u, _g in unique], pa.int64()),
            "h": pa.array([g if by_group else 0 for _u, g in unique], pa.int64()),
            "v": pa.array(range(len(unique)), pa.int64()),
        }
    )
    if not by_group:
        b = pa.Table.from_pandas(b.to_pandas().drop_duplicates("u"), schema=b.schema, preserve_index=False)
    folder = tmp_path_factory.mktemp("asof")
    sites: dict[str, Any] = {}
    for number, name in enumerate(("one", "two")):
        tables: dict[str, Any] = {}
        for table, rows in (("a", a), ("b", b)):
            path = folder / f"{name}-{table}.parquet"
            pq.write_table(rows.take(pa.array(range(number, rows.num_rows, 2), pa.int64())), path)
            tables[table] = {"platform": "duckdb", "source": str(path), "policy": OPEN}
        sites[name] = {"platforms": {"duckdb": {"kind": "duckdb", "threads": 1}}, "tables": tables}
    with bl.connect({"sites": sites}) as session:
        ta, tb = session.table("a"), session.table("b")
        on = ta.t > tb.u if strict else ta.t >= tb.u
        joined = ta.asof_join(tb, on, [ta.g == tb.h] if by_group else ())
        got = session.run(joined.select("i", "v").order_by("i")).result.to_pylist()
    connection = duckdb.connect()
    connection.register("a", a)
    connection.register("b", b)
    condition = f"a.t {'>' if strict else '>='} b.u" + (" and a.g = b.h" if by_group else "")
    wanted = connection.sql(f"select i, v from a asof left join b on {condition} order by i").fetchall()
    assert [(row["i"], row["v"]) for row in got] == wanted


def test_an_as_of_join_is_refused_by_name_where_no_engine_can(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": [1, 2]}), path)
    site = {
        "platforms": {"polars": {"kind": "polars"}, "duckdb": False},
        "tables": {"t": {"platform": "polars", "source": str(path), "policy": {"release": "none"}}},
    }
    with bl.connect({"sites": {"north": site}}) as session:
        t = session.table("t")
        other = t.view().select(u="t")
        joined = t.asof_join(other, t.t >= other.u)
        with pytest.raises(bl.BlossomError, match=r"asof|as-of"):
            session.run(joined.count())
