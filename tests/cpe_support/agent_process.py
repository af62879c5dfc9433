"""A real agent process for system tests: `homeport cpe run` in a directory of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from support.nursery import Child, clean_environment, shared_nursery

CREDENTIALS = ("acs", "ring")
"""What a connection request to the agent must give."""


class AgentProcess:
    """Starts, kills and ends one agent; everything it prints goes to `agent.log` in its directory."""

    def __init__(
        self, directory: Path, acs_url: str = "", *flags: str, before: Sequence[str] = (), forked: bool = True
    ) -> None:
        """before: a program that runs the agent, with its arguments (nsenter, setpriv); it must become the agent by exec.

        forked: False for an interpreter of its own, with no memory but what the agent takes.
        """
        self.directory = directory
        self._before = before
        self._forked = forked and not before
        self._flags = [
            *("--state-dir", str(directory)),
            *("--connection-request-listen", "127.0.0.1"),
            *("--connection-request-port", "0"),
            *("--connection-request-username", CREDENTIALS[0]),
            *("--connection-request-password", CREDENTIALS[1]),
            *(("--acs-url", acs_url) if acs_url else ()),
            *flags,
        ]
        self._process: asyncio.subprocess.Process | Child | None = None

    async def start(self) -> None:
        """Switch on."""
        directory = self.directory
        directory.mkdir(parents=True, exist_ok=True)
        if self._forked and shared_nursery().is_here():
            self._process = shared_nursery().start("cpe", "run", *self._flags, log=directory / "agent.log")
            return
        with (directory / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._before,
                *(sys.executable, "-m", "homeport", "cpe", "run", *self._flags),
                stdout=log,
                stderr=log,
                env=clean_environment(),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9: no finally, no atexit, nothing."""
        os.kill(self.pid, signal.SIGKILL)

    async def gone(self) -> int:
        """Wait for the end; the exit status."""
        assert self._process is not None
        return await (self._process.gone() if isinstance(self._process, Child) else self._process.wait())

    async def stop(self) -> int:
        """Ask it to end, as a service manager does; the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self.gone()

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return (self.directory / "agent.log").read_text(encoding="utf-8", errors="replace")
