"""The command line's frame: arguments in, one command run, one exit code and at most one clear message out."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper

from blossom._version import __version__
from blossom.cli.exits import MEANINGS, Exit, exit_of
from blossom.cli.interrupts import interrupts
from blossom.plan.errors import BlossomError

DEBUG = "BLOSSOM_DEBUG"
"""Set to 1, an error shows its whole traceback."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its module, imported only when it is given, has `run(arguments) -> Exit`."""

    name: str
    module: str
    summary: str
    declare: Callable[[argparse.ArgumentParser], None]


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="the federation (default: blossom.toml here or in a folder above)"
    )


def _format(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument(
        "--format", choices=("text", "json", *formats), default="text", help="how to print (default: text)"
    )


def _pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Python file that defines pipeline(fed)")
    parser.add_argument(
        "--function", metavar="NAME", default="pipeline", help="the function in it (default: pipeline)"
    )
    _config(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", default=".demo", help="where the data go (default: .demo)")
    parser.add_argument("--seconds", action="store_true", help="show how long each part took")
    _format(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    _pipeline(parser)
    _format(parser)
    parser.add_argument("--strict", action="store_true", help="fail when a site holds cells back")


def _explain(parser: argparse.ArgumentParser) -> None:
    _pipeline(parser)
    _format(parser, "mermaid", "svg")
    parser.add_argument("--stages", action="store_true", help="show the plan after every rewrite")


def _listing(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    _format(parser)


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_ID", nargs="?", help="one run in full; its first letters will do")
    parser.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="how many to list (default: 20)"
    )
    _listing(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration of one site or several")
    _format(parser)


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration whose sites' logs are read")
    parser.add_argument("--site", metavar="NAME", help="one site only")
    parser.add_argument("--verify", action="store_true", help="verify only, do not print the entries")
    _format(parser)


def _ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration whose sites' ledgers are read")
    parser.add_argument("--site", metavar="NAME", help="one site only")
    _format(parser)


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        metavar="CONFIG",
        nargs="?",
        help="the federation (default: blossom.toml here or in a folder above)",
    )


def _calibrate(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=1.0,
        metavar="M",
        help="at most so long for each platform (default: 1)",
    )
    parser.add_argument("--site", metavar="NAME", help="the platforms of one site only")
    parser.add_argument("--afresh", action="store_true", help="forget first what was learned before")
    _format(parser)


def _cost(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _format(parser)
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as --format json"
    )


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


COMMANDS = (
    Command("demo", "blossom.cli.demo", "three airports, three engines, one pipeline: the whole of it", _demo),
    Command("run", "blossom.cli.run_file", "run the pipeline of a Python file", _run),
    Command("explain", "blossom.cli.explain_file", "say who would run what, where, and why", _explain),
    Command("sites", "blossom.cli.listings", "list the sites", _listing),
    Command("tables", "blossom.cli.listings", "list the tables and what may leave", _listing),
    Command("runs", "blossom.cli.runs", "list the latest runs, or show one", _runs),
    Command("calibrate", "blossom.cli.calibrate", "measure every platform, so that plans are good from the first", _calibrate),
    Command("cost", "blossom.cli.cost", "say what is believed of each engine's speed, and how true it was", _cost),
    Command("site check", "blossom.cli.site_check", "check a configuration; say what outsiders can obtain", _check),
    Command("site audit", "blossom.cli.site_audit", "print and verify what left a site", _audit),
    Command("site ledger", "blossom.cli.site_ledger", "list what was given to whom about private rows", _ledger),
    Command("doctor", "blossom.cli.doctor", "say what is installed here and what is missing", _format),
)  # fmt: skip

_GROUPS = {"site": "for the owner of a site: check its configuration, read its audit log and its ledger"}


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    codes = "\n".join(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())
    top = argparse.ArgumentParser(
        prog="blossom",
        description="One pipeline over many data platforms and many sites; raw data stays where it is.",
        epilog=f"exit codes:\n{codes}\n\n{DEBUG}=1 shows an error's whole traceback.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"blossom {__version__}")
    levels = {"": top.add_subparsers(title="commands", metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in levels:
            told = _GROUPS[group]
            owner = levels[""].add_parser(group, help=told, description=_sentence(told), allow_abbrev=False)
            levels[group] = owner.add_subparsers(title="commands", metavar="COMMAND", required=True)
        one = levels[group].add_parser(
            name, help=command.summary, description=_sentence(command.summary), allow_abbrev=False
        )
        command.declare(one)
        one.set_defaults(command=command)
    return top


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        argv: The arguments; None takes the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a sign that the terminal lacks is no reason to fail
    arguments = parser().parse_args(argv)
    command: Command = arguments.command
    with interrupts() as interrupted:
        try:
            code: Exit = import_module(command.module).run(arguments)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - here every error ends as a message and a code
            return _told(error, interrupted.exit or exit_of(error))
    return code


def _told(error: BaseException, code: Exit) -> Exit:
    """Tell an error on stderr, and give its exit code."""
    if code is Exit.CLOSED:
        # What is still buffered has no reader; without this the interpreter would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
        return code
    if code in (Exit.INTERRUPTED, Exit.TERMINATED):
        message = code.name.lower()
    elif isinstance(error, BlossomError):
        message = str(error)
    else:
        message = (
            f"{type(error).__name__}: {error}\n"
            f"  hint: this is a fault in Blossom, please report it; {DEBUG}=1 shows where it happened"
        )
    print(f"blossom: {message}", file=sys.stderr)
    return code
