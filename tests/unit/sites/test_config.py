"""The configuration: what it says, where paths and secrets come from, and how each fault is told."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blossom.plan.errors import ConfigError, SiteError
from blossom.plan.relations import Partition
from blossom.plan.schema import Schema
from blossom.policy.model import ColumnPolicy, TablePolicy
from blossom.sites.config import Federation, HubConfig, TableConfig, check_columns, find, load, state_folder
from blossom.sites.config.build import folder_name

DESIGN = """
[sites.north]
title = "North hospital"
region = "eu-north"
state = "state/north"

[sites.north.platforms.pg]
kind = "postgresql"
url = { env = "NORTH_PG_URL" }
[sites.north.platforms.duckdb]
kind = "duckdb"
memory_limit = "4GB"

[sites.north.tables.patients]
platform = "pg"
source = "clinic.patients"
rename = { age = "AGE_YRS" }
schema = { dep_delay = "float64" }
options = { null_values = ["NA"] }
partition = { by = ["patient_id"], scheme = "patients" }
[sites.north.tables.patients.policy]
release = "aggregates"
to = ["hub"]
min_group = 10
privacy_unit = "patient_id"
columns.name = { release = "none", filter = false, key = false }
columns.admitted_on = { release = "rows" }
columns.salary = { transform = false }
training = "updates"
purposes = ["research"]
"""


def site(**body: Any) -> dict[str, Any]:
    return {"sites": {"north": body}}


def table(**body: Any) -> dict[str, Any]:
    return site(tables={"t": {"source": "t.parquet", **body}})


def policy(**body: Any) -> dict[str, Any]:
    return table(policy=body)


def loaded_table(**body: Any) -> TableConfig:
    return load(table(**body)).sites["north"].tables["t"]


def test_a_function_gets_the_limits_of_its_site() -> None:
    limits = {"memory_limit": "512MB", "timeout": 5}
    found = load({"sites": {"north": {"platforms": {"python": limits}}}})
    assert found.sites["north"].platforms["python"].options == {"memory_limit": "512MB", "timeout": 5.0}
    with pytest.raises(ConfigError, match=r"sites\.north\.platforms\.python\.timeout"):
        load({"sites": {"north": {"platforms": {"python": {"timeout": -1}}}}})


def test_the_designs_own_example_is_read_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTH_PG_URL", "postgresql://north:pw@db/clinic")
    file = tmp_path / "blossom.toml"
    file.write_text(DESIGN)
    federation = load(file)
    north = federation.sites["north"]
    assert (north.title, north.region, north.state) == (
        "North hospital",
        "eu-north",
        tmp_path / "state/north",
    )
    assert {name: platform.kind for name, platform in north.platforms.items()} == {
        "pg": "postgresql", "duckdb": "duckdb", "python": "python"
    }  # fmt: skip
    assert north.platforms["pg"].options == {"url": "postgresql://north:pw@db/clinic"}
    assert north.platforms["duckdb"].options == {"memory_limit": "4GB"}
    patients = north.tables["patients"]
    assert (patients.platform, patients.source.source) == ("pg", "clinic.patients")
    assert patients.source.rename == {"age": "AGE_YRS"}
    assert patients.source.schema == {"dep_delay": "float64"}
    assert patients.source.options == {"null_values": ["NA"]}
    assert patients.partition == Partition("patients", ("patient_id",))
    assert patients.policy == TablePolicy(
        release="aggregates",
        to=("hub",),
        min_group=10,
        privacy_unit="patient_id",
        columns={
            "name": ColumnPolicy(release="none", filter=False, key=False),
            "admitted_on": ColumnPolicy(release="rows"),
            "salary": ColumnPolicy(transform=False),
        },
        training="updates",
        purposes=("research",),
    )


def test_a_secret_is_not_shown_by_a_dump_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG", "postgresql://me:hunter2@db/clinic")
    federation = load(site(platforms={"pg": {"kind": "postgresql", "url": {"env": "PG"}}}))
    assert "hunter2" not in repr(federation.sites["north"].platforms)
    assert federation.sites["north"].platforms["pg"].options["url"] == "postgresql://me:hunter2@db/clinic"


def test_without_anything_said_nothing_leaves() -> None:
    assert loaded_table().policy == TablePolicy(release="none", training="none")


class TestPaths:
    def test_relative_paths_start_at_the_files_folder(self, tmp_path: Path) -> None:
        file = tmp_path / "blossom.toml"
        file.write_text(
            """
            [sites.a.platforms.lite]
            kind = "sqlite"
            database = "clinic.db"
            [sites.a.tables.x]
            source = "patients"
            [sites.b.tables.y]
            source = "data/*.parquet"
            """
        )
        federation = load(str(file))
        a, b = federation.sites["a"], federation.sites["b"]
        assert a.platforms["lite"].options == {"database": str(tmp_path / "clinic.db")}
        assert a.tables["x"].source.source == "patients"
        assert b.tables["y"].source.source == str(tmp_path / "data/*.parquet")
        assert a.state == tmp_path / ".blossom/a"
        assert federation.hub.state == tmp_path / ".blossom/hub"
        assert federation.path == file

    def test_those_of_a_mapping_start_at_the_working_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert loaded_table().source.source == str(tmp_path / "t.parquet")
        assert load(table()).sites["north"].state is None

    @pytest.mark.parametrize(
        ("source", "database", "is_path"),
        [
            ("patients", "clinic.duckdb", False),
            ("main.patients", "clinic.duckdb", False),
            ("patients.csv", "clinic.duckdb", True),
            ("data/patients", "clinic.duckdb", True),
            ("p?.parquet.gz", "clinic.duckdb", True),
            ("x.csv.gz", ":memory:", True),
            ("patients", None, True),
        ],
    )
    def test_duckdb_reads_tables_only_of_a_database(
        self,
        source: str,
        database: str | None,
        is_path: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        platform = {} if database is None else {"database": database}
        document = site(platforms={"duckdb": platform}, tables={"t": {"source": source}})
        expected = str(tmp_path / source) if is_path else source
        assert load(document).sites["north"].tables["t"].source.source == expected

    @pytest.mark.parametrize(
        "source", ["https://example.org/t.csv", "s3://bucket/t/*.parquet", "/data/t.parquet"]
    )
    def test_urls_and_absolute_paths_stay(self, source: str) -> None:
        assert loaded_table(source=source).source.source == source

    def test_memory_databases_stay(self) -> None:
        loaded = load(site(platforms={"s": {"kind": "sqlite", "database": ":memory:"}}))
        assert loaded.sites["north"].platforms["s"].options == {"database": ":memory:"}

    def test_a_path_object_is_a_path(self, tmp_path: Path) -> None:
        assert loaded_table(source=tmp_path / "x.csv").source.source == str(tmp_path / "x.csv")

    @pytest.mark.parametrize("name", ["../../etc", "a/b", ".", "..", "a\\b", "C:"])
    def test_a_sites_name_never_leaves_the_state_folder(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "blossom.toml").write_text(f"[sites.{json.dumps(name)}]\n")
        state = load(tmp_path / "blossom.toml").sites[name].state
        assert state is not None
        assert state.resolve().parent == tmp_path.resolve() / ".blossom"

    def test_different_names_have_different_folders(self) -> None:
        names = ["a/b", "a%2Fb", "a:b", ".a", "%2Ea", "a", "A b", "ä"]
        assert len({folder_name(name) for name in names}) == len(names)


class TestPlatforms:
    def test_the_built_in_ones_can_be_switched_off(self) -> None:
        document = site(platforms={"duckdb": False, "python": {"enabled": False}, "p": {"kind": "polars"}})
        assert set(load(document).sites["north"].platforms) == {"p"}

    def test_a_duckdb_of_another_name_takes_the_place_of_the_built_in_one(self) -> None:
        document = site(platforms={"quack": {"kind": "duckdb", "threads": 2}})
        platforms = load(document).sites["north"].platforms
        assert set(platforms) == {"quack", "python"}
        assert platforms["quack"].options == {"threads": 2}

    @pytest.mark.parametrize(
        ("platforms", "expected"),
        [
            ({}, "duckdb"),
            ({"p": {"kind": "polars"}}, "p"),
            ({"python": {}}, "duckdb"),
            ({"python": {}, "p": {"kind": "polars"}}, "p"),
            ({"p": {"kind": "polars"}, "s": {"kind": "sqlite"}}, "duckdb"),
            ({"p": {"kind": "polars"}, "duckdb": False}, "p"),
        ],
    )
    def test_the_reader_of_a_table_that_names_none(self, platforms: dict[str, Any], expected: str) -> None:
        document = site(platforms=platforms, tables={"t": {"source": "t.parquet"}})
        assert load(document).sites["north"].tables["t"].platform == expected

    def test_with_no_clear_reader_one_must_be_named(self) -> None:
        platforms = {"a": {"kind": "polars"}, "b": {"kind": "polars"}, "duckdb": False}
        with pytest.raises(ConfigError, match=r"sites.north.tables.t.platform: this key is required"):
            load(site(platforms=platforms, tables={"t": {"source": "t.parquet"}}))

    def test_a_faulty_platform_is_told_once(self) -> None:
        document = site(
            platforms={"pg": {"kind": "postgres"}}, tables={"t": {"source": "a.b", "platform": "pg"}}
        )
        with pytest.raises(ConfigError) as caught:
            load(document)
        assert (
            str(caught.value).splitlines()[0]
            == "sites.north.platforms.pg.kind: unknown platform kind 'postgres'"
        )
        assert "did you mean 'postgresql'?" in str(caught.value)


class TestSecrets:
    def pg(self, url: object) -> dict[str, Any]:
        return site(platforms={"pg": {"kind": "postgresql", "url": url}})

    def test_from_a_file_beside_the_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("postgresql://db/clinic\n")
        (tmp_path / "blossom.toml").write_text(
            '[sites.n.platforms.pg]\nkind = "postgresql"\nurl = { file = "url" }\n'
        )
        loaded = load(tmp_path / "blossom.toml")
        assert loaded.sites["n"].platforms["pg"].options["url"] == "postgresql://db/clinic"

    def test_a_password_in_the_file_is_refused_and_not_repeated(self, tmp_path: Path) -> None:
        for url in (
            "postgresql://me:hunter2@db/x",
            "postgresql://db/x?password=hunter2",
            "host=db password=hunter2",
        ):
            (tmp_path / "blossom.toml").write_text(
                f'[sites.n.platforms.pg]\nkind = "postgresql"\nurl = "{url}"\n'
            )
            with pytest.raises(ConfigError, match="a password stands in the file") as caught:
                load(tmp_path / "blossom.toml")
            assert "hunter2" not in str(caught.value)

    def test_a_url_without_one_may_stand_there(self, tmp_path: Path) -> None:
        (tmp_path / "blossom.toml").write_text(
            '[sites.n.platforms.pg]\nkind = "postgresql"\nurl = "postgresql://me@db/x"\n'
        )
        assert (
            load(tmp_path / "blossom.toml").sites["n"].platforms["pg"].options["url"]
            == "postgresql://me@db/x"
        )

    def test_a_variable_that_is_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NOT_THERE", raising=False)
        with pytest.raises(
            ConfigError, match=r"platforms.pg.url: the environment variable 'NOT_THERE' is not set"
        ):
            load(self.pg({"env": "NOT_THERE"}))

    def test_a_file_that_is_missing_or_empty(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load(self.pg({"file": str(tmp_path / "none")}))
        (tmp_path / "empty").write_text("\n")
        with pytest.raises(ConfigError, match="is empty"):
            load(self.pg({"file": str(tmp_path / "empty")}))

    @pytest.mark.parametrize(
        "url", [3, [], {}, {"env": "A", "file": "b"}, {"evn": "hunter2"}, {"env": 3}, {"text": "hunter2"}]
    )
    def test_other_shapes_are_refused_without_their_value(self, url: object) -> None:
        with pytest.raises(ConfigError, match=r"sites.north.platforms.pg.url") as caught:
            load(self.pg(url))
        assert "hunter2" not in str(caught.value)
        # Nor does a chained error carry what pydantic saw.
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    # document, key, what the message says
    ({}, "sites", "required"),
    ({"sites": {}}, "sites", "no site is declared"),
    ({"sites": []}, "sites", "expected a table of keys, got a list"),
    ({"site": {}, "sites": {"n": {}}}, "site", "did you mean 'sites'?"),
    ({"sites": {"n": {}}, "hub": {"sate": "x"}}, "hub.sate", "did you mean 'state'?"),
    ({"sites": {"hub": {}}}, "sites.hub", "reserved"),
    ({"sites": {"": {}}}, 'sites.""', "visible text"),
    ({"sites": {"a\nb": {}}}, "sites", "visible text"),
    ({"sites": {"n": 3}}, "sites.n", "expected a table of keys, got a whole number"),
    (site(tabels={}), "sites.north.tabels", "did you mean 'tables'?"),
    (site(title=3), "sites.north.title", "expected a text, got a whole number"),
    (site(platforms={"x": {}}), "sites.north.platforms.x.kind", "required"),
    (site(platforms={"x": {"kind": "duckdbb"}}), "sites.north.platforms.x.kind", "did you mean 'duckdb'?"),
    (site(platforms={"x": {"kind": 1}}), "sites.north.platforms.x.kind", "expected a text"),
    (site(platforms={"x": 1}), "sites.north.platforms.x", "expected a table of keys or false"),
    (
        site(platforms={"duckdb": {"kind": "polars"}}),
        "sites.north.platforms.duckdb.kind",
        "is of kind 'duckdb'",
    ),
    (
        site(platforms={"duckdb": {"memory": "4GB"}}),
        "sites.north.platforms.duckdb.memory",
        "did you mean 'memory_limit'?",
    ),
    (
        site(platforms={"duckdb": {"memory_limit": "lots"}}),
        "sites.north.platforms.duckdb.memory_limit",
        "a size such as",
    ),
    (
        site(platforms={"duckdb": {"threads": 0}}),
        "sites.north.platforms.duckdb.threads",
        "expected 1 or more, got 0",
    ),
    (
        site(platforms={"p": {"kind": "polars", "threads": 2}}),
        "sites.north.platforms.p.threads",
        "unknown key",
    ),
    (site(platforms={"p": {"kind": "postgresql"}}), "sites.north.platforms.p.url", "required"),
    (site(tables={"t": {}}), "sites.north.tables.t", "exactly one of source and query"),
    (table(query="SELECT 1"), "sites.north.tables.t", "exactly one of source and query"),
    (table(source=" "), "sites.north.tables.t.source", "empty"),
    (table(sorce="x"), "sites.north.tables.t.sorce", "did you mean 'source'?"),
    (table(min_group=3), "sites.north.tables.t.min_group", "belongs under 'policy': policy.min_group"),
    (table(platform="pg"), "sites.north.tables.t.platform", "unknown platform 'pg'"),
    (table(schema={"a": "int46"}), "sites.north.tables.t.schema.a", "'int46' is not a type"),
    (table(schema={"a": 64}), "sites.north.tables.t.schema.a", "expected a text"),
    (table(rename={"a": "X", "b": "X"}), "sites.north.tables.t.rename.b", "renamed twice"),
    (
        table(options={"null_value": ["NA"]}),
        "sites.north.tables.t.options.null_value",
        "did you mean 'null_values'?",
    ),
    (table(options={"delimiter": ";;"}), "sites.north.tables.t.options.delimiter", "one character"),
    (table(options={"format": "xlsx"}), "sites.north.tables.t.options.format", '"parquet", "csv", "json"'),
    (table(columns=[]), "sites.north.tables.t.columns", "at least one"),
    (table(columns=["a", "a"]), "sites.north.tables.t.columns[1]", "twice"),
    (table(partition={"by": []}), "sites.north.tables.t.partition.by", "at least one"),
    (
        table(partition={"by": "a", "schema": "s"}),
        "sites.north.tables.t.partition.schema",
        "did you mean 'scheme'?",
    ),
    (table(partition=5), "sites.north.tables.t.partition", "expected a table of keys, got a whole number"),
    (table(steward="north"), "sites.north.tables.t.steward", "only a replicated table"),
    (table(replicated=True), "sites.north.tables.t.replicated", "released as rows"),
    (table(replicated="yes"), "sites.north.tables.t.replicated", "expected true or false, got a text"),
    (
        table(replicated=True, policy={"release": "rows", "columns": {"a": {"release": "none"}}}),
        "sites.north.tables.t.replicated",
        "column 'a' is not",
    ),
    (
        table(replicated=True, policy={"release": "rows"}, partition="a"),
        "sites.north.tables.t.partition",
        "no partition",
    ),
    (policy(release="agregates"), "sites.north.tables.t.policy.release", "did you mean 'aggregates'?"),
    (policy(release=1), "sites.north.tables.t.policy.release", "got a whole number"),
    (policy(realease="rows"), "sites.north.tables.t.policy.realease", "did you mean 'release'?"),
    (policy(release="aggregates"), "sites.north.tables.t.policy.privacy_unit", "needs this key"),
    (
        policy(columns={"a": {"release": "aggregates"}}),
        "sites.north.tables.t.policy.privacy_unit",
        "column 'a'",
    ),
    (policy(training="updates"), "sites.north.tables.t.policy.privacy_unit", "needs this key"),
    (policy(training="secure"), "sites.north.tables.t.policy.training", "not available in this version"),
    (policy(training="private"), "sites.north.tables.t.policy.training", "not available in this version"),
    (policy(epsilon=1.0), "sites.north.tables.t.policy.epsilon", "not available in this version"),
    (policy(min_group=0), "sites.north.tables.t.policy.min_group", "expected 1 or more, got 0"),
    (
        policy(min_group=True),
        "sites.north.tables.t.policy.min_group",
        "expected a whole number, got true or false",
    ),
    (policy(min_group=2.5), "sites.north.tables.t.policy.min_group", "got a number with a fraction"),
    (policy(min_group="10"), "sites.north.tables.t.policy.min_group", "got a text"),
    (policy(to="hub"), "sites.north.tables.t.policy.to", "expected a list, got a text"),
    (policy(to=["hubb"]), "sites.north.tables.t.policy.to[0]", '"site:NAME"'),
    (policy(to=["hub", "site:"]), "sites.north.tables.t.policy.to[1]", '"site:NAME"'),
    (policy(to=["site:hub"]), "sites.north.tables.t.policy.to[0]", 'say "hub"'),
    (policy(to=["hub", "hub"]), "sites.north.tables.t.policy.to[1]", "twice"),
    (policy(purposes=[]), "sites.north.tables.t.policy.purposes", "empty"),
    (policy(purposes=[3]), "sites.north.tables.t.policy.purposes[0]", "expected a text"),
    (
        policy(columns={"a": {"realease": "none"}}),
        "sites.north.tables.t.policy.columns.a.realease",
        "did you mean 'release'?",
    ),
    (
        policy(columns={"a": "none"}),
        "sites.north.tables.t.policy.columns.a",
        "expected a table of keys, got a text",
    ),
    (
        {"sites": {"old town": {"tables": {"a.b": {"source": "x.csv", "polcy": {}}}}}},
        'sites."old town".tables."a.b".polcy',
        "did you mean 'policy'?",
    ),
]


@pytest.mark.parametrize(
    ("document", "key", "says"), FAULTS, ids=[f"{key}-{n}" for n, (_, key, _) in enumerate(FAULTS)]
)
def test_a_fault_names_its_key_and_says_what_is_right(document: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(document)
    assert says in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.startswith(key)


def test_all_faults_are_told_at_once() -> None:
    document = site(titel="x", tables={}) | {"hub": {"region": 3}}
    document["sites"]["south"] = {
        "tables": {"t": {"source": "t.csv", "policy": {"to": ["x"], "min_group": -1}}}
    }
    document["sites"]["west"] = {
        "tables": {"t": {"source": "t.csv", "policy": {"release": "aggregates", "to": ["x"]}}}
    }
    with pytest.raises(ConfigError) as hub_only:
        load(document)
    assert "hub.region" in str(hub_only.value)
    del document["hub"]
    with pytest.raises(ConfigError) as caught:
        load(document)
    for key in ("sites.north.titel", "sites.south.tables.t.policy.min_group", "sites.west.tables.t.policy.to[0]",
                "sites.west.tables.t.policy.privacy_unit"):  # fmt: skip
        assert key in str(caught.value)


def test_a_path_given_to_a_database_is_told() -> None:
    document = site(platforms={"s": {"kind": "sqlite"}}, tables={"t": {"source": "data/t.parquet"}})
    with pytest.raises(
        ConfigError, match=r"'data/t.parquet' is a path, but 's' \(sqlite\) reads its own tables"
    ):
        load(document)


class TestPartitionsAndReplication:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("id", Partition("t", ("id",))),
            (["a", "b"], Partition("t", ("a", "b"))),
            ({"by": "id", "scheme": "s"}, Partition("s", ("id",))),
        ],
    )
    def test_short_forms(self, given: object, expected: Partition) -> None:
        assert loaded_table(partition=given).partition == expected

    def test_a_steward_in_the_file_must_publish_the_table(self) -> None:
        document = table(replicated=True, steward="south")
        document["sites"]["south"] = {}
        with pytest.raises(ConfigError, match=r"steward: site 'south' does not publish 't'"):
            load(document)

    def test_a_steward_elsewhere_is_left_to_the_meeting_of_the_sites(self) -> None:
        assert loaded_table(replicated=True, steward="elsewhere").steward == "elsewhere"

    def test_two_sites_do_not_share_a_state_folder(self, tmp_path: Path) -> None:
        document = {"sites": {"a": {"state": tmp_path / "x"}, "b": {"state": tmp_path / "y" / ".." / "x"}}}
        with pytest.raises(ConfigError, match=r"sites.b.state: .* is already the state folder of 'a'"):
            load(document)


class TestFiles:
    def test_syntax_errors_name_the_line(self, tmp_path: Path) -> None:
        (tmp_path / "blossom.toml").write_text("[sites.a]\ntitle = \n")
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "blossom.toml")
        assert caught.value.where == f"{tmp_path / 'blossom.toml'}:2"

    def test_faults_name_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "blossom.toml").write_text("[sites.a]\ntitel = 'x'\n")
        with pytest.raises(ConfigError, match=r"blossom.toml: sites.a.titel: unknown key 'titel'"):
            load(tmp_path / "blossom.toml")

    def test_missing_folder_and_foreign_bytes(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such file"):
            load(tmp_path / "blossom.toml")
        with pytest.raises(ConfigError, match="give the file in it"):
            load(tmp_path)
        (tmp_path / "blossom.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="not UTF-8"):
            load(tmp_path / "blossom.toml")

    def test_find_walks_up_and_says_where_it_looked(self, tmp_path: Path) -> None:
        deep = tmp_path / "a" / "b"
        deep.mkdir(parents=True)
        with pytest.raises(ConfigError) as caught:
            find(deep)
        assert str(deep) in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        (tmp_path / "blossom.toml").touch()
        assert find(deep) == tmp_path.resolve() / "blossom.toml"

    def test_keys_of_a_mapping_are_texts(self) -> None:
        with pytest.raises(ConfigError, match="a key is a text, got int 3"):
            load({"sites": {3: {}}})  # pyright: ignore[reportArgumentType]


class TestStateFolder:
    def test_it_is_made_for_its_owner_only(self, tmp_path: Path) -> None:
        north = load(site(state=tmp_path / "deep" / "state")).sites["north"]
        folder = state_folder(north)
        assert folder == tmp_path / "deep" / "state"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert state_folder(north) == folder

    def test_temporary_ones_belong_to_one_loaded_site(self) -> None:
        first, second = load(table()).sites["north"], load(table()).sites["north"]
        assert state_folder(first) == state_folder(first)
        assert state_folder(first) != state_folder(second)
        assert stat.S_IMODE(state_folder(first).stat().st_mode) == 0o700
        assert state_folder(HubConfig()).is_dir()

    def test_temporary_ones_go_with_the_process(self) -> None:
        code = (
            "from blossom.sites.config import load, state_folder; import os\n"
            "folder = state_folder(load({'sites': {'n': {}}}).sites['n']); (folder / 'x').touch()\n"
            "child = os.fork()\n"
            "if child: os.waitpid(child, 0); print(folder, folder.is_dir())\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        path, alive = done.stdout.split()
        assert alive == "True", "a forked child removed its parent's folder"
        assert not Path(path).exists()

    def test_a_place_that_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        north = load(site(state=tmp_path / "file" / "state")).sites["north"]
        with pytest.raises(SiteError, match="site north: the state folder cannot be made"):
            state_folder(north)


class TestCheckColumns:
    schema = Schema([("patient_id", "int64"), ("age", "int32"), ("name", "string")])

    def test_a_fitting_table(self) -> None:
        config = loaded_table(
            rename={"age": "AGE"},
            schema={"age": "int32"},
            partition="patient_id",
            policy={"release": "aggregates", "privacy_unit": "row", "columns": {"name": {}}},
        )
        check_columns(config, self.schema)

    @pytest.mark.parametrize(
        ("body", "key", "close"),
        [
            ({"rename": {"aeg": "AGE"}}, "rename.aeg", "age"),
            ({"schema": {"nam": "string"}}, "schema.nam", "name"),
            ({"columns": ["age", "nmae"]}, "columns[1]", "name"),
            ({"partition": ["patient"]}, "partition.by[0]", "patient_id"),
            ({"policy": {"columns": {"names": {}}}}, "policy.columns.names", "name"),
            ({"policy": {"privacy_unit": "patientid"}}, "policy.privacy_unit", "patient_id"),
        ],
    )
    def test_a_name_that_is_not_there(self, body: dict[str, Any], key: str, close: str) -> None:
        with pytest.raises(ConfigError, match=f"did you mean '{close}'") as caught:
            check_columns(loaded_table(**body), self.schema, site="north")
        assert caught.value.where == f"sites.north.tables.t.{key}"


def test_the_readme_shape_of_a_mapping_equals_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blossom.toml").write_text('[sites.a.tables.t]\nsource = "t.csv"\npolicy.release = "rows"\n')
    federations: list[Federation] = [
        load("blossom.toml"),
        load({"sites": {"a": {"tables": {"t": {"source": "t.csv", "policy": {"release": "rows"}}}}}}),
    ]
    first, second = (federation.sites["a"].tables for federation in federations)
    assert first == second
