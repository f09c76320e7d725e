"""Writes docs/platforms.md from what the platforms declare and the conformance suite proves.

`python tests/integration/platforms/page.py` writes it; `test_page.py` says when it is out of date.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from blossom.platforms.registry import PLATFORMS, platform_class

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "platforms.md"


def _sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"page_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


suite = _sibling("test_conformance")


@dataclass(frozen=True)
class Tested:
    """What people call an engine, and what the suite runs against."""

    engine: str
    how: str
    against: str


TESTED: Mapping[str, Tested] = {
    "duckdb": Tested("DuckDB", "real", "the engine itself; its answers are the reference"),
    "sqlite": Tested("SQLite", "real", "the one in Python's standard library"),
    "polars": Tested("Polars", "real", "the engine itself"),
    "postgresql": Tested("PostgreSQL", "real", "Debian's server, with a collation that is not binary"),
    "mariadb": Tested(
        "MariaDB", "real", "Debian's server (10.11), with a collation that ignores case. MySQL speaks the same protocol and was not tested"
    ),
    "datafusion": Tested("DataFusion", "real", "the engine itself"),
    "clickhouse": Tested("ClickHouse", "real", "the engine itself, in process (`make engines`)"),
    "spark": Tested(
        "Spark",
        "real",
        "Spark 4.2 in a JVM, started by `local = true` (`make engines`); in every run also Sail (`pysail`), which speaks Spark Connect "
        "without one. Both answer the same questions",
    ),
}  # fmt: skip


FILES: tuple[tuple[str, str, str | None, str], ...] = (
    (
        "Delta",
        '`format = "delta"`; `version`',
        "delta",
        "real: tables that `deltalake` wrote, with partitions and deletions",
    ),
    (
        "Iceberg",
        '`format = "iceberg"`; `catalog` (SQLite or another SQL database, REST) and `catalog_name`, or the table\'s folder; `snapshot`',
        "iceberg",
        "real: tables that `pyiceberg` wrote, with renamed and added columns and deletions, in a SQLite catalogue; REST was not tested",
    ),
    (
        "whole files",
        '`format = "files"`: rows of `path`, `bytes`, `size`, `modified`; `schema = { bytes = "string" }` for text',
        None,
        "real",
    ),
    (
        "S3",
        "`s3://bucket/path`, globs and folders; `storage` (`endpoint`, `region`, `access_key`, `secret_key`, `session_token`, `anonymous`)",
        None,
        "same protocol: `moto` over HTTP",
    ),
    (
        "other URLs",
        "`http(s)://`, `memory://`, and what packages of fsspec bring (`adlfs`: `abfs://`, `gcsfs`: `gs://`); `storage` goes to them",
        "urls",
        "real: HTTP servers with and without ranges, memory; clouds other than S3 were not tested",
    ),
)


def _project() -> Mapping[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _requirement(kind: str) -> str:
    project = _project()
    extra = PLATFORMS[kind].extra
    if extra is not None:
        return ", ".join(f"`{text}`" for text in project["optional-dependencies"][extra])
    return ", ".join(f"`{text}`" for text in project["dependencies"] if text.startswith(kind)) or "Python"


@dataclass(frozen=True)
class Proven:
    """What a kind's supported cases hold."""

    cases: int
    relations: tuple[str, ...]
    operations: int


def _proven(kind: str) -> Proven:
    supported = set(suite.CASES) - suite.unsupported_cases(kind)
    relations: set[str] = set()
    operations: set[str] = set()
    for case in supported:
        for node in suite.fragment(case).walk():
            relations.add(type(node).__name__)
            operations |= node.operations
    return Proven(len(supported), tuple(sorted(relations)), len(operations))


def _differs(kind: str) -> Mapping[str, str]:
    """What a kind declares; engines whose drivers are large have it in a module of its own, which needs none."""
    module = f"{PLATFORMS[kind].module}_operations"
    if importlib.util.find_spec(module) is not None:
        return importlib.import_module(module).DIFFERS
    return platform_class(kind).differs


def _files() -> Iterator[str]:
    readers = ", ".join(f"`{kind}`" for kind, entry in PLATFORMS.items() if entry.files)
    yield "## Files"
    yield ""
    yield f"Parquet, CSV and JSON on this machine are read by the engines themselves. What follows is read for {readers}, which receive Arrow:"
    yield "the columns that a plan reads, without the rows that the filter right above the table leaves out (where Parquet, Delta and Iceberg can"
    yield "tell, whole files and row groups are not read). The tests ask each engine the same questions of each source and of plain Parquet."
    yield ""
    yield "| source | how | extra brings | how it was tested |"
    yield "| --- | --- | --- | --- |"
    for source, how, extra, tested in FILES:
        brings = (
            "Arrow"
            if extra is None
            else ", ".join(f"`{text}`" for text in _project()["optional-dependencies"][extra])
        )
        yield f"| {source} | {how} | {brings} | {tested} |"


def page() -> str:
    """The page's text."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Platforms"
    yield ""
    yield "Written by `tests/integration/platforms/page.py` from what the platforms declare and the conformance suite proves: do not edit."
    yield ""
    yield f"The suite asks every engine {len(suite.CASES)} questions about fixed, awkward data (nulls, NaN, both zeros, month ends, letters beyond ASCII,"
    yield "the ends of 64 bits) and compares each answer with DuckDB's. What an engine does not support it says before it is run, and the planner"
    yield "places it elsewhere; the list of such questions is kept beside the suite (`unsupported_KIND.txt`)."
    yield ""
    yield "Several platforms of one kind can stand at one site, under names of their own."
    yield ""
    yield "| kind | engine | extra brings | questions answered | operations in them | how it was tested |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind, tested in TESTED.items():
        proven = _proven(kind)
        yield (
            f"| `{kind}` | {tested.engine} | {_requirement(kind)} | {proven.cases} of {len(suite.CASES)} | {proven.operations} "
            f"| {tested.how}: {tested.against} |"
        )
    yield ""
    yield "*Real*: the engine itself answered. *Same protocol*: another server that speaks the engine's protocol and dialect answered."
    yield "*Dialect only*: no engine answered; none is offered in that state."
    yield ""
    yield "`python` is there at every site for Python functions over Arrow batches and for models; it runs no queries and has tests of its own."
    yield "A Spark of the platform's own (`local = true`) runs such functions in its tasks (`mapInArrow`); to a Spark server elsewhere none is sent."
    yield ""
    yield from _files()
    for kind, tested in TESTED.items():
        proven = _proven(kind)
        yield ""
        yield f"## {tested.engine}"
        yield ""
        yield f"Nodes of plans: {', '.join(proven.relations)}."
        differs = _differs(kind)
        if not differs:
            continue
        yield ""
        yield "What would answer differently, and is placed elsewhere:"
        yield ""
        yield "| operation | why |"
        yield "| --- | --- |"
        for operation, why in sorted(differs.items()):
            yield f"| {operation} | {why} |"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
