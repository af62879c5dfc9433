"""The agent against the ACS, both real processes: what goes over the line is valid, and kill -9 of either loses nothing."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from support.ends import Acs, Agent, Program, wait_for
from support.tap import CPE, Passed, Tap
from support.xsd import validator

pytestmark = pytest.mark.system

KEY = "Device.ManagementServer.PeriodicInformInterval"


@pytest.fixture
def acs(tmp_path: Path) -> Iterator[Acs]:
    """An ACS that admits everybody."""
    server = Acs(tmp_path / "acs", "--cpe-auth", "open")
    try:
        yield server.start()
    finally:
        server.kill()


def known(acs: Acs, serial: str) -> str:
    """The id of the device with this serial number, once the ACS knows it."""

    def find() -> str | None:
        items = acs.rest("GET", "devices?limit=500")["items"]
        return next((d["id"] for d in items if d["serial_number"] == serial), None)

    return str(wait_for(find, f"the first Inform of {serial}"))


def set_interval(acs: Acs, device: str, seconds: int) -> str:
    """A queued SetParameterValues."""
    return acs.task(device, "SetParameterValues", {"parameter_list": [{"name": KEY, "value": str(seconds)}]})


def finished(acs: Acs, tasks: list[str]) -> list[str]:
    """The statuses of the tasks once none of them is on its way."""
    wait_for(
        lambda: all(acs.task_status(t) in {"done", "failed", "expired", "cancelled"} for t in tasks),
        "the end of the tasks",
        60,
    )
    return [acs.task_status(t) for t in tasks]


def test_everything_that_either_side_sends_is_valid_against_the_schemas(acs: Acs, tmp_path: Path) -> None:
    """Bootstrap, discovery, every RPC of the data model, a fault and a reboot: each envelope fits cwmp-1-0.xsd to cwmp-1-4.xsd."""
    validate = validator()
    with Tap(acs.cwmp_url) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "XSD0001").start()
        try:
            device = known(acs, "XSD0001")
            tasks = [
                acs.task(device, "GetRPCMethods", {}),
                acs.task(device, "GetParameterNames", {"parameter_path": "Device.", "next_level": False}),
                acs.task(device, "GetParameterValues", {"parameter_names": ["Device."]}),
                set_interval(acs, device, 700),
                acs.task(device, "GetParameterAttributes", {"parameter_names": ["Device.DeviceInfo."]}),
                acs.task(device, "GetParameterValues", {"parameter_names": ["Device.NoSuchThing"]}),
                acs.task(device, "AddObject", {"object_name": "Device.NoSuchTable."}),
                acs.task(device, "Reboot", {"command_key": "xsd"}, connection_request=True),
            ]
            assert finished(acs, tasks) == ["done"] * 5 + ["failed"] * 2 + ["done"]
        finally:
            agent.kill()
    findings = {m.body: validate(m.body) for m in tap.soap()}
    assert [f for f in findings.values() if f] == []
    sent = {(m.sender, name) for m in tap.soap() for name in re.findall(rb"Body><(?:cwmp|SOAP-ENV):(\w+)", m.body)}
    assert {name for sender, name in sent if sender == CPE} >= {b"Inform", b"Fault", b"GetParameterNamesResponse"}


def test_the_line_carries_the_plain_form_that_old_clients_read(acs: Acs, tmp_path: Path) -> None:
    """Rows 1, 2, 19, 20, 21 and 22 of the field's habits: no prolog, SOAP-ENV, Content-Length, keep-alive, one cookie, 204."""
    with Tap(acs.cwmp_url) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "PLAIN01").start()
        try:
            device = known(acs, "PLAIN01")
            finished(acs, [acs.task(device, "GetRPCMethods", {}, connection_request=True)])
            wait_for(lambda: any(m.first_line.startswith("HTTP/1.1 204") for m in tap.passed), "the end with 204")
        finally:
            agent.kill()
    answers = [m for m in tap.passed if m.sender != CPE]
    bodies = [m.body for m in answers if m.body]
    assert all(b.startswith(b"<SOAP-ENV:Envelope") for b in bodies)
    assert all(b"content-length:" in m.head.lower() for m in answers if m.body)
    assert not any(b"connection: close" in m.head.lower() or b"chunked" in m.head.lower() for m in answers)
    cookies = [line for m in answers for line in m.head.split(b"\r\n") if line.lower().startswith(b"set-cookie:")]
    assert cookies and all(re.fullmatch(rb"(?i)set-cookie: \w+=[\w-]{1,40}; Path=/", c) for c in cookies)


