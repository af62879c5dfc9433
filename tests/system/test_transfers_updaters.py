"""Firmware by a program of the device and by RAUC's command line, and signed firmware, through the whole agent.

The machine is played: a reboot command starts the slot that was made active, and the kernel's boot id changes with it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.cpe.firmware.image import build_image
from support.ends import Acs, Agent, wait_for
from support.kills import finished
from support.transfer_place import Place

pytestmark = pytest.mark.system

FIRMWARE = "1 Firmware Upgrade Image"
BOOT_ID = "/proc/sys/kernel/random/boot_id"

MACHINE = """#!{python} -IS
import json, os, pathlib, sys
home = pathlib.Path(__file__).parent
file = home / "machine.json"
state = json.loads(file.read_text())
words = sys.argv[1:]
with (home / "calls").open("a") as log:
    log.write(" ".join(w for w in words if "/" not in w) + "\\n")
def save():
    (home / "new").write_text(json.dumps(state))
    os.replace(home / "new", file)
def other():
    return next(s for s in state["slots"] if s != state["booted"])
def fail(text, status=1):
    sys.stderr.write(text + "\\n")
    sys.exit(status)
"""
BOOT = (
    MACHINE
    + """
state["booted"] = state["primary"]
state["boots"] += 1
save()
(home / "boot_id").write_text("boot-%d\\n" % state["boots"])
"""
)
RAUC = (
    MACHINE
    + """
image = pathlib.Path(words[-1])
if words[0] == "status" and "mark-good" in words:
    state["good"] = state["booted"]
elif words[0] == "status" and "mark-bad" in words:
    state["bad"] = state["booted"]
elif words[0] == "status" and "mark-active" in words:
    state["primary"] = other() if words[-1] == "other" else words[-1]
elif words[0] == "status":
    print(json.dumps({"compatible": "box", "boot_primary": state["primary"], "slots": [
        {name: {"class": "rootfs", "bootname": name[-1], "state": "booted" if name == state["booted"] else "inactive",
                "boot_status": "bad" if name == state.get("bad") else "good", "slot_status": {"bundle": {"version": version}}}}
        for name, version in state["slots"].items()]}))
elif words[0] == "info":
    if image.suffix != ".raucb":
        fail("not a bundle")
    text = image.read_text()
    if not text.startswith("signed"):
        fail("signature verification failed: no certificate")
    print(json.dumps({"compatible": "box", "version": text.split()[1]}))
elif words[0] == "install":
    state["slots"][other()] = image.read_text().split()[1]
    state["primary"] = other()
else:
    fail("unknown command")
save()
"""
)
PROGRAM = (
    MACHINE
    + """
def version():
    return json.loads(pathlib.Path(words[1]).read_bytes().split(b"\\n")[0][len(b"HOMEPORT-FIRMWARE "):])["version"]
if words[0] == "status":
    print(json.dumps({"slots": [{"name": n, "version": v, "running": n == state["booted"], "boots_next": n == state["primary"]}
                                for n, v in state["slots"].items()]}))
elif words[0] == "verify":
    print(json.dumps({"version": version()}))
elif words[0] == "stage":
    state["slots"][other()] = version()
    print(json.dumps({"slot": other()}))
elif words[0] == "activate":
    state["primary"] = words[1]
elif words[0] == "confirm":
    state["good"] = state["booted"]
elif words[0] == "roll-back":
    state["primary"] = other()
