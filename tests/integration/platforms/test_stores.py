"""Files at URLs: S3 (a server that speaks it over HTTP), HTTP with and without ranges, memory; and a site's file that names them."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.plan.errors import PlatformError
from blossom.platforms.interface import Platform, TableSource


def _sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"stores_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


files = _sibling("test_files")
duckdb = files.duckdb
"""The fixture that opens an engine."""
engine, rows, KINDS = files.engine, files.rows, files.KINDS


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A server that speaks S3 over HTTP in this process, with a bucket."""
    server = pytest.importorskip("moto.server")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    storage = {
        "endpoint": f"http://{host}:{port}", "region": "us-east-1", "access_key": "someone", "secret_key": "a-secret-key",
    }  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=storage["endpoint"], region_name="us-east-1", aws_access_key_id="someone",
        aws_secret_access_key="a-secret-key",
    )  # fmt: skip
    client.create_bucket(Bucket="clinic")
    client.close()
    yield storage
    running.stop()


def _upload(storage: Mapping[str, str], folder: Path, under: str) -> None:
    from pyarrow import fs

    arguments = {
        "endpoint_override": storage["endpoint"],
        "region": "us-east-1",
        "access_key": "someone",
        "secret_key": "a-secret-key",
    }
    store = fs.S3FileSystem(**arguments)
    fs.copy_files(str(folder), f"clinic/{under}", destination_filesystem=store)


