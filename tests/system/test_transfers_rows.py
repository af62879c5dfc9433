"""Firmware images, configuration files and logs as an ACS sees them in the data model, and the choice among them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.cpe.control import ControlClient
from homeport.cpe.firmware.image import build_image
from homeport.errors import TransportError
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import finished, known

pytestmark = pytest.mark.system

INFO = "Device.DeviceInfo."
IMAGE = f"{INFO}FirmwareImage."
VERSION = f"{INFO}SoftwareVersion"


class Box:
    """A device with the tables, at an ACS."""

    def __init__(self, acs: Acs, folder: Path, *options: str) -> None:
        self.acs = acs
        self.agent = Agent(folder, acs.cwmp_url, "ROWS0001", "--profile", "module-host", *options).start()
        self.id = known(acs, "ROWS0001")
        wait_for(
            lambda: ControlClient(self.agent.state).call("status")["sessions_succeeded"], "the first session's end"
        )

    def ask(self, rpc: str, **args: Any) -> Any:
        """The task as it ended."""
        task = self.acs.task(self.id, rpc, args, connection_request=True)
        finished(self.acs, [task])
        return self.acs.rest("GET", f"tasks/{task}")

    def read(self, *paths: str) -> dict[str, str]:
        """Values as a person at the device reads them: the same model, without a session."""
        values = wait_for(lambda: self._local(paths), "the agent")
        return {p.removeprefix(INFO): v for p, v in values.items()}

    def _local(self, paths: tuple[str, ...]) -> dict[str, str]:
        try:
            return dict(ControlClient(self.agent.state).call("get", paths=list(paths)))
        except TransportError:
            return {}  # it is starting

    def told(self, *paths: str) -> dict[str, str]:
        """Values as the ACS is told them."""
        done = self.ask("GetParameterValues", parameter_names=list(paths))
        assert done["status"] == "done", done["fault"]
        return {p["name"].removeprefix(INFO): p["value"] for p in done["result"]["parameter_list"]}

    def write(self, path: str, value: str) -> Any:
        return self.ask("SetParameterValues", parameter_list=[{"name": path, "value": value}])

    def refused(self, path: str, value: str) -> int:
        """The fault of this one parameter."""
        return int(self.write(path, value)["fault"]["parameters"][0]["code"])

    def image(self, number: int) -> tuple[str, ...]:
        read = self.read(f"{IMAGE}{number}.")
        return tuple(read[f"FirmwareImage.{number}.{n}"] for n in ("Name", "Version", "Status", "Available"))


@pytest.fixture
def box(open_acs: Acs, tmp_path: Path) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def start(*options: str) -> Box:
        made.append(Box(open_acs, tmp_path / "agent", *options))
        return made[-1]

    yield start
    for one in made:
        one.agent.kill()


@pytest.mark.case("T01")
def test_the_acs_sees_the_slots_and_chooses_which_one_starts_next(box: Callable[..., Box]) -> None:
    """Rows follow an upgrade; BootFirmwareImage takes an available row, 9007 for any other; the next boot starts it."""
    with FileStore() as store:
        store.files["/image"] = build_image(bytes(50_000), version="2.0.0")
        device = box("--firmware-order", "restart-first")
        assert device.image(1) == ("a", "1.0.0", "Active", "true")
        assert device.image(2) == ("", "", "NoImage", "false")
        assert device.refused(f"{INFO}BootFirmwareImage", f"{IMAGE}2") == 9007
        assert device.refused(f"{IMAGE}1.Available", "false") == 9007
        asked = {"file_type": "1 Firmware Upgrade Image", "url": store.url("/none"), "command_key": "no"}
        assert device.ask("Download", **asked)["fault"]["code"] == 9016
        assert device.image(2) == ("", "", "DownloadFailed", "false")
        assert device.ask("Download", **asked | {"url": store.url("/image")})["status"] == "done"
        assert device.image(1) == ("a", "1.0.0", "Available", "true")
        assert device.image(2) == ("b", "2.0.0", "Active", "true")
        shown = device.told(f"{IMAGE}2.", f"{INFO}FirmwareImageNumberOfEntries")
        assert shown["FirmwareImage.2.Status"] == "Active" and shown["FirmwareImageNumberOfEntries"] == "2"
        wait_for(lambda: device.read(VERSION)["SoftwareVersion"] == "2.0.0", "the new version")
        for value, status in (("false", "failed"), ("true", "done")):
            assert device.write(f"{IMAGE}1.Available", value)["status"] == "done"
            assert device.write(f"{INFO}BootFirmwareImage", f"{IMAGE}1")["status"] == status
        images = device.read(f"{INFO}ActiveFirmwareImage", f"{INFO}BootFirmwareImage")
        assert images == {"ActiveFirmwareImage": f"{IMAGE}2", "BootFirmwareImage": f"{IMAGE}1"}
        assert device.refused(f"{IMAGE}1.Available", "false") == 9007
        assert device.ask("Reboot", command_key="back")["status"] == "done"
        wait_for(lambda: device.read(VERSION)["SoftwareVersion"] == "1.0.0", "the chosen version")
        assert device.read(f"{INFO}ActiveFirmwareImage") == {"ActiveFirmwareImage": f"{IMAGE}1"}
        stored = asked | {"file_type": "6 Stored Firmware Image", "url": store.url("/image")}
        assert device.ask("Download", **stored)["status"] == "done"
        assert device.read(VERSION, f"{INFO}BootFirmwareImage") == {
            "SoftwareVersion": "1.0.0",
            "BootFirmwareImage": f"{IMAGE}1",
        }


@pytest.mark.case("T10")
@pytest.mark.case("T11")
def test_the_tables_of_files_say_what_an_upload_may_name(box: Callable[..., Box]) -> None:
    """Rows and file types go together; a configuration that is applied says its name, version and date."""
    with FileStore() as store:
        device = box()
        rows = device.told(f"{INFO}VendorLogFile.", f"{INFO}VendorConfigFile.")
        assert [rows[f"VendorLogFile.{n}.Name"] for n in (1, 2)] == ["client.log", "config.log"]
        assert rows["VendorLogFile.1.Persistent"] == "true" and int(rows["VendorLogFile.1.MaximumSize"]) > 0
        assert rows["VendorConfigFile.1.Date"].startswith("0001")
        for number, words in ((1, b"0 BOOTSTRAP"), (2, b"ACS URL")):
            sent = device.ask("Upload", file_type=f"4 Vendor Log File {number}", url=store.url(f"/log{number}"))
            assert sent["status"] == "done" and words in store.files[f"/log{number}"]
        assert device.ask("Upload", file_type="4 Vendor Log File 3", url=store.url("/x"))["fault"]["code"] == 9003
        kind = "3 Vendor Configuration File"
        assert device.ask("Upload", file_type=f"{kind} 1", url=store.url("/saved"))["status"] == "done"
        saved = json.loads(store.files["/saved"])
        store.files["/new"] = json.dumps(saved | {"version": "7.1", "name": "branch office"}).encode()
        assert device.ask("Download", file_type=kind, url=store.url("/new"), command_key="c")["status"] == "done"
        row = device.read(f"{INFO}VendorConfigFile.1.")
        assert (row["VendorConfigFile.1.Name"], row["VendorConfigFile.1.Version"]) == ("branch office", "7.1")
        assert row["VendorConfigFile.1.Date"] > "2020"
        before = row
        store.files["/bad"] = json.dumps(saved | {"values": {"Device.DeviceInfo.UpTime": "1"}, "name": "no"}).encode()
        assert device.ask("Download", file_type=kind, url=store.url("/bad"), command_key="d")["fault"]["code"] == 9018
        assert device.read(f"{INFO}VendorConfigFile.1.") == before
