"""Interactive display: a table's plan or its refusal; nothing runs, nothing leaves, no model is fitted."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from ibis import _

import blossom as bl

Published = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def interactive() -> Iterator[None]:
    before = ibis.options.interactive
    ibis.options.interactive = True
    yield
    ibis.options.interactive = before


@pytest.fixture
def fed(published: Published, tmp_path: Path) -> Iterator[bl.Session]:
    x = np.random.default_rng(5).normal(size=200)
    rows = pa.table({"id": range(200), "g": ["a", "b"] * 100, "x": x, "y": x + np.arange(200) % 3 > 0.5})
    policy = {
        "release": "aggregates",
        "min_group": 5,
        "privacy_unit": "id",
        "columns": {"g": {"release": "rows"}, "x": {"transform": True}},
        "training": "updates",
    }
    sites = {
        name: published(rows, policy, name=name) | {"state": str(tmp_path / f"state-{name}")}
        for name in ("north", "south")
    }
    with bl.connect({"sites": sites, "hub": {"state": str(tmp_path / "hub")}}) as session:
        yield session
        assert session.last_run is None, "display has run something"
        assert session.records.runs() == ()
        logs = [path for path in tmp_path.rglob("audit.jsonl") if path.stat().st_size]
        assert logs == [], "display has released something"


def shown(expr: Any) -> str:
    """What a terminal prints, without the breaks of its lines."""
    return " ".join(repr(expr).split())


def test_a_table_shows_its_plan(fed: bl.Session) -> None:
    text = shown(fed.table("t").group_by("g").agg(n=_.count()))
    assert "g: string" in text
    assert "Plan: 3 fragments at 3 sites" in text
    assert "merge of f0, f1" in text
    assert "to run it: .to_pandas()" in text


def test_columns_and_values_show_their_plan(fed: bl.Session) -> None:
    table = fed.table("t").group_by("g").agg(n=_.count())
    assert "Plan: 3 fragments" in shown(table.n)
    assert "Plan: 3 fragments" in shown(table.n.sum())
    assert "Plan: 3 fragments" in shown(fed.table("t").count())


def test_a_refused_table_shows_the_refusal(fed: bl.Session) -> None:
    text = shown(fed.table("t").select("x"))
    assert "PolicyError: Project: the result (Project) may not reach hub from north and south" in text
    assert ".agg" in text
    assert "to run it" not in text
    assert "[rows]" in shown(fed.table("t").x)


def test_predictions_show_where_the_model_would_be_fitted(fed: bl.Session) -> None:
    model = bl.train(bl.LogisticRegression(), fed.table("t"), target="y", features=["x"])
    scored = fed.table("t").pipe(model.predict).group_by("g").agg(p=_.probability.mean())
    text = shown(scored)
    assert "model of y, to be fitted at north and south (horizontal)" in text
    assert "Model(LogisticRegression" in repr(model)
    told = model.explain().text()
    assert "model of y, to be fitted at north and south (horizontal)" in told
    assert "loss, gradient and Hessian" in told
    assert "for the model" in told
    assert "rounds:" not in told


def test_an_explanation_in_a_notebook_is_a_picture_and_its_text(fed: bl.Session) -> None:
    explanation = fed.explain(fed.table("t").group_by("g").agg(n=_.count()))
    html = explanation._repr_html_()
    picture = html[html.index("<svg") : html.index("</svg>") + 6]
    words = [one.text for one in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"north", "south", "hub", "f0 Aggregate", "result"} <= set(words)
    assert "<pre>Plan: 3 fragments at 3 sites" in html


def test_without_interactive_mode_a_table_shows_its_expression(fed: bl.Session) -> None:
    ibis.options.interactive = False
    assert "DatabaseTable: t" in repr(fed.table("t"))
