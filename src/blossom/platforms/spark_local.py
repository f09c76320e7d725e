"""A Spark of one's own: a Spark Connect server in a JVM on this machine, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from blossom.plan.errors import PlatformError

_START_SECONDS = 120
_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"

_SCRIPT = """
folder=$1
shift
exec 3<&0
"$@" < /dev/null &
server=$!
(cat <&3; kill -9 $server; rm -rf "$folder") > /dev/null 2>&1 &
wait $server
"""
"""Runs the server until it ends or the pipe to this script is closed, as it is when the process that holds it dies."""

_SETTINGS: Mapping[str, str] = {
    "spark.ui.enabled": "false",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.shuffle.partitions": "4",
    "spark.log.level": "ERROR",
}


def home() -> Path | None:
    """The folder of an installed Spark: SPARK_HOME, else that of the package `pyspark`, where it brings the JVM's part."""
    given = os.environ.get("SPARK_HOME")
    if given:
        return Path(given)
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    return folder if (folder / "jars").is_dir() else None


def java() -> str | None:
    """The Java that runs it: of JAVA_HOME, else the one on the path."""
    folder = os.environ.get("JAVA_HOME")
    return str(Path(folder) / "bin/java") if folder else shutil.which("java")


class LocalServer:
    """Starts the server, and waits until it listens on a port of this machine that only holders of its token can use.

    Args:
        where: Names the platform in errors.
        threads: Tasks at once; None: one a core.
        memory: Of the JVM ("2GB"); None: 1 GB.

    Raises:
        PlatformError: There is no Spark or no Java, or it does not start.
    """

    def __init__(self, where: str, *, threads: int | None = None, memory: str | None = None) -> None:
        folder = home()
        if folder is None:
            raise PlatformError(
                "a local Spark needs the whole of Spark, which is not installed",
                where=where,
                hint="pip install 'blossom-sky[spark-local]', or name Spark's folder in SPARK_HOME",
            )
        if java() is None:
            raise PlatformError(
                "a local Spark needs Java, which is not installed",
                where=where,
                hint="install a Java runtime (17 or newer), or name its folder in JAVA_HOME",
            )
        self._folder = tempfile.mkdtemp(prefix="blossom-spark-")
        port = _free_port()
        token = secrets.token_urlsafe(32)
        settings = {
            **_SETTINGS,
            "spark.connect.grpc.binding.port": str(port),
            "spark.local.dir": self._folder,
            "spark.sql.warehouse.dir": f"{self._folder}/warehouse",
            "spark.driver.memory": _jvm_size(memory or "1GB"),
            "spark.pyspark.python": sys.executable,
        }
        command = [str(folder / "bin/spark-submit"), "--master", f"local[{threads or '*'}]"]
        command += [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        command += ["--class", _CLASS, "spark-internal"]
        # the token goes by the environment: a command line can be read by everybody on the machine
        environment = {
            **{key: value for key, value in os.environ.items() if key != "SPARK_REMOTE"},
            "SPARK_HOME": str(folder),
            "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": sys.executable,
        }
        self._log = Path(self._folder) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - Spark's own program, without a shell's reading
                ["/bin/sh", "-c", _SCRIPT, "sh", self._folder, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )
        self.url = f"sc://localhost:{port}/;token={token}"
        self._wait(port, where)

    def _wait(self, port: int, where: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                self.close()
                reason = next(
                    (line for line in lines if "Exception" in line or "Error" in line), ""
                ) or "\n".join(lines[-3:])
                raise PlatformError(
                    f"Spark did not start: {reason.strip() or 'it said nothing'}",
                    where=where,
                    hint="Spark 4 runs on Java 17 and 21",
                )
            time.sleep(0.1)

    def close(self) -> None:
        """Stop the server and remove what it wrote; idempotent."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it keeps nothing
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _jvm_size(text: str) -> str:
    """A size as the JVM writes it.

    >>> _jvm_size("1.5 GiB")
    '1536m'
    """
    number, unit = re.fullmatch(r"([\d.]+)\s*([kmgt])i?b", text.strip(), re.IGNORECASE).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return f"{max(int(float(number) * 1024.0 ** ('kmgt'.index(unit.lower()) - 1)), 1)}m"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
