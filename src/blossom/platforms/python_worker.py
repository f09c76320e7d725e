"""A Python worker seen from the site: a process of its own that applies functions to a stream of batches, watched and ended here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from blossom.plan.errors import PlatformError
from blossom.platforms import python_worker_steps
from blossom.platforms.interface import Cancellation
from blossom.platforms.python_functions import Packed
from blossom.platforms.python_worker_forks import SERVER
from blossom.platforms.python_worker_frames import HEADER, Kind

AHEAD = 2
"""Batches that a worker holds: one at work, and the next, so that it never waits for this side."""

LINES = 1000
"""Printed lines of one worker that are passed on; the rest is counted."""

LINE = 2000
"""Characters of a printed line that are passed on."""

SHOWN = 5
"""Printed lines that an error shows."""

_TAIL = 50


@dataclass(frozen=True, slots=True)
class Task:
    """One function of a worker: `per`, `format` and `by` as in `MapBatches`, `out` the columns that it gives."""

    name: str
    function: Packed
    parameters: str
    per: str
    format: str
    by: tuple[str, ...]
    out: pa.Schema


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use.

    Attributes:
        memory: Bytes of address space beyond what it starts with; None: no limit.
        seconds: For one batch (or one group), while this side waits for it; None: no limit.
    """

    memory: int | None
    seconds: float | None


