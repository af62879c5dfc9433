"""An ACS, or a man in the middle, that means harm: it runs nothing, reads nothing, learns no password and takes no memory."""

import asyncio
import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import SERVER, open_agent, setting, standard_profile, until
from homeport.codec.messages import (
    AddObject,
    DeleteObject,
    Download,
    FaultMessage,
    GetParameterAttributes,
    GetParameterNames,
    GetParameterValues,
    GetParameterValuesResponse,
    ParameterValueStruct,
    Reboot,
    Request,
    ScheduleInform,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    Upload,
)
from homeport.cpe.control import ControlClient
from homeport.terms import EventCode
from homeport.transport.loopback import LoopbackAcs
from system.transport_peers import Authority, answer, serving

pytestmark = pytest.mark.system

MEMORY = 80.0
"""MB that the agent may take at its worst moment, whatever an ACS does: twice what it may take in peace."""

SECRETS = ("acs-s3cret", "ring-s3cret", "stun-s3cret")

EVIL = (
    "$(touch owned)",
    "`touch owned`",
    "; touch owned #",
    "| touch owned",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "/etc/passwd\x09",
    "%s%n{0.__class__}",
    "' OR 1=1; DROP TABLE fact; --",
)

ENVELOPE = (
    b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:cwmp="urn:dslforum-org:cwmp-1-2">'
    b"<SOAP-ENV:Body>%s</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)
XXE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + ENVELOPE % (
    b"<cwmp:InformResponse><MaxEnvelopes>&x;</MaxEnvelopes></cwmp:InformResponse>"
)
LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + ENVELOPE % b"<b>&b;</b>"

_watched: list[tuple[str, str]] = []
_watching = False
_HARM = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "ctypes.dlopen",
)


def _audit(event: str, args: tuple[object, ...]) -> None:
    if _watching and (event == "open" or event in _HARM):
        _watched.append((event, str(args[0]) if args else ""))


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """What this process opens and starts meanwhile, as the interpreter itself tells."""
    global _watching
    _watched.clear()
    _watching = True
    try:
        yield _watched
    finally:
        _watching = False


def hostile_requests(names: list[str]) -> list[Request]:
    """Every request of the core with every evil text wherever a text can stand."""
    found: list[Request] = []
    for text in EVIL:
        found += [SetParameterValues((ParameterValueStruct(name, text, "string"),), text[:32]) for name in names]
        found += [
            GetParameterValues((text,)),
            GetParameterNames(text, False),
            GetParameterAttributes((text,)),
            SetParameterAttributes((SetParameterAttributesStruct(text, True, 1, True, (text,)),)),
            AddObject(f"Device.{text}.", text[:32]),
            AddObject(f"Device.XMPP.Connection.[{text}].", text[:32]),
            DeleteObject(f"Device.{text}.1.", text[:32]),
            ScheduleInform(3600, text[:32]),
            Download(command_key=text[:32], file_type="1 Firmware Upgrade Image", url="file:///etc/passwd"),
            Upload(command_key=text[:32], file_type="1 Vendor Configuration File", url="file:///etc/passwd"),
        ]
    return found


@pytest.mark.case("X09")
def test_no_request_runs_a_command_or_opens_a_file(tmp_path):
    """Shell text, paths and file URLs in every writable parameter and every argument: the interpreter reports no process, and no file
    outside the state directory."""
    profile = standard_profile("Device:2.9", "XMPP.", PeriodicInformEnable="false")

    async def story() -> None:
        async with HttpAcs() as acs, open_agent(tmp_path, acs.url, profile=profile) as agent:
            await acs.sessions(1)
            everything = [n for n in agent.model.names("Device.", False) if n.writable and not n.name.endswith(".")]
            names = [n.name for n in everything if agent.model.get(n.name)[0].type == "string"]
            assert len(names) > 10
            requests = hostile_requests(names)
            with watched() as seen:
                acs.requests.extend(requests)
                agent.trigger(EventCode.CONNECTION_REQUEST)
                await acs.until(lambda: len(acs.answers) >= len(requests) or agent.status.sessions_failed, limit=60)
                before = len(acs.informs)
                agent.trigger(EventCode.PERIODIC)
                await acs.until(lambda: len(acs.informs) > before)
                await until(lambda: agent.status.state == "waiting")
            assert len(acs.answers) == len(requests)
            harm = [s for s in seen if s[0] != "open"]
            assert harm == []
            allowed = (str(tmp_path), sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))
            # Names of hosts are looked up: the resolver's own files are no secret that anybody could read through us.
            opened = {path for _, path in seen if not path.startswith(allowed)} - {"/etc/hosts", "/etc/resolv.conf"}
            assert not [path for path in opened if not path.isdigit()], opened
            assert not Path("owned").exists() and not (tmp_path / "owned").exists()
            text = b"".join(p.body for p in acs.posts)
            assert b"root:" not in text

    asyncio.run(story())


