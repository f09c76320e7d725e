"""A private PostgreSQL server for tests: Debian's binaries, a temporary folder, a port of its own on loopback.

`python tests/integration/postgres_server.py COMMAND ...` runs a command with its URL in BLOSSOM_TEST_PG_URL.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

URL = "BLOSSOM_TEST_PG_URL"
_START_SECONDS = 60


def binaries() -> Path | None:
    """The folder of the newest installed server's programs; None when there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


def _unprivileged() -> dict[str, object]:
    """How to start a process as somebody who is not root, as the server insists."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no unprivileged user to run PostgreSQL as")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(command: list[str], folder: Path, who: dict[str, object]) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **who)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr or done.stdout}")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server and give its URL; it is stopped and its folder removed at the end.

    Its collation is a language's (ICU "en"), not binary, so that tests meet what real databases have.
    """
    programs = binaries()
    if programs is None:
        raise RuntimeError("no PostgreSQL server is installed")
    who = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="blossom-pg-"))
    password = secrets.token_hex(16)
    try:
        if who:
            os.chown(folder, int(str(who["user"])), int(str(who["group"])))
        secret = folder / "password"
        secret.write_text(password, encoding="utf-8")
        if who:
            os.chown(secret, int(str(who["user"])), int(str(who["group"])))
        data = folder / "data"
        _run(
            [
                str(programs / "initdb"), "-D", str(data), "-U", "blossom", "--auth=scram-sha-256", f"--pwfile={secret}",
                "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en", "--no-sync",
            ],
            folder,
            who,
        )  # fmt: skip
        secret.unlink()
        port = _free_port()
        options = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off",
            "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": 60, "max_parallel_workers_per_gather": 0,
        }  # fmt: skip
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *settings],
            cwd=folder,
            stdout=log,
            stderr=log,
            **who,  # type: ignore[call-overload]
        )
        try:
            _wait(process, port, folder / "log")
            yield f"postgresql://blossom:{password}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: open sessions are ended
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(30)
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at start: {log.read_text(errors='replace')}")
        # the log says when the server is ready; a connection alone may still be refused
        if "ready to accept connections" in log.read_text(errors="replace"):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start in {_START_SECONDS} s")


def main() -> int:
    """Run the command given on the command line beside a server."""
    with server() as url:
        return subprocess.run(sys.argv[1:], env={**os.environ, URL: url}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
