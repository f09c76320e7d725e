"""Wrong names and types, unreachable engines, sites that disagree, and awkward data: one clear error, or the right answer."""

from __future__ import annotations

import math
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from ibis import _
from ibis.common.exceptions import IbisError

import blossom as bl

ROWS = pa.table(
    {
        "id": list(range(100)),
        "g": ["a", "b"] * 50,
        "x": [float(i % 7) for i in range(100)],
        "y": [i % 3 == 0 for i in range(100)],
    }
)
AGGREGATES = {
    "release": "aggregates",
    "min_group": 5,
    "privacy_unit": "id",
    "columns": {"g": {"release": "rows"}},
    "training": "updates",
}
POLICIES = pytest.mark.parametrize("policy", [{"release": "rows"}, AGGREGATES], ids=["rows", "aggregates"])
Published = Callable[..., dict[str, Any]]


def changed(name: str, values: object) -> pa.Table:
    return ROWS.set_column(ROWS.schema.get_field_index(name), name, pa.array(values))


@pytest.fixture
def fed(published: Published) -> bl.Session:
    return bl.connect({"sites": {"north": published(ROWS), "south": published(ROWS)}})


# -- names and types


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda fed: fed.table("tt"), r"unknown table 'tt'\n  hint: did you mean 't'"),
        (lambda fed: fed.table("t", site="nort"), r"unknown site 'nort' for table 't'\n  hint: did you mean 'north'"),
        (lambda fed: fed.sql("select xx from t"), r"unknown column 'xx'\n  hint: did you mean 'x'"),
        (lambda fed: fed.sql("select x from tt"), r"unknown table 'tt'\n  hint: did you mean 't'"),
        (lambda fed: fed.sql("selec x frm t"), r"not SQL.*line 1"),
        (lambda fed: bl.train(bl.Ridge(), fed.table("t"), target="yy"), r"target: unknown column 'yy'\n  hint: did you mean 'y'"),
        (lambda fed: bl.train(bl.Ridge(), fed.table("t"), target="x", features=["ii"]), r"features: unknown column 'ii'"),
        (lambda fed: bl.train(bl.Ridge(), fed.table("t"), target="x", features=["g"]), r"column 'g' is string, not a number\n  hint: encode it"),
        (lambda fed: bl.Ridge(alpa=1), r"Ridge: unknown parameter 'alpa'\n  hint: did you mean 'alpha'"),
        (lambda fed: fed.write(fed.table("t"), table="u", site="nort"), r"unknown site 'nort'\n  hint: did you mean 'north'"),
    ],
)  # fmt: skip
def test_wrong_names_and_types(fed: bl.Session, ask: Callable[[bl.Session], object], says: str) -> None:
    with pytest.raises(bl.BlossomError, match=says):
        ask(fed)


@pytest.mark.parametrize(
    ("ask", "names"),
    [
        (lambda t: t.filter(_.xx > 1), ["xx"]),
        (lambda t: t.select("xx"), ["xx", "'id', 'g', 'x', 'y'"]),
        (lambda t: t.join(t.view(), "idd"), ["idd"]),
        (lambda t: t.filter(_.g > 1), ["g:string", "comparable"]),
        (lambda t: t.mutate(z=_.g - 1), ["g"]),
    ],
)
def test_ibis_names_what_is_wrong_inside_expressions(
    fed: bl.Session, ask: Callable[[Any], object], names: list[str]
) -> None:
    """Ibis builds expressions and raises its own errors: readable, and before anything runs."""
    with pytest.raises((IbisError, AttributeError, TypeError)) as caught:
        ask(fed.table("t"))
    assert [name for name in names if name not in str(caught.value)] == []
    assert fed.last_run is None


@pytest.mark.parametrize(
    ("site", "says"),
    [
        ({"tabels": {}}, r"sites\.north\.tabels: unknown key 'tabels'\n  hint: did you mean 'tables'"),
        ({"tables": {"t": {"platform": "duckbd", "source": "x.parquet"}}}, r"unknown platform 'duckbd'\n  hint: did you mean 'duckdb'"),
        ({"platforms": {"p": {"kind": "polar"}}}, r"did you mean 'polars'"),
        ({"tables": {"t": {"platform": "duckdb", "source": "x.parquet", "policy": {"release": "row"}}}}, r"release"),
    ],
)  # fmt: skip
def test_wrong_keys(site: dict[str, Any], says: str) -> None:
    with pytest.raises(bl.ConfigError, match=says):
        bl.connect({"sites": {"north": site}})


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"policy": {**AGGREGATES, "privacy_unit": "idd"}}, r"privacy_unit: unknown column 'idd'\n  hint: did you mean 'id'"),
        ({"policy": {"release": "rows", "columns": {"gg": {"release": "none"}}}}, r"columns\.gg: unknown column 'gg'"),
        ({"partition": {"by": ["idd"], "scheme": "s"}}, r"partition.*unknown column 'idd'"),
        ({"rename": {"age": "AGE"}}, r"north.*unknown column 'AGE'"),
    ],
)  # fmt: skip
def test_declarations_of_columns_that_are_not_there(
    published: Published, declared: dict[str, Any], says: str
) -> None:
    site = published(ROWS)
    site["tables"]["t"] |= declared
    with pytest.raises(bl.BlossomError, match=says):
        bl.connect({"sites": {"north": site}})


