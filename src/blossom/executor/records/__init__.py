"""Run records: what each run was, did and cost; see `RunRecords`."""

from blossom.executor.records.model import (
    EventRecord,
    FragmentRecord,
    Outcome,
    ReleaseRecord,
    RunRecord,
    RunSummary,
)
from blossom.executor.records.store import SCHEMA_VERSION, TICK, RunRecords

__all__ = [
    "SCHEMA_VERSION",
    "TICK",
    "EventRecord",
    "FragmentRecord",
    "Outcome",
    "ReleaseRecord",
    "RunRecord",
    "RunRecords",
    "RunSummary",
]
