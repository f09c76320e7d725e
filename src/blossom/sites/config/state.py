"""Where a site keeps its audit log, ledger and models; made when first asked for."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

from blossom.plan.errors import SiteError
from blossom.sites.config.model import HubConfig, SiteConfig

_lock = threading.Lock()
_temporary: weakref.WeakKeyDictionary[SiteConfig | HubConfig, Path] = weakref.WeakKeyDictionary()


def state_folder(site: SiteConfig | HubConfig) -> Path:
    """The site's state folder, readable by its owner only; the same one at every call.

    A site without `state` gets a temporary folder that is removed when the process ends.

    Raises:
        SiteError: The folder cannot be made.
    """
    try:
        if site.state is not None:
            site.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            return site.state
        with _lock:
            if site not in _temporary:
                folder = Path(tempfile.mkdtemp(prefix="blossom-"))
                atexit.register(_remove, folder, os.getpid())
                _temporary[site] = folder
            return _temporary[site]
    except OSError as error:
        raise SiteError(
            f"the state folder cannot be made: {error.strerror}",
            where=f"site {site.name}",
            hint="check `state` in its configuration",
        ) from error


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)