save()
"""
)


class Machine:
    """Its slots, as its updater and its boot loader see them."""

    def __init__(self, home: Path, updater: str, slots: tuple[str, str]) -> None:
        self.home = home
        home.mkdir()
        self.file = home / "machine.json"
        first, second = slots
        state = {"slots": {first: "1.0.0", second: ""}, "booted": first, "primary": first, "boots": 1}
        self.file.write_text(json.dumps(state))
        (home / "boot_id").write_text("boot-1\n")
        for name, text in (("updater", updater), ("boot", BOOT)):
            (home / name).write_text(text.replace("{python}", sys.executable))
            (home / name).chmod(0o755)

    @property
    def state(self) -> dict[str, object]:
        return dict(json.loads(self.file.read_text()))

    @property
    def calls(self) -> list[str]:
        return (self.home / "calls").read_text().splitlines()

    def options(self, kind: str) -> tuple[str, ...]:
        return (
            *("--profile", "module-host", "--firmware-order", "restart-first", "--reboot", "command"),
            *("--firmware-updater", kind, "--firmware-command", str(self.home / "updater")),
            *("--reboot-command", str(self.home / "boot"), "--web-port", "0"),
        )


class MachineAgent(Agent):
    """An agent on a machine whose boot id is a file of the test."""

    def run(self, *arguments: str) -> None:
        boot_id = self.log.parent.parent / "machine" / "boot_id"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        script = f'mount --bind "$0" {BOOT_ID} && exec "$@"'
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", script, str(boot_id), sys.executable, "-m", "homeport", *arguments],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=environment,
            )


def _own_mounts() -> bool:
    command = ["unshare", "-m", "sh", "-c", f"mount --bind /dev/null {BOOT_ID}"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(open_acs: Acs, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    if not _own_mounts():
        pytest.skip("a mount namespace of its own is not allowed here")
    made: list[Place] = []

    def start(*options: str) -> Place:
        made.append(Place(open_acs, tmp_path, *options, agent=MachineAgent))
        return made[-1]

    yield start
    for one in made:
        one.end()


def rebooted(here: Place) -> None:
    """The machine comes up again after the reboot command."""
    process = here.agent.process
    assert process is not None
    wait_for(lambda: process.poll() is not None, "the reboot")
    here.agent.start()


def fault_of(here: Place, task: str) -> int:
    finished(here.acs, [task])
    fault = here.acs.rest("GET", f"tasks/{task}")["fault"]
    return int(fault["code"]) if fault else 0


def upgraded(here: Place, machine: Machine, path: str, slot: str) -> None:
    """A Download that ends with the new slot running and confirmed."""
    task = here.task("Download", command_key="up", file_type=FIRMWARE, url=here.store.url(path))
    rebooted(here)
    assert fault_of(here, task) == 0
    wait_for(lambda: machine.state.get("good") == slot, "the confirmation of the new slot")
    assert machine.state["booted"] == slot
    informs = [i for i in here.sent("Inform") if "M Download" in i]
    assert "1 BOOT" in informs[-1] and ">2.0.0<" in informs[-1]
    values = here.ask(
        "get", paths=["Device.DeviceInfo.ActiveFirmwareImage", "Device.DeviceInfo.FirmwareImage.2.Version"]
    )
    assert list(values.values()) == ["Device.DeviceInfo.FirmwareImage.2", "2.0.0"]


@pytest.mark.case("T01")
@pytest.mark.case("T04")
def test_rauc_installs_a_bundle_and_the_acs_goes_back(place: Callable[..., Place], tmp_path: Path) -> None:
    """info, install, mark-active, reboot, mark-good; a bundle that RAUC does not trust is 9019 and never installed."""
    machine = Machine(tmp_path / "machine", RAUC, ("rootfs.0", "rootfs.1"))
    here = place(*machine.options("rauc"))
    here.store.files |= {"/bundle": b"signed 2.0.0 box", "/evil": b"forged 9.9.9 box"}
    bad = here.task("Download", command_key="bad", file_type=FIRMWARE, url=here.store.url("/evil"))
    assert fault_of(here, bad) == 9019 and not [c for c in machine.calls if c.startswith("install")]
    upgraded(here, machine, "/bundle", "rootfs.1")
    boot = {"name": "Device.DeviceInfo.BootFirmwareImage", "value": "Device.DeviceInfo.FirmwareImage.1"}
    assert fault_of(here, here.task("SetParameterValues", parameter_list=[boot])) == 0
    assert machine.state["primary"] == "rootfs.0"
    here.task("Reboot", command_key="back")
    rebooted(here)
    wait_for(lambda: machine.state.get("good") == "rootfs.0", "the confirmation of the chosen slot")


@pytest.mark.case("T01")
@pytest.mark.case("T04")
def test_a_program_gets_only_what_is_signed(place: Callable[..., Place], tmp_path: Path) -> None:
    """Ed25519: without a signature or with a wrong one 9019, before anything is staged; the good one runs in the end."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key, image = Ed25519PrivateKey.generate(), build_image(bytes(30_000), version="2.0.0")
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    machine = Machine(tmp_path / "machine", PROGRAM, ("a", "b"))
    here = place(*machine.options("program"), "--firmware-keys", str(tmp_path / "key.pub"))
    here.store.files |= {
        "/unsigned": image,
        "/forged": image,
        "/forged.sig": Ed25519PrivateKey.generate().sign(image),
        "/changed": image[:-1] + b"x" + b"HPSIG1" + key.sign(image),
        "/good": image,
        "/good.sig": key.sign(image),
    }
    for path in ("/unsigned", "/forged", "/changed"):
        task = here.task("Download", command_key=path, file_type=FIRMWARE, url=here.store.url(path))
        assert fault_of(here, task) == 9019, path
    assert not [c for c in machine.calls if c.split()[0] in ("verify", "stage", "activate")]
    upgraded(here, machine, "/good", "b")
