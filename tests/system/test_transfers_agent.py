"""Downloads and uploads by the real agent process, asked for by the real ACS."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeport.cpe.control import ControlClient
from homeport.cpe.firmware.image import build_image
from homeport.terms import UNKNOWN_TIME
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import INTERVAL, finished, known, set_interval
from support.tap import CPE, Tap

pytestmark = pytest.mark.system

FIRMWARE = "1 Firmware Upgrade Image"
CONFIGURATION = "3 Vendor Configuration File"
VERSION = "Device.DeviceInfo.SoftwareVersion"
IMAGE = build_image(bytes(range(256)) * 16_000, version="2.0.0", models=["797xx"])


@pytest.fixture
def store() -> Iterator[FileStore]:
    with FileStore() as made:
        yield made


@pytest.fixture
def line(open_acs: Acs) -> Iterator[Tap]:
    """The line between device and ACS, with everything that passes on it."""
    with Tap(open_acs.cwmp_url) as tap:
        yield tap


@pytest.fixture
def device(tmp_path: Path, open_acs: Acs, line: Tap) -> Iterator[Callable[..., tuple[Agent, str]]]:
    """Starts an agent with options; gives it and its id at the ACS."""
    running: list[Agent] = []

    def start(*options: str, serial: str = "XFER0001") -> tuple[Agent, str]:
        agent = Agent(tmp_path / "agent", line.url, serial, *options).start()
        running.append(agent)
        id = known(open_acs, serial)
        # Asked for in the middle of the first session, the ACS would let some time pass before it knocks again.
        wait_for(
            lambda: ControlClient(agent.state).call("status")["sessions_succeeded"], "the end of the first session"
        )
        return agent, id

    yield start
    for agent in running:
        agent.kill()


def sent(tap: Tap, element: str) -> list[str]:
    """The bodies with this RPC that the device sent."""
    tag = f":{element}>".encode()
    return [m.body.decode() for m in tap.soap() if m.sender == CPE and tag in m.body]


def events(inform: str) -> list[str]:
    return re.findall(r"<EventCode>([^<]*)<", inform)


def version_in(inform: str) -> str:
    found = re.search(rf"<Name>{re.escape(VERSION)}</Name><Value[^>]*>([^<]*)<", inform)
    return found[1] if found else ""


def value(acs: Acs, device: str, path: str) -> str:
    """What the ACS has stored of a parameter."""
    items = acs.rest("GET", f"devices/{quote(device, safe='')}/parameters?path={quote(path)}")["items"]
    return str(items[0]["value"]) if items else ""


def download(acs: Acs, device: str, file_type: str, url: str, key: str, **more: Any) -> str:
    args = {"command_key": key, "file_type": file_type, "url": url, **more}
    return acs.task(device, "Download", args, connection_request=True)


@pytest.mark.case("T01")
@pytest.mark.case("T17")
def test_a_dkt_device_reports_its_upgrade_and_then_restarts(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """Work goes on during the download; TransferComplete; only after its response `1 BOOT` with the new version."""
    acs = open_acs
    store.files["/image"], store.pause = IMAGE, 0.5
    agent, id = device()
    assert value(acs, id, VERSION) == "1.0.0"
    upgrade = download(acs, id, FIRMWARE, store.url("/image"), "up 2")
    wait_for(lambda: store.gets("/image"), "the start of the download")
    shown = wait_for(
        lambda: next((t for t in ControlClient(agent.state).call("status")["transfers"] if t["done"]), None),
        "progress in the status",
    )
    assert (shown["state"], shown["command_key"], shown["total"]) == ("running", "up 2", len(IMAGE))
    meanwhile = acs.task(id, "GetParameterValues", {"parameter_names": [INTERVAL]}, connection_request=True)
    assert finished(acs, [meanwhile]) == ["done"]
    assert acs.task_status(upgrade) == "running"
    store.pause = 0.0
    assert finished(acs, [upgrade]) == ["done"]
    wait_for(lambda: value(acs, id, VERSION) == "2.0.0", "the new version at the ACS")
    flow = [
        name
        for m in line.soap()
        for name in re.findall(
            r":(Inform|DownloadResponse|TransferComplete|TransferCompleteResponse)>", m.body.decode()
        )[::2]
    ]
    assert flow.index("TransferCompleteResponse") > flow.index("TransferComplete") > flow.index("DownloadResponse")
    informs = sent(line, "Inform")
    told = next(i for i in informs if "7 TRANSFER COMPLETE" in events(i))
    assert "M Download" in events(told) and "1 BOOT" not in events(told) and version_in(told) == "1.0.0"
    (report,) = sent(line, "TransferComplete")
    assert "<CommandKey>up 2</CommandKey>" in report and "<FaultCode>0</FaultCode>" in report
    begun, ended = (re.search(rf"<{n}Time>([^<]*)<", report)[1] for n in ("Start", "Complete"))  # type: ignore[index]
    assert UNKNOWN_TIME < begun <= ended and begun.endswith("Z")
    last = informs[-1]
    assert "1 BOOT" in events(last) and "7 TRANSFER COMPLETE" not in events(last) and version_in(last) == "2.0.0"
    assert not list((agent.state / "transfers").glob("*.file*"))


@pytest.mark.case("T01")
def test_in_the_standard_order_the_new_firmware_reports_itself(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """`1 BOOT`, `7 TRANSFER COMPLETE`, `M Download` in one Inform, which carries the new version."""
    store.files["/image"] = IMAGE
    agent, id = device("--firmware-order", "restart-first")
    upgrade = download(open_acs, id, FIRMWARE, store.url("/image"), "standard")
    assert finished(open_acs, [upgrade]) == ["done"]
    last = sent(line, "Inform")[-1]
    assert events(last) == ["1 BOOT", "4 VALUE CHANGE", "7 TRANSFER COMPLETE", "M Download"]
    assert version_in(last) == "2.0.0" == value(open_acs, id, VERSION)
    assert len(sent(line, "TransferComplete")) == 1
    before = len(sent(line, "Inform"))
    agent.kill()
    agent.start()
    wait_for(lambda: len(sent(line, "Inform")) > before, "the Inform of another start")
    assert version_in(sent(line, "Inform")[-1]) == "2.0.0"
    assert len(sent(line, "TransferComplete")) == 1


@pytest.mark.case("T02")
@pytest.mark.case("T03")
def test_a_delayed_download_waits(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """Status 1 with Unknown Time at once; no GET before DelaySeconds are over."""
    store.files["/c"] = b"no configuration"
    _, id = device()
    task = download(open_acs, id, CONFIGURATION, store.url("/c"), "later", delay_seconds=3)
    (answer,) = wait_for(lambda: sent(line, "DownloadResponse"), "the answer")
    asked = time.monotonic()
    assert "<Status>1</Status>" in answer and answer.count(UNKNOWN_TIME) == 2
    assert finished(open_acs, [task]) == ["failed"]
    assert store.gets("/c")[0] - asked > 2.5


@pytest.mark.case("T04")
@pytest.mark.parametrize(
    ("path", "file_type", "code"),
    [("/nothing", FIRMWARE, 9016), ("/c", FIRMWARE, 9018), ("/c", CONFIGURATION, 9018)],
)
def test_a_download_that_fails_is_reported_and_changes_nothing(
    open_acs: Acs,
    line: Tap,
    store: FileStore,
    device: Callable[..., tuple[Agent, str]],
    path: str,
    file_type: str,
    code: int,
) -> None:
    """The fault names the cause; the same firmware goes on, without a restart."""
    store.files["/c"] = b"neither firmware nor configuration"
    _, id = device()
    task = download(open_acs, id, file_type, store.url(path), "bad")
    assert finished(open_acs, [task]) == ["failed"]
    (report,) = sent(line, "TransferComplete")
    assert f"<FaultCode>{code}</FaultCode>" in report
    assert value(open_acs, id, VERSION) == "1.0.0"
    assert [i for i in sent(line, "Inform") if "1 BOOT" in events(i)] == sent(line, "Inform")[:1]


@pytest.mark.case("T05")
@pytest.mark.case("T06")
@pytest.mark.case("T11")
def test_what_cannot_be_done_is_refused_at_once(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """9013 for a protocol that is switched off, 9003 for an unknown type or row; nothing is remembered of them."""
    acs = open_acs
    _, id = device("--transfer-schemes", "http,https")
    tasks = [
        download(acs, id, FIRMWARE, "ftp://127.0.0.1/image", "a"),
        download(acs, id, "9 Carrier Pigeon", store.url("/x"), "b"),
        acs.task(id, "Upload", {"command_key": "c", "file_type": f"{CONFIGURATION} 9", "url": store.url("/x")}),
    ]
    assert finished(acs, tasks) == ["failed"] * 3
    codes = [acs.rest("GET", f"tasks/{t}")["fault"]["code"] for t in tasks]
    assert codes == [9013, 9003, 9003]
    assert not sent(line, "TransferComplete") and not store.asked


@pytest.mark.case("T10")
def test_a_configuration_goes_out_and_comes_back(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """What was uploaded is accepted as a download; all of it is applied, or with one bad value none."""
    acs = open_acs
    _, id = device()
    assert finished(acs, [set_interval(acs, id, 700)]) == ["done"]
    args = {"command_key": "save", "file_type": f"{CONFIGURATION} 1", "url": store.url("/saved")}
    assert finished(acs, [acs.task(id, "Upload", args, connection_request=True)]) == ["done"]
    told = next(i for i in sent(line, "Inform") if "7 TRANSFER COMPLETE" in events(i))
    assert "M Upload" in events(told)
    saved = json.loads(store.files["/saved"])
    assert saved["values"][INTERVAL] == "700"

    def interval() -> str:
        asked = acs.task(id, "GetParameterValues", {"parameter_names": [INTERVAL]}, connection_request=True)
        assert finished(acs, [asked]) == ["done"]
        return value(acs, id, INTERVAL)

    assert finished(acs, [set_interval(acs, id, 800)]) == ["done"]
    bad = saved | {"values": saved["values"] | {INTERVAL: "900", "Device.DeviceInfo.UpTime": "1"}}
    store.files["/bad"] = json.dumps(bad).encode()
    assert finished(acs, [download(acs, id, CONFIGURATION, store.url("/bad"), "bad")]) == ["failed"]
    assert interval() == "800"
    assert finished(acs, [download(acs, id, CONFIGURATION, store.url("/saved"), "back")]) == ["done"]
    assert interval() == "700"


def test_the_log_of_a_device_is_fetched(
    open_acs: Acs, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """`4 Vendor Log File 1` is what the device and the ACS said to each other."""
    _, id = device()
    args = {"command_key": "log", "file_type": "4 Vendor Log File 1", "url": store.url("/log")}
    assert finished(open_acs, [open_acs.task(id, "Upload", args, connection_request=True)]) == ["done"]
    assert b"Inform 0 BOOTSTRAP, 1 BOOT" in store.files["/log"]


@pytest.mark.case("T07")
def test_a_factory_reset_drops_what_was_queued(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """Queued transfers are listed; after the reset there are none, and nothing is ever reported of them."""
    acs = open_acs
    agent, id = device()
    for number in range(3):
        download(acs, id, CONFIGURATION, store.url("/c"), f"late {number}", delay_seconds=3600)
    listed = acs.task(id, "GetAllQueuedTransfers", {}, connection_request=True)
    assert finished(acs, [listed]) == ["done"]
    queue = acs.rest("GET", f"tasks/{listed}")["result"]["transfer_list"]
    assert [(t["command_key"], t["state"]) for t in queue] == [(f"late {n}", 1) for n in range(3)]
    assert len(ControlClient(agent.state).call("status")["transfers"]) == 3
    before = len(sent(line, "Inform"))
    assert finished(acs, [acs.task(id, "FactoryReset", {}, connection_request=True)]) == ["done"]
    wait_for(
        lambda: any("0 BOOTSTRAP" in events(i) for i in sent(line, "Inform")[before:]), "the start after the reset"
    )
    listed = acs.task(id, "GetAllQueuedTransfers", {}, connection_request=True)
    assert finished(acs, [listed]) == ["done"]
    assert acs.rest("GET", f"tasks/{listed}")["result"]["transfer_list"] == []
    assert not sent(line, "TransferComplete") and not store.asked


def test_a_firmware_that_does_not_reach_the_acs_gives_way_to_the_old_one(
    open_acs: Acs, line: Tap, store: FileStore, device: Callable[..., tuple[Agent, str]]
) -> None:
    """The trial ends, the device restarts with what ran before, and the ACS hears that the upgrade failed."""
    store.files["/image"] = IMAGE
    _, id = device("--firmware-order", "restart-first", "--firmware-trial", "2")
    wrong = re.compile(rf"<Name>{re.escape(VERSION)}</Name><Value[^>]*>2\.0\.0<".encode())
    line.before = lambda number, message: message.sender != CPE or not wrong.search(message.body)
    upgrade = download(open_acs, id, FIRMWARE, store.url("/image"), "worse")
    assert finished(open_acs, [upgrade]) == ["failed"]
    report = sent(line, "TransferComplete")[-1]
    assert "<CommandKey>worse</CommandKey>" in report and "given up" in report
    assert value(open_acs, id, VERSION) == "1.0.0"
