"""A private Spark Connect server for tests: Sail, which needs no JVM; a heavier tier gives a real one in BLOSSOM_TEST_SPARK_URL.

`python tests/integration/spark_server.py COMMAND ...` runs a command with its URL in BLOSSOM_TEST_SPARK_URL.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

URL = "BLOSSOM_TEST_SPARK_URL"
_START_SECONDS = 60


def installed() -> bool:
    """Whether the server's program is there."""
    return importlib.util.find_spec("pysail") is not None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server and give its URL; it is stopped at the end."""
    port = _free_port()
    command = [sys.executable, "-m", "pysail", "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "RUST_LOG": "error"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"Sail did not start: {log.read().decode(errors='replace')}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            yield f"sc://127.0.0.1:{port}"
        finally:
            process.kill()  # it keeps nothing
            process.wait(30)


def main() -> int:
    """Run the command given on the command line beside a server."""
    with server() as url:
        return subprocess.run(sys.argv[1:], env={**os.environ, URL: url}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
