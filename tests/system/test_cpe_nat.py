"""The whole agent behind a real NAT: it finds its outside address by STUN, tells the ACS, and is reached there; also with coturn."""

import asyncio

import pytest

from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import RING, SERVER, open_agent, setting, standard_profile, until, verdicts
from homeport.codec.messages import SetParameterAttributes, SetParameterAttributesStruct
from homeport.cpe.agent import Agent
from homeport.transport.addresses import parse_address
from homeport.transport.connection_request import request_connection
from homeport.transport.stun import StunEndpoint, new_connection_request
from homeport.transport.stun_server import BindingReport
from homeport.transport.udp_connection_request import Verdict
from homeport.transport.udp_sockets import UdpSocket
from system import test_stun_coturn, test_stun_nat
from system.test_stun_nat import ACS, DEVICE, PUBLIC, Nat, enter, in_thread, run

pytestmark = pytest.mark.system

nat = test_stun_nat.nat
coturn = test_stun_coturn.coturn
PASSWORD = "stun-secret"


def profile():
    """A standard device of 2015: STUN and UDP connection requests are in its ManagementServer."""
    return standard_profile("Device:2.9", URL="", PeriodicInformEnable="false", PeriodicInformInterval="3600")


def value(agent: Agent, name: str) -> str:
    return agent.model.value(SERVER + name)


def use_stun(host: str, port: int, *, username: str = "", seconds: int = 2):
    """What an ACS sets so that a device uses its STUN server."""
    return setting(
        STUNServerAddress=(host, "string"),
        STUNServerPort=(str(port), "unsignedInt"),
        STUNUsername=(username, "string"),
        STUNPassword=(PASSWORD if username else "", "string"),
        STUNMinimumKeepAlivePeriod=(str(seconds), "unsignedInt"),
        STUNMaximumKeepAlivePeriod=(str(seconds), "int"),
        STUNEnable=("1", "boolean"),
    )


def translate_tcp(line: Nat) -> None:
    """The agent's sessions pass the NAT too."""
    rule = 'oifname "pub" meta l4proto tcp masquerade;'
    rules = f"table ip sessions {{\n chain out {{\n type nat hook postrouting priority 101;\n {rule}\n }}\n}}\n"
    run("ip", "netns", "exec", line.router, "nft", "-f", "-", input=rules)


@pytest.mark.case("C12")
@pytest.mark.case("C13")
@pytest.mark.case("C14")
@pytest.mark.case("C15")
def test_an_agent_behind_a_nat_is_told_of_found_and_rung(nat: Nat, tmp_path) -> None:
    """NATDetected and the outside address come into the model and, as VALUE CHANGE, to the ACS; three signed copies to that address
    open exactly one session with 6 CONNECTION REQUEST. The NAT gives another binding: the new address is told, and works."""
    reports: list[BindingReport] = []

    async def password_of(username: str) -> str | None:
        return PASSWORD if username == "box" else None

    async def story() -> None:
        translate_tcp(nat)
        enter(nat.acs)
        stun = StunEndpoint(password_of=password_of, on_binding=reports.append, host=ACS, port=0)
        server = await stun.start()
        async with HttpAcs(host=ACS) as acs:
            attribute = SetParameterAttributesStruct(SERVER + "UDPConnectionRequestAddress", True, 2)
            acs.requests.append(SetParameterAttributes((attribute,)))
            acs.requests.append(use_stun(server.host, server.port, username="box"))
            enter(nat.device)
            async with open_agent(tmp_path, acs.url, profile=profile(), connection_request_listen="0.0.0.0") as agent:
                await acs.sessions(1)
                assert all(not hasattr(a, "fault_code") for _, a in acs.answers), acs.answers
                await until(lambda: value(agent, "NATDetected") == "true")
                mapped = parse_address(value(agent, "UDPConnectionRequestAddress"))
                assert mapped.host == PUBLIC and 40_000 <= mapped.port < 40_100
                await acs.until(lambda: "4 VALUE CHANGE" in acs.events() and str(mapped) in told(acs))
                await until(lambda: agent.status.state == "waiting")
                assert f"//{DEVICE}:" in value(agent, "ConnectionRequestURL")

                before = len(acs.informs)
                stun.request_connection(mapped, username=RING[0], password=RING[1], copies=3)
                await acs.until(lambda: len(acs.informs) > before)
                await until(lambda: agent.status.state == "waiting")
                await until(lambda: verdicts(agent)[Verdict.REPEATED] == 2)
                assert [acs.events(n) for n in range(before, len(acs.informs))] == [["6 CONNECTION REQUEST"]]

                nat.translate_to(41_000)
                translate_tcp(nat)
                nat.forget_after(1)
                await until(lambda: value(agent, "UDPConnectionRequestAddress") != str(mapped))
                moved = parse_address(value(agent, "UDPConnectionRequestAddress"))
                await until(lambda: [r for r in reports if r.binding_change and r.verified and r.address == moved])
                await acs.until(lambda: str(moved) in told(acs))
                await until(lambda: agent.status.state == "waiting")
                before = len(acs.informs)
                stun.request_connection(moved, username=RING[0], password=RING[1], copies=1)
                await acs.until(lambda: len(acs.informs) > before)
                assert acs.events() == ["6 CONNECTION REQUEST"]
                assert PASSWORD not in "\n".join(agent.client_log.lines() + agent.config_log.lines())
        await stun.stop()

    in_thread(story)


