"""kill -9 of the whole agent between Download and TransferCompleteResponse, and after: one result, one upgrade, whatever the moment."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.cpe.control import ControlClient
from homeport.cpe.firmware.image import build_image
from homeport.errors import TransportError
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import Killer, finished, known
from support.tap import ACS, CPE, Tap

pytestmark = pytest.mark.system

NEW = b">2.0.0<"
POINTS = {
    "the response to Download": (CPE, b":DownloadResponse>"),
    "the Inform with 7 TRANSFER COMPLETE": (CPE, b">7 TRANSFER COMPLETE<"),
    "TransferComplete": (CPE, b":TransferComplete>"),
    "TransferCompleteResponse": (ACS, b":TransferCompleteResponse"),
    "the first Inform of the new firmware": (CPE, NEW),
}


@pytest.fixture(scope="module")
def one_acs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acs]:
    """One ACS for all devices of this module."""
    server = Acs(tmp_path_factory.mktemp("acs"), "--cpe-auth", "open")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.mark.case("T15")
@pytest.mark.parametrize("order", ["report-first", "restart-first"])
@pytest.mark.parametrize("point", ["the middle of the file", *POINTS])
def test_an_upgrade_survives_a_killed_agent(one_acs: Acs, tmp_path: Path, point: str, order: str) -> None:
    """The task is done once, reports are repeated word for word at most, and the new firmware runs in the end."""
    acs, serial = one_acs, f"KILL{zlib.crc32(f'{point}{order}'.encode()):08X}"
    with FileStore() as store, Tap(acs.cwmp_url) as tap:
        store.files["/image"] = build_image(bytes(2_000_000), version="2.0.0")
        agent = Agent(tmp_path / "agent", tap.url, serial, "--firmware-order", order).start()
        try:
            device = known(acs, serial)
            wait_for(lambda: ControlClient(agent.state).call("status")["sessions_succeeded"], "the first session's end")
            killer = Killer(agent, *POINTS.get(point, ("", b"-")))
            tap.before = killer
            if point not in POINTS:
                store.pause = 0.3
            args = {"command_key": "kill", "file_type": "1 Firmware Upgrade Image", "url": store.url("/image")}
            task = acs.task(device, "Download", args, connection_request=True)
            if point in POINTS:
                wait_for(lambda: killer.done, point)
            else:
                wait_for(lambda: store.gets("/image"), point)
                agent.kill()
                store.pause = 0.0
            wait_for(lambda: agent.process is None, "the agent's end")
            agent.start()
            assert finished(acs, [task]) == ["done"]
            wait_for(lambda: NEW in _last_inform(tap), "the new firmware's Inform")
            wait_for(lambda: _owes_nothing(agent), "that nothing is owed")
        finally:
            agent.kill()
    reports = {
        re.search(rb"<CommandKey>.*</CompleteTime>", m.body, re.DOTALL)[0]  # type: ignore[index]
        for m in tap.soap()
        if m.sender == CPE and b":TransferComplete>" in m.body
    }
    assert len(reports) == 1
    assert b"<CommandKey>kill<" in (report := reports.pop()) and b"<FaultCode>0<" in report


def _last_inform(tap: Tap) -> bytes:
    return [m.body for m in tap.soap() if m.sender == CPE and b":Inform>" in m.body][-1]


def _owes_nothing(agent: Agent) -> bool:
    try:
        status = ControlClient(agent.state).call("status")
    except TransportError:
        return False  # it is starting
    return not status["transfers"] and not status["pending_events"]
