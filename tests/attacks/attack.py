"""What an attack is, how it is judged, and the sentences of the policy that attacks put to the test."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.attacks.world import SECRETS, Door

from blossom.plan.errors import BlossomError

SENTENCES: Mapping[str, str] = {
    "unknown": "Unknown operators are refused.",
    "several": "Where several private tables feed an aggregate, every one's guard must hold.",
    "leaves": "The guard sits at the relation that leaves; coarser inner aggregates are guarded themselves.",
    "nulls": "Null units count as one unit.",
    "shape": "A column that may not leave as rows stands bare, affine or in a product of two such, none holding a predicate.",
    "filter": "What counts as a filter is refused, unless the owner marks the column transform = true.",
    "frequency": "Every released cell describes at least min_group units on exactly the rows it ranges over.",
    "dominance": "No unit dominates a released cell (p-percent rule, p = 10, on absolute contributions).",
    "rows": "Min, max, first, any, mode, quantiles, collect and string aggregates are rows.",
    "secondary": "In one release, the units in suppressed cells number 0 or at least min_group.",
    "differencing": "A cell that differs from a released one by 1 to min_group - 1 units is refused.",
    "recipients": "The ledger holds over all recipients, sessions and restarts.",
    "statistics": "No minimum, maximum, sample or top value leaves, row counts leave rounded, fragment sizes stay.",
    "zero": "0 and 1 to min_group - 1 units are indistinguishable.",
    "errors": "Errors are redacted.",
    "admission": "Tables, columns and rows go to the named recipients, roles and purposes only.",
    "columns": "A column of release none, filter false or key false is used in no such way.",
    "replicated": "A replicated table names one steward, which alone answers aggregates.",
    "partition": "A group by the partition columns is a group like any other.",
    "inherits": "A written table inherits the rules of what it was made from.",
    "fit": "A fit passes the policy like any release; its row set enters the ledger.",
    "cells": "Each feature, and each pair of indicators, has 0 or at least min_group units, per class; none dominates.",
    "leverage": "No unit alone decides a direction of a fit: its leverage is at most 0.8.",
    "computed": "A freely computed column beside protected ones has only values that at least min_group units have.",
    "categories": "Categories are those with at least min_group units.",
    "metrics": "Metrics are guarded; predictions on private rows stay where the rows are.",
}
"""The policy section of the design and "a fit is a release", a key a sentence."""

Guess = float | str | list[float] | None


@dataclass(frozen=True)
class Attack:
    """One way to a secret.

    Attributes:
        name: Its name.
        family: The family.
        tries: What it does, as a sentence.
        rule: The key of the sentence that stops it.
        run: Gives the value it believes, or None.
        secret: The key of the secret in `SECRETS`.
        tolerance: How near the value must be to count as recovered.
        expects: The rule that shall stop it and does not yet exist; then it is an expected failure, strictly.
    """

    name: str
    family: str
    tries: str
    rule: str
    run: Callable[[Door], Guess]
    secret: str
    tolerance: float = 1.0
    expects: str | None = None


@dataclass(frozen=True)
class Honest:
    """A query of an attack's form that must be answered."""

    name: str
    family: str
    run: Callable[[Door], Any]


ATTACKS: list[Attack] = []
HONEST: list[Honest] = []


def attack(
    family: str,
    rule: str,
    tries: str,
    *,
    secret: str = "salary",
    tolerance: float = 1.0,
    expects: str | None = None,
) -> Callable[[Callable[[Door], Guess]], Callable[[Door], Guess]]:
    """Register an attack; its name is the function's."""
    assert rule in SENTENCES, rule
    assert secret in SECRETS, secret

    def registered(run: Callable[[Door], Guess]) -> Callable[[Door], Guess]:
        ATTACKS.append(Attack(run.__name__, family, tries, rule, run, secret, tolerance, expects))
        return run

    return registered


def honest(family: str) -> Callable[[Callable[[Door], Any]], Callable[[Door], Any]]:
    """Register an honest query; it gives its result, which must have a value."""

    def registered(run: Callable[[Door], Any]) -> Callable[[Door], Any]:
        HONEST.append(Honest(run.__name__, family, run))
        return run

    return registered


@dataclass(frozen=True)
class Outcome:
    """What came of an attack: `recovered`, `refused` (by whom) or `nothing`."""

    kind: Literal["recovered", "refused", "nothing"]
    detail: str


def perform(one: Attack, door: Door) -> Outcome:
    """Run an attack and judge what it brought; whatever was printed or said in an error counts as brought."""
    printed = io.StringIO()
    kind: Literal["refused", "nothing"] = "nothing"
    detail, guess = "", None
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            guess = one.run(door)
        detail = repr(guess)
    except BlossomError as error:
        kind, detail = "refused", f"{type(error).__name__}: {error}"
        if _tells(detail, one):
            return Outcome("recovered", detail)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"  # it computed with a value that it did not get
        if not door.protected:
            raise
    if _tells(printed.getvalue(), one):
        return Outcome("recovered", "printed")
    if _right(guess, one):
        return Outcome("recovered", detail)
    return Outcome(kind, detail)


def _right(guess: Guess, one: Attack) -> bool:
    secret = SECRETS[one.secret]
    if guess is None or isinstance(guess, bool):
        return False
    if isinstance(secret, str) or isinstance(guess, str):
        return guess == secret
    if isinstance(guess, list):
        return any(_near(value, secret, one.tolerance) for value in guess)
    return _near(guess, secret, one.tolerance)


def _near(value: float, secret: float, tolerance: float) -> bool:
    return not math.isnan(float(value)) and abs(float(value) - secret) <= tolerance


def _tells(text: str, one: Attack) -> bool:
    """Whether a text holds the secret. Short ones would be found by chance."""
    secret = SECRETS[one.secret]
    if isinstance(secret, str):
        return False
    shown = f"{secret:g}" if secret == int(secret) else repr(secret)
    return len(shown) >= 4 and shown in text


def bisected(high: Callable[[float], bool], low: float, top: float, width: float) -> float:
    """The value at which a threshold question turns from yes to no."""
    while top - low > width:
        middle = (low + top) / 2
        if high(middle):
            low = middle
        else:
            top = middle
    return (low + top) / 2


def number(expr: Any) -> float | None:
    """The figure of a query with one row and one column."""
    value = expr.execute()
    return None if value is None or value != value else float(value)


def numbers(expr: Any) -> Iterator[dict[str, Any]]:
    """The rows of a query."""
    yield from expr.to_pyarrow().to_pylist()
