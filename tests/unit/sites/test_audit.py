"""The audit log: what it keeps, what it notices, and what it survives."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blossom.plan.errors import SiteError
from blossom.sites.audit import AuditLog, Entry

ENTRY = Entry(
    run="r1", plan="f" * 16, recipient="hub", kind="aggregates", decision="released", rule=None, user="ann",
    role="analyst", purpose="research", tables=("patients",), columns={"patients.age": "guarded"}, rows=12, bytes=480,
    time="2026-11-24T08:00:00.000000+00:00",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def fill(path: Path, count: int) -> list[str]:
    with AuditLog(path) as log:
        return [log.append(replace(ENTRY, run=f"r{number}")) for number in range(count)]


def test_what_is_appended_is_read_again(path: Path) -> None:
    entries = [
        ENTRY,
        Entry(
            run="r2",
            plan="x",
            recipient="site:süd",
            kind="rows",
            decision="refused",
            rule="shape",
            user='a"b\n\ud800',
        ),
    ]
    with AuditLog(path) as log:
        hashes = [log.append(entry) for entry in entries]
        assert list(log.entries()) == entries
        assert log.verify() == replace(log.verify(), ok=True, count=2, first_bad=None, reason=None)
    assert len(set(hashes)) == 2
    assert list(AuditLog(path).entries()) == entries
    assert path.stat().st_mode & 0o077 == 0
    for line in path.read_bytes().splitlines():
        assert json.loads(line)["hash"] in hashes


def test_an_entry_carries_the_time_of_its_making() -> None:
    made = Entry(run="r", plan="p", recipient="hub", kind="counts", decision="withheld")
    assert made.time.endswith("+00:00")


def test_a_new_log_is_empty_and_good(path: Path) -> None:
    log = AuditLog(path)
    assert list(log.entries()) == []
    assert (log.verify().ok, log.verify().count) == (True, 0)


def test_reopening_goes_on_with_the_chain(path: Path) -> None:
    fill(path, 3)
    fill(path, 2)
    with AuditLog(path) as log:
        log.close()
        log.append(ENTRY)  # opens again
        assert log.verify().count == 6


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def rewrite(path: Path, new: list[bytes]) -> None:
    path.write_bytes(b"".join(new))


TAMPERING: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str]] = {
    "edit": (
        lambda old: [*old[:2], old[2].replace(b'"rows":12', b'"rows":13'), *old[3:]],
        3,
        "its hash does not fit",
    ),
    "edit the last": (
        lambda old: [*old[:4], old[4].replace(b'"rows":12', b'"rows":13')],
        5,
        "its hash does not fit",
    ),
    "add a blank": (
        lambda old: [old[0], old[1].replace(b'"entry":', b'"entry": '), *old[2:]],
        2,
        "it is no entry",
    ),
    "remove the first": (lambda old: old[1:], 1, "does not follow"),
    "remove from the middle": (lambda old: [*old[:2], *old[3:]], 3, "does not follow"),
    "swap": (lambda old: [old[0], old[2], old[1], *old[3:]], 2, "does not follow"),
    "repeat": (lambda old: [*old[:2], old[1], *old[2:]], 3, "does not follow"),
    "cut the end": (lambda old: old[:3], 4, "2 entries are missing at the end"),
    "cut inside the last line": (lambda old: [*old[:4], old[4][:-10]], 5, "is unfinished"),
    "empty": (lambda _: [], 1, "5 entries are missing"),
    "garbage": (lambda old: [*old, b"hello\n"], 6, "it is no entry"),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found_where_it_was_done(path: Path, name: str) -> None:
    change, first_bad, reason = TAMPERING[name]
    fill(path, 5)
    rewrite(path, change(lines(path)))
    found = AuditLog(path).verify()
    assert not found.ok
    assert found.first_bad == first_bad
    assert found.reason is not None
    assert reason in found.reason
    assert found.count == first_bad - 1


@pytest.mark.parametrize(
    "name", ["edit the last", "cut the end", "cut inside the last line", "empty", "garbage"]
)
@pytest.mark.parametrize("open_before", [True, False])
def test_a_corrupt_end_is_not_appended_to(path: Path, name: str, open_before: bool) -> None:
    fill(path, 5)
    log = AuditLog(path)
    if open_before and name != "edit the last":  # an edit of the same length is `verify`'s to find
        log.append(ENTRY)
        rewrite(
            path,
            TAMPERING[name][0](lines(path)[:-1]) if name == "garbage" else TAMPERING[name][0](lines(path)),
        )
    else:
        rewrite(path, TAMPERING[name][0](lines(path)))
    before = path.read_bytes()
    with pytest.raises(
        SiteError, match="is not as it was left, so nothing is appended and nothing may leave"
    ):
        log.append(ENTRY)
    assert path.read_bytes() == before
    with pytest.raises(SiteError):
        AuditLog(path).append(ENTRY)


def test_a_missing_or_damaged_head_is_found(path: Path) -> None:
    fill(path, 2)
    head = path.with_name("audit.jsonl.head")
    kept = head.read_bytes()
    for damage in (head.unlink, lambda: head.write_text("{"), lambda: head.write_text("[]")):
        damage()
        found = AuditLog(path).verify()
        assert (found.ok, found.first_bad) == (False, 1)
        with pytest.raises(SiteError, match="head file"):
            AuditLog(path).append(ENTRY)
        head.write_bytes(kept)
    assert AuditLog(path).verify().ok


def test_a_log_that_is_gone_is_not_begun_anew(path: Path) -> None:
    fill(path, 2)
    path.unlink()
    log = AuditLog(path)
    assert not log.verify().ok
    with pytest.raises(SiteError, match="gone"):
        log.append(ENTRY)
    assert not path.exists()


def test_moving_both_files_aside_begins_a_new_log(path: Path) -> None:
    fill(path, 2)
    log = AuditLog(path)
    log.append(ENTRY)
    aside = path.parent / "old"
    aside.mkdir()
    for file in (path, path.with_name("audit.jsonl.head")):
        shutil.move(file, aside / file.name)
    with pytest.raises(SiteError, match="moved or replaced"):
        log.append(ENTRY)
    fill(path, 1)
    log.append(ENTRY)
    assert log.verify().count == 2
    assert AuditLog(aside / "audit.jsonl").verify().count == 3


def test_another_file_in_its_place_is_not_written_to(path: Path) -> None:
    fill(path, 2)
    log = AuditLog(path)
    log.append(ENTRY)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)
    with pytest.raises(SiteError, match="moved or replaced"):
        log.append(ENTRY)


def test_a_crash_between_line_and_head_loses_nothing(path: Path) -> None:
    fill(path, 2)
    head = path.with_name("audit.jsonl.head")
    old = head.read_bytes()
    fill(path, 2)
    head.write_bytes(old)
    log = AuditLog(path)
    assert (log.verify().ok, log.verify().count) == (True, 4)
    log.append(ENTRY)
    assert (log.verify().ok, log.verify().count) == (True, 5)


def test_an_unfinished_last_line_was_never_acknowledged_and_goes(path: Path) -> None:
    fill(path, 2)
    with path.open("ab") as file:
        file.write(lines(path)[-1][:50])
    log = AuditLog(path)
    found = log.verify()
    assert (found.ok, found.count) == (True, 2)
    assert found.reason == "line 3 is unfinished: its writer was stopped before it had an answer"
    assert len(list(log.entries())) == 2
    log.append(ENTRY)
    assert (log.verify().count, log.verify().reason) == (3, None)


def test_a_crash_before_the_first_line_can_be_gone_on_from(path: Path) -> None:
    AuditLog(path).close()
    path.unlink()
    fill(path, 1)
    assert AuditLog(path).verify().count == 1


def _append_many(path: Path, name: str, count: int) -> None:
    log = AuditLog(path)
    for number in range(count):
        log.append(replace(ENTRY, run=f"{name}-{number}"))


def test_processes_and_threads_append_at_once(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(path, f"p{n}", 40)) for n in range(3)]
    for process in processes:
        process.start()
    log = AuditLog(path)
    work = [lambda n=n: [log.append(replace(ENTRY, run=f"t{n}-{i}")) for i in range(40)] for n in range(2)]
    threads = [threading.Thread(target=one) for one in work]
    other = threading.Thread(target=_append_many, args=(path, "object", 40))
    for thread in (*threads, other):
        thread.start()
    for worker in (*processes, *threads, other):
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.verify() == replace(log.verify(), ok=True, count=240)
    runs = [entry.run for entry in log.entries()]
    assert len(set(runs)) == 240
    for name in ("p0", "p1", "p2", "t0", "t1", "object"):
        assert [run for run in runs if run.startswith(f"{name}-")] == [f"{name}-{n}" for n in range(40)]


def test_a_forked_child_takes_its_turn(path: Path) -> None:
    log = AuditLog(path)
    log.append(ENTRY)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in range(30):
                log.append(replace(ENTRY, run=f"c{number}"))
            code = 0
        finally:
            os._exit(code)
    for number in range(30):
        log.append(replace(ENTRY, run=f"p{number}"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (log.verify().ok, log.verify().count) == (True, 61)


WRITER = """
import sys
from blossom.sites.audit import AuditLog, Entry
log = AuditLog(sys.argv[1])
number = 0
while True:
    log.append(Entry(run=str(number), plan="p" * int(sys.argv[2]), recipient="hub", kind="rows", decision="released"))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.031])
