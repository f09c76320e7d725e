"""`fed.write`: rows are kept where they may live, whole or not at all, under the policy of what they were made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ibis import _

import blossom as bl
from blossom.plan.errors import SiteError
from blossom.sites.site import Site

Published = Callable[..., dict[str, Any]]
AGGREGATES = {
    "release": "aggregates",
    "min_group": 5,
    "privacy_unit": "id",
    "columns": {"g": {"release": "rows"}, "name": {"release": "none"}, "id": {"transform": True}},
}


def rows(start: int) -> pa.Table:
    ids = list(range(start, start + 60))
    return pa.table(
        {
            "id": ids,
            "g": ["ab"[i % 2] for i in ids],
            "x": [float(i) for i in ids],
            "name": [f"n{i}" for i in ids],
        }
    )


@pytest.fixture
def configured(published: Published, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(north: dict[str, Any] | None = None, south: dict[str, Any] | None = None) -> dict[str, Any]:
        sites = {"north": (rows(0), north or AGGREGATES), "south": (rows(100), south or AGGREGATES)}
        return {
            "sites": {
                name: published(data, policy, name=name) | {"state": str(tmp_path / f"state-{name}")}
                for name, (data, policy) in sites.items()
            }
        }

    return make


def refused(table: Any) -> str:
    with pytest.raises(bl.PolicyError) as caught:
        table.to_pandas()
    return str(caught.value)


def test_each_part_stays_at_its_site_under_the_policy_of_its_source(
    configured: Callable[..., dict[str, Any]],
) -> None:
    fed = bl.connect(configured())
    # The unit's column is not part of the result: the site keeps it, hidden, to count with.
    run = fed.write(fed.table("t").filter(_.id >= 10).select("g", "name", same=_.x), table="kept")
    assert run.outcome == "done"
    assert all(release.rows == 0 for release in run.releases)
    for session in (fed, bl.connect(configured())):
        kept = session.table("kept")
        found = kept.group_by("g").agg(n=_.count(), same=_.same.mean()).order_by("g")
        assert found.to_pyarrow().to_pylist() == [
            {"g": "a", "n": 55, "same": pytest.approx((34 * 25 + 129 * 30) / 55)},
            {"g": "b", "n": 55, "same": pytest.approx((35 * 25 + 130 * 30) / 55)},
        ]
        assert len(kept.group_by("same").agg(n=_.count()).to_pyarrow()) == 0
        assert session.last_run is not None
        assert all(session.last_run.withheld.values())  # each group is one unit
        assert "[rows]" in refused(kept.select("same"))
        assert "kept.name" in refused(kept.agg(n=_.name.nunique()))
        assert "unit_of_t" in kept.columns
        assert "unit_of_t" in refused(kept.select("unit_of_t"))
        assert "unit_of_t" in refused(kept.filter(_.unit_of_t == 12).agg(n=_.count()))


def test_rows_that_may_leave_go_to_one_site(configured: Callable[..., dict[str, Any]]) -> None:
    open_to_both = {"release": "rows", "to": ["hub", "site:north"]}
    config = configured(open_to_both, open_to_both)
    fed = bl.connect(config)
    fed.write(fed.table("t").filter(_.id % 20 == 0), table="kept", site="north")
    assert [row["site"] for row in fed.catalog() if row["table"] == "kept"] == ["north"]
    assert fed.table("kept").count().execute() == 6
    again = bl.connect(config)
    assert sorted(again.table("kept").id.to_pyarrow().to_pylist()) == [0, 20, 40, 100, 120, 140]


def test_rows_that_may_not_move_are_refused(
    configured: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    fed = bl.connect(configured())
    with pytest.raises(bl.PolicyError, match="south"):
        fed.write(fed.table("t"), table="kept", site="north")
    assert fed.last_run is not None
    assert fed.last_run.outcome == "refused"
    assert "kept" not in fed.list_tables()
    assert list(tmp_path.rglob("*kept*")) == []


def test_what_was_lent_to_a_site_does_not_leave_through_a_written_table(
    configured: Callable[..., dict[str, Any]],
) -> None:
    """South shows its rows to north, not to the hub; a table at north could be read at the hub."""
    fed = bl.connect(configured({"release": "rows"}, {"release": "rows", "to": ["site:north"]}))
    with pytest.raises(bl.PolicyError, match="a table at north could be read at the hub"):
        fed.write(fed.table("t"), table="kept", site="north")
    assert "kept" not in fed.list_tables()


def test_an_aggregate_may_live_where_its_recipients_are(configured: Callable[..., dict[str, Any]]) -> None:
    both = AGGREGATES | {"to": ["hub", "site:south"]}
    fed = bl.connect(configured(both, both))
    run = fed.write(fed.table("t").group_by("g").agg(n=_.count()), table="kept", site="south")
    assert {release.kind for release in run.releases} == {"aggregates"}
    assert fed.table("kept").order_by("g").to_pyarrow().to_pylist() == [
        {"g": "a", "n": 60},
        {"g": "b", "n": 60},
    ]
    with pytest.raises(bl.PlanError, match="at no single site"):
        fed.write(fed.table("t").group_by("g").agg(n=_.count()), table="other")


def test_rows_chosen_by_what_may_choose_no_rows_never_leave(
    configured: Callable[..., dict[str, Any]],
) -> None:
    """A condition that no aggregate may have does not become harmless by being written down first."""
    fed = bl.connect(configured())
    with pytest.raises(bl.PolicyError, match="transform"):
        fed.write(fed.table("t").filter(_.x >= 30), table="kept")
    assert "kept" not in fed.list_tables()


def test_a_name_that_is_taken(configured: Callable[..., dict[str, Any]]) -> None:
    fed = bl.connect(configured())
    with pytest.raises(bl.PlanError, match="has a table 't' already"):
        fed.write(fed.table("t"), table="t")
    fed.write(fed.table("t"), table="kept")
    with pytest.raises(bl.PlanError, match="has a table 'kept' already"):
        fed.write(fed.table("t"), table="kept")


def test_two_sessions_that_write_one_name(configured: Callable[..., dict[str, Any]]) -> None:
    one, two = bl.connect(configured()), bl.connect(configured())
    one.write(one.table("t").filter(_.id < 50), table="kept")
    with pytest.raises(bl.PlanError, match="has a table 'kept' already"):
        two.write(two.table("t"), table="kept")
    assert bl.connect(configured()).table("kept").agg(n=_.count()).execute()["n"].tolist() == [50]


@pytest.mark.parametrize("step", ["stage", "commit"])
def test_all_sites_keep_their_part_or_none_does(
    configured: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fed = bl.connect(configured())
    real = getattr(Site, step)

    def fails(self: Site, task: Any) -> None:
        if self.name == "south":
            raise SiteError("the disk is full", where="site south")
        real(self, task)

    monkeypatch.setattr(Site, step, fails)
    with pytest.raises(bl.SiteError, match="site south: the disk is full"):
        fed.write(fed.table("t"), table="kept")
    monkeypatch.undo()
    assert fed.last_run is not None
    assert fed.last_run.outcome == "failed"
    assert list(tmp_path.rglob("*kept*")) == []
    for session in (fed, bl.connect(configured())):
        session.refresh()
        assert session.list_tables() == ["t"]
    fed.write(fed.table("t"), table="kept")
    assert "kept" in fed.list_tables()


def test_a_written_file_whose_policy_is_gone_is_not_published(
    configured: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    fed = bl.connect(configured())
    fed.write(fed.table("t"), table="kept")
    (file,) = (tmp_path / "state-north").rglob("kept.parquet")
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    with pytest.raises(bl.ConfigError, match="policy of a written table"):
        bl.connect(configured())


def test_predictions_are_written(configured: Callable[..., dict[str, Any]]) -> None:
    policy = {"release": "rows"}
    fed = bl.connect(configured(policy, policy))
    model = bl.train(bl.LinearRegression(), fed.table("t"), target="x", features=["id"])
    fed.write(fed.table("t").pipe(model.predict), table="scored")
    errors = fed.table("scored").agg(most=(_.prediction - _.x).abs().max())
    assert errors.execute()["most"][0] < 1e-9
