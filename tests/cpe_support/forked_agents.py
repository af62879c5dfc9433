"""Whole agents, with sockets and parts, that start in milliseconds: one process has imported everything and forks one per start.

Run as a program with the path of a Unix socket it is that process; a test uses `Starter`.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cpe_support.killed_agent import Pipe
from homeport.cpe.agent import Agent
from homeport.cpe.config import CpeSettings
from homeport.cpe.loop import Exit


class Forked:
    """One life of an agent."""

    def __init__(self, pipe: Pipe, pid: int) -> None:
        self._pipe, self.pid = pipe, pid

    def kill(self) -> None:
        """kill -9, and wait until the kernel has taken everything back."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        self._pipe.socket.settimeout(30)
        try:
            self._pipe.receive()
        except EOFError:
            pass  # its end of the pipe closes with it
        self._pipe.socket.close()


class Starter:
    """Starts agents."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "agents")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        here = Path(__file__)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(here.parents[1]), os.environ.get("PYTHONPATH"))))
        with Path(self._path + ".log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(here), self._path], stdout=subprocess.PIPE, stderr=log, env=environment
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", Path(self._path + ".log").read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def start(self, **settings: Any) -> Forked:
        """A new agent with these settings; its restarts are new agents in the same process."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        pipe = Pipe(connection)
        _, pid = pipe.receive()
        pipe.send(settings)
        return Forked(pipe, pid)


async def _live(settings: CpeSettings) -> None:
    while await Agent(settings).run() is Exit.RESTART:
        pass


def _main(path: str) -> None:
    import homeport.cpe.firmware
    import homeport.cpe.transfers.handed_on
    import homeport.cpe.transfers.service
    import homeport.cpe.transfers.vendor_files
    import homeport.transport.acs_client
    import homeport.transport.files.http  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for an agent
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                try:
                    pipe = Pipe(connection)
                    pipe.send("pid", os.getpid())
                    asyncio.run(_live(CpeSettings(**pipe.receive()[0])))
                finally:
                    sys.stderr.flush()
                    os._exit(0)
            connection.close()


if __name__ == "__main__":
    _main(sys.argv[1])
