"""Opens a session: reads the configuration, opens its sites in this process, asks them what they publish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blossom.executor.experience import Experience
from blossom.executor.federation import Federation, User
from blossom.executor.records import RunRecords
from blossom.executor.spending import Account
from blossom.fedpy.session import Session
from blossom.learning.prediction import predictor
from blossom.optimizer.budget import Budget
from blossom.plan.errors import ConfigError
from blossom.sites.config import find, load, state_folder
from blossom.sites.config.model import HUB
from blossom.sites.functions import Functions
from blossom.sites.site import Site
from blossom.sites.spool import ROOM, Room


def connect(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    purpose: str | None = None,
    role: str | None = None,
    user: str | None = None,
    budget: Budget | None = None,
) -> Session:
    """Open a federation in this process.

    Args:
        source: A TOML file, or a mapping of the same shape; None looks for `blossom.toml` here and in the folders above.
        purpose: What the session is for, where a policy asks.
        role: The user's role, where a policy names roles. In one process it is as trustworthy as the process.
        user: The user's name, for the audit logs.
        budget: What all runs of the session together may take; None: no limit.

    Raises:
        ConfigError: Something in the configuration is wrong; names the key.
        PlatformError, SiteError: An engine or its table cannot be reached.

    Example:
        >>> fed = connect({"sites": {"north": {}}})
        >>> [row["site"] for row in fed.sites()]
        ['north']
    """
    if (
        isinstance(source, str)
        and ":" in source
        and not Path(source).exists()
        and not source.endswith(".toml")
    ):
        raise ConfigError(
            f"{source!r} looks like a hub's address; this version connects to embedded federations only",
            hint="give the path of a TOML file, or a mapping",
        )
    config = load(find() if source is None else source)
    functions = Functions()
    sites: dict[str, Site] = {}
    try:
        for name, site in config.sites.items():
            sites[name] = Site(site, functions, predictor)
        experience = Experience.open(state_folder(config.hub))
        federation = Federation(
            sites,
            functions,
            predictor,
            User(user, role, purpose),
            experience,
            config.prices,
            Room(config.hub.memory_limit or ROOM, lambda: state_folder(config.hub), HUB),
        )
    except BaseException:
        for site in sites.values():
            site.close()
        raise
    records = RunRecords(state_folder(config.hub) / "runs.db")
    return Session(federation, records, title=str(config.path or "mapping"), account=Account(budget))
