"""Spools give back what they were given, from memory and from disk, and leave nothing behind."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blossom.plan.errors import SiteError
from blossom.sites.spool import ROWS, Room, Spool

NUMBERS = pa.schema([("n", pa.int64()), ("t", pa.string())])


def batch(start: int, rows: int) -> pa.RecordBatch:
    numbers = np.arange(start, start + rows)
    return pa.record_batch([pa.array(numbers), pa.array(numbers.astype(str))], schema=NUMBERS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=6), room=st.integers(0, 200_000))
def test_it_gives_back_what_it_was_given(tmp_path: Path, sizes: list[int], room: int) -> None:
    batches = [batch(1000 * i, rows) for i, rows in enumerate(sizes)]
    space = Room(room, lambda: tmp_path, "here")
    spool = Spool.of(NUMBERS, batches, space)
    given = pa.Table.from_batches(batches, NUMBERS)
    first, second = spool.reader(), spool.reader()  # side by side
    assert first.read_all() == given
    assert second.read_all() == given
    assert spool.rows == given.num_rows
    assert (spool.spilled > 0) == (spool.bytes > room)
    assert not list(tmp_path.iterdir())
    spool.close()
    spool.close()
    assert space.free == room


def test_batches_are_small(tmp_path: Path) -> None:
    for room in (0, 1 << 30):
        spool = Spool.of(NUMBERS, [batch(0, 3 * ROWS + 5)], Room(room, lambda: tmp_path, "here"))
        assert [one.num_rows for one in spool.reader()] == [ROWS, ROWS, ROWS, 5]
        spool.close()


def test_room_is_shared(tmp_path: Path) -> None:
    space = Room(batch(0, 1000).nbytes, lambda: tmp_path, "here")
    one = Spool.of(NUMBERS, [batch(0, 1000)], space)
    two = Spool.of(NUMBERS, [batch(0, 1000)], space)
    assert (one.spilled, two.spilled > 0) == (0, True)
    one.close()
    assert Spool.of(NUMBERS, [batch(0, 1000)], space).spilled == 0


def test_a_reader_survives_the_close_and_the_file_ends_with_it(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    spool = Spool.of(NUMBERS, [batch(0, 1000)], Room(0, lambda: tmp_path, "here"))
    reader = spool.reader()
    spool.close()
    assert reader.read_all().num_rows == 1000
    del reader
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 62, 100_000)
    wide = pa.record_batch([pa.array(noise)], names=["n"])
    space = Room(wide.nbytes, lambda: tmp_path, "site north")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(SiteError, match="site north: an intermediate result of 1 MiB cannot be kept"):
            Spool.of(wide.schema, [wide, wide], space)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert space.free == wide.nbytes


def test_the_first_fault_of_the_stream_is_told_as_it_is(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch(0, 10)
        raise ValueError("of the source")

    space = Room(1 << 20, lambda: tmp_path, "here")
    with pytest.raises(ValueError, match="of the source"):
        Spool.of(NUMBERS, failing(), space)
    assert space.free == 1 << 20
