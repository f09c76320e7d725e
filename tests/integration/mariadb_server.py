"""A private MariaDB server for tests: Debian's binaries, a temporary folder, a port of its own on loopback.

`python tests/integration/mariadb_server.py COMMAND ...` runs a command with its URL in BLOSSOM_TEST_MARIADB_URL.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

URL = "BLOSSOM_TEST_MARIADB_URL"
_START_SECONDS = 60


def binaries() -> tuple[str, str] | None:
    """The server's program and the one that makes its data folder; None when they are not installed."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = [shutil.which(name, path=places) for name in ("mariadbd", "mariadb-install-db")]
    return None if None in found else (str(found[0]), str(found[1]))


def _unprivileged() -> dict[str, object]:
    """How to start a process as somebody who is not root, as the server insists."""
    if os.geteuid() != 0:
        return {}
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no unprivileged user to run MariaDB as")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server and give its URL; it is stopped and its folder removed at the end.

    Its collation is Debian's, which ignores case, so that tests meet what real databases have.
    """
    programs = binaries()
    if programs is None:
        raise RuntimeError("no MariaDB server is installed")
    mariadbd, install = programs
    who = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="blossom-mariadb-"))
    folder.chmod(0o711)
    password = secrets.token_hex(16)
    try:
        data, start = folder / "data", folder / "start.sql"
        start.write_text(
            f"CREATE USER blossom@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON *.* TO blossom@'127.0.0.1';\nCREATE DATABASE blossom;\n",
            encoding="utf-8",
        )
        start.chmod(0o644 if not who else 0o600)
        if who:
            for path in (folder, start):
                os.chown(path, int(str(who["user"])), int(str(who["group"])))
        made = subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"],
            cwd=folder, capture_output=True, text=True, check=False, **who,  # type: ignore[call-overload]
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"{install} failed: {made.stderr or made.stdout}")
        port = _free_port()
        settings = [
            f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--init-file={start}",
            f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--skip-log-bin",
            "--innodb-doublewrite=0", "--innodb-flush-method=nosync", "--max-connections=60", "--skip-name-resolve",
            "--local-infile=1", "--performance-schema=0",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [mariadbd, "--no-defaults", *settings], cwd=folder, stdout=log, stderr=log, **who  # type: ignore[call-overload]
            )  # fmt: skip
            try:
                _wait(process, port, folder / "log")
                yield f"mariadb://blossom:{password}@127.0.0.1:{port}/blossom"
            finally:
                process.kill()  # its data goes with the folder
                process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"MariaDB ended at start: {log.read_text(errors='replace')}")
        # the log says when the server is ready; a connection alone may still be refused
        if "ready for connections" in log.read_text(errors="replace"):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        time.sleep(0.05)
    raise RuntimeError(f"MariaDB did not start in {_START_SECONDS} s")


def main() -> int:
    """Run the command given on the command line beside a server."""
    with server() as url:
        return subprocess.run(sys.argv[1:], env={**os.environ, URL: url}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