# -- engines that cannot be reached


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.mark.parametrize(
    ("platform", "source", "says"),
    [
        ({"kind": "duckdb"}, "gone.parquet", "gone.parquet"),
        ({"kind": "polars"}, "gone.csv", "gone.csv"),
        ({"kind": "sqlite", "database": "gone.db"}, "t", "no database"),
        ({"kind": "sqlite"}, "nothing", "no such table"),
        ({"kind": "duckdb", "database": "gone.duckdb"}, "t", "gone.duckdb"),
    ],
)
def test_missing_files(tmp_path: Path, platform: dict[str, str], source: str, says: str) -> None:
    if "database" in platform:
        platform = {**platform, "database": str(tmp_path / platform["database"])}
    if "." in source:
        source = str(tmp_path / source)
    site = {
        "platforms": {"p": platform},
        "tables": {"t": {"platform": "p", "source": source, "policy": {"release": "rows"}}},
    }
    with pytest.raises(bl.PlatformError, match=says) as caught:
        bl.connect({"sites": {"north": site}})
    assert "north" in str(caught.value)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_and_its_password() -> None:
    url = f"postgresql://me:secret@127.0.0.1:{closed_port()}/x"
    site = {
        "platforms": {"pg": {"kind": "postgresql", "url": url}},
        "tables": {"t": {"platform": "pg", "source": "t"}},
    }
    with pytest.raises(bl.PlatformError, match=r"north.*cannot be reached") as caught:
        bl.connect({"sites": {"north": site}})
    assert "secret" not in str(caught.value)


def test_a_file_that_goes_away_after_connecting(published: Published, tmp_path: Path) -> None:
    fed = bl.connect({"sites": {"north": published(ROWS)}})
    (tmp_path / "part.parquet").unlink()
    with pytest.raises(bl.PlatformError):
        fed.table("t").x.sum().execute()
    assert fed.last_run is not None
    assert fed.last_run.outcome == "failed"


# -- sites that disagree


def test_a_site_lacks_a_column(published: Published) -> None:
    lacking = published(ROWS.drop_columns(["x"]), name="lacking")
    with pytest.raises(bl.ConfigError, match=r"north publishes column 'x', site south does not\n  hint: "):
        bl.connect({"sites": {"north": published(ROWS), "south": lacking}})


def test_a_site_has_another_type(published: Published) -> None:
    other = published(changed("x", ["q"] * 100), name="other")
    with pytest.raises(
        bl.ConfigError, match=r"'x' is float64 at site north and string at site south\n  hint: "
    ):
        bl.connect({"sites": {"north": published(ROWS), "south": other}})


def test_numbers_of_two_types_promote(published: Published) -> None:
    whole = published(changed("x", [1] * 100), name="whole")
    fed = bl.connect({"sites": {"north": published(ROWS), "south": whole}})
    assert fed.table("t").x.sum().execute() == sum(ROWS["x"].to_pylist()) + 100


def test_sessions_do_not_mix(published: Published) -> None:
    config = {"sites": {"north": published(ROWS)}}
    one, two = bl.connect(config), bl.connect(config)
    with pytest.raises((bl.BlossomError, IbisError), match=r"[Mm]ultiple|one Blossom session"):
        one.table("t").join(two.table("t"), "id").to_pandas()


# -- awkward data


def by_group(fed: bl.Session) -> list[dict[str, Any]]:
    measured = fed.table("t").group_by("g").agg(n=_.count(), x=_.x.mean())
    return measured.order_by("g").to_pyarrow().to_pylist()


def regression(fed: bl.Session) -> list[float]:
    model = bl.train(
        bl.make_pipeline(bl.StandardScaler(), bl.LogisticRegression()),
        fed.table("t"),
        target="y",
        features=["x"],
    )
    return model.fit().coef_.ravel().tolist()


@POLICIES
def test_an_empty_site_changes_nothing(published: Published, policy: dict[str, Any]) -> None:
    full = published(ROWS, policy)
    alone = bl.connect({"sites": {"north": full}})
    both = bl.connect({"sites": {"north": full, "empty": published(ROWS.slice(0, 0), policy, name="empty")}})
    assert by_group(both) == by_group(alone)
    assert regression(both) == pytest.approx(regression(alone), rel=1e-9)


