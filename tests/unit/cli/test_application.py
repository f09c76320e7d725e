"""The command line's frame: help, exit codes, one clear message an error, nothing heavy imported before it is needed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from blossom._version import __version__
from blossom.cli import application, main
from blossom.cli.exits import MEANINGS, Exit
from blossom.plan.errors import ConfigError, PlanError, PolicyError, Refusal, SiteError

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Run `blossom doctor` with another body, and give the exit code."""

    def run(body: Callable[[], object]) -> int:
        fake = types.ModuleType("fake")
        fake.run = lambda arguments: body()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "blossom.cli.doctor", fake)
        return main(["doctor"])

    return run


def _raise(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SiteError("the site is away"), 1),
        (PlanError("does not type-check"), 1),
        (ConfigError("unknown key", where="sites.x", hint="did you mean y?"), 2),
        (PolicyError("refused", [Refusal("n", "t", "c", "rows", "its rows may not leave", "aggregate it")]), 3),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("in Blossom"), 1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_error_is_one_message_on_stderr_and_its_code(
    error: BaseException,
    code: int,
    raising: Callable[[Callable[[], object]], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BLOSSOM_DEBUG", raising=False)
    assert raising(_raise(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("blossom: ")
    assert "Traceback" not in err
    told = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error).splitlines()[0]
    assert told in err

    monkeypatch.setenv("BLOSSOM_DEBUG", "1")
    assert raising(_raise(error)) == code
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_engine_that_hides_a_signal_behind_its_own_error_changes_nothing(
    number: signal.Signals,
    code: int,
    raising: Callable[[Callable[[], object]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)

    def body() -> object:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None
        raise AssertionError("no signal came")

    assert raising(body) == code
    assert "Query" not in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored(raising: Callable[[Callable[[], object]], int]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert raising(lambda: (signal.raise_signal(signal.SIGINT), Exit.FINE)[1]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["run"],
        ["site"],
        ["runs", "--limit", "0"],
        ["sites", "--format", "svg"],
        ["run", "x.py", "--conf", "y"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: blossom" in capsys.readouterr().err


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for command in application.COMMANDS:
        assert re.search(rf"\n    {command.name.split()[0]}\s", text)
    for code, meaning in MEANINGS.items():
        assert f"{code.value:<4} {meaning}" in text


def test_the_documentation_lists_every_command_and_exit_code() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for command in application.COMMANDS:
        assert f"| `blossom {command.name}" in text
    for code, meaning in MEANINGS.items():
        row = f"| {code.value} | {meaning} |"
        assert row in text.replace("\\|", "|")


@pytest.mark.parametrize("command", [one.name for one in application.COMMANDS])
def test_every_command_explains_itself_and_has_a_module(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: blossom {command}" in capsys.readouterr().out
    module = next(one.module for one in application.COMMANDS if one.name == command)
    assert callable(__import__(module, fromlist=["run"]).run)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"blossom {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from blossom.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ibis', 'pyarrow', 'numpy', 'pandas', 'duckdb', 'rich', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
