"""A device that only XMPP reaches: a real ACS process, a real Prosody, and the agent, which the ACS itself sets up."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cpe_support.open_agent import SERVER, open_agent, standard_profile, until
from homeport.terms import EventCode
from homeport.transport.xmpp_rules import XmppStatus
from support.ends import Acs, wait_for
from system import test_xmpp_prosody
from system.test_xmpp_prosody import ACCOUNTS, DOMAIN, Prosody

pytestmark = pytest.mark.system

prosody = test_xmpp_prosody.prosody
ROW = "Device.XMPP.Connection.1."
JID = f"cpe@{DOMAIN}/r"
DEVICE = "00256D-Box-0001"


def xmpp_options(prosody: Prosody, password: str = ACCOUNTS["acs"]) -> tuple[str, ...]:
    """What the operator gives to `homeport acs serve`."""
    return (
        *("--xmpp-jid", f"acs@{DOMAIN}", "--xmpp-password", password),
        *("--xmpp-server", f"127.0.0.1:{prosody.port}", "--xmpp-ca", str(prosody.certificate)),
    )


def rows(values: dict[str, str]) -> dict[str, Any]:
    """The arguments of a SetParameterValues."""
    return {"parameter_list": [{"name": name, "value": value} for name, value in values.items()]}


def connection(port: int) -> dict[str, str]:
    """What makes the device connect to this server and listen to the ACS."""
    return {
        ROW + "Username": "cpe",
        ROW + "Domain": DOMAIN,
        ROW + "Resource": "r",
        ROW + "Password": ACCOUNTS["cpe"],
        ROW + "UseTLS": "true",
        ROW + "ServerConnectAlgorithm": "ServerTable",
        ROW + "Server.1.ServerAddress": "127.0.0.1",
        ROW + "Server.1.Port": str(port),
        ROW + "Server.1.Enable": "true",
        ROW + "Enable": "true",
        SERVER + "ConnReqXMPPConnection": ROW.rstrip("."),
        SERVER + "ConnReqAllowedJabberIDs": f"acs@{DOMAIN}",
    }


@pytest.mark.case("C18")
@pytest.mark.case("C20")
def test_a_task_wakes_the_device_by_xmpp(prosody: Prosody, tmp_path: Path) -> None:
    """Its URL is at an address that it does not come from, as behind NAT; the ACS sets up XMPP by tasks, learns the Jabber id, and
    calls there; the way is remembered, and where the device is gone the task says so."""
    pytest.importorskip("slixmpp")

    async def story(acs: Acs) -> None:
        async def rest(method: str, path: str, body: Any = None) -> Any:
            return await asyncio.to_thread(acs.rest, method, path, body)

        async def task(rpc: str, args: dict[str, Any], *, call: bool) -> Any:
            body = {"rpc": rpc, "args": args, "connection_request": call}
            return await rest("POST", f"devices/{DEVICE}/tasks" + ("?wait=12" if call else ""), body)

        profile = standard_profile("Device:2.9", "XMPP.", PeriodicInformEnable="false", PeriodicInformInterval="3600")
        options = {"profile": profile, "ca_file": prosody.certificate, "connection_request_listen": "127.0.0.2"}
        async with open_agent(tmp_path / "agent", acs.cwmp_url, **options) as agent:
            while not await asyncio.to_thread(acs.device, DEVICE):
                await asyncio.sleep(0.02)
            made = [
                await task("AddObject", {"object_name": "Device.XMPP.Connection."}, call=False),
                await task("AddObject", {"object_name": ROW + "Server."}, call=False),
                await task("SetParameterValues", rows(connection(prosody.port)), call=False),
            ]
            await until(lambda: agent.status.state == "waiting")
            agent.trigger(EventCode.PERIODIC)  # the device comes by itself, for once
            await until(lambda: agent.model.exists(ROW))
            await until(lambda: agent.model.value(ROW + "Status") == XmppStatus.ENABLED)
            assert [(await rest("GET", f"tasks/{t['id']}?wait=10"))["status"] for t in made] == ["done"] * 3
            async with asyncio.timeout(20):
                while (await rest("GET", f"devices/{DEVICE}"))["jabber_id"] != JID:
                    await asyncio.sleep(0.02)
            await until(lambda: agent.status.state == "waiting")

            name = SERVER + "PeriodicInformInterval"
            done = await task("GetParameterValues", {"parameter_names": [name]}, call=True)
            assert (done["status"], done["result"]["parameter_list"][0]["value"]) == ("done", "3600")
            asked = done["connection_request"]
            assert (asked["ok"], asked["way"], asked["reason"]) == (True, "xmpp", f"{JID} accepted by XMPP")
            assert (await rest("GET", f"devices/{DEVICE}"))["connection_request_way"] == "xmpp"
            assert "homeport_xmpp_connected 1.0" in await asyncio.to_thread(acs.text, "/metrics")

        body = {"rpc": "Reboot", "args": {}, "connection_request": True}
        late = await rest("POST", f"devices/{DEVICE}/tasks", body)
        async with asyncio.timeout(20):
            while (said := (await rest("GET", f"tasks/{late['id']}"))["connection_request"]) is None:
                await asyncio.sleep(0.02)
        assert not said["ok"] and f"XMPP: {JID} is not connected to its XMPP server" in said["reason"]

    acs = Acs(tmp_path / "acs", "--cpe-auth", "open", *xmpp_options(prosody)).start()
    try:
        asyncio.run(story(acs))
    finally:
        acs.kill()
    log = acs.log.read_text()
    assert "connected to the XMPP server" in log and ACCOUNTS["acs"] not in log


def test_an_acs_whose_xmpp_account_is_refused_says_so_and_works_on(prosody: Prosody, tmp_path: Path) -> None:
    """The log names the settings to look at, the metrics tell that the way is closed; nothing else is disturbed."""
    pytest.importorskip("slixmpp")
    acs = Acs(tmp_path / "acs", *xmpp_options(prosody, "guess")).start()
    try:
        wait_for(lambda: "xmpp_password" in acs.log.read_text(), "the line in the log")
        assert "homeport_xmpp_connected 0.0" in acs.text("/metrics")
    finally:
        acs.kill()
    assert "guess" not in acs.log.read_text()
