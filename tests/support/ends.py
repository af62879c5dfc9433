"""The two real programs as processes, for tests that put them against each other: started, asked over REST, killed, started again."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.nursery import Child, clean_environment, shared_nursery

START_LIMIT = 20.0
"""Seconds a program may take until it answers; a loaded machine is slow."""


def wait_for(condition: Callable[[], Any], what: str, limit: float = 30.0) -> Any:
    """What condition gives once it is true. Fails the test, naming `what`, after `limit` seconds."""
    end = time.monotonic() + limit
    pause = 0.01
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(pause)  # the programs under test are other processes; there is nothing to be notified by
        pause = min(pause * 1.3, 0.1)  # who waits long need not ask often: asking costs both sides some milliseconds
    raise AssertionError(f"{what} did not happen within {limit:.0f} s")


class Program:
    """A `homeport` process with its own log file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | Child | None = None

    def run(self, *arguments: str, before: Sequence[str] = ()) -> None:
        """Starts `homeport ARGUMENTS`. before: a program that becomes it by exec, with its arguments (nsenter)."""
        if not before and shared_nursery().is_here():
            self.process = shared_nursery().start(*arguments, log=self.log)
            return
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "homeport", *arguments],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=clean_environment(),
            )

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, and wait until the kernel has taken everything back."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        """SIGTERM; the program must end by itself."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            finally:
                self.process.kill()
                self.process = None

    def said(self) -> str:
        """The last lines of its log, for messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""


class Acs(Program):
    """`homeport acs serve` on SQLite; it keeps its ports over a restart."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "acs.log")
        self.data = folder / "data"
        self.options = options
        self.cwmp = self.http = self.files = "127.0.0.1:0"
        self.cwmp_url = self.http_url = self.cwmp_tls = ""

    def start(self, limit: float = START_LIMIT) -> "Acs":
        """Starts it and waits until it answers. limit: seconds."""
        self.launch()
        try:
            wait_for(self._answers, "the ACS's start", limit)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.said()}") from None
        return self

    def launch(self) -> None:
        """Starts it and does not wait."""
        (self.data / "acs.json").unlink(missing_ok=True)
        self.run(
            *("acs", "serve", "--data-dir", str(self.data), "--cwmp-listen", self.cwmp),
            *("--http-listen", self.http, "--file-listen", self.files, *self.options),
        )

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the ACS ended: {self.said()}"
        try:
            where = json.loads((self.data / "acs.json").read_text())
        except (OSError, ValueError):
            return False
        self.cwmp_url, self.http_url = where["cwmp_url"], where["http_url"]
        self.cwmp = self.cwmp_url.split("//")[1].rstrip("/")
        self.http = self.http_url.split("//")[1].rstrip("/")
        self.cwmp_tls = where.get("cwmp_tls_url", "").removeprefix("https://").rstrip("/")
        self.files = where["file_url"].split("//")[1].rstrip("/")
        try:
            return bool(self.rest("GET", "health"))
        except OSError:
            return False

    def text(self, path: str) -> str:
        """What a path gives, from the root. Raises urllib's HTTPError."""
        token = (self.data / "admin.token").read_text().strip()
        request = urllib.request.Request(f"{self.http_url}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer of the REST API. Raises urllib's HTTPError."""
        token = (self.data / "admin.token").read_text().strip()
        request = urllib.request.Request(
            f"{self.http_url.rstrip('/')}/api/v1/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def device(self, id: str) -> Any:
        """The device, or None."""
        try:
            return self.rest("GET", f"devices/{quote(id, safe='')}")
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return None
            raise

    def task(self, device: str, rpc: str, args: dict[str, Any], **options: Any) -> str:
        """The id of a new task."""
        made = self.rest("POST", f"devices/{quote(device, safe='')}/tasks", {"rpc": rpc, "args": args, **options})
        return str(made["id"])

    def task_status(self, id: str) -> str:
        """Its status."""
        return str(self.rest("GET", f"tasks/{id}")["status"])

    def events(self, device: str) -> list[str]:
        """Event codes that the ACS has stored of a device, in any order."""
        items = self.rest("GET", f"devices/{quote(device, safe='')}/sessions?limit=500")["items"]
        return [event["event_code"] for session in items for event in session["events"]]


class Agent(Program):
    """`homeport cpe run` with the DKT profile, its state in its own folder."""

    def __init__(self, folder: Path, acs_url: str, serial: str, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "agent.log")
        self.state = folder / "state"
        self.acs_url = acs_url
        self.serial = serial
        self.options = options

    def start(self) -> "Agent":
        """Starts it; what it does is seen at the ACS."""
        self.run(
            *("cpe", "run", "--profile", "dkt-797xx", "--acs-url", self.acs_url, "--state-dir", str(self.state)),
            *("--serial", self.serial, "--connection-request-listen", "127.0.0.1", "--connection-request-port", "0"),
            *("--retry-minimum-wait", "1", "--retry-multiplier", "1000", *self.options),
        )
        return self