@POLICIES
def test_only_empty_sites(published: Published, policy: dict[str, Any]) -> None:
    empty = published(ROWS.slice(0, 0), policy)
    fed = bl.connect({"sites": {"north": empty, "south": empty}})
    assert by_group(fed) == []
    total = fed.table("t").agg(n=_.count()).to_pyarrow().to_pylist()
    assert total in ([{"n": 0}], [{"n": None}])
    with pytest.raises(bl.TrainingError, match="no rows"):
        regression(fed)


def test_a_site_where_every_value_is_null(published: Published) -> None:
    nulls = pa.table(
        {
            "id": range(100),
            "g": pa.nulls(100, pa.string()),
            "x": pa.nulls(100, pa.float64()),
            "y": pa.nulls(100, pa.bool_()),
        }
    )
    fed = bl.connect({"sites": {"north": published(ROWS), "south": published(nulls, name="nulls")}})
    assert by_group(fed)[-1] == {"g": None, "n": 100, "x": None}
    with pytest.raises(bl.TrainingError, match=r"null, NaN or infinite values in up to \d+ rows\n  hint: "):
        regression(fed)
    guarded = bl.connect(
        {"sites": {"north": published(ROWS, AGGREGATES), "south": published(nulls, AGGREGATES, name="nulls")}}
    )
    # The mean of no values describes nobody, so the owner of the nulls holds its cell back, and says so.
    assert [row["g"] for row in by_group(guarded)] == ["a", "b"]
    assert guarded.last_run is not None
    assert guarded.last_run.withheld == {"north": False, "south": True}


@POLICIES
def test_a_constant_feature_weighs_nothing(published: Published, policy: dict[str, Any]) -> None:
    fed = bl.connect({"sites": {"north": published(changed("x", [3.0] * 100), policy)}})
    assert regression(fed) == [0.0]


@POLICIES
def test_one_class_only(published: Published, policy: dict[str, Any]) -> None:
    fed = bl.connect({"sites": {"north": published(changed("y", [True] * 100), policy)}})
    with pytest.raises(bl.TrainingError, match=r"'y' has 1 class.*\n  hint: "):
        regression(fed)


@POLICIES
def test_nan_and_infinity(published: Published, policy: dict[str, Any]) -> None:
    values = [float(i % 7) for i in range(100)]
    values[1], values[3] = math.nan, math.inf
    fed = bl.connect(
        {
            "sites": {
                "north": published(ROWS, policy),
                "south": published(changed("x", values), policy, name="odd"),
            }
        }
    )
    a, b = by_group(fed)
    assert a == {"g": "a", "n": 100, "x": pytest.approx(sum(ROWS["x"].to_pylist()[::2]) / 50)}
    assert fed.last_run is not None
    if policy == AGGREGATES:
        # a mean of NaN would tell of the two alone whose values are none: their cell is held back, the other site's stands
        assert b == {"g": "b", "n": 50, "x": pytest.approx(sum(ROWS["x"].to_pylist()[1::2]) / 50)}
        assert fed.last_run.withheld == {"north": False, "south": True}
    else:
        assert b["n"] == 100
        assert math.isnan(b["x"])
    with pytest.raises(bl.TrainingError, match=r"column 'x' holds null, NaN or infinite values"):
        regression(fed)


# -- names in other scripts


@pytest.fixture
def scripts(tmp_path: Path) -> Callable[[dict[str, Any]], bl.Session]:
    """One table, with names in several scripts, on three engines."""
    rows = pa.table(
        {
            "Größe ü": [float(i) for i in range(100)],
            "Schlüssel": [list("äöü日本")[i % 5] for i in range(100)],
            "id": range(100),
        }
    )
    pq.write_table(rows, tmp_path / "größe.parquet")
    pc.write_csv(rows, tmp_path / "größe.csv")
    with sqlite3.connect(tmp_path / "größe.db") as connection:
        connection.execute('create table "Tabelle ß" ("Größe ü" real, "Schlüssel" text, id integer)')
        connection.executemany(
            'insert into "Tabelle ß" values (?, ?, ?)', zip(*(rows.to_pydict().values()), strict=True)
        )
    connection.close()
    types = {"Größe ü": "float64", "Schlüssel": "string", "id": "int64"}

    def make(policy: dict[str, Any]) -> bl.Session:
        def table(platform: str, source: str, **more: object) -> dict[str, Any]:
            return {"Tabelle ß": {"platform": platform, "source": source, "policy": policy, **more}}

        return bl.connect(
            {
                "sites": {
                    "Nürnberg": {"tables": table("duckdb", str(tmp_path / "größe.parquet"))},
                    "東京": {
                        "platforms": {"polars": {"kind": "polars"}},
                        "tables": table("polars", str(tmp_path / "größe.csv"), schema=types),
                    },
                    "café": {
                        "platforms": {"lite": {"kind": "sqlite", "database": str(tmp_path / "größe.db")}},
                        "tables": table("lite", "Tabelle ß", schema=types),
                    },
                }
            }
        )

    return make


