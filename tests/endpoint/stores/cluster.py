"""A real PostgreSQL cluster of its own, on a free port of loopback, with the sample table."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from . import slapd

PASSWORD = "0wner:@/s3cret"


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    return found[-1].parent if found[-1].is_file() else None


def _user() -> str | None:
    """The user to run as: the server refuses to be root."""
    if os.getuid():
        return pwd.getpwuid(os.getuid()).pw_name
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return None


BINARIES, USER = _binaries(), _user()
MISSING = BINARIES is None or USER is None


@dataclass
class Cluster:
    """A running server."""

    here: Path
    port: int
    process: subprocess.Popen[bytes]

    def url(self, *, host: str = "127.0.0.1", password: str = PASSWORD, more: str = "") -> str:
        escaped = password.replace(":", "%3A").replace("@", "%40").replace("/", "%2F")
        return f"postgresql+psycopg://owner:{escaped}@{host}:{self.port}/postgres{more}"

    def run(self, statement: str, *rows: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement as the owner, once or once for each row."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="owner", password=PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.cursor()
            for row in rows or [()]:
                cursor.execute(statement.encode(), row)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def start(self) -> None:
        self.process = _start(self.here, self.port)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server in its tracks: the network still takes what is sent to it."""
        master = psutil.Process(self.process.pid)
        processes = [master, *master.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Make a cluster and start it; stop it and take it away at the end."""
    assert BINARIES and USER
    here = Path(tempfile.mkdtemp(prefix="jitkit-postgres-"))
    try:
        slapd.write_certificates(here)
        (here / "password").write_text(PASSWORD)
        for path in (here, *here.iterdir()):
            shutil.chown(path, USER)
            path.chmod(0o700 if path.is_dir() else 0o600)
        make = [BINARIES / "initdb", "-D", here / "data", "-U", "owner", "-A", "scram-sha-256", "-E", "UTF8"]
        make += [f"--pwfile={here / 'password'}", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, **_identity())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        cluster = Cluster(here, port, _start(here, port))
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(here, ignore_errors=True)


def _identity() -> dict[str, Any]:
    return {} if os.getuid() else {"user": USER, "group": USER, "extra_groups": []}


def _start(here: Path, port: int) -> subprocess.Popen[bytes]:
    assert BINARIES
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1,127.0.0.2",
        "unix_socket_directories": "",
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": here / "server.pem",
        "ssl_key_file": here / "server.key",
    }
    command = [BINARIES / "postgres", "-D", here / "data"]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=here, **_identity())
    for _ in range(400):
        assert process.poll() is None, "postgres ended"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="owner", password=PASSWORD, dbname="postgres").close()
            return process
        time.sleep(0.025)
    raise AssertionError("postgres does not answer")
