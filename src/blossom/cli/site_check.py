"""`blossom site check`: is a configuration right, do its sites agree, and what could an outsider obtain from it?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from blossom.cli.exits import Exit
from blossom.cli.printing import paragraph, print_json
from blossom.learning.prediction import predictor
from blossom.plan.errors import BlossomError, ConfigError
from blossom.policy.sentences import describe
from blossom.sites.agreement import Part, compare
from blossom.sites.config import SiteConfig, check_columns, load
from blossom.sites.functions import Functions
from blossom.sites.place import Place


@dataclass(frozen=True, slots=True)
class TableReport:
    """What was found about one table at one site.

    Attributes:
        columns: Published columns and their types; empty where the table cannot be read.
        sentences: What an outsider can obtain and what not.
        warnings: What its owner should think about again.
        faults: What is wrong.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: site -> table -> report; what sites say differently; faults of the file itself."""

    sites: Mapping[str, Mapping[str, TableReport]] = field(default_factory=dict)
    disagreements: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def wrong(self) -> int:
        """How many things are wrong."""
        own = sum(len(table.faults) for tables in self.sites.values() for table in tables.values())
        return own + len(self.disagreements) + len(self.faults)


def run(arguments: argparse.Namespace) -> Exit:
    """Check and print."""
    path = Path(arguments.file)
    if not path.is_file():
        raise ConfigError("there is no such file", where=str(path))
    report = check(path)
    if arguments.format == "json":
        print_json({"right": not report.wrong, **asdict(report)})
    else:
        _print(report)
    return Exit.FOUND if report.wrong else Exit.FINE


def check(path: Path) -> Report:
    """Check a configuration, connecting to every table of every site. Nothing is asked of the rows."""
    try:
        federation = load(path)
    except ConfigError as error:
        return Report(faults=(str(error),))
    parts: dict[str, dict[str, Part]] = {}
    sites = {name: _site(site, parts) for name, site in federation.sites.items()}
    disagreements = tuple(
        str(one) for table, own in parts.items() for one in compare(table, own).disagreements
    )
    return Report(sites, disagreements)


def _site(site: SiteConfig, parts: dict[str, dict[str, Part]]) -> Mapping[str, TableReport]:
    """Every table of a site, each on its own, so that one that fails does not hide the others' faults."""
    place = Place(site.name, site.platforms, Functions(), predictor)
    reports: dict[str, TableReport] = {}
    try:
        for name, table in site.tables.items():
            try:
                schema = place.publish(name, table.platform, table.source)
                check_columns(table, schema, site=site.name)
            except BlossomError as error:
                reports[name] = TableReport(faults=(str(error),))
                continue
            parts.setdefault(name, {})[site.name] = (schema, table)
            told = describe(name, table.policy, schema)
            reports[name] = TableReport(dict(schema.items()), told.sentences, told.warnings)
    finally:
        place.close()
    return reports


def _print(report: Report) -> None:
    for fault in report.faults:
        _fault(fault, "")
    for site, tables in report.sites.items():
        if not tables:
            print(f"site {site} publishes no table")
    for (name, table), sites in _alike(report):
        wide = f": {len(table.columns)} columns" if table.columns else ""
        print(paragraph(f"table {name} at {', '.join(sites)}{wide}", indent="  ", first=""))
        for sentence in table.sentences:
            print(paragraph(sentence, indent="    ", first="  - "))
        for warning in table.warnings:
            print(paragraph(warning, indent="    ", first="  ! "))
        for fault in table.faults:
            _fault(fault, "  ")
        print()
    if report.disagreements:
        print("the sites disagree")
        for one in report.disagreements:
            _fault(one, "  ")
    warnings = sum(len(table.warnings) for tables in report.sites.values() for table in tables.values())
    verdict = f"{_count(report.wrong, 'thing')} wrong" if report.wrong else "The configuration is right"
    print(verdict, end="")
    print(f"; {_count(warnings, 'warning')} (!)." if warnings else ".")


def _alike(report: Report) -> list[tuple[tuple[str, TableReport], list[str]]]:
    """Table by table: sites of which the same can be told are told together."""
    found: list[tuple[tuple[str, TableReport], list[str]]] = []
    for table in dict.fromkeys(name for tables in report.sites.values() for name in tables):
        for site, tables in report.sites.items():
            if table not in tables:
                continue
            alike = next((sites for told, sites in found if told == (table, tables[table])), None)
            if alike is None:
                found.append(((table, tables[table]), [site]))
            else:
                alike.append(site)
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _fault(text: str, indent: str) -> None:
    first, *rest = text.splitlines()
    print(paragraph(first, indent=f"{indent}    ", first=f"{indent}WRONG: "))
    for line in rest:
        print(paragraph(line.strip(), indent=f"{indent}    "))