def script(acs: Acs, device: str, number: int) -> list[str]:
    """The tasks of one kill round: a write and a reboot."""
    return [
        set_interval(acs, device, 600 + number),
        acs.task(device, "Reboot", {"command_key": f"kill-{number}"}, connection_request=True),
    ]


class KillAt:
    """Kills a program when the message with a given number is about to pass, once."""

    def __init__(self) -> None:
        self.number = -1
        self.victim: Program | None = None
        self.victim_is = CPE
        self.done: Passed | None = None

    def arm(self, number: int, victim: Program, victim_is: str) -> None:
        """From now on: kill `victim` at message `number` or the first one after it."""
        self.done, self.victim, self.victim_is, self.number = None, victim, victim_is, number

    def __call__(self, at: int, message: Passed) -> bool:
        """What the victim sent still arrives; what it should get is lost with it."""
        if self.number < 0 or at < self.number or self.victim is None:
            return True
        self.number = -1
        self.victim.kill()
        self.done = message
        return message.sender == self.victim_is


def agent_killed_at(number: int, acs: Acs, folder: Path) -> bool:
    """One round: bootstrap, a write and a reboot, with kill -9 at message `number`. False when the round has fewer messages."""
    serial = f"AGENT{number:03}"
    killer = KillAt()
    with Tap(acs.cwmp_url, before=killer) as tap:
        agent = Agent(folder / serial, tap.url, serial)
        killer.arm(number, agent, CPE)
        agent.start()
        try:
            tasks: list[str] = []
            if number > 0:
                tasks = script(acs, known(acs, serial), number)
                wait_for(
                    lambda: killer.done or all(acs.task_status(t) == "done" for t in tasks), "the kill or the end", 60
                )
            else:
                wait_for(lambda: killer.done, "the first message")
            if killer.done:
                agent.start()
            device = known(acs, serial)
            assert set(finished(acs, tasks)) <= {"done"}, f"killed at {number}: {killer.done}\n{agent.said()}"
            accepted = any(b"RebootResponse" in m.body for m in tap.passed)
            counts = event_counts(acs, device, int(accepted))
            assert counts["0 BOOTSTRAP"] >= 1, f"killed at {number}: {killer.done}"
        finally:
            agent.kill()
    return killer.done is not None


def test_kill_9_of_the_agent_between_any_two_messages_loses_no_event_and_no_task(acs: Acs, tmp_path: Path) -> None:
    """At each message of bootstrap, write and reboot the agent is killed and started again: everything still comes to its end."""
    survived = next(n for n in itertools.count() if not agent_killed_at(n, acs, tmp_path))
    assert survived >= 12


def event_counts(acs: Acs, device: str, reboots: int) -> Counter[str]:
    """How often the ACS has stored each event of the device, once as many M Reboot have come as there were Reboots accepted."""

    def count() -> Counter[str]:
        items = acs.rest("GET", f"devices/{device}/events?limit=500")["items"]
        return Counter(item["code"] for item in items)

    wait_for(lambda: count()["M Reboot"] >= reboots, f"the report of {reboots} reboots")
    return count()


def test_kill_9_of_the_acs_between_any_two_messages_loses_no_event_and_no_task(acs: Acs, tmp_path: Path) -> None:
    """At each message of a session with tasks the ACS is killed and started again: acknowledged tasks and events are all there."""
    killer = KillAt()
    with Tap(acs.cwmp_url, before=killer) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "ACSKILL1").start()
        try:
            device = known(acs, "ACSKILL1")
            for step in range(10):
                tasks = [
                    set_interval(acs, device, 600 + step),
                    acs.task(device, "Reboot", {"command_key": f"kill-{step}"}),
                ]
                killer.arm(len(tap.passed) + step, acs, "acs")
                with suppress(OSError, HTTPException):  # the kill may come before the answer to this request
                    acs.task(device, "GetRPCMethods", {}, connection_request=True)
                wait_for(lambda: killer.done, f"the kill at step {step}", 60)
                acs.start()
                assert finished(acs, tasks) == ["done", "done"], (
                    f"killed at {killer.done}\n{acs.said()}\n{agent.said()}"
                )
            counts = event_counts(acs, device, 10)
        finally:
            agent.kill()
    assert counts["0 BOOTSTRAP"] == 1
    assert counts["M Reboot"] == 10
