"""How often answers about private rows may be refused within an hour, because of what the data say: each refusal tells a little.

A user's name is whatever the session says it is, so that only the limits of a table hold against somebody who changes it. An error of
an engine tells more than a withheld cell (whether a value that was cast or divided is among the rows), and honest queries have few.
The ledger counts, over all processes and sessions. All limits are a site's own: each site has its ledger.
"""

from __future__ import annotations

from collections.abc import Iterable

from blossom.plan.errors import PolicyError, Refusal
from blossom.sites.ledger import ERROR, Grant

USER_AN_HOUR = 500
"""Refusals, errors among them, that a user may get."""

TABLE_AN_HOUR = 1_000
"""Refusals that one table's rows may cause, whoever asks."""

ERRORS_AN_HOUR = 10
"""Errors of engines that one table's rows may cause, whoever asks."""


def check(refused: Iterable[Grant], grant: Grant, site: str) -> None:
    """Refuse a question of somebody, or about a table, to which too many were refused lately.

    Args:
        refused: The refusals of the last hour.
        grant: Who asks for what.
        site: The site's name.

    Raises:
        PolicyError: One of the limits is reached; names it.
    """
    own, errors = 0, dict.fromkeys(grant.tables, 0)
    withheld = dict(errors)
    for one in refused:
        own += one.user == grant.user
        for table in errors.keys() & set(one.tables):
            (errors if one.refused == ERROR else withheld)[table] += 1
    if own >= USER_AN_HOUR:
        _refuse(
            site,
            ", ".join(grant.tables) or "(tables)",
            f"{USER_AN_HOUR} answers were held back from this user",
        )
    for table in grant.tables:
        if withheld[table] >= TABLE_AN_HOUR:
            _refuse(site, table, f"{TABLE_AN_HOUR} answers about this table were held back")
        if errors[table] >= ERRORS_AN_HOUR:
            _refuse(site, table, f"{ERRORS_AN_HOUR} questions about this table failed in its engine")


def _refuse(site: str, table: str, reason: str) -> None:
    refusal = Refusal(site, table, None, "rate", f"{reason} within an hour", "questions later")
    raise PolicyError(f"the policy of {site} refuses for now", [refusal], where=site)
