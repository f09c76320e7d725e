"""Every attack: real against open tables, fruitless under the owners' rules, alone and after all the others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.suite import ATTACKS, HONEST, SENTENCES, Attack, Honest, perform
from tests.attacks.world import Door

from blossom.plan.errors import PolicyError


def of_attacks(attacks: Iterable[Attack], *, expected: bool) -> list[Any]:
    """Attacks as parameters; with `expected`, those that no rule stops yet are strict expected failures."""
    return [
        pytest.param(
            one,
            id=f"{one.family}-{one.name}".replace(" ", "-"),
            marks=[pytest.mark.xfail(reason=one.expects, strict=True)] if expected and one.expects else [],
        )
        for one in attacks
    ]


@pytest.mark.parametrize("one", of_attacks(ATTACKS, expected=False))
def test_the_attack_is_real(one: Attack, data: Path, tmp_path: Path) -> None:
    """Against tables that may leave as rows it recovers the secret: what stops it below is the policy."""
    with Door(data, tmp_path, protected=False) as door:
        outcome = perform(one, door)
    assert outcome.kind == "recovered", outcome


@pytest.mark.parametrize("one", of_attacks(ATTACKS, expected=True))
def test_the_attack_yields_nothing(one: Attack, data: Path, tmp_path: Path) -> None:
    """In a fresh federation with fresh state."""
    with Door(data, tmp_path, protected=True) as door:
        outcome = perform(one, door)
    assert outcome.kind != "recovered", outcome
    assert "fault in Blossom" not in outcome.detail, outcome


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_all_attacks_in_one_session(
    backwards: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one attack learned or wrote helps no other. The limits on refusals, which would stop most, are lifted."""
    for limit in ("USER", "TABLE", "ERRORS"):
        monkeypatch.setattr(f"blossom.sites.rate.{limit}_AN_HOUR", 1 << 40)
    attacks = [one for one in ATTACKS if one.expects is None]
    recovered = []
    with Door(data, tmp_path, protected=True) as door:
        for one in reversed(attacks) if backwards else attacks:
            outcome = perform(one, door)
            if outcome.kind == "recovered":
                recovered.append((one.name, outcome.detail))
    assert not recovered


@pytest.mark.parametrize(
    "one", [pytest.param(one, id=f"{one.family}-{one.name}".replace(" ", "-")) for one in HONEST]
)
def test_the_honest_query_is_answered(one: Honest, data: Path, tmp_path: Path) -> None:
    """Usefulness: the same forms, asked of large groups."""
    with Door(data, tmp_path, protected=True) as door:
        found = one.run(door)
    assert found is not None
    assert found is not False
    assert not isinstance(found, list | str | set) or len(found)
    assert not isinstance(found, float) or found == found


def test_there_are_enough_attacks_and_every_sentence_has_one() -> None:
    assert len(ATTACKS) >= 80
    assert {one.rule for one in ATTACKS} == set(SENTENCES)
    assert {one.family for one in ATTACKS} == {one.family for one in HONEST}


def test_a_refusal_tells_the_same_of_nobody_and_of_a_few(data: Path, tmp_path: Path) -> None:
    """The words of refusals hold names, rules and advice, never a figure of the data."""
    with Door(data, tmp_path, protected=True) as door:
        said = []
        for age in (97, 199):
            t = door.people
            some = t.filter(t.age == age)
            with pytest.raises(PolicyError) as caught:
                door.fed.run(some.agg(s=some.salary.sum()), strict=True)
            said.append(str(caught.value))
    assert said[0] == said[1]