@pytest.mark.parametrize("kind", KINDS)
def test_s3(kind: str, s3: dict[str, str], tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    for part in (1, 2):
        (tmp_path / "data/parts" / f"p={part}").mkdir(parents=True)
        pq.write_table(
            pa.table({"a": [part, part + 10]}), tmp_path / "data/parts" / f"p={part}" / "x.parquet"
        )
    pacsv.write_csv(pa.table({"code": ["007", "NA"], "n": [1, 2]}), tmp_path / "data/t.csv")
    deltalake.write_deltalake(tmp_path / "data/delta", pa.table({"a": [1, 2, 3]}))
    (tmp_path / "data/images").mkdir()
    (tmp_path / "data/images/a.png").write_bytes(b"png")
    _upload(s3, tmp_path / "data", kind)
    root = f"s3://clinic/{kind}"
    platform = engine(kind)
    store = {"storage": s3}
    sources = {
        "parts": TableSource(source=f"{root}/parts", options=store),
        "globbed": TableSource(source=f"{root}/parts/*/x.parquet", options=store, rename={"b": "a"}),
        "csv": TableSource(
            source=f"{root}/t.csv", options={**store, "null_values": ["NA"]}, schema={"code": "string"}
        ),
        "delta": TableSource(source=f"{root}/delta", options={**store, "format": "delta"}),
        "images": TableSource(source=f"{root}/images/*.png", options={**store, "format": "files"}, columns=("path", "bytes")),
    }  # fmt: skip
    found = {name: rows(platform, name, platform.publish(name, source)) for name, source in sources.items()}
    key = lambda row: repr(row)  # noqa: E731
    assert sorted(found["parts"], key=key) == [
        {"a": 1, "p": 1},
        {"a": 11, "p": 1},
        {"a": 12, "p": 2},
        {"a": 2, "p": 2},
    ]
    assert sorted(row["b"] for row in found["globbed"]) == [1, 2, 11, 12]
    assert found["csv"] == [{"code": "007", "n": 1}, {"code": None, "n": 2}]
    assert sorted(row["a"] for row in found["delta"]) == [1, 2, 3]
    assert found["images"] == [{"path": "a.png", "bytes": b"png"}]
    platform.close()


def test_iceberg_on_s3(s3: dict[str, str], duckdb: Platform, tmp_path: Path) -> None:
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    properties = {
        "uri": f"sqlite:///{tmp_path / 'c.db'}", "warehouse": "s3://clinic/lake", "s3.endpoint": s3["endpoint"],
        "s3.access-key-id": "someone", "s3.secret-access-key": "a-secret-key", "s3.region": "us-east-1",
    }  # fmt: skip
    made = sql.SqlCatalog("lake", **properties)
    made.create_namespace("n")
    made.create_table("n.t", schema=pa.schema([("a", pa.int64())])).append(pa.table({"a": [1, 2]}))
    made.close()
    options = {"format": "iceberg", "catalog": f"sqlite:///{tmp_path / 'c.db'}", "storage": s3}
    schema = duckdb.publish("t", TableSource(source="n.t", options=options))
    assert rows(duckdb, "t", schema) == [{"a": 1}, {"a": 2}]


def test_a_wrong_store_is_told_without_its_secret(s3: dict[str, str], duckdb: Platform) -> None:
    with pytest.raises(PlatformError, match="no file") as caught:
        duckdb.publish("t", TableSource(source="s3://clinic/nowhere.parquet", options={"storage": s3}))
    assert "a-secret-key" not in str(caught.value)
    with pytest.raises(PlatformError, match=r"(?s)acces_key.*access_key"):
        duckdb.publish(
            "t", TableSource(source="s3://clinic/t.parquet", options={"storage": {"acces_key": "x"}})
        )
    with pytest.raises(PlatformError, match=r"table 't'"):
        duckdb.publish("t", TableSource(source="s3://no-such-bucket/t.parquet", options={"storage": s3}))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the files of `tmp_path`, and the paths of which it gave parts."""
    served: list[str] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        """Gives whole files, as servers without ranges do; under /parts also parts of them."""

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            if wanted is None or not self.path.startswith("/parts/"):
                return super().do_GET()
            first, last = wanted.removeprefix("bytes=").split("-")
            content = Path(self.translate_path(self.path)).read_bytes()
            part = content[int(first) : int(last) + 1]
            served.append(self.path)
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(part)
            return None

        def end_headers(self) -> None:
            if self.path.startswith("/parts/"):
                self.send_header("Accept-Ranges", "bytes")
            super().end_headers()

    (tmp_path / "parts").mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", KINDS)
def test_http(kind: str, web: tuple[str, list[str]], tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    root, served = web
    wide = pa.table({f"c{i}": [f"{i}-{j}" for j in range(50_000)] for i in range(20)})
    pq.write_table(wide, tmp_path / "parts/wide.parquet")
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": 3}\n')
    platform = engine(kind)
    parquet = platform.publish("parquet", TableSource(source=f"{root}/t.parquet"))
    lines = platform.publish("lines", TableSource(source=f"{root}/t.jsonl"))
    assert rows(platform, "parquet", parquet) == [{"a": 1}, {"a": 2}]
    assert rows(platform, "lines", lines) == [{"a": 1}, {"a": 3}]
    schema = platform.publish("wide", TableSource(source=f"{root}/parts/wide.parquet", columns=("c3",)))
    assert len(rows(platform, "wide", schema)) == 50_000
    assert served  # parts of it, not the whole
    with pytest.raises(PlatformError, match=r"no file.*nowhere\.parquet"):
        platform.publish("t", TableSource(source=f"{root}/nowhere.parquet"))
    platform.close()


def test_columns_without_names_have_duckdbs(duckdb: Platform, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    (tmp_path / "t.csv").write_text("1,x\n2,y\n")
    with fsspec.open("memory://nameless/t.csv", "wb") as file:
        file.write(b"1,x\n2,y\n")
    there = duckdb.publish("there", TableSource(source="memory://nameless/t.csv", options={"header": False}))
    here = duckdb.publish("here", TableSource(source=str(tmp_path / "t.csv"), options={"header": False}))
    assert rows(duckdb, "there", there) == rows(duckdb, "here", here)
    assert there == here


def test_a_sites_file(tmp_path: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    files.delta(tmp_path)
    files.iceberg(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("hello")
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "up.parquet")
    _upload(s3, tmp_path / "notes", "notes")
    monkeypatch.setenv("CLINIC_KEY", "a-secret-key")
    (tmp_path / "key").write_text("someone\n")
    (tmp_path / "blossom.toml").write_text(
        f"""
[sites.north.tables.lake]
source = "delta"
options = {{ format = "delta" }}
policy = {{ release = "aggregates", privacy_unit = "id", min_group = 2 }}
[sites.north.tables.ice]
source = "main.t"
options = {{ format = "iceberg", catalog = "catalog.db" }}
policy.release = "rows"
[sites.north.tables.notes]
source = "s3://clinic/notes"
schema = {{ bytes = "string" }}
policy.release = "rows"
[sites.north.tables.notes.options]
format = "files"
storage = {{ endpoint = "{s3["endpoint"]}", region = "us-east-1", access_key = {{ file = "key" }}, secret_key = {{ env = "CLINIC_KEY" }} }}
""",
        encoding="utf-8",
    )
    with bl.connect(str(tmp_path / "blossom.toml")) as session:
        lake, ice = session.table("lake"), session.table("ice")
        counted = session.run(lake.agg(n=_.count())).result.to_pylist()
        joined = session.run(ice.filter(_.id > 5).select("id", "name")).result.to_pylist()
        notes = session.run(session.table("notes").select("path", "bytes")).result.to_pylist()
        assert "a-secret-key" not in repr(session.explain(ice))
    assert counted == [{"n": 8}]
    assert joined == [{"id": 6, "name": "a"}, {"id": 7, "name": "z"}]
    assert notes == [{"path": "a.txt", "bytes": "hello"}]