@pytest.mark.case("S18")
def test_a_redirect_from_https_to_http_is_never_followed(tmp_path):
    """Neither for the Inform nor later in the session; the plain server hears nothing."""
    ca = Authority(tmp_path)
    profile = standard_profile("Device:2.9")

    async def story() -> None:
        async with serving(answer(200)) as plain:
            away = answer(307, b"", f"Location: {plain.url}")
            for script in ((away,), (lambda seen: answer(200, LoopbackAcs()(seen.body).body), away)):
                async with (
                    serving(*script, context=ca.server_context()) as acs,
                    open_agent(tmp_path / str(len(script)), acs.url, profile=profile, ca_file=ca.file) as agent,
                ):
                    await until(lambda: agent.status.sessions_failed)
                    assert agent.status.last_session.kind == "redirect"
                    assert "without TLS" in agent.status.reason
            assert plain.seen == []

    asyncio.run(story())


def test_the_password_is_not_shown_to_an_acs_that_wants_it_readably(tmp_path):
    """Basic over plain http: the session fails, nothing is sent; a redirect takes no credentials to another host."""
    profile = standard_profile("Device:2.9")
    basic = answer(401, b"", 'WWW-Authenticate: Basic realm="acs"')

    async def story() -> None:
        async with (
            serving(basic) as acs,
            open_agent(tmp_path, acs.url, profile=profile, username="joe", password=SECRETS[0]) as agent,
        ):
            await until(lambda: agent.status.sessions_failed)
            assert agent.status.last_session.kind == "auth"
            assert all("authorization" not in seen.headers for seen in acs.seen)

    asyncio.run(story())


@pytest.mark.case("X07")
@pytest.mark.case("R10")
def test_no_password_is_read_back_or_logged(tmp_path):
    """Set by the ACS and by flags, with the log at its loudest: not in an answer, a log, the status, or what the control socket says."""

    async def story() -> None:
        async with HttpAcs(credentials=("joe", SECRETS[0])) as acs:
            agent = AgentProcess(
                tmp_path, acs.url, "--username", "joe", "--password", SECRETS[0], "--log-level", "debug"
            )
            acs.requests.extend(
                [
                    setting(
                        ConnectionRequestPassword=(SECRETS[1], "string"),
                        ConnectionRequestUsername=("ring", "string"),
                    ),
                    GetParameterValues(("Device.",)),
                    GetParameterValues((SERVER + "Password", SERVER + "ConnectionRequestPassword")),
                    Reboot("k"),
                ]
            )
            await agent.start()
            await acs.sessions(2)
            everything, both = (a for _, a in acs.answers if isinstance(a, GetParameterValuesResponse))
            assert [v.value for v in both.parameter_list] == ["", ""]
            assert not any(s in v.value for v in everything.parameter_list for s in SECRETS)
            support = str(await asyncio.to_thread(ControlClient(tmp_path).call, "support"))
            rows = str(await asyncio.to_thread(ControlClient(tmp_path).call, "params"))
            assert await agent.stop() == 0
            assert "SetParameterValues" in agent.log, "the log is as loud as this test needs it"
            shown = support + rows + agent.log
            for path in tmp_path.iterdir():
                if path.is_file() and not path.name.startswith("state.db"):
                    shown += path.read_text(errors="replace")
            for secret in SECRETS:
                assert secret not in shown
            assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0

    asyncio.run(story())


