"""What the fits and measurements of one run did, collected as it happens: a fit that fails has released things too."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from blossom.executor.run import Actual, Execution, Release
from blossom.optimizer.physical import Fragment


@dataclass(frozen=True, slots=True)
class Worked:
    """A fragment that a fit needed, and what it took.

    Attributes:
        key: Its key in the run's record.
        fragment: The fragment.
        actual: Its figures.
    """

    key: str
    fragment: Fragment
    actual: Actual


@dataclass(slots=True)
class Recording:
    """The record of one run under way.

    Attributes:
        run: The run's id. Sites know the run as `<id>-<site>`, in their audit logs too.
        releases: What left the sites.
        fragments: What the sites computed before.
        fits: How many fits and measurements have begun.
    """

    run: str
    releases: list[Release] = field(default_factory=list)
    fragments: list[Worked] = field(default_factory=list)
    fits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> int:
        """The number of a further fit, or measurement, of the run."""
        self.fits += 1
        return self.fits

    def released(self, release: Release) -> None:
        """Something left a site."""
        with self._lock:
            self.releases.append(release)

    def worked(self, number: int, site: str, execution: Execution) -> None:
        """The rows of a fit were computed at a site, or could not be."""
        with self._lock:
            for fragment in execution.plan.fragments:
                key = f"{number}/{site}/{fragment.key}"
                self.fragments.append(Worked(key, fragment, execution.actuals[fragment.key]))
