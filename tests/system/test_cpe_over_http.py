"""A real agent process with the DKT profile against an ACS over real sockets: first contact to reboot, and all its doors."""

import asyncio
import socket
import time
import urllib.error
import urllib.request

import pytest

from cpe_support.agent_process import CREDENTIALS, AgentProcess
from cpe_support.http_acs import HttpAcs
from homeport.codec.messages import (
    CancelTransfer,
    CancelTransferResponse,
    FactoryReset,
    GetAllQueuedTransfers,
    GetAllQueuedTransfersResponse,
    GetParameterValues,
    GetQueuedTransfers,
    GetQueuedTransfersResponse,
    ParameterValueStruct,
    Reboot,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.cpe.control import ControlClient
from homeport.cpe.discovery import encode_option43
from homeport.cpe.status import load
from homeport.transport.connection_request import request_connection

pytestmark = pytest.mark.system

SERVER = "Device.ManagementServer."
PORT = "Device.Bridging.Bridge.1.Port.1."


def url_of(acs: HttpAcs) -> str:
    """The ConnectionRequestURL of the last Inform."""
    return next(p.value for p in acs.informs[-1].parameter_list if p.name == SERVER + "ConnectionRequestURL")


def scene(tmp_path, play, *flags: str, **acs_options: object):
    """Run play(acs, agent) with a started agent; it is stopped afterwards and must exit with 0."""

    async def run() -> None:
        async with HttpAcs(**acs_options) as acs:  # type: ignore[arg-type]
            agent = AgentProcess(tmp_path / "state", acs.url, *flags)
            await agent.start()
            try:
                await acs.sessions(1)
                await play(acs, agent)
            finally:
                status = await agent.stop()
            assert status == 0, agent.log

    asyncio.run(run())


@pytest.mark.case("S01")
@pytest.mark.case("S04")
@pytest.mark.case("S61")
@pytest.mark.case("R48")
@pytest.mark.case("C01")
def test_the_whole_way_from_first_contact_to_the_report_of_a_reboot(tmp_path):
    """Bootstrap, connection request, read, set, reboot: what the demo shows, on the wire."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        assert acs.events() == ["0 BOOTSTRAP", "1 BOOT"]
        inform = acs.informs[0]
        assert (inform.device_id.oui, inform.device_id.product_class) == ("02D797", "797xx")
        first, empty = acs.posts[0], acs.posts[1]
        assert first.headers["soapaction"] == ""
        assert first.headers["content-type"].startswith("text/xml")
        assert empty.body == b""
        assert "soapaction" not in empty.headers and "content-type" not in empty.headers
        assert empty.headers["cookie"] == "s=1"
        acs.requests.extend(
            [
                GetParameterValues(("Device.",)),
                SetParameterValues((ParameterValueStruct(PORT + "Enable", "false", "boolean"),), "k"),
                GetParameterValues((PORT + "Status", SERVER + "ParameterKey")),
                Reboot("again"),
            ]
        )
        answer = await request_connection(url_of(acs), [CREDENTIALS])
        assert (answer.ok, answer.status) == (True, 200)
        await acs.sessions(2)
        assert acs.events() == ["6 CONNECTION REQUEST"]
        everything, done, after, _ = (a for _, a in acs.answers)
        assert len(everything.parameter_list) > 150
        assert done == SetParameterValuesResponse(0)
        assert [v.value for v in after.parameter_list] == ["Down", "k"]
        pid = agent.pid
        await acs.sessions(3)
        assert [(e.event_code, e.command_key) for e in acs.informs[-1].event] == [("1 BOOT", ""), ("M Reboot", "again")]
        assert agent.pid == pid, "the process starts itself anew; a service manager notices nothing"
        assert "cookie" not in acs.posts[-2].headers, "session cookies end with their session"

    scene(tmp_path, play)


@pytest.mark.case("S19")
def test_the_inform_is_sent_again_with_digest_credentials(tmp_path):
    """401, then the same body with the right response; later POSTs go on with the nonce."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        assert [p.status for p in acs.posts] == [401, 200, 204]
        assert acs.posts[0].body == acs.posts[1].body
        assert "nc=00000001" in acs.posts[1].headers["authorization"]
        assert "nc=00000002" in acs.posts[2].headers["authorization"]
        assert "s3cret" not in agent.log

    scene(tmp_path, play, "--username", "joe", "--password", "s3cret", credentials=("joe", "s3cret"))


@pytest.mark.case("C02")
@pytest.mark.case("C03")
@pytest.mark.case("C04")
def test_wrong_connection_requests_lead_to_nothing(tmp_path):
    """Wrong password 401, wrong path 404, POST 405; no session follows."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        url = url_of(acs)
        assert (await request_connection(url, [("acs", "wrong")])).status == 401
        assert (await request_connection(url + "x", [CREDENTIALS])).status == 404

        def post() -> int:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, data=b"x", method="POST"), timeout=5) as answer:
                    return answer.status
            except urllib.error.HTTPError as e:
                e.close()
                return e.code

        assert await asyncio.to_thread(post) == 405
        status = await asyncio.to_thread(ControlClient(agent.directory).call, "status")
        assert status["connection_requests_accepted"] == 0
        assert len(acs.informs) == 1

    scene(tmp_path, play)


@pytest.mark.case("R50")
@pytest.mark.case("C11")
def test_a_factory_reset_changes_the_random_path(tmp_path):
    """0 BOOTSTRAP, 1 BOOT, and ConnectionRequestURL is another one."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        before = url_of(acs)
        acs.requests.append(FactoryReset())
        await request_connection(before, [CREDENTIALS])
        await acs.sessions(3)
        assert acs.events() == ["0 BOOTSTRAP", "1 BOOT"]
        assert url_of(acs).rpartition("/")[2] != before.rpartition("/")[2]

    scene(tmp_path, play)


def test_a_reboot_keeps_the_connection_request_url(tmp_path):
    """The same path and, where it is still free, the same port: no VALUE CHANGE for every restart."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        before = url_of(acs)
        acs.requests.append(Reboot(""))
        await request_connection(before, [CREDENTIALS])
        await acs.sessions(3)
        assert url_of(acs) == before
        assert acs.events() == ["1 BOOT", "M Reboot"]

    scene(tmp_path, play)


@pytest.mark.case("S58")
def test_the_first_session_after_a_reboot_comes_from_another_port(tmp_path):
    """A firewall that still remembers the old connection must not drop the new one."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        acs.requests.append(Reboot(""))
        await request_connection(url_of(acs), [CREDENTIALS])
        await acs.sessions(3)
        assert len(acs.peers) == len(set(acs.peers)) == 3

    scene(tmp_path, play)


@pytest.mark.case("R61")
@pytest.mark.case("R62")
def test_a_device_without_transfers_says_so(tmp_path):
    """Both lists are empty, and there is nothing to cancel, which is no fault."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        acs.requests.extend([GetQueuedTransfers(), GetAllQueuedTransfers(), CancelTransfer("no such key")])
        await request_connection(url_of(acs), [CREDENTIALS])
        await acs.sessions(2)
        assert [a for _, a in acs.answers] == [
            GetQueuedTransfersResponse(()),
            GetAllQueuedTransfersResponse(()),
            CancelTransferResponse(),
        ]

    scene(tmp_path, play)


def test_reboot_restart_starts_anew_inside_the_process(tmp_path):
    """For demos: the same, without a new process image."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        acs.requests.append(Reboot("k"))
        await request_connection(url_of(acs), [CREDENTIALS])
        await acs.sessions(3)
        assert acs.events() == ["1 BOOT", "M Reboot"]
        assert "restarting" in agent.log

    scene(tmp_path, play, "--reboot", "restart")


def test_reboot_command_runs_the_operators_command(tmp_path):
    """As a list of arguments, never by a shell; the report comes when the device starts the agent again."""
    mark = tmp_path / "rebooted; echo"

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        acs.requests.append(Reboot("k"))
        await request_connection(url_of(acs), [CREDENTIALS])
        await acs.sessions(2)
        assert await agent.gone() == 0
        assert mark.exists()
        await agent.start()
        await acs.sessions(3)
        assert acs.events() == ["1 BOOT", "M Reboot"]

    scene(tmp_path, play, "--reboot", "command", "--reboot-command", f"touch,{mark}")


def test_people_can_ask_a_running_agent(tmp_path):
    """Status, values and writes through the control socket; the file stays when the agent is gone."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        client = ControlClient(agent.directory)

        def visit() -> None:
            for _ in range(200):  # the last answer of the session was sent, but perhaps not yet read
                if client.call("status")["state"] == "waiting":
                    break
                time.sleep(0.02)
            assert client.call("status")["connected"] is True
            assert client.call("get", paths=["Device.DeviceInfo.ModelName"]) == {"Device.DeviceInfo.ModelName": "797xx"}
            assert client.call("set-param", values={PORT + "Enable": "false"}) == {"status": 0}
            assert client.call("get", paths=[PORT + "Status"]) == {PORT + "Status": "Down"}
            client.call("inform")

        await asyncio.to_thread(visit)
        await acs.sessions(2)
        assert acs.events() == ["2 PERIODIC"]

    scene(tmp_path, play)
    status = load(tmp_path / "state")
    assert status is not None
    assert (status.state, status.sessions_succeeded) == ("stopped", 2)


def test_option_43_leads_to_the_acs(tmp_path):
    """As the DKT device does: option 43 at boot, and the agent registers there."""

    async def run() -> None:
        async with HttpAcs() as acs:
            option = encode_option43(
                url=acs.url, provisioning_code="special-code", retry_minimum_wait=5, retry_multiplier=2000
            )
            agent = AgentProcess(tmp_path, "", "--option43", option.hex(" "))
            await agent.start()
            await acs.sessions(1)
            await agent.stop()
            values = {p.name: p.value for p in acs.informs[0].parameter_list}
            assert values["Device.DeviceInfo.ProvisioningCode"] == "special-code"
            assert "from DHCP option 43" in agent.log

    asyncio.run(run())


def test_an_acs_that_refuses_the_connection_is_named_in_the_status(tmp_path):
    """Why it is not connected, and when it tries again."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        agent = AgentProcess(tmp_path, f"http://127.0.0.1:{port}/")
        await agent.start()
        async with asyncio.timeout(20):
            while "next contact" not in (agent.log if (tmp_path / "agent.log").exists() else ""):
                await asyncio.sleep(0.05)
            status = {}
            while not str(status.get("next_contact_reason", "")).startswith(
                "retry"
            ):  # known a moment after it is logged
                status = await asyncio.to_thread(ControlClient(tmp_path).call, "status")
        assert status["connected"] is False
        assert status["last_session"]["kind"] == "refused"
        assert "refused" in status["reason"]
        assert status["retry_count"] == 1
        assert status["next_contact_reason"].startswith("retry 1")
        assert await agent.stop() == 0

    asyncio.run(run())


def test_two_agents_find_two_ports_and_never_share_a_directory(tmp_path):
    """The second agent of a directory ends with a sentence."""

    async def play(acs: HttpAcs, agent: AgentProcess) -> None:
        second = AgentProcess(agent.directory, acs.url)
        await second.start()
        assert await second.gone() != 0
        assert "another agent" in second.log

    scene(tmp_path, play)


def test_wrong_settings_end_with_a_sentence_and_no_traceback(tmp_path):
    """The exit status says that it is the configuration."""

    async def run() -> None:
        agent = AgentProcess(tmp_path, "ftp://nowhere/")
        await agent.start()
        assert await agent.gone() == 2
        assert "http or https" in agent.log
        assert "Traceback" not in agent.log

    asyncio.run(run())
