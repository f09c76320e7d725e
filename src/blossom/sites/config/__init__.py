"""A site's configuration: `load` reads it, `check_columns` compares it with real tables, `state_folder` gives its folder, `ledger_folder`
that of the ledger of its data."""

from blossom.sites.config.columns import check_columns
from blossom.sites.config.load import FILE_NAME, find, load
from blossom.sites.config.model import (
    HUB,
    Federation,
    HubConfig,
    PlatformConfig,
    Secret,
    SiteConfig,
    TableConfig,
)
from blossom.sites.config.register import ledger_folder
from blossom.sites.config.state import state_folder

__all__ = [
    "FILE_NAME",
    "HUB",
    "Federation",
    "HubConfig",
    "PlatformConfig",
    "Secret",
    "SiteConfig",
    "TableConfig",
    "check_columns",
    "find",
    "ledger_folder",
    "load",
    "state_folder",
]