@pytest.mark.parametrize(
    "policy",
    [
        {"release": "rows"},
        {
            "release": "aggregates",
            "min_group": 5,
            "privacy_unit": "id",
            "columns": {"Schlüssel": {"release": "rows"}, "Größe ü": {"transform": True}},
            "training": "updates",
        },
    ],
    ids=["rows", "aggregates"],
)
def test_names_in_other_scripts(
    scripts: Callable[[dict[str, Any]], bl.Session], policy: dict[str, Any]
) -> None:
    fed = scripts(policy)
    rows = fed.table("Tabelle ß")
    found = (
        rows.group_by("Schlüssel").agg(n=_.count(), **{"Mittel é": _["Größe ü"].mean()}).order_by("Schlüssel")
    )
    assert found.to_pyarrow().to_pylist()[0] == {"Schlüssel": "ä", "n": 60, "Mittel é": 47.5}
    assert "Nürnberg, café and 東京" in fed.explain(found).text() or policy["release"] == "rows"
    columns = [("zahl é", bl.StandardScaler(), ["Größe ü"]), ("wort", bl.OneHotEncoder(), ["Schlüssel"])]
    model = bl.train(
        bl.make_pipeline(bl.ColumnTransformer(columns), bl.Ridge()),
        rows,
        target="id",
        features=["Größe ü", "Schlüssel"],
    )
    assert "Schlüssel_日" in model.fit().feature_names_out
    scored = rows.pipe(model.predict, name="Schätzung").group_by("Schlüssel").agg(p=_["Schätzung"].mean())
    shares = scored.order_by("Schlüssel").to_pyarrow().to_pylist()
    assert [row["Schlüssel"] for row in shares] == list("äöü日本")
    assert all(47 < row["p"] < 52 for row in shares)
    assert "東京" in str(fed.sites())
    assert "Größe ü" in str(fed.catalog())
    if policy["release"] == "aggregates":
        with pytest.raises(bl.PolicyError, match=r"東京.*Größe ü"):
            rows.filter(_["Größe ü"] > 3).to_pandas()


# -- errors that would tell a value


@pytest.mark.parametrize("platform", ["duckdb", "polars", "sqlite"])
def test_a_failing_cast_does_not_print_private_values(tmp_path: Path, platform: str) -> None:
    secrets = pa.table({"id": range(100), "g": [f"SECRET{i}" for i in range(100)]})
    policy = {
        "release": "aggregates",
        "min_group": 5,
        "privacy_unit": "id",
        "columns": {"g": {"transform": True}},
    }
    source = str(tmp_path / "secrets.csv")
    pc.write_csv(secrets, source)
    if platform == "sqlite":
        source = "secrets"
        with sqlite3.connect(tmp_path / "secrets.db") as connection:
            connection.execute("create table secrets (id integer, g text)")
            connection.executemany(
                "insert into secrets values (?, ?)", zip(*secrets.to_pydict().values(), strict=True)
            )
        connection.close()
    options = {"database": str(tmp_path / "secrets.db")} if platform == "sqlite" else {}
    table = {"platform": "p", "source": source, "schema": {"id": "int64", "g": "string"}, "policy": policy}
    fed = bl.connect(
        {"sites": {"north": {"platforms": {"p": {"kind": platform, **options}}, "tables": {"t": table}}}}
    )
    with pytest.raises(bl.PlatformError, match=r"site north.*the query failed") as caught:
        fed.table("t").agg(s=_.g.cast("int64").sum()).execute()
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert fed.last_run is not None
    assert "SECRET" not in fed.last_run.report()


def test_where_rows_may_leave_the_engine_may_say_which_value_it_was(published: Published) -> None:
    fed = bl.connect({"sites": {"north": published(ROWS)}})
    with pytest.raises(bl.PlatformError, match="'a'"):
        fed.table("t").mutate(z=_.g.cast("int64")).to_pandas()


def divided(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.slice(0, 1 // 0)


def renamed(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(["id"])


@pytest.mark.parametrize(
    ("function", "says"),
    [(divided, "divided.*ZeroDivisionError.*\n.*line"), (renamed, "renamed.*lacks q")],
)
def test_a_python_function_that_fails(published: Published, function: Callable[..., Any], says: str) -> None:
    fed = bl.connect({"sites": {"north": published(ROWS)}})
    with pytest.raises(bl.PlatformError, match=says):
        fed.table("t").pipe(bl.map_batches, function, schema={"q": "string"}).to_pandas()
