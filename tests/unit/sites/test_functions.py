"""The registry of Python functions: content hashes, and what was registered stays as it was."""

from __future__ import annotations

import pickle

import pytest

from blossom.plan.errors import PlanError
from blossom.plan.relations import Function
from blossom.sites.functions import Functions


def test_equal_functions_have_one_hash_and_others_another() -> None:
    known = Functions()

    def made(factor: int):  # type: ignore[no-untyped-def]
        return lambda x: factor * x

    one, same, other = (known.register(made(n), {}) for n in (2, 2, 3))
    assert one == same
    assert one.digest != other.digest
    assert pickle.loads(known.resolve(one).code)(5) == 10


def test_what_was_registered_stays_as_it_was() -> None:
    known = Functions()
    seen = [1]

    def function(x: int) -> int:
        return x + seen[0]

    first = known.register(function, {})
    seen[0] = 100
    second = known.register(function, {})
    assert first.digest != second.digest
    assert pickle.loads(known.resolve(first).code)(0) == 1
    assert pickle.loads(known.resolve(second).code)(0) == 100


def test_parameters_are_json_in_one_order() -> None:
    known = Functions()
    assert known.register(len, {"b": 1, "a": 2}).parameters == '{"a": 2, "b": 1}'
    with pytest.raises(PlanError, match="must be JSON"):
        known.register(len, {"a": object()})
    with pytest.raises(PlanError, match="must be JSON"):
        known.register(len, {"a": float("nan")})


def test_what_is_no_function_is_told() -> None:
    with pytest.raises(PlanError, match="a function is needed, not int"):
        Functions().register(3, {})  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="not known here"):
        Functions().resolve(Function("f", "00"))