class Worker:
    """A process that applies functions, from its start to its end. Used by one thread; `kill` may come from any.

    Args:
        tasks: The functions, in the order in which rows pass them.
        taken: The columns that come in.
        limits: What it may use.
        where: The place, for errors.
        tell: Takes each line that the functions print.
    """

    def __init__(
        self, tasks: Sequence[Task], taken: pa.Schema, limits: Limits, where: str, tell: Callable[[str], None]
    ) -> None:
        self._tasks = tasks
        self._limits = limits
        self._where = where
        self._out = tasks[-1].out
        self._tell = tell
        self._ending = threading.Lock()
        self._data, theirs = socket.socketpair()
        self._messages, printed = os.pipe()
        self._ended = False
        try:
            with theirs:
                self._number = SERVER.fork(theirs, printed, pandas=any(t.format == "pandas" for t in tasks))
        except BaseException:
            self._data.close()
            os.close(self._messages)
            raise
        finally:
            os.close(printed)
        self._data.setblocking(False)
        os.set_blocking(self._messages, False)
        self._waited = 0.0
        self._told = 0
        self._half = b""
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._arrived: deque[tuple[Kind, pa.Buffer]] = deque()
        self._head = bytearray()
        self._body: pa.Buffer | None = None
        self._kind = Kind.END
        self._filled = 0
        self._job = self._described(taken)

    def _described(self, taken: pa.Schema) -> bytes:
        steps = [
            {
                "name": task.name,
                "parameters": task.parameters,
                "per": task.per,
                "format": task.format,
                "by": task.by,
                "schema": task.out.serialize().to_pybytes().hex(),
                "source": None
                if task.function.source is None
                else {"file": task.function.source[0], "lines": task.function.source[1]},
            }
            for task in self._tasks
        ]
        job: Mapping[str, Any] = {
            "path": self._tasks[0].function.path,
            "memory_limit": self._limits.memory,
            "schema": taken.serialize().to_pybytes().hex(),
            "steps": steps,
        }
        return json.dumps(job).encode()

    def apply(
        self, batches: Iterator[pa.RecordBatch], cancellation: Cancellation
    ) -> Iterator[pa.RecordBatch]:
        """Pass batches through; the worker is ended with the stream, however that ends.

        Raises:
            PlatformError: A function's fault, a limit met, or the run was cancelled; names the function.
        """
        forget = cancellation.register(self.kill)
        try:
            self._send(Kind.JOB, self._job)
            for task in self._tasks:
                self._send(Kind.CODE, task.function.code)
            self._next()  # READY
            held = 0
            for batch in batches:
                self._send(Kind.BATCH, batch.serialize())
                held += 1
                while held >= AHEAD or self._arrived:
                    kind, payload = self._next()
                    if kind is Kind.BATCH:
                        yield self._read(payload)
                    elif kind is Kind.DONE:
                        held -= 1
            self._send(Kind.END)
            while True:
                kind, payload = self._next()
                if kind is Kind.BATCH:
                    yield self._read(payload)
                elif kind is Kind.END:
                    return
        except _Gone:
            if cancellation.cancelled:
                raise PlatformError("the run was cancelled", where=self._where) from None
            raise self._how_it_ended() from None
        finally:
            forget()
            self.kill()
            self._drain()
            self._close()

    def _read(self, payload: pa.Buffer) -> pa.RecordBatch:
        batch = pa.ipc.read_record_batch(payload, self._out)
        batch.validate()
        return batch

    def kill(self) -> None:
        """End the process and all that it started, at once; idempotent."""
        with self._ending:
            if not self._ended:  # after that its number may be another process's
                for end in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        end(self._number, signal.SIGKILL)

    def _close(self) -> int | None:
        with self._ending:
            if self._ended:
                return None
            self._data.close()
            os.close(self._messages)
            status = SERVER.reap(self._number)
            self._ended = True
            return status

    # -- the stream --------------------------------------------------------------------------------------------------

    def _send(self, kind: Kind, payload: Any = b"") -> None:
        """Write a frame whole, taking in what arrives meanwhile: both sides may be writing."""
        view = memoryview(payload)
        waiting = [memoryview(HEADER.pack(kind, view.nbytes)), view]
        while waiting:
            try:
                sent = self._data.sendmsg(waiting)
            except BlockingIOError:
                self._wait(select.POLLOUT)
                continue
            except OSError:
                self._receive()  # what it said before it ended
                fault = next((one for one in self._arrived if one[0] is Kind.FAULT), None)
                raise self._fault(fault[1]) if fault else _Gone from None
            while waiting and sent >= waiting[0].nbytes:
                sent -= waiting.pop(0).nbytes
            if waiting:
                waiting[0] = waiting[0][sent:]

    def _next(self) -> tuple[Kind, pa.Buffer]:
        """The next frame, waited for; a fault is raised."""
        while not self._arrived:
            if not self._receive():
                raise _Gone
            if not self._arrived:
                self._wait(0)
        kind, payload = self._arrived.popleft()
        if kind is Kind.FAULT:
            raise self._fault(payload)
        if kind is not Kind.BATCH:
            self._waited = 0.0  # something was worked off: the clock starts again
        return kind, payload

    def _wait(self, also: int) -> None:
        poll = select.poll()
        poll.register(self._data, select.POLLIN | also)
        poll.register(self._messages, select.POLLIN)
        left = None if self._limits.seconds is None else self._limits.seconds - self._waited
        if left is not None and left <= 0:
            self._overtime()
        began = time.monotonic()
        ready = dict(poll.poll(None if left is None else max(1, round(left * 1000))))
        if ready.get(self._messages) and not self._print() and not ready.keys() - {self._messages}:
            time.sleep(0.01)  # its output is closed while it goes on: do not spin
        self._waited += time.monotonic() - began
        if self._data.fileno() in ready and also:
            self._receive()

    def _overtime(self) -> None:
        self.kill()
        self._drain()
        raise PlatformError(
            f"the function took more than {self._limits.seconds:g} s for one batch and was stopped",
            where=self._named(),
            hint="see timeout of the site's Python platform" + self._last_words(),
        )

    def _receive(self) -> bool:
        """Take in what has arrived; False when the other side is gone."""
        while True:
            try:
                if self._body is None:
                    more = self._data.recv(HEADER.size - len(self._head))
                    if not more:
                        return False
                    self._head += more
                    if len(self._head) == HEADER.size:
                        kind, length = HEADER.unpack(self._head)
                        self._begin(kind, length)
                elif self._filled < self._body.size:
                    count = self._data.recv_into(memoryview(self._body)[self._filled :])
                    if not count:
                        return False
                    self._filled += count
            except BlockingIOError:
                return True
            except OSError:
                return False
            if self._body is not None and self._filled == self._body.size:
                self._arrived.append((self._kind, self._body))
                self._body = None
                self._head.clear()
                return True

    def _begin(self, kind: int, length: int) -> None:
        # a function can write anything into its own stream: nothing that it says is trusted
        if kind not in (Kind.READY, Kind.BATCH, Kind.DONE, Kind.FAULT, Kind.END) or (
            self._limits.memory is not None and length > self._limits.memory
        ):
            raise PlatformError("the function's process sent what it may not send", where=self._named())
        self._kind, self._body, self._filled = Kind(kind), pa.allocate_buffer(length), 0

    # -- what it prints ----------------------------------------------------------------------------------------------

    def _print(self) -> bool:
        """Pass on what is there; False when nothing more can come."""
        try:
            found = os.read(self._messages, 1 << 16)
        except BlockingIOError:
            return True
        *lines, self._half = (self._half + found).split(b"\n")
        if not found and self._half:
            lines, self._half = [self._half], b""
        if len(self._half) > LINE:
            lines, self._half = [*lines, self._half], b""
        for line in lines:
            self._line(line.decode(errors="replace")[:LINE])
        return bool(found)

    def _line(self, text: str) -> None:
        if not text.strip():
            return
        self._tail.append(text)
        self._told += 1
        if self._told <= LINES:
            self._tell(f"{self._names()}: {text}")

    def _drain(self) -> None:
        """What is still in the pipe of a worker that has ended."""
        if self._ended:
            return
        with contextlib.suppress(BlockingIOError):
            while select.select([self._messages], [], [], 0)[0] and self._print():
                pass
        if self._half:
            self._line(self._half.decode(errors="replace")[:LINE])
            self._half = b""
        if self._told > LINES:
            self._tell(f"{self._names()}: {self._told - LINES:,} more printed lines are not shown")
            self._told = 0

    # -- its faults --------------------------------------------------------------------------------------------------

    def _names(self) -> str:
        return ", ".join(dict.fromkeys(task.name for task in self._tasks))

    def _named(self, name: str | None = None) -> str:
        return f"{self._where}, function {name or self._names()!r}"

    def _fault(self, payload: pa.Buffer) -> PlatformError:
        told: Mapping[str, Any] = json.loads(payload.to_pybytes())
        return PlatformError(
            str(told["what"]), where=self._named(told.get("function")), hint=told.get("hint")
        )

    def _last_words(self) -> str:
        return f"; it printed last: {' | '.join([*self._tail][-SHOWN:])}" if self._tail else ""

    def _how_it_ended(self) -> PlatformError:
        self._drain()
        status = self._close()
        what, hint = _ended(status)
        at = _crashed_at(self._tail)
        return PlatformError(
            f"the function's process {what}{'' if at is None else f' at {at}'}",
            where=self._named(),
            hint=hint + ("" if at else self._last_words()),
        )


class _Gone(Exception):
    """The worker has closed its stream before its end."""


_FRAME = re.compile(r'\s*File "(.+)", line (\d+) in (.+)')


def _crashed_at(printed: Iterable[str]) -> str | None:
    """The function's line in the trace that a crash leaves, whose frames come inner ones first; None without a trace."""
    ours = str(Path(python_worker_steps.__file__))
    found = [frame.groups() for line in printed if (frame := _FRAME.match(line))]
    entry = next((i for i, (file, _, _) in enumerate(found) if file == ours), 0)
    if entry == 0:
        return None
    own = next(frame for frame in found[:entry] if frame[0] == found[entry - 1][0])
    return f"line {own[1]} of {own[2]}"


def _ended(status: int | None) -> tuple[str, str]:
    """How a process ended, in words, and what may be the matter."""
    if status is None:
        return "ended, and nobody knows how", "the machine may be out of memory"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if number == signal.SIGKILL:
            return "was killed (SIGKILL)", "the machine may be out of memory"
        return f"crashed ({name})", "a library that it calls is at fault, or ran out of memory_limit"
    return (
        f"ended by itself with exit code {os.waitstatus_to_exitcode(status)}",
        "a function may not end its process (os._exit)",
    )
