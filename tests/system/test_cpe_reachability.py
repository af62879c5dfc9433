"""Other ways to reach the agent, and to hear from it: UDP with STUN, lightweight notifications, a network list, compression."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cpe_support.bench_profile import bench_profile
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import open_agent, verdicts
from homeport.codec.messages import (
    ParameterValueStruct,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
)
from homeport.cpe.agent import Agent
from homeport.cpe.config import CpeSettings
from homeport.cpe.reachability import address_towards
from homeport.terms import EventCode, Writer
from homeport.transport import stun
from homeport.transport.addresses import Address, parse_address
from homeport.transport.connection_request import request_connection
from homeport.transport.lightweight import LightweightCredentials, LightweightReceiver
from homeport.transport.stun import StunEndpoint, new_connection_request
from homeport.transport.udp_sockets import UdpSocket

pytestmark = pytest.mark.system

SERVER = "Device.ManagementServer."
Play = Callable[[HttpAcs, Agent], Awaitable[None]]


def scene(directory: Path, play: Play, **settings: object) -> None:
    """play(acs, agent) with an agent in this process that has all its doors open."""

    async def run() -> None:
        async with HttpAcs() as acs:
            agent = Agent(
                CpeSettings(
                    state_dir=directory,
                    acs_url=acs.url,
                    password="to-acs",
                    connection_request_listen="127.0.0.1",
                    connection_request_port=0,
                    udp_connection_request_port=0,
                    connection_request_username="ring",
                    connection_request_password="bell",
                    **settings,  # type: ignore[arg-type]
                ),
                profile=bench_profile(reachable=True),
            )
            task = asyncio.ensure_future(agent.run())
            try:
                await acs.sessions(1)
                await play(acs, agent)
            finally:
                agent.stop()
                await task

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in the background."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def value(agent: Agent, name: str) -> str:
    return agent.model.value(SERVER + name)


async def set_by_acs(acs: HttpAcs, agent: Agent, **values: tuple[str, str]) -> None:
    """Set ManagementServer parameters through a session."""
    items = tuple(ParameterValueStruct(SERVER + name, text, kind) for name, (text, kind) in values.items())
    done = len(acs.answers)
    acs.requests.append(SetParameterValues(items, ""))
    agent.trigger(EventCode.CONNECTION_REQUEST)
    await acs.until(lambda: len(acs.answers) > done)
    assert not hasattr(acs.answers[-1][1], "fault_code"), acs.answers[-1][1]


@pytest.mark.case("C12")
@pytest.mark.case("C13")
def test_a_signed_udp_request_opens_one_session_and_others_are_ignored(tmp_path):
    """Three copies, one session; a wrong signature, an old timestamp or another user name: silence."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        await until(lambda: value(agent, "UDPConnectionRequestAddress") != "")
        to = parse_address(value(agent, "UDPConnectionRequestAddress"))
        assert value(agent, "NATDetected") == "false"
        socket = UdpSocket(lambda datagram, source: None)
        await socket.open("127.0.0.1", 0)

        def send(password: str = "bell", username: str = "ring", timestamp: int = 1000) -> bytes:
            datagram = new_connection_request(to, username=username, password=password, timestamp=timestamp)
            socket.send(datagram, to)
            return datagram

        send(password="wrong")
        send(username="other")
        good = send()
        socket.send(good, to)
        socket.send(good, to)
        send(timestamp=999)
        await acs.sessions(2)
        await until(lambda: verdicts(agent).total() == 6)
        socket.close()
        assert agent.status.connection_requests_accepted == 1
        assert [acs.events(n) for n in range(len(acs.informs))] == [["0 BOOTSTRAP", "1 BOOT"], ["6 CONNECTION REQUEST"]]

    scene(tmp_path, play)


