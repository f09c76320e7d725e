"""The limits on refusals: a user's, a table's, and that of errors."""

from __future__ import annotations

import pytest

from blossom.plan.errors import PolicyError
from blossom.sites import rate
from blossom.sites.ledger import ERROR, Grant

NOW = Grant(run="r", plan="p", recipients=("hub",), user="ann", tables=("people", "visits"))


def refused(
    count: int, rule: str = "min_group", user: str | None = "bob", tables: tuple[str, ...] = ("people",)
) -> list[Grant]:
    return [Grant(run="r", plan="p", recipients=("hub",), user=user, tables=tables, refused=rule)] * count


@pytest.mark.parametrize(
    ("most", "rule", "user", "table", "said"),
    [
        (rate.USER_AN_HOUR, "min_group", "ann", "other", "from this user"),
        (rate.TABLE_AN_HOUR, "differencing", "bob", "visits", "about this table"),
        (rate.ERRORS_AN_HOUR, ERROR, "bob", "people", "failed in its engine"),
    ],
)
def test_one_refusal_less_is_let_pass_and_the_last_one_is_not(most, rule, user, table, said):
    rate.check(refused(most - 1, rule, user, (table,)), NOW, "north")
    with pytest.raises(PolicyError) as caught:
        rate.check(refused(most, rule, user, (table,)), NOW, "north")
    (refusal,) = caught.value.refusals
    assert (refusal.rule, refusal.site) == ("rate", "north")
    assert said in refusal.reason


def test_errors_are_limited_more_tightly_and_other_tables_do_not_count():
    assert rate.ERRORS_AN_HOUR < rate.USER_AN_HOUR < rate.TABLE_AN_HOUR
    rate.check(
        refused(rate.TABLE_AN_HOUR, tables=("other",)) + refused(50, ERROR, tables=("other",)), NOW, "n"
    )


def test_withheld_cells_are_no_errors():
    rate.check(refused(rate.ERRORS_AN_HOUR), NOW, "north")
    rate.check(refused(rate.ERRORS_AN_HOUR - 1, ERROR) + refused(50), NOW, "north")


def test_changing_the_name_does_not_help_against_a_tables_limit():
    named = [one for i in range(rate.TABLE_AN_HOUR) for one in refused(1, user=f"user {i}")]
    with pytest.raises(PolicyError, match="this table"):
        rate.check(named, NOW, "north")
