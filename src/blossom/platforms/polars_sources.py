"""Files as lazy Polars frames with published names and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from blossom.plan.errors import PlanError, PlatformError, unknown
from blossom.plan.schema import Schema
from blossom.platforms.interface import TableSource
from blossom.platforms.polars_casts import CASTS
from blossom.platforms.polars_types import F, Term, family, polars_type

FORMATS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv", ".csv.gz", ".csv.zst", ".tsv.gz"),
    "json": (".ndjson", ".jsonl", ".json"),
}
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "parquet": ("format",),
    "csv": ("format", "null_values", "delimiter", "header"),
    "json": ("format",),
}
_SAMPLE = 20_480
"""Rows that are read to guess the types of a text file."""

_TRUE = ("true", "t", "1", "yes", "y")
_FALSE = ("false", "f", "0", "no", "n")


@dataclass(frozen=True, slots=True)
class Published:
    """A published table.

    Attributes:
        lazy: Its rows, with the published names and types.
        types: Column -> Polars type.
        schema: Column -> plan type.
        counted: Whether the files say how many rows they hold.
    """

    lazy: pl.LazyFrame
    types: Mapping[str, Any]
    schema: Schema
    counted: bool


def publish(source: TableSource, where: str) -> Published:
    """Open the files of a source.

    Raises:
        PlatformError: They cannot be read, or a declared column, type or option does not fit; says `where`.
    """
    if source.source is None or source.query is not None:
        raise PlatformError("Polars publishes files only: give a `source`, not a query", where=where)
    kind = _format(source.source, source.options, where)
    try:
        lazy = _SCANS[kind](source, where)
        arrived = dict(lazy.collect_schema())
        return _published(lazy, arrived, source, kind, where)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PlatformError(str(error).strip(), where=where) from error


def _format(path: str, options: Mapping[str, Any], where: str) -> str:
    given = options.get("format")
    if given is not None:
        if given not in FORMATS:
            what, hint = unknown("format", str(given), FORMATS)
            raise PlatformError(what, where=where, hint=hint)
        kind = str(given)
    else:
        folded = path.casefold()
        found = [kind for kind, suffixes in FORMATS.items() if folded.endswith(suffixes)]
        if not found and not Path(path).is_dir():
            raise PlatformError(
                f"{path!r} is no Parquet, CSV or JSON path",
                where=where,
                hint="say the file's `format` in its options",
            )
        kind = found[0] if found else "parquet"
    for option in options:
        if option not in _OPTIONS[kind]:
            what, hint = unknown(f"{kind} reader option", option, _OPTIONS[kind])
            raise PlatformError(what, where=where, hint=hint)
    return kind


def _path(source: TableSource, suffix: str) -> str:
    assert source.source is not None
    return str(Path(source.source) / f"**/*{suffix}") if Path(source.source).is_dir() else source.source


def _scan_parquet(source: TableSource, where: str) -> pl.LazyFrame:
    return pl.scan_parquet(_path(source, ".parquet"))


def _declared_text(source: TableSource) -> dict[str, Any]:
    """Own column name -> the type as which a declared column of a text file is read."""
    return {
        source.rename.get(name, name): polars_type(text)
        if family(text) in (F.INTEGER, F.FLOAT64, F.FLOAT32)
        else pl.String
        for name, text in source.schema.items()
    }


def _scan_csv(source: TableSource, where: str) -> pl.LazyFrame:
    options = source.options
    header = bool(options.get("header", True))
    nulls = list(dict.fromkeys(["", *map(str, options.get("null_values", ()))]))
    path = _path(source, ".csv")

    def scan(**more: Any) -> pl.LazyFrame:
        return pl.scan_csv(
            path,
            has_header=header,
            separator=str(options.get("delimiter", "\t" if ".tsv" in path.casefold() else ",")),
            null_values=nulls,
            infer_schema_length=_SAMPLE,
            try_parse_dates=True,
            **more,
        )

    declared = _declared_text(source)
    if header:
        return scan(schema_overrides=declared)
    # DuckDB's names for columns without any, so that a file has the same columns on both
    found = list(scan().collect_schema())
    digits = len(str(len(found) - 1))
    names = {own: f"column{i:0{digits}d}" for i, own in enumerate(found)}
    overrides = {own: declared[name] for own, name in names.items() if name in declared}
    return scan(schema_overrides=overrides).rename(names)


def _scan_json(source: TableSource, where: str) -> pl.LazyFrame:
    return pl.scan_ndjson(
        _path(source, ".json"), infer_schema_length=_SAMPLE, schema_overrides=_declared_text(source)
    )


_SCANS: Mapping[str, Callable[[TableSource, str], pl.LazyFrame]] = {
    "parquet": _scan_parquet,
    "csv": _scan_csv,
    "json": _scan_json,
}


def _published(
    lazy: pl.LazyFrame, arrived: Mapping[str, Any], source: TableSource, kind: str, where: str
) -> Published:
    published = {own: name for name, own in source.rename.items()}
    own = {published.get(column, column): column for column in arrived}
    for name in source.rename.values():
        if name not in arrived:
            what, hint = unknown("column", name, arrived)
            raise PlatformError(what, where=where, hint=hint)
    for name in (*source.schema, *(source.columns or ())):
        if name not in own:
            what, hint = unknown("column", name, own)
            raise PlatformError(what, where=where, hint=hint)
    terms: dict[str, Term] = {}
    for name in source.columns if source.columns is not None else own:
        term = plain(Term(pl.col(own[name]), arrived[own[name]]))
        if name in source.schema:
            term = _declared(term, source.schema[name], name, where)
        terms[name] = term
    types = {name: term.dtype for name, term in terms.items()}
    found = Schema.from_pyarrow(pl.DataFrame(schema=types).to_arrow().schema)
    schema = Schema((name, source.schema.get(name, text)) for name, text in found.items())
    selected = lazy.select(**{name: term.expr for name, term in terms.items()})
    return Published(selected, types, schema, counted=kind == "parquet")


def plain(term: Term) -> Term:
    """Categories as text."""
    if isinstance(term.dtype, pl.Categorical | pl.Enum):
        return Term(term.expr.cast(pl.String), pl.String)
    return term


def _declared(term: Term, text: str, name: str, where: str) -> Term:
    """A column as its declared type; text is parsed strictly."""
    try:
        target = polars_type(text)
    except PlanError as error:
        raise PlatformError(f"column {name!r}: {error.what}", where=where) from error
    if term.dtype == target:
        return term
    if term.dtype == pl.String:
        parse = _PARSERS.get(family(text))
        if parse is not None:
            return Term(parse(term.expr, target), target)
    elif (_family(term.dtype), family(text)) in CASTS:
        return CASTS[_family(term.dtype), family(text)](term, target)
    raise PlatformError(f"column {name!r}: {term.dtype} cannot become {text}", where=where)


def _family(dtype: Any) -> Any:
    return family(
        next(iter(Schema.from_pyarrow(pl.DataFrame(schema={"c": dtype}).to_arrow().schema).values()))
    )


def _boolean(text: pl.Expr, target: Any) -> pl.Expr:
    folded = text.str.to_lowercase()
    values = [*_TRUE, *_FALSE]
    return folded.replace_strict(
        pl.Series(values), pl.Series([value in _TRUE for value in values]), return_dtype=pl.Boolean
    )


def _moment(text: pl.Expr, target: Any) -> pl.Expr:
    # date alone, a space or a T between date and time, any number of digits of a second
    spaced = text.str.replace("T", " ", literal=True)
    whole = pl.when(spaced.str.len_bytes() == len("2020-01-01")).then(spaced + " 00:00:00").otherwise(spaced)
    return whole.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit=target.time_unit, strict=True)


_PARSERS: Mapping[Any, Callable[[pl.Expr, Any], pl.Expr]] = {
    F.BOOLEAN: _boolean,
    F.INTEGER: lambda text, target: text.cast(target, strict=True),
    F.FLOAT64: lambda text, target: text.cast(target, strict=True),
    F.DECIMAL: lambda text, target: text.cast(target, strict=True),
    F.DATE: lambda text, target: text.str.to_date("%Y-%m-%d", strict=True),
    F.TIMESTAMP: _moment,
}
"""How declared types are read from text."""
