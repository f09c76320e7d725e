"""The process that Python workers are forked from: Arrow is loaded already, so a worker is there in milliseconds.

It never runs a user's code and has one thread, so a fork of it is clean. It speaks over one socket with the process that started
it: `FORK` with two descriptors gives the new worker's number; `REAP` ends a worker and gives its wait status. When that socket
closes, for whatever reason, every worker is killed and the server ends: nothing outlives the process that needed it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import struct
import sys
import time
from typing import Final

REQUEST: Final = struct.Struct("<Bq")
REPLY: Final = struct.Struct("<q")
FORK: Final = 1
FORK_PANDAS: Final = 2
REAP: Final = 3

UNKNOWN: Final = -1
"""The answer of `REAP` for a process that is no worker of this server."""

GRACE: Final = 1.0
"""Seconds that a worker which has closed its stream gets to end by itself, so that its status tells how it ended."""


def serve(control: socket.socket) -> None:
    """Answer requests until the other end closes."""
    from blossom.platforms import python_worker_process

    importlib.import_module("pyarrow.compute")
    importlib.import_module("cloudpickle")
    gc.freeze()  # what is loaded already stays shared with the workers
    alive: set[int] = set()
    try:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 2)
            if not request:
                return
            asked, number = REQUEST.unpack(request)
            if asked == REAP:
                answer = _reap(number)
                alive.discard(number)
            else:
                if asked == FORK_PANDAS:
                    importlib.import_module("pandas")
                answer = os.fork()
                if answer == 0:
                    control.close()
                    python_worker_process.run(*descriptors)
                with contextlib.suppress(OSError):  # the worker has done it itself already
                    os.setpgid(answer, answer)
                alive.add(answer)
                for descriptor in descriptors:
                    os.close(descriptor)
            control.sendall(REPLY.pack(answer))
    finally:
        for number in alive:
            _kill(number)


def _reap(number: int) -> int:
    until = time.monotonic() + GRACE
    try:
        while time.monotonic() < until:
            found, status = os.waitpid(number, os.WNOHANG)
            if found:
                _kill(number)  # what it has started and left behind
                return status
            time.sleep(0.001)
        _kill(number)
        return os.waitpid(number, 0)[1]
    except ChildProcessError:
        return UNKNOWN


def _kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(number, signal.SIGKILL)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
