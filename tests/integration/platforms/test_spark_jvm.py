"""Spark in a JVM that a platform starts itself: the suite's questions, Python functions in its tasks, and how it begins and ends.

A heavier tier: `make engines`, or pytest -m jvm. It needs Java, and the whole of Spark (the extra `spark-local`, or SPARK_HOME).
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

import blossom as bl
from blossom.plan.errors import ConfigError, PlatformError
from blossom.plan.relations import MapBatches, Received
from blossom.plan.schema import Schema
from blossom.platforms.interface import Platform, TableSource
from blossom.platforms.registry import open_platform
from blossom.platforms.spark import Spark
from blossom.platforms.spark_local import home, java
from blossom.sites.functions import Functions

pytestmark = [pytest.mark.jvm, pytest.mark.slow]


def _sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"jvm_{name.replace('/', '_')}", Path(__file__).parent / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


setup = _sibling("conftest")
conformance = _sibling("test_conformance")
edges = _sibling("test_edges")
tpch = _sibling("../test_tpch")
data = tpch.data

CASES = [case for case in conformance.CASES if case not in conformance.unsupported_cases("spark")]


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    if home() is None:
        pytest.skip("the whole of Spark is not installed (blossom-sky[spark-local], or SPARK_HOME)")
    if java() is None:
        pytest.skip("there is no Java")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = open_platform("spark", "own", {"url": "local[2]", "memory_limit": "1GB"})
    for name, path in setup.write_parquet(tmp_path_factory.mktemp("jvm"), setup.DATA).items():
        made.publish(name, TableSource(source=path))
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = setup.FACTORIES["duckdb"](tmp_path_factory.mktemp("reference"))
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_the_references(spark: Platform, reference: Platform, case: str) -> None:
    plan = conformance.fragment(case)
    ordered = isinstance(plan, conformance.Sort) or (
        isinstance(plan, conformance.Limit) and isinstance(plan.input, conformance.Sort)
    )
    got = conformance.answer(spark, plan)
    conformance.assert_same(got, conformance.answer(reference, plan), ordered=ordered)
    conformance.assert_declared(got, plan)


def test_it_supports_what_sail_does(spark: Platform) -> None:
    found = {
        case
        for case in conformance.CASES
        if conformance.why_not(spark, conformance.fragment(case)) is not None
    }
    assert found == conformance.unsupported_cases("spark")


@pytest.mark.parametrize("edge", edges.EDGES)
def test_an_edge(spark: Platform, reference: Platform, edge: str) -> None:
    plan = edges._plan(edge)
    if conformance.why_not(spark, plan) is not None:
        return  # said before it is run
    try:
        expected = edges._answer(reference, plan)
    except PlatformError:
        with pytest.raises(PlatformError):
            edges._answer(spark, plan)
        return
    conformance.assert_same(edges._answer(spark, plan), expected)


# -- as a site has it ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(data: Any) -> Iterator[Any]:
    tables = {
        name: {"platform": "engine", "source": str(data.path(name)), "policy": {"release": "rows"}}
        for name in tpch.TABLES
    }
    site = {"platforms": {"engine": {"kind": "spark", "local": True}}, "tables": tables}
    with bl.connect({"sites": {"one": site}}) as made:
        yield made


@pytest.mark.parametrize("number", tpch.NUMBERS)
def test_tpch(session: Any, data: Any, number: int) -> None:
    tpch.check(number, session.run(tpch.ibis_expression(session, number)).result, data)


def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow.compute as pc

    return pa.RecordBatch.from_arrays(
        [batch.column("n_nationkey"), pc.multiply(batch.column("n_nationkey"), 2)], ["k", "d"]
    )


def failing(batch: pa.RecordBatch) -> pa.RecordBatch:
    raise ValueError("no such thing")


def test_functions_run_in_its_tasks(session: Any) -> None:
    nations = session.table("nation").filter(_.n_nationkey < 5)
    made = nations.pipe(bl.map_batches, doubled, schema={"k": "int64", "d": "int64"})
    asked = made.filter(_.d > 2).order_by("k")
    assert engines(session, asked) == {"engine"}
    assert session.run(asked).result.to_pylist() == [{"k": k, "d": 2 * k} for k in (2, 3, 4)]
    with pytest.raises(PlatformError, match=r"(?s)failing.*ValueError.*no such thing") as caught:
        session.run(nations.pipe(bl.map_batches, failing, schema={"k": "int64"}))
    assert "JVM" not in str(caught.value)


def engines(session: Any, expression: Any) -> set[str]:
    """The platforms of the site that take part."""
    return set(re.findall(r"^f\d+ +(\w+)@one", session.explain(expression).text(), re.MULTILINE))


def test_functions_are_not_sent_elsewhere(spark: Spark) -> None:
    assert spark._server is not None
    functions = Functions()
    function = functions.register(doubled, {})
    schema = Schema([("n_nationkey", "int64")])
    node = MapBatches(Received("r", schema), function, Schema([("k", "int64"), ("d", "int64")]))
    assert spark.unsupported(node) == "this site runs no Python functions"
    elsewhere = Spark("elsewhere", url=spark._server.url, functions=functions)
    assert "not sent to a Spark server elsewhere" in str(elsewhere.unsupported(node))
    elsewhere.close()


# -- beginning and end --------------------------------------------------------------------------------------------------------


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "from blossom.platforms.spark_local import LocalServer\n"
        "import sys, time\n"
        "server = LocalServer('test', threads=1)\n"
        "print(server._process.pid, server._folder, flush=True)\n"
        "time.sleep(100)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid, folder = child.stdout.readline().split()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 20
    while (_alive(int(pid)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(int(pid))
    assert not Path(folder).exists()


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.filterwarnings("ignore:.RETRIES_EXCEEDED")
def test_others_on_the_machine_cannot_use_it(spark: Spark) -> None:
    assert spark._server is not None
    url, _semicolon, token = spark._server.url.partition(";token=")
    assert len(token) > 30
    with pytest.raises(PlatformError) as caught:
        Spark("intruder", url=f"{url};token=wrong")
    assert token not in str(caught.value)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(PlatformError, match="needs Java"):
        Spark("test", local=True)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PlatformError, match="did not start"):
        Spark("test", local=True)


def test_either_a_url_or_local(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    site = {"platforms": {"s": {"kind": "spark"}}, "tables": {}}
    with pytest.raises(ConfigError, match=r"(?s)url.*local = true"):
        bl.connect({"sites": {"one": site}})
