"""A SQL front door: DuckDB's dialect in, an Ibis expression out; the same pipeline as the dataframe API gives."""

from blossom.plan.sql.parsing import parse

__all__ = ["parse"]