def endless(head: bytes, piece: bytes):
    """An answer that goes on for 300 MB, or until the agent has had enough."""
    return (head, *[piece * (1_000_000 // len(piece))] * 300)


MALFORMED = {
    "endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
    "endless chunks": endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"a" * 1024 + b"\r\n"
    ),
    "endless head": endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 1000 + b"\r\n"),
    "10 GB announced": b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + b"a" * 100_000,
    "gzip bomb": answer(200, gzip.compress(b" " * 200_000_000), "Content-Encoding: gzip"),
    "100,000 elements": answer(200, ENVELOPE % (b"<a/>" * 200_000)),
    "deep": answer(200, ENVELOPE % (b"<a>" * 150_000)),
    "long names": answer(200, ENVELOPE % (b"<" + b"a" * 900_000 + b"/>")),
    "attributes": answer(200, ENVELOPE % (b"<a " + b" ".join(b'b%d="1"' % n for n in range(50_000)) + b"/>")),
    "entities": answer(200, LAUGHS),
    "external entity": answer(200, XXE),
    "no XML": answer(200, b"\x00\xff" * 1000),
    "another envelope": answer(200, ENVELOPE % b"<cwmp:Reboot><CommandKey/></cwmp:Reboot>"),
}


@pytest.mark.case("X09")
@pytest.mark.case("X10")
@pytest.mark.case("S31")
def test_malformed_answers_end_the_session_with_a_sentence_and_take_no_memory(tmp_path):
    """Each is logged with what was wrong and counted for the retry table; the process stays small and answers people all the while."""

    async def story() -> None:
        async with serving(*MALFORMED.values()) as acs:
            quiet = ("--retry-minimum-wait", "600", "--no-periodic-inform-enable")
            agent = AgentProcess(tmp_path, acs.url, *quiet, forked=False)
            await agent.start()
            client = ControlClient(tmp_path)
            reasons = []
            for number, name in enumerate(MALFORMED, 1):
                async with asyncio.timeout(30):
                    while True:
                        status = load_quietly(client)
                        if status.get("sessions_failed") == number and status["state"] == "waiting":
                            break
                        assert status.get("sessions_failed", 0) <= number, name
                        await asyncio.sleep(0.02)
                assert status["retry_count"] == number
                assert status["next_contact_reason"].startswith(f"retry {number} ")
                assert len(status["reason"]) > 20
                reasons.append(status["reason"])
                peak = memory(agent.pid)
                assert peak < MEMORY, f"{name}: {peak:.0f} MB"
                client.call("inform")
            assert all(f"failed: {reason}" in agent.log for reason in reasons)
            assert "Traceback" not in agent.log
            assert "root:" not in agent.log
            assert await agent.stop() == 0

    asyncio.run(story())


def load_quietly(client: ControlClient) -> dict:
    """The status, {} while the agent does not listen yet."""
    from homeport.errors import TransportError

    try:
        return client.call("status")
    except TransportError:
        return {}


def memory(pid: int) -> float:
    """MB that a process took at its worst moment."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    pytest.skip("no VmHWM: this needs Linux")


def test_wellformed_requests_cannot_take_memory_either(tmp_path):
    """The root named thousands of times, long values, more reboots and scheduled contacts than can be reported, strange names without
    end: answered, 9004 where it is too much, and the agent stays small."""
    port = "Device.Bridging.Bridge.1.Port.1."

    async def story() -> None:
        async with HttpAcs() as acs:
            agent = AgentProcess(tmp_path, acs.url, forked=False)
            acs.requests.extend([GetParameterValues(("Device.",) * 10_000), GetParameterAttributes(("",) * 10_000)])
            acs.requests.extend(
                GetParameterValues(tuple(f"{port}{'x' * 100}{n}" for n in range(5_000))) for _ in range(5)
            )
            acs.requests.extend(
                SetParameterValues((ParameterValueStruct(SERVER + name, "x" * 100_000, "string"),), "")
                for name in ("URL", "Username", "Password", "ConnectionRequestUsername", "ConnectionRequestPassword")
                for _ in range(10)
            )
            acs.requests.extend(ScheduleInform(3600, f"s{n}") for n in range(100))
            acs.requests.extend(Reboot(f"r{n}") for n in range(100))
            wanted = len(acs.requests)
            await agent.start()
            await acs.until(lambda: len(acs.answers) == wanted, limit=60)
            peak = memory(agent.pid)
            assert peak < MEMORY, f"{peak:.0f} MB"
            codes = [a.fault_code for _, a in acs.answers if isinstance(a, FaultMessage)]
            assert codes[:7] == [9004, 9004, 9005, 9005, 9005, 9005, 9005]
            assert codes.count(9004) == 2 + (100 - 32) * 2
            await acs.sessions(2)
            assert sum(e.event_code == "M Reboot" for e in acs.informs[-1].event) == 32
            assert await agent.stop() == 0

    asyncio.run(story())
