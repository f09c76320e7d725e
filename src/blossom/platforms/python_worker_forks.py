"""The process that workers are forked from, seen from the site: started when first needed, one for all platforms of this process."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from blossom.plan.errors import PlatformError
from blossom.platforms.python_worker_server import FORK, FORK_PANDAS, REAP, REPLY, REQUEST, UNKNOWN

_ENVIRONMENT = {
    # one thread a worker: several on small batches only wait for one another, and a fork wants none
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    ),
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the other pools map far more than they use, and the limit counts that
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MALLOC_ARENA_MAX": "1",
}


class Server:
    """The process that workers are forked from, started when first needed and again if it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, data: socket.socket, messages: int, *, pandas: bool) -> int:
        """Start a worker; gives its process number.

        Raises:
            PlatformError: The server cannot be started.
        """
        with self._lock:
            return self._ask(FORK_PANDAS if pandas else FORK, 0, (data.fileno(), messages))

    def reap(self, number: int) -> int | None:
        """End a worker that has closed its stream or was killed; gives its wait status, None if nobody knows it."""
        with self._lock:
            if self._process is None:
                return None
            try:
                status = self._ask(REAP, number, ())
            except PlatformError:
                return None
            return None if status == UNKNOWN else status

    def _ask(self, request: int, number: int, descriptors: Sequence[int]) -> int:
        if self._control is None:
            self._start()
        reply = self._exchange(request, number, descriptors)
        if not reply and request != REAP:  # it is gone since the last time
            self._start()
            reply = self._exchange(request, number, descriptors)
        if not reply:
            self._stop()
            raise PlatformError(
                "the process that Python functions are started from ended by itself",
                hint="the machine may be out of memory",
            )
        answer: int = REPLY.unpack(reply)[0]
        return answer

    def _exchange(self, request: int, number: int, descriptors: Sequence[int]) -> bytes:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [REQUEST.pack(request, number)], descriptors)
            return self._control.recv(REPLY.size)
        except OSError:
            return b""

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).parents[2])
        program = (
            f"import sys; sys.path.insert(0, {root!r}); import socket; "
            "from blossom.platforms.python_worker_server import serve; "
            f"serve(socket.socket(fileno={theirs.fileno()}))"
        )
        with theirs:
            # sessions of their own: Ctrl-C in a terminal stops the run, which then ends its workers in order
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT},
            )
        self._control = ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the server and all its workers; idempotent."""
        with self._lock:
            self._stop()

    def forget(self) -> None:
        """In a fork of this process: the server is the parent's."""
        self._lock = threading.Lock()
        self._process = None
        if self._control is not None:
            self._control.close()
            self._control = None


SERVER = Server()
atexit.register(SERVER.stop)
os.register_at_fork(after_in_child=SERVER.forget)