def test_a_writer_killed_at_any_time_loses_no_acknowledged_entry(path: Path, delay: float) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "100000"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(10)]
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    log = AuditLog(path)
    assert log.verify().ok
    assert {entry.run for entry in log.entries()} >= {str(number) for number in told}
    log.append(ENTRY)
    assert (log.verify().ok, log.verify().reason) == (True, None)


def _limited(path: Path) -> None:
    """Append until the file may not grow: the system then writes a part of a line and refuses the rest."""
    log = AuditLog(path)
    log.append(ENTRY)
    line = path.stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(line * 2.5), hard))
    log.append(ENTRY)
    for _ in range(2):
        with pytest.raises(
            SiteError, match="cannot be written, so nothing may leave: File too large"
        ) as caught:
            log.append(ENTRY)
        assert caught.value.hint is not None
        assert path.stat().st_size < line * 2.2
        assert (log.verify().ok, log.verify().count, log.verify().reason) == (True, 2, None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.append(ENTRY)
    assert (log.verify().ok, log.verify().count) == (True, 3)


def test_a_full_disk_leaves_the_log_good(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_limited, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("call", ["write", "fsync", "pwrite"])
def test_a_failure_of_each_step_takes_the_entry_back(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path)
    log.append(ENTRY)
    real = getattr(os, call)
    failures = [True]

    def fail_once(*args: object) -> object:
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(os, call, fail_once)
    with pytest.raises(SiteError, match="No space left on device"):
        log.append(ENTRY)
    assert not failures
    assert (log.verify().ok, log.verify().count, log.verify().reason) == (True, 1, None)
    log.append(ENTRY)
    assert (log.verify().ok, log.verify().count) == (True, 2)


def test_an_interrupt_after_the_head_was_written_is_taken_back_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path)
    log.append(ENTRY)
    real = os.pwrite
    calls: list[int] = []

    def interrupted(*args: object) -> int:
        written = real(*args)  # pyright: ignore[reportArgumentType]
        calls.append(written)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return written

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.append(ENTRY)
    assert (log.verify().ok, log.verify().count) == (True, 1)
    log.append(ENTRY)
    assert (log.verify().ok, log.verify().count) == (True, 2)


def test_the_entry_is_on_disk_before_the_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(path)
    log.append(ENTRY)
    synced: list[int] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    log.append(ENTRY)
    assert synced == [path.stat().st_size]


def test_appending_costs_little_beyond_the_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    log = AuditLog(path)
    for _ in range(20):
        log.append(ENTRY)
    seconds = []
    for _ in range(200):
        start = time.perf_counter()
        log.append(ENTRY)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[50] < 0.5e-3  # the lower quartile: the machine may be busy with other work


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot be opened: No such file"):
        AuditLog(tmp_path / "none" / "audit.jsonl")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_any_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    fill(path, 3)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    content[at] = new
    path.write_bytes(bytes(content))
    assert not AuditLog(path).verify().ok
