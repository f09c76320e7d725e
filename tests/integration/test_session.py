"""What a data scientist does with a session, on real engines, beside pandas or scikit-learn on the pooled rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from ibis import _
from sklearn.linear_model import LinearRegression

import blossom as bl

PRIVATE = {
    "release": "aggregates",
    "min_group": 10,
    "privacy_unit": "pid",
    "training": "updates",
    "columns": {"age": {"transform": True}, "name": {"release": "none", "filter": False, "key": False}},
}
OPEN = {"release": "rows"}


def people(site: int, rows: int = 400) -> pa.Table:
    rng = np.random.default_rng(site)
    age = rng.integers(18, 90, rows)
    return pa.table(
        {
            "pid": np.arange(rows) + 10_000 * site,
            "age": age,
            # two small groups of fewer than ten each and at least ten together: hidden, without taking a third one along
            "sex": rng.choice(["f", "m", "x", "y"], rows, p=[0.5, 0.464, 0.018, 0.018]),
            "salary": 1000.0 + 10.0 * age + rng.normal(0, 50, rows),
            "name": [f"person {site}-{i}" for i in range(rows)],
        }
    )


@pytest.fixture(scope="module")
def pooled() -> pd.DataFrame:
    return pa.concat_tables([people(0), people(1), people(2)]).to_pandas()


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bl.Session]:
    """Three sites on DuckDB, Polars and SQLite; `people` is private, `public` the same rows without rules."""
    folder = tmp_path_factory.mktemp("people")
    pq.write_table(people(0), folder / "a.parquet")
    pyarrow.csv.write_csv(people(1), folder / "b.csv")
    with sqlite3.connect(folder / "c.db") as db:
        people(2).to_pandas().to_sql("people", db, index=False)
    db.close()
    sources = {
        "north": ({"duckdb": {"kind": "duckdb", "threads": 1}}, "duckdb", str(folder / "a.parquet")),
        "east": ({"polars": {"kind": "polars"}}, "polars", str(folder / "b.csv")),
        "south": ({"sqlite": {"kind": "sqlite", "database": str(folder / "c.db")}}, "sqlite", "people"),
    }
    sites = {
        name: {
            "platforms": platforms,
            "tables": {
                "people": {"platform": kind, "source": source, "policy": PRIVATE},
                "public": {"platform": kind, "source": source, "policy": OPEN},
            },
        }
        for name, (platforms, kind, source) in sources.items()
    }
    with bl.connect({"sites": sites}) as session:
        yield session


def test_an_aggregate_over_three_engines_is_the_pooled_one(fed: bl.Session, pooled: pd.DataFrame) -> None:
    result = (
        fed.table("people")
        .group_by("sex")
        .agg(n=_.count(), mean=_.salary.mean(), sd=_.salary.std())
        .order_by("sex")
        .to_pandas()
    )
    wanted = pooled.groupby("sex").salary.agg(["size", "mean", "std"]).loc[["f", "m"]]
    assert result.sex.tolist() == ["f", "m"]
    np.testing.assert_array_equal(result.n, wanted["size"])
    np.testing.assert_allclose(result["mean"], wanted["mean"], rtol=1e-12)
    np.testing.assert_allclose(result.sd, wanted["std"], rtol=1e-9)


def test_withheld_names_the_sites_and_strict_raises(fed: bl.Session) -> None:
    query = fed.table("people").group_by("sex").agg(n=_.count())
    run = fed.run(query)
    assert set(run.withheld) == {"north", "east", "south"}
    assert any(run.withheld.values())
    with pytest.raises(bl.PolicyError, match="withheld"):
        fed.run(query, strict=True)


def test_only_aggregates_leave(fed: bl.Session) -> None:
    run = fed.run(fed.table("people").group_by("sex").agg(n=_.count()))
    for site, kinds in run.bytes_by_kind().items():
        assert kinds["rows"] == 0, site
        assert 0 < kinds["aggregates"] < 1000


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        (lambda t: t.head(3), "rows"),
        (lambda t: t.select("name"), "rows"),
        (lambda t: t.filter(_.salary > 1500).count(), "transform"),
        (lambda t: t.group_by("name").agg(n=_.count()), "key"),
        (lambda t: t.agg(m=_.salary.max()), "metric"),
        (lambda t: t.filter(_.name == "person 0-7").agg(s=_.salary.sum()), "filter"),
    ],
)
def test_refusals_say_which_rule(fed: bl.Session, query: Any, rule: str) -> None:
    with pytest.raises(bl.PolicyError) as caught:
        fed.run(query(fed.table("people")))
    assert rule in {refusal.rule for refusal in caught.value.refusals}
    assert {refusal.site for refusal in caught.value.refusals} == {"north", "east", "south"}


def test_a_refusal_is_logged_at_the_sites_or_never_asked(fed: bl.Session) -> None:
    """The hub plans with the sites' own judgement, so what is refused never becomes a task."""
    site: Any = fed.federation.sites["north"]
    before = sum(1 for _ in site.audit.entries())
    with pytest.raises(bl.PolicyError):
        fed.run(fed.table("people").head(3))
    assert sum(1 for _ in site.audit.entries()) == before


