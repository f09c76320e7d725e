"""The attack suite: all attacks and honest queries, registered by their families."""

import tests.attacks.families  # noqa: F401
from tests.attacks.attack import ATTACKS, HONEST, SENTENCES, Attack, Honest, perform

__all__ = ["ATTACKS", "HONEST", "SENTENCES", "Attack", "Honest", "perform"]
