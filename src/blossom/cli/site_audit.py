"""`blossom site audit`: print what left a site and what was refused, and verify that the log is whole."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blossom.cli.exits import Exit
from blossom.cli.printing import columns, print_json
from blossom.plan.errors import ConfigError, SiteError, unknown
from blossom.sites.audit import AuditLog, Entry, Verification
from blossom.sites.config import SiteConfig, load

FILE = "audit.jsonl"


def run(arguments: argparse.Namespace) -> Exit:
    """Print and verify. No engine is opened."""
    federation = load(arguments.file)
    if arguments.site is not None and arguments.site not in federation.sites:
        what, hint = unknown("site", arguments.site, federation.sites)
        raise ConfigError(what, where=arguments.file, hint=hint)
    chosen = [site for name, site in federation.sites.items() if arguments.site in (None, name)]
    documents: dict[str, Any] = {}
    good = True
    for site in chosen:
        path = _log_of(site)
        if path is None:
            documents[site.name] = {"log": None, "verified": True, "count": 0, "reason": None, "entries": []}
            if arguments.format == "text":
                print(f"site {site.name}: no log yet; nothing was asked of this site")
            continue
        with AuditLog(path) as log:
            verified = log.verify()
            entries: list[Entry] = []
            fault: str | None = None
            if not arguments.verify:
                try:
                    entries.extend(log.entries())
                except SiteError as error:
                    if verified.ok:
                        raise
                    fault = error.what  # the chain is broken there: what stands before it is shown
        good = good and verified.ok
        documents[site.name] = {
            "log": str(path),
            "verified": verified.ok,
            "count": verified.count,
            "first_bad": verified.first_bad,
            "reason": verified.reason,
            "entries": [asdict(entry) for entry in entries],
        }
        if arguments.format == "text":
            _print(site.name, path, verified, entries, fault)
    if arguments.format == "json":
        print_json(documents)
    return Exit.FINE if good else Exit.FOUND


def _log_of(site: SiteConfig) -> Path | None:
    """The site's log, or None when it never had one; a reader makes no files."""
    if site.state is None:
        return None
    path = site.state / FILE
    traces = (path, path.with_name(f"{FILE}.head"))
    return path if any(one.exists() for one in traces) else None


def _print(site: str, path: Path, verified: Verification, entries: list[Entry], fault: str | None) -> None:
    print(f"site {site}: {path}")
    if entries:
        rows = [
            (
                entry.time[:19].replace("T", " "),
                entry.run[:8],
                entry.recipient,
                entry.decision,
                entry.kind,
                ", ".join(entry.tables),
                "-" if entry.rows is None else f"{entry.rows:,}",
                "-" if entry.bytes is None else f"{entry.bytes:,}",
                entry.rule or "",
            )
            for entry in entries
        ]
        headings = ("time (UTC)", "run", "to", "decision", "kind", "tables", "rows", "bytes", "rule")
        print(columns(headings, rows, right=("rows", "bytes"), indent="  "))
    if fault is not None:
        print(f"  {fault}")
    if verified.ok:
        note = f" ({verified.reason})" if verified.reason else ""
        print(f"  verified: {verified.count} entries, each chained to the one before{note}")
    else:
        print(f"  BROKEN: {verified.reason}; the {verified.count} entries before it are good")
