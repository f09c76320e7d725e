"""Reasons are made once, when somebody reads them."""

from __future__ import annotations

from blossom.optimizer.reasons import Told


def test_nothing_is_made_before_it_is_read() -> None:
    made: list[int] = []

    def make() -> tuple[str, ...]:
        made.append(1)
        return ("a", "b")

    told = Told(make)
    assert made == []
    assert list(told) == ["a", "b"]
    assert told[-1] == "b"
    assert told[:1] == ("a",)
    assert "a" in told
    assert len(told) == 2
    assert made == [1]
