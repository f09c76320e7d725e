"""Frames between a site and a Python worker: one byte of kind, eight of length, then the bytes; over one stream socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import pyarrow as pa

HEADER = struct.Struct("<BQ")


class Kind(IntEnum):
    """What a frame says.

    To the worker: JOB (JSON: what to do), CODE (a packed function, one a step), BATCH, END (no more batches). From it: READY (the
    functions are loaded), BATCH (rows made), DONE (the last batch, or one group at the end, is worked off), FAULT (JSON: what is
    wrong), END.
    """

    JOB = 1
    CODE = 2
    BATCH = 3
    END = 4
    READY = 5
    DONE = 6
    FAULT = 7


def write(stream: socket.socket, kind: Kind, payload: Any = b"") -> None:
    """Write one frame; blocks until the other side has taken it."""
    view = memoryview(payload)
    stream.sendall(HEADER.pack(kind, view.nbytes))
    if view.nbytes:
        stream.sendall(view)


def read(stream: socket.socket) -> tuple[Kind, pa.Buffer]:
    """Read one frame; blocks.

    Raises:
        EOFError: The other side is gone.
    """
    kind, length = HEADER.unpack(_exactly(stream, HEADER.size))
    return Kind(kind), _exactly(stream, length)


def _exactly(stream: socket.socket, length: int) -> pa.Buffer:
    found = pa.allocate_buffer(length)
    view = memoryview(found)
    filled = 0
    while filled < length:
        count = stream.recv_into(view[filled:])
        if count == 0:
            raise EOFError
        filled += count
    return found


def document(payload: pa.Buffer) -> Mapping[str, Any]:
    """The JSON of a frame."""
    found: dict[str, Any] = json.loads(payload.to_pybytes())
    return found