@pytest.mark.case("C14")
def test_stun_tells_the_server_where_the_agent_is(tmp_path):
    """Binding requests from the UDP port, with the connection-request mark; the address comes into the model."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        reports = []

        async def no_password(username: str) -> str | None:
            return None

        endpoint = StunEndpoint(host="127.0.0.1", port=0, password_of=no_password, on_binding=reports.append)
        bound = await endpoint.start()
        try:
            await set_by_acs(
                acs,
                agent,
                STUNServerAddress=("127.0.0.1", "string"),
                STUNServerPort=(str(bound.port), "unsignedInt"),
                STUNMinimumKeepAlivePeriod=("20", "unsignedInt"),
                STUNMaximumKeepAlivePeriod=("20", "int"),
                STUNEnable=("1", "boolean"),
            )
            await until(lambda: bool(reports))
            await until(lambda: value(agent, "UDPConnectionRequestAddress").startswith("127.0.0.1:"))
            assert str(reports[0].address) == value(agent, "UDPConnectionRequestAddress")
            assert value(agent, "NATDetected") == "false"
            endpoint.request_connection(
                parse_address(value(agent, "UDPConnectionRequestAddress")), username="ring", password="bell"
            )
            await acs.until(
                lambda: sum(acs.events(n) == ["6 CONNECTION REQUEST"] for n in range(len(acs.informs))) >= 2
            )
        finally:
            await endpoint.stop()

    scene(tmp_path, play)


@pytest.mark.case("C12")
def test_an_agent_that_comes_up_before_its_network_tells_its_address_later(tmp_path, monkeypatch):
    """Without a way out there is no address to tell; each session looks again, and another address is told too."""
    here = [Address("0.0.0.0", 0)]
    monkeypatch.setattr(stun, "local_address_towards", lambda bound, peer: Address(here[0].host, bound.port))

    async def play(acs: HttpAcs, agent: Agent) -> None:
        assert value(agent, "UDPConnectionRequestAddress") == ""
        for number, host in enumerate(("192.0.2.7", "192.0.2.8"), 2):
            here[0] = Address(host, 0)
            agent.trigger(EventCode.PERIODIC)
            await acs.sessions(number)
            assert value(agent, "UDPConnectionRequestAddress").startswith(f"{host}:")

    scene(tmp_path, play)


def test_an_agent_whose_udp_port_is_taken_tells_no_address(tmp_path, caplog):
    """The sessions go on, and what is told is no lie."""

    async def taken() -> None:
        other = UdpSocket(lambda datagram, source: None)
        bound = await other.open("127.0.0.1", 0)
        async with HttpAcs() as acs:
            options = {"udp_connection_request_port": bound.port, "profile": bench_profile(reachable=True)}
            async with open_agent(tmp_path, acs.url, **options) as agent:
                await acs.sessions(1)
                agent.trigger(EventCode.PERIODIC)
                await acs.sessions(2)
                assert value(agent, "UDPConnectionRequestAddress") == ""
        other.close()

    asyncio.run(taken())
    assert "connection requests over UDP does not work" in caplog.text


def test_a_lightweight_notification_that_could_not_be_sent_goes_with_the_next_one(tmp_path, caplog):
    """The ACS's name has no address for a while: nothing is forgotten."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        got = []

        async def credentials(notification) -> LightweightCredentials | None:
            return LightweightCredentials(agent.management.username, "to-acs", None)

        async def deliver(notification) -> None:
            got.append({p.name: p.value for p in notification.parameters})

        receiver = LightweightReceiver(credentials=credentials, deliver=deliver, host="127.0.0.1", port=0)
        bound = await receiver.start()
        try:
            acs.requests.append(SetParameterAttributes((SetParameterAttributesStruct("Device.WiFi.SSID", True, 5),)))
            await set_by_acs(
                acs,
                agent,
                UDPLightweightNotificationHost=("no-such-host.invalid", "string"),
                UDPLightweightNotificationPort=(str(bound.port), "unsignedInt"),
                LightweightNotificationProtocolsUsed=("UDP", "string"),
            )
            await until(lambda: len(acs.answers) == 2)
            agent.model.set_local("Device.WiFi.SSID", "first", Writer.LOCAL)
            await until(lambda: "not sent" in caplog.text)
            await set_by_acs(acs, agent, UDPLightweightNotificationHost=("127.0.0.1", "string"))
            agent.model.set_local(SERVER + "PeriodicInformInterval", "4000", Writer.LOCAL)
            await until(lambda: bool(got))
            assert got == [{"Device.WiFi.SSID": "first"}]
        finally:
            await receiver.stop()

    scene(tmp_path, play)


