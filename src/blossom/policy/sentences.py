"""A table's policy in plain English, for its owner: who can obtain what, who cannot, and where the rules are weak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blossom.policy.model import ROW_UNIT, TablePolicy


@dataclass(frozen=True, slots=True)
class Described:
    """A policy told in sentences, and what its owner should think about again."""

    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


def describe(table: str, policy: TablePolicy, columns: Iterable[str]) -> Described:
    """Tell a table's policy.

    Args:
        table: The table's name.
        policy: Its rules.
        columns: Its published columns.

    >>> describe("patients", TablePolicy(), ["age"]).sentences
    ('Nothing of patients leaves this site, in any form.', 'No model may be fitted on patients.')
    """
    names = list(columns)
    by_release = {
        release: [name for name in names if policy.column(name).release == release]
        for release in ("rows", "aggregates", "none")
    }
    sentences: list[str] = []
    whom = _people(policy)
    if by_release["rows"] or by_release["aggregates"]:
        purpose = f", for {' or '.join(policy.purposes)}," if policy.purposes else ""
        sentences.append(
            f"{_recipients(policy)}{purpose} may ask for what follows; nobody else gets anything of {table}."
        )
    if by_release["rows"]:
        sentences.append(f"They can obtain every single row of {_list(by_release['rows'])}.")
    if by_release["aggregates"]:
        sentences.append(
            f"They can obtain sums, means, counts, variances and correlations of {_list(by_release['aggregates'])}, "
            f"over groups of at least {policy.min_group} {whom}, but no row, minimum, maximum or list of values."
        )
    if by_release["rows"] or by_release["aggregates"]:
        sentences += _columns(policy, by_release)
    else:
        sentences.append(f"Nothing of {table} leaves this site, in any form.")
    sentences.append(
        f"Models may be fitted on {table}; updates leave, and updates are not anonymous."
        if policy.training == "updates"
        else f"No model may be fitted on {table}."
    )
    return Described(tuple(sentences), tuple(_warnings(table, policy, names, by_release)))


def _columns(policy: TablePolicy, by_release: dict[str, list[str]]) -> list[str]:
    names = [*by_release["rows"], *by_release["aggregates"]]
    found: list[str] = []
    if by_release["none"]:
        found.append(f"They can obtain nothing of {_list(by_release['none'])}.")
    no_key = [name for name in names if not policy.column(name).key]
    if no_key:
        found.append(f"They cannot group or join by {_list(no_key)}.")
    everything = [*names, *by_release["none"]]
    steering = [name for name in everything if policy.column(name).filter and policy.column(name).transform]
    if steering:
        found.append(f"They can choose which rows count by conditions on {_list(steering)}.")
    fixed = [name for name in names if name not in steering]
    if fixed:
        found.append(f"They cannot choose rows by conditions on {_list(fixed)}.")
    return found


def _warnings(
    table: str, policy: TablePolicy, names: list[str], by_release: dict[str, list[str]]
) -> Iterable[str]:
    if by_release["aggregates"] or policy.training == "updates":
        if policy.privacy_unit is None:
            yield f"{table} names no privacy_unit: every aggregate is refused."
        elif policy.privacy_unit == ROW_UNIT:
            yield (
                f"{table} counts rows, not people: one person with {policy.min_group} rows is a group. "
                "Name the column that identifies people as privacy_unit."
            )
        elif policy.privacy_unit not in names:
            yield f"{table} counts {policy.privacy_unit!r}, which is none of its columns: every aggregate is refused."
        if policy.min_group < 5:
            yield f"min_group = {policy.min_group} is small: {'a group may be one person' if policy.min_group < 2 else 'others in a group can work out the rest'}."
    if policy.privacy_unit in by_release["rows"]:
        yield f"{policy.privacy_unit}, which identifies units, leaves as rows."
    opened = [name for name in by_release["aggregates"] if policy.column(name).transform]
    if opened:
        yield (
            f"transform = true on {_list(opened)} lets conditions and CASE single out persons by "
            f"{'it' if len(opened) == 1 else 'them'}; many overlapping questions can then reveal one person."
        )
    unknown = sorted(set(policy.columns) - set(names))
    if unknown:
        yield f"there are rules for {_list(unknown)}, which {table} does not publish."
    if not policy.to and (by_release["rows"] or by_release["aggregates"]):
        yield f"{table} has no recipients: nothing leaves."
    hidden = [
        name for name in by_release["none"] if policy.column(name).transform and policy.column(name).filter
    ]
    if hidden:
        yield f"{_list(hidden)} may not leave, yet may steer which rows count."


def _people(policy: TablePolicy) -> str:
    if policy.privacy_unit is None:
        return "(uncounted) units"
    return "distinct rows" if policy.privacy_unit == ROW_UNIT else f"distinct values of {policy.privacy_unit}"


def _recipients(policy: TablePolicy) -> str:
    told = [
        "the hub (any user of the federation)" if name == "hub"
        else f"site {name.removeprefix('site:')}" if name.startswith("site:")
        else f"users with role {name.removeprefix('role:')}" if name.startswith("role:")
        else f"{name!r} (not a recipient that exists)"
        for name in policy.to
    ]  # fmt: skip
    text = _list(told) if told else "nobody"
    return text[0].upper() + text[1:]


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