def test_every_release_is_in_the_audit_log(fed: bl.Session) -> None:
    run = fed.run(fed.table("people").group_by("sex").agg(n=_.count()))
    for name in ("north", "east", "south"):
        site: Any = fed.federation.sites[name]
        entries = [entry for entry in site.audit.entries() if entry.run == run.id]
        assert [entry.kind for entry in entries] == ["aggregates"]
        assert entries[0].tables == ("people",)
        assert site.audit.verify().ok


def test_python_functions(fed: bl.Session, pooled: pd.DataFrame) -> None:
    def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([batch["pid"], pc.multiply(batch["salary"], 2.0)], names=["pid", "twice"])

    def repeated(row: Any, times: int) -> Iterable[Any]:
        return ({"word": row["sex"] * (i + 1)} for i in range(times))

    public = fed.table("public")
    mapped = public.pipe(bl.map_batches, doubled, schema={"pid": "int64", "twice": "float64"})
    assert mapped.twice.sum().execute() == pytest.approx(2 * pooled.salary.sum())
    words = public.pipe(bl.flat_map, repeated, schema={"word": "string"}, times=2)
    counts = words.group_by("word").agg(n=_.count()).to_pandas().set_index("word").n
    assert counts["ff"] == (pooled.sex == "f").sum()


def test_a_function_that_fails_says_where(fed: bl.Session) -> None:
    def broken(batch: pa.RecordBatch) -> pa.RecordBatch:
        raise ValueError("no such thing")

    with pytest.raises(bl.PlatformError, match=r"broken.*no such thing"):
        fed.run(fed.table("public").pipe(bl.map_batches, broken, schema={"a": "int64"}))


def test_local_data_join(fed: bl.Session, pooled: pd.DataFrame) -> None:
    weights = fed.from_arrow(pa.table({"sex": ["f", "m"], "w": [1.0, 2.0]}))
    joined = fed.table("public").join(weights, "sex")
    assert joined.w.sum().execute() == (pooled.sex == "f").sum() + 2 * (pooled.sex == "m").sum()


def test_memtables_and_sql(fed: bl.Session, pooled: pd.DataFrame) -> None:
    both = fed.table("public").join(ibis.memtable({"sex": ["x"]}), "sex")
    assert both.count().execute() == (pooled.sex == "x").sum()
    rows = fed.sql("SELECT sex, count(*) AS n FROM people GROUP BY ALL ORDER BY 1").to_pandas()
    assert rows.sex.tolist() == ["f", "m"]
    assert fed.sql("SELECT count(*) AS n FROM north.public").to_pandas().n[0] == 400


def test_streams_and_files(fed: bl.Session, tmp_path: Path) -> None:
    public = fed.table("public")
    reader = public.to_pyarrow_batches(chunk_size=100)
    sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 1200
    assert max(sizes) <= 100
    public.to_parquet(tmp_path / "all.parquet")
    assert pq.read_metadata(tmp_path / "all.parquet").num_rows == 1200
    assert [file.name for file in tmp_path.iterdir()] == ["all.parquet"]


def test_a_run_is_recorded(fed: bl.Session) -> None:
    run = fed.run(fed.table("people").group_by("sex").agg(n=_.count()))
    record = fed.records.run(run.id)
    assert record.outcome == "done"
    assert {release.site for release in record.releases} == {"north", "east", "south"}
    assert all(fragment.seconds is not None for fragment in record.fragments)


