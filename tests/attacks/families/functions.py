"""Python functions that see rows: files, exceptions, prints; asked for outright, written, or trained on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tests.attacks.attack import Guess, attack, honest, number
from tests.attacks.families.groups import rows
from tests.attacks.world import VICTIM, Door

import blossom as bl

FAMILY = "functions"


def capturing(found: Path) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """A function of batches that writes what it sees to a file: it runs in another process."""

    def look(batch: pa.RecordBatch) -> pa.RecordBatch:
        with found.open("a") as file:
            file.writelines(
                f"{v}\n" for v in batch.filter(pc.equal(batch["pid"], VICTIM))["salary"].to_pylist()
            )
        return batch.select(["pid", "age", "salary"])

    return look


def smuggled(found: Path) -> float | None:
    """What such a function has written."""
    lines = found.read_text().splitlines() if found.exists() else []
    return float(lines[0]) if lines else None


SHAPE = {"pid": "int64", "age": "int64", "salary": "float64"}


@attack(FAMILY, "rows", "maps rows by a function and asks for them")
def mapped_rows(door: Door) -> Guess:
    t = door.people.pipe(bl.map_batches, capturing(door.state / "seen"), schema=SHAPE)
    return next((row["salary"] for row in rows(t) if row["pid"] == VICTIM), None)


@attack(FAMILY, "unknown", "writes what a function sees to a file, and asks only for an aggregate")
def smuggling(door: Door) -> Guess:
    found = door.state / "smuggled"
    t = door.people.pipe(bl.map_batches, capturing(found), schema=SHAPE)
    with contextlib.suppress(bl.BlossomError):
        t.age.mean().execute()
    return smuggled(found)


@attack(FAMILY, "inherits", "writes what a function sees to a file, while its output is written at the site")
def smuggling_in_a_write(door: Door) -> Guess:
    found = door.state / "smuggled"
    t = door.table("people", site="north").pipe(bl.map_batches, capturing(found), schema=SHAPE)
    with contextlib.suppress(bl.BlossomError):
        door.write(t)
    return smuggled(found)


@attack(FAMILY, "fit", "writes what a function sees to a file, while a model is fitted on its output")
def smuggling_in_a_fit(door: Door) -> Guess:
    found = door.state / "smuggled"
    t = door.people.pipe(bl.map_batches, capturing(found), schema=SHAPE)
    with contextlib.suppress(bl.BlossomError):
        bl.train(bl.LinearRegression(), t, target="salary", features=["age"]).fit()
    return smuggled(found)


@attack(FAMILY, "errors", "raises an exception that carries the value")
def exception(door: Door) -> Guess:
    def fail(batch: pa.RecordBatch) -> pa.RecordBatch:
        found = batch.filter(pc.equal(batch["pid"], VICTIM))["salary"].to_pylist()
        if found:
            raise ValueError(f"value {found[0]!r} here")
        return batch

    t = door.people.select("pid", "age", "salary").pipe(bl.map_batches, fail, schema=SHAPE)
    number(t.age.mean())
    return None


@attack(FAMILY, "errors", "raises such an exception while the output is written at the site")
def exception_in_a_write(door: Door) -> Guess:
    def fail(batch: pa.RecordBatch) -> pa.RecordBatch:
        found = batch.filter(pc.equal(batch["pid"], VICTIM))["salary"].to_pylist()
        if found:
            raise ValueError(f"value {found[0]!r} here")
        return batch

    door.write(
        door.table("people", site="north")
        .select("pid", "age", "salary")
        .pipe(bl.map_batches, fail, schema=SHAPE)
    )
    return None


@attack(FAMILY, "unknown", "prints what it sees")
def printing(door: Door) -> Guess:
    def say(row: Any) -> Iterable[Any]:
        if row["pid"] == VICTIM:
            print(row["salary"])
            print(row["salary"], file=sys.stderr)
        return [{"age": row["age"]}]

    t = door.people.pipe(bl.flat_map, say, schema={"age": "int64"})
    try:
        number(t.age.mean())
    finally:
        print(door.fed.last_run.report())
    return None


@attack(FAMILY, "unknown", "multiplies her row by a function of rows")
def repeated_rows(door: Door) -> Guess:
    def repeat(row: Any) -> Iterable[Any]:
        return [{"salary": row["salary"]}] * (1001 if row["pid"] == VICTIM else 1)

    t = door.people
    many = t.pipe(bl.flat_map, repeat, schema={"salary": "float64"})
    a, b = number(many.salary.sum()), number(t.salary.sum())
    return None if a is None or b is None else (a - b) / 1000


@honest(FAMILY)
def function_of_open_rows(door: Door) -> Any:
    def upper(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pc.utf8_upper(batch["city"])], names=["city"])

    return rows(door.table("cities").pipe(bl.map_batches, upper, schema={"city": "string"}))


@honest(FAMILY)
def function_of_a_result(door: Door) -> Any:
    def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([batch["dept"], pc.multiply(batch["m"], 2.0)], names=["dept", "m"])

    t = door.people
    groups = t.group_by("dept").agg(m=t.bonus.mean())
    return rows(groups.pipe(bl.map_batches, doubled, schema={"dept": "string", "m": "float64"}))
