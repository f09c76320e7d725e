"""What a Python worker does: takes functions and batches, gives batches back, under limits of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import linecache
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms import python_worker_frames as frames
from blossom.platforms.python_worker_frames import Kind
from blossom.platforms.python_worker_steps import Step, step_of


def run(data: int, messages: int) -> NoReturn:
    """Be a worker: in a fresh fork, to the end of the process.

    Args:
        data: The descriptor of the stream of frames.
        messages: Where everything that is printed goes.
    """
    code = 1
    try:
        os.setpgid(0, 0)  # what the function starts is killed with it
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (messages, 1), (messages, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(messages)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
        sys.stdout = open(1, "w", buffering=1, closefd=False, errors="replace")  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False, errors="replace")  # noqa: SIM115
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.enable()  # a crash in a library still says where
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            _work(socket.socket(fileno=data))
        code = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _work(stream: socket.socket) -> None:
    try:
        steps = _loaded(stream)
        frames.write(stream, Kind.READY)
        arrived = steps[0].taken
        while True:
            kind, payload = frames.read(stream)
            if kind is Kind.END:
                break
            batch = pa.ipc.read_record_batch(payload, arrived)
            _send(stream, _through(steps, 0, batch))
            frames.write(stream, Kind.DONE)
        for number, step in enumerate(steps):
            for made in step.flush():
                _send(stream, _through(steps, number + 1, made))
                frames.write(stream, Kind.DONE)
        frames.write(stream, Kind.END)
    except PlatformError as fault:
        _tell(stream, fault)
    except MemoryError:
        _tell(
            stream,
            PlatformError(
                "the function's process ran out of its memory",
                hint="see memory_limit of the site's Python platform",
            ),
        )


def _tell(stream: socket.socket, fault: PlatformError) -> None:
    told = {"what": fault.what, "hint": fault.hint, "function": fault.where}
    frames.write(stream, Kind.FAULT, json.dumps(told).encode())


def _loaded(stream: socket.socket) -> list[Step]:
    _, payload = frames.read(stream)
    job = frames.document(payload)
    sys.path[:] = job["path"]
    limit: int | None = job["memory_limit"]
    if limit is not None:
        most = _size() + limit
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    taken = _schema(job["schema"])
    steps: list[Step] = []
    for described in job["steps"]:
        _, code = frames.read(stream)
        _lines(described["source"])
        out = _schema(described["schema"])
        step = step_of(described, code, taken, out)
        steps.append(step)
        taken = out
    return steps


def _through(steps: list[Step], start: int, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if start == len(steps):
        yield batch
        return
    for made in steps[start].push(batch):
        yield from _through(steps, start + 1, made)


def _send(stream: socket.socket, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        if batch.num_rows:
            frames.write(stream, Kind.BATCH, batch.serialize())


def _schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(text)))


def _lines(source: Mapping[str, Any] | None) -> None:
    """Let tracebacks show the lines of a function that stands in no file (a notebook's)."""
    if source is not None:
        lines: list[str] = source["lines"]
        linecache.cache[source["file"]] = (sum(map(len, lines)), None, lines, source["file"])


def _size() -> int:
    """The address space that the process has already: limits count from there."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a pseudo file
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30  # without /proc; what Python and Arrow map there is less
