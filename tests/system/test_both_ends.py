"""The agent against the ACS, both real processes: what goes over the line is valid and plain."""

import re
from pathlib import Path

import pytest

from support.ends import Acs, Agent, wait_for
from support.kills import finished, known, set_interval
from support.tap import CPE, Tap
from support.xsd import validator

pytestmark = pytest.mark.system


def test_everything_that_either_side_sends_is_valid_against_the_schemas(open_acs: Acs, tmp_path: Path) -> None:
    """Bootstrap, discovery, every RPC of the data model, a fault and a reboot: each envelope fits cwmp-1-0.xsd to cwmp-1-4.xsd."""
    acs = open_acs
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


def test_the_line_carries_the_plain_form_that_old_clients_read(open_acs: Acs, tmp_path: Path) -> None:
    """Rows 1, 2, 19, 20, 21 and 22 of the field's habits: no prolog, SOAP-ENV, Content-Length, keep-alive, one cookie, 204."""
    acs = open_acs
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