@pytest.mark.case("N12")
@pytest.mark.case("N13")
def test_lightweight_notifications_go_out_by_udp_where_they_are_used(tmp_path):
    """Notification 5: a signed datagram and no session; without UDP among the protocols: nothing."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        got = []

        async def credentials(notification) -> LightweightCredentials | None:
            return LightweightCredentials(agent.management.username, "to-acs", None)

        async def deliver(notification) -> None:
            got.append({p.name: p.value for p in notification.parameters})

        receiver = LightweightReceiver(credentials=credentials, deliver=deliver, host="127.0.0.1", port=0)
        bound = await receiver.start()
        try:
            await set_by_acs(acs, agent, UDPLightweightNotificationPort=(str(bound.port), "unsignedInt"))
            acs.requests.append(SetParameterAttributes((SetParameterAttributesStruct("Device.WiFi.SSID", True, 5),)))
            agent.trigger(EventCode.CONNECTION_REQUEST)
            await acs.until(lambda: len(acs.answers) == 2)
            agent.model.set_local("Device.WiFi.SSID", "unheard", Writer.LOCAL)
            await set_by_acs(acs, agent, LightweightNotificationProtocolsUsed=("UDP", "string"))
            agent.model.set_local("Device.WiFi.SSID", "heard", Writer.LOCAL)
            await until(lambda: bool(got))
            assert got == [{"Device.WiFi.SSID": "heard"}]
            await until(lambda: not agent.model.pending_changes())
            assert not any("4 VALUE CHANGE" in acs.events(n) for n in range(len(acs.informs)))
        finally:
            await receiver.stop()

    scene(tmp_path, play)


def test_connection_requests_from_other_networks_are_not_heard(tmp_path):
    """A list of the ACS's networks."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        answer = await request_connection(value(agent, "ConnectionRequestURL"), [("ring", "bell")], timeout=2.0)
        assert not answer.ok
        assert agent.status.connection_requests_accepted == 0

    scene(tmp_path, play, connection_request_networks=("192.0.2.0/24",))


@pytest.mark.case("C10")
def test_http_connection_request_enable_false_closes_the_port(tmp_path):
    """The URL becomes empty, nobody listens; true opens it again."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        url = value(agent, "ConnectionRequestURL")
        await set_by_acs(acs, agent, HTTPConnectionRequestEnable=("0", "boolean"))
        await until(lambda: value(agent, "ConnectionRequestURL") == "")
        assert not (await request_connection(url, [("ring", "bell")], timeout=2.0)).ok
        await set_by_acs(acs, agent, HTTPConnectionRequestEnable=("1", "boolean"))
        await until(lambda: value(agent, "ConnectionRequestURL") == url)
        assert (await request_connection(url, [("ring", "bell")])).ok

    scene(tmp_path, play)


@pytest.mark.case("S37")
def test_http_compression_gzip_is_used_for_what_the_agent_sends(tmp_path):
    """Content-Encoding: gzip on POSTs with a body."""

    async def play(acs: HttpAcs, agent: Agent) -> None:
        await set_by_acs(acs, agent, HTTPCompression=("GZIP", "string"))
        before = len(acs.posts)
        agent.trigger(EventCode.PERIODIC)
        await acs.until(lambda: len(acs.posts) > before)
        post = acs.posts[before]
        assert post.headers["content-encoding"] == "gzip"
        assert b"2 PERIODIC" in gzip.decompress(post.body)

    scene(tmp_path, play)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:7547/", "127.0.0.1"),
        ("http://localhost:7547/", "127.0.0.1"),
        ("http://no-such-host.invalid/", ""),
        ("http:///", ""),
        ("http://[bad/", ""),
        ("", ""),
    ],
)
def test_the_own_address_on_the_way_to_an_acs_is_found_without_sending_anything(url, own):
    """For ConnectionRequestURL; a name that cannot be looked up gives none."""
    found = asyncio.run(address_towards(url))
    assert found == own or (own and found == "::1")
