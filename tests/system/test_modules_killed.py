"""kill -9 of the agent between ChangeDUState and DUStateChangeCompleteResponse: one result for each operation, whatever the moment."""

import json
import os
import random
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from homeport.cpe.control import ControlClient
from homeport.errors import TransportError
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import Killer, finished, known
from support.module_package import native_package
from support.tap import ACS, CPE, Tap

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("HOMEPORT_MODULE_KILLS", "2"))
"""Kills at random moments; 200 for a long run."""

POINTS = {
    "the response to ChangeDUState": (CPE, b":ChangeDUStateResponse"),
    "the Inform with 11 DU STATE CHANGE COMPLETE": (CPE, b">11 DU STATE CHANGE COMPLETE<"),
    "DUStateChangeComplete": (CPE, b":DUStateChangeComplete>"),
    "DUStateChangeCompleteResponse": (ACS, b":DUStateChangeCompleteResponse"),
}
OPTIONS = ("--profile", "module-host", "--web-port", "0", "--connection-request-limit", "100000")


class Line:
    """One device for all rounds, its ACS, the line between, and a file server."""

    def __init__(self, folder: Path, acs: Acs, tap: Tap, store: FileStore) -> None:
        self.acs, self.tap, self.store = acs, tap, store
        self.agent = Agent(folder / "agent", tap.url, f"KILLM{zlib.crc32(str(folder).encode()) % 1000:03}", *OPTIONS)
        self.agent.start()
        self.device = known(acs, self.agent.serial)
        wait_for(self.calm, "the first session's end")
        self.number = 0

    def begin(self) -> str:
        """The task of a request with three operations: one that is installed, one that is not there, one that is updated or removed."""
        self.number += 1
        self.store.files["/app"] = native_package("app", f"{self.number}", files={"ballast": "x" * 200_000})
        self.store.files["/other"] = native_package(f"other{self.number % 2}", "1", unit={"auto_start": True})
        operations: list[dict[str, str]] = [
            {"type": "Install", "url": self.store.url("/other")},
            {"type": "Install", "url": self.store.url("/nothing")},
            {"type": "Update", "url": self.store.url("/app")},
        ]
        if self.number == 1:
            operations[2]["type"] = "Install"
        args = {"operations": operations, "command_key": f"kill {self.number}"}
        return self.acs.task(self.device, "ChangeDUState", args, connection_request=True)

    def settle(self, task: str, started: int) -> None:
        """Start again where it was killed; the one report must be right, and nothing may be owed or lie about."""
        if self.agent.process is None:
            self.agent.start()
        try:
            finished(self.acs, [task])
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.told(task)}") from None
        results = self.acs.rest("GET", f"tasks/{task}")["result"]["results"]
        first = 0 if self.number <= 2 else 9026
        assert [r["fault"]["fault_code"] for r in results] == [first, 9016, 0], results
        assert results[2]["version"] == str(self.number)
        try:
            wait_for(self.calm, "that nothing is owed")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.told(task)}") from None
        reports = {
            re.search(rb"<Results>.*</CommandKey>", m.body, re.DOTALL)[0]  # type: ignore[index]
            for m in self.tap.soap()[started:]
            if m.sender == CPE and b":DUStateChangeComplete>" in m.body
        }
        assert len(reports) == 1 and f"<CommandKey>kill {self.number}<".encode() in reports.pop()
        units = ControlClient(self.agent.state).call("modules")["deployment_units"]
        expected = {"app"} | {f"other{n % 2}" for n in range(1, self.number + 1)}
        assert {u["name"] for u in units} == expected and {u["status"] for u in units} == {"Installed"}
        assert not list((self.agent.state / "packages").iterdir())

    def told(self, task: str) -> str:
        """What explains a task that does not end: how both ends see it, what the agent has on its disk, and the last lines of both logs."""
        process = self.agent.process
        lines = [
            f"agent: {'not started' if process is None else f'process {process.pid}, ended with {process.poll()}'}"
        ]
        try:
            control = ControlClient(self.agent.state)
            for verb in ("status", "modules"):
                lines.append(f"{verb}: {json.dumps(control.call(verb), default=str)}")
        except TransportError as e:
            lines.append(f"the agent does not answer: {e}")
        lines.append(f"task: {json.dumps(self.acs.rest('GET', f'tasks/{task}'))}")
        database = sqlite3.connect(f"file:{self.agent.state / 'state.db'}?mode=ro", uri=True)
        try:
            for bucket, key, value in database.execute("SELECT bucket, key, value FROM fact WHERE bucket <> 'model'"):
                if bucket in ("module", "owed", "event", "command"):
                    lines.append(f"disk: {bucket} {key} {msgspec.msgpack.decode(value)}")
        finally:
            database.close()
        logs = [*sorted(self.agent.state.glob("*.log")), self.agent.log, self.acs.log]
        for log in logs:
            lines += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-60:]]
        lines.append("--- the line")
        lines += [f"{m.sender} {m.body[:160]!r}" for m in self.tap.soap()[-20:]]
        return "\n".join(lines)

    def calm(self) -> bool:
        try:
            status = ControlClient(self.agent.state).call("status")
        except TransportError:
            return False  # it is starting
        # A unit's status that changed and changed back leaves its event, which goes with the next Inform whatever its cause.
        return bool(status["sessions_succeeded"]) and not set(status["pending_events"]) - {"4 VALUE CHANGE"}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("killed")
    acs = Acs(folder / "acs", "--cpe-auth", "open")
    try:
        acs.start()
        with FileStore() as store, Tap(acs.cwmp_url) as tap:
            made = Line(folder, acs, tap, store)
            yield made
            made.agent.kill()
    finally:
        acs.kill()


@pytest.mark.case("T19")
@pytest.mark.parametrize("point", ["the middle of a package", *POINTS])
def test_a_request_survives_a_killed_agent(line: Line, point: str) -> None:
    """The task ends once, reports are repeated word for word at most, and what is installed is whole."""
    started = len(line.tap.soap())
    killer = Killer(line.agent, *POINTS.get(point, ("", b"-")))
    line.tap.before = killer
    if point not in POINTS:
        line.store.pause = 0.1
        before = len(line.store.gets("/app"))
        task = line.begin()
        wait_for(lambda: len(line.store.gets("/app")) > before, point)
        line.agent.kill()
        line.store.pause = 0.0
    else:
        task = line.begin()
        wait_for(lambda: killer.done, point)
    wait_for(lambda: line.agent.process is None, "the agent's end")
    line.settle(task, started)


def test_a_request_survives_kills_at_any_moment(line: Line) -> None:
    """At random between the request and some time after the report; often more than once in one request."""
    dice = random.Random(11)
    line.tap.before = None
    for _ in range(ROUNDS):
        started = len(line.tap.soap())
        task = line.begin()
        for _ in range(dice.choice((1, 1, 2))):
            time.sleep(dice.random() * 0.8)  # a kill at any moment cannot wait for anything
            line.agent.kill()
            line.agent.start()
        line.settle(task, started)
