"""Writes docs/platforms.md from what the platforms declare and the conformance suite proves.

`python tests/integration/platforms/page.py` writes it; `test_page.py` says when it is out of date.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from blossom.platforms.registry import PLATFORMS, platform_class
from blossom.platforms.sql import calls

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
    "spark": Tested(
        "Spark",
        "same protocol",
        "Sail (`pysail`), which speaks Spark Connect without a JVM. A real Spark named in `BLOSSOM_TEST_SPARK_URL` takes its place; "
        "no run of the tests starts one yet",
    ),
}  # fmt: skip


def _requirement(kind: str) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
            operations |= {call.op for call in calls(node)}
    return Proven(len(supported), tuple(sorted(relations)), len(operations))


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
    yield ""
    yield "ClickHouse is not offered yet. `chdb` 26.9 was seen to run in one process with DuckDB and Polars and to read Arrow, but it takes"
    yield "535 MB, and what was tried differs from DuckDB: NaN is not above 1, and a sum past 64 bits becomes unsigned instead of an error."
    for kind, tested in TESTED.items():
        proven = _proven(kind)
        yield ""
        yield f"## {tested.engine}"
        yield ""
        yield f"Nodes of plans: {', '.join(proven.relations)}."
        differs = platform_class(kind).differs
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
