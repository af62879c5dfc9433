"""A private PostgreSQL server for tests: in a temporary directory, on a Unix socket, as an ordinary user, gone at the end.

PostgreSQL refuses to run as root, so root hands its processes to `nobody`.
"""

import atexit
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.ends import wait_for

USER = "homeport"

_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",  # the machine does not lose its power in a test; that commits are waited for is PostgreSQL's own part
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
    "max_wal_size": "256MB",
}


def binaries() -> Path | None:
    """The directory with initdb and postgres, of the newest version; None where there is none."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    return next((p for p in candidates if (p / "initdb").exists() and (p / "postgres").exists()), None)


needs_postgres = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL server here (initdb and postgres): apt-get install postgresql"
)


EMPTY = "WITH " + ", ".join(
    f"{table}_gone AS (DELETE FROM {table})"
    for table in ("credential", "token", "file", "document", "secret", "node", "device")
)
EMPTY += " DELETE FROM path_list WHERE NOT EXISTS (SELECT 1 FROM device)"
"""Empties a database faster than a new one is made; path lists in use stay until the next time."""


class Server:
    """One server; it may be stopped, killed and started again."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None
        self._binaries = found
        self._as: list[str] = []
        self.directory = Path(tempfile.mkdtemp(prefix="hp-pg-", dir="/tmp"))  # a socket's path must be short
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            self._as = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--"]
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.environ["PATH"]}
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in _OPTIONS.items()]
        command = [
            *self._as,
            str(self._binaries / "postgres"),
            "-D",
            str(self._data),
            "-k",
            str(self.directory),
            *options,
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        wait_for(self._answers, "the start of PostgreSQL")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            return "ready" in (self._data / "postmaster.pid").read_text().splitlines()[7]
        except (OSError, IndexError):
            return False

    def stop(self, *, hard: bool = False) -> None:
        """End it: all connections break. hard: without a checkpoint, as if the machine had stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if hard else signal.SIGINT)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        """End it and remove its files."""
        self.stop(hard=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://{USER}@/{database}?host={self.directory}"

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        import asyncio

        import asyncpg

        name = f"test{next(self._names)}"

        async def create() -> None:
            connection = await asyncpg.connect(self.url("template1"))
            try:
                await connection.execute(f"CREATE DATABASE {name}")
            finally:
                await connection.close()

        asyncio.run(create())
        return self.url(name)


@functools.cache
def shared_server() -> Server:
    """The server that all tests of this process share; started when first asked for."""
    server = Server()
    atexit.register(server.remove)
    return server.start()
