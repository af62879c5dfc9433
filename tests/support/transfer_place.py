"""A device with an ACS, the line between them and a file server, for tests of transfers by the real programs."""

import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

from homeport.cli.main import run
from homeport.cpe.control import ControlClient
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import finished, known
from support.tap import CPE, Tap


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Place:
    """A device, its ACS, the line between them and a file server."""

    def __init__(
        self, acs: Acs, folder: Path, *options: str, serial: str = "HERE0001", agent: type[Agent] = Agent
    ) -> None:
        self.acs, self.folder = acs, folder
        self.store, self.tap = FileStore(), Tap(acs.cwmp_url)
        self.store.__enter__()
        self.tap.__enter__()
        self.agent = agent(folder / "agent", self.tap.url, serial, *options).start()
        self.id = known(acs, serial)
        self.ask = ControlClient(self.agent.state).call
        wait_for(lambda: self.ask("status")["sessions_succeeded"], "the first session's end")

    def end(self) -> None:
        self.agent.kill()
        self.tap.__exit__(None, None, None)
        self.store.__exit__(None, None, None)

    def cli(self, *words: str) -> Said:
        """`homeport cpe WORDS` at this device; in this process, which saves the start of another one."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(["cpe", *words, "--state-dir", str(self.agent.state)])
        return Said(status, out.getvalue(), err.getvalue())

    def task(self, rpc: str, **args: Any) -> str:
        return self.acs.task(self.id, rpc, args, connection_request=True)

    def code(self, rpc: str, **args: Any) -> int:
        """The fault of a task, 0 where it was done."""
        task = self.task(rpc, **args)
        finished(self.acs, [task])
        fault = self.acs.rest("GET", f"tasks/{task}")["fault"]
        return int(fault["code"]) if fault else 0

    def sent(self, element: str) -> list[str]:
        tag = f":{element}>".encode()
        return [m.body.decode() for m in self.tap.soap() if m.sender == CPE and tag in m.body]
