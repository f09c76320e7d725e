"""What holds for every test: a register of ledgers of its own, and where all that the tests need is installed, a skip is an error."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

NO_SKIP = "BLOSSOM_NO_SKIP"
"""Set where everything was installed on purpose (continuous integration): then a skip hides a fault."""


class _SkipsAreErrors:
    """Collects skips (of tests and of whole modules, from every worker) and fails the session for them."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            longrepr = report.longrepr
            self.reasons[report.nodeid] = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.reasons and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.reasons:
            terminalreporter.section(f"skipped although {NO_SKIP} is set", red=True)
            for test, reason in sorted(self.reasons.items()):
                terminalreporter.line(f"{test}: {reason}", red=True)


@pytest.fixture(autouse=True)
def _own_register(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with no ledger registered for any data."""
    monkeypatch.setenv("BLOSSOM_HOME", str(tmp_path_factory.mktemp("home")))


def pytest_configure(config: pytest.Config) -> None:
    # Fixtures of a module or session open federations before a test's own register is there.
    home = tempfile.mkdtemp(prefix="blossom-home-")
    os.environ["BLOSSOM_HOME"] = home
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    # Workers of pytest-xdist send their reports to the controller, which alone decides the session's outcome.
    if os.environ.get(NO_SKIP) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_SkipsAreErrors(), "blossom-skips-are-errors")
