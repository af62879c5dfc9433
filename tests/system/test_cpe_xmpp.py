"""The whole agent and a real XMPP server: the ACS sets it up by CWMP, learns the address, and rings through it."""

import asyncio

import pytest

from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import RING, SERVER, open_agent, setting, standard_profile, until
from homeport.codec.messages import AddObject, ParameterValueStruct, SetParameterValues
from homeport.transport.connection_request import request_connection
from homeport.transport.xmpp import XmppRequester, XmppRequestResult
from homeport.transport.xmpp_rules import XmppStatus
from system import test_xmpp_prosody
from system.test_xmpp_prosody import ACCOUNTS, DOMAIN, Prosody

pytestmark = pytest.mark.system

prosody = test_xmpp_prosody.prosody
ROW = "Device.XMPP.Connection.1."
JID = f"cpe@{DOMAIN}/r"


def set_up(port: int, **other: tuple[str, str]) -> list:
    """What an ACS sends so that the device connects to this server."""
    values = {
        "Username": ("cpe", "string"),
        "Domain": (DOMAIN, "string"),
        "Resource": ("r", "string"),
        "Password": (ACCOUNTS["cpe"], "string"),
        "UseTLS": ("1", "boolean"),
        "ServerConnectAlgorithm": ("ServerTable", "string"),
        "Server.1.ServerAddress": ("127.0.0.1", "string"),
        "Server.1.Port": (str(port), "unsignedInt"),
        "Server.1.Enable": ("1", "boolean"),
        "Enable": ("1", "boolean"),
        **other,
    }
    return [
        AddObject("Device.XMPP.Connection.", ""),
        AddObject(ROW + "Server.", ""),
        SetParameterValues(tuple(ParameterValueStruct(ROW + n, v, t) for n, (v, t) in values.items()), ""),
        setting(ConnReqXMPPConnection=(ROW.rstrip("."), "string"), ConnReqAllowedJabberIDs=(f"acs@{DOMAIN}", "string")),
    ]


def profile():
    return standard_profile("Device:2.9", "XMPP.", PeriodicInformEnable="false", PeriodicInformInterval="3600")


@pytest.mark.case("C18")
def test_an_agent_is_rung_through_xmpp(prosody: Prosody, tmp_path) -> None:
    """Set up by RPCs, the address told by VALUE CHANGE, exactly one session with 6 CONNECTION REQUEST for an allowed asker with the
    right password; none for anybody else; and another session where HTTP rings after the first is over."""
    pytest.importorskip("slixmpp")

    async def story() -> None:
        async with HttpAcs() as acs:
            acs.requests.extend(set_up(prosody.port))
            options = {"profile": profile(), "ca_file": prosody.certificate}
            async with open_agent(tmp_path, acs.url, **options) as agent:
                await acs.sessions(1)
                assert all(not hasattr(a, "fault_code") for _, a in acs.answers), acs.answers
                await until(lambda: agent.model.value(ROW + "Status") == XmppStatus.ENABLED)
                assert agent.model.value(ROW + "TLSEstablished") in ("1", "true")
                await acs.until(lambda: "4 VALUE CHANGE" in acs.events())
                values = {p.name: p.value for p in acs.informs[-1].parameter_list}
                assert values[SERVER + "ConnReqJabberID"] == JID
                assert agent.model.value(SERVER + "SupportedConnReqMethods") == "HTTP,STUN,XMPP"
                await until(lambda: agent.status.state == "waiting")
                before = len(acs.informs)

                asker, eve = XmppRequester(prosody.settings("acs")), XmppRequester(prosody.settings("eve"))
                for link in (asker, eve):
                    link.start()
                await until(lambda: asker.state.status is eve.state.status is XmppStatus.ENABLED)
                try:

                    async def ask(link: XmppRequester, password: str = RING[1]) -> XmppRequestResult:
                        return await link.request_connection(JID, username=RING[0], password=password)

                    assert (await ask(asker, "wrong")).condition == "not-authorized"
                    assert not (await ask(eve)).ok
                    assert len(acs.informs) == before
                    assert (await ask(asker)).ok
                    await acs.until(lambda: len(acs.informs) > before)
                    await until(lambda: agent.status.state == "waiting")
                    assert (await request_connection(agent.model.value(SERVER + "ConnectionRequestURL"), [RING])).ok
                    await acs.until(lambda: len(acs.informs) > before + 1)
                    await until(lambda: agent.status.state == "waiting")
                    assert agent.status.connection_requests_accepted == 2
                    assert [acs.events(n) for n in range(before, len(acs.informs))] == [["6 CONNECTION REQUEST"]] * 2
                finally:
                    for link in (asker, eve):
                        await link.stop()
                lines = "\n".join(agent.client_log.lines() + agent.config_log.lines())
                assert ACCOUNTS["cpe"] not in lines and RING[1] not in lines

    asyncio.run(story())


def test_wrong_xmpp_credentials_are_a_status_and_a_sentence(prosody: Prosody, tmp_path) -> None:
    """Error_AuthenticationFailure in the model, the sentence in the log; sessions and HTTP requests go on."""
    pytest.importorskip("slixmpp")

    async def story() -> None:
        async with HttpAcs() as acs:
            acs.requests.extend(set_up(prosody.port, Password=("wrong", "string")))
            async with open_agent(tmp_path, acs.url, profile=profile(), ca_file=prosody.certificate) as agent:
                await until(lambda: agent.model.exists(ROW))
                await until(lambda: agent.model.value(ROW + "Status") == XmppStatus.AUTHENTICATION_FAILURE)
                assert any("XMPP:" in line for line in agent.client_log.lines())
                await until(lambda: agent.status.state == "waiting")
                before = len(acs.informs)
                assert (await request_connection(agent.model.value(SERVER + "ConnectionRequestURL"), [RING])).ok
                await acs.until(lambda: len(acs.informs) > before)

    asyncio.run(story())