def test_predictions_of_private_rows_stay_and_aggregate(fed: bl.Session, pooled: pd.DataFrame) -> None:
    """SQLite -> Python -> DuckDB at one site: the guard holds over a chain of engines."""
    model = bl.train(bl.LinearRegression(), fed.table("people"), target="salary", features=["age"])
    scored = fed.table("people").pipe(model.predict)
    with pytest.raises(bl.PolicyError):
        fed.run(scored)
    run = fed.run(scored.group_by("sex").agg(p=_.prediction.mean()).order_by("sex"))
    reference = LinearRegression().fit(pooled[["age"]], pooled.salary)
    wanted = pooled.assign(p=reference.predict(pooled[["age"]])).groupby("sex").p.mean().loc[["f", "m"]]
    assert run.result["sex"].to_pylist() == ["f", "m"]
    np.testing.assert_allclose(run.result["p"].to_pylist(), wanted, rtol=1e-9)
    assert any(run.withheld.values())
    assert all(kinds["rows"] == 0 for kinds in run.bytes_by_kind().values())


def test_the_same_line_trains_in_three_ways(fed: bl.Session, pooled: pd.DataFrame) -> None:
    reference = LinearRegression().fit(pooled[["age"]], pooled.salary)
    private = bl.train(bl.LinearRegression(), fed.table("people"), target="salary", features=["age"])
    public = bl.train(bl.LinearRegression(), fed.table("public"), target="salary", features=["age"])
    alone = bl.train(
        bl.LinearRegression(), fed.table("people", site="north"), target="salary", features=["age"]
    )
    assert "horizontal" in private.explain().text()
    assert "central" in public.explain().text()
    for model in (private, public):
        fitted = model.fit()
        np.testing.assert_allclose(fitted.coef_, reference.coef_, rtol=1e-9)
        np.testing.assert_allclose(fitted.intercept_, reference.intercept_, rtol=1e-9)
    own = people(0).to_pandas()
    np.testing.assert_allclose(
        alone.fit().coef_, LinearRegression().fit(own[["age"]], own.salary).coef_, rtol=1e-9
    )


def test_a_model_is_fitted_once(fed: bl.Session) -> None:
    model = bl.train(bl.LinearRegression(), fed.table("people"), target="salary", features=["age"])
    first = model.fit()
    assert model.fit().fitted is first.fitted
    runs = len(fed.records.runs(1000))
    fed.run(fed.table("people").pipe(model.predict).agg(p=_.prediction.mean()))
    assert len(fed.records.runs(1000)) == runs + 1


def test_training_across_sites_by_join_is_not_central(fed: bl.Session) -> None:
    north, south = fed.table("people", site="north"), fed.table("people", site="south")
    joined = north.join(south, "pid").select("age", "salary")
    with pytest.raises(bl.PlanError, match="vertical"):
        bl.train(bl.LinearRegression(), joined, target="salary").fit()


def test_save_and_load(fed: bl.Session, tmp_path: Path) -> None:
    fitted = bl.train(bl.LinearRegression(), fed.table("people"), target="salary", features=["age"]).fit()
    fitted.save(tmp_path / "model.json")
    again = bl.load_model(tmp_path / "model.json")
    a = fitted.predict(fed.table("public")).prediction.sum().execute()
    assert again.predict(fed.table("public"), name="p").p.sum().execute() == pytest.approx(a, rel=1e-12)
    assert again.evaluate(fed.table("people"))["r2"] == pytest.approx(fitted.metrics["r2"])


def test_training_may_be_forbidden(tmp_path: Path) -> None:
    pq.write_table(people(0), tmp_path / "a.parquet")
    rules = {"release": "aggregates", "min_group": 10, "privacy_unit": "pid"}
    with bl.connect(
        {"sites": {"a": {"tables": {"t": {"source": str(tmp_path / "a.parquet"), "policy": rules}}}}}
    ) as fed:
        model = bl.train(bl.LinearRegression(), fed.table("t"), target="salary", features=["age"])
        with pytest.raises(bl.PolicyError, match="training"):
            model.fit()


def test_two_sessions_do_not_mix(fed: bl.Session) -> None:
    with bl.connect({"sites": {"north": {}}}) as other:
        local = other.from_arrow(pa.table({"sex": ["f"]}))
        with pytest.raises(Exception, match="Multiple backends"):
            fed.table("public").join(local, "sex").execute()