def told(acs: HttpAcs) -> list[str]:
    """Values of the last Inform."""
    return [p.value for p in acs.informs[-1].parameter_list]


@pytest.mark.case("C14")
def test_an_agent_finds_its_address_with_coturn(coturn: int, tmp_path) -> None:
    """A STUN server that knows nothing of TR-069: the address is known, no NAT is in between, and a request to it is heard."""

    async def story() -> None:
        async with HttpAcs() as acs:
            acs.requests.append(use_stun("127.0.0.1", coturn))
            async with open_agent(tmp_path, acs.url, profile=profile()) as agent:
                await acs.sessions(1)
                await until(lambda: agent.model.value(SERVER + "UDPConnectionRequestAddress").startswith("127.0.0.1:"))
                assert value(agent, "NATDetected") == "false"
                await until(lambda: agent.status.state == "waiting")
                to = parse_address(value(agent, "UDPConnectionRequestAddress"))
                socket = UdpSocket(lambda datagram, source: None)
                await socket.open("127.0.0.1", 0)
                socket.send(new_connection_request(to, username=RING[0], password=RING[1], timestamp=9), to)
                await acs.until(lambda: acs.events() == ["6 CONNECTION REQUEST"])
                socket.close()

    asyncio.run(story())


@pytest.mark.case("C05")
@pytest.mark.case("C13")
def test_a_wish_by_http_right_after_a_session_that_udp_asked_for_opens_another(tmp_path) -> None:
    """The ACS queued something new when the first session was over; copies of the datagram that come with it are nothing new."""

    async def story() -> None:
        async with HttpAcs() as acs, open_agent(tmp_path, acs.url, profile=profile()) as agent:
            await acs.sessions(1)
            await until(lambda: agent.status.state == "waiting" and value(agent, "UDPConnectionRequestAddress"))
            to = parse_address(value(agent, "UDPConnectionRequestAddress"))
            socket = UdpSocket(lambda datagram, source: None)
            await socket.open("127.0.0.1", 0)
            datagram = new_connection_request(to, username=RING[0], password=RING[1], timestamp=9)
            socket.send(datagram, to)
            await acs.sessions(2)
            await until(lambda: agent.status.state == "waiting")
            loop = asyncio.get_running_loop()
            over = loop.time()
            socket.send(datagram, to)
            assert (await request_connection(value(agent, "ConnectionRequestURL"), [RING])).ok
            await acs.sessions(3)
            assert loop.time() - over < 1.5
            await until(lambda: agent.status.state == "waiting" and verdicts(agent)[Verdict.REPEATED])
            socket.close()
            assert agent.status.connection_requests_accepted == 2
            assert [acs.events(n) for n in range(1, len(acs.informs))] == [["6 CONNECTION REQUEST"]] * 2

    asyncio.run(story())


def test_a_udp_request_that_was_heard_before_a_restart_opens_no_session_after_it(tmp_path) -> None:
    """The last timestamp and id are kept: a copy that somebody recorded is worth nothing."""
    sent: list[bytes] = []

    async def once() -> int:
        async with HttpAcs() as acs, open_agent(tmp_path, acs.url, profile=profile()) as agent:
            await acs.sessions(1)
            await until(lambda: agent.status.state == "waiting" and value(agent, "UDPConnectionRequestAddress"))
            to = parse_address(value(agent, "UDPConnectionRequestAddress"))
            socket = UdpSocket(lambda datagram, source: None)
            await socket.open("127.0.0.1", 0)
            sent.append(
                sent[0] if sent else new_connection_request(to, username=RING[0], password=RING[1], timestamp=9)
            )
            socket.send(sent[-1], to)
            if len(sent) == 1:
                await acs.sessions(2)
            await until(lambda: verdicts(agent).total() == 1)
            socket.close()
            return agent.status.connection_requests_accepted

    assert asyncio.run(once()) == 1
    assert asyncio.run(once()) == 0
