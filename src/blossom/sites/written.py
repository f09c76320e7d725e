"""Tables that runs have written at a site: Parquet files in the state folder, each with its inherited policy inside.

A table is staged first, under its run's name, and committed by giving the file its own name, which no other may have: it appears
whole or not at all. A file without a policy is not published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from blossom.plan.errors import ConfigError, PlanError, SiteError
from blossom.platforms.interface import TableSource
from blossom.policy.judge import Kept
from blossom.policy.model import ColumnPolicy, Release, TablePolicy
from blossom.policy.states import null_column, unit_column
from blossom.sites.config.model import TableConfig

_POLICY = b"blossom.policy"

KEPT = "__kept_"
"""Begins the names of tables that live as long as a run; the process that runs it stands next. Users' names cannot begin so."""

RELEASES: tuple[Release, ...] = ("none", "aggregates", "rows")
"""From the strictest on."""


_NEVER = ColumnPolicy(release="none", filter=False, key=False, transform=False)


def inherited(kept: Kept, policies: Mapping[str, TablePolicy]) -> tuple[TablePolicy, Mapping[str, str]]:
    """The policy of a result, from those of the tables behind it: never laxer than any of them.

    Returns:
        The policy, and the result's hidden columns that must be stored for it (hidden name -> stored name).
    """
    behind = [policies[table] for table in sorted(kept.tables)]
    if not behind:
        return TablePolicy(release="rows", training="updates", chosen=True), {}
    to = tuple(one for one in behind[0].to if all(one in other.to for other in behind))
    purposes = _purposes(behind)
    state = kept.state
    if not state.private:
        return TablePolicy(release="rows", to=to, training="updates", purposes=purposes, chosen=True), {}
    if len(state.units) != 1 or state.pending:
        return TablePolicy(release="none", to=to, purposes=purposes), {}
    unit = state.units[0]
    source = policies[unit.table]
    name = f"unit_of_{unit.table}"
    disguised, plain = kept.disguised(policies), kept.plain()
    columns = {
        column: _NEVER
        if column in disguised
        else replace(
            _strictest([policies[s.table].column(s.column) for s in sources]), computed=column not in plain
        )
        for column, sources in kept.flow.columns.items()
    }
    columns[name] = _NEVER
    return (
        TablePolicy(
            release=_least(one.release for one in behind), to=to, min_group=unit.min_group,
            privacy_unit=name, columns=columns, training=source.training, purposes=purposes,
            steward=source.steward,
        ),
        {unit_column(0): name},
    )  # fmt: skip


def _purposes(behind: list[TablePolicy]) -> tuple[str, ...]:
    stated = [one.purposes for one in behind if one.purposes]
    if not stated:
        return ()
    common = tuple(p for p in stated[0] if all(p in other for other in stated))
    return common or ("(no purpose suits every table behind it)",)


def _least(releases: Iterable[Release]) -> Release:
    return RELEASES[min(RELEASES.index(one) for one in releases)]


def _strictest(rules: list[ColumnPolicy]) -> ColumnPolicy:
    if not rules:
        return ColumnPolicy()
    return ColumnPolicy(
        release=_least(rule.release or "none" for rule in rules),
        filter=all(rule.filter for rule in rules),
        key=all(rule.key for rule in rules),
        transform=all(bool(rule.transform) for rule in rules),
    )


class Written:
    """The written tables of one state folder."""

    def __init__(self, state: Path, site: str) -> None:
        self._folder = state / "tables"
        self._site = site

    def tables(self) -> Iterator[TableConfig]:
        """Every committed table.

        Raises:
            ConfigError: A table's policy cannot be read.
        """
        if not self._folder.is_dir():
            return
        for file in sorted(self._folder.glob("*.parquet")):
            name = unquote(file.stem)
            if _abandoned(name):
                file.unlink(missing_ok=True)
                continue
            yield self._config(name, _read_policy(file))

    def _config(self, name: str, policy: TablePolicy) -> TableConfig:
        return TableConfig(name, "duckdb", TableSource(source=str(self._file(name))), policy=policy)

    def _file(self, name: str) -> Path:
        return self._folder / (quote(name, safe="") + ".parquet")

    def _part(self, name: str, run: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.{quote(run, safe='')}.part"

    def stage(
        self,
        name: str,
        run: str,
        reader: pa.RecordBatchReader,
        hidden: Mapping[str, str],
        policy: TablePolicy,
    ) -> None:
        """Write the rows to a file that nobody reads yet.

        Args:
            name: The table.
            run: The run that writes it.
            reader: Its rows, hidden columns included.
            hidden: Hidden columns to store, and under which names; all others are dropped.
            policy: The rules that the table is to have.

        Raises:
            SiteError: The disk does not take them; nothing is left behind.
        """
        part = self._part(name, run)
        dropped = {column for i in range(8) for column in (unit_column(i), null_column(i))} - hidden.keys()
        names = [column for column in reader.schema.names if column not in dropped]
        fields = [reader.schema.field(c).with_name(hidden.get(c, c)) for c in names]
        schema = pa.schema(fields, metadata={_POLICY: json.dumps(asdict(policy))})
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with pq.ParquetWriter(part, schema) as writer:
                for batch in reader:
                    writer.write_batch(pa.record_batch(batch.select(names).columns, schema=schema))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise SiteError(
                f"table {name!r} cannot be written: {error.strerror or error}",
                where=f"site {self._site}",
                hint="free some disk",
            ) from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def commit(self, name: str, run: str, policy: TablePolicy) -> TableConfig:
        """Publish a staged table.

        Raises:
            PlanError: Another run has written a table of this name meanwhile.
            SiteError: The disk does not take it.
        """
        part = self._part(name, run)
        try:
            self._file(name).hardlink_to(part)
        except FileExistsError as error:
            raise PlanError(
                f"site {self._site} has a table {name!r} already", hint="choose another name"
            ) from error
        except OSError as error:
            raise SiteError(
                f"table {name!r} cannot be published: {error.strerror or error}", where=f"site {self._site}"
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return self._config(name, policy)

    def discard(self, name: str, run: str) -> None:
        """Forget a staged table."""
        self._part(name, run).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Take a published table back."""
        self._file(name).unlink(missing_ok=True)


def _abandoned(name: str) -> bool:
    """Whether a table was kept for a run whose process is gone."""
    owner = name.removeprefix(KEPT).partition("_")[0] if name.startswith(KEPT) else ""
    if not owner.isdigit():
        return False
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process goes by that number
        return False
    return False


def _read_policy(file: Path) -> TablePolicy:
    try:
        metadata = pq.read_schema(file).metadata or {}
        document: dict[str, Any] = json.loads(metadata[_POLICY])
        columns = {name: ColumnPolicy(**rules) for name, rules in document.pop("columns").items()}
        for key in ("to", "purposes"):
            document[key] = tuple(document[key])
        return TablePolicy(**document, columns=columns)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        raise ConfigError(
            "the policy of a written table cannot be read, so the table is not published",
            where=str(file),
            hint="remove the file, or restore it",
        ) from error
